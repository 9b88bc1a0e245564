"""Linear equations over the fractions."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def solved(rows: Sequence[Sequence[int]], right: Sequence[int]) -> list[Fraction] | None:
    """Return the one solution of a system with at least as many rows as unknowns, exactly; None if none or several."""
    unknowns = len(rows[0]) if rows else 0
    if len(rows) < max(unknowns, 1):
        return None
    matrix = [[Fraction(one) for one in row] + [Fraction(value)] for row, value in zip(rows, right)]
    for column in range(unknowns):
        pivot = next((i for i in range(column, len(matrix)) if matrix[i][column]), None)
        if pivot is None:
            return None
        matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
        lead = matrix[column]
        for i, row in enumerate(matrix):
            if i != column and row[column]:
                factor = row[column] / lead[column]
                matrix[i] = [a - factor * b for a, b in zip(row, lead)]
    if any(row[-1] for row in matrix[unknowns:]):
        return None
    return [matrix[i][-1] / matrix[i][i] for i in range(unknowns)]
