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
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, cast

from bestguess.command import UserError, nearest

C = TypeVar("C")

# A sweep plans ten thousand configs of a few classes: what their declarations say is looked up once.
_fields: Callable[[Any], tuple[dataclasses.Field, ...]] = functools.cache(dataclasses.fields)
_is_room: Callable[[Any], bool] = functools.cache(dataclasses.is_dataclass)

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
    for one in _fields(type(given)):
        if _is_room(type(value := getattr(given, one.name))):
            check_bounds(value, name)
    _check_own_bounds(given, name or flag)


def _check_own_bounds(given: Any, name: Callable[[str], str]) -> None:
    bounds = _bounds(type(given))  # type: ignore[arg-type]
    for one in _fields(type(given)):
        for item in value if isinstance(value := getattr(given, one.name), tuple) else (value,):
            if isinstance(item, int) and abs(item) > (most := bounds.get(one.name, MOST)):
                bound = f"at most {most:,}" if item > 0 else f"at least -{most:,}"
                raise UserError(f"{name(one.name)} {item}: {bound}")


@functools.cache
def _bounds(kind: type) -> dict[str, int]:
    return {key: most for cls in reversed(kind.__mro__) for key, most in vars(cls).get("MOST", {}).items()}


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
    axes, values = dict(axes_of(config)), _values(config)
    named = {_key(path): axes.get(path, Axis("seed")) for path in values}
    made = []
    for index, one in enumerate(itertools.product(*values.values())):
        own = dict(zip(named, one))
        narrowed = config
        for path in axes:
            narrowed = _with(narrowed, path, (own[_key(path)],))
        narrowed = _with(_with(narrowed, ("train", "seeds"), 1), ("train", "first_seed"), own[SEED])
        made.append(Run(index, narrowed, own, named))
    return made


def _values(config: Any) -> dict[tuple[str, ...], Sequence[Any]]:
    """Return every axis' values by its path, in the order of the run axis, the seeds at (SEED,); UserError if off."""
    _check_numbers(config)
    found = {path: _get(config, path) for path, _ in axes_of(config)}
    train = config.train
    found[(SEED,)] = range(train.first_seed, train.first_seed + train.seeds)
    if (last := ("train", RATE)) in found:
        found[last] = found.pop(last)
    if (count := math.prod(map(len, found.values()))) > MOST_RUNS:
        raise UserError(f"--seeds {train.seeds}: makes {count:,} runs in all, and at most {MOST_RUNS:,} train together")
    return found


def _check_numbers(config: Any) -> None:
    """Raise a UserError for a number that float32, in which all is computed, does not hold."""
    for path, one in _leaves(config):
        given = _get(config, path)
        for value in given if isinstance(given, tuple) else (given,):
            if not isinstance(value, float) or value == 0 or (math.isinf(value) and one.metadata.get("infinite")):
                continue
            if not _SMALLEST <= abs(value) <= _LARGEST:  # nan as well
                told = f"must be finite, and within float32 ({_SMALLEST} to {_LARGEST})"
                raise UserError(f"{flag(path[-1])} {value}: {told}")


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
    for one in _fields(type(config)):
        if not one.metadata.get("arrays"):
            value = getattr(config, one.name)
            found[key_of(one.name)] = _without_arrays(value) if _is_room(type(value)) else _plain(value)
    return found


def before(config: Any) -> dict[str, Any]:
    """Return, by dotted key, what older files mean that lack a field whose default is another by now."""
    return {
        ".".join(map(key_of, path)): _plain(one.metadata["before"])
        for path, one in _leaves(config)
        if "before" in one.metadata and one.metadata["before"] != one.default
    }


def _leaves(config: Any, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dataclasses.Field]]:
    for one in _fields(type(config)):
        value, path = getattr(config, one.name), (*prefix, one.name)
        if _is_room(type(value)):
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
    if math.prod(map(len, _values(config).values())) != 1:
        several = [_key(path) for path, _ in axes_of(config) if len(_get(config, path)) > 1]
        raise UserError(f"{(several or [RATE])[0]}: a run of a sweep has one value; list them under values")
    return config


# ------------------------------------------------------------------------------------------ YAML


def flag(name: str) -> str:
    """Return the command-line flag of a field."""
    return "--" + key_of(name).replace("_", "-")


def key_of(name: str) -> str:
    """Return the YAML key of a field: a trailing underscore only keeps Python's keyword apart."""
    return name.rstrip("_")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a nested dataclass as a dict of plain values, ready for YAML or JSON."""
    return {key_of(f.name): _plain(getattr(config, f.name)) for f in _fields(type(config))}


def _plain(value: Any) -> Any:
    if _is_room(type(value)):
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
    fields = _read_fields(cls)  # type: ignore[arg-type]
    for key in data:
        if key not in fields and not (complete and key in getattr(cls, "DROPPED", ())):
            raise UserError(f"{where}{key}: unknown key{nearest(str(key), fields)}")
    missing = [(key, one) for key, (one, _) in fields.items() if key not in data] if complete else []
    for key, one in missing:
        if "before" not in one.metadata:
            raise UserError(f"{where}{key}: this key is missing; the file was cut or is of another version")
    values = {one.name: read(data[key], where + key, complete) for key, (one, read) in fields.items() if key in data}
    made = cls(**{one.name: one.metadata["before"] for _, one in missing} | values)
    _check_own_bounds(made, lambda name: where + key_of(name))  # of its rooms, they are checked where these are made
    return made


_Reader = Callable[[Any, str, bool], Any]
"""Returns a file's value, at a key, as a field's; UserError names the key. The last: as `complete` of `from_dict`."""


@functools.cache
def _read_fields(cls: type) -> dict[str, tuple[dataclasses.Field, _Reader]]:
    """Return a dataclass' fields by YAML key, each with what reads its value."""
    hints = typing.get_type_hints(cls)
    return {key_of(one.name): (one, _reader(hints[one.name])) for one in _fields(cls)}


def _reader(hint: Any) -> _Reader:
    """Return what reads a value as the type `hint`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        room = cast(type, hint)
        return lambda value, where, complete: from_dict(room, value, where + ".", complete)
    if origin is Literal:
        return functools.partial(_one_of, args)
    if origin in (typing.Union, types.UnionType):
        some = _reader(next(a for a in args if a is not type(None)))
        none = type(None) in args
        return lambda value, where, complete: None if none and value is None else some(value, where, complete)
    if origin is tuple:
        each = _reader(args[0])
        return lambda value, where, complete: tuple(
            each(item, f"{where}[{i}]", complete)
            for i, item in enumerate(value if isinstance(value, list | tuple) else [value])
        )
    return functools.partial(_plain_of, hint)


def _one_of(args: tuple[Any, ...], value: Any, where: str, complete: bool) -> Any:
    if value not in args:
        raise UserError(f"{where}: {value!r} is not one of {', '.join(map(str, args))}")
    return value


def _plain_of(hint: type, value: Any, where: str, complete: bool) -> Any:
    """Return a value as a number, a text or the like."""
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
