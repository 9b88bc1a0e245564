"""A source whose distribution drifts: independent values, so the past does not help whoever knows the index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bestguess.rolls.counter import words
from bestguess.rolls.sources.base import Floor, IndexedSource, WindowedSource, check, check_alphabet, log_of
from bestguess.rolls.sources.tables import scaled

_POINTS = 1 << 20
"""Most indices of a period over which the floor is a mean; of a longer period, so many spread over it."""


@dataclass(frozen=True)
class Drift(WindowedSource, IndexedSource):
    """Independent values. The probability of the upper half moves linearly with the index, up and back in a period.

    It is ½ − amount at index 0 and ½ + amount half a period later. Values within a half are equally likely.
    """

    name: ClassVar[str] = "drift"
    alphabet: int = 64
    amount: float = 0.1
    period: int = 200_000
    """Number of values from one lowest probability to the next."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_alphabet(self.alphabet)
        check(self.alphabet % 2 == 0, "alphabet", self.alphabet, "must be even, to have two halves")
        check(0 <= self.amount <= 0.5, "amount", self.amount, "must be 0 to 0.5")
        check(2 <= self.period <= 1 << 40, "period", self.period, "must be 2 to 2^40 values")

    @property
    def classes(self) -> int:
        """The alphabet."""
        return self.alphabet

    def _upper(self, index: np.ndarray) -> np.ndarray:
        """Return the probability of the upper half at each index, float64, a multiple of 2^-32."""
        way = np.abs(index % self.period / self.period - 0.5)  # ½ at the lowest, 0 at the highest
        return np.round((0.5 + self.amount * (1 - 4 * way)) * 2**32) / 2**32

    def at(self, index: int, count: int) -> np.ndarray:
        """Return `count` values from `index` on, uint16."""
        upper = words(self.seed, 1, index, count) < self._upper(index + np.arange(count)) * 2**32
        half = self.alphabet // 2
        return (upper * half + scaled(words(self.seed, 0, index, count), half)).astype(np.uint16)

    def floor(self) -> Floor:
        """Return the mean entropy over a period."""
        points = min(self.period, _POINTS)
        p, half = self._upper(np.arange(points) * (self.period / points)), self.alphabet // 2
        both = np.stack([p, 1 - p])
        entropy = -(both * np.log2(np.where(both > 0, both, 1))).sum(axis=0)
        high = float(both.max(axis=0).mean())
        top = {
            k: high * min(k, half) / half + (1 - high) * min(max(k - half, 0), half) / half
            for k in (1, 3, 5)
        }  # fmt: skip
        return Floor(
            float(np.log2(half) + entropy.mean()), says="the mean entropy over a period, given the index", top=top
        )

    def _log_halves(self, index: np.ndarray) -> np.ndarray:
        """Return ln p of a value of the lower and of the upper half at each index, float64 [..., 2]."""
        p = self._upper(index)
        return log_of(np.stack([1 - p, p], axis=-1) / (self.alphabet // 2))

    def _predict_windows(self, windows: np.ndarray, indexes: np.ndarray) -> np.ndarray:
        """Return the two levels of probability at each index."""
        place = indexes[:, None] + np.arange(windows.shape[1])
        return np.repeat(self._log_halves(place), self.alphabet // 2, axis=2)

    @property
    def reach(self) -> int:
        """0: the past does not help."""
        return 0

    def log_p_within(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return ln p of each value itself, float64 [n]."""
        n = len(values)
        return self._log_halves(index + np.arange(n))[np.arange(n), values // (self.alphabet // 2)]
