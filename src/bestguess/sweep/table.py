"""The cells of a table of runs, `runs.csv`, and the lists beside it: written so that they read back as they were.

A cell is a number, `True` or `False`, `null`, or JSON for a list, a mapping or a text that would read as one of these;
any other text stands as it is. An empty cell is a figure or a key that the run does not have. Tables of older versions,
which lack the column `version`, round figures to twelve digits and leave `null` empty; they are read as before.
Imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bestguess import files
from bestguess.command import UserError, told_of
from bestguess.sweep.spec import Spec, read_value

LONG = 8
"""Values of a list that still are one figure of a table."""


def cell_of(value: Any) -> str:
    """Return the cell of a plain value."""
    if value is None:
        return "null"
    if isinstance(value, str):
        with contextlib.suppress(files.Unreadable, UnicodeEncodeError):
            if value.encode() and _read(value) == value:
                return value
    return json.dumps(value) if isinstance(value, str | list | dict) else str(value)


def value_of(cell: str, where: str) -> Any:
    """Return the value of a cell that `cell_of` wrote; UserError with `where` for one that it did not."""
    try:
        return _read(cell)
    except files.Unreadable as error:
        raise UserError(f"{where} {cell[:40]!r}: damaged, or not as it was written") from error


def _read(cell: str) -> Any:
    if cell in _NAMED:
        return _NAMED[cell]
    if cell.startswith(("[", "{", '"')):
        return files.parse_json(cell, "a cell")
    return _number_or_text(cell)


def _number_or_text(cell: str) -> int | float | str:
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return number(cell)
    return cell


_NAMED = {"null": None, "True": True, "False": False}


def older_value_of(cell: str) -> Any:
    """Return the value of a figure's cell in a table of an older version."""
    if cell.startswith(("[", "{")):
        return read_value(cell)
    if cell in ("True", "False"):
        return cell == "True"
    return _number_or_text(cell) if cell else None


def older_level_of(spec: Spec, key: str, cell: str) -> Any:
    """Return a value as the sweep's YAML has it, in a table of an older version: a level is found by equality."""
    parameter = spec.parameters.get(key)
    listed = {} if parameter is None else {str(value): value for value in parameter.arguments.get("values", ())}
    return listed.get(cell, read_value(cell))


# --------------------------------------------------------------------------------------------- figures


def split(name: str) -> list[str]:
    """Return the parts of a figure's dotted name: a dot between digits, as in 0.99, is no end of a part."""
    return re.split(r"(?<!\d)\.|\.(?!\d)", name)


def flat_figures(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's figures by dotted name; a mapping whose names would not split again stays one figure."""
    return {".".join(path): value for name, value in metrics.items() for path, value in _leaves([name], value)}


def _leaves(path: list[str], value: Any) -> Iterator[tuple[list[str], Any]]:
    if isinstance(value, dict) and value and all(split(".".join([*path, key])) == [*path, key] for key in value):
        for key, inner in value.items():
            yield from _leaves([*path, key], inner)
    else:
        yield path, value


def nested_figures(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `flat_figures` was given; UserError where one figure stands inside of another."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *rooms, last = split(name)
        inside: Any = nested
        for room in rooms:
            inside = inside.setdefault(room, {})
            if not isinstance(inside, dict):
                raise UserError(f"{name[:80]}: is nested inside another figure")
        if last in inside:
            raise UserError(f"{name[:80]}: is nested inside another figure")
        inside[last] = value
    return nested


def older_nested_figures(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a run in a table of an older version, nested.

    An empty cell says nothing where a run has figures of another form: a room that is none, or one of its figures.
    """
    parts = {name: split(name) for name in flat}
    around = {name: [".".join(rooms[:i]) for i in range(1, len(rooms))] for name, rooms in parts.items()}
    filled = {outer for name, outers in around.items() if flat[name] is not None for outer in outers}
    kept = {}
    for name, value in flat.items():
        if value is None and (name in filled or any(outer in flat for outer in around[name])):
            continue
        if any(flat.get(outer) is not None for outer in around[name]):
            raise UserError(f"{name[:80]}: is nested inside another figure")
        kept[name] = value
    return nested_figures(kept)


# ----------------------------------------------------------------------------------------------- files


def is_long(value: Any) -> bool:
    """Return whether a figure has no room in a cell."""
    return isinstance(value, list) and (len(value) > LONG or any(isinstance(one, str) for one in value))


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table of cells."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([columns, *rows])
    files.write_text(path, table.getvalue())


def read_rows(path: Path, flag: str) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns and the rows of a table, every row with all columns; UserError with the flag if it is none."""
    where = f"{flag} {path}"
    with told_of(flag):
        text = files.read_text(path)
    try:
        lines = list(csv.reader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise UserError(f"{where}: no table of comma-separated values ({error})") from error
    columns = lines[0] if lines else []
    if len(set(columns)) < len(columns):
        raise UserError(f"{where}: has two columns of one name")
    for i, line in enumerate(lines[1:], 2):
        if len(line) != len(columns):
            raise UserError(f"{where}: line {i}: has {len(line)} cells, and the table {len(columns)} columns")
    names = [line[0] for line in lines[1:] if line]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"{where}: has run {twice[0][:40]} twice")
    return columns, [dict(zip(columns, line)) for line in lines[1:]]


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
        raise UserError(f"{path}: no lists of runs as they are written beside a table")
    return found
