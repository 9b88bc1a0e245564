"""Attention as still pictures: the weights of one document, head by head, by matplotlib."""

from __future__ import annotations

from bestguess.report.charts import Chart, Grid, Heatmap
from bestguess.text.attention.page import pieces
from bestguess.text.attention.weights import BLOCKS, KINDS, Blocks
from bestguess.text.pairs import Pairs
from bestguess.text.task import About

MOST_LABELS = 40
"""Tokens that are named along the upright axis, at most; a longer text has its numbers."""
_ACROSS = 12
"""The same along the other axis, whose names lie side by side."""
_NARROW = 32
"""Tokens that are read in one of four panels side by side, at most; of more, two stand side by side."""


def heatmaps(about: About, pairs: Pairs, i: int, blocks: Blocks) -> dict[str, Grid]:
    """Return a grid for each block of document i: a panel for each head, a row for each layer; rows are queries."""
    source = [text for _, text in pieces(about, pairs.source[i, : pairs.source_length[i]])]
    target = [text for _, text in pieces(about, pairs.target[i, : pairs.target_length[i]])]
    keys = {"encoder": source, "decoder": ["[SEP]", *target[:-1]], "cross": source}
    queries = {"encoder": source, "decoder": target, "cross": target}
    found = {}
    for kind in KINDS:
        weights = getattr(blocks, kind)
        columns = 4 if len(keys[kind]) <= _NARROW else 2
        layers, heads = weights.shape[:2]
        panels = [
            Chart(
                f"layer {layer + 1}, head {head + 1}",
                "token that is read",
                "token to be predicted" if kind != "encoder" else "token",
                [
                    Heatmap(
                        weights[layer, head],
                        x_labels=_labels(keys[kind], _ACROSS),
                        y_labels=_labels(queries[kind], MOST_LABELS),
                        low=0.0,
                        high=1.0,
                        unit="weight",
                    )
                ],
                rows=min(len(queries[kind]), MOST_LABELS),
            )
            for layer in range(layers)
            for head in range(heads)
        ]
        found[kind] = Grid(f"Attention, {BLOCKS[kind]}", panels, "", columns=min(heads, columns))
    return found


def _labels(tokens: list[str], most: int) -> list[str] | None:
    return tokens if len(tokens) <= most else None
