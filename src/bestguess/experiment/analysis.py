"""From a ledger's records to the tables of an experiment's measures and its verdicts. Trains nothing."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bestguess.command import UserError
from bestguess.experiment.declare import At, Contrast, Curvature, Difference, Experiment, Factor, Measure, Slope
from bestguess.experiment.statistics import Verdict, grade, verdicts_of
from bestguess.experiment.tables import MeasureTable
from bestguess.sweep.cells import best_of_cells
from bestguess.sweep.keys import RATE, SEED, repeats_of
from bestguess.sweep.plan import Run, config_of


@dataclass(frozen=True, eq=False)
class Analysis:
    """An experiment's sweep, judged."""

    experiment: Experiment
    records: list[dict[str, Any]]
    """Of all runs that are done."""
    cells: list[dict[str, Any]]
    """The learning rate of each cell, as `best_of_cells` returns them."""
    selected: Mapping[str, Any]
    """The configs of the runs with their cell's learning rate, by name: those that the verdicts rest on."""
    tables: dict[str, MeasureTable]
    """By the name of each measure that was recorded."""
    verdicts: list[Verdict]
    grades: dict[str, Any] | None


def check(experiment: Experiment, runs: Iterable[Run]) -> None:
    """Raise a UserError where a sweep cannot test the hypotheses: a key or a level is missing, or another varies."""
    configs = [run.config for run in runs]
    keys = [factor.key for factor in experiment.factors]
    for key in sorted({key for config in configs for key in config}):
        if key in (*keys, RATE) or any(key in repeats_of(config) for config in configs[:1]):
            continue
        if len({json.dumps(config.get(key)) for config in configs}) > 1:
            raise UserError(f"parameters.{key}: varies, but the experiment's hypotheses are about {', '.join(keys)}")
    for factor in experiment.factors:
        if any(factor.key not in config for config in configs):
            raise UserError(f"parameters.{factor.key}: missing; the experiment's hypotheses are about it")
    if any(SEED not in config for config in configs):
        raise UserError(f"parameters.{SEED}: missing; runs are repeated over it")
    contrasts: list[tuple[str, Contrast]] = [(one.name, one.contrast) for one in experiment.hypotheses]
    if experiment.control is not None:
        contrasts.append((experiment.control.name, experiment.control.contrast))
    for name, contrast in contrasts:
        for factor in experiment.factors:
            levels = {config[factor.key] for config in configs}
            match contrast[factor.key]:
                case At(level):
                    needed = {level}
                case Difference(plus, minus):
                    needed = {plus, minus}
                case Slope(among) | Curvature(among) if among:
                    needed = set(among)
                case Slope() if len(levels) < 2:
                    raise UserError(f"parameters.{factor.key}: {name} is about a slope, which needs two values or more")
                case Curvature() if len(levels) < 3:
                    raise UserError(f"parameters.{factor.key}: {name} is about a curvature, which needs three values")
                case _:
                    needed = set()
            if lacking := needed - levels:
                raise UserError(f"parameters.{factor.key}: lacks {min(lacking)}, which {name} is about")


def analyse(experiment: Experiment, runs: Iterable[Run], records: list[dict[str, Any]], reported: str) -> Analysis:
    """Return the verdicts from what is done of a sweep's planned runs; `reported` is the family's figure of test data.

    In each cell the learning rate with the lowest mean validation loss over seeds is taken, of those with the
    most seeds done.
    """
    for record in records:
        if lacking := {"seconds", "device"} - record.keys():
            raise UserError(f"run {record['run']}: no {min(lacking)} in its record")
    cells = best_of_cells(records, reported)
    rates = {_cell(cell["config"]): cell["learning_rate"] for cell in cells}
    configs = [run.config for run in runs]
    highest: dict[str, Any] = {}
    for config in configs:
        highest[_cell(config)] = max(config.get(RATE, 0.0), highest.get(_cell(config), 0.0))
    at = lambda of: [one for one in records if one["config"].get(RATE, 0.0) == of[_cell(one["config"])]]  # noqa: E731
    chosen = [one for one in records if one["config"].get(RATE) == rates[_cell(one["config"])]]
    if experiment.comparable is not None:
        experiment.comparable(chosen)
    by_rate = {"selected": chosen, "highest": at(highest)}
    made = {one["run"]: config_of(one["config"])[1] for one in itertools.chain(*by_rate.values())}
    tables = _tables(experiment, configs, by_rate, made)
    return Analysis(
        experiment,
        records,
        cells,
        {one["run"]: made[one["run"]] for one in chosen},
        tables,
        verdicts_of(experiment, tables),
        grade(experiment, tables),
    )


