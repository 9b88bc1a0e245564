"""What sweeps need of the filters family. JAX is imported only where a run is trained or scored."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bestguess.command import UserError, nearest
from bestguess.filters.config import PRESETS, FiltersConfig
from bestguess.train.config import TrainConfig, from_dict, to_dict

if TYPE_CHECKING:
    from bestguess.filters.forecaster import Forecaster
    from bestguess.filters.problem import FilterProblem
    from bestguess.filters.task import FilterTask
    from bestguess.report.verdicts import Experiment
    from bestguess.train.ensemble import Member

REPORTED = "normalised_loss"

SKILL_LEVELS = (0.9, 0.99)

_ARRAYS = {"task": ("lambda", "structure", "sigma", "condition"), "train": ("first_seed", "learning_rate")}
"""What differs between runs of one compiled program: it ends up in arrays, not in shapes."""

_tested: dict[str, float] = {}


def config(values: dict[str, Any]) -> FiltersConfig:
    """Return the config of one run: a preset with the nested `values` in place of its own."""
    values = dict(values)
    preset = values.pop("preset", "default")
    if preset not in PRESETS:
        raise UserError(f"preset: no preset {preset!r}{nearest(str(preset), PRESETS)} (known: {', '.join(PRESETS)})")
    base = to_dict(PRESETS[preset])
    inner = {k: base[k] | v for k, v in values.items() if isinstance(v, dict) and isinstance(base.get(k), dict)}
    merged = base | values | inner
    made = from_dict(FiltersConfig, merged)
    made.check()
    if len(made.runs()) != 1:
        several = [key for key in ("lambda_", "structure") if len(getattr(made.task, key)) > 1] or ["learning_rate"]
        raise UserError(f"{several[0].rstrip('_')}: a run of a sweep has one value; list them under values")
    return made


def shape(config: FiltersConfig) -> str:
    """Return the config without what is arrays, as JSON."""
    plain = to_dict(config)
    for room, keys in _ARRAYS.items():
        plain[room] = {k: v for k, v in plain[room].items() if k not in keys}
    return json.dumps(plain, sort_keys=True)


def prepare(configs: list[FiltersConfig]) -> tuple[FilterProblem, TrainConfig, Member]:
    """Return the problem, how it is trained, and the runs' members along a leading run axis."""
    import jax
    import numpy as np

    from bestguess.filters.problem import FilterProblem, make_members
    from bestguess.train.ensemble import Member

    # A system is drawn once for all learning rates: at T·m = 8192 its factor alone takes seconds.
    drawn: dict[str, Member] = {}
    members = []
    for one in configs:
        key = _system(one)
        if key not in drawn:
            drawn[key] = make_members(one)
        rate = np.asarray(one.train.learning_rate, np.float32)
        members.append(Member(task=drawn[key].task, learning_rate=rate, seed=drawn[key].seed))
    stacked = jax.tree.map(lambda *leaves: np.concatenate([np.asarray(leaf) for leaf in leaves]), *members)
    return FilterProblem(configs[0].model), configs[0].train, stacked


def score(config: FiltersConfig, task: FilterTask, model: Forecaster, curve: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the distance to the Kalman filter on test sequences and in rollouts, and how fast skill came."""
    import numpy as np

    from bestguess.filters.evaluate import evaluate, evaluate_rollouts, self_test, sequences_to_skill

    run = config.runs()[0]
    if _system(config) not in _tested:
        _tested[_system(config)] = self_test(config, run, task)
    evaluation = evaluate(config, run, model, task, config.test_sequences)
    rolled = evaluate_rollouts(config.rollout, run, model, task)
    sequences = np.array([line["step"] * config.train.batch_size for line in curve], float)
    skills = np.array([line["skill"] for line in curve], float)
    return {
        **_figures(evaluation.score),
        **{f"sequences_to_skill_{level:g}": sequences_to_skill(sequences, skills, level) for level in SKILL_LEVELS},
        "rollout": {str(h): _figures(score) for h, score in zip(rolled.horizons, rolled.scores)},
        "self_test": _tested[_system(config)],
    }


def experiments() -> Mapping[str, Experiment]:
    """Return what experiments/*.yaml test, by the name of the sweep."""
    from bestguess.filters.experiments import EXPERIMENTS

    return EXPERIMENTS


def _system(config: FiltersConfig) -> str:
    """What a task and its self-test depend on: all but the training, and the seed."""
    plain = to_dict(config)
    return json.dumps({**plain, "train": config.train.first_seed}, sort_keys=True)


def _figures(score: Any) -> dict[str, Any]:
    return {
        "normalised_loss": float(score.loss.mean),
        "standard_error": float(score.loss.standard_error),
        "skill": None if math.isnan(score.skill) and math.isfinite(score.loss.mean) else float(score.skill),
        "headroom": float(score.headroom),
    }
