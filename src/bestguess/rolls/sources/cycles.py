"""Sources with a clock: a renewal process, and a periodic pattern."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from bestguess.rolls.counter import words
from bestguess.rolls.sources.base import (
    Floor,
    IndexedSource,
    Source,
    State,
    check,
    check_alphabet,
    log_of,
    log_p_of,
    top_masses,
)
from bestguess.rolls.sources.tables import scaled


@dataclass(frozen=True)
class Renewal(Source):
    """0 except at renewals, which have a uniform mark from 1 up; gaps between them are uniform from 1 to `longest`."""

    name: ClassVar[str] = "renewal"
    alphabet: int = 64
    longest: int = 16
    """Longest gap."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alphabet(self.alphabet)
        check(1 <= self.longest <= 1 << 20, "longest", self.longest, f"must be 1 to {1 << 20}")

    @property
    def classes(self) -> int:
        """The alphabet."""
        return self.alphabet

    def start(self) -> State:
        """Return the index of the first renewal of a stationary process: P(r) = P(gap > r)/E[gap]."""
        weight = np.cumsum(np.arange(self.longest, 0, -1))
        place = np.searchsorted(weight, scaled(words(self.seed, 2, 0, 1), int(weight[-1]))[0], side="right")
        return {"index": 0, "next": int(place), "gaps": 0}

    def draw(self, state: State, count: int) -> tuple[np.ndarray, State]:
        """Return the next values, the index of the next renewal and the number of gaps drawn."""
        index, first, gaps = state["index"], state["next"], state["gaps"]
        values, end = np.zeros(count, np.uint16), index + count
        while first < end:
            batch = 1 + scaled(words(self.seed, 0, gaps, max(16, 2 * (end - first) // self.longest)), self.longest)
            times = first + np.concatenate([[0], np.cumsum(batch)])
            inside = times[times < end]
            values[inside - index] = 1 + scaled(words(self.seed, 1, index, count)[inside - index], self.alphabet - 1)
            if len(inside) < len(times):
                first, gaps = int(times[len(inside)]), gaps + len(inside)
            else:  # the last of the times is a renewal already written; continue from it
                first, gaps = int(times[-1]), gaps + len(batch)
        return values, {"index": end, "next": first, "gaps": gaps}

    def floor(self) -> Floor:
        """Return (H(gap) + log2 of the marks)/E[gap]."""
        bits = (np.log2(self.longest) + np.log2(self.alphabet - 1)) / ((self.longest + 1) / 2)
        rows = self._rows(np.arange(self.longest))
        weight = np.arange(self.longest, 0, -1)[:, None] / (self.longest * (self.longest + 1) / 2)
        ordered = -np.sort(-rows, axis=1)
        top = {k: float(np.sum(weight[:, 0] * ordered[:, :k].sum(axis=1))) for k in (1, 3, 5)}
        return Floor(float(bits), says="the entropy of a gap and its mark, over the mean gap", top=top)

    def _rows(self, age: np.ndarray) -> np.ndarray:
        """Return P(value) given `age` values since a renewal, float64 [ages, classes]."""
        due = 1 / (self.longest - age)
        rows = np.empty((len(age), self.alphabet))
        rows[:, 0] = 1 - due
        rows[:, 1:] = (due / (self.alphabet - 1))[:, None]
        return rows

    def predict(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return P(value | age); before the first renewal, P(value | none so far), float64 [n, classes]."""
        found = log_p_of(self, len(values))
        events = np.flatnonzero(values)
        first = int(events[0]) if len(events) else len(values) - 1
        # Waiting from an arbitrary moment: P(r) ∝ longest − r, so P(now | not yet) = 2/(longest − r + 1).
        wait = np.arange(min(first + 1, self.longest))
        due = 2 / (self.longest - wait + 1)
        found[: len(wait), 0] = log_of(1 - due)
        found[: len(wait), 1:] = np.log(due / (self.alphabet - 1))[:, None]
        t = np.arange(first + 1, len(values))
        last = np.maximum.accumulate(np.where(values > 0, np.arange(len(values)), -1))[first : len(values) - 1]
        found[first + 1 :] = log_of(self._rows(t - 1 - last))
        return found


@dataclass(frozen=True)
class Periodic(IndexedSource):
    """A repeated pattern of uniform values with a random phase; noise replaces a value by a uniform one."""

    name: ClassVar[str] = "periodic"
    alphabet: int = 10_001
    period: int = 10_007
    noise: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alphabet(self.alphabet)
        check(1 <= self.period <= 1 << 24, "period", self.period, f"must be 1 to {1 << 24}")
        check(0 <= self.noise <= 1, "noise", self.noise, "must be 0 to 1")

    @property
    def classes(self) -> int:
        """The alphabet."""
        return self.alphabet

    @cached_property
    def pattern(self) -> np.ndarray:
        """One period, uint16 [period]."""
        return scaled(words(self.seed, 0, 0, self.period), self.alphabet).astype(np.uint16)

    def at(self, index: int, count: int) -> np.ndarray:
        """Return `count` values from `index` on, uint16."""
        phase = int(scaled(words(self.seed, 1, 0, 1), self.period)[0])
        values = self.pattern[(phase + index + np.arange(count)) % self.period]
        if self.noise:
            noisy = words(self.seed, 2, index, count) < np.uint64(round(self.noise * 2**32))
            values = np.where(noisy, scaled(words(self.seed, 3, index, count), self.alphabet), values)
        return values.astype(np.uint16)

    def floor(self) -> Floor:
        """Return the entropy of the noise: the loss once the phase is known."""
        p = np.full((1, self.alphabet), self.noise / self.alphabet)
        p[0, 0] += 1 - self.noise
        positive = p[p > 0]
        known = None
        if not self.noise:
            known = int(np.ceil(np.log(self.period) / np.log(self.alphabet))) if self.period > 1 else 0
        return Floor(
            -float(positive @ np.log2(positive)) + 0.0,
            says="entropy of the noise, once the phase is known; a learner needs one whole period first",
            known_after=known,
            top=top_masses(p),
        )

    def predict(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return the prediction of a Bayes filter over all phases, float64 [n, classes]."""
        found = log_p_of(self, len(values))
        weight = np.full(self.period, 1 / self.period)  # by the index in the pattern of the next value
        chance = self.noise / self.alphabet
        for i, value in enumerate(values):
            mass = np.bincount(self.pattern, weight, self.alphabet)
            found[i] = log_of(chance + (1 - self.noise) * mass)
            weight = weight * (chance + (1 - self.noise) * (self.pattern == value))
            weight = np.roll(weight / weight.sum(), 1)
        return found
