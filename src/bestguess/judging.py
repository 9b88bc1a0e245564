"""Judge anybody's predictor on a task whose oracle is known: `judge(open_task("filters"), predict)`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bestguess.command import UserError
from bestguess.config import nested, only_run, with_values
from bestguess.family import Family, Measured, Workings, load_family
from bestguess.report.charts import Chart, Line
from bestguess.report.progress import over_one, skill_text
from bestguess.report.story import Drawn, Section, Stat, Story, Words, self_test_stat
from bestguess.task import skill
from bestguess.workflow.evaluation import Evaluator
from bestguess.workflow.report import make_page


@dataclass(frozen=True)
class Subject:
    """A task of a family, opened to be predicted."""

    family: Family
    config: Any
    """Of one run."""

    @property
    def works(self) -> Workings:
        """The family's workings for this task."""
        return self.family.works.of(self.config)

    @functools.cached_property
    def task(self) -> Any:
        """The task itself: its `sample`, `oracle` and `constant`."""
        return jax.tree.map(jnp.asarray, self.works.task(self.config))

    @functools.cached_property
    def evaluator(self) -> Evaluator:
        """What judges predictors; the first use waits for the self-test."""
        return Evaluator(self.works, self.config, self.task)

    def sequences(self, count: int) -> np.ndarray:
        """Return sequences to train a predictor on, [count, T, …], in the form in which it is given them.

        None of them is a test sequence, nor, where rows of a table are held out, a held-out one.
        """
        return self.works.sequences(self.config, self.task, count)


@dataclass(frozen=True, eq=False)
class Judgement:
    """How far a predictor is from the best possible one, on test data."""

    measured: Measured
    """The mean regret, with floor and ceiling."""
    by_position: np.ndarray
    """The regret at each predicted position (the loss's own unit)."""
    subject: Subject

    @property
    def regret(self) -> float:
        """The mean regret (squared units, or nats)."""
        return self.measured.regret

    @property
    def standard_error(self) -> float:
        """Its standard error over sequences; 0 where it is an exact sum."""
        return self.measured.standard_error or 0.0

    @property
    def sequences(self) -> int:
        """How many sequences stand behind it."""
        return self.measured.sequences

    @property
    def normalised_loss(self) -> float:
        """1 + regret / floor (no unit): 1 is the best possible; infinite where the oracle never errs and this does."""
        regret, floor = self.measured.regret, self.measured.floor
        return 1 + regret / floor if floor > 0 else math.inf if regret > 0 else 1.0

    @property
    def skill(self) -> float:
        """The fraction of the headroom gained; NaN where a constant is as good as the oracle."""
        one = self.measured
        return float(skill(jnp.asarray(one.regret), jnp.asarray(one.floor), jnp.asarray(one.ceiling)))

    def page(self, path: str | Path) -> Path:
        """Write the judgement as one HTML file that opens offline; return its path."""
        one, positions = self.measured, np.arange(1, 1 + len(self.by_position))
        error = "exact" if one.standard_error is None else f"± {one.standard_error:.2g}, {one.sequences:,} sequences"
        stats = [
            Stat(f"{one.regret:.5g}", f"regret, {one.name}", error),
            Stat(over_one(self.normalised_loss), "normalised loss", "1 is the best possible"),
            Stat(skill_text(self.skill, 4), "skill", "1 is the oracle, 0 the best constant"),
            self_test_stat(self.subject.evaluator.missed),
        ]
        line = Line(positions, np.asarray(self.by_position, float), role="model")
        chart = Chart("Regret by position", "predicted position", "regret", [line])
        how = Words(
            "Regret compares the predictor with the oracle on the same test sequences. The predictor was asked twice "
            "for the same sequences, and again with the future changed: its predictions did not change."
        )
        title = f"A predictor of the task {self.subject.family.name}"
        lead = self.subject.family.title.rstrip(":") + "."
        sections = [Section("Where in the sequence", [Drawn("regret", chart)]), Section("How it was judged", [how])]
        return make_page(Story(title, lead, stats, sections)).write(path)


def open_task(family: str, *, seed: int = 0, **values: Any) -> Subject:
    """Return a task of a family, such as `open_task("filters", lambda_=0.97, seed=0)`, to be sampled and judged on.

    values: fields of the family's config, by name, and its choosers, such as preset="small"; where two rooms have a
    field, `room__field`. UserError names a value that is off.
    """
    declared = load_family(family)
    if not declared.workings:
        raise UserError(f"{family}: this family has no task to open; its commands are {', '.join(declared.commands)}")
    chosen = {name: values.pop(name) for name in list(values) if name in declared.choosers}
    base = declared.base(chosen)
    given = nested(base, {**values, "first_seed": seed})
    return Subject(declared, only_run(with_values(base, given)))


def judge(subject: Subject, predict: Callable[[np.ndarray], np.ndarray]) -> Judgement:
    """Return how far a predictor is from the best possible one, in the task's own loss.

    predict: any NumPy callable from sequences [n, T, …] to a prediction of every element of each from the elements
    before it, [n, T, …]: means for a squared loss, logits [n, T, classes] for a log loss. What it predicts of
    elements that nothing stands before does not count.

    Raises UserError where it sees the future: elements from several t on are changed, and its predictions up to t must
    stay. Raises Failure where the self-test fails: the oracle must score 0 on the same path.
    """
    if not callable(predict):
        raise UserError(f"predict: {type(predict).__name__} is not callable")
    found = subject.evaluator.outside(predict)
    return Judgement(subject.evaluator.measured(found)[0], subject.works.by_position(found), subject)
