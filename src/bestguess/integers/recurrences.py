"""A small declarative language of recurrences, and the families of sequences that are written in it.

An expression says how a term a(n) follows from the index n, from parameters, from the terms before
it, and from the terms of another sequence. A sequence is its first terms and such a rule; since a
rule may read another sequence, sequences nest: steps that grow, factors that alternate. A family is
one declaration: a sequence, the values that its parameters take, its phase and its prior weight, and
what it is called as a formula and in words.

Expressions run on whole grids of parameters at once: every value is an integer array [G], one entry
for each choice of parameters. Terms are true integers here; how they are shown is `table`'s affair.
"""

from __future__ import annotations

import abc
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Grid = np.ndarray
"""int64 [G]: one value for each choice of parameters."""


class Expression(abc.ABC):
    """How a term comes about. Operators +, −, ·, //, % and comparisons make bigger expressions."""

    @abc.abstractmethod
    def value(self, scope: Scope) -> Grid:
        """Return the expression's value where `scope` stands."""

    def __add__(self, other: Expression | int) -> Expression:
        return Binary(operator.add, self, _expression(other))

    def __sub__(self, other: Expression | int) -> Expression:
        return Binary(operator.sub, self, _expression(other))

    def __mul__(self, other: Expression | int) -> Expression:
        return Binary(operator.mul, self, _expression(other))

    def __floordiv__(self, other: Expression | int) -> Expression:
        return Binary(operator.floordiv, self, _expression(other))

    def __mod__(self, other: Expression | int) -> Expression:
        return Binary(operator.mod, self, _expression(other))

    def __pow__(self, other: Expression | int) -> Expression:
        return Binary(operator.pow, self, _expression(other))

    def __neg__(self) -> Expression:
        return Constant(0) - self

    def equals(self, other: Expression | int) -> Expression:
        """Return the condition that both are equal (== compares expressions themselves)."""
        return Binary(operator.eq, self, _expression(other))

    def __ge__(self, other: Expression | int) -> Expression:
        return Binary(operator.ge, self, _expression(other))


@dataclass(frozen=True)
class Constant(Expression):
    """The same number always."""

    number: int

    def value(self, scope: Scope) -> Grid:
        return np.full(scope.size, self.number)


@dataclass(frozen=True)
class Parameter(Expression):
    """A parameter of the family, by its name."""

    name: str

    def value(self, scope: Scope) -> Grid:
        return scope.parameters[self.name]


@dataclass(frozen=True)
class Index(Expression):
    """n, the place of the term in its sequence, from 1."""

    def value(self, scope: Scope) -> Grid:
        return np.full(scope.size, len(scope.past) + 1)


@dataclass(frozen=True)
class Previous(Expression):
    """a(n − back), a term before this one."""

    back: int

    def value(self, scope: Scope) -> Grid:
        return scope.past[-self.back]


@dataclass(frozen=True)
class Of(Expression):
    """The term of another sequence that stands at `at`, by default at n."""

    sequence: Sequence
    at: Expression = field(default_factory=Index)

    def value(self, scope: Scope) -> Grid:
        place = self.at.value(scope)
        return scope.terms_of(self.sequence)[np.arange(scope.size), place - 1]


@dataclass(frozen=True)
class Binary(Expression):
    """Two expressions under an operator of NumPy's; // rounds down, % is never negative."""

    operation: Callable[[Any, Any], Any]
    left: Expression
    right: Expression

    def value(self, scope: Scope) -> Grid:
        return self.operation(self.left.value(scope), self.right.value(scope))


@dataclass(frozen=True)
class If(Expression):
    """One expression where a condition holds, another where it does not."""

    condition: Expression
    then: Expression
    otherwise: Expression

    def value(self, scope: Scope) -> Grid:
        return np.where(self.condition.value(scope) != 0, self.then.value(scope), self.otherwise.value(scope))


@dataclass(frozen=True)
class Sequence:
    """a(1), …, a(k) as given in `first`, then each a(n) by `rule`."""

    first: tuple[Expression, ...]
    rule: Expression

    def terms(self, parameters: Mapping[str, Grid], count: int) -> np.ndarray:
        """Return the first `count` terms of every choice of parameters, [G, count]."""
        scope = Scope(parameters, count)
        for n in range(count):
            scope.past.append((self.first[n] if n < len(self.first) else self.rule).value(scope))
        return np.stack(scope.past, axis=1)


