"""The runs of a grid and of a random sweep, as mappings from dotted key to value. Imports nothing heavy."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

from bestguess.command import UserError
from bestguess.sweep.spec import Parameter, Spec


def grid(spec: Spec) -> list[dict[str, Any]]:
    """Return every combination of the parameters' values, the last parameter changing fastest."""
    values = {key: _all_values(key, parameter) for key, parameter in spec.parameters.items()}
    combinations = itertools.islice(itertools.product(*values.values()), spec.run_cap)
    return [dict(zip(values, combination)) for combination in combinations]


def draw(spec: Spec, count: int, seed: int) -> list[dict[str, Any]]:
    """Return `count` random draws of the parameters, a function of `seed`."""
    # One stream for each run and key: neither a longer sweep nor another key moves a draw.
    return [
        {key: _draw(parameter, random.Random(f"{seed} {i} {key}")) for key, parameter in spec.parameters.items()}
        for i in range(count)
    ]


def _all_values(key: str, parameter: Parameter) -> list[Any]:
    given = parameter.arguments
    match parameter.distribution:
        case "constant":
            return [given["value"]]
        case "categorical":
            return list(given["values"])
        case "int_uniform":
            return list(range(given["min"], given["max"] + 1))
        case "q_uniform":
            first, last = (round(given[end] / given["q"]) for end in ("min", "max"))
            return [i * given["q"] for i in range(first, last + 1)]
        case other:
            raise UserError(f"parameters.{key}: a grid takes values, not {other}; or choose method: random")


def _draw(parameter: Parameter, rng: random.Random) -> Any:
    given = parameter.arguments
    match parameter.distribution:
        case "constant":
            return given["value"]
        case "categorical":
            return rng.choice(given["values"])
        case "categorical_w_probabilities":
            return rng.choices(given["values"], given["probabilities"])[0]
        case "int_uniform":
            return rng.randint(given["min"], given["max"])
        case "uniform":
            return rng.uniform(given["min"], given["max"])
        case "q_uniform":
            return _rounded(rng.uniform(given["min"], given["max"]), given["q"])
        case "log_uniform":  # W&B's bounds are the logarithms here
            return math.exp(rng.uniform(given["min"], given["max"]))
        case "log_uniform_values":
            return math.exp(rng.uniform(math.log(given["min"]), math.log(given["max"])))
        case "q_log_uniform_values":
            return _rounded(math.exp(rng.uniform(math.log(given["min"]), math.log(given["max"]))), given["q"])
        case "normal":
            return rng.gauss(given["mu"], given["sigma"])
        case "q_normal":
            return _rounded(rng.gauss(given["mu"], given["sigma"]), given["q"])
        case "log_normal":
            return math.exp(rng.gauss(given["mu"], given["sigma"]))
        case other:
            raise AssertionError(other)


def _rounded(value: float, q: float) -> float:
    value = round(value / q) * q
    return int(value) if isinstance(q, int) or float(q).is_integer() else value
