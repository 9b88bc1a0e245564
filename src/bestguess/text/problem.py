"""What the trainer is given: documents in a keyed order, the loss of one, the validation."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Key

from bestguess.nn.cross_entropy import cross_entropy
from bestguess.text.config import TextConfig
from bestguess.text.documents import Document, Documents, document, within
from bestguess.text.model import TextModel
from bestguess.text.packing import pair_row, sequence_row
from bestguess.text.start import Start
from bestguess.text.windows import window
from bestguess.train.permutation import order_key, permuted
from bestguess.train.problem import Problem, Turn

_BATCH = 64
"""Validation documents that are judged at once."""


class Own(eqx.Module):
    """What sets a run apart."""

    seed: Integer[Array | np.ndarray, "*run"]
    """Of the order of the documents."""


class Drawn(NamedTuple):
    """The place of a document, of a row of several, or of a window; and a key where anything is random."""

    row: Integer[Array, ""]
    key: Key[Array, ""] | None


class TextProblem(Problem[Own, TextModel]):
    """Cross-entropy of the tokens of documents, each once an epoch, in a new order every epoch; alone or in rows.

    Windows of one long text are drawn anywhere in it, again and again.
    """

    training: Documents
    validation: Documents
    config: TextConfig = eqx.field(static=True)
    vocab: int = eqx.field(static=True)
    rows: Integer[Array | np.ndarray, "rows K"] | None = None
    """Training documents that share a row, −1 behind the last; None: each by itself."""
    widths: tuple[int, ...] = eqx.field(static=True, default=())
    """Tokens of a row; of an encoder-decoder those of its sources and of its targets."""

    start: Start | None = None
    """What a training begins with; None: an untrained model."""

    text: Integer[Array | np.ndarray, " N"] | None = None
    """The training part, where it is one long text; `training` then gives the widths alone."""

    def init(self, task: Own, key: Key[Array, ""]) -> TextModel:
        """Return the initial model."""
        drawn = TextModel(self.config.model, self.vocab, self.context, self.text is None, key=key)
        return drawn if self.start is None else self.start.begun(drawn, jnp.asarray(task.seed))

    @property
    def context(self) -> tuple[int, int]:
        """The tokens of the longest source and of the longest target."""
        return self.training.source.shape[1], self.training.target.shape[1]

    def draw(self, task: Own, turn: Turn) -> Drawn:
        """Return the document, or row, of this turn: each once in an epoch, in an order by seed and epoch.

        Of one long text: the place of a window, all equally likely.
        """
        random = self.config.model.random
        if self.text is not None:
            place_key, key = jax.random.split(turn.key)
            row = jax.random.randint(place_key, (), 0, self.text.shape[0] - sum(self.context) + 1)
            return Drawn(row, key if random else None)
        count = (self.training.source if self.rows is None else self.rows).shape[0]
        epoch, place = turn.number // count, turn.number % count
        key = order_key(jnp.asarray(task.seed).astype(jnp.uint32), epoch.astype(jnp.uint32))
        row = permuted(place.astype(jnp.uint32)[None], count, key)[0].astype(jnp.int32)
        return Drawn(row, turn.key if random else None)

    def loss(self, model: TextModel, task: Own, drawn: Drawn) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return the summed loss of a document or row and its count of targets: of the target, or of every token."""
        objective = self.config.objective
        if objective.freeze_encoder:
            model = eqx.tree_at(_encoder, model, replace_fn=jax.lax.stop_gradient)
        whole = objective.loss == "full" and self.config.model.architecture == "decoder-only"
        logits, target, counted = (self._alone if self.rows is None else self._packed)(model, drawn, whole)
        loss, _ = cross_entropy(logits, target, objective.label_smoothing)
        return jnp.sum(jnp.where(counted, loss, 0.0)), jnp.sum(counted).astype(jnp.float32)

    def _alone(self, model: TextModel, drawn: Drawn, whole: bool):
        """Return logits, targets, and which of them count, of one document."""
        if self.text is not None:
            one = window(jnp.asarray(self.text), drawn.row, sum(self.context) - 1)
        else:
            one = document(self.training, drawn.row)
        if whole:
            return model.sequence_logits(*one, key=drawn.key)[:3]
        return model.logits(*one[:3], key=drawn.key), one.target, within(one)

    def _packed(self, model: TextModel, drawn: Drawn, whole: bool):
        """Return the same of a row of documents."""
        row_K = jax.lax.dynamic_index_in_dim(jnp.asarray(self.rows), drawn.row, keepdims=False)
        if model.encoder is not None:
            pairs = pair_row(self.training, row_K, self.widths)
            return model.row_logits(pairs, key=drawn.key), pairs.target, pairs.scored
        row = sequence_row(self.training, row_K, *self.widths)
        return model.row_logits(row, key=drawn.key), row.target, row.predicted if whole else row.scored

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
