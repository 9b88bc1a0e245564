"""The kernel that adds and normalises, interpreted on the CPU, and the gains that products take in."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.nn import normalisation
from bestguess.nn.config import DecoderConfig
from bestguess.nn.decoder import Decoder
from bestguess.nn.kernels import residual
from bestguess.nn.linear import affine
from bestguess.nn.normalisation import RMSNorm

EPS = 1e-3


def draw(*shape: int, seed: int = 0, dtype: str = "float32") -> jax.Array:
    return jnp.asarray(np.random.default_rng((seed, *shape)).normal(size=shape), dtype)


def formula(x, branch):
    """What the kernel computes, in the formula's own words."""
    y = x if branch is None else x + branch
    return y, y / np.sqrt(np.mean(np.square(y), axis=-1, keepdims=True) + EPS)


def values_and_gradients(function, x, branch, weights):
    """Return what `function` returns, and its gradients, of sums that weigh each element."""

    def of(x, branch):
        results, back = jax.vjp(function, x, branch)
        return results, back(weights)

    return jax.jit(of)(x, branch)


def jax_formula(x, branch):
    y = x if branch is None else x + branch
    return y, y / jnp.sqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + EPS)


@pytest.mark.parametrize(("T", "D", "added"), [(7, 24, True), (5, 32, False), (131, 37, True)])
def test_values_and_gradients(T, D, added, monkeypatch):
    monkeypatch.setattr(residual, "_ELEMENTS", 1024)  # several programs, of which the last is not full
    x, branch = 3 * draw(T, D), draw(T, D, seed=1) if added else None
    weights = draw(T, D, seed=2), draw(T, D, seed=3)
    add_norm = lambda x, branch: residual.add_norm(x, branch, EPS, True)  # noqa: E731
    values, gradients = values_and_gradients(add_norm, x, branch, weights)
    _, expected_gradients = values_and_gradients(jax_formula, x, branch, weights)
    for value, expected in zip(values, formula(np.asarray(x), None if branch is None else np.asarray(branch))):
        np.testing.assert_allclose(value, expected, atol=2e-6)
    assert (gradients[1] is None) == (branch is None)
    for gradient, expected in zip(jax.tree.leaves(gradients), jax.tree.leaves(expected_gradients), strict=True):
        np.testing.assert_allclose(gradient, expected, atol=3e-6)


def test_vmap_over_runs_and_batch():
    x, branch = draw(2, 3, 5, 16), draw(2, 3, 5, 16, seed=1)
    add_norm = lambda x, branch: residual.add_norm(x, branch, EPS, True)  # noqa: E731
    values = jax.jit(jax.vmap(jax.vmap(add_norm)))(x, branch)
    for value, expected in zip(values, formula(np.asarray(x), np.asarray(branch))):
        np.testing.assert_allclose(value, expected, atol=2e-6)


CONFIG = DecoderConfig(layers=2, d_model=256, heads=2, d_ff=32, dtype="bfloat16", activation="swiglu")


def gradients(decoder: Decoder, x: jax.Array):
    """Return the output, and the gradients of weights and input."""

    def loss(decoder, x):
        out = jax.vmap(lambda one: decoder(one)[0])(x).astype(jnp.float32)
        return jnp.sum(jnp.sin(out)), out

    (_, out), gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(decoder, x)
    return out, gradient


def with_gains(decoder: Decoder) -> Decoder:
    """Return the decoder with gains that are not all 1."""
    change = lambda leaf: leaf + 0.3 * draw(*leaf.shape) if leaf.ndim == 1 else leaf  # noqa: E731
    return jax.tree.map(change, decoder)


def test_a_decoder_with_the_kernel_is_as_close_to_float32_as_without(monkeypatch):
    decoder = with_gains(Decoder(CONFIG, key=jax.random.key(0)))
    x = draw(2, 3, 256)
    exact = gradients(with_gains(Decoder(dataclasses.replace(CONFIG, dtype="float32"), key=jax.random.key(0))), x)
    without = gradients(decoder, x)
    calls, compiled = [], residual.add_norm

    def interpreted(x, branch, eps):
        calls.append(branch is not None)
        return compiled(x, branch, eps, True)

    monkeypatch.setattr(normalisation, "fuses", lambda x: True)
    monkeypatch.setattr(residual, "add_norm", interpreted)
    found = gradients(decoder, x)
    assert calls == [False, True, True, True]
    distance = lambda a, b: float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))  # noqa: E731
    for ours, theirs, expected in zip(*map(jax.tree.leaves, (found, without, exact)), strict=True):
        assert distance(ours, expected) < max(0.01, 1.3 * distance(theirs, expected))


def test_a_gain_in_the_product_is_the_gain_before_it():
    norm = with_gains(RMSNorm(24))
    x, branch, w = 5 * draw(7, 24), draw(7, 24, seed=1), draw(24, 11, seed=2)

    def before(norm, w):
        return affine(norm(x + branch), w, None)

    def within(norm, w):
        return affine(norm.add(x, branch)[1], w, None, norm.gain)

    def both(function):
        summed = lambda norm, w: jnp.sum(jnp.sin(function(norm, w)))  # noqa: E731
        return jax.jit(lambda *args: (function(*args), jax.grad(summed, argnums=(0, 1))(*args)))(norm, w)

    for ours, expected in zip(*(jax.tree.leaves(both(function)) for function in (within, before)), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)
    np.testing.assert_array_equal(norm.add(x, branch)[0], x + branch)
    np.testing.assert_array_equal(norm.add(x, None)[0], x)


@pytest.mark.parametrize(
    ("dtype", "width", "triton", "fuses"),
    [
        ("bfloat16", 256, True, True),
        ("bfloat16", 255, True, False),
        ("float32", 256, True, False),
        ("bfloat16", 256, False, False),
    ],
)
def test_where_the_kernel_is_used(monkeypatch, dtype, width, triton, fuses):
    monkeypatch.setattr(normalisation, "has_triton", lambda: triton)
    x = jnp.zeros((1, width), dtype)
    assert not normalisation.fuses(x)  # on the CPU
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert normalisation.fuses(x) == fuses
