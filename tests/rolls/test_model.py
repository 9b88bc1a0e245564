"""The model: its size, what it predicts before it has learnt, that it sees neither the future nor what is masked."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.rolls.config import RollsModelConfig, RollsTaskConfig
from bestguess.rolls.model import RollsModel, Shape, signs
from bestguess.rolls.tokens import fit_tokens
from tests.compiled import whole

KINDS = ("raw", "adaptive", "uniform", "bits", "digits")
T, K = 11, 3
COUNTS = np.random.default_rng(0).integers(1, 40, 29)
"""29 values: no power of two, and no square."""
kinds = pytest.mark.parametrize("kind", KINDS)


def tokens_of(kind: str):
    return fit_tokens(COUNTS, RollsTaskConfig(tokens=kind, vocab=13))


@functools.cache
def model_of(kind: str, random: bool = True, **more) -> RollsModel:
    config = dataclasses.replace(RollsModelConfig(layers=1, d_model=16, heads=2, outputs=K), **more)
    tokens = tokens_of(kind)
    model = RollsModel(config, Shape.of(tokens), T, tokens.log_p0.astype(np.float32), key=jax.random.key(0))
    if not random:
        return model
    leaves, shape = jax.tree.flatten(model)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(shape, [x + 0.3 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys)])


def tokens_in(kind: str, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, tokens_of(kind).vocab, T).astype(np.int32)


# ------------------------------------------------------------------------------------------ its size


def large(**more) -> RollsModel:
    config = dataclasses.replace(RollsModelConfig(layers=8, d_model=512, heads=8), **more)
    shape = Shape("raw", 1024, 10, 32)
    return jax.eval_shape(lambda: RollsModel(config, shape, 128, jnp.zeros(1024), key=jax.random.key(0)))


@pytest.mark.parametrize(("d_ff", "count"), [(None, 27_009_536), (1408, 27_795_968), (2048, 35_660_288)])
def test_27_million_parameters(d_ff, count):
    """8 blocks, the last norm and four output heads: what is multiplied at every position. The table comes on top."""
    model = large(d_ff=d_ff)
    D, V, width = 512, 1024, d_ff or 1344
    block = 4 * D * D + 3 * D * width + 2 * D
    assert sum(leaf.size for leaf in jax.tree.leaves(model.decoder)) == 8 * block + D
    assert model.head.weight.size == 4 * D * V
    assert 8 * block + D + 4 * D * V == count
    embedding, bias = (V + 1) * D, 4 * V  # the mask has a row
    assert sum(leaf.size for leaf in jax.tree.leaves(model)) == count + embedding + bias


def test_the_default_width_of_the_large_model():
    assert RollsModelConfig(layers=8, d_model=512, heads=8).hidden_dim == 1344


# ------------------------------------------------------------------------------------------ what it predicts


@kinds
def test_an_untrained_model_predicts_the_marginal_whatever_it_is_given(kind):
    model, tokens = model_of(kind, random=False), tokens_of(kind)
    for seed in range(3):
        log_p = jax.nn.log_softmax(whole(model, tokens_in(kind, seed)))
        assert log_p.shape == (T, K, tokens.vocab)
        np.testing.assert_allclose(log_p, np.broadcast_to(tokens.log_p0, log_p.shape), rtol=1e-6, atol=2e-6)


@kinds
def test_every_head_is_a_distribution_over_the_tokens_and_over_the_values(kind):
    model, tokens = model_of(kind), tokens_of(kind)
    log_p = np.asarray(jax.nn.log_softmax(whole(model, tokens_in(kind))), float)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=-1), 1, rtol=1e-5)
    of_values = log_p[..., tokens.of_value] + tokens.log_within
    assert of_values.shape == (T, K, len(COUNTS))
    np.testing.assert_allclose(np.exp(of_values).sum(axis=-1), 1, rtol=1e-5)
    assert np.abs(log_p[:, 0] - log_p[:, 1]).max() > 0.01  # heads differ


@kinds
def test_no_head_sees_the_future(kind):
    model, vocab = model_of(kind), tokens_of(kind).vocab
    token = tokens_in(kind)
    before = np.asarray(whole(model, token))
    for t in range(T):
        changed = token.copy()
        changed[t:] = (changed[t:] + 1 + np.arange(T - t)) % vocab
        after = np.asarray(whole(model, changed))
        np.testing.assert_array_equal(after[:t], before[:t])
        assert (np.abs(after[t] - before[t]).max(axis=-1) > 1e-6).all()  # every head sees the present


@kinds
def test_a_masked_input_is_not_seen(kind):
    model, vocab = model_of(kind), tokens_of(kind).vocab
    token, masked = tokens_in(kind), np.arange(T) == 4
    found = [np.asarray(whole(model, np.where(masked, other, token), masked)) for other in range(vocab)]
    for one in found[1:]:
        np.testing.assert_array_equal(one, found[0])
    plain = np.asarray(whole(model, token))
    np.testing.assert_array_equal(found[0][:4], plain[:4])
    assert np.abs(found[0][4:] - plain[4:]).max() > 1e-3


@kinds
def test_bfloat16_is_close_to_float32(kind):
    one, other = model_of(kind), model_of(kind, dtype="bfloat16")
    token = jnp.asarray(tokens_in(kind))
    wide, narrow = whole(one, token), whole(other, token)
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(jax.nn.softmax(narrow.astype(jnp.float32)), jax.nn.softmax(wide), atol=0.1)


def test_bits_are_signs_the_lowest_first():
    np.testing.assert_array_equal(signs(jnp.asarray([0, 1, 6]), 3), [[-1, -1, -1], [1, -1, -1], [-1, 1, 1]])


def test_every_weight_of_every_kind_has_a_gradient():
    """A head that starts at zero must not keep what stands before it from ever learning."""
    for kind in KINDS:
        model = model_of(kind)
        loss = lambda model: jnp.sum(jax.nn.log_softmax(model(jnp.asarray(tokens_in(kind))))[..., 0])  # noqa: B023, E731
        gradient = jax.jit(jax.grad(loss))(model)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
            if "mask" not in jax.tree_util.keystr(path):
                assert np.abs(leaf).max() > 0, (kind, jax.tree_util.keystr(path))
