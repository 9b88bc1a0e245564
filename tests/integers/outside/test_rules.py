"""Rules outside the prior: each kind on a sequence of its own, and what is too little to confirm one."""

from __future__ import annotations

import math
import random
from itertools import islice, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestguess.integers.outside.arithmetic import ARITHMETIC
from bestguess.integers.outside.evidence import LARGEST, LEAST, plain
from bestguess.integers.outside.known import KNOWN, continuation, is_prime
from bestguess.integers.outside.rules import named_rules, outside_rules


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
        ((729, 243, 81, 27, 9), "a(n) = 1/3·a(n−1)", (3, 1)),
        ((1000, 500, 250, 125, 62, 31), "a(n) = ⌊1/2·a(n−1)⌋", (15, 7)),
        ((1, 12, 123, 1234, 12345), "a(n) = 10·a(n−1) + n", (123456, 1234567)),
        ((3, 5, 17, 257, 65537), "a(n) = a(n−1)² − 2·a(n−1) + 2", (2**32 + 1, 2**64 + 1)),
        ((2, 3, 6, 18, 108, 1944), "a(n) = a(n−1)·a(n−2)", (209952, 408146688)),
        ((1, 2, 6, 22, 90, 394, 1806), "n·a(n) = (6·n − 9)·a(n−1) − (n − 3)·a(n−2)", (8558, 41586)),
        ((1, 1, 2, 4, 10, 26, 76, 232), "a(n) = a(n−1) + (n − 2)·a(n−2)", (764, 2620)),
        ((0, 0, 0, 1, 1, 2, 4, 8, 15, 29), "a(n) = a(n−1) + a(n−2) + a(n−3) + a(n−4)", (56, 108)),
        ((6, 3, 10, 5, 16, 8, 4), "a(n) = 1/2·a(n−1) if a(n−1) is even, else 3·a(n−1) + 1", (2, 1)),
        ((0, 1, 1, 2, 1, 3, 2, 3, 1), "a(2n) = a(n), a(2n+1) = a(n) + a(n+1), from a(0) = 0", (4, 3)),
        ((1, 1, 2, 5, 14, 42, 132), "Catalan numbers", (429, 1430)),
        ((1, 1, 3, 13, 75, 541, 4683), "a(n) = Σ C(n, k)·a(k), from a(0)", (47293, 545835)),
        ((1, 1, 1, 2, 5, 16, 61), "a(n) = 1/2·Σ C(n−1, k)·a(k)·a(n−1−k), from a(0)", (272, 1385)),
        ((4, 9, 25, 49, 121, 169), "squares of 2, 3, 5, 7, …: primes", (289, 361)),
        ((1, 4, 18, 96, 600, 4320), "n times b(n), b: factorials", (35280, 322560)),
        ((2, 4, 4, 8, 8, 8, 16, 16, 16, 16, 32, 32), "runs of 1, 2, 3, 4, … terms each (a(n) = n)", (32, 32)),
        ((1, 1, 2, 1, 2, 3, 1, 2, 3), "the first 1, 2, 3, 3, … terms of 1, 2, 3, …", (4, 1)),
        ((3, 7, 31, 127, 8191), "primes among the 2ⁿ − 1", (131071, 524287)),
        ((2, 3, 2, 5, 2, 7, 2, 3, 2), "smallest prime factor of n", (11, 2)),
        ((0, 3, 5, 6, 9, 10, 12), "numbers with an even number of ones in binary", (15, 17)),
        ((3, 1, 4, 1, 5, 9, 2), "digits of π", (6, 5)),
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


@settings(max_examples=20)
@given(st.lists(st.integers(2, 5), min_size=2, max_size=2), st.lists(st.integers(3, 9), min_size=2, max_size=2))
def test_a_second_order_recurrence_is_continued_exactly(weights, start):
    p, q = weights
    terms = list(start)
    while len(terms) < 9:
        terms.append(p * terms[-1] + q * terms[-2])
    assert outside_rules(terms[:7], 2)[0].following == tuple(terms[7:])


@pytest.mark.parametrize("largest", [2, 10, 100])
def test_noise_is_rarely_given_a_rule(largest):
    """By chance one list in 2^LEAST follows a form of rule; there are many forms, and short lists do repeat."""
    rng = random.Random(largest)
    draws = [[rng.randrange(largest) for _ in range(7)] for _ in range(20)]
    found = [(terms, one) for terms in draws for one in outside_rules(terms)]
    assert len({str(terms) for terms, _ in found}) <= 3
    assert all(one.bits <= plain(terms) - LEAST for terms, one in found)


@pytest.mark.parametrize("terms", [(2, 3, 7, 43, 1807), (3, 5, 17, 257, 65537), (1, 2, 2, 4, 4, 4, 4, 8, 8)])
def test_terms_that_explode_end_where_nobody_would_read_on(terms):
    for one in outside_rules(terms, 100):
        assert all(abs(term) <= LARGEST**7 for term in one.following)


@pytest.mark.parametrize("terms", [(3, 8, 1), (3, 8, 1, 12), (4, 19, 2, 77, 31, 8), (1, 10**301, 1, 10**301, 1)])
def test_what_no_term_confirms_is_no_rule(terms):
    """As many parameters as terms fit anything."""
    assert outside_rules(terms) == []


