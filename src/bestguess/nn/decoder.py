"""A decoder-only transformer over embedded tokens: embedding and head belong to the family."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from bestguess.nn.attention import KVCache
from bestguess.nn.block import Block
from bestguess.nn.config import DecoderConfig
from bestguess.nn.dropout import dropout
from bestguess.nn.normalisation import FeatureNorm, NoNorm, make_norm

DecoderCache = tuple[KVCache, ...]


class Decoder(eqx.Module):
    """A stack of causal blocks and, where they are pre-norm, a last norm: output t depends on tokens 1..t."""

    position: Float[Array, "S D"] | None
    """What is added to the token at each position, where positions are learned."""
    blocks: tuple[Block, ...]
    norm: FeatureNorm
    dtype: str = eqx.field(static=True)
    dropout: float = eqx.field(static=True)

    def __init__(self, config: DecoderConfig, *, key: Key[Array, ""], context: int | None = None):
        """Return an untrained decoder; `context` is the tokens that it can see at most, for learned positions."""
        config.check()
        self.position = None
        if config.positions == "learned":
            if context is None:
                raise ValueError("learned positions need to know how many there are: give the context")
            key, position_key = jax.random.split(key)
            # As large as what is told apart by them, or the first steps would not see them.
            self.position = jax.random.normal(position_key, (context, config.d_model))
        self.blocks = tuple(Block(config, key=k) for k in jax.random.split(key, config.layers))
        self.norm = make_norm(config.norm, config.d_model) if config.norm_place == "pre" else NoNorm()
        self.dtype = config.dtype
        self.dropout = config.dropout

    def __call__(
        self, x_TD: Float[Array, "T D"], cache: DecoderCache | None = None, key: Key[Array, ""] | None = None
    ) -> tuple[Float[Array, "T D"], DecoderCache | None]:
        """Return the decoded tokens (dtype of the config), and the cache that now holds them.

        key: for dropout; without one nothing is dropped.
        """
        keys = [None] * (len(self.blocks) + 1) if key is None else list(jax.random.split(key, len(self.blocks) + 1))
        x_TD = dropout(self.enter(x_TD, cache), self.dropout, keys[-1])
        caches: list[KVCache] = []
        branch_TD = None
        for i, block in enumerate(self.blocks):
            x_TD, branch_TD, block_cache = block.advance(x_TD, branch_TD, None if cache is None else cache[i], keys[i])
            if block_cache is not None:
                caches.append(block_cache)
        x_TD = x_TD if branch_TD is None else x_TD + branch_TD
        return self.norm(x_TD), None if cache is None else tuple(caches)

    def empty_cache(self, size: int) -> DecoderCache:
        """Return a cache for `size` tokens that holds none."""
        return tuple(block.attention.empty_cache(size, jnp.dtype(self.dtype)) for block in self.blocks)

    def attention_weights(self, x_TD: Float[Array, "T D"]) -> Float[Array, "layers H T T"]:
        """Return every layer's and head's attention weights (rows: queries; each row sums to 1)."""
        x_TD = self.enter(x_TD)
        weights = []
        for block in self.blocks:
            weights.append(block.attention.weights(block.attention_input(x_TD)))
            x_TD, _ = block(x_TD)
        return jnp.stack(weights)

    def enter(self, x_TD: Float[Array, "T D"], cache: DecoderCache | None = None) -> Float[Array, "T D"]:
        """Return what the first block is given: the tokens with what is learned of their positions."""
        if self.position is not None:
            start = 0 if cache is None else cache[0].length
            x_TD = x_TD + jax.lax.dynamic_slice_in_dim(self.position, start, x_TD.shape[0])
        return x_TD.astype(self.dtype)
