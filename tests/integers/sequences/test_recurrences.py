"""The language against plain Python, family by family, and every example that the family promises."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from bestguess.integers.sequences.language import (
    Constant,
    Family,
    Index,
    Number,
    Of,
    Parameter,
    ceiling,
    cumulative,
    cycle,
    explicit,
)
from bestguess.integers.sequences.recurrences import FAMILIES

BY_NAME = {family.name: family for family in FAMILIES}
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
COUNT = 17


def follow(count, first, rule):
    """Plain Python: the first terms, then rule(terms so far, n)."""
    terms = list(first)[:count]
    while len(terms) < count:
        terms.append(rule(terms, len(terms) + 1))
    return terms


def arithmetic(s, d, count):
    return [s + d * i for i in range(count)]


def repeated(terms, counts):
    return [term for i, term in enumerate(terms) for _ in range(counts[i % len(counts)])]


# Each family once more, in Python's own unbounded integers and fractions, each by another way where there is one.
PLAIN = {
    "constant": lambda c, s: [s] * c,
    "arithmetic": lambda c, s, d: arithmetic(s, d, c),
    "alternation": lambda c, x, y: [(x, y)[i % 2] for i in range(c)],
    "Fibonacci": lambda c, x, y: follow(c, (x, y), lambda a, n: a[-1] + a[-2]),
    "alternating steps": lambda c, s, d, e: [s + (i + 1) // 2 * d + i // 2 * e for i in range(c)],
    "growing steps": lambda c, s, d, e: [s + d * i + e * i * (i - 1) // 2 for i in range(c)],
    "shrinking steps": lambda c, s, d, e: [s + sum(max(0, d - e * i) for i in range(j)) for j in range(c)],
    "geometric": lambda c, s, f: [s * f**i for i in range(c)],
    "alternating factors": lambda c, s, f, g: [s * f ** ((i + 1) // 2) * g ** (i // 2) for i in range(c)],
    "rational factors": lambda c, s, p, q, u, v: follow(
        c, (s,), lambda a, n: math.floor(a[-1] * (Fraction(p, q) if n % 2 == 0 else Fraction(u, v)))
    ),
    "periods": lambda c, s, d, k: repeated(arithmetic(s, d, c), (k,))[:c],
    "mixed periods": lambda c, s, d, u, v: repeated(arithmetic(s, d, c), (u, v))[:c],
    "Fibonacci modulo": lambda c, x, y, m: follow(c, (x, y), lambda a, n: (a[-1] + a[-2]) % m),
    "every k-th multiplied": lambda c, s, d, k, f: [
        term * f if i % k == 0 else term for i, term in enumerate(arithmetic(s, d, c), start=1)
    ],
    "floor of geometric": lambda c, s, p, q: [math.floor(s * Fraction(p, q) ** i) for i in range(c)],
    "ceiling of geometric": lambda c, s, p, q: [math.ceil(s * Fraction(p, q) ** i) for i in range(c)],
    "alternating signs": lambda c, s, d: [term if i % 2 == 0 else -term for i, term in enumerate(arithmetic(s, d, c))],
    "by parity": lambda c, s, d, f: follow(c, (s,), lambda a, n: a[-1] * f if a[-1] % 2 else a[-1] + d),
    "by the last two": lambda c, s, e, d, f: follow(
        c, (s, s + e), lambda a, n: a[-1] + d if a[-1] % 2 == a[-2] % 2 else a[-1] * f
    ),
}


@every_family
def test_a_family_is_what_plain_python_says(family):
    parameters = family.parameters()
    terms = family.terms(COUNT)
    size = len(terms)
    for i in {0, 1, size - 1, *np.random.default_rng(0).integers(0, size, 200)}:
        choice = {name: int(values[i]) for name, values in parameters.items()}
        assert terms[i].tolist() == PLAIN[family.name](COUNT, **choice), choice


@every_family
def test_each_choice_of_parameters_stands_once(family):
    grid = np.stack(list(family.parameters().values()))
    assert grid.dtype == np.int64
    assert np.unique(grid, axis=1).shape == grid.shape
    assert grid.shape[1] > 40
    assert family.phase in (1, 2, 3)
    assert family.weight > 0


# Every example of the design, term by term, with the family and the parameters that give it.
EXAMPLES = [
    ([1, 1, 1], "constant", {"s": 1}),
    ([2, 4, 6], "arithmetic", {"s": 2, "d": 2}),
    ([1, 0, 1, 0], "alternation", {"x": 1, "y": 0}),
    ([1, 3, 4, 6, 7, 9], "alternating steps", {"s": 1, "d": 2, "e": 1}),
    ([1, 2, 4, 7, 11], "growing steps", {"s": 1, "d": 1, "e": 1}),
    ([1, 5, 8, 10, 11], "shrinking steps", {"s": 1, "d": 4, "e": 1}),
    ([2, 4, 8, 16], "geometric", {"s": 2, "f": 2}),
    ([1, 2, 6, 12, 36], "alternating factors", {"s": 1, "f": 2, "g": 3}),
    ([8, 4, 6, 3], "rational factors", {"s": 8, "p": 1, "q": 2, "u": 3, "v": 2}),
    ([1, 1, 2, 2, 3, 3], "periods", {"s": 1, "d": 1, "k": 2}),
    ([1, 1, 1, 2, 2, 2], "periods", {"s": 1, "d": 1, "k": 3}),
    ([1, 2, 2, 3, 4, 4, 5, 6, 6], "mixed periods", {"s": 1, "d": 1, "u": 1, "v": 2}),
    # Fibonacci mod 3.
    ([1, 1, 2, 0, 2, 2, 1, 0, 1], "Fibonacci modulo", {"x": 1, "y": 1, "m": 3}),
    # Every third number of an arithmetic sequence doubled.
    ([1, 2, 6, 4, 5, 12, 7, 8, 18], "every k-th multiplied", {"s": 1, "d": 1, "k": 3, "f": 2}),
    # Floor and ceiling of 9, 13.5, 20.25, 30.375, 45.5625.
    ([9, 13, 20, 30, 45], "floor of geometric", {"s": 9, "p": 3, "q": 2}),
    ([9, 14, 21, 31, 46], "ceiling of geometric", {"s": 9, "p": 3, "q": 2}),
    ([3, -5, 7, -9], "alternating signs", {"s": 3, "d": 2}),
    # Increment if the previous is even, double if odd.
    ([4, 5, 10, 11, 22, 23], "by parity", {"s": 4, "d": 1, "f": 2}),
    # Two rules by a local pattern: add 3 after two of a kind, else double.
    ([1, 2, 4, 7, 14, 28, 31], "by the last two", {"s": 1, "e": 1, "d": 3, "f": 2}),
]


@pytest.mark.parametrize(("terms", "name", "choice"), EXAMPLES, ids=lambda value: str(value))
def test_examples(terms, name, choice):
    family = BY_NAME[name]
    grid = family.parameters()
    (place,) = np.flatnonzero(np.all([grid[key] == value for key, value in choice.items()], axis=0))
    assert set(choice) == set(grid)
    assert family.terms(len(terms))[place].tolist() == terms


def test_all_families_have_an_example_and_all_phases_a_family():
    assert {name for _, name, _ in EXAMPLES} == set(BY_NAME) - {"Fibonacci"}
    assert {family.phase for family in FAMILIES} == {1, 2, 3}
    assert len(BY_NAME) == len(FAMILIES)


def test_sequences_nest_as_deep_as_wanted():
    """Steps whose own steps alternate between 1 and 2: a sum of a sum."""
    s = Parameter("s")
    nested = cumulative(s, cumulative(Constant(0), cycle(Constant(1), Constant(2))))
    assert nested.terms({"s": np.array([5, 7])}, 6).tolist() == [[5, 5, 6, 9, 13, 19], [7, 7, 8, 11, 15, 21]]
    every_other = explicit(Of(nested, Index() * 2 - 1))
    with pytest.raises(IndexError):  # a term that lies beyond what was computed is no silent 0
        every_other.terms({"s": np.array([5])}, 4)


def test_a_cycle_of_three():
    terms = cycle(Constant(7), Parameter("s"), Constant(5)).terms({"s": np.array([0, 1])}, 7)
    assert terms.tolist() == [[7, 0, 5, 7, 0, 5, 7], [7, 1, 5, 7, 1, 5, 7]]


def test_rounding_up_of_negative_numbers():
    rounded = explicit(ceiling(Parameter("s"), Constant(2))).terms({"s": np.array([-3, -2, 3, 4])}, 1)
    assert rounded[:, 0].tolist() == [-1, -1, 2, 2]


@pytest.mark.parametrize(
    ("spec", "value", "text"),
    [
        ("", 3, "3"), ("", -3, "−3"), ("±", 2, "+ 2"), ("±", -3, "− 3"), ("±", 0, "+ 0"),
        ("·", 1, ""), ("·", 4, "4·"), ("more", 2, "2 more"), ("more", -2, "2 less"),
    ],
)  # fmt: skip
def test_numbers_in_formulas(spec, value, text):
    assert format(Number(value), spec) == text


def test_formulas():
    assert BY_NAME["arithmetic"].describe({"s": 2, "d": -2}) == (
        "a(n) = a(n−1) − 2, a(1) = 2",
        "each term is 2 less than the one before",
    )
    assert BY_NAME["growing steps"].describe({"s": 1, "d": 1, "e": 1})[0] == "a(n) = a(n−1) + 1 + (n−2), a(1) = 1"
    for family in FAMILIES:
        first = {name: int(values[0]) for name, values in family.parameters().items()}
        assert all(text and "{" not in text for text in family.describe(first))


@every_family
def test_formulas_tell_the_choices_of_a_family_apart(family):
    parameters = family.parameters()
    columns = list(zip(*(values.tolist() for values in parameters.values())))
    some = columns[:1500] + columns[-1500:] if len(columns) > 3000 else columns
    formulas = [family.describe(dict(zip(parameters, choice)))[0] for choice in some]
    assert len(set(formulas)) == len(formulas)


def test_a_family_without_a_condition_has_the_whole_grid():
    family = Family("f", 1, 1.0, (("s", range(3)), (("p", "q"), ((1, 2), (5, 7)))), explicit(Parameter("p")), "", "")
    grid = family.parameters()
    assert sorted(zip(*(grid[name].tolist() for name in "spq"))) == [
        (s, p, q) for s in range(3) for p, q in ((1, 2), (5, 7))
    ]
