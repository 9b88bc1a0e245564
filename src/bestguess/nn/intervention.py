"""Attention with some heads changed: their weights held fixed, or their queries or keys, or what they read replaced.

For causal tests of heads.

Shapes in names: T tokens, D model width, H heads, K head size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from bestguess.nn import masked
from bestguess.nn.attention import Attention, rope
from bestguess.nn.decoder import Decoder
from bestguess.nn.linear import affine


class Observed(NamedTuple):
    """What the heads of every layer do on one sequence."""

    weights: Float[Array, "*layers H T T"]
    """Attention weights; rows are queries."""
    read: Float[Array, "*layers H T K"]
    """What each query reads: the weights times the values, before the output matrix."""
    query: Float[Array, "*layers H K"]
    """The mean query over positions, before its rotation."""
    key: Float[Array, "*layers H K"]
    """The mean key, likewise."""


class Changes(NamedTuple):
    """Which heads are changed, and how; what takes the place of their own is an `Observed`.

    An ablated head is as if nothing else of it were changed, and so is one with fixed weights, but for ablation.
    """

    fixed: Bool[Array | np.ndarray, "*layers H"]
    """Weights: the same, whatever the input."""
    query_fixed: Bool[Array | np.ndarray, "*layers H"]
    """Query: the same for every token, but for its rotation. Weights then depend on the keys and on the lag."""
    key_fixed: Bool[Array | np.ndarray, "*layers H"]
    """Key: the same for every token, but for its rotation. Weights then depend on the query and on the lag."""
    ablated: Bool[Array | np.ndarray, "*layers H"]
    """What is read: the same, whatever the input."""


class Intervened(eqx.Module):
    """Causal self-attention some of whose heads are changed; takes the place of an `Attention`."""

    attention: Attention
    put: Observed
    """What takes the place of the head's own; of this layer."""
    changes: Changes
    """Of this layer."""

    def __call__(
        self,
        x_TD: Float[Array, "T D"],
        cache: None = None,
        gain_D: Float[Array, "D"] | None = None,
        **reading: Any,
    ) -> tuple[Float[Array, "T D"], None]:
        """Return what the T tokens, times the gain, read from themselves and the tokens before them."""
        weight_HTT, value_HTK = self._weights(x_TD, gain_D)
        read_HTK = _replaced(self.changes.ablated, self.put.read, _read(weight_HTT, value_HTK))
        read_TD = read_HTK.swapaxes(0, 1).reshape(x_TD.shape).astype(x_TD.dtype)
        return affine(read_TD, self.attention.out, self.attention.out_bias), None

    def weights(self, x_TD: Float[Array, "T D"], mask_TT: None = None) -> Float[Array, "H T T"]:
        """Return the attention weights, as changed, in float32."""
        return self._weights(x_TD, None)[0]

    def _weights(self, x_TD, gain_D) -> tuple[Float[Array, "H T T"], Float[Array, "H T K"]]:
        """Return the weights and the values."""
        put, changes = self.put, self.changes
        q_HTK, k_HTK, value_HTK = self.attention.by_heads(x_TD, gain_D)
        q_HTK = _replaced(changes.query_fixed, _turned(self.attention, put.query, q_HTK), q_HTK)
        k_HTK = _replaced(changes.key_fixed, _turned(self.attention, put.key, k_HTK), k_HTK)
        return _replaced(changes.fixed, put.weights, _weights(q_HTK, k_HTK)), value_HTK


def observe(decoder: Decoder, x_TD: Float[Array, "T D"]) -> Observed:
    """Return what every head does with embedded tokens, in float32."""
    x_TD = decoder.enter(x_TD)
    layers = []
    for block in decoder.blocks:
        attention, inner_TD = block.attention, block.attention_input(x_TD)
        q_HTK, k_HTK, value_HTK = attention.by_heads(inner_TD, None)
        weight_HTT = _weights(q_HTK, k_HTK)
        query_HK, key_HK = (_turned_back(attention, turned_HTK).mean(axis=1) for turned_HTK in (q_HTK, k_HTK))
        layers.append(Observed(weight_HTT, _read(weight_HTT, value_HTK), query_HK, key_HK))
        x_TD, _ = block(x_TD)
    return jax.tree.map(lambda *each: jnp.stack(each), *layers)


def intervene(decoder: Decoder, put: Observed, changes: Changes) -> Decoder:
    """Return the decoder with some heads changed: what is changed of them comes from `put`."""
    changed = [
        Intervened(block.attention, *jax.tree.map(lambda each: each[i], (put, changes)))  # noqa: B023
        for i, block in enumerate(decoder.blocks)
    ]
    return eqx.tree_at(lambda one: [block.attention for block in one.blocks], decoder, changed)


def _weights(q_HTK, k_HTK) -> Float[Array, "H T T"]:
    """Return the weights of a causal attention."""
    return masked.weights(q_HTK, k_HTK, masked.prefix_mask(q_HTK.shape[1], 0))


def _read(weight_HTT, value_HTK) -> Float[Array, "H T K"]:
    """Return the weights times the values, in float32."""
    return jnp.einsum("hts,hsk->htk", weight_HTT.astype(value_HTK.dtype), value_HTK, preferred_element_type=jnp.float32)


def _turned(attention: Attention, mean_HK, own_HTK) -> Float[Array, "H T K"]:
    """Return one vector of each head, turned by every position, as the head's own are."""
    mean_THK = jnp.broadcast_to(mean_HK, (own_HTK.shape[1], *mean_HK.shape))
    return rope(mean_THK, jnp.arange(len(mean_THK)), attention.rope_base).swapaxes(0, 1).astype(own_HTK.dtype)


def _turned_back(attention: Attention, turned_HTK) -> Float[Array, "H T K"]:
    """Return a head's queries or keys before their rotation, in float32."""
    turned_THK = turned_HTK.astype(jnp.float32).swapaxes(0, 1)
    return rope(turned_THK, -jnp.arange(len(turned_THK)), attention.rope_base).swapaxes(0, 1)


def _replaced(changed_H, put, own):
    """Return what is put in place of the changed heads' own."""
    return jnp.where(changed_H.reshape(-1, 1, 1), put, own)
