"""Which recurrences of the generator fit integers as typed, with the exact posterior. True integers, and no JAX.

The table shows terms modulo 256; here every family's grid of parameters is gone through once, which takes a fraction
of the time that sorting the table does, and what fits is run on: on the integers themselves where they follow the rule
(5, 3, 1, −1 goes on with −3), else modulo 256.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bestguess.integers.config import CLASSES, IntegerTaskConfig
from bestguess.integers.sequences.curriculum import final_mixture
from bestguess.integers.sequences.language import Family
from bestguess.integers.sequences.priors import families_of

STARTS = ("s", "x", "y")
"""Parameters that are first terms: they may lie outside 0..255, where the terms typed do."""


@dataclass(frozen=True)
class Fit:
    """Recurrences that fit, merged where the terms given do not tell them apart: they go on alike."""

    formula: str
    """Of the simplest of them."""
    words: str
    family: str
    probability: float
    """Of all of them together, given the terms."""
    following: tuple[int, ...]
    """What comes next, and on: true integers, or residues modulo 256; fewer than asked for where the sequence ends."""
    others: tuple[str, ...] = ()
    """Formulas of the rest, the most probable first."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What the generator has to say of some terms."""

    fits: tuple[Fit, ...]
    """Most probable first, the simplest first among equals; their probabilities sum to 1."""
    exact: bool
    """Whether they fit the integers as typed; else they fit modulo 256 alone."""
    residues: np.ndarray | None
    """p*(next | terms modulo 256), float64 [256]: what a model sees, and is compared with. None where nothing fits."""

    @property
    def next(self) -> dict[int, float]:
        """The probability of every next term, most probable first; 1 less the chance that the sequence ends."""
        chance: dict[int, float] = {}
        for fit in self.fits:
            if fit.following:
                chance[fit.following[0]] = chance.get(fit.following[0], 0.0) + fit.probability
        return dict(sorted(chance.items(), key=lambda one: -one[1]))


@dataclass(frozen=True, eq=False)
class _Source:
    """One choice of a family's parameters that fits."""

    family: Family
    place: int
    choice: dict[str, int]
    weight: float
    terms: tuple[int, ...]
    """All that follows from it, true integers; where it ends, no more."""


def fit(config: IntegerTaskConfig, terms: Sequence[int], steps: int = 1) -> Answer:
    """Return the recurrences of a config's sequences that begin with `terms` (at most its length), run `steps` on."""
    given = [int(term) for term in terms]
    n = len(given)
    # Rows of the table are told apart up to their end, so what goes on alike that far is one.
    steps = max(steps, config.length + 1 - n)
    families = families_of(config)
    mixture = final_mixture(config.phases)
    # The term after the last is looked at too: where sequences end, whether it exists.
    every = [family.sequence.terms(family.parameters(), max(n, 2) + 1) for family in families]
    inside = [(rows >= 0) & (rows < CLASSES) for rows in every]
    counts = [len(rows) for rows in every]
    if config.overflow == "end":
        counts = [int(there[:, :2].all(axis=1).sum()) for there in inside]
    # A family none of whose sequences has two terms has no share of its phase.
    totals = [
        sum(one.weight for one, count in zip(families, counts) if one.phase == phase and count) for phase in (1, 2, 3)
    ]
    true: list[_Source] = []
    wrapped: list[_Source] = []
    residue_weights = np.zeros(CLASSES)
    shown = np.array([term % CLASSES for term in given])
    for place, (family, rows, there, count) in enumerate(zip(families, every, inside, counts)):
        alike = (rows[:, :n] % CLASSES == shown).all(axis=1)
        if config.overflow == "end":
            alike &= there[:, : max(n, 2)].all(axis=1) & all(0 <= term < CLASSES for term in given)
        if not alike.any():
            continue
        weight = mixture[family.phase - 1] * family.weight / totals[family.phase - 1] / count
        found = np.flatnonzero(alike)
        nexts = rows[found, n]
        if config.overflow == "end":
            nexts = nexts[there[found, n]]
        residue_weights += weight * np.bincount(nexts % CLASSES, minlength=CLASSES)
        chosen = {name: values[found].astype(object) for name, values in family.parameters().items()}
        exact = (rows[found, :n] == np.array(given, dtype=object)).all(axis=1).astype(bool)
        if not exact.all():
            chosen, exact = _from_typed_starts(family, chosen, given, exact)
        on = family.sequence.terms(chosen, n + steps)
        for i in range(len(found)):
            values = [int(one) for one in on[i, n:]]
            if config.overflow == "end":
                values = values[: next((j for j, one in enumerate(values) if not 0 <= one < CLASSES), len(values))]
            choice = {name: int(of[i]) for name, of in chosen.items()}
            source = _Source(family, place, choice, weight, tuple(values))
            (true if exact[i] else wrapped).append(source)
    exactly = bool(true)
    if not exactly:
        wrapped = [_Source(o.family, o.place, o.choice, o.weight, tuple(t % CLASSES for t in o.terms)) for o in wrapped]
    total = residue_weights.sum()
    return Answer(_merged(true or wrapped), exactly, residue_weights / total if total > 0 else None)


def _from_typed_starts(
    family: Family, chosen: dict[str, np.ndarray], given: list[int], exact: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the parameters and whether they give what was typed, with starts as typed where that makes it so.

    A start outside the alphabet has a residue in it: the rule then runs on what was typed.
    """
    moved = chosen | {
        name: np.array([given[i]] * len(exact), dtype=object)
        for name, i in (("s", 0), ("x", 0), ("y", 1))
        if name in chosen and i < len(given)
    }
    runs = family.sequence.terms(moved, len(given))
    also = (runs == np.array(given, dtype=object)).all(axis=1).astype(bool) & ~exact
    starts = {name: np.where(also, moved[name], chosen[name]) for name in STARTS if name in chosen}
    return chosen | starts, exact | also


def _merged(sources: list[_Source]) -> tuple[Fit, ...]:
    """The sources as fits: those that go on alike for as long as was looked are one."""
    total = sum(one.weight for one in sources)
    groups: dict[tuple[int, ...], list[_Source]] = {}
    for one in sources:
        groups.setdefault(one.terms, []).append(one)
    found: list[tuple[float, tuple, Fit]] = []
    for following, group in groups.items():
        group.sort(key=_complexity)
        # One formula may come of several choices.
        chance: dict[str, float] = {}
        for one in group:
            formula = one.family.describe(one.choice)[0]
            chance[formula] = chance.get(formula, 0.0) + one.weight
        first = group[0]
        formula, words = first.family.describe(first.choice)
        others = sorted((one for one in chance if one != formula), key=lambda one: -chance[one])
        probability = sum(chance.values()) / total
        found.append(
            (
                probability,
                _complexity(first),
                Fit(formula, words, first.family.name, probability, following, tuple(others)),
            )
        )
    found.sort(key=lambda one: (-round(one[0], 9), one[1]))
    return tuple(fit for _, _, fit in found)


def _complexity(source: _Source) -> tuple:
    """What makes a rule simple: few parameters, an early phase, its place in the list, small numbers."""
    family = source.family
    rules = [abs(value) for name, value in source.choice.items() if name not in STARTS]
    return (len(source.choice), family.phase, source.place, sum(rules))
