"""The runs of a sweep and what is done of them: from its ledger, or from a table that can be committed.

A table is a folder with `runs.csv`, `sweep.yaml`, `lists.json.gz` where runs have long lists, and what all runs have in
common: in `verdicts.json` of an experiment, or in `sweep.json`. Imports nothing heavy.
"""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bestguess import files
from bestguess.command import UserError, told_of
from bestguess.sweep.distributions import quantile
from bestguess.sweep.keys import RATE, SEED, VALIDATION, family_of, is_number, repeats_of
from bestguess.sweep.ledger import Ledger, not_finite
from bestguess.sweep.plan import Run, config_of
from bestguess.sweep.spec import Spec, parse_spec
from bestguess.sweep.table import (
    cell_of,
    flat_figures,
    is_long,
    nested_figures,
    older_level_of,
    older_nested_figures,
    older_value_of,
    read_lists,
    read_rows,
    value_of,
    write_lists,
    write_rows,
)

VERDICTS, ABOUT, RUNS, SWEEP, LISTS = "verdicts.json", "sweep.json", "runs.csv", "sweep.yaml", "lists.json.gz"
_BEFORE, _AFTER, _VERSION = "selected", ("seconds", "device"), "version"
"""Columns of a table of runs between which the figures stand; the last is not in tables of older versions."""
_TEXTS = ("device", _VERSION)
"""Columns of texts, which stand as they are."""


@dataclass(frozen=True)
class Source:
    """The runs of a sweep and what is done of them."""

    name: str
    """Of the experiment or the search."""
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
    diverged: tuple[dict[str, Any], ...] = ()
    """The configs of the runs that are not done because their training diverged: their rates were tried."""
    path: Path | None = None
    """The table that it was read from; None: a ledger."""
    place: str = ""
    """Where the records stand, to be named in an error."""

    @property
    def constants(self) -> dict[str, Any]:
        """What all runs have in common, by dotted key."""
        first = self.runs[0].config
        text = {key: json.dumps(value) for key, value in first.items()}
        return {
            key: value
            for key, value in first.items()
            if all(key in run.config and json.dumps(run.config[key]) == text[key] for run in self.runs)
        }

    @property
    def undone(self) -> int:
        """How many runs are neither done nor diverged."""
        return max(0, self.planned - len(self.records) - len(self.diverged))


def of_ledger(ledger: Ledger) -> Source:
    """Return the runs of a sweep, and the records of those that are done."""
    about, runs, records = ledger.about, ledger.runs(), ledger.records()
    done = {record["run"] for record in records}
    return Source(
        str(about.get("name", ledger.id)),
        ledger.id,
        ledger.planned,
        files.read_text(ledger.folder / SWEEP),
        tuple(about.get("changes", ())),
        list(runs.values()),
        records,
        whole=all(record.get("whole", True) for record in records),
        diverged=tuple(run.config for name, run in runs.items() if name not in done and has_diverged(ledger, name)),
        place=str(ledger.folder / "done"),
    )


def has_diverged(ledger: Ledger, run: str) -> bool:
    """Return whether a run's last training was not finite."""
    failures = ledger.failures(run)
    return bool(failures) and failures[-1]["kind"] == "not finite"


# --------------------------------------------------------------------------------------------- writing


def write_table(folder: Path, source: Source, keys: Sequence[str], selected: Iterable[str]) -> None:
    """Write `runs.csv`, `lists.json.gz` and `sweep.yaml`; the caller adds what says what all runs have in common.

    keys: of the config, which have a column even if all runs have the same value, as rates and seeds do; others that
    differ stand before them. selected: the names of the runs with the learning rate of their cell.
    """
    constants, chosen = source.constants, set(selected)
    others = dict.fromkeys(key for one in source.records for key in one["config"])
    seeds = [key for key in repeats_of(source.records[0]["config"]) if key == SEED or key in others]
    keys = list(dict.fromkeys((*keys, RATE, *seeds)))
    columns = [*(key for key in others if key not in keys and key not in constants), *keys]
    flat = {record["run"]: flat_figures(record["metrics"]) for record in source.records}
    figures = list(dict.fromkeys(name for own in flat.values() for name, value in own.items() if not is_long(value)))
    rows = []
    for record in source.records:
        own = flat[record["run"]]
        config = [cell_of(record["config"][key]) if key in record["config"] else "" for key in columns]
        values = [cell_of(own[name]) if name in own and not is_long(own[name]) else "" for name in figures]
        about = [cell_of(record["seconds"]) if "seconds" in record else "", *(record.get(k, "") for k in _TEXTS)]
        rows.append([record["run"], *config, "yes" if record["run"] in chosen else "no", *values, *about])
    write_rows(folder / RUNS, ["run", *columns, _BEFORE, *figures, *_AFTER, _VERSION], rows)
    lists = {run: {name: value for name, value in own.items() if is_long(value)} for run, own in flat.items()}
    write_lists(folder / LISTS, {run: own for run, own in lists.items() if own})
    files.write_text(folder / SWEEP, source.asked)


