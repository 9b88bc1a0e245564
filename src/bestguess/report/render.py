"""Charts as figures and as files: Plotly for the page, matplotlib for paper. Each is imported when it draws."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bestguess.files import write_bytes
from bestguess.report.charts import Picture

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.figure import Figure


def to_plotly(picture: Picture) -> go.Figure:
    """Return the interactive figure, on transparent paper, 100 % of its container's width."""
    from bestguess.report.plotly_renderer import figure

    return figure(picture)


def to_matplotlib(picture: Picture) -> Figure:
    """Return the printed figure, 7 inches wide, on white paper; there is nothing to close."""
    from bestguess.report.matplotlib_renderer import figure

    return figure(picture)


def to_svg(picture: Picture, titled: bool = True) -> bytes:
    """Return the printed figure as SVG, with its title or without: the same bytes for the same data."""
    from bestguess.report.matplotlib_renderer import render

    return render(picture, "svg", titled=titled)


def save_png(picture: Picture, path: str | os.PathLike[str], dpi: float = 200) -> Path:
    """Write the picture as PNG and return its path; its folder is made."""
    from bestguess.report.matplotlib_renderer import render

    return write_bytes(path, render(picture, "png", dpi))


def save_figures(picture: Picture, folder: str | os.PathLike[str], name: str) -> None:
    """Write the picture as `name`.png and `name`.svg into a folder, which is made."""
    from bestguess.report.matplotlib_renderer import render_all

    for kind, data in zip(("png", "svg"), render_all(picture, ("png", "svg"))):
        write_bytes(Path(folder) / f"{name}.{kind}", data)