class Scope:
    """Where an expression is read: the parameters [G], the terms so far, how many there will be."""

    def __init__(self, parameters: Mapping[str, Grid], count: int):
        self.parameters = parameters
        self.count = count
        self.size = len(next(iter(parameters.values())))
        self.past: list[Grid] = []
        self._others: dict[int, np.ndarray] = {}

    def terms_of(self, sequence: Sequence) -> np.ndarray:
        """Return another sequence's terms [G, count], computed once."""
        if id(sequence) not in self._others:
            self._others[id(sequence)] = sequence.terms(self.parameters, self.count)
        return self._others[id(sequence)]


def _expression(value: Expression | int) -> Expression:
    return value if isinstance(value, Expression) else Constant(value)


# Words of the language, made of the few above.

n = Index()
last, before_last = Previous(1), Previous(2)


def explicit(rule: Expression) -> Sequence:
    """Return the sequence a(n) = rule."""
    return Sequence((), rule)


def cycle(*items: Expression) -> Sequence:
    """Return the sequence that goes through `items` again and again."""
    chosen = items[-1]
    for place, item in reversed(list(enumerate(items[:-1], start=1))):
        chosen = If((n % len(items)).equals(place % len(items)), item, chosen)
    return explicit(chosen)


def cumulative(start: Expression, steps: Sequence) -> Sequence:
    """Return the sequence whose steps from term to term are themselves a sequence."""
    return Sequence((start,), last + Of(steps, n - 1))


def arithmetic(start: Expression, step: Expression) -> Sequence:
    """Return the sequence with one step."""
    return Sequence((start,), last + step)


def even(value: Expression) -> Expression:
    """Return the condition that `value` is even."""
    return (value % 2).equals(0)


def floor(numerator: Expression, denominator: Expression) -> Expression:
    """Return the quotient rounded down."""
    return numerator // denominator


