"""Sets of indices as spans: int64 [k, 2] of (start, stop), sorted, disjoint, not touching."""

from __future__ import annotations

import numpy as np

NONE = np.zeros((0, 2), np.int64)


def spans(starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Return the union of [start, stop) over all pairs, as spans."""
    starts, stops = np.asarray(starts, np.int64), np.asarray(stops, np.int64)
    held = stops > starts
    order = np.argsort(starts[held], kind="stable")
    starts, stops = starts[held][order], np.maximum.accumulate(stops[held][order])
    if not len(starts):
        return NONE
    new = np.concatenate([[True], starts[1:] > stops[:-1]])
    last = np.concatenate([np.flatnonzero(new)[1:] - 1, [len(stops) - 1]])
    return np.stack([starts[new], stops[last]], axis=1)


def size(a: np.ndarray) -> int:
    """Return the number of indices in spans."""
    return int((a[:, 1] - a[:, 0]).sum())


def both(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the indices in `a` and in `b`, as spans."""
    first, last, in_a, in_b = _pieces(a, b)
    return spans(first[in_a & in_b], last[in_a & in_b])


def without(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the indices in `a` and not in `b`, as spans."""
    first, last, in_a, in_b = _pieces(a, b)
    return spans(first[in_a & ~in_b], last[in_a & ~in_b])


def gap(a: np.ndarray, b: np.ndarray) -> int | None:
    """Return the number of indices between the nearest two spans of disjoint `a` and `b`; None if one is empty."""
    if not len(a) or not len(b):
        return None
    after = np.searchsorted(a[:, 0], b[:, 0])
    far = np.iinfo(np.int64).max
    right = np.where(after < len(a), a[np.minimum(after, len(a) - 1), 0] - b[:, 1], far)
    left = np.where(after > 0, b[:, 0] - a[np.maximum(after - 1, 0), 1], far)
    return int(np.minimum(left, right).min())


def _pieces(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return pieces that no border cuts, as starts and stops, and whether each lies in `a` and in `b`."""
    cuts = np.unique(np.concatenate([a.ravel(), b.ravel()]))
    first, last = cuts[:-1], cuts[1:]
    return first, last, _inside(first, a), _inside(first, b)


def _inside(index: np.ndarray, a: np.ndarray) -> np.ndarray:
    if not len(a):
        return np.zeros(len(index), bool)
    at = np.searchsorted(a[:, 0], index, side="right") - 1
    return (at >= 0) & (index < a[np.maximum(at, 0), 1])
