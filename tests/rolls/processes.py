"""The test's processes on an array of values, without a file."""

from __future__ import annotations

import math

import numpy as np

from bestguess.rolls.evidence import order
from bestguess.rolls.evidence.drift import log_drift
from bestguess.rolls.evidence.uniform import Uniform
from bestguess.rolls.evidence.windows import BLOCK, CONTEXT, Marginal, chunks, runs_of

ALARM = math.log(100)


def marginal_of(values) -> Marginal:
    return Marginal(np.bincount(values, minlength=1 << 16))


def log_e(values: np.ndarray, parts=order.PARTS, most: float = math.inf) -> np.ndarray:
    """ln E of the order's process after each block, up to the chunk in which it reaches `most`."""
    values, n = values.astype(np.uint16), len(values)
    marginal = marginal_of(values)
    each = [order.Part(families, marginal) for families in parts]
    found: list[np.ndarray] = []
    for chunk in chunks(lambda a, b: values[a:b], runs_of(n), n):
        found.append(order.together([part.add(chunk) for part in each]))
        if found[-1].max() >= most:
            break
    return np.concatenate(found)


def values_until(path: np.ndarray) -> float:
    """Values until E ≥ 100."""
    return CONTEXT + float(np.argmax(path >= ALARM) + 1) * BLOCK if path.max() >= ALARM else math.inf


def log_uniform(values: np.ndarray, told: bool = False, step: int = 256) -> float:
    process = Uniform(int(values.min()), int(values.max()), len(values), told)
    for first in range(0, len(values), step):
        process.add(values[first : first + step].astype(np.uint16))
    return process.log_e


def log_drifting(values: np.ndarray) -> float:
    """The drift's process over 256 segments."""
    bins = marginal_of(values).bins(64)
    segments = np.zeros((256, len(bins)), np.int64)
    np.add.at(segments, (np.arange(len(values)) * 256 // len(values), bins.of_value[values]), 1)
    return log_drift(segments)
