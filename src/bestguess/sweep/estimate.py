"""How long a sweep will take and what memory it needs: one chunk of every shape, measured here."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from bestguess.config import run_of_single
from bestguess.sweep.ledger import Ledger
from bestguess.sweep.plan import Run, config_of
from bestguess.sweep.train import figures_of
from bestguess.train.fit import as_fitted, fit_to_memory
from bestguess.workflow.training import make_training

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Estimate:
    """What one shape costs on this machine."""

    shape: str
    runs: int
    units: int
    memory: int
    """Bytes that the largest program of it needs on each device, those of its evaluation that are known included."""
    seconds_per_unit: tuple[float, ...]
    """Expected seconds of each unit: compilation, training and evaluation."""


def estimate(ledger: Ledger, todo: list[str], console: Console) -> list[Estimate]:
    """Return the expected cost of the runs `todo`, for each shape."""
    runs = ledger.runs()
    shapes: dict[str, list[list[Run]]] = {}
    for unit in ledger.units():
        if open_runs := [runs[name] for name in unit.runs if name in todo]:
            shapes.setdefault(open_runs[0].shape, []).append(open_runs)
    found = []
    for shape, units in shapes.items():
        console.print(f"shape {shape}: one chunk of {max(map(len, units))} runs", style="dim", markup=False)
        found.append(_measure(shape, units))
    return found


def _measure(shape: str, units: list[list[Run]]) -> Estimate:
    largest = max(units, key=len)
    families, configs = zip(*(config_of(run.config) for run in largest))
    began = time.perf_counter()
    training = make_training(families[0], Path(), [run_of_single(config, i) for i, config in enumerate(configs)])
    train = training.config
    width, program, memory = fit_to_memory(training.problem, train, training.members)
    needed = max(memory.needed, training.works.memory(configs[0], training.tasks[0], training.problem))
    prepared = time.perf_counter() - began
    length = min(train.validate_every, train.steps)
    state = jax.block_until_ready(program.start())  # it compiles too: no part of a chunk's time
    began = time.perf_counter()
    state, metrics = jax.block_until_ready(program.chunk(state, 0, length))
    took = time.perf_counter() - began
    per_step = took / length / width
    # Of an untrained model: what it costs does not depend on the weights.
    figures = {k: float(np.asarray(v)[0]) for k, v in metrics.items()}
    curve: list[dict[str, Any]] = [{"step": length, "sequences": length * train.batch_size, **figures}]
    learnt = as_fitted([state], took, length * width)
    learnt = dataclasses.replace(learnt, peak_bytes=memory.needed, runs_together=width)
    training = dataclasses.replace(training, learnt=learnt)
    scored = []
    for _ in range(2):  # the first compiles
        began = time.perf_counter()
        figures_of(training, 0, curve)
        scored.append(time.perf_counter() - began)
    seconds = tuple(
        prepared + scored[0] + (len(unit) - 1) * scored[1] + len(unit) * train.steps * per_step for unit in units
    )
    return Estimate(shape, sum(map(len, units)), len(units), needed, seconds)


def spread(seconds: list[float], workers: int) -> float:
    """Return when the last of `workers` is done, if each takes the next unit as soon as it is free."""
    busy = [0.0] * workers
    for one in seconds:
        busy[busy.index(min(busy))] += one
    return max(busy)
