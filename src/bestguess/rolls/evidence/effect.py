"""The smallest effect that the test would have detected in a file like this one: the meaning of "no evidence".

An effect is planted in a shuffled sample of the file and reduced until fewer than 9 of 10 plantings are detected by the
matching components alone. E ≥ π_k E_k, so the whole test detects it too. Up to 2^18 values this is measured; beyond, it
is computed:

- repeat: each value is a copy of the one before with probability ρ. Over n values, ln E grows by n·μ(ρ) with
  variance n·σ²(ρ), both expectations over the position in the block; detected if n·μ − 1.28·σ√n ≥ ln 1/(level·π).
- halves: the half (by mass) is a copy of the one before with probability ε, so P(same) = (1 + ε)/2 for equal
  halves. The evidence grows with n·ε², hence ε ∝ 1/√n.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from bestguess.rolls.counter import fractions
from bestguess.rolls.evidence.bets import LAGS, RATES, Repeat, log_product
from bestguess.rolls.evidence.counts import WEIGHTS
from bestguess.rolls.evidence.order import FAMILIES, family
from bestguess.rolls.evidence.windows import BLOCK, Chunk, Marginal, chunk_sizes

MEASURED = 1 << 18
"""Most values in which effects are planted."""
_TRIES, _FOUND = 10, 9
_NORMAL_90 = 1.2816
_STEPS = 5
"""Bisections of the logarithm of the ratio: 4^(1/32) = 4 % in the end, below the spread over seeds of 20 %."""


@dataclass(frozen=True)
class Effect:
    """An effect that would have been detected."""

    kind: str
    size: float
    """The fraction of repeats, or ε, rounded up to one digit."""
    bits_per_value: float
    """Mutual information of a value and the one before, in bits: the gain of a predictor that knows the effect."""
    how: str
    """"measured", or "computed" for more than 2^18 values."""


def smallest_effects(sample: np.ndarray, marginal: Marginal, n: int, level: float) -> list[Effect]:
    """Return the smallest `repeat` and `halves` that would have been detected in `n` values, if any.

    sample: up to 2^18 of the values, shuffled, uint16. level: the test's.
    """
    p = marginal.counts[marginal.counts > 0] / marginal.counts.sum()
    how = "measured" if n <= MEASURED else "computed"
    found = []
    repeat = _smallest_repeat(sample, n, level)
    if repeat is not None:
        size = round_up(repeat)
        found.append(Effect("repeat", size, repeat_information(p, size), how))
    mass = marginal.bins(2).mass
    if len(mass) == 2:
        weight = 1 / (len(FAMILIES) * sum(one.components for one in family("counts", marginal)))
        halves = _smallest_halves(float(mass[1]), n, level, weight)
        if halves is not None:
            size = round_up(halves)
            found.append(Effect("halves", size, repeat_information(mass, size), how))
    return found


def repeat_information(p: np.ndarray, fraction: float) -> float:
    """Return I(x_t; x_{t−1}) in bits if x_t is x_{t−1} with probability `fraction`, and otherwise drawn from `p`."""
    same = fraction + (1 - fraction) * p
    others = (1 - p) * (1 - fraction) * math.log2(1 - fraction) if fraction < 1 else 0.0
    return float(np.sum(p * (same * np.log2(same / p) + others)))


def round_up(size: float) -> float:
    """Return `size`, at most 1, rounded up to one digit."""
    power = 10.0 ** math.floor(math.log10(size) + 1e-9)
    return min(1.0, float(f"{math.ceil(size / power - 1e-9) * power:.0e}"))


def _bisect(found: Callable[[float], bool], guess: float) -> float | None:
    """Return the smallest size that is found, to 4 %; None if even 1 is not. The bracket widens if needed."""
    low, high = guess / 2, min(1.0, 2 * guess)
    while not found(high):
        if high == 1:
            return None
        low, high = high, min(1.0, 4 * high)
    while found(low):
        low, high = low / 4, low
    for _ in range(_STEPS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


def _nine_of_ten(seen: Iterator[bool]) -> bool:
    hits = misses = 0
    for one in seen:
        hits, misses = hits + one, misses + (not one)
        if hits == _FOUND or misses > _TRIES - _FOUND:
            break
    return hits >= _FOUND


# ------------------------------------------------------------------------------------------------ repeat


def _smallest_repeat(sample: np.ndarray, n: int, level: float) -> float | None:
    if np.ptp(sample) == 0:
        return None
    need = math.log(len(FAMILIES) * LAGS * len(RATES) / level)
    guess = _computed_repeat(sample, n, need)
    if n > MEASURED:
        return guess if guess <= 1 else None
    return _bisect(lambda fraction: _nine_of_ten(_repeats_seen(sample, fraction, need)), min(guess, 1.0))


def _repeats_seen(sample: np.ndarray, fraction: float, need: float) -> Iterator[bool]:
    """Yield for each planting whether the bets at lag 1 detect it."""
    for attempt in range(_TRIES):
        values = copied(sample, fractions(attempt, 1, 0, len(sample)) < fraction)
        bet = Repeat(Marginal(np.bincount(values, minlength=1 << 16)), lags=1)
        log_e = np.cumsum(np.concatenate([bet.log_factors(one) for one in _pairs(values)], axis=1), axis=1)
        yield bool(np.logaddexp.reduce(log_e, axis=0).max() >= need)


def copied(values: np.ndarray, copy: np.ndarray) -> np.ndarray:
    """Return `values` with each one marked in `copy` replaced by the one before, which may be a copy."""
    return values[np.maximum.accumulate(np.where(copy, 0, np.arange(len(values))))]


def _pairs(values: np.ndarray) -> Iterator[Chunk]:
    """Yield all blocks of `values` with the value before each, and the last, shorter one."""
    whole = (len(values) - 1) // BLOCK
    if whole:
        windows = np.lib.stride_tricks.sliding_window_view(values, BLOCK + 1)[::BLOCK][:whole]
        for first in range(0, whole, 64):
            yield Chunk(np.ascontiguousarray(windows[first : first + 64].T), 1)
    if len(values) - BLOCK * whole > 2:
        yield Chunk(values[BLOCK * whole :, None], 1)


def _computed_repeat(sample: np.ndarray, n: int, need: float) -> float:
    """Return the smallest fraction with n·μ − 1.28·σ√n ≥ `need` for one of the rates; above 1 if there is none."""
    sample = sample[: 1 << 16]
    inverse_of = Marginal(np.bincount(sample, minlength=1 << 16)).inverse
    moments = [[np.zeros(4)] for _ in RATES]
    for chunk in _pairs(sample):
        inverse = inverse_of[chunk.lagged(1)]
        copies = chunk.later[:-1]
        for rate, found in zip(RATES, moments):
            found.append(_moments(rate, inverse, copies, chunk.left))
    means = np.array([np.sum(found, axis=0) for found in moments]) / (len(sample) - 1)

    def enough(fraction: float) -> bool:
        mixed = (1 - fraction) * means[:, :2] + fraction * means[:, 2:]
        mean, deviation = mixed[:, 0], np.sqrt(np.maximum(mixed[:, 1] - mixed[:, 0] ** 2, 0))
        return bool(np.max(n * mean - _NORMAL_90 * math.sqrt(n) * deviation) >= need)

    grid = np.geomspace(1e-9, 1, 1000)
    return float(next((fraction for fraction in grid if enough(fraction)), 2.0))


def _moments(rate: float, inverse: np.ndarray, copies: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Return sums over positions of E ln f and E (ln f)²: without, and with, a planted repeat; float64 [4]."""
    chance, above = copies / left, np.log1p(rate * inverse)
    below = np.log1p(rate * copies * inverse / left)
    planted = above - np.log1p(rate * np.minimum(copies + 1, left) * inverse / left)
    first = chance * above - below
    second = chance * (above - below) ** 2 + (1 - chance) * below**2
    return np.array([first.sum(), second.sum(), planted.sum(), (planted**2).sum()])


