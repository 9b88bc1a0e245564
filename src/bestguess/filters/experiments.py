"""What the four filter experiments test, as the heads of experiments/*.yaml state it. Nothing heavier than NumPy."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bestguess.experiment.declare import (
    At,
    Contrast,
    Control,
    Difference,
    Experiment,
    Factor,
    Grading,
    Hypothesis,
    Mean,
    Measure,
    Reading,
    Reference,
    Slope,
)
from bestguess.filters.config import FiltersConfig

HORIZONS = (2, 4, 8, 16, 32, 64)


def operations(config: FiltersConfig) -> tuple[float, int]:
    """Return the floating-point operations of one training step, and the number of steps.

    Counted as benchmarks/filters.py does: 6 for each weight of a matrix and token, 6 · layers · B · N² · D for
    attention, with N = T / P tokens of P steps.
    """
    model, task, train = config.model, config.task, config.train
    d, tokens = model.d_model, task.length // model.patch
    matrices = 3 if model.activation == "swiglu" else 2
    weights = model.layers * (4 * d * d + matrices * d * model.hidden_dim) + 2 * d * task.observed_dim * model.patch
    attention = 6 * model.layers * train.batch_size * tokens**2 * d
    return 6.0 * weights * train.batch_size * tokens + attention, train.steps


# ------------------------------------------------------------------------------------------ measures

_LITTLE = 0.01
"""Headroom at which a value counts for half of one with much."""
_NONE = 1e-4
"""Headroom below which there is nothing to measure."""
_LEAST = 1e-9
"""Excess below which a chart has no place for AR(k): it is the filter."""
SHOWN_ORDERS = (8, 16, 32)
"""Orders of AR(k) that stand beside the models."""


def _weight(headroom: float) -> float:
    return headroom / (headroom + _LITTLE)


def _excess(figures: Mapping[str, Any]) -> Reading:
    """ln of the excess over the filter: its error is the unit."""
    if figures["headroom"] < _NONE:
        return Reading(math.nan)
    return Reading(math.log(figures["normalised_loss"] - 1), weight=_weight(figures["headroom"]))


def _gap(figures: Mapping[str, Any]) -> Reading:
    """ln(1 − skill), the excess with the headroom as the unit: defined below a headroom of 1 % too, where it counts
    little."""
    one = _excess(figures)
    return one if math.isnan(one.value) else dataclasses.replace(one, value=one.value - math.log(figures["headroom"]))


def _one_step(read: Callable[[Mapping[str, Any]], Reading], config: Any, figures: Mapping[str, Any]) -> Reading:
    return read(figures)


def _rolled(
    read: Callable[[Mapping[str, Any]], Reading], horizon: int, config: Any, figures: Mapping[str, Any]
) -> Reading | None:
    own = figures["rollout"].get(str(horizon))
    return None if own is None else read(own)


def _sequences(figure: str, config: FiltersConfig, figures: Mapping[str, Any]) -> Reading | None:
    """Within what can be seen: from the first validation to the last step, as a restricted survival time is."""
    if figure not in figures:
        return None
    if figures["headroom"] < _NONE or (figures["skill"] is None and "skill" in figure):
        return Reading(math.nan)
    train, weight = config.train, _weight(figures["headroom"])
    first, last = train.validate_every * train.batch_size, train.steps * train.batch_size
    found = figures[figure]
    if found is None:
        return Reading(math.log2(last), "high", weight)
    return Reading(math.log2(found), "low" if found <= first else None, weight)


def _headroom(figures: Mapping[str, Any]) -> Reading:
    """ln of the headroom, at the weights of the excess: its effect is that of ln excess less that of ln(1 − skill)."""
    one = _excess(figures)
    return one if math.isnan(one.value) else dataclasses.replace(one, value=math.log(figures["headroom"]))


def _radius(config: FiltersConfig, figures: Mapping[str, Any]) -> Reading:
    """The spectral radius; of runs that were made before it was recorded, that of their system, drawn again."""
    if (found := figures.get("spectral_radius")) is None:
        from bestguess.filters.systems import system_of

        found = system_of(config.task, config.train.first_seed).spectral_radius
    return Reading(found, weight=_weight(max(figures["headroom"], _NONE)))


def _ar(order: int, unit: str, config: FiltersConfig, figures: Mapping[str, Any]) -> float:
    """ln of the exact excess of the best time-invariant AR(k), or of its fraction of the headroom."""
    from bestguess.filters.baselines import exact_ar

    return _ln_excess(exact_ar(config.task, config.train.first_seed, config.model.patch).get(order), unit, figures)


def _ar_ahead(order: int, horizon: int, config: FiltersConfig, figures: Mapping[str, Any]) -> float:
    """ln of the exact excess at t+h of the best predictor from the last k steps."""
    from bestguess.filters.baselines import ahead_ar

    seed, context = config.train.first_seed, config.rollout.context
    return _ln_excess(ahead_ar(config.task, seed, context, horizon, order), "excess", figures["rollout"][str(horizon)])


def _ln_excess(excess: float | None, unit: str, figures: Mapping[str, Any]) -> float:
    if excess is None or excess < _LEAST or figures["headroom"] < _NONE:
        return math.nan
    return math.log(excess) - (math.log(figures["headroom"]) if unit == "gap" else 0.0)


def _references(unit: str) -> tuple[Reference, ...]:
    return tuple(Reference(f"AR({k}), exact", functools.partial(_ar, k, unit)) for k in SHOWN_ORDERS)


_percent: Callable[[Any], Any] = lambda value: 100 * np.exp(value)  # noqa: E731
_skill: Callable[[Any], Any] = lambda value: 1 - np.exp(value)  # noqa: E731
EXCESS = Measure(
    "excess",
    "ln excess",
    "ln",
    functools.partial(_one_step, _excess),
    group="excess",
    axis="final excess over the filter (%)",
    show=_percent,
    log=True,
    references=_references("excess"),
)
GAP = Measure(
    "gap",
    "ln(1 − skill)",
    "ln",
    functools.partial(_one_step, _gap),
    group="gap",
    axis="shortfall of the skill from 1 (% of the headroom)",
    show=_percent,
    log=True,
    references=_references("gap"),
)


def _rolled_excess(horizon: int) -> Measure:
    return Measure(
        f"rollout_excess_{horizon}",
        f"ln excess at t+{horizon}",
        "ln",
        functools.partial(_rolled, _excess, horizon),
        group="rollout excess",
        axis=f"excess over the filter at t+{horizon} (%)",
        show=_percent,
        log=True,
        references=tuple(Reference(f"AR({k}), exact", functools.partial(_ar_ahead, k, horizon)) for k in SHOWN_ORDERS),
    )


def _sequences_to(figure: str, name: str, label: str) -> Measure:
    return Measure(
        name,
        f"sequences to {label}",
        "log2",
        functools.partial(_sequences, figure),
        group="sequences",
        axis=f"training sequences to {label}",
        show=np.exp2,
        log=True,
        bounds=("were reached by the first validation, and count as that", "were not reached, and count as the end"),
    )


SPEED = (
    _sequences_to("sequences_to_skill_0.9", "sequences_0.9", "skill 0.9"),
    _sequences_to("sequences_to_skill_0.99", "sequences_0.99", "skill 0.99"),
    _sequences_to("sequences_to_excess_0.001", "sequences_excess", "an excess of 0.1 %"),
)
ROLLOUTS = tuple(
    Measure(
        f"rollout_{h}",
        f"ln(1 − skill) at t+{h}",
        "ln",
        functools.partial(_rolled, _gap, h),
        group="rollout",
        axis="rollout skill",
        show=_skill,
        position=h,
    )
    for h in HORIZONS
)
HEADROOM = Measure(
    "headroom",
    "ln headroom",
    "ln",
    functools.partial(_one_step, _headroom),
    "headroom",
    "headroom (%)",
    _percent,
    log=True,
    exact=True,
    covariate=True,
)
RADIUS = Measure(
    "spectral_radius",
    "spectral radius",
    "modulus",
    _radius,
    "spectral radius",
    "spectral radius of A",
    lambda value: value,
    exact=True,
    covariate=True,
)


def _rolled_headroom(horizon: int) -> Measure:
    """One step ahead the headroom differs between patch sizes; at a horizon all share it."""
    return dataclasses.replace(
        HEADROOM,
        name=f"headroom_{horizon}",
        label=f"ln headroom at t+{horizon}",
        read=functools.partial(_rolled, _headroom, horizon),
        group=f"headroom at t+{horizon}",
        axis=f"headroom at t+{horizon} (%)",
    )


# ------------------------------------------------------------------------------------------ the experiments

LAMBDA = Factor("task.lambda", "λ", lambda value: math.log(1 / (1 - value)))
STRUCTURE = Factor("task.structure", "structure")
PATCH = Factor("model.patch", "P", math.log2)
OBSERVED = Factor("task.observed_dim", "m", math.log2)

BESIDE = "bestguess.filters.experiment_page:bounded_memory"
_PER_LAMBDA = "per unit of ln 1/(1−λ)"
_BY_LAMBDA: Contrast = {"task.lambda": Slope()}
SMALL = (
    "preset=small",
    "model.dtype=float32",
    "model.d_model=32",
    "train.warmup_steps=20",
    "train.validate_every=10",
    "rollout.rollouts=256",
    "train.learning_rate=0.002,0.006",
    "train.first_seed=0,1",
)


def _structures(plus: str, minus: str = "diagonal") -> Contrast:
    return {"task.structure": Difference(plus, minus), "task.lambda": Mean()}


_AHEAD = tuple(measure.name for measure in ROLLOUTS)
_BY_PATCH = ("rollout_excess_2", *_AHEAD, "headroom_2", "spectral_radius")
"""What compares over patch sizes: at a horizon all share the floor. One step ahead each has a floor of its own."""
_OBSERVED = (EXCESS, GAP, *SPEED, _rolled_excess(2), *ROLLOUTS, HEADROOM, RADIUS)
"""What compares over observed dimensions at one patch size."""

EXPERIMENTS = {
    "eigenvalue": Experiment(
        title="The largest eigenvalue",
        question="How does λ, the spectral radius of A, decide how hard a linear system is to predict?",
        factors=(LAMBDA,),
        measures=(EXCESS, GAP, *SPEED, _rolled_excess(8), *ROLLOUTS, HEADROOM, RADIUS),
        hypotheses=(
            Hypothesis("H1", "Higher λ is harder at the end.", _BY_LAMBDA, _PER_LAMBDA, ("excess",), scales=("gap",)),
            Hypothesis(
                "H2",
                "Higher λ is slower.",
                _BY_LAMBDA,
                _PER_LAMBDA,
                ("sequences_0.9",),
                scales=("sequences_excess",),
            ),
            Hypothesis(
                "H3",
                "Higher λ is harder far ahead.",
                _BY_LAMBDA,
                _PER_LAMBDA,
                ("rollout_excess_8",),
                scales=("rollout_8",),
            ),
        ),
        grading=Grading("task.lambda", "sequences_0.99"),
        small=(*SMALL, "train.steps=150", "task.lambda=0.68,0.92,0.98"),
        operations=operations,
        more=BESIDE,
    ),
    "structure": Experiment(
        title="The structure of A",
        question="Does it matter to a transformer whether A is diagonal, once the spectrum is the same?",
        factors=(LAMBDA, STRUCTURE),
        measures=(EXCESS, GAP, *SPEED, *ROLLOUTS, HEADROOM, RADIUS),
        hypotheses=(
            Hypothesis("H1", "Diagonal is easier than dense.", _structures("dense"), "", ("excess",), scales=("gap",)),
            Hypothesis(
                "H2",
                "Diagonal is faster than dense.",
                _structures("dense"),
                "",
                ("sequences_0.9",),
                scales=("sequences_excess",),
            ),
            Hypothesis(
                "H3",
                "Real is easier than complex.",
                _structures("diagonal-real"),
                "",
                ("excess",),
                direction=-1,
                scales=("gap",),
            ),
        ),
        control=Control(
            "H0",
            "Rotated differs from diagonal in nothing.",
            _structures("rotated"),
            margins={"excess": 0.15, "gap": 0.4},
        ),
        small=(*SMALL, "train.steps=150", "task.lambda=0.84,0.98"),
        operations=operations,
        more=BESIDE,
    ),
    "patching": Experiment(
        title="Patching",
        question="What does it cost to give the transformer tokens of several steps, and does that depend on the "
        "system?",
        factors=(PATCH, LAMBDA, STRUCTURE),
        measures=(_rolled_excess(2), *ROLLOUTS, _rolled_headroom(2), RADIUS),
        hypotheses=(
            Hypothesis(
                "H1",
                "Patching matters more as λ grows.",
                {"model.patch": Slope(), "task.lambda": Slope(), "task.structure": Mean()},
                f"per unit of log2 P, {_PER_LAMBDA}",
                ("rollout_excess_2",),
                scales=("rollout_2",),
                turned_by={"model.patch": Slope(), "task.lambda": Mean(), "task.structure": Mean()},
            ),
            Hypothesis(
                "H2",
                "Patching matters less when A is diagonal.",
                {"model.patch": Slope(), "task.lambda": Mean(), "task.structure": Difference("dense", "diagonal")},
                "per unit of log2 P",
                ("rollout_excess_2",),
                scales=("rollout_2",),
                turned_by={"model.patch": Slope(), "task.lambda": Mean(), "task.structure": Mean()},
            ),
        ),
        small=(*SMALL, "train.steps=100", "task.lambda=0.84,0.98", "model.patch=1,4,16"),
        operations=operations,
        more=BESIDE,
    ),
    "observed": Experiment(
        title="Observed dimensions",
        question="Is a system harder to predict when fewer dimensions of it are observed, and does patching then "
        "matter more?",
        factors=(OBSERVED, PATCH),
        measures=(*_OBSERVED, _rolled_headroom(2)),
        hypotheses=(
            Hypothesis(
                "H1",
                "Fewer observed dimensions are harder.",
                {"task.observed_dim": Slope(), "model.patch": At(1)},
                "per unit of log2 m",
                ("excess",),
                direction=-1,
                scales=("gap",),
                shown=tuple(measure.name for measure in _OBSERVED),
            ),
            Hypothesis(
                "H2",
                "Fewer observed dimensions make patching matter more.",
                {"task.observed_dim": Slope(), "model.patch": Slope()},
                "per unit of log2 P, per unit of log2 m",
                ("rollout_excess_2",),
                direction=-1,
                scales=("rollout_2",),
                shown=_BY_PATCH,
                turned_by={"task.observed_dim": Mean(), "model.patch": Slope()},
            ),
        ),
        small=(*SMALL, "train.steps=100", "task.observed_dim=1,2,4", "model.patch=1,8"),
        operations=operations,
        more=BESIDE,
    ),
}
