"""Constant arrays, each made once. A product with them sums rows or picks them, faster than NumPy's sum or index."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]


@cache
def ones(shape: int | tuple[int, ...], dtype: np.dtype[np.floating], value: float = 1.0) -> Array:
    """Return an array full of `value`, read-only."""
    full = np.full(shape, value, dtype)
    full.flags.writeable = False
    return full


@cache
def identity(n: int, dtype: np.dtype[np.floating]) -> Array:
    """Return the identity matrix (n, n), read-only."""
    eye = np.eye(n, dtype=dtype)
    eye.flags.writeable = False
    return eye