def about_of(source: Source) -> dict[str, Any]:
    """Return what stands beside the table of a sweep without verdicts, in `sweep.json`."""
    return {
        "sweep": source.id,
        "changes": list(source.changes),
        "constants": source.constants,
        "runs": len(source.records),
        "planned": source.planned,
        "diverged": list(source.diverged),
    }


# --------------------------------------------------------------------------------------------- reading


def of_table(path: Path, name: str, flag: str = "--from") -> Source:
    """Return the runs of a `runs.csv`, beside the YAML that they were planned by; UserError names the flag and a file.

    name: of the sweep, where its YAML has none.
    """
    where = f"{flag} {path}"
    folder = path.parent
    if not (folder / SWEEP).is_file():
        raise UserError(f"{where}: no {SWEEP} beside it, which says what all its runs have in common")
    with told_of(flag):
        asked = files.read_text(folder / SWEEP)
        about = _about(folder)
        lists = read_lists(folder / LISTS)
        changes = tuple(about["changes"] if "changes" in about else _changes(about.get("command", ""), str(folder)))
        spec = parse_spec(asked, name, str(folder / SWEEP), changes)
    columns, rows = read_rows(path, flag)
    constants = about.get("constants") or {
        key: quantile(parameter, 0.0) for key, parameter in spec.parameters.items() if not parameter.varies
    }
    told = columns[-1:] == [_VERSION]
    after = (*_AFTER, *[_VERSION][:told])
    if columns[:1] != ["run"] or _BEFORE not in columns or tuple(columns[-len(after) :]) != after:
        raise UserError(f"{where}: no table of runs as `bestguess experiment` writes it")
    middle = columns.index(_BEFORE)
    keys, figures = columns[1:middle], columns[middle + 1 : -len(after)]
    if not rows:
        raise UserError(f"{where}: has no run")
    for key in (RATE, SEED):
        if key not in keys:
            raise UserError(f"{where}: has no column {key}")
    records = _records(where, spec, constants, keys, figures, rows, told)
    for record in records:
        with told_of(f"{where}: run {record['run'][:40]}"):
            make = nested_figures if told else older_nested_figures
            record["metrics"] = make(record["metrics"] | lists.get(record["run"], {}))
            if bad := not_finite(record["metrics"]):
                raise UserError(f"{bad[0]}: no finite number")
        if not told and about.get("version"):
            record["version"] = about["version"]
    runs = [Run(record["run"], record["config"], "") for record in records]
    diverged = tuple(about.get("diverged", ()))
    planned, id_ = int(about.get("planned", len(records))), str(about.get("sweep", folder.name))
    if planned < len(records):
        raise UserError(f"{where}: has {len(records)} runs, and the file beside it says that {planned} were planned")
    return Source(name, id_, planned, asked, changes, runs, records, bool(lists), diverged, path, str(path))


def _records(
    where: str,
    spec: Spec,
    constants: dict[str, Any],
    keys: Sequence[str],
    figures: Sequence[str],
    rows: Sequence[dict[str, str]],
    told: bool,
) -> list[dict[str, Any]]:
    """Return the records of a table's rows, figures by dotted name. told: the table is of today's form."""

    def value(cell: str, at: str) -> Any:
        return value_of(cell, at) if told else older_value_of(cell)

    def level(key: str, cell: str, at: str) -> Any:
        return value_of(cell, at) if told else older_level_of(spec, key, cell)

    found: list[dict[str, Any]] = []
    for row in rows:
        at = f"{where}: run {row['run'][:40]}"
        config = constants | {key: level(key, row[key], f"{at}: {key}") for key in keys if row[key] != ""}
        metrics = {name: value(row[name], f"{at}: {name}") for name in figures if row[name] != "" or not told}
        about: dict[str, Any] = {name: row[name] for name in _TEXTS if row.get(name) or (name in row and not told)}
        if row["seconds"] or not told:
            about["seconds"] = value(row["seconds"], f"{at}: seconds")
            if not is_number(about["seconds"]):
                raise UserError(f"{at}: seconds {row['seconds'][:40]!r}: no finite number")
        found.append({"run": row["run"], "config": config, "metrics": metrics, **about})
    numeric = {name for name in figures if any(is_number(one["metrics"].get(name)) for one in found)}
    for row, one in zip(rows, found):
        for name in numeric & one["metrics"].keys():
            figure = one["metrics"][name]
            odd = isinstance(figure, str) or bool(not_finite(figure)) if told else bool(row[name])
            if odd and not is_number(figure):
                at = f"{where}: run {row['run'][:40]}"
                raise UserError(f"{at}: {name} {row[name][:40]!r}: no finite number")
    return found


