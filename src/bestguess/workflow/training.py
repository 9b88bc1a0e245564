"""A training in memory: its runs, their tasks, and what they have learnt. Built once, handed along."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from bestguess.command import UserError, load, note
from bestguess.config import Run, from_dict, runs, shape_key, task_key, to_dict, with_values
from bestguess.family import Family, Workings
from bestguess.files import read_json
from bestguess.report.charts import Chart, Line
from bestguess.report.progress import PartsProgress
from bestguess.report.story import MANY, Stat, self_test_stat, shade
from bestguess.report.trackers import METRICS_FILE, Trackers, figures, read_metrics
from bestguess.train import distributed
from bestguess.train.checkpoint import about_checkpoint, checkpoints
from bestguess.train.config import TrainConfig
from bestguess.train.fit import fit, load_fitted, resumed_steps
from bestguess.train.folder import CHECKPOINTS, CONFIG, hash_of_config, read_config
from bestguess.train.machine import free_memory
from bestguess.train.memory import gigabytes
from bestguess.train.problem import Member, Problem
from bestguess.workflow.evaluation import Evaluator, Evaluators
from bestguess.workflow.select import best_run, select

if TYPE_CHECKING:
    from rich.console import Console

SETTINGS = "settings"
"""The key of a part's file under which stands what it was evaluated with in place of config.yaml's values."""
NOT_LOGGED = ("stopped", "fault_step", "steps_taken", "ended")


@dataclass(frozen=True)
class Training:
    """Runs that train together in one folder."""

    family: Family
    folder: Path
    runs: Sequence[Run]
    tasks: Sequence[Any]
    """Of each run; runs of one task share the object."""
    problem: Problem
    members: Member
    evaluators: Evaluators = field(default_factory=Evaluators, repr=False)
    learnt: Any = None
    """What training came to, with a leading run axis: best weights and scores; None before."""

    @property
    def works(self) -> Workings:
        """The family's workings for these runs."""
        return self.family.works.of(self.runs[0].config)

    @property
    def config(self) -> TrainConfig:
        """How the runs are trained."""
        return self.runs[0].config.train

    @property
    def validation(self) -> list[float]:
        """Every run's best validation score: what selects."""
        return [float(one) for one in self.learnt.best_score]

    def model(self, i: int) -> Any:
        """Return the weights of run i's best validation."""
        return slice_of(self.learnt.best, i)

    def predictor(self, i: int) -> Any:
        """Return run i as a predictor."""
        return self.works.predictor(self.model(i), self.tasks[i])

    def evaluator(self, i: int) -> Evaluator:
        """Return the evaluator of run i's task; the first to ask for it waits for its self-test."""
        config = self.runs[i].config
        return self.evaluators.of(self.works, config, self.tasks[i], (self.family.name, self.works.evaluated(config)))

    def selected(self) -> dict[tuple, float]:
        """Return the learning rate of each setting, chosen on validation data."""
        return select(self.runs, self.validation)

    def shown(self, setting: tuple | None = None) -> int:
        """Return the run that pictures show, chosen on validation data: of a setting, or else of the first."""
        return best_run(self.runs, self.validation, self.runs[0].setting if setting is None else setting)

    def drawn(self) -> list[int]:
        """Return the runs that charts show: all, or of many those with the selected rates."""
        rates = self.selected()
        chosen = [i for i, run in enumerate(self.runs) if rates[run.setting] == run.learning_rate]
        return list(range(len(self.runs))) if len(self.runs) <= MANY else chosen[:MANY]

    def curves(self) -> list[list[dict[str, Any]]]:
        """Return every run's validation figures, by rising step; of a step that was taken twice, the last."""
        path, found = self.folder / METRICS_FILE, [dict[int, dict[str, Any]]() for _ in self.runs]
        for line in read_metrics(path):
            if not 0 <= line["run"] < len(found):
                raise UserError(
                    f"{path}: has a run {line['run']}, and config.yaml makes {len(found)}; train the run anew"
                )
            own = figures(line)
            if not isinstance(own.get("sequences"), int) or any(isinstance(one, dict | list) for one in own.values()):
                raise UserError(f"{path}: step {line['step']} of run {line['run']}: damaged; train the run anew")
            found[line["run"]][line["step"]] = own
        return [[own[step] for step in sorted(own)] for own in found]

    def stopped_steps(self) -> list[int | None]:
        """Return the step of the validation at which each run stopped before its time, early or by a fault.

        None where it did not, and where no curve was kept, as with a file of weights.
        """
        if not np.any(self.learnt.stopped) or not (self.folder / METRICS_FILE).exists():
            return [None] * len(self.runs)
        ends = [curve[-1]["step"] if curve else 0 for curve in self.curves()]
        return [end if stopped else None for end, stopped in zip(ends, self.learnt.stopped)]

    def curve_lines(
        self, measure: str, shown: Sequence[int], change: Callable[[np.ndarray], np.ndarray] = lambda values: values
    ) -> list[Line]:
        """Return a validation figure over training sequences, a line for each run that is shown."""
        curves = self.curves()
        return [
            Line(
                np.array([line["sequences"] for line in curves[i]], float),
                change(np.array([line.get(measure) for line in curves[i]], float)),
                name=self.runs[i].label(self.runs),
                shade=shade(i, shown),
            )
            for i in shown
        ]

    def learning_curve(self, measure: str, shown: Sequence[int]) -> Chart:
        """Return the chart of a validation figure over training sequences."""
        told, lines = measure.replace("_", " "), self.curve_lines(measure, shown)
        return Chart(f"Validation {told} while learning", "training sequences", told, lines, log_x=True)

    def headline(self, results: Mapping[str, Any]) -> list[Stat]:
        """Return the reported figure of the run that is shown, and the self-test."""
        i = self.shown()
        one, name = results["evaluation"]["runs"][i], self.family.reported
        told = f"{name.replace('_', ' ')}, {self.runs[i].label(self.runs)}"
        return [
            Stat(f"{one[name]:.5g}", told, "on test data; the run is chosen on validation data"),
            self_test_stat(results["evaluation"]["self_test"]),
        ]


