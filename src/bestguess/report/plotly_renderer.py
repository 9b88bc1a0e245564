"""Charts drawn by Plotly: interactive, on transparent paper."""

from __future__ import annotations

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
    tick_places,
)
from bestguess.report.look import (
    BAND_OPACITY,
    DIVERGING,
    FONT,
    GRID,
    INK,
    PAPER,
    SEQUENTIAL,
    Style,
    band,
    drawable,
    heat_range,
    rgb_scale,
    rgba,
    role_style,
    styles,
)

HEIGHT = 400
PANEL_HEIGHT = 230
GRID_MARGIN = 110


def figure(picture: Picture) -> go.Figure:
    """Return the Plotly figure of a chart or a grid."""
    panels = panels_of(picture)
    looks = styles(panels)
    drawn = go.Figure()
    named: set[str] = set()
    for number, (chart, look) in enumerate(zip(panels, looks), start=1):
        for series, style in zip(chart.series, look):
            first = bool(series.name) and series.name not in named
            named.add(series.name)
            for trace in _traces(chart, series, style, number):
                trace.update(xaxis=_axis("x", number), yaxis=_axis("y", number))
                trace.showlegend = bool(trace.showlegend is not False and first)
                drawn.add_trace(trace)
        _hlines(drawn, chart, number)
        if isinstance(picture, Grid):
            drawn.add_annotation(
                xref=f"{_axis('x', number)} domain", yref=f"{_axis('y', number)} domain", x=0, y=1,
                xanchor="left", yanchor="bottom", text=chart.title, showarrow=False, font={"size": 12},
            )  # fmt: skip
    drawn.update_layout(_layout(picture, shown=len(named - {""}) > 1))
    return drawn


def _axis(letter: str, number: int) -> str:
    return letter if number == 1 else f"{letter}{number}"


