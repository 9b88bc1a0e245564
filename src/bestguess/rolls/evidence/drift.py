"""Does the distribution drift? The evidence that the order of the file's segments is not arbitrary.

The file is cut into at most 256 segments. Under the null all orders of its values are equally likely, so the
counts c_g of a segment in b bins are multivariate hypergeometric, given the multiset of the remaining values.
The bet is on counts like the recent ones:

    e_g = DirMult(c_g; decayed counts + prior) / MVHyp(c_g; remaining counts),     E[e_g | segments before] = 1,

averaged over bins, half-lives and priors. Dependence between values within a segment is evidence too, so drift
is reported only without evidence of order within blocks.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

BINS = (2, 4, 16, 64)
SEGMENTS = 256
HALF_LIVES = (4.0, 16.0, 64.0, np.inf)
"""Half-lives of the counts, in segments."""
PRIORS = (1.0, 16.0)
"""Pseudocounts of a predictor, in segments, distributed as the whole file."""
LEAST_SEGMENT = 32
"""Fewest values in a segment."""


def log_drift(counts: np.ndarray) -> float:
    """Return the largest ln E over segments, at least 0, from counts int64 [segments, bins], of any binning."""
    if min(counts.shape) < 2:
        return 0.0  # exactly: sums of logarithms of factorials would leave rounding errors
    paths = []
    for coarse in _coarser(counts):
        left = np.cumsum(coarse[::-1], axis=0)[::-1]
        null = _log_hypergeometric(coarse, left)
        for half_life in HALF_LIVES:
            for prior in PRIORS:
                bet = _log_dirichlet_multinomial(coarse, _expected(coarse, half_life, prior))
                paths.append(np.cumsum(bet - null))
    mean = np.logaddexp.reduce(paths, axis=0) - np.log(len(paths))
    return max(0.0, float(mean.max()))


def _coarser(counts: np.ndarray) -> list[np.ndarray]:
    """Return the counts in 2, 4, 16 and 64 bins of about equal mass, by merging neighbouring bins."""
    total = counts.sum(axis=0)
    middle = np.cumsum(total) - total / 2
    found: dict[int, np.ndarray] = {}
    for most in BINS:
        raw = np.minimum((middle * most / total.sum()).astype(int), most - 1)
        raw = np.arange(len(total)) if len(total) <= most else np.unique(raw, return_inverse=True)[1]
        coarse = np.stack([np.bincount(raw, row) for row in counts])
        found[coarse.shape[1]] = coarse
    return list(found.values())


def _expected(counts: np.ndarray, half_life: float, prior: float) -> np.ndarray:
    """Return the decayed counts before each segment, plus the prior; float64 [segments, bins], as is `counts`."""
    total, size = counts.sum(axis=0), counts[0].sum()
    decay = 0.5 ** (1 / half_life)
    decayed = np.zeros(counts.shape)
    for g in range(1, len(counts)):
        decayed[g] = decay * (decayed[g - 1] + counts[g - 1])
    return decayed + prior * size * total / total.sum()


def _log_dirichlet_multinomial(c: np.ndarray, alpha: np.ndarray) -> np.ndarray | float:
    """Return ln P(c) times Π c!, which both laws share; of counts [..., bins]."""
    n, whole = c.sum(axis=-1), alpha.sum(axis=-1)
    own = np.sum(gammaln(c + alpha) - gammaln(alpha), axis=-1)
    return gammaln(n + 1) + gammaln(whole) - gammaln(n + whole) + own


def _log_hypergeometric(c: np.ndarray, left: np.ndarray) -> np.ndarray | float:
    """Return ln P(c) of drawing c from `left` without replacement, times Π c!; of counts [..., bins]."""
    n, whole = c.sum(axis=-1), left.sum(axis=-1)
    own = np.sum(gammaln(left + 1) - gammaln(left - c + 1), axis=-1)
    return own - (gammaln(whole + 1) - gammaln(n + 1) - gammaln(whole - n + 1))
