"""Charts drawn by matplotlib: for paper, and for readers whose browser runs no script."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from bestguess.report.charts import (
    Bars,
    Chart,
    Curve,
    Grid,
    Heatmap,
    Line,
    Picture,
    Points,
    panels_of,
    sharing,
    tick_places,
)
from bestguess.report.look import (
    BAND_OPACITY,
    DIVERGING,
    GRID,
    INK,
    PAPER,
    SEQUENTIAL,
    Style,
    band,
    drawable,
    fold,
    heat_range,
    log_ticks,
    role_style,
    styles,
)

WIDTH = 7.0  # inches
HEIGHT = 3.9
PANEL_HEIGHT = 2.1
ROW_HEIGHT = 0.2  # of a line of labels on the y-axis
LOW_PANEL = 0.8  # of what is drawn in a panel of one named row, or of a few
TITLE_LETTERS = 13  # of a panel's title in an inch of the figure's width
LETTERS = 11  # of a label beside an inch of a panel's height, of which its title and the ticks take a part
_TITLE = 11
_SIDE_BY_SIDE = 12  # columns of a heat map whose names lie level; of more they stand upright
_UPRIGHT = 5.5  # points, of such names
_POINT = 0.75  # points in a CSS pixel
_DASHES: dict[str, Any] = {
    "solid": "-",
    "dash": (0, (5, 2.5)),
    "dashdot": (0, (5, 2, 1.2, 2)),
    "dot": (0, (1.2, 1.8)),
}
_SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelcolor": INK[0],
    "axes.edgecolor": INK[0],
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.formatter.limits": (-4, 6),
    "grid.color": GRID[0],
    "grid.linewidth": 0.7,
    "text.color": INK[0],
    "text.parse_math": False,  # a dollar in a name is a dollar
    "xtick.color": INK[0],
    "ytick.color": INK[0],
    "svg.fonttype": "none",  # letters stay letters: a third of the size, and they can be searched
    "svg.hashsalt": "bestguess",  # the same data give the same bytes
    "path.simplify_threshold": 0.5,
}


@contextmanager
def _look() -> Iterator[None]:
    """Draw in our look, silent about fonts and letters that this machine lacks."""
    import logging
    import warnings

    fonts = logging.getLogger("matplotlib.font_manager")
    level = fonts.level
    fonts.setLevel(logging.ERROR)
    try:
        with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            yield
    finally:
        fonts.setLevel(level)


def render(picture: Picture, kind: str, dpi: float = 200, titled: bool = True) -> bytes:
    """Return the picture as the bytes of a `png`, `svg` or `pdf` file, with its title or without."""
    return render_all(picture, (kind,), dpi, titled)[0]


def render_all(picture: Picture, kinds: Sequence[str], dpi: float = 200, titled: bool = True) -> list[bytes]:
    """Return the bytes of one file of each kind, drawn and laid out once for all."""
    files = []
    with _look():
        drawn = figure(picture, titled)
        # The layout takes as long as the drawing, and `savefig` would find it anew for each file. It would also draw
        # everything twice, once without a result, for layouts that depend on what is drawn: a canvas draws once.
        engine = drawn.get_layout_engine()
        assert engine is not None
        engine.execute(drawn)
        drawn.set_layout_engine("none")
        for kind in kinds:
            buffer = io.BytesIO()
            drawn.set_dpi(dpi)
            match kind:
                case "png":
                    FigureCanvasAgg(drawn).print_png(buffer, metadata={"Software": None})
                case "svg":
                    FigureCanvasSVG(drawn).print_svg(buffer, metadata={"Date": None})
                case "pdf":
                    from matplotlib.backends.backend_pdf import FigureCanvasPdf

                    FigureCanvasPdf(drawn).print_pdf(buffer, metadata={"CreationDate": None})
                case _:
                    raise ValueError(f"kind {kind!r}: png, svg or pdf")
            files.append(buffer.getvalue())
    return files


def figure(picture: Picture, titled: bool = True) -> Figure:
    """Return the matplotlib figure of a chart or a grid; it belongs to no global state."""
    panels = panels_of(picture)
    columns = min(picture.columns, len(panels)) if isinstance(picture, Grid) else 1
    rows = -(-len(panels) // columns)
    # A panel's title, ticks and label take 0.6 inches, a figure's title and legend 0.8.
    # Of several, one with few named rows is lower than one with many.
    tall = [0.6 + max(LOW_PANEL, ROW_HEIGHT * panel.rows) if panel.rows else PANEL_HEIGHT for panel in panels]
    talls = [max(tall[row * columns :][:columns]) for row in range(rows)]
    height = max(HEIGHT, 0.8 + talls[0]) if len(panels) == 1 else 0.8 + sum(talls)
    with _look():
        square = not isinstance(picture, Grid) and picture.equal_aspect
        size = (0.7 * WIDTH, 0.6 * WIDTH) if square else (WIDTH, height)
        drawn = Figure(figsize=size, facecolor=PAPER[0], layout="constrained")
        share_x = isinstance(picture, Grid) and picture.share_x
        share_y = isinstance(picture, Grid) and picture.share_y
        ratios = [one - 0.6 for one in talls]
        spots = drawn.subplots(
            rows, columns, squeeze=False, sharex=share_x, sharey=share_y, height_ratios=ratios
        ).ravel()
        heat = [series for panel in panels for series in panel.series if isinstance(series, Heatmap)]
        for chart, look, axes in zip(panels, styles(panels), spots):
            _panel(chart, look, axes, heat)
            if isinstance(picture, Grid):
                room = WIDTH / columns / (2 if chart.y_ticks else 1)  # names of rows take half of it
                axes.set_title(fold(chart.title, round(room * TITLE_LETTERS)), loc="left")
        for chart, axes in zip(panels, spots):  # once all are drawn: panels that share an axis share its ticks
            _ticks(chart, sharing(picture, chart), axes)
        if isinstance(picture, Grid):
            _share_labels(list(spots), len(panels), columns, share_x, share_y)
        if rows > 1:
            # The labels of stacked panels would meet: they take as many lines as they need.
            for number, axes in enumerate(spots):
                axes.set_ylabel(fold(axes.get_ylabel(), round(talls[number // columns] * LETTERS)))
        for empty in spots[len(panels) :]:
            empty.set_visible(False)
        if heat:
            images = [image for axes in spots for image in axes.get_images()]
            bar = drawn.colorbar(images[0], ax=list(spots[: len(panels)]), shrink=0.9, pad=0.02)
            bar.outline.set_visible(False)
            bar.set_label(heat[0].unit)
        first = picture.legend if isinstance(picture, Grid) else ()
        _legend(drawn, list(spots), picture.title if titled else "", first)
    return drawn


def _share_labels(spots: list[Axes], panels: int, columns: int, share_x: bool, share_y: bool) -> None:
    """Keep the axes' labels at the outer edge, below the last panel of every column, and above a panel of another x."""
    for number, axes in enumerate(spots[:panels]):
        last = number + columns >= panels
        if not last and spots[number + columns].get_xlabel() == axes.get_xlabel():
            axes.set_xlabel("")
        if number % columns:
            axes.set_ylabel("")
        if share_x:
            axes.tick_params(labelbottom=last)


