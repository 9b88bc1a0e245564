"""Forms of rules with free weights: each term as a weighted sum of features of the terms before it and of the index.

One declaration each, such as a(n) = w₁·a(n−1) + w₂·a(n−2) + w₃. The weights are the one exact solution of the terms'
equations, if there is one; whether few terms confirm them enough is a matter of `evidence`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from bestguess.integers.outside.equations import solved
from bestguess.integers.outside.evidence import FORM, LARGEST, OutsideRule, Terms, bits, plain, total
from bestguess.integers.words import SUPERSCRIPT, said, summed

PLAINEST = 2.0
"""Bits for the forms that come to mind first, instead of `FORM`."""
LONGEST_WEIGHT = 10**6
"""Numerator or denominator of a weight, at most: beyond, it is no rule that anybody would write."""


@dataclass(frozen=True)
class Feature:
    """What a weight stands before: a name, and its value from the terms before (a list) and the index n, from 1."""

    name: str
    value: Callable[[list[int], int], int]
    back: int = 0
    """How far back it looks (terms)."""


def _before(back: int) -> Feature:
    return Feature(f"a(n−{back})", lambda past, n: past[-back], back)


def _by_index(back: int) -> Feature:
    return Feature(f"n·a(n−{back})", lambda past, n: n * past[-back], back)


ONE, INDEX = Feature("", lambda past, n: 1), Feature("n", lambda past, n: n)
A1, A2, A3, A4 = (_before(back) for back in (1, 2, 3, 4))
N1, N2 = _by_index(1), _by_index(2)
NN1 = Feature("n²·a(n−1)", lambda past, n: n * n * past[-1], 1)
SQUARE = Feature("a(n−1)²", lambda past, n: past[-1] ** 2, 1)
PRODUCT = Feature("a(n−1)·a(n−2)", lambda past, n: past[-1] * past[-2], 2)

Form = tuple[Feature, ...]
CONSTANT: tuple[Form, ...] = (
    *((A1,), (A1, ONE), (A1, A2), (A1, A2, ONE), (A1, A2, A3), (A1, A2, A3, ONE)),
    *((A1, A2, A3, A4), (A1, A2, A3, A4, ONE), (A1, INDEX, ONE)),
)
"""Linear recurrences with constant weights."""
FORMS: tuple[Form, ...] = (
    # Weights that are linear in the index.
    *((N1,), (N1, A1), (N1, A1, ONE), (N2,), (A1, N2), (N1, A2), (N1, N2), (N1, N2, A2), (N1, A1, N2, A2)),
    # Not linear.
    *((SQUARE,), (SQUARE, ONE), (SQUARE, A1), (SQUARE, A1, ONE), (PRODUCT,), (PRODUCT, ONE)),
)
DIVIDED: tuple[Form, ...] = ((N1, A1), (NN1, N1, A1), (N1, A1, N2, A2))
"""Those that are tried for (n + δ)·a(n) too, with δ from −3 to 3: such as Catalan's, (n + 1)·a(n) = (4n − 2)·a(n−1)."""


def constant_weights(terms: Terms, steps: int) -> Iterator[OutsideRule]:
    """Yield one rule for each linear recurrence with constant weights that fits."""
    for form in CONSTANT:
        yield from _fitted(terms, steps, form, None)


def by_form(terms: Terms, steps: int) -> Iterator[OutsideRule]:
    """Yield one rule for each form that has weights for these terms."""
    yield from constant_weights(terms, steps)
    for form in FORMS:
        yield from _fitted(terms, steps, form, None)
    for form in DIVIDED:
        for delta in range(-3, 4):
            yield from _fitted(terms, steps, form, delta)


def _fitted(terms: Terms, steps: int, form: Form, delta: int | None) -> Iterator[OutsideRule]:
    """The rule of one form; with delta, of (n + delta)·a(n)."""
    order = max(feature.back for feature in form)
    places = range(order + 1, len(terms) + 1)
    if len(places) < len(form):
        return
    left = lambda n: 1 if delta is None else n + delta  # noqa: E731
    rows = [[feature.value(list(terms[: n - 1]), n) for feature in form] for n in places]
    weights = solved(rows, [left(n) * terms[n - 1] for n in places])
    own = [weight for weight, feature in zip(weights or (), form) if feature in (SQUARE, PRODUCT, NN1, N1, N2)]
    if weights is None or (own and not any(own)):
        return  # where what sets it apart has no weight, another form says the same
    if delta is not None and any(one.denominator > 1 for one in weights):
        return
    if any(max(abs(one.numerator), one.denominator) > LONGEST_WEIGHT for one in weights):
        return
    past = list(terms)
    for n in range(len(terms) + 1, len(terms) + steps + 1):
        value = sum((weight * feature.value(past, n) for weight, feature in zip(weights, form)), Fraction(0))
        if not left(n) or abs(value) > LARGEST or Fraction(value, left(n)).denominator > 1:
            break
        past.append(int(Fraction(value, left(n))))
    if len(past) == len(terms):
        return
    length = FORM + total(weights) + plain(terms[:order]) + (0 if delta is None else bits(delta))
    name = "a(n)" if delta is None else "n·a(n)" if not delta else f"(n {'−' if delta < 0 else '+'} {abs(delta)})·a(n)"
    yield OutsideRule(f"{name} = {_formula(weights, form)}", tuple(past[len(terms) :]), length)