def _about(folder: Path) -> dict[str, Any]:
    """What stands beside a table, checked."""
    path = next((folder / name for name in (VERDICTS, ABOUT) if (folder / name).is_file()), folder / VERDICTS)
    found = files.read_json(path) if path.is_file() else {}
    if not isinstance(found, dict):
        return {}
    kinds = {"constants": dict, "changes": list, "planned": int, "command": str, "diverged": list, "version": str}
    for key, kind in kinds.items():
        inner = {"changes": str, "diverged": dict}.get(key, object)
        if key not in found:
            continue
        sound = isinstance(found[key], kind) and not isinstance(found[key], bool)
        if not sound or (kind is list and not all(isinstance(one, inner) for one in found[key])):
            raise UserError(f"{path}: {key}: damaged, or not what an experiment wrote")
    return found


def _changes(command: str, where: str) -> list[str]:
    """What --set says in the command of a verdict."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UserError(f"{where}: command: damaged ({error})") from error
    after = words[words.index("--set") + 1 :] if "--set" in words else []
    ends = [i for i, word in enumerate(after) if word.startswith("--")]
    return after[: ends[0]] if ends else after


# ------------------------------------------------------------------------------------ what others have done


def table_at(name: str) -> Path | None:
    """Return the `runs.csv` that `name` means, a file or a folder with one; None where it can only be a sweep."""
    path = Path(name)
    if path.suffix == ".csv":
        return path
    return path / RUNS if os.path.lexists(path / RUNS) and not (path / "plan.json").exists() else None


def done_elsewhere(root: Path, name: str, flag: str, *, scored: bool = True) -> Source:
    """Return the sweep `name`, by its ID under `root`, its folder, or its table; UserError names the flag.

    A table's runs must be such that they can stand for runs that were trained here. scored: with what they report on
    test data; a search that only tells rates needs no more than what selects them.
    """
    path = table_at(name)
    if path is None:
        with told_of(flag):
            return of_ledger(Ledger.find(root, name))
    where = f"{flag} {path}"
    if not path.is_file():
        raise UserError(f"{where}: no such file")
    if not any((path.parent / one).is_file() for one in (VERDICTS, ABOUT)):
        raise UserError(f"{where}: no {VERDICTS} or {ABOUT} beside it, which says what all its runs have in common")
    found = of_table(path, path.parent.name, flag)
    reported: dict[str, str] = {}
    for record in found.records:
        with told_of(f"{where}: run {record['run'][:40]}"):
            family = str(record["config"].get("family"))
            if family not in reported:
                reported[family] = family_of(record["config"]).reported
            for figure in (VALIDATION, *[reported[family]][:scored]):
                if not is_number(record["metrics"].get(figure)):
                    raise UserError(f"{figure}: no number in its figures")
    return found


def ids_of(root: Path, names: str, flag: str) -> str:
    """Return the IDs of searches that are named with commas between, in that form: a table has that of its sweep."""

    def known(name: str) -> str:
        return Path(name).name if table_at(name) is None else done_elsewhere(root, name, flag, scored=False).id

    return ",".join(map(known, names.split(",")))


def check_agreement(sources: Iterable[Source], flag: str) -> None:
    """Raise a UserError where two tables, or two rows of one, have other figures for the very same run."""
    seen: dict[str, tuple[Source, dict[str, Any]]] = {}
    for source in sources:
        for record in source.records if source.path is not None else ():
            first, before = seen.setdefault(config_text(record["config"]), (source, record))
            if name := _differs(before["metrics"], record["metrics"]):
                runs = f"run {before['run'][:40]} of {first.path} and run {record['run'][:40]} of {source.path}"
                raise UserError(f"{flag}: {runs} are the same and differ in {name}; give one of the two tables")


def config_text(config: dict[str, Any]) -> str:
    """Return a run's config as text: equal for the very same configuration, 1 apart from 1.0."""
    return json.dumps(config, sort_keys=True)


def _differs(one: dict[str, Any], other: dict[str, Any]) -> str | None:
    """The first figure in which two records differ by more than what an older table rounds."""
    ours, theirs = flat_figures(one), flat_figures(other)
    for name in ours.keys() & theirs.keys():
        a, b = ours[name], theirs[name]
        if is_number(a) and is_number(b):
            if not math.isclose(a, b, rel_tol=1e-9):
                return name
        elif (is_number(a) or is_number(b) or isinstance(a, str)) and a != b:
            return name
    return None


def check_configs(source: Source, flag: str) -> None:
    """Raise a UserError where a table has a config that is none."""
    for name, config in [*((one["run"], one["config"]) for one in source.records), *(("", c) for c in source.diverged)]:
        with told_of(
            f"{flag} {source.path}: run {name[:40]}" if name else f"{flag} {source.path}: a run that diverged"
        ):
            config_of(config)


def records_of(source: Source) -> list[dict[str, Any]]:
    """Return the records as another ledger takes them over: they say which table they are from, and what they lack."""
    if source.path is None:
        return source.records
    more: dict[str, Any] = {"table": str(source.path)} | ({} if source.whole else {"whole": False})
    return [record | more for record in source.records]
