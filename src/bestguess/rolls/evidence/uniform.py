"""Are all values equally likely? The evidence that values are not independent and uniform over their range.

Under the null each of K' values from the lowest to the highest has probability 1/K', whatever the past. Two bets:

- Π q(x_i)·K', q a mixture over 2, 4, …, 4096 bins and single values of Krichevsky–Trofimov marginals (counts + ½),
  uniform within a bin. The product depends on counts alone.
- on, or against, values among the last 256: f = (1 + a·[seen]) / (1 + a·s/K'), s the number of different ones.

The range is estimated from the file. Over all ranges [a, b] within the true [A, B] of K values, all n values fall
into [a, b] with probability (K'/K)^n, and then E^[a,b] is a martingale; with c(K') = (1 − e^(−n/K'))²(1 − 2/n),

    P(sup_t c·E_t ≥ 1/α) ≤ α Σ_d (d + 1)·c(K − d)·(1 − d/K)^n ≤ α,   d = K − K',

as there are d + 1 ranges of K − d values. The last step is checked numerically for all K (tests).
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from bestguess.rolls.evidence.bets import AVERSIONS

RECENT = 256
"""Number of recent values."""
_MOST_BINS = 4096


def looking(n: int, width: int | np.ndarray) -> np.ndarray:
    """Return ln c: the cost of estimating the range of `width` values from the `n` values."""
    return np.asarray(2 * np.log(-np.expm1(-n / np.asarray(width, float))) + np.log1p(-2 / n))


class Uniform:
    """The evidence against uniform values from `lowest` to `highest`.

    told: whether the range was given (`--alphabet`), not estimated from the values.
    """

    def __init__(self, lowest: int, highest: int, n: int, told: bool) -> None:
        self._lowest, self._width = lowest, highest - lowest + 1
        self._start = 0.0 if told else float(looking(n, self._width))
        sizes = [2**k for k in range(1, 13) if 2**k < self._width]
        if self._width <= _MOST_BINS:
            sizes.append(self._width)
        self._bin_sizes = sizes
        self._counts = np.zeros(self._width, np.int64)
        self._recent = np.empty(0, np.uint16)
        self._log_recent = np.zeros(len(AVERSIONS))
        self.log_e = 0.0
        """The largest ln E so far; 0 at the start."""

    def add(self, values: np.ndarray) -> None:
        """Process the next values of the file, uint16 [count], and update ln E."""
        if self._width == 1:
            return  # a single value is uniform
        self._counts += np.bincount(values.astype(np.int64) - self._lowest, minlength=self._width)
        self._bet_on_recent(values)
        logs = np.concatenate([self._log_bins() - np.log(2 * len(self._bin_sizes)),
                               self._log_recent - np.log(2 * len(AVERSIONS))])  # fmt: skip
        self.log_e = max(self.log_e, self._start + float(np.logaddexp.reduce(logs)))

    def _log_bins(self) -> np.ndarray:
        """Return ln Π q·K' for each number of bins, float64 [binnings]."""
        cumulated = np.concatenate([[0], np.cumsum(self._counts)])
        found = []
        for b in self._bin_sizes:
            edges = -(-np.arange(b + 1) * self._width // b)
            counts, sizes = np.diff(cumulated[edges]), np.diff(edges)
            n = counts.sum()
            kt = gammaln(b / 2) - gammaln(n + b / 2) + np.sum(gammaln(counts + 0.5) - gammaln(0.5))
            found.append(kt + counts @ np.log(self._width / sizes))
        return np.array(found)

    def _bet_on_recent(self, values: np.ndarray) -> None:
        old = len(self._recent)
        line = np.concatenate([self._recent, values])
        self._recent = line[-2 * RECENT :]
        before, after = _neighbours(line)
        t = np.arange(len(line))
        # The window of the last 256: a new value adds one to the different ones; the oldest value removes one
        # unless it recurred.
        hit = t - before <= RECENT
        different = np.concatenate([[0], np.cumsum(~hit)])[:-1]
        gone = np.cumsum((after - t) > RECENT)
        different[RECENT:] -= np.concatenate([[0], gone])[: len(line) - RECENT] if len(line) > RECENT else 0
        # Bets start when the window is full; each is made once.
        first = max(old, RECENT)
        for i, a in enumerate(AVERSIONS):
            expected = np.log1p(a * different[first:] / self._width)
            self._log_recent[i] += float(np.sum(np.log1p(a * hit[first:]) - expected))


def _neighbours(line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of each value's previous and next occurrence, int64 [count]; ∓2^40 if there is none."""
    far = 1 << 40
    order = np.argsort(line, kind="stable")
    same = line[order][1:] == line[order][:-1]
    before, after = np.full(len(line), -far), np.full(len(line), far)
    before[order[1:][same]] = order[:-1][same]
    after[order[:-1][same]] = order[1:][same]
    return before, after
