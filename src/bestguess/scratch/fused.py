"""The layers of `primitive` as single operations: each computes its derivative by hand, and fast.

Four habits make them fast. Sums over rows and columns are matrix products with ones, which BLAS
does many times faster than a reduction (by `dot`, as `@` takes twice as long to begin). Large
results go into used buffers (`pool`). Threads share attention's sequences (`parallel`). Exponentials
are shifted by the largest value only where one could overflow, which saves a pass.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from bestguess.scratch import ops, parallel, pool
from bestguess.scratch.primitive import Rotation, scored
from bestguess.scratch.tensor import Array, Gradients, Tensor, result

__all__ = ["causal_attention", "cross_entropy", "embedding", "gelu", "layer_norm", "linear", "rms_norm"]

SAFE = 20.0
"""Exponents of at most this size are taken as they are: e²⁰ is 5e8, far from float32's limits."""
ROWS = 32
"""Queries that attention takes at once: later keys than theirs are then not even computed."""


@cache
def _ones(n: int, dtype: np.dtype[np.floating], value: float = 1.0) -> Array:
    ones = np.full(n, value, dtype)
    ones.flags.writeable = False
    return ones


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W + b: (…, inputs) to (…, outputs)."""
    inputs, outputs = weight.shape
    if x.shape[-1] != inputs:
        raise ValueError(f"linear: x of shape {x.shape} for a weight of shape {weight.shape}")
    x2 = x.array.reshape(-1, inputs)
    y = np.matmul(x2, weight.array, out=pool.empty((len(x2), outputs), x.dtype))
    if bias is not None:
        y += bias.array

    def backward(g: Array) -> Gradients:
        g2 = g.reshape(-1, outputs)
        g_x = np.matmul(g2, weight.array.T, out=pool.empty(x2.shape, g.dtype)).reshape(x.shape)
        g_bias = None if bias is None else _ones(len(g2), g.dtype).dot(g2)
        return (g_x, x2.T @ g2) if bias is None else (g_x, x2.T @ g2, g_bias)

    parents = (x, weight) if bias is None else (x, weight, bias)
    return result(y.reshape(*x.shape[:-1], outputs), parents, backward, "linear", saved=(x, weight))


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Return features with mean 0 and variance 1, times `gain`, plus `bias` (Ba et al., 2016)."""
    d = x.shape[-1]
    x2 = x.array.reshape(-1, d)
    average = _ones(d, x.dtype, 1 / d)
    unit = np.subtract(x2, x2.dot(average)[:, None], out=pool.empty(x2.shape, x.dtype))
    y = np.multiply(unit, unit, out=pool.empty(x2.shape, x.dtype))
    deviation = y.dot(average)
    deviation += eps
    np.sqrt(deviation, out=deviation)
    unit /= deviation[:, None]
    np.multiply(unit, gain.array, out=y)
    y += bias.array

    def backward(g: Array) -> Gradients:
        # With u the normalised x and h = gain · g:  dx = (h − mean(h) − u · mean(u · h)) / deviation
        g2 = g.reshape(-1, d)
        rows = _ones(len(g2), g.dtype)
        ug = np.multiply(unit, g2, out=pool.empty(x2.shape, g.dtype))
        g_gain, g_bias = rows.dot(ug), rows.dot(g2)
        weights = gain.array * average
        mean_h, mean_uh = g2.dot(weights), ug.dot(weights)
        g_x = np.multiply(g2, gain.array, out=pool.empty(x2.shape, g.dtype))
        g_x -= mean_h[:, None]
        g_x -= np.multiply(unit, mean_uh[:, None], out=ug)
        g_x /= deviation[:, None]
        return g_x.reshape(x.shape), g_gain, g_bias

    return result(y.reshape(x.shape), (x, gain, bias), backward, "layer_norm", saved=(gain,))


def rms_norm(x: Tensor, gain: Tensor, eps: float = 1e-6) -> Tensor:
    """Return features over their root mean square, times `gain` (Zhang & Sennrich, 2019)."""
    d = x.shape[-1]
    x2 = x.array.reshape(-1, d)
    average = _ones(d, x.dtype, 1 / d)
    y = np.multiply(x2, x2, out=pool.empty(x2.shape, x.dtype))
    rms = y.dot(average)
    rms += eps
    np.sqrt(rms, out=rms)
    unit = np.divide(x2, rms[:, None], out=pool.empty(x2.shape, x.dtype))
    np.multiply(unit, gain.array, out=y)

    def backward(g: Array) -> Gradients:
        # With u the normalised x and h = gain · g:  dx = (h − u · mean(u · h)) / rms
        g2 = g.reshape(-1, d)
        ug = np.multiply(unit, g2, out=pool.empty(x2.shape, g.dtype))
        g_gain, mean_uh = _ones(len(g2), g.dtype).dot(ug), ug.dot(gain.array * average)
        g_x = np.multiply(g2, gain.array, out=pool.empty(x2.shape, g.dtype))
        g_x -= np.multiply(unit, mean_uh[:, None], out=ug)
        g_x /= rms[:, None]
        return g_x.reshape(x.shape), g_gain

    return result(y.reshape(x.shape), (x, gain), backward, "rms_norm", saved=(gain,))


