"""Rules outside the prior: each kind on a sequence of its own, and what is too little to confirm one."""

from __future__ import annotations

import math
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestguess.integers.oracle.known import KNOWN, continuation
from bestguess.integers.oracle.outside import outside_rules


def first(terms, steps=1):
    found = outside_rules(terms, steps)
    return (found[0].rule, found[0].following) if found else None


@pytest.mark.parametrize(
    ("terms", "rule", "following"),
    [
        ((4, 7, 1, 4, 7, 1, 4), "period 3: 4, 7, 1", (7, 1)),
        ((5, 16, 49, 148), "a(n) = 3·a(n−1) + 1", (445, 1336)),
        ((3, -6, 12, -24), "a(n) = −2·a(n−1)", (48, -96)),
        ((3, 1, 7, 9, 23, 41), "a(n) = a(n−1) + 2·a(n−2)", (87, 169)),
        ((0, 1, 2, 5, 12, 29), "Pell numbers", (70, 169)),
        ((7, 21, 84, 420, 2520), "(n + 1)·a(n−1)", (17640, 141120)),
        ((3, 6, 15, 42, 126, 396), "3 times the Catalan numbers", (1287, 4290)),
        ((2, 3, 5, 7, 11), "primes", (13, 17)),
        ((3, 4, 6, 8, 12, 14), "one more than the primes", (18, 20)),
        ((100, 90, 81, 73, 66), "a(n) = 1/2·n² − 23/2·n + 111", (60, 55)),
        ((2, 5, 10, 17, 28, 41, 58), "steps 3, 5, 7, 11, …: primes", (77, 100)),
        ((1, 2, 6, 30, 210, 2310), "products of the first primes", (30030, 510510)),
        ((-1, 4, -9, 16, -25), "squares", (36, -49)),
        ((1, 10, 4, 20, 9, 40, 16, 80), "two in turn: a(n) = n²; a(n) = 2·a(n−1)", (25, 160)),
    ],
)
def test_each_kind_of_rule_goes_on_as_it_should(terms, rule, following):
    found = outside_rules(terms, 2)
    matching = [one for one in found if one.following == following]
    assert matching
    assert rule in matching[0].rule


def test_a_polynomial_is_written_in_powers_of_the_index():
    quartic = [n**4 - 3 * n**3 + 2 * n + 7 for n in range(1, 10)]
    found = {one.rule: one.following for one in outside_rules(quartic[:8])}
    assert found["a(n) = n⁴ − 3·n³ + 2·n + 7"] == (quartic[8],)
    halves = [n * (n + 5) // 2 + 1 for n in range(1, 8)]
    assert any(
        one.rule == "a(n) = 1/2·n² + 5/2·n + 1" or one.following == (halves[6],) for one in outside_rules(halves[:6])
    )


@given(st.lists(st.integers(-5, 5), min_size=3, max_size=3), st.lists(st.integers(-9, 9), min_size=2, max_size=2))
def test_a_second_order_recurrence_is_continued_exactly(weights, start):
    p, q, c = weights
    terms = list(start)
    while len(terms) < 10:
        terms.append(p * terms[-1] + q * terms[-2] + c)
    # Whatever rule is found first fits, and where it is a recurrence it is this one's continuation.
    found = outside_rules(terms[:8], 2)
    assert found == [] or tuple(terms[8:]) in {one.following for one in found} or len(set(terms[:8])) < 8


@pytest.mark.parametrize("terms", [(3, 8, 1), (3, 8, 1, 12), (4, 19, 2, 77, 31, 8), (1, 10**301, 1, 10**301, 1)])
def test_what_no_term_confirms_is_no_rule(terms):
    """As many parameters as terms fit anything."""
    assert outside_rules(terms) == []


def test_one_rule_stands_for_each_continuation_and_the_name_leads():
    found = outside_rules((1, 4, 9, 16, 25))
    assert found[0].rule == "squares"
    assert found[0].named
    assert len({one.following for one in found}) == len(found)


@pytest.mark.parametrize("known", KNOWN, ids=lambda one: one.name)
def test_a_known_sequence_is_found_again_and_grows_no_holes(known):
    terms = tuple(islice(known.terms(), 14))
    assert continuation(known, terms[:10], 4) == terms[10:]
    assert continuation(known, (*terms[:9], terms[9] + 1), 1) is None


def test_known_sequences_by_other_definitions():
    of = {one.name: tuple(islice(one.terms(), 12)) for one in KNOWN}
    assert of["Bell numbers"][:7] == (1, 1, 2, 5, 15, 52, 203)
    assert of["partitions of n"][:9] == (1, 1, 2, 3, 5, 7, 11, 15, 22)
    assert of["Motzkin numbers"][:8] == (1, 1, 2, 4, 9, 21, 51, 127)
    assert of["derangements"] == tuple(
        sum((-1) ** k * math.factorial(n) // math.factorial(k) for k in range(n + 1)) for n in range(12)
    )
    assert of["Catalan numbers"] == tuple(math.comb(2 * n, n) - math.comb(2 * n, n + 1) for n in range(12))
    assert of["Thue–Morse sequence"][:8] == (0, 1, 1, 0, 1, 0, 0, 1)
    assert of["Pell numbers"][-1] == 2 * of["Pell numbers"][-2] + of["Pell numbers"][-3]
    assert of["prime powers"] == (2, 3, 4, 5, 7, 8, 9, 11, 13, 16, 17, 19)
