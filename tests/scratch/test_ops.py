"""Every operation against JAX, in float64: values and gradients, on shapes and broadcasts that hypothesis draws."""

from __future__ import annotations

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bestguess.scratch.check import relative_error
from bestguess.scratch.demos import decoder
from bestguess.scratch.engine import layers as simple
from bestguess.scratch.engine.tensor import Tensor, concatenate, where
from bestguess.scratch.fast import layers as fast

KERNELS = {"fast": fast, "simple": simple}
every_kernel = pytest.mark.parametrize("kernels", KERNELS)
drawn = settings(max_examples=3, deadline=None)  # JAX compiles for each shape
cheap = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**31)


def agree(ours, theirs, *arrays: np.ndarray, seed: int = 0) -> None:
    """Assert that value and every gradient equal JAX's, the value weighed with random numbers."""
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    y = ours(*tensors)
    weights = np.random.default_rng(seed).normal(size=y.shape)
    if y.requires_grad:
        y.backward(weights)

    @jax.jit  # one program in place of one for each operation
    def reference(weights, *arrays):
        value, pullback = jax.vjp(theirs, *arrays)
        return value, pullback(weights)

    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        value, gradients = reference(weights, *arrays)
        np.testing.assert_allclose(y.data, value, rtol=1e-11, atol=1e-12)
        for t, expected in zip(tensors, gradients, strict=True):
            assert t.grad is not None
            assert t.grad.shape == t.shape
            np.testing.assert_allclose(t.grad, expected, rtol=1e-9, atol=1e-11)


def normal(seed: int, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


two_shapes = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=1, max_side=4)
shapes = hnp.array_shapes(max_dims=3, max_side=4)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (operator.add, jnp.add),
        (operator.sub, jnp.subtract),
        (operator.mul, jnp.multiply),
        (lambda a, b: a / (b * b + 0.5), lambda a, b: a / (b * b + 0.5)),
    ],
)
@drawn
@given(two_shapes, seeds)
def test_two_values_that_broadcast(ours, theirs, drawn_shapes, seed):
    agree(ours, theirs, *normal(seed, *drawn_shapes.input_shapes), seed=seed)


@drawn
@given(two_shapes, seeds)
def test_where(drawn_shapes, seed):
    mask = np.random.default_rng(seed).random(drawn_shapes.result_shape) < 0.5
    agree(
        lambda a, b: where(mask, a, b),
        lambda a, b: jnp.where(mask, a, b),
        *normal(seed, *drawn_shapes.input_shapes),
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Tensor.exp, jnp.exp),
        (Tensor.tanh, jnp.tanh),
        (Tensor.relu, jax.nn.relu),
        (abs, jnp.abs),
        (Tensor.softmax, jax.nn.softmax),
        (lambda a: (a * a + 0.5).log(), lambda a: jnp.log(a * a + 0.5)),
        (lambda a: (a * a + 0.5).sqrt(), lambda a: jnp.sqrt(a * a + 0.5)),
        (lambda a: a**3, lambda a: a**3),
        (lambda a: (a * a + 0.5) ** -0.7, lambda a: (a * a + 0.5) ** -0.7),
        (lambda a: 2.0 - a / 3.0, lambda a: 2.0 - a / 3.0),
        (lambda a: 2.0 / (a * a + 1.0), lambda a: 2.0 / (a * a + 1.0)),
    ],
)
@drawn
@given(shapes, seeds)
def test_one_value(ours, theirs, shape, seed):
    agree(ours, theirs, *normal(seed, shape))


@pytest.mark.parametrize("name", ["sum", "mean", "max"])
@drawn
@given(shapes, seeds, st.data())
def test_reductions(name, shape, seed, data):
    axis = data.draw(st.one_of(st.none(), st.integers(-len(shape), len(shape) - 1)))
    keepdims = data.draw(st.booleans())
    if axis is not None and data.draw(st.booleans()) and len(shape) > 1:
        axis = (axis % len(shape), (axis + 1) % len(shape))
    agree(
        lambda a: getattr(a, name)(axis, keepdims),
        lambda a: getattr(jnp, name)(a, axis=axis, keepdims=keepdims),
        *normal(seed, shape),
    )


