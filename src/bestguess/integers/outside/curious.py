"""Sequences that refer to themselves, games and processes, digits and continued fractions of constants."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import accumulate, count, groupby

from bestguess.integers.outside.known import Known, digits_of_constant, e_times, is_prime, linear, pi_times, polynomial

Terms = Callable[[], Iterator[int]]


def _by_places(first: tuple[int, ...], following: Callable[[list[int], int], int], shown: int = 0) -> Terms:
    """The sequence of which following(all terms so far, n) is term n, from 0; the first `shown` are not given out."""

    def terms() -> Iterator[int]:
        past = list(first)
        yield from past[shown:]
        while True:
            past.append(following(past, len(past)))
            yield past[-1]

    return terms


def _van_eck() -> Iterator[int]:
    """How many terms ago the last term was there before; 0 where it is new."""
    last: dict[int, int] = {}
    value = 0
    for n in count():
        yield value
        before, last[value] = last.get(value, n), n
        value = n - before


def _ekg() -> Iterator[int]:
    """1, 2, then the least new number that shares a factor with the last."""
    met, value = {1, 2}, 2
    yield from (1, 2)
    while True:
        value = next(n for n in count(2) if n not in met and math.gcd(n, value) > 1)
        met.add(value)
        yield value


def _figures() -> Iterator[int]:
    """Hofstadter's figure-figure sequence: its terms and its steps are all numbers, each once."""
    value, step, met = 1, 1, {1}
    while True:
        yield value
        step = next(n for n in count(step + 1) if n not in met)
        value += step
        met |= {value, step}
        if value == 3:
            step = 2


def _inventory(digits: str) -> Terms:
    """How many of each digit there are, the least first: 1, 11, 21, 1112, 3112, …"""

    def terms() -> Iterator[int]:
        value = digits
        while True:
            yield int(value)
            value = "".join(f"{len(list(same))}{digit}" for digit, same in groupby(sorted(value)))

    return terms


def _said(first: str) -> Terms:
    """Look and say, from another first term."""

    def terms() -> Iterator[int]:
        value = first
        while True:
            yield int(value)
            value = "".join(f"{len(list(same))}{digit}" for digit, same in groupby(value))

    return terms


def _steps_to_one(following: Callable[[int], int]) -> Callable[[int], int]:
    def steps(n: int) -> int:
        many = 0
        while n > 1 and many < 10**4:
            n, many = following(n), many + 1
        return many

    return steps


def _collatz(n: int) -> int:
    return n // 2 if n % 2 == 0 else 3 * n + 1


def _collatz_peak(n: int) -> int:
    peak = n
    while n > 1:
        n = _collatz(n)
        peak = max(peak, n)
    return peak


def _juggler(n: int) -> int:
    return math.isqrt(n) if n % 2 == 0 else math.isqrt(n**3)


def _euclid_mullin() -> Iterator[int]:
    """2, then each the least prime factor of one more than the product of all before."""
    product = 1
    while True:
        value = product + 1
        prime = next((p for p in range(2, 10**4) if value % p == 0), value if is_prime(value) else None)
        if prime is None:
            return
        yield prime
        product *= prime


def _phi(n: int) -> int:
    """⌊n·φ⌋."""
    return (n + math.isqrt(5 * n * n)) // 2


def _josephus(k: int) -> Callable[[int], int]:
    def last(n: int) -> int:
        place = 0
        for left in range(2, n + 1):
            place = (place + k) % left
        return place + 1

    return last


def _rule(number: int, binary: bool = False) -> Terms:
    """The rows of an elementary cellular automaton, from one cell, as numbers."""

    def terms() -> Iterator[int]:
        row, width = 1, 1
        while True:
            yield int(f"{row:b}") if binary else row
            wide = row << 2
            row = sum((number >> (wide >> i & 7) & 1) << i for i in range(width + 2))
            width += 2

    return terms


def _cells(number: int) -> Terms:
    return lambda: (row.bit_count() for row in _rule(number)())


def _concatenated(of: Terms) -> Terms:
    return lambda: (int(text) for text in accumulate(map(str, of())))


def _connell() -> Iterator[int]:
    """One odd number, two even ones, three odd ones, …"""
    value = 0
    for run in count(1):
        value -= 1
        for _ in range(run):
            value += 2
            yield value


