"""The one look that both renderers share: colours on light and on dark paper, line styles, sizes, ticks."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bestguess.report.charts import Chart, Heatmap, Series

# (on light paper, on dark paper). Okabe and Ito's set, without its yellow, which white paper swallows;
# each hue is lightened for dark paper. Red and green never meet.
PALETTE = (
    ("#0072B2", "#4CA9E6"),  # blue
    ("#D55E00", "#FF8A45"),  # vermillion
    ("#009E73", "#2CC99A"),  # bluish green
    ("#CC79A7", "#E69AC6"),  # reddish purple
    ("#E69F00", "#F2BC3D"),  # orange
    ("#56B4E9", "#9AD5FA"),  # sky blue
)
ORACLE = ("#1B1F24", "#F0F3F6")
BASELINE = ("#7A828B", "#8C959F")
GUIDE = ("#B9C0C7", "#555F6B")
INK = ("#3D444D", "#C6CDD5")
GRID = ("#E4E8EC", "#2B323A")
PAPER = ("#FFFFFF", "#0F1419")

# For an ordered quantity (λ, a width): purple to orange, nowhere as pale or as dark as either paper.
_SHADES = (
    ("#46327E", "#B9A5F5"),
    ("#365C8D", "#7FB2F0"),
    ("#277F8E", "#4FC3D9"),
    ("#1FA187", "#3FDDB4"),
    ("#6BB13B", "#A5E066"),
    ("#D9A404", "#FBD84A"),
    ("#E36A10", "#FFA15C"),
)

# Heat maps look the same on both papers. `SEQUENTIAL` is viridis; `DIVERGING` goes from blue to red.
SEQUENTIAL = ("#440154", "#482878", "#3E4989", "#31688E", "#26828E", "#1F9E89", "#35B779", "#6DCD59",
              "#B4DE2C", "#FDE725")  # fmt: skip
DIVERGING = ("#08306B", "#2166AC", "#4393C3", "#92C5DE", "#D1E5F0", "#F7F7F7", "#FDDBC7", "#F4A582",
             "#D6604D", "#B2182B", "#67001F")  # fmt: skip

BAND_OPACITY = 0.18
FONT = "Inter, 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Style:
    """How a series is drawn: colour on light and dark paper, dash, line width in pixels."""

    light: str
    dark: str
    dash: str
    width: float


def rgba(colour: str, opacity: float) -> str:
    """Return `#RRGGBB` with an opacity as CSS, `rgba(r, g, b, a)`."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity:g})"


def rgb_scale(colours: Sequence[str]) -> list[list[float | str]]:
    """Return a Plotly colour scale, spelt `rgb(…)` so that a page's exchange of light for dark spares it."""
    spelt = [rgba(colour, 1).replace("rgba", "rgb").replace(", 1)", ")") for colour in colours]
    return [[i / (len(spelt) - 1), colour] for i, colour in enumerate(spelt)]


def shade(position: float, dark: bool) -> str:
    """Return the colour `#RRGGBB` at `position` in [0, 1] of the scale for ordered series."""
    stops = np.array([[int(pair[dark][i : i + 2], 16) for i in (1, 3, 5)] for pair in _SHADES], float)
    at = min(max(position, 0.0), 1.0) * (len(stops) - 1)
    low = min(int(at), len(stops) - 2)
    mixed = stops[low] + (at - low) * (stops[low + 1] - stops[low])
    return "#" + "".join(f"{round(channel):02X}" for channel in mixed)


_ROLES = {
    "model": Style(*PALETTE[0], "solid", 2.2),
    "oracle": Style(*ORACLE, "dash", 1.8),
    "baseline": Style(*BASELINE, "dot", 1.8),
    "data": Style(*BASELINE, "solid", 1.2),
    "guide": Style(*GUIDE, "solid", 1.2),
}
_DASHES = ("solid", "dash", "dashdot", "dot")


