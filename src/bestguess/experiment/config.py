"""The flags of the command `experiment`, and where the shipped experiments are found. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

import bestguess
from bestguess.command import UserError, nearest
from bestguess.sweep.ledger import ROOT

_PACKAGE = Path(bestguess.__file__).parent
SHIPPED = (_PACKAGE / "experiments", _PACKAGE.parents[1] / "experiments")
"""Where the YAML of the shipped experiments lies: in the installed package, or in the checkout around it."""


@dataclass(frozen=True)
class ExperimentFlags:
    """Run an experiment: train its sweep, check that it is complete, test its hypotheses, write figures and a page.

    Repeating the command resumes the sweep; a complete sweep is only analysed. The hypotheses and the decision rule are
    in the header of the YAML.
    """

    experiment: tyro.conf.Positional[str]
    """Bundled experiment, such as eigenvalue, integer_design or rolls_power; or a sweep YAML, ID or folder."""
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
    ensemble: int = 16
    """Maximum number of runs that train together in one program."""
    benchmark: Path | None = None
    """JSON written by benchmarks/filters.py, to estimate the cost of the same runs in PyTorch."""
    reuse: tuple[str, ...] = ()
    """Sweeps (IDs or folders) whose finished runs are reused if their configuration is identical, such as to \
add seeds with --set."""
    out: Path | None = None
    """Output folder, overwritten (default: `results` in the sweep folder)."""
    folder: Path = ROOT
    """Folder of the ledgers."""


def shipped() -> dict[str, Path]:
    """Return the YAML of each shipped experiment by its name."""
    return {path.stem: path for place in reversed(SHIPPED) for path in sorted(place.glob("*.yaml"))}


def find(name: str) -> Path | None:
    """Return the YAML that `name` means, a file or a shipped experiment; None where it can only be a sweep's ID."""
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    return shipped().get(name)


def unknown(name: str) -> UserError:
    """Return the error of a name that is neither an experiment nor a sweep."""
    known = shipped()
    return UserError(f"{name}: no experiment of this name{nearest(name, known)} (shipped: {', '.join(known)})")