@pytest.mark.parametrize(
    "f", [operator.add, operator.sub, operator.mul, lambda a, b: a / (b * b + 0.5), lambda a, b: (a - b) * b.exp()]
)
@cheap
@given(two_shapes, seeds)
def test_many_broadcasts_against_central_differences(f, drawn_shapes, seed):
    arrays = normal(seed, *drawn_shapes.input_shapes)
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    f(*tensors).sum().backward()
    # Beside a gradient that nearly vanishes, a central difference is its own rounding.
    assume(min(np.abs(t.grad).max() for t in tensors) > 0.01)
    assert relative_error(f, arrays) < 1e-7


@cheap
@given(hnp.mutually_broadcastable_shapes(signature="(n,k),(k,m)->(n,m)", max_dims=2, max_side=4, min_side=1), seeds)
def test_many_products_against_central_differences(drawn_shapes, seed):
    assert relative_error(operator.matmul, normal(seed, *drawn_shapes.input_shapes)) < 1e-7


def test_max_shares_the_gradient_between_equal_values():
    a = Tensor(np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]), requires_grad=True)
    a.max(axis=1).backward(np.array([1.0, 3.0]))
    assert a.grad.tolist() == [[0, 0.5, 0.5], [1, 1, 1]]


@drawn
@given(hnp.mutually_broadcastable_shapes(signature="(n,k),(k,m)->(n,m)", max_dims=2, max_side=4, min_side=1), seeds)
def test_matmul(drawn_shapes, seed):
    agree(operator.matmul, jnp.matmul, *normal(seed, *drawn_shapes.input_shapes))


@drawn
@given(shapes, seeds, st.data())
def test_reshape_and_transpose(shape, seed, data):
    axes = tuple(data.draw(st.permutations(range(len(shape)))))
    agree(lambda a: a.transpose(*axes), lambda a: a.transpose(axes), *normal(seed, shape))
    agree(lambda a: a.reshape(-1), lambda a: a.reshape(-1), *normal(seed, shape))


@drawn
@given(shapes, seeds, st.data())
def test_slices(shape, seed, data):
    index = data.draw(hnp.basic_indices(shape, allow_ellipsis=True, allow_newaxis=True))
    if np.empty(shape)[index].size:
        agree(lambda a: a[index], lambda a: a[index], *normal(seed, shape))
    rows = data.draw(hnp.arrays(np.int64, st.integers(1, 7), elements=st.integers(-shape[0], shape[0] - 1)))
    agree(lambda a: a[rows], lambda a: a[rows], *normal(seed, shape))  # some are taken twice


@drawn
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 2), seeds)
def test_concatenate(sizes, axis, seed):
    parts = [(*(2, 3, 5)[:axis], n, *(2, 3, 5)[axis + 1 :]) for n in sizes]
    agree(lambda *a: concatenate(a, axis), lambda *a: jnp.concatenate(a, axis), *normal(seed, *parts))


@every_kernel
@pytest.mark.parametrize("rows", [5, 300])  # a product with one-hot rows, and one row at a time
def test_embedding(kernels, rows):
    index = np.random.default_rng(0).integers(0, 5, (3, 7))
    agree(lambda t: KERNELS[kernels].embedding(t, index), lambda t: t[index], *normal(1, (rows, 2)))


@pytest.mark.parametrize("start", [0, 2])
@pytest.mark.parametrize("shape", [(3, 7), (7,)])
def test_embedding_with_positions(shape, start):
    index = np.random.default_rng(0).integers(0, 5, shape)
    agree(
        lambda t, p: fast.embedding(t, index, p, start),
        lambda t, p: t[index] + p[start : start + 7],
        *normal(1, (5, 2), (11, 2)),
    )


@every_kernel
@pytest.mark.parametrize("index", [[[0, 5]], [[-1, 2]]])
def test_a_token_outside_the_table_is_an_error(kernels, index):
    with pytest.raises(IndexError, match="only 0 to 4"):
        KERNELS[kernels].embedding(Tensor(np.zeros((5, 2))), np.array(index))
    with pytest.raises(TypeError, match="integers"):
        KERNELS[kernels].embedding(Tensor(np.zeros((5, 2))), np.array([0.5]))