def _panel(chart: Chart, look: list[Style], axes: Axes, heat: list[Heatmap]) -> None:
    for letter, log, limits in (("x", chart.log_x, chart.x_range), ("y", chart.log_y, chart.y_range)):
        if log:
            getattr(axes, f"set_{letter}scale")("log", nonpositive="clip")
        if limits is not None:
            getattr(axes, f"set_{letter}lim")(*limits)
    axes.set_xlabel(chart.x)
    axes.set_ylabel(chart.y)
    bars = [series for series in chart.series if isinstance(series, Bars)]
    for series, style in zip(chart.series, look):
        _series(chart, series, style, axes, bars, heat)
    for line in chart.hlines:
        style = role_style(line.role)
        axes.axhline(line.y, color=style.light, linewidth=style.width * _POINT, linestyle=_DASHES[style.dash])
        axes.annotate(
            line.label, (0.01, line.y), (0, 2), xycoords=axes.get_yaxis_transform(),
            textcoords="offset points", color=style.light, fontsize=8.5,
        )  # fmt: skip
    if chart.equal_aspect:
        axes.set_aspect("equal", adjustable="box")


def _series(chart: Chart, series: Any, style: Style, axes: Axes, bars: list[Bars], heat: list[Heatmap]) -> None:
    if isinstance(series, Heatmap):
        low, high, diverging = heat_range(heat)
        colours = LinearSegmentedColormap.from_list("bestguess", list(DIVERGING if diverging else SEQUENTIAL))
        rows, columns = np.shape(series.z)
        left, top = series.first - 0.5, series.first - 0.5
        axes.imshow(
            drawable(series.z), cmap=colours, vmin=low, vmax=high, interpolation="nearest",
            aspect="equal" if chart.equal_aspect else "auto", extent=(left, left + columns, top + rows, top),
        )  # fmt: skip
        axes.grid(False)
        for letter, labels in (("x", series.x_labels), ("y", series.y_labels)):
            if labels is not None:
                getattr(axes, f"set_{letter}ticks")(range(series.first, series.first + len(labels)), labels)
                if letter == "x" and len(labels) > _SIDE_BY_SIDE:
                    axes.tick_params(axis="x", labelrotation=90, labelsize=_UPRIGHT)
        return
    named: dict[str, Any] = {"color": style.light, "label": series.name or "_nolegend_"}
    dashes: dict[str, Any] = {"linestyle": _DASHES[style.dash], "linewidth": style.width * _POINT}
    # The oracle over the model: its dashes show both where they agree. Bands lie under all lines.
    named["zorder"] = 3 if series.role == "oracle" else 2
    if isinstance(series, Bars):
        width = 0.7 / len(bars)
        places = np.arange(len(series.labels)) + (bars.index(series) - (len(bars) - 1) / 2) * width
        error = None if series.error is None else drawable(series.error)
        axes.bar(
            places,
            drawable(series.y, chart.log_y),
            width * 0.94,
            yerr=error,
            ecolor=INK[0],
            capsize=2,
            **named,
        )
        axes.set_xticks(range(len(series.labels)), list(series.labels))
        axes.grid(False, axis="x")
        return
    x, y = drawable(series.x, chart.log_x), drawable(series.y, chart.log_y)
    if isinstance(series, Points):
        error, across = (None if one is None else drawable(one) for one in (series.error, series.x_error))
        axes.errorbar(
            x, y, yerr=error, xerr=across, fmt="o", markersize=4.5, markeredgecolor=PAPER[0], markeredgewidth=0.6,
            ecolor=style.light, elinewidth=1.1, capsize=2, **named,
            **(dashes if series.connect else {"linestyle": "none"}),
        )  # fmt: skip
        return
    if isinstance(series, Line) and series.lo is not None and series.hi is not None:
        for outline in band(chart, series.x, series.lo, series.hi):
            axes.fill(outline[:, 0], outline[:, 1], color=style.light, alpha=BAND_OPACITY, linewidth=0, zorder=1.5)
    assert isinstance(series, Line | Curve)
    axes.plot(x, y, **named, **dashes)


