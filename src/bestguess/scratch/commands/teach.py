"""Three classroom demos, made of the others: a trained model made better, a tiny one from nothing, and a hybrid."""

from __future__ import annotations

import time
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bestguess import files
from bestguess.scratch.commands.checks import not_negative
from bestguess.scratch.commands.models import run_copilot, run_level1
from bestguess.scratch.demos import copilot, walk
from bestguess.scratch.flags import CopilotFlags, Level1Flags, TeachFlags


def run_teach(flags: TeachFlags, console: Console) -> dict[str, Any]:
    """Show a strategy: the demos that it is made of, one after another."""
    not_negative("--seed", flags.seed)
    began = time.perf_counter()
    out: dict[str, Any] = {"strategy": flags.strategy}
    if flags.strategy in ("tiny", "hybrid"):
        console.rule("A tiny GPT, from nothing to its ceiling")
        out["tiny"] = run_level1(Level1Flags("distinct", seed=flags.seed), console)
    if flags.strategy == "pretrained":
        console.rule("A shipped GPT, from good to better")
        out["pretrained"] = run_copilot(CopilotFlags(pretrained=True, seed=flags.seed), console)
    if flags.strategy == "hybrid":
        console.rule("Good completions, made earlier")
        out["examples"] = _show_examples(console)
        console.rule("What is inside")
        out["architecture"] = _show_architecture(console)
    out["seconds"] = time.perf_counter() - began
    return out


def _show_examples(console: Console) -> dict[str, str]:
    with resources.as_file(resources.files("bestguess.scratch") / "pretrained" / "examples.json") as path:
        made = files.read_json(Path(path))
    table = Table("prompt", "written", box=None)
    for header, body in made["completions"].items():
        table.add_row(Text(header), Text(body.strip()))
    console.print(table)
    console.print(f"Not written now, but by {made['made_by']}.", markup=False)
    return made["completions"]


def _show_architecture(console: Console) -> list[dict[str, Any]]:
    model, _ = copilot.pretrained()
    header = copilot.OURS.demos[0]
    stages = walk.architecture(model, header, copilot.OURS.vocabulary)
    table = Table("stage", "goes out", "parameters", "what it does", box=None)
    for stage in stages:
        table.add_row(stage.name, " × ".join(map(str, stage.shape)), f"{stage.parameters:,}", Text(stage.does))
    console.print(table)
    console.print(f"{model.count():,} parameters in all; the text is {header!r}.", markup=False)
    return [{"stage": s.name, "shape": list(s.shape), "parameters": s.parameters} for s in stages]
