"""The best learning rate of every cell, chosen on validation data, with what it scores on test data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bestguess.command import UserError
from bestguess.sweep.keys import RATE, VALIDATION, is_number, repeats_of
from bestguess.workflow.select import best_rate

ANEW = "; remove that record to train the run anew"


def best_of_cells(records: list[dict[str, Any]], reported: str) -> list[dict[str, Any]]:
    """Return, for each cell of a sweep, its learning rate and the mean of `reported` over seeds with its error.

    UserError for a record that lacks one of the two.

    The rate is the one of the lowest mean validation loss among those with the most seeds done, so that no
    rate wins by the seeds that it lacks. `edge` says that it is the lowest or highest tried: the best may lie beyond.
    """
    for record in records:
        for name in (VALIDATION, reported):
            if not is_number(record["metrics"].get(name)):
                raise UserError(f"run {record['run']}: {name}: no number in its figures")
    cells: dict[tuple, list[dict[str, Any]]] = {}
    apart = (RATE, *(repeats_of(records[0]["config"]) if records else ()))
    for record in records:
        key = tuple(sorted((k, str(v)) for k, v in record["config"].items() if k not in apart))
        cells.setdefault(key, []).append(record)
    found = []
    for members in cells.values():
        # By seed: a run that was trained twice is no second seed.
        rates: dict[Any, dict[Any, dict[str, Any]]] = {}
        for record in members:
            seeds = tuple(record["config"].get(key) for key in apart[1:])
            rates.setdefault(record["config"].get(RATE), {}).setdefault(seeds, record)
        rate = best_rate({one: [run["metrics"][VALIDATION] for run in own.values()] for one, own in rates.items()})
        count = len(rates[rate])
        figures = np.array([run["metrics"][reported] for run in rates[rate].values()], float)
        found.append(
            {
                "config": {k: v for k, v in members[0]["config"].items() if k not in apart},
                "learning_rate": rate,
                "edge": len(rates) > 1 and rate in (min(rates), max(rates)),
                reported: float(figures.mean()),
                "standard_error_over_seeds": float(figures.std(ddof=1) / math.sqrt(count)) if count > 1 else None,
                "seeds": count,
            }
        )
    return found
