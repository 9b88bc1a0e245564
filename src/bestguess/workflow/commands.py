"""The commands that every family has: train, evaluate, report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bestguess.command import Failure, UserError, interrupted_with
from bestguess.config import RATE, SEED, runs, to_dict
from bestguess.family import Family, Workings
from bestguess.files import check_writable, lock, plain, read_json, sealed, unsealed, write_json
from bestguess.report.progress import results_table
from bestguess.report.trackers import METRICS_FILE, open_trackers
from bestguess.train.cores import hours_on, product_of, use_cores
from bestguess.train.fit import has_begun, refuse_oversized
from bestguess.train.folder import (
    CHECKPOINTS,
    PAGE,
    TRAINING,
    hash_of_config,
    new_folder,
    on_disk,
    read_timing,
    write_config,
)
from bestguess.train.machine import usable_cores
from bestguess.workflow.flags import refuse_idle
from bestguess.workflow.report import write_report
from bestguess.workflow.training import (
    SETTINGS,
    Training,
    changed_settings,
    evaluated_config,
    finished_at,
    fit_runs,
    levels_of,
    load_training,
    make_training,
    read_training_config,
    refuse_sizes,
    resumed_at,
)

if TYPE_CHECKING:
    from rich.console import Console


def train(family: Family, flags: Any, console: Console) -> dict[str, Any]:
    """Train every run of a config, evaluate it, write the page; return each run's figures."""
    began = time.perf_counter()
    if flags.resume is not None:
        family.works.check_resume(flags.resume)
        config = read_training_config(family, flags.resume)
        if (done := finished(family, flags.resume, config, console)) is not None:
            return done
    else:
        config = flags.config()
        config.check()
        refuse_idle(config, flags.base())
        for line in flags.told(config):
            console.print(line, style="dim")
    training, results, page = train_config(family, config, console, flags.out, flags.resume, flags.track)
    print_results(training, results, console)
    console.print(f"page: {page}", soft_wrap=True)
    timing = read_timing(training.folder)
    about = {"training": timing, "run": training.folder, "report": page, "seconds": time.perf_counter() - began}
    return plain(training.works.answer(results) | about)


def finished(family: Family, folder: Path, config: Any, console: Console) -> dict[str, Any] | None:
    """Return what --json prints of a folder that lacks nothing, and say so; None where there is something to do.

    That is a step or a run, an evaluation or the page, or one of them is not sound: resuming it then tells.
    """
    works = family.works.of(config)
    try:
        timing, step = read_timing(folder), finished_at(folder, len(runs(config)))
        results = {part: read_results(folder, part) for part in works.parts}
    except UserError:
        return None
    if timing is None or step is None or None in results.values() or not (folder / PAGE).is_file():
        return None
    again = f"bestguess {family.name} evaluate {folder} measures it again"
    console.print(f"step {step:,}: already trained and evaluated; {again}", soft_wrap=True)
    console.print(f"page: {folder / PAGE}", soft_wrap=True)
    about = {"training": timing, "run": folder, "report": folder / PAGE, "seconds": 0.0}
    return plain(works.answer(results) | about)


def train_config(
    family: Family,
    config: Any,
    console: Console,
    out: Path | None = None,
    resume: Path | None = None,
    track: tuple[str, ...] = (),
) -> tuple[Training, dict[str, Any], Path]:
    """Train a config's runs in a new folder, or go on in one; return them, their results by part, and the page."""
    if resume is not None:  # what was evaluated since with other settings is not evaluated with the old ones again
        config = evaluated_config(family, resume, config)
    every = runs(config)
    refuse_sizes(family, every)
    works = family.works.of(config)
    use_cores(product_of(config, works.tokens(config)), len(every))
    # A task that cannot be made, or a model that no device can hold, is told before a folder is made.
    if resume is None or not has_begun(resume / CHECKPOINTS):
        works.check_new(config)
    training = make_training(family, Path() if resume is None else resume, every)
    refuse_oversized(training.problem, training.config, training.members)
    folder = new_folder(family.name, out) if resume is None else resume
    training = dataclasses.replace(training, folder=folder)
    with lock(folder), interrupted_with(lambda: on_disk(folder)):
        if resume is None:
            write_config(folder, family.name, to_dict(config))
        training = fit_in_folder(training, config, console, track, resume=resume is not None)
        results = evaluate_training(training, console)
        return training, results, write_report(training, results)


