"""The flags of the commands that ask something of the integers family. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from bestguess.family import Family
from bestguess.workflow.flags import FromConfig, Tracker, config_flags


@dataclass(frozen=True)
class ExplainFlags:
    """List the recurrences that fit the start of a sequence, their probabilities, and the likely next terms.

    Uses no model: the probabilities are the exact Bayes posterior over all recurrences of the generator.
    """

    terms: tyro.conf.Positional[tuple[str, ...]]
    """First terms of the sequence, integers from 0 to 255, such as 1 1 2 3 5 8."""
    top: int = 5
    """Number of recurrences and of next terms to print; --json returns all of them."""
    length: int = 8
    """Context length in terms, from 2 to 16."""
    overflow: Literal["wrap", "end"] = "wrap"
    """Handling of terms outside 0..255: reduce them modulo 256, or end the sequence."""


@dataclass(frozen=True)
class PredictFlags:
    """Predict the next term with the bundled model, compared with the exact Bayes predictor."""

    terms: tyro.conf.Positional[tuple[str, ...]]
    """First terms of the sequence, integers from 0 to 255, such as 2 4 8 16."""
    model: Path | None = None
    """Model file written by `integers export` (default: the bundled model)."""
    top: int = 5
    """Number of guesses to print; --json returns all with probability above 0.0001."""


@dataclass(frozen=True)
class GenerateFlags:
    """Continue a sequence term by term, and compare the model's guesses with the oracle's.

    The context is a sliding window as long as in training, for the model and for the oracle.
    """

    run: tyro.conf.Positional[Path]
    """Folder written by `integers train`."""
    terms: tyro.conf.Positional[tuple[str, ...]]
    """First terms of the sequence, integers from 0 to 255, such as 2 4 6 8."""
    steps: int = 8
    """Number of terms to generate."""
    method: Literal["cached", "naive", "parallel"] = "cached"
    """Decoding method: one term at a time with cached keys and values, one term at a time without a cache, or all \
terms guessed in parallel until no guess changes. All three give the same terms."""
    temperature: float = 0.0
    """Sampling temperature; 0 selects the most probable term (greedy decoding)."""
    beams: int = 1
    """Beam width; 1 disables beam search."""
    seed: int = 0
    """Random seed for sampling; used if --temperature is above 0."""
    top: int = 3
    """Number of guesses to print for each term."""
    number: int | None = None
    """Index of the run in the folder, from 0 (default: the run with the best validation score)."""


@dataclass(frozen=True)
class ExportFlags:
    """Export the best weights and the config of one run as a small file for `integers predict --model`."""

    run: tyro.conf.Positional[Path]
    """Folder written by `integers train`."""
    out: Path = Path("model.safetensors")
    """Output file."""
    number: int | None = None
    """Index of the run in the folder, from 0 (default: the run with the best validation score)."""
    half: bool = False
    """Store the weights in float16: half the size; logits change by about 1 part in 1000."""


@dataclass(frozen=True)
class DistillFlags:
    """Distill several runs into one model: nearly the regret of their average, at the cost of one model.

    The student starts from the best run and is trained on the teachers' average probabilities, on sequences continued
    by the teachers. Contexts held out of training are held out of distillation too. The student is written to a new
    folder, which the other `integers` commands take.
    """

    run: tyro.conf.Positional[Path]
    """Folder with several runs, the teachers, such as `integers train --seeds 8` writes."""
    sequences: int = 262_144
    """Number of sequences continued by the teachers, from the first 1, 2, … terms of training rows. The targets take \
512 bytes per term on every device."""
    steps: int = 8000
    """Number of optimiser steps."""
    batch_size: int = 512
    """Sequences per step."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 0.1
    """Decoupled weight decay of the matrices, per step and multiplied by the learning rate."""
    seed: int = 0
    """Random seed for the sequences and their order."""
    track: tuple[Tracker, ...] = ("jsonl",)
    """Metric loggers; metrics.jsonl is always written."""
    out: Path | None = None
    """Output folder of the student (default: a new folder under runs/integers)."""


def memory_flags(family: Family) -> type:
    """Return the flags of `integers memory`: the config's own."""
    help_text = "Estimate the memory of a training run, by a formula and as measured by XLA, compared with 8 GB."
    return config_flags(family, "MemoryFlags", help_text, FromConfig)
