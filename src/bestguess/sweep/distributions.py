"""What a parameter of a sweep may be, with the meaning that W&B gives it. Imports nothing heavy.

Every distribution is its quantile function, W&B's own (`sweeps.params.HyperParameter.ppf`), so a random sweep and a
bayes sweep draw from one and the same: the first at a uniform u, the second at the u that its sampler proposes.
The documented formulas: https://docs.wandb.ai/models/sweeps/sweep-config-keys#distribution-options-for-random-and-bayesian-search
"""

from __future__ import annotations

import bisect
import itertools
import math
import numbers
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bestguess.command import UserError, nearest

# What each distribution takes, besides `distribution` itself, and its default; None: no default.
_BOUNDS: dict[str, float | None] = {"min": None, "max": None}
_NORMAL: dict[str, float | None] = {"mu": 0.0, "sigma": 1.0}
_BETA: dict[str, float | None] = {"a": 1.0, "b": 1.0}
_Q: dict[str, float | None] = {"q": 1.0}
DISTRIBUTIONS: dict[str, dict[str, float | None]] = {
    "constant": {"value": None},
    "categorical": {"values": None},
    "categorical_w_probabilities": {"values": None, "probabilities": None},
    "int_uniform": _BOUNDS,
    "uniform": _BOUNDS,
    "q_uniform": _BOUNDS | _Q,
    "log_uniform": _BOUNDS,
    "q_log_uniform": _BOUNDS | _Q,
    "inv_log_uniform": _BOUNDS,
    "log_uniform_values": _BOUNDS,
    "q_log_uniform_values": _BOUNDS | _Q,
    "inv_log_uniform_values": _BOUNDS,
    "normal": _NORMAL,
    "q_normal": _NORMAL | _Q,
    "log_normal": _NORMAL,
    "q_log_normal": _NORMAL | _Q,
    "beta": _BETA,
    "q_beta": _BETA | _Q,
}
_LARGEST = 709.0
"""e to more than that is beyond a number."""
_FARTHEST = 9.0
"""Standard deviations that a normal draw keeps within."""


@dataclass(frozen=True)
class Parameter:
    """What one key may be."""

    distribution: str
    arguments: Mapping[str, Any]

    @property
    def varies(self) -> bool:
        """Whether it can take more than one value."""
        return count(self) != 1

    @property
    def kind(self) -> str:
        """The distribution before it is rounded to multiples of q."""
        return self.distribution.removeprefix("q_")


def quantile(parameter: Parameter, u: float) -> Any:
    """Return the parameter's value at u in [0, 1]: at a uniform u, a draw of it."""
    given = parameter.arguments
    match parameter.distribution:
        case "constant":
            return given["value"]
        case "categorical":
            return given["values"][min(int(u * len(given["values"])), len(given["values"]) - 1)]
        case "categorical_w_probabilities":
            values, until = _weighted(given)
            return values[min(bisect.bisect_right(until, u), len(values) - 1)]
        case "int_uniform":
            return given["min"] + min(int(u * (given["max"] - given["min"] + 1)), given["max"] - given["min"])
    value = _continuous(parameter, u)
    return rounded(value, given["q"]) if "q" in given else value


def rank(parameter: Parameter, value: Any) -> float:
    """Return a u in [0, 1] at which the parameter has this value, or after rounding, a value as near as can be."""
    given = parameter.arguments
    if parameter.distribution == "categorical_w_probabilities":
        values, until = _weighted(given)
        place = values.index(value)
        return (until[place] + (until[place - 1] if place else 0.0)) / 2
    low, high = 0.0, 1.0  # every quantile function rises: halve
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _continuous(parameter, middle) < value else (low, middle)
    return (low + high) / 2


def rounded(value: float, q: float) -> float:
    """Return the multiple of q nearest to a value; a whole number where q is one."""
    value = round(value / q) * q
    return int(value) if float(q).is_integer() else value


