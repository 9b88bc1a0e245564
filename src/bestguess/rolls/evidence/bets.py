"""Bets on the order of a block's values: a predictor's factor of the evidence at each value.

Blocks have B values. Given the past, all orders of a block are equally likely under the null. With any lift
λ(u) ≥ 0 known before the value x_i,

    f_i = λ(x_i) / mean of λ(x_j) over j ≥ i in the block,     E[f_i | past, the block's multiset] = 1,

so Π f_i is a test martingale (Koning, arXiv 2310.01153; for pairs Saha & Ramdas, 2310.14293). The mean is a sum over
the remaining values, known from the multiset and the past. It does not depend on the order of the future.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence

import numpy as np

from bestguess.rolls.evidence.windows import Chunk, Marginal, later

LAGS = 32
RATES = (2.0, 0.25, *(2.0**-k for k in range(5, 18, 2)))
"""Stakes on one value: λ = 1 + rate/p₀ there and 1 elsewhere. The smallest ones matter from a million values up."""
AVERSIONS = (-0.9, -0.5, -0.125, -0.03125, 0.25, 2.0)
"""Stakes on sets of values: λ = 1 + a inside, 1 outside; negative: a bet against a recurrence."""
_THIN = 0.2
"""Below this fraction of positive means, only those positions are computed."""
_FACTORS = 16
"""Factors per logarithm: even (1 + 2/p₀)^16 at p₀ = 10^-15 stays below 10^308."""


class Predictor(abc.ABC):
    """A predictor with several components, which differ in their stakes."""

    components: int

    @abc.abstractmethod
    def factors(self, chunk: Chunk) -> Iterator[np.ndarray]:
        """Yield f of each component, float64 [B, blocks]. Only blocks passed to `learn` may be used."""

    def log_factors(self, chunk: Chunk) -> list[np.ndarray]:
        """Return Σ ln f over each block, float64 [blocks], of each component."""
        return [log_product(f) for f in self.factors(chunk)]

    @abc.abstractmethod
    def names(self) -> list[str]:
        """Return the bet of each component in words, in the order of `factors`."""

    def learn(self, chunk: Chunk) -> None:  # noqa: B027, a predictor need not learn
        """Learn from blocks whose order is now known."""


def log_product(factors: np.ndarray) -> np.ndarray:
    """Return Σ ln f over a block's positions, float64 [blocks], from f [B, blocks]. All f = 1 give 0 exactly."""
    rows = -(-len(factors) // _FACTORS)
    while len(factors) > rows:
        half = len(factors) // 2
        product = factors[:half] * factors[half : 2 * half]
        if len(factors) % 2:
            product[0] *= factors[-1]
        factors = product
    return np.log(factors).sum(axis=0)


class Staked(Predictor):
    """A predictor with several stakes s on the same bets g: λ(u) = 1 + s·g(u)."""

    stakes: Sequence[float]

    @abc.abstractmethod
    def bets(self, chunk: Chunk) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield g(x_i) and the mean of g over the remaining values, float64 [B, blocks]; g = 0 where the mean is."""

    def factors(self, chunk: Chunk) -> Iterator[np.ndarray]:
        """Yield f by bet, then by stake."""
        for gain, mean in self.bets(chunk):
            for stake in self.stakes:
                yield _factor(stake, gain, mean)

    def log_factors(self, chunk: Chunk) -> list[np.ndarray]:
        """Return Σ ln f over each block, float64 [blocks], by bet, then by stake."""
        found = []
        for gain, mean in self.bets(chunk):
            where = np.flatnonzero(mean)
            if len(where) > _THIN * mean.size:
                found += [log_product(_factor(stake, gain, mean)) for stake in self.stakes]
                continue
            # With many different values, few recur within a block; elsewhere f = 1.
            block, g, m = where % chunk.blocks, gain.ravel()[where], mean.ravel()[where]
            for stake in self.stakes:
                found.append(np.bincount(block, np.log(_factor(stake, g, m)), chunk.blocks))
        return found


def _factor(stake: float, gain: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return f = (1 + s·g(x_i)) / (1 + s·mean g)."""
    above, below = stake * gain, stake * mean
    above += 1
    below += 1
    above /= below
    return above


class Repeat(Staked):
    """Bets on repeats at lags 1, 2, …, 32: λ(u) = 1 + r/p₀(x_{t−l}) · [u = x_{t−l}]."""

    stakes = RATES

    def __init__(self, marginal: Marginal, lags: int = LAGS) -> None:
        self._inverse, self._lags = marginal.inverse, lags
        self.components = lags * len(RATES)

    def names(self) -> list[str]:
        """Return the lag of each component in words."""
        return [f"repeats at lag {lag}" for lag in range(1, self._lags + 1) for _ in RATES]

    def bets(self, chunk: Chunk) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield g and its mean by lag."""
        inverse = self._inverse[chunk.window]
        remaining = chunk.later.astype(float)
        end, C = len(chunk.window), chunk.context
        share = 1 / chunk.left
        for lag in range(1, self._lags + 1):
            before = slice(C - lag, end - lag)
            hit = chunk.block == chunk.lagged(lag)
            mean = remaining[before] * inverse[before]
            mean *= share
            yield hit * inverse[before], mean
            # Copies of x_t at positions ≥ t + l: with the next lag, one position less.
            remaining[before] -= hit


class Aversion(Staked):
    """Bets on or against recurrence of the last value, and of any value of the window so far: λ(u) = 1 + a there."""

    stakes = AVERSIONS
    components = 2 * len(AVERSIONS)

    def names(self) -> list[str]:
        """Return the set of values, and the sign of the bet."""
        sets = ("the last value recurs", "values of the last 32 to 288 steps recur")
        return [f"{which} {'less' if a < 0 else 'more'} often than by chance" for which in sets for a in AVERSIONS]

    def bets(self, chunk: Chunk) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield g and its mean for the last value, then for all earlier values of the window."""
        last = chunk.later[chunk.context - 1 : -1]
        yield chunk.block == chunk.lagged(1), last / chunk.left
        seen = _seen_before(chunk.window)
        inside, C = seen[chunk.context :], chunk.context
        # A new value adds all its later copies to the recurrences; a recurrence removes itself.
        change = np.where(inside, -1, chunk.later[C:])
        at_start = np.where(seen[:C], 0, chunk.later[:C]).sum(axis=0)
        remaining = at_start + np.cumsum(change, axis=0) - change
        yield inside, remaining / chunk.left


def _seen_before(window: np.ndarray) -> np.ndarray:
    """Return which values of a window occur earlier in it, bool [positions, blocks]."""
    order = np.argsort(window, axis=0, kind="stable")
    ordered = np.take_along_axis(window, order, axis=0)
    again = np.zeros(window.shape, bool)
    again[1:] = ordered[1:] == ordered[:-1]
    seen = np.empty_like(again)
    np.put_along_axis(seen, order, again, axis=0)
    return seen


class Successor(Staked):
    """Bets on the value that followed the last occurrence of the same k values, k = 1, 2 or 3."""

    stakes = RATES
    components = len(RATES)
    _MOST_SLOTS = 1 << 22

    def __init__(self, marginal: Marginal, order: int) -> None:
        self._inverse, self._order = marginal.inverse, order
        total = int(marginal.counts.sum())
        self._bits = min(self._MOST_SLOTS.bit_length() - 1, max(8, (2 * total).bit_length()))
        self._tag = np.zeros(1 << self._bits, np.uint32)  # 0: empty
        self._next = np.zeros(1 << self._bits, np.uint16)

    def names(self) -> list[str]:
        """Return the order in words."""
        same = "same value" if self._order == 1 else f"same {self._order} values"
        return [f"the value that last followed the {same}"] * self.components

    def _slots(self, chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
        """Return the slots of the contexts of the block's values, and the tags that detect collisions."""
        key = np.zeros(chunk.block.shape, np.uint64)
        for lag in range(1, self._order + 1):
            key = (key << np.uint64(16)) | chunk.lagged(lag)
        # Multiplication by an odd constant mixes upwards: the top bits are the slot, the low ones the tag.
        mixed = (key ^ (key >> np.uint64(23))) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        slot = (mixed >> np.uint64(64 - self._bits)).astype(np.int64)
        return slot, (mixed & np.uint64(0x7FFFFFFF)).astype(np.uint32) | np.uint32(1)

    def bets(self, chunk: Chunk) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield g and its mean, 0 for a new context."""
        slot, tag = self._slots(chunk)
        guess = self._next[slot]
        stake = np.where(self._tag[slot] == tag, self._inverse[guess], 0.0)
        remaining = later(chunk.block, guess, np.arange(len(guess)))
        yield (chunk.block == guess) * stake, remaining * stake / chunk.left

    def learn(self, chunk: Chunk) -> None:
        """Store the successor of each context; for equal contexts, the last one."""
        slot, tag = self._slots(chunk)
        where = slot.T.ravel()
        self._tag[where] = tag.T.ravel()
        self._next[where] = chunk.block.T.ravel()