# Layers


@every_kernel
@drawn
@given(hnp.array_shapes(min_dims=0, max_dims=2, max_side=4), seeds)
def test_linear(kernels, leading, seed):
    x, w, b = normal(seed, (*leading, 3) if leading else (1, 3), (3, 5), (5,))
    agree(KERNELS[kernels].linear, lambda x, w, b: x @ w + b, x, w, b)
    agree(KERNELS[kernels].linear, lambda x, w: x @ w, x, w)
    if kernels == "simple":
        return
    (stream,) = normal(seed + 1, (*x.shape[:-1], 5))
    agree(fast.linear, lambda x, w, b, s: s + (x @ w + b), x, w, b, stream)
    agree(lambda x, w, s: fast.linear(x, w, onto=s), lambda x, w, s: s + x @ w, x, w, stream)


def test_linear_onto_a_stream_of_another_shape_is_an_error():
    x, w, stream = (Tensor(a) for a in normal(0, (2, 3, 5), (5, 7), (3, 2, 7)))
    with pytest.raises(ValueError, match=r"7 outputs .* \(3, 2, 7\)"):
        fast.linear(x, w, onto=stream)


@every_kernel
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_norms_and_gelu(kernels, scale):
    x, g, b = normal(3, (2, 3, 7), (7,), (7,))

    def layer_norm(x, g, b):
        return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5) * g + b

    agree(KERNELS[kernels].layer_norm, layer_norm, scale * x, g, b)
    agree(
        decoder.rms_norm,
        lambda x, g: x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * g,
        scale * x,
        g,
    )
    agree(KERNELS[kernels].gelu, lambda x: jax.nn.gelu(x, approximate=True), 3 * x)


def test_gelu_far_out_is_the_line_and_zero():
    x = Tensor([-1e4, -30.0, 30.0, 1e4], requires_grad=True)
    y = fast.gelu(x)
    y.backward(np.ones(4, np.float32))
    assert y.data.tolist() == [0, 0, 30, 1e4]
    assert x.grad.tolist() == [0, 0, 1, 1]


@drawn
@given(hnp.array_shapes(min_dims=0, max_dims=2, max_side=4), seeds)
def test_feed_forward(leading, seed):
    rows = (*leading, 3) if leading else (1, 3)
    x, u, b, v, c, stream = normal(seed, rows, (3, 5), (5,), (5, 3), (3,), rows)
    layer = fast.feed_forward

    def feed_forward(x, u, b, v, c, stream):
        return stream + jax.nn.gelu(x @ u + b, approximate=True) @ v + c

    agree(layer, feed_forward, x, u, b, v, c, stream)
    agree(
        lambda x, u, v, s: layer(x, u, None, v, None, s), lambda x, u, v, s: feed_forward(x, u, 0, v, 0, s), x, u, v, x
    )


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 3, 4), (5, 7), (7, 5), (2, 3, 5)],
        [(2, 3, 5), (5, 7), (7, 4), (2, 3, 4)],
        [(2, 3, 5), (5, 7), (7, 5), (3, 2, 5)],
    ],
    ids=["input", "output", "stream"],
)
def test_feed_forward_of_shapes_that_do_not_fit_is_an_error(shapes):
    x, up, down, stream = (Tensor(a) for a in normal(0, *shapes))
    with pytest.raises(ValueError, match=r"feed_forward: .* through \(5, 7\)"):
        fast.feed_forward(x, up, None, down, None, stream)


