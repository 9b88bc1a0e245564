"""The flags of the sweep commands. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bestguess.command import UserError
from bestguess.sweep.ledger import ROOT

Tracker = Literal["jsonl", "tensorboard", "wandb"]


@dataclass(frozen=True)
class SweepFlags:
    """Train every run of a W&B sweep YAML, or go on with a sweep by its ID: only what is not done.

    Runs that share shapes train together as one program. The ledger under --folder proves what is done; the same
    YAML has the same ID, so giving it again goes on too.
    """

    sweep: tyro.conf.Positional[str]
    """A sweep's YAML file, its ID, or its folder."""
    set_: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = ()
    """Changes to the YAML's parameters, KEY=VALUE or KEY=VALUE,VALUE (such as preset=small train.steps=100); they \
make a sweep of another ID."""
    test: int | None = None
    """Train only this many runs, of every shape some, as a test of the sweep; they count as done."""
    jobs: int = 1
    """Workers side by side on this machine, each with its share of the GPUs."""
    ensemble: int = 16
    """Runs that train together, at most; more fill a GPU no better and lose more where one fails."""
    seed: int = 0
    """Draws the runs of a random or bayes sweep."""
    max_failures: int = 3
    """Ensembles in a row without a run done, after which a worker stops."""
    reuse: tuple[str, ...] = ()
    """Sweeps (IDs or folders) whose finished runs count here too, where the configuration is the very same: a sweep \
with more seeds trains only those."""
    track: tuple[Tracker, ...] = ()
    """Where metrics go besides the ledger."""
    plan: bool = False
    """Only plan: print the ID, the runs, the ensembles, and what the sweep lacks."""
    estimate: bool = False
    """Only estimate time and memory: trains one chunk of every shape, and throws it away."""
    worker: bool = False
    """Be one of several workers: end well when nothing is left to take, though others may not be done."""
    distributed: bool = False
    """Be one of the processes of an `srun` that train each ensemble together, on all their devices."""
    folder: Path = ROOT
    """Where the ledgers are; one that all workers share."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value is impossible."""
        for name in ("jobs", "ensemble", "max_failures"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be positive")
        if self.test is not None and self.test < 1:
            raise UserError(f"--test {self.test}: must be positive")
        if self.distributed and self.jobs > 1:
            raise UserError("--distributed: all processes are one worker; drop --jobs")


@dataclass(frozen=True)
class StatusFlags:
    """Say how far a sweep is, and name what is missing with its reason. Exit status 1 unless it is complete."""

    sweep: tyro.conf.Positional[str]
    """The sweep's ID, or its folder."""
    test: int | None = None
    """Look only at the runs that `bestguess sweep --test` of this number trains."""
    folder: Path = ROOT
    """Where the ledgers are."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""
