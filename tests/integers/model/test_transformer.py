"""The model: what it sees, causality, the cache, both heads."""

from __future__ import annotations

import dataclasses
import functools
import typing

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.command import UserError
from bestguess.integers.config import Embedding, IntegerModelConfig, digits, document
from bestguess.integers.model.embeddings import difference_waves, features
from bestguess.integers.model.transformer import IntegerModel, RegressionHead
from tests.compiled import whole

T = 7
TINY = IntegerModelConfig(layers=2, d_model=10, heads=5, d_ff=11)
TERMS = jnp.asarray(np.random.default_rng(0).integers(0, 256, T), jnp.int32)

apply = jax.jit(lambda model, terms: model(terms)[0])


@functools.cache
def make(config: IntegerModelConfig = TINY, **changes) -> IntegerModel:
    model = IntegerModel(dataclasses.replace(config, **changes), T, key=jax.random.key(1))
    # A head of zeros would hide all that comes before it.
    return jax.tree.map(lambda leaf: leaf + 0.2 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), model)


@pytest.mark.parametrize("embedding", typing.get_args(Embedding))
def test_every_embedding_reaches_the_logits_and_the_future_does_not(embedding):
    model = make(embedding=embedding)
    before = np.asarray(apply(model, TERMS))
    assert before.shape == (T, 256)
    assert before.dtype == np.float32
    after = np.asarray(apply(model, TERMS.at[3].set((TERMS[3] + 77) % 256)))
    np.testing.assert_array_equal(after[:3], before[:3])
    assert np.abs(after[3:] - before[3:]).max(axis=-1).min() > 1e-4


@pytest.mark.parametrize("config", [TINY, document().model], ids=["tiny", "document"])
def test_cached_as_uncached(config):
    model = make(config)
    cache, outputs = model.empty_cache(T), []
    for start, stop in ((0, 2), (2, 3), (3, T)):
        out, cache = whole(model, TERMS[start:stop], cache)
        outputs.append(out)
    expected = apply(model, TERMS)
    # Sums in another order differ by a few float32 steps of the largest logit, which is 42 in a width of two.
    atol = max(2e-5, 1e-6 * float(jnp.abs(expected).max()))
    np.testing.assert_allclose(jnp.concatenate(outputs), expected, atol=atol)


def test_an_untrained_model_guesses_uniformly():
    model = IntegerModel(TINY, T, key=jax.random.key(1))
    np.testing.assert_array_equal(apply(model, TERMS), 0)


def test_a_lifted_embedding_is_the_features_times_a_matrix_and_padding_is_nothing():
    embedding = make().embedding
    terms = jnp.asarray([5, -1, 250])
    expected = features(TINY.embedding)[[5, 250]] @ np.asarray(embedding.lift)
    out = np.asarray(embedding(terms))
    np.testing.assert_allclose(out[[0, 2]], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(out[1], 0)


def test_without_a_lift_the_features_are_the_stream():
    embedding = make(digits().model).embedding
    assert embedding.lift is None
    np.testing.assert_array_equal(embedding(TERMS), features("tuple")[np.asarray(TERMS)])
    with pytest.raises(UserError, match="--no-lift"):
        make(lift=False)


def test_regression_is_a_discretised_gaussian():
    head = RegressionHead(TINY)
    x = jnp.ones((3, TINY.d_model))
    start = np.asarray(jax.nn.softmax(head(x, TERMS[:3])))
    assert start[0] @ np.arange(256) == pytest.approx(127.5, rel=1e-5)
    made = make(head="regression").head
    mean = 127.5 + np.sqrt((256**2 - 1) / 12) * (x @ made.weight + made.bias[None])[:, 0]
    deviation = float(np.exp(made.log_deviation[0]))
    expected = -((np.arange(256)[None] - np.asarray(mean)[:, None]) ** 2) / (2 * deviation**2)
    np.testing.assert_allclose(made(x, TERMS[:3]), expected, rtol=1e-4)


def test_logits_through_features_move_alike_numbers_together():
    free, alike = make(head="classification").head, make(head="features").head
    assert free.shared is None
    x = jnp.ones((1, TINY.d_model))
    of_128 = jax.grad(lambda head: head(x, TERMS[:1])[0, 128])
    up = [jax.tree.map(jnp.add, head, of_128(head))(x, TERMS[:1])[0] - head(x, TERMS[:1])[0] for head in (free, alike)]
    table = features(TINY.embedding)
    np.testing.assert_allclose(np.delete(up[0], 128), 0, atol=1e-6)
    # A step up for 128 moves every number by the product of its features with those of 128.
    np.testing.assert_allclose(up[1] - up[0], TINY.d_model * table @ table[128], rtol=1e-3, atol=1e-3)


def test_logits_of_differences_turn_with_the_last_term():
    head = make(head="differences").head
    weight = jax.random.normal(jax.random.key(1), head.shared.shape)
    head = eqx.tree_at(lambda head: (head.weight, head.shared), head, (jnp.zeros_like(head.weight), weight))
    head = eqx.tree_at(lambda head: head.bias, head, jnp.zeros_like(head.bias))
    x = jnp.broadcast_to(jax.random.normal(jax.random.key(2), TINY.d_model), (5, TINY.d_model))
    last = jnp.asarray([0, 1, 17, 128, 255])
    found = np.asarray(head(x, last))
    for row, term in zip(found, last):
        np.testing.assert_allclose(row, np.roll(found[0], int(term)), rtol=1e-4, atol=1e-4 * np.ptp(found))
    # Whatever 256 logits of the differences are wanted: with a constant, the waves give them.
    table = np.c_[np.ones(256), difference_waves()]
    assert np.linalg.matrix_rank(table) == 256
    assert np.mean(difference_waves() ** 2) == pytest.approx(1, rel=1e-5)


def test_dropout_needs_a_key():
    model = make(dropout=0.4)
    drop = jax.jit(lambda model, key: model(TERMS, key=key)[0])
    assert np.abs(drop(model, jax.random.key(0)) - drop(model, jax.random.key(1))).max() > 1e-3
    np.testing.assert_allclose(apply(model, TERMS), apply(make(), TERMS), atol=1e-6)
