"""A GPT: which token comes next, from all tokens so far (Radford et al., 2019, pre-norm blocks)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from bestguess.scratch.fused_softmax import rotated
from bestguess.scratch.nn import Kernels, LayerNorm, Linear, Module, RMSNorm, layers, normal
from bestguess.scratch.node import Array, no_grad
from bestguess.scratch.ops import Tensor
from bestguess.scratch.primitive import Rotation

Index = npt.NDArray[np.integer]


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT. The defaults are GPT-2's kind; the last three make it the JAX decoder's."""

    vocab: int
    d_model: int
    layers: int
    heads: int
    positions: int
    """Most tokens of a sequence."""
    position: Literal["learned", "rope"] = "learned"
    """Learned vectors added to the embedding, or rotations of queries and keys (Su et al., 2021)."""
    norm: Literal["layer", "rms"] = "layer"
    bias: bool = True
    """Whether linear layers inside blocks add a bias; the output layer never does."""

    def __post_init__(self) -> None:
        for name in ("vocab", "d_model", "layers", "heads", "positions"):
            if getattr(self, name) < 1:
                raise ValueError(f"GPTConfig: {name} is {getattr(self, name)}, must be at least 1")
        if self.d_model % self.heads:
            raise ValueError(f"GPTConfig: {self.heads} heads do not divide d_model {self.d_model}")
        if self.position == "rope" and self.d_model // self.heads % 2:
            raise ValueError("GPTConfig: rope turns pairs of features, so d_model / heads must be even")


@dataclass
class Cache:
    """Keys and values of the tokens seen so far, so that each new token is computed once.

    `keys` and `values` are (layers, B, heads, positions, K); rows from `length` on are unwritten.
    """

    keys: Array
    values: Array
    length: int = 0


