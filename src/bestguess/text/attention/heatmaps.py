"""Attention as still pictures: the weights of one document, head by head, by matplotlib."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bestguess.report.charts import Chart, Grid, Heatmap
from bestguess.text.attention.page import END, pieces
from bestguess.text.attention.weights import KINDS, Blocks
from bestguess.text.pairs import Pairs
from bestguess.text.task import About

MOST_LABELS = 40
"""Tokens that are named along the upright axis, at most; a longer text has its numbers."""
_ACROSS = {4: 12, 2: 28}
"""The same along the other axis, by panels side by side."""
_NARROW = 32
"""Numbered keys in one of four panels side by side, at most; of more, two stand side by side."""


def heatmaps(about: About, pairs: Pairs, i: int, blocks: Blocks, names: Mapping[str, str]) -> dict[str, Grid]:
    """Return a grid for each block of document i: a panel for each head, a row for each layer; rows are queries.

    names: of the blocks, by kind.
    """
    source = _alone(pieces(about, pairs.source[i, : pairs.source_length[i]]))
    target = _alone(pieces(about, pairs.target[i, : pairs.target_length[i]]))
    keys = {"encoder": source, "decoder": ["[SEP]", *target[:-1]], "cross": source}
    queries = {"encoder": source, "decoder": target, "cross": target}
    found = {}
    for kind in KINDS:
        weights = getattr(blocks, kind)
        layers, heads = weights.shape[:2]
        columns, named = _columns(len(keys[kind]))
        panels = [
            Chart(
                f"layer {layer + 1}, head {head + 1}",
                "key" if named else "key, by its position",
                "query" if kind == "encoder" else "token to be predicted",
                [
                    Heatmap(
                        weights[layer, head],
                        x_labels=keys[kind] if named else None,
                        y_labels=queries[kind] if len(queries[kind]) <= MOST_LABELS else None,
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
        found[kind] = Grid(names[kind].capitalize(), panels, "", columns=min(heads, columns))
    return found


def _columns(keys: int) -> tuple[int, bool]:
    """Return how many panels stand side by side, and whether keys are named."""
    for columns, most in _ACROSS.items():
        if keys <= most:
            return columns, True
    return (4 if keys <= _NARROW else 2), False


def _alone(tokens: Iterable[list[str]]) -> list[str]:
    """Return each token's text, its end in letters that every font has."""
    return ["[EOS]" if text == END else text for _, text in tokens]
