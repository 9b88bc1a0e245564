"""How the filters family is trained and judged: the distance to the Kalman filter, one step ahead and in rollouts."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from bestguess.family import Measured, Trained, Workings
from bestguess.filters import page, tables_page
from bestguess.filters.baselines import BoundedMemory, bounded_memory, fitted_ar, rolled_out
from bestguess.filters.config import FiltersConfig
from bestguess.filters.evaluate import Rollouts, evaluate_rollouts, judged_at_once, rollout_memory
from bestguess.filters.exact import constant_forecaster, exact_forecaster
from bestguess.filters.forecaster import Forecaster
from bestguess.filters.in_context.workings import InContextWorkings
from bestguess.filters.predictor import FilterPredictor, kept, told
from bestguess.filters.problem import FilterProblem
from bestguess.filters.systems import system_of
from bestguess.filters.task import FilterTask
from bestguess.report.story import Story
from bestguess.sampled import BATCH, Evaluation, Sampled, Score
from bestguess.task import Predictor
from bestguess.train.problem import Problem, Purpose, member_key
from bestguess.workflow.training import sequences_to


@dataclass(frozen=True)
class FilterEvaluation:
    """One predictor's figures; a part that was not asked for is None."""

    one_step: Evaluation | None
    """One step (one patch) ahead."""
    rollouts: Rollouts | None
    seconds: float
    """Of the rollouts."""
    floor_by_step: Float[np.ndarray, " S"]
    """E‖y_t − ŷ*_t‖² of each predicted step t = P+1..T (squared units of y)."""
    bounded: BoundedMemory
    """The best AR(k) of the same system."""
    spectral_radius: float
    """Of the system's A: λ where λ is attained."""


