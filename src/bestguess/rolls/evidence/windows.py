"""Blocks of a file, each with the values before it: the input of every predictor.

A file is C values of context, then blocks of B values. The window of a block is the C values before it and the
block. Arrays are [position, block]: a step in time is a row over many blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bestguess.rolls.counter import SHUFFLE, words

CONTEXT = 32
"""Values of context before a block (C)."""
BLOCK = 256
"""Values per block (B). A predictor gains 1 − H_B/B of the gain with a known marginal: 97.6 %."""
LEAST = CONTEXT + 2
"""Fewest values of a file: one block of two."""
_MOST_BLOCKS = 256
_SHARE = 8
"""A chunk has at most 1/8 of the blocks before it: predictors learn between chunks."""

Read = Callable[[int, int], np.ndarray]
"""(start, stop) → the values from `start` up to `stop`, uint16 [stop − start]."""
Run = tuple[int, int]
"""The first of some consecutive blocks, and their number."""


@dataclass(frozen=True, eq=False)
class Marginal:
    """Counts by value in the tested parts: a function of the blocks' multisets, so any bet may use it."""

    counts: np.ndarray
    """int64 [65536]."""

    @cached_property
    def inverse(self) -> np.ndarray:
        """1/p₀(u), float64 [65536]; 0 for values without a count."""
        total = float(self.counts.sum())
        return np.divide(total, self.counts, out=np.zeros(len(self.counts)), where=self.counts > 0)

    @property
    def distinct(self) -> int:
        """Number of different values."""
        return int(np.count_nonzero(self.counts))

    def bins(self, most: int) -> Bins:
        """Return at most `most` bins of about equal mass; a value's bin is that of the midpoint of its mass."""
        raw = quantile_of(self.counts, most)
        present = self.counts > 0
        if self.distinct <= most:  # then every value has a bin
            raw = np.arange(len(raw))
        used, dense = np.unique(raw[present], return_inverse=True)
        of_value = np.zeros(len(raw), np.int64)
        of_value[present] = dense
        mass = np.bincount(dense, self.counts[present], len(used)) / self.counts.sum()
        return Bins(of_value, mass)


def quantile_of(counts: np.ndarray, most: int) -> np.ndarray:
    """Return which of `most` quantiles the midpoint of each value's mass lies in, int64 [values]."""
    middle = np.cumsum(counts) - counts / 2
    return np.minimum((middle * (most / counts.sum())).astype(np.int64), most - 1)


@dataclass(frozen=True, eq=False)
class Bins:
    """A partition of the values."""

    of_value: np.ndarray
    """The bin of each value, int64 [65536]."""
    mass: np.ndarray
    """Fraction of the file in each bin, float64 [bins]; sums to 1."""

    def __len__(self) -> int:
        return len(self.mass)


