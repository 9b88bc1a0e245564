"""Any predictor on the windows of the test part: its losses, its regret where the oracle is known, its bets."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bestguess.batches import in_batches
from bestguess.rolls.evidence.lift import log_factors
from bestguess.rolls.model import RollsModel
from bestguess.rolls.problem import targets
from bestguess.rolls.task import About
from bestguess.rolls.tokens import Tokens
from bestguess.task import Categorical, expected_loss, regret

TOPS = (1, 3, 5)
"""Numbers of guesses among which the value is looked for."""
BINS = 20
"""Bins of confidence, for the calibration."""
ORACLE_WINDOWS, _ORACLE_LOGITS = 2048, 1 << 28
"""Most windows on which a predictor is compared with the oracle, and most of the oracle's logits for that."""
_LARGEST = 1 << 24
"""Most logits at once: 64 MiB."""


@runtime_checkable
class Predictor(Protocol):
    """Windows, uint16 [n, T + 1] → log-probabilities of the values 0 … K − 1 at each predicted place, [n, T, K]."""

    def __call__(self, windows: np.ndarray) -> Categorical:
        """Return the predictions of all values of each window but the first, from the values before."""


def _short(log_p: np.ndarray, axes: int = 1) -> np.ndarray:
    """Return predictions whose first axes are views of one row with 1 in their place: a law may be the same always."""
    return log_p[(slice(1),) * axes] if log_p.size and not any(log_p.strides[:axes]) else log_p


@dataclass(frozen=True, eq=False)
class Constant:
    """The same prediction everywhere."""

    log_p: np.ndarray
    """float64 [K]."""

    def __call__(self, windows: np.ndarray) -> Categorical:
        """Return it at each place."""
        n, T = windows.shape
        return Categorical(jnp.broadcast_to(jnp.asarray(self.log_p, jnp.float32), (n, T - 1, len(self.log_p))))


@dataclass(frozen=True, eq=False)
class OraclePredictor:
    """The source's own predictions. The evaluation asks it for each window alone, by another way than its reference."""

    about: About

    def __call__(self, windows: np.ndarray) -> Categorical:
        """Return the oracle's prediction of each value from those before it in its window, as if at index 0."""
        return self.at(windows, np.zeros(len(windows), np.int64))

    def at(self, windows: np.ndarray, starts: np.ndarray) -> Categorical:
        """Return the same of windows that start at these indices: the law of a source may depend on the index."""
        source = self.about.rolls.source
        assert source is not None
        rows = [_short(source.predict(one, start)[1:]) for one, start in zip(windows, starts.tolist())]
        log_p = jnp.asarray(np.stack(rows), jnp.float32)
        n, T = windows.shape
        return Categorical(jnp.broadcast_to(log_p, (n, T - 1, log_p.shape[-1])))


@dataclass(frozen=True, eq=False)
class Outside:
    """Anybody's NumPy callable: windows [n, T + 1] → logits of every value from those before it, [n, T + 1, K]."""

    predict: Callable[[np.ndarray], np.ndarray]

    def __call__(self, windows: np.ndarray) -> Categorical:
        """Return its logits of all values but the first."""
        logits = np.asarray(self.predict(windows.astype(np.int64)), np.float32)
        return Categorical(jnp.asarray(logits[:, 1:]))


