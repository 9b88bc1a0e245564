"""Well-known sequences by name, each from its definition: what people type most. Plain integers, no NumPy."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, count, islice, takewhile

LONGEST_START = 12
"""How far into a growing sequence its beginning may lie (terms)."""


@dataclass(frozen=True)
class Known:
    """A sequence with a name and no parameter."""

    name: str
    terms: Callable[[], Iterator[int]]
    anywhere: bool = True
    """Whether a part from within is recognised too: of one that grows steadily, and not of one such as 1, 1, 2, 1, …"""


def continuation(known: Known, terms: Sequence[int], steps: int) -> tuple[int, ...] | None:
    """Return what follows `terms` in a known sequence, `steps` terms, or None where they are no part of it."""
    n = len(terms)
    starts = LONGEST_START + 1 if known.anywhere else 2
    found = _first(known, starts + n + steps)
    for start in range(starts):
        if found[start : start + n] == tuple(terms):
            return found[start + n : start + n + steps]
    return None


@functools.lru_cache(maxsize=256)
def _first(known: Known, count_: int) -> tuple[int, ...]:
    return tuple(islice(known.terms(), count_))


def polynomial(of: Callable[[int], int], first: int = 0) -> Callable[[], Iterator[int]]:
    """Return the values of a function at first, first + 1, …"""
    return lambda: map(of, count(first))


def linear(first: Sequence[int], weights: Sequence[int]) -> Callable[[], Iterator[int]]:
    """Return the sequence that begins with `first` and goes on a(n) = Σ weights[i] · a(n − 1 − i)."""

    def terms() -> Iterator[int]:
        past = list(first)
        yield from past
        while True:
            past = [*past[1:], sum(w * one for w, one in zip(weights, reversed(past)))]
            yield past[-1]

    return terms


def is_prime(n: int) -> bool:
    """Return whether n is a prime, by trial division."""
    return n > 1 and all(n % d for d in takewhile(lambda d: d * d <= n, count(2)))


def numbers_where(condition: Callable[[int], bool], first: int = 1) -> Callable[[], Iterator[int]]:
    """Return the numbers from `first` on of which a condition holds."""
    return lambda: filter(condition, count(first))


def divisors(n: int) -> list[int]:
    """Return the divisors of n."""
    return [d for d in range(1, n + 1) if n % d == 0]


def _factorials() -> Iterator[int]:
    return map(math.factorial, count())


def _bell() -> Iterator[int]:
    row = [1]
    while True:
        yield row[0]
        row = list(accumulate(row, initial=row[-1]))


def _partitions() -> Iterator[int]:
    """p(n) = Σ_k (−1)^(k−1) (p(n − k(3k−1)/2) + p(n − k(3k+1)/2)), Euler's pentagonal recurrence."""
    found = [1]
    while True:
        yield found[-1]
        n = len(found)
        total = 0
        for k in range(1, n + 1):
            for pentagon in (k * (3 * k - 1) // 2, k * (3 * k + 1) // 2):
                if pentagon <= n:
                    total += (-1) ** (k - 1) * found[n - pentagon]
        found.append(total)


def _motzkin() -> Iterator[int]:
    before, last = 1, 1
    yield before
    for n in count(2):
        yield last
        before, last = last, ((2 * n + 1) * last + (3 * n - 3) * before) // (n + 2)


def _derangements() -> Iterator[int]:
    value = 1
    for n in count(1):
        yield value
        value = n * value + (-1) ** n


def _look_and_say() -> Iterator[int]:
    digits = "1"
    while True:
        yield int(digits)
        new, at = "", 0
        while at < len(digits):
            end = at
            while end < len(digits) and digits[end] == digits[at]:
                end += 1
            new, at = new + str(end - at) + digits[at], end
        digits = new


def _sylvester() -> Iterator[int]:
    value = 2
    while True:
        yield value
        value = value * (value - 1) + 1


def _products(of: Callable[[], Iterator[int]]) -> Callable[[], Iterator[int]]:
    return lambda: accumulate(of(), lambda a, b: a * b)


PRIMES = Known("primes", numbers_where(is_prime))
KNOWN: tuple[Known, ...] = (
    Known("squares", polynomial(lambda n: n**2)),
    Known("cubes", polynomial(lambda n: n**3)),
    Known("fourth powers", polynomial(lambda n: n**4)),
    Known("triangular numbers", polynomial(lambda n: n * (n + 1) // 2)),
    Known("tetrahedral numbers", polynomial(lambda n: n * (n + 1) * (n + 2) // 6)),
    Known("sums of the first squares", polynomial(lambda n: n * (n + 1) * (2 * n + 1) // 6)),
    Known("pentagonal numbers", polynomial(lambda n: n * (3 * n - 1) // 2)),
    Known("hexagonal numbers", polynomial(lambda n: n * (2 * n - 1))),
    Known("products of two consecutive numbers", polynomial(lambda n: n * (n + 1))),
    Known("powers of 2", linear((1,), (2,))),
    Known("powers of 3", linear((1,), (3,))),
    Known("powers of 10", linear((1,), (10,))),
    Known("2ⁿ − 1", polynomial(lambda n: 2**n - 1)),
    Known("2ⁿ + 1", polynomial(lambda n: 2**n + 1)),
    PRIMES,
    Known("Fibonacci numbers", linear((0, 1), (1, 1))),
    Known("Lucas numbers", linear((2, 1), (1, 1))),
    Known("Pell numbers", linear((0, 1), (2, 1))),
    Known("Jacobsthal numbers", linear((0, 1), (1, 2))),
    Known("tribonacci numbers", linear((0, 0, 1), (1, 1, 1))),
    Known("Padovan numbers", linear((1, 1, 1), (0, 1, 1))),
    Known("Perrin numbers", linear((3, 0, 2), (0, 1, 1))),
    Known("factorials", _factorials),
    Known("double factorials of odd numbers", _products(lambda: (max(1, 2 * n - 1) for n in count()))),
    Known("products of the first primes", _products(lambda: chain((1,), PRIMES.terms()))),
    Known("Catalan numbers", polynomial(lambda n: math.comb(2 * n, n) // (n + 1))),
    Known("central binomial coefficients", polynomial(lambda n: math.comb(2 * n, n))),
    Known("Motzkin numbers", _motzkin),
    Known("Bell numbers", _bell),
    Known("derangements", _derangements),
    Known("partitions of n", _partitions),
    Known("composite numbers", numbers_where(lambda n: not is_prime(n), 4)),
    Known("squarefree numbers", numbers_where(lambda n: all(n % d**2 for d in range(2, math.isqrt(n) + 1)))),
    Known("prime powers", numbers_where(lambda n: sum(map(is_prime, divisors(n))) == 1, 2)),
    Known("nⁿ", polynomial(lambda n: n**n, 1)),
    Known("Sylvester's sequence", _sylvester),
    Known("look and say", _look_and_say),
    Known("number of divisors of n", polynomial(lambda n: len(divisors(n)), 1), False),
    Known("sum of divisors of n", polynomial(lambda n: sum(divisors(n)), 1), False),
    Known("Euler's totient of n", polynomial(lambda n: sum(math.gcd(k, n) == 1 for k in range(1, n + 1)), 1), False),
    Known("ones in n in binary", polynomial(int.bit_count), False),
    Known("Thue–Morse sequence", polynomial(lambda n: n.bit_count() % 2), False),
    Known("powers of 2 that divide n", polynomial(lambda n: n & -n, 1), False),
    Known("exponent of 2 in n", polynomial(lambda n: (n & -n).bit_length() - 1, 1), False),
)
"""Simplest first."""
