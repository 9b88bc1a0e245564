"""Models trained while you watch: twelve strings, and Python completed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bestguess.command import UserError
from bestguess.scratch import bugs
from bestguess.scratch.commands.checks import not_negative, positive, prompt_tokens, ways_to_draw, writable
from bestguess.scratch.commands.live import LossPlot
from bestguess.scratch.commands.scale import show_beside, show_place, show_scale
from bestguess.scratch.demos import checkpoint, copilot, data, level1
from bestguess.scratch.engine.gpt import GPT
from bestguess.scratch.fast.gpt import FastGPT
from bestguess.scratch.flags import CopilotFlags, Level1Flags

LR, LR_FURTHER = 5e-3, 2e-3
"""Learning rates from the start, and from a checkpoint that is far along already."""
FEW = 20
"""Steps of level 1 with the bug that makes each take a hundred times as long."""
STRINGS = {"ambiguous": data.AMBIGUOUS, "distinct": data.DISTINCT, "tinytorch": data.SHIFTED}


def run_level1(flags: Level1Flags, console: Console) -> dict[str, Any]:
    """Train to the ceiling and print the completions."""
    not_negative("--seed", flags.seed)
    shifted = flags.strings == "tinytorch"
    steps = flags.steps
    if steps is None:
        steps = FEW if flags.bug == "no-sort" else 200 if shifted else level1.STEPS
    positive("--steps", steps)
    began = time.perf_counter()
    strings = STRINGS[flags.strings]
    best, constant = data.ceiling(strings), data.best_constant(strings)
    show_scale(console, best.loss, constant)
    console.print(
        f"{best.of} strings, {GPT(level1.CONFIG).count():,} parameters. At best {best.correct} of {best.of} are right "
        + ("character by character." if shifted else "from the first character.")
    )
    _say_bug(flags.bug, console)
    with bugs.bug(flags.bug), np.errstate(all="ignore"), LossPlot(console, "loss", steps) as plot:
        result = level1.run(strings, steps, flags.seed, shifted=shifted, watch=plot)
    for string, written in zip(strings, result.completions):
        shown = f"{string[:-1]} → {written[1:]}" if shifted else f"{string[0]} → {written}"
        console.print(
            f"  {shown}" + ("" if written == string else f"   (expected {string[1:] if shifted else string})")
        )
    skill = show_place(console, result.loss, best.loss, constant)
    console.print(
        f"{result.correct} of {best.of} right, at most {best.correct} can be; {len(result.curve.losses):,} steps; "
        f"with padding scored as if it were text the loss is {result.loss_with_padding:.4f}"
    )
    if shifted:
        show_beside(
            console,
            [
                ("parameters", "4,624", f"{result.model.count():,}"),
                ("steps", "200", f"{len(result.curve.losses):,}"),
                ("seconds", "3.4", f"{result.curve.seconds:.1f}"),
                ("seconds a step", "0.017", f"{result.curve.seconds / len(result.curve.losses):.4f}"),
                ("initial loss", "3.8095", f"{result.first_loss:.4f}"),
                ("final loss", "1.5509", f"{result.loss:.4f}"),
                ("improvement", "59.3 %", f"{100 * (1 - result.loss / result.first_loss):.1f} %"),
                ("right", "3 of 12", f"{result.correct} of {best.of}"),
            ],
        )
    return {
        "bug": flags.bug,
        "correct": result.correct,
        "ceiling": best.correct,
        "loss": result.loss,
        "loss_floor": best.loss,
        "loss_constant": constant,
        "skill": skill,
        "initial_loss": result.first_loss,
        "steps": len(result.curve.losses),
        "parameters": result.model.count(),
        "seconds": time.perf_counter() - began,
    }


def _say_bug(bug: str, console: Console) -> None:
    if bug != "none":
        console.print(f"With a bug switched on, {bug}: {bugs.BUGS[bug]}.")


def run_copilot(flags: CopilotFlags, console: Console) -> dict[str, Any]:
    """Train (or train further) and score; return demos, held-out and memorised completions."""
    began = time.perf_counter()
    setting = copilot.SETTINGS[flags.setting]
    steps = _copilot_checked(flags, setting)
    further = flags.pretrained or flags.weights is not None
    rng = np.random.default_rng(flags.seed)
    before = None
    if further:
        model, note = copilot.pretrained() if flags.weights is None else _load(flags.weights, setting)
        if flags.prompt is not None and not steps:
            with bugs.bug(flags.bug):
                completion = _completed(model, flags, setting, rng, console)
            return {"bug": flags.bug, "completion": completion, "steps": 0, "seconds": time.perf_counter() - began}
        console.print(f"Weights from: {note}.", markup=False)
        before = _scores(model, setting)
        _show_scores(before, console, "before")
    else:
        model = FastGPT(setting.config, flags.seed)
    train, held = setting.split()
    floor, constant = copilot.loss_floor(setting), copilot.loss_constant(setting)
    show_scale(console, floor, constant)
    console.print(
        f"{model.count():,} parameters; {len(train)} snippets to train on, {len(held)} held out; padding is not scored."
    )
    if flags.setting == "tinytorch":
        console.print(
            f"TinyTorch's summary states 33,472 parameters for this setting: those of a vocabulary of 61 and a "
            f"length of 128 (--setting ours); a vocabulary of 25 and a length of 64 make {model.count():,}."
        )
    _say_bug(flags.bug, console)
    first_loss, losses, seconds = copilot.trained_loss(model, setting), [], 0.0
    with bugs.bug(flags.bug), np.errstate(all="ignore"):
        if steps:
            with LossPlot(console, "loss", steps) as plot:
                lr = LR_FURTHER if further else LR
                curve = copilot.train(model, steps, flags.seed, lr, watch=plot, setting=setting)
            losses, seconds = curve.losses, curve.seconds
        written = copilot.demos(model, setting)
        after = _scores(model, setting)
        loss = copilot.trained_loss(model, setting)
    _show_demos(written, console)
    lookup = copilot.copied(setting)
    _show_scores(after, console, f"after {steps:,} steps", lookup)
    skill = show_place(console, loss, floor, constant)
    if losses:
        console.print(
            f"Loss of the last 20 batches, as training says it: {np.mean(losses[-20:]):.4f} nats per character."
        )
    if flags.setting == "tinytorch" and losses:
        _show_beside_tinytorch(model, steps, seconds, (first_loss, loss), after["demos_correct"], console)
    out: dict[str, Any] = {"bug": flags.bug, "setting": flags.setting, "parameters": model.count()} | after
    out |= {"copied": asdict(lookup), "steps": steps, "loss": loss, "loss_floor": floor, "loss_constant": constant}
    out |= {"skill": skill, "initial_loss": first_loss, "demos": {h: text for h, (text, _) in written.items()}}
    if before is not None:
        out["before"] = before
    if flags.prompt is not None:
        out["completion"] = _completed(model, flags, setting, rng, console)
    if flags.save is not None:
        checkpoint.save(flags.save, model, f"bestguess scratch copilot, {steps:,} steps, seed {flags.seed}")
        console.print(f"Weights written to {flags.save}", markup=False)
    out["seconds"] = time.perf_counter() - began
    console.print(f"{after['demos_correct']} of {len(setting.demos)} demos right; {out['seconds']:.0f} s in all.")
    return out


def _completed(
    model: GPT, flags: CopilotFlags, setting: copilot.Setting, rng: np.random.Generator, console: Console
) -> str:
    """Return what the model writes after --prompt, and print both."""
    assert flags.prompt is not None
    completion = copilot.complete(
        model,
        flags.prompt,
        setting=setting,
        temperature=flags.temperature,
        top_k=flags.top_k,
        top_p=flags.top_p,
        rng=rng,
    )
    console.print(flags.prompt + completion, markup=False)
    return completion


def _show_demos(written: Mapping[str, tuple[str, bool]], console: Console) -> None:
    table = Table("demo prompt", "written", "", box=None)
    for header, (text, right) in written.items():
        table.add_row(Text(header), Text(repr(text)), "right" if right else "differs")
    console.print(table)


def _show_beside_tinytorch(
    model: GPT, steps: int, seconds: float, losses: tuple[float, float], right: int, console: Console
) -> None:
    """Print TinyTorch's figures beside ours; losses: the first and the last."""
    first, last = losses
    show_beside(
        console,
        [
            ("parameters", "33,472", f"{model.count():,}"),
            ("steps", "about 75 (180 s)", f"{steps:,}"),
            ("seconds", "180", f"{seconds:.1f}"),
            ("seconds a step", "about 2.4", f"{seconds / steps:.4f}"),
            ("initial loss", "4.614", f"{first:.4f}"),
            ("final loss", "about 1.9", f"{last:.4f}"),
            ("improvement", "59 %", f"{100 * (1 - last / first):.1f} %"),
            ("demos right", "1 of 5", f"{right} of {len(copilot.SETTINGS['tinytorch'].demos)}"),
        ],
    )


