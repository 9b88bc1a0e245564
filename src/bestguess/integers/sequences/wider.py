"""More families of sequences, for the wide prior: what people type and the first prior lacks, and compositions."""

from __future__ import annotations

import dataclasses

import numpy as np

from bestguess.integers.sequences.language import (
    Axis,
    Constant,
    Expression,
    Family,
    Grid,
    Of,
    Parameter,
    Sequence,
    before_last,
    cumulative,
    cycle,
    explicit,
    last,
    n,
    positive_part,
)
from bestguess.integers.sequences.recurrences import FAMILIES

s, t, c, d, e, k, m, p, q, x, y, z, u, v, w = (Parameter(name) for name in "s t c d e k m p q x y z u v w".split())  # noqa: SIM905


def steps_by(inner: Family, phase: int, weight: float, starts: range, words: str = "") -> Family:
    """Return the sequences whose steps are those of another family; `words` say how these go on."""
    return _composed(
        inner,
        phase,
        weight,
        "steps",
        (("t", starts),),
        cumulative(t, inner.sequence),
        "a(1) = {t}, steps b(n): {inner}",
        words or "steps in which {inner}",
    )


def signs_in_turn(inner: Family, phase: int, weight: float) -> Family:
    """Return another family's sequences with every second sign turned."""
    turned = explicit(Of(inner.sequence) * (Constant(1) - (n + 1) % 2 * 2))
    formula, words = "a(n) = (−1)^(n−1)·b(n), b: {inner}", "signs in turn, without which {inner}"
    return _composed(inner, phase, weight, "signs in turn", (), turned, formula, words)


def modulo(inner: Family, phase: int, weight: float, moduli: range) -> Family:
    """Return another family's sequences modulo m."""
    taken = explicit(Of(inner.sequence) % m)
    formula, words = "a(n) = b(n) mod {m}, b: {inner}", "modulo {m}, without which {inner}"
    return _composed(inner, phase, weight, "modulo", (("m", moduli),), taken, formula, words)


