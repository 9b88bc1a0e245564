"""A family of sequences: one frozen declaration, found by entry point, and the class of its workings.

The declaration imports nothing heavy, so that the command line answers at once; the workings are imported where
something is trained or judged. A family of another package is registered by one entry point of the group
`bestguess.families`, whose value names its declaration: `coins = "coins:FAMILY"`.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import importlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

from bestguess.command import Command, UserError, load, nearest
from bestguess.config import Run, only_run, to_dict, with_values

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import PyTree

    from bestguess.experiment.declare import Experiment
    from bestguess.report.charts import Chart, Line
    from bestguess.report.story import Stat, Story
    from bestguess.train.config import TrainConfig
    from bestguess.train.problem import Problem

GROUP = "bestguess.families"


@dataclass(frozen=True)
class Family:
    """One kind of sequences: what the rest of the package knows of it."""

    name: str
    """As on the command line and in `config.yaml`."""
    title: str
    """One line over its commands."""
    about: str = ""
    """What `train` does, for its help: a sentence, and more after an empty line."""
    config: str = ""
    """`module:name` of the config's dataclass, whose defaults are the default preset's. Imports nothing heavy."""
    workings: str = ""
    """`module:name` of its subclass of `Workings`; a family without workings trains nothing, it has commands alone."""
    reported: str = ""
    """The figure of a run that sweeps and experiments report, from test data; smaller is better."""
    progress: str = "score"
    """The validation figure that is shown while it trains."""
    validation: str = "validation_loss"
    """What results call a run's best validation score."""
    levels: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Validation figures, and the levels whose first reaching is counted in training sequences."""
    figures: tuple[str, ...] = ()
    """Other figures of a run's record, by dotted name, * for what the config names: a bayes sweep may optimise them."""
    bases: str | None = None
    """`module:name` of the configs that flags such as --preset start from, by the tuple of these flags' values."""
    choosers: Mapping[str, str] = field(default_factory=dict)
    """Those flags, with their help."""
    changed: str | None = None
    """`module:name` of a function that a sweep's values go through before they become a config."""
    evaluate_flags: str = "bestguess.workflow.flags:RunFlags"
    """The dataclass of `evaluate`'s flags: a field beside `run` replaces the config's of its name."""
    commands: Mapping[str, Command] = field(default_factory=dict)
    """Its own, by whole name, such as `filters rollout`; those that all families have are added."""
    repeats: tuple[str, ...] = ()
    """Dotted keys of a sweep, beside the seed, over which a setting is repeated: such as a seed of the task alone."""
    experiments: str | None = None
    """`module:name` of what the sweeps in experiments/ test, by the sweep's name."""

    @functools.cached_property
    def works(self) -> Workings:
        """The family's workings, imported at the first use."""
        return load(self.workings)(self)

    def every_command(self) -> dict[str, Command]:
        """Return all its commands by whole name: train, evaluate and report first."""
        room = "bestguess.workflow"
        shared = {
            word: Command(summary, f"{room}.flags:{word}_flags", f"{room}.commands:{word}", given_family=True)
            for word, summary in (
                ("train", "train a batch of runs, evaluate them and write a page"),
                ("evaluate", "measure the regret of every run on test data, after a self-test"),
                ("report", "rewrite the page and the figures"),
            )
        }
        trained = {f"{self.name} {word}": command for word, command in shared.items()} if self.workings else {}
        every = trained | dict(self.commands)
        return {name: dataclasses.replace(command, family=self) for name, command in every.items()}

    def configs(self) -> Mapping[tuple[str, ...], Any]:
        """Return the configs that flags start from, by the values of the choosers; () alone where there are none."""
        return load(self.bases) if self.bases else {(): load(self.config)()}

    def base(self, chosen: Mapping[str, Any] = {}) -> Any:
        """Return the config that the choosers' values name, `default` where one is not given; UserError for another."""
        configs = self.configs()
        place = []
        for i, chooser in enumerate(self.choosers):
            value = str(chosen.get(chooser, "default"))
            known = list(dict.fromkeys(one[i] for one in configs))
            if value not in known:
                raise UserError(f"{chooser}: no {chooser} {value!r}{nearest(value, known)} (known: {', '.join(known)})")
            place.append(value)
        return configs[tuple(place)]

    def single(self, values: Mapping[str, Any]) -> Any:
        """Return the checked config of one run from nested values, choosers among them; UserError names what is off."""
        if not self.workings:
            raise UserError(f"family: {self.name} trains nothing; its commands are {', '.join(self.commands)}")
        given = dict(values) if self.changed is None else load(self.changed)(values)
        chosen = {chooser: given.pop(chooser) for chooser in self.choosers if chooser in given}
        return only_run(with_values(self.base(chosen), given))

    def declared_experiments(self) -> Mapping[str, Experiment]:
        """Return the experiments that the family declares, by the name of the sweep."""
        return load(self.experiments) if self.experiments else {}


