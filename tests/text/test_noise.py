"""Tokens that training replaces."""

import jax
import jax.numpy as jnp
import numpy as np

from bestguess.text.noise import noisy
from bestguess.text.tokens import BOS, PAD, SEP, SPECIAL

FIRST = len(SPECIAL)
T = 200


def test_a_share_of_the_tokens_is_replaced_each_by_an_earlier_one():
    token_T = jnp.arange(FIRST, FIRST + T)  # a token tells where it stood
    draws = jax.jit(jax.vmap(lambda key: noisy(token_T, 0.3, key)))(jax.random.split(jax.random.key(0), 500))
    draws, place = np.asarray(draws) - FIRST, np.arange(T)
    changed = draws != place
    assert (draws <= place).all()
    assert not changed[:, 0].any()
    assert abs(changed[:, 1:].mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / (500 * T))
    # Evenly from all that came before: the mean of 0 to t − 1.
    from_half = (draws / np.maximum(place, 1))[:, T // 2 :][changed[:, T // 2 :]]
    assert abs(from_half.mean() - 0.5) < 0.01


def test_special_tokens_stay_and_come_nowhere_else():
    token_T = jnp.array([BOS, *range(FIRST, FIRST + 20), SEP, *range(FIRST, FIRST + 20), PAD, PAD])
    for seed in range(20):
        changed = np.asarray(noisy(token_T, 0.99, jax.random.key(seed)))
        np.testing.assert_array_equal(changed < FIRST, np.asarray(token_T) < FIRST)
        np.testing.assert_array_equal(changed[changed < FIRST], [BOS, SEP, PAD, PAD])
    np.testing.assert_array_equal(noisy(token_T, 0.0, jax.random.key(0)), token_T)
