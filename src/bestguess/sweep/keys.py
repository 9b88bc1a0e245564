"""The keys of a sweep that mean the same in every family, and the family that a sweep names. Imports nothing heavy."""

from __future__ import annotations

import math
from typing import Any

from bestguess.command import UserError
from bestguess.family import Family, load_family

SEED, RATE = "train.first_seed", "train.learning_rate"
"""The keys over which a cell of a sweep is repeated and tuned; all others make the cell, but for those that its family
declares to be repetitions too."""
VALIDATION = "validation_loss"
"""The figure that selects learning rates: the best validation score, on data apart from the test's."""
OF_EVERY_RUN = ("best_step", "stopped_step", "self_test")
"""The other figures that a run has in every family."""
MOST_RUNS = 1_000_000
"""Runs that a sweep has at most."""


def is_number(value: Any) -> bool:
    """Return whether a figure is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def family_of(values: dict[str, Any]) -> Family:
    """Return the family that a run's values name: a registered one, or a dotted module; UserError if there is none."""
    if values.get("family") is None:
        raise UserError("parameters: family is missing; write family: {value: filters}")
    try:
        return load_family(str(values["family"]))
    except UserError as error:
        raise UserError(f"parameters.{error}") from error


def repeats_of(values: dict[str, Any]) -> tuple[str, ...]:
    """Return the keys of a run over which its cell is repeated: the seed, and those that its family declares."""
    return (SEED, *(family_of(values).repeats if values.get("family") is not None else ()))


def check_keys(values: dict[str, Any]) -> None:
    """Raise a UserError where a run of a sweep would be several runs, or none."""
    for wrong in ("train.seeds", "train.seed", "seed", "seeds"):
        if wrong in values:
            raise UserError(f"parameters.{wrong}: a run of a sweep has one seed; sweep {SEED} instead")
