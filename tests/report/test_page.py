"""The page is one file that needs nothing else: proved in a browser, with a script and without."""

import html
import html.parser
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest

from bestguess.report.charts import Bars, Chart, Grid, Heatmap, HLine, Line, Points, unit_circle
from bestguess.report.page import Page, Stat

CHROMIUM = Path("/usr/bin/chromium")
EVIL = '</script><script>document.title="pwned"</script><img src=x onerror=alert(1)>&amp;\u2028'

LONG = "squared error (fraction of the mean square of y)"


class Reader(html.parser.HTMLParser):
    """Collects a page's tags, its texts, and each script's text by its type."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.attributes = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_data(self, data):
        self.words.append(data)


def pictures():
    x = np.arange(1.0, 30)
    y = np.where(x == 7, np.nan, 1 / x)
    line = Line(x, y, y / 2, y * 2, name="model", role="model")
    others = [Line(x, y * i, name=f"a predictor called {i}") for i in range(2, 6)]
    return [
        Chart("Curves", "step", "loss", [line, Line(x, y, name="b")], log_y=True, hlines=[HLine(0.1, "floor")]),
        Grid("Panels", [Chart(f"p{i}", "t", LONG, [line, *others]) for i in range(5)], columns=3),
        Chart("Spectrum", "re", "im", [unit_circle(), Points([0.1], [0.2], [0.1])], equal_aspect=True),
        Chart("Heat", "key", "query", [Heatmap([[1.0, np.nan], [0.2, 0.3]])]),
        Chart("Bars", "", "skill", [Bars(["a", "b"], [0.1, 0.2], [0.01, 0.01])]),
    ]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    page = Page("A report", "The *lead*.")
    page.stats([Stat("1.0002", "normalised loss", "± 0.0001")])
    for picture in pictures():
        page.heading(picture.title)
        page.chart(picture)
    page.chart(Chart(EVIL, EVIL, EVIL, [Line([1, 2], [1, 2], name=EVIL), Line([1, 2], [2, 1], name="b")], EVIL))
    page.table(["λ", "loss"], [[0.9, 1.0002]], EVIL)
    return page.write(tmp_path_factory.mktemp("page") / "runs" / "report.html")


@pytest.fixture
def browser():
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as play:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        started = play.chromium.launch(executable_path=str(CHROMIUM), args=options)
        yield started
        started.close()


def open_page(browser, path, ready=True, before="", **options):
    """Return the page, opened and drawn, with the lists of its requests and of what its console said."""
    page = browser.new_context(**options).new_page()
    requests, said = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    if before:
        page.add_init_script(before)
    page.goto(path.as_uri())
    if ready:
        page.wait_for_selector("html[data-plots=ready]", state="attached")
    return page, requests, said


def until(true, page):
    """Wait until `true()`, ten seconds at most. (The page's policy forbids playwright's own wait, an eval.)"""
    for _ in range(100):
        if true():
            return
        page.wait_for_timeout(100)
    raise AssertionError("it never came true")


def test_in_a_browser_every_chart_is_drawn_and_nothing_is_fetched(report, browser):
    page, requests, said = open_page(browser, report, color_scheme="light", viewport={"width": 1200, "height": 900})
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert said == []
    plots = page.query_selector_all(".plot")
    assert len(plots) == 6
    for plot in plots:
        assert plot.query_selector("svg.main-svg") is not None
        assert plot.query_selector("img") is None  # the still picture has made room
    drawn = [len(plot.query_selector_all(".trace, .hm, .point, .shapelayer path")) for plot in plots]
    assert min(drawn) >= 1
    assert page.title() == "A report"
    assert page.query_selector("svg.main-svg img, svg.main-svg script") is None
    ink = "getComputedStyle(document.querySelector('.plot .xtick text')).fill"
    light = page.evaluate(ink)
    # The reader turns the lights off: the same page draws itself again.
    page.emulate_media(color_scheme="dark")
    until(lambda: page.evaluate(ink) != light, page)
    assert said == []


def test_on_a_narrow_screen_nothing_overflows_and_panels_stack(report, browser):
    page, _, said = open_page(browser, report, viewport={"width": 400, "height": 800})
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    domains = page.evaluate(
        "(l => [l.xaxis.domain, l.xaxis2.domain, l.yaxis2.domain[1] < l.yaxis.domain[0]])"
        "(document.querySelectorAll('.plot')[1].querySelector('.canvas').layout)"
    )
    assert domains == [[0, 1], [0, 1], True]
    # No legend reaches down to a panel's title, and no label of an axis to the next panel's.
    met = page.evaluate(
        """[...document.querySelectorAll('.plot')].map(plot => {
          const box = one => one.getBoundingClientRect();
          const legend = plot.querySelector('g.legend'), titles = [...plot.querySelectorAll('g.annotation')];
          const low = legend ? titles.filter(one => box(one).top < box(legend).bottom).length : 0;
          const labels = [...plot.querySelectorAll('text')]
            .filter(one => /^y\\d*title$/.test(one.getAttribute('class'))).map(box).sort((a, b) => a.top - b.top);
          return [low, labels.filter((one, i) => i && one.top < labels[i - 1].bottom).length];
        })"""
    )
    assert met == [[0, 0]] * len(met)


@pytest.mark.parametrize("width", [400, 1200])
def test_a_legend_of_many_lines_takes_nothing_from_what_is_drawn_and_is_whole(browser, tmp_path, width):
    x = np.arange(1.0, 30)
    heights = []
    for runs in (2, 14):
        lines = [Line(x, run / x, name=f"λ 0.99, rate 0.00{run}", shade=run / 14) for run in range(runs)]
        page = Page("Runs")
        page.chart(Chart("Learning", "step", "loss", lines, hlines=[HLine(1.0, "Kalman filter")]))
        path = page.write(tmp_path / f"{runs}.html")
        page, _, said = open_page(browser, path, viewport={"width": width, "height": 800})
        assert said == []
        legend, plot, entries = page.evaluate(
            """[...['g.legend', '.nsewdrag'].map(every => document.querySelector(every).getBoundingClientRect()),
              [...document.querySelectorAll('g.legend .traces')].map(one => one.getBoundingClientRect().bottom)]"""
        )
        assert len(entries) == runs
        assert max(entries) <= legend["bottom"] + 1 <= plot["top"] + 1
        assert page.query_selector("g.legend .scrollbar[width]:not([width='0'])") is None
        heights.append(plot["height"])
    assert heights[1] == pytest.approx(heights[0], abs=2)
    assert heights[0] > 200


def test_the_buttons_of_a_chart_lie_neither_on_its_legend_nor_on_its_title(browser, tmp_path):
    """A legend of one line and a half reaches the right edge, and a title the last word that fits."""
    x = np.arange(1.0, 30)
    lines = [Line(x, run / x, name=f"λ 0.99, rate 0.00{run}", shade=run / 9) for run in range(9)]
    page = Page("Runs")
    page.chart(Chart("What layers know of the state " * 6, "step", "loss", lines))
    page, _, _ = open_page(browser, page.write(tmp_path / "buttons.html"), viewport={"width": 1200, "height": 800})
    page.hover(".nsewdrag")
    buttons, entries, words = page.evaluate(
        """(() => {
          const title = document.createRange();
          title.selectNodeContents(document.querySelector('figure > header'));
          const boxes = every => [...document.querySelectorAll(every)].map(one => one.getBoundingClientRect());
          return [boxes('.modebar-btn'), boxes('g.legend .traces'), [...title.getClientRects()]];
        })()"""
    )
    assert (len(buttons), len(entries)) == (4, 9)
    assert len(words) > 1
    for button in buttons:
        for box in entries + words:
            apart = button["right"] <= box["left"] or box["right"] <= button["left"]
            assert apart or button["bottom"] <= box["top"] or box["bottom"] <= button["top"]
    page.hover(".modebar-btn")  # they do not go when the pointer leaves the chart for them
    assert page.evaluate("getComputedStyle(document.querySelector('.modebar')).opacity") == "1"


def test_on_a_narrow_screen_a_caption_is_no_wider_than_the_window(browser, tmp_path):
    page = Page("Wide")
    page.table(
        [f"column {i}" for i in range(9)], [["1 + 2.80e-6 ± 4e-8"] * 9], "What was learnt beside the filter. " * 4
    )
    page, _, _ = open_page(
        browser, page.write(tmp_path / "wide.html"), ready=False, viewport={"width": 400, "height": 800}
    )
    right, table = page.evaluate(
        "['caption span', 'table'].map(every => document.querySelector(every).getBoundingClientRect().right)"
    )
    assert right <= 400 < table


def test_on_a_narrow_screen_long_names_of_rows_leave_room_for_what_they_name(browser, tmp_path):
    long = {float(i): f"{i},000 pairs: converted, with a random encoder" for i in range(7)}
    claims = {float(i): f"H{i}  A claim that is longer than a line of a phone" for i in range(5)}
    charts = [
        Chart(
            title,
            "effect",
            "",
            [Points(np.linspace(-1.5, 1.5, len(ticks)), list(ticks))],
            y_ticks=ticks,
            rows=len(ticks),
        )
        for title, ticks in (("Regret of what follows, in nats per summary and seed", long), ("Claims", claims))
    ]
    page = Page("Rows")
    page.chart(Grid("Rows", charts, columns=1, share_x=False, share_y=False))
    page, _, said = open_page(browser, page.write(tmp_path / "rows.html"), viewport={"width": 400, "height": 800})
    assert said == []
    labels, plots = page.evaluate(
        """['[class^=y][class$=tick] text', '.nsewdrag'].map(every => [...document.querySelectorAll(every)].map(one => {
          const { left, right, top, bottom } = one.getBoundingClientRect();
          return [left, right, top, bottom];
        }))"""
    )
    assert len(labels) == 12
    assert min(left for left, *_ in labels) >= 0
    labels.sort(key=lambda one: one[2])
    assert all(above[3] <= below[2] + 1 for above, below in itertools.pairwise(labels))
    assert min(right - left for left, right, *_ in plots) > 130
    texts = page.locator("[class^=y][class$=tick] text").all_text_contents()
    assert {f"H{i}" for i in range(5)} < set(texts)


@pytest.mark.parametrize("way", ["no script", "no DecompressionStream"])
def test_without_plotly_the_still_pictures_stay(report, browser, way):
    if way == "no script":
        page, requests, _ = open_page(browser, report, ready=False, java_script_enabled=False)
    else:
        page, requests, said = open_page(browser, report, ready=False, before="delete window.DecompressionStream")
        until(lambda: "DecompressionStream" in " ".join(said), page)
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    stills = page.query_selector_all(".plot img")
    assert len(stills) == 6
    for still in stills:
        still.scroll_into_view_if_needed()
        box = still.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 150


def test_the_file_is_whole_small_and_names_no_other_file(report):
    text = report.read_text(encoding="utf-8")
    assert len(text) < 4_000_000
    reader = Reader(text)
    addresses = [value for _, name, value in reader.attributes if name in ("src", "href", "srcset", "data", "action")]
    assert [a for a in addresses if not a.startswith(("data:", "#"))] == []
    assert "url(" not in re.search(r"<style>(.*?)</style>", text, re.S).group(1)
    assert ("meta", "content") in {
        (tag, name) for tag, name, value in reader.attributes if "default-src 'none'" in (value or "")
    }
    assert [path.name for path in report.parent.iterdir()] == ["report.html"]


def test_the_same_content_gives_the_same_bytes():
    def build():
        page = Page("t")
        page.chart(pictures()[0])
        return page.render()

    assert build() == build()


def test_each_figure_s_data_are_json_that_says_what_the_chart_says():
    page = Page("t")
    page.chart(Chart(EVIL, "x", "y", [Line([1, 2], [3e-9, 4], name=EVIL)], log_y=True))
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', page.render(), re.S)
    assert "<" not in data  # though the figure has some: the powers of ten of its ticks
    assert "10<sup>−8</sup>" in json.loads(data)["layout"]["yaxis"]["ticktext"]
    # Plotly would read tags in a name as tags.
    assert html.unescape(json.loads(data)["data"][0]["name"]) == EVIL


def test_every_text_is_escaped():
    page = Page(EVIL, EVIL)
    page.heading(EVIL)
    page.text(EVIL + "\n\n- " + EVIL + "\n\n`" + EVIL + "` [x](javascript:alert(1))")
    page.stats([Stat(EVIL, EVIL, EVIL)])
    page.table([EVIL], [[EVIL]], EVIL)
    page.details(EVIL, EVIL)
    reader = Reader(page.render())
    assert "script" not in reader.tags
    assert "img" not in reader.tags
    # Title, heading, h1, lead, two texts, code, three of the tile, head, cell, caption, summary, pre.
    assert sum("onerror=alert(1)" in word for word in reader.words) == 15
    assert not any("javascript:" in (value or "") for _, _, value in reader.attributes)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\ntwo\n\nthree", "<p>one two</p><p>three</p>"),
        ("see:\n- a\n- b\nend", "<p>see:</p><ul><li>a</li><li>b</li></ul><p>end</p>"),
        ("**b** and *i* and `*c*`", "<p><strong>b</strong> and <em>i</em> and <code>*c*</code></p>"),
        ("2 * 3 * 4, a*b*c", "<p>2 * 3 * 4, a*b*c</p>"),
        ("[w](https://e.org/?a=1&b=2)", "<p>[w](https://e.org/?a=1&amp;b=2)</p>"),
        ('[w](https://e.org/"onclick=x)', "<p>[w](https://e.org/&quot;onclick=x)</p>"),
    ],
)
def test_a_little_markdown(text, shown):
    page = Page("t")
    page.text(text)
    assert shown in page.render()


def test_tables_set_figures_to_the_right_and_words_to_the_left():
    page = Page("t")
    long = "words that a narrow column breaks"
    page.table(["λ", "name", "n", "told"], [[0.123456789, "dense", 12345, "one"], [None, "diagonal", None, long]])
    text = page.render()
    assert '<td class="number">0.12346</td><td class="short">dense</td><td class="number">12,345</td>' in text
    assert '<td class="words">one</td>' in text
    assert '<td class="number">–</td><td class="short">diagonal</td>' in text
    assert f'<td class="words">{long}</td>' in text


def test_words_among_figures_stand_with_them_and_signs_are_minus_signs():
    page = Page("t")
    page.table(["to 0.9", "kind", "interval"], [["2,045", "a-1", "[-0.5, 3e-5]"], ["not reached", "b-2", "(-.5, -2)"]])
    page.table(["one"], [[-1.5]])
    page.table(["headroom", "predictor"], [["35.8%", "transformer"], ["", "AR(16) fitted"], ["", ""]])
    page.stats([Stat("-0.25", "skill")])
    text = page.render()
    assert '<td class="number">2,045</td><td class="short">a-1</td><td class="short">[−0.5, 3e-5]</td>' in text
    assert '<td class="number">not reached</td><td class="short">b-2</td><td class="short">(−.5, −2)</td>' in text
    assert '<td class="number">−1.5</td>' in text
    assert '<td class="number">35.8%</td><td class="short">transformer</td>' in text  # empty cells are not words
    assert '<td class="number"></td><td class="short">AR(16) fitted</td>' in text
    assert '<dd class="value">−0.25</dd>' in text


def test_a_sentence_that_begins_with_a_number_is_words_and_its_numbers_have_minus_signs():
    page = Page("t")
    page.table(["notes"], [["12 of 84 values have too little headroom: -0.4 (-0.5 … 1e-3)"], [None]])
    page.table(["seconds"], [["12 s of training"], ["3 … 4"]])
    text = page.render()
    assert '<td class="words">12 of 84 values have too little headroom: −0.4 (−0.5 … 1e-3)</td>' in text
    assert '<td class="number">12 s of training</td>' in text


def test_long_pages_have_contents_whose_links_lead_somewhere():
    page = Page("t")
    for name in ("Same", "Same", "λ", "Rollouts, t+2"):
        page.heading(name)
    page.heading("A detail", level=3)
    reader = Reader(page.render())
    links = [value[1:] for tag, name, value in reader.attributes if (tag, name) == ("a", "href")]
    anchors = [value for tag, name, value in reader.attributes if name == "id"]
    assert len(links) == len(set(links)) == 4
    assert set(links) < set(anchors)


def test_a_page_without_charts_carries_no_plotly():
    page = Page("t")
    page.text("words")
    assert len(page.render()) < 20_000
