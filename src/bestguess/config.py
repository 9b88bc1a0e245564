"""Configs as frozen dataclasses: the runs that one makes, and its way to and from YAML. Imports nothing heavy.

A config is a dataclass of rooms (`task`, `model`, `train`), themselves dataclasses. A field that is a run axis is
declared once, where it stands, with `axis`: several values make several runs. Run lists, labels, the shapes that
runs share, and the columns of tables follow from the declaration.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import shlex
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, cast

from bestguess import files
from bestguess.command import UserError, nearest

C = TypeVar("C")
_hints = functools.cache(typing.get_type_hints)  # a sweep plans ten thousand configs

SEED, RATE = "seed", "learning_rate"
"""The axes of every config with a room `train`: what a setting is repeated over, and what is tuned for it."""


@dataclass(frozen=True)
class Axis:
    """What a run axis is called in labels."""

    symbol: str
    """Before the value, such as `λ`; "" where the value says enough."""
    setting: bool = True
    """Whether its values are settings to be compared, or are tuned for each setting, as the learning rate is."""
    always: bool = False
    """Whether a run that differs from no other is called by it."""


def axis(default: tuple, symbol: str, *, setting: bool = True, always: bool = False) -> Any:
    """Return a field whose several values make several runs; they end up in arrays, so shapes do not depend on it."""
    return field(default=default, metadata={"axis": Axis(symbol, setting, always), "arrays": True})


def arrays(default: Any) -> Any:
    """Return a field with one value a config, which ends up in arrays: runs that differ in it share a shape."""
    return field(default=default, metadata={"arrays": True})


def infinite(default: float) -> Any:
    """Return a field that may be inf, which disables what it bounds."""
    return field(default=default, metadata={"infinite": True})


def added(default: Any, *, before: Any = dataclasses.MISSING, arrays: bool = False) -> Any:
    """Return a field that older files lack.

    before: what was done before there was such a field, where that is not the default. arrays: it ends up in arrays.
    """
    was = default if before is dataclasses.MISSING else before
    return field(default=default, metadata={"before": was, "arrays": arrays})


MOST = 2**31 - 1
"""The largest whole number of a field, unless its class says otherwise in MOST."""
MOST_RUNS = 10_000
"""Runs that one config may make."""


def check_bounds(given: Any, name: Callable[[str], str] | None = None) -> None:
    """Raise a UserError for a whole number of a dataclass, or of those in it, that is beyond the bound of its field.

    Every flag and config goes through here first. A class names bounds of its own in `MOST: ClassVar[dict[str, int]]`.
    name: from a field to what an error calls it; by default its flag.
    """
    bounds = {key: most for cls in reversed(type(given).__mro__) for key, most in vars(cls).get("MOST", {}).items()}
    for one in dataclasses.fields(given):
        value = getattr(given, one.name)
        if dataclasses.is_dataclass(value):
            check_bounds(value, name)
            continue
        for item in value if isinstance(value, tuple) else (value,):
            most = bounds.get(one.name, MOST)
            if isinstance(item, int) and abs(item) > most:
                bound = f"at most {most:,}" if item > 0 else f"at least -{most:,}"
                raise UserError(f"{(name or flag)(one.name)} {item}: {bound}")


# ------------------------------------------------------------------------------------------ runs


@dataclass(frozen=True)
class Run(Generic[C]):
    """One run of a config: what sets it apart, and the config that is its own."""

    index: int
    config: C
    """With one value for each axis, and one seed."""
    values: Mapping[str, Any]
    """By the axis' YAML key, `seed` and `learning_rate` the last two."""
    axes: Mapping[str, Axis] = field(repr=False, compare=False)

    @property
    def setting(self) -> tuple:
        """What a learning rate is tuned for: the values of the axes that are compared."""
        return tuple(value for key, value in self.values.items() if key != SEED and self.axes[key].setting)

    @property
    def seed(self) -> int:
        """The seed that draws the task (unless that has a seed of its own), the initial weights and the data."""
        return int(self.values[SEED])

    @property
    def learning_rate(self) -> float:
        """The peak learning rate."""
        return float(self.values[RATE])

    def label(self, among: Sequence[Run]) -> str:
        """Return the run's name among others: only what differs between them."""
        order = sorted(self.values, key=lambda key: key == SEED)  # the seed is told last
        told = [key for key in order if len({run.values[key] for run in among}) > 1]
        return ", ".join(self._told(key) for key in told) or self.name("always") or "the run"

    def name(self, which: Literal["always", "setting"] = "setting") -> str:
        """Return the values of the axes that are settings, or of those that are always told, as text."""
        keys = [key for key in self.values if key != SEED and getattr(self.axes[key], which)]
        return ", ".join(self._told(key) for key in keys)

    def _told(self, key: str) -> str:
        value = self.values[key]
        told = f"{value:g}" if isinstance(value, float) else str(value)
        return f"{self.axes[key].symbol} {told}".strip()


