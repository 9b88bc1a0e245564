"""One transformer block: attention, to a memory too where there is one, then feed-forward, each added to the stream."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from bestguess.nn.attention import Attention, KVCache
from bestguess.nn.config import Activation, DecoderConfig, NormPlace
from bestguess.nn.cross_attention import CrossAttention, Memory
from bestguess.nn.dropout import dropout
from bestguess.nn.init import scaled_normal
from bestguess.nn.linear import affine
from bestguess.nn.masked import Start
from bestguess.nn.normalisation import FeatureNorm, NoNorm, RMSNorm, make_norm

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
    up_bias: Float[Array, "F"] | None
    gate: Float[Array, "D F"] | None
    gate_bias: Float[Array, "F"] | None
    down: Float[Array, "F D"]
    down_bias: Float[Array, "D"] | None
    activation: Activation = eqx.field(static=True)

    def __init__(self, config: DecoderConfig, *, key: Key[Array, ""]):
        up_key, gate_key, down_key = jax.random.split(key, 3)
        d, f = config.d_model, config.hidden_dim
        gated = config.activation == "swiglu"
        self.up = scaled_normal(up_key, (d, f))
        self.up_bias = jnp.zeros(f) if config.bias else None
        self.gate = scaled_normal(gate_key, (d, f)) if gated else None
        self.gate_bias = jnp.zeros(f) if config.bias and gated else None
        self.down = scaled_normal(down_key, (f, d), gain=(2 * config.layers) ** -0.5)
        self.down_bias = jnp.zeros(d) if config.bias else None
        self.activation = config.activation

    def __call__(self, x_TD: Float[Array, "T D"], gain_D: Float[Array, "D"] | None = None) -> Float[Array, "T D"]:
        """Return the layer's output for each token, times the gain, on its own."""
        hidden_TF = affine(x_TD, self.up, self.up_bias, gain_D)
        if self.gate is None:
            hidden_TF = _ACTIVATIONS[self.activation](hidden_TF)
        else:
            hidden_TF = _gated(affine(x_TD, self.gate, self.gate_bias, gain_D), hidden_TF)
        return affine(hidden_TF, self.down, self.down_bias)


