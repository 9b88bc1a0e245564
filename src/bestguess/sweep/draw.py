"""The runs of a grid and of a random sweep, as mappings from dotted key to value. Imports nothing heavy."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from typing import Any

from bestguess.command import UserError
from bestguess.sweep.distributions import count, every_value, grid_values, identity, quantile
from bestguess.sweep.keys import MOST_RUNS
from bestguess.sweep.spec import Spec

_IN_VAIN = 1000
"""Draws in a row that repeat others, after which those that are left are taken in order."""


def grid(spec: Spec) -> list[dict[str, Any]]:
    """Return every combination of the parameters' values, the last parameter changing fastest."""
    most = MOST_RUNS + 1 if spec.run_cap is None else spec.run_cap
    # Of a key's values, the first so many are all that the first so many combinations can have.
    values = {
        key: list(itertools.islice(grid_values(key, parameter), most)) for key, parameter in spec.parameters.items()
    }
    if spec.run_cap is None and (runs := math.prod(map(len, values.values()))) > MOST_RUNS:
        widest = max(values, key=lambda key: len(values[key]))
        told = f"{runs:,}" if all(len(one) < most for one in values.values()) else f"more than {MOST_RUNS:,}"
        raise UserError(
            f"parameters.{widest}: the grid has {told} runs, and a sweep at most {MOST_RUNS:,}; give fewer values, "
            "or a run_cap"
        )
    return [dict(zip(values, one)) for one in itertools.islice(itertools.product(*values.values()), most)]


def draw(spec: Spec, number: int, seed: int) -> list[dict[str, Any]]:
    """Return `number` random draws of the parameters, a function of `seed`: all different, so fewer if there are."""
    return list(itertools.islice(others(spec, seed, set()), number))


def others(spec: Spec, seed: int, seen: set[str]) -> Iterator[dict[str, Any]]:
    """Yield draws whose `identity` is not among `seen`, which grows by them, until there are no others.

    A run that is drawn twice would be trained twice, and counted as two seeds.
    """
    total = combinations(spec)
    in_vain = 0
    for i in itertools.count():
        if in_vain > _IN_VAIN or (total is not None and len(seen) >= total):
            break
        # One stream for each run and key: neither a longer sweep nor another key moves a draw.
        one = {
            key: quantile(parameter, random.Random(f"{seed} {i} {key}").random())
            for key, parameter in spec.parameters.items()
        }
        if (found := identity(one)) in seen:
            in_vain += 1
            continue
        in_vain = 0
        seen.add(found)
        yield one
    if total is None or len(seen) >= total:
        return
    for values in itertools.product(*(every_value(parameter) for parameter in spec.parameters.values())):
        one = dict(zip(spec.parameters, values))
        if (found := identity(one)) not in seen:
            seen.add(found)
            yield one


def combinations(spec: Spec) -> int | None:
    """Return how many different runs the parameters can make; None where they cannot be listed."""
    counts = [count(parameter) for parameter in spec.parameters.values()]
    return None if None in counts else math.prod(one for one in counts if one is not None)
