"""The flags of the filters family, and the runs that they make. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from bestguess.command import UserError
from bestguess.nn.config import DecoderConfig
from bestguess.train.config import TrainConfig, flag

Structure = Literal["diagonal", "diagonal-real", "rotated", "dense"]
Preset = Literal["default", "small"]
PATCHES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class FilterTaskConfig:
    """The linear state-space system x' = A x + ε, y = C x, whose next y is to be predicted."""

    lambda_: Annotated[tuple[float, ...], tyro.conf.arg(name="lambda")] = (0.9,)
    """λ, the largest modulus of A's eigenvalues, which are drawn from [λ/2, λ]; in (0, 1); several make several \
runs."""
    structure: tuple[Structure, ...] = ("diagonal",)
    """Structure of A: complex pairs as 2×2 rotations, real, an orthogonally rotated twin (the negative control), or \
a twin with non-normal eigenvectors; several make several runs."""
    latent_dim: int = 64
    """Dimension of the state x."""
    observed_dim: int = 2
    """Dimension of the observation y; at most --latent-dim."""
    sigma: float = 1.0
    """Standard deviation of the state's noise ε, in each dimension (units of y)."""
    length: int = 256
    """T, the length of a sequence (steps)."""
    condition: float = 10.0
    """Condition number of the eigenvectors of a dense A; 1 makes it normal."""

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value is impossible."""
        for name in ("latent_dim", "observed_dim", "length"):
            if getattr(self, name) < 1:
                raise UserError(f"{flag(name)} {getattr(self, name)}: must be positive")
        if not self.sigma > 0:
            raise UserError(f"--sigma {self.sigma}: must be positive; without noise there is nothing to filter")
        if self.observed_dim > self.latent_dim:
            raise UserError(
                f"--observed-dim {self.observed_dim}: more than --latent-dim {self.latent_dim}, so C cannot have full "
                "row rank; lower it or raise --latent-dim"
            )
        if not 1 <= self.condition <= 1e4:
            raise UserError(f"--condition {self.condition:g}: must lie in [1, 1e4]; beyond, float64 loses the filter")
        for name in ("lambda_", "structure"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise UserError(f"{flag(name)} {' '.join(map(str, values))}: give each value once, and at least one")
        for value in self.lambda_:
            if not 0 < value < 1:
                raise UserError(f"--lambda {value}: must lie between 0 and 1, or the system is not stable")


@dataclass(frozen=True)
class FilterModelConfig(DecoderConfig):
    """The transformer, and what it sees."""

    patch: int = 1
    """Steps to a token: 1, 2, 4, 8, 16 or 32; a token predicts the whole next patch."""
    normalisation: Literal["none", "input", "instance"] = "input"
    """How y is scaled: not at all; by the process's own standard deviation; and by each sequence's mean and standard \
deviation so far (reversible instance normalisation, made causal)."""


@dataclass(frozen=True)
class RolloutConfig:
    """Rollouts: predictions fed back as observations, after training only."""

    context: int = 64
    """Observed steps before the first prediction."""
    horizons: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    """Horizons h at which y_{t+h} is compared with the filter's prediction of it (steps)."""
    rollouts: int = 8192
    """Rollouts in parallel; split where memory is short."""

    def check(self, task: FilterTaskConfig, model: FilterModelConfig) -> None:
        """Raise a UserError that names the flag at fault, if a value is impossible."""
        if self.context < 1 or self.context % model.patch:
            raise UserError(f"--context {self.context}: must be a positive multiple of --patch {model.patch}")
        if not self.horizons or min(self.horizons) < 1:
            raise UserError(f"--horizons {' '.join(map(str, self.horizons)) or '(none)'}: give positive horizons")
        if tuple(sorted(set(self.horizons))) != self.horizons:
            raise UserError(f"--horizons {' '.join(map(str, self.horizons))}: give them rising, each once")
        if self.context + max(self.horizons) > task.length:
            raise UserError(
                f"--context {self.context} and --horizons {max(self.horizons)} reach past --length {task.length}; "
                "lower one of them"
            )
        if self.rollouts < 2:
            raise UserError(f"--rollouts {self.rollouts}: at least 2, for a standard error")


