"""The host loop around the compiled step: split to fit memory, train, checkpoint, resume."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from bestguess import files
from bestguess.command import Failure, UserError
from bestguess.config import MOST_RUNS
from bestguess.train.checkpoint import checkpoints, load_newest, save_checkpoint
from bestguess.train.config import TrainConfig
from bestguess.train.cores import devices_of, use_cores
from bestguess.train.distributed import fetch, is_first, of_all, wait
from bestguess.train.machine import usable_cores
from bestguess.train.memory import Memory, device_memory, gigabytes, program_memory
from bestguess.train.problem import Member, Problem, State
from bestguess.train.program import Program
from bestguess.train.signals import graceful
from bestguess.train.turns import turn

Say = Callable[[str], None]
OnChunk = Callable[[range, int, dict[str, np.ndarray]], None]
"""Called with the runs of a part, the step, and the metrics of each of those runs after every validation.

Among them `ended`: whether the run had stopped before this chunk, so that nothing is to be said of it any more.
"""


class Stopped(Failure):
    """A training that a signal stopped: it is checkpointed, and goes on from there. Exit status 130, or 143."""

    def __init__(self, message: str, number: int = signal.SIGTERM) -> None:
        super().__init__(message)
        self.number = number
        self.status = 128 + number


@dataclass(frozen=True)
class Fitted:
    """What a batch of runs learnt, on the host, be it just trained or read from its folder: all that evaluation needs.

    Every array has a leading run axis.
    """

    model: PyTree
    """The last weights of each run, not averaged: those before the fault, if it had one."""
    best: PyTree
    """The weights of each run's best validation; averaged ones, where the training averages."""
    best_score: np.ndarray
    """The score of each run's best validation; ∞ where none was finite."""
    best_step: np.ndarray
    fault_step: np.ndarray
    """The step at which a run's loss was no longer finite, or −1."""
    stopped: np.ndarray
    """Whether a run ended before its last step, by a fault or for want of progress."""
    kept: PyTree = ()
    """What the problem kept of its notes."""
    seconds: float = 0.0
    """Seconds of training in this process: compilation and what an earlier process did are no part of it."""
    run_steps: int = 0
    """Steps that this process took, summed over runs."""
    peak_bytes: int = 0
    """What the program of a part of the runs needs on each device, by XLA's account; 0 where nothing was compiled."""
    runs_together: int = 0
    """Runs of that program."""

    @property
    def run_steps_per_second(self) -> float:
        """Steps a second, summed over runs; NaN where nothing was left to train."""
        return self.run_steps / self.seconds if self.run_steps else math.nan


def fit(
    problem: Problem,
    config: TrainConfig,
    members: Member,
    folder: Path,
    *,
    on_chunk: OnChunk = lambda runs, step, metrics: None,
    on_resume: Callable[[range, int], None] = lambda runs, step: None,
    say: Say = lambda line: None,
    devices: list | None = None,
    made_by: str = "",
) -> Fitted:
    """Train every member and return what they learnt; go on from `folder`'s checkpoints where there are any.

    made_by: a hash of the config that the weights belong to; checkpoints of another are refused.

    Batches are a function of seed and step, so a training that was cut off and goes on ends with the
    very bits of one that was not (on a CPU; a GPU's kernels may add in another order).

    Without `devices` it trains on all that JAX has: of a CPU, all cores, as the commands do, unless JAX has computed
    something before; then `say` is told so.
    """
    if devices is None:
        _use_all_cores(say)
    parts, first = _plan(problem, config, members, folder, devices, say)
    states, seconds, steps = [], 0.0, 0
    for i, runs in enumerate(parts):
        program = first if i == 0 else first.with_members(_slice(members, runs))
        if len(parts) > 1:
            say(f"part {i + 1} of {len(parts)}: runs {runs.start} to {runs.stop - 1}")
        state, part_seconds, part_steps = _fit_part(
            program, runs, folder / f"part-{i}", on_chunk, on_resume, say, made_by
        )
        states.append(state)
        seconds, steps = seconds + part_seconds, steps + part_steps
    peak = program_memory(first.compile(min(config.validate_every, config.steps)))
    return dataclasses.replace(as_fitted(states, seconds, steps), peak_bytes=peak, runs_together=first.size)


def _use_all_cores(say: Say) -> None:
    use_cores()
    wanted, found = devices_of(usable_cores()), len(jax.devices())
    settled = "JAX_NUM_CPU_DEVICES" in os.environ or "host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if jax.default_backend() == "cpu" and jax.process_count() == 1 and found < wanted and not settled:
        say(
            f"on {found} of {wanted} cores, for JAX had begun to compute: call bestguess.train.cores.use_cores() "
            "before anything else does"
        )


def resumed_steps(problem: Problem, config: TrainConfig, members: Member, folder: Path, made_by: str = "") -> list[int]:
    """Return the step that each run will go on from: 0 where it has no checkpoint yet; UserError as `load_fitted`."""
    size = int(members.seed.shape[0])
    steps: list[int] = []
    for i, runs in enumerate(_parts(size, _width_on_disk(folder) or size)):
        newest, _ = load_newest(folder / f"part-{i}", _like(problem, config, _slice(members, runs)), made_by)
        steps += [newest[1] if newest else 0] * len(runs)
    return steps


