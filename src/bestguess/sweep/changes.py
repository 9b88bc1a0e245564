"""A sweep's keys that change others: an experiment goes through a list of changes. Imports nothing heavy."""

from __future__ import annotations

import copy
import functools
import shlex
from collections.abc import Mapping
from typing import Any

from bestguess import files
from bestguess.command import UserError

CHANGES = ("change", "then")
"""Keys of a sweep whose values are changes to the others, in the order in which they are applied."""


def changed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a sweep's nested values with its keys `change` and then `then` applied.

    Each is KEY=VALUE, several of them with spaces between, or `nothing`: a sweep that goes through a list of changes
    varies `change`, and `then` cuts all of them down for a small machine. A value is YAML, as everywhere in a sweep,
    and is quoted where it has spaces: task.source='iid alphabet=2'.
    """
    given = dict(values)
    for name in CHANGES:
        change = str(given.pop(name, "nothing"))
        if change != "nothing":
            given = _changed(given, name, change)
    return given


def _changed(given: dict[str, Any], name: str, change: str) -> dict[str, Any]:
    for one, key, value in _read(name, change):
        room, dot, inner = key.partition(".")
        if dot and not isinstance(given.get(room, {}), dict):
            raise _unreadable(name, one)
        value = copy.deepcopy(value)  # it is read once for all runs
        given |= {room: given.get(room, {}) | {inner: value}} if dot else {key: value}
    return given


@functools.lru_cache(1024)
def _read(name: str, change: str) -> list[tuple[str, str, Any]]:
    """Return each of the changes that a key `name` names: its text, the key, the value."""
    try:
        several = shlex.split(change) or [change]
    except ValueError as error:
        raise UserError(f"{name}: {change!r}: {error}; close the quotation") from None
    found = []
    for one in several:
        key, equals, text = one.partition("=")
        if not equals:
            raise _unreadable(name, one)
        found.append((one, key, files.parse_yaml(text, f"{name}: {one}")))
    return found


def _unreadable(name: str, one: str) -> UserError:
    return UserError(f"{name}: {one!r}: write KEY=VALUE, such as model.heads=8, or nothing")
