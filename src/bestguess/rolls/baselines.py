"""Baselines for files whose floor is unknown: code lengths of the test part that a model should beat."""

from __future__ import annotations

import bz2
import importlib
import lzma
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

MOST = 1_000_000
"""Most values used of each part."""
_BINS = 256
_ORDERS = 3
_CONSTANT = (0.25, 2.0, 16.0, 128.0, 1024.0)
_PER_SYMBOL = (0.25, 1.0)
_MODELS = 1 + _ORDERS * (len(_CONSTANT) + len(_PER_SYMBOL))
_CHUNK = 1 << 15
_REPEATS = np.array([0.0, *(2.0**-k for k in range(16, 0, -1)), 0.75, 0.9, 0.99, 0.999])


@dataclass(frozen=True)
class Baseline:
    """The result of one baseline on the test part."""

    name: str
    bits_per_value: float
    """Code length in bits per raw value: no code's mean is below the floor."""
    top1: float | None
    """Fraction of the values that it predicts as the most probable one; None if it names none."""
    note: str
    """What it is, one line."""


def baselines(train: np.ndarray, test: np.ndarray, classes: int) -> list[Baseline]:
    """Return the baselines on the first 10^6 test values, given the last 10^6 training values.

    train, test: consecutive parts of a file, uint16 [n] and [m]. classes: number of possible values.
    """
    if not len(train) or not len(test):
        raise ValueError("baselines take at least one value of each part")
    if max(train.max(), test.max()) >= classes:
        raise ValueError(f"{max(train.max(), test.max())} is not one of {classes} values")
    train, test = train[-MOST:], test[:MOST]
    p = marginal(train, classes)
    own = -np.log2(p[test])
    last = np.concatenate([train[-1:], test[:-1]])
    rate, repeats = repeat_bits(train, test, p)
    cost = (classes - 1) / (2 * len(train) * math.log(2))
    return [
        Baseline(
            "marginal", float(own.mean()), float(np.mean(test == p.argmax())),
            f"counts of {len(train):,} training values plus ½; learning them costs {cost:.2g} bits per value",
        ),
        Baseline(
            "repeat", float(repeats.mean()), float(np.mean(test == last)),
            f"the value before with probability {rate:.3g}, else the marginal; top-1 is of always repeating",
        ),
        *(
            Baseline(
                name, float(context_bits(train, test, bins).mean()), None,
                f"Bayes mixture of {_MODELS} context models of orders 0 to {_ORDERS}, updated on the test part; {of}",
            )
            for name, bins, of in _alphabets(p)
        ),
        *_compressed(test, classes),
    ]  # fmt: skip


def _alphabets(p: np.ndarray) -> Iterator[tuple[str, np.ndarray, str]]:
    """Yield the name, the bin of each value and a description: of the values, and of quantiles of more than 256."""
    yield "contexts", np.arange(len(p)), "of values"
    if len(p) > _BINS:
        yield "contexts of bins", bins_of(p), f"of {_BINS} quantile bins at most, the marginal within each"


def marginal(train: np.ndarray, classes: int) -> np.ndarray:
    """Return (count + ½) of each value over their sum, float64 [classes]."""
    counts = np.bincount(train, minlength=classes) + 0.5
    return counts / counts.sum()


