"""What an experiment judges: the runs of a ledger, or those of a table that was committed with an earlier verdict."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gzip
import io
import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bestguess import files
from bestguess.command import UserError, told_of
from bestguess.sweep.distributions import quantile
from bestguess.sweep.keys import RATE, SEED, is_number
from bestguess.sweep.ledger import Ledger
from bestguess.sweep.plan import Run
from bestguess.sweep.spec import Spec, parse_spec, read_value

VERDICTS, RUNS, SWEEP, LISTS = "verdicts.json", "runs.csv", "sweep.yaml", "lists.json.gz"
_ABOUT_BEFORE, _ABOUT_AFTER = "selected", ("seconds", "device")
"""Columns of a table of runs between which the figures stand."""


@dataclass(frozen=True)
class Source:
    """The runs of an experiment and what is done of them."""

    name: str
    """Of the experiment."""
    id: str
    """Of the sweep."""
    planned: int
    asked: str
    """The sweep's YAML."""
    changes: tuple[str, ...]
    """To its parameters, as --set gave them."""
    runs: list[Run]
    records: list[dict[str, Any]]
    whole: bool = True
    """Whether the records have their long lists: tables that were written without them do not."""

    @property
    def constants(self) -> dict[str, Any]:
        """What all runs have in common, by dotted key."""
        first = self.runs[0].config
        return {key: value for key, value in first.items() if all(run.config.get(key) == value for run in self.runs)}


def of_ledger(ledger: Ledger) -> Source:
    """Return the runs of a sweep, and the records of those that are done."""
    asked, about = files.read_text(ledger.folder / SWEEP), ledger.about
    changes = tuple(about["changes"])
    runs, records = list(ledger.runs().values()), ledger.records()
    return Source(str(about["name"]), ledger.id, ledger.planned, asked, changes, runs, records)


def read_benchmark(path: Path) -> tuple[str, float, float, str]:
    """Return of a benchmark's JSON the best PyTorch variant, its steps/s, the operations of a step, and the device."""
    with told_of("--benchmark"):
        found = files.read_json(path)
        if found is None:
            raise UserError(f"{path}: no such file")
    try:
        best = found["best_pytorch"]
        rate, work, device = found["training"][best]["steps_per_second"], found["operations_per_step"], found["device"]
        if not all(is_number(one) and one > 0 for one in (rate, work)):
            raise ValueError("rates and operations are positive numbers")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"--benchmark {path}: not the figures of benchmarks/filters.py ({error})") from error
    return best, rate, work, device


def of_table(path: Path, name: str) -> Source:
    """Return the runs of a `runs.csv` that an experiment wrote, beside the YAML that it ran; UserError if it is off."""
    folder = path.parent
    if not (folder / SWEEP).is_file():
        raise UserError(f"--from {path}: no {SWEEP} beside it, which says what all its runs have in common")
    asked = files.read_text(folder / SWEEP)
    about = _about(folder / VERDICTS)
    changes = tuple(about.get("changes") or _changes(str(about.get("command", ""))))
    spec = parse_spec(asked, name, str(folder / SWEEP), changes)
    constants = about.get("constants") or {
        key: quantile(parameter, 0.0) for key, parameter in spec.parameters.items() if not parameter.varies
    }
    columns, rows = _read_table(path)
    if columns[:1] != ["run"] or _ABOUT_BEFORE not in columns or tuple(columns[-2:]) != _ABOUT_AFTER:
        raise UserError(f"--from {path}: no table of runs as `bestguess experiment` writes it")
    middle = columns.index(_ABOUT_BEFORE)
    keys, figures = columns[1:middle], columns[middle + 1 : -2]
    if not rows:
        raise UserError(f"--from {path}: has no run")
    for key in (RATE, SEED):
        if key not in keys:
            raise UserError(f"--from {path}: has no column {key}")
    lists = read_lists(folder / LISTS)
    records: list[dict[str, Any]] = []
    numeric = {figure for figure in figures if any(is_number(_value(row[figure])) for row in rows)} | {"seconds"}
    for row in rows:
        config = constants | {key: _level(spec, key, row[key]) for key in keys if row[key] != ""}
        found = {figure: _value(row[figure]) for figure in (*figures, "seconds")}
        where = f"--from {path}: run {row['run'][:40]}"
        for figure in numeric:
            if not is_number(found[figure]) and (row[figure] or figure == "seconds"):
                raise UserError(f"{where}: {figure} {row[figure][:40]!r}: no finite number")
        about_run = {"seconds": float(found.pop("seconds")), "device": row["device"]}
        records.append(
            {"run": row["run"], "config": config, "metrics": _nested(found | lists.get(row["run"], {})), **about_run}
        )
    runs = [Run(record["run"], record["config"], "") for record in records]
    planned = int(about.get("planned", len(runs)))
    return Source(name, str(about.get("sweep", folder.name)), planned, asked, changes, runs, records, bool(lists))


