"""Sources without a hidden state: independent values, repeats, halves, a deck, the parity of earlier bits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, get_args

import numpy as np
from scipy.special import gammaln

from bestguess.rolls.counter import words
from bestguess.rolls.sources.base import (
    Floor,
    IndependentSource,
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
from bestguess.rolls.sources.tables import Table, dirichlet, scaled

_LARGEST_DECK = 1 << 20
_Law = Literal["uniform", "zipf", "dirichlet"]
LAWS: tuple[str, ...] = get_args(_Law)


@dataclass(frozen=True)
class Iid(IndependentSource):
    """Independent values of one law. The past does not help."""

    name: ClassVar[str] = "iid"
    alphabet: int = 64
    law: _Law = "uniform"
    exponent: float = 1.0
    """Exponent of zipf: p(u) ∝ (u + 1)^−exponent."""
    concentration: float = 0.3
    """Concentration of dirichlet; the law is drawn once, from the seed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alphabet(self.alphabet, least=1)
        check(0 <= self.exponent <= 20, "exponent", self.exponent, "must be 0 to 20")
        check(0.001 <= self.concentration <= 1e6, "concentration", self.concentration, "must be 0.001 to 1e6")

    @property
    def classes(self) -> int:
        """The alphabet."""
        return self.alphabet

    @cached_property
    def table(self) -> Table:
        """The law, one row."""
        match self.law:
            case "uniform":
                return Table(np.ones((1, self.alphabet)))
            case "zipf":
                return Table((np.arange(1, self.alphabet + 1) ** -float(self.exponent))[None])
        return dirichlet(self.seed, 1, 1, self.alphabet, self.concentration)

    def at(self, index: int, count: int) -> np.ndarray:
        """Return `count` values from `index` on, uint16."""
        return self.table.draw(words(self.seed, 0, index, count))

    def floor(self) -> Floor:
        """Return the law's entropy."""
        p = self.table.p
        positive = p[p > 0]
        return Floor(-float(positive @ np.log2(positive)) + 0.0, says="the entropy of one value", top=top_masses(p))

    @property
    def law_p(self) -> np.ndarray:
        """Probability of each value, float64 [classes]."""
        return self.table.p[0]


