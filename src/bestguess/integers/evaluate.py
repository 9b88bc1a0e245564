"""How far trained models are from the exact Bayes predictor: sums over the whole table, none of them sampled."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from bestguess.command import UserError
from bestguess.integers.config import IntegersConfig
from bestguess.integers.model import IntegerModel
from bestguess.integers.oracle import PARTS, Oracle, Predictor, Scores
from bestguess.train.ensemble import State


def predictor(model: IntegerModel) -> Predictor:
    """Return a model as the oracle asks it: contexts, uint8 [n, length] → logits, [n, length, 256]."""
    return lambda contexts: np.asarray(_logits(model, jnp.asarray(contexts, jnp.int32)))


@eqx.filter_jit
def _logits(model: IntegerModel, contexts):
    return jax.vmap(lambda one: model(one)[0])(contexts)


def predictor_of_all(models: list[IntegerModel]) -> Predictor:
    """Return the mean of several models' probabilities as one predictor: contexts, uint8 [n, length] → log p.

    A deep ensemble (Lakshminarayanan et al., 2017): where training rows leave a rule open, models that began
    elsewhere settle it differently, and their mean is as unsure as it should be.
    """

    def predict(contexts: np.ndarray) -> np.ndarray:
        terms = jnp.asarray(contexts, jnp.int32)
        log_p = [jax.nn.log_softmax(_logits(model, terms)) for model in models]
        return np.asarray(functools.reduce(jnp.logaddexp, log_p) - math.log(len(models)))

    return predict


def evaluations(config: IntegersConfig, state: State, oracle: Oracle) -> Iterator[dict[str, Any]]:
    """Yield each run's figures, part by part: all rows, those that training drew from, those held out of it."""
    for i, run in enumerate(config.runs()):
        yield {
            "run": i,
            "alpha": run.alpha,
            "seed": run.seed,
            "learning_rate": run.learning_rate,
            **_by_part(oracle, predictor(run_of(state.best, i))),
            "validation_score": float(state.best_score[i]),
            "best_step": int(state.best_step[i]),
            "fault_step": int(state.fault_step[i]) if state.fault_step[i] >= 0 else None,
        }


def evaluation_of_all(state: State, oracle: Oracle) -> dict[str, Any] | None:
    """Return the figures of the runs' mean prediction, part by part; None where fewer than two have a finite score."""
    sound = sound_runs(state)
    if len(sound) < 2:
        return None
    return {"runs": sound, **_by_part(oracle, predictor_of_all([run_of(state.best, i) for i in sound]))}


def sound_runs(state: State) -> list[int]:
    """Return the runs that have a finite validation score."""
    return np.flatnonzero(np.isfinite(state.best_score)).tolist()


def _by_part(oracle: Oracle, model: Predictor) -> dict[str, Any]:
    verdict = oracle.judge(model)
    return {
        **{part.replace("-", "_"): figures(oracle.scores(verdict, part)) for part in PARTS},
        "held_out_by_family": [dataclasses.asdict(one) for one in oracle.family_scores(verdict, "held-out")],
    }


def figures(scores: Scores) -> dict[str, Any]:
    """Return one part's figures: at full context, as means over positions, and by position."""
    names = ("accuracy", "ceiling", "relative_accuracy", "regret", "floor", "loss", "distance")
    values = {name: getattr(scores, name) for name in names}
    return {
        "full_context": {name: float(value[-1]) for name, value in values.items()},
        "mean": {name: float(value.mean()) for name, value in values.items()},
        "by_position": {name: value.tolist() for name, value in values.items()},
    }


def best_run(config: IntegersConfig, state: State, number: int | None) -> int:
    """Return the run of an ensemble that was asked for, or the one with the best validation score.

    Raises UserError where there is no such run, or where runs differ in α: then their scores do not compare.
    """
    runs = len(config.runs())
    if number is None:
        if len(config.objective.alpha) > 1:
            raise UserError(
                f"--number: the folder's runs differ in α, and so do their scores; give one of 0..{runs - 1}"
            )
        return int(np.argmin(np.nan_to_num(np.asarray(state.best_score), nan=np.inf)))
    if not 0 <= number < runs:
        raise UserError(f"--number {number}: the folder has runs 0..{runs - 1}")
    return number


def run_of(stacked: PyTree, index: int) -> Any:
    """Return one run's slice of a pytree with a leading run axis."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[index]), stacked)
