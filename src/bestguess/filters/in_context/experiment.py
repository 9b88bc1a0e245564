"""What the experiment `in_context` tests, as the head of its YAML states it. Nothing heavier than NumPy."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

from bestguess.experiment.declare import At, Experiment, Factor, Hypothesis, Measure, Reading, Reference, Slope
from bestguess.filters.experiments import operations
from bestguess.filters.measures import EXCESS, GAP, percent

_PER_DOUBLING = "per doubling of K"


def _held_out(read: Callable[[Mapping[str, float]], float], config: Any, figures: Mapping[str, Any]) -> Reading | None:
    """What is read off the figures on held-out systems; None of a run on one system, which has none."""
    own = figures.get("held_out")
    return None if own is None else Reading(read(own))


def _measure(
    name: str,
    label: str,
    unit: str,
    read: Callable[[Mapping[str, float]], float],
    group: str,
    axis: str,
    show: Callable[[Any], Any] = lambda value: value,
    log: bool = False,
    covariate: bool = False,
) -> Measure:
    reader = functools.partial(_held_out, read)
    return Measure(name, label, unit, reader, group, axis, show, log, covariate=covariate)


def _ridge(unit: str, config: Any, figures: Mapping[str, Any]) -> float:
    """ln of the excess over the mixture of ridge in context, or of its fraction of the headroom, on the K systems."""
    own = figures["trained"]
    excess = (own["ridge_over_told"] - own["mixture_over_told"]) / (1 + own["mixture_over_told"])
    return math.log(excess / (figures["headroom"] if unit == "gap" else 1.0)) if excess > 0 else math.nan


def _beside(unit: str) -> tuple[Reference, ...]:
    """AR(k) of one system, which stands beside models of one system, is nothing to compare with here."""
    return (Reference("ridge in context", functools.partial(_ridge, unit)),)


MEASURES = (
    dataclasses.replace(EXCESS, axis="final excess over the mixture (%)", references=_beside("excess")),
    dataclasses.replace(GAP, references=_beside("gap")),
    _measure(
        "held_excess",
        "ln held-out excess over the true filter",
        "ln",
        lambda own: math.log(own["over_told"]),
        "held-out excess",
        "held-out error above the true filter's (%)",
        percent,
        log=True,
    ),
    _measure(
        "held_gap",
        "ln(1 − skill), held out",
        "ln",
        lambda own: math.log(own["over_told"] / own["headroom"]),
        "held-out gap",
        "shortfall of the held-out skill from 1 (% of the headroom)",
        percent,
        log=True,
    ),
    _measure(
        "by_mixture",
        "ln held-out excess over the mixture's",
        "ln",
        lambda own: math.log(own["over_told"] / own["mixture_over_told"]),
        "by the mixture",
        "held-out excess, of the mixture's (%)",
        percent,
        log=True,
    ),
    _measure(
        "less_mixture",
        "held-out loss less the mixture's",
        "of the true filter's error",
        lambda own: own["over_mixture"],
        "less the mixture's",
        "held-out loss less the mixture's (of the true filter's error)",
    ),
    _measure(
        "by_ridge",
        "ln held-out excess over the ridge's",
        "ln",
        lambda own: math.log(own["over_told"] / own["ridge_over_told"]),
        "by ridge",
        "held-out excess, of the ridge's in context (%)",
        percent,
        log=True,
    ),
    _measure(
        "less_ridge",
        "held-out loss less the ridge's",
        "of the true filter's error",
        lambda own: own["over_told"] - own["ridge_over_told"],
        "less the ridge's",
        "held-out loss less the ridge's in context (of the true filter's error)",
    ),
    _measure(
        "mixture_held",
        "ln held-out excess of the mixture",
        "ln",
        lambda own: math.log(own["mixture_over_told"]),
        "the mixture",
        "held-out error of the mixture above the true filter's (%)",
        percent,
        log=True,
        covariate=True,
    ),
)
SYSTEMS = Factor("task.systems", "K", math.log2)

IN_CONTEXT = Experiment(
    title="Unknown systems, in context",
    question="From how many systems on does a transformer learn the law of the systems, and not the systems?",
    factors=(SYSTEMS,),
    measures=MEASURES,
    hypotheses=(
        Hypothesis(
            "H1",
            "More systems are harder to predict as well as their mixture.",
            {"task.systems": Slope()},
            _PER_DOUBLING,
            ("excess",),
            scales=("gap",),
        ),
        Hypothesis(
            "H2",
            "More systems bring held-out ones closer to their true filters.",
            {"task.systems": Slope()},
            _PER_DOUBLING,
            ("held_excess",),
            direction=-1,
            scales=("held_gap",),
        ),
        Hypothesis(
            "H3",
            "With 256 systems, held-out ones are predicted better than by their mixture.",
            {"task.systems": At(256)},
            "",
            ("by_mixture",),
            direction=-1,
            scales=("less_mixture",),
        ),
        Hypothesis(
            "H4",
            "With 1,024 systems, held-out ones are predicted better than by ridge in context.",
            {"task.systems": At(1024)},
            "",
            ("by_ridge",),
            direction=-1,
            scales=("less_ridge",),
        ),
        Hypothesis(
            "H5",
            "With 4 systems, held-out ones are predicted worse than by ridge in context.",
            {"task.systems": At(4)},
            "",
            ("by_ridge",),
            scales=("less_ridge",),
        ),
    ),
    small=(
        *("preset=small", "model.dtype=float32", "model.layers=2", "model.d_model=32", "task.length=64"),
        *("task.systems=4,64,256,1024", "task.held_out=128", "test_sequences=256", "train.validation_sequences=64"),
        *("train.steps=150", "train.warmup_steps=20", "train.validate_every=50", "train.batch_size=32"),
        *("train.learning_rate=0.002,0.006", "train.first_seed=0,1"),
    ),
    operations=operations,
    more="bestguess.filters.in_context.experiment_page:curve",
)
