"""The rolls family's commands on a model: train, evaluate, predict; and where to find what the guide calls analysis."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from bestguess import files
from bestguess.command import UserError, check_range
from bestguess.config import to_dict
from bestguess.files import plain
from bestguess.report.progress import results_table
from bestguess.rolls.config import RollsConfig
from bestguess.rolls.family import FAMILY
from bestguess.rolls.flags import EvaluateFlags, ForecastFlags, GuideFlags, PointerFlags
from bestguess.rolls.forecast import forecast
from bestguess.rolls.protocol import NAME as PROTOCOL
from bestguess.rolls.protocol import FittedBins, Part, Protocol, write_protocol
from bestguess.rolls.task import RollsTask
from bestguess.rolls.weights import changed, load_weights, save_weights
from bestguess.train.folder import new_folder, read_timing, write_config
from bestguess.workflow.commands import evaluate_training, finished, print_results, train_config
from bestguess.workflow.flags import refuse_idle
from bestguess.workflow.report import write_report
from bestguess.workflow.training import Training, load_training, read_training_config

if TYPE_CHECKING:
    from rich.console import Console

    from bestguess.family import Family

WEIGHTS, VALUES = "best.safetensors", "rolls.u16"
"""What a training leaves behind beside the folder that every family has."""


def train_given(family: Family, flags: GuideFlags, console: Console) -> dict[str, Any]:
    """Train, evaluate, answer, write the page and the weights; return the figures of the test part."""
    began = time.perf_counter()
    if flags.ckpt is not None:
        files.check_writable(flags.ckpt, "safetensors")
    config = flags.config() if flags.resume is None else read_training_config(family, flags.resume)
    if flags.resume is None:
        refuse_idle(config, flags.base())
        for line in flags.told(config):
            console.print(line, style="dim")
    if flags.resume is not None and flags.ckpt is None and _left(flags.resume, config):
        done = finished(family, flags.resume, config, console)
        if done is not None:
            console.print(done["sentence"], soft_wrap=True)
            return plain(_about(flags.resume / WEIGHTS, done["training"], config) | done)
    training, results, page = train_config(family, config, console, flags.out, flags.resume, flags.track)
    print_results(training, results, console)
    console.print(results["evaluation"]["sentence"], soft_wrap=True)
    _leave(training, results["evaluation"])
    shown = results["evaluation"]["shown"]
    ckpt = save_weights(training.folder / WEIGHTS, training, shown)
    if flags.ckpt is not None:
        ckpt = save_weights(flags.ckpt, training, shown)
        console.print(f"weights: {ckpt} (safetensors)", soft_wrap=True)
    console.print(f"page: {page}", soft_wrap=True)
    timing = read_timing(training.folder)
    about = {
        "training": timing,
        "run": training.folder,
        "report": page,
        "seconds": time.perf_counter() - began,
    }
    return plain(training.works.answer(results) | _about(ckpt, timing, config) | about)


def _about(ckpt: Path, timing: dict[str, Any] | None, config: RollsConfig) -> dict[str, Any]:
    """Return the part of a training's answer that no other family's has."""
    batch = config.train.batch_size * config.task.window
    return {"ckpt": ckpt, "values_per_second": timing["run_steps_per_second"] * batch if timing else None}


def _left(folder: Path, config: RollsConfig) -> bool:
    """Return whether a folder has what `train` leaves in it beside the page: weights, protocol, drawn values."""
    drawn = (VALUES,) if config.task.u16_path is None else ()
    return all((folder / name).is_file() for name in (WEIGHTS, PROTOCOL, *drawn))


def _leave(training: Training, evaluation: dict[str, Any]) -> None:
    """Write the values that were drawn, for whoever wants to look at them, and how they were used."""
    shown = evaluation["shown"]
    about = training.tasks[shown].about
    if about.rolls.drawn is not None:
        files.write_bytes(training.folder / VALUES, about.rolls.drawn.astype("<u2").tobytes())
    write_protocol(training.folder / PROTOCOL, protocol_of(training, shown))


def protocol_of(training: Training, shown: int) -> Protocol:
    """Return how the values were used, as `rolls audit` reads it."""
    about = training.tasks[shown].about
    split, tokens, rolls = about.split, about.tokens, about.rolls
    together = sum(task is training.tasks[shown] for task in training.tasks)
    return Protocol(
        file=VALUES if rolls.path is None else str(rolls.path),
        sha256=rolls.sha256,
        values=rolls.n,
        window=about.window,
        heads=1,  # the bets on order count the first head's targets; the other heads' are averaged in
        training=_part(split.training, about.window, with_replacement=False),
        validation=_part(split.validation),
        test=_part(split.test, about.window),
        bins=FittedBins(edges=tokens.edges or (), fitted_on=_part(split.training)),
        looks=about.windows(split.test),
        tries=together,
        combined="mean",
        statistic="e-process",
        targets=about.windows(split.test) * about.window,
        selected_on="validation",
    )


def _part(of: tuple[int, int], stride: int | None = None, with_replacement: bool | None = None) -> Part:
    return Part(of[0], of[1], stride=stride, with_replacement=with_replacement)


def evaluate(flags: EvaluateFlags, console: Console) -> dict[str, Any]:
    """Evaluate a folder's runs or a file of weights, after the self-test; write the page; return the figures."""
    training = opened(flags.run, flags.ckpt, flags.u16_path, flags.max_samples, flags.use_amp)
    if flags.control:
        training = _as_control(training)
    if flags.control or flags.ckpt is not None:
        training = dataclasses.replace(training, folder=new_folder(FAMILY.name, flags.out))
        write_config(training.folder, FAMILY.name, to_dict(training.runs[0].config))
    elif flags.out is not None:
        raise UserError(f"--out {flags.out}: a folder keeps its own page; --out goes with --ckpt or --control")
    results = evaluate_training(training, console, training.works.parts[:1])
    print_results(training, results, console)
    if flags.analyze_predictions:
        _analyse(results["evaluation"], console)
    console.print(results["evaluation"]["sentence"], soft_wrap=True)
    page = write_report(training, results)
    console.print(f"page: {page}", soft_wrap=True)
    return plain(training.works.answer(results) | {"report": page})


