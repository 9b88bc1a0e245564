"""Learning rates from another sweep: each cell trains at the one that a search chose for it. Imports nothing heavy."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from bestguess.command import Failure, UserError, told_of
from bestguess.sweep.cells import ANEW, best_of_cells
from bestguess.sweep.keys import RATE, VALIDATION, repeats_of
from bestguess.sweep.source import Source, check_agreement, check_configs, done_elsewhere

Searched = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""From a run's flat config to that of the cell that tunes it, where the search has the cell under other values."""


@dataclass(frozen=True)
class Search:
    """What a search has tried of each cell: one sweep, or several that are one."""

    configs: list[dict[str, Any]]
    """Of all runs."""
    keys: list[str]
    """That a cell is known by: those that vary, beside seeds and rates."""
    best: list[dict[str, Any]]
    """Of every cell, its best rate, and how it was selected."""
    records: list[dict[str, Any]]
    """Of the runs that did not diverge."""

    def cell(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the cell that a run is of."""
        return tuple(str(config.get(key)) for key in self.keys)

    def told(self, config: Mapping[str, Any]) -> str:
        """Return a run's cell in words."""
        return ", ".join(f"{key} {config.get(key)}" for key in self.keys) or "every run"

    @functools.cached_property
    def tuned(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """By cell, its best."""
        return {self.cell(one["config"]): one for one in self.best}

    @functools.cached_property
    def tried(self) -> dict[tuple[str, ...], list[Any]]:
        """By cell, its rates in their order, those at which a training diverged among them."""
        found: dict[tuple[str, ...], set[Any]] = {}
        for config in self.configs:
            found.setdefault(self.cell(config), set()).add(config.get(RATE))
        return {own: sorted(rates, key=_order) for own, rates in found.items()}

    def edges(self) -> list[tuple[str, ...]]:
        """Return the cells whose best rate is the lowest or the highest of several."""
        ends = {own: (rates[0], rates[-1]) for own, rates in self.tried.items() if len(rates) > 1}
        return [own for own, one in self.tuned.items() if one["learning_rate"] in ends.get(own, ())]

    def losses(self, own: tuple[str, ...]) -> list[float]:
        """Return the mean validation losses of a cell, one for each rate."""
        found: dict[Any, list[float]] = {}
        for one in self.records:
            if self.cell(one["config"]) == own:
                found.setdefault(one["config"].get(RATE), []).append(one["metrics"][VALIDATION])
        return [math.fsum(losses) / len(losses) for losses in found.values()]


def read_search(root: Path, name: str, flag: str) -> Search:
    """Return what the sweeps `name` have tried, each named by its ID, its folder or its table, with commas between.

    Failure where one is not done; flag: the one that named them, for what is said of what is wrong.
    """
    searches = [done_elsewhere(root, one, flag, scored=False) for one in name.split(",")]
    for search in searches:
        if search.path is not None:
            check_configs(search, flag)
        if search.undone:
            _refuse(search, flag)
    check_agreement(searches, flag)
    configs = [config for one in searches for config in (*(run.config for run in one.runs), *one.diverged)]
    apart = (RATE, *repeats_of(configs[0]))
    keys = [key for key in configs[0] if key not in apart and len({str(config.get(key)) for config in configs}) > 1]
    with told_of(", ".join(one.place for one in searches), ANEW):
        records = [one for own in searches for one in own.records]
        return Search(configs, keys, best_of_cells(records, VALIDATION), records)


def at_rates(
    proposals: Sequence[dict[str, Any]], root: Path, name: str, searched: Searched | None = None
) -> list[dict[str, Any]]:
    """Return the runs of a sweep with the rate of each cell's own, once each, as the sweep `name` tuned it.

    A sweep is named by its ID, its folder or its table. Several, separated by commas, are one search: a cell's grid is
    what they tried of it in all. A cell is known by the keys that vary in the search, beside seeds and rates: the
    others, such as the steps, may differ. With `searched`, several cells may share one of the search. A rate at which a
    training diverged counts as tried. UserError where the search lacks a cell of the sweep, or has its best rate at the
    edge of its grid, or trained on a seed that is to be judged; Failure where it is not done.
    """
    search = read_search(root, name, "--rates")
    for key in repeats_of(search.configs[0]):
        seen = {config[key] for config in search.configs if key in config}
        if shared := seen & {one[key] for one in proposals if key in one}:
            raise UserError(
                f"--rates {name}: was tuned on {key} {min(shared)}, which this sweep has too; tune on others"
            )
    runs, own = [], set()
    for one in proposals:
        there = one if searched is None else searched(one)
        cell = search.cell(there)
        if cell not in search.tuned:
            raise UserError(f"--rates {name}: has no rate for {search.told(there)}; search for one there too")
        own.add(cell)
        runs.append(one | {RATE: search.tuned[cell]["learning_rate"]})
    if edges := [cell for cell in search.edges() if cell in own]:
        first = search.tuned[edges[0]]
        raise UserError(
            f"--rates {name}: the best rate of {len(edges)} of {len(own)} cells to train is at the edge of its "
            f"grid (such as {first['learning_rate']:g} of {search.told(first['config'])}); train these cells beyond "
            f"it, with `bestguess sweep` of the search's YAML and --widen {name}"
        )
    return _once(runs)


def beyond(search: Search) -> list[dict[str, Any]]:
    """Return the runs that widen a search: each cell whose best rate stands at an edge, at the next rate beyond it.

    The next rate is as far from the edge, as a ratio, as its neighbour in the grid, to two digits.
    """
    edges, runs = set(search.edges()), []
    for config in search.configs:
        own = search.cell(config)
        if own not in edges:
            continue
        rates, best = search.tried[own], search.tuned[own]["learning_rate"]
        edge, neighbour = (rates[0], rates[1]) if best == rates[0] else (rates[-1], rates[-2])
        runs.append(config | {RATE: float(f"{edge * edge / neighbour:.2g}")})
    return _once(runs)


def _once(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({str(sorted(run.items(), key=str)): run for run in runs}.values())


def _order(rate: Any) -> float:
    return -math.inf if rate is None else float(rate)


def _refuse(search: Source, flag: str) -> NoReturn:
    told = f"{len(search.records)} of {search.planned} runs done"
    if search.path is None:
        raise Failure(f"{search.id}: {told}, so there is no result yet; resume with `bestguess sweep {search.id}`")
    raise Failure(f"{flag} {search.path}: {told}; finish the search {search.id} and write its table again")
