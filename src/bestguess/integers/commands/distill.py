"""`integers distill`: one model taught by several runs. Imports nothing heavy at first."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from bestguess.command import UserError, check_range
from bestguess.integers.config import CLASSES, IntegersConfig
from bestguess.integers.family import FAMILY
from bestguess.workflow.flags import Tracker

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class DistillFlags:
    """Distill several runs into one model: nearly the regret of their average, at the cost of one model.

    The student starts from the best run and is trained on the teachers' average probabilities, on sequences continued
    by the teachers. Contexts held out of training are held out of distillation too. The student is written to a new
    folder, which the other `integers` commands take.
    """

    run: tyro.conf.Positional[Path]
    """Folder with several runs, the teachers, such as `integers train --seeds 8` writes."""
    sequences: int = 262_144
    """Number of sequences continued by the teachers, from the first 1, 2, … terms of training rows. The targets take \
512 bytes per term on every device."""
    steps: int = 8000
    """Number of optimiser steps."""
    batch_size: int = 512
    """Sequences per step."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 0.1
    """Decoupled weight decay of the matrices, per step and multiplied by the learning rate."""
    seed: int = 0
    """Random seed for the sequences and their order."""
    track: tuple[Tracker, ...] = ("jsonl",)
    """Metric loggers; metrics.jsonl is always written."""
    out: Path | None = None
    """Output folder of the student (default: a new folder under runs/integers)."""


def distill(flags: DistillFlags, console: Console) -> dict[str, Any]:
    """Teach one model by the runs of a folder, evaluate it beside the oracle, write its page; return its figures."""
    import jax

    from bestguess.config import runs as every_run
    from bestguess.config import to_dict
    from bestguess.files import lock, plain, write_json
    from bestguess.integers.model.distillation import make_lesson
    from bestguess.integers.page import LESSON
    from bestguess.integers.problem import IntegerProblem
    from bestguess.integers.workings import sound_runs
    from bestguess.train.cores import use_cores
    from bestguess.train.folder import new_folder, read_timing, write_config
    from bestguess.workflow.commands import evaluate_training, fit_in_folder, print_results, read_results
    from bestguess.workflow.report import write_report
    from bestguess.workflow.training import load_training, make_training

    began = time.perf_counter()
    use_cores()
    teachers = load_training(FAMILY, flags.run)
    runs = sound_runs(teachers.learnt)
    if len(runs) < 2:
        raise UserError(
            f"{flags.run}: {len(runs)} of its runs can teach, and it takes several; try integers train --seeds 8"
        )
    taught_by = teachers.runs[0].config
    check_count(flags.sequences, taught_by.task.length)
    best = min(runs, key=lambda run: teachers.validation[run])
    config = student_config(taught_by, flags, teachers.runs[best].values["alpha"])
    config.check()
    before = read_results(flags.run, "evaluation")
    folder = new_folder("integers", flags.out)
    with lock(folder):
        write_config(folder, "integers", to_dict(config))
        with console.status(f"{len(runs)} teachers continue sequences"):
            assert isinstance(teachers.problem, IntegerProblem)
            problem = dataclasses.replace(teachers.problem, config=config)
            models = [teachers.model(run) for run in runs]
            lesson = make_lesson(problem, models, runs.index(best), flags.sequences)
            jax.block_until_ready(lesson.p_NTV)
        about = {
            "teachers": str(flags.run),
            "runs": runs,
            "first": best,
            "drawn": flags.sequences,
            "sequences": len(lesson.terms_NT),
            "seconds": time.perf_counter() - began,
            "together": (before or {}).get("together"),
        }
        write_json(folder / LESSON, about)
        console.print(
            f"{len(runs)} teachers went on with {flags.sequences:,} sequences and judged those that are not "
            f"held out, {about['sequences']:,}, in {about['seconds']:.1f} s",
            style="dim",
        )
        student = make_training(FAMILY, folder, every_run(config), lesson)
        student = fit_in_folder(student, config, console, flags.track, resume=False)
        results = evaluate_training(student, console)
        page = write_report(student, results)
    print_results(student, results, console)
    result = results["evaluation"]
    if before is not None and before.get("together") is not None:
        console.print(_compared(result, before, runs), soft_wrap=True)
    console.print(f"page: {page}", soft_wrap=True)
    return plain(
        {
            "runs": result["runs"],
            "lesson": about,
            "training": read_timing(folder),
            "run": folder,
            "report": page,
            "seconds": time.perf_counter() - began,
        }
    )


def check_count(count: int, length: int) -> None:
    """Raise UserError unless there are sequences, and a device has room for what the teachers say of them."""
    from bestguess.train.memory import Memory, device_memory, gigabytes

    check_range("--sequences", count, 1)
    memory = Memory(count * length * CLASSES * _FLOAT16, device_memory())
    if not memory.fits:
        raise UserError(
            f"--sequences {count}: the teachers' predictions need {gigabytes(memory.needed)}, a device has "
            f"{gigabytes(memory.available)}; draw fewer"
        )


def student_config(teachers: IntegersConfig, flags: DistillFlags, alpha: float) -> IntegersConfig:
    """Return the student's config: the teachers' model, without dropout, and a short training."""
    return dataclasses.replace(
        teachers,
        model=dataclasses.replace(teachers.model, dropout=0.0),
        objective=dataclasses.replace(teachers.objective, alpha=(alpha,)),
        train=dataclasses.replace(
            teachers.train,
            steps=flags.steps,
            batch_size=flags.batch_size,
            learning_rate=(flags.learning_rate,),
            weight_decay=flags.weight_decay,
            seeds=1,
            first_seed=flags.seed,
            warmup_steps=flags.steps // 40,
            schedule="cosine",
            hold=0.0,
            final_learning_rate=0.0,
            average=0.0,
            accumulate=1,
            validate_every=max(1, flags.steps // 16),
            patience=0,
        ),
    )


def _compared(result: dict[str, Any], before: dict[str, Any], runs: list[int]) -> str:
    """The student's regret beside its teachers'."""
    regret = lambda one: one["held_out"]["full_context"]["regret"]  # noqa: E731
    alone = [regret(before["runs"][run]) for run in runs]
    return (
        f"regret on held-out rows at full context: {regret(result['runs'][0]):.4f} nats; its teachers' "
        f"{min(alone):.4f} to {max(alone):.4f}, together {regret(before['together']):.4f}"
    )


_FLOAT16 = 2
"""Bytes of one."""
