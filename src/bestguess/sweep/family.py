"""What a family of sequences gives to sweeps, and where it is found. Imports nothing heavy.

Shared rooms import no family. A family's module is an entry point of the group `bestguess.sweeps` (this package's
own stand in pyproject.toml, and another package may add its own), found by its name when a sweep asks for it.
`parameters.family` of a sweep's YAML is such a name, or a dotted module.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any, Protocol, cast

from bestguess.command import UserError, nearest

if TYPE_CHECKING:
    from bestguess.train.config import TrainConfig
    from bestguess.train.ensemble import Member, Problem

GROUP = "bestguess.sweeps"

SEED, RATE = "train.first_seed", "train.learning_rate"
"""The keys over which a cell of a sweep is repeated and tuned; all others make the cell."""
VALIDATION = "validation_loss"
"""The figure that selects learning rates: the best validation score, on data apart from the test's."""


_modules: dict[str, Family] = {}


class Family(Protocol):
    """The functions of a family's module. `config` and `shape` import nothing heavy: plans are made with them.

    A family that has experiments has one more, `experiments() -> Mapping[str, Experiment]` (bestguess.report.verdicts):
    what the sweeps of these names test.
    """

    REPORTED: str
    """The figure of `score` that a sweep reports, from test data; smaller is better."""

    def config(self, values: dict[str, Any]) -> Any:
        """Return the checked config of one run from nested values; UserError names the key that is off."""

    def shape(self, config: Any) -> str:
        """Return a text that is equal for runs which one compiled program can train."""

    def prepare(self, configs: list[Any]) -> tuple[Problem, TrainConfig, Member]:
        """Return what trains these runs of one shape, in this order along the run axis."""

    def score(self, config: Any, task: Any, model: Any, curve: list[dict[str, Any]]) -> dict[str, Any]:
        """Return a trained run's figures on test data; None is a figure that does not apply, NaN a fault.

        curve: the lines of its metrics.jsonl, by rising step.
        """


def load_family(name: Any) -> Family:
    """Return the module of a family; UserError if there is none of that name."""
    if name is None:
        raise UserError("parameters: family is missing; write family: {value: filters}")
    if name in _modules:
        return _modules[name]
    known = {entry.name: entry.value for entry in importlib.metadata.entry_points(group=GROUP)}
    path = known.get(str(name), str(name))
    if "." not in path:
        raise UserError(f"parameters.family: no family {name!r}{nearest(str(name), known)}")
    try:
        _modules[name] = cast(Family, importlib.import_module(path))
    except ModuleNotFoundError as error:
        if error.name is None or not path.startswith(error.name):
            raise
        raise UserError(f"parameters.family: no module {path} (is its folder on PYTHONPATH?)") from error
    return _modules[name]


def check_keys(values: dict[str, Any]) -> None:
    """Raise a UserError where a run of a sweep would be several runs, or none."""
    for wrong in ("train.seeds", "train.seed", "seed", "seeds"):
        if wrong in values:
            raise UserError(f"parameters.{wrong}: a run of a sweep has one seed; sweep {SEED} instead")
