"""`filters evaluate`, and with --length or --lambda: how far from the filter a run is beyond what it was trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bestguess.command import UserError
from bestguess.config import Run
from bestguess.config import runs as list_runs
from bestguess.files import check_writable, plain, write_json
from bestguess.filters import memory_page
from bestguess.filters.baselines import BoundedMemory, bounded_memory, fitted_ar
from bestguess.filters.family import FAMILY
from bestguess.filters.flags import EvaluateFlags, refuse_unknown_systems
from bestguess.report.charts import Chart, Dash, Grid, Line, Picture, Role
from bestguess.report.progress import over_one, results_table, skill_text
from bestguess.report.render import save_figures
from bestguess.report.story import MANY, Drawn, Rows, Section, Stat, Story, Words, self_test_stat
from bestguess.train.folder import FIGURES
from bestguess.workflow.commands import evaluate as evaluate_as_trained
from bestguess.workflow.commands import overridden
from bestguess.workflow.evaluation import Evaluator
from bestguess.workflow.report import make_page
from bestguess.workflow.training import Training, load_training, read_training_config, refuse_sizes

if TYPE_CHECKING:
    from rich.console import Console

    from bestguess.filters.config import FiltersConfig

RESULTS, PAGE = "beyond.json", "beyond.html"


def evaluate(flags: EvaluateFlags, console: Console) -> dict[str, Any]:
    """Evaluate every run of a folder as it was trained, or at another length and other λ; return the figures."""
    shared = dataclasses.replace(flags, length=None, lambda_=None)
    if flags.length is None and flags.lambda_ is None:
        return evaluate_as_trained(FAMILY, shared, console)
    config = read_training_config(FAMILY, flags.run)
    refuse_unknown_systems(flags.run, config, "evaluate it as it was trained, without --length and --lambda")
    # Asked for what cannot be, it says so before anything is computed.
    wanted = _elsewhere(overridden(config, shared), flags, flags.lambda_ or config.task.lambda_)
    least = config.rollout.context + max(config.rollout.horizons)
    if wanted.task.length < least:
        raise UserError(
            f"--length {wanted.task.length}: give at least {least}, the context and the longest horizon of the "
            "training's rollouts, which the self-test goes through too"
        )
    wanted.check()
    refuse_sizes(FAMILY, list_runs(wanted))
    check_writable(flags.run / RESULTS)
    training = load_training(FAMILY, flags.run, config)
    entries: list[dict[str, Any]] = []
    missed = 0.0
    for i, run in enumerate(training.runs):
        for lambda_ in flags.lambda_ or run.config.task.lambda_:
            own = _elsewhere(overridden(run.config, shared, check=False), flags, (lambda_,))
            with console.status(f"run {i + 1} of {len(training.runs)}, λ {lambda_:g}"):
                evaluator = training.evaluators.of(training.works, own, FAMILY.works.task(own), _key(own))
                missed = max(missed, evaluator.missed)
                entries.append(_measure(training, i, own, evaluator))
    console.print(f"self-test: the oracle has a regret of 0 within {missed:.0g} on this very path", style="dim")
    columns, rows, title = _table(training.runs, entries)
    console.print(results_table(columns, rows, title))
    results = plain({"runs": entries, "test_sequences": wanted.test_sequences, "self_test": missed})
    write_json(flags.run / RESULTS, results)
    drawn = Drawn("beyond", _by_position(training, entries))
    save_figures(drawn.picture, flags.run / FIGURES, drawn.name)
    worst = max(entries, key=lambda one: one["normalised_loss"])
    stats = [Stat(over_one(worst["normalised_loss"]), "normalised loss, the worst", _name(training.runs, worst))]
    sections = [Section("", [Rows(columns, rows, title)]), Section("Where in the sequence", [drawn, Words(_HOW)])]
    lead = "Trained at one length and one λ, judged at others. 1 is always the Kalman filter of what it is judged on."
    page = make_page(Story("Beyond what was trained", lead, [*stats, self_test_stat(missed)], sections))
    told = page.write(flags.run / PAGE)
    console.print(f"page: {told}", soft_wrap=True)
    return plain(results | {"report": told})


_HOW = (
    "- Systems of one seed and several λ have the same eigenvectors and angles; their moduli scale with λ.\n"
    "- The model normalises by the standard deviation of the process that it was *trained* on.\n"
    "- AR(k) fitted: on the sequences that the run was trained on; its excess is an expectation over the process that "
    "it is judged on."
)


_CAPTION = (
    "The floor is 0. AR(k): the best predictor from the last k steps of the process that is judged on, which up to "
    "step k + 1 is the filter."
)
_DASHES: tuple[Dash, ...] = ("dot", "dashdot")


def _bounded(run: Run, judged: dict[str, Any]) -> BoundedMemory:
    task = dataclasses.replace(run.config.task, length=judged["length"], lambda_=(judged["lambda"],))
    return bounded_memory(task, run.seed, run.config.model.patch)


def _elsewhere(config: FiltersConfig, flags: EvaluateFlags, lambda_: tuple[float, ...]) -> FiltersConfig:
    length = config.task.length if flags.length is None else flags.length
    return dataclasses.replace(config, task=dataclasses.replace(config.task, length=length, lambda_=lambda_))


def _key(config: FiltersConfig) -> tuple:
    return FAMILY.name, FAMILY.works.evaluated(config)


def _measure(training: Training, i: int, config: FiltersConfig, evaluator: Evaluator) -> dict[str, Any]:
    """Return run i's figures on the task of another config."""
    run = training.runs[i]
    found = evaluator(training.predictor(i), ("evaluation",))
    figures = training.works.figures(found, "evaluation")
    fitted = fitted_ar(run.config, max(1, int(training.learnt.best_step[i])), config.task)
    first = config.model.patch + 1
    by_step = np.asarray(figures["regret_by_step"])
    spans, start = {}, first
    end = run.config.task.length
    while start <= config.task.length:
        last = min(end, config.task.length)
        spans[f"{start}-{last}"] = by_step[start - first : last - first + 1].mean()
        start, end = last + 1, 2 * end
    return {
        "run": i,
        **run.values,
        "length": run.config.task.length,
        "evaluated": {"lambda": config.task.lambda_[0], "length": config.task.length},
        **figures,
        "regret_by_span": spans,
        "ar_fitted": {"order": fitted.chosen, "excess": fitted.excess[fitted.chosen]},
    }


