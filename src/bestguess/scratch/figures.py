"""Pictures of the options (matplotlib, imported only when one is drawn)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bestguess.scratch.tensor import Array

TRAINED, HELD_OUT = "#2a6fb0", "#c2571a"


def quality_against_loss(points: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw option A: the share of bodies written right, against steps and against the loss."""
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
    right.set(xlabel="loss (nats per character)", ylabel="the body expected (%)", ylim=(-3, 103), xscale="log")
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
    figure = Figure(figsize=(2.4 * heads, 2.6 * layers + 0.5), layout="constrained")
    axes = figure.subplots(layers, heads, squeeze=False, sharex=True, sharey=True)
    shown = [{"\n": "↵", " ": "·"}.get(c, c) for c in text]
    for layer in range(layers):
        for head in range(heads):
            ax = axes[layer][head]
            ax.imshow(weights[layer, head], cmap="Blues", vmin=0, vmax=1)
            ax.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=8)
            ax.set_xticks(range(T), shown, fontsize=4.5, family="monospace")
            ax.set_yticks(range(T), shown, fontsize=4.5, family="monospace")
            ax.tick_params(length=0, pad=1)
    figure.supxlabel("is read", fontsize=9)
    figure.supylabel("reads, to predict the character after it", fontsize=9)
    _write(figure, path)


def _write(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
