"""Sequences that count: partitions of kinds, trees, graphs, necklaces, permutations; each from its definition."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import accumulate, count

from bestguess.integers.outside.arithmetic import divisors, moebius, totient
from bestguess.integers.outside.known import Known, is_prime, polynomial, prefixes

Terms = Callable[[], Iterator[int]]
_PARTITIONED = 26
"""Terms of what is counted by going through the partitions of n."""


def partitions(parts: Callable[[int], Sequence[int]], once: bool = False) -> Terms:
    """Return the number of partitions of 0, 1, 2, … into parts, of which parts(n) are those below n, each as often as
    one likes or once."""

    def of(n: int) -> list[int]:
        ways = [1] + [0] * (n - 1)
        for part in parts(n):
            for i in range(n - 1, part - 1, -1) if once else range(part, n):
                ways[i] += ways[i - part]
        return ways

    return prefixes(of)


def _below(of: Callable[[int], int]) -> Callable[[int], list[int]]:
    """The values of an ascending function at 1, 2, … that are below n."""

    def parts(n: int) -> list[int]:
        found: list[int] = []
        for i in count(1):
            if of(i) >= n:
                return found
            found.append(of(i))
        return found

    return parts


def _fibonacci(n: int) -> int:
    """1, 2, 3, 5, …: each once."""
    a, b = 1, 1
    for _ in range(n):
        a, b = b, a + b
    return a


def _these(parts: Sequence[int]) -> Callable[[int], Sequence[int]]:
    return lambda n: parts


def _primes_below(n: int) -> list[int]:
    return [i for i in range(2, n) if is_prime(i)]


def necklaces(colours: int) -> Callable[[int], int]:
    """Return the number of necklaces of n beads, by Burnside's lemma: (1/n) Σ_{d | n} φ(d)·colours^(n/d)."""
    return lambda n: sum(totient(d) * colours ** (n // d) for d in divisors(n)) // n if n else 1


def _bracelets(n: int) -> int:
    flipped = 2 ** ((n + 1) // 2) if n % 2 else 3 * 2 ** (n // 2) // 2
    return (necklaces(2)(n) + flipped) // 2 if n else 1


def _lyndon(n: int) -> int:
    return sum(moebius(d) * 2 ** (n // d) for d in divisors(n)) // n if n else 1


def _odd_only(weight: Callable[[int], int], over: int) -> Callable[[int], int]:
    """(1/(over·n)) Σ over the odd divisors d of n of weight(d)·2^(n/d)."""
    return lambda n: sum(weight(d) * 2 ** (n // d) for d in divisors(n) if d % 2) // (over * n) if n else 1


def _rooted(n: int) -> list[int]:
    """Rooted trees of 0 to n − 1 nodes: m·r(m+1) = Σ_k (Σ_{d | k} d·r(d))·r(m − k + 1)."""
    found, sums = [0, 1], [0]
    for m in range(1, n - 1):
        sums.append(sum(d * found[d] for d in divisors(m)))
        found.append(sum(sums[k] * found[m - k + 1] for k in range(1, m + 1)) // m)
    return found[:n]


def _trees(n: int) -> list[int]:
    """Trees of 0 to n − 1 nodes, by Otter: T(x) = 1 + R(x) − (R(x)² − R(x²))/2."""
    rooted = _rooted(n)
    found = [1]
    for m in range(1, n):
        pairs = sum(rooted[i] * rooted[m - i] for i in range(m + 1))
        found.append(rooted[m] - (pairs - (rooted[m // 2] if m % 2 == 0 else 0)) // 2)
    return found


def _binary_trees(n: int) -> list[int]:
    """Wedderburn–Etherington: unordered binary trees of n leaves."""
    found = [0, 1]
    for m in range(2, n):
        half = sum(found[i] * found[m - i] for i in range(1, (m + 1) // 2))
        found.append(half + (found[m // 2] * (found[m // 2] + 1) // 2 if m % 2 == 0 else 0))
    return found[:n]


def _integer_partitions(n: int, most: int) -> Iterator[list[int]]:
    if n == 0:
        yield []
    for part in range(min(n, most), 0, -1):
        for rest in _integer_partitions(n - part, part):
            yield [part, *rest]


def _burnside(cycles: Callable[[list[int]], int], base: int = 2) -> Callable[[int], int]:
    """The mean over the permutations of n nodes of base^cycles, the cycles of the pairs that a permutation moves."""

    def of(n: int) -> int:
        total = Fraction(0)
        for cycle in _integer_partitions(n, n):
            same = math.prod(part**many * math.factorial(many) for part, many in Counter(cycle).items())
            total += Fraction(base ** cycles(cycle), same)
        return int(total)

    return of


def _soon(of: Callable[[int], int]) -> Terms:
    """The values at 0, 1, … as far as the partitions of n are soon gone through."""
    return lambda: map(of, range(_PARTITIONED))


def _across(cycle: list[int]) -> int:
    return sum(math.gcd(a, b) for i, a in enumerate(cycle) for b in cycle[:i])


def _tournaments(n: int) -> int:
    total = Fraction(0)
    for cycle in _integer_partitions(n, n):
        if all(part % 2 for part in cycle):
            same = math.prod(part**many * math.factorial(many) for part, many in Counter(cycle).items())
            total += Fraction(2 ** (_across(cycle) + sum(part // 2 for part in cycle)), same)
    return int(total)


def _connected(terms: Terms) -> Terms:
    """The connected ones, by the inverse of Euler's transform."""

    def own() -> Iterator[int]:
        every = [1]
        yield 1
        all_, found, sums = terms(), [0], [0]
        next(all_)
        for n in count(1):
            following = next(all_, None)
            if following is None:
                return
            every.append(following)
            sums.append(n * every[n] - sum(sums[k] * every[n - k] for k in range(1, n)))
            found.append((sums[n] - sum(d * found[d] for d in divisors(n)[:-1])) // n)
            yield found[n]

    return own


def _labelled(n: int) -> int:
    """All labelled graphs of n nodes."""
    return 2 ** (n * (n - 1) // 2)


def _labelled_connected() -> Iterator[int]:
    yield 1
    found = [1]
    for n in count(1):
        less = sum(k * math.comb(n, k) * _labelled(n - k) * found[k] for k in range(1, n))
        found.append(_labelled(n) - less // n)
        yield found[n]


def _labelled_acyclic() -> Iterator[int]:
    found: list[int] = []
    for n in count():
        ways = sum((-1) ** (k + 1) * math.comb(n, k) * 2 ** (k * (n - k)) * found[n - k] for k in range(1, n + 1))
        found.append(ways if n else 1)
        yield found[n]


def _zigzag() -> Iterator[int]:
    """1, 1, 1, 2, 5, 16, …, by the boustrophedon."""
    row = [1]
    while True:
        yield row[-1]
        row = list(accumulate(reversed(row), initial=0))


def _every_second(first: int) -> Callable[[], Iterator[int]]:
    return lambda: (one for i, one in enumerate(_zigzag()) if i % 2 == first)


def _genocchi() -> Iterator[int]:
    """1, 1, 3, 17, 155, …: tangent numbers times n/2^(2n − 2)."""
    return (one * n // 4 ** (n - 1) for n, one in enumerate(_every_second(1)(), 1))


def bernoulli() -> Iterator[Fraction]:
    """Yield B₀, B₁ = −1/2, B₂, …"""
    found: list[Fraction] = []
    for n in count():
        rest = sum((math.comb(n + 1, k) * one for k, one in enumerate(found)), Fraction(0))
        found.append(Fraction(1) if n == 0 else -rest / (n + 1))
        yield found[-1]


def _harmonic() -> Iterator[Fraction]:
    return accumulate(Fraction(1, n) for n in count(1))


def recurrence(first: Sequence[int], following: Callable[[list[int], int], int]) -> Terms:
    """Return the sequence that begins with `first` and goes on with following(the terms before, n), n from 0."""

    def terms() -> Iterator[int]:
        past = list(first)
        yield from past
        while True:
            past.append(following(past, len(past)))
            yield past[-1]

    return terms


def _inversions(n: int) -> int:
    """The most permutations of n that share a number of inversions."""
    row = [1]
    for k in range(2, n + 1):
        row = [sum(row[max(0, i - k + 1) : i + 1]) for i in range(len(row) + k - 1)]
    return max(row)


def _menage(n: int) -> int:
    if n < 2:
        return 1 - n
    return sum((-1) ** k * 2 * n * math.comb(2 * n - k, k) * math.factorial(n - k) // (2 * n - k) for k in range(n + 1))


def _robbins(n: int) -> int:
    of = [(math.factorial(3 * k + 1), math.factorial(n + k)) for k in range(n)]
    return math.prod(a for a, _ in of) // math.prod(b for _, b in of)


def _signed_bell(n: int) -> int:
    row = [1]
    for _ in range(n):
        row = [(row[k - 1] if k else 0) * -1 + (row[k] * k if k < len(row) else 0) for k in range(len(row) + 1)]
    return sum(row)


def _over_k(of: Callable[[int, int], int]) -> Callable[[int], int]:
    return lambda n: sum(of(n, k) for k in range(n + 1))


C = math.comb
_LISTED: tuple[tuple[str, Terms], ...] = (
    ("partitions of n into different parts", partitions(lambda n: range(1, n), once=True)),
    ("partitions of n into primes", partitions(_primes_below)),
    ("partitions of n into different primes", partitions(_primes_below, once=True)),
    ("partitions of n into squares", partitions(_below(lambda i: i**2))),
    ("partitions of n into different squares", partitions(_below(lambda i: i**2), once=True)),
    ("partitions of n into triangular numbers", partitions(_below(lambda i: i * (i + 1) // 2))),
    ("partitions of n into powers of 2", partitions(_below(lambda i: 2 ** (i - 1)))),
    ("partitions of 2n into powers of 2", recurrence((1,), lambda past, n: past[-1] + past[n // 2])),
    ("partitions of n into Fibonacci numbers", partitions(_below(_fibonacci))),
    ("plane partitions of n", partitions(lambda n: [i for i in range(1, n) for _ in range(i)])),
    ("partitions of n into parts of two kinds", partitions(lambda n: [i for i in range(1, n) for _ in range(2)])),
    *((f"partitions of n into at most {k} parts", partitions(_these(range(1, k + 1)))) for k in range(3, 7)),
    *(
        (f"ways to pay n with coins of {', '.join(map(str, coins))}", partitions(_these(coins)))
        for coins in ((1, 2, 5, 10), (1, 5, 10, 25), (1, 2, 5), (1, 5, 10), (1, 2, 5, 10, 20, 50, 100, 200))
    ),
    ("rooted trees of n nodes", prefixes(_rooted)),
    ("trees of n nodes", prefixes(_trees)),
    ("Wedderburn–Etherington numbers", prefixes(_binary_trees)),
    ("graphs of n nodes", _soon(_burnside(lambda cycle: _across(cycle) + sum(part // 2 for part in cycle)))),
    ("directed graphs of n nodes", _soon(_burnside(lambda c: 2 * _across(c) + sum(c) - len(c)))),
    ("relations on n nodes", _soon(_burnside(lambda c: 2 * _across(c) + sum(c)))),
    ("tournaments of n nodes", _soon(_tournaments)),
    (
        "connected graphs of n nodes",
        _connected(_soon(_burnside(lambda cycle: _across(cycle) + sum(part // 2 for part in cycle)))),
    ),
    ("connected labelled graphs of n nodes", _labelled_connected),
    ("labelled acyclic directed graphs of n nodes", _labelled_acyclic),
    *((f"necklaces of n beads of {k} colours", polynomial(necklaces(k))) for k in (2, 3, 4)),
    ("bracelets of n beads of 2 colours", polynomial(_bracelets)),
    ("Lyndon words of length n", polynomial(_lyndon)),
    ("outputs of a shift register of n stages", polynomial(_odd_only(totient, 2))),
    ("necklaces of n beads of 2 colours that may be exchanged", polynomial(lambda n: _exchanged(n))),
    ("self-dual Lyndon words of length 2n", polynomial(_odd_only(moebius, 2))),
    ("Euler zigzag numbers", _zigzag),
    ("tangent numbers", _every_second(1)),
    ("secant numbers", _every_second(0)),
    ("Genocchi numbers", _genocchi),
    ("numerators of the Bernoulli numbers", lambda: (one.numerator for one in bernoulli())),
    ("denominators of the Bernoulli numbers", lambda: (one.denominator for one in bernoulli())),
    ("denominators of B₂ₙ", lambda: (one.denominator for i, one in enumerate(bernoulli()) if i % 2 == 0)),
    ("numerators of B₂ₙ", lambda: (one.numerator for i, one in enumerate(bernoulli()) if i % 2 == 0)),
    ("numerators of the harmonic numbers", lambda: (one.numerator for one in _harmonic())),
    ("denominators of the harmonic numbers", lambda: (one.denominator for one in _harmonic())),
    ("ordered partitions of a set", polynomial(_over_k(lambda n, k: _surjections(n, k)))),
    ("little Schröder numbers", recurrence((1, 1), lambda p, n: ((6 * n - 3) * p[-1] - (n - 2) * p[-2]) // (n + 1))),
    ("Schröder's fourth problem", recurrence((0, 1), lambda past, n: _fourth(past, n))),
    ("central Delannoy numbers", polynomial(_over_k(lambda n, k: C(n, k) * C(n + k, k)))),
    ("central trinomial coefficients", polynomial(_over_k(lambda n, k: C(n, 2 * k) * C(2 * k, k)))),
    ("Franel numbers", polynomial(_over_k(lambda n, k: C(n, k) ** 3))),
    ("Apéry numbers", polynomial(_over_k(lambda n, k: (C(n, k) * C(n + k, k)) ** 2))),
    ("Apéry numbers for ζ(2)", polynomial(_over_k(lambda n, k: C(n, k) ** 2 * C(n + k, k)))),
    ("Domb numbers", polynomial(_over_k(lambda n, k: C(n, k) ** 2 * C(2 * k, k) * C(2 * n - 2 * k, n - k)))),
    ("arrangements of n things", polynomial(_over_k(lambda n, k: math.perm(n, k)))),
    ("partial permutations", polynomial(_over_k(lambda n, k: C(n, k) ** 2 * math.factorial(k)))),
    ("sets of lists", polynomial(lambda n: _over_k(lambda m, k: C(m - 1, k - 1) * _q(m, k) if k else int(m == 0))(n))),
    ("idempotent maps", polynomial(_over_k(lambda n, k: C(n, k) * k ** (n - k)))),
    ("involutions", recurrence((1, 1), lambda past, n: past[-1] + (n - 1) * past[-2])),
    ("permutations of order 2", recurrence((0, 0), lambda p, n: p[-1] + (n - 1) * (1 + p[-2]))),
    ("sums of the first factorials", polynomial(lambda n: sum(math.factorial(k) for k in range(n)))),
    ("alternating factorials", recurrence((0,), lambda past, n: math.factorial(n) - past[-1])),
    ("superfactorials", polynomial(lambda n: math.prod(map(math.factorial, range(n + 1))))),
    ("hyperfactorials", polynomial(lambda n: math.prod(k**k for k in range(1, n + 1)))),
    ("Kendall–Mann numbers", polynomial(_inversions, 1)),
    ("ménage numbers", polynomial(_menage)),
    ("alternating sign matrices", polynomial(_robbins)),
    ("Uppuluri–Carpenter numbers", polynomial(_signed_bell)),
    ("Riordan numbers", recurrence((1, 0), lambda p, n: (n - 1) * (2 * p[-1] + 3 * p[-2]) // (n + 1))),
    ("Fine numbers", recurrence((1, 0), lambda p, n: (C(2 * n, n) // (n + 1) - p[-1]) // 2)),
    ("forests of labelled rooted trees", polynomial(lambda n: (n + 1) ** max(0, n - 1))),
    ("labelled trees", polynomial(lambda n: n ** max(0, n - 2))),
    ("labelled rooted trees", polynomial(lambda n: n ** max(0, n - 1) if n else 0)),
    ("switching functions of n variables", polynomial(lambda n: 2 ** (2**n))),
)


def _q(n: int, k: int) -> int:
    return math.factorial(n) // math.factorial(k)


def _exchanged(n: int) -> int:
    """(1/(2n)) Σ_{d | n} φ(2d)·2^(n/d)."""
    return sum(totient(2 * d) * 2 ** (n // d) for d in divisors(n)) // (2 * n) if n else 1


def _surjections(n: int, k: int) -> int:
    return sum((-1) ** j * C(k, j) * (k - j) ** n for j in range(k + 1))


def _fourth(past: list[int], n: int) -> int:
    """Total partitions of n labelled leaves: 2·A = exp(A) − 1 + x, solved term by term."""
    known = [Fraction(one, math.factorial(i)) for i, one in enumerate(past)] + [Fraction(0)]
    total, power = Fraction(0), [Fraction(1)] + [Fraction(0)] * n
    for k in range(1, n + 1):
        power = [sum((power[i] * known[m - i] for i in range(m + 1)), Fraction(0)) for m in range(n + 1)]
        total += power[n] / math.factorial(k) if k > 1 else 0
    return int(total * math.factorial(n))


COUNTS = tuple(Known(name, terms, more=4.0) for name, terms in _LISTED)
