"""Training runs of one shape together, and what each of them came to."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from bestguess import files
from bestguess.config import run_of_single
from bestguess.family import Family
from bestguess.report.trackers import METRICS_FILE, Trackers, open_trackers
from bestguess.sweep.keys import VALIDATION
from bestguess.sweep.ledger import not_finite
from bestguess.train import distributed
from bestguess.train.fit import has_begun
from bestguess.train.folder import CHECKPOINTS
from bestguess.train.turns import turn
from bestguess.workflow.evaluation import Evaluators
from bestguess.workflow.training import Training, fit_runs, levels_of, make_training, resumed_at

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Outcome:
    """What one run came to."""

    metrics: dict[str, Any]
    """Its figures; not all finite where it failed."""
    seconds: float
    """Its share of the training, and its own evaluation."""
    fault: str | None
    """Why it is not done; None: it is."""
    kind: str = "not finite"
    """The kind of a fault: `not finite`, or `scoring` where its evaluation raised an exception."""


def train_runs(
    family: Family,
    configs: list[Any],
    own: list[dict[str, Any]],
    folder: Path,
    console: Console,
    *,
    track: tuple[str, ...] = (),
    group: str | None = None,
    logs: Path | None = None,
    label: str = "training",
    still_ours: Callable[[], None] = lambda: None,
    evaluators: Evaluators | None = None,
    made_by: str = "",
) -> Iterator[tuple[int, Outcome]]:
    """Train `configs` together in `folder`, going on from what is there; yield (index, outcome) of each.

    own: what sets each run apart, for the trackers; group, logs: theirs too, see `open_trackers`. still_ours: called
    after every chunk; it may raise to stop.
    evaluators: those made before, so that each task's self-test runs once. made_by: a hash of what the runs were asked
    with, for no config.yaml lies in the folder; checkpoints of another are refused.
    With several processes each yields its own part of the runs: all have trained them together.
    """
    runs = [run_of_single(config, i) for i, config in enumerate(configs)]
    training = make_training(family, folder, runs, evaluators=evaluators)
    began_before = has_begun(folder / CHECKPOINTS)
    if not began_before:
        training.works.check_new(configs[0])
    resumed = resumed_at(training, made_by) if began_before else None
    trackers = Trackers([])
    if distributed.is_first():
        if resumed is None:
            files.remove(folder / METRICS_FILE)  # of an attempt that died before its first checkpoint
        trackers = open_trackers(track, folder, {}, own, resumed, group=group, logs=logs)
    with trackers:
        training, timing = fit_runs(
            training, console, trackers, resumed=resumed, label=label, each_chunk=still_ours, made_by=made_by
        )
        distributed.wait("metrics are written")
        curves = training.curves()
        share = (0.0 if timing is None else timing["seconds"]) / len(configs)
        summaries: list[dict[str, Any]] = [{} for _ in configs]
        # Processes that trained together score apart, each its part: none waits long for another.
        for i in range(jax.process_index(), len(configs), jax.process_count()):
            kind = "not finite"
            with turn():
                began = time.perf_counter()
                try:
                    metrics, fault = _judge(training, i, curves[i])
                except Exception as error:  # whatever it is, the other runs are well
                    metrics, fault, kind = {}, explain(error)[1], "scoring"
                spent = time.perf_counter() - began
            summaries[i] = {name: value for name, value in metrics.items() if not isinstance(value, dict)}
            yield i, Outcome(metrics, share + spent, fault, kind)
        trackers.finish(summaries)


def _judge(training: Training, i: int, curve: list[dict[str, Any]]) -> tuple[dict[str, Any], str | None]:
    learnt = training.learnt
    metrics: dict[str, Any] = {
        VALIDATION: float(learnt.best_score[i]),
        "best_step": int(learnt.best_step[i]),
        "stopped_step": curve[-1]["step"] if learnt.stopped[i] and curve else None,
    }
    if (step := int(learnt.fault_step[i])) >= 0:
        return metrics, f"loss not finite at step {step}; lower the learning rate"
    if not math.isfinite(metrics[VALIDATION]):
        return metrics, f"{VALIDATION} was never finite; lower the learning rate"
    metrics |= figures_of(training, i, curve)
    bad = not_finite(metrics)
    return metrics, f"not finite: {', '.join(bad)}" if bad else None


def figures_of(training: Training, i: int, curve: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a trained run's figures on test data, as the ledger keeps them; its task's self-test comes first."""
    evaluator = training.evaluator(i)
    found = evaluator(training.predictor(i))
    figures = training.works.record(found) | training.works.trained_record(training, i, curve, found)
    return {**figures, **levels_of(training.family, curve), "self_test": evaluator.missed}


def explain(error: Exception) -> tuple[str, str]:
    """Return the kind of a failure, `memory` or `error`, and its reason in one line."""
    first = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in first or "out of memory" in first.lower():
        return "memory", f"out of memory: {first}"
    return "error", f"{type(error).__name__}: {first}"


def own_of(configs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return, of each flat config, the keys in which they differ."""
    keys = [key for key in configs[0] if len({json.dumps(config.get(key)) for config in configs}) > 1]
    return [{key: config.get(key) for key in keys} for config in configs]
