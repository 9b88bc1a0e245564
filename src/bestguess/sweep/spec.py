"""A W&B sweep YAML, read and checked: the method and, for each dotted key, what it may be. Imports nothing heavy.

The format is W&B's own, https://docs.wandb.ai/models/sweeps/sweep-config-keys, with its defaults. A file
that passes here is one that `wandb sweep` takes as it stands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bestguess import files
from bestguess.command import UserError, nearest
from bestguess.sweep.distributions import Parameter, notes_of, parse
from bestguess.sweep.keys import MOST_RUNS

METHODS = ("grid", "random", "bayes")
KEYS = (
    *("apiVersion", "kind", "controller", "description", "program", "job", "image_uri", "entity", "project"),
    *("method", "command", "name", "run_cap", "metric", "early_terminate", "parameters"),
)

METRIC = {
    "name": None,
    "goal": "minimize",
    "target": None,
    "impute": "worst",
    "impute_while_running": "false",
}
"""The keys under `metric`, and what a sweep here does of those that it does not read."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*$")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+$")


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


def read_spec(path: Path, changes: tuple[str, ...] = (), runs: int | None = None) -> Spec:
    """Return the sweep of a YAML file; UserError if it is off.

    changes: KEY=VALUE,VALUE… in place of its own parameters. runs: in place of its run_cap.
    """
    return parse_spec(files.read_text(path), path.stem, str(path), changes, runs)


def parse_spec(text: str, name: str, where: str, changes: tuple[str, ...] = (), runs: int | None = None) -> Spec:
    """Return the sweep that the YAML `text` describes; `where` names it in errors, `name` where it has no name."""
    data = numbers_of(files.parse_yaml(text, where))
    if not isinstance(data, dict):
        raise UserError(f"{where}: expected the keys of a W&B sweep (method, parameters, …), found {data!r}")
    for key in data:
        if key not in KEYS:
            raise UserError(f"{where}: {key}: no key of a W&B sweep{nearest(str(key), KEYS)}")
    method = data.get("method")
    if method not in METHODS:
        raise UserError(f"{where}: method: {method!r} is not one of {', '.join(METHODS)}")
    cap = data.get("run_cap") if runs is None else runs
    if cap is not None and (not isinstance(cap, int) or isinstance(cap, bool) or not 1 <= cap <= MOST_RUNS):
        raise UserError(f"{where}: run_cap: {cap!r} is not a positive whole number, or more than {MOST_RUNS:,}")
    if cap is None and method != "grid":
        raise UserError(
            f"{where}: run_cap: a {method} sweep has no end of its own; say how many runs it has, there or with --runs"
        )
    if not isinstance(data.get("program", ""), str) or not isinstance(data.get("command", []), list):
        raise UserError(f"{where}: program must be text, and command a list")
    parameters = _parameters(data.get("parameters"), where + ": parameters")
    for change in changes:
        parameters |= _change(change)
    notes = [note for key, one in parameters.items() for note in notes_of(key, one)]
    if "early_terminate" in data:
        notes.append("early_terminate: not applied here; train.patience stops a run early")
    metric = _metric(data.get("metric"), method, where)
    if method == "bayes" and not any(one.varies for one in parameters.values()):
        raise UserError(f"{where}: parameters: a bayes sweep searches, and every key has one value; give one a range")
    notes += _ignored(data.get("metric") or {})
    return Spec(
        name=_slug(str(data.get("name") or name)),
        method=method,
        parameters=parameters,
        run_cap=cap,
        metric=metric,
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
            inner = {prefix + name: parse(one, here)}
        if twice := inner.keys() & found.keys():
            raise UserError(f"{where}: {min(twice)} is given twice")
        found |= inner
    return found


def _metric(data: Any, method: str, where: str) -> dict[str, Any]:
    if data is None:
        if method == "bayes":
            raise UserError(f"{where}: metric: a bayes sweep needs one; write metric: {{name: validation_loss}}")
        return {}
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        raise UserError(f"{where}: metric: expected {{name: …, goal: minimize}}, found {data!r}")
    for key in data:
        if key not in METRIC:
            raise UserError(f"{where}: metric.{key}: no key of a metric{nearest(str(key), METRIC)}")
    goal = data.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        raise UserError(f"{where}: metric.goal: {goal!r} is not one of minimize, maximize")
    return {"name": data["name"], "goal": goal}


def _ignored(metric: Mapping[str, Any]) -> list[str]:
    """What `metric` asks for and is not done."""
    told = {
        "target": "no run ends the sweep; all are trained",
        "impute": "a run without the figure counts as the worst",
        "impute_while_running": "a run that is still training counts as poor",
    }
    return [
        f"metric.{key}: not applied here; {told[key]}"
        for key, done in METRIC.items()
        if key in told and key in metric and str(metric[key]).lower() != done
    ]


def _change(text: str) -> dict[str, Parameter]:
    """A change from the command line, `train.steps=100` or `task.lambda=0.5,0.9`."""
    key, equals, value = text.partition("=")
    if not equals or not _NAME.match(key):
        raise UserError(f"--set {text}: write KEY=VALUE, or KEY=VALUE,VALUE")
    values = [read_value(part) for part in ([value] if value.startswith("[") else value.split(","))]
    one = {"value": values[0]} if len(values) == 1 else {"values": values}
    return {key: parse(one, f"--set {key}")}


def read_value(text: str) -> Any:
    """Return what a text from a command line means: a number, true, a mapping, or the text itself."""
    try:
        return numbers_of(files.parse_yaml(text, "the command line"))
    except UserError:
        return text


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-").lower() or "sweep"
