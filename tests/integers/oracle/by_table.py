"""The recurrences that begin with a prefix, by looking every row of the table up: what `fitting` is held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bestguess.integers.oracle.exact import Oracle


@dataclass(frozen=True)
class Recurrence:
    """A recurrence that fits a prefix."""

    formula: str
    words: str
    family: str
    probability: float
    """P(recurrence | prefix)."""
    next: int | None
    """The term that it puts next; None where its sequence ends."""


def recurrences(oracle: Oracle, terms: Sequence[int]) -> list[Recurrence]:
    """Return the recurrences that begin with `terms`, most probable first, those with one formula as one.

    Empty where none fits. Probabilities sum to 1.
    """
    table = oracle.table
    rows = table.starting_with(terms)
    if not len(rows):
        return []
    sources = np.arange(table.first_source[rows[0]], table.first_source[rows[-1] + 1])
    # Shorter rows of overflow="end" may stand between those that fit.
    row = np.searchsorted(table.first_source, sources, "right") - 1
    kept = np.isin(row, rows)
    sources, row = sources[kept], row[kept]
    family = table.source_family[sources]
    phase = np.array([one.phase for one in table.families]) - 1
    weight = oracle.mixture[phase[family]] * table.source_prior[sources]
    if not weight.sum() > 0:
        return []
    weight /= weight.sum()
    grids = {number: table.families[number].parameters() for number in np.unique(family)}
    found: dict[str, Recurrence] = {}
    for i in np.argsort(-weight, kind="stable"):
        one, grid = table.families[family[i]], grids[family[i]]
        choice = table.source_choice[sources[i]]
        formula, words = one.describe({name: int(values[choice]) for name, values in grid.items()})
        more = found[formula].probability if formula in found else 0.0
        goes_on = table.lengths[row[i]] > len(terms) < table.rows.shape[1]
        following = int(table.rows[row[i], len(terms)]) if goes_on else None
        found[formula] = Recurrence(formula, words, one.name, more + float(weight[i]), following)
    return sorted(found.values(), key=lambda one: -one.probability)
