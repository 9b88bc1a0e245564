"""Markov chains and hidden Markov chains, with their filters."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from bestguess.rolls.counter import words
from bestguess.rolls.sources.base import (
    Floor,
    Source,
    State,
    check,
    check_alphabet,
    log_of,
    log_p_of,
    measured,
)
from bestguess.rolls.sources.tables import Table, dirichlet, scaled

_LARGEST_TABLE = 1 << 24
_SIMULATED = 1 << 16
"""Number of values for the floor of a hidden Markov chain."""


@dataclass(frozen=True)
class Markov(Source):
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

    def predict(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return the context's row, or the mean over possible contexts for the first `order` values, [n, classes]."""
        found, law = log_p_of(self, len(values)), self.stationary
        first = values[: self.order]
        for i, value in enumerate(first):
            joint = law[:, None] * self.table.p
            found[i] = log_of(joint.sum(axis=0))
            joint[:, np.arange(self.alphabet) != value] = 0
            law = self._step(joint)
            law /= law.sum()
        context = np.zeros(max(0, len(values) - self.order), np.int64)
        for lag in range(self.order, 0, -1):
            context = context * self.alphabet + values[self.order - lag : len(values) - lag]
        found[len(first) :] = log_of(self.table.p)[context]
        return found


@dataclass(frozen=True)
class Hmm(Source):
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

    def predict(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return the forward filter's prediction, float64 [n, classes]."""
        found, p = log_p_of(self, len(values)), self.table.p
        law = np.full(self.states, 1 / self.states)
        laws = np.empty((len(values), self.states))
        leave = (1 - self.stay) / (self.states - 1)
        for i, value in enumerate(values):
            laws[i] = law
            law = law * p[:, value]
            law = law / law.sum()
            law = leave + (self.stay - leave) * law
        found[:] = log_of(laws @ p)
        return found
