"""Random words by index: any part of a stream can be drawn alone, with the same result.

Philox is a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a word
is a function of a key and a counter, so an interrupted generation resumes from an index alone.
"""

from __future__ import annotations

import numpy as np

SHUFFLE, SAMPLE = 1 << 16, (1 << 16) + 1
"""Streams of the test. Sources use streams from 0 up: a file sorted by the words that drew its values is no shuffle."""
_PER_COUNTER = 8
"""32-bit words per value of the counter."""


def words(seed: int, stream: int, start: int, count: int) -> np.ndarray:
    """Return words `start` to `start + count` of a stream, uniform, uint32 [count].

    seed, stream: name the stream; streams of one seed are independent.
    """
    key = np.random.SeedSequence(seed, spawn_key=(stream,)).generate_state(2, np.uint64)
    first = start // _PER_COUNTER
    skip = start - first * _PER_COUNTER
    generator = np.random.Philox(key=key, counter=[first, 0, 0, 0])
    whole = generator.random_raw(-(-(skip + count) // 2))
    halves = np.empty(2 * len(whole), np.uint32)
    halves[0::2], halves[1::2] = whole & np.uint64(0xFFFFFFFF), whole >> np.uint64(32)
    return halves[skip : skip + count]


def fractions(seed: int, stream: int, start: int, count: int) -> np.ndarray:
    """Return `words` as multiples of 2^-32 in [0, 1), float64 [count]."""
    return words(seed, stream, start, count) * 2.0**-32
