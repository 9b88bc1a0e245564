"""The wide prior's families and compositions against plain loops."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bestguess.config import from_dict, to_dict
from bestguess.integers.config import IntegersConfig, IntegerTaskConfig
from bestguess.integers.sequences.language import Family, Parameter, Sequence, last
from bestguess.integers.sequences.priors import families_of
from bestguess.integers.sequences.recurrences import FAMILIES
from bestguess.integers.sequences.table import make_table
from bestguess.integers.sequences.wider import WIDER, modulo, narrowed, signs_in_turn, steps_by, twice_each
from tests.integers.sequences.test_table import by_hand

COUNT = 9
NAMED = {one.name: one for one in WIDER}


def loop(first, rule, count=COUNT):
    """Terms by a plain loop: rule(terms so far, n) gives a(n), from 1."""
    terms = list(first)
    while len(terms) < count:
        terms.append(rule(terms, len(terms) + 1))
    return terms


def shrinking(d, e):
    return lambda a, n: a[-1] - max(0, d - e * (n - 2))


BY_HAND = {
    "affine": lambda s, p, c: loop([s], lambda a, n: p * a[-1] + c),
    "second-order linear": lambda x, y, p, q, c: loop([x, y], lambda a, n: p * a[-1] + q * a[-2] + c),
    "steps down that grow": lambda s, d, e: loop([s], lambda a, n: a[-1] - d - e * (n - 2)),
    "steps down that shrink": lambda s, d, e: loop([s], shrinking(d, e)),
    "squares": lambda c, k, p: [c + p * (n + k) ** 2 for n in range(1, COUNT + 1)],
    "cubes": lambda c, k, p, q: [c + q * n + p * (n + k) ** 3 for n in range(1, COUNT + 1)],
    "quadratic": lambda c, d, e: [c + d * n + e * n**2 for n in range(1, COUNT + 1)],
    "period 3": lambda **of: [list(of.values())[n % 3] for n in range(COUNT)],
    "period 4": lambda **of: [list(of.values())[n % 4] for n in range(COUNT)],
    "period 5": lambda **of: [list(of.values())[n % 5] for n in range(COUNT)],
    "factorials": lambda s, k, p: loop([s], lambda a, n: (p * n + k) * a[-1]),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_family_is_its_rule(name):
    family = NAMED[name]
    grid, rows = family.parameters(), family.terms(COUNT)
    for i in np.random.default_rng(0).integers(0, len(rows), 40):
        choice = {key: int(values[i]) for key, values in grid.items()}
        assert rows[i].tolist() == BY_HAND[name](**choice), choice
        formula, words = family.describe(choice)
        assert "{" not in formula + words


def doubling(values):
    return Family(
        "doubling", 1, 1.0, (("s", values),), Sequence((Parameter("s"),), last * 2), "a(n) = 2·a(n−1)", "twice"
    )


@pytest.mark.parametrize(
    ("made", "by_loop"),
    [
        (lambda one: steps_by(one, 3, 1.0, range(5, 8)), lambda b, t: [t + sum(b[:n]) for n in range(6)]),
        (lambda one: signs_in_turn(one, 3, 1.0), lambda b: [(-1) ** n * b[n] for n in range(6)]),
        (lambda one: modulo(one, 3, 1.0, range(3, 6)), lambda b, m: [term % m for term in b[:6]]),
        (lambda one: twice_each(one, 3, 1.0), lambda b: [b[n // 2] for n in range(6)]),
    ],
    ids=["steps", "signs", "modulo", "twice"],
)
def test_a_composition_applies_one_rule_to_the_output_of_another(made, by_loop):
    family = made(doubling((3, 11, 13)))
    grid, rows = family.parameters(), family.terms(6)
    assert len(rows) >= 3
    for i, row in enumerate(rows.tolist()):
        choice = {key: int(values[i]) for key, values in grid.items()}
        start = choice.pop("s")
        inner = [start * 2**n for n in range(7)]
        assert row == by_loop(inner, **choice)


def test_a_composition_keeps_what_its_inner_family_leaves_out():
    inner = Family(
        "odd", 1, 1.0, (("s", range(8)),), Sequence((Parameter("s"),), last + 2), "", "", where=lambda s: s % 2 == 1
    )
    assert set(steps_by(inner, 2, 1.0, range(2)).parameters()["s"].tolist()) == {1, 3, 5, 7}
    assert set(narrowed(inner, s=range(3)).parameters()["s"].tolist()) == {1}


@pytest.mark.parametrize("overflow", ["wrap", "end"])
def test_a_table_of_compositions_is_that_of_plain_loops(overflow):
    one = doubling((0, 3, 60))
    families = (one, steps_by(one, 2, 0.7, range(3)), signs_in_turn(one, 3, 1.0), twice_each(one, 3, 0.5))
    table, expected = make_table(4, overflow, families=families), by_hand(families, 4, overflow)
    found = [tuple(row[:n].tolist()) for row, n in zip(table.rows, table.lengths)]
    assert set(found) == set(expected)
    for i, terms in enumerate(found):
        np.testing.assert_allclose(table.prior[:, i], expected[terms], rtol=1e-12)


def test_older_configs_have_the_narrow_prior():
    narrow = IntegerTaskConfig(prior="narrow")
    assert families_of(narrow) == FAMILIES
    assert families_of(dataclasses.replace(narrow, phases=2)) == tuple(one for one in FAMILIES if one.phase <= 2)
    old = to_dict(IntegersConfig())
    del old["task"]["prior"]
    assert from_dict(IntegersConfig, old, complete=True) == dataclasses.replace(IntegersConfig(), task=narrow)
    names = [one.name for one in families_of(IntegerTaskConfig())]  # what is new has the wide one
    assert len(set(names)) == len(names) == len(FAMILIES) + len(WIDER)
