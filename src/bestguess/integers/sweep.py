"""What sweeps need of the integers family. JAX is imported only where a run is trained or scored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from bestguess.command import UserError, nearest
from bestguess.integers.config import BASES, IntegersConfig
from bestguess.train.config import TrainConfig, from_dict, to_dict

if TYPE_CHECKING:
    from bestguess.integers.model import IntegerModel
    from bestguess.integers.oracle import Scores
    from bestguess.integers.problem import IntegerProblem, Setting
    from bestguess.integers.table import Part
    from bestguess.report.verdicts import Experiment
    from bestguess.train.ensemble import Member

REPORTED = "regret"
"""At full context, on rows held out of training (nats)."""

_ARRAYS = {"objective": ("alpha",), "train": ("first_seed", "learning_rate")}
"""What differs between runs of one compiled program: it ends up in arrays, not in shapes."""


def config(values: dict[str, Any]) -> IntegersConfig:
    """Return the config of one run: a design at a preset's size, with the nested `values` in place of its own.

    `change` is KEY=VALUE, several of them with spaces between, or `nothing`: a sweep that goes through a list of
    changes varies it.
    """
    values = _changed(values)
    chosen = {}
    for place, key in enumerate(("preset", "design")):
        chosen[key] = values.pop(key, "default")
        known = list(dict.fromkeys(base[place] for base in BASES))
        if chosen[key] not in known:
            raise UserError(
                f"{key}: no {key} {chosen[key]!r}{nearest(str(chosen[key]), known)} (known: {', '.join(known)})"
            )
    base = to_dict(BASES[chosen["preset"], chosen["design"]])
    inner = {k: base[k] | v for k, v in values.items() if isinstance(v, dict) and isinstance(base.get(k), dict)}
    made = from_dict(IntegersConfig, base | values | inner)
    made.check()
    if len(made.runs()) != 1:
        several = "alpha" if len(made.objective.alpha) > 1 else "learning_rate"
        raise UserError(f"{several}: a run of a sweep has one value; list them under values")
    return made


def _changed(values: dict[str, Any]) -> dict[str, Any]:
    values = dict(values)
    change = str(values.pop("change", "nothing"))
    if change == "nothing":
        return values
    for one in change.split() or [change]:
        key, equals, text = one.partition("=")
        room, dot, inner = key.partition(".")
        if not equals or (dot and not isinstance(values.get(room, {}), dict)):
            raise UserError(f"change: {one!r}: write KEY=VALUE, such as model.heads=8, or nothing")
        # A text is a YAML value, as everywhere in a sweep.
        value = yaml.safe_load(text)
        values |= {room: values.get(room, {}) | {inner: value}} if dot else {key: value}
    return values


def shape(config: IntegersConfig) -> str:
    """Return the config without what is arrays, as JSON."""
    plain = to_dict(config)
    for room, keys in _ARRAYS.items():
        plain[room] = {k: v for k, v in plain[room].items() if k not in keys}
    return json.dumps(plain, sort_keys=True)


def prepare(configs: list[IntegersConfig]) -> tuple[IntegerProblem, TrainConfig, Member]:
    """Return the problem, how it is trained, and the runs' members along a leading run axis."""
    import jax
    import numpy as np

    from bestguess.integers.problem import make_members, make_problem

    members = [make_members(one) for one in configs]
    stacked = jax.tree.map(lambda *leaves: np.concatenate([np.asarray(leaf) for leaf in leaves]), *members)
    return make_problem(configs[0]), configs[0].train, stacked


def score(config: IntegersConfig, task: Setting, model: IntegerModel, curve: list[dict[str, Any]]) -> dict[str, Any]:
    """Return regret, accuracy and distance at full context, exact, on held-out rows; and by place.

    Beside them the same of seen rows, and of the validation rows where there are some: those are to choose by.
    """
    from bestguess.integers.oracle import oracle_of
    from bestguess.integers.rows import scores_by_part

    key = json.dumps(to_dict(config.task), sort_keys=True)
    if key not in _oracles:
        _oracles[key] = oracle_of(config.task)
    to_choose_by: tuple[Part, ...] = ("validation",) if config.task.validation else ()
    found = scores_by_part(model, _oracles[key], ("held-out", "seen", *to_choose_by))
    return {
        **_figures(found["held-out"], -1),
        "mean": _mean(found["held-out"]),
        **{part: _figures(found[part], -1) | {"mean": _mean(found[part])} for part in ("seen", *to_choose_by)},
        "by_position": {str(j + 1): _figures(found["held-out"], j) for j in range(config.task.length)},
    }


def experiments() -> Mapping[str, Experiment]:
    """Return what experiments/*.yaml test, by the name of the sweep."""
    from bestguess.integers.experiments import EXPERIMENTS

    return EXPERIMENTS


_oracles: dict[str, Any] = {}
"""By task: the levels of a table take seconds."""

_NAMES = ("regret", "accuracy", "relative_accuracy", "distance", "loss", "floor", "ceiling")


def _figures(scores: Scores, position: int) -> dict[str, float]:
    return {name: float(getattr(scores, name)[position]) for name in _NAMES}


def _mean(scores: Scores) -> dict[str, float]:
    """Means over all positions."""
    return {name: float(getattr(scores, name).mean()) for name in _NAMES}
