"""Numbers, lists and sums as formulas write them, and as one says them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹"
LONGEST = 24
"""Digits of a number that is shown whole."""

Part = tuple[int | Fraction, str]
"""A weight and what it weighs; "" is the constant 1."""


def number(value: int | Fraction) -> str:
    """Return a number with a true minus sign, the middle of a very long one left out and its digits counted."""
    sign, digits = "−" if value < 0 else "", f"{abs(value)}"
    if len(digits) > LONGEST:
        digits = f"{digits[:6]}…{digits[-6:]} ({len(digits)} digits)"
    return sign + digits


def said(terms: Iterable[int]) -> str:
    """Return terms as a list with commas."""
    return ", ".join(map(number, terms))


def times(count: int) -> str:
    """Return how often: once, twice, 3 times."""
    return {1: "once", 2: "twice"}.get(count, f"{number(count)} times")


def summed(parts: Sequence[Part]) -> str:
    """Return Σ weight · name as a formula: 2·a(n−1) − a(n−2) + 1."""
    return _joined(parts, " + ", " − ", "−", lambda size, name: name if size == 1 else f"{number(size)}·{name}")


def spoken(parts: Sequence[Part]) -> str:
    """Return Σ weight · name in words, what is added before what is taken away: twice the last term minus 1."""
    order = sorted(parts, key=lambda part: part[0] < 0)
    weighed = lambda size, name: name if size == 1 else f"{_often(size)} {name}"  # noqa: E731
    return _joined(order, " plus ", " minus ", "minus ", weighed)


def _often(size: int | Fraction) -> str:
    return times(int(size)) if size == int(size) else f"{size} times"


def _joined(
    parts: Sequence[Part], plus: str, minus: str, first: str, weighed: Callable[[int | Fraction, str], str]
) -> str:
    out = ""
    for weight, name in parts:
        if weight:
            size = -weight if weight < 0 else weight
            told = weighed(size, name) if name else number(size)
            out += (minus if weight < 0 else plus) + told if out else (first if weight < 0 else "") + told
    return out or "0"
