"""A GPT: which token comes next, from all tokens so far (Radford et al., 2019, pre-norm blocks)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bestguess.scratch.engine import layers
from bestguess.scratch.engine.layers import Index, LayerNorm, Linear, Module, parameter
from bestguess.scratch.engine.tensor import Tensor


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT; `positions` is the most tokens of a sequence."""

    vocab: int
    d_model: int
    layers: int
    heads: int
    positions: int

    def __post_init__(self) -> None:
        if min(self.vocab, self.d_model, self.layers, self.heads, self.positions) < 1 or self.d_model % self.heads:
            raise ValueError(f"{self}: every number must be at least 1, and heads divide d_model")


class Attention(Module):
    """Causal self-attention in several heads; one product makes queries, keys and values."""

    def __init__(self, rng: np.random.Generator, config: GPTConfig):
        d, self._heads = config.d_model, config.heads
        self.qkv = Linear(rng, d, 3 * d)
        # Each block adds twice to the stream; this keeps the stream's variance near 1 at the start.
        self.out = Linear(rng, d, d, gain=(2 * config.layers) ** -0.5)

    def __call__(self, x: Tensor) -> Tensor:
        return self.out(layers.causal_attention(self.qkv(x), self._heads))


class FeedForward(Module):
    """Two products around a GELU, four times as wide inside."""

    def __init__(self, rng: np.random.Generator, config: GPTConfig):
        d = config.d_model
        self.up = Linear(rng, d, 4 * d)
        self.down = Linear(rng, 4 * d, d, gain=(2 * config.layers) ** -0.5)

    def __call__(self, x: Tensor) -> Tensor:
        return self.down(layers.gelu(self.up(x)))


class Block(Module):
    """Attention, then feed-forward, each behind a norm and added to the stream (Xiong et al., 2020)."""

    def __init__(self, rng: np.random.Generator, config: GPTConfig):
        self.attention_norm = LayerNorm(config.d_model)
        self.attention = Attention(rng, config)
        self.feed_forward_norm = LayerNorm(config.d_model)
        self.feed_forward = FeedForward(rng, config)

    def __call__(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.feed_forward_norm(x))


class GPT(Module):
    """Embedded tokens and positions, blocks, a last norm, and the logits of the next token."""

    def __init__(self, config: GPTConfig, seed: int = 0):
        rng, d, self.config = np.random.default_rng(seed), config.d_model, config
        self.token_embedding = parameter(rng.normal(0, 1.0, (config.vocab, d)))
        self.position_embedding = parameter(rng.normal(0, 0.1, (config.positions, d)))
        self.blocks = [Block(rng, config) for _ in range(config.layers)]
        self.norm = LayerNorm(d)
        self.head = Linear(rng, d, config.vocab, bias=False)

    def __call__(self, index: Index) -> Tensor:
        """Return logits (B, T, vocab) for tokens (B, T): at each position, of the token that follows it."""
        x = layers.embedding(self.token_embedding, index) + self.position_embedding[self._places(index)]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    def _places(self, index: Index, start: int = 0) -> slice:
        """Return the positions of tokens (B, T), the first of which stands at `start`; ValueError beyond the last."""
        room = self.config.positions - start
        if np.ndim(index) != 2 or not np.size(index) or np.shape(index)[1] > room:
            raise ValueError(f"GPT: tokens of shape {np.shape(index)}, wants (batch, 1 to {room} tokens)")
        return slice(start, start + np.shape(index)[1])

    def loss(self, index: Index, targets: Index, ignore_index: int | None = None) -> Tensor:
        """Return the mean cross-entropy of the targets (B, T) that are not `ignore_index`, in nats."""
        return layers.cross_entropy(self(index), targets, ignore_index)