def load_fitted(
    problem: Problem,
    config: TrainConfig,
    members: Member,
    folder: Path,
    made_by: str = "",
    say: Say = lambda line: None,
) -> Fitted:
    """Return what every run has learnt up to its newest checkpoint on disk; trains nothing.

    Raises UserError where a part of the runs has no checkpoint yet, or none that is sound, or weights of another
    config than `made_by`. say: told of each newer checkpoint that is damaged.
    """
    size = int(members.seed.shape[0])
    width = _width_on_disk(folder)
    if width is None:
        raise UserError(f"{folder}: holds no checkpoint; train the run first, or --resume it")
    states = []
    for i, runs in enumerate(_parts(size, width)):
        newest, damaged = load_newest(folder / f"part-{i}", _like(problem, config, _slice(members, runs)), made_by)
        for line in damaged:
            say(f"passed over a damaged checkpoint: {line}")
        if newest is None:
            raise UserError(f"{folder}: runs {runs.start} to {runs.stop - 1} hold no checkpoint yet; --resume the run")
        states.append(newest[0])
    return as_fitted(states)


def has_begun(folder: Path) -> bool:
    """Return whether a folder of checkpoints has one of any run."""
    return any(checkpoints(part) for part in folder.glob("part-*"))


def keep_fitted(
    problem: Problem, config: TrainConfig, members: Member, folder: Path, models: PyTree, scores: np.ndarray
) -> None:
    """Write weights as those that a training of these members came to, for every command that reads one.

    models: with a leading run axis. scores: what validation gives them.
    """
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), _like(problem, config, members))
    size = int(members.seed.shape[0])
    state = dataclasses.replace(
        state,
        model=models,
        best=models,
        best_score=jnp.asarray(scores, jnp.float32),
        best_step=jnp.full(size, config.steps, state.best_step.dtype),
        fault_step=jnp.full(size, -1, state.fault_step.dtype),
        average=models if jax.tree.leaves(state.average) else state.average,
    )
    files.make_folder(folder / "part-0")
    files.write_bytes(folder / "parts.json", json.dumps({"width": size}).encode())
    save_checkpoint(folder / "part-0", config.steps, state, {"done": True})


def as_fitted(states: list[State], seconds: float = 0.0, run_steps: int = 0) -> Fitted:
    """Return what the runs of all parts have learnt, one after the other; without the memory that a program needs."""
    stack = lambda *leaves: np.concatenate(leaves)  # noqa: E731
    names = ("model", "best", "best_score", "best_step", "fault_step", "stopped", "kept")
    learnt = {name: jax.tree.map(stack, *(getattr(state, name) for state in states)) for name in names}
    return Fitted(**learnt, seconds=seconds, run_steps=run_steps)


def _like(problem: Problem, config: TrainConfig, members: Member) -> State:
    """The shapes and dtypes of a state, without computing one."""
    return Program(problem, config, members).shape()


def _parts(size: int, width: int) -> list[range]:
    return [range(i, min(i + width, size)) for i in range(0, size, width)]


def _slice(members: Member, runs: range) -> Member:
    return jax.tree.map(lambda leaf: leaf[runs.start : runs.stop], members)


def _width_on_disk(folder: Path) -> int | None:
    """How many runs a part has was decided when training began, on the device of that day: it stays so."""
    plan = folder / "parts.json"
    found = files.read_json(plan)
    if found is None:
        return None
    width = found.get("width") if isinstance(found, dict) else None
    if not isinstance(width, int) or isinstance(width, bool) or not 1 <= width <= MOST_RUNS:
        raise UserError(f"{plan}: damaged (its width is {width!r}); train the run anew")
    return width


def _plan(problem, config, members, folder, devices, say) -> tuple[list[range], Program]:
    """Return the runs of each part, as few parts as fit into memory, and the first part's program, compiled."""
    refuse_oversized(problem, config, members)
    size = int(members.seed.shape[0])
    width, program, _ = fit_to_memory(problem, config, members, devices, say, _width_on_disk(folder))
    if is_first():
        files.write_bytes(folder / "parts.json", json.dumps({"width": width}).encode())
    return _parts(size, width), program


def refuse_oversized(problem: Problem, config: TrainConfig, members: Member) -> None:
    """Raise UserError where the state of a single run is larger than a device's memory; nothing is compiled.

    The state's shapes are counted, none of it is made. What a training needs beside it, `fit_to_memory` learns from
    the compiled program.
    """
    state = _like(problem, config, _slice(members, range(1)))
    needed = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    available = int(of_all(device_memory()).min())
    if needed > available:
        raise UserError(
            f"the model: weights and optimiser state of 1 run need {gigabytes(needed)}, the device has "
            f"{gigabytes(available)}; give fewer --layers or a smaller --d-model"
        )