def count(parameter: Parameter) -> int | None:
    """Return how many values the parameter can take; None where they cannot be listed."""
    given = parameter.arguments
    match parameter.distribution:
        case "constant":
            return 1
        case "categorical":
            return len(given["values"])
        case "categorical_w_probabilities":
            return len(_weighted(given)[0])
        case "int_uniform":
            return given["max"] - given["min"] + 1
        case "q_uniform" | "q_log_uniform" | "q_log_uniform_values" | "q_beta":
            first, last = _multiples(parameter)
            return last - first + 1
    return 1 if given.get("sigma") == 0 else None


def every_value(parameter: Parameter) -> Iterable[Any]:
    """Return all values of a parameter that has a `count`."""
    given = parameter.arguments
    match parameter.distribution:
        case "categorical":
            return list(given["values"])
        case "categorical_w_probabilities":
            return _weighted(given)[0]
        case "int_uniform":
            return range(given["min"], given["max"] + 1)
        case "q_uniform" | "q_log_uniform" | "q_log_uniform_values" | "q_beta":
            first, last = _multiples(parameter)
            return (rounded(i * given["q"], given["q"]) for i in range(first, last + 1))
    return [quantile(parameter, 0.5)]


def grid_values(key: str, parameter: Parameter) -> Iterable[Any]:
    """Return the values that a grid goes through; of a range with q: min, min + q, … below max, as W&B's grid does."""
    given = parameter.arguments
    match parameter.distribution:
        case "constant" | "categorical" | "int_uniform":
            return every_value(parameter)
        case "q_uniform":
            whole = all(float(given[one]).is_integer() for one in ("min", "q"))
            values = (
                given["min"] + i * given["q"] for i in range(math.ceil((given["max"] - given["min"]) / given["q"]))
            )
            return (int(value) if whole else value for value in values)
        case other:
            raise UserError(f"parameters.{key}: a grid takes values, not {other}; or choose method: random")


def parse(data: dict[str, Any], where: str) -> Parameter:
    """Return the parameter that a mapping of a sweep's YAML describes; UserError begins with `where`."""
    name = data.get("distribution") or _implied(data)
    if not isinstance(name, str) or name not in DISTRIBUTIONS:
        raise UserError(
            f"{where}: give value, values, or min and max"
            if name is None
            else f"{where}: no distribution {name!r}{nearest(str(name), DISTRIBUTIONS)}"
        )
    known = DISTRIBUTIONS[name]
    given = {key: value for key, value in data.items() if key != "distribution"}
    for key in given:
        if key not in known:
            raise UserError(f"{where}.{key}: not a key of {name}{nearest(str(key), known)}")
    arguments = {key: given.get(key, default) for key, default in known.items()}
    for key, value in arguments.items():
        if key not in given and value is None:
            raise UserError(f"{where}: {name} needs {key}")
        whole = name == "int_uniform"
        if key not in ("value", "values", "probabilities") and not _is_number(value, whole):
            raise UserError(f"{where}.{key}: {value!r} is not a {'whole ' * whole}number")
    _check(name, arguments, where)
    return Parameter(name, arguments)


def notes_of(key: str, parameter: Parameter) -> list[str]:
    """Return what is likely not meant: logarithms that look like values."""
    given = parameter.arguments
    if parameter.kind != "log_uniform" or given["min"] <= 0:
        return []
    low, high = (math.exp(given[end]) for end in ("min", "max"))
    return [
        f"parameters.{key}: the bounds of {parameter.distribution} are natural logarithms, so it draws from {low:.4g} "
        f"to {high:.4g}; for values from {given['min']} to {given['max']} write {parameter.distribution}_values"
    ]


def identity(values: Mapping[str, Any]) -> str:
    """Return a text that is equal for equal runs: 0 and 0.0 are one number, true is none."""
    return ", ".join(f"{key}={_same(value)!r}" for key, value in sorted(values.items()))


