"""How the filters family trains and judges runs on unknown systems: the distance to the Bayes mixture of K filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from bestguess.command import UserError
from bestguess.family import Family, Measured, Trained
from bestguess.filters.config import FiltersConfig, FilterTaskConfig
from bestguess.filters.forecaster import Forecaster
from bestguess.filters.in_context import page
from bestguess.filters.in_context.baselines import Baselines, Regression, in_context_baselines
from bestguess.filters.in_context.evaluate import Compared, on_held_out, on_trained
from bestguess.filters.in_context.exact import constant_mixture, exact_mixture
from bestguess.filters.in_context.mixture import HELD_OUT, TRAINED, Systems, systems_of
from bestguess.filters.in_context.problem import InContextProblem
from bestguess.filters.in_context.task import MixtureTask
from bestguess.filters.predictor import FilterPredictor, kept, told
from bestguess.report.story import Story
from bestguess.sampled import BATCH, Sampled, Score, score
from bestguess.task import Estimate, Predictor
from bestguess.train.memory import Memory, device_memory, gigabytes
from bestguess.train.problem import Problem, Purpose


@dataclass(frozen=True, eq=False)
class InContextEvaluation:
    """One predictor's figures on unknown systems."""

    score: Score
    """Against the mixture, on sequences of the K systems."""
    trained: Compared
    held_out: Compared
    baselines: Callable[[], Baselines]
    """Regressions fitted in context on the same sequences; they take seconds, once for each task."""

    @property
    def by_position(self) -> Float[np.ndarray, " S"]:
        """Mean distance to the mixture at each predicted step (squared units of y)."""
        return self.trained.from_mixture.mean(0)


