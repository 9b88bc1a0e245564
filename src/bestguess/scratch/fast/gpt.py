"""The engine's GPT made fast: the same weights, names and values; one operation a layer, and a cache for writing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bestguess.scratch.engine.gpt import GPT
from bestguess.scratch.engine.layers import Index, Linear
from bestguess.scratch.engine.node import Array, no_grad
from bestguess.scratch.engine.tensor import Tensor
from bestguess.scratch.fast import layers


@dataclass
class Cache:
    """Keys and values of the tokens seen so far, so that each new token is computed once.

    `keys` and `values` are (layers, B, heads, positions, K); rows from `length` on are unwritten.
    """

    keys: Array
    values: Array
    length: int = 0


class FastGPT(GPT):
    """A GPT whose layers are single operations, which add onto the stream by themselves."""

    def __call__(self, index: Index, cache: Cache | None = None) -> Tensor:
        """Return logits (B, T, vocab): at each position, of the token that follows it.

        With a cache, `index` holds only the new tokens, no gradient flows, and the cache then holds them too.
        """
        if cache is not None:
            with no_grad():
                logits = self._logits(index, cache)
            cache.length += np.shape(index)[1]
            return logits
        return self._logits(index, None)

    def _logits(self, index: Index, cache: Cache | None) -> Tensor:
        start = 0 if cache is None else cache.length
        x = self._embed(index, start)
        for i, block in enumerate(self.blocks):
            attention, inner = block.attention, block.feed_forward
            qkv = self._qkv(attention.qkv, self._normed(block.attention_norm, x), start)
            if cache is None:
                read = layers.causal_attention(qkv, self.config.heads)
            else:
                read = _read_with_cache(qkv, self.config.heads, cache, i)
            x = layers.linear(read, attention.out.weight, attention.out.bias, x)
            h = self._normed(block.feed_forward_norm, x)
            x = layers.feed_forward(h, inner.up.weight, inner.up.bias, inner.down.weight, inner.down.bias, x)
        return layers.linear(self._normed(self.norm, x), self.head.weight)

    # What a decoder of another kind may change

    def _embed(self, index: Index, start: int) -> Tensor:
        self._places(index, start)
        return layers.embedding(self.token_embedding, index, self.position_embedding, start)

    def _normed(self, norm: Any, x: Tensor) -> Tensor:
        return layers.layer_norm(x, norm.gain, norm.bias)

    def _qkv(self, linear: Linear, x: Tensor, start: int) -> Tensor:
        return layers.linear(x, linear.weight, linear.bias)

    def loss(self, index: Index, targets: Index, ignore_index: int | None = None) -> Tensor:
        """Return the mean cross-entropy of the targets (B, T) that are not `ignore_index`, in nats."""
        return layers.cross_entropy(self(index), targets, ignore_index)

    def empty_cache(self, batch: int = 1) -> Cache:
        """Return a cache for `batch` sequences that holds no tokens."""
        c, dtype = self.config, self.token_embedding.dtype
        shape = (c.layers, batch, c.heads, c.positions, c.d_model // c.heads)
        return Cache(np.zeros(shape, dtype), np.zeros(shape, dtype))

    # Weights that go out and in

    def state_dict(self) -> dict[str, Array]:
        """Return every parameter's name and a copy of its values."""
        return {name: p.data.copy() for name, p in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Overwrite every parameter; names and shapes must be exactly this model's (ValueError)."""
        own = dict(self.named_parameters())
        if own.keys() != state.keys():
            missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
            raise ValueError(f"load_state_dict: missing {missing}, unknown {unknown}")
        for name, p in own.items():
            if state[name].shape != p.shape:
                raise ValueError(f"load_state_dict: {name} has shape {state[name].shape}, wants {p.shape}")
        for name, p in own.items():
            p.data = Tensor(state[name], dtype=p.dtype).data


def _read_with_cache(qkv: Tensor, heads: int, cache: Cache, layer: int) -> Tensor:
    """Return the same as attention to all tokens so far would, for the new ones of `qkv`; fills the cache."""
    B, T, E = qkv.shape
    q, k, v = qkv.data.reshape(B, T, 3, heads, E // 3 // heads).transpose(2, 0, 3, 1, 4)
    end = cache.length + T
    cache.keys[layer, :, :, cache.length : end] = k
    cache.values[layer, :, :, cache.length : end] = v
    scores = q @ cache.keys[layer, :, :, :end].swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    scores = np.where(np.tril(np.ones((T, end), bool), cache.length), scores, -np.inf)  # the new ones come last
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    read = weights / weights.sum(axis=-1, keepdims=True) @ cache.values[layer, :, :, :end]
    return Tensor(read.transpose(0, 2, 1, 3).reshape(B, T, E // 3), dtype=qkv.dtype)