def _cell(config: dict[str, Any]) -> str:
    apart = (RATE, *repeats_of(config))
    return json.dumps({k: v for k, v in config.items() if k not in apart}, sort_keys=True)


def _repetition(config: dict[str, Any]) -> tuple[int, int]:
    """The seed of the run's task, and that of its training: the same where the task has none of its own."""
    own = [config[key] for key in repeats_of(config) if key != SEED and config.get(key) is not None]
    return (own[0] if own else config[SEED]), config[SEED]


def _tables(
    experiment: Experiment,
    configs: list[dict[str, Any]],
    chosen: dict[str, list[dict[str, Any]]],
    made: Mapping[str, Any],
) -> dict[str, MeasureTable]:
    """chosen: the runs whose figures count, by the learning rate that a measure is read at. made: configs by run."""
    factors = experiment.factors
    levels = tuple(tuple(dict.fromkeys(config[factor.key] for config in configs)) for factor in factors)
    levels = tuple(_in_order(factor, own) for factor, own in zip(factors, levels))
    columns = sorted({_repetition(config) for config in configs})
    seeds = tuple(task for task, _ in columns)
    shape = (*map(len, levels), len(seeds))
    tables = {}
    for measure in experiment.measures:
        values, done = np.full(shape, np.nan), np.zeros(shape, bool)
        low, high, weights = np.zeros(shape, bool), np.zeros(shape, bool), np.ones(shape)
        recorded = False
        for record in chosen[measure.rate]:
            try:
                reading = measure.read(made[record["run"]], record["metrics"])
                if reading is None:
                    continue
                values_at = [record["config"][factor.key] for factor in factors]
                column = columns.index(_repetition(record["config"]))
                place = (*(axis.index(level) for axis, level in zip(levels, values_at)), column)
                values[place], done[place], weights[place] = reading.value, True, reading.weight
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                why = f"its figures are not what a run of this experiment records ({error!r})"
                raise UserError(f"run {record['run']}: {measure.name}: {why}") from error
            recorded = True
            low[place], high[place] = reading.bound == "low", reading.bound == "high"
        if recorded:
            tables[measure.name] = MeasureTable(factors, levels, seeds, values, done, low, high, weights)
    return tables


def _in_order(factor: Factor, levels: tuple[Any, ...]) -> tuple[Any, ...]:
    try:
        return tuple(sorted(levels, key=factor.position)) if factor.position else levels
    except (ArithmeticError, TypeError, ValueError) as error:
        raise UserError(f"parameters.{factor.key}: {levels}: not what the experiment's hypotheses are about") from error


def references(analysis: Analysis, measure: Measure) -> dict[str, np.ndarray]:
    """Return what stands beside a measure on a chart, by name: means over seeds, an axis for each factor; NaN for none.

    Computed when it is drawn: it may take longer than the verdicts.
    """
    table = analysis.tables[measure.name]
    shape = tuple(map(len, table.levels))
    total = {one.name: np.zeros(shape) for one in measure.references}
    count = {one.name: np.zeros(shape) for one in measure.references}
    for record in analysis.records if measure.references else ():
        if (config := analysis.selected.get(record["run"])) is None:
            continue
        place = tuple(own.index(record["config"][one.key]) for own, one in zip(table.levels, table.factors))
        for one in measure.references:
            value = one.read(config, record["metrics"])
            if not math.isnan(value):
                total[one.name][place] += value
                count[one.name][place] += 1
    return {name: np.where(count[name] > 0, total[name] / np.maximum(count[name], 1), np.nan) for name in total}


def edges(analysis: Analysis) -> str:
    """Return what is to be said beside the figures of learning rates at the edge of their grid; "" for none."""
    found = [cell for cell in analysis.cells if cell["edge"]]
    if not found:
        return ""
    counts = {rate: sum(one["learning_rate"] == rate for one in found) for rate in {c["learning_rate"] for c in found}}
    told = ", ".join(f"{rate:g} in {counts[rate]}" for rate in sorted(counts))
    return f"The best learning rate is at the edge of its grid in {len(found)} of {len(analysis.cells)} cells ({told})."
