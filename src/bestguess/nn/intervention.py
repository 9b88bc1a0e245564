"""Attention with some heads changed: their weights held fixed, or what they read replaced. For causal tests of heads.

Shapes in names: T tokens, D model width, H heads, K head size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from bestguess.nn import masked
from bestguess.nn.attention import Attention
from bestguess.nn.decoder import Decoder
from bestguess.nn.linear import affine


class Observed(NamedTuple):
    """What the heads of every layer do on one sequence."""

    weights: Float[Array, "layers H T T"]
    """Attention weights; rows are queries."""
    read: Float[Array, "layers H T K"]
    """What each query reads: the weights times the values, before the output matrix."""


class Intervened(eqx.Module):
    """Causal self-attention some of whose heads are changed; takes the place of an `Attention`."""

    attention: Attention
    weights_HTT: Float[Array, "H T T"]
    """Weights of the heads that are fixed, whatever the input."""
    read_HTK: Float[Array, "H T K"]
    """What the ablated heads read, whatever the input."""
    fixed_H: Bool[Array, "H"]
    ablated_H: Bool[Array, "H"]

    def __call__(
        self,
        x_TD: Float[Array, "T D"],
        cache: None = None,
        gain_D: Float[Array, "D"] | None = None,
        **reading: Any,
    ) -> tuple[Float[Array, "T D"], None]:
        """Return what the T tokens, times the gain, read from themselves and the tokens before them."""
        own, value_HTK = _heads(self.attention, x_TD, gain_D)
        weight_HTT = jnp.where(self.fixed_H[:, None, None], self.weights_HTT, own)
        read_HTK = jnp.where(self.ablated_H[:, None, None], self.read_HTK, _read(weight_HTT, value_HTK))
        read_TD = read_HTK.swapaxes(0, 1).reshape(x_TD.shape).astype(x_TD.dtype)
        return affine(read_TD, self.attention.out, self.attention.out_bias), None


def observe(decoder: Decoder, x_TD: Float[Array, "T D"]) -> Observed:
    """Return what every head does with embedded tokens, in float32."""
    x_TD = decoder.enter(x_TD)
    weights, read = [], []
    for block in decoder.blocks:
        own, value_HTK = _heads(block.attention, block.attention_input(x_TD), None)
        weights.append(own)
        read.append(_read(own, value_HTK))
        x_TD, _ = block(x_TD)
    return Observed(jnp.stack(weights), jnp.stack(read))


def intervene(
    decoder: Decoder, put: Observed, fixed: Bool[Array, "layers H"], ablated: Bool[Array, "layers H"]
) -> Decoder:
    """Return the decoder with the weights of the `fixed` heads, and what the `ablated` ones read, from `put`."""
    changed = [
        Intervened(block.attention, put.weights[i], put.read[i], fixed[i], ablated[i])
        for i, block in enumerate(decoder.blocks)
    ]
    return eqx.tree_at(lambda one: [block.attention for block in one.blocks], decoder, changed)


def _heads(attention, x_TD, gain_D) -> tuple[Float[Array, "H T T"], Float[Array, "H T K"]]:
    """Return the weights of a causal attention and its values."""
    q, k, v = attention.by_heads(x_TD, gain_D)
    return masked.weights(q, k, masked.prefix_mask(len(x_TD), 0)), v


def _read(weight_HTT, value_HTK) -> Float[Array, "H T K"]:
    """Return the weights times the values, in float32."""
    return jnp.einsum("hts,hsk->htk", weight_HTT.astype(value_HTK.dtype), value_HTK, preferred_element_type=jnp.float32)