class InContextWorkings(Sampled[FiltersConfig, MixtureTask]):
    """The workings of runs with --systems."""

    def __init__(self, family: Family):
        super().__init__(family)
        self._beside: dict[tuple, Baselines] = {}

    def task(self, config: FiltersConfig) -> MixtureTask:
        """Return the task of the run's systems, with the gains of all their filters."""
        own, held_out = _systems(config, TRAINED), _systems(config, HELD_OUT)
        return jax.tree.map(np.asarray, MixtureTask(own, held_out, config.task.length, config.model.patch))

    def tokens(self, config: FiltersConfig) -> int:
        """Return the patches of a sequence."""
        return config.task.length // config.model.patch

    def sizes(self, config: FiltersConfig) -> dict[str, int]:
        """Return the bytes of the filters and of their states, and of what a step and a validation draw."""
        task, train = config.task, config.train
        sequence = 4 * task.length * task.observed_dim
        tokens = 2 * (task.length // config.model.patch) * config.model.d_model
        return {
            f"--systems {task.systems}": 2 * _tables(task, task.systems or 1) + _states(config),
            f"--held-out {task.held_out}": 2 * _tables(task, task.held_out),
            f"--batch-size {train.batch_size}": train.batch_size // train.accumulate * (sequence + tokens),
            f"--validation-sequences {train.validation_sequences}": train.validation_sequences * sequence,
            f"--test-sequences {config.test_sequences}": config.test_sequences * 32 * task.length,
        }

    def problem(self, configs: Sequence[FiltersConfig], tasks: Sequence[MixtureTask]) -> InContextProblem:
        """Return what trains forecasters of one shape."""
        return InContextProblem(configs[0].model)

    def memory(
        self,
        config: FiltersConfig,
        task: MixtureTask,
        problem: Problem,
        say: Callable[[str], None] = lambda line: None,
    ) -> int:
        """Return the bytes of the filters and their states in an evaluation; UserError where they do not fit."""
        K, held_out = config.task.systems or 1, config.task.held_out
        # The task's filters, and those of the oracle that the self-test sends through a model's path.
        needed = 2 * _tables(config.task, K) + _tables(config.task, held_out) + _states(config)
        memory = Memory(needed, device_memory())
        say(f"{K:,} filters of {config.task.length} steps over {BATCH} sequences at once: needs {memory}")
        if not memory.fits:
            raise UserError(
                f"--systems {K}: the evaluation needs {gigabytes(needed)}, the device has "
                f"{gigabytes(memory.available)}; lower it, --length or --latent-dim"
            )
        return needed

    def predictor(self, model: Forecaster, task: MixtureTask) -> FilterPredictor:
        """Return a trained forecaster as a predictor."""
        return FilterPredictor(model)

    def oracle(self, config: FiltersConfig, task: MixtureTask) -> FilterPredictor:
        """Return the exact mixture by the path of a model, token by token."""
        return FilterPredictor(exact_mixture(config.model, jax.tree.map(jnp.asarray, task)))

    def constant(self, config: FiltersConfig, task: MixtureTask) -> FilterPredictor:
        """Return the prediction 0, by the very path of a model."""
        return FilterPredictor(constant_mixture(config.model, jax.tree.map(jnp.asarray, task)))

    def evaluate(  # type: ignore[override]
        self,
        config: FiltersConfig,
        task: MixtureTask,
        predictor: Predictor,
        parts: Sequence[str],
        sequences: int | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> InContextEvaluation:
        """Return the distances on test sequences of the run's seed, of trained and of held-out systems."""
        count = config.test_sequences if sequences is None else sequences
        on_device = jax.tree.map(jnp.asarray, task)
        trained = on_trained(on_device, predictor, jax.random.split(self._key(config), count))
        held_out = on_held_out(on_device, predictor, self._key(config, Purpose.HELD_OUT), count)
        # The mixture's own error, by the law of total variance: what is told is exact, the rest is sampled.
        floor = trained.floor + trained.mixture_from_told.mean()
        found = score(trained.from_mixture.mean(axis=1), floor, trained.ceiling)
        return InContextEvaluation(found, trained, held_out, lambda: self._baselines(config, on_device))

    def _baselines(self, config: FiltersConfig, task: MixtureTask) -> Baselines:
        """Runs of one task share them."""
        train = config.train
        counts = train.first_seed, train.validation_sequences, config.test_sequences
        key = config.task, config.model.patch, *counts
        if key not in self._beside:
            if len(self._beside) >= 64:  # a sweep meets its tasks one after the other: keep the last ones
                del self._beside[next(iter(self._beside))]
            self._beside[key] = in_context_baselines(task, *counts)
        return self._beside[key]

    def bounds(self, task: MixtureTask, own: Float[np.ndarray, "n S"] | None) -> tuple[ArrayLike, ArrayLike]:
        """Return the mean error of the filters that are told the system and the best constant's, exactly."""
        return task.told_floor, task.ceiling

    def measured(  # type: ignore[override]
        self, config: FiltersConfig, task: MixtureTask, found: InContextEvaluation
    ) -> list[Measured]:
        """Return the regret on the K systems, and the distance to the mixture on held-out ones, which is no regret."""
        one, out = found.score, found.held_out
        apart = out.from_mixture.mean(1)
        error = float(apart.std(ddof=1) / len(apart) ** 0.5)
        ahead = "one step ahead" if config.model.patch == 1 else "one patch ahead"
        return [
            Measured(ahead, *one.regret, one.floor, one.ceiling, one.floor),
            Measured("from the mixture, held out", float(apart.mean()), error, len(apart), 0.0, np.nan, out.floor),
        ]

    def by_position(self, found: InContextEvaluation) -> np.ndarray:  # type: ignore[override]
        """Return the mean distance to the mixture at every predicted step (squared units of y)."""
        return found.by_position

    def figures(self, found: InContextEvaluation, part: str) -> dict[str, Any]:  # type: ignore[override]
        """Return the score, what the run's loss is over others' on both lists of systems, and the same by step."""
        beside = found.baselines()
        (order, penalty), ridge = beside.ridge, beside.of_ridge
        lists = ("trained", found.trained, 0), ("held_out", found.held_out, 1)
        return {
            **told(found.score),
            **{name: compared_with(own) for name, own, _ in lists},
            "ridge": {"order": order, "penalty": penalty}
            | {name: _estimate(ridge[i].over_told) for name, _, i in lists},
            "ar_order": beside.order,
            "ar": {
                str(k): {name: _estimate(fitted[i].over_told) for name, _, i in lists}
                for k, fitted in beside.least_squares.items()
            },
            "by_step": {name: _by_step(own, ridge[i]) for name, own, i in lists},
            "own_system": found.trained.weight,
        }

    def record(self, found: InContextEvaluation) -> dict[str, Any]:  # type: ignore[override]
        """Return the score, and what the loss is over others' on trained and on held-out systems."""
        beside = found.baselines()
        figures = kept(found.score)
        for i, (name, own) in enumerate((("trained", found.trained), ("held_out", found.held_out))):
            figures[name] = {
                "headroom": own.headroom,
                "over_told": own.over_told().mean,
                "over_mixture": own.over_mixture().mean,
                "mixture_over_told": own.mixture_over_told().mean,
                "ridge_over_told": beside.of_ridge[i].over_told.mean,
                "ar_over_told": beside.least_squares[beside.order][i].over_told.mean,
            }
        return figures

    def results(self, training: Trained, found: Sequence[Any], part: str) -> dict[str, Any]:
        """Return how many systems and sequences stand behind the figures."""
        config = training.runs[0].config
        counts = {"systems": config.task.systems, "held_out": config.task.held_out}
        return counts | {"test_sequences": config.test_sequences}

    def table(self, training: Trained, results: Mapping[str, Any]) -> tuple[list[str], list[list[Any]], str]:
        """Return what the console shows of an evaluation."""
        return page.table(training, results)

    def story(self, training: Trained, results: Mapping[str, Any]) -> Story:
        """Return the page."""
        return page.story(training, results)


def compared_with(one: Compared) -> dict[str, Any]:
    """Return what a predictor's loss is over that of the told filters and of the mixture, in units of the former."""
    return {
        "headroom": one.headroom,
        "over_told": _estimate(one.over_told()),
        "over_mixture": _estimate(one.over_mixture()),
        "mixture_over_told": _estimate(one.mixture_over_told()),
    }


def _estimate(one: Estimate) -> dict[str, float]:
    return {"mean": one.mean, "standard_error": one.standard_error}


def _by_step(own: Compared, ridge: Regression) -> dict[str, Any]:
    curves = {"model": own.from_told, "mixture": own.mixture_from_told}
    return {name: found.mean(0) / own.floor_by_step for name, found in curves.items()} | {"ridge": ridge.by_step}


def _systems(config: FiltersConfig, which: int) -> Systems:
    count = config.task.systems if which == TRAINED else config.task.held_out
    return systems_of(config.task, config.train.first_seed, count or 1, which)


def _tables(task: FilterTaskConfig, count: int) -> int:
    """The bytes of the matrices, gains and covariances of so many filters."""
    n, m = task.latent_dim, task.observed_dim
    return 4 * count * (n * n + n * m + task.length * (n * m + 3 * m * m))


def _states(config: FiltersConfig) -> int:
    """The bytes of the states of all filters in the self-test's path, where every sequence of a batch is under way."""
    task = config.task
    return 3 * 4 * BATCH * (task.systems or 1) * (task.latent_dim + task.observed_dim)
