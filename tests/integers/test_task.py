"""The task on the device against the oracle on the host."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.integers.oracle.exact import Oracle
from bestguess.integers.sequences.sampler import PADDING
from bestguess.integers.sequences.table import make_table
from bestguess.integers.task import IntegerTask
from bestguess.task import expected_loss, regret
from tests.compiled import whole
from tests.integers.sequences.test_table import SMALL

MIXTURE = (0.2, 0.5, 0.3)
LENGTH = 5
overflows = pytest.mark.parametrize("overflow", ["wrap", "end"])


def draw(task, count, seed=0):
    return np.asarray(jax.jit(jax.vmap(task.sample))(jax.random.split(jax.random.key(seed), count)))


@overflows
def test_the_oracle_on_the_device_is_the_one_on_the_host(overflow):
    table = make_table(LENGTH, overflow, families=SMALL)
    host = Oracle(table, MIXTURE)
    task = IntegerTask(host)
    for row, n in zip(table.rows, table.lengths):
        sequence = jnp.asarray(np.where(np.arange(LENGTH + 1) < n, row.astype(int), PADDING))
        oracle = whole(task.oracle, sequence)
        assert oracle.logits.shape == (LENGTH + 1, 256)
        for j in range(n):
            np.testing.assert_allclose(np.exp(oracle.logits[j]), host.predict(row[:j].tolist()), rtol=1e-5)
        np.testing.assert_allclose(whole(regret, oracle, oracle), 0.0)


def test_the_whole_table_on_the_device():
    host = Oracle(make_table())
    task = IntegerTask(host)
    drawn = draw(task, 300)
    found = np.asarray(jax.jit(jax.vmap(lambda one: task.oracle(one).logits))(drawn))
    np.testing.assert_allclose(found[:, 1:], host.logits(drawn[:, :8].astype(np.uint8)), rtol=1e-6)
    np.testing.assert_allclose(np.exp(found[0, 0]), host.predict(()), rtol=1e-5)


def test_the_oracle_sees_the_terms_before_alone():
    task = IntegerTask(Oracle(make_table(LENGTH, families=SMALL)))
    sequence = jnp.asarray([3, 5, 7, 9, 11, 13])
    before = whole(task.oracle, sequence).logits
    for j in range(LENGTH + 1):
        after = whole(task.oracle, sequence.at[j:].set(200)).logits
        np.testing.assert_array_equal(after[: j + 1], before[: j + 1])
        assert j == LENGTH or (after[j + 1 :] != before[j + 1 :]).any()


def test_terms_that_nobody_gives_are_uniform_from_there_on():
    task = IntegerTask(Oracle(make_table(LENGTH, families=SMALL)))
    logits = np.asarray(whole(task.oracle, jnp.asarray([3, 99, 7, 9, 11, 13])).logits)
    assert np.isinf(logits[:2]).any(axis=1).all()
    assert not logits[2:].any()


def test_the_constant_is_the_frequency_of_each_value():
    table = make_table(LENGTH, "end", families=SMALL)
    task, weights = IntegerTask(Oracle(table, MIXTURE)), table.weights(MIXTURE)
    frequency = np.exp(task.constant().logits)
    for j in range(LENGTH + 1):
        there = table.lengths > j
        for value in range(256):
            expected = weights[there & (table.rows[:, j] == value)].sum() / weights[there].sum()
            np.testing.assert_allclose(frequency[j, value], expected, rtol=1e-5)
    # The best constant loses to the oracle, and is what the floor of no past says at the first term.
    floor = expected_loss(task.oracle(jnp.asarray([3, 5, 7, 9, 11, 13])))
    np.testing.assert_allclose(expected_loss(task.constant())[0], floor[0], rtol=1e-5)


def test_samples_are_rows_and_held_out_ones_are_left_out():
    table = make_table(LENGTH, families=SMALL, held_out_fraction=0.4)
    oracle = Oracle(table, MIXTURE)
    by_part = {part: {tuple(row) for row in draw(IntegerTask(oracle, part), 2_000)} for part in ("seen", "all")}
    held = {tuple(row) for row in table.rows[table.held_out].astype(int)}
    assert held & by_part["all"]
    assert not held & by_part["seen"]
    assert by_part["all"] <= {tuple(row) for row in table.rows.astype(int)}


def test_variable_lengths_are_uniform_and_padded():
    oracle = Oracle(make_table(LENGTH, families=SMALL))
    task = IntegerTask(oracle, shortest=3)
    drawn = draw(task, 4_000)
    counts = (drawn != PADDING).sum(axis=1)
    assert ((drawn != PADDING) == (np.arange(LENGTH + 1) < counts[:, None])).all()
    shares = np.bincount(counts, minlength=LENGTH + 2)[3:] / len(drawn)
    np.testing.assert_allclose(shares, 0.25, atol=5 * (0.25 * 0.75 / len(drawn)) ** 0.5)
    with pytest.raises(ValueError, match="shortest 1"):
        IntegerTask(oracle, shortest=1)


def test_the_floor_is_the_exact_mean_entropy_of_the_predicted_terms():
    table = make_table(LENGTH, "end", families=SMALL)
    task, weights = IntegerTask(Oracle(table, MIXTURE)), table.weights(MIXTURE)
    own = jax.jit(lambda row: expected_loss(task.oracle(row)))
    losses = np.array([own(jnp.asarray(row.astype(int))) for row in table.rows], np.float64)
    assert task.predicted == slice(1, None)  # before the first term there is nothing to see
    by_position = [
        np.average(losses[table.lengths > j, j], weights=weights[table.lengths > j]) for j in range(1, LENGTH + 1)
    ]
    np.testing.assert_allclose(task.floor, np.mean(by_position), rtol=1e-5)