def _name(runs: Sequence[Run], one: dict[str, Any]) -> str:
    judged = one["evaluated"]
    told = runs[one["run"]].label(runs)
    if judged["lambda"] != one["lambda"]:
        told += f", at λ {judged['lambda']:g}"
    return told + (f", {judged['length']} steps" if judged["length"] != one["length"] else "")


def _table(runs: Sequence[Run], entries: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[Any]], str]:
    spans = list(entries[0]["regret_by_span"])
    columns = [
        "run",
        "normalised loss",
        "skill",
        "memory",
        "AR(k) fitted",
        *(f"t = {span.replace('-', '–')}" for span in spans),
    ]
    rows = [
        [
            _name(runs, one),
            over_one(one["normalised_loss"], one["standard_error"]),
            skill_text(one["skill"]),
            memory_page.memory(one["equivalent_memory"], one),
            memory_page.loss_of(one["ar_fitted"]["excess"]),
            *(f"{100 * share:.3g} %" for share in one["regret_by_span"].values()),
        ]
        for one in entries
    ]
    return columns, rows, "Beyond what was trained: error over the filter's, and its excess by span of steps"


def _by_position(training: Training, entries: Sequence[dict[str, Any]]) -> Picture:
    runs, drawn = training.runs, training.drawn()
    panels = []
    shown = [one for one in entries if one["run"] in drawn][:MANY]
    best = [_bounded(runs[one["run"]], one["evaluated"]) for one in shown]
    least = min(min(one["regret_by_span"].values()) for one in shown)
    # The longest two memories that have a place on the axis, in every panel the same.
    within = [k for k in best[0].orders if max(own.by_step[k, -1] for own in best) > least / 10][-2:]
    for one, bounded in zip(shown, best):
        steps = np.arange(runs[0].config.model.patch + 1, one["evaluated"]["length"] + 1)
        inside = steps <= one["length"]
        excess = 100 * np.asarray(one["regret_by_step"])
        parts: tuple[tuple[np.ndarray, str, Role | None, int], ...] = (
            (inside, "length that was trained", "model", 0),
            (~inside, "beyond", None, 1),
        )
        panels.append(
            Chart(
                _name(runs, one),
                "step t",
                "error above the filter's at t (%)",
                [
                    Line(steps[here], excess[here], name=name, role=role, colour=colour)
                    for here, name, role, colour in parts
                    if here.any()
                ]
                + [
                    Line(
                        steps,
                        np.where(steps > k + runs[0].config.model.patch, 100 * bounded.by_step[k], np.nan),
                        name=f"best AR({k}), time-varying",
                        role="baseline",
                        dash=dash,
                    )
                    for k, dash in zip(within, _DASHES)
                ],
                log_y=True,
            )
        )
    return Grid("Regret by position beyond what was trained", panels, _CAPTION, columns=2)
