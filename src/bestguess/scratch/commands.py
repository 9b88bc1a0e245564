"""The commands of the scratch room: proof of the gradients, and the smallest demo."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bestguess.command import Failure

if TYPE_CHECKING:
    from rich.console import Console

Bug = Literal["none", "detached-attention", "inverted-mask", "frozen-norm", "no-sort", "scored-padding"]


@dataclass(frozen=True)
class CheckFlags:
    """Compare every operation's, layer's and GPT parameter's gradient with central differences in float64."""

    bug: Bug = "none"
    """A classic bug to switch on, to see how the check finds it."""
    seed: int = 0
    """Draws the numbers that are put in."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""


@dataclass(frozen=True)
class Level1Flags:
    """Memorise short strings with 4,624 parameters, beside the ceiling that their first letters allow."""

    strings: Literal["ambiguous", "distinct"] = "ambiguous"
    """Twelve strings, three of which start with A, or twelve whose first letters differ."""
    seed: int = 0
    """Draws the initial weights."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""


def check(flags: CheckFlags, console: Console) -> dict[str, Any]:
    """Print each operation's error and each parameter's cosine; Failure where anything is wrong."""
    from bestguess.scratch.bugs import bug
    from bestguess.scratch.check import run

    with bug(None if flags.bug == "none" else flags.bug):
        report = run(flags.seed)
    for name, error in report.operations.items():
        console.print(f"  {name:<28} largest relative error {error:.1e}")
    for name, gradient in report.parameters.items():
        console.print(f"  {name:<28} cosine {gradient.cosine:.9f}  norm ratio {gradient.norm_ratio:.9f}")
    for name, (holds, measured) in report.properties.items():
        console.print(f"  {name:<28} {'holds' if holds else 'FAILS'}: {measured}")
    result = {
        "largest_relative_error": max(report.operations.values()),
        "smallest_cosine": min(gradient.cosine for gradient in report.parameters.values()),
        "faults": report.faults,
    }
    if report.faults:
        raise Failure(f"the check finds {len(report.faults)} faults: {', '.join(report.faults)}", result)
    console.print("every gradient is right")
    return result


def level1(flags: Level1Flags, console: Console) -> dict[str, Any]:
    """Train to the ceiling and print the completions beside it."""
    from bestguess.scratch import data
    from bestguess.scratch.level1 import run

    began = time.perf_counter()
    strings = data.AMBIGUOUS if flags.strings == "ambiguous" else data.DISTINCT
    result = run(strings, seed=flags.seed)
    for string, completion in zip(strings, result.completions):
        console.print(f"  {string[0]} → {completion}" + ("" if completion == string else f"   (asked for {string})"))
    best = result.ceiling
    console.print(
        f"{result.correct} of {len(strings)} right, at most {best.correct} can be; loss {result.loss:.4f} nats, floor "
        f"{best.loss:.4f}; with padding scored as if it were text {result.loss_with_padding:.4f}"
    )
    return {
        "correct": result.correct,
        "ceiling": best.correct,
        "loss": result.loss,
        "loss_floor": best.loss,
        "seconds": time.perf_counter() - began,
    }
