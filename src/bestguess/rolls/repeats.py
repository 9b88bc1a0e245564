"""Repeats between two parts of a file: copied blocks, reused seeds, wrapped nonces. One pass, bounded memory.

A run is a maximal stretch of values of part B that also stands somewhere in part A. Where values follow each other
with short-range dependence alone, the number of runs of `length` values or more is about Poisson, and its mean falls
geometrically with the length (Arratia and Waterman, "Critical phenomena in sequence matching", 1985). The rate is
measured inside part A; `length` is such that the mean is at most 0.001.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from bestguess.rolls.counter import words
from bestguess.rolls.file import VALUES, RollsFile
from bestguess.rolls.spans import both, size, spans, without

SHORTEST, _LONGEST = 8, 4096
"""Least and greatest length of a repeat, in values."""
BY_CHANCE = 1e-3
"""Greatest expected number of chance runs."""
_GRAMS = 1 << 22
"""Most n-grams held, at about 40 bytes each. In longer parts, those with certain hashes stand for all."""
_MEASURED = 1 << 15
"""Values of each of two samples, for the rate of short-range repeats."""
_ENOUGH = 1000
"""Fewest pairs that a rate is measured on."""
_VERIFIED = 1000
"""Most runs that are compared value by value."""
_STREAM = (1 << 16) + 2
_FACTOR = 0x9E3779B97F4A7C15 | 1


@dataclass(frozen=True)
class Repeats:
    """Runs of `length` values or more that stand in both parts."""

    length: int
    expected: float
    """Upper estimate of the mean number of runs by chance, with the short-range dependence of part A."""
    independent: float
    """Expected number of runs if all values were independent."""
    found: int
    """Number of runs in part B."""
    values: int
    """Number of values in the runs."""
    one_in: int
    """One of so many n-grams was compared."""
    longest: int = 0
    """Length of the longest run."""
    at: tuple[int, int] | None = None
    """Its first index in part A and in part B."""


def find_repeats(
    file: RollsFile, a: np.ndarray, b: np.ndarray, update: Callable[[int], None] = lambda done: None
) -> Repeats | None:
    """Return what of part `b` stands in part `a` too; None if no length tells a copy from chance.

    a, b: spans; indices in both count as b's. update: told the number of values of `a` that are done.
    """
    whole = spans(np.array([0]), np.array([file.n]))
    b = both(b, whole)
    a = without(both(a, whole), b)
    pairs = float(size(a)) * size(b)
    if not pairs:
        return None
    match = _collision(file, a, b)
    rate = _Rate.measured(file, a, match)
    length = rate.length(pairs)
    if length is None or 2 * length > size(b):
        return None
    one_in = max(1, 1 << math.ceil(math.log2(size(b) / _GRAMS))) if size(b) > _GRAMS else 1
    held = list(_grams(file, b, length, one_in))
    place, key = (np.concatenate([one[i] for one in held]) if held else np.zeros(0, np.int64) for i in (0, 1))
    first = _first_in(_grams(file, a, length, one_in, update), key.astype(np.uint64))
    join = 1 if one_in == 1 else 16 * one_in
    runs = _verified(file, _runs(place, first, length, join), length)
    at, longest = max(((one[:2], one[2]) for one in runs), key=lambda one: one[1], default=(None, 0))
    return Repeats(
        length=length,
        expected=rate.expected(pairs, length),
        independent=pairs * match**length * (1 - match),
        found=len(runs),
        values=sum(one[2] for one in runs),
        one_in=one_in,
        longest=longest,
        at=at,
    )


def _collision(file: RollsFile, a: np.ndarray, b: np.ndarray) -> float:
    """Return the probability that a value of part a equals one of part b, if they were independent."""
    p, q = (counts_of(file, part) / size(part) for part in (a, b))
    return float(p @ q)


def counts_of(file: RollsFile, part: np.ndarray) -> np.ndarray:
    """Return the counts by value in a part, int64 [65536]. Its spans may be many and short: holes are read too."""
    counts, base = np.zeros(VALUES, np.int64), int(part[0, 0])
    for values in file.chunks(base, int(part[-1, 1])):
        counts += np.bincount(values[_begins(part, base, len(values), 1)], minlength=VALUES)
        base += len(values)
    return counts


@dataclass(frozen=True)
class _Rate:
    """Probability that a run of `length` or more starts at a pair of indices: exp(log_p + (length − at)·log_rate)."""

    log_p: float
    at: int
    log_rate: float

    @classmethod
    def measured(cls, file: RollsFile, a: np.ndarray, match: float) -> _Rate:
        """Return the rate in two samples of part a. match: the probability that two values are equal."""
        start, stop = int(a[0, 0]), int(a[-1, 1])
        count = min(_MEASURED, (stop - start) // 2)
        left, right = file.read(start, start + count), file.read(stop - count, stop)
        # Pairs of equal l-grams; less those of (l + 1)-grams, each run counts once: a copied block is one run.
        pairs = [_equal_pairs(left, right, 1)]
        while pairs[-1] >= _ENOUGH and len(pairs) < min(64, count):
            pairs.append(_equal_pairs(left, right, len(pairs) + 1))
        begun = [one - after for one, after in itertools.pairwise(pairs)]
        known = [i for i in range(len(begun) - 1) if begun[i] >= _ENOUGH]
        floor = math.log(max(match, 1 / VALUES**2))
        if not known:
            return cls(math.log1p(-match) if match < 1 else -math.inf, 0, floor)
        rates = [(begun[i + 1] + 3 * math.sqrt(max(begun[i + 1], 0)) + 3) / begun[i] for i in known]
        return cls(math.log(begun[known[-1]] / count**2), known[-1] + 1, max(floor, math.log(max(rates))))

    def expected(self, pairs: float, length: int) -> float:
        """Return the mean number of runs of `length` or more among so many pairs of indices."""
        return math.exp(math.log(pairs) + self.log_p + (length - self.at) * self.log_rate)

    def length(self, pairs: float) -> int | None:
        """Return the least length whose expected number of runs is below BY_CHANCE; None if there is none."""
        if self.log_rate >= 0 or not math.isfinite(self.log_p):
            return None
        needed = self.at + (math.log(BY_CHANCE / pairs) - self.log_p) / self.log_rate
        return max(SHORTEST, math.ceil(needed)) if needed <= _LONGEST else None


def _equal_pairs(left: np.ndarray, right: np.ndarray, length: int) -> int:
    """Return the number of pairs of equal n-grams, one from each array."""
    (a, m), (b, n) = (np.unique(_keys(one, length), return_counts=True) for one in (left, right))
    _, i, j = np.intersect1d(a, b, assume_unique=True, return_indices=True)
    return int(m[i] @ n[j])


def _table() -> np.ndarray:
    low, high = words(0, _STREAM, 0, 2 * VALUES).reshape(2, VALUES).astype(np.uint64)
    return low | (high << np.uint64(32))


_OF_VALUE = _table()
"""A random number for each value, uint64 [65536]."""


def _keys(values: np.ndarray, length: int) -> np.ndarray:
    """Return a hash of every n-gram, uint64 [n − length + 1]: Σ factor^(length − 1 − i)·number(value i), mixed."""
    power, step = _OF_VALUE[values], 1  # the hashes of `step` values
    made, done = np.zeros(0, np.uint64), 0  # those of the first `done` of them
    while True:
        factor = np.uint64(pow(_FACTOR, step, 1 << 64))
        if length & step:
            rest = power[done:]
            made = rest.copy() if not done else made[: len(rest)] * factor + rest
            done += step
        if done == length:
            break
        power = power[:-step] * factor + power[step:]
        step *= 2
    made ^= made >> np.uint64(32)
    made *= np.uint64(0xD6E8FEB86659FD93)
    return made ^ (made >> np.uint64(29))


def _grams(
    file: RollsFile, part: np.ndarray, length: int, one_in: int, update: Callable[[int], None] = lambda done: None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (first index, hash) of the part's n-grams, of a large part: one in `one_in`, chosen by the hash."""
    start, stop = int(part[0, 0]), int(part[-1, 1])
    rest = np.zeros(0, np.uint16)
    read = start
    for values in file.chunks(start, stop):
        held = np.concatenate([rest, values])
        base, read = read - len(rest), read + len(values)
        update(read - start)
        rest = held[max(len(held) - length + 1, 0) :].copy()
        if len(held) < length:
            continue
        keys = _keys(held, length)
        of_part = _begins(part, base, len(keys), length)
        if one_in > 1:
            of_part &= (keys & np.uint64(one_in - 1)) == 0
        yield base + np.flatnonzero(of_part), keys[of_part]


