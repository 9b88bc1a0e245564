"""The experiment on normalisation: what reversible instance normalisation costs, and what takes it away."""

from __future__ import annotations

from bestguess.experiment.declare import Contrast, Difference, Experiment, Factor, Hypothesis, Mean
from bestguess.filters.experiments import BESIDE, LAMBDA, SMALL, operations
from bestguess.filters.measures import EXCESS, GAP, HEADROOM, RADIUS, ROLLOUTS, SPEED

INPUT, NONE, INSTANCE = "nothing", "model.normalisation=none", "model.normalisation=instance"
TOLD, PRIOR = f"{INSTANCE} model.told_statistics=true", f"{INSTANCE} model.prior_steps=64"
BOTH = f"{PRIOR} model.told_statistics=true"
_LABELS = {
    INPUT: "input",
    NONE: "none",
    INSTANCE: "instance",
    TOLD: "instance, told",
    PRIOR: "instance, prior 64",
    BOTH: "instance, both",
}
ARM = Factor("change", "normalisation", label=lambda value: _LABELS.get(value, value))


def _over(plus: str, minus: str) -> Contrast:
    return {"change": Difference(plus, minus), "task.lambda": Mean()}


def _claim(name: str, claim: str, plus: str, minus: str) -> Hypothesis:
    return Hypothesis(name, claim, _over(plus, minus), "", ("excess",), scales=("gap",))


NORMALISATION = Experiment(
    title="Reversible instance normalisation",
    question="What does reversible instance normalisation cost where all sequences come of one law, and what takes the "
    "cost away?",
    factors=(LAMBDA, ARM),
    measures=(EXCESS, GAP, *SPEED, *ROLLOUTS, HEADROOM, RADIUS),
    hypotheses=(
        _claim("H1", "Instance normalisation costs, as published.", INSTANCE, INPUT),
        _claim("H2", "It costs less if each token is told its statistics.", INSTANCE, TOLD),
        _claim("H3", "It costs less with a prior of 64 steps.", INSTANCE, PRIOR),
        _claim("H4", "With both it still costs.", BOTH, INPUT),
        _claim("H5", "No normalisation costs.", NONE, INPUT),
    ),
    small=(*SMALL, "train.steps=150", "task.lambda=0.9,0.97"),
    operations=operations,
    more=BESIDE,
)
