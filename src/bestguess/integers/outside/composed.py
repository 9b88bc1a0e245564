"""One rule applied to the output of another: signs, steps, factors, powers, multiples, turns and runs by a rule."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

from bestguess.integers.outside.evidence import COMPOSED, OutsideRule, Terms, bits
from bestguess.integers.words import said

Inner = Callable[[Terms, int], OutsideRule | None]
"""The shortest rule of some terms, and how it goes on."""
MOST_AT_ONCE = 1000
"""Terms of one run, or between two restarts: a rule may ask for any number."""


def composed(terms: Terms, steps: int, inner: Inner) -> Iterator[OutsideRule]:
    """Yield the compositions that fit, by the shortest inner rule each."""
    for composition in (_signs, _steps, _factors, _powers, _multiples, _turns, _runs, _restarts, _countdowns):
        yield from composition(terms, steps, inner)


def _signs(terms: Terms, steps: int, inner: Inner) -> Iterator[OutsideRule]:
    if all(a * b < 0 for a, b in itertools.pairwise(terms)) and (one := inner(tuple(map(abs, terms)), steps)):
        signs = [(-1) ** (i + 1) * (1 if terms[-1] > 0 else -1) for i in range(steps)]
        following = tuple(s * abs(v) for s, v in zip(signs, one.following))
        yield OutsideRule(f"signs in turn: {one.rule}", following, one.bits + COMPOSED)


def _steps(terms: Terms, steps: int, inner: Inner) -> Iterator[OutsideRule]:
    differences = tuple(b - a for a, b in itertools.pairwise(terms))
    if one := inner(differences, steps):
        following = tuple(itertools.accumulate(one.following, initial=terms[-1]))[1:]
        yield OutsideRule(
            f"steps {said(differences[:4])}, …: {one.rule}", following, one.bits + COMPOSED + bits(terms[0])
        )


def _factors(terms: Terms, steps: int, inner: Inner) -> Iterator[OutsideRule]:
    if not all(a and b % a == 0 for a, b in itertools.pairwise(terms)):
        return
    factors = tuple(b // a for a, b in itertools.pairwise(terms))
    if one := inner(factors, steps):
        following = tuple(itertools.accumulate(one.following, lambda a, b: a * b, initial=terms[-1]))[1:]
        yield OutsideRule(
            f"factors {said(factors[:4])}, …: {one.rule}", following, one.bits + COMPOSED + bits(terms[0])
        )


_POWERS = {2: "squares", 3: "cubes", 4: "fourth powers", 5: "fifth powers", 6: "sixth powers", 7: "seventh powers"}


def _powers(terms: Terms, steps: int, inner: Inner) -> Iterator[OutsideRule]:
    if min(terms) < 0 or max(terms) < 4:
        return
    for power, name in _POWERS.items():
        roots = tuple(_root(term, power) for term in terms)
        if all(root**power == term for root, term in zip(roots, terms)) and (one := inner(roots, steps)):
            told = f"{name} of {said(roots[:4])}, …: {one.rule}"
            yield OutsideRule(told, tuple(root**power for root in one.following), one.bits + COMPOSED + bits(power))


def _root(term: int, power: int) -> int:
    """The integer root, rounded down where it is no whole one."""
    if power == 2:
        return math.isqrt(term)
    low, high = 0, 1 << -(-term.bit_length() // power)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**power <= term else (low, middle - 1)
    return low


def _multiples(terms: Terms, steps: int, inner: Inner) -> Iterator[OutsideRule]:
    """n·b(n), the index from 1, or from 0 where the first term is 0."""
    skipped = int(terms[0] == 0)
    own = terms[skipped:]
    if len(own) < 4 or any(term % i for i, term in enumerate(own, 1)):
        return
    if one := inner(tuple(term // i for i, term in enumerate(own, 1)), steps):
        following = tuple(i * value for i, value in enumerate(one.following, len(own) + 1))
        yield OutsideRule(f"n times b(n), b: {one.rule}", following, one.bits + COMPOSED)


def _turns(terms: Terms, steps: int, inner: Inner) -> Iterator[OutsideRule]:
    """Two or three sequences in turn."""
    for ways, name in ((2, "two"), (3, "three")):
        if len(terms) < 3 * ways:
            return
        # At least three terms each: fewer follow any step.
        rules = [inner(terms[i::ways], -(-steps // ways)) for i in range(ways)]
        chosen = [one for one in rules if one is not None]
        if len(chosen) < ways:
            continue
        n = len(terms)
        following = []
        for i in range(steps):
            turn, place = (n + i) % ways, (n + i) // ways - len(terms[(n + i) % ways :: ways])
            if place >= len(chosen[turn].following):
                break
            following.append(chosen[turn].following[place])
        if following:
            told = f"{name} in turn: {'; '.join(one.rule for one in chosen)}"
            yield OutsideRule(told, tuple(following), sum(one.bits for one in chosen) + COMPOSED)


def _runs(terms: Terms, steps: int, inner: Inner) -> Iterator[OutsideRule]:
    """Terms given several times each, as often as a rule says; the last run may be cut short."""
    runs = [(value, len(list(same))) for value, same in itertools.groupby(terms)]
    values, counts = (tuple(one) for one in zip(*runs))
    if len(runs) < 4 or max(counts) < 2:
        return
    value_rule, count_rule = inner(values, steps + 1), inner(counts[:-1], steps + 2)
    if value_rule is None or count_rule is None:
        return
    left = count_rule.following[0] - counts[-1]
    if not 0 <= left <= MOST_AT_ONCE:
        return
    following = [values[-1]] * left
    for value, count in zip(value_rule.following, count_rule.following[1:]):
        if not 1 <= count <= MOST_AT_ONCE or len(following) >= steps:
            break
        following += [value] * count
    if following:
        lengths = f"runs of {said(counts[:4])}, … terms each ({count_rule.rule})"
        told = f"{lengths}, of {said(values[:4])}, … ({value_rule.rule})"
        yield OutsideRule(told, tuple(following[:steps]), value_rule.bits + count_rule.bits + COMPOSED)


def _restarts(terms: Terms, steps: int, inner: Inner) -> Iterator[OutsideRule]:
    """Beginnings of one sequence, one after the other: 1; 1, 2; 1, 2, 3; …"""
    starts = [i for i, term in enumerate(terms) if term == terms[0]]
    blocks = [terms[a:b] for a, b in zip(starts, [*starts[1:], len(terms)])]
    longest = max(blocks, key=len)
    if len(blocks) < 4 or len(longest) < 2 or any(block != longest[: len(block)] for block in blocks):
        return
    lengths = inner(tuple(map(len, blocks[:-1])), steps + 1)
    if lengths is None:
        return
    most = max(lengths.following)
    if most > MOST_AT_ONCE or (values := inner(longest, max(1, most - len(longest)))) is None:
        return
    whole = (*longest, *values.following)
    following = list(whole[len(blocks[-1]) : lengths.following[0]])
    for length in lengths.following[1:]:
        following += whole[: max(0, length)]
    if following:
        counts = said(tuple(map(len, blocks[:4])))
        told = f"the first {counts}, … terms of {said(longest[:4])}, … ({values.rule})"
        yield OutsideRule(told, tuple(following[:steps]), values.bits + lengths.bits + COMPOSED)


def _countdowns(terms: Terms, steps: int, inner: Inner) -> Iterator[OutsideRule]:
    """Beginnings of one sequence of 1, 2, 3, … terms, each backwards: 1; 2, 1; 3, 2, 1; …"""
    rows: list[Terms] = []
    while (at := sum(map(len, rows))) < len(terms):
        rows.append(terms[at : at + len(rows) + 1])
    firsts = tuple(row[0] for row in rows)
    if len(rows) < 4 or any(row != firsts[i::-1][: len(row)] for i, row in enumerate(rows)):
        return
    if one := inner(firsts, steps):
        whole = (*firsts, *one.following)
        following = list(whole[len(rows) - 1 - len(rows[-1]) :: -1]) if len(rows[-1]) < len(rows) else []
        for i in range(len(rows), len(whole)):
            if len(following) >= steps:
                break
            following += whole[i::-1]
        if following:
            told = f"the first 1, 2, 3, … terms, backwards, of {said(firsts[:4])}, … ({one.rule})"
            yield OutsideRule(told, tuple(following[:steps]), one.bits + COMPOSED)
