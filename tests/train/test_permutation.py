"""The order of windows: a permutation for any number of them, the same by NumPy as by JAX, that looks shuffled."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestguess.train.permutation import MOST, order_key, permuted

seeds = st.integers(0, 2**32 - 1)


def keys_of(seed: int, epoch: int) -> np.ndarray:
    return order_key(np.asarray(seed, np.uint32), np.asarray(epoch, np.uint32))


def whole(n: int, seed: int, epoch: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return permuted(np.arange(n, dtype=np.uint32), n, keys_of(seed, epoch))


@settings(deadline=None)
@given(st.integers(1, 5000), seeds, seeds)
def test_every_integer_comes_once(n, seed, epoch):
    found = whole(n, seed, epoch)
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(np.sort(found), np.arange(n))


@pytest.mark.parametrize("n", [MOST, MOST - 1, MOST - 12345])
def test_the_largest_numbers_stay_in_range_and_apart(n):
    x = np.concatenate([np.arange(1000), n - 1 - np.arange(1000)]).astype(np.uint32)
    found = permuted(x, n, keys_of(3, 1))
    assert found.max() < n
    assert len(np.unique(found)) == 2000
    assert found.min() < n // 100  # and all over the range
    assert found.max() > n - n // 100


@settings(deadline=None, max_examples=20)
@given(seeds, seeds)
def test_jax_has_the_same_integers_as_numpy(seed, epoch):
    for n in (1, 2, 977, MOST):
        x = (np.arange(50) * 40_000_003 % n).astype(np.uint32)
        keys = order_key(jnp.asarray(seed, jnp.uint32), jnp.asarray(epoch, jnp.uint32))
        np.testing.assert_array_equal(keys, keys_of(seed, epoch))
        found = jax.jit(permuted, static_argnums=1)(jnp.asarray(x), n, keys)
        assert found.dtype == jnp.uint32
        np.testing.assert_array_equal(found, permuted(x, n, keys_of(seed, epoch)))


def test_seeds_and_epochs_share_no_order():
    orders = {tuple(whole(50, seed, epoch).tolist()) for seed in range(12) for epoch in range(12)}
    assert len(orders) == 144
    assert len({keys_of(a, b).item() for a in range(60) for b in range(60)}) == 3600


@pytest.mark.parametrize("n", [1000, 4096, 4999])
def test_an_order_looks_shuffled(n):
    """Serial correlation, fixed points and rises of 20 orders: within 5 standard errors of a random permutation's."""
    orders = [whole(n, seed, epoch).astype(float) for seed in range(5) for epoch in range(4)]
    correlation = [np.corrcoef(one[:-lag], one[lag:])[0, 1] for one in orders for lag in (1, 2, 3, 64)]
    assert np.abs(correlation).max() < 5 / n**0.5
    assert np.abs([np.corrcoef(one, np.arange(n))[0, 1] for one in orders]).max() < 5 / n**0.5
    assert sum((one == np.arange(n)).sum() for one in orders) < 20 + 5 * 20**0.5
    rises = np.mean([np.diff(one) > 0 for one in orders])
    assert abs(rises - 0.5) < 5 / (12 * n * len(orders)) ** 0.5
    between = [np.corrcoef(a, b)[0, 1] for i, a in enumerate(orders) for b in orders[:i]]
    assert np.abs(between).max() < 5 / n**0.5


def test_small_orders_are_all_equally_likely():
    counts: dict = {}
    for epoch in range(600):
        order = tuple(whole(3, 7, epoch).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 5 + 5 * 10**0.5
