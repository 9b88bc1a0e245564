"""What the trainer is given: documents in a keyed order, the loss of one, the validation."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, Key

from bestguess.nn.cross_entropy import cross_entropy
from bestguess.text.config import TextConfig
from bestguess.text.model import TextModel
from bestguess.text.pairs import Pairs
from bestguess.train.permutation import order_key, permuted
from bestguess.train.problem import Problem, Turn

_BATCH = 64
"""Validation documents that are judged at once."""


class Documents(eqx.Module):
    """Pairs on the device."""

    source: Integer[Array | np.ndarray, "n S"]
    source_length: Integer[Array | np.ndarray, " n"]
    target: Integer[Array | np.ndarray, "n U"]
    target_length: Integer[Array | np.ndarray, " n"]

    @classmethod
    def of(cls, pairs: Pairs, vocab: int) -> Documents:
        """Return the pairs as small integers: a large corpus is to fit into a device's memory."""
        small = np.uint8 if vocab <= 256 else np.uint16 if vocab <= 65536 else np.int32
        return cls(
            jnp.asarray(pairs.source.astype(small)),
            jnp.asarray(pairs.source_length, jnp.int32),
            jnp.asarray(pairs.target.astype(small)),
            jnp.asarray(pairs.target_length, jnp.int32),
        )


class Document(NamedTuple):
    """One pair."""

    source: Integer[Array, "S"]
    source_length: Integer[Array, ""]
    target: Integer[Array, "U"]
    target_length: Integer[Array, ""]


class Own(eqx.Module):
    """What sets a run apart."""

    seed: Integer[Array | np.ndarray, "*run"]
    """Of the order of the documents."""


class Drawn(NamedTuple):
    """A document's place, and a key for dropout where there is some."""

    row: Integer[Array, ""]
    key: Key[Array, ""] | None


class TextProblem(Problem[Own, TextModel]):
    """Cross-entropy of the tokens of documents, each once an epoch, in a new order every epoch."""

    training: Documents
    validation: Documents
    config: TextConfig = eqx.field(static=True)
    vocab: int = eqx.field(static=True)

    def init(self, task: Own, key: Key[Array, ""]) -> TextModel:
        """Return an untrained model."""
        return TextModel(self.config.model, self.vocab, self.context, key=key)

    @property
    def context(self) -> tuple[int, int]:
        """The tokens of the longest source and of the longest target."""
        return self.training.source.shape[1], self.training.target.shape[1]

    def draw(self, task: Own, turn: Turn) -> Drawn:
        """Return the document of this turn: each once in an epoch, in an order that seed and epoch determine."""
        count = self.training.source.shape[0]
        epoch, place = turn.number // count, turn.number % count
        key = order_key(jnp.asarray(task.seed).astype(jnp.uint32), epoch.astype(jnp.uint32))
        row = permuted(place.astype(jnp.uint32)[None], count, key)[0].astype(jnp.int32)
        model = self.config.model
        return Drawn(row, turn.key if model.dropout or model.attention_dropout else None)

    def loss(self, model: TextModel, task: Own, drawn: Drawn) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return the summed loss of one document and its count of targets: of the target, or of every token."""
        if self.config.objective.freeze_encoder:
            model = eqx.tree_at(_encoder, model, replace_fn=jax.lax.stop_gradient)
        one = document(self.training, drawn.row)
        whole = self.config.objective.loss == "full" and self.config.model.architecture == "decoder-only"
        if whole:
            logits, target, counted, _ = model.sequence_logits(*one, key=drawn.key)
        else:
            logits = model.logits(*one[:3], key=drawn.key)
            target, counted = one.target, within(one)
        loss, _ = cross_entropy(logits, target, self.config.objective.label_smoothing)
        return jnp.sum(jnp.where(counted, loss, 0.0)), jnp.sum(counted).astype(jnp.float32)

    def held(self, before: TextModel, after: TextModel) -> TextModel:
        """Return the model after a step; a frozen encoder is as it was before."""
        if not self.config.objective.freeze_encoder:
            return after
        return eqx.tree_at(_encoder, after, _encoder(before))

    def validate(self, model: TextModel, task: Own, key: Key[Array, " n"]) -> dict[str, Float[Array, ""]]:
        """Return nats per target token, bits, and top-1 accuracy on the validation documents: the same every time."""

        def of(one: Document):
            logits = model.logits(*one[:3])
            loss, _ = cross_entropy(logits, one.target)
            hit = jnp.argmax(logits, axis=-1) == one.target
            there = within(one)
            return jnp.sum(jnp.where(there, loss, 0.0)), jnp.sum(there & hit), jnp.sum(there)

        every = self.validation
        rows = Document(
            jnp.asarray(every.source, jnp.int32),
            jnp.asarray(every.source_length),
            jnp.asarray(every.target, jnp.int32),
            jnp.asarray(every.target_length),
        )
        nats, hits, count = jax.lax.map(of, rows, batch_size=min(_BATCH, every.source.shape[0]))
        tokens = jnp.sum(count)
        loss = jnp.sum(nats) / tokens
        return {
            "score": loss,
            "loss": loss,
            "bits_per_token": loss / math.log(2),
            "loss_per_document": jnp.sum(nats) / every.source.shape[0],
            "top1": jnp.sum(hits) / tokens,
        }


def _encoder(model: TextModel) -> list[Any]:
    return jax.tree.leaves(model.encoder)


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