def _formula(weights: list[Fraction], form: Form) -> str:
    """The weighted sum, with what stands before the same term in brackets: (4·n − 2)·a(n−1)."""
    parts: list[tuple[int | Fraction, str]] = []
    by_name = {feature.name: weight for weight, feature in zip(weights, form)}
    for name, weight in by_name.items():
        inner = name.removeprefix("n·")
        if inner != name and weight and by_name.get(inner):
            sign = 1 if weight > 0 else -1
            parts.append((sign, f"({summed([(sign * weight, 'n'), (sign * by_name[inner], '')])})·{inner}"))
        elif not by_name.get(f"n·{name}"):
            parts.append((weight, name))
    return summed(parts)


def periodic(terms: Terms, steps: int) -> Iterator[OutsideRule]:
    """Yield the shortest period, up to 12, that all terms but two at least repeat."""
    for k in range(1, min(12, len(terms) - 2) + 1):
        if all(a == b for a, b in zip(terms, terms[k:])):
            again = tuple(terms[len(terms) - k + i % k] for i in range(steps))
            yield OutsideRule(f"period {k}: {said(terms[:k])}", again, PLAINEST + plain(terms[:k]))
            return


def index_powers(terms: Terms, steps: int) -> Iterator[OutsideRule]:
    """Yield (p·n + q)^(n + r): powers whose base and exponent both follow the index, such as nⁿ and nⁿ⁻²."""
    for p, q, r in itertools.product((1, 2, 3), range(-2, 4), range(-3, 4)):
        found: list[int] = []
        for n in range(1, len(terms) + steps + 1):
            base, power = p * n + q, n + r
            if power < 0 and base != 1:
                break
            value = base ** max(power, 0)
            if (n <= len(terms) and value != terms[n - 1]) or abs(value) > LARGEST:
                break
            found.append(value)
        if len(found) > len(terms):
            base_said, power_said = summed([(p, "n"), (q, "")]), summed([(1, "n"), (r, "")])
            told = f"a(n) = ({base_said})^({power_said})"
            yield OutsideRule(told, tuple(found[len(terms) :]), 2 * FORM + total((q, r)) + bits(p - 1))


def rounded(terms: Terms, steps: int) -> Iterator[OutsideRule]:
    """Yield a fraction of the last term, rounded down or up, where it does round: 1000, 500, 250, 125, 62."""
    pairs = list(itertools.pairwise(terms))
    for q in range(2, 11):
        for p in range(1, 3 * q):
            for up in (0, q - 1):
                if all((p * a + up) // q == b for a, b in pairs) and any(p * a % q for a, _ in pairs):
                    past = list(terms)
                    for _ in range(steps):
                        past.append((p * past[-1] + up) // q)
                    told = f"a(n) = {'⌈' if up else '⌊'}{p}/{q}·a(n−1){'⌉' if up else '⌋'}"
                    yield OutsideRule(told, tuple(past[len(terms) :]), FORM + total((p, q, *terms[:1])))
                    return


def polynomial(terms: Terms, steps: int) -> Iterator[OutsideRule]:
    """Yield a polynomial of the index: the lowest degree whose differences are constant, with a term to confirm it."""
    rows = [list(terms)]
    while len(set(rows[-1])) > 1:
        rows.append([b - a for a, b in zip(rows[-1], rows[-1][1:])])
        if len(rows[-1]) < 2 or len(rows) > 9:
            return
    degree = len(rows) - 1
    for _ in range(steps):
        rows[-1].append(rows[-1][-1])
        for lower, upper in zip(rows[::-1], rows[-2::-1]):
            upper.append(upper[-1] + lower[-1])
    # In powers of n, from 1: from Newton's form Σ_k Δᵏ · C(n − 1, k).
    powers: list[Fraction] = [Fraction(0)] * (degree + 1)
    basis = [Fraction(1)]
    for k in range(degree + 1):
        for i, one in enumerate(basis):
            powers[i] += rows[k][0] * one
        shifted = [Fraction(0), *basis]
        basis = [(a - (k + 1) * b) / (k + 1) for a, b in zip(shifted, [*basis, Fraction(0)])]
    names = ["", "n", *(f"n{SUPERSCRIPT[i]}" for i in range(2, degree + 1))]
    length = PLAINEST + min(total(row[0] for row in rows), total(powers))
    yield OutsideRule(f"a(n) = {summed(list(zip(powers, names))[::-1])}", tuple(rows[0][len(terms) :]), length)
