"""Well-known sequences by name, each from its definition: what people type most. Plain integers, no NumPy."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, count, islice, takewhile

from bestguess.integers.outside.evidence import LARGEST

FURTHEST = 10**5
"""Numbers that are asked for a property, at most: some that are rare are known no further, or no more of them exist."""
LONGEST_START = 12
"""How far into a sequence the first of the terms may lie."""


@dataclass(frozen=True, eq=False)
class Known:
    """A sequence with a name and no parameter."""

    name: str
    terms: Callable[[], Iterator[int]]
    grows: bool = True
    """Whether it grows steadily: then four terms are enough to tell it, of one such as 1, 1, 2, 1, … six."""
    ascending: bool = False
    """Whether no term is below the one before: then it is known early that terms are no part of it."""
    most: int | None = None
    """No term is above it, where there is such a number."""
    more: float = 0.0
    """Bits by which its name is rarer than those that come to mind first."""


def continuation(known: Known, terms: Sequence[int], steps: int) -> tuple[int, tuple[int, ...]] | None:
    """Return how many terms of a known sequence lie before `terms`, and the up to `steps` terms behind them.

    None where they are no part of its beginning, or too few, or nothing is known to follow. No more of it is computed
    than tells that.
    """
    n = len(terms)
    if n < (4 if known.grows else 6) or (known.most is not None and max(terms) > known.most):
        return None
    found, source = _begun(known)
    largest = terms[0] if known.ascending else max(map(abs, terms))
    for start in range(LONGEST_START + 1):
        for matched in range(n):
            if len(found) == start + matched:
                value = next(source, None)
                if value is None:
                    return None
                found.append(value)
            if found[start + matched] != terms[matched]:
                break
        else:
            found += islice(source, max(0, start + n + steps - len(found)))
            return (start, tuple(found[start + n : start + n + steps])) if len(found) > start + n else None
        if known.grows and abs(found[start]) > largest:
            return None
    return None


@functools.cache
def _begun(known: Known) -> tuple[list[int], Iterator[int]]:
    """The terms of a sequence that were asked for so far, and the rest: what one question computed, others need not."""
    return [], takewhile(lambda term: abs(term) <= LARGEST, known.terms())


@functools.lru_cache(maxsize=256)
def first(known: Known, count_: int) -> tuple[int, ...]:
    """Return the first terms of a known sequence, as many as asked for unless they end or grow too large."""
    return tuple(islice(takewhile(lambda term: abs(term) <= LARGEST, known.terms()), count_))


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


def prefixes(of: Callable[[int], Sequence[int]]) -> Callable[[], Iterator[int]]:
    """Return the sequence of which `of` computes the first n terms, for any n."""

    def terms() -> Iterator[int]:
        given, n = 0, 32
        while True:
            yield from of(n)[given:]
            given, n = n, 4 * n

    return terms


_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


def is_prime(n: int) -> bool:
    """Return whether n < 3·10²⁴ is a prime, by Miller and Rabin's test with the first twelve primes as witnesses.

    They suffice that far (Sorenson & Webster, 2017).
    """
    if n < 2 or any(n % p == 0 for p in _WITNESSES):
        return n in _WITNESSES
    odd = n - 1
    twos = (odd & -odd).bit_length() - 1
    odd >>= twos
    for witness in _WITNESSES:
        power = pow(witness, odd, n)
        if power not in (1, n - 1) and all(pow(witness, odd << i, n) != n - 1 for i in range(1, twos)):
            return False
    return True


def numbers_where(condition: Callable[[int], bool], first: int = 1) -> Callable[[], Iterator[int]]:
    """Return the numbers from `first` on of which a condition holds, as far as is soon looked through."""
    return lambda: filter(condition, range(first, first + FURTHEST))


def _factorials() -> Iterator[int]:
    return map(math.factorial, count())


def _bell() -> Iterator[int]:
    row = [1]
    while True:
        yield row[0]
        row = list(accumulate(row, initial=row[-1]))


def integer_partitions() -> Iterator[int]:
    """Yield the number of partitions of 0, 1, …, by Euler's pentagonal recurrence.

    p(n) = Σ_k (−1)^(k−1) (p(n − k(3k−1)/2) + p(n − k(3k+1)/2)).
    """
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


def _recaman() -> Iterator[int]:
    value, met = 0, {0}
    for n in count(1):
        yield value
        value = value - n if value > n and value - n not in met else value + n
        met.add(value)


def _kolakowski() -> Iterator[int]:
    """1, 2, 2, …: the lengths of its own runs."""
    terms = [1, 2, 2]
    yield from terms
    for place in count(2):
        run = [3 - terms[-1]] * terms[place]
        terms += run
        yield from run


def _golomb() -> Iterator[int]:
    """a(n) is how often n occurs: a(n) = 1 + a(n − a(a(n − 1)))."""
    terms = [0, 1]
    while True:
        yield terms[-1]
        terms.append(1 + terms[len(terms) - terms[terms[-1]]])


def _hofstadter() -> Iterator[int]:
    """Q(n) = Q(n − Q(n − 1)) + Q(n − Q(n − 2))."""
    terms = [1, 1]
    yield from terms
    while True:
        terms.append(terms[-terms[-1]] + terms[-terms[-2]])
        yield terms[-1]


def _ulam() -> Iterator[int]:
    """1, 2, then each least number that is in one way the sum of two different terms before."""
    terms = [1, 2]
    yield from terms
    while True:
        ways: dict[int, int] = {}
        for i, a in enumerate(terms):
            for b in terms[i + 1 :]:
                ways[a + b] = ways.get(a + b, 0) + 1
        terms.append(min(one for one, many in ways.items() if many == 1 and one > terms[-1]))
        yield terms[-1]


def _perfect() -> Iterator[int]:
    """The even ones, by Euclid and Euler: 2^(p−1)·(2^p − 1) with a prime 2^p − 1."""
    return (2 ** (p - 1) * (2**p - 1) for p in range(2, 70) if is_prime(2**p - 1))


def digits_of_constant(value: Callable[[int], int], whole: int) -> Callable[[], Iterator[int]]:
    """Return the digits of a constant, `whole` of them before the point; value(one) is constant · one, or a little
    below."""
    return lambda: map(int, str(value(10 ** (_DIGITS + 10)))[: whole + _DIGITS])


_DIGITS = 200


def pi_times(one: int) -> int:
    """Return π · one, or a little below: π = 16 arctan(1/5) − 4 arctan(1/239) (Machin)."""

    def arctan(inverse: int) -> int:
        term, total, n = one // inverse, 0, 1
        while term:
            total += (-1) ** (n // 2) * (term // n)
            term //= inverse**2
            n += 2
        return total

    return 16 * arctan(5) - 4 * arctan(239)


def e_times(one: int) -> int:
    """Return e · one, or a little below."""
    term, total, n = one, 0, 1
    while term:
        total += term
        term //= n
        n += 1
    return total


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
    Known("partitions of n", integer_partitions),
    Known("nⁿ", polynomial(lambda n: n**n, 1)),
    Known("Sylvester's sequence", _sylvester),
    Known("look and say", _look_and_say),
    Known("perfect numbers", _perfect),
    Known("Ulam numbers", _ulam),
    Known("Recamán's sequence", _recaman, False),
    Known("Kolakowski sequence", _kolakowski, False),
    Known("Golomb's sequence", _golomb, False),
    Known("Hofstadter's Q", _hofstadter, False),
    Known("digits of π", digits_of_constant(pi_times, 1), False, most=9),
    Known("digits of e", digits_of_constant(e_times, 1), False, most=9),
    Known("digits of √2", digits_of_constant(lambda one: math.isqrt(2 * one**2), 1), False, most=9),
    Known(
        "digits of the golden ratio",
        digits_of_constant(lambda one: (one + math.isqrt(5 * one**2)) // 2, 1),
        False,
        most=9,
    ),
)
"""Simplest first."""