def later(block: np.ndarray, queries: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the number of a block's values at positions ≥ `start` equal to the query, int32 [queries, blocks].

    block: uint16 [B, blocks]. queries: uint16 [queries, blocks]. start: int [queries], from 0 to B.

    One sort of keys (value, position from the end, block before queries): a count is then a running sum. B + queries
    is at most 4096, because they share a 64-bit key with the value and the position.
    """
    B, blocks = block.shape
    asked = len(queries)
    assert B + asked <= 1 << 12
    place = np.concatenate([np.arange(B), start])
    low = ((B - place).astype(np.uint64) << np.uint64(12)) | np.arange(B + asked, dtype=np.uint64)
    keys = (np.concatenate([block, queries]).T.astype(np.uint64) << np.uint64(24)) | low
    keys.sort(axis=1)
    who = (keys & np.uint64(0xFFF)).astype(np.int32)
    real = who < B
    value = keys >> np.uint64(24)
    total = np.cumsum(real, axis=1, dtype=np.int32)
    begins = np.ones_like(real)
    begins[:, 1:] = value[:, 1:] != value[:, :-1]
    before = np.maximum.accumulate(np.where(begins, total - real, 0), axis=1)
    found = np.empty((B + asked, blocks), np.int32)
    found[who, np.arange(blocks)[:, None]] = total - before
    return found[B:]


@dataclass(frozen=True, eq=False)
class Chunk:
    """Windows of some blocks."""

    window: np.ndarray
    """uint16 [C + B, blocks]."""
    context: int
    """C."""

    @property
    def block(self) -> np.ndarray:
        """The blocks' values, uint16 [B, blocks]."""
        return self.window[self.context :]

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.window.shape[1]

    @cached_property
    def left(self) -> np.ndarray:
        """Number of remaining values of a block, including the present one: B, …, 1, float64 [B, 1]."""
        return np.arange(len(self.block), 0, -1, dtype=float)[:, None]

    def lagged(self, lag: int) -> np.ndarray:
        """Return the values `lag` steps before each of the block's, uint16 [B, blocks]."""
        return self.window[self.context - lag : len(self.window) - lag]

    @cached_property
    def later(self) -> np.ndarray:
        """Number of later values of the block equal to the value at each position, int32 [C + B, blocks]."""
        start = np.maximum(np.arange(len(self.window)) - self.context + 1, 0)
        return later(self.block, self.window, start)


def runs_of(n: int) -> list[Run]:
    """Return all whole blocks of a file of `n` values as one run."""
    return [(0, (n - CONTEXT) // BLOCK)]


def parts(runs: Iterable[Run], n: int) -> list[tuple[int, int]]:
    """Return the values of a file of `n` that the runs read, as (start, stop), each value once.

    A run that ends with the file's last whole block includes the rest of the file.
    """
    found: list[tuple[int, int]] = []
    whole = (n - CONTEXT) // BLOCK
    for first, count in runs:
        start = BLOCK * first
        stop = n if first + count == whole else CONTEXT + BLOCK * (first + count)
        if found and start < found[-1][1]:
            start = found.pop()[0]
        found.append((start, stop))
    return found


def chunk_sizes(blocks: int, seen: int = 0) -> Iterator[int]:
    """Yield the number of blocks of each chunk of `blocks` consecutive ones, after `seen` others."""
    while blocks:
        size = min(max(seen // _SHARE, 1), _MOST_BLOCKS, blocks)
        yield size
        seen, blocks = seen + size, blocks - size


def chunks(read: Read, runs: Iterable[Run], n: int) -> Iterator[Chunk]:
    """Yield the windows of the runs' blocks in the file's order; the file's last, shorter block is a separate chunk.

    n: the number of values in the file.
    """
    seen, whole = 0, (n - CONTEXT) // BLOCK
    for first, count in runs:
        end = first + count
        for blocks in chunk_sizes(count, seen):
            values = read(BLOCK * first, CONTEXT + BLOCK * (first + blocks))
            windows = np.lib.stride_tricks.sliding_window_view(values, CONTEXT + BLOCK)[::BLOCK]
            yield Chunk(np.ascontiguousarray(windows.T), CONTEXT)
            first, seen = first + blocks, seen + blocks
        if end == whole and n - CONTEXT - BLOCK * whole >= 2:
            yield Chunk(np.array(read(BLOCK * whole, n))[:, None], CONTEXT)


def shuffled(read: Read, n: int, seed: int) -> Read:
    """Return a reader of the file with each block's values in random order, the same in every read."""

    def read_shuffled(start: int, stop: int) -> np.ndarray:
        first = max(start - CONTEXT, 0) // BLOCK
        origin = CONTEXT + BLOCK * first
        end = min(n, CONTEXT + BLOCK * -(-max(stop - CONTEXT, 0) // BLOCK))
        values = np.array(read(min(start, origin), max(end, stop)))
        inside = values[max(origin - start, 0) :]  # from the first block's start on
        draw = words(seed, SHUFFLE, origin, len(inside)).astype(np.uint64)
        number = (np.arange(len(inside)) // BLOCK).astype(np.uint64)
        inside[:] = inside[np.argsort((number << np.uint64(32)) | draw, kind="stable")]
        skip = max(start - origin, 0)
        return values[skip : skip + stop - start]

    return read_shuffled
