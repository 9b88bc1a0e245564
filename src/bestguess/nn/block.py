"""One transformer block: attention, then feed-forward, each behind a norm and added to the stream."""

from __future__ import annotations

import equinox as eqx
import jax
from jaxtyping import Array, Float, Key

from bestguess.nn.attention import Attention, KVCache
from bestguess.nn.config import Activation, DecoderConfig
from bestguess.nn.init import scaled_normal
from bestguess.nn.linear import linear
from bestguess.nn.normalisation import RMSNorm

# Backwards from the input alone: left to itself, differentiation keeps three arrays of the hidden layer's size
# for a gelu, and reading and writing them costs a GPU more than computing them again.
_ACTIVATIONS = {
    "gelu": jax.checkpoint(jax.nn.gelu),
    "relu": jax.nn.relu,
    "silu": jax.checkpoint(jax.nn.silu),
}


@jax.checkpoint
def _gated(gate_TF: Float[Array, "T F"], hidden_TF: Float[Array, "T F"]) -> Float[Array, "T F"]:
    return jax.nn.silu(gate_TF) * hidden_TF


class FeedForward(eqx.Module):
    """Two matrices around a nonlinearity, or three for SwiGLU (Shazeer, 2020, eq. 6)."""

    up: Float[Array, "D F"]
    gate: Float[Array, "D F"] | None
    down: Float[Array, "F D"]
    activation: Activation = eqx.field(static=True)

    def __init__(self, config: DecoderConfig, *, key: Key[Array, ""]):
        up_key, gate_key, down_key = jax.random.split(key, 3)
        d, f = config.d_model, config.hidden_dim
        self.up = scaled_normal(up_key, (d, f))
        self.gate = scaled_normal(gate_key, (d, f)) if config.activation == "swiglu" else None
        self.down = scaled_normal(down_key, (f, d), gain=(2 * config.layers) ** -0.5)
        self.activation = config.activation

    def __call__(self, x_TD: Float[Array, "T D"]) -> Float[Array, "T D"]:
        """Return the layer's output for each token on its own."""
        hidden_TF = linear(x_TD, self.up)
        if self.gate is None:
            hidden_TF = _ACTIVATIONS[self.activation](hidden_TF)
        else:
            hidden_TF = _gated(linear(x_TD, self.gate), hidden_TF)
        return linear(hidden_TF, self.down)


class Block(eqx.Module):
    """A pre-norm transformer block (Xiong et al., 2020)."""

    attention_norm: RMSNorm
    attention: Attention
    feed_forward_norm: RMSNorm
    feed_forward: FeedForward

    def __init__(self, config: DecoderConfig, *, key: Key[Array, ""]):
        attention_key, feed_forward_key = jax.random.split(key)
        self.attention_norm = RMSNorm(config.d_model)
        self.attention = Attention(config, key=attention_key)
        self.feed_forward_norm = RMSNorm(config.d_model)
        self.feed_forward = FeedForward(config, key=feed_forward_key)

    def __call__(
        self, x_TD: Float[Array, "T D"], cache: KVCache | None = None
    ) -> tuple[Float[Array, "T D"], KVCache | None]:
        """Return the stream after this block, and the cache that now holds these tokens."""
        read_TD, cache = self.attention(self.attention_norm(x_TD), cache)
        x_TD = x_TD + read_TD
        return x_TD + self.feed_forward(self.feed_forward_norm(x_TD)), cache
