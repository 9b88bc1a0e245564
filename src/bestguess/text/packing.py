"""Several documents in one row, so that little of it is padding; none of them sees the others.

Which documents share a row is settled before the training; the row's tokens are put together on the device. A model
without an encoder reads `[BOS] source [SEP] target` of each, one behind the other; an encoder-decoder a row of sources
and a row of their targets. Attention stays within a document, and positions restart with each.

Shapes in names: K documents of a row at most, T tokens of a row, S and U those of a row of sources and of targets.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Integer

from bestguess.command import UserError
from bestguess.text.config import TextConfig
from bestguess.text.documents import Documents
from bestguess.text.pairs import Pairs
from bestguess.text.tokens import BOS, PAD, SEP

_OPEN = 64
"""Rows that may still take a document while they are filled."""


class Packed(NamedTuple):
    """Which documents stand in which row."""

    rows: Integer[np.ndarray, "n K"]
    """Indices of documents; −1 behind a row's last."""
    widths: tuple[int, ...]
    """T of rows of whole documents; S and U of rows in two parts."""

    @property
    def documents_per_row(self) -> float:
        """Documents of the average row."""
        return float((self.rows >= 0).sum() / len(self.rows))


def packed(config: TextConfig, pairs: Pairs) -> Packed:
    """Return the training documents in rows of the config's `packing` tokens, each document once.

    A document goes into the first open row that has room. UserError where one is longer than a row.
    """
    return _packed(config.objective.packing, config.model.architecture == "encoder-decoder", pairs)


def documents_per_row(config: TextConfig, pairs: Pairs) -> float:
    """Return how many documents a training sequence has: 1 without packing."""
    return packed(config, pairs).documents_per_row if config.objective.packing else 1.0


def documents_to_draw(config: TextConfig, sample: Pairs) -> int:
    """Return how many documents a training with packing draws at most, each once; sample: some of their kind."""
    row = config.objective.packing / float((sample.source_length + sample.target_length).mean())
    return math.ceil(config.train.steps * config.train.batch_size * row)


@functools.lru_cache(maxsize=8)
def _packed(tokens: int, in_two: bool, pairs: Pairs) -> Packed:
    source, target = pairs.source_length.astype(np.int64), pairs.target_length.astype(np.int64)
    if not in_two:
        sizes = (source + target + 1)[:, None]
        widths: tuple[int, ...] = (tokens,)
        least = int(sizes.max())
    else:
        # Both rows fill at the same pace if their widths are as the parts' lengths.
        sizes, share = np.stack([source, target], axis=1), Fraction(int(source.sum()), int((source + target).sum()))
        widths = (math.floor(tokens * share), tokens - math.floor(tokens * share))
        least = max(math.ceil(source.max() / share) if share else 0, math.ceil(target.max() / (1 - share)))
    if (sizes.max(axis=0) > widths).any():
        raise UserError(f"--packing {tokens}: the longest document does not fit into a row; give {least} or more")
    rows = _first_fit(sizes, widths)
    table = np.full((len(rows), max(map(len, rows))), -1, np.int32)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return Packed(table, widths)


def _first_fit(sizes: np.ndarray, widths: tuple[int, ...]) -> list[list[int]]:
    """Return the documents of each row; of the open rows, the one with least room is closed for a new one."""
    room = np.tile(np.array(widths), (_OPEN, 1))
    open_rows: list[list[int]] = [[] for _ in range(_OPEN)]
    closed: list[list[int]] = []
    for i, size in enumerate(sizes):
        fits = (room >= size).all(axis=1)
        place = int(fits.argmax())
        if not fits[place]:
            place = int(room.sum(axis=1).argmin())
            closed.append(open_rows[place])
            open_rows[place], room[place] = [], widths
        open_rows[place].append(i)
        room[place] -= size
    return closed + [row for row in open_rows if row]


class SequenceRow(NamedTuple):
    """Documents one behind the other, each as one sequence."""

    token: Int[Array, "T"]
    target: Int[Array, "T"]
    """The token behind each, in the same document."""
    position: Int[Array, "T"]
    """In its own document."""
    document: Int[Array, "T"]
    """Place of its document among the row's; K: padding."""
    prefix: Bool[Array, "T"]
    """Whether it stands before the target: what a prefix model reads both ways."""
    predicted: Bool[Array, "T"]
    """Targets of the full loss."""
    scored: Bool[Array, "T"]
    """Tokens of the documents' targets, their ends among them."""


