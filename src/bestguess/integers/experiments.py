"""What the experiment on the integer design tests, as the head of its YAML states it. Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bestguess.experiment.declare import At, Contrast, Difference, Experiment, Factor, Hypothesis, Measure, Reading
from bestguess.integers.config import IntegersConfig


def _regret(config: IntegersConfig, figures: Mapping[str, Any]) -> Reading:
    return Reading(math.log2(figures["regret"]))


def _mean_regret(config: IntegersConfig, figures: Mapping[str, Any]) -> Reading:
    return Reading(math.log2(figures["mean"]["regret"]))


def _leak(config: IntegersConfig, figures: Mapping[str, Any]) -> Reading:
    return Reading(math.log2(figures["regret"] / figures["seen"]["regret"]))


_EMBEDDINGS = {
    f"model.embedding={one}": f"model.embedding={one} model.positions=learned"
    for one in ("learned", "fourier", "number-theoretic", "binary")
}
"""Changes of the embedding, as the first two passes and as the third name them: the earlier base had learned positions,
while the pair of the exact design holds the position itself and the other embeddings do not."""
CHANGE = Factor("change", "change", base="nothing", former=_EMBEDDINGS)
MEASURES = (
    Measure(
        "regret",
        "regret at full context",
        "log2",
        _regret,
        group="regret",
        axis="regret at full context, held-out rows (nats)",
        show=np.exp2,
        log=True,
    ),
    Measure(
        "mean_regret",
        "mean regret over positions",
        "log2",
        _mean_regret,
        group="mean_regret",
        axis="mean regret over positions, held-out rows (nats)",
        show=np.exp2,
        log=True,
    ),
    Measure(
        "leak",
        "regret on held-out rows over seen rows",
        "log2",
        _leak,
        group="leak",
        axis="regret at full context, held-out over seen rows",
        show=np.exp2,
        log=True,
    ),
)


def _worse(change: str, than: str = "nothing") -> Contrast:
    return {"change": Difference(change, than)}


def _claim(name: str, claim: str, change: str, than: str = "nothing") -> Hypothesis:
    """Return the claim that a change makes the regret larger than another, by default than no change."""
    return Hypothesis(name, claim, _worse(change, than), "", ("regret",))


def _embedding(name: str, claim: str, embedding: str) -> Hypothesis:
    return _claim(name, claim, _EMBEDDINGS[f"model.embedding={embedding}"])


EXPERIMENTS = {
    "integer_design": Experiment(
        title="The integer design",
        question="Which choices of the original design, and which of its reasons, hold up compared with the exact "
        "Bayes predictor, on rows that training never saw?",
        factors=(CHANGE,),
        measures=MEASURES,
        hypotheses=(
            _claim("H1", "The original design beats the default.", "design=default", "design=document"),
            _embedding("H2a", "The pair beats a learned embedding.", "learned"),
            _embedding("H2b", "The pair beats Fourier features.", "fourier"),
            _embedding("H2c", "The pair beats number-theoretic features.", "number-theoretic"),
            _embedding("H2d", "The pair beats 8 bits.", "binary"),
            _claim("H3a", "Post-norm beats pre-norm.", "model.norm_place=pre"),
            _claim("H3b", "Post-norm beats no norm.", "model.norm_place=none"),
            _claim("H4a", "A distance weight of 0.1 beats none.", "objective.alpha=0"),
            _claim("H4b", "A distance weight of 0.1 beats 1.", "objective.alpha=1"),
            _claim("H5a", "Gradual transitions beat no curriculum.", "task.curriculum=none"),
            _claim("H5b", "Gradual transitions beat strict ones.", "task.curriculum=strict"),
            _claim("H6", "All positions help.", "objective.prefixes=full"),
            _claim("H7", "Few heads suffice: 2 beat 8.", "model.heads=8"),
            _claim("H8", "A small FFN suffices: 32 beats 256.", "model.d_ff=256"),
            Hypothesis(
                "H9", "No leakage: held-out rows are no harder.", {"change": At("nothing")}, "", ("leak",), direction=-1
            ),
        ),
        small=(
            "preset=small",
            "train.steps=300",
            "train.warmup_steps=30",
            "train.validate_every=100",
            "train.learning_rate=0.001,0.003",
            "train.first_seed=0,1",
        ),
    )
}