def _begins(part: np.ndarray, base: int, count: int, length: int) -> np.ndarray:
    """Return whether an n-gram that begins at each of `count` indices from `base` lies in one span of the part."""
    first, last = np.searchsorted(part[:, 1], base, side="right"), np.searchsorted(part[:, 0], base + count)
    steps = np.zeros(count + 1, np.int64)
    for start, stop in (part[first:last] - base).tolist():
        if stop - length + 1 > max(start, 0):
            steps[max(start, 0)] += 1
            steps[min(stop - length + 1, count)] -= 1
    return np.cumsum(steps[:-1]) > 0


def _first_in(grams: Iterator[tuple[np.ndarray, np.ndarray]], wanted: np.ndarray) -> np.ndarray:
    """Return the first index of each wanted hash among the n-grams, −1 if it is not among them, int64 [wanted]."""
    sought, back = np.unique(wanted, return_inverse=True)
    bits = min(max(len(sought).bit_length() + 4, 16), 26)
    shift = np.uint64(64 - bits)
    among = np.zeros(1 << bits, bool)
    among[sought >> shift] = True
    first = np.full(len(sought), -1, np.int64)
    for place, key in grams:
        likely = among[key >> shift]
        place, key = place[likely], key[likely]
        at = np.searchsorted(sought, key)
        at[at == len(sought)] = 0
        hit = sought[at] == key
        place, at = place[hit], at[hit]
        new = first[at] < 0
        first[at[new][::-1]] = place[new][::-1]  # of an n-gram that comes several times, the first stays
    return first[back]


def _runs(place: np.ndarray, first: np.ndarray, length: int, join: int) -> list[tuple[int, int, int]]:
    """Return runs as (index in a, index in b, length): n-grams that were found, at most `join` apart in b."""
    hit = first >= 0
    place, first = place[hit], first[hit]
    if not len(place):
        return []
    new = np.flatnonzero(np.concatenate([[True], np.diff(place) > join]))
    last = np.concatenate([new[1:], [len(place)]]) - 1
    return list(zip(first[new].tolist(), place[new].tolist(), (place[last] - place[new] + length).tolist()))


def _verified(file: RollsFile, runs: list[tuple[int, int, int]], length: int) -> list[tuple[int, int, int]]:
    """Return the runs less those whose first n-grams differ after all: two hashes of 64 bits may be equal."""
    runs = sorted(runs, key=lambda one: -one[2])
    checked, rest = runs[:_VERIFIED], runs[_VERIFIED:]

    def same(one: tuple[int, int, int]) -> bool:
        return np.array_equal(file.read(one[0], one[0] + length), file.read(one[1], one[1] + length))

    return [one for one in checked if same(one)] + rest
