"""Sequences of arithmetic: functions of n, numbers that have a property, and what is made of well-known sequences."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from itertools import count, islice, pairwise, takewhile

from bestguess.integers.outside.known import KNOWN, PRIMES, Known, is_prime, numbers_where, polynomial


def divisors(n: int) -> list[int]:
    """Return the divisors of n, ascending."""
    small = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return small + [n // d for d in reversed(small) if d * d < n]


def factors(n: int) -> list[int]:
    """Return the prime factors of n, ascending, each as often as it divides n."""
    found, d = [], 2
    while d * d <= n:
        while n % d == 0:
            found.append(d)
            n //= d
        d += 1
    return found + [n] * (n > 1)


def _moebius(n: int) -> int:
    found = factors(n)
    return (-1) ** len(found) if len(set(found)) == len(found) else 0


def _two_in(n: int) -> int:
    return (n & -n).bit_length() - 1


def _digits(n: int) -> list[int]:
    return [int(one) for one in str(n)]


def _is_happy(n: int) -> bool:
    while n > 4:
        n = sum(digit**2 for digit in _digits(n))
    return n == 1


def _both_prime(k: int, n: int) -> bool:
    return is_prime(n) and is_prime(n + k)


def _is_lucky(n: int) -> bool:
    """Whether the sieve that strikes every k-th of those left, k = 2, 3, 7, …, leaves n."""
    if n % 2 == 0:
        return False
    left, place = list(range(1, n + 1, 2)), 1
    while place < len(left) and left[place] <= len(left):
        step = left[place]
        left = [one for i, one in enumerate(left, 1) if i % step]
        place += 1
    return left[-1] == n


FUNCTIONS: tuple[tuple[str, int, Callable[[int], int]], ...] = (
    ("number of divisors of n", 1, lambda n: len(divisors(n))),
    ("sum of divisors of n", 1, lambda n: sum(divisors(n))),
    ("sum of the divisors of n below n", 1, lambda n: sum(divisors(n)) - n),
    ("Euler's totient of n", 1, lambda n: sum(math.gcd(k, n) == 1 for k in range(1, n + 1))),
    ("Möbius function of n", 1, _moebius),
    ("number of prime factors of n", 1, lambda n: len(factors(n))),
    ("number of different primes that divide n", 1, lambda n: len(set(factors(n)))),
    ("smallest prime factor of n", 2, lambda n: factors(n)[0]),
    ("greatest prime factor of n", 2, lambda n: factors(n)[-1]),
    ("sum of the prime factors of n", 1, lambda n: sum(factors(n))),
    ("ones in n in binary", 0, int.bit_count),
    ("Thue–Morse sequence", 0, lambda n: n.bit_count() % 2),
    ("powers of 2 that divide n", 1, lambda n: n & -n),
    ("exponent of 2 in n", 1, _two_in),
    ("n in Gray code", 0, lambda n: n ^ n >> 1),
    ("paper folding", 1, lambda n: 1 - (n >> _two_in(n) + 1) % 2),
    ("sum of the digits of n", 0, lambda n: sum(_digits(n))),
    ("product of the digits of n", 0, lambda n: math.prod(_digits(n))),
    ("digits of n in reverse", 0, lambda n: int(str(n)[::-1])),
    ("⌊√n⌋", 0, math.isqrt),
)
"""Each with its name and its first n."""

PROPERTIES: tuple[tuple[str, int, Callable[[int], bool]], ...] = (
    ("composite numbers", 1, lambda n: n > 3 and not is_prime(n)),
    ("squarefree numbers", 1, lambda n: _moebius(n) != 0),
    ("prime powers", 1, lambda n: len(set(factors(n))) == 1),
    ("semiprimes", 1, lambda n: len(factors(n)) == 2),
    ("products of two different primes", 1, lambda n: len(factors(n)) == len(set(factors(n))) == 2),
    ("abundant numbers", 1, lambda n: sum(divisors(n)) > 2 * n),
    ("deficient numbers", 1, lambda n: sum(divisors(n)) < 2 * n),
    ("numbers that are no squares", 1, lambda n: math.isqrt(n) ** 2 < n),
    (
        "sums of two squares",
        0,
        lambda n: any(math.isqrt(n - a * a) ** 2 == n - a * a for a in range(math.isqrt(n) + 1)),
    ),
    ("numbers with an even number of ones in binary", 0, lambda n: n.bit_count() % 2 == 0),
    ("numbers with an odd number of ones in binary", 1, lambda n: n.bit_count() % 2 == 1),
    ("numbers that are the same in reverse", 0, lambda n: str(n) == str(n)[::-1]),
    ("happy numbers", 1, _is_happy),
    ("lucky numbers", 1, _is_lucky),
    ("numbers that 3 or 5 divides", 1, lambda n: n % 3 == 0 or n % 5 == 0),
    *((f"primes p with p + {k} prime", 1, functools.partial(_both_prime, k)) for k in (2, 4, 6)),
    ("primes p with p − 2 prime", 1, lambda n: is_prime(n) and is_prime(n - 2)),
    ("primes p with 2p + 1 prime", 1, lambda n: is_prime(n) and is_prime(2 * n + 1)),
    ("primes p with (p − 1)/2 prime", 1, lambda n: is_prime(n) and n % 2 == 1 and is_prime(n // 2)),
)
"""Each with its name and the first number that is asked."""


def _primes_among(known: Known) -> Iterator[int]:
    first = takewhile(lambda one: one < 10**24, islice(known.terms(), 200))
    return (one for one in first if is_prime(one))


def _places_of_primes(known: Known) -> Iterator[int]:
    """The terms at the places 2, 3, 5, 7, …, from 1."""
    return (one for place, one in enumerate(known.terms(), 1) if is_prime(place))


def _counted(known: Known) -> Iterator[int]:
    """How many of a growing sequence's terms are at most n, n from 0."""
    terms, many = known.terms(), 0
    following = next(terms)
    for n in count():
        while following <= n:
            many, following = many + 1, next(terms)
        yield many


_COUNTED = ("primes", "squares", "cubes", "powers of 2", "triangular numbers", "factorials")


def _made() -> Iterator[Known]:
    """What is made of the growing ones of the well-known sequences."""
    for known in KNOWN:
        if known.grows:
            yield Known(f"primes among the {known.name}", functools.partial(_primes_among, known))
    for known in KNOWN:
        if known.name in _COUNTED:
            yield Known(f"number of {known.name} up to n", functools.partial(_counted, known), False)
    yield Known("differences of the primes", lambda: (b - a for a, b in pairwise(PRIMES.terms())), False)
    yield Known("primes at the places of primes", lambda: _places_of_primes(PRIMES))


ARITHMETIC: tuple[Known, ...] = (
    *(Known(name, polynomial(of, first), False) for name, first, of in FUNCTIONS),
    *(Known(name, numbers_where(has, first)) for name, first, has in PROPERTIES),
    *_made(),
)
"""Simplest first."""
