"""The short tables of what others counted, against the first terms counted again, each by its definition."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import combinations, permutations, product

import pytest

from bestguess.integers.outside.tables import TABLES

TABLE = {known.name: list(known.terms()) for known in TABLES}


def orbits(things: Iterable, images: Callable) -> int:
    """Return how many of some things there are where each is the same as its images."""
    left, found = set(things), 0
    while left:
        found += 1
        left -= set(images(left.pop()))
    return found


# ------------------------------------------------------------------------------------------------ groups and rings


def isomorphisms(one: tuple, other: tuple) -> Iterator[tuple[int, ...]]:
    """Yield the isomorphisms of two groups, given by their tables of products in which 0 is the unit."""
    generators: list[int] = []
    while len(reached := spanned(one, {g: g for g in generators}, one) or ()) < len(one):
        generators.append(next(g for g in range(len(one)) if g not in reached))
    kinds, others = (kinds_of(table) for table in (one, other))
    for images in product(*([x for x, kind in enumerate(others) if kind == kinds[g]] for g in generators)):
        found = spanned(one, dict(zip(generators, images)), other)
        if found and len(set(found.values())) == len(one):
            yield tuple(found[g] for g in range(len(one)))


def spanned(one: tuple, images: dict[int, int], other: tuple) -> dict[int, int] | None:
    """Return the homomorphism that these images of generators have, where they span; None where they have none."""
    found, new = {0: 0}, [0]
    for x in new:
        for g, image in images.items():
            y, z = one[x][g], other[found[x]][image]
            if found.setdefault(y, z) != z:
                return None
            if y not in new:
                new.append(y)
    return found


def groups(n: int) -> list[tuple]:
    """Return the groups of n < 60 elements: all are soluble, a cyclic extension of prime index of a smaller one.

    With a normal N, t outside and tᵖ = a in N: σ(y) = t·y·t⁻¹ has σ(a) = a and σᵖ(y) = a·y·a⁻¹.
    """
    if n == 1:
        return [((0,),)]
    found: dict[tuple, list[tuple]] = {}
    for p in (p for p in range(2, n + 1) if n % p == 0 and all(p % d for d in range(2, p))):
        for N in groups(n // p):
            for sigma in isomorphisms(N, N):
                powers = [tuple(range(len(N)))]
                for _ in range(p):
                    powers.append(tuple(sigma[y] for y in powers[-1]))
                for a in range(len(N)):
                    if sigma[a] == a and all(N[powers[p][y]][a] == N[a][y] for y in range(len(N))):
                        table = extension(N, p, powers, a)
                        same = found.setdefault(tuple(sorted(kinds_of(table))), [])
                        if not any(next(isomorphisms(table, one), None) for one in same):
                            same.append(table)
    return [table for same in found.values() for table in same]


def extension(N: tuple, p: int, powers: list[tuple[int, ...]], a: int) -> tuple:
    def times(left: int, right: int) -> int:
        (i, x), (j, y) = divmod(left, len(N)), divmod(right, len(N))
        both = N[x][powers[i][y]]
        return (i + j) % p * len(N) + (N[both][a] if i + j >= p else both)

    return tuple(tuple(times(left, right) for right in range(p * len(N))) for left in range(p * len(N)))


def kinds_of(table: tuple) -> list[tuple[int, int, int]]:
    """Return each element's order, how many commute with it, and how many have it as their square."""

    def order(x: int) -> int:
        power, many = x, 1
        while power:
            power, many = table[power][x], many + 1
        return many

    every = range(len(table))
    squares = Counter(table[x][x] for x in every)
    return [(order(x), sum(table[x][y] == table[y][x] for y in every), squares[x]) for x in every]


def permutation_groups(n: int) -> tuple[int, int]:
    """Return how many groups of permutations of n ≤ 5 things are transitive, and primitive, up to renaming."""
    every = list(permutations(range(n)))
    after = {(f, g): tuple(f[i] for i in g) for f in every for g in every}
    found = set()
    for pair in product(every, repeat=2):  # two generate any of them
        group = {tuple(range(n))}
        new = list(group)
        for one in new:
            for generator in pair:
                if (both := after[generator, one]) not in group:
                    group.add(both)
                    new.append(both)
        if len({one[0] for one in group}) == n:
            found.add(frozenset(group))
    inverse = {f: tuple(sorted(range(n), key=f.__getitem__)) for f in every}
    renamed = lambda group: (frozenset(after[after[f, one], inverse[f]] for one in group) for f in every)  # noqa: E731
    blocks = [set(block) for k in range(2, n) for block in combinations(range(n), k)]
    primitive = {
        group
        for group in found
        if not any(all({one[i] for i in b} == b or not {one[i] for i in b} & b for one in group) for b in blocks)
    }
    return orbits(found, renamed), orbits(primitive, renamed)