def twice_each(inner: Family, phase: int, weight: float) -> Family:
    """Return another family's sequences with every term given twice."""
    doubled = explicit(Of(inner.sequence, (n + 1) // 2))
    formula, words = "a(n) = b(⌈n/2⌉), b: {inner}", "each value twice, without which {inner}"
    return _composed(inner, phase, weight, "each twice", (), doubled, formula, words)


def _composed(
    inner: Family,
    phase: int,
    weight: float,
    name: str,
    axes: tuple[Axis, ...],
    sequence: Sequence,
    formula: str,
    words: str,
) -> Family:
    """A family whose parameters are the inner one's and those of `axes`; `where` sees the inner one's alone."""
    condition = inner.where

    def where(**grid: Grid) -> np.ndarray:
        own = {name for names, _ in inner.axes for name in ((names,) if isinstance(names, str) else names)}
        assert condition is not None
        return condition(**{name: values for name, values in grid.items() if name in own})

    return Family(
        f"{name}: {inner.name}",
        phase,
        weight,
        (*axes, *inner.axes),
        sequence,
        formula.replace("{inner}", inner.formula.replace("a(", "b(")),
        words.replace("{inner}", inner.words),
        tuple((key, tuple((one, what.replace("a(", "b(")) for one, what in parts)) for key, parts in inner.sums),
        None if condition is None else where,
    )


def narrowed(family: Family, **ranges: range) -> Family:
    """Return a family with fewer values of some parameters."""
    axes = tuple((name, ranges.get(name, values) if isinstance(name, str) else values) for name, values in family.axes)
    return dataclasses.replace(family, axes=axes)


def _named(name: str) -> Family:
    return next(family for family in FAMILIES if family.name == name)


def _polynomial(*weights: Expression) -> Sequence:
    """The sequence of the polynomial with these weights, the constant first."""
    total: Expression = weights[0]
    power: Expression = n
    for weight in weights[1:]:
        total, power = total + weight * power, power * n
    return explicit(total)


def _differ(**grid: Grid) -> np.ndarray:
    return np.any([values != next(iter(grid.values())) for values in grid.values()], axis=0)


_AFFINE = Family(
    "affine", 1, 1.0, (("s", range(64)), ("p", (-2, -1, 2, 3, 4, 5)), ("c", tuple(i for i in range(-10, 11) if i))),
    Sequence((s,), p * last + c),
    "a(n) = {rule}, a(1) = {s}",
    "each term is {said:words}",
    (("rule", (("p", "a(n−1)"), ("c", ""))), ("said", (("p", "the one before"), ("c", "")))),
)  # fmt: skip
_GEOMETRIC = narrowed(_named("geometric"), s=range(1, 17), f=range(2, 6))
_FIBONACCI = narrowed(_named("Fibonacci"), x=range(12), y=range(12))

WIDER: tuple[Family, ...] = (
    _AFFINE,
    Family(
        "second-order linear", 1, 1.0,
        (("x", range(16)), ("y", range(16)), ("p", (-1, 1, 2, 3)), ("q", (-2, -1, 1, 2, 3)), ("c", (-1, 0, 1, 2))),
        Sequence((x, y), p * last + q * before_last + c),
        "a(n) = {rule}, a(1) = {x}, a(2) = {y}",
        "each term is {said:words}",
        (
            ("rule", (("p", "a(n−1)"), ("q", "a(n−2)"), ("c", ""))),
            ("said", (("p", "the one before"), ("q", "the last but one"), ("c", ""))),
        ),
        where=lambda x, y, p, q, c: ((x > 0) | (y > 0)) & ((p != 1) | (q != 1) | (c != 0)),
    ),
    Family(
        "steps down that grow", 2, 1.0, (("s", range(256)), ("d", range(1, 9)), ("e", range(1, 7))),
        cumulative(s, explicit(-(d + e * (n - 1)))),
        "a(n) = a(n−1) − ({d} + {e:·}(n−2)), a(1) = {s}",
        "steps down begin at {d} and grow by {e}",
    ),
    Family(
        "steps down that shrink", 2, 1.0, (("s", range(256)), ("d", range(3, 17)), ("e", range(1, 5))),
        cumulative(s, explicit(-positive_part(d - e * (n - 1)))),
        "a(n) = a(n−1) − max(0, {d} − {e:·}(n−2)), a(1) = {s}",
        "steps down begin at {d} and shrink by {e} down to 0",
        where=lambda s, d, e: d > e,
    ),
    Family(
        "squares", 2, 0.5, (("c", range(-32, 64)), ("k", range(-4, 9)), ("p", range(1, 5))),
        explicit(c + p * (n + k) * (n + k)),
        "a(n) = {p:·}{k:n}²{c:+}",
        "{said:words}",
        (("said", (("p", "the squares"), ("c", ""))),),
    ),
    Family(
        "cubes", 2, 0.5, (("c", range(-16, 32)), ("k", range(-4, 5)), ("p", range(1, 4)), ("q", range(-2, 3))),
        explicit(c + q * n + p * (n + k) * (n + k) * (n + k)),
        "a(n) = {p:·}{k:n}³{q:+n}{c:+}",
        "{said:words}",
        (("said", (("p", "the cubes"), ("q", "the index"), ("c", ""))),),
    ),
    Family(
        "quadratic", 2, 0.5, (("c", range(64)), ("d", range(-6, 7)), ("e", (-3, -2, -1, 1, 2, 3))),
        _polynomial(c, d, e),
        "a(n) = {rule}",
        "a quadratic in the index",
        (("rule", (("e", "n²"), ("d", "n"), ("c", ""))),),
    ),
    Family(
        "period 3", 2, 0.5, (("x", range(24)), ("y", range(24)), ("z", range(24))),
        cycle(x, y, z),
        "a(n) = a(n−3), from {x}, {y}, {z}",
        "{x}, {y}, {z} again and again",
        where=_differ,
    ),
    Family(
        "period 4", 2, 0.1, (("x", range(10)), ("y", range(10)), ("z", range(10)), ("u", range(10))),
        cycle(x, y, z, u),
        "a(n) = a(n−4), from {x}, {y}, {z}, {u}",
        "{x}, {y}, {z}, {u} again and again",
        where=_differ,
    ),
    Family(
        "period 5", 2, 0.05, (("x", range(6)), ("y", range(6)), ("z", range(6)), ("u", range(6)), ("v", range(6))),
        cycle(x, y, z, u, v),
        "a(n) = a(n−5), from {x}, {y}, {z}, {u}, {v}",
        "{x}, {y}, {z}, {u}, {v} again and again",
        where=_differ,
    ),
    Family(
        "factorials", 2, 0.1, (("s", range(1, 64)), ("k", range(-1, 5)), ("p", range(1, 3))),
        Sequence((s,), (p * n + k) * last),
        "a(n) = ({factor})·a(n−1), a(1) = {s}",
        "each term is the one before times {factor}",
        (("factor", (("p", "n"), ("k", ""))),),
    ),
    steps_by(_GEOMETRIC, 3, 0.5, range(64), "each step is {f:times} the one before"),
    steps_by(_FIBONACCI, 3, 0.5, range(64), "each step is the sum of the two before"),
    steps_by(
        narrowed(_named("growing steps"), s=range(1, 9), d=range(5), e=range(1, 4)), 3, 0.5, range(64),
        "steps whose own steps begin at {d} and grow by {e}",
    ),
    signs_in_turn(_GEOMETRIC, 3, 0.1),
    signs_in_turn(narrowed(_named("growing steps"), s=range(16)), 3, 0.5),
    modulo(_AFFINE, 3, 0.3, range(3, 8)),
    modulo(narrowed(_named("growing steps"), s=range(16)), 3, 0.1, range(3, 11)),
    twice_each(_FIBONACCI, 3, 0.1),
    twice_each(_GEOMETRIC, 3, 0.1),
)  # fmt: skip
"""Families of the wide prior beside `FAMILIES`; rows that both give are one row of the table, with both priors."""
