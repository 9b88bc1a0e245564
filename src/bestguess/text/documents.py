"""Documents on the device, and one of them."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Integer

from bestguess.text.pairs import Pairs


class Documents(eqx.Module):
    """Pairs on the device."""

    source: Integer[Array | np.ndarray, "n S"]
    source_length: Integer[Array | np.ndarray, " n"]
    target: Integer[Array | np.ndarray, "n U"]
    target_length: Integer[Array | np.ndarray, " n"]

    @classmethod
    def of(cls, pairs: Pairs, vocab: int) -> Documents:
        """Return the pairs as small integers: a large corpus is to fit into a device's memory."""
        return cls(
            small(pairs.source, vocab),
            jnp.asarray(pairs.source_length, jnp.int32),
            small(pairs.target, vocab),
            jnp.asarray(pairs.target_length, jnp.int32),
        )


def small(tokens: Integer[np.ndarray, "*n"], vocab: int) -> Integer[Array, "*n"]:
    """Return tokens on the device, in the smallest unsigned integers that hold a vocabulary, or int32."""
    return jnp.asarray(tokens.astype(np.uint8 if vocab <= 256 else np.uint16 if vocab <= 65536 else np.int32))


class Document(NamedTuple):
    """One pair."""

    source: Integer[Array, "S"]
    source_length: Integer[Array, ""]
    target: Integer[Array, "U"]
    target_length: Integer[Array, ""]


def document(documents: Documents, row: Integer[Array, ""]) -> Document:
    """Return one of the documents, tokens as int32."""
    at = lambda of: jax.lax.dynamic_index_in_dim(jnp.asarray(of), row, keepdims=False)  # noqa: E731
    return Document(
        at(documents.source).astype(jnp.int32),
        at(documents.source_length),
        at(documents.target).astype(jnp.int32),
        at(documents.target_length),
    )


def within(one: Document) -> Bool[Array, "U"]:
    """Return which places of the target are tokens of it."""
    return jnp.arange(one.target.shape[0]) < one.target_length
