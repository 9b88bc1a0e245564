"""What a rule outside the prior is worth: it is told where it is shorter than the terms that it explains.

A rule has no prior here, so nothing is weighed by one. Instead both are written down in bits (minimum description
length; Rissanen, 1978): the terms one after the other, and the rule with its parameters and the terms that it starts
from. A rule whose parameters say as much as the terms explains nothing, however well it fits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

Terms = tuple[int, ...]

LARGEST = 10**300
"""Terms beyond are not looked for: rules are to be seen, not computed with."""
LEAST = 5.0
"""Bits by which a rule must be shorter than the terms: by chance one in 32 is."""
FORM = 3.0
"""Bits for which of the forms a rule has."""
COMPOSED = 5.0
"""Bits for each composition."""


@dataclass(frozen=True)
class OutsideRule:
    """A rule that fits all terms given, and what it puts next."""

    rule: str
    following: Terms
    """What comes next and on: at least one term."""
    bits: float
    """Of the rule, written down: the fewer, the simpler."""
    named: bool = False
    """Whether it is a well-known sequence, by its name."""

    @property
    def next(self) -> int:
        """The next term."""
        return self.following[0]


def bits(value: int | Fraction) -> float:
    """Return the bits of a number: of a universal code, 1 for 0, 3 for ±1, and two more for each doubling."""
    if isinstance(value, Fraction) and value.denominator > 1:
        return bits(value.numerator) + bits(value.denominator)
    return 1 + 2 * math.log2(1 + abs(int(value)))


def total(values: Iterable[int | Fraction]) -> float:
    """Return the bits of several numbers."""
    return math.fsum(map(bits, values))


def plain(terms: Sequence[int]) -> float:
    """Return the bits of terms that follow no rule: each by itself or by its step from the one before."""
    steps = itertools.pairwise(terms)
    return total(terms[:1]) + sum(min(bits(after), bits(after - before)) for before, after in steps)


def worth_telling(rules: Iterable[OutsideRule], terms: Sequence[int]) -> list[OutsideRule]:
    """Return the rules that are shorter than the terms by `LEAST`, shortest first, one for each next term and on."""
    most = plain(terms) - LEAST
    found: dict[Terms, OutsideRule] = {}
    for rule in sorted((one for one in rules if one.bits <= most), key=lambda one: one.bits):
        found.setdefault(rule.following, rule)
    return list(found.values())
