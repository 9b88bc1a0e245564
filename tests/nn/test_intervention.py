"""Heads whose queries or keys are fixed: on what attention then depends, and with both it is a kernel over lags."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.nn.config import DesignConfig
from bestguess.nn.decoder import Decoder
from bestguess.nn.intervention import Changes, Observed, intervene, observe
from tests.compiled import whole

T, H, K, LAYERS = 11, 3, 4, 2
D, BASE = H * K, 50.0
CONFIG = DesignConfig(layers=LAYERS, d_model=D, heads=H, rope_base=BASE, bias=True)
NONE = np.zeros((LAYERS, H), bool)
ALL = ~NONE


def changes(**which: np.ndarray) -> Changes:
    return Changes(**{name: jnp.asarray(which.get(name, NONE)) for name in Changes._fields})


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """A decoder whose attention depends much on what it reads, and whose mean query and key are not small."""
    made = Decoder(CONFIG, key=jax.random.key(0))
    biases = jnp.asarray(np.random.default_rng(1).normal(size=(LAYERS, 3 * D)), jnp.float32)
    where = lambda one: [block.attention.qkv_bias for block in one.blocks]  # noqa: E731
    made = eqx.tree_at(where, made, list(biases))
    where = lambda one: [block.attention.qkv for block in one.blocks]  # noqa: E731
    return eqx.tree_at(where, made, [3 * block.attention.qkv for block in made.blocks])


def draw(seed: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=(T, D)), jnp.float32)


@pytest.fixture(scope="module")
def put(decoder) -> Observed:
    """What heads do with another sequence than those that the tests feed."""
    return whole(observe, decoder, draw(0))


def output(decoder: Decoder, put: Observed, which: Changes, x: jax.Array) -> np.ndarray:
    return np.asarray(whole(lambda *given: intervene(*given[:3])(given[3])[0], decoder, put, which, x))


def kernels(put: Observed) -> np.ndarray:
    """The weights of mean queries and keys by brute force: e^score of each lag, over those of the lags that are seen.

    Features i and i + K/2 of a head are one complex number: turned by their positions, a query and a key differ by
    the turn of their lag.
    """
    query, key = (np.asarray(one, np.float64) for one in (put.query, put.key))
    query, key = (one[..., : K // 2] + 1j * one[..., K // 2 :] for one in (query, key))
    found = np.zeros((LAYERS, H, T, T))
    frequency = BASE ** (-2 * np.arange(K // 2) / K)
    for q in range(T):
        for k in range(q + 1):
            turned = query * key.conj() * np.exp(1j * (q - k) * frequency)
            found[..., q, k] = np.exp(turned.real.sum(axis=-1) / np.sqrt(K))
    return found / found.sum(axis=-1, keepdims=True)


def test_mean_queries_and_keys_are_those_before_the_rotation(decoder, put):
    attention, x = decoder.blocks[0].attention, np.asarray(decoder.blocks[0].attention_norm(draw(0)), np.float64)
    qkv = x @ np.asarray(attention.qkv, np.float64) + np.asarray(attention.qkv_bias, np.float64)
    for found, part in ((put.query, 0), (put.key, 1)):
        np.testing.assert_allclose(found[0], qkv.reshape(T, 3, H, K)[:, part].mean(axis=0), atol=1e-5)


def test_with_queries_and_keys_fixed_attention_is_a_kernel_over_lags(decoder, put):
    kernel = put._replace(weights=jnp.asarray(kernels(put), jnp.float32))
    x = draw(2)
    both = output(decoder, put, changes(query_fixed=ALL, key_fixed=ALL), x)
    np.testing.assert_allclose(both, output(decoder, kernel, changes(fixed=ALL), x), atol=2e-5)
    own, query, key = (output(decoder, put, changes(**{name: ALL}), x) for name in ("", "query_fixed", "key_fixed"))
    for one in (own, query, key):
        assert np.abs(both - one).max() > 0.1
    assert np.abs(query - key).max() > 0.1


@pytest.mark.parametrize("name", ["query_fixed", "key_fixed"])
def test_attention_no_longer_depends_on_what_is_fixed(decoder, put, name):
    """Of one layer: weights on what came before a token, over their sum, are its query's; on a token, its key's."""

    def weights(x: jax.Array, **which: np.ndarray) -> np.ndarray:
        attention = intervene(decoder, put, changes(**which)).blocks[0].attention
        return np.asarray(whole(attention.weights, x))

    x = draw(2)
    replaced = x.at[5].set(draw(3)[5])
    for which, free in (({}, False), ({name: ALL}, True), ({name: ALL & (np.arange(H) == 1)}, [False, True, False])):
        one, other = weights(x, **which), weights(replaced, **which)
        np.testing.assert_array_equal(one[:, :5], other[:, :5])  # nothing reads what comes after it
        if name == "query_fixed":
            own, changed = (each[:, 5, :5] / each[:, 5, :5].sum(axis=-1, keepdims=True) for each in (one, other))
            reads = other[:, 6:, 5] - one[:, 6:, 5]
        else:
            own, changed = one[:, 6:], other[:, 6:]
            reads = other[:, 5, :5] - one[:, 5, :5]
        same = [np.allclose(*pair, atol=1e-6) for pair in zip(own, changed, strict=True)]
        assert same == list(np.broadcast_to(free, H))
        assert np.abs(reads).max(axis=tuple(range(1, reads.ndim))).min() > 1e-3  # the other of the two still counts


def test_only_the_heads_asked_for_are_changed(decoder, put):
    x = draw(2)
    own = output(decoder, put, changes(), x)
    np.testing.assert_allclose(own, whole(lambda one, x: one(x)[0], decoder, x), atol=1e-5)
    one = NONE.copy()
    one[1, 2] = True
    for name in Changes._fields:
        assert np.abs(output(decoder, put, changes(**{name: one}), x) - own).max() > 1e-3
    over = changes(query_fixed=one, key_fixed=one, fixed=one)
    np.testing.assert_array_equal(output(decoder, put, over, x), output(decoder, put, changes(fixed=one), x))
    over = over._replace(ablated=jnp.asarray(one))
    np.testing.assert_array_equal(output(decoder, put, over, x), output(decoder, put, changes(ablated=one), x))
