"""Models trained while you watch: twelve strings, Python completed, the standard library's source."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bestguess.command import UserError
from bestguess.scratch import checkpoint, copilot, data, level1
from bestguess.scratch import stdlib as library
from bestguess.scratch.commands.checks import not_negative, positive, prompt_tokens, writable
from bestguess.scratch.flags import CopilotFlags, Level1Flags, StdlibFlags, TeachFlags
from bestguess.scratch.generate import generate
from bestguess.scratch.gpt import GPT
from bestguess.scratch.live import LossPlot

LR, LR_FURTHER = 5e-3, 2e-3
"""Learning rates from the start, and from a checkpoint that is far along already."""


def run_level1(flags: Level1Flags, console: Console) -> dict[str, Any]:
    """Train to the ceiling and print the completions."""
    not_negative("--seed", flags.seed)
    began = time.perf_counter()
    strings = data.AMBIGUOUS if flags.strings == "ambiguous" else data.DISTINCT
    best = data.ceiling(strings)
    console.print(
        f"{best.of} strings, {GPT(level1.CONFIG).count():,} parameters. The ceiling, from counting: {best.correct} "
        f"of {best.of} from the first character, loss {best.loss:.4f} nats per character."
    )
    with LossPlot(console, "loss", level1.STEPS) as plot:
        result = level1.run(strings, seed=flags.seed, watch=plot)
    for string, completion in zip(strings, result.completions):
        console.print(f"  {string[0]} → {completion}" + ("" if completion == string else f"   (expected {string})"))
    console.print(
        f"{result.correct} of {best.of} right, at most {best.correct} can be; loss {result.loss:.4f} nats, floor "
        f"{best.loss:.4f}; with padding scored as if it were text {result.loss_with_padding:.4f}"
    )
    return {
        "correct": result.correct,
        "ceiling": best.correct,
        "loss": result.loss,
        "loss_floor": best.loss,
        "seconds": time.perf_counter() - began,
    }


def run_copilot(flags: CopilotFlags, console: Console) -> dict[str, Any]:
    """Train (or train further) and score; return demos, held-out and memorised completions."""
    began = time.perf_counter()
    not_negative("--seed", flags.seed)
    if flags.pretrained and flags.weights is not None:
        raise UserError("--weights: --pretrained names a checkpoint already; drop one of the two")
    further = flags.pretrained or flags.weights is not None
    steps = (100 if further else 1200) if flags.steps is None else flags.steps
    not_negative("--steps", steps)
    if not steps and not further:
        raise UserError("--steps 0: completes with a checkpoint as it is; name one with --pretrained or --weights")
    if flags.save is not None:
        writable("--save", flags.save)
    if flags.prompt is not None:
        prompt_tokens(flags.prompt, data.PYTHON, copilot.CONFIG.positions)
    before = None
    if further:
        model, note = copilot.pretrained() if flags.weights is None else _load(flags.weights)
        console.print(f"Weights from: {note}.", markup=False)
        before = _scores(model)
        _show_scores(before, console, "before")
    else:
        model = GPT(copilot.CONFIG, flags.seed)
    train, held = data.split()
    console.print(
        f"{model.count():,} parameters; {len(train)} snippets to train on, {len(held)} held out; padding is not scored."
    )
    losses: list[float] = []
    if steps:
        with LossPlot(console, "loss", steps) as plot:
            losses = copilot.train(model, steps, flags.seed, LR_FURTHER if further else LR, watch=plot).losses
    written = copilot.demos(model)
    table = Table("demo prompt", "written", "", box=None)
    for header, (text, right) in written.items():
        table.add_row(Text(header), Text(repr(text)), "right" if right else "differs")
    console.print(table)
    after = _scores(model)
    lookup = copilot.copied()
    _show_scores(after, console, f"after {steps:,} steps", lookup)
    if losses:
        console.print(
            f"Loss of the last 20 batches {np.mean(losses[-20:]):.4f} nats per character; the floor of the snippets "
            f"trained on, by counting, is {copilot.loss_floor():.4f}."
        )
    out: dict[str, Any] = after | {"copied": asdict(lookup), "steps": steps}
    if before is not None:
        out["before"] = before
    if flags.prompt is not None:
        out["completion"] = copilot.complete(model, flags.prompt)
        console.print(flags.prompt + out["completion"], markup=False)
    if flags.save is not None:
        checkpoint.save(flags.save, model, f"bestguess scratch copilot, {steps:,} steps, seed {flags.seed}")
        console.print(f"Weights written to {flags.save}", markup=False)
    out["seconds"] = time.perf_counter() - began
    console.print(f"{after['demos_correct']} of {len(data.DEMOS)} demos right; {out['seconds']:.0f} s in all.")
    return out


def _load(path: Path) -> tuple[GPT, str]:
    try:
        model, note = checkpoint.load(path)
    except FileNotFoundError:
        raise UserError(f"--weights {path}: no such file") from None
    except ValueError as error:
        raise UserError(f"--weights {error}") from None
    if model.config != copilot.CONFIG:
        raise UserError(f"--weights {path}: holds a GPT of another shape than the copilot's")
    return model, f"{path}, {note}"


def _scores(model: GPT) -> dict[str, Any]:
    train, held = data.split()
    return {
        "demos_correct": sum(right for _, right in copilot.demos(model).values()),
        "held_out": asdict(copilot.score(model, held)),
        "memorised": asdict(copilot.score(model, train)),
        "held_out_loss": copilot.held_out_loss(model),
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


def run_stdlib(flags: StdlibFlags, console: Console) -> dict[str, Any]:
    """Train on the standard library's source; return bits per character and baselines'."""
    began = time.perf_counter()
    positive("--steps", flags.steps)
    not_negative("--seed", flags.seed)
    if flags.save is not None:
        writable("--save", flags.save)
    prompt = prompt_tokens(flags.prompt, library.CHARACTERS, library.CONFIG.positions)
    try:
        train, held = map(library.tokens, library.corpus())
    except ValueError as error:
        raise UserError(f"scratch stdlib: {error}") from None
    model = GPT(library.CONFIG, flags.seed)
    console.print(
        f"{model.count():,} parameters; the standard library: {len(train):,} characters to train on, {len(held):,} in "
        "files held out."
    )
    with LossPlot(console, "loss", flags.steps) as plot:
        library.train(model, train, flags.steps, flags.seed, 3e-3, plot)
    bits, deviation = library.bits(model, held)
    floors = library.baselines(train, held)
    table = Table("files held out", "bits per character", box=None)
    for name, value in floors.items():
        table.add_row(name, f"{value:.3f}")
    table.add_row(f"this GPT after {flags.steps:,} steps", f"{bits:.3f} ± {deviation:.3f}")
    console.print(table)
    console.print("No floor is known for natural text: these are baselines, not a ceiling.")
    room = library.CONFIG.positions + 1 - len(prompt)
    rng = np.random.default_rng(flags.seed)
    written = library.CHARACTERS.decode(generate(model, prompt, room, temperature=0.7, rng=rng))
    console.print(flags.prompt + written, markup=False)
    if flags.save is not None:
        checkpoint.save(flags.save, model, f"bestguess scratch stdlib, {flags.steps:,} steps, seed {flags.seed}")
        console.print(f"Weights written to {flags.save}", markup=False)
    return {
        "bits_per_character": bits,
        "standard_error": deviation,
        "baselines": floors,
        "parameters": model.count(),
        "train_characters": len(train),
        "held_out_characters": len(held),
        "completion": written,
        "steps": flags.steps,
        "seconds": time.perf_counter() - began,
    }


def run_teach(flags: TeachFlags, console: Console) -> dict[str, Any]:
    """Show a strategy: the demos that it is made of, one after another."""
    not_negative("--seed", flags.seed)
    began = time.perf_counter()
    out: dict[str, Any] = {"strategy": flags.strategy}
    if flags.strategy in ("tiny", "hybrid"):
        console.rule("A tiny GPT, from nothing to its ceiling")
        out["tiny"] = run_level1(Level1Flags("distinct", seed=flags.seed), console)
    if flags.strategy in ("pretrained", "hybrid"):
        console.rule("A shipped GPT, from good to better")
        out["pretrained"] = run_copilot(CopilotFlags(pretrained=True, seed=flags.seed), console)
    out["seconds"] = time.perf_counter() - began
    return out
