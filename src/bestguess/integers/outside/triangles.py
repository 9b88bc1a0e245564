"""Number triangles by name, read by rows, and their columns, each by its recurrence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import count, pairwise

from bestguess.integers.outside.known import Known

Weights = Callable[[int, int], int]


def rows(left: Weights, above: Weights) -> Iterator[list[int]]:
    """Yield the rows n = 0, 1, … of T(n, k) = left(n, k)·T(n−1, k−1) + above(n, k)·T(n−1, k), T(0, 0) = 1."""
    row = [1]
    for n in count(1):
        yield row
        row = [(left(n, k) * row[k - 1] if k else 0) + (above(n, k) * row[k] if k < n else 0) for k in range(n + 1)]


def _read(left: Weights, above: Weights, cut: int) -> Callable[[], Iterator[int]]:
    """Read by rows, from the first row and column that count."""
    return lambda: (one for n, row in enumerate(rows(left, above)) if n >= cut for one in row[cut:])


def _backwards(left: Weights, above: Weights, cut: int) -> Callable[[], Iterator[int]]:
    return lambda: (one for n, row in enumerate(rows(left, above)) if n >= cut for one in reversed(row[cut:]))


def _column(left: Weights, above: Weights, k: int) -> Callable[[], Iterator[int]]:
    return lambda: (row[k] for n, row in enumerate(rows(left, above)) if n >= k)


def _diagonal(left: Weights, above: Weights, k: int) -> Callable[[], Iterator[int]]:
    return lambda: (row[n - k] for n, row in enumerate(rows(left, above)) if n >= k)


_RECURRENCES: tuple[tuple[str, Weights, Weights, int], ...] = (
    ("Pascal's triangle", lambda n, k: 1, lambda n, k: 1, 0),
    ("Stirling numbers of the second kind", lambda n, k: 1, lambda n, k: k, 1),
    ("Stirling numbers of the first kind", lambda n, k: 1, lambda n, k: n - 1, 1),
    ("signed Stirling numbers of the first kind", lambda n, k: 1, lambda n, k: 1 - n, 1),
    ("Lah numbers", lambda n, k: 1, lambda n, k: n - 1 + k, 1),
    ("powers of 1 − x", lambda n, k: -1, lambda n, k: 1, 0),
    ("powers of 1 + 2x", lambda n, k: 2, lambda n, k: 1, 0),
    ("powers of 2 + x", lambda n, k: 1, lambda n, k: 2, 0),
    ("falling factorials of n", lambda n, k: k, lambda n, k: 1, 0),
    ("ordered partitions into k sets", lambda n, k: k, lambda n, k: k, 1),
)
"""Each with its name, its weights, and the first row and column that count."""


def _eulerian() -> Iterator[list[int]]:
    """A(n, k) = (k + 1)·A(n−1, k) + (n − k)·A(n−1, k−1), from the row 1."""
    row = [1]
    for n in count(2):
        yield row
        row = [(k + 1) * (row[k] if k < n - 1 else 0) + (n - k) * (row[k - 1] if k else 0) for k in range(n)]


def _eulerian_column(k: int) -> Callable[[], Iterator[int]]:
    return lambda: (row[k - 1] for row in _eulerian() if len(row) >= k)


def _chebyshev(kind: int, scaled: bool = False) -> Iterator[list[int]]:
    """Coefficients in increasing powers of T (kind 1), U (2); scaled: of U(x/2)."""
    step = 1 if scaled else 2
    before, row = [1], [0, step if kind == 2 else 1]
    while True:
        yield before
        following = [0, *(step * one for one in row)]
        for i, one in enumerate(before):
            following[i] -= one
        before, row = row, following


def _catalan() -> Iterator[list[int]]:
    """C(n, k) = C(n, k−1) + C(n−1, k)."""
    row = [1]
    while True:
        yield row
        following: list[int] = []
        for k in range(len(row) + 1):
            following.append((following[-1] if following else 0) + (row[k] if k < len(row) else 0))
        row = following


def _delannoy() -> Iterator[list[int]]:
    """Delannoy numbers by antidiagonals."""
    before: list[int] = []
    row = [1]
    while True:
        yield row
        inner = [row[i] + row[i + 1] + before[i] for i in range(len(row) - 1)]
        before, row = row, [1, *inner, 1]


def _bell() -> Iterator[list[int]]:
    row = [1]
    while True:
        yield row
        following = [row[-1]]
        for one in row:
            following.append(following[-1] + one)
        row = following


def _narayana() -> Iterator[list[int]]:
    """N(n, k) = C(n, k)·C(n, k−1)/n, by N(n, k+1) = N(n, k)·(n − k)·(n − k + 1)/(k·(k + 1))."""
    for n in count(1):
        row = [1]
        for k in range(1, n):
            row.append(row[-1] * (n - k) * (n - k + 1) // (k * (k + 1)))
        yield row


def _partitions() -> Iterator[list[int]]:
    """Partitions of n into k parts: p(n, k) = p(n−1, k−1) + p(n−k, k)."""
    found: list[list[int]] = [[1]]
    for n in count(1):
        row = [0]
        for k in range(1, n + 1):
            row.append(found[n - 1][k - 1] + (found[n - k][k] if n - k >= k else 0))
        found.append(row)
        yield row[1:]


def _lucas_triangle() -> Iterator[list[int]]:
    row = [1, 2]
    yield [2]
    while True:
        yield row
        row = [1, *(a + b for a, b in pairwise(row)), 2]


def _table(of: Callable[[int, int], int], first: int) -> Callable[[], Iterator[int]]:
    """A square table by antidiagonals."""
    return lambda: (of(first + i, first + total - i) for total in count() for i in range(total + 1))


_ROWS: tuple[tuple[str, Callable[[], Iterator[list[int]]]], ...] = (
    ("Eulerian numbers", _eulerian),
    ("Chebyshev polynomials T", lambda: _chebyshev(1)),
    ("Chebyshev polynomials U", lambda: _chebyshev(2)),
    ("Chebyshev polynomials S", lambda: _chebyshev(2, scaled=True)),
    ("Catalan's triangle", _catalan),
    ("Delannoy numbers", _delannoy),
    ("Bell's triangle", _bell),
    ("Narayana numbers", _narayana),
    ("partitions of n into k parts", _partitions),
    ("Lucas' triangle", _lucas_triangle),
)
_TABLES: tuple[tuple[str, Callable[[int, int], int], int], ...] = (
    ("multiplication table", lambda a, b: a * b, 1),
    ("addition table", lambda a, b: a + b, 0),
    ("table of greatest common divisors", math.gcd, 1),
    ("table of powers", lambda a, b: a**b, 0),
    ("table of a XOR b", lambda a, b: a ^ b, 0),
    ("table of a AND b", lambda a, b: a & b, 0),
    ("table of the smaller", min, 1),
    ("table of the larger", max, 1),
)


def _flat(of: Callable[[], Iterator[list[int]]]) -> Callable[[], Iterator[int]]:
    return lambda: (one for row in of() for one in row)


TRIANGLES: tuple[Known, ...] = (
    Known(f"{_RECURRENCES[0][0]}, by rows", _read(*_RECURRENCES[0][1:]), False),
    *(
        Known(f"{name}, by rows", _read(left, above, cut), False, more=4.0)
        for name, left, above, cut in _RECURRENCES[1:]
    ),
    *(
        Known(f"{name}, by rows in reverse", _backwards(left, above, cut), False, more=5.0)
        for name, left, above, cut in _RECURRENCES[1:]
    ),
    *(Known(f"{name}, by rows", _flat(of), False, more=4.0) for name, of in _ROWS),
    *(Known(name, _table(of, first), False, more=4.0) for name, of, first in _TABLES),
    *(
        Known(f"{name}, column {k}", _column(left, above, k), ascending=True, more=5.0)
        for name, left, above, _ in (_RECURRENCES[1], _RECURRENCES[2], _RECURRENCES[4])
        for k in range(2, 7)
    ),
    *(
        Known(f"{name}, diagonal {k}", _diagonal(left, above, k), ascending=True, more=5.0)
        for name, left, above, _ in (_RECURRENCES[1], _RECURRENCES[2], _RECURRENCES[4])
        for k in range(1, 5)
    ),
    *(Known(f"Eulerian numbers, column {k}", _eulerian_column(k), ascending=True, more=5.0) for k in range(2, 5)),
)
"""Simplest first."""
