"""Tables of probabilities in units of 2^-32, for exact draws by 32-bit words."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy.special import gammaincinv

from bestguess.rolls.counter import words

_UNIT = 1 << 32


class Table:
    """Rows of probabilities, rounded to multiples of 2^-32 that sum to 1."""

    def __init__(self, p: np.ndarray) -> None:
        """Take float [rows, classes] of any positive scale."""
        cumulated = np.cumsum(p, axis=1)
        self.edges = np.rint(cumulated / cumulated[:, -1:] * _UNIT).astype(np.int64)
        """Words below the first edge draw class 0, and so on, int64 [rows, classes]; the last edge is 2^32."""
        self.edges[:, -1] = _UNIT

    @cached_property
    def p(self) -> np.ndarray:
        """The probabilities as drawn, float64 [rows, classes]."""
        return np.diff(self.edges, axis=1, prepend=0) / _UNIT

    def draw(self, word: np.ndarray, row: np.ndarray | int = 0) -> np.ndarray:
        """Return a class for each word from its row, uint16 [words]."""
        rows, classes = self.edges.shape
        line = (self.edges + (np.arange(rows) * _UNIT)[:, None]).ravel()
        place = np.searchsorted(line, word.astype(np.int64) + np.asarray(row, np.int64) * _UNIT, side="right")
        return (place - np.asarray(row) * classes).astype(np.uint16)


def dirichlet(seed: int, stream: int, rows: int, classes: int, concentration: float) -> Table:
    """Return rows drawn from a symmetric Dirichlet, by gamma quantiles: independent of the version of NumPy."""
    u = (words(seed, stream, 0, rows * classes) + 0.5) / _UNIT
    return Table(gammaincinv(concentration, u).reshape(rows, classes) + 1e-300)


def scaled(word: np.ndarray, count: int) -> np.ndarray:
    """Return ⌊u·count⌋ for words u·2^32, int64: uniform up to 1 part in 2^32/count."""
    return ((word.astype(np.uint64) * np.uint64(count)) >> np.uint64(32)).astype(np.int64)