def repeat_bits(train: np.ndarray, test: np.ndarray, p: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the rate of repeats that is best on the training part, and bits of each test value, float64 [m]."""

    def bits(values: np.ndarray, before: np.ndarray, rate: float) -> np.ndarray:
        return -np.log2((1 - rate) * p[values] + rate * (values == before))

    means = [bits(train[1:], train[:-1], rate).sum() for rate in _REPEATS.tolist()]
    best = float(_REPEATS[int(np.argmin(means))])
    return best, bits(test, np.concatenate([train[-1:], test[:-1]]), best)


def bins_of(p: np.ndarray) -> np.ndarray:
    """Return the quantile bin of each value, at most 256, int64 [classes]; `p` is the marginal."""
    middle = np.cumsum(p) - p / 2
    return np.unique(np.minimum((middle * _BINS).astype(np.int64), _BINS - 1), return_inverse=True)[1]


def context_bits(train: np.ndarray, test: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Return bits of each test value given all before it, by a mixture over orders, float64 [m].

    bins: of each value, ascending from 0, int64 [classes]. Contexts are of bins; within a bin the training marginal
    gives the value.

    A model of order k and strength s, with n(x) of the n bins after the same k bins equal to x, has

        p_k(x) = (n(x) + s·p_{k−1}(x)) / (n + s),    p_0(x) = (n(x) + ½) / (n + B/2),

    with s constant, or proportional to the number of different bins seen there (Witten & Bell, 1991). The mixture
    is Bayes' over models. Its weights are learned from the last quarter of the training part on.
    """
    p = marginal(train, len(bins))
    count = int(bins[-1]) + 1
    within = np.log2(np.bincount(bins, p)[bins] / p)
    symbols = bins[np.concatenate([train, test])]
    first = len(train) - len(train) // 4
    log_p, done = np.empty(len(symbols) - first), 0
    weights = np.full((_MODELS, 1), -math.log(_MODELS))
    for models in _model_log_p(symbols, count, first):
        likelihood = weights + np.cumsum(models, axis=1)
        most = likelihood.max(axis=0)
        total = most + np.log(np.exp(likelihood - most).sum(axis=0))
        log_p[done : done + len(total)] = np.diff(total, prepend=0.0)
        weights, done = likelihood[:, -1:] - total[-1], done + len(total)
    return within[test] - log_p[len(train) - first :] / math.log(2)


def _model_log_p(symbols: np.ndarray, count: int, first: int) -> Iterator[np.ndarray]:
    """Yield ln p of the symbols from `first` on given all before, by model, float64 [models, chunk]."""
    context, tables = np.zeros(len(symbols), np.int64), []
    for _ in range(_ORDERS + 1):
        *seen, pair = _seen(context, symbols, count)
        tables.append([one[first:] for one in seen])
        # The context of the next order: this one of the value before, and that value.
        context = np.concatenate([[-1], pair[:-1]]) + 1
    for start in range(0, len(symbols) - first, _CHUNK):
        cut = slice(start, start + _CHUNK)
        same, all_, _ = (one[cut] for one in tables[0])
        lowest = (same + 0.5) / (all_ + count / 2)
        found = [lowest]
        for strength, per_symbol in [*((s, False) for s in _CONSTANT), *((s, True) for s in _PER_SYMBOL)]:
            p = lowest
            for table in tables[1:]:
                same, all_, different = (one[cut] for one in table)
                # With nothing seen the strength does not matter.
                s = strength * np.maximum(different, 1) if per_symbol else strength
                p = (same + s * p) / (all_ + s)
                found.append(p)
        yield np.log(np.stack(found))


def _seen(
    context: np.ndarray, symbols: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what was seen earlier in the same context: this symbol, all symbols, different symbols, int32 [n].

    The fourth is an index of the pair of context and symbol, below n, int64 [n].
    """
    order, rank, begin = _grouped(context * count + symbols)
    same, pair = np.empty(len(symbols), np.int32), np.empty(len(symbols), np.int64)
    same[order], pair[order] = rank, begin
    order, rank, begin = _grouped(context)
    all_, different = np.empty_like(same), np.empty_like(same)
    all_[order] = rank
    new = same[order] == 0
    before = np.cumsum(new) - new
    different[order] = before - before[begin]
    return same, all_, different, pair


def _grouped(key: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return indexes sorted by key and time, each one's rank among equal keys, and the place of the first of them."""
    # The index (21 bits) is packed below the key (at most 21 + 16), so that equal keys stay in the order of time.
    bits = np.uint64(len(key).bit_length())
    packed = np.sort(key.astype(np.uint64) << bits | np.arange(len(key), dtype=np.uint64))
    group = packed >> bits
    place = np.arange(len(key))
    begin = np.maximum.accumulate(np.where(np.diff(group, prepend=~group[:1]) != 0, place, 0))
    return (packed & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64), place - begin, begin


def _compressed(test: np.ndarray, classes: int) -> list[Baseline]:
    """Return the compressors' bits per value, on the bytes of the test part alone."""
    data = test.astype("u1" if classes <= 256 else "<u2").tobytes()
    tools: dict[str, Callable[[bytes], bytes]] = {
        "xz": lzma.compress,
        "bz2": bz2.compress,
        "zlib": lambda data: zlib.compress(data, 9),
    }
    if zstd := _zstd():
        tools["zstd"] = zstd
    size = f"{1 if classes <= 256 else 2} bytes".replace("1 bytes", "1 byte")
    note = f"compressed size of the test part at {size} per value; sees no training values"
    return [Baseline(name, 8 * len(tool(data)) / len(test), None, note) for name, tool in tools.items()]


def _zstd() -> Callable[[bytes], bytes] | None:
    """Return zstd at level 19, from Python 3.14 or the package `zstandard`; None without both."""
    try:
        module = importlib.import_module("compression.zstd")
        return lambda data: module.compress(data, 19)
    except ImportError:
        pass
    try:
        module = importlib.import_module("zstandard")
    except ImportError:
        return None
    return lambda data: module.ZstdCompressor(level=19).compress(data)
