"""What a training step costs: FLOPs by XLA's own count, the fraction of the tokens that it learns from, memory."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bestguess.text.config import TextConfig
from bestguess.text.documents import Documents
from bestguess.text.model import TextModel
from bestguess.text.pairs import Pairs
from bestguess.text.problem import Drawn, Own, TextProblem
from bestguess.train.config import TrainConfig
from bestguess.train.step import batch_sums, loss_of


def document_flops(config: TextConfig, vocab: int, source: int, target: int) -> float:
    """Return the FLOPs of loss and gradient for one document padded to `source` and `target` tokens, by XLA's count.

    Of the program before it is compiled for a device: what a compiler saves or recomputes does not count, and attention
    counts as matrix products whatever its kernel. The optimiser's own are left out: a few for each weight and step. Of
    a document by itself, whatever it is packed with.
    """
    # Equal for runs that differ in anything else.
    plain = dataclasses.replace(
        TextConfig(),
        model=dataclasses.replace(config.model, attention="xla"),
        objective=dataclasses.replace(config.objective, packing=0),
        task=dataclasses.replace(TextConfig().task, documents=config.task.documents),
    )
    return _document_flops(plain, vocab, source, target)


@functools.cache
def _document_flops(config: TextConfig, vocab: int, source: int, target: int) -> float:
    def given() -> tuple[Documents, TextModel, Drawn]:
        whole = lambda *shape: jnp.zeros(shape, jnp.int32)  # noqa: E731
        key = jax.random.key(0)
        drawn = Drawn(whole(1, 1), jax.random.split(key, (1, 1)) if config.model.random else None)
        documents = Documents(whole(1, source), whole(1), whole(1, target), whole(1))
        return documents, TextModel(config.model, vocab, (source, target), not config.task.windows, key=key), drawn

    def sums(documents: Documents, model: TextModel, drawn: Drawn):
        problem = TextProblem(documents, documents, config, vocab)
        return batch_sums(loss_of(problem), model, Own(jnp.zeros((), jnp.int32)), drawn)

    # Counted for the CPU, whatever trains: a GPU's plugin counts no operations before compilation.
    with jax.default_device(jax.devices("cpu")[0]):
        counted: Any = jax.jit(sums).lower(*jax.eval_shape(given)).cost_analysis()
    return float(counted["flops"])


class Utilisation(NamedTuple):
    """Tokens of a corpus' average training document."""

    processed: float
    """That pass a layer: of an encoder-decoder the source's and the target's; else [BOS] and [SEP] with them, without
    the last; of a window all but the last. Padding is left out."""
    targets: float
    """That the training loss is on."""

    @property
    def share(self) -> float:
        """Targets of the tokens processed."""
        return self.targets / self.processed


def utilisation(config: TextConfig, pairs: Pairs) -> Utilisation:
    """Return how many tokens of a document are processed in training, and how many are learnt from."""
    source, target = float(pairs.source_length.mean()), float(pairs.target_length.mean())
    marks = -1 if config.task.windows else 0 if config.model.architecture == "encoder-decoder" else 1
    processed = source + target + marks
    return Utilisation(processed, processed if config.objective.loss == "full" else target)


def state_bytes(train: TrainConfig, weights: int) -> int:
    """Return the bytes of what a run keeps from step to step: weights, the optimiser's means, the best weights."""
    copies = 2 + (1 if train.optimizer == "sgd" else 2) + bool(train.average)
    return 4 * copies * weights


def corpus_bytes(vocab: int, *parts: Pairs) -> int:
    """Return the bytes of documents on the device, which all runs share."""
    shapes = [jax.eval_shape(lambda part=part: Documents.of(part, vocab)) for part in parts]
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