def ceiling(numerator: Expression, denominator: Expression) -> Expression:
    """Return the quotient rounded up."""
    return -((-numerator) // denominator)


def positive_part(value: Expression) -> Expression:
    """Return max(0, value)."""
    return If(value >= 0, value, Constant(0))


class Number(int):
    """An integer as formulas write it: with a true minus, and in three formats besides.

    `±` is a summand ("+ 2", "− 3"), `·` a factor that is left out where it is 1 ("2·"), `more` a
    comparison ("2 more", "3 less").
    """

    def __format__(self, spec: str) -> str:
        if spec == "±":
            return f"{'−' if self < 0 else '+'} {abs(self)}"
        if spec == "more":
            return f"{abs(self)} {'less' if self < 0 else 'more'}"
        if spec == "·":
            return "" if self == 1 else f"{self}·"
        return f"{'−' if self < 0 else ''}{abs(self)}"


Axis = tuple[str | tuple[str, ...], tuple | range]
"""A parameter and its values, or several parameters that vary together and their tuples of values."""


@dataclass(frozen=True)
class Family:
    """Sequences of one kind. `weight` is its share of its phase's prior, within it every choice is as likely."""

    name: str
    phase: int
    """1, 2 or 3."""
    weight: float
    axes: tuple[Axis, ...]
    sequence: Sequence
    formula: str
    """With the parameters in braces; `{d:±}` writes d as a summand."""
    words: str
    where: Callable[..., Any] | None = None
    """Which choices of parameters belong to the family: parameters [G] by name → bool [G]; all by default."""

    def parameters(self) -> dict[str, Grid]:
        """Return the values of every parameter at every choice, int64 [G]."""
        places = np.indices([len(values) for _, values in self.axes]).reshape(len(self.axes), -1)
        grid: dict[str, Grid] = {}
        for (names, values), place in zip(self.axes, places):
            columns = np.array(values, np.int64).reshape(len(values), -1)[place].T
            grid |= zip((names,) if isinstance(names, str) else names, columns)
        if self.where is None:
            return grid
        kept = self.where(**grid)
        return {name: values[kept] for name, values in grid.items()}

    def terms(self, count: int) -> np.ndarray:
        """Return the first `count` terms (true integers) at every choice of parameters, int64 [G, count]."""
        return self.sequence.terms(self.parameters(), count)

    def describe(self, parameters: Mapping[str, int]) -> tuple[str, str]:
        """Return the formula and the words of one choice of parameters."""
        numbers = {name: Number(value) for name, value in parameters.items()}
        return self.formula.format(**numbers), self.words.format(**numbers)


# The families. Starts range widely and rules narrowly on purpose: what a rule does to a term is then shown by many
# rows, so that rows held out of training can be predicted by whoever has learnt the rule. Sums, products and parities
# follow from terms modulo 256; roundings do not, so those families have parameters that keep them below 256. A family
# of few rows has a small weight: a row's prior is then of one order of magnitude everywhere.

s, d, e, k, m, f, g, p, q, u, v, x, y = (Parameter(name) for name in "s d e k m f g p q u v x y".split())  # noqa: SIM905

_STEPS = tuple(step for step in range(-5, 11) if step)
_FRACTIONS = ((1, 2), (1, 3), (2, 3), (3, 4), (5, 4), (4, 3), (3, 2))
_TURNS = (
    (1, 2, 3, 2),
    (3, 2, 1, 2),
    (2, 3, 4, 3),
    (4, 3, 2, 3),
    (1, 3, 2, 1),
    (2, 1, 1, 3),
    (1, 2, 2, 1),
    (2, 1, 1, 2),
)


def _stays_small(s: Grid, p: Grid, q: Grid) -> np.ndarray:
    return s * p**8 < 256 * q**8


FAMILIES: tuple[Family, ...] = (
    # Phase 1: recurrences of order 0, 1 and 2.
    Family(
        "constant", 1, 0.25, (("s", range(256)),),
        explicit(s),
        "a(n) = {s}",
        "always {s}",
    ),
    Family(
        "arithmetic", 1, 1.0, (("s", range(256)), ("d", tuple(step for step in range(-20, 21) if step))),
        arithmetic(s, d),
        "a(n) = a(n−1) {d:±}, a(1) = {s}",
        "each term is {d:more} than the one before",
    ),
    Family(
        "alternation", 1, 1.0, (("x", range(128)), ("y", range(128))),
        Sequence((x, y), before_last),
        "a(n) = a(n−2), a(1) = {x}, a(2) = {y}",
        "in turn {x} and {y}",
        where=lambda x, y: x != y,
    ),
    Family(
        "Fibonacci", 1, 0.5, (("x", range(64)), ("y", range(64))),
        Sequence((x, y), last + before_last),
        "a(n) = a(n−1) + a(n−2), a(1) = {x}, a(2) = {y}",
        "each term is the sum of the two before",
        where=lambda x, y: (x > 0) | (y > 0),
    ),
    # Phase 2: steps, factors and repetitions that are themselves sequences.
    Family(
        "alternating steps", 2, 1.0, (("s", range(256)), ("d", range(-4, 9)), ("e", range(-4, 9))),
        cumulative(s, cycle(d, e)),
        "a(n) = a(n−1) + d(n), d = {d}, {e}, {d}, {e}, …, a(1) = {s}",
        "steps of {d} and {e} in turn",
        where=lambda s, d, e: d != e,
    ),
    Family(
        "growing steps", 2, 1.0, (("s", range(256)), ("d", range(9)), ("e", range(1, 7))),
        cumulative(s, arithmetic(d, e)),
        "a(n) = a(n−1) + {d} + {e:·}(n−2), a(1) = {s}",
        "steps that begin at {d} and grow by {e}",
    ),
    Family(
        "shrinking steps", 2, 1.0, (("s", range(256)), ("d", range(3, 17)), ("e", range(1, 5))),
        cumulative(s, explicit(positive_part(d - e * (n - 1)))),
        "a(n) = a(n−1) + max(0, {d} − {e:·}(n−2)), a(1) = {s}",
        "steps that begin at {d} and shrink by {e} until they are 0",
        where=lambda s, d, e: d > e,
    ),
    Family(
        "geometric", 2, 0.5, (("s", range(1, 256)), ("f", range(2, 8))),
        Sequence((s,), f * last),
        "a(n) = {f}·a(n−1), a(1) = {s}",
        "each term is {f} times the one before",
    ),
    Family(
        "alternating factors", 2, 0.5, (("s", range(1, 256)), ("f", range(1, 5)), ("g", range(1, 5))),
        Sequence((s,), last * Of(cycle(f, g), n - 1)),
        "a(n) = f(n)·a(n−1), f = {f}, {g}, {f}, {g}, …, a(1) = {s}",
        "factors of {f} and {g} in turn",
        where=lambda s, f, g: f != g,
    ),
    Family(
        "rational factors", 2, 0.5, (("s", range(1, 128)), (("p", "q", "u", "v"), _TURNS)),
        Sequence((s,), floor(last * Of(cycle(p, u), n - 1), Of(cycle(q, v), n - 1))),
        "a(n) = ⌊f(n)·a(n−1)⌋, f = {p}/{q}, {u}/{v}, {p}/{q}, {u}/{v}, …, a(1) = {s}",
        "factors of {p}/{q} and {u}/{v} in turn, each term rounded down",
    ),
    Family(
        "periods", 2, 1.0, (("s", range(256)), ("d", _STEPS), ("k", range(2, 5))),
        explicit(Of(arithmetic(s, d), (n + k - 1) // k)),
        "a(n) = {s} {d:±}·⌊(n−1)/{k}⌋",
        "after every {k} terms {d:more}",
    ),
    Family(
        "mixed periods", 2, 1.0, (("s", range(256)), ("d", _STEPS), (("u", "v"), ((1, 2), (2, 1), (1, 3), (3, 1)))),
        explicit(Of(arithmetic(s, d), ((n - 1) // (u + v)) * 2 + ((n - 1) % (u + v) >= u) + 1)),
        "a(n) = a(n−1), or a(n−1) {d:±} after {u}, {v}, {u}, {v}, … terms, a(1) = {s}",
        "after {u} and {v} terms in turn {d:more}",
    ),
    # Phase 3: compositions, transformations, conditionals.
    Family(
        "Fibonacci modulo", 3, 0.02, (("x", range(5)), ("y", range(5)), ("m", range(2, 6))),
        explicit(Of(Sequence((x, y), last + before_last)) % m),
        "a(n) = (a(n−1) + a(n−2)) mod {m}, a(1) = {x}, a(2) = {y}",
        "each term is the sum of the two before, modulo {m}",
        where=lambda x, y, m: (x < m) & (y < m) & ((x > 0) | (y > 0)),
    ),
    Family(
        "every k-th multiplied", 3, 1.0,
        (("s", range(256)), ("d", range(1, 9)), ("k", range(2, 5)), ("f", range(2, 4))),
        explicit(If((n % k).equals(0), f * Of(arithmetic(s, d)), Of(arithmetic(s, d)))),
        "a(n) = {s} {d:±}·(n−1), times {f} where {k} divides n",
        "an arithmetic sequence with a step of {d}, times {f} at multiples of {k}",
    ),
    Family(
        "floor of geometric", 3, 0.5, (("s", range(1, 256)), (("p", "q"), _FRACTIONS)),
        explicit(floor(s * p ** (n - 1), q ** (n - 1))),
        "a(n) = ⌊{s}·({p}/{q})^(n−1)⌋",
        "the powers of {p}/{q} times {s}, rounded down",
        where=_stays_small,
    ),
    Family(
        "ceiling of geometric", 3, 0.5, (("s", range(1, 256)), (("p", "q"), _FRACTIONS)),
        explicit(ceiling(s * p ** (n - 1), q ** (n - 1))),
        "a(n) = ⌈{s}·({p}/{q})^(n−1)⌉",
        "the powers of {p}/{q} times {s}, rounded up",
        where=_stays_small,
    ),
    Family(
        "alternating signs", 3, 0.5, (("s", range(1, 128)), ("d", range(16))),
        explicit(Of(arithmetic(s, d)) * (Constant(1) - (n + 1) % 2 * 2)),
        "a(n) = (−1)^(n−1)·({s} {d:±}·(n−1))",
        "an arithmetic sequence with a step of {d}, its signs alternating",
    ),
    Family(
        "by parity", 3, 1.0, (("s", range(256)), ("d", range(1, 9)), ("f", range(2, 4))),
        Sequence((s,), If(even(last), last + d, f * last)),
        "a(n) = a(n−1) {d:±} if a(n−1) is even, else {f}·a(n−1), a(1) = {s}",
        "after an even term {d:more}, after an odd one {f} times as much",
    ),
    Family(
        "by the last two", 3, 1.0,
        (("s", range(256)), ("e", range(1, 5)), ("d", range(1, 7)), ("f", range(2, 4))),
        Sequence((s, s + e), If(even(last + before_last), last + d, f * last)),
        "a(n) = a(n−1) {d:±} if a(n−2) + a(n−1) is even, else {f}·a(n−1), a(1) = {s}, a(2) = a(1) {e:±}",
        "after two even or two odd terms {d:more}, else {f} times as much",
    ),
)  # fmt: skip