def runs(config: C) -> list[Run[C]]:
    """Return the config's runs in the order of the run axis: its family's axes, the seed, then the learning rate."""
    _check_numbers(config)
    axes = dict(axes_of(config))
    last = {path: axes.pop(path) for path in [("train", RATE)] if path in axes}
    train = cast(Any, config).train
    seeds = range(train.first_seed, train.first_seed + train.seeds)
    every = [*(_get(config, path) for path in axes), seeds, *(_get(config, path) for path in last)]
    if (count := math.prod(map(len, every))) > MOST_RUNS:
        raise UserError(f"--seeds {train.seeds}: makes {count:,} runs in all, and at most {MOST_RUNS:,} train together")
    named = {_key(path): one for path, one in axes.items()} | {SEED: Axis("seed")}
    named |= {_key(path): one for path, one in last.items()}
    made = []
    for index, values in enumerate(itertools.product(*every)):
        own = dict(zip(named, values))
        narrowed = config
        for path in (*axes, *last):
            narrowed = _with(narrowed, path, (own[_key(path)],))
        narrowed = _with(_with(narrowed, ("train", "seeds"), 1), ("train", "first_seed"), own[SEED])
        made.append(Run(index, narrowed, own, named))
    return made


def _check_numbers(config: Any) -> None:
    """Raise a UserError for a number that float32, in which all is computed, does not hold."""
    for path, one in _leaves(config):
        given = _get(config, path)
        for value in given if isinstance(given, tuple) else (given,):
            if not isinstance(value, float) or value == 0 or (math.isinf(value) and one.metadata.get("infinite")):
                continue
            if not _SMALLEST <= abs(value) <= _LARGEST:  # nan as well
                raise UserError(
                    f"{flag(path[-1])} {value}: must be finite, and within float32 ({_SMALLEST} to {_LARGEST})"
                )


_SMALLEST, _LARGEST = 1.2e-38, 3.4e38
"""Of float32."""


def run_of_single(config: C, index: int = 0) -> Run[C]:
    """Return the only run of a config that has one value for each axis, at a place of its own among others."""
    (one,) = runs(config)
    return dataclasses.replace(one, index=index)


def axes_of(config: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Axis]]:
    """Yield the path of each field that is a run axis, room by room, with its declaration."""
    yield from ((path, one.metadata["axis"]) for path, one in _leaves(config, prefix) if "axis" in one.metadata)


def task_key(config: Any) -> str:
    """Return a text that is equal for runs of one task: they differ in the learning rate alone."""
    return json.dumps(to_dict(_with(config, ("train", RATE), ())), sort_keys=True)


def shape_key(config: Any) -> str:
    """Return a text that is equal for runs which one compiled program can train: all but what ends up in arrays."""
    return json.dumps(_without_arrays(config), sort_keys=True)


def _without_arrays(config: Any) -> dict[str, Any]:
    found = {}
    for one in dataclasses.fields(config):
        if not one.metadata.get("arrays"):
            value = getattr(config, one.name)
            found[key_of(one.name)] = _without_arrays(value) if dataclasses.is_dataclass(value) else _plain(value)
    return found


def before(config: Any) -> dict[str, Any]:
    """Return, by dotted key, what older files mean that lack a field whose default is another by now."""
    return {
        ".".join(map(key_of, path)): _plain(one.metadata["before"])
        for path, one in _leaves(config)
        if "before" in one.metadata and one.metadata["before"] != one.default
    }


def _leaves(config: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dataclasses.Field]]:
    for one in dataclasses.fields(config):
        value, path = getattr(config, one.name), (*prefix, one.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, path)
        else:
            yield path, one


def _key(path: tuple[str, ...]) -> str:
    return key_of(path[-1])


