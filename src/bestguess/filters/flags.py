"""The flags of the filters family's own commands. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from bestguess.command import UserError
from bestguess.filters.config import FiltersConfig, small
from bestguess.workflow.flags import RunFlags


def refuse_unknown_systems(run: Path, config: FiltersConfig, what: str) -> None:
    """Raise a UserError for the folder of a training on unknown systems, for a command that needs one system."""
    if config.task.systems is not None:
        raise UserError(f"{run}: its sequences are of {config.task.systems} unknown systems; {what}")


@dataclass(frozen=True)
class EvaluateFlags(RunFlags):
    """Measure how far every run in a folder is from the Kalman filter, on fresh test sequences."""

    test_sequences: int | None = None
    """Number of test sequences (default: as in the training run)."""
    length: int | None = None
    """Sequence length to evaluate at, in steps; eight times the trained one shows what lies beyond it."""
    lambda_: Annotated[tuple[float, ...] | None, tyro.conf.arg(name="lambda")] = None
    """Values of λ to evaluate every run at, whichever it was trained at."""


@dataclass(frozen=True)
class RolloutFlags(RunFlags):
    """Roll out every run in a folder and compare with the Kalman filter's h-step predictions."""

    context: int | None = None
    """Observed steps before the rollout starts (default: as in the training run)."""
    horizons: tuple[int, ...] | None = None
    """Horizons h to report, in steps (default: as in the training run)."""
    rollouts: int | None = None
    """Number of rollouts (default: as in the training run)."""


@dataclass(frozen=True)
class InspectFlags(RunFlags):
    """Show what every run in a folder has learnt, beside the Kalman filter.

    Writes a page: the response to single observations and how linear it is, what each layer knows of the filter's
    state estimate, what heads read and what that depends on, and what it costs to fix a head's attention, or the
    queries or keys of a layer, or to ablate them.
    """

    MOST: ClassVar[dict[str, int]] = {"sequences": 1 << 14}

    sequences: int = 64
    """Number of test sequences to look at, and of others to judge changed heads on."""


@dataclass(frozen=True)
class QuickstartFlags:
    """Train small transformers at several values of λ together: at most 3 minutes on 2 CPU cores.

    Prints how close each comes to the Kalman filter, and writes a page with figures.
    """

    lambda_: Annotated[tuple[float, ...], tyro.conf.arg(name="lambda")] = (0.5, 0.8, 0.9, 0.97)
    """Spectral radius of A, the largest modulus of its eigenvalues, in (0, 1). One run is trained per value."""
    steps: int = small().train.steps
    """Number of optimiser steps."""
    seed: int = 0
    """Random seed for the systems, the initial weights and the data."""
    out: Path | None = None
    """Output folder (default: a new folder under runs/filters)."""
