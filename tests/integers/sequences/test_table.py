"""The table against a dictionary that plain loops fill."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestguess.integers.sequences.language import Family, Parameter, Sequence, explicit, last
from bestguess.integers.sequences.recurrences import FAMILIES
from bestguess.integers.sequences.table import CLASSES, PARTS, PHASES, hashed, make_table

s, d, f = Parameter("s"), Parameter("d"), Parameter("f")
SMALL = (
    Family("constant", 1, 0.3, (("s", (0, 3, 255)),), explicit(s), "{s}", "{s}"),
    Family("steps", 1, 0.9, (("s", (250, 3)), ("d", (0, 2, -2))), Sequence((s,), last + d), "{s}{d:±}", "{d}"),
    Family("factors", 2, 2.0, (("s", (0, 3, 7, 11)), ("f", (1, 5))), Sequence((s,), f * last), "{f}·{s}", "{f}"),
    Family("away", 3, 1.0, (("s", (300,)),), explicit(s), "{s}", "{s}"),
    Family("back", 3, 2.0, (("s", (250, 100)), ("d", (1, 3))), Sequence((s,), last + d), "{s}{d:±}!", "{d}"),
)
"""Few, with rows that several families and parameters give, wraps, and one family that starts outside the alphabet."""


def by_hand(families, length, overflow):
    """{terms shown: P(terms | phase)}, each choice of each family added up on its own."""
    shown = defaultdict(list)
    for family in families:
        for terms in family.terms(length + 1).tolist():
            if overflow == "wrap":
                terms = [term % CLASSES for term in terms]
            else:
                terms = terms[: next((i for i, term in enumerate(terms) if not 0 <= term < CLASSES), length + 1)]
            if len(terms) >= 2:
                shown[family.name].append(tuple(terms))
    prior = defaultdict(lambda: [0.0] * PHASES)
    for phase in range(1, PHASES + 1):
        own = [family for family in families if family.phase == phase and shown[family.name]]
        for family in own:
            for terms in shown[family.name]:
                share = family.weight / sum(one.weight for one in own) / len(shown[family.name])
                prior[terms][phase - 1] += share
    return prior


@pytest.mark.parametrize("overflow", ["wrap", "end"])
@pytest.mark.parametrize("length", [2, 5, 11])
def test_rows_and_priors_are_those_of_plain_loops(length, overflow):
    table = make_table(length, overflow, families=SMALL)
    expected = by_hand(SMALL, length, overflow)
    found = [tuple(row[:n].tolist()) for row, n in zip(table.rows, table.lengths)]
    assert len(set(found)) == len(found)
    assert set(found) == set(expected)
    for i, terms in enumerate(found):
        np.testing.assert_allclose(table.prior[:, i], expected[terms], rtol=1e-12)
    np.testing.assert_allclose(table.prior.sum(axis=1), 1.0)
    assert found == sorted(found) or overflow == "end"
    assert [row.tobytes() for row in table.rows] == sorted(row.tobytes() for row in table.rows)


def test_negative_and_overflowing_terms_are_shown_modulo_256_or_end_the_row():
    down = (Family("down", 1, 1.0, (("s", (1,)),), Sequence((s,), last - 1), "", ""),)
    assert make_table(3, "wrap", families=down).rows.tolist() == [[1, 0, 255, 254]]
    ended = make_table(3, "end", families=down)
    assert (ended.rows.tolist(), ended.lengths.tolist()) == ([[1, 0, 0, 0]], [2])
    up = (Family("up", 1, 1.0, (("s", (100,)),), Sequence((s,), last * 2), "", ""),)
    assert make_table(3, "wrap", families=up).rows.tolist() == [[100, 200, 144, 32]]
    assert make_table(3, "end", families=up).lengths.tolist() == [2]


def test_the_alphabet_s_whole_table():
    table = make_table()
    assert 100_000 < len(table.rows) < 300_000
    assert table.rows.shape[1] == 9
    assert (table.lengths == 9).all()
    np.testing.assert_allclose(table.prior.sum(axis=1), 1.0)
    assert make_table() is table
    # No family swamps the others: none has a third of all choices, none a phase for itself.
    choices = np.bincount(table.source_family)
    assert choices.max() < choices.sum() / 3
    assert table.prior.max() < 1e-3


@pytest.mark.parametrize("overflow", ["wrap", "end"])
def test_every_row_names_its_sources(overflow):
    table = make_table(6, overflow)
    grids = [family.terms(7) for family in FAMILIES]
    assert table.first_source[0] == 0
    assert table.first_source[-1] == len(table.source_family)
    total = np.zeros((PHASES, len(table.rows)))
    for i in [0, len(table.rows) - 1, *np.random.default_rng(1).integers(0, len(table.rows), 300)]:
        sources = range(table.first_source[i], table.first_source[i + 1])
        assert len(sources) > 0
        n = table.lengths[i]
        for source in sources:
            family = table.source_family[source]
            terms = grids[family][table.source_choice[source]]
            assert (terms[:n] % CLASSES).tolist() == table.rows[i, :n].tolist()
            if overflow == "end" and n < 7:
                assert not 0 <= terms[n] < CLASSES
            total[FAMILIES[family].phase - 1, i] += table.source_prior[source]
        np.testing.assert_allclose(total[:, i], table.prior[:, i], rtol=1e-9)


# ------------------------------------------------------------------------------------------- holding out


def test_about_a_tenth_is_held_out_and_a_context_is_on_one_side():
    table = make_table()
    assert abs(table.held_out.mean() - 0.1) < 0.005
    sides = defaultdict(set)
    for context, side in zip(map(bytes, table.rows[:, :8]), table.held_out):
        sides[context].add(bool(side))
    assert all(len(side) == 1 for side in sides.values())
    assert max(map(len, sides)) == 8
    assert len(sides) < len(table.rows)  # some contexts go on in two ways: the check sees them


def test_held_out_rows_depend_on_the_salt_and_the_fraction():
    base = make_table(4, families=SMALL, held_out_fraction=0.5).held_out
    assert (make_table(4, families=SMALL, held_out_fraction=0.5, salt=1).held_out != base).any()
    assert not make_table(4, families=SMALL, held_out_fraction=0.0).held_out.any()
    assert make_table(4, families=SMALL, held_out_fraction=1.0).held_out.all()


def test_validation_has_contexts_of_its_own():
    table = make_table(held_out_fraction=0.1, validation_fraction=0.05)
    parts = [table.part(part) for part in ("seen", "validation", "held-out")]
    assert (np.sum(parts, axis=0) == 1).all()
    np.testing.assert_allclose([part.mean() for part in parts], [0.85, 0.05, 0.1], atol=0.005)
    # What is held out for the evaluation does not depend on what validation takes.
    np.testing.assert_array_equal(table.held_out, make_table().held_out)
    contexts = [set(map(bytes, table.rows[part, :8])) for part in parts]
    assert not contexts[0] & contexts[1]
    assert not contexts[1] & contexts[2]


def test_the_hash_never_changes():
    """Held-out rows of a shipped model must stay held out: these figures are part of the format."""
    rows = np.array([[2, 4, 8], [0, 0, 0], [255, 0, 1]], np.uint8)
    found = hashed(rows, np.array([3, 2, 3]), salt=0)

    def splitmix(state):
        mask = 2**64 - 1
        state = (state + 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        return state ^ (state >> 31)

    for row, n, value in zip(rows, (3, 2, 3), found):
        word = int.from_bytes(bytes(row) + bytes(5), "big")
        assert value == (splitmix(splitmix(word) ^ n) >> 11) / 2**53


def test_the_hash_is_even():
    chance = hashed(make_table().rows[:, :8], np.full(len(make_table().rows), 8), salt=3)
    histogram = np.bincount((chance * 20).astype(int), minlength=20)
    expected = len(chance) / 20
    assert ((histogram - expected) ** 2 / expected).sum() < 60  # χ² with 19 degrees of freedom: 60 has odds of 4e-6


# ------------------------------------------------------------------------------------------- the rest


@given(st.lists(st.sampled_from([0, 1, 2, 3, 5, 15, 250, 252, 255, 100]), max_size=6))
def test_rows_that_start_with_some_terms(terms):
    for overflow in ("wrap", "end"):
        table = make_table(4, overflow, families=SMALL)
        found = table.starting_with(terms).tolist()
        cut = [row[:n].tolist() for row, n in zip(table.rows, table.lengths)]
        assert found == [i for i, row in enumerate(cut) if row[: len(terms)] == terms]


def test_parts_and_weights():
    table = make_table(4, families=SMALL, held_out_fraction=0.4)
    every, seen, held = (table.part(part) for part in PARTS)
    assert every.all()
    assert (seen ^ held).all()
    assert held.any()
    np.testing.assert_allclose(table.weights([0.2, 0.5, 0.3]), np.array([0.2, 0.5, 0.3]) @ table.prior)
    only_two = make_table(4, families=SMALL[:3])  # no family of phase 3
    np.testing.assert_allclose(only_two.weights([0.25, 0.25, 0.5]).sum(), 1.0)


@pytest.mark.parametrize("length", [1, 17])
def test_a_length_that_is_no_length(length):
    with pytest.raises(ValueError, match=f"length {length}: must be from 2 to 16"):
        make_table(length)


def test_terms_at_the_longest_length_are_exact_in_64_bits():
    for family in FAMILIES:
        terms = family.terms(17)
        assert np.abs(terms).max() < 2**62, family.name
