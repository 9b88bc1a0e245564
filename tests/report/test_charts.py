"""Both renderers show the same data, gaps are gaps, and one look holds everywhere."""

import itertools
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestguess.command import UserError
from bestguess.files import write_bytes
from bestguess.report.charts import Bars, Chart, Curve, Grid, Heatmap, HLine, Line, Points, describe, unit_circle
from bestguess.report.look import ORACLE, PALETTE, drawable, log_ticks, shade, styles, theme
from bestguess.report.matplotlib_renderer import render_all
from bestguess.report.render import save_figures, save_png, to_matplotlib, to_plotly

X = np.array([1.0, 2.0, 3.0, 5.0, 8.0])
Y = np.array([3.0, np.nan, 0.5, -1.0, np.inf])


def of(panel, name):
    """Return the drawn Plotly trace and matplotlib line with a series' name."""
    trace = next(t for t in to_plotly(panel).data if t.name == name and t.fill != "toself")
    axes = to_matplotlib(panel).axes[0]
    handles, labels = axes.get_legend_handles_labels()
    handle = handles[labels.index(name)]
    return trace, handle[0] if isinstance(handle, tuple) else handle


@pytest.mark.parametrize("kind", [Line, Points, Curve])
@pytest.mark.parametrize("log", [False, True])
def test_both_renderers_draw_the_chart_s_own_numbers(kind, log):
    trace, line = of(Chart("t", "x", "y", [kind(X, Y, name="a")], log_y=log), "a")
    bad = ~np.isfinite(Y) | (log & ~(Y > 0))
    expected = np.where(bad, np.nan, Y)
    assert np.isnan(expected).sum() == 2 + log
    np.testing.assert_array_equal(trace.x, X)
    np.testing.assert_array_equal(trace.y, expected)
    np.testing.assert_array_equal(line.get_xdata(), X)
    np.testing.assert_array_equal(line.get_ydata(), expected)


@pytest.mark.parametrize("titled", [True, False])
def test_the_same_data_give_the_same_files(titled):
    """On which the tests of commands rely, which draw equal pictures once (tests/drawn.py)."""
    heat = lambda: Heatmap(np.arange(6.0).reshape(2, 3))  # noqa: E731
    for series in (lambda: Line(X, Y, name="a"), lambda: Bars(["a", "b"], [0.2, 0.7], [0.01, 0.02], name="s"), heat):
        one, again = (render_all(Chart("t", "x", "y", [series()]), ("png", "svg"), titled=titled) for _ in range(2))
        assert one == again


def test_masked_values_are_gaps():
    np.testing.assert_array_equal(drawable(np.ma.array([1, 2, 3], mask=[0, 1, 0])), [1, np.nan, 3])


def test_bars_and_error_bars_agree():
    chart = Chart("t", "", "skill", [Bars(["a", "b"], [0.2, 0.7], [0.01, 0.02], name="s")])
    (trace,) = to_plotly(chart).data
    axes = to_matplotlib(chart).axes[0]
    assert [patch.get_height() for patch in axes.patches] == list(trace.y) == [0.2, 0.7]
    np.testing.assert_array_equal(trace.error_y.array, [0.01, 0.02])
    segments = axes.collections[0].get_segments()
    np.testing.assert_allclose([s[1, 1] - s[0, 1] for s in segments], [0.02, 0.04])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    assert list(to_plotly(chart).layout.xaxis.ticktext) == ["a", "b"]


def test_heat_map_has_row_0_at_the_top_in_both():
    z = np.arange(6.0).reshape(2, 3)
    z[1, 2] = np.nan
    chart = Chart("t", "key", "query", [Heatmap(z, y_labels=["p", "q"])])
    figure = to_plotly(chart)
    np.testing.assert_array_equal(figure.data[0].z, z)
    assert figure.layout.yaxis.range == (1.5, -0.5)
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 4)
    axes = to_matplotlib(chart).axes[0]
    (image,) = axes.get_images()
    np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), z)
    assert image.get_clim() == (0, 4)
    assert axes.get_ylim() == (1.5, -0.5)


