"""What a training comes to: the evidence of its runs together, the sentence, the baselines, and a claim too good."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from bestguess.family import Trained
from bestguess.rolls.baselines import Baseline, baselines
from bestguess.rolls.counter import SAMPLE, words
from bestguess.rolls.evaluate import Evaluation
from bestguess.rolls.evidence import joined, verdict
from bestguess.rolls.evidence.effect import MEASURED, smallest_effects
from bestguess.rolls.evidence.joined import MODEL_SHARE, TEST_SHARE, FirstPass
from bestguess.rolls.evidence.pipeline import Answers, other_questions
from bestguess.rolls.evidence.windows import Marginal
from bestguess.rolls.task import About

ABOVE = 1000.0
"""Odds against the source at which a claim to beat it is called a bug or a leak."""
_SEARCHED = 1 << 24
"""Most values that are looked at for the second and the third question."""
_PARTS = 256
_COMPRESSED = 1 << 20
"""Most values of each part that the baselines see."""


def marginal_bits(about: About, starts: np.ndarray) -> float:
    """Return the bits per value of the training marginal on the windows' predicted values, from their counts."""
    counts = np.zeros(about.rolls.classes, np.int64)
    for start in starts:
        counts += np.bincount(about.rolls.read(int(start) + 1, int(start) + 1 + about.window), minlength=len(counts))
    return about.tokens.marginal_bits(counts)


def first_pass(learnt: Any, runs: Sequence[int], window: int) -> FirstPass:
    """Return the evidence of the first pass of several runs: the mean of their E at its end.

    Of one run also its largest value on the way. Of several it is not known: their orders differ, and the largest of
    a mean over different orders is no evidence.
    """
    kept = learnt.kept
    ends = [log_mean(kept.log_e[i]) for i in runs]
    mean = float(np.logaddexp.reduce(ends) - math.log(len(ends))) if any(ends) else 0.0
    largest = float(kept.largest[runs[0]]) if len(runs) == 1 else max(0.0, mean)
    # The last value of each window is not bet on.
    return FirstPass(mean, largest, int(kept.windows[runs[0]]) * (window - 1))


def log_mean(log_e: np.ndarray) -> float:
    """Return ln of the mean of E, from ln E of each head and weight; exactly 0 where all are 1."""
    every = np.asarray(log_e, np.float64).ravel()
    return float(np.logaddexp.reduce(every) - math.log(len(every))) if every.any() else 0.0


def so_far(log10_e: float, values: int, level: float) -> str:
    """Return what the first pass has shown so far, in a few words. log10_e: of its largest E; half of it counts."""
    log10_m = log10_e + math.log10(TEST_SHARE) if log10_e > 300 else math.log10(TEST_SHARE * (10**log10_e + 1))
    if log10_m < -math.log10(level):
        return f"no evidence after {values:,} values"
    return f"predictable: at most {verdict.false_alarms(log10_m)}"


def results(training: Trained, found: Sequence[Evaluation]) -> dict[str, Any]:
    """Return what the results hold beside the runs' figures: of the run that is shown, and of all on its values."""
    shown = training.shown()
    together = [i for i, task in enumerate(training.tasks) if task is training.tasks[shown]]
    about = training.tasks[shown].about
    config = training.runs[shown].config
    first = first_pass(training.learnt, together, about.window)
    evidence, path = gather(about, [found[i] for i in together], first, config.task.level)
    distinct = int(np.count_nonzero(about.rolls.counts))
    values = first.values + found[shown].values
    source = about.rolls.source
    above = above_ceiling(about, found[shown])
    return {
        "shown": shown,
        "together": together,
        "evidence": evidence,
        "log10_e_by_window": path / math.log(10),
        "first_pass_values": first.values,
        "sentence": verdict.sentence(evidence, values, distinct),
        "above_ceiling": None if above is None else above >= math.log(ABOVE),
        "above_ceiling_log10_e": None if above is None else above / math.log(10),
        "source": None if source is None else {"name": source.name, "floor": asdict(source.floor())},
        "baselines": [asdict(one) for one in _baselines(about)],
        "tokens": {"kind": about.tokens.kind, "vocab": about.tokens.vocab},
        "sha256": about.rolls.sha256,
    }


def gather(
    about: About, found: Sequence[Evaluation], first: FirstPass, level: float
) -> tuple[dict[str, Any], np.ndarray]:
    """Return the three answers as `rolls evaluate --json` has them, and ln E of the test part after each window.

    found: of the models on these values; with several, the mean of their E counts.
    """
    starts = found[0].starts
    tested = about.rolls.read(int(starts[0]) + 1, int(starts[-1]) + 1 + about.window)
    marginal = Marginal(np.bincount(tested, minlength=1 << 16))
    side = joined.side_paths(joined.windows_of(about.rolls.read, starts, about.window), marginal)
    models = [joined.model_path(one.log_f) for one in found if one.log_f is not None]
    order = joined.order_of(first, side, models)
    parts = _spread(about.rolls.n)
    whole = Marginal(np.sum([np.bincount(about.rolls.read(a, b), minlength=1 << 16) for a, b in parts], axis=0))
    uniform, drift = other_questions(about.rolls.read, parts, whole, None)
    values = tested[np.argsort(words(0, SAMPLE, 0, len(tested)), kind="stable")][:MEASURED]
    effects = smallest_effects(values, marginal, len(tested), level * TEST_SHARE * (1 - MODEL_SHARE))
    answers = Answers(order.log_m, uniform, drift, len(tested), order.bet, order.path)
    evidence = verdict.evidence(answers, effects, level)
    evidence["order"] |= {
        "first_pass_log10_e": first.largest / math.log(10),
        "test_log10_e": max(0.0, float(order.path.max())) / math.log(10),
    }
    return evidence, order.path


def above_ceiling(about: About, found: Evaluation) -> float | None:
    """Return the largest ln Π q/p* over the test part, at least 0, or None where p* is not to be had.

    p* is the source's own prediction from all values before, so that Π q/p* is a test martingale under it.
    """
    source = about.rolls.source
    if source is None or not about.known:
        return None
    start = int(found.starts[0]) + 1
    values = about.rolls.read(start, int(found.starts[-1]) + 1 + about.window)
    before = about.rolls.read(start - source.memory(start), start)
    best = source.log_p(values, start, before)
    odds = np.cumsum(found.log_q.ravel() - best)
    ends = odds[about.window - 1 :: about.window]
    return max(0.0, float(ends.max()))


def _spread(n: int) -> list[tuple[int, int]]:
    """Return parts of a file that the other questions look at: all of it, or parts spread over it."""
    if n <= _SEARCHED:
        return [(0, n)]
    size = _SEARCHED // _PARTS
    return [(int(first), int(first) + size) for first in np.linspace(0, n - size, _PARTS)]


def _baselines(about: About) -> list[Baseline]:
    split = about.split
    train = about.rolls.read(max(split.training[0], split.training[1] - _COMPRESSED), split.training[1])
    test = about.rolls.read(split.test[0], min(split.test[1], split.test[0] + _COMPRESSED))
    return baselines(train, test, about.rolls.classes)


def answer(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of the run that is shown, the evidence and the sentence, and all the rest beside them."""
    own = evaluation["runs"][evaluation["shown"]]
    keys = ("values", "bits_per_value", "standard_error", "floor_bits", "regret", "skill", "top1", "top3", "top5")
    flat = {key: own[key] for key in (*keys, "perplexity", "heads")}
    flat["bits_per_token"] = own["bits_per_token"]
    return flat | dict(evaluation)
