"""Random numbers by document: any slice of a corpus can be drawn again, alone.

Philox is counter-based (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): its words are a
function of a key and a counter, here of the seed and the document's index.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

_PER_COUNTER = 4
"""Numbers of 64 bits per value of the counter."""


def uniforms(seed: int, stream: int, first: int, count: int, width: int) -> Float64[np.ndarray, "count width"]:
    """Return `width` numbers in [0, 1) for each of the documents from `first` on.

    stream: streams of one seed are independent.
    """
    if seed < 0 or first < 0 or count < 0:
        raise ValueError(f"seed {seed}, first {first}, count {count}: none may be negative")
    counters = -(-width // _PER_COUNTER)
    key = np.random.SeedSequence(seed, spawn_key=(stream,)).generate_state(2, np.uint64)
    generator = np.random.Generator(np.random.Philox(key=key, counter=[first * counters, 0, 0, 0]))
    return generator.random((count, counters * _PER_COUNTER))[:, :width]


def picked(cumulative: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Return an index for each u in [0, 1), by rows of cumulative probabilities [n, k]: int64 [n]."""
    return np.minimum((cumulative <= u[:, None]).sum(axis=1), cumulative.shape[1] - 1)


def cumulated(weights: np.ndarray) -> np.ndarray:
    """Return cumulative probabilities along the last axis, exactly 1 from the last positive weight on."""
    total = np.cumsum(weights, axis=-1)
    last = weights.shape[-1] - 1 - np.argmax(weights[..., ::-1] > 0, axis=-1)
    return np.where(np.arange(weights.shape[-1]) >= last[..., None], 1.0, total)
