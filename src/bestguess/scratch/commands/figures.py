"""Pictures of the options (matplotlib, imported only when one is drawn)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bestguess import files
from bestguess.scratch.engine.node import Array

TRAINED, HELD_OUT = "#2a6fb0", "#c2571a"


def quality_against_loss(points: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw option A: the fraction of bodies written right, against steps and against the loss."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [p["step"] for p in points]
    for kind, label, colour, loss in (
        ("memorised", "trained on", TRAINED, "loss"),
        ("held_out", "held out", HELD_OUT, "held_out_loss"),
    ):
        exact = [100 * p[kind]["exact"] / p[kind]["of"] for p in points]
        parsed = [100 * p[kind]["parsed"] / p[kind]["of"] for p in points]
        left.plot(steps, exact, "o-", color=colour, label=f"{label}: the body expected")
        left.plot(steps, parsed, "o:", color=colour, alpha=0.6, label=f"{label}: parses")
        right.plot([p[loss] for p in points], exact, "o-", color=colour, label=label)
    left.set(xlabel="steps", ylabel="completions (%)", ylim=(-3, 103))
    right.set(xlabel="loss (nats per character)", ylabel="the body expected (%)", ylim=(-3, 103))
    for step, held in ((steps[0], points[0]), (steps[-1], points[-1])):
        at = (held["held_out_loss"], 100 * held["held_out"]["exact"] / held["held_out"]["of"])
        right.annotate(f"{step:,} steps", at, textcoords="offset points", xytext=(6, -12), fontsize=8)
    left.legend(fontsize=8)
    right.legend(fontsize=8)
    _write(figure, path)


def attention(weights: Array, text: str, path: Path) -> None:
    """Draw the attention weights (layers, heads, T, T) of one text: a row reads, a column is read."""
    from matplotlib.figure import Figure

    layers, heads, T, _ = weights.shape
    columns = min(heads, 4)
    rows = layers * -(-heads // columns)
    figure = Figure(figsize=(3.2 * columns, 3.2 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    shown = [{"\n": "↵", " ": "·"}.get(c, c) for c in text]
    for ax in axes.flat[layers * heads :]:
        ax.set_axis_off()
    for i, ax in zip(range(layers * heads), axes.flat):
        ax.imshow(weights[i // heads, i % heads], cmap="Blues", vmin=0, vmax=1)
        ax.set_title(f"layer {i // heads + 1}, head {i % heads + 1}", fontsize=9)
        ax.set_xticks(range(T), shown, fontsize=6, family="monospace")
        ax.set_yticks(range(T), shown, fontsize=6, family="monospace")
        ax.tick_params(length=0, pad=1, labelbottom=True, labelleft=True)
    figure.supxlabel("is read", fontsize=9)
    figure.supylabel("reads, to predict the character after it", fontsize=9)
    _write(figure, path)


def _write(figure: Any, path: Path) -> None:
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=130, format="png")
    files.write_bytes(path, drawn.getvalue())
