"""Attention under a mask, and to a memory, against a softmax in NumPy over the keys that each query may read."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.nn import masked
from bestguess.nn.attention import Attention
from bestguess.nn.config import DesignConfig
from bestguess.nn.cross_attention import CrossAttention, Memory
from tests.compiled import whole

T, S, H, K = 5, 7, 3, 4
D = H * K
BASE = 100.0
START = 11
LAYERS = 2


@dataclasses.dataclass(frozen=True)
class Config(DesignConfig):
    attention_dropout: float = 0.0


CONFIG = Config(layers=LAYERS, d_model=D, heads=H, rope_base=BASE, bias=True)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(np.float32)


def random_biases(layer):
    """Biases that start at 0 would hide a mistake."""
    return jax.tree.map(lambda leaf: leaf + draw(*leaf.shape, seed=5) if leaf.ndim == 1 else leaf, layer)


def turned(x: np.ndarray, start: int, base: float | None) -> np.ndarray:
    """RoPE by brute force on [T, H, K]: features i and i + K/2 are one complex number."""
    if base is None:
        return x
    half = x.shape[-1] // 2
    z = x[..., :half] + 1j * x[..., half:]
    for t in range(len(x)):
        for i in range(half):
            z[t, :, i] *= np.exp(1j * (start + t) * base ** (-2 * i / x.shape[-1]))
    return np.concatenate([z.real, z.imag], axis=-1)


def softmax_read(q, k, v, mask) -> tuple[np.ndarray, np.ndarray]:
    """What is read [T, D] and the weights [H, T, S], from [T or S, H, K], in float64."""
    weights, read = np.zeros((H, len(q), len(k))), np.zeros(q.shape)
    for h in range(H):
        for t in range(len(q)):
            score = {s: np.exp(q[t, h] @ k[s, h] / np.sqrt(K)) for s in range(len(k)) if mask[t, s]}
            for s, e in score.items():
                weights[h, t, s] = e / sum(score.values())
                read[t, h] += weights[h, t, s] * v[s, h]
    return read.reshape(len(q), -1), weights


def by_hand(x, w, b, parts: int) -> list[np.ndarray]:
    y = x.astype(np.float64) @ np.asarray(w, np.float64) + np.asarray(b, np.float64)
    return [part.reshape(len(x), H, K) for part in np.split(y, parts, axis=1)]


def output(layer, read: np.ndarray) -> np.ndarray:
    return read @ np.asarray(layer.out, np.float64) + np.asarray(layer.out_bias, np.float64)


MASKS = {
    "padding": np.broadcast_to(np.arange(T) < 3, (T, T)),
    "causal": np.tri(T, dtype=bool),
    "prefix": np.tri(T, dtype=bool) | (np.arange(T) < 3),
    "any": (np.random.default_rng(3).random((T, T)) < 0.4) | np.eye(T, dtype=bool),
}
every_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
every_base = pytest.mark.parametrize("positions", ["rope", "none"])


@every_base
@every_mask
def test_masked_self_attention_against_brute_force(mask, positions):
    layer = random_biases(Attention(dataclasses.replace(CONFIG, positions=positions), key=jax.random.key(0)))
    x, base = jnp.asarray(draw(T, D)), BASE if positions == "rope" else None
    q, k, v = by_hand(np.asarray(x), layer.qkv, layer.qkv_bias, 3)
    read, weights = softmax_read(turned(q, 0, base), turned(k, 0, base), v, mask)
    allowed = jnp.asarray(mask)
    ours, own = jax.jit(lambda layer: (layer(x, mask_TS=allowed)[0], layer.weights(x, allowed)))(layer)
    np.testing.assert_allclose(ours, output(layer, read), atol=1e-5)
    np.testing.assert_allclose(own, weights, atol=1e-6)


def test_a_causal_mask_is_no_mask():
    layer, x = Attention(CONFIG, key=jax.random.key(0)), jnp.asarray(draw(T, D))
    gain = jnp.asarray(draw(D, seed=2))
    mask = masked.prefix_mask(T, 0)
    plain, under_mask = whole(layer, x, None, gain)[0], whole(layer, x, None, gain, mask_TS=mask)[0]
    np.testing.assert_allclose(under_mask, plain, atol=1e-6)
    np.testing.assert_allclose(whole(layer.weights, x), whole(layer.weights, x, mask), atol=1e-7)


def test_the_prefix_mask():
    for prefix in range(T + 1):
        expected = [[s <= t or s < prefix for s in range(T)] for t in range(T)]
        np.testing.assert_array_equal(jax.jit(lambda p: masked.prefix_mask(T, p))(prefix), expected)


@pytest.fixture(scope="module")
def cross() -> CrossAttention:
    return random_biases(CrossAttention(CONFIG, key=jax.random.key(1)))


@every_base
def test_cross_attention_against_brute_force(positions):
    layer = random_biases(CrossAttention(dataclasses.replace(CONFIG, positions=positions), key=jax.random.key(1)))
    x, y, there = draw(T, D), draw(S, D, seed=1), np.arange(S) < 4
    base, gain = BASE if positions == "rope" else None, draw(D, seed=2)

    @jax.jit
    def ours(layer, x, y, there, start, gain):
        memory = layer.memory(y, there)
        return layer(x, memory, gain, start=start), layer.weights(x * gain[None], memory, start)

    (q,) = by_hand(x * gain, layer.query, layer.query_bias, 1)
    k, v = by_hand(y, layer.key_value, layer.key_value_bias, 2)
    read, weights = softmax_read(turned(q, START, base), turned(k, 0, base), v, np.broadcast_to(there, (T, S)))
    found, own = ours(layer, *map(jnp.asarray, (x, y, there, START, gain)))
    np.testing.assert_allclose(found, output(layer, read), atol=2e-5)
    np.testing.assert_allclose(own, weights, atol=1e-6)
    np.testing.assert_allclose(np.asarray(own).sum(axis=-1), 1, atol=1e-6)


def test_positions_continue_from_the_memory_to_its_readers(cross):
    """The same tokens one position later, memory and readers both, are read alike: known and traced positions agree."""
    x, y = jnp.asarray(draw(T, D)), jnp.asarray(draw(S, D, seed=1))
    there, later = jnp.ones(S, bool), jnp.concatenate([jnp.zeros((1, D)), y])
    weights_of = lambda y, there, start: cross.weights(x, cross.memory(y, there), start)  # noqa: E731
    weights = whole(weights_of, y, there, START)
    shifted = whole(weights_of, later, jnp.arange(S + 1) > 0, jnp.asarray(START + 1))
    np.testing.assert_allclose(shifted[..., 1:], weights, atol=1e-5)
    assert np.abs(whole(weights_of, y, there, START + 1) - weights).max() > 1e-3


def test_an_empty_memory_is_read_as_nothing(cross):
    x, memory = jnp.asarray(draw(T, D)), whole(cross.memory, draw(S, D), jnp.zeros(S, bool))
    np.testing.assert_allclose(whole(cross, x, memory), jnp.broadcast_to(cross.out_bias, (T, D)), atol=1e-7)
    assert not np.asarray(whole(cross.weights, x, memory)).any()
    gradient = whole(jax.grad(lambda layer: jnp.sum(layer(x, memory) ** 2)), cross)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_large_scores_and_what_stands_in_the_padding_do_no_harm(cross):
    x, y = jnp.asarray(draw(T, D)) * 1e3, jnp.asarray(draw(S, D))
    there = jnp.arange(S) < 4
    clean, dirty = (whole(cross.memory, one, there) for one in (y, y.at[4:].set(1e6)))
    assert np.isfinite(whole(cross, x, clean)).all()
    np.testing.assert_array_equal(whole(cross, x, dirty), whole(cross, x, clean))


def test_dropout_of_the_weights_only_with_a_key_and_right_on_average():
    config = dataclasses.replace(CONFIG, attention_dropout=0.25)
    layer, x = Attention(config, key=jax.random.key(0)), jnp.asarray(draw(T, D))
    plain = Attention(CONFIG, key=jax.random.key(0))
    same = whole(plain, x)[0]
    np.testing.assert_array_equal(whole(layer, x)[0], same)
    np.testing.assert_array_equal(whole(plain, x, key=jax.random.key(1))[0], same)
    n = 4000
    many = jax.jit(jax.vmap(lambda key: layer(x, key=key)[0]))(jax.random.split(jax.random.key(2), n))
    spread = np.asarray(many).std(axis=0)
    assert spread.min() > 1e-4
    # What is read is linear in the weights that are kept, and each is kept with the mean of 1.
    assert (np.abs(np.asarray(many).mean(axis=0) - np.asarray(same)) < 6 * spread / n**0.5 + 1e-6).all()
    # Causal with dropout, too.
    before, after = (whole(layer, one, key=jax.random.key(1))[0] for one in (x, x.at[3:].add(1.0)))
    np.testing.assert_array_equal(after[:3], before[:3])


def test_dropout_of_cross_attention(cross):
    x, memory = jnp.asarray(draw(T, D)), whole(cross.memory, draw(S, D), jnp.ones(S, bool))
    dropping = eqx.tree_at(
        lambda layer: layer.query,
        CrossAttention(dataclasses.replace(CONFIG, attention_dropout=0.5), key=jax.random.key(1)),
        cross.query,
    )
    dropped = [whole(dropping, x, memory, key=jax.random.key(seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    assert np.abs(dropped[0] - dropped[2]).max() > 1e-3
    assert np.abs(dropped[0] - whole(dropping, x, memory)).max() > 1e-3


def test_gradients_are_those_of_the_formula(cross):
    """With respect to every weight, against differences in float64 of the brute force."""
    x, y, there = draw(T, D), draw(S, D, seed=1), np.arange(S) < 4
    wanted = draw(T, D, seed=9)

    def loss(layer):
        return jnp.sum(layer(jnp.asarray(x), layer.memory(jnp.asarray(y), jnp.asarray(there)), start=START) * wanted)

    def loss_by_hand(layer) -> float:
        (q,) = by_hand(x, layer.query, layer.query_bias, 1)
        k, v = by_hand(y, layer.key_value, layer.key_value_bias, 2)
        read, _ = softmax_read(turned(q, START, BASE), turned(k, 0, BASE), v, np.broadcast_to(there, (T, S)))
        return float(np.sum(output(layer, read) * wanted))

    gradient = jax.jit(jax.grad(loss))(cross)
    for name in ("query", "query_bias", "key_value", "key_value_bias", "out", "out_bias"):
        leaf = np.asarray(getattr(cross, name), np.float64)
        direction = np.asarray(draw(*leaf.shape, seed=4), np.float64)
        moved = [eqx.tree_at(lambda c: getattr(c, name), cross, leaf + e * direction) for e in (1e-4, -1e-4)]  # noqa: B023
        slope = (loss_by_hand(moved[0]) - loss_by_hand(moved[1])) / 2e-4
        np.testing.assert_allclose(np.sum(np.asarray(getattr(gradient, name)) * direction), slope, rtol=1e-3, atol=1e-3)


def test_bfloat16_stays_close(cross):
    x, y, there = jnp.asarray(draw(T, D)), jnp.asarray(draw(S, D)), jnp.ones(S, bool)
    narrow = whole(cross.memory, y.astype(jnp.bfloat16), there)
    assert isinstance(narrow, Memory)
    found = whole(cross, x.astype(jnp.bfloat16), narrow)
    assert found.dtype == narrow.key.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), whole(cross, x, whole(cross.memory, y, there)), atol=0.1)
