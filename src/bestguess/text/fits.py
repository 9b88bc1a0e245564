"""Curves of a loss over parameters or operations, with intervals, and where more of them hardly help. NumPy alone."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_GRID = 128
"""Levels that are tried for the loss which no size goes below."""


class Fit(NamedTuple):
    """y = level + scale · x^(−exponent)."""

    level: float
    scale: float
    exponent: float

    def at(self, x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Return y."""
        return self.level + self.scale * np.asarray(x, float) ** -self.exponent

    def diminished(self, little: float) -> float:
        """Return the x from which a doubling lowers y by less than `little`; infinity if that never comes."""
        gain = self.scale * (1 - 2**-self.exponent)
        if self.exponent <= 0 or gain <= 0:
            return 0.0 if gain <= little else math.inf
        return (gain / little) ** (1 / self.exponent)


def fit(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], saturating: bool) -> Fit:
    """Return the curve with the least squares of ln y; all x and y are positive.

    saturating: whether y has a level above 0 that no x goes below; otherwise that level is 0.
    """
    highest = float(y.min())
    shares = np.concatenate([[0.0], 1 - np.geomspace(1.0, 1e-3, _GRID)[1:]]) if saturating else np.zeros(1)
    level_G1 = highest * shares[:, None]
    u, v = np.log(x) - np.log(x).mean(), np.log(y - level_G1)
    slope_G1 = (v @ u / (u @ u))[:, None]
    line = v.mean(axis=1, keepdims=True) + slope_G1 * u
    missed = ((np.log(level_G1 + np.exp(line)) - np.log(y)) ** 2).sum(axis=1)
    best = int(missed.argmin())
    slope = float(slope_G1[best, 0])
    scale = math.exp(float(v[best].mean()) - slope * float(np.log(x).mean()))
    return Fit(float(level_G1[best, 0]), scale, -slope)


def resampled(
    x: Float[np.ndarray, " sizes"],
    y: Float[np.ndarray, "sizes seeds"],
    saturating: bool,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Fit]:
    """Return the fits to means over seeds that are drawn with replacement, at each size by itself."""
    rng = np.random.default_rng(seed)
    sizes, seeds = y.shape
    found = []
    for _ in range(resamples):
        drawn = np.take_along_axis(y, rng.integers(seeds, size=(sizes, seeds)), axis=1)
        found.append(fit(x, drawn.mean(axis=1), saturating))
    return found


def between(values: list[float], level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of resampled figures."""
    low, high = np.quantile(np.asarray(values, float), [(1 - level) / 2, (1 + level) / 2], method="nearest")
    return float(low), float(high)


def needed(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], level: float) -> float:
    """Return the x at which a falling y reaches a level: between two of them a straight line of both logarithms.

    The lowest x where y is there at once; infinity where it does not get there.
    """
    reached = np.flatnonzero(y <= level)
    if not len(reached):
        return math.inf
    i = int(reached[0])
    if i == 0:
        return float(x[0])
    a, b = np.log(y[i - 1] / level), np.log(level / y[i])
    share = a / (a + b)
    return float(np.exp((1 - share) * np.log(x[i - 1]) + share * np.log(x[i])))
