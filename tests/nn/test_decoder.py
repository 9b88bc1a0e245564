"""The transformer whole: causality, the cache, precision; and the layers that have no file of their own."""

from __future__ import annotations

import dataclasses
import typing

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from bestguess.nn.attention import Attention
from bestguess.nn.block import FeedForward
from bestguess.nn.config import Activation, DecoderConfig, DesignConfig, NormPlace, Positions
from bestguess.nn.decoder import Decoder
from bestguess.nn.dropout import dropout
from bestguess.nn.init import scaled_normal
from bestguess.nn.normalisation import LayerNorm, NoNorm, RMSNorm
from tests.compiled import whole

T, H, K, F, LAYERS = 7, 5, 2, 13, 3
D = H * K
CONFIG = DecoderConfig(layers=LAYERS, d_model=D, heads=H, d_ff=F)

every_activation = pytest.mark.parametrize("activation", typing.get_args(Activation))


def draw(*shape: int, seed: int = 0):
    return jnp.asarray(np.random.default_rng((seed, *shape)).normal(size=shape), jnp.float32)


def make(**changes) -> Decoder:
    return Decoder(dataclasses.replace(CONFIG, **changes), key=jax.random.key(1))


apply = jax.jit(lambda decoder, x: decoder(x)[0])


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return make()


# ---------------------------------------------------------------------------------------- causality


@every_activation
def test_the_future_does_not_leak_by_perturbing_it(activation):
    decoder, x = make(activation=activation), draw(T, D)
    before = np.asarray(apply(decoder, x))
    for t in range(1, T):
        after = np.asarray(apply(decoder, x.at[t:].add(10.0)))
        np.testing.assert_array_equal(after[:t], before[:t])
        assert np.abs(after[t:] - before[t:]).max(axis=-1).min() > 1e-3  # and the present does show


def test_the_future_does_not_leak_by_gradient(decoder):
    x = draw(T, D)
    jacobian = np.asarray(jax.jit(jax.jacrev(lambda x: decoder(x)[0]))(x))  # (T, D, T, D)
    size = np.abs(jacobian).max(axis=(1, 3))
    assert (size[~np.tri(T, dtype=bool)] == 0).all()
    assert (size[np.tri(T, dtype=bool)] > 1e-6).all()


def test_positions_matter(decoder):
    """Without positions the last token's output would not know the order of those before it."""
    x = draw(T, D)
    swapped = x.at[jnp.asarray([0, 1])].set(x[jnp.asarray([1, 0])])
    assert np.abs(np.asarray(apply(decoder, x) - apply(decoder, swapped))[-1]).max() > 1e-3


# -------------------------------------------------------------------------------------------- cache

feed = jax.jit(lambda decoder, x, cache: decoder(x, cache))


@pytest.mark.parametrize("chunks", [(1,) * T, (T,), (3, 1, 3)])
def test_cached_equals_uncached(decoder, chunks):
    x = draw(T, D)
    cache, outputs = decoder.empty_cache(T + 2), []
    for start, length in zip(np.cumsum((0, *chunks)), chunks):
        output, cache = feed(decoder, x[start : start + length], cache)
        outputs.append(output)
    np.testing.assert_allclose(jnp.concatenate(outputs), apply(decoder, x), atol=1e-5)
    assert len(cache) == LAYERS
    assert all(int(block.length) == T for block in cache)


def test_attention_weights(decoder):
    x = draw(T, D)
    weights = np.asarray(jax.jit(lambda d, x: d.attention_weights(x))(decoder, x))
    assert weights.shape == (LAYERS, H, T, T)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
    assert (weights[..., ~np.tri(T, dtype=bool)] == 0).all()
    # Each layer's are those of its own input.
    own = lambda block, stream: (block.attention.weights(block.attention_norm(stream)), block(stream)[0])  # noqa: E731
    stream = x
    for layer, block in enumerate(decoder.blocks):
        expected, stream = whole(own, block, stream)
        np.testing.assert_allclose(weights[layer], expected, atol=1e-6)


# ------------------------------------------------------------------------------------------- layers


def test_a_block_is_two_branches_added_to_the_stream(decoder):
    block, x = decoder.blocks[0], draw(T, D)

    def by_hand(block, x):
        middle = x + block.attention(block.attention_norm(x))[0]
        return middle + block.feed_forward(block.feed_forward_norm(middle))

    np.testing.assert_allclose(whole(block, x)[0], whole(by_hand, block, x), atol=1e-6)
    stream = x
    for block in decoder.blocks:
        stream, _ = whole(block, stream)
    np.testing.assert_allclose(apply(decoder, x), decoder.norm(stream), atol=1e-5)


