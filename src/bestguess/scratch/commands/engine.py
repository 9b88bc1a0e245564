"""The engine by itself: every gradient proved, and a graph drawn."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bestguess import files
from bestguess.command import Failure, UserError
from bestguess.scratch import bugs, check, drawing, graph
from bestguess.scratch.commands.checks import not_negative, writable
from bestguess.scratch.flags import CheckFlags, GraphFlags


def run_check(flags: CheckFlags, console: Console) -> dict[str, Any]:
    """Print each operation's error and each parameter's cosine; Failure if anything is wrong."""
    not_negative("--seed", flags.seed)
    if flags.bug != "none":
        console.print(f"With a bug switched on, {flags.bug}: {bugs.BUGS[flags.bug]}.")
    with bugs.bug(flags.bug):
        report = check.run(flags.seed)
    faults = set(report.faults)

    def mark(name: str) -> Text:
        return Text("WRONG", style="red") if name in faults else Text("ok")

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
    result: dict[str, Any] = {
        "bug": flags.bug,
        "largest_relative_error": max(report.operations.values()),
        "smallest_cosine": min(gradient.cosine for gradient in report.parameters.values()),
        "faults": report.faults,
    }
    if faults:
        raise Failure(f"the check finds {len(faults)} faults: {', '.join(report.faults)}", result)
    found = check.zoo(flags.seed)
    table = Table("bug switched on", "what is wrong", "faults found", box=None)
    for name, its_faults in found.items():
        table.add_row(name, bugs.BUGS[name], str(len(its_faults)) if its_faults else Text("MISSED", style="red"))
    console.print(table)
    result["bugs"] = [{"bug": name, "caught": bool(f), "faults": f} for name, f in found.items()]
    console.print(
        f"Every gradient is right: largest relative error {result['largest_relative_error']:.1e}, "
        f"smallest cosine {result['smallest_cosine']:.9f}."
    )
    missed = [name for name, its_faults in found.items() if not its_faults]
    if missed:
        raise Failure(f"the check misses {', '.join(missed)}", result)
    return result


def run_graph(flags: GraphFlags, console: Console) -> dict[str, Any]:
    """Draw a graph; return its size and the gradients of what has a name."""
    writable("--out", flags.out, "SVG")
    at = _values(flags.at)
    try:
        if flags.layer == "none":
            end, names = graph.expression(flags.expression, at)
            title = flags.expression
        else:
            end, names = graph.layer(flags.layer)
            title = flags.layer
        drawn = drawing.draw(end, names, title, flags.walk)
    except ValueError as error:
        raise UserError(f"--expression: {error}") from None
    files.write_text(flags.out, drawn.svg)
    console.print(
        f"{drawn.nodes} nodes, one backward call each; a recursion without a sort would make {drawn.paths:,} "
        f"calls. Drawn to {flags.out}",
        markup=False,
    )
    return {
        "nodes": drawn.nodes,
        "paths": drawn.paths,
        "value": drawn.value,
        "gradients": {n: t.grad.tolist() for n, t in names.items() if t.grad is not None},
        "out": str(flags.out),
    }


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