def _stern(numerators: bool) -> Terms:
    def terms() -> Iterator[int]:
        value = Fraction(1)
        while True:
            yield value.numerator if numerators else value.denominator
            value = 1 / (2 * math.floor(value) - value + 1)

    return terms


def continued(value: Callable[[int], int]) -> Terms:
    """Return the terms of a constant's continued fraction; value(one) is constant · one, or a little below."""

    def terms() -> Iterator[int]:
        one = 10**120
        low, high = Fraction(value(one) - 10**9, one), Fraction(value(one) + 10**9, one)
        while math.floor(low) == math.floor(high):
            yield math.floor(low)
            low, high = low - math.floor(low), high - math.floor(high)
            if not low or not high:
                return
            low, high = 1 / high, 1 / low

    return terms


def _ln(n: int) -> Callable[[int], int]:
    """log n = 2 Σ z^(2k+1)/(2k+1), z = (n − 1)/(n + 1)."""

    def value(one: int) -> int:
        guard = 10**9
        term, total = 2 * one * guard * (n - 1) // (n + 1), 0
        for k in count():
            if not term:
                return total // guard
            total += term // (2 * k + 1)
            term = term * (n - 1) ** 2 // (n + 1) ** 2
        return total

    return value


def _root(n: int) -> Callable[[int], int]:
    return lambda one: math.isqrt(n * one * one)


