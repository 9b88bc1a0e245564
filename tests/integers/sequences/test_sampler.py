"""Draws against the prior: exactly, from the alias tables themselves, and by χ² over many of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from bestguess.integers.sequences.sampler import PADDING, alias_table, make_sampler
from bestguess.integers.sequences.table import PARTS, make_table
from tests.integers.sequences.test_table import SMALL


def chances(threshold, alias):
    """P(outcome) that an alias table gives, added up place by place."""
    total = np.array(threshold, np.float64)
    np.add.at(total, alias, 1 - np.asarray(threshold, np.float64))
    return total / len(total)


@given(st.lists(st.one_of(st.just(0.0), st.floats(1e-9, 1e3)), min_size=1, max_size=40).filter(any))
def test_an_alias_table_has_the_weights(weights):
    threshold, alias = alias_table(np.array(weights))
    assert ((threshold >= 0) & (threshold <= 1)).all()
    np.testing.assert_allclose(chances(threshold, alias), np.array(weights) / sum(weights), atol=1e-12)


def test_no_weight_at_all_is_uniform():
    np.testing.assert_allclose(chances(*alias_table(np.zeros(5))), 0.2)


@pytest.mark.parametrize("part", PARTS)
def test_the_whole_table_s_sampler_is_exact(part):
    table = make_table()
    sampler = make_sampler(table, part)
    kept = table.part(part)
    np.testing.assert_array_equal(sampler.rows, table.rows[kept])
    for phase in range(3):
        prior = table.prior[phase, kept]
        found = chances(sampler.threshold[phase], np.asarray(sampler.alias[phase]))
        # float32 thresholds: off by 6e-8 of a place's 1/N.
        np.testing.assert_allclose(found, prior / prior.sum(), atol=1e-6 / kept.sum())


def test_training_draws_no_row_that_is_held_out():
    table = make_table(4, families=SMALL, held_out_fraction=0.4)
    seen = make_sampler(table)
    held = {bytes(row) for row in table.rows[table.held_out]}
    drawn = {bytes(row) for row in np.asarray(seen.rows)}
    assert held
    assert drawn
    assert not held & drawn


@pytest.mark.parametrize("mixture", [[1.0, 0.0, 0.0], [0.2, 0.5, 0.3], [0.0, 0.0, 1.0]])
def test_many_draws_have_the_mixture_s_distribution(mixture):
    table = make_table(4, families=SMALL)
    sampler = make_sampler(table, "all")
    keys = jax.random.split(jax.random.key(0), 60_000)
    draws = jax.jit(jax.vmap(lambda key: sampler.draw(key, jnp.asarray(mixture))))(keys)
    count = np.bincount(draws, minlength=len(table.rows))
    expected = table.weights(mixture) * len(keys)
    assert not count[expected == 0].any()
    possible = expected > 0
    statistic = ((count - expected)[possible] ** 2 / expected[possible]).sum()
    assert statistic < chi2.isf(1e-6, possible.sum() - 1)
    # The check sees a draw that is off: with two phases swapped it fails.
    other = table.weights([mixture[1], mixture[2], mixture[0]]) * len(keys)
    assert (((count - other) ** 2) / np.maximum(other, 1)).sum() > chi2.isf(1e-6, possible.sum() - 1)


def test_a_sequence_has_padding_behind_its_end():
    table = make_table(4, "end", families=SMALL)
    sampler = make_sampler(table, "all")
    for i, (row, n) in enumerate(zip(table.rows, table.lengths)):
        assert sampler.sequence(jnp.asarray(i)).tolist() == row[:n].tolist() + [PADDING] * (5 - n)
    assert (table.lengths < 5).any()
