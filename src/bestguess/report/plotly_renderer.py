"""Charts drawn by Plotly: interactive, on transparent paper."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

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
    BASELINE,
    DIVERGING,
    FONT,
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
    rgb_scale,
    rgba,
    role_style,
    span,
    styles,
)

HEIGHT = 400  # of a chart, in CSS pixels
SQUARE_HEIGHT = 480
PANEL_HEIGHT = 230
LETTER = 6.5  # width of a letter of an axis' label
ROW_HEIGHT = 22  # of a line of labels on the y-axis
LOW_PANEL = 90  # height of a panel of one named row, or of a few
BETWEEN = 64  # from a panel of named rows to the next: ticks, a label and a title


def figure(picture: Picture) -> go.Figure:
    """Return the Plotly figure of a chart or a grid."""
    panels = panels_of(picture)
    looks = styles(panels)
    drawn = go.Figure()
    named: set[str] = set()
    ranks = list(picture.legend) if isinstance(picture, Grid) else []
    for number, (chart, look) in enumerate(zip(panels, looks), start=1):
        traces = []
        for place, (series, style) in enumerate(zip(chart.series, look)):
            first = bool(series.name) and series.name not in named
            named.add(series.name)
            for trace in _traces(chart, series, style):
                trace.update(xaxis=_axis("x", number), yaxis=_axis("y", number))
                trace.showlegend = bool(trace.showlegend is not False and first)
                if not isinstance(series, Heatmap):
                    trace.legendrank = ranks.index(series.name) if series.name in ranks else len(ranks) + place + 1
                band_below = isinstance(trace, go.Scatter) and trace.fill == "toself"
                traces.append((0 if band_below else 2 if series.role == "oracle" else 1, trace))
        # The oracle over the model: its dashes show both where they agree. Bands lie under all lines.
        # (Plotly's own `zorder` loses the axis lines.)
        drawn.add_traces([trace for _, trace in sorted(traces, key=lambda pair: pair[0])])
        _hlines(drawn, chart, number)
        if isinstance(picture, Grid):
            drawn.add_annotation(
                xref=f"{_axis('x', number)} domain", yref=f"{_axis('y', number)} domain", x=0, y=1,
                xanchor="left", yanchor="bottom", text=_say(chart.title), showarrow=False, font={"size": 12},
            )  # fmt: skip
    drawn.update_layout(_layout(picture, legend=len(named - {""}) > 1))
    return drawn


def _say(text: str) -> str:
    """Return text as it is for Plotly, which would read a little HTML in it."""
    return html.escape(text, quote=False)


def _fold(text: str, height: int) -> str:
    """Return the label of a y-axis in lines no longer than its panel is high, or stacked panels' labels would meet."""
    return _say_lines(fold(text, int(0.9 * height / LETTER)))


def _say_lines(text: str) -> str:
    return _say(text).replace("\n", "<br>")


def _say_all(texts: Sequence[str]) -> list[str]:
    return [_say(text) for text in texts]


def _axis(letter: str, number: int) -> str:
    return letter if number == 1 else f"{letter}{number}"


