"""A small declarative language of recurrences; `recurrences` lists the families of sequences written in it.

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

from bestguess.integers.words import number, spoken, summed, times

Grid = np.ndarray
"""int64 [G]: one value for each choice of parameters; Python's integers (dtype object) where int64 is too small."""


class Expression(abc.ABC):
    """How a term comes about. Operators +, −, ·, //, % and comparisons make bigger expressions."""

    @abc.abstractmethod
    def value(self, scope: Scope) -> Grid:
        """Return the expression's value in `scope`."""

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
    """n, the index of the term in its sequence, from 1."""

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
    """The term of another sequence at the index `at`, by default n."""

    sequence: Sequence
    at: Expression = field(default_factory=Index)

    def value(self, scope: Scope) -> Grid:
        place = self.at.value(scope).astype(np.int64)  # where terms are Python's integers, they count places too
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
    """One expression if a condition holds, another if it does not."""

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
    """What an expression reads: the parameters [G], the terms so far, how many there will be."""

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
    """An integer as formulas write it: with a true minus, and in nine formats besides.

    `±` is a summand ("+ 2", "− 3"), `+` one that is left out if it is 0 (" + 2"), `+n` the same times n, `·` a factor
    that is left out if it is 1 ("2·"), `more` a comparison ("2 more", "3 less"), `times` how often ("twice",
    "3 times"), `th` which ("second"), `sizes` what their steps are, `n` the index and it ("n", "(n + 2)").
    """

    def __format__(self, spec: str) -> str:
        match spec:
            case "±":
                return f"{'−' if self < 0 else '+'} {abs(self)}"
            case "+":
                return f" {self:±}" if self else ""
            case "+n":
                return f" {'−' if self < 0 else '+'} {Number(abs(self)):·}n" if self else ""
            case "more":
                return f"{number(abs(self))} {'less' if self < 0 else 'more'}"
            case "·":
                return "" if self == 1 else f"{self}·"
            case "times":
                return times(int(self))
            case "th":
                return {2: "second", 3: "third"}.get(int(self), f"{self}th")
            case "sizes":
                return f"sizes with steps of {self}" if self else "equal sizes"
            case "n":
                return f"(n {self:±})" if self else "n"
        return number(int(self))


@dataclass(frozen=True)
class Sum:
    """A weighted sum as formulas write it ("2·a(n−1) − 1"), or with the format `words` in words."""

    parts: list[tuple[int, str]]

    def __format__(self, spec: str) -> str:
        return spoken(self.parts) if spec == "words" else summed(self.parts)


Axis = tuple[str | tuple[str, ...], tuple | range]
"""A parameter and its values, or several parameters that vary together and their tuples of values."""


@dataclass(frozen=True)
class Family:
    """Sequences of one kind. `weight` is its fraction of its phase's prior; within it every choice is as likely."""

    name: str
    phase: int
    """1, 2 or 3."""
    weight: float
    axes: tuple[Axis, ...]
    sequence: Sequence
    formula: str
    """With the parameters in braces; `{d:±}` writes d as a summand."""
    words: str
    sums: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    """Sums by name, of parameters and what each weighs ("" is 1), for formula and words: see `Sum`."""
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
        sums = {name: Sum([(parameters[one], what) for one, what in weighed]) for name, weighed in self.sums}
        return self.formula.format(**numbers, **sums), self.words.format(**numbers, **sums)
