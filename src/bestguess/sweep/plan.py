"""From a sweep's YAML to runs, and from runs to batches of them, which share shapes and train as one program."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bestguess.command import UserError, load
from bestguess.config import before, shape_key, to_dict
from bestguess.family import Family
from bestguess.files import is_name
from bestguess.sweep.draw import draw, grid
from bestguess.sweep.keys import RATE, SEED, VALIDATION, check_keys, family_of, repeats_of
from bestguess.sweep.spec import Spec, flatten, nest

UNTUNED = "has one learning rate, which nobody tuned"
"""What `lacks` says of a sweep that does not vary the rate."""
OWN_KEYS = ("family",)
"""Keys of a sweep that are none of a run's config."""


@dataclass(frozen=True)
class Run:
    """One run: its name in the ledger, what the sweep sets for it, the shape it shares with others."""

    run: str
    config: dict[str, Any]
    """By dotted key, `family` and `preset` among them."""
    shape: str
    """A short hash; runs of one shape can train together."""

    @property
    def cell(self) -> str:
        """What the run has in common with those that differ in seeds and learning rate alone, as JSON."""
        apart = (RATE, *repeats_of(self.config))
        return json.dumps({k: v for k, v in self.config.items() if k not in apart}, sort_keys=True)


@dataclass(frozen=True)
class Unit:
    """What a worker takes at once: runs of one shape, trained as one batch."""

    unit: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Round:
    """The runs that were planned at one time: all of a grid; for bayes those of one proposal."""

    runs: tuple[Run, ...]
    units: tuple[Unit, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Any, where: str = "a round") -> Round:
        """Return the round that `to_dict` wrote; UserError names the file, `where`, and the key that is off.

        The names of runs and units become names of files, so they are held to be nothing else.
        """
        _check_keys(data, {"runs": (list, tuple), "units": (list, tuple)}, where)
        for i, run in enumerate(data["runs"]):
            _check_keys(run, {"run": (str,), "config": (dict,), "shape": (str,)}, f"{where}: runs[{i}]")
            _check_name(run["run"], f"{where}: runs[{i}].run")
        runs = tuple(Run(**run) for run in data["runs"])
        known = {run.run for run in runs}
        held: list[str] = []
        for i, unit in enumerate(data["units"]):
            _check_keys(unit, {"unit": (str,), "runs": (list, tuple)}, f"{where}: units[{i}]")
            _check_name(unit["unit"], f"{where}: units[{i}].unit")
            for name in unit["runs"]:
                if not isinstance(name, str) or name not in known:
                    raise UserError(f"{where}: units[{i}].runs: {name!r} is no run of this round")
            held += unit["runs"]
        if sorted(held) != sorted(run.run for run in runs):
            raise UserError(f"{where}: units: do not hold every run once; the file is damaged or was edited")
        return cls(runs, tuple(Unit(unit["unit"], tuple(unit["runs"])) for unit in data["units"]))


def _check_keys(data: Any, keys: dict[str, tuple[type, ...]], where: str) -> None:
    if not isinstance(data, dict) or set(data) != set(keys):
        raise UserError(f"{where}: expected the keys {', '.join(keys)}; the file is damaged or was edited")
    for key, kinds in keys.items():
        if not isinstance(data[key], kinds):
            raise UserError(f"{where}: {key}: expected a {kinds[0].__name__}; the file is damaged or was edited")


def _check_name(name: str, where: str) -> None:
    if not is_name(name):
        raise UserError(f"{where}: {name!r} is not the name of a run or unit (letters, digits, -, _ and . alone)")


def plan(spec: Spec, *, ensemble: int, jobs: int = 1, seed: int = 0) -> Round:
    """Return the runs of a grid or random sweep, in units of at most `ensemble` runs, at least `jobs` units."""
    proposals = grid(spec) if spec.method == "grid" else draw(spec, spec.run_cap or 0, seed)
    return plan_round(proposals, ensemble=ensemble, jobs=jobs)


def plan_round(proposals: list[dict[str, Any]], *, ensemble: int, jobs: int = 1, first: int = 0) -> Round:
    """Return the proposed runs, named from `first` on, and their units; UserError names a key that is off."""
    runs = []
    for i, proposal in enumerate(proposals):
        _, config = config_of(proposal, new=True)
        digest = hashlib.sha256(f"{proposal['family']} {shape_key(config)}".encode()).hexdigest()[:8]
        runs.append(Run(f"{first + i:04d}", _stated(proposal, config), digest))
    return Round(tuple(runs), tuple(_units(runs, ensemble, jobs, f"{first:04d}")))


