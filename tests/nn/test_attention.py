"""Attention against brute force in NumPy: the rotation, the weights, the mask, the cache."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestguess.nn.attention import Attention, attend, rope, unpack
from bestguess.nn.config import DecoderConfig

T, H, K = 7, 5, 6
D = H * K
BASE = 100.0
FLOAT32 = jnp.dtype("float32")
CONFIG = DecoderConfig(layers=2, d_model=D, heads=H, rope_base=BASE)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(np.float32)


def turned(x: np.ndarray, position: np.ndarray, base: float = BASE) -> np.ndarray:
    """RoPE by brute force: features i and i + K/2 are one complex number, turned by its angle (float64)."""
    half = x.shape[-1] // 2
    z = x[..., :half].astype(np.float64) + 1j * x[..., half:]
    for t, p in enumerate(position):
        for i in range(half):
            z[t, :, i] *= np.exp(1j * p * base ** (-2 * i / x.shape[-1]))
    return np.concatenate([z.real, z.imag], axis=-1)


apply = jax.jit(lambda attention, x: attention(x)[0])
feed = jax.jit(lambda attention, x, cache: attention(x, cache))
weigh = jax.jit(lambda attention, x: attention.weights(x))


@pytest.fixture(scope="module")
def attention() -> Attention:
    return Attention(CONFIG, key=jax.random.key(0))


def brute_force(attention: Attention, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The output (T, D) and weights (H, T, T), one query and one key at a time, in float64."""
    qkv = x.astype(np.float64) @ np.asarray(attention.qkv, np.float64)
    q, k, v = (part.reshape(len(x), H, K) for part in np.split(qkv, 3, axis=1))
    q, k = turned(q, np.arange(len(x))), turned(k, np.arange(len(x)))
    weights, read = np.zeros((H, len(x), len(x))), np.zeros((len(x), H, K))
    for h in range(H):
        for t in range(len(x)):
            score = np.array([q[t, h] @ k[s, h] / np.sqrt(K) for s in range(t + 1)])
            weights[h, t, : t + 1] = np.exp(score) / np.exp(score).sum()
            read[t, h] = sum(weights[h, t, s] * v[s, h] for s in range(t + 1))
    return read.reshape(len(x), D) @ np.asarray(attention.out, np.float64), weights


# -------------------------------------------------------------------------------------------- rope


def test_rope_is_a_turn_of_complex_numbers():
    x, position = draw(T, H, K), np.array([0, 1, 2, 5, 31, 3, 200])
    ours = rope(jnp.asarray(x), jnp.asarray(position), BASE)
    np.testing.assert_allclose(ours, turned(x, position), atol=3e-5)


def test_rope_at_position_0_changes_nothing():
    x = draw(1, H, K)
    np.testing.assert_array_equal(rope(jnp.asarray(x), jnp.zeros(1, int), BASE), x)


turn = jax.jit(lambda x, p: rope(x, p, BASE))
positions = st.integers(0, 500)


@settings(max_examples=30, deadline=None)
@given(positions, positions, st.integers(0, 100))
def test_rope_keeps_norms_and_depends_on_the_distance_alone(p, q, shift):
    a, b = jnp.asarray(draw(1, H, K, seed=1)), jnp.asarray(draw(1, H, K, seed=2))
    at = lambda x, position: np.asarray(turn(x, jnp.asarray([position])), np.float64)  # noqa: E731
    np.testing.assert_allclose(
        np.linalg.norm(at(a, p), axis=-1), np.linalg.norm(np.asarray(a, np.float64), axis=-1), rtol=1e-6
    )
    product = (at(a, p) * at(b, q)).sum(-1)
    shifted = (at(a, p + shift) * at(b, q + shift)).sum(-1)
    np.testing.assert_allclose(product, shifted, atol=2e-4)  # float32 angles of hundreds of radians


def test_rope_tells_distances_apart():
    """Else the property above would hold for a rotation that does nothing."""
    a, b = jnp.asarray(draw(1, H, K, seed=1)), jnp.asarray(draw(1, H, K, seed=2))
    products = [np.asarray(turn(a, jnp.asarray([p])) * b).sum(-1) for p in range(5)]
    assert min(np.abs(x - y).max() for i, x in enumerate(products) for y in products[:i]) > 0.1


def plain_unpack(qkv, position, base):
    if base is None:
        return qkv[:, 0], qkv[:, 1], qkv[:, 2]
    return rope(qkv[:, 0], position, base), rope(qkv[:, 1], position, base), qkv[:, 2]


