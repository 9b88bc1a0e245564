"""The flags of the scratch room's commands. Imports nothing heavy: the command line is made from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# Before NumPy is first imported: these models' products are too small for BLAS to share among threads, and its threads,
# which wait by spinning, would take the cores from the engine's own (OMP_NUM_THREADS of them; see `parallel`).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

Bug = Literal[
    "none",
    "detached-attention",
    "inverted-mask",
    "frozen-norm",
    "no-sort",
    "depth-first",
    "overwrite",
    "no-zero-grad",
    "scored-padding",
]
Layer = Literal["none", "linear", "layer_norm", "gelu", "attention", "cross_entropy", "block", "gpt"]


@dataclass(frozen=True)
class CheckFlags:
    """Compare the gradients of every operation, layer and GPT parameter with central differences in float64."""

    bug: Bug = "none"
    """Classic bug to switch on, to see how the check catches it. Without one, the check also tries every bug."""
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
    """Layer to draw instead of an expression, or a transformer block, or a whole GPT with its loss."""
    walk: bool = False
    """Show the graph step by step: the values forward, then the gradients backward (an animated SVG)."""
    out: Path = Path("graph.svg")
    """Output file."""


@dataclass(frozen=True)
class Level1Flags:
    """Memorise short strings with 4,624 parameters, compared with the best score possible from their first letters."""

    strings: Literal["ambiguous", "distinct", "tinytorch"] = "ambiguous"
    """Twelve strings, three of which start with A; twelve whose first letters differ; or TinyTorch's task, to say after
    each of four characters which comes next (FGHI to GHIJ), beside its published figures."""
    steps: int | None = None
    """Most training steps; training ends at the ceiling (default: 2,000; 20 with no-sort, 200 for tinytorch)."""
    bug: Bug = "none"
    """Classic bug to train with."""
    seed: int = 0
    """Random seed for the initial weights."""


@dataclass(frozen=True)
class CopilotFlags:
    """Train a small GPT to complete Python: demo prompts, training snippets and held-out snippets."""

    setting: Literal["ours", "tinytorch"] = "ours"
    """Vocabulary 61, 8 heads, length 128: 33,472 parameters; or TinyTorch's 25, 2 and 64: 29,120 parameters."""
    pretrained: bool = False
    """Start from the bundled checkpoint: evaluate it, then train it for a few more steps."""
    weights: Path | None = None
    """Checkpoint (.npz) to start from, written by --save."""
    steps: int | None = None
    """Number of training steps (default: 1,200, or 100 from a checkpoint); 0 skips training."""
    bug: Bug = "none"
    """Classic bug to train with."""
    seed: int = 0
    """Random seed for the initial weights, the batches and a sampled completion."""
    prompt: str | None = None
    """Function header to complete, such as 'def mul(p, q):'. From a checkpoint and without --steps, nothing else is
    done."""
    temperature: float = 0.0
    """Temperature of that completion; 0 takes the likeliest character."""
    top_k: int | None = None
    """Draw from this many likeliest characters only (default: from all)."""
    top_p: float | None = None
    """Draw from the fewest likeliest characters whose probabilities reach this sum (default: from all)."""
    save: Path | None = None
    """Output file (.npz) for the trained weights."""


@dataclass(frozen=True)
class StdlibFlags:
    """Train a larger GPT on the source code of Python's standard library, or on a text file of your own."""

    corpus: Path | None = None
    """Text file (UTF-8) to train on instead of the standard library; its last tenth is held out."""
    steps: int = 1000
    """Number of training steps, each on 16 windows of 128 characters."""
    seed: int = 0
    """Random seed for the initial weights and the batches."""
    prompt: str | None = None
    """Prompt to complete after training (default: 'def ', or the first characters of the held-out text)."""
    temperature: float = 0.7
    """Temperature of that completion; 0 takes the likeliest character."""
    top_k: int | None = None
    """Draw from this many likeliest characters only (default: from all)."""
    top_p: float | None = None
    """Draw from the fewest likeliest characters whose probabilities reach this sum (default: from all)."""
    save: Path | None = None
    """Output file (.npz) for the trained weights."""


@dataclass(frozen=True)
class TeachFlags:
    """Run one of three classroom demos with a model that trains during the lesson."""

    strategy: Literal["pretrained", "tiny", "hybrid"] = "hybrid"
    """Improve the bundled model in 100 steps; train a tiny model to its ceiling; or watch a loss fall, see good
    completions made earlier, and walk through the architecture."""
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
    top_k: int | None = None
    """Draw from this many likeliest characters only, in study C (default: from all)."""
    top_p: float | None = None
    """Draw from the fewest likeliest characters whose probabilities reach this sum, in study C (default: from all)."""
    seed: int = 0
    """Random seed for the initial weights, the batches and the completions."""
    out: Path | None = None
    """Output folder (default: runs/scratch/option-A, -B or -C)."""


@dataclass(frozen=True)
class CausesFlags:
    """Test four suspected causes of bad completions in controlled runs of the copilot."""

    seeds: int = 3
    """Seeds per arm, 2 to 20. The verdict uses the 95 % interval of the paired differences."""
    steps: int = 200
    """Training steps of every arm except the one with five times as many; few, so that errors remain."""
    out: Path = Path("runs/scratch/causes")
    """Output folder for the results."""
