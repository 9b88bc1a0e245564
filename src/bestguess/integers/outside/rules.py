"""Exact rules outside the generator's prior: what a sequence follows that the oracle knows nothing of.

Each rule is fitted to true integers. It is told where it is shorter than the terms that it explains (`evidence`);
these rules have no prior, so what is found has no probability.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bestguess.integers.outside.cases import by_half, by_parity, by_rows, by_sum
from bestguess.integers.outside.composed import composed
from bestguess.integers.outside.evidence import FORM, LARGEST, OutsideRule, Terms, bits, total, worth_telling
from bestguess.integers.outside.forms import by_form, constant_weights, index_powers, periodic, polynomial, rounded
from bestguess.integers.outside.known import KNOWN, LONGEST_START, Known, continuation, first
from bestguess.integers.words import said, summed

NAME = 4.0
"""Bits for which of the well-known names a sequence has; rarer ones have more (`Known.more`)."""


def outside_rules(terms: Sequence[int], steps: int = 1) -> list[OutsideRule]:
    """Return the rules that fit `terms` and are shorter than they are, simplest first, one for each continuation.

    steps: terms to go on with, at least 1. Empty where nothing fits, where terms are fewer than 4, or where they are
    too large to be worth it.
    """
    given = tuple(terms)
    if not _worth_a_look(given):
        return []
    from bestguess.integers.outside.derived import DERIVED, residues  # long lists, that few questions need
    from bestguess.integers.outside.names import RARER

    names = (*KNOWN, *RARER)
    rules = [*_named(given, steps, (*names, *DERIVED, *residues(given)))]
    rules += [*_altered(given, steps), *_after_a_term(given, steps, names)]
    for kind in (periodic, by_form, polynomial, index_powers, rounded, by_parity, by_half, by_rows, by_sum):
        rules += kind(given, steps)
    rules += composed(given, steps, _shortest)
    return worth_telling(rules, given)


def named_rules(terms: Sequence[int], steps: int = 1) -> list[OutsideRule]:
    """Return the well-known sequences, by their names, that `terms` are a part of."""
    given = tuple(terms)
    return worth_telling(_named(given, steps, KNOWN), given) if _worth_a_look(given) else []


def _worth_a_look(terms: Terms) -> bool:
    return len(terms) >= 4 and all(abs(term) <= LARGEST for term in terms)


def _named(terms: Terms, steps: int, listed: Iterable[Known]) -> Iterator[OutsideRule]:
    if len(set(terms)) < 2:
        return
    for known in listed:
        if found := continuation(known, terms, steps):
            start, following = found
            yield OutsideRule(known.name, following, NAME + known.more + bits(start) - 1, named=True)


def _after_a_term(terms: Terms, steps: int, listed: Iterable[Known]) -> Iterator[OutsideRule]:
    """One term, then a named sequence from its beginning: as some begin it, and others do not."""
    for known in listed:
        found = continuation(known, terms[1:], steps)
        if found and found[0] == 0 and len(set(terms[1:])) > 1:
            told = f"{said(terms[:1])}, then {known.name}"
            yield OutsideRule(told, found[1], NAME + known.more + FORM + bits(terms[0]))


def _altered(terms: Terms, steps: int) -> Iterator[OutsideRule]:
    """A multiple of a well-known sequence, and a constant more or less."""
    if len(terms) < 5:
        return
    n = len(terms)
    for known in KNOWN:
        own = first(known, LONGEST_START + n + steps) if known.grows else ()
        for start in range(min(LONGEST_START, len(own) - n)):
            factor, more = _affine(own[start : start + n], terms)
            if factor and (factor, more) != (1, 0):
                following = tuple(int(factor * one + more) for one in own[start + n : start + n + steps])
                length = NAME + known.more + bits(start) - 1 + FORM + total((factor, more)) - 4  # 4: of times 1, plus 0
                yield OutsideRule(_altered_words(factor, more, known.name), following, length)


def _altered_words(factor: int, more: int, name: str) -> str:
    if (factor, abs(more)) == (1, 1):
        return f"one {'more' if more > 0 else 'less'} than the {name}"
    if more == 0:
        return f"{factor} times the {name}".replace("-", "−")
    return f"{summed([(factor, 'b(n)'), (more, '')])}, b: {name}"


def _affine(own: Terms, terms: Terms) -> tuple[int, int]:
    """The factor and the constant that make `terms` of `own`; (0, 0) where none do."""
    place = next((i for i in range(1, len(own)) if own[i] != own[0]), 0)
    if not place or (terms[place] - terms[0]) % (own[place] - own[0]):
        return 0, 0
    factor = (terms[place] - terms[0]) // (own[place] - own[0])
    more = terms[0] - factor * own[0]
    fits = factor and all(factor * a + more == b for a, b in zip(own, terms))
    return (factor, more) if fits else (0, 0)


def _shortest(terms: Terms, steps: int) -> OutsideRule | None:
    """The shortest rule of terms that are a part of a composition."""
    if len(terms) < 3:
        return None
    rules = [*_named(terms, steps, KNOWN)] if len(terms) > 4 else []
    for kind in (periodic, constant_weights, polynomial):
        rules += kind(terms, steps)
    return min(rules, key=lambda one: one.bits, default=None)