def gelu(x: Tensor) -> Tensor:
    """Return the tanh form of GELU (Hendrycks & Gimpel, 2016, §2), written as x · sigmoid(2 u)."""
    # ½ (1 + tanh u) = sigmoid(2 u), with 2 u = x (a + b x²)
    a = 2 * math.sqrt(2 / math.pi)
    b = 0.044715 * a
    array = x.array
    gate = np.multiply(array, array, out=pool.empty(x.shape, x.dtype))
    gate *= -b
    gate -= a
    gate *= array
    with np.errstate(over="ignore"):  # where e^(−2u) is infinite, its sigmoid is the 0 that it should be
        np.exp(gate, out=gate)
    gate += 1
    np.divide(1, gate, out=gate)
    y = np.multiply(array, gate, out=pool.empty(x.shape, x.dtype))

    def backward(g: Array) -> Gradients:
        # y = x s(2u):  dy/dx = s · (1 + x (1 − s) (a + 3 b x²))
        g_x = np.multiply(array, array, out=pool.empty(x.shape, g.dtype))
        g_x *= 3 * b
        g_x += a
        g_x *= array
        g_x *= np.subtract(1, gate, out=pool.empty(x.shape, g.dtype))
        g_x += 1
        g_x *= gate
        g_x *= g
        return (g_x,)

    return result(y, (x,), backward, "gelu", saved=(x,))


def _exponentials(scores: Array, hidden: Array | None) -> Array:
    """Overwrite `scores` (…, n, m) with exponentials, each row up to a factor of its own; return it.

    `hidden` (n, n) is 1 where the last n columns must become 0.
    """
    last = None if hidden is None else scores[..., scores.shape[-1] - len(hidden) :]
    if max(scores.max(), -scores.min()) <= SAFE:
        np.exp(scores, out=scores)
        if last is not None and hidden is not None:
            last *= 1 - hidden
    else:
        if last is not None and hidden is not None:
            np.copyto(last, -np.inf, where=hidden.astype(bool))
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
    return scores


@cache
def _future(n: int, dtype: np.dtype[np.floating]) -> Array:
    return np.triu(np.ones((n, n), dtype), 1)