def test_diverging_colours_are_centred_on_zero():
    figure = to_plotly(Chart("t", "", "", [Heatmap([[-1.0, 3.0]], diverging=True)]))
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (-3, 3)


def test_a_band_has_one_outline_per_stretch_and_survives_a_log_axis():
    x, y = np.arange(1.0, 6), np.array([1.0, 2, np.nan, 4, 5])
    chart = Chart("t", "x", "y", [Line(x, y, y - 1, y + 1, name="a")], log_y=True)
    fill = next(t for t in to_plotly(chart).data if t.fill == "toself")
    # The gap at x = 3 parts two outlines; the lower edge 0 at x = 1 is drawn at a tenth of the upper, 2.
    np.testing.assert_allclose(fill.x, [1, 2, 2, 1, np.nan, 4, 5, 5, 4])
    np.testing.assert_allclose(fill.y, [0.2, 1, 3, 2, np.nan, 3, 4, 6, 5])
    drawn = [patch.get_xy()[:4] for patch in to_matplotlib(chart).axes[0].patches]
    np.testing.assert_allclose(np.concatenate(drawn), np.stack([fill.x, fill.y], 1)[[0, 1, 2, 3, 5, 6, 7, 8]])


def test_the_oracle_looks_the_same_everywhere_and_lies_over_the_model():
    line = Line(X, X, name="filter", role="oracle")
    chart = Chart("t", "x", "y", [line, Line(X, X, name="model", role="model")], hlines=[HLine(1, "floor")])
    trace, drawn = of(chart, "filter")
    assert (trace.line.color, trace.line.dash) == (ORACLE[0], "dash")
    assert drawn.get_color() == ORACLE[0]
    assert drawn.get_linestyle() == "--"
    shape = to_plotly(chart).layout.shapes[0]
    assert (shape.line.color, shape.line.dash, shape.y0, shape.y1) == (ORACLE[0], "dash", 1, 1)
    assert [t.name for t in to_plotly(chart).data] == ["model", "filter"]
    assert drawn.zorder > of(chart, "model")[1].zorder


def test_a_floor_s_label_stands_at_the_floor_on_a_log_axis():
    figure = to_plotly(Chart("t", "x", "y", [Line(X, X)], log_y=True, hlines=[HLine(100, "best constant")]))
    assert figure.layout.annotations[0].y == 2
    assert figure.layout.shapes[0].y0 == 100


def test_a_name_keeps_its_colour_in_every_panel_and_one_legend_entry():
    panels = [
        Chart("one", "x", "y", [Line(X, X, name="a"), Line(X, X, name="b")]),
        Chart("two", "x", "y", [Line(X, X, name="b"), Line(X, X, name="c")]),
    ]
    first, second = styles(panels)
    assert first[1] == second[0]
    assert len({first[0].light, first[1].light, second[1].light}) == 3
    figure = to_plotly(Grid("g", panels))
    assert [(t.name, t.showlegend) for t in figure.data] == [("a", True), ("b", True), ("b", False), ("c", True)]
    assert [t.xaxis for t in figure.data] == ["x", "x", "x2", "x2"]
    assert figure.layout.xaxis2.matches == "x"
    legend = to_matplotlib(Grid("g", panels)).legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "c"]


def test_automatic_colours_leave_the_model_s_blue_to_the_model():
    look = styles([Chart("t", "", "", [Line(X, X, role="model"), Line(X, X), Line(X, X)])])[0]
    assert [style.light for style in look] == [PALETTE[0][0], PALETTE[1][0], PALETTE[2][0]]


def test_after_the_last_colour_dashes_tell_series_apart():
    look = styles([Chart("t", "", "", [Line(X, X) for _ in range(3 * len(PALETTE))])])[0]
    assert len({(style.light, style.dash) for style in look}) == 3 * len(PALETTE)


def test_shades_run_in_order_from_end_to_end():
    assert (shade(0, False), shade(1, False)) == ("#46327E", "#E36A10")
    assert (shade(-3, True), shade(7, True)) == (shade(0, True), shade(1, True))
    assert len({shade(i / 20, False) for i in range(21)}) == 21