def _get(config: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        config = getattr(config, name)
    return config


def _with(config: C, path: tuple[str, ...], value: Any) -> C:
    """Return the config with another value at `path`."""
    name, *rest = path
    inner = _with(getattr(config, name), tuple(rest), value) if rest else value
    return dataclasses.replace(cast(Any, config), **{name: inner})


# ------------------------------------------------------------------------------------------ values in place of defaults


def with_values(base: C, values: Mapping[str, Any], where: str = "") -> C:
    """Return the config `base` with nested `values` in place of its own, checked; UserError names a key that is off."""
    plain = to_dict(base)
    for key, value in values.items():
        is_room = isinstance(plain.get(key), dict) and isinstance(value, Mapping)
        plain[key] = plain[key] | dict(value) if is_room else value
    made = from_dict(type(base), plain, where)
    cast(Any, made).check()
    return made


def nested(config: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values that are given by field names alone, such as lambda_=0.97, by room, as `with_values` takes them.

    UserError names a field that no room has, or that several have: such a one is given as room__field.
    """
    rooms: dict[str, list[tuple[str, ...]]] = {}
    for path, _ in _leaves(config):
        rooms.setdefault(_key(path), []).append(path)
    found: dict[str, Any] = {}
    for name, value in values.items():
        room, _, inner = name.rpartition("__") if "__" in name.strip("_") else ("", "", name)
        paths = [path for path in rooms.get(key_of(inner), ()) if not room or path[0] == room]
        if not paths:
            raise UserError(f"{name}: no field of a config{nearest(key_of(inner), rooms)}")
        if len(paths) > 1:
            raise UserError(
                f"{name}: {' and '.join('__'.join(path) for path in paths)} have this name; give one of them"
            )
        *above, last = paths[0]
        inside = found
        for one in above:
            inside = inside.setdefault(one, {})
        inside[key_of(last)] = list(value) if isinstance(value, tuple) else value
    return found


def only_run(config: C) -> C:
    """Return the config if it makes one run; UserError names the axis that has several values otherwise."""
    if len(runs(config)) != 1:
        several = [_key(path) for path, _ in axes_of(config) if len(_get(config, path)) > 1]
        raise UserError(f"{(several or [RATE])[0]}: a run of a sweep has one value; list them under values")
    return config


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
    try:
        several = shlex.split(change) or [change]
    except ValueError as error:
        raise UserError(f"{name}: {change!r}: {error}; close the quotation") from None
    for one in several:
        key, equals, text = one.partition("=")
        room, dot, inner = key.partition(".")
        if not equals or (dot and not isinstance(given.get(room, {}), dict)):
            raise UserError(f"{name}: {one!r}: write KEY=VALUE, such as model.heads=8, or nothing")
        value = files.parse_yaml(text, f"{name}: {one}")
        given |= {room: given.get(room, {}) | {inner: value}} if dot else {key: value}
    return given


# ------------------------------------------------------------------------------------------ YAML


def flag(name: str) -> str:
    """Return the command-line flag of a field."""
    return "--" + key_of(name).replace("_", "-")


def key_of(name: str) -> str:
    """Return the YAML key of a field: a trailing underscore only keeps Python's keyword apart."""
    return name.rstrip("_")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a nested dataclass as a dict of plain values, ready for YAML or JSON."""
    return {key_of(f.name): _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def from_dict(cls: type[C], data: Any, where: str = "", complete: bool = False) -> C:
    """Return an instance of the nested dataclass `cls` from `data`; UserError on a key or value that is off.

    An unknown key is an error that names the nearest known one; a missing key takes its default, or is
    an error too where the data must be `complete`: a file that was written whole and is not any more. There, only
    a field that was `added` since may be missing, and a key that its class has `DROPPED` is passed over.
    """
    if not isinstance(data, dict):
        raise UserError(f"{where.rstrip('.: ') or cls.__name__}: expected a mapping of keys, found {data!r}")
    hints = _hints(cls)  # type: ignore[arg-type]
    fields = {key_of(f.name): f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields and not (complete and key in getattr(cls, "DROPPED", ())):
            raise UserError(f"{where}{key}: unknown key{nearest(str(key), fields)}")
    if complete and (missing := [k for k, f in fields.items() if k not in data and "before" not in f.metadata]):
        raise UserError(f"{where}{missing[0]}: this key is missing; the file was cut or is of another version")
    values = {f.name: _value(hints[f.name], data[k], where + k, complete) for k, f in fields.items() if k in data}
    older = {f.name: f.metadata["before"] for k, f in fields.items() if k not in data} if complete else {}
    made = cls(**older | values)
    check_bounds(made, lambda name: where + key_of(name))
    return made


def _value(hint: Any, value: Any, where: str, complete: bool = False) -> Any:
    """Return `value` as the type `hint`, or raise a UserError that names the key."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _value(args[0], value, where)
    if dataclasses.is_dataclass(hint):
        return from_dict(cast(type, hint), value, where + ".", complete)
    if origin is Literal:
        if value not in args:
            raise UserError(f"{where}: {value!r} is none of {', '.join(map(str, args))}")
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _value(next(a for a in args if a is not type(None)), value, where)
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_value(args[0], item, f"{where}[{i}]") for i, item in enumerate(items))
    if hint is float and not isinstance(value, bool):
        try:  # PyYAML reads 1e-4 as a string
            return float(value)
        except (TypeError, ValueError):
            raise UserError(f"{where}: {value!r} is not a number") from None
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)  # JSON, and W&B's rounded distributions, do not tell 64.0 from 64
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UserError(f"{where}: {value!r} is not {'an' if hint is int else 'a'} {hint.__name__}")
    return value
