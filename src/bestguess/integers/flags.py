"""The flags of the commands that ask something of the integers family. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from bestguess.integers.config import BASES, Design, IntegersConfig, Preset, Tracker


@dataclass(frozen=True)
class ExplainFlags:
    """Say which recurrences a sequence may be the beginning of, how probable each is, and what comes next.

    No model has a part in it: the exact Bayes posterior over all recurrences of the generator.
    """

    terms: tyro.conf.Positional[tuple[str, ...]]
    """The terms so far, integers 0..255, such as 1 1 2 3 5 8."""
    top: int = 5
    """How many recurrences and how many next terms to show; --json gives all."""
    length: int = 8
    """The longest context (terms), from 2 to 16."""
    overflow: Literal["wrap", "end"] = "wrap"
    """How terms outside 0..255 are shown: modulo 256, or not at all (the sequence ends)."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""


@dataclass(frozen=True)
class PredictFlags:
    """Predict what comes next with the trained model that lies in the package, beside the exact Bayes predictor."""

    terms: tyro.conf.Positional[tuple[str, ...]]
    """The terms so far, integers 0..255, such as 2 4 8 16."""
    model: Path | None = None
    """Another model's file, written by `integers export`."""
    top: int = 5
    """How many guesses to show; --json gives all of probability above 0.0001."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""


@dataclass(frozen=True)
class RunFlags:
    """What every command on a trained folder takes."""

    run: tyro.conf.Positional[Path]
    """Folder that `integers train` left behind."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""


@dataclass(frozen=True)
class EvaluateFlags(RunFlags):
    """Measure every run of the folder against the exact Bayes predictor, on seen and on held-out rows.

    Accuracy, regret and distance after 1, 2, … terms are exact sums over the whole table of sequences.
    """


@dataclass(frozen=True)
class ReportFlags(RunFlags):
    """Write the folder's page (one HTML file that opens offline) and its figures."""


@dataclass(frozen=True)
class GenerateFlags:
    """Go on with a sequence, term after term, with the guesses of the model and of the oracle beside each other.

    The model sees as many of the last terms as it was trained on; the oracle sees the same ones.
    """

    run: tyro.conf.Positional[Path]
    """Folder that `integers train` left behind."""
    terms: tyro.conf.Positional[tuple[str, ...]]
    """The terms so far, integers 0..255, such as 2 4 6 8."""
    steps: int = 8
    """New terms to generate."""
    method: Literal["cached", "naive", "parallel"] = "cached"
    """One term at a time with keys and values kept, or all anew for each term, or all terms guessed at once until \
no guess changes. All give the same terms."""
    temperature: float = 0.0
    """0 takes the most probable term; above, terms are drawn after logits are divided by this."""
    beams: int = 1
    """Sequences that a beam search keeps; 1 is no search."""
    seed: int = 0
    """Draws the terms at a temperature above 0."""
    top: int = 3
    """How many guesses to show for each term."""
    number: int | None = None
    """Which run of the folder's ensemble, from 0; the best on validation sequences by default."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""


@dataclass(frozen=True)
class ExportFlags:
    """Write one run's best weights and its config as one small file, as `integers predict` takes it."""

    run: tyro.conf.Positional[Path]
    """Folder that `integers train` left behind."""
    out: Path = Path("model.safetensors")
    """The file to write."""
    number: int | None = None
    """Which run of the folder's ensemble, from 0; the best on validation sequences by default."""
    half: bool = False
    """Store weights in float16: half the size, logits the same to about 1 part in 1000."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""


@dataclass(frozen=True)
class DistillFlags:
    """Teach one model what several runs predict together: nearly their regret, at the cost of one.

    The student starts from the best run and learns the mean of all runs' probabilities, on sequences that the runs
    themselves go on with. Contexts held out of training are held out of these too. It has a folder of its own, which
    the family's other commands take.
    """

    run: tyro.conf.Positional[Path]
    """Folder of several runs that `integers train --seeds 8` left behind: the teachers."""
    sequences: int = 262_144
    """Sequences that the teachers go on with, from real beginnings of 1, 2, … terms. Their predictions take 512 bytes \
for each term, on every device."""
    steps: int = 8000
    """Optimiser steps."""
    batch_size: int = 512
    """Sequences a step."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 0.1
    """Decay of matrices (1/step, times the learning rate)."""
    seed: int = 0
    """Draws the sequences, and their order."""
    track: tuple[Tracker, ...] = ("jsonl",)
    """Where metrics go besides metrics.jsonl, which is always written."""
    out: Path | None = None
    """Folder of the student; a new one under runs/integers by default."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""


@dataclass(frozen=True)
class MemoryFlags(IntegersConfig):
    """Say what memory a training needs: the design document's formula, beside what XLA measures, against 8 GB."""

    design: Design = "default"
    """Where the other flags' defaults come from: the best design that was found, or the design document's choices."""
    preset: Preset = "default"
    """At which size: all phases, or phase 1 for a laptop's CPU."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""

    @staticmethod
    def presets() -> dict[str, MemoryFlags]:
        """Return each preset's default design as a whole set of flags."""
        return {preset: _memory(preset, "default") for preset, design in BASES if design == "default"}

    def designs(self) -> dict[str, MemoryFlags]:
        """Return each design at this preset's size as a whole set of flags."""
        return {design: _memory(preset, design) for preset, design in BASES if preset == self.preset}

    def config(self) -> IntegersConfig:
        """Return the part that determines the result."""
        return IntegersConfig(**{f.name: getattr(self, f.name) for f in dataclasses.fields(IntegersConfig)})


def _memory(preset: Preset, design: Design) -> MemoryFlags:
    config = BASES[preset, design]
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(IntegersConfig)}
    return MemoryFlags(**fields, preset=preset, design=design)