def every_kind():
    return [
        Chart("lines", "x", "y", [Line(X, X, X - 1, X + 1, name="a", shade=0.3), Line(X, X, role="oracle")]),
        Chart("points", "x", "y", [Points(X, X, X / 9, connect=True, name="p")], hlines=[HLine(1, "f", "baseline")]),
        Chart("bars", "", "y", [Bars(["u", "v"], [1, 2], [0.1, 0.1])]),
        Chart("heat", "x", "y", [Heatmap([[1.0, 2.0]])], equal_aspect=True),
        Chart("circle", "re", "im", [unit_circle(), Points([0.5], [0.1], role="model")], equal_aspect=True),
        Grid("grid", [Chart(f"p{i}", "x", "y", [Line(X, X, role="data")]) for i in range(5)]),
    ]


@pytest.mark.parametrize("picture", every_kind(), ids=lambda picture: picture.title)
def test_every_colour_has_its_partner_for_dark_paper(picture):
    panels = getattr(picture, "panels", [picture])
    text = json.dumps(json.loads(to_plotly(picture).to_json()))
    used = set(re.findall(r'"(#[0-9A-Fa-f]{6})"|"(rgba\([^)]*\))"', text))
    colours = {hexadecimal or rgba for hexadecimal, rgba in used} - {"rgba(0,0,0,0)"}
    assert colours
    assert colours <= theme(panels).keys()


@pytest.mark.parametrize("picture", every_kind(), ids=lambda picture: picture.title)
def test_files_are_written_and_svg_is_the_same_for_the_same_data(picture, tmp_path):
    png = save_png(picture, tmp_path / "new" / "a.png", dpi=50)
    assert png.read_bytes().startswith(b"\x89PNG")
    for name in ("a", "b"):
        save_figures(picture, tmp_path, name)
    one, two = tmp_path / "a.svg", tmp_path / "b.svg"
    assert one.read_bytes() == two.read_bytes()
    assert picture.title in one.read_text()


def test_plotly_paper_is_transparent():
    layout = to_plotly(every_kind()[0]).layout
    assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"