def attention(x: jax.Array, heads: int) -> jax.Array:
    B, T, E = x.shape
    q, k, v = jnp.moveaxis(x.reshape(B, T, 3, heads, -1), 2, 0)
    return jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation="xla").reshape(B, T, E // 3)


@every_kernel
@pytest.mark.parametrize("scale", [1.0, 30.0])  # large scores are shifted before the exponential
@pytest.mark.parametrize(("B", "T", "heads", "K"), [(2, 5, 3, 7), (1, 1, 2, 3), (2, 32, 1, 5), (3, 67, 2, 5)])
def test_attention(kernels, B, T, heads, K, scale):
    (x,) = normal(T, (B, T, 3 * heads * K))
    with jax.enable_x64(True):
        product = jax.jit(attention, static_argnums=1)(x, heads)
        # JAX computes the softmax in float32 unless told, so the product form stands beside it.
        np.testing.assert_allclose(KERNELS[kernels].causal_attention(Tensor(x), heads).data, product, atol=2e-5)

    def written_out(x):
        q, k, v = jnp.transpose(x.reshape(B, T, 3, heads, K), (2, 0, 3, 1, 4))
        scores = jnp.where(jnp.tril(jnp.ones((T, T), bool)), q @ k.swapaxes(-1, -2) / jnp.sqrt(K), -jnp.inf)
        return (jax.nn.softmax(scores) @ v).transpose(0, 2, 1, 3).reshape(B, T, -1)

    agree(lambda x: KERNELS[kernels].causal_attention(x, heads), written_out, scale * x)


@pytest.mark.parametrize("start", [0, 3])
def test_rotary_positions(start):
    (x,) = normal(0, (2, 5, 3 * 3 * 4))  # 3 heads of 4 features: two pairs, (0, 2) and (1, 3)

    def rotated(x):
        qkv = x.reshape(2, 5, 3, 3, 2, 2)
        turn = jnp.exp(1j * (jnp.arange(5) + start)[:, None, None] * 10_000.0 ** (-jnp.arange(2) / 2))
        z = (qkv[:, :, :2, :, 0] + 1j * qkv[:, :, :2, :, 1]) * turn[:, None]  # as complex numbers
        turned = jnp.stack([z.real, z.imag], axis=-2)
        return jnp.concatenate([turned, qkv[:, :, 2:]], axis=2).reshape(x.shape)

    agree(lambda x: decoder.rotate(x, 3, start), rotated, x)


@every_kernel
@drawn
@given(seeds, st.floats(0.1, 60), st.integers(0, 5))
def test_cross_entropy(kernels, seed, scale, padded):
    rng = np.random.default_rng(seed)
    targets = rng.integers(1, 7, (2, 3))
    targets.ravel()[:padded] = 0
    kept = targets.ravel() != 0

    def theirs(z):
        log_p = jax.nn.log_softmax(z.reshape(-1, 7))
        return -log_p[np.arange(6), targets.ravel()][kept].mean()

    agree(lambda z: KERNELS[kernels].cross_entropy(z, targets, 0), theirs, scale * rng.normal(size=(2, 3, 7)))


@every_kernel
def test_cross_entropy_of_logits_in_another_memory_order(kernels):
    targets = np.array([2, 0, 1, 4, 3])
    z = np.asfortranarray(*normal(0, (5, 7)))
    agree(
        lambda z: KERNELS[kernels].cross_entropy(z, targets, 0),
        lambda z: -jax.nn.log_softmax(z)[np.arange(5), targets][targets != 0].mean(),
        z,
    )


@every_kernel
@pytest.mark.parametrize("anything", [np.inf, -np.inf, np.nan])
def test_logits_at_an_ignored_target_may_be_anything(kernels, anything):
    targets, z = np.array([2, 0, 1]), normal(0, (3, 5))[0]
    z[1] = anything
    logits = Tensor(z, requires_grad=True)
    loss = KERNELS[kernels].cross_entropy(logits, targets, 0)
    loss.backward()
    z[1] = 0
    plain = Tensor(z, requires_grad=True)
    expected = KERNELS[kernels].cross_entropy(plain, targets, 0)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(logits.grad, plain.grad, rtol=1e-12)
    assert not logits.grad[1].any()


@every_kernel
def test_cross_entropy_says_what_is_off(kernels):
    z = Tensor(np.zeros((2, 3, 5)))
    f = KERNELS[kernels].cross_entropy
    with pytest.raises(ValueError, match=r"\(2, 2\) for logits of \(2, 3, 5\)"):
        f(z, np.zeros((2, 2), int))
    with pytest.raises(ValueError, match="nothing to score"):
        f(z, np.zeros((2, 3), int), 0)
    with pytest.raises(IndexError, match="only 0 to 4"):
        f(z, np.full((2, 3), 5))
