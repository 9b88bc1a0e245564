"""Sources with a clock: a renewal process, and a periodic pattern."""

from __future__ import annotations

import math
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
    WindowedSource,
    check,
    check_alphabet,
    log_of,
    log_p_of,
    top_masses,
)
from bestguess.rolls.sources.tables import scaled

_NATS = 60.0
"""Phases whose likelihood is e^−60 of the largest are dropped."""
_BLOCK = 1 << 18
"""Numbers in a block of phases by time."""
_LONGEST = 1 << 24
"""Most values that `log_p` needs to know the phase."""


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

    @property
    def reach(self) -> int:
        """The longest gap."""
        return self.longest

    def log_p_within(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return ln p of each value itself, float64 [n]."""
        t = np.arange(len(values))
        last = np.maximum.accumulate(np.concatenate([[-1], np.where(values > 0, t, -1)]))[:-1]
        # Values since the last renewal, or since the first value: as in `predict`.
        age = np.minimum(t - 1 - last, self.longest - 1)
        due = np.where(last >= 0, 1 / (self.longest - age), 2 / (self.longest - age + 1))
        return log_of(np.where(values > 0, due / (self.alphabet - 1), 1 - due))


@dataclass(frozen=True)
class Periodic(WindowedSource, IndexedSource):
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

    @property
    def _chances(self) -> tuple[float, float]:
        """P(value) at a given phase: of a value other than the pattern's, and of the pattern's."""
        return self.noise / self.alphabet, self.noise / self.alphabet + 1 - self.noise

    def _predict_windows(self, windows: np.ndarray, indexes: np.ndarray) -> np.ndarray:
        """Return the prediction of a Bayes filter over the phases, without those that are e^−60 as likely as the rest.

        After a few values few pairs of a window and a phase are left, so they are kept as three lists.
        """
        n, length = windows.shape
        miss, hit = self._chances
        found = np.full((n, length, self.alphabet), float(log_of(miss)))
        row, phase = (one.ravel() for one in np.indices((n, self.period)))
        weight = np.full(n * self.period, 1 / self.period)
        for t in range(length):
            shown = self.pattern[(phase + t) % self.period]
            place, which = np.unique(row * self.alphabet + shown, return_inverse=True)
            mass = np.bincount(which, weight, len(place))
            found[place // self.alphabet, t, place % self.alphabet] = log_of(miss + (hit - miss) * mass)
            weight *= np.where(shown == windows[row, t], hit, miss)
            weight /= np.maximum(np.bincount(row, weight, n), 1e-300)[row]
            kept = weight > math.exp(-_NATS)
            row, phase, weight = row[kept], phase[kept], weight[kept]
        return found

    @property
    def reach(self) -> int:
        """Number of values that tell the phase, at most 2^24: a period without noise.

        With noise, four times those that give 60 nats and the log of the number of phases, if the pattern at one
        phase is as unlike that at another as a new pattern would be.
        """
        if not self.noise or self.period == 1:
            return self.period
        if self.noise == 1:
            return 0
        miss, hit = self._chances
        nats = (1 - 1 / self.alphabet) * (hit - miss) * math.log(hit / miss)
        wanted = 4 * (_NATS + math.log(self.period))
        return math.ceil(wanted / nats) if nats * _LONGEST > wanted else _LONGEST

    def log_p_within(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return ln p of each value itself, float64 [n]: p is a ratio of two likelihoods summed over phases."""
        found = np.full(len(values), -np.inf)
        phases, weight = np.arange(self.period), np.full(self.period, -math.log(self.period))
        logs, done = log_of(np.array(self._chances)), 0
        while done < len(values) and len(phases):
            part = values[done : done + max(1, _BLOCK // len(phases))]
            place = (phases + done + np.arange(len(part))[:, None]) % self.period
            likelihood = weight + np.cumsum(logs[(self.pattern[place] == part[:, None]).astype(int)], axis=0)
            most = likelihood.max(axis=1)
            possible = int((most > -np.inf).sum())  # those before the first impossible value
            most, likelihood = most[:possible], likelihood[:possible]
            total = most + np.log(np.exp(likelihood - most[:, None]).sum(axis=1))
            found[done : done + possible] = np.diff(total, prepend=0.0)
            if possible < len(part):
                break
            weight = likelihood[-1] - total[-1]
            kept = weight > weight.max() - _NATS
            phases, weight, done = phases[kept], weight[kept], done + len(part)
        return found