def rings(orders: tuple[int, ...]) -> tuple[int, int]:
    """Return how many rings there are on a sum of cyclic groups of these orders, and how many commute and have a 1.

    orders: powers of one prime.
    """
    elements = list(product(*map(range, orders)))
    basis = [tuple(int(i == j) for j in range(len(orders))) for i in range(len(orders))]

    def added(terms: Iterable[tuple[int, tuple[int, ...]]]) -> tuple[int, ...]:
        terms = list(terms)
        return tuple(sum(times * one[i] for times, one in terms) % order for i, order in enumerate(orders))

    zero = added([])
    pairs = list(product(range(len(orders)), repeat=2))
    possible = [[one for one in elements if added([(math.gcd(orders[i], orders[j]), one)]) == zero] for i, j in pairs]

    def times(table: dict, a: tuple, b: tuple) -> tuple[int, ...]:
        return added((a[i] * b[j], table[i, j]) for i, j in pairs)

    associative = []
    for values in product(*possible):
        table = dict(zip(pairs, values))
        if all(
            times(table, times(table, a, b), c) == times(table, a, times(table, b, c))
            for a, b, c in product(basis, repeat=3)
        ):
            associative.append(table)
    bases = []
    for images in product(elements, repeat=len(orders)):
        sums = {added(zip(x, images)): x for x in elements}
        if len(sums) == len(elements) and all(added([(m, one)]) == zero for m, one in zip(orders, images)):
            bases.append((images, sums))

    def renamed(values: tuple) -> Iterator[tuple]:
        table = dict(zip(pairs, values))
        return (tuple(sums[times(table, images[i], images[j])] for i, j in pairs) for images, sums in bases)

    with_one = [
        table
        for table in associative
        if all(table[i, j] == table[j, i] for i, j in pairs)
        and any(all(times(table, one, b) == b for b in basis) for one in elements)
    ]
    return tuple(orbits((tuple(one.values()) for one in some), renamed) for some in (associative, with_one))  # type: ignore[return-value]


