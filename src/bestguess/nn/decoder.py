"""A decoder-only transformer over embedded tokens: embedding and head belong to the family."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from bestguess.nn.attention import KVCache
from bestguess.nn.block import Block
from bestguess.nn.config import DecoderConfig
from bestguess.nn.normalisation import RMSNorm

DecoderCache = tuple[KVCache, ...]


class Decoder(eqx.Module):
    """A stack of causal blocks and a last norm: token t of the output depends on tokens 1..t."""

    blocks: tuple[Block, ...]
    norm: RMSNorm
    dtype: str = eqx.field(static=True)

    def __init__(self, config: DecoderConfig, *, key: Key[Array, ""]):
        config.check()
        self.blocks = tuple(Block(config, key=k) for k in jax.random.split(key, config.layers))
        self.norm = RMSNorm(config.d_model)
        self.dtype = config.dtype

    def __call__(
        self, x_TD: Float[Array, "T D"], cache: DecoderCache | None = None
    ) -> tuple[Float[Array, "T D"], DecoderCache | None]:
        """Return the decoded tokens (dtype of the config), and the cache that now holds them."""
        x_TD = x_TD.astype(self.dtype)
        caches: list[KVCache] = []
        for i, block in enumerate(self.blocks):
            x_TD, block_cache = block(x_TD, None if cache is None else cache[i])
            if block_cache is not None:
                caches.append(block_cache)
        return self.norm(x_TD), None if cache is None else tuple(caches)

    def empty_cache(self, size: int) -> DecoderCache:
        """Return a cache for `size` tokens that holds none."""
        return tuple(block.attention.empty_cache(size, jnp.dtype(self.dtype)) for block in self.blocks)

    def attention_weights(self, x_TD: Float[Array, "T D"]) -> Float[Array, "layers H T T"]:
        """Return every layer's and head's attention weights (rows: queries; each row sums to 1)."""
        x_TD = x_TD.astype(self.dtype)
        weights = []
        for block in self.blocks:
            weights.append(block.attention.weights(block.attention_norm(x_TD)))
            x_TD, _ = block(x_TD)
        return jnp.stack(weights)
