"""The layers of a transformer, put together from primitive operations.

Nothing here has a derivative of its own: it follows from `ops`. `fused` has the same functions as
single operations with derivatives by hand, and these are their tests.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from bestguess.scratch import ops
from bestguess.scratch.node import Array
from bestguess.scratch.ops import Tensor

__all__ = ["causal_attention", "cross_entropy", "embedding", "feed_forward", "gelu", "layer_norm", "linear", "rms_norm"]

Rotation = tuple[Array, Array]
"""Cosine and sine of each position's angles, both (positions, half a head's features)."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, onto: Tensor | None = None) -> Tensor:
    """Return x W + b: (…, inputs) to (…, outputs); added to `onto`, where a residual stream is given."""
    y = x @ weight
    if bias is not None:
        y = y + bias
    return y if onto is None else onto + y


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Return features with mean 0 and variance 1, times `gain`, plus `bias` (Ba et al., 2016)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred / (variance + eps).sqrt() * gain + bias


def rms_norm(x: Tensor, gain: Tensor, eps: float = 1e-6) -> Tensor:
    """Return features over their root mean square, times `gain` (Zhang & Sennrich, 2019)."""
    return x / ((x * x).mean(axis=-1, keepdims=True) + eps).sqrt() * gain


def gelu(x: Tensor) -> Tensor:
    """Return the tanh form of GELU (Hendrycks & Gimpel, 2016, §2)."""
    return x * 0.5 * (1.0 + (math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)).tanh())


def feed_forward(
    x: Tensor, up: Tensor, up_bias: Tensor | None, down: Tensor, down_bias: Tensor | None, onto: Tensor
) -> Tensor:
    """Return `onto` + GELU(x U + b) V + c, a transformer's feed-forward layer: (…, d) to (…, d)."""
    return linear(gelu(linear(x, up, up_bias)), down, down_bias, onto)


def softmax(x: Tensor) -> Tensor:
    """Return exp(x) over its sum along the last axis; shifted by the largest, which changes nothing."""
    numerators = (x - x.array.max(axis=-1, keepdims=True)).exp()
    return numerators / numerators.sum(axis=-1, keepdims=True)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Return (…, positions, features) with each pair (i, i + half) rotated by its position's angle."""
    cos, sin = rotation
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return ops.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def causal_attention(qkv: Tensor, heads: int, rotation: Rotation | None = None) -> Tensor:
    """Return what each token reads from itself and those before: (B, T, 3 D) to (B, T, D).

    `qkv` packs queries, keys and values, each `heads` × (D / heads) (Vaswani et al., 2017, §3.2).
    """
    B, T, E = qkv.shape
    D, K = E // 3, E // 3 // heads
    # (B, T, 3 D) -> three of (B, heads, T, K)
    packed = qkv.reshape(B, T, 3, heads, K).transpose(2, 0, 3, 1, 4)
    q, k, v = packed[0], packed[1], packed[2]
    if rotation is not None:
        q, k = rotate(q, rotation), rotate(k, rotation)
    scores = (q @ k.transpose(0, 1, 3, 2)) * (1 / math.sqrt(K))
    weights = softmax(ops.where(np.tril(np.ones((T, T), bool)), scores, -np.inf))
    return (weights @ v).transpose(0, 2, 1, 3).reshape(B, T, D)


def cross_entropy(logits: Tensor, targets: npt.NDArray[np.integer], ignore_index: int | None = None) -> Tensor:
    """Return the mean of −log p(target) over the targets that are not `ignore_index`, in nats.

    `logits` is (…, classes) and `targets` (…). A batch without a single target is a ValueError.
    """
    classes = logits.shape[-1]
    rows, target = scored(logits, targets, ignore_index)
    z = logits.reshape(-1, classes)[rows]
    z = z - z.array.max(axis=-1, keepdims=True)
    nll = z.exp().sum(axis=-1).log() - z[np.arange(len(rows)), target]
    return nll.mean()


def embedding(table: Tensor, index: npt.NDArray[np.integer], positions: Tensor | None = None, start: int = 0) -> Tensor:
    """Return rows of `table`: shape of `index`, then the row's. A row's gradient sums over its uses.

    To the tokens (B, T) `positions`, where given, adds its rows from `start` on, one to each of the T.
    """
    x = ops.embedding(table, index)
    return x if positions is None else x + positions[start : start + x.shape[-2]]


def scored(
    logits: Tensor, targets: npt.NDArray[np.integer], ignore_index: int | None
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]:
    """Return which rows of the logits are scored, and their targets; errors if none, or misfitting."""
    targets = np.asarray(targets)
    if targets.shape != logits.shape[:-1]:
        raise ValueError(f"cross_entropy: targets of shape {targets.shape} for logits of {logits.shape}")
    target = targets.ravel()
    rows = np.arange(target.size) if ignore_index is None else (target != ignore_index).nonzero()[0]
    if not rows.size:
        raise ValueError(f"cross_entropy: every target is the ignored index {ignore_index}; nothing to score")
    target = target.take(rows)
    ops.check_index("cross_entropy", target, logits.shape[-1])
    return rows, target
