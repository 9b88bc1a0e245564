"""Bets from counts: of successors of the last one or two bins, and of recent values.

A weight w mixes the lift with 1: f = ((1 − w) + w·λ(x_i)) / ((1 − w) + w·mean λ). Coarse bins have less to learn and
detect weak effects sooner: two halves take a fortieth of the values that 64 bins take.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bestguess.rolls.evidence.bets import Predictor
from bestguess.rolls.evidence.windows import Bins, Chunk

WEIGHTS = (1.0, 0.5, 0.125, 0.03125, 0.0078125)
BINNINGS = (2, 16, 256)
DECAYS = (15 / 16, 63 / 64)
"""Decay of the counts per value: memories of 16 and 64 values."""
_PRIOR = 8.0
"""Pseudocounts of a decayed predictor, distributed as the whole file."""


def _weighed(lift: np.ndarray, mean: np.ndarray) -> Iterator[np.ndarray]:
    for w in WEIGHTS:
        yield ((1 - w) + w * lift) / ((1 - w) + w * mean)


class Counts(Predictor):
    """Bets on counts of a bin after the last `order` bins: λ(u) = (n[c, u]/p(u) + b/2) / (n[c] + b/2), b bins."""

    components = len(WEIGHTS)

    def __init__(self, bins: Bins, order: int) -> None:
        self._bins, self._order = bins, order
        self._counts = np.zeros((len(bins) ** order, len(bins)))

    def names(self) -> list[str]:
        """Return the order and the bins in words."""
        last = "value" if self._order == 1 else f"{self._order} values"
        return [f"counts given the last {last}, in {len(self._bins)} bins"] * len(WEIGHTS)

    def _contexts(self, chunk: Chunk) -> np.ndarray:
        """Return the index of each value's context, int64 [B, blocks]."""
        context = np.zeros(chunk.block.shape, np.int64)
        for lag in range(self._order, 0, -1):
            context = context * len(self._bins) + self._bins.of_value[chunk.lagged(lag)]
        return context

    def _lifts(self) -> np.ndarray:
        prior = len(self._bins) / 2
        return (self._counts / self._bins.mass + prior) / (self._counts.sum(axis=1, keepdims=True) + prior)

    def factors(self, chunk: Chunk) -> Iterator[np.ndarray]:
        """Yield f by weight."""
        context, bins, lifts = self._contexts(chunk), self._bins.of_value[chunk.block], self._lifts()
        mean = np.empty(bins.shape)
        blocks = np.arange(chunk.blocks)
        remaining = np.zeros((chunk.blocks, len(self._bins)))
        for i in range(len(bins) - 1, -1, -1):
            remaining[blocks, bins[i]] += 1
            mean[i] = np.vecdot(lifts[context[i]], remaining)
        return _weighed(lifts[context, bins], mean / chunk.left)

    def learn(self, chunk: Chunk) -> None:
        """Add the block's transitions to the counts."""
        flat = self._contexts(chunk) * len(self._bins) + self._bins.of_value[chunk.block]
        self._counts += np.bincount(flat.ravel(), minlength=self._counts.size).reshape(self._counts.shape)


class Decayed(Predictor):
    """Bets on recently frequent values: λ(u) = (d(u)/p(u) + s) / (Σ d + s), d decayed counts of the window so far.

    They are updated at every value: if constant within a block, counts without a context would gain nothing.
    """

    components = len(DECAYS) * len(WEIGHTS)

    def __init__(self, bins: Bins) -> None:
        self._bins = bins

    def names(self) -> list[str]:
        """Return the bins in words."""
        return [f"recent counts, in {len(self._bins)} bins"] * self.components

    def factors(self, chunk: Chunk) -> Iterator[np.ndarray]:
        """Yield f by decay, then by weight; exactly 1 for a single bin."""
        bins, C = self._bins.of_value[chunk.window], chunk.context
        if len(self._bins) == 1:
            yield from [np.ones(chunk.block.shape)] * self.components
            return
        after, inside = _later(bins[C:], len(self._bins))
        own = _own(bins, len(self._bins))[C:]
        inverse = 1 / self._bins.mass[bins]
        gains = own * inverse[C:, None]
        losses = after[:, None] * inverse[C:, None] - gains
        # Σ_{j ≥ i} d_i(x_j)/p(x_j) by recursion: remove x_i, count it for each later copy, and decay all counts.
        remaining = np.empty(own.shape)
        age = _POWERS[:, 1 : C + 1][:, ::-1].T[:, :, None]
        total = (age * (inside[np.arange(chunk.blocks), bins[:C]] * inverse[:C])[:, None]).sum(axis=0)
        decay = np.array(DECAYS)[:, None]
        for i in range(len(own)):
            remaining[i] = total
            total = decay * (total + losses[i])
        for k, g in enumerate(DECAYS):
            mass = _PRIOR + g * (1 - g ** np.arange(C, len(bins)))[:, None] / (1 - g)
            yield from _weighed((gains[:, k] + _PRIOR) / mass, (remaining[:, k] / chunk.left + _PRIOR) / mass)


_LONGEST = 2112
_POWERS = np.array(DECAYS)[:, None] ** np.arange(_LONGEST)
"""g^t by decay, float64 [decays, t]."""


def _own(bins: np.ndarray, count: int) -> np.ndarray:
    """Return the decayed counts of each value's bin just before it, float64 [C + B, decays, blocks]."""
    blocks = np.arange(bins.shape[1])
    # Counts times g^−t, so that a step changes one bin alone. (64/63)^t and (16/15)^t stay far below 10^308.
    scaled = np.zeros((bins.shape[1], count, len(DECAYS)))
    own = np.empty((*bins.shape, len(DECAYS)))
    for t in range(len(bins)):
        own[t] = scaled[blocks, bins[t]]
        scaled[blocks, bins[t]] = own[t] + 1 / _POWERS[:, t]
    return np.swapaxes(own, 1, 2) * _POWERS[:, : len(bins)].T[:, :, None]


def _later(bins: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of later values in each value's bin, float64 [B, blocks], and in each bin, [blocks, bins]."""
    blocks = np.arange(bins.shape[1])
    seen = np.zeros((bins.shape[1], count))
    after = np.empty(bins.shape)
    for i in range(len(bins) - 1, -1, -1):
        after[i] = seen[blocks, bins[i]]
        seen[blocks, bins[i]] = after[i] + 1
    return after, seen