@dataclass(frozen=True)
class Repeat(Source):
    """Uniform values, of which a fraction are copies of the value `lag` steps before."""

    name: ClassVar[str] = "repeat"
    alphabet: int = 977
    lag: int = 3
    fraction: float = 0.03

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alphabet(self.alphabet)
        check(1 <= self.lag <= 4096, "lag", self.lag, "must be 1 to 4096")
        check(0 <= self.fraction <= 1, "fraction", self.fraction, "must be 0 to 1")

    @property
    def classes(self) -> int:
        """The alphabet."""
        return self.alphabet

    def start(self) -> State:
        """Return no values before the first."""
        return {"index": 0, "last": []}

    def draw(self, state: State, count: int) -> tuple[np.ndarray, State]:
        """Return the next values, and the last `lag` of them as the state."""
        index, old = state["index"], len(state["last"])
        fresh = scaled(words(self.seed, 0, index, count), self.alphabet)
        copy = words(self.seed, 1, index, count) < round(self.fraction * 2**32)
        if self.fraction == 1:
            copy = np.ones(count, bool)
        copy[: max(0, self.lag - old)] = False  # there is no value that far back
        line = np.concatenate([np.array(state["last"], np.int64), fresh])
        source = np.where(np.concatenate([np.zeros(old, bool), copy]), -1, np.arange(old + count))
        # For each residue modulo the lag, the index of the last non-copy: a running maximum down the columns.
        rows = -(-len(line) // self.lag)
        grid = np.concatenate([source, np.full(rows * self.lag - len(line), -1)]).reshape(rows, self.lag)
        place = np.maximum.accumulate(grid, axis=0).ravel()[: len(line)]
        values = line[place]
        after = values[max(0, len(values) - self.lag) :].tolist()
        return values[old:].astype(np.uint16), {"index": index + count, "last": after}

    def floor(self) -> Floor:
        """Return the entropy of the mixture of a copy and a uniform value."""
        p = np.full((1, self.alphabet), (1 - self.fraction) / self.alphabet)
        p[0, 0] += self.fraction
        positive = p[p > 0]
        return Floor(
            -float(positive @ np.log2(positive)) + 0.0, says=f"exact from index {self.lag} on", top=top_masses(p)
        )

    def predict(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return (1 − ρ)/K for each value, and ρ more for that of `lag` steps before, float64 [n, classes]."""
        n = len(values)
        found = log_p_of(self, n, fill=float(self._levels[0]))
        found[: self.lag] = -np.log(self.alphabet)
        t = np.arange(self.lag, n)
        found[t, values[: max(0, n - self.lag)]] = self._levels[1]
        return found

    @property
    def _levels(self) -> np.ndarray:
        """Return ln p of a value other than that of `lag` steps before, and of that value."""
        other = (1 - self.fraction) / self.alphabet
        return log_of(np.array([other, self.fraction + other]))

    @property
    def reach(self) -> int:
        """The lag."""
        return self.lag

    def log_p_within(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return ln p of each value itself, float64 [n]."""
        found = np.full(len(values), -np.log(self.alphabet))
        found[self.lag :] = self._levels[(values[self.lag :] == values[: -self.lag]).astype(int)]
        return found


@dataclass(frozen=True)
class Halves(Source):
    """Uniform values in the same half (lower or upper) as the value before with probability (1 + ε)/2."""

    name: ClassVar[str] = "halves"
    alphabet: int = 64
    epsilon: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alphabet(self.alphabet)
        check(self.alphabet % 2 == 0, "alphabet", self.alphabet, "must be even, to have two halves")
        check(-1 <= self.epsilon <= 1, "epsilon", self.epsilon, "must be -1 to 1")

    @property
    def classes(self) -> int:
        """The alphabet."""
        return self.alphabet

    def start(self) -> State:
        """Return no half before the first."""
        return {"index": 0, "half": 0}

    def draw(self, state: State, count: int) -> tuple[np.ndarray, State]:
        """Return the next values, and the half of the last one."""
        index = state["index"]
        switch = words(self.seed, 1, index, count) >= np.uint64(round((1 + self.epsilon) * 2**31))
        if index == 0 and count:
            switch[0] = words(self.seed, 2, 0, 1)[0] & 1  # the first half is drawn uniformly
        half = (state["half"] + np.cumsum(switch)) % 2
        values = half * (self.alphabet // 2) + scaled(words(self.seed, 0, index, count), self.alphabet // 2)
        return values.astype(np.uint16), {"index": index + count, "half": int(half[-1]) if count else state["half"]}

    def _rows(self) -> np.ndarray:
        same, half = (1 + self.epsilon) / 2, self.alphabet // 2
        return np.repeat(np.array([[same, 1 - same], [1 - same, same]]), half, axis=1) / half

    def floor(self) -> Floor:
        """Return log2 K − 1 + h((1 + ε)/2)."""
        p = self._rows()[:1]
        positive = p[p > 0]
        return Floor(-float(positive @ np.log2(positive)), says="exact from the second value on", top=top_masses(p))

    def predict(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return the two levels of probability, float64 [n, classes]."""
        found = log_p_of(self, len(values), fill=-np.log(self.alphabet))
        found[1:] = log_of(self._rows())[values[:-1] // (self.alphabet // 2)]
        return found

    @property
    def reach(self) -> int:
        """1."""
        return 1

    def log_p_within(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return ln p of each value itself, float64 [n]."""
        found = np.full(len(values), -np.log(self.alphabet))
        found[1:] = log_of(self._rows())[values[:-1] // (self.alphabet // 2), values[1:]]
        return found


@dataclass(frozen=True)
class Deck(WindowedSource, IndexedSource):
    """A shuffled deck dealt to its end, then shuffled again: predictable towards the end of each deck."""

    name: ClassVar[str] = "deck"
    alphabet: int = 1000
    copies: int = 1
    """Copies of each value in the deck."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alphabet(self.alphabet)
        check(self.copies >= 1, "copies", self.copies, "must be 1 or more")
        most = _LARGEST_DECK // self.alphabet
        check(self.copies <= most, "copies", self.copies, f"makes a deck above {_LARGEST_DECK:,} cards; {most} at most")

    @property
    def classes(self) -> int:
        """The alphabet."""
        return self.alphabet

    @property
    def cards(self) -> int:
        """Cards in the deck."""
        return self.alphabet * self.copies

    def at(self, index: int, count: int) -> np.ndarray:
        """Return `count` cards from `index` on, uint16."""
        first, last = index // self.cards, -(-(index + count) // self.cards)
        draw = words(self.seed, 0, first * self.cards, (last - first) * self.cards).reshape(-1, self.cards)
        cards = (np.argsort(draw, axis=1, kind="stable") // self.copies).astype(np.uint16).ravel()
        return cards[index - first * self.cards :][:count]

    def floor(self) -> Floor:
        """Return log2 of the number of orders of a deck, per card."""
        nats = gammaln(self.cards + 1) - self.alphabet * gammaln(self.copies + 1)
        top = {}
        if self.copies == 1:
            left = np.arange(1, self.cards + 1)
            top = {k: float(np.mean(np.minimum(1, k / left))) for k in (1, 3, 5)}
        return Floor(float(nats / np.log(2) / self.cards), says="log2 of a deck's number of orders, per card", top=top)

    def _predict_windows(self, windows: np.ndarray, indexes: np.ndarray) -> np.ndarray:
        """Return the fraction of each value among the unseen cards.

        Cards dealt before a window count as unseen: the order of a deck is exchangeable.
        """
        n, length = windows.shape
        found = np.empty((n, length, self.alphabet))
        left = np.full((n, self.alphabet), float(self.copies))
        for t in range(length):
            left[(indexes + t) % self.cards == 0] = self.copies
            found[:, t] = log_of(np.maximum(left, 0) / left.sum(axis=1, keepdims=True))
            left[np.arange(n), windows[:, t]] -= 1
        return found

    @property
    def reach(self) -> int:
        """One card less than a deck."""
        return self.cards - 1

    def memory(self, index: int) -> int:
        """Return the number of cards dealt from the deck of `index` before it."""
        return index % self.cards

    def log_p_within(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return ln p of each card itself, float64 [n]."""
        place = index + np.arange(len(values))
        deck = place // self.cards
        # Cards of one deck and value stand together, in the order dealt: the number of earlier ones is a difference.
        together = np.lexsort((values, deck))
        new = np.ones(len(values), bool)
        new[1:] = (np.diff(deck[together]) != 0) | (np.diff(values[together].astype(np.int64)) != 0)
        rank = np.arange(len(values))
        dealt = np.empty(len(values), np.int64)
        dealt[together] = rank - np.maximum.accumulate(np.where(new, rank, 0))
        unseen = self.cards - (place - np.maximum(deck * self.cards, index))
        return log_of(np.maximum(self.copies - dealt, 0) / unseen)


@dataclass(frozen=True)
class NoisyParity(Source):
    """Uniform values except for the lowest bit: the noisy parity of the second-lowest bits of the last k values.

    Hard to learn: every proper subset of the k bits is independent of the parity.
    """

    name: ClassVar[str] = "noisy-parity"
    alphabet: int = 64
    span: int = 6
    """k, the number of values in the parity."""
    noise: float = 0.05
    """Probability of a wrong parity."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alphabet(self.alphabet, least=4)
        power = self.alphabet & (self.alphabet - 1) == 0
        check(power, "alphabet", self.alphabet, "must be a power of two, to have bits")
        check(1 <= self.span <= 256, "span", self.span, "must be 1 to 256")
        check(0 <= self.noise <= 1, "noise", self.noise, "must be 0 to 1")

    @property
    def classes(self) -> int:
        """The alphabet."""
        return self.alphabet

    def start(self) -> State:
        """Return k bits before the first value, drawn from the seed."""
        return {"index": 0, "bits": (words(self.seed, 2, 0, self.span) & 1).tolist()}

    def draw(self, state: State, count: int) -> tuple[np.ndarray, State]:
        """Return the next values, and the bits of the last k."""
        index = state["index"]
        values = scaled(words(self.seed, 0, index, count), self.alphabet) & ~1
        flip = words(self.seed, 1, index, count) < np.uint64(round(self.noise * 2**32))
        bits = np.concatenate([np.array(state["bits"], np.int64), values >> 1 & 1])
        parity = self._parity(bits)[:count] ^ flip
        return (values | parity).astype(np.uint16), {"index": index + count, "bits": bits[count:].tolist()}

    def _parity(self, bits: np.ndarray) -> np.ndarray:
        """Return the parity of every k consecutive bits."""
        total = np.concatenate([[0], np.cumsum(bits)])
        return (total[self.span :] - total[: -self.span]) % 2

    def floor(self) -> Floor:
        """Return log2 K − 1 + h(noise)."""
        p = np.tile([1 - self.noise, self.noise], (1, self.alphabet // 2)) / (self.alphabet / 2)
        positive = p[p > 0]
        return Floor(-float(positive @ np.log2(positive)), says=f"exact from index {self.span} on", top=top_masses(p))

    def predict(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return uniform upper bits and the parity's two levels, uniform for the first k, float64 [n, classes]."""
        found = log_p_of(self, len(values), fill=-np.log(self.alphabet))
        levels = log_of(np.array([1 - self.noise, self.noise]) / (self.alphabet / 2))
        if len(values) > self.span:
            parity = self._parity(values.astype(np.int64) >> 1 & 1)[: len(values) - self.span]
            found[self.span :] = levels[(np.arange(self.alphabet) & 1) ^ parity[:, None]]
        return found

    @property
    def reach(self) -> int:
        """The span."""
        return self.span

    def log_p_within(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return ln p of each value itself, float64 [n]."""
        found = np.full(len(values), -np.log(self.alphabet))
        if len(values) > self.span:
            parity = self._parity(values.astype(np.int64) >> 1 & 1)[: len(values) - self.span]
            levels = log_of(np.array([1 - self.noise, self.noise]) / (self.alphabet / 2))
            found[self.span :] = levels[(values[self.span :] & 1) ^ parity]
        return found