def fit_to_memory(
    problem: Problem,
    config: TrainConfig,
    members: Member,
    devices: list | None = None,
    say: Say = lambda line: None,
    fixed: int | None = None,
) -> tuple[int, Program, Memory]:
    """Return how many of the runs fit into memory as one program, that program of the first so many, its memory.

    fixed: a number decided before, to be kept. Raises UserError where that, or a single run, does not fit.
    """
    size = int(members.seed.shape[0])
    width = fixed or size
    while True:
        program = Program(problem, config, _slice(members, range(width)), devices)
        began = time.perf_counter()
        needed = program_memory(program.compile(min(config.validate_every, config.steps)))
        memory = Memory(needed, int(of_all(device_memory()).min()))  # processes must agree, or they would part ways
        say(
            f"{width} run{'s' * (width > 1)} in one program on {program.mesh.size} {jax.default_backend()} "
            f"device{'s' * (program.mesh.size > 1)}: needs {memory} (compiled in {time.perf_counter() - began:.1f} s)"
        )
        if memory.fits:
            return width, program, memory
        if fixed or width == 1:
            need = "1 run needs" if width == 1 else f"{width} runs need"
            flag, remedies = problem.remedies(config)
            raise UserError(
                f"{flag}: {need} {gigabytes(memory.needed)}, the device has {gigabytes(memory.available)}; {remedies}"
            )
        # Activations dominate and grow with the runs, so the share that fits is a good first guess.
        width = min(width - 1, max(1, math.floor(width * memory.available / memory.needed)))
        say(f"that is more than there is: splitting {size} runs into parts of {width}")


def _fit_part(
    program: Program, runs: range, folder: Path, on_chunk, on_resume, say, made_by: str
) -> tuple[State, float, int]:
    """Train the runs of one program to their end; return state, seconds, and this process's steps over all runs."""
    config = program.config
    state, step, done = _begin(program, runs, folder, on_resume, say, made_by)
    heard, seconds = _Heard(runs, on_chunk, np.asarray(fetch(state.stopped))), 0.0
    for length in {min(config.validate_every, config.steps - step)} - {0}:
        program.compile(length)
    with turn(), graceful() as stop:
        began = saved = time.perf_counter()
        pending: tuple[int, dict] | None = None
        while not done:
            length = min(config.validate_every, config.steps - step)
            state, metrics = program.chunk(state, step, length)
            step += length
            # Fetch the chunk before while this one computes: the device never waits for the host.
            stopped = pending is not None and heard.deliver(*pending)
            pending = (step, metrics)
            done = step >= config.steps or stopped
            # A clock and a signal are each process's own; what follows from them, all must do together.
            number = int(of_all(stop[0] if stop else 0).max())
            due = bool(of_all(time.perf_counter() - saved >= config.checkpoint_every)[0])
            if done or due or number:
                stopped = heard.deliver(*pending)
                pending, done = None, done or stopped
                seconds = time.perf_counter() - began
                _save(folder, step, state, done, made_by)
                saved = time.perf_counter()
            if number and not done:
                told = f"stopped by {signal.Signals(number).name} at step {step}, which is checkpointed"
                raise Stopped(f"{told}; resume with --resume {folder.parents[1]}", number)
    return fetch(state), seconds, heard.steps


def _begin(program: Program, runs: range, folder: Path, on_resume, say, made_by: str) -> tuple[State, int, bool]:
    """Return where the runs stand: their state and step by the newest checkpoint, or the start; whether all is done."""
    files.make_folder(folder)
    newest, damaged = load_newest(folder, program.shape(), made_by)
    for line in damaged:
        say(f"passed over a damaged checkpoint: {line}")
    state, step, done = program.start(), 0, False
    if newest:
        restored, step, about = newest
        done = about["done"]
        state = program.place(restored)
        say(f"going on from step {step} of {program.config.steps}" if not done else f"step {step}: already trained")
        on_resume(runs, step)
    if len(set(of_all(step))) > 1:
        raise UserError(f"{folder}: the processes see different checkpoints; put it on a file system that they share")
    return state, step, done


def _save(folder: Path, step: int, state: State, done: bool, made_by: str) -> None:
    """Write a checkpoint: every process has a part of the state, the first writes the file, all wait for it."""
    whole = fetch(state)
    if is_first():
        save_checkpoint(folder, step, whole, {"done": done} | ({"config_sha256": made_by} if made_by else {}))
    wait("checkpoint")


@dataclass
class _Heard:
    """What the chunks of a part of the runs have told so far."""

    runs: range
    on_chunk: OnChunk
    ended: np.ndarray
    """Whether each run has stopped."""
    steps: int = 0
    """Steps that were taken, summed over runs: those of a stopped run are none."""

    def deliver(self, step: int, metrics: dict) -> bool:
        """Hand one chunk's metrics on; return whether every run has stopped."""
        found = {name: np.asarray(value) for name, value in fetch(metrics).items()}
        self.steps += int(found["steps_taken"].sum())
        if not self.ended.all():  # of the chunk that was under way when the last run stopped, nothing is to be said
            self.on_chunk(self.runs, step, found | {"ended": self.ended})
        self.ended = found["stopped"]
        return bool(self.ended.all())
