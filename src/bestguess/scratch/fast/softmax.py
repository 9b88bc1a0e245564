"""The fast layers with a softmax in them: attention and cross-entropy. `layers` says what makes them fast.

Exponentials are shifted by the largest value only if one could overflow, which saves a pass.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt

from bestguess.scratch.engine.layers import scored
from bestguess.scratch.engine.node import Array
from bestguess.scratch.engine.tensor import Tensor
from bestguess.scratch.fast import threads
from bestguess.scratch.fast.constants import ones

Gradients = tuple[Array, ...]

SAFE = 20.0
"""Exponents of at most this size are taken as they are: e²⁰ is 5e8, far from float32's limits."""
ROWS = 32
"""Queries that attention takes at once: later keys than theirs are then not even computed."""


def _safe(sums: Array, inverse: Array) -> bool:
    """Return whether the sums of exponentials (a row of them) lie between e^−SAFE and e^SAFE; False if one is NaN."""
    # The largest square is at most the sum of squares, which a product finds in less time than a search for it.
    return bool(sums.dot(sums) + inverse.dot(inverse) < math.exp(2 * SAFE))


@cache
def _blocks(queries: int) -> list[tuple[int, int]]:
    """Return the first index and the end of each block of at most `ROWS` queries."""
    return [(start, min(start + ROWS, queries)) for start in range(0, queries, ROWS)]


@lru_cache(maxsize=64)
def _past(heads: int, queries: int, keys: int, dtype: np.dtype[np.floating]) -> Array:
    """Return (heads, queries, keys): 1 where a query may read, 0 in its future; the last one reads every key."""
    # The same for each head, as NumPy is slow to broadcast arrays below its buffer's size of 8,192 numbers.
    past = np.tril(np.ones((queries, keys), dtype), keys - queries)
    return np.tile(past, (heads, 1, 1))


def _per_head(packed: Array) -> tuple[Array, Array, Array]:
    """Return views of queries, keys and values, packed as (B, T, 3, heads, K): each (B, heads, T, K)."""
    packed = packed.swapaxes(1, 3)
    return packed[:, :, 0], packed[:, :, 1], packed[:, :, 2]