def role_style(role: str) -> Style:
    """Return the fixed style of a role: `model`, `oracle`, `baseline`, `data` or `guide`."""
    return _ROLES[role]


def styles(panels: Sequence[Chart]) -> list[list[Style]]:
    """Return the style of each series of each panel; a name keeps its colour in every panel.

    The oracle always looks the same. Series without role, colour or shade take the palette in
    turn, skipping blue where a series plays the model.
    """
    skip = any(series.role == "model" for panel in panels for series in panel.series)
    places: dict[object, int] = {}

    def one(series: Series, place: object) -> Style:
        if series.role is not None:
            base = _ROLES[series.role]
        elif series.shade is None and series.colour is None:
            turn = places.setdefault(place, len(places)) + skip
            # Once the colours are spent, dashes tell the second round from the first.
            base = Style(*PALETTE[turn % len(PALETTE)], _DASHES[turn // len(PALETTE) % len(_DASHES)], 2.0)
        else:
            base = Style(*PALETTE[0], "solid", 2.0)
        light, dark = base.light, base.dark
        if series.shade is not None:
            light, dark = shade(series.shade, False), shade(series.shade, True)
        elif series.colour is not None:
            light, dark = PALETTE[series.colour % len(PALETTE)]
        return Style(light, dark, series.dash or base.dash, base.width)

    return [
        [one(series, series.name or (p, i)) for i, series in enumerate(panel.series)] for p, panel in enumerate(panels)
    ]


def theme(panels: Sequence[Chart]) -> dict[str, str]:
    """Return each colour of a figure on light paper with its colour on dark paper, as spelt in its JSON."""
    pairs = [INK, GRID, PAPER, ORACLE, BASELINE, GUIDE]
    pairs += [(style.light, style.dark) for panel in styles(panels) for style in panel]
    return dict(pairs) | {rgba(light, BAND_OPACITY): rgba(dark, BAND_OPACITY) for light, dark in pairs}


def fold(text: str, letters: int) -> str:
    """Return a label in lines of at most so many letters each; a longer word has a line of its own."""
    return "\n".join(textwrap.wrap(text, max(letters, 1), break_long_words=False, break_on_hyphens=False))


def drawable(values: ArrayLike, log: bool = False) -> np.ndarray:
    """Return `values` as float64 with NaN (a gap) if masked, infinite or, on a log axis, not positive."""
    array = np.ma.filled(np.ma.asarray(np.ma.array(values, dtype=float)), np.nan).astype(float)
    bad = ~np.isfinite(array)
    if log:
        bad |= ~(array > 0)
    return np.where(bad, np.nan, array)


def band(chart: Chart, x: ArrayLike, lo: ArrayLike, hi: ArrayLike) -> list[np.ndarray]:
    """Return the closed outline [points, 2] of each gapless stretch of a band from `lo` to `hi`.

    On a log axis a lower edge at or below zero is drawn at a tenth of the upper one: still a band, not a gap.
    """
    across, top = drawable(x, chart.log_x), drawable(hi, chart.log_y)
    bottom = drawable(lo)
    if chart.log_y:
        bottom = np.where(bottom > 0, bottom, top / 10)
    whole = np.isfinite(across) & np.isfinite(top) & np.isfinite(bottom)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], whole.astype(int), [0]])))
    outlines = []
    for start, stop in zip(edges[::2], edges[1::2]):
        there, part = across[start:stop], slice(start, stop)
        upper, lower = np.stack([there, top[part]], 1), np.stack([there, bottom[part]], 1)
        outlines.append(np.concatenate([lower, upper[::-1]]))
    return outlines


