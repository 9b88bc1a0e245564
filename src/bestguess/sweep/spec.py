"""A W&B sweep YAML, read and checked: the method and, for each dotted key, what it may be. Imports nothing heavy.

The format is W&B's own, https://docs.wandb.ai/models/sweeps/sweep-config-keys, with its defaults. A file
that passes here is one that `wandb sweep` takes as it stands.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bestguess import files
from bestguess.command import UserError, nearest

METHODS = ("grid", "random", "bayes")
KEYS = (
    *("apiVersion", "kind", "controller", "description", "program", "job", "image_uri", "entity", "project"),
    *("method", "command", "name", "run_cap", "metric", "early_terminate", "parameters"),
)

# What each distribution takes, besides `distribution` itself, and its default; None: no default.
DISTRIBUTIONS: dict[str, dict[str, float | None]] = {
    "constant": {"value": None},
    "categorical": {"values": None},
    "categorical_w_probabilities": {"values": None, "probabilities": None},
    "int_uniform": {"min": None, "max": None},
    "uniform": {"min": None, "max": None},
    "q_uniform": {"min": None, "max": None, "q": 1.0},
    "log_uniform": {"min": None, "max": None},
    "log_uniform_values": {"min": None, "max": None},
    "q_log_uniform_values": {"min": None, "max": None, "q": 1.0},
    "normal": {"mu": 0.0, "sigma": 1.0},
    "q_normal": {"mu": 0.0, "sigma": 1.0, "q": 1.0},
    "log_normal": {"mu": 0.0, "sigma": 1.0},
}
UNSUPPORTED = ("inv_log_uniform", "inv_log_uniform_values", "q_log_uniform", "q_log_normal", "beta", "q_beta")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*$")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+$")


@dataclass(frozen=True)
class Parameter:
    """What one key may be."""

    distribution: str
    arguments: Mapping[str, Any]

    @property
    def varies(self) -> bool:
        """Whether it can take more than one value."""
        return self.distribution != "constant" and len(self.arguments.get("values", (0, 1))) > 1


@dataclass(frozen=True)
class Spec:
    """A sweep as its YAML describes it."""

    name: str
    method: str
    parameters: Mapping[str, Parameter]
    """By dotted key of a run's config.yaml, such as `task.lambda`."""
    run_cap: int | None = None
    metric: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What the YAML asks for and W&B would do, but a sweep here does not."""


def read_spec(path: Path, changes: tuple[str, ...] = ()) -> Spec:
    """Return the sweep of a YAML file, `KEY=VALUE,VALUE…` changes to its parameters applied; UserError if it is off."""
    return parse_spec(files.read_text(path), path.stem, str(path), changes)


def parse_spec(text: str, name: str, where: str, changes: tuple[str, ...] = ()) -> Spec:
    """Return the sweep that the YAML `text` describes; `where` names it in errors, `name` where it has no name."""
    data = numbers_of(files.parse_yaml(text, where))
    if not isinstance(data, dict):
        raise UserError(f"{where}: expected the keys of a W&B sweep (method, parameters, …), found {data!r}")
    for key in data:
        if key not in KEYS:
            raise UserError(f"{where}: {key}: no key of a W&B sweep{nearest(str(key), KEYS)}")
    method = data.get("method")
    if method not in METHODS:
        raise UserError(f"{where}: method: {method!r} is none of {', '.join(METHODS)}")
    cap = data.get("run_cap")
    if cap is not None and (not isinstance(cap, int) or isinstance(cap, bool) or cap < 1):
        raise UserError(f"{where}: run_cap: {cap!r} is not a positive whole number")
    if cap is None and method != "grid":
        raise UserError(f"{where}: run_cap: a {method} sweep has no end of its own; say how many runs it has")
    if not isinstance(data.get("program", ""), str) or not isinstance(data.get("command", []), list):
        raise UserError(f"{where}: program must be text, and command a list")
    parameters = _parameters(data.get("parameters"), where + ": parameters")
    for change in changes:
        parameters |= _change(change)
    notes = []
    if "early_terminate" in data:
        notes.append("early_terminate: not applied here; train.patience stops a run early")
    return Spec(
        name=_slug(str(data.get("name") or name)),
        method=method,
        parameters=parameters,
        run_cap=cap,
        metric=_metric(data.get("metric"), method, where),
        notes=tuple(notes),
    )


def numbers_of(value: Any) -> Any:
    """Return `value` with texts such as 1e-4, which PyYAML takes for words, as the numbers they are.

    An infinite number, such as a train.clip_norm of inf, is a text instead: the ledger's JSON has no infinity.
    """
    if isinstance(value, dict):
        return {k: numbers_of(v) for k, v in value.items()}
    if isinstance(value, list):
        return [numbers_of(v) for v in value]
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    return float(value) if isinstance(value, str) and _NUMBER.match(value) else value


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted keys as nested mappings: the inverse of `flatten`."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *rooms, last = key.split(".")
        inside = nested
        for room in rooms:
            inside = inside.setdefault(room, {})
            if not isinstance(inside, dict):
                raise UserError(f"{key}: {room} has a value of its own, so it cannot hold keys")
        inside[last] = value
    return nested


def _parameters(data: Any, where: str, prefix: str = "") -> dict[str, Parameter]:
    if not isinstance(data, dict) or not data:
        raise UserError(f"{where}: expected at least one key with its value or values, found {data!r}")
    found: dict[str, Parameter] = {}
    for name, one in data.items():
        if not isinstance(name, str) or not _NAME.match(name):
            raise UserError(f"{where}: {name!r}: a key is letters, digits, _, . and -, and starts with a letter")
        here = f"{where}.{name}"
        if not isinstance(one, dict):
            raise UserError(f"{here}: write `value: {one}`, or `values: [...]`")
        if "parameters" in one:
            if len(one) > 1:
                raise UserError(f"{here}: with parameters inside it, it can hold nothing else")
            inner = _parameters(one["parameters"], here, f"{prefix}{name}.")
        else:
            inner = {prefix + name: _parameter(one, here)}
        if twice := inner.keys() & found.keys():
            raise UserError(f"{where}: {min(twice)} is given twice")
        found |= inner
    return found


def _parameter(data: dict[str, Any], where: str) -> Parameter:
    name = data.get("distribution") or _implied(data)
    if name in UNSUPPORTED:
        raise UserError(f"{where}: the distribution {name} is W&B's, but not known here; take log_uniform_values")
    if name not in DISTRIBUTIONS:
        raise UserError(
            f"{where}: give value, values, or min and max"
            if name is None
            else f"{where}: no distribution {name!r}{nearest(str(name), DISTRIBUTIONS)}"
        )
    known = DISTRIBUTIONS[name]
    given = {key: value for key, value in data.items() if key != "distribution"}
    for key in given:
        if key not in known:
            raise UserError(f"{where}.{key}: not a key of {name}{nearest(key, known)}")
    arguments = {key: given.get(key, default) for key, default in known.items()}
    for key, value in arguments.items():
        if key not in given and value is None:
            raise UserError(f"{where}: {name} needs {key}")
        whole = name == "int_uniform"
        if key not in ("value", "values", "probabilities") and not _is_number(value, whole):
            raise UserError(f"{where}.{key}: {value!r} is not a {'whole ' * whole}number")
    _check_arguments(name, arguments, where)
    return Parameter(name, arguments)


def _check_arguments(name: str, given: dict[str, Any], where: str) -> None:
    if "values" in given:
        values = given["values"]
        if not isinstance(values, list) or not values:
            raise UserError(f"{where}.values: expected a list of at least one value, found {values!r}")
        if len({repr(value) for value in values}) < len(values):
            raise UserError(f"{where}.values: a value stands twice in {values}")
    if "probabilities" in given:
        shares = given["probabilities"]
        fits = isinstance(shares, list) and len(shares) == len(given["values"])
        if not fits or not all(_is_number(p) and p >= 0 for p in shares) or not math.isclose(sum(shares), 1.0):
            raise UserError(f"{where}.probabilities: expected one for each value, with sum 1, found {shares!r}")
    if "min" in given:
        if given["min"] >= given["max"]:
            raise UserError(f"{where}: min {given['min']} must be below max {given['max']}")
        if name.endswith("log_uniform_values") and given["min"] <= 0:
            raise UserError(f"{where}.min: {given['min']} must be positive, to have a logarithm")
    if given.get("q", 1) <= 0:
        raise UserError(f"{where}.q: {given['q']} must be positive")
    if given.get("sigma", 0) < 0:
        raise UserError(f"{where}.sigma: {given['sigma']} must not be negative")


def _implied(data: dict[str, Any]) -> str | None:
    """The distribution that W&B takes where none is named."""
    if "value" in data:
        return "constant"
    if "values" in data:
        return "categorical_w_probabilities" if "probabilities" in data else "categorical"
    if "min" in data and "max" in data:
        return "int_uniform" if all(isinstance(data[key], int) for key in ("min", "max")) else "uniform"
    return None


def _metric(data: Any, method: str, where: str) -> dict[str, Any]:
    if data is None:
        if method == "bayes":
            raise UserError(f"{where}: metric: a bayes sweep needs one; write metric: {{name: validation_loss}}")
        return {}
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        raise UserError(f"{where}: metric: expected {{name: …, goal: minimize}}, found {data!r}")
    goal = data.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        raise UserError(f"{where}: metric.goal: {goal!r} is none of minimize, maximize")
    return {"name": data["name"], "goal": goal}


def _change(text: str) -> dict[str, Parameter]:
    """A change from the command line, `train.steps=100` or `task.lambda=0.5,0.9`."""
    key, equals, value = text.partition("=")
    if not equals or not _NAME.match(key):
        raise UserError(f"--set {text}: write KEY=VALUE, or KEY=VALUE,VALUE")
    values = [read_value(part) for part in ([value] if value.startswith("[") else value.split(","))]
    one = {"value": values[0]} if len(values) == 1 else {"values": values}
    return {key: _parameter(one, f"--set {key}")}


def read_value(text: str) -> Any:
    """Return what a text from a command line means: a number, true, a mapping, or the text itself."""
    try:
        return numbers_of(files.parse_yaml(text, "the command line"))
    except UserError:
        return text


def _is_number(value: Any, whole: bool = False) -> bool:
    kind = numbers.Integral if whole else numbers.Real
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-").lower() or "sweep"
