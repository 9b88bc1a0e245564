"""Studies of the copilot: what three options change, and what causes bad completions."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bestguess.command import UserError
from bestguess.scratch.commands import figures, record
from bestguess.scratch.commands.checks import folder_made, not_negative, positive, ways_to_draw
from bestguess.scratch.commands.live import LossPlot
from bestguess.scratch.demos import causes, copilot, data, options, walk
from bestguess.scratch.flags import CausesFlags, OptionsFlags


def run_options(flags: OptionsFlags, console: Console) -> dict[str, Any]:
    """Run one of the three options; return its figures."""
    began = time.perf_counter()
    not_negative("--seed", flags.seed)
    for name, option in (("every", "A"), ("draws", "C"), ("temperatures", "C"), ("top_k", "C"), ("top_p", "C")):
        if getattr(flags, name) is not None and flags.option != option:
            raise UserError(
                f"--{name.replace('_', '-')}: has no effect on option {flags.option}, only on {option}; drop it"
            )
    folder = flags.out or Path(f"runs/scratch/option-{flags.option}")
    run = {"A": _option_a, "B": _option_b, "C": _option_c}[flags.option]
    out = {"option": flags.option, "seed": flags.seed} | run(flags, folder, console)
    out["seconds"] = time.perf_counter() - began
    console.print(f"{out['seconds']:.0f} s in all. {record.keep(folder, out)}", markup=False)
    return out


def _option_a(flags: OptionsFlags, folder: Path, console: Console) -> dict[str, Any]:
    steps = 5000 if flags.steps is None else flags.steps
    every = 500 if flags.every is None else flags.every
    positive("--steps", steps)
    positive("--every", every)
    folder_made("--out", folder)
    with LossPlot(console, "loss", steps) as plot:
        out = options.a(steps, every, flags.seed, folder, plot)
    table = Table("steps", "loss", "held-out loss", "memorised", "held out", "parse", "demos", box=None)
    for p in out["points"]:
        memorised, held = p["memorised"], p["held_out"]
        table.add_row(
            f"{p['step']:,}",
            f"{p['loss']:.4f}",
            f"{p['held_out_loss']:.4f}",
            f"{memorised['exact']}/{memorised['of']}",
            f"{held['exact']}/{held['of']}",
            f"{held['parsed']}/{held['of']}",
            f"{p['demos_correct']}/{len(data.DEMOS)}",
        )
    console.print(table)
    console.print(f"Floor of the loss on the snippets trained on, by counting: {out['loss_floor']:.4f}.")
    figures.quality_against_loss(out["points"], folder / "quality.png")
    return out


def _option_b(flags: OptionsFlags, folder: Path, console: Console) -> dict[str, Any]:
    steps = 1500 if flags.steps is None else flags.steps
    positive("--steps", steps)
    folder_made("--out", folder)
    console.print(f"Write {options.COPIED} letters again after a bar; scored on strings never trained on.")
    with LossPlot(console, "loss", steps) as plot:
        out = options.b(steps, flags.seed, plot)
    console.print(
        f"{out['correct']} of {out['of']} copied whole: {100 * out['accuracy']:.1f} % "
        f"({100 * out['by_chance']:.3f} % by chance), with {out['parameters']:,} parameters."
    )
    return out | {"steps": steps}


def _option_c(flags: OptionsFlags, folder: Path, console: Console) -> dict[str, Any]:
    drawn = 20 if flags.draws is None else flags.draws
    temperatures = (0.5, 1.0, 2.0) if flags.temperatures is None else flags.temperatures
    positive("--draws", drawn)
    if not temperatures or not all(0 < t < np.inf for t in temperatures):
        raise UserError(f"--temperatures {' '.join(map(str, temperatures))}: each must be above 0 and finite")
    ways_to_draw(1.0, flags.top_k, flags.top_p)
    if flags.steps is not None:
        raise UserError("--steps: option C trains nothing; drop it")
    folder_made("--out", folder)
    model, note = copilot.pretrained()
    console.print(f"Weights from: {note}.", markup=False)
    out = options.c(model, temperatures, drawn, flags.seed, flags.top_k, flags.top_p)
    table = Table("temperature", "body expected", "parse", "of", "different texts", "bits per character", box=None)
    for t in out["temperatures"]:
        cells = (t["exact"], t["parsed"], t["of"], t["different_texts"])
        table.add_row(f"{t['temperature']:g}", *map(str, cells), f"{t['bits_per_character']:.3f}")
    console.print(table)
    header = data.DEMOS[0]
    text = header + copilot.complete(model, header)
    weights = walk.attention_weights(model, data.PYTHON.encode(text))
    figures.attention(weights, text, folder / "attention.png")
    return out | {"top_k": flags.top_k, "top_p": flags.top_p, "model": note, "attention_of": text}


def run_causes(flags: CausesFlags, console: Console) -> dict[str, Any]:
    """Try the four suspected causes; return a verdict on each."""
    began = time.perf_counter()
    most = len(causes.T_975) + 1
    if not 2 <= flags.seeds <= most:
        raise UserError(f"--seeds {flags.seeds}: must be 2 to {most}")
    positive("--steps", flags.steps)
    folder_made("--out", flags.out)
    runs = []
    for seed in range(flags.seeds):
        runs.append(causes.arms(seed, flags.steps))
        said = ", ".join(f"{name} {100 * run.memorised:.0f} %" for name, run in runs[-1].items())
        console.print(f"seed {seed}: bodies written exactly: {said}")
    found = causes.verdicts(runs, flags.steps)
    table = Table("suspected cause", "mended", "trained on", "held out", "verdict", box=None)
    for v in found:
        table.add_row(v.cause, f"{v.mended}, not {v.faulty}", _points(v.memorised), _points(v.held_out), v.verdict)
    console.print(table)
    padded = [run["padding scored"] for run in runs]
    console.print(
        "Change of the fraction of exact bodies, in percentage points, with its 95 % interval; the verdict is "
        "by the snippets trained on.\n"
        f"With padding scored, training says a loss of {np.mean([r.said for r in padded]):.3f} nats where that of the "
        f"text is {np.mean([r.loss for r in padded]):.3f}."
    )
    out = {
        "seeds": flags.seeds,
        "steps": flags.steps,
        "verdicts": [asdict(v) for v in found],
        "runs": [{name: asdict(run) for name, run in each.items()} for each in runs],
        "seconds": time.perf_counter() - began,
    }
    console.print(f"{out['seconds']:.0f} s in all. {record.keep(flags.out, out)}", markup=False)
    return out


def _points(effect: causes.Difference) -> str:
    return f"{100 * effect.mean:+.1f} [{100 * effect.low:+.1f}, {100 * effect.high:+.1f}]"
