"""The section of the filter experiments' pages on bounded memory: AR(k) beside the models of every cell."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bestguess.experiment.declare import Factor
from bestguess.filters.autoregression import longest_memory
from bestguess.filters.baselines import exact_ar, memory_of
from bestguess.filters.config import FiltersConfig
from bestguess.filters.experiments import LAMBDA, OBSERVED, PATCH, STRUCTURE
from bestguess.filters.measures import SHOWN_ORDERS
from bestguess.filters.normalisation import ARM
from bestguess.report.charts import Chart, Dash, Line
from bestguess.report.progress import over_one
from bestguess.report.story import Drawn, Rows, Section, Words

_FACTORS = (OBSERVED, PATCH, LAMBDA, STRUCTURE, ARM)
_DASHES: tuple[Dash, ...] = ("solid", "dash", "dot", "dashdot")
_HOW = (
    "AR(k) is the best linear predictor of the last k steps whose coefficients do not change, its excess an "
    "expectation over the process: exact, nothing is trained or sampled. In figures of rollouts it is the best "
    "predictor of y at that horizon from the last k steps of the context. The equivalent memory of a model is the k "
    "whose time-varying AR(k) has the model's regret. With patches, the k steps are those before the patch that is "
    "predicted. Means over seeds, at the learning rate of the cell."
)


def bounded_memory(records: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Return the section: a table with a row for each cell, and a picture of the equivalent memory by first factor."""
    there = [one for one in _FACTORS if one.key in records[0]["config"]]
    factors = [one for one in there if len({record["config"][one.key] for record in records}) > 1]
    factors = factors or there[:1]  # of a sweep that has just begun, one cell may be all
    cells: dict[tuple, list[tuple[FiltersConfig, Mapping[str, Any]]]] = {}
    for record in records:
        own = tuple(record["config"][factor.key] for factor in factors)
        cells.setdefault(own, []).append((record["made"], record["metrics"]))
    levels = [_levels(factor, [record["config"][factor.key] for record in records]) for factor in factors]
    ordered = sorted(cells, key=lambda own: [among.index(level) for among, level in zip(levels, own)])
    memories = {own: _memory(cells[own]) for own in ordered}
    columns = [*(one.name for one in factors), "transformer", "memory", *(f"AR({k})" for k in SHOWN_ORDERS), "seeds"]
    rows = [
        [
            *(factor.label(level) for factor, level in zip(factors, own)),
            over_one(float(np.mean([figures["normalised_loss"] for _, figures in cells[own]]))),
            _told(*memories[own]),
            *(_ar(cells[own], order) for order in SHOWN_ORDERS),
            len(cells[own]),
        ]
        for own in ordered
    ]
    table = Rows(columns, rows, "Normalised loss (1 is the filter), one step or patch ahead, and equivalent memory")
    return [Section("Bounded memory", [table, Drawn("memory", _by_factor(factors, levels, memories)), Words(_HOW)])]


def _memory(cell: Sequence[tuple[FiltersConfig, Mapping[str, Any]]]) -> tuple[float, bool]:
    """Return the mean equivalent memory of a cell's models (steps), and whether that is only a lower bound."""
    found, longest = [], []
    for config, figures in cell:
        task, patch, loss = config.task, config.model.patch, figures["normalised_loss"]
        # Of runs that were made before it was recorded, it is computed now.
        if "equivalent_memory" in figures:
            found.append(figures["equivalent_memory"])
        else:
            found.append(memory_of(task, config.train.first_seed, patch, loss))
        longest.append(longest_memory(task.length, task.observed_dim, patch))
    return float(np.mean([most if one is None else one for one, most in zip(found, longest)])), None in found


def _ar(cell: Sequence[tuple[FiltersConfig, Mapping[str, Any]]], order: int) -> str:
    found = [exact_ar(one.task, one.train.first_seed, one.model.patch).get(order) for one, _ in cell]
    return "" if None in found else over_one(1 + float(np.mean([one for one in found if one is not None])))


def _told(steps: float, more: bool) -> str:
    return f"> {steps:.1f}" if more else f"{steps:.1f}"


def _levels(factor: Factor, values: Sequence[Any]) -> list[Any]:
    """A factor's levels in the order of the other figures: by position, or as the sweep lists them."""
    found = list(dict.fromkeys(values))
    return found if factor.position is None else sorted(found, key=factor.position)


def _by_factor(
    factors: Sequence[Factor], levels: Sequence[list[Any]], memories: Mapping[tuple, tuple[float, bool]]
) -> Chart:
    first, *others = factors
    at = [first.position(level) if first.position else i for i, level in enumerate(levels[0])]
    series = []
    ordered = next((i for i, one in enumerate(others) if one.position), None)
    listed = next((i for i, one in enumerate(others) if not one.position), None)
    for rest in itertools.product(*levels[1:]):
        found = [memories.get((level, *rest), (np.nan, False))[0] for level in levels[0]]
        names = [one.brief(value) for one, value in zip(others, rest)]
        look: dict[str, Any] = {} if others else {"role": "model"}
        if ordered is not None:
            of = levels[1 + ordered]
            look["shade"] = of.index(rest[ordered]) / max(len(of) - 1, 1)
        if listed is not None:
            n = levels[1 + listed].index(rest[listed])
            look |= {"colour": n} if ordered is None else {"dash": _DASHES[n % len(_DASHES)]}
        series.append(Line(at, found, name=", ".join(names) or "transformer", **look))
    return Chart(
        "Equivalent memory",
        first.name,
        "equivalent memory (steps)",
        series,
        "Means over seeds. A model that is better than the longest AR(k) looked at counts as that.",
        log_y=True,
        x_ticks={float(x): str(level) for x, level in zip(at, levels[0])},
    )