def _as_control(training: Training) -> Training:
    """Return the training with test windows whose values are shuffled; of the first pass nothing is taken over."""
    tasks = []
    for task in training.tasks:
        about = task.about
        rolls = about.rolls.shuffled(about.split.test[0] + 1, about.window)
        tasks.append(RollsTask(dataclasses.replace(about, rolls=rolls)))
    kept = jax.tree.map(np.zeros_like, training.learnt.kept)
    return dataclasses.replace(training, tasks=tasks, learnt=dataclasses.replace(training.learnt, kept=kept))


def opened(
    run: Path | None, ckpt: Path | None, u16_path: Path | None, max_samples: int | None = None, use_amp: bool = False
) -> Training:
    """Return the training of a folder, or that a file of weights stands for; its folder is then none yet."""
    if (run is None) == (ckpt is None):
        raise UserError("RUN: give the folder of a training, or a file of weights with --ckpt, one of them")
    changes: dict[str, Any] = {}
    if u16_path is not None:
        changes["u16_path"] = str(u16_path.absolute())
    if max_samples is not None:
        changes["test_samples"] = max_samples
    if run is None:
        assert ckpt is not None
        return load_weights(FAMILY, ckpt, changes, use_amp)
    return load_training(FAMILY, run, changed(read_training_config(FAMILY, run), changes, use_amp))


def _analyse(evaluation: dict[str, Any], console: Console) -> None:
    """Print confidence, entropy and calibration of the run that is shown."""
    one = evaluation["runs"][evaluation["shown"]]
    quantiles = [1, 5, 10, 15, 19]
    rows = [[name, *(f"{one[f'{name}_quantiles'][i]:.4g}" for i in quantiles)] for name in ("confidence", "entropy")]
    console.print(results_table(["", *(f"{5 * i} %" for i in quantiles)], rows, "Quantiles over predictions"))
    found = one["calibration"]
    rows = [
        [f"{confidence:.3f}", f"{accuracy:.3f}", f"{count:,}"]
        for confidence, accuracy, count in zip(found["confidence"], found["accuracy"], found["count"])
        if count
    ]
    console.print(results_table(["probability of the first guess", "was right", "predictions"], rows, "Calibration"))
    heads = [
        [f"{h}", f"{head['bits_per_value']:.5f}", f"{100 * head['top1']:.3f} %"]
        for h, head in enumerate(one["heads"], 1)
    ]
    console.print(results_table(["values ahead", "bits per value", "top-1"], heads, "Output heads"))


def predict(flags: ForecastFlags, console: Console) -> dict[str, Any]:
    """Print and return the most probable values from an index on."""
    check_range("--topk", flags.topk, 1)
    training = opened(flags.run, flags.ckpt, flags.u16_path)
    shown = training.shown()
    about = training.tasks[shown].about
    T, n = about.window, about.rolls.n
    index = n if flags.idx is None else flags.idx
    if not T <= index <= n:
        raise UserError(f"--idx {index}: must be from {T} (a window's values stand before it) to {n} (what comes next)")
    found = forecast(training.model(shown), about, index, flags.topk)
    start, stop = about.split.training
    found["in_training"] = start <= index < stop
    rows = [
        [f"{index + h}", ", ".join(f"{one['value']} ({100 * one['probability']:.3g} %)" for one in head)]
        for h, head in enumerate(found["heads"])
    ]
    console.print(results_table(["index", "most probable values"], rows, f"After the {T} values before index {index}"))
    if found["actual"]:
        console.print(f"the file has: {', '.join(map(str, found['actual']))}")
    if found["oracle"] is not None:
        best = ", ".join(f"{one['value']} ({100 * one['probability']:.3g} %)" for one in found["oracle"])
        console.print(f"the source itself, from the same values: {best}")
    if found["in_training"]:
        console.print(f"index {index} lies in the training part: the model may have learnt it by heart")
    return plain(found)


def pointer(flags: PointerFlags, console: Console) -> dict[str, Any]:
    """Say where the page with this analysis comes from."""
    said = "the page of a training has this analysis: bestguess rolls report RUN; of a file: bestguess rolls test FILE"
    console.print(said, soft_wrap=True)
    return {"see": ["rolls report", "rolls test"]}
