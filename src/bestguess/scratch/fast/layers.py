"""The engine's layers as single operations: each computes its derivative by hand, and fast.

Five habits make them fast. Sums over rows and columns are matrix products with ones, which BLAS does many times faster
than a reduction. Products are taken by `dot`, as `@` takes twice as long to begin. Threads share rows, or sequences,
where the work is long enough (`threads`); so what an operation does is written for a slice of them, called `part`.
Exponentials are shifted only if one could overflow (`softmax`). And calls are few: with a batch as small as twelve
strings of eight tokens, NumPy spends a microsecond or two on each, most of it to begin.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from bestguess.scratch.engine.layers import valid
from bestguess.scratch.engine.node import Array
from bestguess.scratch.engine.tensor import Tensor
from bestguess.scratch.fast import threads
from bestguess.scratch.fast.constants import identity, ones
from bestguess.scratch.fast.softmax import causal_attention, cross_entropy

__all__ = ["causal_attention", "cross_entropy", "embedding", "feed_forward", "gelu", "layer_norm", "linear"]

Gradients = tuple[Array, ...]


def _added(parts: list[tuple[Array, ...]]) -> tuple[Array, ...]:
    """Return the sums of the parts' first arrays, of their second ones, and so on."""
    return parts[0] if len(parts) == 1 else tuple(sum(arrays[1:], start=arrays[0]) for arrays in zip(*parts))


def _product(x: Array, w: Array, bias: Tensor | None, y: Array) -> None:
    """Write x W + b to `y`."""
    x.dot(w, y)
    if bias is not None:
        y += bias.data


