"""What is made of a well-known sequence by one step: sums, differences, digits, residues, counts, the rest."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, count, islice, pairwise, takewhile

from bestguess.integers.outside.evidence import COMPOSED, FORM, LARGEST, Terms
from bestguess.integers.outside.functions import OF_N
from bestguess.integers.outside.known import KNOWN, Known, is_prime


@dataclass(frozen=True)
class _Step:
    """One step: its words, with the sequence's name; what it makes of the sequence."""

    words: str
    of: Callable[[Known], Iterator[int]]
    grows: bool = True
    ascending: bool = False


def _terms(known: Known) -> Iterator[int]:
    return takewhile(lambda one: abs(one) <= LARGEST, known.terms())


def _primes_among(known: Known) -> Iterator[int]:
    return (one for one in takewhile(lambda one: one < 10**24, islice(_terms(known), 200)) if is_prime(one))


def _places_of_primes(known: Known) -> Iterator[int]:
    """The terms at the places 2, 3, 5, 7, …, from 1."""
    return (one for place, one in enumerate(_terms(known), 1) if is_prime(place))


def _every_second(known: Known, start: int) -> Iterator[int]:
    return islice(_terms(known), start, None, 2)


def _counted(known: Known) -> Iterator[int]:
    """How many of an ascending sequence's terms are at most n, n from 0."""
    terms, many = _terms(known), 0
    following: int | float = next(terms)
    for n in count():
        while following <= n:
            many, following = many + 1, next(terms, math.inf)
        yield many


def _marked(known: Known) -> Iterator[int]:
    """1 where n is one of an ascending sequence's terms, else 0, n from 0."""
    return (int(after > before) for before, after in pairwise(_distinct(known)))


def _distinct(known: Known) -> Iterator[int]:
    """How many different terms are below n, n from 0."""
    terms, many, last = _terms(known), 0, -1
    following: int | float = next(terms)
    for n in count():
        while following < n:
            many, last = many + (following > last), int(following)
            following = next(terms, math.inf)
        yield many


def _left_out(known: Known) -> Iterator[int]:
    return (n for n, one in enumerate(_marked(known)) if not one)


def _next_from(known: Known, beyond: int) -> Iterator[int]:
    """The smallest term from n + beyond on, n from 0."""
    at, terms = beyond, _terms(known)
    for term in terms:
        yield from [term] * (term - at + 1)
        at = max(at, term + 1)


def _last_up_to(known: Known) -> Iterator[int]:
    """The largest term up to n, n from the first one on."""
    for before, after in pairwise(_terms(known)):
        yield from [before] * (after - before)


def _alternating(known: Known) -> Iterator[int]:
    """a(n) − a(n−1) + a(n−2) − …"""
    return accumulate(_terms(known), lambda total, one: one - total)


def _convolved(known: Known) -> Iterator[int]:
    past: list[int] = []
    for one in _terms(known):
        past.append(one)
        yield sum(a * b for a, b in zip(past, reversed(past)))


def _binomial(known: Known) -> Iterator[int]:
    """Σ C(n, k)·a(k)."""
    past: list[int] = []
    for n, one in enumerate(_terms(known)):
        past.append(one)
        yield sum(math.comb(n, k) * a for k, a in enumerate(past))


def _pairs(of: Callable[[int, int], int]) -> Callable[[Known], Iterator[int]]:
    return lambda known: (of(a, b) for a, b in pairwise(_terms(known)))


def _each(of: Callable[[int], int]) -> Callable[[Known], Iterator[int]]:
    return lambda known: (of(one) for one in _terms(known) if one >= 0)


def _with_index(of: Callable[[int, int], int], start: int) -> Callable[[Known], Iterator[int]]:
    return lambda known: (of(one, n) for n, one in enumerate(_terms(known), start))


_STEPS: tuple[_Step, ...] = (
    _Step("primes among the {}", _primes_among),
    _Step("differences of the {}", _pairs(lambda a, b: b - a), False),
    _Step("sums of two neighbours of the {}", _pairs(lambda a, b: a + b)),
    _Step("products of two neighbours of the {}", _pairs(lambda a, b: a * b)),
    _Step("sums of two neighbours' squares of the {}", _pairs(lambda a, b: a * a + b * b)),
    *(
        _Step(f"every second of the {{}}, from the {name}", functools.partial(_every_second, start=start))
        for start, name in enumerate(("first", "second"))
    ),
    _Step("the {} at the places of primes", _places_of_primes),
    *(_Step(f"n-th of the {{}} plus n, from {start}", _with_index(lambda a, n: a + n, start)) for start in (0, 1)),
    *(_Step(f"n-th of the {{}} less n, from {start}", _with_index(lambda a, n: a - n, start)) for start in (0, 1)),
    *(_Step(f"n-th of the {{}} times n, from {start}", _with_index(lambda a, n: a * n, start)) for start in (0, 1)),
    *(
        _Step(f"n-th of the {{}} times n!, from {start}", _with_index(lambda a, n: a * math.factorial(n), start))
        for start in (0, 1)
    ),
    _Step("alternating sums of the {}", _alternating, False),
    _Step("the {} convolved with themselves", _convolved),
    _Step("binomial transform of the {}", _binomial),
    _Step("sums of the digits of the {}", _each(lambda one: sum(map(int, str(one)))), False),
    _Step("numbers of digits of the {}", _each(lambda one: len(str(one))), False),
    _Step("first digits of the {}", _each(lambda one: int(str(one)[0])), False),
    _Step("the {} in reverse", _each(lambda one: int(str(one)[::-1])), False),
    _Step("the {} in binary", _each(lambda one: int(f"{one:b}"))),
    _Step("ones in binary of the {}", _each(int.bit_count), False),
)
_STEPS_ON_SETS: tuple[_Step, ...] = (
    _Step("number of {} up to n", _counted, False),
    _Step("1 for {}, else 0", _marked, False),
    _Step("numbers that are not {}", _left_out, True, True),
    _Step("smallest of the {} from n on", functools.partial(_next_from, beyond=0), False, True),
    _Step("smallest of the {} above n", functools.partial(_next_from, beyond=1), False, True),
    _Step("largest of the {} up to n", _last_up_to, False, True),
)
_SETS = ("primes", "squares", "cubes", "powers of 2", "triangular numbers", "factorials", "Fibonacci numbers")


def _made() -> Iterator[Known]:
    for step in _STEPS:
        for known in KNOWN:
            if known.grows:
                yield _by(step, known)
    for step in _STEPS_ON_SETS:
        for known in KNOWN:
            if known.name in _SETS:
                yield _by(step, known)
    for known in OF_N:
        yield _by(_Step("sums of the first values of: {}", lambda one: accumulate(one.terms())), known)


def _by(step: _Step, known: Known) -> Known:
    return Known(
        step.words.format(known.name),
        functools.partial(step.of, known),
        step.grows,
        ascending=step.ascending,
        more=known.more + COMPOSED,
    )


DERIVED: tuple[Known, ...] = tuple(_made())
"""Each from the steps and the sequences that come to mind first."""


def residues(terms: Terms) -> Iterator[Known]:
    """Yield the well-known sequences modulo m, for the least m above the terms and those up to 12."""
    if min(terms) < 0 or max(terms) > 11:
        return
    for m in range(max(max(terms) + 1, 2), 13):
        yield from _modulo(m)


@functools.cache
def _modulo(m: int) -> tuple[Known, ...]:
    step = _Step(f"the {{}} modulo {m}", _each(lambda one: one % m), False)
    made = (_by(step, known) for known in KNOWN if known.grows)
    return tuple(replace(one, more=one.more + FORM) for one in made)  # for which m
