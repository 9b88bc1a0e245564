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
    """Run an experiment's sweep, prove that it is complete, judge its hypotheses, write its figures and page.

    Given again it goes on with what is not done; a complete sweep is analysed without training. The hypotheses and
    the rule of the verdicts stand at the head of the YAML.
    """

    experiment: tyro.conf.Positional[str]
    """A shipped experiment (eigenvalue, structure, patching, observed), a sweep's YAML, or the ID or folder of one."""
    preset: Literal["default", "small"] = "default"
    """The experiment as its YAML has it, or a size for a laptop's CPU: minutes, to see how it goes."""
    set_: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = ()
    """Changes to the YAML's parameters, KEY=VALUE or KEY=VALUE,VALUE (such as train.first_seed=0,1,2,3,4,5)."""
    train: bool = True
    """Train what is not done first; --no-train analyses what is there."""
    allow_incomplete: bool = False
    """Judge a sweep that is not complete all the same; figures and page then say so."""
    jobs: int = 1
    """Workers side by side on this machine, each with its share of the GPUs."""
    ensemble: int = 16
    """Runs that train together, at most."""
    benchmark: Path | None = None
    """Figures that benchmarks/filters.py wrote, to say what the runs would cost one at a time in PyTorch."""
    reuse: tuple[str, ...] = ()
    """Sweeps (IDs or folders) whose finished runs count here too, where the configuration is the very same: more \
seeds, given with --set, then train alone."""
    out: Path | None = None
    """Folder of the results, written over; by default `results` in the ledger."""
    folder: Path = ROOT
    """Where the ledgers are."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""


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
