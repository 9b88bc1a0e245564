"""What the trainer needs of the integers family: the model, the draw, the loss of one sequence, the validation."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from bestguess.integers.config import IntegersConfig, IntegerTaskConfig
from bestguess.integers.model.losses import (
    RANDOM,
    is_last,
    loss_by_position,
    negative_log_likelihood,
    position_weights,
    random_objective,
)
from bestguess.integers.model.transformer import IntegerModel
from bestguess.integers.oracle.exact import Oracle, oracle_of
from bestguess.integers.sequences.curriculum import mixture
from bestguess.integers.sequences.sampler import PADDING, Sampler, make_sampler
from bestguess.integers.sequences.table import PHASES, Part
from bestguess.train.problem import Problem, Turn


class Setting(eqx.Module):
    """What differs between runs beside their seeds and rates; the table is shared."""

    alpha: Float[Array | np.ndarray, "*run"]
    """α of the weighted loss."""


class Drawn(NamedTuple):
    """One training sequence, before its terms are looked up."""

    place: Int[Array, "*n"]
    """Its place among the rows that may be seen."""
    terms: Int[Array, "*n"] | None
    """Its terms that are shown, where lengths vary."""
    key: Key[Array, "*n"] | None
    """For dropout, where there is some."""


class IntegerProblem(Problem[Setting, IntegerModel]):
    """Predict each next term; sequences are rows of the table, drawn by prior and curriculum."""

    sampler: Sampler
    """Of the rows that training sees."""
    validation: Sampler
    """Of those that validation draws."""
    known: Bool[Array, "rows length"]
    """Which terms of the latter, from the second on, the oracle's first choice is."""
    config: IntegersConfig = eqx.field(static=True)

    packed = True

    def init(self, task: Setting, key: Key[Array, ""]) -> IntegerModel:
        """Return an untrained model."""
        return IntegerModel(self.config.model, self.config.task.length, key=key)

    def draw(self, task: Setting, turn: Turn) -> Drawn:
        """Return a row's place under the curriculum's mixture, and how much of it is shown."""
        return self._draw(self.sampler, turn.key, turn.progress)

    def _draw(self, sampler: Sampler, key: Key[Array, ""], progress: Float[Array, ""]) -> Drawn:
        config = self.config
        row_key, cut_key, dropout_key = jax.random.split(key, 3)
        place = sampler.draw(row_key, phase_weights(config.task, progress))
        terms = None
        if config.task.lengths == "variable":
            terms = jax.random.randint(cut_key, (), 2, config.task.length + 2)
        return Drawn(place, terms, dropout_key if config.model.dropout else None)

    def loss(self, model: IntegerModel, task: Setting, drawn: Drawn) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return the weighted sum of the objective's loss over one sequence's positions, and the sum of weights."""
        loss_T, weight_T, _ = self._judge(model, task, sequence(self.sampler, drawn), drawn.key)
        return jnp.sum(loss_T * weight_T), jnp.sum(weight_T)

    def validate(self, model: IntegerModel, task: Setting, key: Key[Array, " n"]) -> dict[str, Float[Array, ""]]:
        """Return loss, accuracy and mean distance over sequences of the final mixture, beside a random guess's.

        They are means over all positions; `last_loss` is the loss of each sequence's last term alone, and
        `sequence_accuracy` the fraction of sequences whose every term is the first choice, the oracle's own on the same
        sequences beside it. `objective` is the training's own loss; a random guess's is that of a uniform prediction
        whose distance is that of two numbers drawn uniformly.
        """
        drawn = jax.vmap(lambda k: self._draw(self.validation, k, jnp.ones(())))(key)
        terms_nT = jax.vmap(lambda one: sequence(self.validation, one))(drawn)

        def of_one(terms_T):
            loss_T, weight_T, logits_TV = self._judge(model, task, terms_T, None)
            target_T, real_T = _targets(terms_T)
            guess_T = jnp.argmax(logits_TV, axis=-1)
            own_T = negative_log_likelihood(logits_TV, target_T)
            sums = (own_T, guess_T == target_T, jnp.abs(guess_T - target_T))
            counted = (jnp.sum(jnp.where(real_T, one, 0)).astype(jnp.float32) for one in sums)
            last_T = is_last(real_T)
            last = jnp.sum(jnp.where(last_T, own_T, 0.0)), jnp.sum(last_T)
            whole = jnp.all((guess_T == target_T) | ~real_T).astype(jnp.float32)
            return jnp.sum(loss_T * weight_T), jnp.sum(weight_T), *counted, jnp.sum(real_T), *last, whole

        *total, whole = [jnp.sum(one) for one in jax.vmap(of_one)(terms_nT)]
        real_nT = jax.vmap(_targets)(terms_nT)[1]
        best = jnp.sum(jnp.all(self.known[drawn.place] | ~real_nT, axis=1).astype(jnp.float32))
        objective, (loss, accuracy, distance) = total[0] / total[1], (one / total[5] for one in total[2:5])
        last_loss = total[6] / total[7]
        score = {
            "loss": objective,
            "last": last_loss,
            "accuracy": 1 - accuracy,
            "combined": objective / RANDOM.loss + 1 - accuracy,
        }[self.config.objective.stop_on]
        measures = {"loss": loss, "accuracy": accuracy, "mean_distance": distance}
        random = {f"random_{name}": jnp.asarray(getattr(RANDOM, name)) for name in measures}
        terms = terms_nT.shape[1] - 1
        sequences = {
            "sequence_accuracy": whole / len(terms_nT),
            "oracle_sequence_accuracy": best / len(terms_nT),
            "random_sequence_accuracy": jnp.asarray(RANDOM.accuracy**terms),
        }
        own = {
            "objective": objective,
            "random_objective": random_objective(self.config.objective, jnp.asarray(task.alpha)),
        }
        return {"score": score, "last_loss": last_loss} | measures | random | sequences | own

    def _judge(self, model: IntegerModel, task: Setting, terms_T: Int[Array, "terms"], key: Key[Array, ""] | None):
        """One sequence's loss and weight at each position, and the logits."""
        logits_TV, _ = model(terms_T[:-1], key=key)
        target_T, real_T = _targets(terms_T)
        loss_T = loss_by_position(logits_TV, target_T, self.config.objective, jnp.asarray(task.alpha))
        return loss_T, position_weights(real_T, self.config.objective), logits_TV