def _same(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_same(one) for one in value]
    if isinstance(value, dict):
        return {key: _same(one) for key, one in sorted(value.items())}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _continuous(parameter: Parameter, u: float) -> float:
    """The value at u before it is rounded to multiples of q."""
    given = parameter.arguments
    between = lambda low, high: low + u * (high - low)  # noqa: E731
    match parameter.kind:
        case "uniform":
            return between(given["min"], given["max"])
        case "log_uniform":
            return math.exp(between(given["min"], given["max"]))
        case "inv_log_uniform":
            return math.exp(-between(given["max"], given["min"]))
        case "log_uniform_values" | "inv_log_uniform_values":
            return math.exp(between(math.log(given["min"]), math.log(given["max"])))
        case "normal":
            return given["mu"] + given["sigma"] * _standard_normal(u)
        case "log_normal":
            return math.exp(given["mu"] + given["sigma"] * _standard_normal(u))
        case "beta":
            from scipy.special import betaincinv

            return float(betaincinv(given["a"], given["b"], u))
        case other:
            raise AssertionError(other)


def _standard_normal(u: float) -> float:
    return statistics.NormalDist().inv_cdf(min(max(u, 1e-19), 1 - 2**-53))


def _weighted(given: Mapping[str, Any]) -> tuple[list[Any], list[float]]:
    """The values that can be drawn, and up to which u each of them is."""
    pairs = [(value, share) for value, share in zip(given["values"], given["probabilities"]) if share > 0]
    return [value for value, _ in pairs], list(itertools.accumulate(share for _, share in pairs))


def _multiples(parameter: Parameter) -> tuple[int, int]:
    """The first and the last multiple of q that a range with q can take."""
    first, last = (round(_continuous(parameter, end) / parameter.arguments["q"]) for end in (0.0, 1.0))
    return first, last


def _check(name: str, given: dict[str, Any], where: str) -> None:
    if "values" in given:
        values = given["values"]
        if not isinstance(values, list) or not values:
            raise UserError(f"{where}.values: expected a list of at least one value, found {values!r}")
        if len({identity({"": value}) for value in values}) < len(values):
            raise UserError(f"{where}.values: a value is listed twice in {values}")
    if "probabilities" in given:
        shares = given["probabilities"]
        fits = isinstance(shares, list) and len(shares) == len(given["values"])
        if not fits or not all(_is_number(p) and p >= 0 for p in shares) or not math.isclose(sum(shares), 1.0):
            raise UserError(f"{where}.probabilities: expected one for each value, with sum 1, found {shares!r}")
    for key in ("q", "a", "b"):
        if given.get(key, 1) <= 0:
            raise UserError(f"{where}.{key}: {given[key]} must be positive")
    if given.get("sigma", 0) < 0:
        raise UserError(f"{where}.sigma: {given['sigma']} must not be negative")
    if "min" in given:
        _check_bounds(name, given["min"], given["max"], where)
    if name.endswith("log_normal") and given["mu"] + _FARTHEST * given["sigma"] > _LARGEST:
        raise UserError(
            f"{where}: mu {given['mu']} and sigma {given['sigma']} are of the value's natural logarithm, and "
            f"e^(mu + {_FARTHEST:g} sigma) is beyond any number; give the logarithm's own mean and spread"
        )


def _check_bounds(name: str, low: float, high: float, where: str) -> None:
    if low >= high:
        raise UserError(f"{where}: min {low} must be below max {high}")
    if name.endswith("log_uniform_values") and low <= 0:
        raise UserError(f"{where}.min: {low} must be positive, to have a logarithm")
    if name.endswith("log_uniform") and (power := -low if name.startswith("inv_") else high) > _LARGEST:
        raise UserError(
            f"{where}: the bounds of {name} are natural logarithms, and e^{power:g} is beyond any number; for values "
            f"from {low} to {high} write {name}_values"
        )
    if not math.isfinite(float(high) - float(low)):
        raise UserError(f"{where}: from {low} to {high} is farther than numbers reach; give nearer bounds")


def _implied(data: dict[str, Any]) -> str | None:
    """The distribution that W&B takes where none is named."""
    if "value" in data:
        return "constant"
    if "values" in data:
        return "categorical_w_probabilities" if "probabilities" in data else "categorical"
    if "min" in data and "max" in data:
        return "int_uniform" if all(isinstance(data[key], int) for key in ("min", "max")) else "uniform"
    return None


def _is_number(value: Any, whole: bool = False) -> bool:
    kind = numbers.Integral if whole else numbers.Real
    if not isinstance(value, kind) or isinstance(value, bool):
        return False
    return abs(value) <= 1e308  # type: ignore[operator]