def _traces(chart: Chart, series: Any, style: Style, number: int) -> list[Any]:
    if isinstance(series, Heatmap):
        return [_heatmap(series)]
    common: dict[str, Any] = {"name": series.name, "legendgroup": series.name or None}
    if isinstance(series, Bars):
        return [
            go.Bar(
                x=np.arange(len(series.labels)),
                y=drawable(series.y, chart.log_y),
                error_y=_error(series.error, style),
                marker={"color": style.light},
                customdata=list(series.labels),
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
            error_y=_error(series.error, style),
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


def _error(error: Any, style: Style) -> dict[str, Any] | None:
    if error is None:
        return None
    return {"type": "data", "array": drawable(error), "color": style.light, "thickness": 1.4, "width": 3}


def _heatmap(series: Heatmap) -> Any:
    z = drawable(series.z)
    return go.Heatmap(
        z=z,
        x=np.arange(z.shape[1]),
        y=np.arange(z.shape[0]),
        coloraxis="coloraxis",
        hoverongaps=False,
        hovertemplate="row %{y}, column %{x}: %{z:.4~g}<extra></extra>",
        name=series.name,
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
            xref=f"{x} domain", yref=y, x=0.01, y=place, text=line.label, showarrow=False,
            xanchor="left", yanchor="bottom", font={"color": style.light, "size": 12},
        )  # fmt: skip


def _layout(picture: Picture, shown: bool) -> dict[str, Any]:
    panels = panels_of(picture)
    layout: dict[str, Any] = {
        "title": {"text": picture.title, "x": 0, "xref": "paper", "font": {"size": 16}},
        "font": {"family": FONT, "size": 13, "color": INK[0]},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": shown,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom",
                   "bgcolor": "rgba(0,0,0,0)", "font": {"size": 12}, "title": {"text": ""}},
        "margin": {"l": 62, "r": 16, "t": 76, "b": 52},
        "hoverlabel": {"font": {"family": FONT, "size": 12}},
        "hovermode": "closest",
        "bargap": 0.3,
        "height": HEIGHT,
        "template": "none",
    }  # fmt: skip
    heat = [series for panel in panels for series in panel.series if isinstance(series, Heatmap)]
    if heat:
        layout["coloraxis"] = _coloraxis(heat)
    columns = min(picture.columns, len(panels)) if isinstance(picture, Grid) else 1
    places = domains(len(panels), columns)
    for number, (panel, (across, up)) in enumerate(zip(panels, places), start=1):
        x, y = axes(panel)
        x |= {"domain": across, "anchor": _axis("y", number)}
        y |= {"domain": up, "anchor": _axis("x", number)}
        if panel.equal_aspect:
            y |= {"scaleanchor": _axis("x", number), "scaleratio": 1}
        if isinstance(picture, Grid):
            column = (number - 1) % columns
            last = number - 1 + columns >= len(panels)
            if picture.share_x:
                x |= {"matches": "x"} if number > 1 else {}
                x |= {"showticklabels": last}
            if picture.share_y:
                y |= {"matches": "y"} if number > 1 else {}
                y |= {"showticklabels": column == 0}
            if not last:
                x["title"]["text"] = ""
            if column:
                y["title"]["text"] = ""
        layout[f"xaxis{'' if number == 1 else number}"] = x
        layout[f"yaxis{'' if number == 1 else number}"] = y
    if isinstance(picture, Grid):
        rows = -(-len(panels) // columns)
        layout["height"] = GRID_MARGIN + PANEL_HEIGHT * rows
        layout["legend"] |= {"yref": "container", "y": 0.99, "yanchor": "top"}
        # What a page needs to lay the panels out again in a narrow window.
        layout["meta"] = {
            "grid": {
                "panels": len(panels), "columns": columns,
                "share_x": picture.share_x, "share_y": picture.share_y,
                "x": [panel.x for panel in panels], "y": [panel.y for panel in panels],
                "margin": GRID_MARGIN, "panel_height": PANEL_HEIGHT,
            }
        }  # fmt: skip
    return layout


def domains(panels: int, columns: int) -> list[tuple[list[float], list[float]]]:
    """Return each panel's (x domain, y domain) in paper units, row by row from the top left."""
    rows = -(-panels // columns)
    wide, high = 0.05 if columns > 1 else 0.0, 0.25 / rows if rows > 1 else 0.0
    width, height = (1 - wide * (columns - 1)) / columns, (1 - high * (rows - 1)) / rows
    places = []
    for panel in range(panels):
        row, column = divmod(panel, columns)
        left, top = column * (width + wide), 1 - row * (height + high)
        places.append(([left, left + width], [max(top - height, 0.0), top]))
    return places


def axes(chart: Chart) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return Plotly's x axis and y axis of a chart."""
    x = _one_axis(chart.x, chart.log_x, chart.x_range, chart.x_ticks)
    y = _one_axis(chart.y, chart.log_y, chart.y_range, chart.y_ticks)
    for series in chart.series:
        if isinstance(series, Bars):
            x |= {
                "tickvals": list(range(len(series.labels))),
                "ticktext": list(series.labels),
                "showgrid": False,
            }
        if isinstance(series, Heatmap):
            rows, columns = np.shape(series.z)
            x |= {"showgrid": False, "range": [-0.5, columns - 0.5], "constrain": "domain"}
            y |= {"showgrid": False, "range": [rows - 0.5, -0.5], "constrain": "domain"}
            for axis, labels in ((x, series.x_labels), (y, series.y_labels)):
                if labels is not None:
                    axis |= {"tickvals": list(range(len(labels))), "ticktext": list(labels)}
    return x, y


def _one_axis(title: str, log: bool, limits: tuple[float, float] | None, ticks: Any) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "title": {"text": title, "standoff": 8},
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
        "minexponent": 4,
    }
    if limits is not None:
        axis["range"] = [float(np.log10(limit)) for limit in limits] if log else list(limits)
    if ticks is not None:
        axis["tickvals"], axis["ticktext"] = tick_places(ticks)
    return axis


def _coloraxis(heat: Sequence[Heatmap]) -> dict[str, Any]:
    low, high, diverging = heat_range(heat)
    return {
        "cmin": low,
        "cmax": high,
        "colorscale": rgb_scale(DIVERGING if diverging else SEQUENTIAL),
        "colorbar": {"thickness": 12, "outlinewidth": 0, "title": {"text": heat[0].unit}, "len": 1},
    }
