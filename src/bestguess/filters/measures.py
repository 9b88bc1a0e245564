"""What the filter experiments measure, on which scale, and what stands beside it. Nothing heavier than NumPy."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bestguess.experiment.declare import Measure, Reading, Reference
from bestguess.filters.config import FiltersConfig

HORIZONS = (2, 4, 8, 16, 32, 64)

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


percent: Callable[[Any], Any] = lambda value: 100 * np.exp(value)  # noqa: E731
_skill: Callable[[Any], Any] = lambda value: 1 - np.exp(value)  # noqa: E731
EXCESS = Measure(
    "excess",
    "ln excess",
    "ln",
    functools.partial(_one_step, _excess),
    group="excess",
    axis="final excess over the filter (%)",
    show=percent,
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
    show=percent,
    log=True,
    references=_references("gap"),
)


def rolled_excess(horizon: int) -> Measure:
    return Measure(
        f"rollout_excess_{horizon}",
        f"ln excess at t+{horizon}",
        "ln",
        functools.partial(_rolled, _excess, horizon),
        group="rollout excess",
        axis=f"excess over the filter at t+{horizon} (%)",
        show=percent,
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
    percent,
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


def rolled_headroom(horizon: int) -> Measure:
    """One step ahead the headroom differs between patch sizes; at a horizon all share it."""
    return dataclasses.replace(
        HEADROOM,
        name=f"headroom_{horizon}",
        label=f"ln headroom at t+{horizon}",
        read=functools.partial(_rolled, _headroom, horizon),
        group=f"headroom at t+{horizon}",
        axis=f"headroom at t+{horizon} (%)",
    )
