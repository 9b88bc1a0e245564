"""Rules outside the prior: each kind on a sequence of its own, and what is too little to confirm one."""

from __future__ import annotations

import math
import random
from itertools import combinations, islice, permutations, product, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestguess.integers.outside.curious import CURIOUS
from bestguess.integers.outside.derived import DERIVED
from bestguess.integers.outside.evidence import LARGEST, LEAST, plain
from bestguess.integers.outside.known import KNOWN, Known, continuation, is_prime
from bestguess.integers.outside.names import RARER
from bestguess.integers.outside.rules import named_rules, outside_rules


@pytest.fixture(scope="module")
def of():
    """The first twelve terms of each name, fewer where fewer are known."""
    return {one.name: tuple(islice(one.terms(), 12)) for one in (*KNOWN, *RARER, *DERIVED)}


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
        ((5, 52, 523, 5234, 52345), "a(n) = 10·a(n−1) + n", (523456, 5234567)),
        ((3, 5, 17, 257, 65537), "a(n) = a(n−1)² − 2·a(n−1) + 2", (2**32 + 1, 2**64 + 1)),
        ((2, 3, 6, 18, 108, 1944), "a(n) = a(n−1)·a(n−2)", (209952, 408146688)),
        ((1, 2, 6, 22, 90, 394, 1806), "n·a(n) = (6·n − 9)·a(n−1) − (n − 3)·a(n−2)", (8558, 41586)),
        ((2, 3, 5, 11, 26, 70, 200, 620), "a(n) = a(n−1) + (n − 2)·a(n−2)", (2020, 6980)),
        ((1, 0, 2, 1, 4, 7, 14, 26, 51, 98), "a(n) = a(n−1) + a(n−2) + a(n−3) + a(n−4)", (189, 364)),
        ((6, 3, 10, 5, 16, 8, 4), "a(n) = 1/2·a(n−1) if a(n−1) is even, else 3·a(n−1) + 1", (2, 1)),
        ((0, 3, 3, 6, 3, 9, 6, 9, 3), "a(2n) = a(n), a(2n+1) = a(n) + a(n+1), from a(0) = 0", (12, 9)),
        ((1, 1, 2, 5, 14, 42, 132), "Catalan numbers", (429, 1430)),
        ((2, 2, 6, 26, 150, 1082, 9366), "a(n) = Σ C(n, k)·a(k), from a(0)", (94586, 1091670)),
        ((1, 1, 1, 2, 5, 16, 61), "Euler zigzag numbers", (272, 1385)),
        ((4, 9, 25, 49, 121, 169), "squares of 2, 3, 5, 7, …: primes", (289, 361)),
        ((5, 12, 33, 68, 140, 270), "n times b(n), b: a(n) = a(n−1) + a(n−2)", (511, 944)),
        ((2, 4, 4, 8, 8, 8, 16, 16, 16, 16, 32, 32), "runs of 1, 2, 3, 4, … terms each (a(n) = n)", (32, 32)),
        ((1, 1, 2, 1, 2, 3, 1, 2, 3), "the first 1, 2, 3, 3, … terms of 1, 2, 3, …", (4, 1)),
        ((3, 7, 31, 127, 8191), "primes among the 2ⁿ − 1", (131071, 524287)),
        ((2, 3, 2, 5, 2, 7, 2, 3, 2), "smallest prime factor of n", (11, 2)),
        ((0, 3, 5, 6, 9, 10, 12), "numbers with an even number of ones in binary", (15, 17)),
        ((3, 1, 4, 1, 5, 9, 2), "digits of π", (6, 5)),
        ((1, 3, 16, 125, 1296), "forests of labelled rooted trees", (16807, 262144)),
        ((3, 25, 343, 6561), "a(n) = (2·n + 1)^(n)", (161051, 4826809)),
        ((2, 2, 6, 8, 30, 48, 210), "a(n) = n·a(n−2)", (384, 1890)),
        ((4, 24, 120, 560, 2520, 11088), "(n − 1)·a(n) = (4·n − 2)·a(n−1)", (48048, 205920)),
        ((1, 2, 1, 3, 2, 1, 4, 3), "backwards, of 1, 2, 3, 4, …", (2, 1)),
        ((1, 3, 1, 9, 6, 1, 27, 27, 9, 1), "T(n, k) = T(n−1, k−1) + 3·T(n−1, k)", (81, 108)),
        ((7, 1, 4, 6, 8, 9, 10), "7, then numbers that are not prime", (12, 14)),
        ((9, 13, 21, 29, 45, 53, 69), "4·b(n) + 1, b: primes", (77, 93)),
        ((6, 15, 35, 77, 143, 221), "products of two neighbours of the primes", (323, 437)),
        ((1, 1, 2, 3, 5, 8, 3, 1, 4), "Fibonacci numbers modulo 10", (5, 9)),
        ((1, 2, 4, 8, 7, 5, 10, 11, 13), "sums of the digits of the powers of 2", (8, 7)),
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