@dataclass(frozen=True, eq=False)
class ModelPredictor:
    """A trained model, with the tokens that it was trained on."""

    model: RollsModel
    tokens: Tokens

    def __call__(self, windows: np.ndarray) -> Categorical:
        """Return the first head's predictions, spread over the values of each token by the training marginal."""
        of_value, within = jnp.asarray(self.tokens.of_value), jnp.asarray(self.tokens.log_within, jnp.float32)
        return Categorical(_of_values(self.model, jnp.asarray(windows, jnp.int32), of_value, within))

    def heads(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return every head's loss (bits) and top-1 hits at each place, NaN beyond the window, and ln f.

        Shapes [n, T, k], [n, T, k], and [n, k, w] of the bets on the window's order.
        """
        tokens = self.tokens
        arrays = (
            jnp.asarray(tokens.of_value),
            jnp.asarray(tokens.log_within, jnp.float32),
            jnp.asarray(tokens.best_in_bin),
            jnp.asarray(tokens.log_p0, jnp.float32),
        )
        bits, hits, log_f = _heads(self.model, jnp.asarray(windows, jnp.int32), arrays)
        return np.asarray(bits, np.float64), np.asarray(hits, np.float64), np.asarray(log_f, np.float64)


@eqx.filter_jit
def _of_values(model: RollsModel, windows: Int[Array, "n L"], of_value, within) -> Float[Array, "n T K"]:
    def of_window(window):
        logits = model(of_value[window[:-1]])[:, 0].astype(jnp.float32)
        return jax.nn.log_softmax(logits)[:, of_value] + within[None]

    return jax.vmap(of_window)(windows)


@eqx.filter_jit
def _heads(model: RollsModel, windows: Int[Array, "n L"], arrays):
    of_value, within, best, log_p0 = arrays

    def of_window(window):
        token = of_value[window]
        logits = model(token[:-1])
        normaliser = jax.nn.logsumexp(logits.astype(jnp.float32), axis=-1)
        target, there = targets(token, logits.shape[1])
        value, _ = targets(window, logits.shape[1])
        own = jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0].astype(jnp.float32)
        bits = (normaliser - own - within[value]) / math.log(2)
        guess = best[jnp.argmax(logits.astype(jnp.float32) + within[best][None, None], axis=-1)]
        gone = lambda of: jnp.where(there, of, jnp.nan)  # noqa: E731
        return (
            gone(bits),
            gone((guess == value).astype(jnp.float32)),
            log_factors(logits, normaliser, log_p0, token[1:]),
        )

    return jax.vmap(of_window)(windows)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How a predictor does on the test part's windows; arrays are by window n, and by place in it, T."""

    starts: np.ndarray
    """Where the windows start, int64 [n]."""
    log_q: np.ndarray
    """ln of the probability that each value was given (nats), float64 [n, T]."""
    rank: np.ndarray
    """How many values were thought more probable than the one that came, int32 [n, T]."""
    confidence: np.ndarray
    """Probability of the first guess, float32 [n, T]."""
    entropy: np.ndarray
    """Of the prediction (bits), float32 [n, T]."""
    regret: np.ndarray | None
    """KL from the oracle's prediction (bits), float64 [m, T] of the first m windows; None: the oracle is not known."""
    floor: np.ndarray | None
    """The oracle's own expected loss (bits), [m, T]."""
    ceiling: np.ndarray | None
    """The expected loss of the training marginal (bits), [m, T]."""
    tops: np.ndarray | None
    """Probability that the value is among the oracle's 1, 3, 5 most probable ones, [m, T, 3]."""
    within_bits: float | None = None
    """Mean bits that single a value out within its token's bin; None: not a model of ours."""
    head_bits: np.ndarray | None = None
    """Loss of every output head (bits per value), [n, T, k], NaN beyond the window; None: not a model of ours."""
    head_hits: np.ndarray | None = None
    log_f: np.ndarray | None = None
    """ln of the factors of the bets on each window's order, [n, k, w]."""

    @property
    def values(self) -> int:
        """How many values were predicted."""
        return self.log_q.size

    @property
    def bits(self) -> float:
        """Loss in bits per value."""
        return -float(self.log_q.mean()) / math.log(2)

    def top(self, k: int) -> float:
        """Return how often the value was among the first k guesses."""
        return float((self.rank < k).mean())

    def calibration(self) -> dict[str, list[float]]:
        """Return, by bin of the first guess's probability, its mean, how often the guess was right, and the count."""
        place = np.minimum((self.confidence * BINS).astype(int), BINS - 1).ravel()
        count = np.bincount(place, minlength=BINS)
        some = np.maximum(count, 1)
        return {
            "confidence": (np.bincount(place, self.confidence.ravel(), BINS) / some).tolist(),
            "accuracy": (np.bincount(place, (self.rank < 1).ravel(), BINS) / some).tolist(),
            "count": count.tolist(),
        }


@eqx.filter_jit
def _judged(prediction: Categorical, value: Int[Array, "n T"]):
    log_p = jax.nn.log_softmax(prediction.logits)
    own = jnp.take_along_axis(log_p, value[..., None], axis=-1)
    index = jax.lax.broadcasted_iota(jnp.int32, log_p.shape, 2)
    before = (log_p > own) | ((log_p == own) & (index < value[..., None]))
    return own[..., 0], jnp.sum(before, axis=-1), jnp.exp(jnp.max(log_p, axis=-1)), expected_loss(prediction)


@eqx.filter_jit
def _compared(prediction: Categorical, best: Categorical):
    return regret(prediction, best), expected_loss(best)


def evaluate(about: About, predictor: Predictor, most: int) -> Evaluation:
    """Return how a predictor does on the first windows of the test part, `most` at most."""
    starts = about.starts(about.split.test, most)
    size = _at_once(about, len(starts))
    rows: list[list[np.ndarray]] = [[] for _ in range(11)]
    marginal, within = about.tokens.log_marginal, 0.0
    compared = min(ORACLE_WINDOWS, max(size, _ORACLE_LOGITS // (about.window * about.rolls.classes)))
    for places, count in in_batches(len(starts), size):
        own = starts[places]
        windows = about.read(own)
        keep = lambda of: np.asarray(of)[:count]  # noqa: B023, E731
        prediction = predictor.at(windows, own) if isinstance(predictor, OraclePredictor) else predictor(windows)
        for row, found in zip(rows, _judged(prediction, jnp.asarray(windows[:, 1:], jnp.int32))):
            row.append(keep(found))
        if about.known and places[0] < compared:
            log_best = _short(about.best(windows, own), 2)
            regrets, floors = _compared(prediction, Categorical(jnp.asarray(log_best, jnp.float32)))
            p = np.exp(log_best)
            largest = -np.sort(-np.partition(p, -min(TOPS[-1], p.shape[-1]), axis=-1)[..., -TOPS[-1] :], axis=-1)
            tops = np.stack([largest[..., :k].sum(axis=-1) for k in TOPS], axis=-1)
            shape = windows[:, 1:].shape
            rows[4].append(keep(regrets))
            rows[5].append(keep(np.broadcast_to(floors, shape)))
            rows[6].append(keep(np.broadcast_to(-p @ marginal, shape)))
            rows[7].append(keep(np.broadcast_to(tops, (*shape, len(TOPS)))))
        if isinstance(predictor, ModelPredictor):
            for row, found in zip(rows[8:], predictor.heads(windows)):
                row.append(keep(found))
            within -= float(about.tokens.log_within[keep(windows)[:, 1:]].sum())
    whole = [np.concatenate(row) if row else None for row in rows]
    log_q, rank, confidence, entropy = (np.asarray(one) for one in whole[:4])
    in_bits = [None if one is None else np.asarray(one, np.float64) / math.log(2) for one in whole[4:7]]
    of_model = isinstance(predictor, ModelPredictor)
    return Evaluation(
        starts=starts,
        log_q=log_q.astype(np.float64),
        rank=rank,
        confidence=confidence,
        entropy=entropy / math.log(2),
        regret=in_bits[0],
        floor=in_bits[1],
        ceiling=in_bits[2],
        tops=whole[7],
        within_bits=within / (log_q.size * math.log(2)) if of_model else None,
        head_bits=whole[8],
        head_hits=whole[9],
        log_f=whole[10],
    )


def _at_once(about: About, count: int) -> int:
    """Return how many of `count` windows are predicted at once."""
    return max(1, min(256, _LARGEST // (about.window * about.rolls.classes), count))


def training_bits(about: About, predictor: ModelPredictor, count: int) -> float:
    """Return a model's loss in bits per value on `count` windows spread over the training part, or on all, if fewer.

    In batches of the size that `evaluate` takes for as many test windows, so one compiled program serves both.
    """
    windows = about.spread(about.split.training, count)
    bits = [
        predictor.heads(windows[places])[0][:own, :, 0]
        for places, own in in_batches(len(windows), _at_once(about, count))
    ]
    return float(np.concatenate(bits).mean())
