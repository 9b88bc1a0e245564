"""What a model sees of a number from 0 to 255: five tables of fixed features."""

from __future__ import annotations

import functools

import numpy as np

from bestguess.integers.config import CLASSES, Embedding

PRIMES = (2, 3, 5, 7, 11, 13)
OCTAVES = 8


@functools.cache
def features(embedding: Embedding) -> np.ndarray:
    """Return the features of the numbers 0..255, float32 [256, F]; the mean square of all entries is 1, but for pair.

    So a linear map drawn from N(0, 1/F) gives numbers of variance 1, whichever table it reads.

    - learned: the number itself as one of 256 directions (F = 256); a map of these is a table of vectors.
    - fourier: sin and cos of 2π·n·2^i/256 for i = 0..7 (F = 16): position encodings of Vaswani et al. (2017,
      §3.5) with wavelengths that divide the alphabet, so that terms modulo 256 are no special case.
    - number-theoretic: sin and cos of 2π·n/p for the primes p ≤ 13, whether n is prime, a square, a power of 2,
      the logarithm of its number of divisors, its size (F = 17).
    - binary: its 8 bits as ±1 (F = 8).
    - tuple: its two digits to base 16, from −1 to 1 before scaling (F = 2).
    - pair: the number over the largest, 255, and room for the position over the last one, 0 here (F = 2); unscaled.
    """
    if embedding == "pair":
        table = np.stack([np.arange(CLASSES) / (CLASSES - 1), np.zeros(CLASSES)], axis=1).astype(np.float32)
        table.flags.writeable = False
        return table
    return _scaled(_TABLES[embedding](np.arange(CLASSES)))


def _scaled(table: np.ndarray) -> np.ndarray:
    table = (table / np.sqrt(np.mean(table.astype(np.float64) ** 2))).astype(np.float32)
    table.flags.writeable = False
    return table


def _waves(n: np.ndarray, wavelengths: np.ndarray) -> np.ndarray:
    angle = 2 * np.pi * n[:, None] / wavelengths
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def _number_theoretic(n: np.ndarray) -> np.ndarray:
    divisors = (n[:, None] % np.arange(1, CLASSES) == 0).sum(axis=1)
    divisors[0] = 0  # every number divides 0
    yes_no = np.stack([divisors == 2, np.sqrt(n) % 1 == 0, (n > 0) & (n & (n - 1) == 0)], axis=1)
    size = np.stack([np.log2(1 + divisors) / 2 - 1, 2 * n / (CLASSES - 1) - 1], axis=1)
    return np.concatenate([_waves(n, np.array(PRIMES)), 2.0 * yes_no - 1, size], axis=1)


@functools.cache
def difference_waves() -> np.ndarray:
    """Return sines then cosines of 2π·n·w/256 for each difference n = 0..255 and every w = 1..128, float32 [256, 256].

    Together with a constant all functions of n are sums of these; the mean square of all entries is 1.
    """
    return _scaled(_waves(np.arange(CLASSES), CLASSES / np.arange(1, CLASSES // 2 + 1)))


_TABLES = {
    "learned": lambda n: np.eye(CLASSES)[n],
    "fourier": lambda n: _waves(n, CLASSES / 2.0 ** np.arange(OCTAVES)),
    "number-theoretic": _number_theoretic,
    "binary": lambda n: 2.0 * (n[:, None] >> np.arange(OCTAVES) & 1) - 1,
    "tuple": lambda n: np.stack([n // 16, n % 16], axis=1) / 7.5 - 1,
}
