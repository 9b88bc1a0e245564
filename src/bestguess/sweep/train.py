"""Training runs of one shape as one ensemble, and what each of them came to."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from bestguess.report.progress import PartsProgress
from bestguess.report.trackers import METRICS_FILE, Trackers, open_trackers, read_metrics
from bestguess.sweep.family import VALIDATION, Family
from bestguess.sweep.ledger import not_finite
from bestguess.train import distributed
from bestguess.train.checkpoint import checkpoints
from bestguess.train.fit import Fitted, fit, resumed_steps

if TYPE_CHECKING:
    from rich.console import Console

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Outcome:
    """What one run came to."""

    metrics: dict[str, Any]
    """Its figures; not all finite where it failed."""
    seconds: float
    """Its share of the ensemble's training, and its own evaluation."""
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
    label: str = "training",
    still_ours: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, Outcome]]:
    """Train `configs` together in `folder`, going on from what is there; yield (index, outcome) of each.

    own: what sets each run apart, for the trackers. still_ours: called after every chunk; it may raise to stop.
    With several processes each yields its own part of the runs: all have trained them together.
    """
    problem, train, members = family.prepare(configs)
    say = lambda line: console.print(f"[dim]{line}[/dim]")  # noqa: E731
    began_before = any(checkpoints(part) for part in (folder / CHECKPOINTS).glob("part-*"))
    resumed = resumed_steps(problem, train, members, folder / CHECKPOINTS) if began_before else None
    trackers = Trackers([])
    if distributed.is_first():
        if resumed is None:
            (folder / METRICS_FILE).unlink(missing_ok=True)  # of an attempt that died before its first checkpoint
        trackers = open_trackers(track, folder, {}, own, resumed)
    with trackers:
        bar = PartsProgress(console, train.steps, len(configs), label, resumed or ())

        def on_chunk(part: range, step: int, metrics: dict[str, np.ndarray]) -> None:
            still_ours()
            for i, run in enumerate(part):
                values = {name: float(metrics[name][i]) for name in metrics if name not in ("stopped", "fault_step")}
                trackers.log(step, run, values)
            if distributed.is_first():
                bar.update(part, step, metrics["train_loss"], metrics["score"])

        with bar:
            fitted = fit(problem, train, members, folder / CHECKPOINTS, on_chunk=on_chunk, say=say)
        distributed.wait("metrics are written")
        curves: list[list[dict[str, Any]]] = [[] for _ in configs]
        for line in read_metrics(folder / METRICS_FILE):
            curves[line["run"]].append(line)
        share = max(fitted.seconds, 0.0) / len(configs)
        summaries: list[dict[str, Any]] = [{} for _ in configs]
        # Processes that trained together score apart, each its part: none waits long for another.
        for i in range(jax.process_index(), len(configs), jax.process_count()):
            began = time.perf_counter()
            kind = "not finite"
            try:
                metrics, fault = _judge(family, configs[i], slice_of(members.task, i), fitted, i, curves[i])
            except Exception as error:  # whatever it is, the other runs are well
                metrics, fault, kind = {}, explain(error)[1], "scoring"
            summaries[i] = {name: value for name, value in metrics.items() if not isinstance(value, dict)}
            yield i, Outcome(metrics, share + time.perf_counter() - began, fault, kind)
        trackers.finish(summaries)


def _judge(
    family: Family, config: Any, task: Any, fitted: Fitted, i: int, curve: list[dict[str, Any]]
) -> tuple[dict[str, Any], str | None]:
    metrics = {VALIDATION: float(fitted.best_score[i]), "best_step": int(fitted.best_step[i])}
    if (step := int(fitted.fault_step[i])) >= 0:
        return metrics, f"loss not finite at step {step}; lower the learning rate"
    if not math.isfinite(metrics[VALIDATION]):
        return metrics, f"{VALIDATION} was never finite; lower the learning rate"
    metrics |= family.score(config, task, slice_of(fitted.best, i), curve)
    bad = not_finite(metrics)
    return metrics, f"not finite: {', '.join(bad)}" if bad else None


def slice_of(stacked: Any, index: int) -> Any:
    """Return one run's slice of a tree with a leading run axis, as JAX's arrays."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[index]), stacked)


def explain(error: Exception) -> tuple[str, str]:
    """Return the kind of a failure, `memory` or `error`, and its reason in one line."""
    first = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in first or "out of memory" in first.lower():
        return "memory", f"out of memory: {first}"
    return "error", f"{type(error).__name__}: {first}"


def device() -> str:
    """Return what trains here, in words."""
    return f"{len(jax.devices())} × {jax.devices()[0].device_kind}"


def own_of(configs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return, of each flat config, the keys in which they differ."""
    keys = [key for key in configs[0] if len({json.dumps(config.get(key)) for config in configs}) > 1]
    return [{key: config.get(key) for key in keys} for config in configs]
