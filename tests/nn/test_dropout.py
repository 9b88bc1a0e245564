"""Dropout's masks: the share that is dropped, and that nothing tells one entry from its neighbours."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from bestguess.nn.dropout import dropout, kept

KEYS = jax.random.split(jax.random.key(7), 64)
SHAPE = (4, 64, 128)


@pytest.fixture(scope="module")
def masks():
    """Masks of 64 keys that were split from one, half of their entries kept."""
    return np.asarray(jax.jit(jax.vmap(lambda key: kept(key, 0.5, SHAPE)))(KEYS))


def test_keeps_the_mean_and_drops_its_share():
    x = jnp.ones((200, 300))
    out = np.asarray(dropout(x, 0.3, jax.random.key(0)))
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / 0.7)}
    assert abs((out == 0).mean() - 0.3) < 4 * (0.3 * 0.7 / x.size) ** 0.5  # 4 standard errors
    assert dropout(x, 0.3, None) is x
    assert dropout(x, 0.0, jax.random.key(0)) is x


@pytest.mark.parametrize("rate", [1e-4, 0.1, 0.25, 0.5, 0.9, 1 - 1e-12])
def test_the_share_that_is_dropped_is_binomial(rate):
    dropped = np.asarray(jax.vmap(lambda key: jnp.sum(~kept(key, rate, SHAPE)))(KEYS))
    entries = np.prod(SHAPE)
    expected = scipy.stats.binom(entries * len(KEYS), min(rate, 1 - 2.0**-32))
    assert expected.ppf(1e-4) <= dropped.sum() <= expected.ppf(1 - 1e-4)
    if rate in (0.1, 0.25, 0.5):  # neither more nor less even over keys than chance
        spread = ((dropped - rate * entries) ** 2).sum() / (entries * rate * (1 - rate))
        assert scipy.stats.chi2(len(KEYS)).ppf(1e-4) < spread < scipy.stats.chi2(len(KEYS)).ppf(1 - 1e-4)


def test_neighbours_and_keys_are_independent(masks):
    signs = 2.0 * masks - 1
    pairs = [(signs[:, a:], signs[:, :-a]) for a in (1, 2)]
    pairs += [(signs[:, :, a:], signs[:, :, :-a]) for a in (1, 2, 7)]
    pairs += [(signs[..., a:], signs[..., :-a]) for a in (1, 2, 3, 16, 64)]
    pairs += [(signs[a:], signs[:-a]) for a in (1, 2, 31)]  # the same entry under other keys
    pairs += [(signs[1:, ..., 1:], signs[:-1, ..., :-1]), (signs[..., ::2], signs[..., 1::2])]
    for one, other in pairs:
        assert abs(np.mean(one * other)) < 4.5 / one.size**0.5


def test_patterns_of_neighbours_are_equally_frequent(masks):
    bits = masks.reshape(-1, 8)
    found = np.bincount(bits @ (1 << np.arange(8)), minlength=256)
    assert scipy.stats.chisquare(found).pvalue > 1e-4


def test_keys_that_differ_by_one_bit_have_masks_of_their_own():
    word = np.uint32(123456)
    keys = [(word, word), (word + 1, word), (word, word + 1), (word ^ (1 << 31), word), (word, word ^ (1 << 31))]
    made = [np.asarray(kept(jax.random.wrap_key_data(jnp.array(key, jnp.uint32)), 0.5, SHAPE)) for key in keys]
    for one, other in itertools.combinations(made, 2):
        assert abs(np.mean(one == other) - 0.5) < 4.5 * 0.5 / one.size**0.5


def test_together_as_alone(masks):
    for i in (0, 5):
        np.testing.assert_array_equal(masks[i], kept(KEYS[i], 0.5, SHAPE))


def test_no_random_bits_are_drawn():
    made = jax.make_jaxpr(lambda x, key: dropout(x, 0.2, key))(jnp.ones((3, 4)), jax.random.key(0))
    assert "random_bits" not in str(made)
    assert "threefry" not in str(made)
