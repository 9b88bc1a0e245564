"""Dropout, whose masks are hashes."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, UInt32


def dropout(x_TD: Float[Array, "*T D"], rate: float, key: Key[Array, ""] | None) -> Float[Array, "*T D"]:
    """Return `x_TD` with a share `rate` of its entries set to 0 and the others divided by 1 − rate.

    Without a key, outside of training, `x_TD` itself (Srivastava et al., 2014, in its inverted form).
    """
    if key is None or rate == 0:
        return x_TD
    mask = jax.lax.optimization_barrier(kept(key, rate, x_TD.shape))  # made once, not again in the backward pass
    return jnp.where(mask, x_TD / (1 - rate), jnp.zeros((), x_TD.dtype))


def kept(key: Key[Array, ""], rate: float, shape: tuple[int, ...]) -> Bool[Array, "..."]:
    """Return which entries are kept: each with probability 1 − rate, to within 2⁻³³.

    An entry's number and the key's two words are hashed, word by word, and a mask is a byte an entry in memory.
    `jax.random.bernoulli` writes 32 random bits of each entry first: for attention weights more than all else that a
    step writes.
    """
    number = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    first, second = jax.random.key_data(key)
    return _mixed(_mixed(number + first) ^ second) >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))


def _mixed(word: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """Return a permutation of 32-bit words in which each bit depends on all: C. Wellons' lowbias32 (2018)."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x7FEB352D)
    word = (word ^ (word >> 15)) * jnp.uint32(0x846CA68B)
    return word ^ (word >> 16)