@pytest.mark.parametrize(("examples", "base"), [(None, BASE), (2, BASE), (2, None)])
def test_the_gradient_of_unpack_is_that_of_its_formula(examples, base):
    qkv, position = jnp.asarray(draw(*([examples] if examples else []), T, 3, H, K)), jnp.arange(T) + 4
    weight = [jnp.asarray(draw(T, H, K, seed=seed)) for seed in range(3)]

    def gradient(function):
        def loss(qkv):
            return sum(jnp.sum(jnp.sin(w * part)) for w, part in zip(weight, function(qkv, position, base)))

        return jax.vmap(jax.grad(loss)) if examples else jax.grad(loss)

    value, expected = jax.jit(lambda x: (gradient(unpack)(x), gradient(plain_unpack)(x)))(qkv)
    np.testing.assert_allclose(value, expected, atol=1e-6)
    assert np.abs(np.asarray(value)).reshape(-1, 3, H * K).max(axis=(0, 2)).min() > 0.1


# --------------------------------------------------------------------------------------- attention


def test_output_and_weights_against_brute_force(attention):
    x = draw(T, D)
    output, weights = brute_force(attention, x)
    np.testing.assert_allclose(apply(attention, jnp.asarray(x)), output, atol=2e-6)
    np.testing.assert_allclose(weigh(attention, jnp.asarray(x)), weights, atol=1e-6)


def test_weights_are_causal_sum_to_1_and_reproduce_the_output(attention):
    x = jnp.asarray(draw(T, D, seed=3)) * 3
    weights = np.asarray(weigh(attention, x), np.float64)
    assert weights.shape == (H, T, T)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
    assert (weights[:, ~np.tri(T, dtype=bool)] == 0).all()
    assert (weights[:, np.tri(T, dtype=bool)] > 0).all()
    value = np.asarray(x @ attention.qkv[:, 2 * D :], np.float64).reshape(T, H, K)
    read = np.einsum("hts,shk->thk", weights, value).reshape(T, D)
    np.testing.assert_allclose(apply(attention, x), read @ np.asarray(attention.out, np.float64), atol=1e-5)


def test_the_first_token_reads_itself_alone(attention):
    x = jnp.asarray(draw(T, D))
    np.testing.assert_allclose(
        apply(attention, x)[0], (x[:1] @ attention.qkv[:, 2 * D :] @ attention.out)[0], atol=1e-6
    )


def test_large_scores_do_not_overflow(attention):
    x = jnp.asarray(draw(T, D)) * 1e3
    assert np.isfinite(apply(attention, x)).all()
    np.testing.assert_allclose(np.asarray(weigh(attention, x)).sum(-1), 1, atol=1e-6)


def test_auto_is_xla_on_a_cpu():
    qkv = jnp.asarray(draw(T, 3, H, 16), jnp.bfloat16)
    np.testing.assert_array_equal(attend(qkv, BASE, "auto"), attend(qkv, BASE, "xla"))


# ------------------------------------------------------------------------------------------- cache


@pytest.mark.parametrize("size", [T, T + 4])
@pytest.mark.parametrize("chunks", [(1,) * T, (T,), (3, 4), (2, 1, 3, 1)])
def test_cached_equals_uncached(attention, chunks, size):
    """Token by token, all at once and in chunks, in a cache that fits and in one with room to spare."""
    x = jnp.asarray(draw(T, D))
    whole = apply(attention, x)
    cache, outputs = attention.empty_cache(size, FLOAT32), []
    assert int(cache.length) == 0
    for start, length in zip(np.cumsum((0, *chunks)), chunks):
        output, cache = feed(attention, x[start : start + length], cache)
        outputs.append(output)
        assert int(cache.length) == start + length
    np.testing.assert_allclose(jnp.concatenate(outputs), whole, atol=1e-5)
    qkv = np.asarray(x @ attention.qkv).reshape(T, 3, H, K)
    np.testing.assert_allclose(cache.key[:T], turned(qkv[:, 1], np.arange(T)), atol=1e-5)
    np.testing.assert_allclose(cache.value[:T], qkv[:, 2], atol=1e-6)
    assert not np.asarray(cache.key[T:]).any()


def test_what_lies_beyond_the_cache_s_length_is_never_read(attention):
    x = jnp.asarray(draw(T, D))
    _, cache = feed(attention, x[:3], attention.empty_cache(T, FLOAT32))
    dirty = type(cache)(cache.key.at[4:].set(1e6), cache.value.at[4:].set(1e6), cache.length)
    np.testing.assert_array_equal(feed(attention, x[3:4], dirty)[0], feed(attention, x[3:4], cache)[0])
