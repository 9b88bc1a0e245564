"""Exact rules outside the generator's prior: what a sequence follows that the oracle knows nothing of.

Each rule is fitted to true integers and kept only where the terms say more than its parameters take: at least one
term must confirm it. Nothing is weighed: these rules have no prior, so what is found has no probability.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from bestguess.integers.oracle.known import KNOWN, continuation

Terms = tuple[int, ...]
LARGEST = 10**300
"""Terms beyond are not looked for: rules are to be seen, not computed with."""


@dataclass(frozen=True)
class OutsideRule:
    """A rule that fits all terms given, and what it puts next."""

    rule: str
    following: Terms
    named: bool = False
    """Whether it is a well-known sequence, by its name."""

    @property
    def next(self) -> int:
        """The next term."""
        return self.following[0]


def outside_rules(terms: Sequence[int], steps: int = 1) -> list[OutsideRule]:
    """Return the rules that fit `terms` and are confirmed by them, simplest first, one for each continuation.

    steps: terms to go on with, at least 1. Empty where nothing fits, where terms are fewer than 4, or where they are
    too large to be worth it.
    """
    given = tuple(terms)
    if len(given) < 4 or any(abs(term) > LARGEST for term in given):
        return []
    found: dict[Terms, OutsideRule] = {}
    for rule in (*_named(given, steps), *_simple(given, steps), *_composed(given, steps)):
        found.setdefault(rule.following, rule)
    return list(found.values())


def _named(terms: Terms, steps: int) -> Iterator[OutsideRule]:
    """Well-known sequences, and simple functions of them."""
    if len(set(terms)) < 2:
        return
    least = lambda anywhere: 4 if anywhere else 6  # noqa: E731
    for known in KNOWN:
        if len(terms) >= least(known.anywhere):
            following = continuation(known, terms, steps)
            if following is not None:
                yield OutsideRule(known.name, following, named=True)
    if len(terms) < 5:
        return
    for known in KNOWN:
        if not known.anywhere:
            continue
        for factor, more in ((1, 1), (1, -1), (2, 0), (3, 0), (-1, 0)):
            inner = [(term - more) // factor for term in terms if (term - more) % factor == 0]
            following = continuation(known, inner, steps) if len(inner) == len(terms) else None
            if following is not None:
                words = {1: "one more than", -1: "one less than"}.get(more) or f"{factor} times".replace("-", "−")
                yield OutsideRule(f"{words} the {known.name}", tuple(factor * one + more for one in following))


def _simple(terms: Terms, steps: int) -> Iterator[OutsideRule]:
    """One rule from term to term, or by the index."""
    for fit in (_periodic, _recurrence, _polynomial, _by_index):
        rule = fit(terms, steps)
        if rule is not None:
            yield rule


def _periodic(terms: Terms, steps: int) -> OutsideRule | None:
    for k in range(1, 7):
        if len(terms) >= k + 2 and all(a == b for a, b in zip(terms, terms[k:])):
            again = [terms[-k:][i % k] for i in range(steps)]
            return OutsideRule(f"period {k}: {_said(terms[:k])}", tuple(again))
    return None


def _recurrence(terms: Terms, steps: int) -> OutsideRule | None:
    """The linear recurrence of the lowest order, 1 to 3, with or without a constant, whose weights are integers."""
    for order, constant in ((1, False), (1, True), (2, False), (2, True), (3, False), (3, True)):
        columns = [[*reversed(terms[i : i + order]), *([1] if constant else [])] for i in range(len(terms) - order)]
        weights = _solved(columns, terms[order:])
        if weights is None or any(one.denominator > 1 for one in weights):
            continue
        whole = [int(one) for one in weights]

        def go_on(past: list[int], whole: list[int] = whole, order: int = order) -> int:
            return sum(w * one for w, one in zip(whole, [*reversed(past[-order:]), 1]))

        names = [f"a(n−{i + 1})" for i in range(order)] + ([""] if constant else [])
        return OutsideRule(f"a(n) = {_sum(list(zip(whole, names)))}", _continued(terms, go_on, steps))
    return None


def _polynomial(terms: Terms, steps: int) -> OutsideRule | None:
    """A polynomial of the index: the lowest degree whose differences are constant."""
    rows = [list(terms)]
    while len(set(rows[-1])) > 1 and len(rows) < len(_SUPERSCRIPT):
        rows.append([b - a for a, b in zip(rows[-1], rows[-1][1:])])
        if len(rows[-1]) < (2 if len(rows) < 5 else 3):  # a high degree needs more to confirm it
            return None
    if len(set(rows[-1])) > 1:
        return None
    degree = len(rows) - 1
    for _ in range(steps):
        rows[-1].append(rows[-1][-1])
        for lower, upper in zip(rows[::-1], rows[-2::-1]):
            upper.append(upper[-1] + lower[-1])
    # In powers of n, from 1: from Newton's form Σ_k Δᵏ · C(n − 1, k).
    powers: list[int | Fraction] = [Fraction(0)] * (degree + 1)
    basis = [Fraction(1)]
    for k in range(degree + 1):
        for i, one in enumerate(basis):
            powers[i] += rows[k][0] * one
        shifted = [Fraction(0), *basis]
        basis = [(a - (k + 1) * b) / (k + 1) for a, b in zip(shifted, [*basis, Fraction(0)])]
    names = ["", "n", *(f"n{_SUPERSCRIPT[i]}" for i in range(2, degree + 1))]
    words = _sum(list(zip(powers, names))[::-1])
    return OutsideRule(f"a(n) = {words}", tuple(rows[0][len(terms) :]))


def _by_index(terms: Terms, steps: int) -> OutsideRule | None:
    """A ratio of successive terms that is linear in the index, or a quotient of two linear functions."""
    n = len(terms)
    pairs = [(i + 2, a, b) for i, (a, b) in enumerate(itertools.pairwise(terms))]
    # b = (α·n + β)·a + γ, or (n + δ)·b = (α·n + β)·a.
    for kind, rows, right in (
        ("product", [[i * a, a] for i, a, _ in pairs], [b for _, _, b in pairs]),
        ("more", [[i * a, a, 1] for i, a, _ in pairs], [b for _, _, b in pairs]),
        ("quotient", [[i * a, a, -b] for i, a, b in pairs], [i * b for i, _, b in pairs]),
    ):
        weights = _solved(rows, right)
        if weights is None or weights[0] == 0 or any(one.denominator > 1 for one in weights):
            continue
        alpha, beta, *rest = (int(one) for one in weights)
        extra = rest[0] if rest else 0
        past = list(terms)
        for place in range(n + 1, n + steps + 1):
            top = (alpha * place + beta) * past[-1] + (extra if kind == "more" else 0)
            below = place + extra if kind == "quotient" else 1
            if below == 0 or top % below:
                return None
            past.append(top // below)
        factor = f"({_sum([(alpha, 'n'), (beta, '')])})"
        words = f"{factor}·a(n−1)" + (f" {'−' if extra < 0 else '+'} {abs(extra)}" if kind == "more" else "")
        if kind == "quotient":
            words += f" / ({_sum([(1, 'n'), (extra, '')])})"
        return OutsideRule(f"a(n) = {words}", tuple(past[n:]))
    return None


def _composed(terms: Terms, steps: int) -> Iterator[OutsideRule]:
    """One rule applied to the output of another: signs in turn, steps or factors by a rule, two rules in turn."""
    # Names are many: by four terms alone a part of a sequence may bear one by chance.
    inner = lambda part, count: [*(_named(part, count) if len(part) > 4 else ()), *_simple(part, count)]  # noqa: E731
    if all(a * b < 0 for a, b in itertools.pairwise(terms)):
        for one in inner(tuple(map(abs, terms)), steps):
            signs = [(-1) ** (i + 1) * (1 if terms[-1] > 0 else -1) for i in range(steps)]
            yield OutsideRule(f"signs in turn: {one.rule}", tuple(s * abs(v) for s, v in zip(signs, one.following)))
    differences = tuple(b - a for a, b in itertools.pairwise(terms))
    for one in inner(differences, steps):
        total, out = terms[-1], []
        for step in one.following:
            total += step
            out.append(total)
        yield OutsideRule(f"steps {_said(differences[:4])}, …: {one.rule}", tuple(out))
    if all(a and b % a == 0 for a, b in itertools.pairwise(terms)):
        factors = tuple(b // a for a, b in itertools.pairwise(terms))
        for one in inner(factors, steps):
            total, out = terms[-1], []
            for factor in one.following:
                total *= factor
                out.append(total)
            yield OutsideRule(f"factors {_said(factors[:4])}, …: {one.rule}", tuple(out))
    if len(terms) >= 7:
        halves = [terms[0::2], terms[1::2]]
        rules = [inner(half, steps) or _arithmetic(half, steps) for half in halves]
        if all(rules):
            first = len(terms) % 2  # whose turn it is
            turns = [rules[(first + i) % 2][0].following[i // 2] for i in range(steps)]
            yield OutsideRule(f"two in turn: {rules[0][0].rule}; {rules[1][0].rule}", tuple(turns))


def _arithmetic(terms: Terms, steps: int) -> list[OutsideRule]:
    """Three terms with one step: enough within a composition."""
    step = terms[1] - terms[0]
    if len(terms) < 3 or any(b - a != step for a, b in itertools.pairwise(terms)):
        return []
    return [OutsideRule(f"steps of {_number(step)}", tuple(terms[-1] + step * (i + 1) for i in range(steps)))]


def _continued(terms: Terms, rule: Callable[[list[int]], int], steps: int) -> Terms:
    past = list(terms)
    for _ in range(steps):
        past.append(rule(past))
    return tuple(past[len(terms) :])


def _solved(rows: list[list[int]], right: Sequence[int]) -> list[Fraction] | None:
    """Return the one solution of an overdetermined system, exactly; None where there is none or several."""
    unknowns = len(rows[0]) if rows else 0
    if len(rows) < unknowns + 1:
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


_SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹"


def _number(value: int | Fraction) -> str:
    return f"{value}".replace("-", "−")


def _said(terms: Sequence[int]) -> str:
    return ", ".join(map(_number, terms))


def _sum(parts: Sequence[tuple[int | Fraction, str]]) -> str:
    """Return Σ weight · name as a formula; a name of "" is a constant."""
    out = ""
    for weight, name in parts:
        if not weight:
            continue
        size = weight if weight > 0 else -weight
        told = name if name and size == 1 else f"{_number(size)}·{name}" if name else _number(size)
        out += (" − " if weight < 0 else " + ") + told if out else ("−" if weight < 0 else "") + told
    return out or "0"
