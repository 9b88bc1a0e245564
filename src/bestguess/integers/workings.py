"""How the integers family is trained and judged: exact sums over the whole table of sequences."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from bestguess.command import UserError
from bestguess.config import to_dict
from bestguess.family import Measured, Trained, Workings
from bestguess.integers import page
from bestguess.integers.config import IntegersConfig, IntegerTaskConfig
from bestguess.integers.evaluate import (
    Scores,
    Verdict,
    family_scores,
    figures,
    judge,
    mean_scores,
    predictor,
    predictor_of_all,
)
from bestguess.integers.model.transformer import IntegerModel
from bestguess.integers.oracle.exact import Predictor, oracle_of
from bestguess.integers.problem import IntegerProblem, Setting, make_problem
from bestguess.integers.sequences.table import PARTS, Part
from bestguess.integers.task import IntegerTask
from bestguess.report.story import Story


@dataclass(frozen=True, eq=False)
class IntegerEvaluation:
    """One predictor's figures after every prefix of the table."""

    task: IntegerTask
    verdict: Verdict

    def scores(self, part: Part) -> Scores:
        """Return the means over a part's rows."""
        return mean_scores(self.task.exact, self.verdict, part)


class IntegerWorkings(Workings[IntegersConfig, IntegerTask, Predictor, IntegerEvaluation]):
    """The workings of the integers family. A predictor takes contexts [n, length], and returns logits [n, length, 256]
    of the term after each of their prefixes."""

    def task(self, config: IntegersConfig) -> IntegerTask:
        """Return the task; the same object for the same sequences."""
        return _task_of(config.task)

    def problem(self, configs: Sequence[IntegersConfig], tasks: Sequence[IntegerTask]) -> IntegerProblem:
        """Return what trains models of one shape on the table's rows."""
        return make_problem(configs[0], tasks[0].exact)

    def own(self, configs: Sequence[IntegersConfig], tasks: Sequence[IntegerTask]) -> Setting:
        """Return each run's α."""
        return Setting(jnp.asarray([config.objective.alpha[0] for config in configs], jnp.float32))

    def tokens(self, config: IntegersConfig) -> int:
        """Return the terms of a sequence."""
        return config.task.length

    def sizes(self, config: IntegersConfig) -> dict[str, int]:
        """Return the bytes of a micro-batch in the model, bfloat16 at the least, and of a validation's contexts."""
        train, length = config.train, config.task.length
        width = 2 * config.model.d_model
        return {
            f"--batch-size {train.batch_size}": train.batch_size // train.accumulate * length * width,
            f"--validation-sequences {train.validation_sequences}": train.validation_sequences * 4 * length,
        }

    def notes(self, config: IntegersConfig) -> list[str]:
        """Return a warning where the loss has no gradient."""
        if config.objective.loss == "distance" and config.objective.distance_by == "argmax":
            return ["the distance of the likeliest number has no gradient: this loss teaches nothing "
                    "(--distance-by expected)"]  # fmt: skip
        return []

    def told(self, config: IntegersConfig, metrics: Mapping[str, float]) -> str:
        """Return a random guess's objective, which the training loss stands beside."""
        return f"(random {metrics['random_objective']:.2f})"

    def check_resume(self, folder: Path) -> None:
        """Raise a UserError for a distilled model: its lesson is not kept."""
        if (folder / page.LESSON).exists():
            raise UserError(f"--resume {folder}: a distilled model; run bestguess integers distill again")

    def predictor(self, model: IntegerModel, task: IntegerTask) -> Predictor:
        """Return a model's logits."""
        return predictor(model)

    def oracle(self, config: IntegersConfig, task: IntegerTask) -> Predictor:
        """Return the exact predictor as NumPy looks it up; the evaluation's reference walks a tree on the device."""
        return task.exact.logits

    def constant(self, config: IntegersConfig, task: IntegerTask) -> Predictor:
        """Return the frequencies of the values by position, whatever the terms."""
        log_p = np.asarray(task.constants)[task.predicted]
        return lambda contexts: np.broadcast_to(log_p, (len(contexts), *log_p.shape))

    def outside(
        self, config: IntegersConfig, task: IntegerTask, predict: Callable[[np.ndarray], np.ndarray]
    ) -> Predictor:
        """Return anybody's callable: terms [n, length + 1] → logits of each term from those before it, [.., 256]."""

        def logits(contexts: np.ndarray) -> np.ndarray:
            terms = np.pad(np.asarray(contexts, np.int64), ((0, 0), (0, 1)))  # the last is predicted, never seen
            return np.asarray(predict(terms), np.float32)[:, task.predicted]

        return logits

    def sequences(self, config: IntegersConfig, task: IntegerTask, count: int) -> np.ndarray:
        """Return full rows drawn from the training rows by their probability, so none of them is held out."""
        table = task.exact.table
        usable = table.part("seen") & (table.lengths == table.rows.shape[1])
        weights = task.exact.weights * usable
        drawn = np.random.default_rng(config.train.first_seed).choice(len(weights), count, p=weights / weights.sum())
        return table.rows[drawn].astype(np.int64)

    def evaluated(self, config: IntegersConfig) -> str:
        """Return the sequences' config: neither the model nor the objective changes what is evaluated, or how."""
        return json.dumps(to_dict(config.task), sort_keys=True)

    def evaluate(
        self,
        config: IntegersConfig,
        task: IntegerTask,
        predictor: Predictor,
        parts: Sequence[str],
        sequences: int | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> IntegerEvaluation:
        """Return regret, accuracy and distance after every prefix; nothing is drawn, whatever `sequences` asks for."""
        return IntegerEvaluation(task, judge(task, predictor))

    def measured(self, config: IntegersConfig, task: IntegerTask, found: IntegerEvaluation) -> list[Measured]:
        """Return the regret and the accuracy lost after 1, 2, … terms, on each part of the table that has rows."""
        log_p, rows = np.asarray(task.constants, np.float64)[task.predicted], len(task.exact.table.rows)
        rest: list[Measured] = []
        for part in ("held-out", "seen", "all"):
            scores, ceiling = found.scores(part), task.exact.constant_losses(log_p, part)
            for j in reversed(range(len(ceiling))):
                if not np.isfinite(scores.floor[j]):
                    continue
                name = f"after {j + 1} terms, {part} rows"
                regret, floor = float(scores.regret[j]), float(scores.floor[j])
                rest.append(Measured(name, regret, None, rows, floor, float(ceiling[j]), 1.0))
                lost = float(scores.ceiling[j] - scores.accuracy[j])
                rest.append(Measured(f"accuracy {name}", lost, None, rows, 0.0, np.nan, 1.0))
        return rest

    def by_position(self, found: IntegerEvaluation) -> np.ndarray:
        """Return the regret after 1, 2, … terms on rows held out of training (nats)."""
        return found.scores("held-out").regret

    def figures(self, found: IntegerEvaluation, part: str) -> dict[str, Any]:
        """Return the figures by part of the table: all rows, those that training drew from, those held out of it."""
        by_family = family_scores(found.task.exact, found.verdict, "held-out")
        return {
            **{part.replace("-", "_"): figures(found.scores(part)) for part in PARTS},
            "held_out_by_family": [dataclasses.asdict(one) for one in by_family],
        }

    def record(self, found: IntegerEvaluation) -> dict[str, Any]:
        """Return regret, accuracy and distance at full context on held-out rows, and by position.

        Beside them the same of seen rows, and of the validation rows where there are some: those are to choose by.
        """
        others: tuple[Part, ...] = ("seen", "validation") if found.task.exact.table.validation.any() else ("seen",)
        of = {part: figures(found.scores(part)) for part in ("held-out", *others)}
        each = {
            part: one["full_context"] | {"mean": one["mean"], "whole_sequence": one["whole_sequence"]}
            for part, one in of.items()
        }
        columns = of["held-out"]["by_position"]
        by_position = [dict(zip(columns, row)) for row in zip(*columns.values())]
        return {
            **each.pop("held-out"),
            **each,
            "by_position": {str(j): row for j, row in enumerate(by_position, start=1)},
        }

    def results(self, training: Trained, found: Sequence[IntegerEvaluation], part: str) -> dict[str, Any]:
        """Return the figures of the runs' mean prediction (None: fewer than two have a finite score), and the rows."""
        sound, together = sound_runs(training.learnt), None
        if len(sound) > 1:
            both = training.evaluator(0)(predictor_of_all([training.model(i) for i in sound]))
            together = {"runs": sound, **self.figures(both, part)}
        return {"together": together, "rows": len(training.tasks[0].exact.table.rows)}

    def table(self, training: Trained, results: Mapping[str, Any]) -> tuple[list[str], list[list[Any]], str]:
        """Return what the console shows of an evaluation."""
        return page.table(training, results["evaluation"])

    def story(self, training: Trained, results: Mapping[str, Any]) -> Story:
        """Return the page."""
        return page.story(training, results["evaluation"])


@functools.lru_cache(maxsize=8)
def _task_of(config: IntegerTaskConfig) -> IntegerTask:
    return IntegerTask(oracle_of(config))


def sound_runs(learnt: Any) -> list[int]:
    """Return the runs that have a finite validation score."""
    return np.flatnonzero(np.isfinite(learnt.best_score)).tolist()
