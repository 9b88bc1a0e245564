"""Rules in two cases, by the last term's parity or by the index's, and sums over all the terms before."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from bestguess.integers.outside.equations import solved
from bestguess.integers.outside.evidence import FORM, OutsideRule, Terms, bits, plain, total
from bestguess.integers.words import summed

Weights = list[tuple[Fraction, str]]


def _fewest(rows: Sequence[Sequence[int]], right: Sequence[int], names: Sequence[str]) -> Weights | None:
    """Return the weights of as few columns as explain `right`, and their names; None where none do."""
    for count in range(1, len(names) + 1):
        for chosen in itertools.combinations(range(len(names)), count):
            weights = solved([[row[i] for i in chosen] for row in rows], right)
            if weights is not None and all(weights):
                return list(zip(weights, (names[i] for i in chosen)))
    return [] if right and not any(right) else None


def by_parity(terms: Terms, steps: int) -> Iterator[OutsideRule]:
    """Yield one rule after even terms and another after odd ones, each p·a(n−1) + q: such as Collatz's."""
    names = ("a(n−1)", "")
    cases: list[Weights] = []
    for odd in (0, 1):
        pairs = [(a, b) for a, b in itertools.pairwise(terms) if a % 2 == odd]
        found = _fewest([(a, 1) for a, _ in pairs], [b for _, b in pairs], names)
        if found is None:
            return
        cases.append(found)
    past = list(terms)
    for _ in range(steps):
        values = {"a(n−1)": past[-1], "": 1}
        value = sum((weight * values[name] for weight, name in cases[past[-1] % 2]), Fraction(0))
        if value.denominator > 1:
            return
        past.append(int(value))
    told = f"a(n) = {summed(cases[0])} if a(n−1) is even, else {summed(cases[1])}"
    length = 2 * FORM + bits(terms[0]) + total(weight for case in cases for weight, _ in case)
    yield OutsideRule(told, tuple(past[len(terms) :]), length)


def by_half(terms: Terms, steps: int) -> Iterator[OutsideRule]:
    """Yield a(2n) and a(2n + 1) by a(n) and a(n + 1), the index from 0 or from 1: what follows binary digits."""
    names = ("a(n)", "", "a(n+1)", "(n mod 2)")
    for first in (0, 1):
        at = lambda past, i, first=first: past[i - first]  # noqa: E731
        features = lambda past, n, at=at: {  # noqa: E731
            "a(n)": at(past, n), "": 1, "a(n+1)": at(past, n + 1), "(n mod 2)": n % 2
        }  # fmt: skip
        start = 2  # with a(2) = a(2·1): a(1), and a(0) where there is one, are given
        cases: list[Weights] = []
        for odd in (0, 1):
            own = names[:2] + names[3:] if not odd else names
            places = [i for i in range(start, first + len(terms)) if i % 2 == odd]
            rows = [[features(terms, i // 2)[name] for name in own] for i in places]
            found = _fewest(rows, [at(terms, i) for i in places], own)
            if found is None or len(places) < 2:
                break
            cases.append(found)
        # Places 2, 3, … are explained: two more of them than there are weights.
        if len(cases) < 2 or first + len(terms) - start < 2 + sum(map(len, cases)):
            continue
        past = list(terms)
        for i in range(first + len(terms), first + len(terms) + steps):
            value = sum((weight * features(past, i // 2)[name] for weight, name in cases[i % 2]), Fraction(0))
            if value.denominator > 1:
                break
            past.append(int(value))
        if len(past) > len(terms):
            told = f"a(2n) = {summed(cases[0])}, a(2n+1) = {summed(cases[1])}, from a({first}) = {terms[0]}"
            # Which of the features each case has is to be said too.
            length = 3 * FORM + plain(terms[: start - first]) + total(w for case in cases for w, _ in case)
            yield OutsideRule(told.replace("-", "−"), tuple(past[len(terms) :]), length)


def by_rows(terms: Terms, steps: int) -> Iterator[OutsideRule]:
    """Yield the rule by which rows of 1, 2, 3, … terms follow from one another: Pascal's, Stirling's triangle.

    Each term is a sum of the two above it, with weights that are linear in row n and place k, both from 0.
    """
    names = (
        *("T(n−1, k−1)", "T(n−1, k)", "k·T(n−1, k−1)", "k·T(n−1, k)"),
        *("n·T(n−1, k−1)", "n·T(n−1, k)"),
    )
    places = [(n, k) for n in range(len(terms) + steps) for k in range(n + 1)][: len(terms) + steps]
    past = list(terms)

    def above(n: int, k: int) -> list[int]:
        start = n * (n - 1) // 2
        left = past[start + k - 1] if k else 0
        over = past[start + k] if k < n else 0
        return [left, over, k * left, k * over, n * left, n * over]

    rows = [above(n, k) for n, k in places[1 : len(terms)]]
    weights = _fewest(rows, terms[1:], names) if len(terms) > 6 and terms[0] else None
    if not weights or len(terms) < 4 + len(weights):
        return
    for n, k in places[len(terms) :]:
        value = sum((weight * above(n, k)[names.index(name)] for weight, name in weights), Fraction(0))
        if value.denominator > 1:
            break
        past.append(int(value))
    if len(past) > len(terms):
        length = 2 * FORM + bits(terms[0]) + total(weight for weight, _ in weights)
        told = f"T(n, k) = {summed(weights)}, by rows, T(0, 0) = {terms[0]}".replace("-", "−")
        yield OutsideRule(told, tuple(past[len(terms) :]), length)


_SUMS: tuple[tuple[str, Callable[[Sequence[int], int], int]], ...] = (
    ("Σ a(k)·a(n−1−k)", lambda past, n: sum(a * b for a, b in zip(past, reversed(past)))),
    ("Σ C(n−1, k)·a(k)", lambda past, n: sum(math.comb(n - 1, k) * a for k, a in enumerate(past))),
    ("Σ C(n, k)·a(k)", lambda past, n: sum(math.comb(n, k) * a for k, a in enumerate(past))),
    (
        "Σ C(n−1, k)·a(k)·a(n−1−k)",
        lambda past, n: sum(math.comb(n - 1, k) * a * b for k, (a, b) in enumerate(zip(past, reversed(past)))),
    ),
    ("the sum of all terms before", lambda past, n: sum(past)),
)


def by_sum(terms: Terms, steps: int) -> Iterator[OutsideRule]:
    """Yield a sum of all terms before times a constant, the index from 0: Catalan's, Bell's, Euler's zigzag numbers."""
    for name, summand in _SUMS:
        for given in (1, 2):
            sums = [summand(terms[:n], n) for n in range(given, len(terms))]
            if len(sums) < 3 or not sums[0]:
                continue
            ratio = Fraction(terms[given], sums[0])
            if not ratio or any(ratio * one != term for one, term in zip(sums, terms[given:])):
                continue
            past = list(terms)
            for _ in range(steps):
                value = ratio * summand(past, len(past))
                if value.denominator > 1:
                    break
                past.append(int(value))
            if len(past) > len(terms):
                told = f"a(n) = {summed([(ratio, name)])}" + (", from a(0)" if "k" in name else "")
                length = 2 * FORM + bits(ratio) + plain(terms[:given])
                yield OutsideRule(told, tuple(past[len(terms) :]), length)
            break
