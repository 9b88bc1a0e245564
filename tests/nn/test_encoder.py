"""The encoder, and the decoder that reads what it encoded."""

from __future__ import annotations

import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.nn.config import DesignConfig, Norm, NormPlace, Positions
from bestguess.nn.decoder import Decoder, sinusoids
from bestguess.nn.encoder import Encoder
from tests.compiled import whole

S, T, H, K, F, LAYERS, CONTEXT = 7, 5, 3, 2, 13, 2, 17
D = H * K
LENGTH = 4
there = jnp.arange(S) < LENGTH


def draw(*shape: int, seed: int = 0):
    return jnp.asarray(np.random.default_rng((seed, *shape)).normal(size=shape), jnp.float32)


def make(**changes) -> tuple[Encoder, Decoder]:
    """Both halves, with gains and biases that are no ones and zeros."""
    config = DesignConfig(layers=LAYERS, d_model=D, heads=H, d_ff=F, **changes)
    encoder = Encoder(config, key=jax.random.key(1), context=CONTEXT)
    decoder = Decoder(config, key=jax.random.key(2), context=CONTEXT, cross=True)
    vector = lambda leaf: leaf + 0.3 * draw(*leaf.shape, seed=9) if leaf.ndim == 1 else leaf  # noqa: E731
    return jax.tree.map(vector, (encoder, decoder))


encode = jax.jit(lambda encoder, y, mask: encoder(y, mask))
every_norm_place = pytest.mark.parametrize("norm_place", typing.get_args(NormPlace))
every_position = pytest.mark.parametrize("positions", typing.get_args(Positions))


@jax.jit
def both(pair, y, mask, x, start):
    encoder, decoder = pair
    encoded = encoder(y, mask)
    return encoded, decoder(x, start=start, memory=decoder.memory(encoded, mask))[0]


@every_norm_place
@every_position
def test_padding_is_read_by_none_and_the_future_neither(norm_place, positions):
    pair, y, x = make(norm="layer", norm_place=norm_place, positions=positions), draw(S, D), draw(T, D)
    encoded, decoded = both(pair, y, there, x, LENGTH)
    assert encoded.shape == (S, D)
    # Other padding, another future.
    again, later = both(pair, y.at[LENGTH:].add(draw(S - LENGTH, D)), there, x.at[3:].add(draw(T - 3, D)), LENGTH)
    np.testing.assert_array_equal(again[:LENGTH], encoded[:LENGTH])
    np.testing.assert_array_equal(later[:3], decoded[:3])
    assert np.abs(later[3:] - decoded[3:]).max(axis=-1).min() > 1e-3
    # Every token of the source reads the last of them, and so does every token of the target.
    changed, read = both(pair, y.at[LENGTH - 1].add(draw(D, seed=3)), there, x, LENGTH)
    assert np.abs(changed - encoded)[:LENGTH].max(axis=-1).min() > 1e-4
    assert np.abs(read - decoded).max(axis=-1).min() > 1e-4


@pytest.mark.parametrize("positions", ["rope", "learned", "sinusoidal"])
def test_the_order_of_a_source_is_seen(positions):
    encoder, _ = make(positions=positions)
    y, swap = draw(S, D), np.array([1, 0, *range(2, S)])
    encoded = encode(encoder, y, there)
    assert np.abs(encode(encoder, y[swap], there) - encoded[swap]).max() > 1e-3


def test_without_positions_a_source_is_a_bag():
    encoder, _ = make(positions="none")
    y, swap = draw(S, D), np.array([1, 0, *range(2, S)])
    np.testing.assert_allclose(encode(encoder, y[swap], there), encode(encoder, y, there)[swap], atol=1e-5)


@every_position
def test_where_the_target_starts_is_seen_as_far_as_positions_tell_it(positions):
    pair, y, x = make(positions=positions), draw(S, D), draw(T, D)
    near, far = both(pair, y, there, x, LENGTH)[1], both(pair, y, there, x, LENGTH + 3)[1]
    seen = np.abs(near - far).max()
    assert seen == 0 if positions == "none" else seen > 1e-3


