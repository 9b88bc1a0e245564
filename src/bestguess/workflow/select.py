"""The one rule of selection: validation data select, test data report. Nothing here sees a test figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from bestguess.config import Run

R = TypeVar("R")


def best_rate(scores: Mapping[R, Sequence[float]]) -> R:
    """Return the learning rate to report, from each rate's validation scores over seeds (smaller is better).

    The one with the lowest mean, among those with the most seeds that ended with a finite score: no rate wins by the
    seeds that it lacks. Where no score is finite, the first. Of rates that tie, as where nothing is learnt at any, the
    first within the grid, if one is: a search widens beyond an edge that is best, and not beyond one that ties.
    """
    finite = {rate: [one for one in own if math.isfinite(one)] for rate, own in scores.items()}
    most = max(map(len, finite.values()))
    if not most:
        return next(iter(scores))
    means = {rate: math.fsum(own) / most for rate, own in finite.items() if len(own) == most}
    lowest = min(means.values())
    ties = [rate for rate, mean in means.items() if mean == lowest]
    if len(ties) == 1:
        return ties[0]
    grid: list[Any] = sorted(list[Any](scores))  # of several, all are numbers
    return next((rate for rate in grid[1:-1] if rate in ties), ties[0])


def select(runs: Sequence[Run], validation: Sequence[float]) -> dict[tuple, float]:
    """Return the learning rate of each setting, from every run's best validation score."""
    chosen = {}
    for setting in dict.fromkeys(run.setting for run in runs):
        scores: dict[float, list[float]] = {}
        for run, score in zip(runs, validation):
            if run.setting == setting:
                scores.setdefault(run.learning_rate, []).append(float(score))
        chosen[setting] = best_rate(scores)
    return chosen


def best_run(runs: Sequence[Run], validation: Sequence[float], setting: tuple[Any, ...]) -> int:
    """Return the index of the run to show of one setting: the selected rate's seed with the lowest validation score.

    Runs of different settings do not compare: their tasks, or their losses, differ.
    """
    rate = select(runs, validation)[setting]
    own = [i for i, run in enumerate(runs) if (run.setting, run.learning_rate) == (setting, rate)]
    return min(own, key=lambda i: validation[i] if math.isfinite(validation[i]) else math.inf)
