"""The commands of the integers family."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from bestguess.command import Failure, UserError
from bestguess.integers.config import IntegersConfig, TrainFlags
from bestguess.integers.problem import IntegerModel, Setting, make_members, make_problem
from bestguess.integers.report import LESSON, TRAINING, write_report
from bestguess.integers.runs import evaluate, load, read
from bestguess.report.progress import PartsProgress
from bestguess.report.trackers import open_trackers
from bestguess.train.checkpoint import lock
from bestguess.train.config import to_dict
from bestguess.train.cores import use_cores
from bestguess.train.ensemble import Problem
from bestguess.train.fit import fit, resumed_steps
from bestguess.train.folder import CHECKPOINTS, new_folder, plain, read_json, write_config, write_json

if TYPE_CHECKING:
    from rich.console import Console


def train(flags: TrainFlags, console: Console) -> dict[str, Any]:
    """Train every run, evaluate it beside the oracle, write the page; return each run's figures."""
    began = time.perf_counter()
    if flags.resume is not None:
        folder, config = flags.resume, read(flags.resume)
        if (folder / LESSON).exists():
            raise UserError(f"--resume {folder}: a distilled model; run bestguess integers distill again")
    else:
        config = flags.config()
        config.check()
        folder = new_folder("integers", flags.out)
    use_cores(config.product(), len(config.runs()))
    with lock(folder):
        if flags.resume is None:
            write_config(folder, "integers", to_dict(config))
        problem = make_problem(config)
        train_runs(folder, config, problem, flags.track, resume=flags.resume is not None, console=console)
        result = evaluate(folder, config, console)
        page = write_report(folder, config, load(folder, config))
    console.print(f"page: {page}", soft_wrap=True)
    return plain(
        {
            "runs": result["runs"],
            "together": result["together"],
            "training": read_json(folder / TRAINING),
            "run": folder,
            "report": page,
            "seconds": time.perf_counter() - began,
        }
    )


def train_runs(
    folder: Path,
    config: IntegersConfig,
    problem: Problem[Setting, IntegerModel],
    track: tuple[str, ...],
    *,
    resume: bool,
    console: Console,
) -> None:
    """Train the config's runs on a problem, with a bar and metrics; what they learnt is left in the folder.

    Raises Failure where no run has a finite validation loss.
    """
    runs, members = config.runs(), make_members(config)
    own = [{"alpha": run.alpha, "seed": run.seed, "learning_rate": run.learning_rate} for run in runs]
    say = lambda line: console.print(f"[dim]{line}[/dim]")  # noqa: E731
    if config.objective.loss == "distance" and config.objective.distance_by == "argmax":
        say("the distance of the likeliest number has no gradient: this loss teaches nothing (--distance-by expected)")
    resumed = resumed_steps(problem, config.train, members, folder / CHECKPOINTS) if resume else None
    with (
        open_trackers(track, folder, to_dict(config), own, resumed) as trackers,
        PartsProgress(console, config.train.steps, len(runs), resumed=resumed or ()) as progress,
    ):
        faults: set[int] = set()

        def on_chunk(part: range, step: int, metrics: dict[str, np.ndarray]) -> None:
            for i, run in enumerate(part):
                fault = int(metrics["fault_step"][i])
                if fault >= 0 and run not in faults:
                    faults.add(run)
                    say(f"{runs[run].label(runs)}: loss not finite at step {fault}; this run stops, others go on")
                values = {name: float(metrics[name][i]) for name in metrics if name not in ("stopped", "fault_step")}
                trackers.log(step, run, {"sequences": step * config.train.batch_size, **values})
            progress.update(part, step, metrics["train_loss"], accuracy=metrics["accuracy"])

        fitted = fit(problem, config.train, members, folder / CHECKPOINTS, on_chunk=on_chunk, say=say)
        trackers.finish(
            [
                {"best_score": float(fitted.best_score[i]), "best_step": int(fitted.best_step[i])}
                for i in range(len(runs))
            ]
        )
    if fitted.run_steps:
        write_json(
            folder / TRAINING,
            {
                "seconds": fitted.seconds,
                "run_steps": fitted.run_steps,
                "run_steps_per_second": fitted.run_steps_per_second,
                "device": f"{len(jax.devices())} × {jax.devices()[0].device_kind}",
            },
        )
        count = f"{len(runs)} run{'s' * (len(runs) > 1)}"
        say(f"trained {count} in {fitted.seconds:.1f} s: {fitted.run_steps_per_second:,.1f} run-steps/s")
    if not np.isfinite(fitted.best_score).any():
        raise Failure(f"no run had a finite validation loss; lower --learning-rate ({folder} keeps the figures)")
