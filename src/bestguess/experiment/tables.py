"""An experiment's measures as tables over its factors and seeds, and what a contrast comes to for each seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from bestguess.experiment.declare import Contrast, Factor

_ROUNDING = 1e-12
"""Effects below this fraction of the values that they come of are 0."""


@dataclass(frozen=True, eq=False)
class MeasureTable:
    """One measure of a sweep: an axis for each factor, in order, then one for seeds."""

    factors: tuple[Factor, ...]
    levels: tuple[tuple[Any, ...], ...]
    seeds: tuple[int, ...]
    """What each column is a repetition of: the seed of its task. Several trainings on one task share it."""
    values: Float[np.ndarray, "*levels seeds"]
    """NaN: it does not apply there, or the run is missing."""
    done: Bool[np.ndarray, "*levels seeds"]
    low: Bool[np.ndarray, "*levels seeds"]
    high: Bool[np.ndarray, "*levels seeds"]
    weights: Float[np.ndarray, "*levels seeds"] | None = None
    """What the values count for, in (0, 1]; None: all the same."""

    @property
    def begun(self) -> Float[np.ndarray, "*levels seeds"]:
        """The values for the seeds of which some run is done: of an incomplete sweep the others have no part."""
        return self.values[..., self.done.any(axis=tuple(range(self.done.ndim - 1)))]

    @property
    def told_seeds(self) -> str:
        """The seeds of a mean in words; where runs are missing, which."""
        if self.done.all():
            return "seeds"
        return f"the {self.begun.shape[-1]} seeds that have begun (none where a cell lacks one of them)"


@dataclass(frozen=True, eq=False)
class Effects:
    """A contrast's effect for each seed."""

    values: Float[np.ndarray, " seeds"]
    seeds: tuple[int, ...]
    cells: int
    """How many runs stand behind them."""
    missing: int
    """How many more do not count, for want of headroom."""
    low: int
    high: int


def has_all_runs(table: MeasureTable, contrast: Contrast) -> bool:
    """Return whether some seed has all the runs that the contrast needs."""
    kept = [contrast[factor.key].keep(levels) for factor, levels in zip(table.factors, table.levels)]
    return bool(table.done[np.ix_(*kept)].all(axis=tuple(range(len(kept)))).any())


def effects_of(table: MeasureTable, contrast: Contrast) -> Effects | None:
    """Return the contrast's effect for each seed that has all the runs it needs; None if nothing is left.

    A value that does not apply counts nothing for its own seed, and one with little headroom little; other seeds keep
    theirs. Trainings on one task give one effect, their mean: they are no independent sample of tasks.
    """
    kept = [contrast[factor.key].keep(levels) for factor, levels in zip(table.factors, table.levels)]
    given = np.ones_like(table.values) if table.weights is None else table.weights
    values, done, low, high, weights = (
        np.asarray(array[np.ix_(*kept)]) for array in (table.values, table.done, table.low, table.high, given)
    )
    full = np.asarray(done.all(axis=tuple(range(len(kept)))))  # seeds without a missing run
    if not full.any():
        return None
    values, low, high, weights = (array[..., full] for array in (values, low, high, weights))
    counts = ~np.isnan(values)
    left = list(range(len(kept)))
    total, weight = np.where(counts, values, 0.0), np.where(counts, weights, 0.0)
    for i in sorted(left, key=lambda i: contrast[table.factors[i].key].order):
        factor, axis = table.factors[i], left.index(i)
        own = [table.levels[i][place] for place in kept[i]]
        moved = np.moveaxis(total, axis, 0), np.moveaxis(weight, axis, 0)
        total, weight = contrast[factor.key].reduce(factor, own, *moved)
        left.remove(i)
    columns = [seed for seed, one in zip(table.seeds, full) if one]
    by_task: dict[int, list[float]] = {}
    for seed, effect, known in zip(columns, total, weight > 0):
        if known:
            by_task.setdefault(seed, []).append(float(effect))
    if not by_task:
        return None
    means = np.array([np.mean(own) for own in by_task.values()])
    # Of equal values a weighted slope is what rounding leaves of 0, and no evidence for a side.
    means[np.abs(means) < _ROUNDING * np.abs(np.where(counts, values, 0.0)).max()] = 0.0
    found = int(counts.sum())
    return Effects(means, tuple(by_task), found, counts.size - found, int(low.sum()), int(high.sum()))


def mean_of(values: Float[np.ndarray, "*levels seeds"]) -> Any:
    """Return the mean over seeds, NaN where any seed lacks it."""
    return values.mean(axis=-1)


def error_of(values: Float[np.ndarray, "*levels seeds"]) -> Any:
    """Return the mean's standard error, NaN where any seed lacks a value, and of one seed."""
    n = values.shape[-1]
    return values.std(axis=-1, ddof=1) / np.sqrt(n) if n > 1 else np.full(values.shape[:-1], np.nan)
