"""The flags of the command `experiment`, and where the shipped experiments are found. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from bestguess import files
from bestguess.command import UserError, nearest
from bestguess.sweep.config import SweepFlags, Tracker
from bestguess.sweep.ledger import ROOT
from bestguess.sweep.shipped import shipped

SEARCH = "A search, not an experiment"
"""Stands in the head of a shipped sweep that looks for a default and tests no hypothesis."""


def experiments() -> dict[str, Path]:
    """Return the YAML of each shipped experiment by name; a mere search is none."""
    return {name: path for name, path in shipped().items() if SEARCH not in files.read_text(path)}


_WHICH = f"Bundled experiment ({', '.join(experiments())}), or a sweep YAML, ID or folder."


@dataclass(frozen=True)
class ExperimentFlags:
    """Run an experiment: train its sweep, check that it is complete, test its hypotheses, write figures and a page.

    Repeating the command resumes the sweep; a complete sweep is only analysed. The hypotheses and the decision rule are
    in the header of the YAML.
    """

    MOST: ClassVar[dict[str, int]] = SweepFlags.MOST

    experiment: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=_WHICH)]
    preset: Literal["default", "small"] = "default"
    """Size: as in the YAML, or a small version that runs in minutes on a laptop CPU."""
    set_: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = ()
    """Overrides of the YAML's parameters, KEY=VALUE or KEY=VALUE,VALUE, such as train.first_seed=0,1,2,3,4,5."""
    train: bool = True
    """Train missing runs before the analysis; --no-train only analyses."""
    allow_incomplete: bool = False
    """Analyse an incomplete sweep; the figures and the page are marked as incomplete."""
    jobs: int = 1
    """Number of parallel workers on this machine; the GPUs are divided among them."""
    turns: bool = False
    """Workers that share a GPU take turns on it: one trains or evaluates while the others compile. Needed only \
to compare training times; without it, workers slow each other down."""
    ensemble: int = 16
    """Maximum number of runs that train together in one program."""
    benchmark: Path | None = None
    """JSON written by benchmarks/filters.py, to estimate the cost of the same runs in PyTorch."""
    reuse: tuple[str, ...] = ()
    """Sweeps (IDs, folders, or a runs.csv that was committed) whose finished runs are reused if their configuration \
is identical, such as to add seeds with --set."""
    rates: str | None = None
    """Sweep (ID, folder, or a runs.csv that was committed) that searched for learning rates: each cell trains at the \
rate that it chose, and at no other. Several, separated by commas, are one search."""
    tune: bool = False
    """Train the search NAME_tuning first, widen it until no best rate is at the edge of its grid, and train each \
cell at the rate found."""
    track: tuple[Tracker, ...] = ()
    """Metric loggers, in addition to the ledger; every run of a batch is a W&B run, in the group of its sweep."""
    estimate: bool = False
    """Estimate time and memory and exit: trains one chunk of every shape and discards the results."""
    test: int | None = None
    """Train only this many runs, covering every shape, estimate the time of the others, and exit; they \
count as done."""
    from_: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """A runs.csv that an experiment wrote, or its folder, with its sweep.yaml beside it: judge these runs again by \
today's rules, without a ledger and without training. Results are written only to --out."""
    out: Path | None = None
    """Output folder, overwritten (default: `results` in the sweep folder)."""
    folder: Path = ROOT
    """Folder of the ledgers."""


def unknown(name: str) -> UserError:
    """Return the error of a name that is neither an experiment nor a sweep."""
    known = experiments()
    return UserError(f"{name}: no experiment of this name{nearest(name, known)} (shipped: {', '.join(known)})")
