"""Attention weights of documents, cut into the same three blocks for every architecture.

encoder: the source attends to the source. decoder: the target to the target. cross: the target to the source. Of an
encoder-decoder these are its three kinds of attention. Of a model without an encoder they are parts of one
self-attention, whose rows sum to 1 only with what lies on [BOS].
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int

from bestguess.batches import in_batches
from bestguess.text.model import TextModel
from bestguess.text.pairs import Pairs

ATTENTION = {"encoder": "encoder self-attention", "decoder": "decoder self-attention", "cross": "cross-attention"}
"""Names of the blocks of an encoder-decoder."""
PARTS = {"encoder": "source → source", "decoder": "target → target", "cross": "target → source"}
"""Names of the blocks of a model without an encoder: queries → keys."""
KINDS = tuple(ATTENTION)
_MOST = 1 << 26
"""Most weights at once, 256 MiB."""


class Blocks(NamedTuple):
    """Every layer's and head's attention weights in one document, without padding; rows are queries.

    Query u of the target is the token before target token u, [SEP] the first: what is read to predict token u.
    """

    encoder: Float32[np.ndarray, "L H S S"]
    decoder: Float32[np.ndarray, "L H U U"]
    """Key 0 is [SEP], key u the target's token u − 1."""
    cross: Float32[np.ndarray, "L H U S"]


def block_names(model: TextModel) -> dict[str, str]:
    """Return what a model's blocks are called, by kind."""
    return PARTS if model.encoder is None else ATTENTION


def blocks_of(model: TextModel, pairs: Pairs) -> Iterator[Blocks]:
    """Yield the blocks of each document, in order; memory is bounded whatever their number and length."""
    for places, count in in_batches(len(pairs), max(1, min(32, _MOST // _weights_of(model, pairs)))):
        batch = pairs[places]
        parts = [jnp.asarray(one, jnp.int32) for one in (batch.source, batch.source_length, batch.target)]
        found = {name: np.asarray(one, np.float32) for name, one in _attention(model, *parts).items()}
        for row in range(count):
            own = {name: one[row] for name, one in found.items()}
            yield _cut(own, int(batch.source_length[row]), int(batch.target_length[row]))


@eqx.filter_jit
def _attention(
    model: TextModel, source: Int[Array, "n S"], source_length: Int[Array, " n"], target: Int[Array, "n U"]
) -> dict[str, Array]:
    return jax.vmap(model.attention)(source, source_length, target)


def _weights_of(model: TextModel, pairs: Pairs) -> int:
    """Return the weights of one padded document."""
    S, U = pairs.source.shape[1], pairs.target.shape[1]
    layers = len(model.decoder.blocks)
    cells = (S + U + 1) ** 2 if model.encoder is None else S * S + U * U + S * U
    return layers * model.decoder.blocks[0].attention.heads * cells


def _cut(found: dict[str, np.ndarray], S: int, U: int) -> Blocks:
    if "encoder" in found:
        return Blocks(found["encoder"][..., :S, :S], found["decoder"][..., :U, :U], found["cross"][..., :U, :S])
    whole, source, target = found["decoder"], slice(1, S + 1), slice(S + 1, S + 1 + U)
    return Blocks(whole[..., source, source], whole[..., target, target], whole[..., target, source])