def silu(x):
    return x * scipy.special.expit(x)


FORMULAS = {
    "relu": lambda up, gate: np.maximum(up, 0),
    "silu": lambda up, gate: silu(up),
    # Hendrycks & Gimpel's tanh form, JAX's default.
    "gelu": lambda up, gate: 0.5 * up * (1 + np.tanh(np.sqrt(2 / np.pi) * (up + 0.044715 * up**3))),
    "swiglu": lambda up, gate: silu(gate) * up,
}


@every_activation
def test_feed_forward_by_hand(activation):
    layer = FeedForward(dataclasses.replace(CONFIG, activation=activation), key=jax.random.key(2))
    x = draw(T, D)
    up, down = np.asarray(layer.up, np.float64), np.asarray(layer.down, np.float64)
    assert (up.shape, down.shape) == ((D, F), (F, D))
    assert (layer.gate is not None) == (activation == "swiglu")
    gate = None if layer.gate is None else np.asarray(x, np.float64) @ np.asarray(layer.gate, np.float64)
    expected = FORMULAS[activation](np.asarray(x, np.float64) @ up, gate) @ down
    np.testing.assert_allclose(jax.jit(lambda layer, x: layer(x))(layer, x), expected, atol=2e-6)


@every_activation
def test_biases_by_hand(activation):
    config = DesignConfig(layers=1, d_model=D, heads=H, d_ff=F, activation=activation, bias=True)
    layer, x = FeedForward(config, key=jax.random.key(2)), draw(T, D)
    plain = FeedForward(dataclasses.replace(config, bias=False), key=jax.random.key(2))
    np.testing.assert_array_equal(layer(x), plain(x))  # they start at 0
    layer = jax.tree.map(lambda leaf: leaf + draw(*leaf.shape, seed=5) if leaf.ndim == 1 else leaf, layer)
    exact = lambda leaf: np.asarray(leaf, np.float64)  # noqa: E731
    gate = None if layer.gate is None else exact(x) @ exact(layer.gate) + exact(layer.gate_bias)
    hidden = FORMULAS[activation](exact(x) @ exact(layer.up) + exact(layer.up_bias), gate)
    expected = hidden @ exact(layer.down) + exact(layer.down_bias)
    np.testing.assert_allclose(jax.jit(lambda layer, x: layer(x))(layer, x), expected, atol=5e-6)


def test_attention_s_bias_is_as_good_as_a_shift_of_what_it_reads():
    config = DesignConfig(layers=1, d_model=D, heads=H, bias=True)
    layer, x = Attention(config, key=jax.random.key(2)), draw(T, D)
    plain = Attention(dataclasses.replace(config, bias=False), key=jax.random.key(2))
    shift, out = draw(D, seed=3), draw(D, seed=4)
    layer = eqx.tree_at(lambda layer: (layer.qkv_bias, layer.out_bias), layer, (shift @ layer.qkv, out))
    np.testing.assert_allclose(layer(x)[0], plain(x + shift[None])[0] + out[None], atol=2e-5)


