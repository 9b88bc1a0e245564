"""What the JAX decoder has and GPT-2 has not: RMSNorm, rotary positions, no biases (the model of `stdlib`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bestguess.scratch.engine.gpt import GPTConfig
from bestguess.scratch.engine.layers import Index, Linear, Module, parameter
from bestguess.scratch.engine.node import Array
from bestguess.scratch.engine.tensor import Tensor
from bestguess.scratch.fast import layers
from bestguess.scratch.fast.constants import ones
from bestguess.scratch.fast.gpt import FastGPT


@dataclass(frozen=True)
class DecoderConfig(GPTConfig):
    """The shape of a decoder; as it comes, it is a GPT's."""

    position: Literal["learned", "rope"] = "learned"
    """Learned vectors added to the embedding, or rotations of queries and keys (Su et al., 2021)."""
    norm: Literal["layer", "rms"] = "layer"
    bias: bool = True
    """Whether linear layers inside blocks add a bias; the output layer never does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.position == "rope" and self.d_model // self.heads % 2:
            raise ValueError("DecoderConfig: rope turns pairs of features, so d_model / heads must be even")


def rms_norm(x: Tensor, gain: Tensor, eps: float = 1e-6) -> Tensor:
    """Return features over their root mean square, times `gain` (Zhang & Sennrich, 2019)."""
    d, scale = x.shape[-1], gain.data
    x2 = x.data.reshape(-1, d)
    average = ones((d, 1), x.dtype, 1 / d)
    y = np.multiply(x2, x2)
    rms = y.dot(average)
    rms += eps
    np.sqrt(rms, out=rms)
    unit = np.divide(x2, rms)
    np.multiply(unit, scale, out=y)

    def backward(g: Array) -> tuple[Array, ...]:
        # With u the normalised x and h = gain · g:  dx = (h − u · mean(u · h)) / rms
        g2 = g.reshape(-1, d)
        ug = np.multiply(unit, g2)
        g_gain, mean_uh = ones(len(g2), g.dtype).dot(ug), ug.dot(scale[:, None] * average)
        g_x = np.multiply(g2, scale)
        g_x -= np.multiply(unit, mean_uh, out=ug)
        g_x /= rms
        return g_x.reshape(x.shape), g_gain

    return Tensor.result(y.reshape(x.shape), (x, gain), backward, "rms_norm")


def rotate(qkv: Tensor, heads: int, start: int = 0) -> Tensor:
    """Return packed queries, keys and values (B, T, 3 D), the first two rotated by their positions, `start` on.

    In each head feature i and feature i + half are one pair, and turn by position · 10000^(−i / half).
    """
    B, T, E = qkv.shape
    half = E // 3 // heads // 2
    angle = np.arange(start, start + T)[:, None] * 10_000.0 ** (-np.arange(half) / half)
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]

    def turned(x: Array, sin: Array) -> Array:
        pairs = x.reshape(B, T, 3, heads, 2, half)
        out, (a, b) = pairs.copy(), (pairs[:, :, :2, :, 0], pairs[:, :, :2, :, 1])
        out[:, :, :2, :, 0] = a * cos - b * sin
        out[:, :, :2, :, 1] = a * sin + b * cos
        return out.reshape(B, T, E)

    # A rotation's derivative is the rotation back.
    return Tensor.result(turned(qkv.data, sin), (qkv,), lambda g: (turned(g, -sin),), "rotate")


class RMSNorm(Module):
    """Features over their root mean square, times a gain."""

    def __init__(self, dim: int):
        self.gain = parameter(np.ones(dim))

    def __call__(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.gain)


class Decoder(FastGPT):
    """A GPT with what its `DecoderConfig` changes."""

    config: DecoderConfig

    def __init__(self, config: DecoderConfig, seed: int = 0):
        super().__init__(config, seed)
        if config.position == "rope":
            del self.position_embedding
        block: Any
        for block in self.blocks:
            if config.norm == "rms":
                block.attention_norm, block.feed_forward_norm = RMSNorm(config.d_model), RMSNorm(config.d_model)
            if not config.bias:
                inner = block.attention, block.feed_forward
                for linear in (inner[0].qkv, inner[0].out, inner[1].up, inner[1].down):
                    linear.bias = None
        if config.norm == "rms":
            self.norm = RMSNorm(config.d_model)  # type: ignore[assignment]

    def _embed(self, index: Index, start: int) -> Tensor:
        if self.config.position == "learned":
            return super()._embed(index, start)
        self._places(index, start)
        return layers.embedding(self.token_embedding, index)

    def _normed(self, norm: Module, x: Tensor) -> Tensor:
        return norm(x) if isinstance(norm, RMSNorm) else super()._normed(norm, x)

    def _qkv(self, linear: Linear, x: Tensor, start: int) -> Tensor:
        qkv = super()._qkv(linear, x, start)
        return qkv if self.config.position == "learned" else rotate(qkv, self.config.heads, start)