def test_one_rule_stands_for_each_continuation_and_the_name_leads():
    found = outside_rules((1, 4, 9, 16, 25))
    assert found[0].rule == "squares"
    assert found[0].named
    assert len({one.following for one in found}) == len(found)


def test_a_name_stands_beside_a_rule_of_the_prior():
    assert [one.rule for one in named_rules((1, 4, 9, 16))] == ["squares"]
    assert named_rules((1, 4, 9, 17)) == named_rules((1, 4, 9)) == []


def test_a_known_sequence_is_found_again_and_grows_no_holes():
    for known in (*KNOWN, *ARITHMETIC):
        terms = tuple(islice(takewhile(lambda term: term < LARGEST, known.terms()), 14))
        if known.name.startswith("primes among") and len(terms) < 14:  # of Fermat's and their like few are known
            continue
        assert continuation(known, terms[:-4], 4) in ((0, terms[-4:]), None), known.name
        assert len(terms) < 10 or continuation(known, terms[:-4], 4), known.name
        assert continuation(known, (*terms[:-5], terms[-5] + 1), 1) is None, known.name


def test_primes_are_those_of_a_sieve():
    numbers = set(range(2, 3000))
    for n in range(2, 55):
        numbers -= set(range(2 * n, 3000, n))
    assert {n for n in range(-3, 3000) if is_prime(n)} == numbers
    assert is_prime(2**61 - 1)
    assert not is_prime(3215031751)  # a strong pseudoprime to the bases 2, 3, 5 and 7


def test_known_sequences_by_other_definitions():
    of = {one.name: tuple(islice(one.terms(), 12)) for one in KNOWN}
    assert of["Bell numbers"][:7] == (1, 1, 2, 5, 15, 52, 203)
    assert of["partitions of n"][:9] == (1, 1, 2, 3, 5, 7, 11, 15, 22)
    assert of["Motzkin numbers"][:8] == (1, 1, 2, 4, 9, 21, 51, 127)
    assert of["derangements"] == tuple(
        sum((-1) ** k * math.factorial(n) // math.factorial(k) for k in range(n + 1)) for n in range(12)
    )
    assert of["Catalan numbers"] == tuple(math.comb(2 * n, n) - math.comb(2 * n, n + 1) for n in range(12))
    assert of["Ulam numbers"] == (1, 2, 3, 4, 6, 8, 11, 13, 16, 18, 26, 28)
    assert of["Recamán's sequence"] == (0, 1, 3, 6, 2, 7, 13, 20, 12, 21, 11, 22)
    assert of["Kolakowski sequence"] == (1, 2, 2, 1, 1, 2, 1, 2, 2, 1, 2, 2)
    assert of["Golomb's sequence"] == (1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 6)
    assert of["Hofstadter's Q"] == (1, 1, 2, 3, 3, 4, 5, 5, 6, 6, 6, 8)
    assert of["perfect numbers"][:5] == (6, 28, 496, 8128, 33550336)
    assert of["digits of e"] == (2, 7, 1, 8, 2, 8, 1, 8, 2, 8, 4, 5)
    assert of["digits of π"] == (3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8)
    assert of["digits of √2"] == (1, 4, 1, 4, 2, 1, 3, 5, 6, 2, 3, 7)
    assert of["digits of the golden ratio"] == (1, 6, 1, 8, 0, 3, 3, 9, 8, 8, 7, 4)
    assert of["Pell numbers"][-1] == 2 * of["Pell numbers"][-2] + of["Pell numbers"][-3]


def test_functions_and_properties_by_other_definitions():
    of = {one.name: tuple(islice(one.terms(), 12)) for one in ARITHMETIC if not one.name.startswith("primes among")}
    assert of["Thue–Morse sequence"][:8] == (0, 1, 1, 0, 1, 0, 0, 1)
    assert of["prime powers"] == (2, 3, 4, 5, 7, 8, 9, 11, 13, 16, 17, 19)
    assert of["lucky numbers"] == (1, 3, 7, 9, 13, 15, 21, 25, 31, 33, 37, 43)
    assert of["happy numbers"] == (1, 7, 10, 13, 19, 23, 28, 31, 32, 44, 49, 68)
    assert of["abundant numbers"] == (12, 18, 20, 24, 30, 36, 40, 42, 48, 54, 56, 60)
    assert of["sums of two squares"] == (0, 1, 2, 4, 5, 8, 9, 10, 13, 16, 17, 18)
    assert of["Möbius function of n"] == (1, -1, -1, 0, -1, 1, -1, 0, 0, 1, -1, 0)
    assert of["paper folding"] == (1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0)
    assert of["n in Gray code"] == (0, 1, 3, 2, 6, 7, 5, 4, 12, 13, 15, 14)
    assert of["number of primes up to n"] == (0, 0, 1, 2, 2, 3, 3, 4, 4, 4, 4, 5)
    assert of["differences of the primes"] == (1, 2, 2, 4, 2, 4, 2, 4, 6, 2, 6, 4)
