"""The flags of the scratch room's commands. Imports nothing heavy: the command line is made from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# Before NumPy is first imported: these models' products are too small for BLAS to share among threads, and its threads,
# which wait by spinning, would take the cores from the engine's own (OMP_NUM_THREADS of them; see `parallel`).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

Bug = Literal["none", "detached-attention", "inverted-mask", "frozen-norm", "no-sort", "scored-padding"]
Layer = Literal["none", "linear", "layer_norm", "gelu", "attention", "cross_entropy"]


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
class GraphFlags:
    """Draw the computation graph of an expression, or of one layer, as SVG with values and gradients."""

    expression: str = "d = a*b + c; d*d + tanh(d)"
    """What to compute; parts before the last, each ended by a semicolon, give names to values."""
    at: str = "a=2,b=-3,c=5"
    """Values of the expression's variables."""
    layer: Layer = "none"
    """Draw this layer, made of primitive operations, instead of an expression."""
    out: Path = Path("graph.svg")
    """File to write."""
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


@dataclass(frozen=True)
class CopilotFlags:
    """Complete Python with 33,472 parameters: demo prompts, snippets trained on, snippets never trained on."""

    pretrained: bool = False
    """Start from the checkpoint that is shipped, score it, and train it a little further."""
    weights: Path | None = None
    """Start from this checkpoint (.npz) instead, as --save wrote it."""
    steps: int | None = None
    """Training steps; by default 1,200, and 100 from a checkpoint. 0 trains nothing."""
    seed: int = 0
    """Draws the initial weights and the batches."""
    prompt: str | None = None
    """A header of your own to complete in the end, such as 'def mul(p, q):'."""
    save: Path | None = None
    """File (.npz) to write the trained weights to."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""


@dataclass(frozen=True)
class StdlibFlags:
    """The copilot's second stage: a larger GPT learns the source of Python's own standard library."""

    steps: int = 1000
    """Training steps, of 16 windows of 128 characters."""
    seed: int = 0
    """Draws the initial weights and the batches."""
    prompt: str = "def "
    """What the trained model goes on from, in the end, at temperature 0.7."""
    save: Path | None = None
    """File (.npz) to write the trained weights to."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""


@dataclass(frozen=True)
class TeachFlags:
    """Show one of three ways to teach with a model that learns while the class watches."""

    strategy: Literal["pretrained", "tiny", "hybrid"] = "hybrid"
    """The shipped model made better in 100 steps; a tiny one trained to its ceiling; or first the tiny."""
    seed: int = 0
    """Draws the initial weights and the batches."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""


@dataclass(frozen=True)
class OptionsFlags:
    """Run option A (quality against loss), B (a simple task, to 90 %) or C (temperatures and attention)."""

    option: Literal["A", "B", "C"] = "A"
    """Which of the three."""
    steps: int | None = None
    """Training steps; by default 5,000 for A and 1,500 for B. C trains nothing."""
    every: int | None = None
    """Steps between the checkpoints of option A, each of which is scored; by default 500."""
    draws: int | None = None
    """Completions of each demo prompt at each temperature of option C; by default 20."""
    temperatures: tuple[float, ...] | None = None
    """Temperatures of option C; by default 0.5, 1 and 2."""
    seed: int = 0
    """Draws the initial weights, the batches and the completions."""
    out: Path | None = None
    """Folder for checkpoints, pictures and the result; by default runs/scratch/option-A, -B or -C."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""


@dataclass(frozen=True)
class CausesFlags:
    """Give each of four suspected causes of bad completions a verdict from controlled runs of the copilot."""

    seeds: int = 3
    """Runs of each arm, 2 to 20; the verdict is by the 95 % interval of the paired differences."""
    steps: int = 250
    """Training steps of every arm but the one with twice as many; few, so that there is something to mend."""
    out: Path = Path("runs/scratch/causes")
    """Folder for the result."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""