def test_groups_and_rings():
    assert [len(groups(n)) for n in range(1, 16)] == TABLE["groups of order n"][:15]
    degrees = [permutation_groups(n) for n in range(1, 5)]
    assert [transitive for transitive, _ in degrees] == TABLE["transitive permutation groups of degree n"][:4]
    assert [primitive for _, primitive in degrees] == TABLE["primitive permutation groups of degree n"][:4]
    prime, cyclic, plane = rings((3,)), rings((4,)), rings((2, 2))
    of = {2: rings((2,)), 3: prime, 5: prime, 7: prime, 11: prime, 13: prime}
    of[4] = (cyclic[0] + plane[0], cyclic[1] + plane[1])
    for name, which in (("rings of order n", 0), ("commutative rings with 1 of order n", 1)):
        assert [of[n][which] for n in (2, 3, 4)] == TABLE[name][1:4]
        for n in (5, 6, 7, 10, 11, 12, 13, 14, 15):  # a ring is the product of those of its prime powers
            parts = [q for q in of if n % q == 0 and math.gcd(q, n // q) == 1]
            assert math.prod(parts) == n
            assert TABLE[name][n - 1] == math.prod(of[q][which] for q in parts)


def test_semigroups():
    for n in range(1, 4):
        pairs = list(product(range(n), repeat=2))
        tables = (dict(zip(pairs, values)) for values in product(range(n), repeat=n * n))
        found = {
            tuple(t[p] for p in pairs)
            for t in tables
            if all(t[t[a, b], c] == t[a, t[b, c]] for a, b, c in product(range(n), repeat=3))
        }

        def images(values, turned, n=n, pairs=pairs):
            t = dict(zip(pairs, values))
            for f in permutations(range(n)):
                moved = {(f[a], f[b]): f[t[a, b]] for a, b in pairs}
                yield tuple(moved[p] for p in pairs)
                if turned:
                    yield tuple(moved[b, a] for a, b in pairs)

        assert orbits(found, lambda one: images(one, False)) == TABLE["semigroups of order n"][n]
        assert orbits(found, lambda one: images(one, True)) == TABLE["semigroups of order n, up to reversal"][n]


# ------------------------------------------------------------------------------------- orders, squares, functions


def preorders(n: int) -> list[frozenset]:
    """Return the reflexive transitive relations of n labelled things, without their loops."""
    pairs = [(a, b) for a, b in product(range(n), repeat=2) if a != b]
    found = []
    for bits in range(2 ** len(pairs)):
        of = {pair for i, pair in enumerate(pairs) if bits >> i & 1}
        if all(a == d or (a, d) in of for a, b in of for c, d in of if b == c):
            found.append(frozenset(of))
    return found


def test_orders_and_topologies():
    for n in range(5):
        every = preorders(n)
        strict = [of for of in every if not any((b, a) in of for a, b in of)]
        renamed = lambda of, n=n: (frozenset((f[a], f[b]) for a, b in of) for f in permutations(range(n)))  # noqa: E731
        assert len(strict) == TABLE["partial orders of n labelled things"][n]
        assert orbits(strict, renamed) == TABLE["partial orders of n things"][n]
        assert len(every) == TABLE["topologies on n points"][n]
        assert orbits(every, renamed) == TABLE["topologies on n points, up to relabelling"][n]
    # A preorder is a partial order of the blocks of a partition: Σ S(n, k)·orders(k).
    stirling = [1]
    for total in TABLE["topologies on n points"]:
        orders = TABLE["partial orders of n labelled things"]
        assert total == sum(ways * orders[k] for k, ways in enumerate(stirling))
        stirling = [
            (stirling[k - 1] if k else 0) + (k * stirling[k] if k < len(stirling) else 0)
            for k in range(len(stirling) + 1)
        ]


def test_squares_and_queens():
    def completed(rows: tuple[tuple[int, ...], ...], n: int) -> int:
        if len(rows) == n:
            return 1
        columns = [set(column) for column in zip(*rows)]
        fitting = (row for row in permutations(range(n)) if row[0] == len(rows))
        return sum(completed((*rows, row), n) for row in fitting if not any(map(set.__contains__, columns, row)))

    reduced = [completed((tuple(range(n)),), n) if n else 1 for n in range(6)]
    assert reduced == TABLE["reduced Latin squares of order n"][:6]
    for n, all_ in enumerate(TABLE["Latin squares of order n"]):
        assert all_ == math.factorial(n) * math.factorial(max(0, n - 1)) * TABLE["reduced Latin squares of order n"][n]

    def queens(n: int, columns: tuple[int, ...] = ()) -> int:
        at = len(columns)
        free = (x for x in range(n) if all(x != y and abs(x - y) != at - i for i, y in enumerate(columns)))
        return 1 if at == n else sum(queens(n, (*columns, x)) for x in free)

    assert [queens(n) for n in range(9)] == TABLE["ways to place n queens"][:9]


def test_boolean_functions():
    # A monotone function of one variable more is two of which one is below the other; a function is a word of bits.
    functions, counts = [0, 1], [2]
    for n in range(5):
        pairs = ((f, g) for f in functions for g in functions if f & g == f)
        if n == 4:
            counts.append(sum(1 for _ in pairs))
            break
        functions = [f << 2**n | g for f, g in pairs]
        counts.append(len(functions))
    assert counts == TABLE["Dedekind numbers"][:6]
    for n, told in enumerate(TABLE["Boolean functions of n variables up to permutation"]):
        total = 0
        for moved in permutations(range(n)):
            left, cycles = set(product((0, 1), repeat=n)), 0
            while left:
                cycles, one = cycles + 1, left.pop()
                while (one := tuple(one[i] for i in moved)) in left:
                    left.remove(one)
            total += 2**cycles
        assert told == total // math.factorial(n)
    for n in range(4):
        points = list(product((-1, 1), repeat=n))
        weights = product(range(-2, 3), repeat=n)
        sums = ([sum(map(int.__mul__, w, x)) for x in points] for w in weights)
        found = {tuple(one > bound for one in row) for row in sums for bound in range(-7, 8)}
        assert len(found) == TABLE["threshold functions of n variables"][n]


# ----------------------------------------------------------------------------------------------- shapes and walks


def test_polyominoes():
    fixed = {frozenset({(0, 0)})}
    for n in range(1, 7):
        turned = lambda shape: [  # noqa: E731
            moved([(a * x, b * y) if straight else (a * y, b * x) for x, y in shape])
            for a, b, straight in product((1, -1), (1, -1), (True, False))
        ]
        rotated = lambda shape: [  # noqa: E731
            moved([one(x, y) for x, y in shape])
            for one in (lambda x, y: (x, y), lambda x, y: (-y, x), lambda x, y: (-x, -y), lambda x, y: (y, -x))
        ]
        assert len(fixed) == TABLE["polyominoes of n cells, fixed"][n - 1]
        assert orbits(fixed, turned) == TABLE["polyominoes of n cells"][n]
        assert orbits(fixed, rotated) == TABLE["polyominoes of n cells, one-sided"][n - 1]
        near = (
            (x + a, y + b, shape) for shape in fixed for x, y in shape for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))
        )
        fixed = {moved([*shape, (x, y)]) for x, y, shape in near if (x, y) not in shape}