def _traces(chart: Chart, series: Any, style: Style) -> list[Any]:
    if isinstance(series, Heatmap):
        return [_heatmap(series)]
    common: dict[str, Any] = {"name": _say(series.name), "legendgroup": series.name or None}
    if isinstance(series, Bars):
        return [
            go.Bar(
                x=np.arange(len(series.labels)),
                y=drawable(series.y, chart.log_y),
                error_y=_error(series.error, INK[0]),
                marker={"color": style.light},
                customdata=_say_all(series.labels),
                hovertemplate="%{customdata}: %{y:.5~g}<extra>%{fullData.name}</extra>",
                **common,
            )
        ]
    x, y = drawable(series.x, chart.log_x), drawable(series.y, chart.log_y)
    line = {"color": style.light, "width": style.width, "dash": style.dash}
    hover = "%{x:,.5~g}: %{y:.5~g}<extra>%{fullData.name}</extra>"
    if isinstance(series, Points):
        points = go.Scatter(
            x=x,
            y=y,
            mode="lines+markers" if series.connect else "markers",
            line=line,
            marker={"color": style.light, "size": 7, "line": {"color": PAPER[0], "width": 1}},
            error_x=_error(series.x_error, style.light),
            error_y=_error(series.error, style.light),
            hovertemplate=hover,
            **common,
        )
        return [points]
    if isinstance(series, Curve):
        return [go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", **common)]
    assert isinstance(series, Line)
    traces = []
    if series.lo is not None and series.hi is not None:
        outlines = band(chart, series.x, series.lo, series.hi)
        if outlines:
            gap = np.full((1, 2), np.nan)
            outline = np.concatenate([part for whole in outlines for part in (whole, gap)][:-1])
            traces.append(
                go.Scatter(
                    x=outline[:, 0],
                    y=outline[:, 1],
                    mode="lines",
                    line={"width": 0},
                    fill="toself",
                    fillcolor=rgba(style.light, BAND_OPACITY),
                    hoverinfo="skip",
                    showlegend=False,
                    **common,
                )
            )
    traces.append(go.Scatter(x=x, y=y, mode="lines", line=line, hovertemplate=hover, **common))
    return traces


def _error(error: Any, colour: str) -> dict[str, Any] | None:
    if error is None:
        return None
    lengths = drawable(error)
    below = {"arrayminus": lengths[0], "symmetric": False} if lengths.ndim == 2 else {}
    return {
        "type": "data",
        "array": lengths[-1] if below else lengths,
        "color": colour,
        "thickness": 1.4,
        "width": 3,
    } | below


def _heatmap(series: Heatmap) -> Any:
    z = drawable(series.z)
    return go.Heatmap(
        z=z,
        x=series.first + np.arange(z.shape[1]),
        y=series.first + np.arange(z.shape[0]),
        coloraxis="coloraxis",
        hoverongaps=False,
        hovertemplate="row %{y}, column %{x}: %{z:.4~g}<extra></extra>",
        name=_say(series.name),
    )


def _hlines(drawn: go.Figure, chart: Chart, number: int) -> None:
    x, y = _axis("x", number), _axis("y", number)
    for line in chart.hlines:
        style = role_style(line.role)
        drawn.add_shape(
            type="line", xref=f"{x} domain", yref=y, x0=0, x1=1, y0=line.y, y1=line.y,
            line={"color": style.light, "width": style.width, "dash": style.dash},
        )  # fmt: skip
        # Plotly places annotations on a log axis by the logarithm, unlike shapes.
        place = float(np.log10(line.y)) if chart.log_y else line.y
        drawn.add_annotation(
            xref=f"{x} domain", yref=y, x=0.01, y=place, text=_say(line.label), showarrow=False,
            xanchor="left", yanchor="bottom", font={"color": style.light, "size": 12},
        )  # fmt: skip


def _layout(picture: Picture, legend: bool) -> dict[str, Any]:
    panels = panels_of(picture)
    square = not isinstance(picture, Grid) and panels[0].equal_aspect
    layout: dict[str, Any] = {
        "title": {"text": _say(picture.title), "x": 0, "xref": "paper", "font": {"size": 16}},
        "font": {"family": FONT, "size": 13, "color": INK[0]},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": legend,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom",
                   "bgcolor": "rgba(0,0,0,0)", "font": {"size": 12}, "title": {"text": ""}},
        "margin": {"l": 62, "r": 16, "t": 76 if legend else 48, "b": 52},
        # Left to itself, Plotly makes the buttons' ground of the paper's colour with its opacity at a half: dark grey.
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": BASELINE[0], "activecolor": INK[0]},
        "hoverlabel": {"font": {"family": FONT, "size": 12}},
        "hovermode": "closest",
        "bargap": 0.3,
        "height": SQUARE_HEIGHT if square else max(HEIGHT, 128 + _rows_height(panels)),
        "template": "none",
    }  # fmt: skip
    heat = [series for panel in panels for series in panel.series if isinstance(series, Heatmap)]
    if heat:
        layout["coloraxis"] = _coloraxis(heat)
    if isinstance(picture, Grid):
        return layout | _grid(picture, layout, bool(heat))
    layout["xaxis"], layout["yaxis"] = _axes(panels[0], sharing(picture, panels[0]))
    layout["yaxis"]["title"]["text"] = _fold(
        panels[0].y, layout["height"] - layout["margin"]["t"] - layout["margin"]["b"]
    )
    return layout