def span(panels: Sequence[Chart], letter: str) -> tuple[float, float] | None:
    """Return the (lowest, highest) value that the panels show on axis `letter`; None if there is none."""
    found: list[np.ndarray] = []
    for panel in panels:
        log = panel.log_x if letter == "x" else panel.log_y
        limits = panel.x_range if letter == "x" else panel.y_range
        if limits is not None:
            found.append(np.asarray(limits, float))
            continue
        names = ("x",) if letter == "x" else ("y", "lo", "hi")
        values = [getattr(series, name, None) for series in panel.series for name in names]
        if letter == "y":
            values.append([line.y for line in panel.hlines])
        found += [drawable(value, log).ravel() for value in values if value is not None]
    seen = np.concatenate(found) if found else np.zeros(0)
    seen = seen[np.isfinite(seen)]
    return (float(seen.min()), float(seen.max())) if seen.size else None


def log_ticks(panels: Sequence[Chart], letter: str, power: str) -> tuple[list[float], list[str]] | None:
    """Return the positions and labels of a log axis' ticks; None where nothing is shown. One value alone is the tick.

    Powers of ten, or 1, 2, 5 (beside each other 1, 3) between them if there are few, or even steps where the highest
    value is less than five times the lowest: beyond, even steps crowd at the upper end. They reach beyond the data, for
    zooming out. `power` spells 10 to the `{}`; plain numbers serve from a thousandth to a million.
    """
    extent = span(panels, letter)
    if extent is None or not extent[0] > 0:
        return None
    if extent[0] == extent[1]:
        return [extent[0]], [f"{extent[0]:,.6g}"]
    low, high = np.log10(extent)
    plain = low >= -3 and high <= 6
    if extent[1] < (5 if plain or letter == "y" else 10) * extent[0]:
        # Labels beside each other need more room than labels above each other.
        return _even_ticks(*extent, 5 if letter == "x" else 6, power)
    # Factors of a power are wide: beside each other two in a decade have room, or plain numbers.
    steps = ((1, 2, 5) if plain or letter == "y" else (1, 3)) if high - low < 2 else (1,)
    every = int(np.ceil((high - low) / 8))
    exponents = range((int(np.floor(low)) - 1) // every * every, int(np.ceil(high)) + 2, every)
    places = [(step, exponent) for exponent in exponents for step in steps]
    if plain:
        labels = [f"{step * 10.0**exponent:,.10g}" for step, exponent in places]
    else:
        labels = [("" if s == 1 else f"{s}×") + _power(power, e) for s, e in places]
    return [step * 10.0**exponent for step, exponent in places], labels


def _even_ticks(low: float, high: float, most: int, power: str) -> tuple[list[float], list[str]]:
    """Return the positions and labels of about `most` even ticks, all positive, that enclose 0 < low < high."""
    rough = (high - low) / most
    unit = 10.0 ** np.floor(np.log10(rough))
    step = next(unit * part for part in (1, 2, 2.5, 5, 10) if unit * part >= rough * (1 - 1e-9))
    numbers = range(max(1, int(np.floor(low / step))), int(np.ceil(high / step)) + 1)
    places = [float(number * step) for number in numbers]
    if low >= 1e-3 and high < 1e6:
        return places, [f"{place:,.10g}" for place in places]
    exponent = int(np.floor(np.log10(high)))
    return places, [f"{place / 10.0**exponent:.6g}×" + _power(power, exponent) for place in places]


def _power(power: str, exponent: int) -> str:
    return power.format(str(exponent).replace("-", "−"))


def heat_range(heat: Sequence[Heatmap]) -> tuple[float, float, bool]:
    """Return the (low, high) that all heat maps of a picture share, and whether they diverge from zero."""
    found = np.concatenate([drawable(series.z).ravel() for series in heat])
    found = found[np.isfinite(found)] if np.isfinite(found).any() else np.zeros(1)
    low = min((float(found.min()) if series.low is None else series.low) for series in heat)
    high = max((float(found.max()) if series.high is None else series.high) for series in heat)
    diverging = any(series.diverging for series in heat)
    if diverging:
        high = max(abs(low), abs(high))
        low = -high
    return (low, high, diverging) if high > low else (low - 0.5, low + 0.5, diverging)