class Attention(Module):
    """Causal multi-head self-attention, queries, keys and values from one product."""

    def __init__(self, config: GPTConfig, rng: np.random.Generator, kernels: Kernels, dtype: npt.DTypeLike):
        d, bias = config.d_model, config.bias
        self.qkv = Linear(rng, d, 3 * d, bias=bias, kernels=kernels, dtype=dtype)
        # The residual stream adds 2 branches a block; this keeps its variance near 1 at the start.
        gain = (2 * config.layers) ** -0.5
        self.out = Linear(rng, d, d, bias=bias, gain=gain, kernels=kernels, dtype=dtype)
        self._heads = config.heads
        self._layers = layers(kernels)

    def __call__(self, x: Tensor, rotation: Rotation | None, onto: Tensor) -> Tensor:
        return self.out(self._layers.causal_attention(self.qkv(x), self._heads, rotation), onto)

    def split(self, x: Tensor, rotation: Rotation | None) -> tuple[Array, Array, Array]:
        """Return queries (scaled), keys and values, each (B, heads, T, K), as plain arrays."""
        B, T, D = x.shape
        packed = self.qkv(x).array.reshape(B, T, 3, self._heads, D // self._heads)
        q, k, v = packed.transpose(2, 0, 3, 1, 4)
        if rotation is not None:
            q, k = rotated(q, rotation), rotated(k, rotation)
        return q * (1 / math.sqrt(q.shape[-1])), k, v

    def cached(self, x: Tensor, rotation: Rotation | None, onto: Tensor, cache: Cache, layer: int) -> Tensor:
        """Return the same as a call on all tokens so far would, for the new ones `x`; fills the cache."""
        B, T, D = x.shape
        q, k, v = self.split(x, rotation)
        end = cache.length + T
        cache.keys[layer, :, :, cache.length : end] = k
        cache.values[layer, :, :, cache.length : end] = v
        weights = causal_softmax(q @ cache.keys[layer, :, :, :end].swapaxes(-1, -2))
        read = weights @ cache.values[layer, :, :, :end]
        return self.out(Tensor(read.transpose(0, 2, 1, 3).reshape(B, T, D), dtype=x.dtype), onto)


def causal_softmax(scores: Array) -> Array:
    """Return attention weights (…, T, S): the T queries are the last T of the S tokens; rows sum to 1."""
    T, S = scores.shape[-2:]
    scores = np.where(np.tril(np.ones((T, S), bool), S - T), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


class FeedForward(Module):
    """Two products around a GELU, four times as wide inside."""

    def __init__(self, config: GPTConfig, rng: np.random.Generator, kernels: Kernels, dtype: npt.DTypeLike):
        d, bias = config.d_model, config.bias
        self.up = Linear(rng, d, 4 * d, bias=bias, kernels=kernels, dtype=dtype)
        gain = (2 * config.layers) ** -0.5
        self.down = Linear(rng, 4 * d, d, bias=bias, gain=gain, kernels=kernels, dtype=dtype)
        self._layers = layers(kernels)

    def __call__(self, x: Tensor, onto: Tensor) -> Tensor:
        up, down = self.up, self.down
        return self._layers.feed_forward(x, up.weight, up.bias, down.weight, down.bias, onto)


class Block(Module):
    """Attention, then feed-forward, each behind a norm and added to the stream (Xiong et al., 2020)."""

    def __init__(self, config: GPTConfig, rng: np.random.Generator, kernels: Kernels, dtype: npt.DTypeLike):
        norm = LayerNorm if config.norm == "layer" else RMSNorm
        self.attention_norm = norm(config.d_model, kernels=kernels, dtype=dtype)
        self.attention = Attention(config, rng, kernels, dtype)
        self.feed_forward_norm = norm(config.d_model, kernels=kernels, dtype=dtype)
        self.feed_forward = FeedForward(config, rng, kernels, dtype)

    def __call__(self, x: Tensor, rotation: Rotation | None, cache: Cache | None = None, layer: int = 0) -> Tensor:
        inner = self.attention_norm(x)
        if cache is None:
            x = self.attention(inner, rotation, x)
        else:
            x = self.attention.cached(inner, rotation, x, cache, layer)
        return self.feed_forward(self.feed_forward_norm(x), x)


class GPT(Module):
    """Token embedding, blocks, a last norm, and the logits of the next token.

    `kernels` switches between layers of primitive operations and fused ones: same values, same
    gradients, another speed.
    """

    def __init__(
        self,
        config: GPTConfig,
        seed: int = 0,
        kernels: Kernels = "fused",
        dtype: npt.DTypeLike = np.float32,
    ):
        rng = np.random.default_rng(seed)
        self.config = config
        self.token_embedding = normal(rng, (config.vocab, config.d_model), 1.0, dtype)
        if config.position == "learned":
            self.position_embedding = normal(rng, (config.positions, config.d_model), 0.1, dtype)
        self.blocks = [Block(config, rng, kernels, dtype) for _ in range(config.layers)]
        norm = LayerNorm if config.norm == "layer" else RMSNorm
        self.norm = norm(config.d_model, kernels=kernels, dtype=dtype)
        self.head = Linear(rng, config.d_model, config.vocab, bias=False, kernels=kernels, dtype=dtype)
        self._layers = layers(kernels)
        self._dtype = np.dtype(dtype)

    def __call__(self, index: Index, cache: Cache | None = None) -> Tensor:
        """Return logits (B, T, vocab): at each position, of the token that follows it.

        With a cache, `index` holds only the new tokens, no gradient flows, and the cache then
        holds them too.
        """
        if cache is not None:
            with no_grad():
                x, rotation = self._embed(index, cache.length)
                for layer, block in enumerate(self.blocks):
                    x = block(x, rotation, cache, layer)
                cache.length += index.shape[1]
                return self.head(self.norm(x))
        x, rotation = self._embed(index, 0)
        for block in self.blocks:
            x = block(x, rotation)
        return self.head(self.norm(x))

    def loss(self, index: Index, targets: Index, ignore_index: int | None = None) -> Tensor:
        """Return the mean cross-entropy of the targets (B, T) that are not `ignore_index`, in nats."""
        return self._layers.cross_entropy(self(index), targets, ignore_index)

    def empty_cache(self, batch: int = 1) -> Cache:
        """Return a cache for `batch` sequences that holds no tokens."""
        c = self.config
        shape = (c.layers, batch, c.heads, c.positions, c.d_model // c.heads)
        return Cache(np.zeros(shape, self._dtype), np.zeros(shape, self._dtype))

    def attention_weights(self, index: Index) -> Array:
        """Return (layers, B, heads, T, T): what each query (row) reads from each key; rows sum to 1."""
        weights = []
        with no_grad():
            x, rotation = self._embed(index, 0)
            for block in self.blocks:
                q, k, _ = block.attention.split(block.attention_norm(x), rotation)
                weights.append(causal_softmax(q @ k.swapaxes(-1, -2)))
                x = block(x, rotation)
        return np.stack(weights)

    def _embed(self, index: Index, start: int) -> tuple[Tensor, Rotation | None]:
        """Return the tokens' vectors and, for rope, the rotations of their positions."""
        index = np.asarray(index)
        if index.ndim != 2 or not index.size:
            raise ValueError(f"GPT: tokens of shape {index.shape}, wants (batch, tokens), at least one each")
        end = start + index.shape[1]
        if end > self.config.positions:
            raise ValueError(f"GPT: {end} tokens, but this model has {self.config.positions} positions")
        if self.config.position == "learned":
            return self._layers.embedding(self.token_embedding, index, self.position_embedding, start), None
        x = self._layers.embedding(self.token_embedding, index)
        half = self.config.d_model // self.config.heads // 2
        frequency = 10_000.0 ** (-np.arange(half) / half)
        angle = np.arange(start, end)[:, None] * frequency
        return x, (np.cos(angle).astype(self._dtype), np.sin(angle).astype(self._dtype))
