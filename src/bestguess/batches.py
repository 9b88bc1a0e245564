"""Batches of equal size. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64


def in_batches(count: int, at_once: int) -> Iterator[tuple[Int64[np.ndarray, " w"], int]]:
    """Yield the indices 0 … count − 1, `at_once` at a time, or all where they are fewer; and how many of each count.

    The last batch is filled up with the last index, to be thrown away: one compiled program serves all batches.
    """
    width = min(at_once, count)
    for first in range(0, count, width or 1):
        yield np.minimum(np.arange(first, first + width), count - 1), min(width, count - first)