@pytest.mark.parametrize(
    ("low", "high", "inside", "labels"),
    [
        (0.001, 1000, [0.001, 0.01, 0.1, 1, 10, 100, 1000], ["0.001", "0.01", "0.1", "1", "10", "100", "1,000"]),
        (2e-5, 0.2, [1e-4, 1e-3, 1e-2, 1e-1], ["10^−4", "10^−3", "10^−2", "10^−1"]),
        (1, 50, [1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"]),
        (1e-12, 1e8, [1e-12, 1e-9, 1e-6, 1e-3, 1, 1e3, 1e6], None),
    ],
)
def test_log_ticks_are_round_and_few(low, high, inside, labels):
    chart = Chart("t", "x", "y", [Line([1, 2], [low, high])], log_y=True)
    places, texts = log_ticks([chart], "y", "10^{}")
    kept = [(p, t) for p, t in zip(places, texts) if low * 0.999 <= p <= high * 1.001]
    np.testing.assert_allclose([place for place, _ in kept], inside)
    if labels:
        assert [text for _, text in kept] == labels
    assert places[0] < low
    assert places[-1] > high


def test_factors_of_a_power_have_room_beside_each_other():
    chart = Chart("t", "x", "y", [Line([4e13, 1.2e15], [4e13, 1.2e15])], log_x=True, log_y=True)
    kept = {
        letter: [text for place, text in zip(*log_ticks([chart], letter, "10^{}")) if 4e13 <= place <= 1.2e15]
        for letter in ("x", "y")
    }
    assert kept["x"] == ["10^14", "3×10^14", "10^15"]
    assert kept["y"] == ["5×10^13", "10^14", "2×10^14", "5×10^14", "10^15"]


@given(low=st.floats(1e-12, 1e9), ratio=st.floats(1.0001, 4.99), letter=st.sampled_from(["x", "y"]))
def test_under_a_factor_of_five_log_axes_have_even_ticks_that_enclose_the_data(low, ratio, letter):
    high = low * ratio
    chart = Chart("t", "x", "y", [Line([low, high], [low, high])], log_x=True, log_y=True)
    places, texts = log_ticks([chart], letter, "10^{}")
    np.testing.assert_allclose(np.diff(places), places[1] - places[0], rtol=1e-3)
    assert 3 <= len(places) <= 10
    assert 0 < places[0] <= max(low * 1.001, places[1] - places[0])
    assert places[-1] >= high * (1 - 1e-9)
    assert len(set(texts)) == len(texts)
    # What is written is where it stands.
    read = [float(text.replace(",", "").replace("−", "-").replace("×10^", "e")) for text in texts]
    np.testing.assert_allclose(read, places, rtol=1e-5)


@given(low=st.floats(1e-12, 1e9), ratio=st.floats(1.05, 99))
def test_labels_of_a_log_axis_have_room_above_each_other(low, ratio):
    """In the lowest panels that there are, a label takes 8 % of the axis. Two at least are on it."""
    high = low * ratio
    chart = Chart("t", "x", "y", [Line([1, 2], [low, high])], log_y=True)
    places, _ = log_ticks([chart], "y", "10^{}")
    inside = np.log([place for place in places if low <= place * 1.0001 and place <= high * 1.0001])
    assert len(inside) >= 2
    assert (np.diff(inside) >= 0.08 * np.log(ratio)).all()


def test_panels_that_share_a_log_axis_have_its_powers_set_in_each():
    """The first panel has one decade, the second four: the ticks of both are those of the whole axis."""
    low, high = ([3e-4, 9e-4], [1e-5, 0.9])
    panels = [Chart(name, "x", "y", [Points([0, 1], y)], log_y=True) for name, y in (("low", low), ("high", high))]
    drawn = to_matplotlib(Grid("grid", panels, columns=2))
    drawn.draw_without_rendering()
    first, second = ([label for label in axes.get_yticklabels() if "$" in label.get_text()] for axes in drawn.axes)
    assert len(first) >= 4
    assert all(label.get_parse_math() for label in [*first, *second])


def test_one_value_on_a_log_axis_is_drawn():
    chart = Chart("t", "x", "y", [Line([1, 2], [3.0, 3.0])], log_y=True)
    assert log_ticks([chart], "y", "{}") == ([3.0], ["3"])
    axis = to_plotly(chart).layout.yaxis
    assert (tuple(axis.tickvals), tuple(axis.ticktext)) == ((3.0,), ("3",))
    drawn = to_matplotlib(chart)
    drawn.draw_without_rendering()
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == ["3"]
    nothing = to_matplotlib(Chart("t", "x", "y", [Line([1, 2], [np.nan, np.nan])], log_y=True))
    nothing.draw_without_rendering()
    assert not nothing.axes[0].get_yticklabels()


def test_a_heat_map_counts_from_its_first():
    chart = Chart("t", "to", "from", [Heatmap(np.eye(3), first=6)])
    (trace,) = to_plotly(chart).data
    assert list(trace.x) == list(trace.y) == [6, 7, 8]
    layout = to_plotly(chart).layout
    assert (layout.xaxis.range, layout.yaxis.range) == ((5.5, 8.5), (8.5, 5.5))
    axes = to_matplotlib(chart).axes[0]
    assert axes.get_images()[0].get_extent() == [5.5, 8.5, 8.5, 5.5]
    named = Chart("t", "to", "from", [Heatmap(np.eye(2), x_labels=["a", "b"], first=6)])
    assert list(to_plotly(named).layout.xaxis.tickvals) == [6, 7]


@pytest.mark.parametrize("columns", [1, 2])
def test_the_labels_of_stacked_panels_do_not_meet(columns):
    label = "squared error (fraction of the mean square of y), averaged over all dimensions"
    grid = Grid("g", [Chart("t", "x", label, [Line([1, 2], [1, 2])])] * 4, columns=columns)
    drawn = to_matplotlib(grid)
    drawn.draw_without_rendering()
    boxes = [axes.yaxis.label.get_window_extent() for axes in drawn.axes if axes.get_ylabel()]
    assert len(boxes) == 4 // columns
    assert all(low.y1 <= high.y0 for high, low in itertools.pairwise(boxes))
    layout = to_plotly(grid).layout
    assert all("<br>" in line and "x<br>" not in line for line in layout.meta["grid"]["y"])
    assert layout.yaxis.title.text.replace("<br>", " ") == label


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_a_panel_s_title_is_not_cut_off(columns):
    long = "Shortfall of the skill from 1 (% of the headroom), and what it is beside"
    panels = [Chart(long, "λ", "y", [Line([1, 2], [1, 2])]) for _ in range(columns)]
    drawn = to_matplotlib(Grid("figure", panels, columns=columns))
    drawn.draw_without_rendering()
    ends = [axes._left_title.get_window_extent() for axes in drawn.axes]
    assert all(one.x1 <= two.x0 for one, two in itertools.pairwise(ends))
    assert ends[-1].x1 <= drawn.bbox.x1


def test_a_title_above_rows_with_names_is_not_cut_off():
    chart = Chart(
        "ROUGE-L over the most frequent summary's, F, as a fraction of 1",
        "x",
        "",
        [Points([1, 2], [0, 1])],
        y_ticks=NAMED,
    )
    drawn = to_matplotlib(Grid("g", [chart] * 2, columns=1))
    drawn.draw_without_rendering()
    assert max(axes._left_title.get_window_extent().x1 for axes in drawn.axes) <= drawn.bbox.x1


NAMED = {float(i): f"H{i}  A shape that takes longer than all but the largest" for i in range(2)}
BRIEF = {0.0: "H7b  Attention leaves the story", 1.0: "H7a  Attention leaves the dialogue"}


@pytest.mark.parametrize(
    ("chart", "columns"),
    [
        (Chart("heat", "key", "query", [Heatmap(np.ones((3, 58)), y_labels=["felix", "brings", "it"])], rows=3), 4),
        (Chart("Weight, of it all, ratio", "x", "", [Points([-0.0158, 0.0031], [0, 1])], y_ticks=BRIEF, rows=2), 1),
    ],
)
def test_ticks_beside_names_of_rows_and_in_narrow_panels_do_not_overlap(chart, columns):
    drawn = to_matplotlib(Grid("g", [chart] * 4, columns=columns, share_x=False))
    drawn.draw_without_rendering()
    for axes in drawn.axes[:4]:
        low, high = axes.get_xlim()
        ticks = zip(axes.xaxis.get_ticklabels(), axes.xaxis.get_ticklocs())
        boxes = [label.get_window_extent() for label, at in ticks if low <= at <= high]
        assert len(boxes) > 1
        assert all(one.x1 + 4 < other.x0 for one, other in itertools.pairwise(boxes))


def test_a_panel_above_one_of_another_x_keeps_its_label():
    charts = [Chart(x, x, "y", [Points([1.0, 2.0], [0.0, 1.0])]) for x in ("a", "b", "c", "b", "c")]
    grid = Grid("g", charts, columns=2, share_x=False)
    assert [axes.get_xlabel() for axes in to_matplotlib(grid).axes[:5]] == ["a", "", "", "b", "c"]
    layout = to_plotly(grid)["layout"]
    titles = [layout[f"xaxis{number}".removesuffix("1")]["title"]["text"] for number in range(1, 6)]
    assert titles == ["a", "", "", "b", "c"]


@pytest.mark.parametrize("ratio", [4.1, 4.9, 9.1])
def test_ticks_under_a_decade_do_not_overlap(ratio):
    """Even steps lie closest at the upper end of a log axis."""
    span = [15_700.0, 15_700 * ratio]
    chart = Chart("t", "x", "y", [Points(np.array(span) / 15_700 * 1.35, span)], log_x=True, log_y=True)
    for columns in (4, 2):
        drawn = to_matplotlib(Grid("g", [chart] * 4, columns=columns, share_x=False))
        drawn.draw_without_rendering()
        for letter, axes in itertools.product("xy", drawn.axes):
            low, high = axes.get_xlim() if letter == "x" else axes.get_ylim()
            axis = axes.xaxis if letter == "x" else axes.yaxis
            seen = [one for one, at in zip(axis.get_ticklabels(), axis.get_ticklocs()) if low <= at <= high]
            boxes = [label.get_window_extent() for label in seen if label.get_text() and label.get_visible()]
            if boxes:  # panels share the labels of an axis
                assert len(boxes) > 1
            for one, other in itertools.pairwise(boxes):
                assert one.x1 < other.x0 if letter == "x" else one.y1 < other.y0


@pytest.mark.parametrize("panels", [1, 3])
def test_a_chart_grows_with_its_rows_so_that_their_labels_do_not_overlap(panels):
    def picture(rows):
        names = {float(row): f"level {row}" for row in range(rows)}
        chart = Chart("t", "x", "", [Points(np.ones(rows), np.arange(rows))], y_ticks=names, rows=rows)
        return chart if panels == 1 else Grid("g", [chart] * panels, columns=1, share_x=False, share_y=False)

    few, many = picture(2), picture(40)
    assert to_matplotlib(few).get_figheight() < to_matplotlib(many).get_figheight()
    assert to_plotly(few).layout.height < to_plotly(many).layout.height
    drawn = to_matplotlib(many)
    drawn.draw_without_rendering()
    boxes = [label.get_window_extent() for label in drawn.axes[0].get_yticklabels()]
    assert len(boxes) == 40
    assert all(low.y1 <= high.y0 for low, high in itertools.pairwise(boxes))
    layout = to_plotly(many).layout
    low, high = layout.yaxis.domain or (0, 1)
    inner = layout.height - layout.margin.t - layout.margin.b
    assert (high - low) * inner >= 40 * layout.font.size * 1.3


def test_points_have_bars_across():
    trace, _ = of(Chart("t", "x", "y", [Points([1, 2], [3, 4], x_error=[0.5, 0.25], name="a")]), "a")
    assert list(trace.error_x.array) == [0.5, 0.25]
    axes = to_matplotlib(Chart("t", "x", "y", [Points([1, 2], [3, 4], x_error=[0.5, 0.25])])).axes[0]
    ends = [segment[:, 0].tolist() for lines in axes.collections for segment in lines.get_segments()]
    assert ends == [[0.5, 1.5], [1.75, 2.25]]


def test_bars_reach_farther_on_one_side():
    points = Points([1, 2], [3, 4], x_error=[[0.5, 0.0], [0.25, 1.0]], name="a")
    trace, _ = of(Chart("t", "x", "y", [points]), "a")
    assert [list(trace.error_x.arrayminus), list(trace.error_x.array)] == [[0.5, 0.0], [0.25, 1.0]]
    assert trace.error_x.symmetric is False
    axes = to_matplotlib(Chart("t", "x", "y", [points])).axes[0]
    ends = [segment[:, 0].tolist() for lines in axes.collections for segment in lines.get_segments()]
    assert ends == [[0.5, 1.25], [2.0, 3.0]]


@pytest.mark.parametrize("shared", [True, False])
def test_panels_share_ticks_where_they_share_an_axis(shared):
    """A panel of its own scale may even be linear, and below zero."""
    low = Chart("t", "x", "y", [Line([1, 2], [0.02, 3.0])], log_y=True)
    high = Chart("t", "x", "y", [Line([1, 2], [20.0, 3e4] if shared else [-1.0, 1.0])], log_y=shared)
    grid = Grid("g", [low, high], share_y=shared)
    layout = to_plotly(grid).layout
    assert (max(layout.yaxis.tickvals) > 1e4) == shared
    assert (layout.yaxis2.tickvals is not None) == shared
    labels = [label.get_text() for label in to_matplotlib(grid).axes[0].get_yticklabels()]
    assert ("10,000" in labels) == shared


def test_given_ticks_and_ranges_are_kept():
    chart = Chart("t", "x", "y", [Line(X, X)], log_x=True, x_ticks=[2, 4, 8], y_ticks={1: "one"}, x_range=(1, 10))
    layout = to_plotly(chart).layout
    assert (list(layout.xaxis.tickvals), list(layout.xaxis.ticktext)) == ([2, 4, 8], ["2", "4", "8"])
    assert list(layout.yaxis.ticktext) == ["one"]
    assert list(layout.xaxis.range) == [0, 1]
    axes = to_matplotlib(chart).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "4", "8"]
    assert axes.get_xlim() == (1, 10)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Line([1, 2], [1, 2, 3], name="a"), "one length"),
        (lambda: Line([[1]], [[1]]), "one length"),
        (lambda: Line([1], [1], lo=[0]), "both lo and hi"),
        (lambda: Heatmap([1, 2]), "two axes"),
        (lambda: Heatmap([[1, 2]], x_labels=["a"]), "1 x labels for 2"),
        (lambda: Points([1], [1], x_error=[1, 2]), "one length"),
        (lambda: Chart("t", "", "", [], rows=-1), "rows must not be negative"),
        (lambda: Chart("t", "", "", [], y_range=(2, 1)), "y_range"),
        (lambda: Chart("t", "", "", [], log_x=True, x_range=(0, 1)), "log axis"),
        (lambda: Chart("t", "", "", [], log_y=True, hlines=[HLine(0, "f")]), "log axis"),
        (lambda: Chart("t", "", "", [Bars(["a"], [1]), Bars(["b"], [1])]), "same labels"),
        (lambda: Grid("t", []), "at least one panel"),
    ],
)
def test_impossible_charts_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_a_picture_is_described_in_words():
    chart = Chart("Loss", "step", "nats", [Line(X, X, name="model")], hlines=[HLine(1, "floor")])
    assert describe(chart) == "Loss: nats against step. Shown: model, floor."
    assert describe(Grid("Two", [chart, chart])).startswith("Two: 2 panels, each with nats against step")


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = write_bytes(tmp_path / "report.html", b"old")

    def refuse(*_):
        raise OSError("no space")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(UserError, match=r"report\.html: cannot be written \(no space\)"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_panel_of_few_named_rows_is_lower_than_one_of_many():
    def panel(rows):
        names = {float(row): f"level {row}" for row in range(rows)}
        return Chart(f"{rows}", "x", "", [Points(np.ones(rows), np.arange(rows))], y_ticks=names, rows=rows)

    grid = Grid("g", [panel(16), panel(3), panel(16)], columns=1, share_x=False, share_y=False)
    layout = to_plotly(grid).layout
    inner = layout.height - layout.margin.t - layout.margin.b
    (many, few, last) = [(axis.domain[1] - axis.domain[0]) * inner for axis in
                         (layout.yaxis, layout.yaxis2, layout.yaxis3)]  # fmt: skip
    assert many == pytest.approx(last)
    assert 66 <= few < 0.4 * many
    gaps = [(a.domain[0] - b.domain[1]) * inner for a, b in
            ((layout.yaxis, layout.yaxis2), (layout.yaxis2, layout.yaxis3))]  # fmt: skip
    assert gaps == pytest.approx([gaps[0]] * 2)
    assert 50 < gaps[0] < 80  # ticks, a label and a title
    drawn = to_matplotlib(grid)
    drawn.draw_without_rendering()
    upper, middle, _ = (axes.get_window_extent().height for axes in drawn.axes)
    assert middle < 0.5 * upper


def test_a_grid_s_legend_can_have_an_order_of_its_own():
    panels = [Chart(n, "x", "y", [Points([1], [2], name=n), Points([1], [2], name="seed")]) for n in ("H1", "H3", "H2")]
    grid = Grid("g", panels, legend=("H1", "H2", "H3"))
    shown = sorted((t.legendrank, t.name) for t in to_plotly(grid).data if t.showlegend)
    assert [name for _, name in shown] == ["H1", "H2", "H3", "seed"]
    (legend,) = to_matplotlib(grid).legends
    assert [text.get_text() for text in legend.get_texts()] == ["H1", "H2", "H3", "seed"]


def test_panels_whose_titles_say_it_all_are_described_by_them():
    panels = [Chart(name, "λ", "", [Line([1, 2], [1, 2])]) for name in ("Loss (nats)", "Skill")]
    assert describe(Grid("G", panels)) == "G: Loss (nats); Skill."