@pytest.mark.parametrize("listed", [KNOWN, RARER[::3], DERIVED[::29]], ids=["known", "rarer", "derived"])
def test_a_named_sequence_is_found_again_and_grows_no_holes(listed):
    for known in listed:
        terms = tuple(islice(takewhile(lambda term: abs(term) < LARGEST, known.terms()), 12))
        if len(terms) < 10 or len(set(terms[:-3])) == 1:  # of Fermat's primes and their like few are known
            continue
        assert continuation(known, terms[:-3], 3) == (0, terms[-3:]), known.name
        assert continuation(known, (*terms[:-4], terms[-4] + 1), 1) is None, known.name


def test_what_ascends_does_and_no_name_is_given_twice():
    for known in (*KNOWN, *RARER, *DERIVED):
        terms = tuple(islice(known.terms(), 12))
        assert not known.ascending or list(terms) == sorted(terms), known.name
        assert known.most is None or max(terms) <= known.most, known.name
    names = [known.name for known in (*KNOWN, *RARER, *DERIVED)]
    assert len(set(names)) == len(names)


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


def test_functions_and_properties_by_other_definitions(of):
    assert of["Thue–Morse sequence"][:8] == (0, 1, 1, 0, 1, 0, 0, 1)
    assert of["powers of primes"] == (1, 2, 3, 4, 5, 7, 8, 9, 11, 13, 16, 17)
    assert of["lucky numbers"] == (1, 3, 7, 9, 13, 15, 21, 25, 31, 33, 37, 43)
    assert of["happy numbers"] == (1, 7, 10, 13, 19, 23, 28, 31, 32, 44, 49, 68)
    assert of["abundant numbers"] == (12, 18, 20, 24, 30, 36, 40, 42, 48, 54, 56, 60)
    assert of["sums of two squares"] == (0, 1, 2, 4, 5, 8, 9, 10, 13, 16, 17, 18)
    assert of["Möbius function of n"] == (1, -1, -1, 0, -1, 1, -1, 0, 0, 1, -1, 0)
    assert of["paper folding"] == (1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0)
    assert of["n in Gray code"] == (0, 1, 3, 2, 6, 7, 5, 4, 12, 13, 15, 14)
    assert of["number of primes up to n"] == (0, 0, 1, 2, 2, 3, 3, 4, 4, 4, 4, 5)
    assert of["differences of the primes"] == (1, 2, 2, 4, 2, 4, 2, 4, 6, 2, 6, 4)
    assert of["numbers that are no squares"] == (2, 3, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15)
    assert of["1 for triangular numbers, else 0"] == (1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0)
    assert of["Van Eck's sequence"] == (0, 0, 1, 0, 2, 0, 2, 2, 1, 6, 0, 5)
    assert of["Euler's totient of n"] == tuple(sum(math.gcd(k, n) == 1 for k in range(1, n + 1)) for n in range(1, 13))


