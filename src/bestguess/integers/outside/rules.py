"""Exact rules outside the generator's prior: what a sequence follows that the oracle knows nothing of.

Each rule is fitted to true integers. It is told where it is shorter than the terms that it explains (`evidence`);
these rules have no prior, so what is found has no probability.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bestguess.integers.outside.cases import by_half, by_parity, by_sum
from bestguess.integers.outside.composed import composed
from bestguess.integers.outside.evidence import FORM, LARGEST, OutsideRule, Terms, bits, worth_telling
from bestguess.integers.outside.forms import by_form, constant_weights, periodic, polynomial, rounded
from bestguess.integers.outside.known import KNOWN, Known, continuation

NAME, RARER = 4.0, 3.0
"""Bits for which of the well-known names a sequence has, and more for one of arithmetic's."""


def outside_rules(terms: Sequence[int], steps: int = 1) -> list[OutsideRule]:
    """Return the rules that fit `terms` and are shorter than they are, simplest first, one for each continuation.

    steps: terms to go on with, at least 1. Empty where nothing fits, where terms are fewer than 4, or where they are
    too large to be worth it.
    """
    given = tuple(terms)
    if not _worth_a_look(given):
        return []
    from bestguess.integers.outside.arithmetic import ARITHMETIC  # lists of numbers that few questions need

    rules = [*_named(given, steps, KNOWN), *_named(given, steps, ARITHMETIC, RARER), *_altered(given, steps)]
    for kind in (periodic, by_form, polynomial, rounded, by_parity, by_half, by_sum):
        rules += kind(given, steps)
    rules += composed(given, steps, _shortest)
    return worth_telling(rules, given)


def named_rules(terms: Sequence[int], steps: int = 1) -> list[OutsideRule]:
    """Return the well-known sequences, by their names, that `terms` are a part of."""
    given = tuple(terms)
    return worth_telling(_named(given, steps, KNOWN), given) if _worth_a_look(given) else []


def _worth_a_look(terms: Terms) -> bool:
    return len(terms) >= 4 and all(abs(term) <= LARGEST for term in terms)


def _named(terms: Terms, steps: int, listed: Sequence[Known], more: float = 0.0) -> Iterator[OutsideRule]:
    if len(set(terms)) < 2:
        return
    for known in listed:
        if found := continuation(known, terms, steps):
            start, following = found
            yield OutsideRule(known.name, following, NAME + more + bits(start) - 1, named=True)


def _altered(terms: Terms, steps: int) -> Iterator[OutsideRule]:
    """One more or one less than the terms of a well-known sequence, or a multiple of them."""
    for factor, more in ((1, 1), (1, -1), (2, 0), (3, 0), (-1, 0)):
        inner = tuple((term - more) // factor for term in terms if (term - more) % factor == 0)
        if len(inner) < max(5, len(terms)):
            continue
        words = {1: "one more than", -1: "one less than"}.get(more) or f"{factor} times".replace("-", "−")
        for one in _named(inner, steps, [known for known in KNOWN if known.grows], FORM):
            yield OutsideRule(f"{words} the {one.rule}", tuple(factor * v + more for v in one.following), one.bits)


def _shortest(terms: Terms, steps: int) -> OutsideRule | None:
    """The shortest rule of terms that are a part of a composition."""
    if len(terms) < 3:
        return None
    rules = [*_named(terms, steps, KNOWN)] if len(terms) > 4 else []
    for kind in (periodic, constant_weights, polynomial):
        rules += kind(terms, steps)
    return min(rules, key=lambda one: one.bits, default=None)