def moved(cells: list[tuple[int, int]]) -> frozenset:
    left, low = min(x for x, _ in cells), min(y for _, y in cells)
    return frozenset((x - left, y - low) for x, y in cells)


def test_walks_and_meanders():
    def walks(n: int, path: tuple[tuple[int, ...], ...]) -> int:
        if n == 0:
            return 1
        steps = (
            tuple(one + d * (i == j) for j, one in enumerate(path[-1])) for i in range(len(path[-1])) for d in (1, -1)
        )
        return sum(walks(n - 1, (*path, step)) for step in steps if step not in path)

    assert [walks(n, ((0, 0),)) for n in range(8)] == TABLE["self-avoiding walks on the square lattice"][:8]
    assert [walks(n, ((0, 0, 0),)) for n in range(5)] == TABLE["self-avoiding walks on the cubic lattice"][:5]

    def arches(low: int, high: int) -> Iterator[dict[int, int]]:
        """Arches over low, …, high − 1 that do not cross, as the other foot of each."""
        if low == high:
            yield {}
        for foot in range(low + 1, high, 2):
            for inner, outer in product(arches(low + 1, foot), arches(foot + 1, high)):
                yield {low: foot, foot: low, **inner, **outer}

    def one_road(above: dict[int, int], below: dict[int, int]) -> bool:
        at, many = below[above[0]], 1
        while at:
            at, many = below[above[at]], many + 1
        return 2 * many == len(above)

    for n in range(1, 6):
        every = list(arches(0, 2 * n))
        rainbow = {i: 2 * n - 1 - i for i in range(2 * n)}
        assert sum(one_road(a, b) for a in every for b in every) == TABLE["meanders"][n]
        assert sum(one_road(a, rainbow) for a in every) == TABLE["semi-meanders"][n - 1]