def _copilot_checked(flags: CopilotFlags, setting: copilot.Setting) -> int:
    """Return the number of steps; UserError where flags do not go together."""
    not_negative("--seed", flags.seed)
    if flags.pretrained and flags.weights is not None:
        raise UserError("--weights: --pretrained names a checkpoint already; drop one of the two")
    if flags.pretrained and flags.setting != "ours":
        raise UserError(f"--setting {flags.setting}: the bundled checkpoint is of ours; drop --pretrained")
    further = flags.pretrained or flags.weights is not None
    steps = flags.steps
    if steps is None:
        steps = 1200 if not further else 0 if flags.prompt is not None else 100
    not_negative("--steps", steps)
    if not steps and not further:
        raise UserError("--steps 0: completes with a checkpoint as it is; name one with --pretrained or --weights")
    ways_to_draw(flags.temperature, flags.top_k, flags.top_p)
    if flags.prompt is None and (flags.temperature or flags.top_k or flags.top_p):
        raise UserError("--temperature, --top-k and --top-p say how --prompt is completed; give one")
    if flags.save is not None:
        writable("--save", flags.save, "npz")
    if flags.prompt is not None:
        prompt_tokens(flags.prompt, setting.vocabulary, setting.config.positions)
    return steps


def _load(path: Path, setting: copilot.Setting) -> tuple[FastGPT, str]:
    try:
        model, note = checkpoint.load(path)
    except FileNotFoundError:
        raise UserError(f"--weights {path}: no such file") from None
    except ValueError as error:
        raise UserError(f"--weights {error}") from None
    if model.config != setting.config:
        raise UserError(f"--weights {path}: holds a GPT of another shape than the copilot's")
    return model, f"{path}, {note}"


def _scores(model: GPT, setting: copilot.Setting) -> dict[str, Any]:
    train, held = setting.split()
    return {
        "demos_correct": sum(right for _, right in copilot.demos(model, setting).values()),
        "held_out": asdict(copilot.score(model, held, setting=setting)),
        "memorised": asdict(copilot.score(model, train, setting=setting)),
        "held_out_loss": copilot.held_out_loss(model, setting),
    }


def _show_scores(scores: dict[str, Any], console: Console, when: str, lookup: copilot.Score | None = None) -> None:
    table = Table(f"completions {when}", "parse", "are the body expected", "of", box=None)
    rows = [
        ("trained on (memorised)", scores["memorised"]),
        ("never trained on (held out)", scores["held_out"]),
        *([] if lookup is None else [("  the body of the header most alike, no model", asdict(lookup))]),
    ]
    for label, s in rows:
        table.add_row(label, str(s["parsed"]), str(s["exact"]), str(s["of"]))
    console.print(table)
