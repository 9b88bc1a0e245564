"""The commands of the scratch room: run, show, return one dictionary."""

from __future__ import annotations

import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bestguess.command import Failure, UserError
from bestguess.scratch import bugs, causes, check, checkpoint, copilot, data, figures, graph, level1, options, record
from bestguess.scratch import stdlib as library
from bestguess.scratch.flags import (
    CausesFlags,
    CheckFlags,
    CopilotFlags,
    GraphFlags,
    Level1Flags,
    OptionsFlags,
    StdlibFlags,
    TeachFlags,
)
from bestguess.scratch.generate import generate
from bestguess.scratch.gpt import GPT
from bestguess.scratch.live import LossPlot

LR, LR_FURTHER = 5e-3, 2e-3
"""Learning rates from the start, and from a checkpoint that is far along already."""


def run_check(flags: CheckFlags, console: Console) -> dict[str, Any]:
    """Print each operation's error and each parameter's cosine; Failure where anything is wrong."""
    _not_negative("--seed", flags.seed)
    if flags.bug != "none":
        console.print(f"With a bug switched on, {flags.bug}: {bugs.BUGS[flags.bug]}.")
    with bugs.bug(None if flags.bug == "none" else flags.bug):
        report = check.run(flags.seed)
    faults = set(report.faults)

    def mark(name: str) -> str:
        return "[red]WRONG[/red]" if name in faults else "ok"

    table = Table("operation or layer", "largest relative error", "", box=None)
    for name, error in report.operations.items():
        table.add_row(name, f"{error:.1e}", mark(name))
    console.print(table)
    table = Table("parameter of a GPT", "cosine", "norm ratio", "", box=None)
    for name, g in report.parameters.items():
        table.add_row(name, f"{g.cosine:.9f}", f"{g.norm_ratio:.9f}", mark(name))
    console.print(table)
    table = Table("property", "measured", "", box=None)
    for name, (_, measured) in report.properties.items():
        table.add_row(name, measured, mark(name))
    console.print(table)
    result = {
        "largest_relative_error": max(report.operations.values()),
        "smallest_cosine": min(gradient.cosine for gradient in report.parameters.values()),
        "faults": report.faults,
    }
    if faults:
        raise Failure(f"the check finds {len(faults)} faults: {', '.join(report.faults)}", result)
    console.print(
        f"Every gradient is right: largest relative error {result['largest_relative_error']:.1e}, "
        f"smallest cosine {result['smallest_cosine']:.9f}."
    )
    return result


def run_graph(flags: GraphFlags, console: Console) -> dict[str, Any]:
    """Draw a graph; return its size and the gradients of what has a name."""
    _writable("--out", flags.out)
    at = _values(flags.at)
    try:
        if flags.layer == "none":
            end, names = graph.expression(flags.expression, at)
            title = flags.expression
        else:
            end, names = graph.layer(flags.layer)
            title = f"{flags.layer} of primitive operations"
        drawing = graph.draw(end, names, title)
    except ValueError as error:
        raise UserError(f"--expression: {error}") from None
    flags.out.write_text(drawing.svg, encoding="utf-8")
    console.print(
        f"{drawing.nodes} nodes, one backward call each; a recursion without a sort would make {drawing.paths:,} "
        f"calls. Drawn to {flags.out}",
        markup=False,
    )
    return {
        "nodes": drawing.nodes,
        "paths": drawing.paths,
        "value": drawing.value,
        "gradients": {n: t.grad.tolist() for n, t in names.items() if t.grad is not None},
        "out": str(flags.out),
    }


def run_level1(flags: Level1Flags, console: Console) -> dict[str, Any]:
    """Train to the ceiling and print the completions beside it."""
    _not_negative("--seed", flags.seed)
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
        console.print(f"  {string[0]} → {completion}" + ("" if completion == string else f"   (asked for {string})"))
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
    _not_negative("--seed", flags.seed)
    if flags.pretrained and flags.weights is not None:
        raise UserError("--weights: --pretrained names a checkpoint already; drop one of the two")
    further = flags.pretrained or flags.weights is not None
    steps = (100 if further else 1200) if flags.steps is None else flags.steps
    _not_negative("--steps", steps)
    if not steps and not further:
        raise UserError("--steps 0: completes with a checkpoint as it is; name one with --pretrained or --weights")
    if flags.save is not None:
        _writable("--save", flags.save)
    if flags.prompt is not None:
        _prompt(flags.prompt, data.PYTHON, copilot.CONFIG.positions)
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
        table.add_row(escape(header), escape(repr(text)), "right" if right else "differs")
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
    """Train on the standard library's source; return bits per character beside baselines."""
    began = time.perf_counter()
    _positive("--steps", flags.steps)
    _not_negative("--seed", flags.seed)
    if flags.save is not None:
        _writable("--save", flags.save)
    prompt = _prompt(flags.prompt, library.CHARACTERS, library.CONFIG.positions)
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
    _not_negative("--seed", flags.seed)
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