def test_series_reduced_trees():
    """By Otter: trees are those with a node as root, less those with two different halves at an edge."""
    told = TABLE["series-reduced trees of n nodes"]
    planted, many = [0], [Fraction(1)]  # trees under an edge, no node of which has one child; multisets of them
    for m in range(1, len(told) + 1):
        planted.append(int(many[m - 1]) - planted[m - 1])
        sums = [sum(d * planted[d] for d in range(1, k + 1) if k % d == 0) for k in range(m + 1)]
        many.append(Fraction(sum((sums[k] * many[m - k] for k in range(1, m + 1)), Fraction(0)), m))

    def pairs(m: int, sign: int) -> int:
        """Pairs of planted trees with m nodes in all: with two equal ones (1), or without (-1)."""
        equal = planted[m // 2] if m % 2 == 0 else 0
        return (sum(planted[i] * planted[m - i] for i in range(m + 1)) + sign * equal) // 2

    rooted = [int(many[m]) - pairs(m, 1) for m in range(len(told))]
    assert [rooted[m - 1] - pairs(m, -1) for m in range(1, len(told) + 1)] == told


# ------------------------------------------------------------------------------------------------ primes, divisors


@pytest.fixture(scope="module")
def sieve():
    """Möbius' function and the sum of the proper divisors of 0 to 10⁵."""
    moebius, proper = [1] * (10**5 + 1), [0, 0] + [1] * (10**5 - 1)
    for d in range(2, 10**5 // 2 + 1):
        for m in range(2 * d, 10**5 + 1, d):
            proper[m] += d
    prime = [n > 1 and one == 1 for n, one in enumerate(proper)]
    for p in (n for n, is_prime in enumerate(prime) if is_prime):
        for m in range(p, 10**5 + 1, p):
            moebius[m] = -moebius[m] if m // p % p else 0
    return prime, moebius, proper


def test_primes_and_squarefree_numbers(sieve):
    prime, moebius, _ = sieve
    assert [sum(prime[: 10**k + 1]) for k in range(6)] == TABLE["primes up to 10ⁿ"][:6]
    for k, told in enumerate(TABLE["squarefree numbers up to 10ⁿ"]):
        assert told == sum(moebius[d] * (10**k // d**2) for d in range(1, math.isqrt(10**k) + 1))

    def lucas_lehmer(p: int) -> bool:
        value = 4
        for _ in range(p - 2):
            value = (value * value - 2) % (2**p - 1)
        return p == 2 or value == 0

    told = TABLE["exponents of Mersenne primes"]
    assert [p for p in range(2, 132) if prime[p] and lucas_lehmer(p)] == [p for p in told if p < 132]
    assert all(lucas_lehmer(p) for p in told if 132 < p < 1300)
    euler = [n for n in range(2, 100) if all(prime[k * k + k + n] for k in range(n - 1))]
    assert euler == TABLE["lucky numbers of Euler"]

    def regular(p: int) -> bool:
        bernoulli: list[int] = []  # modulo p, up to the one of p − 3
        for n in range(p - 2):
            rest = sum(math.comb(n + 1, k) * one for k, one in enumerate(bernoulli))
            bernoulli.append(1 if n == 0 else -rest * pow(n + 1, -1, p) % p)
        return all(bernoulli[2:p:2])

    both = [(p, regular(p)) for p in range(3, 114) if prime[p]]
    assert [p for p, is_regular in both if is_regular] == TABLE["regular primes"]
    assert [p for p, is_regular in both if not is_regular] == [p for p in TABLE["irregular primes"] if p < 114]


def test_numbers_by_their_divisors(sieve):
    _, _, proper = sieve
    pairs = [n for n in range(1, 67_000) if proper[n] < 10**5 and proper[proper[n]] == n != proper[n]]
    assert [n for n in pairs if n < 11_000] == TABLE["amicable numbers"]
    assert [n for n in pairs if n < proper[n]] == TABLE["smaller amicable numbers"]
    reached = set(proper)  # a number of which n is this sum is at most (n − 1)²
    told = TABLE["untouchable numbers"]
    assert [n for n in range(2, 289) if n not in reached] == told
    assert all(n**2 <= 10**5 for n in told)


def test_numbers_by_forms():
    def class_number(d: int) -> int:
        discriminant = d if d % 4 == 3 else 4 * d
        forms = 0
        for b in range(discriminant % 2, math.isqrt(discriminant // 3) + 1, 2):
            for a in range(max(b, 1), math.isqrt((b * b + discriminant) // 4) + 1):
                c, rest = divmod(b * b + discriminant, 4 * a)
                if rest == 0 and math.gcd(a, b, c) == 1:
                    forms += 1 if b in (0, a) or a == c else 2
        return forms

    squarefree = [d for d in range(1, 400) if all(d % (k * k) for k in range(2, 20))]
    assert [d for d in squarefree if class_number(d) == 1] == TABLE["Heegner numbers"]
    told = TABLE["idoneal numbers"]
    sums = {a * b + (a + b) * c for a, b, c in combinations(range(1, 80), 3) if a * b + (a + b) * c <= told[-1]}
    assert [n for n in range(1, told[-1] + 1) if n not in sums] == told
    markov = set()
    for a, b in itertools.combinations_with_replacement(range(1, 240), 2):
        root = math.isqrt(square := max(0, 9 * a * a * b * b - 4 * (a * a + b * b)))
        if square and root * root == square:
            markov |= {a, b}
    assert sorted(markov) == [n for n in TABLE["Markov numbers"] if n < 240]
    cubes = Counter(a**3 + b**3 for a, b in itertools.combinations_with_replacement(range(1, 450), 2))
    taxicab = TABLE["taxicab numbers"]
    for ways in (1, 2, 3):
        assert min(n for n, many in cubes.items() if many >= ways and n < 450**3) == taxicab[ways - 1]


def test_golomb_rulers():
    def fits(marks: tuple[int, ...], lengths: frozenset, left: int, longest: int) -> bool:
        if left == 0:
            return True
        for mark in range(marks[-1] + 1, longest + 1):
            new = {mark - one for one in marks}
            if not new & lengths and fits((*marks, mark), lengths | new, left - 1, longest):
                return True
        return False

    for marks, told in enumerate(TABLE["lengths of optimal Golomb rulers"][:6], 1):
        assert fits((0,), frozenset(), marks - 1, told)
        assert marks == 1 or not fits((0,), frozenset(), marks - 1, told - 1)


def test_shells_and_numerals():
    shells = itertools.accumulate(2 * (period // 2 + 1) ** 2 for period in range(1, 8))
    assert list(shells) == TABLE["numbers of noble gases"]
    words = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    small = words.split()
    small += ["seventeen", "eighteen", "nineteen"]
    numerals = small + ["twenty"] + ["twenty" + one for one in small[1:10]]
    assert list(map(len, numerals[:25])) == TABLE["letters of English numerals from zero"]
    assert list(map(len, numerals[1:28])) == TABLE["letters of English numerals from one"]