class FilterWorkings(Sampled[FiltersConfig, FilterTask]):
    """The workings of the filters family."""

    parts = ("evaluation", "rollouts")

    def of(self, config: FiltersConfig) -> Workings:
        """Return the workings for one system, or for unknown ones."""
        return self if config.task.systems is None else self._in_context

    @functools.cached_property
    def _in_context(self) -> InContextWorkings:
        return InContextWorkings(self.family)

    def task(self, config: FiltersConfig) -> FilterTask:
        """Return the task of the run's system, its Cholesky factor computed now."""
        system = system_of(config.task, config.train.first_seed)
        return jax.tree.map(np.asarray, FilterTask(system, config.task.length, config.model.patch))

    def tokens(self, config: FiltersConfig) -> int:
        """Return the patches of a sequence."""
        return config.task.length // config.model.patch

    def sizes(self, config: FiltersConfig) -> dict[str, int]:
        """Return the bytes of the system, of the factor, and of what a step, a validation and an evaluation draw."""
        task, train = config.task, config.train
        sequence = 4 * task.length * task.observed_dim
        tokens = 2 * (task.length // config.model.patch) * config.model.d_model
        return {
            f"--latent-dim {task.latent_dim}": 4 * 8 * task.latent_dim**2,
            f"--length {task.length}": 2 * 8 * (task.length * task.observed_dim) ** 2,
            f"--batch-size {train.batch_size}": train.batch_size // train.accumulate * (sequence + tokens),
            f"--validation-sequences {train.validation_sequences}": train.validation_sequences * sequence,
            f"--test-sequences {config.test_sequences}": config.test_sequences * 8 * task.length,
            f"--rollouts {config.rollout.rollouts}": config.rollout.rollouts * 16,
        }

    def problem(self, configs: Sequence[FiltersConfig], tasks: Sequence[FilterTask]) -> FilterProblem:
        """Return what trains forecasters of one shape."""
        return FilterProblem(configs[0].model)

    def memory(
        self,
        config: FiltersConfig,
        task: FilterTask,
        problem: Problem,
        say: Callable[[str], None] = lambda line: None,
    ) -> int:
        """Return the bytes of the evaluation or of the rollouts, whichever needs more.

        Both come after the training; their programs are compiled now, and kept.
        """
        seed = jnp.asarray(config.train.first_seed)
        model = jax.eval_shape(problem.init, task, member_key(seed, Purpose.INIT))
        _, one_step = judged_at_once(model, task.shape, min(BATCH, config.test_sequences), say)
        return max(one_step, rollout_memory(config.rollout, config.train.first_seed, model, task, say))

    def at_once(
        self, task: FilterTask, predictor: Predictor, most: int, say: Callable[[str], None] = lambda line: None
    ) -> int:
        """Return how many sequences are judged at once: fewer than `most` where a forecaster's memory is short."""
        if not isinstance(predictor, FilterPredictor):
            return most
        return judged_at_once(predictor.forecaster, task.shape, most, say)[0]

    def predictor(self, model: Forecaster, task: FilterTask) -> FilterPredictor:
        """Return a trained forecaster as a predictor."""
        return FilterPredictor(model)

    def oracle(self, config: FiltersConfig, task: FilterTask) -> FilterPredictor:
        """Return the exact filter, by its recursion: the evaluation's reference cuts a Cholesky factor instead."""
        return FilterPredictor(self._in_place(exact_forecaster, config, task))

    def constant(self, config: FiltersConfig, task: FilterTask) -> FilterPredictor:
        """Return the prediction 0, by the very path of a model."""
        return FilterPredictor(self._in_place(constant_forecaster, config, task))

    def _in_place(self, make: Callable[..., Forecaster], config: FiltersConfig, task: FilterTask) -> Forecaster:
        system = system_of(config.task, config.train.first_seed)
        return make(config.model, system, jnp.asarray(task.scale), config.task.length)

    def evaluate(  # type: ignore[override]
        self,
        config: FiltersConfig,
        task: FilterTask,
        predictor: Predictor,
        parts: Sequence[str],
        sequences: int | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> FilterEvaluation:
        """Return the distance to the filter on test sequences of the run's seed, and in rollouts by horizon."""
        one_step = rollouts = None
        if "evaluation" in parts:
            one_step = super().evaluate(config, task, predictor, parts, sequences, say)
        began = time.perf_counter()
        if "rollouts" in parts:
            assert isinstance(predictor, FilterPredictor)
            rolled = dataclasses.replace(config.rollout, rollouts=sequences or config.rollout.rollouts)
            rollouts = evaluate_rollouts(rolled, config.train.first_seed, predictor.forecaster, task, say)
        floor = np.asarray(task.floor_by_step[task.predicted], np.float64)
        seconds = time.perf_counter() - began
        bounded = bounded_memory(config.task, config.train.first_seed, config.model.patch)
        radius = system_of(config.task, config.train.first_seed).spectral_radius
        return FilterEvaluation(one_step, rollouts, seconds, floor, bounded, radius)

    def bounds(self, task: FilterTask, own: Float[np.ndarray, "n S"] | None) -> tuple[ArrayLike, ArrayLike]:
        """Return the filter's expected squared error and the best constant's, exactly."""
        return task.floor, task.ceiling

    def measured(  # type: ignore[override]
        self, config: FiltersConfig, task: FilterTask, found: FilterEvaluation
    ) -> list[Measured]:
        """Return the regret one step ahead, and at every horizon."""
        rows: list[tuple[str, Score]] = []
        if found.one_step is not None:
            rows.append(("one step ahead" if config.model.patch == 1 else "one patch ahead", found.one_step.score))
        if found.rollouts is not None:
            rows += [(f"t+{h}", one) for h, one in zip(found.rollouts.horizons, found.rollouts.scores)]
        return [Measured(name, *one.regret, one.floor, one.ceiling, one.floor) for name, one in rows]

    def by_position(self, found: FilterEvaluation) -> np.ndarray:  # type: ignore[override]
        """Return the mean distance at every predicted step (squared units of y)."""
        assert found.one_step is not None
        return found.one_step.by_position

    def figures(self, found: FilterEvaluation, part: str) -> dict[str, Any]:  # type: ignore[override]
        """Return the score and the regret by step, or the scores by horizon."""
        if part == "rollouts":
            assert found.rollouts is not None
            return {"horizons": {str(h): told(one) for h, one in zip(found.rollouts.horizons, found.rollouts.scores)}}
        assert found.one_step is not None
        by_step = found.one_step.by_position / found.floor_by_step
        bounded = found.bounded
        return {
            **told(found.one_step.score),
            "spectral_radius": found.spectral_radius,
            "equivalent_memory": bounded.equivalent(found.one_step.score.loss.mean),
            "ar": {str(k): bounded.invariant[k] for k in bounded.orders},
            "ar_time_varying": {str(k): bounded.varying[k] for k in bounded.orders},
            "regret_by_step": by_step,
        }

    def beside(self, training: Trained, i: int, part: str) -> dict[str, Any]:
        """Return AR(k) fitted by least squares on the sequences of the run, up to the weights that are reported."""
        config = training.runs[i].config
        fitted = fitted_ar(config, max(1, int(training.learnt.best_step[i])))
        if part == "rollouts":
            return {"ar_fitted": {str(h): one for h, one in rolled_out(config, fitted, config.rollout).items()}}
        bounded = bounded_memory(config.task, config.train.first_seed, config.model.patch)
        return {
            "ar_fitted": {
                "sequences": fitted.sequences,
                "excess": {str(k): one for k, one in fitted.excess.items()},
                "selected": fitted.chosen,
                "equivalent_memory": bounded.equivalent(1 + fitted.excess[fitted.chosen]),
            }
        }

    def record(self, found: FilterEvaluation) -> dict[str, Any]:  # type: ignore[override]
        """Return the score one step ahead, and by horizon where there are rollouts."""
        assert found.one_step is not None
        figures = kept(found.one_step.score) | {"spectral_radius": found.spectral_radius}
        figures["equivalent_memory"] = found.bounded.equivalent(found.one_step.score.loss.mean)
        if found.rollouts is None:
            return figures
        return figures | {
            "rollout": {str(h): kept(one) for h, one in zip(found.rollouts.horizons, found.rollouts.scores)}
        }

    def trained_record(
        self, training: Trained, i: int, curve: Sequence[Mapping[str, Any]], found: Any
    ) -> dict[str, Any]:
        """Return the training sequences to an excess of 0.1 %: speed on a scale that knows no headroom."""
        digits = [{**line, "digits": -np.log10(max(line["normalised_loss"] - 1, 1e-12))} for line in curve]
        return {"sequences_to_excess_0.001": sequences_to(digits, "digits", 3.0)}

    def results(self, training: Trained, found: Sequence[Any], part: str) -> dict[str, Any]:
        """Return how many sequences or rollouts stand behind the figures."""
        config = training.runs[0].config
        if part == "evaluation":
            return {"test_sequences": config.test_sequences}
        return {
            "context": config.rollout.context,
            "rollouts": config.rollout.rollouts,
            "seconds_by_run": [one.seconds for one in found],
        }

    def answer(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Return the one-step figures, each run's with its rollouts."""
        whole = super().answer(results)
        if "rollouts" in results and "evaluation" in results:
            rolled = results["rollouts"]["runs"]
            whole["runs"] = [one | {"rollout": more["horizons"]} for one, more in zip(whole["runs"], rolled)]
        return whole

    def table(self, training: Trained, results: Mapping[str, Any]) -> tuple[list[str], list[list[Any]], str]:
        """Return what the console shows of an evaluation."""
        return tables_page.table(training, results)

    def story(self, training: Trained, results: Mapping[str, Any]) -> Story:
        """Return the page."""
        return page.story(training, results)