# ------------------------------------------------------------------------------------------ workings

C = TypeVar("C")
"""The config of a run."""
T = TypeVar("T")
"""The task."""
P = TypeVar("P")
"""A predictor: a trained model, the oracle, the best constant, or anybody's, asked in one way."""
E = TypeVar("E")
"""An evaluation: all figures of one predictor."""


class Measured(NamedTuple):
    """A regret with what it lies between: what the self-test checks, and what `judge` reports."""

    name: str
    """Such as `one step ahead`."""
    regret: float
    """In the loss's own unit."""
    standard_error: float | None
    """None: an exact sum, not a mean over sequences that were drawn."""
    sequences: int
    floor: float
    ceiling: float
    """The best constant's loss; NaN where it is not known of this figure."""
    unit: float
    """What an error of the evaluation is compared with: the floor of a squared loss, 1 nat of a log loss."""


@runtime_checkable
class Trained(Protocol):
    """What a family sees of its training when it tells of the results: `workflow.training.Training`."""

    @property
    def folder(self) -> Path:
        """Where it is kept."""

    @property
    def runs(self) -> Sequence[Run]:
        """Its runs."""

    @property
    def tasks(self) -> Sequence[Any]:
        """Every run's task."""

    @property
    def learnt(self) -> Any:
        """Best weights and best scores, with a leading run axis."""

    @property
    def config(self) -> TrainConfig:
        """How the runs were trained."""

    def model(self, i: int) -> Any:
        """Return the weights of run i's best validation."""

    def evaluator(self, i: int) -> Callable[[Any], Any]:
        """Return what judges predictors of run i's task."""

    def shown(self, setting: tuple | None = None) -> int:
        """Return the run that pictures show, chosen on validation data: of a setting, or else of the first."""

    def drawn(self) -> list[int]:
        """Return the runs that charts show."""

    def curves(self) -> list[list[dict[str, Any]]]:
        """Return every run's validation figures, by rising step."""

    def curve_lines(
        self, measure: str, shown: Sequence[int], change: Callable[[np.ndarray], np.ndarray] = ...
    ) -> list[Line]:
        """Return a validation figure over training sequences, a line for each run that is shown."""

    def learning_curve(self, measure: str, shown: Sequence[int]) -> Chart:
        """Return the chart of a validation figure over training sequences."""

    def headline(self, results: Mapping[str, Any]) -> list[Stat]:
        """Return the reported figure of the run that is shown, and the self-test."""