def write_lists(path: Path, lists: Mapping[str, Mapping[str, list[Any]]]) -> None:
    """Write the figures that a table of runs has no room for, by run and dotted name; none: nothing is left there."""
    if not lists:
        files.remove(path)
        return
    files.write_bytes(path, gzip.compress(json.dumps(lists, separators=(",", ":")).encode(), mtime=0))


def read_lists(path: Path) -> dict[str, dict[str, list[Any]]]:
    """Return what `write_lists` wrote, and nothing where there is no such file; UserError if it is off."""
    if not path.is_file():
        return {}
    with files.stream(path) as packed:
        found = files.parse_json(packed.read(), path)
    sound = isinstance(found, dict) and all(
        isinstance(own, dict) and all(isinstance(one, list) for one in own.values()) for own in found.values()
    )
    if not sound:
        raise UserError(f"{path}: no lists of runs as `bestguess experiment` writes them")
    return found


def renamed(source: Source, former: Mapping[str, Mapping[Any, Any]]) -> Source:
    """Return the source with levels of earlier sweeps under today's names, by the key of their parameter."""

    def today(config: Mapping[str, Any]) -> dict[str, Any]:
        return {key: former[key].get(value, value) if former.get(key) else value for key, value in config.items()}

    runs = [dataclasses.replace(run, config=today(run.config)) for run in source.runs]
    records = [record | {"config": today(record["config"])} for record in source.records]
    return dataclasses.replace(source, runs=runs, records=records)


def _read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns and the rows of a table, every row with all columns; UserError if it is none."""
    try:
        lines = list(csv.reader(io.StringIO(files.read_text(path)), strict=True))
    except csv.Error as error:
        raise UserError(f"--from {path}: no table of comma-separated values ({error})") from error
    columns = lines[0] if lines else []
    if len(set(columns)) < len(columns):
        raise UserError(f"--from {path}: has two columns of one name")
    for i, line in enumerate(lines[1:], 2):
        if len(line) != len(columns):
            raise UserError(f"--from {path}: line {i}: has {len(line)} cells, and the table {len(columns)} columns")
    names = [line[0] for line in lines[1:] if line]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"--from {path}: has run {twice[0][:40]} twice")
    return columns, [dict(zip(columns, line)) for line in lines[1:]]


def _about(path: Path) -> dict[str, Any]:
    found = files.read_json(path) if path.is_file() else {}
    if not isinstance(found, dict):
        return {}
    for key, kind in (("constants", dict), ("changes", list), ("planned", int), ("command", str)):
        if key in found and not isinstance(found[key], kind):
            raise UserError(f"{path}: {key}: damaged, or not what an experiment wrote")
    return found


def _changes(command: str) -> list[str]:
    """What --set says in the command of a verdict."""
    words = shlex.split(command)
    after = words[words.index("--set") + 1 :] if "--set" in words else []
    ends = [i for i, word in enumerate(after) if word.startswith("--")]
    return after[: ends[0]] if ends else after


def _level(spec: Spec, key: str, text: str) -> Any:
    """A value as the sweep's YAML has it: a level is found by equality."""
    parameter = spec.parameters.get(key)
    listed = {} if parameter is None else {str(value): value for value in parameter.arguments.get("values", ())}
    return listed.get(text, read_value(text))


def _value(text: str) -> Any:
    if text.startswith(("[", "{")):
        return read_value(text)
    if text in ("True", "False"):
        return text == "True"
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return number(text)
    return text or None


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Figures by dotted column as they were recorded: a dot between digits, as in 0.99, is no end of a name.

    An empty cell says nothing where a run has figures of another form: a room that is none, or one of its figures.
    """
    parts = {name: re.split(r"(?<!\d)\.|\.(?!\d)", name) for name in flat}
    around = {name: [".".join(rooms[:i]) for i in range(1, len(rooms))] for name, rooms in parts.items()}
    filled = {outer for name, outers in around.items() if flat[name] is not None for outer in outers}
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        if value is None and (name in filled or any(outer in flat for outer in around[name])):
            continue
        if any(flat.get(outer) is not None for outer in around[name]):
            raise UserError(f"--from: {name}: stands inside of another figure")
        inside = nested
        for room in parts[name][:-1]:
            inside = inside.setdefault(room, {})
        inside[parts[name][-1]] = value
    return nested