def test_what_is_counted_by_counting(of):
    """Trees and graphs, necklaces, partitions: few enough to be listed one by one."""
    for n in range(1, 7):
        words = set(product((0, 1), repeat=n))
        turned = {min(word[i:] + word[:i] for i in range(n)) for word in words}
        assert of["necklaces of n beads of 2 colours"][n] == len(turned)
        flipped = {min(min(w[i:] + w[:i], (w[i:] + w[:i])[::-1]) for i in range(n)) for w in words}
        assert of["bracelets of n beads of 2 colours"][n] == len(flipped)
        assert of["Lyndon words of length n"][n] == sum(len({w[i:] + w[:i] for i in range(n)}) == n for w in turned)
    for n in range(5):
        pairs = list(combinations(range(n), 2))
        graphs = set()
        for chosen in product((0, 1), repeat=len(pairs)):
            edges = [pair for pair, one in zip(pairs, chosen) if one]
            moved = (sorted(tuple(sorted((p[a], p[b]))) for a, b in edges) for p in permutations(range(n)))
            graphs.add(tuple(min(moved)))
        assert of["graphs of n nodes"][n] == len(graphs)
    assert of["trees of n nodes"] == (1, 1, 1, 1, 2, 3, 6, 11, 23, 47, 106, 235)
    assert of["partitions of n into different parts"] == (1, 1, 1, 2, 2, 3, 4, 5, 6, 8, 10, 12)
    assert of["ordered partitions of a set"][:6] == (1, 1, 3, 13, 75, 541)
    assert of["Kendall–Mann numbers"][:5] == (1, 1, 2, 6, 22)
    assert of["tangent numbers"][:5] == (1, 2, 16, 272, 7936)
    assert of["Catalan's triangle, by rows"][:10] == (1, 1, 1, 1, 2, 2, 1, 3, 5, 5)
    assert of["falling factorials of n, by rows"][:10] == tuple(math.perm(n, k) for n in range(4) for k in range(n + 1))
    assert of["Lucas' triangle, by rows"] == (2, 1, 2, 1, 3, 2, 1, 4, 5, 2, 1, 5)  # its diagonals' sums: 2, 1, 3, 4, 7
    assert of["Fine numbers"] == (1, 0, 1, 2, 6, 18, 57, 186, 622, 2120, 7338, 25724)


def test_partitions_into_fibonacci_numbers_have_all_of_them():
    (known,) = (one for one in RARER if one.name == "partitions of n into Fibonacci numbers")
    ways = [1] + [0] * 299
    for part in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233):
        for n in range(part, 300):
            ways[n] += ways[n - part]
    assert list(islice(known.terms(), 300)) == ways


@pytest.mark.parametrize("known", [one for one in CURIOUS if one.name.startswith(("digits of", "continued"))])
def test_digits_and_continued_fractions_are_those_of_the_constants(known: Known):
    e, pi = math.e, math.pi
    values = {
        "√3": 3**0.5, "√5": 5**0.5, "√7": 7**0.5, "√10": 10**0.5, "∛2": 2 ** (1 / 3), "log 2": math.log(2),
        "log 3": math.log(3), "log 10": math.log(10), "Euler's γ": 0.5772156649015329, "ζ(3)": 1.2020569031595942,
        "π": pi, "e": e, "π/2": pi / 2, "2π": 2 * pi, "π/4": pi / 4, "π²/6": pi**2 / 6, "1/π": 1 / pi, "1/e": 1 / e,
    }  # fmt: skip
    value = values[known.name.split(" of ")[1]]
    terms = list(islice(known.terms(), 20))
    if known.name.startswith("digits"):
        assert "".join(map(str, terms[:10])) == f"{value:.13f}".replace(".", "").lstrip("0")[:10]
    else:
        told = terms[-1]
        for term in terms[-2::-1]:
            told = term + 1 / told
        assert told == pytest.approx(value, abs=1e-7)
