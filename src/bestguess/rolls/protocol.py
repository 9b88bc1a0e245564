"""How a sequence model was trained and tested, as a file tells it: `protocol.json`, or one written by hand.

A key that is absent or null is "not told". Indices count the file's values from 0; `stop` is excluded. A window at
`start` has `window` values of context; head h predicts the value h steps after each of them.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from bestguess import files
from bestguess.command import UserError, nearest
from bestguess.rolls.file import VALUES
from bestguess.rolls.spans import spans

NAME = "protocol.json"
"""The protocol's name in the folder of a training."""
_LARGEST = 1 << 48
"""Largest integer in a protocol: sums of a few stay far from the limit of int64."""


@dataclass(frozen=True)
class Part:
    """Part of the file: the values from `start` to `stop`, or the windows at `starts`."""

    start: int | None = None
    stop: int | None = None
    stride: int | None = None
    """Values from one window's start to the next one's."""
    starts: Sequence[int] | None = None
    """Starts of the windows, in place of start, stop and stride."""
    with_replacement: bool | None = None
    """Whether windows are drawn with replacement."""

    def spans(self, window: int | None, heads: int | None) -> np.ndarray | None:
        """Return the indices that serve as context or target, as spans; None where window or heads are not told."""
        if self.starts is None:
            assert self.start is not None
            assert self.stop is not None
            return spans(np.array([self.start]), np.array([self.stop]))
        if window is None or heads is None:
            return None
        starts = np.asarray(self.starts, np.int64)
        return spans(starts, starts + (window + heads))


@dataclass(frozen=True)
class FittedBins:
    """Bins of the values. No edges at all: there are no bins."""

    edges: Sequence[int | float] | None = None
    """Ascending, with or without the lowest and the highest."""
    fitted_on: Part | None = None
    """The values that the edges are computed from."""


@dataclass(frozen=True)
class Protocol:
    """How a sequence model was trained and tested. None: not told."""

    file: str | None = None
    """Path of the values; a relative one starts at the protocol's folder."""
    sha256: str | None = None
    values: int | None = None
    """Number of values in the file."""
    window: int | None = None
    """Values of context."""
    heads: int | None = None
    """Number of next values that are predicted at each position; 1 for the next one alone."""
    training: Part | None = None
    validation: Part | None = None
    """start = stop where there is none."""
    test: Part | None = None
    bins: FittedBins | None = None
    looks: int | None = None
    """How often the test statistic was looked at before the last value."""
    tries: int | None = None
    """Number of models that were tested."""
    combined: str | None = None
    """How the tries became one result: `mean` or `best`."""
    statistic: str | None = None
    """`e-process`, `z` or `p-value`."""
    targets: int | None = None
    """Number of predictions that the statistic counts as independent."""
    selected_on: str | None = None
    """The part that weights, rates and early stopping were chosen on: `validation` or `test`."""


_WORDS = {
    "combined": ("mean", "best"),
    "statistic": ("e-process", "z", "p-value"),
    "selected_on": ("validation", "test"),
}


def write_protocol(path: Path, protocol: Protocol) -> Path:
    """Write a protocol as JSON, without what is not told; return its path."""
    return files.write_json(path, _told(asdict(protocol)))


def _told(value: dict[str, Any]) -> dict[str, Any]:
    return {key: _told(one) if isinstance(one, dict) else one for key, one in value.items() if one is not None}


def read_protocol(path: Path) -> tuple[Protocol, Path]:
    """Return the protocol in a JSON or YAML file, or in a training's folder, and the file's path."""
    path = path / NAME if os.path.isdir(path) else path
    try:
        if path.suffix.lower() in (".yaml", ".yml"):
            value = files.read_yaml(path)
        else:
            value = files.parse_json(files.read_text(path), path)
    except files.Unreadable as error:
        raise UserError(
            f"PROTOCOL {path}: {error.reason}; give the folder of a training, or a protocol in JSON or YAML"
        ) from None
    return parse_protocol(value, f"PROTOCOL {path}"), path


def parse_protocol(value: Any, where: str) -> Protocol:
    """Return the protocol that a JSON value describes; UserError for anything else, in one line that starts `where`."""
    return _Reader(where).protocol(value)