@dataclass(frozen=True)
class FiltersConfig:
    """Everything that determines the result of a training: what `config.yaml` holds."""

    task: FilterTaskConfig = field(default_factory=FilterTaskConfig)
    model: FilterModelConfig = field(default_factory=FilterModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    test_sequences: int = 2048
    """Sequences of the reported evaluation, drawn apart from training and validation."""

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value or a combination is impossible."""
        self.task.check()
        self.model.check()
        self.train.check()
        if self.model.patch not in PATCHES:
            raise UserError(f"--patch {self.model.patch}: must be one of {', '.join(map(str, PATCHES))}")
        if self.task.length % self.model.patch:
            raise UserError(f"--length {self.task.length}: must be a multiple of --patch {self.model.patch}")
        if self.task.length < 2 * self.model.patch:
            raise UserError(
                f"--length {self.task.length}: holds one patch of {self.model.patch}; at least two are needed, one to "
                "see and one to predict"
            )
        self.rollout.check(self.task, self.model)
        if self.test_sequences < 2:
            raise UserError(f"--test-sequences {self.test_sequences}: at least 2, for a standard error")

    def runs(self) -> list[Run]:
        """Return the runs, in the order of the ensemble's run axis: λ, structure, seed, then learning rate."""
        seeds = range(self.train.first_seed, self.train.first_seed + self.train.seeds)
        settings = itertools.product(self.task.lambda_, self.task.structure, seeds, self.train.learning_rate)
        return [Run(*setting) for setting in settings]


@dataclass(frozen=True)
class Run:
    """What sets one run of the ensemble apart."""

    lambda_: float
    structure: str
    seed: int
    learning_rate: float

    @property
    def setting(self) -> tuple[float, str]:
        """The task that the run's learning rate is tuned for."""
        return self.lambda_, self.structure

    def label(self, among: list[Run]) -> str:
        """Return the run's name among others: only what differs between them."""
        parts = {
            "λ": lambda run: f"{run.lambda_:g}",
            "": lambda run: run.structure,
            "rate": lambda run: f"{run.learning_rate:g}",
            "seed": lambda run: f"{run.seed}",
        }
        told = [f"{k} {p(self)}".strip() for k, p in parts.items() if len({p(run) for run in among}) > 1]
        return ", ".join(told) or f"λ {self.lambda_:g}"


def small() -> FiltersConfig:
    """Return the preset that two CPU cores train in minutes."""
    return FiltersConfig(
        task=FilterTaskConfig(latent_dim=8, observed_dim=2, length=64),
        model=FilterModelConfig(layers=2, d_model=64, heads=4),
        train=TrainConfig(
            steps=400, batch_size=32, learning_rate=(3e-3,), warmup_steps=50, validate_every=25, beta2=0.99
        ),
        rollout=RolloutConfig(context=32, horizons=(2, 4, 8, 16, 32), rollouts=1024),
        test_sequences=1024,
    )


PRESETS = {"default": FiltersConfig(), "small": small()}

Tracker = Literal["jsonl", "tensorboard", "wandb"]


@dataclass(frozen=True)
class TrainFlags(FiltersConfig):
    """Train transformers to predict linear state-space sequences, beside the Kalman filter.

    One program trains every combination of --lambda, --structure, --learning-rate and seed; the best learning
    rate on validation data is reported on test data. The folder left behind is taken by `filters evaluate`,
    `rollout` and `report`.
    """

    preset: Preset = "default"
    """Where the other flags' defaults come from: the specification, or a size for a laptop's CPU."""
    track: tuple[Tracker, ...] = ("jsonl",)
    """Where metrics go besides metrics.jsonl, which is always written."""
    out: Path | None = None
    """Folder of the training; a new one under runs/filters by default."""
    resume: Path | None = None
    """Folder of a training that was cut off, to go on with; its own configuration is used."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""

    WITH_RESUME: ClassVar = ("--track", "--json", "--no-json")

    @staticmethod
    def presets() -> dict[str, TrainFlags]:
        """Return each preset as a whole set of flags."""
        return {name: _as(TrainFlags, config, preset=name) for name, config in PRESETS.items()}

    def config(self) -> FiltersConfig:
        """Return the part that determines the result."""
        return _as(FiltersConfig, self)


def _as(cls, config: FiltersConfig, **more):
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(FiltersConfig)}
    return cls(**fields, **more)


@dataclass(frozen=True)
class RunFlags:
    """What every command on a trained folder takes."""

    run: tyro.conf.Positional[Path]
    """Folder that `filters train` left behind."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""


@dataclass(frozen=True)
class EvaluateFlags(RunFlags):
    """Measure the distance to the Kalman filter on fresh test sequences, for every run of the folder."""

    test_sequences: int | None = None
    """Test sequences; the training's own choice by default."""


@dataclass(frozen=True)
class RolloutFlags(RunFlags):
    """Roll every run of the folder out and compare with the Kalman filter's own h-step predictions."""

    context: int | None = None
    """Observed steps before the first prediction; the training's own choice by default."""
    horizons: tuple[int, ...] | None = None
    """Horizons (steps); the training's own choice by default."""
    rollouts: int | None = None
    """Rollouts in parallel; the training's own choice by default."""


@dataclass(frozen=True)
class ReportFlags(RunFlags):
    """Write the folder's page (one HTML file that opens offline) and its figures."""


@dataclass(frozen=True)
class QuickstartFlags:
    """Watch small transformers learn to filter: several λ at once, at most 3 minutes on 2 CPU cores.

    Prints how close each comes to the Kalman filter, and writes a page with the pictures.
    """

    lambda_: Annotated[tuple[float, ...], tyro.conf.arg(name="lambda")] = (0.5, 0.8, 0.9, 0.97)
    """Largest modulus of A's eigenvalues, one run for each; in (0, 1)."""
    steps: int = small().train.steps
    """Optimiser steps."""
    seed: int = 0
    """Draws the systems, the initial weights and the data."""
    out: Path | None = None
    """Folder of the runs; a new one under runs/filters by default."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""