def make_training(
    family: Family,
    folder: Path,
    configs: Sequence[Run],
    problem: Problem | None = None,
    evaluators: Evaluators | None = None,
) -> Training:
    """Return the training of runs of one shape in a folder, its tasks built once; nothing is trained yet.

    problem: instead of the family's own, where the runs learn otherwise.
    """
    made: dict[str, Any] = {}
    tasks = []
    refuse_sizes(family, configs)
    for run in configs:
        key = task_key(run.config)
        if key not in made:
            made[key] = family.works.of(run.config).task(run.config)
        tasks.append(made[key])
    own = [run.config for run in configs]
    works = family.works.of(own[0])
    members = Member(
        task=works.own(own, tasks),
        learning_rate=jnp.asarray([run.learning_rate for run in configs], jnp.float32),
        seed=jnp.asarray([run.seed for run in configs], jnp.int32),
    )
    if problem is None:
        problem = works.problem(own, tasks)
    return Training(family, folder, list(configs), tasks, problem, members, evaluators or Evaluators())


def refuse_sizes(family: Family, configs: Sequence[Run]) -> None:
    """Raise UserError where an array of a run is larger than the free memory; nothing is made, not even a task."""
    for config in {shape_key(run.config): run.config for run in configs}.values():
        for name, needed in family.works.of(config).sizes(config).items():
            if needed > (free := free_memory()):
                raise UserError(
                    f"{name}: needs at least {gigabytes(needed)}, and {gigabytes(free)} are free; give less"
                )


def read_training_config(family: Family, folder: Path) -> Any:
    """Return the config of the folder of a training; UserError where it is none of this family."""
    config = from_dict(load(family.config), read_config(folder, family.name), f"{folder}/config.yaml: ", complete=True)
    config.check()
    return config


def changed_settings(training: Training) -> dict[str, Any]:
    """Return what a training's runs are evaluated with in place of config.yaml's values, by dotted key."""
    if not (training.folder / CONFIG).exists():
        return {}
    kept = _flat(to_dict(runs(read_training_config(training.family, training.folder))[0].config))
    now = _flat(to_dict(training.runs[0].config))
    return {key: value for key, value in now.items() if key in kept and value != kept[key]}


def evaluated_config(family: Family, folder: Path, config: Any) -> Any:
    """Return the config with the settings that the results in the folder were evaluated with."""
    nested: dict[str, Any] = {}
    for part in family.works.of(config).parts:
        found = read_json(folder / f"{part}.json")
        given = found.get(SETTINGS) if isinstance(found, dict) else None
        for key, value in (given if isinstance(given, dict) else {}).items():
            room, dot, inner = key.rpartition(".")
            nested = nested | ({room: nested.get(room, {}) | {inner: value}} if dot else {key: value})
    return with_values(config, nested, f"{folder}: {SETTINGS}: ") if nested else config


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def load_training(family: Family, folder: Path, config: Any | None = None) -> Training:
    """Return the training that a folder holds, with what its runs have learnt; UserError where it has none.

    config: its own with other values of what is evaluated.
    """
    config = read_training_config(family, folder) if config is None else config
    training = make_training(family, folder, runs(config))
    learnt = load_fitted(
        training.problem, training.config, training.members, folder / CHECKPOINTS, hash_of_config(folder), note
    )
    return dataclasses.replace(training, learnt=learnt)