def _cube_root(n: int) -> Callable[[int], int]:
    def value(one: int) -> int:
        target, x = n * one**3, n * one
        while x**3 > target:
            x = (2 * x + target // (x * x)) // 3
        return x

    return value


def _zeta_3(one: int) -> int:
    """ζ(3) = (5/2) Σ (−1)^(k+1) / (k³ · C(2k, k))."""
    total = sum((-1) ** (k + 1) * (one * 10**9 // (k**3 * math.comb(2 * k, k))) for k in range(1, 400))
    return 5 * total // 2 // 10**9


def _times(of: Callable[[int], int], up: int, down: int = 1) -> Callable[[int], int]:
    return lambda one: of(one * up) // down


def _euler_gamma(one: int) -> int:
    """γ by Brent and McMillan: Σ (n^k/k!)²·(H_k − log n) / Σ (n^k/k!)²."""
    n, guard = 300, 10**30
    unit = one * guard
    term, harmonic, above, below = unit, 0, 0, 0
    k = 0
    while term:
        above += term * harmonic // unit
        below += term
        k += 1
        term = term * n * n // (k * k)
        harmonic += unit // k
    return (above * unit // below - _ln_many(n, unit)) // guard


def _ln_many(n: int, unit: int) -> int:
    """log n · unit for n = 300 = 3·10², by small factors."""
    return _ln(3)(unit) + 2 * (_ln(2)(unit) + _ln(5)(unit)) if n == 300 else _ln(n)(unit)


_CONSTANTS: tuple[tuple[str, Callable[[int], int], int], ...] = (
    ("√3", _root(3), 1),
    ("√5", _root(5), 1),
    ("√7", _root(7), 1),
    ("√10", _root(10), 1),
    ("∛2", _cube_root(2), 1),
    ("log 2", _ln(2), 0),
    ("log 3", _ln(3), 1),
    ("log 10", _ln(10), 1),
    ("Euler's γ", _euler_gamma, 0),
    ("ζ(3)", _zeta_3, 1),
    ("π/2", _times(pi_times, 1, 2), 1),
    ("2π", _times(pi_times, 2), 1),
    ("π/4", _times(pi_times, 1, 4), 0),
    ("π²/6", lambda one: pi_times(one) ** 2 // one // 6, 1),
    ("1/π", lambda one: one * one // pi_times(one), 0),
    ("1/e", lambda one: one * one // e_times(one), 0),
)
"""Each with its name, its value times a number, and its digits before the point."""

_COLLATZ = _steps_to_one(_collatz)
_LISTED: tuple[tuple[str, Terms], ...] = (
    ("Van Eck's sequence", _van_eck),
    ("EKG sequence", _ekg),
    ("Hofstadter's figures", _figures),
    ("Hofstadter's G", _by_places((0,), lambda p, n: n - p[p[n - 1]])),
    ("Hofstadter's H", _by_places((0,), lambda p, n: n - p[p[p[n - 1]]])),
    ("Hofstadter and Conway's sequence", _by_places((0, 1, 1), lambda p, n: p[p[n - 1]] + p[n - p[n - 1]], 1)),
    ("steps of Collatz from n to 1", polynomial(_COLLATZ, 1)),
    ("largest number of Collatz from n", polynomial(_collatz_peak, 1)),
    (
        "steps of Collatz from n to 1, halvings after 3n + 1 included",
        polynomial(_steps_to_one(lambda n: n // 2 if n % 2 == 0 else (3 * n + 1) // 2), 1),
    ),
    ("steps of the juggler from n to 1", polynomial(_steps_to_one(_juggler), 1)),
    ("Josephus' last place, every second out", polynomial(_josephus(2), 1)),
    ("Josephus' last place, every third out", polynomial(_josephus(3), 1)),
    ("Fibonacci word", lambda: (2 - (_phi(n + 1) - _phi(n)) for n in count(1))),
    ("Fibonacci word from 1", lambda: (_phi(n + 1) - _phi(n) - 1 for n in count(1))),
    ("⌊n·φ⌋", polynomial(_phi, 1)),
    ("⌊n·φ²⌋", polynomial(lambda n: _phi(n) + n, 1)),
    ("⌊n·√2⌋", polynomial(lambda n: math.isqrt(2 * n * n), 0)),
    ("⌊n·√3⌋", polynomial(lambda n: math.isqrt(3 * n * n), 0)),
    ("⌊n·π⌋", polynomial(lambda n: pi_times(n * 10**20) // 10**20)),
    ("⌊n·e⌋", polynomial(lambda n: e_times(n * 10**20) // 10**20)),
    ("⌊eⁿ⌋", polynomial(lambda n: e_times(10**90) ** n // 10 ** (90 * n))),
    ("numerators of Stern's fractions", _stern(True)),
    ("denominators of Stern's fractions", _stern(False)),
    ("Connell's sequence", _connell),
    ("Stanley's sequence", polynomial(lambda n: int(f"{n:b}", 3))),
    *((f"rule {k}", _rule(k)) for k in (30, 90, 110, 150, 60)),
    *((f"rule {k} in binary", _rule(k, binary=True)) for k in (30, 90)),
    ("cells of rule 30", _cells(30)),
    ("cells of rule 150", _cells(150)),
    ("Pascal's triangle modulo 2, rows as numbers", polynomial(lambda n: sum((n & k == k) << k for k in range(n + 1)))),
    ("alternating bits", _by_places((1,), lambda p, n: 2 * p[-1] + (n % 2 == 0))),
)
_GROWING: tuple[tuple[str, Terms], ...] = (
    ("Euclid–Mullin sequence", _euclid_mullin),
    ("inventory of digits", _inventory("1")),
    ("inventory of digits from 0", _inventory("0")),
    *((f"look and say from {k}", _said(str(k))) for k in (2, 3)),
    ("1 to n written together", _concatenated(lambda: count(1))),
    ("first primes written together", _concatenated(lambda: filter(is_prime, count(2)))),
    ("first odd numbers written together", _concatenated(lambda: count(1, 2))),
    ("tetranacci numbers", linear((0, 0, 0, 1), (1, 1, 1, 1))),
    ("Narayana's cows", linear((1, 1, 1), (1, 0, 1))),
)

_CONTINUED: tuple[tuple[str, Callable[[int], int]], ...] = (
    *(("π", pi_times), ("e", e_times), ("√3", _root(3)), ("√7", _root(7))),
    *(("∛2", _cube_root(2)), ("log 2", _ln(2)), ("π/2", _times(pi_times, 1, 2))),
)

CURIOUS: tuple[Known, ...] = (
    *(Known(name, terms, False, more=4.0) for name, terms in _LISTED),
    *(Known(name, terms, more=4.0) for name, terms in _GROWING),
    *(
        Known(f"digits of {name}", digits_of_constant(of, whole), False, most=9, more=4.0)
        for name, of, whole in _CONSTANTS
    ),
    *(Known(f"continued fraction of {name}", continued(of), False, more=4.0) for name, of in _CONTINUED),
)
"""Simplest first."""
