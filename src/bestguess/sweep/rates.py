"""Learning rates from another sweep: each cell trains at the one that a search chose for it. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bestguess.command import Failure, UserError, told_of
from bestguess.sweep.cells import ANEW, best_of_cells
from bestguess.sweep.keys import RATE, family_of, repeats_of
from bestguess.sweep.source import Source, check_agreement, check_configs, done_elsewhere

Searched = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""From a run's flat config to that of the cell that tunes it, where the search has the cell under other values."""


def at_rates(
    proposals: Sequence[dict[str, Any]], root: Path, name: str, searched: Searched | None = None
) -> list[dict[str, Any]]:
    """Return the runs of a sweep with the rate of each cell's own, once each, as the sweep `name` tuned it.

    A sweep is named by its ID, its folder or its table. Several, separated by commas, are one search: a cell's grid is
    what they tried of it in all. A cell is known by the keys that vary in the search, beside seeds and rates: the
    others, such as the steps, may differ. With `searched`, several cells may share one of the search. A rate at which a
    training diverged counts as tried. UserError where the search lacks a cell, has a best rate at the edge of its grid,
    or trained on a seed that is to be judged; Failure where it is not done.
    """
    searches = [done_elsewhere(root, one, "--rates") for one in name.split(",")]
    for search in searches:
        if search.path is not None:
            check_configs(search, "--rates")
        if search.undone:
            _refuse(search)
    check_agreement(searches, "--rates")
    configs = [config for one in searches for config in (*(run.config for run in one.runs), *one.diverged)]
    apart = (RATE, *repeats_of(configs[0]))
    keys = [key for key in configs[0] if key not in apart and len({str(config.get(key)) for config in configs}) > 1]

    def cell(config: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(str(config.get(key)) for key in keys)

    def told(config: Mapping[str, Any]) -> str:
        return ", ".join(f"{key} {config.get(key)}" for key in keys) or "every run"

    with told_of(", ".join(one.place for one in searches), ANEW):
        records = [record for search in searches for record in search.records]
        best = best_of_cells(records, family_of(configs[0]).reported)
    tuned = {cell(one["config"]): one for one in best}
    for key in repeats_of(configs[0]):
        seen = {config[key] for config in configs if key in config}
        if shared := seen & {one[key] for one in proposals if key in one}:
            raise UserError(f"--rates {name}: was tuned on {key} {min(shared)}, which is to be judged; tune on others")
    tried: dict[tuple[str, ...], set[Any]] = {}
    for config in configs:
        tried.setdefault(cell(config), set()).add(config.get(RATE))
    ends = {own: (min(rates), max(rates)) for own, rates in tried.items() if len(rates) > 1}
    edges = [one for own, one in tuned.items() if one["learning_rate"] in ends.get(own, ())]
    if edges:
        first = f"{edges[0]['learning_rate']:g} of {told(edges[0]['config'])}"
        raise UserError(
            f"--rates {name}: the best rate of {len(edges)} of {len(tuned)} cells stands at the edge of its grid "
            f"(such as {first}); widen it with --set {RATE}=… and --reuse {name}"
        )
    chosen: dict[str, dict[str, Any]] = {}
    for one in proposals:
        there = one if searched is None else searched(one)
        if cell(there) not in tuned:
            raise UserError(f"--rates {name}: has no rate for {told(there)}; search there too")
        run = one | {RATE: tuned[cell(there)]["learning_rate"]}
        chosen[str(sorted(run.items(), key=str))] = run
    return list(chosen.values())


def _refuse(search: Source) -> NoReturn:
    told = f"{len(search.records)} of {search.planned} runs done"
    if search.path is None:
        raise Failure(f"{search.id}: {told}, so there is no result yet; resume with `bestguess sweep {search.id}`")
    raise Failure(f"--rates {search.path}: {told}; finish the search {search.id} and write its table again")