def test_rms_norm_by_hand():
    norm, x = RMSNorm(D), draw(T, D) * 5
    norm = eqx.tree_at(lambda n: n.gain, norm, draw(D, seed=4))
    exact = np.asarray(x, np.float64)
    expected = exact / np.sqrt((exact**2).mean(axis=-1, keepdims=True) + 1e-6) * np.asarray(norm.gain)[None]
    np.testing.assert_allclose(norm(x), expected, rtol=1e-5, atol=1e-6)
    assert np.isfinite(norm(jnp.zeros((T, D)))).all()
    assert norm(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_weights_start_so_that_variance_is_kept():
    w = np.asarray(scaled_normal(jax.random.key(0), (400, 300), gain=0.5))
    assert w.shape == (400, 300)
    assert abs(w.std() * 400**0.5 / 0.5 - 1) < 4 / (2 * w.size) ** 0.5  # 4 standard errors
    assert abs(w.mean()) < 4 * w.std() / w.size**0.5


# ----------------------------------------------------------------------------------------- precision


def test_bfloat16_runs_and_stays_close(decoder):
    x = draw(T, D)
    half = make(dtype="bfloat16")
    assert jax.tree.structure(half.blocks) == jax.tree.structure(decoder.blocks)
    for a, b in zip(jax.tree.leaves(half), jax.tree.leaves(decoder), strict=True):
        assert a.dtype == jnp.float32  # parameters stay what they were
        np.testing.assert_array_equal(a, b)
    out = apply(half, x)
    assert out.dtype == jnp.bfloat16
    error = np.abs(np.asarray(out, np.float32) - np.asarray(apply(decoder, x)))
    assert 1e-4 < error.max() < 0.1  # not the float32 program, and no further than 8 bits take it
    gradient = jax.jit(jax.grad(lambda d: jnp.sum(d(x)[0].astype(jnp.float32) ** 2)))(half)
    assert all(leaf.dtype == jnp.float32 and np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_bfloat16_cached_stays_close_to_uncached():
    half, x = make(dtype="bfloat16"), draw(T, D)
    cache, outputs = half.empty_cache(T), []
    assert cache[0].key.dtype == jnp.bfloat16
    for t in range(T):
        output, cache = feed(half, x[t : t + 1], cache)
        outputs.append(output)
    gap = np.asarray(jnp.concatenate(outputs), np.float32) - np.asarray(apply(half, x), np.float32)
    assert np.abs(gap).max() < 0.05


# ------------------------------------------------------------------------------------------- config


def test_sizes_of_the_feed_forward_layer():
    assert DecoderConfig(d_model=256).hidden_dim == 1024
    assert DecoderConfig(d_model=256, d_ff=77).hidden_dim == 77
    for d in (64, 256, 512):
        swiglu = DecoderConfig(d_model=d, activation="swiglu").hidden_dim
        assert swiglu % 8 == 0
        assert abs(3 * swiglu / (2 * 4 * d) - 1) < 0.05  # as many parameters as the plain layer


# ------------------------------------------------------------------------------- the design's choices

every_norm_place = pytest.mark.parametrize("norm_place", typing.get_args(NormPlace))


def design(**changes) -> Decoder:
    """A decoder of a design of one's own; gains and biases are no ones and zeros, which would hide them."""
    config = DesignConfig(**{f.name: getattr(CONFIG, f.name) for f in dataclasses.fields(CONFIG)} | changes)
    made = Decoder(config, key=jax.random.key(1), context=T)
    vector = lambda leaf: leaf + 0.3 * draw(*leaf.shape, seed=9) if leaf.ndim == 1 else leaf  # noqa: E731
    return jax.tree.map(vector, made)


def test_a_design_of_the_defaults_is_the_plain_decoder(decoder):
    config = DesignConfig(**{f.name: getattr(CONFIG, f.name) for f in dataclasses.fields(CONFIG)})
    plain = Decoder(config, key=jax.random.key(1))
    assert jax.tree.structure(plain) == jax.tree.structure(decoder)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(decoder), strict=True):
        np.testing.assert_array_equal(a, b)


@every_norm_place
@pytest.mark.parametrize("positions", typing.get_args(Positions))
def test_every_design_is_causal_and_cached_as_uncached(norm_place, positions):
    decoder, x = design(norm="layer", norm_place=norm_place, positions=positions), draw(T, D)
    whole = np.asarray(apply(decoder, x))
    after = np.asarray(apply(decoder, x.at[3:].add(draw(T - 3, D, seed=6))))
    np.testing.assert_array_equal(after[:3], whole[:3])
    assert np.abs(after[3:] - whole[3:]).max(axis=-1).min() > 1e-3
    cache, outputs = decoder.empty_cache(T), []
    for start, stop in ((0, 3), (3, 4), (4, T)):
        output, cache = feed(decoder, x[start:stop], cache)
        outputs.append(output)
    np.testing.assert_allclose(jnp.concatenate(outputs), whole, atol=1e-5)


def test_where_blocks_normalise():
    x = draw(T, D)
    for norm_place in typing.get_args(NormPlace):
        decoder = design(norm="layer", norm_place=norm_place)
        stream = x
        for block in decoder.blocks:
            a, f, norm_a, norm_f = block.attention, block.feed_forward, block.attention_norm, block.feed_forward_norm
            match norm_place:
                case "pre":
                    stream = stream + a(norm_a(stream))[0]
                    stream = stream + f(norm_f(stream))
                case "post":
                    stream = norm_a(stream + a(stream)[0])
                    stream = norm_f(stream + f(stream))
                case "none":
                    stream = stream + a(stream)[0]
                    stream = stream + f(stream)
        last = decoder.norm(stream) if norm_place == "pre" else stream
        np.testing.assert_allclose(apply(decoder, x), last, atol=1e-5)


def test_without_norms_there_are_no_gains():
    assert not [leaf for leaf in jax.tree.leaves(design(norm_place="none")) if leaf.ndim == 1]


def test_without_positions_a_causal_mask_is_all_that_tells_order():
    decoder, x = design(positions="none"), draw(T, D)
    swapped = x.at[jnp.asarray([0, 1])].set(x[jnp.asarray([1, 0])])
    before, after = np.asarray(apply(decoder, x)), np.asarray(apply(decoder, swapped))
    one = eqx.tree_at(lambda d: d.blocks, decoder, decoder.blocks[:1])
    np.testing.assert_allclose(apply(one, x)[2:], apply(one, swapped)[2:], atol=1e-5)
    assert np.abs(before - after)[2:].max() > 1e-3  # deeper layers read tokens that themselves saw different pasts


def test_learned_positions_tell_equal_tokens_apart_and_are_learnt():
    decoder = design(positions="learned")
    same = jnp.ones((T, D))
    out = np.asarray(apply(decoder, same))
    assert np.abs(np.diff(out, axis=0)).max(axis=-1).min() > 1e-2
    gradient = jax.jit(jax.grad(lambda d: jnp.sum(d(same)[0] ** 2)))(decoder)
    assert gradient.position.shape == (T, D)
    assert (np.abs(gradient.position).max(axis=-1) > 1e-6).all()
    with pytest.raises(ValueError, match="context"):
        Decoder(DesignConfig(positions="learned"), key=jax.random.key(0))


def test_heads_of_an_odd_size_where_nothing_turns():
    decoder = design(d_model=2, heads=2, positions="none")
    assert apply(decoder, draw(T, 2)).shape == (T, 2)


def test_layer_norm_by_hand():
    norm, x = LayerNorm(D), draw(T, D) * 5 + 3
    norm = eqx.tree_at(lambda n: (n.gain, n.bias), norm, (draw(D, seed=4), draw(D, seed=5)))
    exact = np.asarray(x, np.float64)
    centred = exact - exact.mean(axis=-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    expected = expected * np.asarray(norm.gain)[None] + np.asarray(norm.bias)[None]
    np.testing.assert_allclose(norm(x), expected, rtol=1e-4, atol=1e-5)
    assert np.isfinite(norm(jnp.zeros((T, D)))).all()
    assert norm(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_layer_norm_over_two_features_is_a_sign():
    x = draw(50, 2) * 100
    np.testing.assert_allclose(LayerNorm(2)(x)[:, 0], np.sign(x[:, 0] - x[:, 1]), atol=1e-2)


def test_a_decoder_drops_only_with_a_key_and_in_every_place():
    decoder, x = design(dropout=0.5), draw(T, D)
    plain = design(dropout=0.0)
    run = jax.jit(lambda d, key: d(x, key=key)[0])
    np.testing.assert_allclose(apply(decoder, x), apply(plain, x), atol=1e-5)
    np.testing.assert_allclose(run(plain, jax.random.key(1)), apply(plain, x), atol=1e-5)
    assert np.abs(run(decoder, jax.random.key(1)) - run(decoder, jax.random.key(2))).max() > 0.1
    # Without layers, all that is dropped is of the embedding: whole entries, at either key.
    bare = eqx.tree_at(lambda d: (d.blocks, d.norm), decoder, ((), NoNorm()))
    dropped = np.asarray(bare(x, key=jax.random.key(1))[0])
    kept = dropped != 0
    np.testing.assert_allclose(dropped[kept], 2 * np.asarray(x)[kept], rtol=1e-6)
    assert 0 < kept.mean() < 1
    # Of a block: both branches, each by a key of its own.
    block = decoder.blocks[0]
    a = block.attention(block.attention_norm(x))[0]
    keys = jax.random.split(jax.random.key(3))
    middle = x + dropout(a, 0.5, keys[0])
    expected = middle + dropout(block.feed_forward(block.feed_forward_norm(middle)), 0.5, keys[1])
    np.testing.assert_allclose(block(x, None, jax.random.key(3))[0], expected, atol=1e-6)