def fit_in_folder(
    training: Training, config: Any, console: Console, track: tuple[str, ...], *, resume: bool
) -> Training:
    """Train the runs of a folder's config and return them; Failure where none has a finite validation loss."""
    folder, every = training.folder, training.runs
    for note in [*training.works.notes(config), *_long(training.works, config, len(every))]:
        console.print(note, style="dim")
    # Before any step: what comes after the training must not be what it fails for.
    say = lambda line: console.print(line, style="dim")  # noqa: E731
    training.works.memory(training.runs[0].config, training.tasks[0], training.problem, say)
    resumed = resumed_at(training) if resume else None
    own = [dict(run.values) for run in every]
    with open_trackers(track, folder, to_dict(config), own, resumed) as trackers:
        training, timing = fit_runs(training, console, trackers, resumed=resumed)
        learnt = training.learnt
        trackers.finish(
            [
                {"best_score": float(learnt.best_score[i]), "best_step": int(learnt.best_step[i])}
                for i in range(len(every))
            ]
        )
    if timing is not None:
        write_json(folder / TRAINING, timing)
        count = f"{len(every)} run{'s' * (len(every) > 1)}"
        console.print(
            f"trained {count} in {timing['seconds']:.1f} s: {timing['run_steps_per_second']:,.1f} run-steps/s",
            style="dim",
        )
    if not np.isfinite(learnt.best_score).any():
        raise Failure(f"no run had a finite validation loss; lower --learning-rate ({folder} keeps the figures)")
    return training


def _long(works: Workings, config: Any, count: int) -> list[str]:
    """Return a line where a CPU will take more than an hour: its first sign of life may be minutes away."""
    import jax

    product = product_of(config, works.tokens(config))
    if jax.default_backend() != "cpu" or product is None:
        return []
    cores, steps = usable_cores(), config.train.steps * config.train.accumulate * count
    hours = hours_on(cores, product, config.model.layers, steps)
    if hours < 1:
        return []
    return [
        f"roughly {hours:,.0f} hours on {cores} core{'s' * (cores > 1)}: a size for a GPU; on a CPU choose a smaller "
        "--preset, or fewer --steps"
    ]


def evaluate(family: Family, flags: Any, console: Console) -> dict[str, Any]:
    """Evaluate every run of a folder, after the self-test; return the figures."""
    config = overridden(read_training_config(family, flags.run), flags)
    training = load_training(family, flags.run, config)
    results = evaluate_training(training, console, training.works.parts[:1])
    print_results(training, results, console)
    return plain(training.works.answer(results))


def overridden(config: Any, flags: Any, check: bool = True) -> Any:
    """Return the config with what the flags beside `run` say in place of its own values."""
    given = {
        one.name: getattr(flags, one.name)
        for one in dataclasses.fields(flags)
        if one.name != "run" and getattr(flags, one.name) is not None
    }
    changed = dataclasses.replace(config, **given)
    if check:
        changed.check()
    return changed