# ------------------------------------------------------------------------------------------------ halves


def _smallest_halves(mass: float, n: int, level: float, weight: float) -> float | None:
    planted = min(n, MEASURED)
    need = math.log(1 / (level * weight))
    size = _bisect(
        lambda epsilon: _nine_of_ten(_halves_seen(planted, mass, epsilon, need)), min(1.0, 6.1 / math.sqrt(planted))
    )
    return size if size is None else size * math.sqrt(planted / n)


def _halves_seen(n: int, mass: float, epsilon: float, need: float) -> Iterator[bool]:
    """Yield for each planting whether the counts of pairs of halves detect it."""
    for attempt in range(_TRIES):
        fresh = fractions(attempt, 2, 0, n) < mass
        halves = copied(fresh, fractions(attempt, 3, 0, n) < epsilon).astype(np.intp)
        yield bool(log_e_of_halves(halves, mass).max() >= need)


def log_e_of_halves(halves: np.ndarray, mass: float) -> np.ndarray:
    """Return ln Σ_w E after each whole block, float64 [blocks], as in `Counts` of order 1 with 2 bins.

    All blocks at once: the tables at a chunk's start are sums over the blocks before it.

    halves: 0 or 1, int [n]. mass: probability of a 1.
    """
    blocks = (len(halves) - 1) // BLOCK
    if not blocks:
        return np.array([-np.inf])
    block = halves[1 : 1 + BLOCK * blocks].reshape(blocks, BLOCK).T
    before = halves[: BLOCK * blocks].reshape(blocks, BLOCK).T
    pair = 2 * before + block
    counts = np.stack([(pair == k).sum(axis=0) for k in range(4)], axis=1)
    earlier = np.concatenate([np.zeros((1, 4)), np.cumsum(counts, axis=0)])[_chunk_starts(blocks)].reshape(-1, 2, 2)
    lifts = (earlier / [1 - mass, mass] + 1) / (earlier.sum(axis=2, keepdims=True) + 1)
    ones = np.cumsum(block[::-1], axis=0)[::-1]
    left = np.arange(BLOCK, 0, -1)[:, None]
    each = np.arange(blocks)
    low, high = lifts[each, before, 0], lifts[each, before, 1]
    lift, mean = np.where(block == 1, high, low), (low * (left - ones) + high * ones) / left
    paths = [log_product(((1 - w) + w * lift) / ((1 - w) + w * mean)) for w in WEIGHTS]
    return np.logaddexp.reduce(np.cumsum(paths, axis=1), axis=0)


@cache
def _chunk_starts(blocks: int) -> np.ndarray:
    """Return for each block the first block of its chunk, int [blocks]."""
    sizes = list(chunk_sizes(blocks))
    return np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