def sequence(sampler: Sampler, drawn: Drawn) -> Int[Array, "terms"]:
    """Return the terms of a draw, with padding behind its end."""
    terms = sampler.sequence(drawn.place)
    return terms if drawn.terms is None else jnp.where(jnp.arange(terms.shape[0]) < drawn.terms, terms, PADDING)


def _targets(terms_T: Int[Array, "terms"]) -> tuple[Int[Array, "T"], Bool[Array, "T"]]:
    """The next terms, 0 for padding, and which of them are real."""
    target_T = terms_T[1:]
    return jnp.maximum(target_T, 0), target_T != PADDING


def phase_weights(config: IntegerTaskConfig, progress: Float[Array, ""]) -> Float[Array, "phases"]:
    """Return the mixture of the phases at `progress`; phases that the config leaves out have none of it."""
    weights = mixture(progress, config.curriculum, jnp) * (np.arange(PHASES) < config.phases)
    return weights / jnp.sum(weights)


def make_problem(config: IntegersConfig, oracle: Oracle | None = None) -> IntegerProblem:
    """Return the config's problem, with the table's rows on the device. oracle: the config's own, where it is there."""
    oracle = oracle or oracle_of(config.task)
    table = oracle.table
    part: Part = "seen"
    seen = make_sampler(table)
    validation = seen
    if config.task.validation:
        validation, part = make_sampler(table, "validation"), "validation"
    known = jnp.asarray(oracle.predicted(oracle.choices())[table.part(part)])
    return IntegerProblem(seen, validation, known, config)
