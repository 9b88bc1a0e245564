"""Descriptions of charts: the data, and what each series *means* (its role). Nothing is drawn or written here.

`look` decides once, for both renderers, how a chart looks; `render` draws it with Plotly for the page and with
matplotlib for paper. Gaps are NaN: masked and infinite values, and on a log axis what is not positive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

Role: TypeAlias = Literal["model", "oracle", "baseline", "data", "guide"]
Dash: TypeAlias = Literal["solid", "dash", "dashdot", "dot"]
Ticks: TypeAlias = Sequence[float] | Mapping[float, str]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Series:
    """What every series has: a name for the legend ("" for none) and what decides its colour.

    role: what it means; None takes the palette's next colour. colour: an index into the palette, to pair
    series. shade: a position in [0, 1] on a scale for an ordered quantity, such as λ. dash: over the role's.
    """

    name: str = ""
    role: Role | None = None
    colour: int | None = None
    shade: float | None = None
    dash: Dash | None = None


@dataclass(frozen=True, eq=False)
class Line(_Series):
    """A line through (x, y), both of shape [n], with a band from `lo` to `hi` (± s.e., ±2σ) if given."""

    x: ArrayLike
    y: ArrayLike
    lo: ArrayLike | None = None
    hi: ArrayLike | None = None

    def __post_init__(self) -> None:
        _same_length(self, "x", "y", "lo", "hi")
        if (self.lo is None) != (self.hi is None):
            raise ValueError(f"line {self.name!r}: a band needs both lo and hi")


@dataclass(frozen=True, eq=False)
class Points(_Series):
    """Points at (x, y), both [n], with bars in y (`error`) or in x (`x_error`); `connect` joins them.

    A bar is ± its length [n], or reaches as far below and above as the rows of [2, n] say.
    """

    x: ArrayLike
    y: ArrayLike
    error: ArrayLike | None = None
    connect: bool = False
    x_error: ArrayLike | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _same_length(self, "x", "y")
        for name in ("error", "x_error"):
            given = getattr(self, name)
            if given is not None and np.shape(given) not in (np.shape(self.x), (2, *np.shape(self.x))):
                raise ValueError(
                    f"Points {self.name!r}: {name} needs one length a point, or two, got {np.shape(given)}"
                )


@dataclass(frozen=True, eq=False)
class Curve(_Series):
    """A parametric curve through (x, y), both of shape [n], such as the unit circle. A guide by default."""

    x: ArrayLike
    y: ArrayLike
    role: Role | None = field(default="guide", kw_only=True)

    def __post_init__(self) -> None:
        _same_length(self, "x", "y")


@dataclass(frozen=True, eq=False)
class Bars(_Series):
    """Upright bars of height `y` [n], one for each label [n], with bars of ± `error` [n] if given."""

    labels: Sequence[str]
    y: ArrayLike
    error: ArrayLike | None = None

    def __post_init__(self) -> None:
        _same_length(self, "labels", "y", "error")


@dataclass(frozen=True, eq=False)
class Heatmap(_Series):
    """A matrix `z` [rows, columns], row 0 at the top, coloured from `low` to `high` (None: as in the data).

    `diverging` centres the colours on zero. The labels, if given, name the rows and the columns; `first` is the number
    of the first row and of the first column.
    """

    z: ArrayLike
    x_labels: Sequence[str] | None = None
    y_labels: Sequence[str] | None = None
    low: float | None = None
    high: float | None = None
    diverging: bool = False
    unit: str = ""
    first: int = 0

    def __post_init__(self) -> None:
        shape = np.shape(self.z)
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"heat map {self.name!r}: z must have two axes, none empty; its shape is {shape}")
        for labels, size, axis in ((self.y_labels, shape[0], "y"), (self.x_labels, shape[1], "x")):
            if labels is not None and len(labels) != size:
                raise ValueError(f"heat map {self.name!r}: {len(labels)} {axis} labels for {size} cells")


Series: TypeAlias = Line | Points | Curve | Bars | Heatmap


@dataclass(frozen=True)
class HLine:
    """A labelled horizontal line across a chart, such as a floor."""

    y: float
    label: str
    role: Role = "oracle"


@dataclass(frozen=True, eq=False)
class Chart:
    """A chart: its title, the axes' labels (with units), its series and a caption that says what to see.

    Ranges are (low, high) in data units, None for as wide as the data. Ticks are positions, or positions with
    their labels. `equal_aspect` gives both axes one scale. `rows`: how many lines of labels the y-axis must have room
    for; the chart grows to hold them, and so do the other panels of its grid.
    """

    title: str
    x: str
    y: str
    series: Sequence[Series]
    caption: str = ""
    log_x: bool = field(default=False, kw_only=True)
    log_y: bool = field(default=False, kw_only=True)
    x_range: tuple[float, float] | None = field(default=None, kw_only=True)
    y_range: tuple[float, float] | None = field(default=None, kw_only=True)
    x_ticks: Ticks | None = field(default=None, kw_only=True)
    y_ticks: Ticks | None = field(default=None, kw_only=True)
    hlines: Sequence[HLine] = field(default=(), kw_only=True)
    equal_aspect: bool = field(default=False, kw_only=True)
    rows: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if self.rows < 0:
            raise ValueError(f"chart {self.title!r}: rows must not be negative, got {self.rows}")
        if len({tuple(series.labels) for series in self.series if isinstance(series, Bars)}) > 1:
            raise ValueError(f"chart {self.title!r}: all bars of a chart stand over the same labels")
        for axis, log, limits in (("x", self.log_x, self.x_range), ("y", self.log_y, self.y_range)):
            if limits is not None and (limits[0] >= limits[1] or (log and limits[0] <= 0)):
                raise ValueError(f"chart {self.title!r}: {axis}_range {limits} is empty or leaves the log axis")
        if self.log_y and any(line.y <= 0 for line in self.hlines):
            raise ValueError(f"chart {self.title!r}: a horizontal line at or below 0 has no place on a log axis")


@dataclass(frozen=True, eq=False)
class Grid:
    """Small multiples: panels of one kind, row by row, `columns` to a row; shared axes, one legend.

    `legend`: names that the legend lists first, in this order; the others follow as the panels bring them.
    """

    title: str
    panels: Sequence[Chart]
    caption: str = ""
    columns: int = field(default=3, kw_only=True)
    share_x: bool = field(default=True, kw_only=True)
    share_y: bool = field(default=True, kw_only=True)
    legend: Sequence[str] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if not self.panels or self.columns < 1:
            raise ValueError(f"grid {self.title!r}: needs at least one panel and one column")


Picture: TypeAlias = Chart | Grid


def unit_circle(points: int = 181) -> Curve:
    """Return the unit circle, a guide for eigenvalues in the complex plane."""
    angle = np.linspace(0, 2 * np.pi, points)
    return Curve(np.cos(angle), np.sin(angle))


def panels_of(picture: Picture) -> Sequence[Chart]:
    """Return the panels of a grid, or the chart alone."""
    return picture.panels if isinstance(picture, Grid) else (picture,)


def sharing(picture: Picture, chart: Chart) -> dict[str, Sequence[Chart]]:
    """Return, for the axes x and y, the panels that share theirs with `chart`: shared axes, shared ticks."""
    if not isinstance(picture, Grid):
        return {"x": (chart,), "y": (chart,)}
    shared = {"x": picture.share_x, "y": picture.share_y}
    return {letter: picture.panels if yes else (chart,) for letter, yes in shared.items()}


def tick_places(ticks: Ticks) -> tuple[list[float], list[str]]:
    """Return the ticks' positions and their labels."""
    if isinstance(ticks, Mapping):
        return [float(place) for place in ticks], list(ticks.values())
    return [float(place) for place in ticks], [f"{place:,g}" for place in ticks]


def describe(picture: Picture) -> str:
    """Return one plain sentence that says what a picture shows, for readers who cannot see it."""
    panels = panels_of(picture)
    names = dict.fromkeys(series.name for panel in panels for series in panel.series if series.name)
    names |= dict.fromkeys(line.label for panel in panels for line in panel.hlines)
    shown = f" Shown: {', '.join(names)}." if names else ""
    first = panels[0]
    what = " against ".join(filter(None, [first.y, first.x])) if first.y else ""
    if not what:  # the panels' titles name what is shown
        return f"{picture.title}: {'; '.join(panel.title for panel in panels)}.{shown}"
    many = f"{len(panels)} panels, each with " if len(panels) > 1 else ""
    return f"{picture.title}: {many}{what}.{shown}"


def _same_length(series: object, *fields: str) -> None:
    """Raise ValueError unless the named fields that are given are vectors of one length."""
    shapes = {name: np.shape(getattr(series, name)) for name in fields if getattr(series, name) is not None}
    if any(len(shape) != 1 for shape in shapes.values()) or len(set(shapes.values())) > 1:
        kind = type(series).__name__
        raise ValueError(f"{kind} {getattr(series, 'name', '')!r}: needs vectors of one length, got {shapes}")