def config_of(values: dict[str, Any], *, new: bool = False) -> tuple[Family, Any]:
    """Return a run's family and its checked config from dotted keys; UserError names the key at fault.

    new: it is not planned yet. A planned run that lacks a key whose default has changed means what was done before.
    """
    check_keys(values)
    family = family_of(values)
    if not new:
        values = meant(values)
    nested = nest({key: value for key, value in values.items() if key not in OWN_KEYS})
    try:
        return family, family.single(nested)
    except UserError as error:
        raise UserError(f"parameters: {error}") from error


def meant(values: dict[str, Any]) -> dict[str, Any]:
    """Return a planned run's values with those that it means where a default has changed since."""
    family = family_of(values)
    return {**(before(load(family.config)()) if family.workings else {}), **values}


def _stated(values: dict[str, Any], config: Any) -> dict[str, Any]:
    """Write out what a run that was planned before would mean otherwise."""
    unsaid = [key for key in before(config) if key not in values]
    flat = flatten(to_dict(config)) if unsaid else {}
    return {key: flat[key] for key in unsaid} | values


def _units(runs: list[Run], ensemble: int, jobs: int, prefix: str) -> Iterable[Unit]:
    # Small enough that every worker gets one, where there are runs enough.
    width = max(1, min(ensemble, -(-len(runs) // max(1, jobs))))
    number = 0
    for shape in dict.fromkeys(run.shape for run in runs):
        names = [run.run for run in runs if run.shape == shape]
        # Even parts: units of 9 and 9, not 16 and 2, so that no worker waits for another.
        parts = -(-len(names) // width)
        for i in range(parts):
            part = names[len(names) * i // parts : len(names) * (i + 1) // parts]
            yield Unit(f"{prefix}-{number:03d}", tuple(part))
            number += 1


def sample(round_: Round, count: int) -> list[str]:
    """Return the names of `count` runs, one of each shape before a second of any: what a test of a sweep runs."""
    by_shape: dict[str, list[str]] = {}
    for run in round_.runs:
        by_shape.setdefault(run.shape, []).append(run.run)
    longest = max(map(len, by_shape.values()), default=0)
    turns = [names[i] for i in range(longest) for names in by_shape.values() if i < len(names)]
    return turns[:count]


def lacks(spec: Spec, round_: Round) -> list[str]:
    """Return what the sweep lacks to be believed: two seeds and a tuned learning rate in every cell."""
    if spec.method == "bayes":
        name = spec.metric["name"]
        found = [] if RATE in _varying(spec) else [f"the learning rate is not tuned: give {RATE} a range"]
        if name != VALIDATION:
            found.append(f"it optimises {name}, so that figure is no test of the outcome; optimise {VALIDATION}")
        return [*found, "a bayes sweep repeats no cell over seeds: repeat its best cells in a grid of seeds"]
    cells: dict[str, list[Run]] = {}
    for run in round_.runs:
        cells.setdefault(run.cell, []).append(run)
    found = []
    repeated = {cell: {_repetition(run) for run in runs} for cell, runs in cells.items()}
    rates = {cell: {run.config.get(RATE) for run in runs} for cell, runs in cells.items()}
    for key, values, text in ((SEED, repeated, "has one seed"), (RATE, rates, UNTUNED)):
        poor = [cell for cell in cells if len(values[cell]) < 2]
        if poor:
            found.append(f"{_count(len(poor), len(cells))} {text}: give {key} at least two values")
    uneven = [cell for cell, runs in cells.items() if len(runs) < len(repeated[cell]) * len(rates[cell])]
    if uneven:
        found.append(f"{_count(len(uneven), len(cells))} lacks some pairs of seed and rate: plan the whole grid")
    return found


def _repetition(run: Run) -> tuple[Any, ...]:
    return tuple(run.config.get(key) for key in repeats_of(run.config))


def _count(some: int, of: int) -> str:
    return "every configuration" if some == of else f"{some} of {of} configurations{' each' * (some > 1)}"


def _varying(spec: Spec) -> set[str]:
    return {key for key, parameter in spec.parameters.items() if parameter.varies}


def sweep_id(spec: Spec, seed: int, rates: str | None = None, widen: str | None = None) -> str:
    """Return the sweep's ID: its name and a hash of what it plans. The same sweep has the same ID everywhere.

    rates: the IDs of the searches that its learning rates are from, with commas between; widen: of those it widens.
    """
    about = dataclasses.asdict(spec) | {"seed": seed, "name": "", "notes": ()}
    about |= {} if rates is None else {"rates": rates}
    about |= {} if widen is None else {"widen": widen}
    digest = hashlib.sha256(json.dumps(about, default=str).encode()).hexdigest()[:8]
    return f"{spec.name}-{digest}"