def test_the_weights_are_those_that_were_used():
    """Each layer's values, averaged by them and added to the stream, give the next layer's stream."""
    encoder, decoder = make(norm_place="none", positions="rope")
    y, x = draw(S, D), draw(T, D)
    memory = whole(decoder.memory, encode(encoder, y, there), there)
    own, cross = whole(decoder.weights, x, start=LENGTH, memory=memory)
    of_source = whole(encoder.attention_weights, y, there)
    assert (own.shape, cross.shape, of_source.shape) == ((LAYERS, H, T, T), (LAYERS, H, T, S), (LAYERS, H, S, S))
    for weights in (own, cross, of_source):
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
    assert not np.asarray(own)[..., ~np.tri(T, dtype=bool)].any()
    assert not np.asarray(cross)[..., LENGTH:].any()
    assert not np.asarray(of_source)[..., LENGTH:].any()

    def averaged(decoder, stream):
        for layer, block in enumerate(decoder.blocks):
            value = (stream @ block.attention.qkv[:, 2 * D :]).reshape(T, H, K)
            stream = stream + jnp.einsum("hts,shk->thk", own[layer], value).reshape(T, D) @ block.attention.out
            read = jnp.einsum("hts,hsk->thk", cross[layer], memory[layer].value).reshape(T, D)
            stream = stream + read @ block.cross.out
            stream = stream + block.feed_forward(stream)
        return stream

    predicted = whole(decoder, x, start=LENGTH, memory=memory)[0]
    np.testing.assert_allclose(predicted, whole(averaged, decoder, x), atol=1e-5)


@every_norm_place
@pytest.mark.parametrize("norm", typing.get_args(Norm))
def test_gradients_are_finite_and_reach_every_weight(norm, norm_place):
    pair, y, x = make(norm=norm, norm_place=norm_place, positions="learned", bias=True), draw(S, D), draw(T, D)
    weight = draw(T, D, seed=8)
    gradient = jax.jit(jax.grad(lambda pair: jnp.sum(both(pair, y, there, x, LENGTH)[1] * weight)))(pair)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 1e-6, jax.tree_util.keystr(path)


@pytest.mark.parametrize("norm_place", typing.get_args(NormPlace))
def test_cached_equals_uncached_with_a_memory(norm_place):
    (encoder, decoder), x = make(norm_place=norm_place, positions="sinusoidal"), draw(T, D)
    memory = whole(decoder.memory, encode(encoder, draw(S, D), there), there)
    at_once = whole(decoder, x, start=LENGTH, memory=memory)[0]
    step = jax.jit(lambda cache, x, start: decoder(x, cache, start=start, memory=memory))
    cache = decoder.empty_cache(T)
    for t in range(T):
        one, cache = step(cache, x[t : t + 1], LENGTH + t)
        np.testing.assert_allclose(one[0], at_once[t], atol=1e-5)


def test_dropout_only_with_a_key():
    config = DesignConfig(layers=1, d_model=D, heads=H, d_ff=F, dropout=0.5)
    encoder, decoder = Encoder(config, key=jax.random.key(1)), Decoder(config, key=jax.random.key(2), cross=True)
    y, x, key = draw(S, D), draw(T, D), jax.random.key(3)
    np.testing.assert_array_equal(encode(encoder, y, there), encode(encoder, y, there))
    assert np.abs(whole(encoder, y, there, key) - encode(encoder, y, there)).max() > 0.1
    memory = whole(decoder.memory, encode(encoder, y, there), there)
    plain = whole(decoder, x, memory=memory)[0]
    dropped = [whole(decoder, x, memory=memory, key=jax.random.key(seed))[0] for seed in (3, 3, 4)]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    assert min(np.abs(dropped[0] - other).max() for other in (plain, dropped[2])) > 0.1


def test_a_memory_and_a_decoder_that_reads_one_belong_together():
    encoder, decoder = make()
    with pytest.raises(ValueError, match="memory"):
        decoder(draw(T, D))
    with pytest.raises(ValueError, match="memory"):
        encoder.stack(draw(T, D), memory=decoder.memory(draw(S, D), there))


@pytest.mark.parametrize("width", [6, 7])
def test_sinusoids_by_hand(width):
    position = np.array([0, 1, 5, 1000])
    expected = np.zeros((4, width))
    for t, p in enumerate(position):
        for i in range(width):
            angle = p / 10_000 ** ((i - i % 2) / width)
            expected[t, i] = np.cos(angle) if i % 2 else np.sin(angle)
    np.testing.assert_allclose(sinusoids(jnp.asarray(position), width), expected, atol=1e-4)