class Block(eqx.Module):
    """Attention and feed-forward, each added to the stream; where it normalises, the config says.

    pre: x + f(norm(x)) (Xiong et al., 2020); post: norm(x + f(x)) (Vaswani et al., 2017); none: x + f(x).
    """

    attention_norm: FeatureNorm
    attention: Attention
    cross_norm: FeatureNorm
    cross: CrossAttention | None
    """Attention to a memory, between the other two, in a block that has one."""
    feed_forward_norm: FeatureNorm
    feed_forward: FeedForward
    norm_place: NormPlace = eqx.field(static=True)
    dropout: float = eqx.field(static=True)

    def __init__(self, config: DecoderConfig, *, key: Key[Array, ""], cross: bool = False):
        attention_key, feed_forward_key = jax.random.split(key)
        self.attention_norm = _norm(config)
        self.attention = Attention(config, key=attention_key)
        self.cross_norm = _norm(config) if cross else NoNorm()
        self.cross = CrossAttention(config, key=jax.random.fold_in(key, 2)) if cross else None
        self.feed_forward_norm = _norm(config)
        self.feed_forward = FeedForward(config, key=feed_forward_key)
        self.norm_place = config.norm_place
        self.dropout = config.dropout

    def __call__(
        self,
        x_TD: Float[Array, "T D"],
        cache: KVCache | None = None,
        key: Key[Array, ""] | None = None,
        **reading: Any,
    ) -> tuple[Float[Array, "T D"], KVCache | None]:
        """Return the stream after this block, and the cache that now holds these tokens; arguments as in `advance`."""
        x_TD, branch_TD, cache = self.advance(x_TD, None, cache, key, **reading)
        return x_TD if branch_TD is None else x_TD + branch_TD, cache

    def advance(
        self,
        x_TD: Float[Array, "T D"],
        branch_TD: Float[Array, "T D"] | None,
        cache: KVCache | None = None,
        key: Key[Array, ""] | None = None,
        *,
        mask_TS: Bool[Array, "#T S"] | None = None,
        start: Start | None = None,
        memory: Memory | None = None,
    ) -> tuple[Float[Array, "T D"], Float[Array, "T D"] | None, KVCache | None]:
        """Return the stream after this block, what is yet to be added to it, and the cache; `branch_TD` likewise.

        A pre-norm block leaves its last addition to the next one, which adds and normalises in one pass.
        key: for dropout. mask_TS, start: what attention may read, and where these tokens stand. memory: of this layer.
        """
        if start is None:
            start = 0 if cache is None else cache.length
        keys = (None, None) if key is None else jax.random.split(key)
        more = [None if key is None else jax.random.fold_in(key, i) for i in (2, 3, 4)]
        fold = cache is None  # for the few tokens of a cached call, scaling weights would take longer than the product
        x_TD, inner_TD, gain_D = self._enter(x_TD, branch_TD, self.attention_norm, fold)
        read_TD, cache = self.attention(inner_TD, cache, gain_D, mask_TS=mask_TS, start=start, key=more[0])
        x_TD, branch_TD = self._leave(x_TD, read_TD, self.attention_norm, keys[0])
        self._check(memory)
        if self.cross is not None and memory is not None:
            x_TD, inner_TD, gain_D = self._enter(x_TD, branch_TD, self.cross_norm, fold)
            read_TD = self.cross(inner_TD, memory, gain_D, start=start, key=more[1])
            x_TD, branch_TD = self._leave(x_TD, read_TD, self.cross_norm, more[2])
        x_TD, inner_TD, gain_D = self._enter(x_TD, branch_TD, self.feed_forward_norm, fold)
        x_TD, branch_TD = self._leave(x_TD, self.feed_forward(inner_TD, gain_D), self.feed_forward_norm, keys[1])
        return x_TD, branch_TD, cache

    def weights(
        self,
        x_TD: Float[Array, "T D"],
        mask_TS: Bool[Array, "#T S"] | None = None,
        start: Int[Array, ""] | int = 0,
        memory: Memory | None = None,
    ) -> tuple[Float[Array, "H T T"], Float[Array, "H T M"] | None]:
        """Return the weights with which the tokens of a stream read each other, and with which they read the memory."""
        self._check(memory)
        own_HTT = self.attention.weights(self.attention_input(x_TD), mask_TS)
        if self.cross is None or memory is None:
            return own_HTT, None
        read_TD, _ = self.attention(self.attention_input(x_TD), mask_TS=mask_TS)
        x_TD, branch_TD = self._leave(x_TD, read_TD, self.attention_norm, None)
        _, inner_TD, _ = self._enter(x_TD, branch_TD, self.cross_norm, fold=False)
        return own_HTT, self.cross.weights(inner_TD, memory, start)

    def attention_input(self, x_TD: Float[Array, "T D"]) -> Float[Array, "T D"]:
        """Return what attention reads of the stream."""
        return self.attention_norm(x_TD) if self.norm_place == "pre" else x_TD

    def _check(self, memory: Memory | None) -> None:
        if (memory is None) != (self.cross is None):
            raise ValueError("a memory is for a block that was made to read one (cross), and such a block needs it")

    def _enter(self, x_TD, branch_TD, norm: FeatureNorm, fold: bool):
        """Return the stream with the branch added, what a sub-layer reads of it, and the gain yet to be applied."""
        if self.norm_place == "pre" and isinstance(norm, RMSNorm) and fold:
            return *norm.add(x_TD, branch_TD), norm.gain
        x_TD = x_TD if branch_TD is None else x_TD + branch_TD
        return x_TD, norm(x_TD) if self.norm_place == "pre" else x_TD, None

    def _leave(self, x_TD, branch_TD, norm: FeatureNorm, key):
        """Return the stream and what is yet to be added to it, after a sub-layer."""
        branch_TD = dropout(branch_TD, self.dropout, key)
        if self.norm_place == "pre":
            return x_TD, branch_TD
        x_TD = x_TD + branch_TD
        return norm(x_TD) if self.norm_place == "post" else x_TD, None


def _norm(config: DecoderConfig) -> FeatureNorm:
    return NoNorm() if config.norm_place == "none" else make_norm(config.norm, config.d_model)