class Workings(abc.ABC, Generic[C, T, P, E]):
    """How a family is trained and judged. Configs here are those of single runs: one value for each axis.

    Figures come of `evaluate` alone, whatever predicts. Nobody calls it but `workflow.evaluation.Evaluator`, which
    has first sent the oracle and the best constant through it.
    """

    parts: tuple[str, ...] = ("evaluation",)
    """What an evaluation consists of; each has a file of its own, such as evaluation.json."""

    def __init__(self, family: Family):
        self.family = family

    def of(self, config: C) -> Workings:
        """Return the workings for a config, and for all of its shape: a family may have several kinds of tasks."""
        return self

    # Training.

    @abc.abstractmethod
    def task(self, config: C) -> T:
        """Return the run's task, on the host; runs that share an object share an evaluator."""

    @abc.abstractmethod
    def problem(self, configs: Sequence[C], tasks: Sequence[T]) -> Problem:
        """Return what trains these runs of one shape."""

    @abc.abstractmethod
    def own(self, configs: Sequence[C], tasks: Sequence[T]) -> PyTree:
        """Return what differs between the runs beside seed and rate, as arrays with a leading run axis."""

    def tokens(self, config: C) -> int | None:
        """Return how many tokens of one example the model sees; None where its config has no `d_model` and `layers`."""
        return None

    def sizes(self, config: C) -> Mapping[str, int]:
        """Return the bytes of a run's largest arrays, at the least, by the flag to blame; the task is not made yet."""
        return {}

    def notes(self, config: C) -> list[str]:
        """Return what is to be said before a training with this config."""
        return []

    def told(self, config: C, metrics: Mapping[str, float]) -> str:
        """Return what a run's validation figures come to in a few words, for the line of progress; "" for nothing."""
        return ""

    def check_new(self, config: C) -> None:
        """Raise a UserError where a training cannot begin that could be gone on with, before its folder is made."""

    def check_resume(self, folder: Path) -> None:
        """Raise a UserError where the training in `folder` cannot be resumed."""

    # Judging.

    def memory(self, config: C, task: T, problem: Problem, say: Callable[[str], None] = lambda line: None) -> int:
        """Return the bytes that judging a run will need at most, before it is trained, and say it; 0 if not known."""
        return 0

    @abc.abstractmethod
    def predictor(self, model: Any, task: T) -> P:
        """Return a model that was trained on the task as a predictor."""

    @abc.abstractmethod
    def oracle(self, config: C, task: T) -> P:
        """Return the best possible predictor; where the field has two ways to it, not the evaluation's own."""

    @abc.abstractmethod
    def constant(self, config: C, task: T) -> P:
        """Return the best predictor that ignores the past."""

    @abc.abstractmethod
    def outside(self, config: C, task: T, predict: Callable[[np.ndarray], np.ndarray]) -> P:
        """Return anybody's NumPy callable as a predictor: sequences [n, T, …] → means or logits [n, T, …]."""

    def predicted_size(self, config: C, task: T) -> tuple[int, ...]:
        """Return the shape of what `outside` predicts of one element, such as (classes,), where no oracle tells it."""
        return ()

    @abc.abstractmethod
    def sequences(self, config: C, task: T, count: int) -> np.ndarray:
        """Return sequences of the task, [count, T, …], as a callable of `outside` sees them; no test sequences."""

    def evaluated(self, config: C) -> str:
        """Return a text that is equal for configs whose predictors one evaluator judges: all but the training."""
        plain = to_dict(config)
        return json.dumps(plain | {"train": plain["train"]["first_seed"]}, sort_keys=True)

    @abc.abstractmethod
    def evaluate(
        self,
        config: C,
        task: T,
        predictor: P,
        parts: Sequence[str],
        sequences: int | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> E:
        """Return a predictor's figures; `sequences`: so many, if they are drawn. `say`: of what a long one needs."""

    @abc.abstractmethod
    def measured(self, config: C, task: T, found: E) -> list[Measured]:
        """Return the regrets of an evaluation, the headline first."""

    @abc.abstractmethod
    def by_position(self, found: E) -> np.ndarray:
        """Return the headline's regret at every predicted position."""

    # What is written.

    @abc.abstractmethod
    def figures(self, found: E, part: str) -> dict[str, Any]:
        """Return one run's figures of a part, as its file has them."""

    @abc.abstractmethod
    def record(self, found: E) -> dict[str, Any]:
        """Return one run's figures as a sweep's ledger keeps them; None does not apply, NaN is a fault."""

    def trained_record(self, training: Trained, i: int, curve: Sequence[Mapping[str, Any]], found: E) -> dict[str, Any]:
        """Return what training adds to run i's record: of its curve (by rising step), its notes and its evaluation."""
        return {}

    def reported(self, found: E) -> float:
        """Return the figure that sweeps and experiments report, of an evaluation with its first part."""
        return float(self.record(found)[self.family.reported])

    def results(self, training: Trained, found: Sequence[E], part: str) -> dict[str, Any]:
        """Return what a part's file holds beside the runs' figures and the self-test."""
        return {}

    def beside(self, training: Trained, i: int, part: str) -> dict[str, Any]:
        """Return what stands beside run i's figures of a part: baselines that learn from what it was trained on."""
        return {}

    def answer(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Return what --json prints of results by part: by default the first part's."""
        return dict(next(iter(results.values())))

    @abc.abstractmethod
    def table(self, training: Trained, results: Mapping[str, Any]) -> tuple[list[str], list[list[Any]], str]:
        """Return columns, rows and title of what the console shows of results, by part."""

    @abc.abstractmethod
    def story(self, training: Trained, results: Mapping[str, Any]) -> Story:
        """Return the page of a training from its results, by part."""


# ------------------------------------------------------------------------------------------ finding one


@functools.cache
def _entries() -> dict[str, str]:
    found = importlib.metadata.entry_points(group=GROUP)
    return {entry.name: entry.value for entry in sorted(found, key=lambda entry: entry.name)}


def families() -> list[Family]:
    """Return every registered family, by name; those that cannot be loaded are left to `unloadable`."""
    return [load_family(name) for name in _entries() if name not in unloadable()]


@functools.cache
def unloadable() -> dict[str, str]:
    """Return the registered families whose declaration cannot be imported, with the reason in one line."""
    # A package that is broken, or half removed, must not take the commands of all other families with it.
    found = {}
    for name in _entries():
        try:
            load_family(name)
        except Exception as error:
            found[name] = " ".join(f"{type(error).__name__}: {error}".split())
    return found


@functools.cache
def load_family(name: str) -> Family:
    """Return a family by its name, or by the dotted module that has its FAMILY; UserError if there is none."""
    known = _entries()
    path = known.get(name, name if "." in name else "")
    if not path:
        raise UserError(f"family: no family {name!r}{nearest(name, known)} (known: {', '.join(known)})")
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute or "FAMILY", None)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise UserError(f"family: no module {module} (is its folder on PYTHONPATH?)") from error
    except (ValueError, TypeError) as error:  # no name of a module, such as `a..b`
        raise UserError(f"family: {name}: cannot be imported ({error})") from error
    if not isinstance(found, Family):
        raise UserError(f"family: {module} has no {attribute or 'FAMILY'} that declares a family")
    return found
