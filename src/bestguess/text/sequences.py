"""Source and target as one sequence, and what is predicted in it.

Shapes in names: S and U the padded lengths of source and target, T tokens of a sequence.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from bestguess.text.tokens import BOS, PAD, SEP


def shift(sequence_T: Int[Array, "*B T"]) -> tuple[Int[Array, "*B T-1"], Int[Array, "*B T-1"]]:
    """Return what a model is given of a sequence, and what it is to predict there: the token after each.

    The one place where inputs and targets are shifted against each other.
    """
    return sequence_T[..., :-1], sequence_T[..., 1:]


def pack(
    source_S: Int[Array, "S"],
    source_length: Int[Array, ""] | int,
    target_U: Int[Array, "U"],
    target_length: Int[Array, ""] | int,
) -> Int[Array, "S+U+2"]:
    """Return `[BOS] source [SEP] target`, without a hole between them; PAD behind the end."""
    S, U = len(source_S), len(target_U)
    at_T = jnp.arange(S + U + 2)
    separator = source_length + 1
    source_T = jnp.take(source_S, at_T - 1, mode="clip")
    target_T = jnp.take(target_U, at_T - separator - 1, mode="clip")
    packed_T = jnp.where(at_T <= separator, source_T, target_T)
    packed_T = jnp.where(at_T == 0, BOS, jnp.where(at_T == separator, SEP, packed_T))
    return jnp.where(at_T > separator + target_length, PAD, packed_T)


def behind(tokens: int, source_length: Int[Array, ""] | int, length: Int[Array, ""] | int) -> Bool[Array, "T"]:
    """Return which of the first `tokens` targets of a packed sequence are the `length` tokens behind its SEP."""
    at_T = jnp.arange(tokens) - (source_length + 1)
    return (at_T >= 0) & (at_T < length)
