"""Tokens of values: each value's bin, and the distribution of values within it, fitted on the training part alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bestguess.rolls.config import RAW, RollsTaskConfig
from bestguess.rolls.evidence.windows import quantile_of

Kind = Literal["raw", "adaptive", "uniform", "bits", "digits"]
_NEVER = -60.0
"""ln of the probability of a token without values: quantile bins are fewer than asked where a value has more mass."""
_PRIOR = 0.5
"""Pseudocount of every value and of every bin (Krichevsky–Trofimov)."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """A partition of the values 0 … K − 1 into V bins, and the smoothed training marginal of values and bins."""

    kind: Kind
    of_value: np.ndarray
    """The bin of each value, int32 [K]."""
    log_within: np.ndarray
    """ln of the probability of each value within its bin, float64 [K]; 0 where it has one for itself."""
    log_p0: np.ndarray
    """ln of the probability of each bin, float64 [V]; −60 of one without values."""

    @property
    def values(self) -> int:
        """K, the number of values."""
        return len(self.of_value)

    @property
    def vocab(self) -> int:
        """V, the number of bins."""
        return len(self.log_p0)

    @property
    def log_marginal(self) -> np.ndarray:
        """ln of the probability of each value in training, float64 [K]: the best constant prediction."""
        return self.log_p0[self.of_value] + self.log_within

    def marginal_bits(self, counts: np.ndarray) -> float:
        """Return the training marginal's bits per value on values of these counts, int64 [K]."""
        there = counts > 0
        return -float(counts[there] @ self.log_marginal[there]) / (counts.sum() * math.log(2))

    @property
    def best_in_bin(self) -> np.ndarray:
        """The most probable value of each bin, int32 [V]; 0 for a bin without values."""
        order = np.lexsort((-self.log_within, self.of_value))
        first = np.ones(len(order), bool)
        first[1:] = np.diff(self.of_value[order]) != 0
        best = np.zeros(self.vocab, np.int32)
        best[self.of_value[order[first]]] = order[first]
        return best

    @property
    def edges(self) -> list[int] | None:
        """The first value of each bin but the first, or None where each value is a token."""
        if self.kind not in ("adaptive", "uniform"):
            return None
        return (1 + np.flatnonzero(np.diff(self.of_value))).tolist()

    @property
    def bits(self) -> int:
        """Bits of a value."""
        return max(1, (self.values - 1).bit_length())

    @property
    def base(self) -> int:
        """Base of two digits that are a value."""
        return max(2, math.isqrt(self.values - 1) + 1)


def fit_tokens(counts: np.ndarray, config: RollsTaskConfig) -> Tokens:
    """Return the tokens for a training part with these counts of the values 0 … K − 1, int64 [K]."""
    K, distinct = len(counts), int(np.count_nonzero(counts))
    kind = config.tokens
    if kind == "auto":
        kind = "raw" if distinct <= RAW else "adaptive"
    if kind in ("bits", "digits") or (kind == "raw" and (K <= RAW or distinct > RAW)):
        of_value = np.arange(K)
    elif kind == "raw":  # few values in a wide range: those that training lacks join the nearest below
        of_value = np.maximum(np.cumsum(counts > 0) - 1, 0)
    elif kind == "uniform":
        of_value = np.arange(K) * min(config.vocab, K) // K
    else:
        of_value = _quantiles(counts, config.vocab)
    V = int(of_value[-1]) + 1
    of_bin = np.bincount(of_value, counts, V)
    share = _PRIOR / np.bincount(of_value, minlength=V)  # a bin's pseudocount is shared by its values
    log_within = np.log((counts + share[of_value]) / (of_bin + _PRIOR)[of_value])
    log_p0 = np.log((of_bin + _PRIOR) / (counts.sum() + _PRIOR * V))
    if kind == "adaptive":  # as many tokens whatever the counts are, so that runs on other values share a shape
        log_p0 = np.concatenate([log_p0, np.full(min(config.vocab, K) - V, _NEVER)])
    return Tokens(kind, of_value.astype(np.int32), log_within, log_p0)


def _quantiles(counts: np.ndarray, most: int) -> np.ndarray:
    """Return bins of about equal mass; a value's bin is that of the midpoint of its mass, int64 [K]."""
    raw = quantile_of(counts, most)
    present = np.flatnonzero(counts)
    # A value that training lacks joins the bin of the nearest one below.
    below = np.maximum(np.searchsorted(present, np.arange(len(counts)), side="right") - 1, 0)
    return np.unique(raw[present[below]], return_inverse=True)[1]
