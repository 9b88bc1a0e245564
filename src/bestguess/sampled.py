"""Evaluation by sequences that are drawn: the workings of a family whose task is an `OracleTask`, and little more.

Three steps, each compiled by itself: sequences with the oracle's predictions; the predictor's own, from the sequences
alone; the regret. A model is an argument of the second, so that runs of one shape share a program, and anybody's
NumPy callable enters there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key, Num

from bestguess.batches import in_batches
from bestguess.family import Measured, Trained, Workings
from bestguess.report.charts import Chart, Line
from bestguess.report.progress import over_one, with_error
from bestguess.report.story import Drawn, Section, Story, Words, shade
from bestguess.task import (
    Categorical,
    Estimate,
    Gaussian,
    OracleTask,
    Prediction,
    Predictor,
    estimate,
    expected_loss,
    headroom,
    regret,
    skill,
)
from bestguess.train.problem import Purpose, member_key

C = TypeVar("C")
T = TypeVar("T", bound=OracleTask)
BATCH = 256
"""Sequences that are judged at once, unless memory is short: it does not grow with their number."""
SEQUENCES = 2048
"""Test sequences of a config that does not say how many."""


@dataclass(frozen=True)
class Score:
    """A mean regret over independent sequences, between the floor and the ceiling."""

    regret: Estimate
    """E[L − L*] (the loss's own unit)."""
    loss: Estimate
    """Normalised loss, 1 + regret / floor (no unit)."""
    skill: float
    """The fraction of the headroom gained; NaN where there is no headroom."""
    headroom: float
    """How much worse than the oracle the best constant is, as a fraction of the floor."""
    floor: float
    ceiling: float

    @property
    def recorded_skill(self) -> float | None:
        """The skill as a ledger keeps it: None where there is no headroom; NaN is a fault."""
        return None if np.isnan(self.skill) and np.isfinite(self.loss.mean) else self.skill


def score(regrets: Float[np.ndarray, " sequences"], floor: ArrayLike, ceiling: ArrayLike) -> Score:
    """Return the score of one regret for each sequence."""
    floor, ceiling = jnp.asarray(floor), jnp.asarray(ceiling)
    # The excess on its own: 1 + 1e-12 is 1 in float32, and the self-test looks that closely.
    excess = estimate(jnp.asarray(regrets) / floor)
    reached = skill(jnp.asarray(regrets.mean()), floor, ceiling)
    return Score(
        regret=Estimate(excess.mean * float(floor), excess.standard_error * float(floor), excess.sequences),
        loss=excess._replace(mean=1 + excess.mean),
        skill=float(reached),
        headroom=float(headroom(ceiling, floor)),
        floor=float(floor),
        ceiling=float(ceiling),
    )


@dataclass(frozen=True)
class Evaluation:
    """How far one predictor is from the oracle."""

    score: Score
    by_position: Float[np.ndarray, " S"]
    """Mean regret at each predicted position (the loss's own unit)."""


class ModelPredictor(eqx.Module):
    """A model of one sequence as a predictor of many."""

    model: Any

    def __call__(self, sequences: Num[Array, "n T *d"]) -> Prediction:
        return _predict(self.model, jnp.asarray(sequences))


class Outside(eqx.Module):
    """Anybody's NumPy callable as a predictor, its means or logits taken for what the task's constant is."""

    predict: Callable[[np.ndarray], np.ndarray] = eqx.field(static=True)
    kind: type[Gaussian] | type[Categorical] = eqx.field(static=True)

    def __call__(self, sequences: Num[Array, "n T *d"]) -> Prediction:
        return self.kind(jnp.asarray(np.asarray(self.predict(np.asarray(sequences)), np.float32)))


@eqx.filter_jit
def _predict(model: Callable, sequences: Num[Array, "n T *d"]) -> Prediction:
    return jax.vmap(model)(sequences)


@eqx.filter_jit
def _sample(task: OracleTask, keys: Key[Array, " n"]) -> tuple[Num[Array, "n T *d"], Prediction]:
    return jax.vmap(task.sample_with_oracle)(keys)


@eqx.filter_jit
def _regrets(prediction: Prediction, oracle: Prediction) -> Float[Array, "n T"]:
    return jax.vmap(regret)(prediction, oracle)


@eqx.filter_jit
def _own_losses(predictions: Prediction) -> Float[Array, "n T"]:
    return jax.vmap(expected_loss)(predictions)


def regrets(
    task: OracleTask, predictor: Predictor, keys: Key[Array, " n"], at_once: int = BATCH
) -> tuple[Float[np.ndarray, "n S"], Float[np.ndarray, "n S"] | None]:
    """Return the regret at every predicted position of each key's sequence, and the oracle's own expected loss there.

    The second is None where the oracle's predictions do not say it.
    """
    task = _on_device(task)
    found, floors = [], []
    for places, count in in_batches(len(keys), at_once):
        sequences, best = _sample(task, keys[places])
        found.append(np.asarray(_regrets(predictor(sequences), best), np.float64)[:count])
        if not (isinstance(best, Gaussian) and best.covariance is None):
            floors.append(np.asarray(_own_losses(best), np.float64)[:count])
    whole = lambda parts: np.concatenate(parts)[:, task.predicted]  # noqa: E731
    return whole(found), whole(floors) if floors else None


class Sampled(Workings[C, T, Predictor, Evaluation], Generic[C, T]):
    """The workings of a family with an `OracleTask`: give `task` and `problem`.

    A model is a callable of one sequence: its prediction of every element from those before it.
    """

    unit: ClassVar[str] = "nats"
    """Of the loss, for readers."""

    def own(self, configs: Sequence[C], tasks: Sequence[T]) -> T:
        """Return the tasks, stacked."""
        return jax.tree.map(lambda *leaves: np.stack(leaves), *tasks)

    def predictor(self, model: Any, task: T) -> Predictor:
        """Return the model over many sequences."""
        return ModelPredictor(model)

    def oracle(self, config: C, task: T) -> Predictor:
        """Return the task's own oracle."""
        return ModelPredictor(_on_device(task).oracle)

    def constant(self, config: C, task: T) -> Predictor:
        """Return the task's best constant prediction, whatever the sequence."""
        return ModelPredictor(_Constant(_on_device(task).constant()))

    def outside(self, config: C, task: T, predict: Callable[[np.ndarray], np.ndarray]) -> Predictor:
        """Return anybody's callable: means of a Gaussian task, logits of a categorical one."""
        return Outside(predict, type(_on_device(task).constant()))

    def sequences(self, config: C, task: T, count: int) -> np.ndarray:
        """Return sequences drawn with a key of their own: none of them is a test sequence."""
        keys = jax.random.split(self._key(config, Purpose.OUTSIDE), count)
        return np.asarray(_sample(_on_device(task), keys)[0])

    def evaluate(
        self,
        config: C,
        task: T,
        predictor: Predictor,
        parts: Sequence[str],
        sequences: int | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> Evaluation:
        """Return the mean regret on test sequences, and by position."""
        count = int(getattr(config, "test_sequences", SEQUENCES)) if sequences is None else sequences
        at_once = self.at_once(task, predictor, min(BATCH, count), say)
        found, own = regrets(task, predictor, jax.random.split(self._key(config), count), at_once)
        floor, ceiling = self.bounds(task, own)
        return Evaluation(score(found.mean(axis=1), floor, ceiling), found.mean(axis=0))

    def at_once(self, task: T, predictor: Predictor, most: int, say: Callable[[str], None] = lambda line: None) -> int:
        """Return how many sequences are judged at once, `most` or, where memory is short, fewer; a family measures."""
        return most

    def bounds(self, task: T, own: Float[np.ndarray, "n S"] | None) -> tuple[ArrayLike, ArrayLike]:
        """Return the floor and the ceiling; own: what the oracle expects to lose on the sequences that were drawn."""
        task = _on_device(task)
        floor = task.floor if own is None else own.mean()
        return floor, jnp.mean(expected_loss(task.constant())[task.predicted])

    def measured(self, config: C, task: T, found: Evaluation) -> list[Measured]:
        """Return the one regret, of all predicted positions."""
        one = found.score
        unit = one.floor if isinstance(_on_device(task).constant(), Gaussian) else 1.0
        mean, error, count = one.regret
        return [Measured("all positions", mean, error, count, one.floor, one.ceiling, unit)]

    def by_position(self, found: Evaluation) -> np.ndarray:
        """Return the mean regret at every predicted position."""
        return found.by_position

    def figures(self, found: Evaluation, part: str) -> dict[str, Any]:
        """Return the score, and the regret by position."""
        return {**self.record(found), "regret_by_position": found.by_position}

    def record(self, found: Evaluation) -> dict[str, Any]:
        """Return the score: regret, normalised loss, skill (None where there is no headroom) and headroom."""
        one = found.score
        return {
            "regret": one.regret.mean,
            "standard_error": one.regret.standard_error,
            "sequences": one.regret.sequences,
            "normalised_loss": one.loss.mean,
            "skill": one.recorded_skill,
            "headroom": one.headroom,
        }

    def table(self, training: Trained, results: Mapping[str, Any]) -> tuple[list[str], list[list[Any]], str]:
        """Return every run's regret and skill."""
        runs = training.runs
        rows = [
            [
                run.label(runs),
                with_error(one["regret"], one["standard_error"]),
                over_one(one["normalised_loss"]),
                one["skill"],
            ]
            for run, one in zip(runs, results["evaluation"]["runs"])
        ]
        columns = ["run", f"regret ({self.unit})", "normalised loss", "skill"]
        return columns, rows, "Regret on test sequences (0 is the oracle)"

    def story(self, training: Trained, results: Mapping[str, Any]) -> Story:
        """Return a page with the regret by position and the learning curves; a family may say more."""
        runs, found = training.runs, results["evaluation"]["runs"]
        shown = training.drawn()
        series = [
            Line(
                np.arange(1, 1 + len(found[i]["regret_by_position"])),
                np.asarray(found[i]["regret_by_position"], float),
                name=runs[i].label(runs),
                shade=shade(i, shown),
            )
            for i in shown
        ]
        chart = Chart("Regret by position", "predicted position", f"regret ({self.unit})", series)
        sections = [
            Section("Learning", [Drawn("learning", training.learning_curve(self.family.progress, shown))]),
            Section("Where in the sequence", [Drawn("regret_by_position", chart)]),
            Section(
                "How this was made",
                [
                    Words(
                        "- **Regret** is the loss over the oracle's, from both predictions of the same sequences.\n"
                        "- Weights are those of each run's best validation; learning rates are selected on validation "
                        "data; every figure is from test data, but for the learning curves."
                    )
                ],
            ),
        ]
        return Story(self.family.title.rstrip(":"), self.family.about, training.headline(results), sections)

    def _key(self, config: C, purpose: Purpose = Purpose.TEST) -> Key[Array, ""]:
        train = config.train  # type: ignore[attr-defined]
        return member_key(jnp.asarray(train.first_seed), purpose)


def _on_device(task: T) -> T:
    """A training keeps its tasks on the host; whoever computes with one moves it."""
    return jax.tree.map(jnp.asarray, task)


class _Constant(eqx.Module):
    prediction: Prediction

    def __call__(self, sequence: Num[Array, "T *d"]) -> Prediction:
        return self.prediction
