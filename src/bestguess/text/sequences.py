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
    marked: bool = True,
) -> Int[Array, "T"]:
    """Return `[BOS] source [SEP] target`, S + U + 2 tokens without a hole between them; PAD behind the end.

    Not marked: `source target`, S + U tokens.
    """
    S, U = len(source_S), len(target_U)
    if not marked:
        at_T = jnp.arange(S + U)
        target_T = jnp.take(target_U, at_T - source_length, mode="clip")
        packed_T = jnp.where(at_T < source_length, jnp.take(source_S, at_T, mode="clip"), target_T)
        return jnp.where(at_T >= source_length + target_length, PAD, packed_T)
    at_T = jnp.arange(S + U + 2)
    separator = source_length + 1
    source_T = jnp.take(source_S, at_T - 1, mode="clip")
    target_T = jnp.take(target_U, at_T - separator - 1, mode="clip")
    packed_T = jnp.where(at_T <= separator, source_T, target_T)
    packed_T = jnp.where(at_T == 0, BOS, jnp.where(at_T == separator, SEP, packed_T))
    return jnp.where(at_T > separator + target_length, PAD, packed_T)


def behind(tokens: int, before: Int[Array, ""] | int, length: Int[Array, ""] | int) -> Bool[Array, "T"]:
    """Return which of the first `tokens` targets of a packed sequence are the `length` tokens behind its `before`."""
    at_T = jnp.arange(tokens) - (before - 1)
    return (at_T >= 0) & (at_T < length)