def _ticks(chart: Chart, panels: dict[str, Sequence[Chart]], axes: Axes) -> None:
    heat = [series for series in chart.series if isinstance(series, Heatmap)]
    for letter, log, ticks in (("x", chart.log_x, chart.x_ticks), ("y", chart.log_y, chart.y_ticks)):
        axis = getattr(axes, f"{letter}axis")
        limits = axis.get_view_interval()
        chosen = log_ticks(panels[letter], letter, "$10^{{{}}}$") if log else None
        if ticks is not None:
            chosen = tick_places(ticks)
        labels = [getattr(series, f"{letter}_labels") for series in heat]
        if chosen is not None:
            inside = [(p, t) for p, t in zip(*chosen) if min(limits) <= p <= max(limits)]
            axis.set_ticks([place for place, _ in inside], [text for _, text in inside], parse_math=ticks is None)
            axis.set_minor_locator(NullLocator())
        elif log:  # nothing is shown
            axis.set_ticks([])
            axis.set_minor_locator(NullLocator())
        elif heat and not any(labels):
            axis.set_major_locator(MaxNLocator(integer=True, nbins=8 if letter == "y" else _across(axes, 8)))
        elif not labels and 1000 <= np.abs(limits).max() < 1e7:
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}".replace("-", "−")))
        elif letter == "x" and not heat and chart.rows > 1 and not isinstance(axis.get_major_locator(), FixedLocator):
            axis.set_major_locator(MaxNLocator(nbins=_across(axes, 6)))  # names of rows take half of the width


def _across(axes: Axes, most: int) -> int:
    """Return how many steps of the x-axis a panel has room for, `most` in a figure of one column."""
    place = axes.get_subplotspec()
    return most if place is None else max(3, most // place.get_gridspec().ncols)


def _legend(drawn: Figure, spots: list[Axes], title: str, first: Sequence[str]) -> None:
    """Put one frameless legend, a name once, above the panels, with the title over it; the names `first` lead it."""
    found: dict[str, Any] = {}
    for axes in spots:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            found.setdefault(label, handle)
    found = {name: found[name] for name in first if name in found} | found
    if len(found) < 2:
        if title:
            drawn.suptitle(title, x=0.01, ha="left", fontsize=_TITLE)
        return
    columns = max(1, min(len(found), 105 // (max(map(len, found)) + 7)))  # about 105 letters across
    # matplotlib fills columns first; a legend is read along its lines.
    names = [name for column in range(columns) for name in list(found)[column::columns]]
    legend = drawn.legend(
        [found[name] for name in names], names, loc="outside upper left", ncols=columns, frameon=False,
        handlelength=2.4, columnspacing=1.4, fontsize=8.5, borderaxespad=0.2, borderpad=0.2,
        title=title or None, title_fontsize=_TITLE, alignment="left",
    )  # fmt: skip
    legend.get_title().set_color(INK[0])
