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
    """Compare the gradients of every operation, layer and GPT parameter with central differences in float64."""

    bug: Bug = "none"
    """Classic bug to switch on, to see how the check catches it."""
    seed: int = 0
    """Random seed for the inputs."""


@dataclass(frozen=True)
class GraphFlags:
    """Draw the computation graph of an expression or a layer as SVG, with values and gradients."""

    expression: str = "d = a*b + c; d*d + tanh(d)"
    """Expression to draw; assignments before the last expression are separated by semicolons."""
    at: str = "a=2,b=-3,c=5"
    """Values of the variables in the expression."""
    layer: Layer = "none"
    """Layer to draw instead of an expression, built from primitive operations."""
    out: Path = Path("graph.svg")
    """Output file."""


@dataclass(frozen=True)
class Level1Flags:
    """Memorise short strings with 4,624 parameters, compared with the best score possible from their first letters."""

    strings: Literal["ambiguous", "distinct"] = "ambiguous"
    """Twelve strings, three of which start with A, or twelve whose first letters differ."""
    seed: int = 0
    """Random seed for the initial weights."""


@dataclass(frozen=True)
class CopilotFlags:
    """Train a 33,472-parameter GPT to complete Python: demo prompts, training snippets and held-out snippets."""

    pretrained: bool = False
    """Start from the bundled checkpoint: evaluate it, then train it for a few more steps."""
    weights: Path | None = None
    """Checkpoint (.npz) to start from, written by --save."""
    steps: int | None = None
    """Number of training steps (default: 1,200, or 100 from a checkpoint); 0 skips training."""
    seed: int = 0
    """Random seed for the initial weights and the batches."""
    prompt: str | None = None
    """Function header to complete after training, such as 'def mul(p, q):'."""
    save: Path | None = None
    """Output file (.npz) for the trained weights."""


@dataclass(frozen=True)
class StdlibFlags:
    """Train a larger GPT on the source code of Python's standard library, the copilot's second stage."""

    steps: int = 1000
    """Number of training steps, each on 16 windows of 128 characters."""
    seed: int = 0
    """Random seed for the initial weights and the batches."""
    prompt: str = "def "
    """Prompt to complete after training, at temperature 0.7."""
    save: Path | None = None
    """Output file (.npz) for the trained weights."""


@dataclass(frozen=True)
class TeachFlags:
    """Run one of three classroom demos with a model that trains during the lesson."""

    strategy: Literal["pretrained", "tiny", "hybrid"] = "hybrid"
    """Improve the bundled model in 100 steps; train a tiny model to its ceiling; or do both, the tiny model first."""
    seed: int = 0
    """Random seed for the initial weights and the batches."""


@dataclass(frozen=True)
class OptionsFlags:
    """Run study A (completion quality against loss), B (an easy task, to 90 %) or C (temperatures and attention)."""

    option: Literal["A", "B", "C"] = "A"
    """Study to run: A, B or C."""
    steps: int | None = None
    """Number of training steps (default: 5,000 for A, 1,500 for B); C trains nothing."""
    every: int | None = None
    """Steps between the evaluated checkpoints of study A (default: 500)."""
    draws: int | None = None
    """Completions per demo prompt and temperature in study C (default: 20)."""
    temperatures: tuple[float, ...] | None = None
    """Sampling temperatures of study C (default: 0.5, 1 and 2)."""
    seed: int = 0
    """Random seed for the initial weights, the batches and the completions."""
    out: Path | None = None
    """Output folder (default: runs/scratch/option-A, -B or -C)."""


@dataclass(frozen=True)
class CausesFlags:
    """Test four suspected causes of bad completions in controlled runs of the copilot."""

    seeds: int = 3
    """Seeds per arm, 2 to 20. The verdict uses the 95 % interval of the paired differences."""
    steps: int = 250
    """Training steps of every arm except the one with twice as many; few, so that errors remain to be explained."""
    out: Path = Path("runs/scratch/causes")
    """Output folder for the results."""