class _Reader:
    """Reads a protocol strictly; every error names the key."""

    def __init__(self, where: str) -> None:
        self._where = where

    def protocol(self, value: Any) -> Protocol:
        given = self._mapping(value, "", Protocol)
        made = Protocol(
            file=self._of("file", given, self._text),
            sha256=self._of("sha256", given, self._sha256),
            **{key: self._of(key, given, self._count) for key in ("values", "window", "heads")},
            **{key: self._of(key, given, self._part) for key in ("training", "validation", "test")},
            bins=self._of("bins", given, self._bins),
            **{key: self._of(key, given, self._count) for key in ("looks", "tries", "targets")},
            **{key: self._of(key, given, self._word) for key in _WORDS},
        )
        self._check_ends(made)
        return made

    def error(self, key: str, wrong: str) -> UserError:
        return UserError(f"{self._where}: {key}: {wrong}" if key else f"{self._where}: {wrong}")

    def _of(self, key: str, given: Mapping[str, Any], read: Callable[[Any, str], Any]) -> Any:
        """Return what stands under a key (its name after the last dot), read; None where it is not told."""
        value = given.get(key.rpartition(".")[2])
        return None if value is None else read(value, key)

    def _mapping(self, value: Any, key: str, kind: type) -> Mapping[str, Any]:
        known = [one.name for one in fields(kind)]
        if not isinstance(value, dict):
            raise self.error(key, f"not a mapping; its keys are {', '.join(known)}")
        for name in value:
            if name not in known:
                place = f"{key}.{name}" if key else str(name)
                raise self.error(place, f"unknown key{nearest(str(name), known)} (known: {', '.join(known)})")
        return value

    def _text(self, value: Any, key: str) -> str:
        if not isinstance(value, str) or not value:
            raise self.error(key, f"{_short(value)} is not a text")
        return value

    def _sha256(self, value: Any, key: str) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", value, re.ASCII):
            raise self.error(key, f"{_short(value)} is not a SHA-256 of 64 hexadecimal digits; give it, or null")
        return value.lower()

    def _word(self, value: Any, key: str) -> str:
        known = _WORDS[key]
        if value not in known:
            raise self.error(key, f"{_short(value)} is not one of {', '.join(known)}, null{nearest(str(value), known)}")
        return value

    def _bool(self, value: Any, key: str) -> bool:
        if not isinstance(value, bool):
            raise self.error(key, f"{_short(value)} is not true, false or null")
        return value

    def _index(self, value: Any, key: str, least: int = 0) -> int:
        whole = int(value) if isinstance(value, float) and value.is_integer() else value  # 1e9 is a float in JSON
        if isinstance(whole, bool) or not isinstance(whole, int) or not least <= whole <= _LARGEST:
            raise self.error(key, f"{_short(value)} is not an integer from {least} to 2^48")
        return whole

    def _count(self, value: Any, key: str) -> int:
        return self._index(value, key, least=1)

    def _part(self, value: Any, key: str) -> Part:
        given = self._mapping(value, key, Part)
        made = Part(
            start=self._of(f"{key}.start", given, self._index),
            stop=self._of(f"{key}.stop", given, self._index),
            stride=self._of(f"{key}.stride", given, self._count),
            starts=self._of(f"{key}.starts", given, self._starts),
            with_replacement=self._of(f"{key}.with_replacement", given, self._bool),
        )
        if made.starts is not None and (made.start, made.stop, made.stride) != (None, None, None):
            raise self.error(key, "has both starts and start, stop or stride; give one of the two")
        if made.starts is None and (made.start is None or made.stop is None):
            raise self.error(key, "has no start and stop; give both, or starts, or null for the whole")
        if made.start is not None and made.stop is not None and made.stop < made.start:
            raise self.error(f"{key}.stop", f"{made.stop} is before start {made.start}")
        return made

    def _starts(self, value: Any, key: str) -> tuple[int, ...]:
        if not isinstance(value, list):
            raise self.error(key, f"{_short(value)} is not a list of indices")
        return tuple(self._index(one, f"{key}[{i}]") for i, one in enumerate(value))

    def _bins(self, value: Any, key: str) -> FittedBins:
        given = self._mapping(value, key, FittedBins)
        return FittedBins(
            edges=self._of(f"{key}.edges", given, self._edges),
            fitted_on=self._of(f"{key}.fitted_on", given, self._part),
        )

    def _edges(self, value: Any, key: str) -> tuple[int | float, ...]:
        if not isinstance(value, list) or len(value) > VALUES + 1:
            raise self.error(key, f"{_short(value)} is not a list of at most {VALUES + 1} numbers")
        for i, one in enumerate(value):
            if isinstance(one, bool) or not isinstance(one, int | float) or not abs(one) <= _LARGEST:
                raise self.error(f"{key}[{i}]", f"{_short(one)} is not a number from −2^48 to 2^48")
            if i and one < value[i - 1]:
                raise self.error(f"{key}[{i}]", f"{_short(one)} is below the edge before it; sort them")
        return tuple(value)

    def _check_ends(self, made: Protocol) -> None:
        """Raise UserError if a part reaches past the file's end as it is told."""
        named = {name: getattr(made, name) for name in ("training", "validation", "test")}
        named["bins.fitted_on"] = made.bins.fitted_on if made.bins else None
        for name, part in named.items():
            if made.values is None or part is None:
                continue
            end, key = (max(part.starts, default=-1) + 1, "starts") if part.starts is not None else (part.stop, "stop")
            if end > made.values:
                raise self.error(f"{name}.{key}", f"{end:,} is past the file's {made.values:,} values")


def _short(value: Any) -> str:
    """A value of the file, cut to what fits an error message."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 1 << 64:
        return f"an integer of {math.log10(abs(value)):.0f} digits"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
