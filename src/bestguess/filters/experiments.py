"""What the four filter experiments test, as the heads of experiments/*.yaml state it. Nothing heavier than NumPy."""

from __future__ import annotations

import math

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
    Slope,
)
from bestguess.filters.config import FiltersConfig
from bestguess.filters.measures import (
    EXCESS,
    GAP,
    HEADROOM,
    RADIUS,
    ROLLOUTS,
    SPEED,
    rolled_excess,
    rolled_headroom,
)


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
_OBSERVED = (EXCESS, GAP, *SPEED, rolled_excess(2), *ROLLOUTS, HEADROOM, RADIUS)
"""What compares over observed dimensions at one patch size."""

EXPERIMENTS = {
    "eigenvalue": Experiment(
        title="The largest eigenvalue",
        question="How does λ, the spectral radius of A, decide how hard a linear system is to predict?",
        factors=(LAMBDA,),
        measures=(EXCESS, GAP, *SPEED, rolled_excess(8), *ROLLOUTS, HEADROOM, RADIUS),
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
        measures=(rolled_excess(2), *ROLLOUTS, rolled_headroom(2), RADIUS),
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
        measures=(*_OBSERVED, rolled_headroom(2)),
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