def turned(x: Array, rotation: Rotation, back: bool = False) -> Array:
    """Return (…, positions, features) with pairs (i, i + half) turned, or turned back."""
    cos, sin = rotation
    sin = -sin if back else sin
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def causal_attention(qkv: Tensor, heads: int, rotation: Rotation | None = None) -> Tensor:
    """Return what each token reads from itself and those before: (B, T, 3 D) to (B, T, D).

    `qkv` packs queries, keys and values, each `heads` × (D / heads) (Vaswani et al., 2017, §3.2).
    """
    B, T, E = qkv.shape
    D, K = E // 3, E // 3 // heads
    dtype, scale = qkv.dtype, 1 / math.sqrt(K)
    q, k, v = qkv.array.reshape(B, T, 3, heads, K).transpose(2, 0, 3, 1, 4)
    if rotation is not None:
        q, k = turned(q, rotation), turned(k, rotation)
    q = np.multiply(q, scale, out=pool.empty((B, heads, T, K), dtype))
    # A last value of 1 makes the weighted sum of values carry the softmax's denominator along.
    v1 = pool.empty((B, heads, T, K + 1), dtype)
    v1[..., :K], v1[..., K] = v, 1
    read = pool.empty((B, heads, T, K + 1), dtype)
    blocks = [(start, min(start + ROWS, T)) for start in range(0, T, ROWS)]
    exponentials = [pool.empty((B, heads, end - start, end), dtype) for start, end in blocks]

    def weigh(part: slice) -> None:
        for (start, end), e in zip(blocks, exponentials):
            np.matmul(q[part, :, start:end], k[part, :, :end].swapaxes(-1, -2), out=e[part])
            _exponentials(e[part], _future(end - start, dtype))
            np.matmul(e[part], v1[part, :, :end], out=read[part, :, start:end])

    scores = B * heads * T * T
    parallel.over(B, scores, weigh)
    inverse = 1 / read[..., K:]
    y = pool.empty((B, T, heads, K), dtype)
    y_heads = y.transpose(0, 2, 1, 3)
    np.multiply(read[..., :K], inverse, out=y_heads)

    def backward(g: Array) -> Gradients:
        # With weights w = e / Σe and dw = g vᵀ:  dscores = w · (dw − Σ w dw) = e · (u v1ᵀ),
        # where u is g / Σe with a last feature −Σ_k (g / Σe) y that meets the 1 in v1.
        u = pool.empty((B, heads, T, K + 1), dtype)
        g_heads = g.reshape(B, T, heads, K)
        g_read = np.multiply(g_heads.transpose(0, 2, 1, 3), inverse, out=u[..., :K])
        along = np.multiply(g_heads, y, out=pool.empty(y.shape, dtype)).dot(_ones(K, dtype, -1.0))
        np.multiply(along.transpose(0, 2, 1), inverse[..., 0], out=u[..., K])
        packed = pool.empty((B, T, 3, heads, K), dtype)
        g_q, g_k, g_v = packed.transpose(2, 0, 3, 1, 4)
        g_exponentials = [pool.empty(e.shape, dtype) for e in exponentials]

        def send_back(part: slice) -> None:
            # The last block meets every key, so it writes and the others add.
            for (start, end), e, g_scores in reversed(list(zip(blocks, exponentials, g_exponentials))):
                e, g_scores = e[part], g_scores[part]
                np.matmul(u[part, :, start:end], v1[part, :, :end].swapaxes(-1, -2), out=g_scores)
                g_scores *= e
                np.matmul(g_scores, k[part, :, :end], out=g_q[part, :, start:end])
                e_keys, s_keys = e.swapaxes(-1, -2), g_scores.swapaxes(-1, -2)
                if end == T:
                    np.matmul(e_keys, g_read[part, :, start:end], out=g_v[part])
                    np.matmul(s_keys, q[part, :, start:end], out=g_k[part])
                else:
                    g_v[part, :, :end] += e_keys @ g_read[part, :, start:end]
                    g_k[part, :, :end] += s_keys @ q[part, :, start:end]

        parallel.over(B, scores, send_back)
        g_q *= scale
        if rotation is not None:  # a rotation's derivative is the rotation back
            g_q[...], g_k[...] = turned(g_q, rotation, back=True), turned(g_k, rotation, back=True)
        return (packed.reshape(B, T, E),)

    saved = () if rotation is not None else (qkv,)
    return result(y.reshape(B, T, D), (qkv,), backward, "attention", saved, saves_itself=True)


def cross_entropy(logits: Tensor, targets: npt.NDArray[np.integer], ignore_index: int | None = None) -> Tensor:
    """Return the mean of −log p(target) over the targets that are not `ignore_index`, in nats.

    `logits` is (…, classes) and `targets` (…). A batch without a single target is a ValueError.
    """
    classes = logits.shape[-1]
    rows, target = scored(logits, targets, ignore_index)
    z = logits.array.reshape(-1, classes)
    everything = len(rows) == len(z)
    z = z.copy() if everything else z[rows]
    picks = np.arange(len(rows)) * classes + target
    picked = z.ravel()[picks]
    if max(z.max(), -z.min()) > SAFE:
        peak = z.max(axis=-1, keepdims=True)
        z -= peak
        picked -= peak[:, 0]
    e = np.exp(z, out=z)
    total = e.dot(_ones(classes, e.dtype))
    nll = np.log(total)
    nll -= picked
    loss = np.asarray(nll.dot(_ones(len(rows), e.dtype)) / len(rows), e.dtype)

    def backward(g: Array) -> Gradients:
        share = g / len(rows)
        p = np.multiply(e, (share / total)[:, None], out=pool.empty(e.shape, e.dtype))
        p.ravel()[picks] -= share
        if everything:
            return (p.reshape(logits.shape),)
        g_logits = np.zeros((logits.size // classes, classes), e.dtype)
        g_logits[rows] = p
        return (g_logits.reshape(logits.shape),)

    return result(loss, (logits,), backward, "cross_entropy")


def embedding(table: Tensor, index: npt.NDArray[np.integer]) -> Tensor:
    """Return rows of `table`: shape of `index`, then the row's. A row's gradient sums over its uses."""
    index = np.asarray(index)
    rows, width = table.shape
    ops.check_index("embedding", index, rows)

    def backward(g: Array) -> Gradients:
        flat, g2 = index.ravel(), g.reshape(-1, width)
        if rows <= 256:  # then a product with one-hot rows beats adding one row at a time
            one_hot = np.zeros((flat.size, rows), g.dtype)
            one_hot.ravel()[np.arange(flat.size) * rows + flat] = 1
            return (one_hot.T @ g2,)
        g_table = np.zeros_like(table.array)
        np.add.at(g_table, flat, g2)
        return (g_table,)

    return result(np.take(table.array, index, axis=0), (table,), backward, "embedding")