def fit_runs(
    training: Training,
    console: Console,
    trackers: Trackers,
    *,
    resumed: Sequence[int] | None = None,
    label: str = "training",
    each_chunk: Callable[[], None] = lambda: None,
    made_by: str = "",
) -> tuple[Training, dict[str, Any] | None]:
    """Train the runs, with a bar and metrics; return what they have learnt, and seconds and speed (None: no step).

    resumed: the step that each run goes on from. each_chunk: called after every chunk; it may raise to stop.
    made_by: the hash of the config, where the folder has no config.yaml that says it.
    """
    runs, config = training.runs, training.config
    say = lambda line: console.print(line, style="dim")  # noqa: E731
    faults: set[int] = set()
    shown = training.family.progress
    with PartsProgress(console, config.steps, len(runs), label, resumed or ()) as progress:

        def on_chunk(part: range, step: int, metrics: dict[str, np.ndarray]) -> None:
            each_chunk()
            for i, run in enumerate(part):
                if metrics["ended"][i]:
                    continue
                fault = int(metrics["fault_step"][i])
                if fault >= 0 and run not in faults:
                    faults.add(run)
                    say(f"{runs[run].label(runs)}: loss not finite at step {fault}; this run stops, others go on")
                elif metrics["stopped"][i]:
                    why = f"no improvement in {config.patience} validations"
                    say(f"{runs[run].label(runs)}: stopped early at step {step} of {config.steps}: {why}")
                values = {name: float(metrics[name][i]) for name in metrics if name not in NOT_LOGGED}
                trackers.log(step, run, {"sequences": step * config.batch_size, **values})
            if distributed.is_first():
                live = np.flatnonzero(~metrics["ended"])
                first = {name: float(metrics[name][live[0]]) for name in metrics}
                more = training.works.told(runs[part[live[0]]].config, first)
                progress.update(part, step, metrics["train_loss"][live], shown, metrics[shown][live], more)

        folder = training.folder / CHECKPOINTS
        made_by = made_by or hash_of_config(training.folder)
        fitted = fit(training.problem, config, training.members, folder, on_chunk=on_chunk, say=say, made_by=made_by)
    timing = None
    if fitted.run_steps:
        timing = {
            "seconds": fitted.seconds,
            "run_steps": fitted.run_steps,
            "run_steps_per_second": fitted.run_steps_per_second,
            "peak_bytes": fitted.peak_bytes,
            "device": device(),
        }
    return dataclasses.replace(training, learnt=fitted), timing


def resumed_at(training: Training, made_by: str = "") -> list[int]:
    """Return the step that each run goes on from, by the checkpoints in the folder; `made_by` as for `fit_runs`."""
    made_by = made_by or hash_of_config(training.folder)
    return resumed_steps(training.problem, training.config, training.members, training.folder / CHECKPOINTS, made_by)


def finished_at(folder: Path, count: int) -> int | None:
    """Return the last step of a training whose `count` runs are all done, by its checkpoints, without its task.

    None where a run is not done, or has no sound newest checkpoint of this folder's config.
    """
    plan = read_json(folder / CHECKPOINTS / "parts.json")
    width = plan.get("width") if isinstance(plan, dict) else None
    if not isinstance(width, int) or width < 1:
        return None
    steps = []
    for part in range(-(-count // width)):
        newest = checkpoints(folder / CHECKPOINTS / f"part-{part}")[-1:]
        about = about_checkpoint(newest[0]) if newest else None
        if about is None or not about["done"] or about.get("config_sha256") != hash_of_config(folder):
            return None
        steps.append(int(newest[0].stem.rpartition("-")[2]))
    return max(steps)


def slice_of(stacked: Any, index: int) -> Any:
    """Return one run's slice of a tree with a leading run axis, as JAX's arrays."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[index]), stacked)


def device() -> str:
    """Return what trains here, in words."""
    return f"{len(jax.devices())} × {jax.devices()[0].device_kind}"


def sequences_to(curve: Sequence[Mapping[str, Any]], measure: str, level: float) -> float | None:
    """Return after how many training sequences a validation figure first reached `level`; None if never.

    Interpolated between two validations, linearly in the logarithm of the sequences.
    """
    values = np.array([line.get(measure) for line in curve], float)
    sequences = np.array([line["sequences"] for line in curve], float)
    reached = np.flatnonzero(values >= level)
    if not len(reached):
        return None
    i = int(reached[0])
    if i == 0:
        return float(sequences[0])
    share = (level - values[i - 1]) / (values[i] - values[i - 1])
    return float(np.exp((1 - share) * np.log(sequences[i - 1]) + share * np.log(sequences[i])))


def levels_of(family: Family, curve: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the training sequences to each of the family's levels, as results name them."""
    return {
        f"sequences_to_{measure}_{level:g}": sequences_to(curve, measure, level)
        for measure, levels in family.levels.items()
        for level in levels
    }
