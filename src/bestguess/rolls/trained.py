"""What the training of one run adds to its record: its evidence, its gap to the test part, the spikes of its loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bestguess.family import Trained
from bestguess.rolls import answers
from bestguess.rolls.evaluate import Evaluation, ModelPredictor, training_bits
from bestguess.rolls.evidence.joined import largest, model_path
from bestguess.rolls.evidence.order import together


def record(
    training: Trained, i: int, curve: Sequence[Mapping[str, Any]], predictor: ModelPredictor, found: Evaluation
) -> dict[str, Any]:
    """Return what run i's training adds to its record; predictor, found: the run's, and its evaluation.

    `log10_m`: log10 of the largest M = ½ E_first + ½ E_test of this model alone, without the side predictors.
    `alarm`: 1 if it has reached 1/level. `above_ceiling_log10_e`: of Π q/p* on the test part, None where p* is not to
    be had.
    """
    about, level = training.tasks[i].about, training.runs[i].config.task.level
    kept = training.learnt.kept
    assert found.log_f is not None
    first = answers.first_pass(training.learnt, [i], about.window)
    log_m = largest(first, together([model_path(found.log_f)]))
    above = answers.above_ceiling(about, found)
    on_training = training_bits(about, predictor, len(found.starts))
    return {
        "first_pass_log10_e": first.log_e / math.log(10),
        "first_pass_log10_e_largest": first.largest / math.log(10),
        "first_pass_bits": float(kept.nats[i]) / (int(kept.windows[i]) * about.window * math.log(2)),
        "first_pass_marginal_bits": about.tokens.marginal_bits(about.rolls.counts),
        "log10_m": log_m / math.log(10),
        "alarm": float(log_m >= -math.log(level)),
        "above_ceiling_log10_e": None if above is None else above / math.log(10),
        "marginal_bits": answers.marginal_bits(about, found.starts),
        "training_bits": on_training,
        "gap_bits": found.bits - on_training,
        **spikes([line["train_loss"] for line in curve]),
    }


def spikes(losses: Sequence[float]) -> dict[str, float]:
    """Return by how much the training loss rose over its lowest so far (nats), and whether it ended above its start.

    losses: the mean loss between validations, one after the other; those of a stopped run, NaN, do not count.
    """
    told = np.array([loss for loss in losses if math.isfinite(loss)])
    if not len(told):
        return {"loss_spike": 0.0, "diverged": 0.0}
    rise = float((told - np.minimum.accumulate(told)).max())
    return {"loss_spike": rise, "diverged": float(told[-1] > told[0])}
