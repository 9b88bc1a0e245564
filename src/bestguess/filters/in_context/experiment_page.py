"""The section of the page of `in_context`: the curve over K, with the mixture and regressions beside the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bestguess.filters.in_context.experiment import SYSTEMS
from bestguess.report.charts import Chart, Grid, Line
from bestguess.report.progress import over_one
from bestguess.report.story import Drawn, Rows, Section, Words

_LISTS = {"trained": "systems of the mixture", "held_out": "held-out systems"}
_PREDICTORS = {
    "over_told": "transformer",
    "mixture_over_told": "Bayes mixture of the K systems",
    "ridge_over_told": "ridge in context",
    "ar_over_told": "AR(k) in context",
    "headroom": "best constant",
}
_LEAST = 1e-9
"""An excess below this one has no place on the axis: at K = 1 the mixture is the true filter."""
_HOW = (
    "Errors over that of the Kalman filter that is told each sequence's system, which no other predictor is. On the "
    "systems of the mixture no predictor can be better than the mixture. On held-out ones a model that knows its "
    "systems by heart lies on the mixture's line. One that has learnt their law lies below it, and below the "
    "regressions, which know of no law. Means over seeds, at the learning rate of the cell."
)


def curve(records: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Return the section: the errors on both lists of systems, by the number of systems."""
    by_count: dict[int, list[Mapping[str, Any]]] = {}
    for record in records:
        by_count.setdefault(record["config"][SYSTEMS.key], []).append(record["metrics"])
    counts = sorted(by_count)
    there = [name for name in _PREDICTORS if all(name in one["held_out"] for own in by_count.values() for one in own)]

    def means(part: str, name: str) -> list[float]:
        return [float(np.mean([one[part][name] for one in by_count[K]])) for K in counts]

    found = {(part, name): means(part, name) for part in _LISTS for name in there}
    less = means("held_out", "over_mixture")
    columns = ["K", "list", *(_PREDICTORS[name] for name in there), "transformer less the mixture", "seeds"]
    rows = [
        [
            f"{K:,}",
            label,
            *(over_one(1 + found[part, name][i]) for name in there),
            f"{less[i]:+.3g}" if part == "held_out" else "",
            len(by_count[K]),
        ]
        for i, K in enumerate(counts)
        for part, label in _LISTS.items()
    ]
    assert SYSTEMS.position is not None
    at = [SYSTEMS.position(K) for K in counts]
    panels = [
        Chart(
            label.capitalize(),
            "number of systems K",
            "error above the true filter's (%)",
            [
                Line(
                    at,
                    [100 * value if value > _LEAST else np.nan for value in found[part, name]],
                    name=_PREDICTORS[name],
                    **_look(name),
                )
                for name in there
            ],
            log_y=True,
            x_ticks={x: f"{K:,}" for x, K in zip(at, counts)},
        )
        for part, label in _LISTS.items()
    ]
    picture = Grid("From knowing the systems to knowing their law", panels, "Means over seeds.", columns=2)
    told = "Squared error over that of the filter of the true system (1 is the best possible if it is told)"
    return [Section("The curve over K", [Drawn("curve", picture), Rows(columns, rows, told), Words(_HOW)])]


def _look(name: str) -> dict[str, Any]:
    match name:
        case "over_told":
            return {"role": "model"}
        case "mixture_over_told":
            return {"role": "oracle"}
        case "ridge_over_told":
            return {"role": "baseline", "dash": "dash"}
        case "ar_over_told":
            return {"role": "baseline", "dash": "dot"}
    return {"role": "guide", "dash": "dashdot"}