def evaluate_training(
    training: Training, console: Console, parts: Sequence[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Return the figures of every run by part, each part also as a file of the folder; the self-test first."""
    parts = parts or training.works.parts
    every = range(len(training.runs))
    for part in parts:  # before minutes of evaluation
        check_writable(training.folder / f"{part}.json")
    with console.status("self-test"):
        missed = max(training.evaluator(i).missed for i in every)
    console.print(f"self-test: the oracle has a regret of 0 within {missed:.0g} on this very path", style="dim")
    say = lambda line: console.print(line, style="dim")  # noqa: E731
    with console.status("evaluating"):
        found = [
            training.evaluator(i)(training.predictor(i), parts, say if i == 0 else lambda line: None) for i in every
        ]
    results, about, changed = {}, about_runs(training), changed_settings(training)
    for part in parts:
        entries = [
            said | training.works.figures(one, part) | training.works.beside(training, i, part)
            for i, (said, one) in enumerate(zip(about, found))
        ]
        whole: dict[str, Any] = {"runs": entries, "self_test": missed} | ({SETTINGS: changed} if changed else {})
        if part == training.works.parts[0]:
            if training.family.levels:
                curves = training.curves()
                whole["runs"] = [one | levels_of(training.family, curve) for one, curve in zip(entries, curves)]
            whole["best"] = best_settings(training, [training.works.reported(one) for one in found])
        results[part] = plain(whole | training.works.results(training, found, part))
        made_by = hash_of_config(training.folder)
        of_config = {"config_sha256": made_by} if made_by else {}
        write_json(training.folder / f"{part}.json", sealed(results[part] | of_config))
    return results


def about_runs(training: Training) -> list[dict[str, Any]]:
    """Return what each run's entry in results has beside its figures: what sets it apart, and how it was selected."""
    rates, learnt, ends = training.selected(), training.learnt, training.stopped_steps()
    faults = [int(step) for step in learnt.fault_step]
    return [
        {
            "run": i,
            **run.values,
            "selected": rates[run.setting] == run.learning_rate,
            training.family.validation: float(learnt.best_score[i]),
            "best_step": int(learnt.best_step[i]),
            "fault_step": faults[i] if faults[i] >= 0 else None,
            "stopped_step": ends[i],
        }
        for i, run in enumerate(training.runs)
    ]


def best_settings(training: Training, reported: Sequence[float]) -> list[dict[str, Any]]:
    """Return the reported figure of each setting at its selected learning rate: mean and error over seeds."""
    found = []
    for setting, rate in training.selected().items():
        own = [i for i, run in enumerate(training.runs) if (run.setting, run.learning_rate) == (setting, rate)]
        figures = np.array([reported[i] for i in own], float)
        values = training.runs[own[0]].values
        found.append(
            {key: value for key, value in values.items() if key not in (SEED, RATE)}
            | {
                RATE: rate,
                training.family.reported: figures.mean(),
                "standard_error_over_seeds": figures.std(ddof=1) / len(own) ** 0.5 if len(own) > 1 else None,
                "seeds": len(own),
            }
        )
    return found


def print_results(training: Training, results: Mapping[str, Any], console: Console) -> None:
    """Print the family's table of results."""
    console.print(results_table(*training.works.table(training, results)))


def read_results(folder: Path, part: str) -> Any:
    """Return the figures of a part of an evaluation, None where there are none; UserError where they are not sound.

    Also where config.yaml was changed since in what the weights are of: an evaluation may have had other sequences.
    """
    path = folder / f"{part}.json"
    fix = "; run the evaluation again"
    found = unsealed(read_json(path), path, fix)
    if found is not None and not isinstance(found, dict):
        raise UserError(f"{path}: expected the figures of an evaluation, found a {type(found).__name__}{fix}")
    if found is not None and found.pop("config_sha256", (now := hash_of_config(folder))) != now:
        raise UserError(f"{path}: is of another config than {folder}/config.yaml{fix}")
    return found


def report(family: Family, flags: Any, console: Console) -> dict[str, Any]:
    """Write a folder's page and figures from what training and evaluation left in it; return the page's path."""
    config = read_training_config(family, flags.run)
    results = {part: read_results(flags.run, part) for part in family.works.of(config).parts}
    for i, (part, found) in enumerate(results.items()):
        if found is None:
            command = "evaluate" if i == 0 else part
            raise UserError(
                f"{flags.run}: has no {part}.json yet; run bestguess {family.name} {command} {flags.run} first"
            )
    training = load_training(family, flags.run, evaluated_config(family, flags.run, config))
    try:
        page = write_report(training, results)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        names = ", ".join((*(f"{part}.json" for part in results), METRICS_FILE))
        raise UserError(
            f"{flags.run}: one of {names} is not what the page is made of ({type(error).__name__}: {error}); run "
            f"bestguess {family.name} evaluate {flags.run} again"
        ) from error
    console.print(f"page: {page}", soft_wrap=True)
    return plain({"report": page})