def run_options(flags: OptionsFlags, console: Console) -> dict[str, Any]:
    """Run one of the three options; return its figures."""
    began = time.perf_counter()
    _not_negative("--seed", flags.seed)
    for name, option in (("every", "A"), ("draws", "C"), ("temperatures", "C")):
        if getattr(flags, name) is not None and flags.option != option:
            raise UserError(f"--{name}: has no effect on option {flags.option}, only on {option}; drop it")
    folder = flags.out or Path(f"runs/scratch/option-{flags.option}")
    run = {"A": _option_a, "B": _option_b, "C": _option_c}[flags.option]
    out = {"option": flags.option, "seed": flags.seed} | run(flags, folder, console)
    out["seconds"] = time.perf_counter() - began
    console.print(f"{out['seconds']:.0f} s in all. {record.keep(folder, out)}", markup=False)
    return out


def _option_a(flags: OptionsFlags, folder: Path, console: Console) -> dict[str, Any]:
    steps = 5000 if flags.steps is None else flags.steps
    every = 500 if flags.every is None else flags.every
    _positive("--steps", steps)
    _positive("--every", every)
    _folder("--out", folder)
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
    _positive("--steps", steps)
    _folder("--out", folder)
    console.print(f"Write {options.COPIED} letters again after a bar; scored on strings never trained on.")
    with LossPlot(console, "loss", steps) as plot:
        out = options.b(steps, flags.seed, plot)
    console.print(
        f"{out['correct']} of {out['of']} copied whole: {100 * out['accuracy']:.1f} % "
        f"({100 * out['by_chance']:.3f} % by chance)."
    )
    return out | {"steps": steps}


def _option_c(flags: OptionsFlags, folder: Path, console: Console) -> dict[str, Any]:
    drawn = 20 if flags.draws is None else flags.draws
    temperatures = (0.5, 1.0, 2.0) if flags.temperatures is None else flags.temperatures
    _positive("--draws", drawn)
    if not temperatures or not all(0 < t < np.inf for t in temperatures):
        raise UserError(f"--temperatures {' '.join(map(str, temperatures))}: each must be above 0 and finite")
    if flags.steps is not None:
        raise UserError("--steps: option C trains nothing; drop it")
    _folder("--out", folder)
    model, note = copilot.pretrained()
    console.print(f"Weights from: {note}.", markup=False)
    out = options.c(model, temperatures, drawn, flags.seed)
    table = Table("temperature", "body expected", "parse", "of", "different texts", "bits per character", box=None)
    for t in out["temperatures"]:
        cells = (t["exact"], t["parsed"], t["of"], t["different_texts"])
        table.add_row(f"{t['temperature']:g}", *map(str, cells), f"{t['bits_per_character']:.3f}")
    console.print(table)
    header = data.DEMOS[0]
    text = header + copilot.complete(model, header)
    weights = model.attention_weights(np.array([data.PYTHON.encode(text)]))[:, 0]
    figures.attention(weights, text, folder / "attention.png")
    return out | {"model": note, "attention_of": text}


def run_causes(flags: CausesFlags, console: Console) -> dict[str, Any]:
    """Try the four suspected causes; return a verdict on each."""
    began = time.perf_counter()
    most = len(causes.T_975) + 1
    if not 2 <= flags.seeds <= most:
        raise UserError(f"--seeds {flags.seeds}: must be 2 to {most}")
    _positive("--steps", flags.steps)
    _folder("--out", flags.out)
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
        "Change of the share of bodies written exactly, in percentage points, with its 95 % interval; the verdict is "
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
    return f"{100 * effect.mean:+.1f} [{100 * effect.low:+.1f}, {100 * effect.high:+.1f}]".replace("[", "\\[")


def _values(text: str) -> dict[str, float]:
    out: dict[str, float] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        match = re.fullmatch(r"([A-Za-z_]\w*)\s*=\s*(\S+)", part)
        try:
            value = float(match[2]) if match else np.nan
        except ValueError:
            value = np.nan
        if match is None or not np.isfinite(value):
            raise UserError(f"--at: {part!r} is not name=number, as in --at a=2,b=-3")
        if match[1] in out:
            raise UserError(f"--at: {match[1]!r} is given twice")
        out[match[1]] = value
    return out


def _prompt(prompt: str, vocabulary: data.Vocabulary, positions: int) -> list[int]:
    try:
        tokens = vocabulary.encode(prompt)
    except ValueError as error:
        raise UserError(f"--prompt: {error}; the model knows {vocabulary.characters!r}") from None
    if not 0 < len(tokens) < positions:
        raise UserError(f"--prompt: {len(tokens)} characters; give 1 to {positions - 1}")
    return tokens


def _positive(flag: str, value: int) -> None:
    if value < 1:
        raise UserError(f"{flag} {value}: must be at least 1")


def _not_negative(flag: str, value: int) -> None:
    if value < 0:
        raise UserError(f"{flag} {value}: must be 0 or more")


def _writable(flag: str, path: Path) -> None:
    """UserError now, not after minutes of training, where a file cannot be written."""
    if path.is_dir():
        raise UserError(f"{flag} {path}: is a folder; name a file")
    _folder(flag, path.parent)
    there = path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise UserError(f"{flag} {path}: cannot be written ({error.strerror}); choose another place") from None
    if not there:
        path.unlink()


def _folder(flag: str, path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{flag} {path}: cannot be made ({error.strerror}); choose another place") from None
