"""Markov chains and hidden Markov chains, with their filters."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from bestguess.rolls.counter import words
from bestguess.rolls.sources.base import (
    Floor,
    State,
    WindowedSource,
    check,
    check_alphabet,
    joined,
    log_of,
    measured,
    overlapping,
)
from bestguess.rolls.sources.tables import Table, dirichlet, scaled

_LARGEST_TABLE = 1 << 24
_SIMULATED = 1 << 16
"""Number of values for the floor of a hidden Markov chain."""
_LONGEST = 1 << 20
"""Most values for which the filter of a hidden Markov chain runs before its first prediction."""
_NATS = 40.0
"""The filter's first law is forgotten when its effect on ln p is below e^−40."""


@dataclass(frozen=True)
class Markov(WindowedSource):
    """A stationary Markov chain whose rows are drawn once from a Dirichlet."""

    name: ClassVar[str] = "markov"
    alphabet: int = 64
    order: int = 1
    concentration: float = 0.3
    """Concentration of the rows. Small: few likely values after each context."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alphabet(self.alphabet)
        check(1 <= self.order <= 16, "order", self.order, "must be 1 to 16")
        check(0.01 <= self.concentration <= 1e6, "concentration", self.concentration, "must be 0.01 to 1e6")
        numbers = self.alphabet ** (self.order + 1)
        check(
            numbers <= _LARGEST_TABLE,
            "order",
            self.order,
            f"takes {numbers:,} probabilities; {_LARGEST_TABLE:,} at most",
        )

    @property
    def classes(self) -> int:
        """The alphabet."""
        return self.alphabet

    @property
    def contexts(self) -> int:
        """Number of contexts of `order` values; the oldest value is the highest digit."""
        return self.alphabet**self.order

    @cached_property
    def table(self) -> Table:
        """Law of the next value by context, [contexts, alphabet]."""
        return dirichlet(self.seed, 1, self.contexts, self.alphabet, self.concentration)

    @cached_property
    def stationary(self) -> np.ndarray:
        """Stationary law of the contexts, float64 [contexts]."""
        pi = np.full(self.contexts, 1 / self.contexts)
        for _ in range(10_000):
            # Half a step, so that a periodic chain converges too.
            new = (pi + self._step(pi[:, None] * self.table.p)) / 2
            if np.abs(new - pi).sum() < 1e-14:
                break
            pi = new
        return new / new.sum()

    def _step(self, joint: np.ndarray) -> np.ndarray:
        """Return the law of the next context from that of context and value, [contexts, alphabet]."""
        return joint.reshape(self.alphabet, -1, self.alphabet).sum(axis=0).ravel()

    def start(self) -> State:
        """Return a context drawn from the stationary law."""
        u = words(self.seed, 2, 0, 1) / 2**32
        place = int(np.searchsorted(np.cumsum(self.stationary), u, side="right")[0])
        return {"index": 0, "context": min(place, self.contexts - 1)}

    @cached_property
    def _rows(self) -> list[list[int]]:
        return self.table.edges.tolist()

    def draw(self, state: State, count: int) -> tuple[np.ndarray, State]:
        """Return the next values, and the context after them."""
        rows, context, K, most = self._rows, state["context"], self.alphabet, self.contexts
        values = []
        for word in words(self.seed, 0, state["index"], count).tolist():
            value = bisect_right(rows[context], word)
            values.append(value)
            context = (context * K + value) % most
        return np.array(values, np.uint16), {"index": state["index"] + count, "context": context}

    def floor(self) -> Floor:
        """Return Σ_c π(c) H(P(· | c))."""
        p = self.table.p
        entropy = -np.sum(np.where(p > 0, p * np.log2(np.where(p > 0, p, 1.0)), 0.0), axis=1)
        ordered = -np.sort(-p, axis=1)
        top = {k: float(self.stationary @ ordered[:, :k].sum(axis=1)) for k in (1, 3, 5)}
        return Floor(float(self.stationary @ entropy), says="the chain's entropy rate", top=top)

    def _rows_after(self, known: int) -> np.ndarray:
        """Return the law of the next value given the last `known` values, `order` at most, [alphabet^known, alphabet].

        With fewer than `order` known, the stationary law of `known + 1` consecutive values gives it.
        """
        if known == self.order:
            return self.table.p
        joint = self.stationary.reshape(-1, self.alphabet**known, self.alphabet).sum(axis=0)
        total = joint.sum(axis=1, keepdims=True)
        return np.divide(joint, total, out=np.full(joint.shape, 1 / self.alphabet), where=total > 0)

    def _context(self, windows: np.ndarray, known: int) -> np.ndarray:
        """Return the row of `_rows_after` for each value that has `known` values before it, int64 [n, T − known]."""
        length = windows.shape[1]
        context = np.zeros((len(windows), max(0, length - known)), np.int64)
        if length <= known:
            return context
        for lag in range(known, 0, -1):
            context = context * self.alphabet + windows[:, known - lag : length - lag]
        return context

    def _predict_windows(self, windows: np.ndarray, indexes: np.ndarray) -> np.ndarray:
        """Return the context's row; for the first `order` values that of the shorter context."""
        n, length = windows.shape
        found = np.empty((n, length, self.alphabet))
        for t in range(min(self.order, length)):
            found[:, t] = log_of(self._rows_after(t))[self._context(windows, t)[:, 0]]
        found[:, self.order :] = log_of(self.table.p)[self._context(windows, self.order)]
        return found

    @property
    def reach(self) -> int:
        """The order."""
        return self.order

    def log_p_within(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return ln p of each value itself, float64 [n]."""
        found = np.empty(len(values))
        for t in range(min(self.order, len(values))):
            found[t] = log_of(self._rows_after(t)[self._context(values[None, : t + 1], t)[0, 0], values[t]])
        found[self.order :] = log_of(self.table.p[self._context(values[None], self.order)[0], values[self.order :]])
        return found


@dataclass(frozen=True)
class Hmm(WindowedSource):
    """A hidden Markov chain: the state stays or jumps to any other state; each state has a law of values."""

    name: ClassVar[str] = "hmm"
    alphabet: int = 64
    states: int = 4
    stay: float = 0.98
    concentration: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alphabet(self.alphabet)
        check(2 <= self.states <= 1024, "states", self.states, "must be 2 to 1024")
        check(0 <= self.stay <= 1, "stay", self.stay, "must be 0 to 1")
        check(0.01 <= self.concentration <= 1e6, "concentration", self.concentration, "must be 0.01 to 1e6")
        numbers = self.states * self.alphabet
        check(numbers <= _LARGEST_TABLE, "states", self.states, f"takes {numbers:,} probabilities; use fewer")

    @property
    def classes(self) -> int:
        """The alphabet."""
        return self.alphabet

    @cached_property
    def table(self) -> Table:
        """Each state's law of values, [states, alphabet]."""
        return dirichlet(self.seed, 1, self.states, self.alphabet, self.concentration)

    def start(self) -> State:
        """Return a uniform hidden state: the stationary law."""
        return {"index": 0, "state": int(scaled(words(self.seed, 3, 0, 1), self.states)[0])}

    def draw(self, state: State, count: int) -> tuple[np.ndarray, State]:
        """Return the next values, and the hidden state after them."""
        index = state["index"]
        jumps = words(self.seed, 2, index, count) >= np.uint64(round(self.stay * 2**32))
        # A uniform jump by 1 … S − 1, modulo S, reaches every other state with equal probability.
        by = np.where(jumps, 1 + scaled(words(self.seed, 4, index, count), self.states - 1), 0)
        path = (state["state"] + np.concatenate([[0], np.cumsum(by)])) % self.states
        values = self.table.draw(words(self.seed, 0, index, count), path[:-1])
        return values, {"index": index + count, "state": int(path[-1])}

    def floor(self) -> Floor:
        """Return the filter's mean loss over 2^16 simulated values."""
        size = max(1 << 10, min(_SIMULATED, (1 << 24) // self.alphabet))
        found = measured(self, self.draw(self.start(), size)[0], skip=size // 16)
        return Floor(
            found.bits, found.standard_error, f"mean loss of the forward filter over {size:,} values", None, found.top
        )

    def _filter(self, windows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield by position: the law of the hidden state given the values before, [n, states], and P(value), [n]."""
        by_value = np.ascontiguousarray(self.table.p.T)
        law = np.full((len(windows), self.states), 1 / self.states)
        leave, to_stay = self._leave, self.stay - self._leave
        for values in windows.T:
            joint = law * by_value[values]
            total = joint.sum(axis=1)
            yield law, total
            if not total.all():  # impossible values: begin again after them
                joint[total == 0], total = 1.0, np.where(total > 0, total, self.states)
            law = leave + to_stay * (joint / total[:, None])

    @property
    def _leave(self) -> float:
        """Probability of a jump to each other state."""
        return (1 - self.stay) / (self.states - 1)

    def _predict_windows(self, windows: np.ndarray, indexes: np.ndarray) -> np.ndarray:
        """Return the forward filter's prediction."""
        found, p = np.empty((*windows.shape, self.alphabet)), self.table.p
        for t, (law, _) in enumerate(self._filter(windows)):
            found[:, t] = law @ p
        with np.errstate(divide="ignore"):
            return np.log(found, out=found)

    @property
    def reach(self) -> int:
        """Number of values after which the filter has forgotten its first law, at most 2^20; numerically exact.

        A step of the chain contracts Hilbert's distance of two laws by tanh(Δ/4) (Birkhoff), with e^Δ the square of
        the ratio of `stay` to the probability of a jump to a given state; an observation leaves it as it is.
        """
        contraction = abs(self.stay - self._leave) / (self.stay + self._leave)
        if contraction < 1e-12:
            return 1
        if contraction > 1 - 1e-12:
            return _LONGEST
        return min(_LONGEST, 2 + math.ceil((_NATS + 4) / -math.log(contraction)))

    def log_p_within(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return ln p of each value itself, float64 [n], from parallel filters that begin `reach` values earlier."""
        reach = min(self.reach, len(values))
        parts = max(1, min(64, len(values) // (4 * self.reach)))
        windows = overlapping(values, reach, max(1, -(-(len(values) - reach) // parts)))
        found = np.empty(windows.shape)
        for t, (_, total) in enumerate(self._filter(windows)):
            found[:, t] = total
        return log_of(joined(found, reach, len(values)))