def causal_attention(qkv: Tensor, heads: int) -> Tensor:
    """Return what each token reads from itself and those before: (B, T, 3 D) to (B, T, D).

    `qkv` packs queries, keys and values, each `heads` × (D / heads) (Vaswani et al., 2017, §3.2).
    """
    B, T, E = qkv.data.shape
    D, K = E // 3, E // 3 // heads
    dtype, scale = qkv.data.dtype, 1 / math.sqrt(K)
    q, k, v = _per_head(qkv.data.reshape(B, T, 3, heads, K))
    y = np.empty((B, T, heads, K), dtype)
    read = y.swapaxes(1, 2)
    blocks = _blocks(T)
    weights = [np.empty((B, heads, end - start, end), dtype) for start, end in blocks]
    work = 12 * B * heads * T * T

    def exponentials(part: slice, start: int, end: int, e: Array, shifted: bool) -> Array:
        np.matmul(q[part, :, start:end], k[part, :, :end].swapaxes(-1, -2), e)
        e *= scale
        past = _past(heads, end - start, end, dtype)
        if shifted:
            np.copyto(e, -np.inf, where=past == 0)
            e -= e.max(axis=-1, keepdims=True)
        np.exp(e, e)
        e *= past
        return e.reshape(-1, end).dot(ones(end, dtype))

    def forward(part: slice) -> None:
        for (start, end), block in zip(blocks, weights):
            w = block[part]
            with np.errstate(all="ignore"):  # what overflows shows in the sums
                sums = exponentials(part, start, end, w, shifted=False)
                inverse = np.reciprocal(sums)
                if not _safe(sums, inverse):
                    inverse = np.reciprocal(exponentials(part, start, end, w, shifted=True))
            w *= inverse.reshape(*w.shape[:-1], 1)  # each row now sums to 1
            np.matmul(w, v[part, :, :end], read[part, :, start:end])

    def backward(g: Array) -> Gradients:
        # y = w v and w = softmax(scale · q kᵀ):  dw = g vᵀ,  dscores = scale · w · (dw − Σ w dw),
        # where the sum over keys, Σ w dw, is g · y. The scale goes into g, which is smaller than dw.
        g_y = g.reshape(B, T, heads, K)
        packed, (scaled, spare) = np.empty((B, T, 3, heads, K), dtype), np.empty((2, *y.shape), dtype)
        g_q, g_k, g_v = _per_head(packed)
        g_weights = [np.empty(w.shape, dtype) for w in weights]

        def send_back(part: slice) -> None:
            g_read, g_scaled = g_y[part].swapaxes(1, 2), np.multiply(g_y[part], scale, scaled[part])
            along = np.multiply(g_scaled, y[part], spare[part]).reshape(-1, K).dot(ones(K, dtype))
            along, g_scaled = along.reshape(-1, T, heads, 1).swapaxes(1, 2), g_scaled.swapaxes(1, 2)
            # The last block meets every key, so it writes and the others add.
            for (start, end), block, g_block in reversed(list(zip(blocks, weights, g_weights))):
                w, g_scores = block[part], g_block[part]
                np.matmul(g_scaled[:, :, start:end], v[part, :, :end].swapaxes(-1, -2), g_scores)
                g_scores -= along[:, :, start:end]
                g_scores *= w
                np.matmul(g_scores, k[part, :, :end], g_q[part, :, start:end])
                w_keys, s_keys = w.swapaxes(-1, -2), g_scores.swapaxes(-1, -2)
                if end == T:
                    np.matmul(w_keys, g_read[:, :, start:end], g_v[part])
                    np.matmul(s_keys, q[part, :, start:end], g_k[part])
                else:
                    g_v[part, :, :end] += w_keys @ g_read[:, :, start:end]
                    g_k[part, :, :end] += s_keys @ q[part, :, start:end]

        threads.over(B, work, send_back)
        return (packed.reshape(B, T, E),)

    threads.over(B, work, forward)
    return Tensor.result(y.reshape(B, T, D), (qkv,), backward, "attention")


def cross_entropy(logits: Tensor, targets: npt.NDArray[np.integer], ignore_index: int | None = None) -> Tensor:
    """Return the mean of −log p(target) over the targets that are not `ignore_index`, in nats.

    `logits` is (…, classes) and `targets` (…). A batch without a single target is a ValueError.
    """
    shape, dtype = logits.data.shape, logits.data.dtype
    classes = shape[-1]
    rows, target = scored(logits, targets, ignore_index)
    z = logits.data.reshape(-1, classes)
    picks = rows * classes + target  # the indices of the targets' logits in all of `z`
    picked = z.take(picks)
    # Rows that are not scored are computed too, and weigh nothing: to leave them out takes longer.
    summing = ones(classes, dtype)
    with np.errstate(all="ignore"):  # what overflows shows in the sums
        e = np.exp(z)
        sums = e.dot(summing)
        inverse = np.reciprocal(sums)
        safe = _safe(sums, inverse)
    if not safe:  # rows that are not scored may hold anything, infinities too
        scored_z = np.zeros_like(z)
        scored_z[rows] = z[rows]
        z, peak = scored_z, scored_z.max(axis=-1, keepdims=True)
        picked -= peak.take(rows)
        sums = np.exp(np.subtract(z, peak, e), e).dot(summing)
        inverse = np.reciprocal(sums)
    nll = np.log(sums.take(rows))
    nll -= picked
    loss = np.asarray(nll.dot(ones(len(rows), dtype)) / len(rows), dtype)

    def backward(g: Array) -> Gradients:
        each = g.item() / len(rows)
        weight = np.zeros(len(z), dtype)
        weight[rows] = each
        weight *= inverse
        g_logits = np.multiply(e, weight[:, None], np.empty(z.shape, dtype))  # row by row, as `picks` counts
        g_logits.reshape(-1)[picks] -= each
        return (g_logits.reshape(shape),)

    return Tensor.result(loss, (logits,), backward, "cross_entropy")