class PairRow(NamedTuple):
    """Sources one behind the other, and their targets."""

    source: Int[Array, "S"]
    source_position: Int[Array, "S"]
    source_document: Int[Array, "S"]
    token: Int[Array, "U"]
    """What the decoder is given: SEP and the target without its end, of each document."""
    target: Int[Array, "U"]
    position: Int[Array, "U"]
    """In its own document, whose target continues where its source ends."""
    document: Int[Array, "U"]
    scored: Bool[Array, "U"]


class _Places(NamedTuple):
    document: Int[Array, "T"]
    """Place among the row's documents; K: behind the last."""
    corpus: Int[Array, "T"]
    """Of the document in the corpus."""
    position: Int[Array, "T"]
    there: Bool[Array, "T"]


def _places(row_K: Int[Array, "K"], length_K: Int[Array, "K"], tokens: int) -> _Places:
    """Return whose each token of a row is; length_K: tokens of each document, 0 of none."""
    end_K = jnp.cumsum(length_K)
    at_T = jnp.arange(tokens)
    document_T = jnp.searchsorted(end_K, at_T, side="right").astype(jnp.int32)
    own_T = jnp.minimum(document_T, len(row_K) - 1)
    return _Places(document_T, row_K[own_T], at_T - (end_K - length_K)[own_T], at_T < end_K[-1])


def _take(of, index_T, place_T) -> Int[Array, "T"]:
    """Return a token of each of the documents; places outside a document are brought to its edge."""
    of = jnp.asarray(of)
    return of[index_T, jnp.clip(place_T, 0, of.shape[1] - 1)].astype(jnp.int32)


def _lengths(of, row_K: Int[Array, "K"]) -> Int[Array, "K"]:
    return jnp.where(row_K >= 0, jnp.asarray(of)[row_K], 0)


def sequence_row(documents: Documents, row_K: Int[Array, "K"], tokens: int) -> SequenceRow:
    """Return a row of whole documents."""
    source_K, target_K = (_lengths(of, row_K) for of in (documents.source_length, documents.target_length))
    length_K = jnp.where(row_K >= 0, source_K + target_K + 1, 0)
    document, corpus, position, there = _places(row_K, length_K, tokens)
    source_T = source_K[jnp.minimum(document, len(row_K) - 1)]

    def at(place_T: Int[Array, "T"]) -> Int[Array, "T"]:
        """Return the token at a place of `[BOS] source [SEP] target`."""
        own = _take(documents.source, corpus, place_T - 1)
        behind = _take(documents.target, corpus, place_T - source_T - 2)
        found = jnp.where(place_T <= source_T, own, jnp.where(place_T == source_T + 1, SEP, behind))
        return jnp.where(there, jnp.where(place_T == 0, BOS, found), PAD)

    token, target, prefix = at(position), at(position + 1), position <= source_T + 1
    return SequenceRow(token, target, position, document, there & prefix, there, there & (position > source_T))


def pair_row(documents: Documents, row_K: Int[Array, "K"], widths: tuple[int, ...]) -> PairRow:
    """Return a row of sources and a row of their targets; widths: tokens of either."""
    source_K, target_K = (_lengths(of, row_K) for of in (documents.source_length, documents.target_length))
    ours, theirs = _places(row_K, source_K, widths[0]), _places(row_K, target_K, widths[1])
    source = jnp.where(ours.there, _take(documents.source, ours.corpus, ours.position), PAD)
    before = jnp.where(theirs.position == 0, SEP, _take(documents.target, theirs.corpus, theirs.position - 1))
    token = jnp.where(theirs.there, before, PAD)
    target = jnp.where(theirs.there, _take(documents.target, theirs.corpus, theirs.position), PAD)
    position = source_K[jnp.minimum(theirs.document, len(row_K) - 1)] + theirs.position
    return PairRow(source, ours.position, ours.document, token, target, position, theirs.document, theirs.there)
