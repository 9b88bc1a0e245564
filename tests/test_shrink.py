"""Committed results are small, and their pages still open."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from PIL import Image

from bestguess.report.charts import Chart, Heatmap
from bestguess.report.page import Page
from bestguess.report.render import save_png
from experiments.shrink import pack_plotly, shrink

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "experiments" / "results"
RUN = "run `uv run python experiments/shrink.py`"
SHARED = re.compile(r'<(?:script src|link rel="stylesheet" href)="([^"]*)">')


def test_no_committed_page_holds_what_pages_share_and_the_files_that_it_names_are_there():
    named = set()
    pages = sorted(RESULTS.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for own in ('id="plotly"', "<style>", "<script>"):
            assert own not in text, f"{page}: {RUN}"
        shared = SHARED.findall(text)
        for address in shared:
            assert (page.parent / address).is_file(), page
            named.add((page.parent / address).resolve())
        assert any("plotly" in address for address in shared) is ('class="plot' in text), page
    assert named == {path.resolve() for kind in ("js", "css") for path in RESULTS.rglob(f"*.{kind}")}


def test_committed_figures_have_few_colours():
    for folder in (RESULTS, ROOT / "docs" / "images"):
        for figure in folder.rglob("*.png"):
            with Image.open(figure) as image:
                assert image.mode == "P", f"{figure}: {RUN}"


@pytest.fixture(scope="module")
def shrunk(tmp_path_factory):
    """A folder of results with two pages at different depths, before and after, and what was done twice."""
    folder = tmp_path_factory.mktemp("results")
    page = Page("A report")
    chart = Chart("Heat", "key", "query", [Heatmap([[1.0, 0.1], [0.2, 0.3]])])
    page.chart(chart)
    inlined = page.render()
    for place in ("one/report.html", "two/again/report.html"):
        page.write(folder / place)
    save_png(chart, folder / "one" / "figure.png")
    figure = (folder / "one" / "figure.png").read_bytes()
    first, second = (shrink(folder) for _ in range(2))
    return folder, inlined, figure, first, second


def test_pages_share_one_file_and_figures_look_the_same(shrunk):
    folder, inlined, figure, first, second = shrunk
    assert (len(first), second) == (3, [])
    style, script, plotly = (next(folder.glob(name)) for name in ("page-*.css", "page-*.js", "plotly-*.js"))
    parts = re.search(r'<style>(.*?)</style>.*id="plotly">([^<]*)</script><script>(.*?)</script>', inlined, re.S)
    assert parts
    assert parts[1] == style.read_text(encoding="utf-8")
    assert parts[2] in plotly.read_text(encoding="utf-8")
    assert parts[3] == script.read_text(encoding="utf-8")
    for place, up in (("one", "../"), ("two/again", "../../")):
        text = (folder / place / "report.html").read_text(encoding="utf-8")
        assert SHARED.findall(text) == [up + path.name for path in (style, plotly, script)]
        assert len(text) < len(inlined) - sum(map(len, parts.groups())) + 300
    with Image.open(folder / "one" / "figure.png") as few, Image.open(io.BytesIO(figure)) as all_colours:
        assert few.size == all_colours.size
        pairs = zip(few.convert("RGB").tobytes(), all_colours.convert("RGB").tobytes())
        assert max(abs(one - other) for one, other in pairs) < 32


def test_a_plotly_that_is_told_takes_the_place_of_its_version():
    name, content = pack_plotly(b"/**\n* plotly.js (cartesian - minified) v4.1.1\n*/")
    assert name == "plotly-4.1.1.js"
    assert 'id: "plotly"' in content
    with pytest.raises(SystemExit, match="tells its version"):
        pack_plotly(b"alert(1)")


def test_a_page_that_shares_its_parts_is_drawn_offline_in_its_style(shrunk):
    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip(f"no browser at {chromium}")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(chromium), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(offline=True).new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto((shrunk[0] / "two" / "again" / "report.html").as_uri())
        page.wait_for_selector("html[data-plots=ready]", state="attached")
        assert said == []
        assert page.query_selector(".plot svg.main-svg") is not None
        assert page.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") != "none"
        browser.close()
