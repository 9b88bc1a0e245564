"""The flags of the sweep commands. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from bestguess.command import UserError
from bestguess.sweep.keys import MOST_RUNS
from bestguess.sweep.ledger import ROOT

Tracker = Literal["jsonl", "tensorboard", "wandb"]


@dataclass(frozen=True)
class SweepFlags:
    """Train every run of a W&B sweep YAML that is not done yet, or resume a sweep by its ID.

    Runs with equal shapes train together as one program. A ledger under --folder records which runs are done. The ID
    is a hash of the YAML, so repeating the same command resumes the sweep.
    """

    MOST: ClassVar[dict[str, int]] = {"jobs": 1024, "ensemble": 10_000}

    sweep: tyro.conf.Positional[str]
    """Sweep YAML file, the name of a shipped one such as eigenvalue, sweep ID, or sweep folder."""
    set_: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = ()
    """Overrides of the YAML's parameters, KEY=VALUE or KEY=VALUE,VALUE, such as preset=small train.steps=100. They \
change the sweep's ID."""
    runs: int | None = None
    """Number of runs of a random or bayes sweep, or the most of a grid, in place of the YAML's run_cap. It changes \
the sweep's ID."""
    test: int | None = None
    """Train only this many runs, covering every shape, to test the sweep, and estimate the time of the others; \
they count as done."""
    jobs: int = 1
    """Number of parallel workers on this machine; the GPUs are divided among them."""
    turns: bool = False
    """Workers that share a GPU take turns on it: one trains or evaluates while the others compile. Needed only \
to compare training times; without it, workers slow each other down."""
    ensemble: int = 16
    """Maximum number of runs that train together in one program."""
    seed: int = 0
    """Random seed for the runs of a random or bayes sweep."""
    max_failures: int = 3
    """Number of consecutive failed batches of runs before a worker stops."""
    reuse: tuple[str, ...] = ()
    """Sweeps (IDs, folders, or a runs.csv written by --out) whose finished runs are reused if their configuration is \
identical, such as to add seeds."""
    rates: str | None = None
    """Sweep (ID, folder, or a runs.csv written by --out) that searched for learning rates: each cell trains at the \
rate that it chose, and at no other. Several, separated by commas, are one search."""
    train: bool = True
    """Train missing runs; --no-train only reports, and writes --out."""
    out: Path | None = None
    """Folder for a table of all runs that are done (runs.csv), which can be committed and given to --reuse and \
--rates; overwritten."""
    widen: str | None = None
    """Search (named as in --rates) of the same YAML: train only the cells whose best rate is at the edge of its \
grid, at the next rate beyond it. Both together are one search; repeat with both until no cell is left."""
    track: tuple[Tracker, ...] = ()
    """Metric loggers, in addition to the ledger."""
    plan: bool = False
    """Print the plan and exit: the ID, the runs, the batches of runs, and warnings."""
    estimate: bool = False
    """Estimate time and memory and exit: trains one chunk of every shape and discards the results."""
    worker: bool = False
    """Run as one of several workers: exit with status 0 once no work is left, even if other workers are still busy."""
    distributed: bool = False
    """Run as one process of an `srun` whose processes train each batch of runs together on all their devices."""
    folder: Path = ROOT
    """Folder of the ledgers, shared by all workers."""

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value is impossible."""
        for name in ("jobs", "ensemble", "max_failures"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be positive")
        for name in ("test", "runs"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"--{name} {getattr(self, name)}: must be positive")
        if self.runs is not None and self.runs > MOST_RUNS:
            raise UserError(f"--runs {self.runs}: a sweep has at most {MOST_RUNS:,}")
        if self.turns and self.jobs == 1:
            raise UserError("--turns: a single worker has its GPU to itself; give --jobs, or drop --turns")
        for name in ("plan", "estimate", "worker", "distributed"):
            if self.out is not None and getattr(self, name):
                raise UserError(f"--out: --{name} writes no table; drop one of the two")
        for word, idle in (("no-train", not self.train), ("plan", self.plan), ("estimate", self.estimate)):
            if self.track and idle:
                raise UserError(f"--track: --{word} trains no run to be logged; drop one of the two")
        if self.widen is not None and self.rates is not None:
            raise UserError("--widen: a search has rates to try, and --rates has chosen them; drop one")
        if self.distributed and self.jobs > 1:
            raise UserError("--distributed: all processes are one worker; drop --jobs")


@dataclass(frozen=True)
class StatusFlags:
    """Report the progress of a sweep and why runs are missing. The exit status is 1 unless it is complete."""

    sweep: tyro.conf.Positional[str]
    """Sweep ID or sweep folder."""
    test: int | None = None
    """Report only the runs that `bestguess sweep --test N` trains."""
    folder: Path = ROOT
    """Folder of the ledgers."""