def _grid(picture: Grid, layout: dict[str, Any], heat: bool) -> dict[str, Any]:
    """Return what a grid's layout has over a single chart's: an x and a y axis for each panel."""
    count, columns = len(picture.panels), min(picture.columns, len(picture.panels))
    changed: dict[str, Any] = {}
    rows = -(-count // columns)
    # Of a panel's height, a quarter at the most lies between it and the next.
    panel_height = max(PANEL_HEIGHT, round(_rows_height(picture.panels) / 0.75))
    between, heights = 0.25 * panel_height, [0.0] * rows
    for number, panel in enumerate(picture.panels):  # a panel of few named rows is lower than one of many
        own = max(LOW_PANEL, ROW_HEIGHT * panel.rows) if panel.rows else panel_height - between * (rows - 1) / rows
        heights[number // columns] = max(heights[number // columns], own)
    if any(panel.rows for panel in picture.panels):
        between = BETWEEN
    # Numbers of its own need room.
    places = domains(count, columns, 0.05 if picture.share_y else 0.08, heights, between)
    for number, (panel, (across, up)) in enumerate(zip(picture.panels, places), start=1):
        x, y = _axes(panel, sharing(picture, panel))
        x |= {"domain": across, "anchor": _axis("y", number)}
        y |= {"domain": up, "anchor": _axis("x", number)}
        if panel.equal_aspect:
            y["scaleanchor"] = _axis("x", number)
        first, last = (number - 1) % columns == 0, number - 1 + columns >= count
        for axis, letter, shared, outer in ((x, "x", picture.share_x, last), (y, "y", picture.share_y, first)):
            if shared:
                axis |= {"showticklabels": outer, "ticks": "outside" if outer else ""} | (
                    {"matches": letter} if number > 1 else {}
                )
            if not outer and not (letter == "x" and picture.panels[number - 1 + columns].x != panel.x):
                axis["title"]["text"] = ""
        changed[f"xaxis{number if number > 1 else ''}"] = x
        changed[f"yaxis{number if number > 1 else ''}"] = y
    margin = layout["margin"] | {"t": layout["margin"]["t"] + 24}
    around = margin["t"] + margin["b"]
    labels = [_fold(panel.y, panel_height) for panel in picture.panels]
    for number in range(1, count + 1, columns):
        changed[f"yaxis{number if number > 1 else ''}"]["title"]["text"] = labels[number - 1]
    return changed | {
        "margin": margin,
        "height": around + round(sum(heights) + between * (rows - 1)),
        # Above the first panels' titles, however high the grid; from the left, however long the names of its rows.
        "legend": layout["legend"] | {"xref": "container", "yref": "container", "y": 1, "yanchor": "top"},
        # What a page needs to lay the panels out again in a narrow window.
        "meta": {
            "grid": {
                "panels": count, "columns": columns, "share_x": picture.share_x, "share_y": picture.share_y,
                "x": [_say(panel.x) for panel in picture.panels], "y": labels,
                "panel_height": panel_height, "panel_width": 165 if heat else 230,
            }
        },
    }  # fmt: skip


def _rows_height(panels: Sequence[Chart]) -> int:
    return ROW_HEIGHT * max(panel.rows for panel in panels)


def domains(
    panels: int, columns: int, gap: float, heights: Sequence[float], between: float
) -> list[tuple[list[float], list[float]]]:
    """Return each panel's (x domain, y domain) in paper units, row by row from the top left, `gap` between columns.

    heights: of each row of panels, with `between` from one to the next, in pixels.
    """
    wide = gap if columns > 1 else 0.0
    width = (1 - wide * (columns - 1)) / columns
    whole = sum(heights) + between * (len(heights) - 1)
    places = []
    for panel in range(panels):
        row, column = divmod(panel, columns)
        left, top = column * (width + wide), 1 - (sum(heights[:row]) + between * row) / whole
        places.append(([left, left + width], [max(top - heights[row] / whole, 0.0), top]))
    return places


def _axes(chart: Chart, panels: dict[str, Sequence[Chart]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return Plotly's x axis and y axis of a chart among the panels that it shares axes with."""
    x = _one_axis(chart.x, chart.log_x, chart.x_range, chart.x_ticks)
    y = _one_axis(chart.y, chart.log_y, chart.y_range, chart.y_ticks)
    for axis, letter, log, ticks in ((x, "x", chart.log_x, chart.x_ticks), (y, "y", chart.log_y, chart.y_ticks)):
        if log and ticks is None and (chosen := log_ticks(panels[letter], letter, "10<sup>{}</sup>")):
            axis["tickvals"], axis["ticktext"] = chosen
    for series in chart.series:
        if isinstance(series, Bars):
            x |= {"tickvals": list(range(len(series.labels))), "ticktext": _say_all(series.labels)}
            x["showgrid"] = False
        if isinstance(series, Heatmap):
            rows, columns = np.shape(series.z)
            low = series.first - 0.5
            x |= {"showgrid": False, "showline": False, "range": [low, low + columns]}
            y |= {"showgrid": False, "showline": False, "range": [low + rows, low]}
            for axis, labels, cells in ((x, series.x_labels, columns), (y, series.y_labels, rows)):
                if labels is None and cells <= 10:
                    axis["dtick"] = 1  # no half rows
                elif labels is not None:
                    places = list(range(series.first, series.first + len(labels)))
                    axis |= {"tickvals": places, "ticktext": _say_all(labels)}
    if chart.equal_aspect:
        x |= {"constrain": "domain", "constraintoward": "left"}
        y |= {"constrain": "domain", "constraintoward": "top", "scaleanchor": "x"}
        for axis, letter in ((x, "x"), (y, "y")):
            # Plotly draws lines up to the very edge, which would shave the unit circle.
            if "range" not in axis and (extent := span(panels[letter], letter)):
                room = 0.06 * (extent[1] - extent[0])
                axis["range"] = [extent[0] - room, extent[1] + room]
    return x, y


def _one_axis(title: str, log: bool, limits: tuple[float, float] | None, ticks: Any) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "title": {"text": _say(title), "standoff": 8, "font": {"size": 13}},
        "type": "log" if log else "linear",
        "gridcolor": GRID[0],
        "zeroline": False,
        "linecolor": INK[0],
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": INK[0],
        "automargin": True,
        "exponentformat": "power",
        "minexponent": 6,
        "separatethousands": True,
        "ticklabeloverflow": "allow",
    }
    if limits is not None:
        axis["range"] = [float(np.log10(limit)) for limit in limits] if log else list(limits)
    if ticks is not None:
        places, labels = tick_places(ticks)
        axis["tickvals"], axis["ticktext"] = places, [_say_lines(label) for label in labels]
    return axis


def _coloraxis(heat: Sequence[Heatmap]) -> dict[str, Any]:
    low, high, diverging = heat_range(heat)
    return {
        "cmin": low,
        "cmax": high,
        "colorscale": rgb_scale(DIVERGING if diverging else SEQUENTIAL),
        "colorbar": {
            "thickness": 12,
            "outlinewidth": 0,
            "title": {"text": _say(heat[0].unit)},
            "lenmode": "pixels",
            "len": 240,
            "y": 1,
            "yanchor": "top",
        },
    }
