"""Any predictor on the test documents: its loss, its regret where the oracle is known, by place and kind of token."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from bestguess.batches import in_batches
from bestguess.task import Categorical, expected_loss, regret
from bestguess.text.errands.corpus import Errands
from bestguess.text.model import TextModel
from bestguess.text.pairs import Pairs
from bestguess.text.task import About, laid_out

_LARGEST = 1 << 24
"""Most logits at once: 64 MiB."""


@runtime_checkable
class Predictor(Protocol):
    """Pairs → log-probabilities of the tokens at each place of the target, [n, U, V]."""

    def __call__(self, pairs: Pairs) -> Categorical:
        """Return the predictions of every token of the targets, from the source and the tokens before it."""


@dataclass(frozen=True, eq=False)
class Constant:
    """The same prediction whatever the document."""

    log_p: Float[np.ndarray, "V"]

    def __call__(self, pairs: Pairs) -> Categorical:
        """Return it for each token."""
        return Categorical(jnp.broadcast_to(jnp.asarray(self.log_p), (*pairs.target.shape, len(self.log_p))))


@dataclass(frozen=True, eq=False)
class OraclePredictor:
    """The grammar's own prediction of one document at a time, by the plain forward algorithm."""

    known: Errands

    def __call__(self, pairs: Pairs) -> Categorical:
        """Return the forward algorithm's predictions: the evaluation's reference looks them up in tables."""
        return Categorical(jnp.asarray(self.known.plain_log_p(pairs), jnp.float32))


@dataclass(frozen=True, eq=False)
class Outside:
    """Anybody's NumPy callable: sequences [n, L] in the fixed layout → logits of every element, [n, L, V]."""

    predict: Any
    source_width: int

    def __call__(self, pairs: Pairs) -> Categorical:
        """Return its logits at the places of the target."""
        logits = np.asarray(self.predict(laid_out(pairs)), np.float32)
        return Categorical(jnp.asarray(logits[:, self.source_width + 1 :]))


@dataclass(frozen=True, eq=False)
class ModelPredictor:
    """A trained model."""

    model: TextModel

    def __call__(self, pairs: Pairs) -> Categorical:
        """Return the model's predictions."""
        as_int = lambda of: jnp.asarray(of, jnp.int32)  # noqa: E731
        return Categorical(
            _predict(self.model, as_int(pairs.source), as_int(pairs.source_length), as_int(pairs.target))
        )


@eqx.filter_jit
def _predict(
    model: TextModel,
    source: Integer[Array, "n S"],
    source_length: Integer[Array, " n"],
    target: Integer[Array, "n U"],
) -> Float[Array, "n U V"]:
    logits = jax.vmap(lambda *one: model.logits(*one))(source, source_length, target)
    return jax.nn.log_softmax(logits.astype(jnp.float32))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How a predictor does on the test documents; arrays are by document n, and by place of the target, U."""

    pairs: Pairs
    nats: np.ndarray
    """−ln of the probability that each token was given, float64 [n, U]; 0 behind the end."""
    hits: np.ndarray
    """Whether the token was the most probable one, bool [n, U]."""
    regret: np.ndarray | None
    """KL from the oracle's prediction (nats), float64 [n, U], 0 behind the end; None: the oracle is not known."""
    floor: np.ndarray | None
    """The oracle's own expected loss (nats), [n, U]."""
    ceiling: np.ndarray | None
    """The expected loss of the best constant (nats), [n, U]."""

    @property
    def there(self) -> np.ndarray:
        """Which places are tokens of the targets, bool [n, U]."""
        return np.arange(self.nats.shape[1])[None] < self.pairs.target_length[:, None]

    @property
    def tokens(self) -> int:
        """How many tokens were predicted."""
        return int(self.pairs.target_length.sum())

    @property
    def loss(self) -> float:
        """Loss in nats per token of the target."""
        return float(self.nats.sum()) / self.tokens

    def bits_per_byte(self, of_bytes: np.ndarray) -> float:
        """Return the loss in bits per byte of the targets' text; of_bytes: of each document."""
        return float(self.nats.sum()) / (math.log(2) * float(of_bytes[: len(self.pairs)].sum()))


@eqx.filter_jit
def _judged(prediction: Categorical, target: Integer[Array, "n U"]):
    log_p = jax.nn.log_softmax(prediction.logits)
    own = jnp.take_along_axis(log_p, target[..., None], axis=-1)[..., 0]
    return -own, jnp.argmax(log_p, axis=-1) == target


@eqx.filter_jit
def _compared(prediction: Categorical, best: Categorical):
    return regret(prediction, best), expected_loss(best)


def _batches(about: About, pairs: Pairs) -> Iterator[tuple[Pairs, int]]:
    """Yield batches of equal size, and how many of their documents count."""
    size = max(1, min(256, _LARGEST // (about.target_width * about.vocab)))
    for places, count in in_batches(len(pairs), size):
        yield pairs[places], count


def nats_of(about: About, predictor: Predictor, pairs: Pairs) -> Float[np.ndarray, "n U"]:
    """Return −ln of the probability that a predictor gives each token of the targets, float64; 0 behind their ends."""
    found = []
    for batch, count in _batches(about, pairs):
        nats, _ = _judged(predictor(batch), jnp.asarray(batch.target, jnp.int32))
        found.append(np.asarray(nats, np.float64)[:count])
    nats = np.concatenate(found)
    return np.where(np.arange(nats.shape[1])[None] < pairs.target_length[:, None], nats, 0.0)


def evaluate(about: About, predictor: Predictor, most: int) -> Evaluation:
    """Return how a predictor does on the first documents of the test part, `most` at most."""
    pairs = about.test[: min(most, len(about.test))]
    rows: list[list[np.ndarray]] = [[] for _ in range(5)]
    for batch, count in _batches(about, pairs):
        prediction = predictor(batch)
        found = [*_judged(prediction, jnp.asarray(batch.target, jnp.int32))]
        if about.known is not None:
            log_best = about.known.best_log_p(batch)
            found += [*_compared(prediction, Categorical(jnp.asarray(log_best)))]
            p = np.exp(log_best)
            found.append(-(p @ about.log_constant))
        for row, one in zip(rows, found):
            row.append(np.asarray(one)[:count])
    nats, hits, *compared = (np.concatenate(row) if row else None for row in rows)
    assert nats is not None
    assert hits is not None
    there = np.arange(nats.shape[1])[None] < pairs.target_length[:, None]
    inside = lambda of: np.where(there, of, 0.0).astype(np.float64)  # noqa: E731
    return Evaluation(pairs, inside(nats), hits & there, *(None if one is None else inside(one) for one in compared))
