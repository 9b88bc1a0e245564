"""What the four filter experiments test, as the heads of experiments/*.yaml state it. Nothing heavier than NumPy."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
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


def _excess(config: FiltersConfig, figures: Mapping[str, Any]) -> Reading:
    return Reading(math.log(figures["normalised_loss"] - 1))


def _excess_with_headroom(config: FiltersConfig, figures: Mapping[str, Any]) -> Reading:
    return Reading(math.nan) if figures["skill"] is None else _excess(config, figures)


def _sequences(level: float, config: FiltersConfig, figures: Mapping[str, Any]) -> Reading:
    """Within what can be seen: from the first validation to the last step, as a restricted survival time is."""
    if figures["skill"] is None:
        return Reading(math.nan)
    train = config.train
    first, last = train.validate_every * train.batch_size, train.steps * train.batch_size
    found = figures[f"sequences_to_skill_{level:g}"]
    if found is None:
        return Reading(math.log2(last), "high")
    return Reading(math.log2(found), "low" if found <= first else None)


def _shortfall(horizon: int, config: FiltersConfig, figures: Mapping[str, Any]) -> Reading | None:
    if str(horizon) not in figures["rollout"]:
        return None
    skill = figures["rollout"][str(horizon)]["skill"]
    return Reading(math.nan if skill is None else 1 - skill)


EXCESS = Measure(
    "excess",
    "final excess over the filter",
    "ln",
    _excess,
    group="excess",
    axis="final excess over the filter (%)",
    show=lambda value: 100 * np.exp(value),
    log=True,
)
SPEED_AND_ROLLOUTS = (
    *(
        Measure(
            f"sequences_{level:g}",
            f"sequences to skill {level:g}",
            "log2",
            functools.partial(_sequences, level),
            group="sequences",
            axis=f"training sequences to skill {level:g}",
            show=np.exp2,
            log=True,
            bounds=(
                "were reached by the first validation, and count as that",
                "were not reached, and count as the end",
            ),
        )
        for level in (0.9, 0.99)
    ),
    *(
        Measure(
            f"rollout_{h}",
            f"rollout t+{h}",
            "fraction of headroom",
            functools.partial(_shortfall, h),
            group="rollout",
            axis="rollout skill",
            show=lambda value: 1 - value,
            position=h,
        )
        for h in HORIZONS
    ),
)

# ------------------------------------------------------------------------------------------ the experiments

LAMBDA = Factor("task.lambda", "λ", lambda value: math.log(1 / (1 - value)))
STRUCTURE = Factor("task.structure", "structure")
PATCH = Factor("model.patch", "P", math.log2)
OBSERVED = Factor("task.observed_dim", "m", math.log2)

_PER_LAMBDA = "per unit of ln 1/(1−λ)"
_BY_LAMBDA: Contrast = {"task.lambda": Slope()}
_SMALL = (
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


EXPERIMENTS = {
    "eigenvalue": Experiment(
        title="The largest eigenvalue",
        question="How does λ, the largest eigenvalue modulus, decide how hard a linear system is to predict?",
        factors=(LAMBDA,),
        measures=(dataclasses.replace(EXCESS, read=_excess_with_headroom), *SPEED_AND_ROLLOUTS),
        hypotheses=(
            Hypothesis("H1", "Higher λ is harder at the end.", _BY_LAMBDA, _PER_LAMBDA, ("excess",)),
            Hypothesis("H2", "Higher λ is slower.", _BY_LAMBDA, _PER_LAMBDA, ("sequences*",)),
            Hypothesis("H3", "Higher λ is harder far ahead.", _BY_LAMBDA, _PER_LAMBDA, ("rollout*",)),
        ),
        grading=Grading("task.lambda", ("sequences_0.9", "sequences_0.99", "excess")),
        small=(*_SMALL, "train.steps=150", "task.lambda=0.68,0.92,0.98"),
        operations=operations,
    ),
    "structure": Experiment(
        title="The structure of A",
        question="Does it matter to a transformer whether A is diagonal, once the spectrum is the same?",
        factors=(LAMBDA, STRUCTURE),
        measures=(EXCESS, *SPEED_AND_ROLLOUTS),
        hypotheses=(
            Hypothesis("H1", "Diagonal is easier than dense.", _structures("dense"), "", ("excess",)),
            Hypothesis("H2", "Diagonal is faster than dense.", _structures("dense"), "", ("sequences*",)),
            Hypothesis(
                "H3", "Real is easier than complex.", _structures("diagonal-real"), "", ("excess",), direction=-1
            ),
        ),
        control=Control("H0", "Rotated differs from diagonal in no measure.", _structures("rotated"), against="H1"),
        small=(*_SMALL, "train.steps=150", "task.lambda=0.84,0.98"),
        operations=operations,
    ),
    "patching": Experiment(
        title="Patching",
        question="What does it cost to give the transformer tokens of several steps, and does that depend on the "
        "system?",
        factors=(PATCH, LAMBDA, STRUCTURE),
        measures=(EXCESS, *SPEED_AND_ROLLOUTS),
        hypotheses=(
            Hypothesis(
                "H1",
                "Patching matters more as λ grows.",
                {"model.patch": Slope(), "task.lambda": Slope(), "task.structure": Mean()},
                f"per unit of log2 P, {_PER_LAMBDA}",
                ("excess",),
                turned_by={"model.patch": Slope(), "task.lambda": Mean(), "task.structure": Mean()},
            ),
            Hypothesis(
                "H2",
                "Patching matters less when A is diagonal.",
                {"model.patch": Slope(), "task.lambda": Mean(), "task.structure": Difference("dense", "diagonal")},
                "per unit of log2 P",
                ("excess",),
                turned_by={"model.patch": Slope(), "task.lambda": Mean(), "task.structure": Mean()},
            ),
        ),
        small=(*_SMALL, "train.steps=100", "task.lambda=0.84,0.98", "model.patch=1,4,16"),
        operations=operations,
    ),
    "observed": Experiment(
        title="Observed dimensions",
        question="Is a system harder to predict when fewer dimensions of it are observed, and does patching then "
        "matter more?",
        factors=(OBSERVED, PATCH),
        measures=(EXCESS, *SPEED_AND_ROLLOUTS),
        hypotheses=(
            Hypothesis(
                "H1",
                "Fewer observed dimensions are harder.",
                {"task.observed_dim": Slope(), "model.patch": At(1)},
                "per unit of log2 m",
                ("excess",),
                direction=-1,
            ),
            Hypothesis(
                "H2",
                "Fewer observed dimensions make patching matter more.",
                {"task.observed_dim": Slope(), "model.patch": Slope()},
                "per unit of log2 P, per unit of log2 m",
                ("excess",),
                direction=-1,
                turned_by={"task.observed_dim": Mean(), "model.patch": Slope()},
            ),
        ),
        small=(*_SMALL, "train.steps=100", "task.observed_dim=1,2,4", "model.patch=1,8"),
        operations=operations,
    ),
}