def _product_back(g: Array, x: Array, w: Array, bias: Tensor | None, g_x: Array) -> tuple[Array, ...]:
    """Write the gradient of x in x W + b to `g_x`; return those of W and, if there is one, of b."""
    g.dot(w.T, g_x)
    g_w = x.T.dot(g)
    return (g_w,) if bias is None else (g_w, ones(len(g), g.dtype).dot(g))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, onto: Tensor | None = None) -> Tensor:
    """Return x W + b: (…, inputs) to (…, outputs); added to the residual stream `onto`, if given."""
    w, shape = weight.data, x.data.shape
    inputs, outputs = w.shape
    if shape[-1] != inputs:
        raise ValueError(f"linear: x of shape {shape} for a weight of shape {w.shape}")
    if onto is not None and onto.shape != (*shape[:-1], outputs):
        raise ValueError(f"linear: {outputs} outputs of x of shape {shape} onto a stream of shape {onto.shape}")
    x2 = x.data.reshape(-1, inputs)
    y = np.empty((len(x2), outputs), w.dtype)
    stream = None if onto is None else onto.data.reshape(y.shape)
    work = y.size * inputs // 6  # a multiplication with its addition takes a sixth of a pass over a number

    def forward(part: slice) -> None:
        out = y[part]
        _product(x2[part], w, bias, out)
        if stream is not None:
            out += stream[part]

    def backward(g: Array) -> Gradients:
        g2 = g.reshape(-1, outputs)
        g_x = np.empty(x2.shape, g.dtype)

        def send_back(part: slice) -> tuple[Array, ...]:
            return _product_back(g2[part], x2[part], w, bias, g_x[part])

        gradients = (g_x.reshape(shape), *_added(threads.over(len(g2), 2 * work, send_back)))
        return gradients if onto is None else (*gradients, g)

    threads.over(len(x2), work, forward)
    parents = tuple([t for t in (x, weight, bias, onto) if t is not None])
    return Tensor.result(y.reshape(*shape[:-1], outputs), parents, backward, "linear")


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Return features with mean 0 and variance 1, times `gain`, plus `bias` (Ba et al., 2016)."""
    shape, dtype, scale = x.data.shape, x.data.dtype, gain.data
    d = shape[-1]
    x2, average = x.data.reshape(-1, d), ones((d, 1), dtype, 1 / d)
    unit = np.subtract(x2, x2.dot(average))
    y = np.multiply(unit, unit)
    deviation = y.dot(average)
    deviation += eps
    np.sqrt(deviation, deviation)
    unit /= deviation
    np.multiply(unit, scale, y)
    y += bias.data

    def backward(g: Array) -> Gradients:
        # With u the normalised x and h = gain · g:  dx = (h − mean(h) − u · mean(u · h)) / deviation
        g2 = g.reshape(-1, d)
        rows = ones(len(g2), g.dtype)
        ug = np.multiply(unit, g2)
        g_gain, g_bias = rows.dot(ug), rows.dot(g2)
        weights = scale[:, None] * average
        mean_h, mean_uh = g2.dot(weights), ug.dot(weights)
        g_x = np.multiply(g2, scale)
        g_x -= mean_h
        g_x -= np.multiply(unit, mean_uh, ug)
        g_x /= deviation
        return g_x.reshape(shape), g_gain, g_bias

    return Tensor.result(y.reshape(shape), (x, gain, bias), backward, "layer_norm")


# GELU is x · ½ (1 + tanh u) = x · sigmoid(2 u), with 2 u = A1 x + A3 x³.
A1 = 2 * math.sqrt(2 / math.pi)
A3 = 0.044715 * A1


def _gelu(x: Array, gate: Array, y: Array) -> None:
    """Write sigmoid(2 u) to `gate` and x · sigmoid(2 u) to `y`."""
    np.multiply(x, x, gate)
    gate *= -A3
    gate -= A1
    gate *= x
    with np.errstate(over="ignore"):  # if e^(−2u) is infinite, its sigmoid is 0, as it should be
        np.exp(gate, gate)
    gate += 1
    np.reciprocal(gate, gate)
    np.multiply(x, gate, y)


def _gelu_back(g: Array, x: Array, gate: Array, y: Array, g_x: Array, spare: Array) -> None:
    """Write g · dy/dx to `g_x`."""
    # With s the gate: y = x s and ds/dx = s (1 − s) (A1 + 3 A3 x²), so dy/dx = s + y (1 − s) (A1 + 3 A3 x²).
    np.multiply(x, x, g_x)
    g_x *= 3 * A3
    g_x += A1
    g_x *= y
    g_x *= np.subtract(1, gate, spare)
    g_x += gate
    g_x *= g


def gelu(x: Tensor) -> Tensor:
    """Return the tanh form of GELU (Hendrycks & Gimpel, 2016, §2), written with a sigmoid."""
    flat = x.data.reshape(-1)
    gate, y = np.empty(flat.shape, flat.dtype), np.empty(flat.shape, flat.dtype)

    def backward(g: Array) -> Gradients:
        g_y = g.reshape(-1)
        g_x, spare = np.empty(flat.shape, g.dtype), np.empty(flat.shape, g.dtype)

        def send_back(part: slice) -> None:
            _gelu_back(g_y[part], flat[part], gate[part], y[part], g_x[part], spare[part])

        threads.over(len(flat), 5 * len(flat), send_back)
        return (g_x.reshape(x.shape),)

    threads.over(len(flat), 10 * len(flat), lambda part: _gelu(flat[part], gate[part], y[part]))
    return Tensor.result(y.reshape(x.shape), (x,), backward, "gelu")


def feed_forward(
    x: Tensor, up: Tensor, up_bias: Tensor | None, down: Tensor, down_bias: Tensor | None, onto: Tensor
) -> Tensor:
    """Return `onto` + GELU(x U + b) V + c, a transformer's feed-forward layer: (…, d) to (…, d).

    One operation, as each row goes through all of it alone: a thread takes its rows from end to end.
    """
    u, v, shape = up.data, down.data, x.data.shape
    d, hidden = u.shape
    if shape[-1] != d or v.shape != (hidden, d) or onto.data.shape != shape:
        raise ValueError(f"feed_forward: x of {shape} through {u.shape} and {v.shape} onto {onto.shape}")
    x2, stream = x.data.reshape(-1, d), onto.data.reshape(-1, d)
    h, gate, inner = [np.empty((len(x2), hidden), u.dtype) for _ in range(3)]  # inner = GELU(h)
    y = np.empty(x2.shape, u.dtype)
    work = h.size * (2 * d // 6 + 10)  # two products, as in `linear`, around a GELU

    def forward(part: slice) -> None:
        _product(x2[part], u, up_bias, h[part])
        _gelu(h[part], gate[part], inner[part])
        out = y[part]
        _product(inner[part], v, down_bias, out)
        out += stream[part]

    def backward(g: Array) -> Gradients:
        g2, g_x = g.reshape(-1, d), np.empty(x2.shape, g.dtype)
        g_inner, g_h, spare = [np.empty(h.shape, g.dtype) for _ in range(3)]

        def send_back(part: slice) -> tuple[Array, ...]:
            of_down = _product_back(g2[part], inner[part], v, down_bias, g_inner[part])
            _gelu_back(g_inner[part], h[part], gate[part], inner[part], g_h[part], spare[part])
            return _product_back(g_h[part], x2[part], u, up_bias, g_x[part]) + of_down

        return g_x.reshape(shape), *_added(threads.over(len(g2), 2 * work, send_back)), g

    threads.over(len(x2), work, forward)
    parents = tuple([t for t in (x, up, up_bias, down, down_bias, onto) if t is not None])
    return Tensor.result(y.reshape(shape), parents, backward, "feed_forward")


def embedding(table: Tensor, index: npt.NDArray[np.integer], positions: Tensor | None = None, start: int = 0) -> Tensor:
    """Return rows of `table`: shape of `index`, then the row's. A row's gradient sums over its uses.

    `positions`, if given, adds its rows from `start` on to the tokens (B, T), one to each of the T.
    """
    rows, width = table.shape
    index = valid(np.asarray(index), rows)
    y = table.data.take(index, axis=0)

    def g_positions(g: Array, positions: Tensor, here: slice) -> Array:
        sums = np.zeros(positions.shape, g.dtype)
        sequences = g.reshape(-1, index.shape[-1] * width)
        sums[here] = ones(len(sequences), g.dtype).dot(sequences).reshape(-1, width)
        return sums

    def g_table(g: Array) -> Array:
        flat, g2 = index.reshape(-1), g.reshape(-1, width)
        if rows <= 256:  # then a product with one-hot rows, the identity's, beats adding one row at a time
            return identity(rows, g.dtype).take(flat, axis=0).T.dot(g2)
        sums = np.zeros(table.shape, g.dtype)
        np.add.at(sums, flat, g2)
        return sums

    if positions is None:
        return Tensor.result(y, (table,), lambda g: (g_table(g),), "embedding")
    here = slice(start, start + index.shape[-1])
    y += positions.data[here]
    return Tensor.result(y, (table, positions), lambda g: (g_table(g), g_positions(g, positions, here)), "embedding")
