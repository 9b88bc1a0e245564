"""Cross-entropy whose backward pass is written by hand: against Optax, plain log-softmax, and finite differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bestguess.nn.cross_entropy import cross_entropy
from tests.compiled import whole

T, K, V = 5, 3, 7
SMOOTHINGS = [0.0, 0.1, 0.7]


def example(dtype=jnp.float32, seed: int = 0, size: float = 3.0):
    a, b, c = jax.random.split(jax.random.key(seed), 3)
    logits = (size * jax.random.normal(a, (T, K, V))).astype(dtype)
    return logits, jax.random.randint(b, (T, K), 0, V), jax.random.normal(c, (T, K))


def plain(logits, target, smoothing):
    wanted = optax.smooth_labels(jax.nn.one_hot(target, logits.shape[-1]), smoothing)
    return optax.softmax_cross_entropy(logits.astype(jnp.float32), wanted)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_value_and_gradient_are_optax_s(smoothing):
    logits, target, weight = example()
    loss, normaliser = whole(cross_entropy, logits, target, smoothing)
    np.testing.assert_allclose(loss, whole(plain, logits, target, smoothing), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(normaliser, jax.nn.logsumexp(logits, axis=-1), rtol=1e-6)
    ours = jax.jit(jax.grad(lambda x: jnp.sum(weight * cross_entropy(x, target, smoothing)[0])))(logits)
    theirs = jax.jit(jax.grad(lambda x: jnp.sum(weight * plain(x, target, smoothing))))(logits)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_the_gradient_is_the_slope(smoothing):
    logits, target, weight = example()
    direction = jax.random.normal(jax.random.key(9), logits.shape)
    total = lambda x: jnp.sum(weight * cross_entropy(x, target, smoothing)[0])  # noqa: E731
    step = 1e-2
    slope = (total(logits + step * direction) - total(logits - step * direction)) / (2 * step)
    np.testing.assert_allclose(jnp.vdot(jax.grad(total)(logits), direction), slope, rtol=2e-3)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_logits_of_bfloat16_stay_so_and_are_summed_in_float32(smoothing):
    logits, target, weight = example(jnp.bfloat16)
    loss, normaliser = cross_entropy(logits, target, smoothing)
    assert (loss.dtype, normaliser.dtype) == (jnp.float32, jnp.float32)
    np.testing.assert_allclose(loss, plain(logits, target, smoothing), rtol=1e-5, atol=1e-6)
    gradient = jax.grad(lambda x: jnp.sum(weight * cross_entropy(x, target, smoothing)[0]))(logits)
    assert gradient.dtype == jnp.bfloat16
    wide = jax.grad(lambda x: jnp.sum(weight * plain(x, target, smoothing)))(logits.astype(jnp.float32))
    np.testing.assert_allclose(gradient.astype(jnp.float32), wide, rtol=2**-7, atol=1e-6)


def test_large_logits_have_a_loss_and_a_gradient():
    logits = jnp.asarray([[1e4, -1e4, 0.0]])
    loss, gradient = jax.value_and_grad(lambda x: jnp.sum(cross_entropy(x, jnp.asarray([1]))[0]))(logits)
    assert float(loss) == 2e4
    np.testing.assert_array_equal(gradient, [[1.0, -1.0, 0.0]])


def test_it_maps_over_sequences_and_the_normaliser_has_no_gradient():
    logits, target, _ = example()
    mapped = jax.jit(jax.vmap(lambda x, y: cross_entropy(x, y, 0.1)[0]))(logits, target)
    np.testing.assert_allclose(mapped, cross_entropy(logits, target, 0.1)[0], rtol=1e-6)
    none = jax.grad(lambda x: jnp.sum(cross_entropy(x, target)[1]))(logits)
    np.testing.assert_array_equal(none, 0)
