"""Buffers used again: a large array that is freed and allocated anew costs a page fault per 4 KiB."""

from __future__ import annotations

import sys
from math import prod

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]

SMALLEST = 1 << 16
"""Bytes; the allocator serves smaller arrays from memory it already holds."""
_FEW = SMALLEST // 8  # numbers that are small in float64 too
LARGEST_TOTAL = 1 << 30
"""Bytes that the pool may hold; beyond it, buffers that nobody uses are given back."""

_free: dict[int, list[npt.NDArray[np.uint8]]] = {}
_held = 0


def _references(buffers: list[npt.NDArray[np.uint8]], i: int) -> int:
    return sys.getrefcount(buffers[i])


# What the count reads when only the pool holds a buffer; asked of this interpreter, not assumed.
_UNUSED = _references([np.empty(1, np.uint8)], 0)


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return an uninitialised array of `shape` and `dtype`, on a used buffer where one is free.

    Nobody gives a buffer back: every view of it keeps it referenced, so a buffer whose only
    reference is the pool's own is free.
    """
    global _held
    if prod(shape) < _FEW:  # asked first, as small models make many of these
        return np.empty(shape, dtype)
    dtype = np.dtype(dtype)
    size = prod(shape) * dtype.itemsize
    if size < SMALLEST:
        return np.empty(shape, dtype)
    step = 1 << (size.bit_length() - 3)  # sizes are rounded up by at most a quarter, so that many may share
    room = -(-size // step) * step
    buffers = _free.setdefault(room, [])
    for i in range(len(buffers) - 1, -1, -1):
        if _references(buffers, i) == _UNUSED:
            return buffers[i][:size].view(dtype).reshape(shape)
    if _held + room > LARGEST_TOTAL:
        clear()
        buffers = _free.setdefault(room, [])
    buffers.append(np.empty(room, np.uint8))
    _held += room
    return buffers[-1][:size].view(dtype).reshape(shape)


def out(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array | None:
    """Return what NumPy is to write a result to: `empty`, or None for a small one, which it allocates faster itself."""
    return None if prod(shape) < _FEW else empty(shape, dtype)


def clear() -> None:
    """Give back every buffer that nobody uses."""
    global _held
    for buffers in _free.values():
        buffers[:] = [buffers[i] for i in range(len(buffers)) if _references(buffers, i) != _UNUSED]
    _held = sum(room * len(buffers) for room, buffers in _free.items())
