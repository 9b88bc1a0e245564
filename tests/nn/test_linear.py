"""`linear` is x @ w, whatever is done to it."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.nn.linear import linear

T, D, F, B, R = 5, 3, 7, 2, 11


def plain(x, w):
    return x @ w


def draw(*shape: int, seed: int = 0):
    return jnp.asarray(np.random.default_rng((seed, *shape)).normal(size=shape), jnp.float32)


def agree(wrap, *arguments, tolerance=1e-6):
    """Assert that `wrap(linear)` and `wrap(x @ w)` return equal trees."""
    ours, theirs = jax.jit(lambda *given: (wrap(linear)(*given), wrap(plain)(*given)))(*arguments)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert float(jnp.abs(a - b).max()) <= tolerance * max(1.0, float(jnp.abs(b).max()))


# An argument's axes in each of up to two nested vmaps: which of x and w has a batch axis, and where.
BATCHINGS = {
    "neither": ([], (T, D), (D, F)),
    "x": ([(0, None)], (B, T, D), (D, F)),
    "x, last axis": ([(2, None)], (T, D, B), (D, F)),
    "w": ([(None, 0)], (T, D), (B, D, F)),
    "w, middle axis": ([(None, 1)], (T, D), (D, B, F)),
    "both": ([(0, 0)], (B, T, D), (B, D, F)),
    "both, other axes": ([(1, 2)], (T, B, D), (D, F, B)),
    "runs outside, examples inside": ([(0, 0), (0, None)], (R, B, T, D), (R, D, F)),
    "examples outside, runs inside": ([(0, None), (0, 0)], (B, R, T, D), (R, D, F)),
    "examples twice": ([(0, None), (1, None)], (R, T, B, D), (D, F)),
    "w outside, x inside": ([(None, 0), (0, None)], (B, T, D), (R, D, F)),
    "both twice": ([(0, 0), (0, 0)], (R, B, T, D), (R, B, D, F)),
}
every_batching = pytest.mark.parametrize(("axes", "x", "w"), BATCHINGS.values(), ids=BATCHINGS)


def batched(function, axes):
    for inner in reversed(axes):
        function = jax.vmap(function, in_axes=inner)
    return function


@every_batching
def test_value(axes, x, w):
    agree(lambda f: batched(f, axes), draw(*x), draw(*w))


@every_batching
def test_gradient_outside_vmap(axes, x, w):
    """The gradient of a loss over all examples: what training takes."""

    def wrap(f):
        return jax.grad(lambda x, w: jnp.sum(jnp.sin(batched(f, axes)(x, w))), argnums=(0, 1))

    agree(wrap, draw(*x), draw(*w), tolerance=3e-6)


@every_batching
def test_gradient_inside_vmap(axes, x, w):
    """The gradients of each example on its own."""

    def wrap(f):
        return batched(jax.grad(lambda x, w: jnp.sum(jnp.sin(f(x, w))), argnums=(0, 1)), axes)

    agree(wrap, draw(*x), draw(*w), tolerance=3e-6)


def test_gradient_of_one_argument_alone():
    x, w = draw(T, D), draw(D, F)
    for number in (0, 1):
        gradient = functools.partial(jax.grad, argnums=number)
        agree(lambda f, g=gradient: g(lambda x, w: jnp.sum(f(x, w) ** 2)), x, w, tolerance=3e-6)


def test_forward_and_second_derivatives():
    x, w = draw(T, D), draw(D, F)
    agree(lambda f: lambda x, w: jax.jvp(f, (x, w), (x + 1, w - 1)), x, w)
    agree(lambda f: jax.hessian(lambda w: jnp.sum(jnp.sin(f(x, w)))), w, tolerance=3e-6)


def test_eager_scan_and_run_by_run():
    x, w = draw(B, T, D), draw(B, D, F)
    np.testing.assert_array_equal(linear(x[0], w[0]), jax.jit(linear)(x[0], w[0]))
    agree(lambda f: lambda x, w: jax.lax.map(lambda each: f(*each), (x, w)), x, w)


def test_bfloat16_computes_in_the_dtype_of_x_and_the_gradient_in_that_of_w():
    x, w = draw(B, T, D), draw(D, F)
    half = x.astype(jnp.bfloat16)
    out = jax.vmap(linear, (0, None))(half, w)
    assert out.dtype == jnp.bfloat16
    exact = half.astype(jnp.float32) @ w.astype(jnp.bfloat16).astype(jnp.float32)
    assert float(jnp.abs(out.astype(jnp.float32) - exact).max()) <= 2**-8 * float(jnp.abs(exact).max())
    gradient = jax.grad(lambda w: jnp.sum(jax.vmap(linear, (0, None))(half, w).astype(jnp.float32)))(w)
    assert gradient.dtype == jnp.float32
    expected = jnp.broadcast_to(half.astype(jnp.float32).sum(axis=(0, 1))[:, None], (D, F))
    assert float(jnp.abs(gradient - expected).max()) <= 2**-7 * float(jnp.abs(expected).max())


def test_products_of_many_terms_accumulate_in_float32():
    """4,096 ones: bfloat16 sums stop at 256, where adding 1 no longer changes them."""
    out = linear(jnp.ones((1, 4096), jnp.bfloat16), jnp.ones((4096, 1)))
    assert float(out[0, 0]) == 4096.0


def test_vmap_over_examples_leaves_one_matrix_product():
    """What the primitive is for: no batched product and no transposed copy, forwards or backwards."""
    x, w = draw(B, T, D), draw(D, F)
    loss = lambda x, w: jnp.sum(jax.vmap(linear, (0, None))(x, w) ** 2)  # noqa: E731
    text = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(x, w).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) == 3
    assert not any("batching_dims" in line for line in products)
    assert all(f"tensor<{B * T}x" in line or f"x{B * T}x" in line for line in products)
