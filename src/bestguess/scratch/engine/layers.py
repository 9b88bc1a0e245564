"""The layers of a transformer, made of operations, so without derivatives of their own; modules with parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from bestguess.scratch.engine.node import Array
from bestguess.scratch.engine.tensor import Tensor, where

Index = npt.NDArray[np.integer]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W + b: (…, inputs) to (…, outputs)."""
    return x @ weight if bias is None else x @ weight + bias


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Return features with mean 0 and variance 1, times `gain`, plus `bias` (Ba et al., 2016)."""
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    return centred / (variance + eps).sqrt() * gain + bias


def gelu(x: Tensor) -> Tensor:
    """Return the tanh form of GELU (Hendrycks & Gimpel, 2016, §2)."""
    return x * 0.5 * ((math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)).tanh() + 1.0)


def causal_attention(qkv: Tensor, heads: int) -> Tensor:
    """Return what each token reads from itself and those before: (B, T, 3 D) to (B, T, D).

    `qkv` packs queries, keys and values, each `heads` × (D / heads) (Vaswani et al., 2017, §3.2).
    """
    B, T, E = qkv.shape
    D, K = E // 3, E // 3 // heads
    packed = qkv.reshape(B, T, 3, heads, K).transpose(2, 0, 3, 1, 4)  # three of (B, heads, T, K)
    q, k, v = packed[0], packed[1], packed[2]
    scores = q @ k.transpose(0, 1, 3, 2) * (1 / math.sqrt(K))
    weights = where(np.tril(np.ones((T, T), bool)), scores, -np.inf).softmax()
    q.name, k.name, v.name, scores.name, weights.name = "q", "k", "v", "scores", "weights"  # for drawings
    return (weights @ v).transpose(0, 2, 1, 3).reshape(B, T, D)


def embedding(table: Tensor, index: Index) -> Tensor:
    """Return rows of `table`: shape of `index`, then the row's. A row's gradient sums over its uses."""
    return table[valid(np.asarray(index), len(table))]


def cross_entropy(logits: Tensor, targets: Index, ignore_index: int | None = None) -> Tensor:
    """Return the mean of −log p(target) over the targets that are not `ignore_index`, in nats.

    `logits` is (…, classes) and `targets` (…). A batch without a single target is a ValueError.
    """
    rows, target = scored(logits, targets, ignore_index)
    z = logits.reshape(-1, logits.shape[-1])[rows]
    z = z - z.data.max(-1, keepdims=True)  # changes nothing, and no exponential overflows
    nll = z.exp().sum(-1).log() - z[np.arange(len(rows)), target]
    return nll.mean()


def scored(logits: Tensor, targets: Index, ignore_index: int | None) -> tuple[Index, Index]:
    """Return which rows of the logits are scored, and their targets; errors if there is none, or one misfits."""
    targets = np.asarray(targets)
    if targets.shape != logits.shape[:-1]:
        raise ValueError(f"cross_entropy: targets of shape {targets.shape} for logits of {logits.shape}")
    rows = np.flatnonzero(targets != ignore_index)  # all of them, if that is None
    if not rows.size:
        raise ValueError(f"cross_entropy: every target is the ignored index {ignore_index}; nothing to score")
    return rows, valid(targets.ravel().take(rows), logits.shape[-1])


def valid(index: Index, size: int) -> Index:
    """Return `index`; TypeError unless it holds integers, IndexError unless each is one of 0 … size − 1."""
    if index.dtype.kind not in "iu":
        raise TypeError(f"tokens are integers, not {index.dtype}")
    if index.size and not 0 <= index.min() <= index.max() < size:
        raise IndexError(f"tokens from {index.min()} to {index.max()}, but there are only 0 to {size - 1}")
    return index


def parameter(values: Array) -> Tensor:
    """Return a float32 tensor that receives gradients."""
    return Tensor(values, requires_grad=True, dtype=np.float32)


class Module:
    """Anything with parameters: tensors that require a gradient, in its attributes or its modules'."""

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Yield (name, parameter) in the order they were assigned, names dotted by where they stand."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and value.requires_grad:
                yield prefix + name, value
            for i, part in enumerate(value) if isinstance(value, list) else [("", value)]:
                if isinstance(part, Module):
                    yield from part.named_parameters(f"{prefix}{name}.{i}." if i != "" else f"{prefix}{name}.")

    def parameters(self) -> list[Tensor]:
        return [p for _, p in self.named_parameters()]

    def count(self) -> int:
        """Return the number of scalar parameters."""
        return sum(p.data.size for p in self.parameters())


class Linear(Module):
    """x W + b, with W (inputs, outputs) drawn from N(0, gain² / inputs)."""

    def __init__(self, rng: np.random.Generator, inputs: int, outputs: int, gain: float = 1.0, bias: bool = True):
        self.weight = parameter(rng.normal(0, gain * inputs**-0.5, (inputs, outputs)))
        self.bias = parameter(np.zeros(outputs)) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class LayerNorm(Module):
    """Features with mean 0 and variance 1, times a gain, plus a bias."""

    def __init__(self, dim: int):
        self.gain, self.bias = parameter(np.ones(dim)), parameter(np.zeros(dim))

    def __call__(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.gain, self.bias)
