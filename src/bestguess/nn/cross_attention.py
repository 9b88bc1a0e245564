"""Attention of one sequence's tokens to another's, whose keys and values are projected once.

Shapes in names: T tokens that read, S tokens that are read, D model width, H heads, K head size.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from bestguess.nn import masked
from bestguess.nn.config import DecoderConfig
from bestguess.nn.init import scaled_normal
from bestguess.nn.linear import affine


class Memory(eqx.Module):
    """Keys and values of a sequence, and which of its tokens may be read: by all that read it, or by each of them."""

    key: Float[Array, "H S K"]
    value: Float[Array, "H S K"]
    mask: Bool[Array, "#T S"]


class CrossAttention(eqx.Module):
    """Multi-head attention to a memory (Vaswani et al., 2017, §3.2.3), its keys and values packed.

    Rotary positions are those of one sequence: the memory's tokens stand at 0, 1, …, those that read it at `start`, …
    """

    query: Float[Array, "D D"]
    query_bias: Float[Array, "D"] | None
    key_value: Float[Array, "D E"]
    key_value_bias: Float[Array, "E"] | None
    out: Float[Array, "D D"]
    out_bias: Float[Array, "D"] | None
    heads: int = eqx.field(static=True)
    rope_base: float | None = eqx.field(static=True)
    dropout: float = eqx.field(static=True)

    def __init__(self, config: DecoderConfig, *, key: Key[Array, ""]):
        query_key, key_value_key, out_key = jax.random.split(key, 3)
        d = config.d_model
        self.query = scaled_normal(query_key, (d, d))
        self.query_bias = jnp.zeros(d) if config.bias else None
        self.key_value = scaled_normal(key_value_key, (d, 2 * d))
        self.key_value_bias = jnp.zeros(2 * d) if config.bias else None
        # As small as the block's other branches.
        self.out = scaled_normal(out_key, (d, d), gain=(2 * config.layers) ** -0.5)
        self.out_bias = jnp.zeros(d) if config.bias else None
        self.heads = config.heads
        self.rope_base = config.rope_base if config.positions == "rope" else None
        self.dropout = config.attention_dropout

    def memory(self, y_SD: Float[Array, "S D"], mask: masked.Keys, start: masked.Start = 0) -> Memory:
        """Return what this layer reads of the encoded tokens `y_SD`: those in the mask."""
        k, v = masked.project(y_SD, self.key_value, self.key_value_bias, None, self.heads, 1, start, self.rope_base)
        return Memory(k, v, jnp.atleast_2d(mask))

    def __call__(
        self,
        x_TD: Float[Array, "T D"],
        memory: Memory,
        gain_D: Float[Array, "D"] | None = None,
        *,
        start: masked.Start = 0,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "T D"]:
        """Return what the T tokens, times the gain, read from the memory; from an empty one, the bias alone.

        start: position of the first of them, or of each. key: for dropout of the weights.
        """
        q = self._query(x_TD, gain_D, start)
        read_TD = masked.read(q, memory.key, memory.value, memory.mask, self.dropout, key)
        return affine(read_TD, self.out, self.out_bias)

    def weights(
        self, x_TD: Float[Array, "T D"], memory: Memory, start: Int[Array, ""] | int = 0
    ) -> Float[Array, "H T S"]:
        """Return the attention weights (rows: queries; each row sums to 1), in float32."""
        return masked.weights(self._query(x_TD, None, start), memory.key, memory.mask)

    def _query(self, x_TD, gain_D, start) -> Float[Array, "H T K"]:
        return masked.project(x_TD, self.query, self.query_bias, gain_D, self.heads, 1, start, self.rope_base)[0]
