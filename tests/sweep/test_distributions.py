"""Every distribution has W&B's meaning, whatever the method: `quantile` is its sampler's `ppf`, number by number."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestguess.command import UserError
from bestguess.sweep.distributions import (
    DISTRIBUTIONS,
    count,
    every_value,
    grid_values,
    identity,
    parse,
    quantile,
    rank,
)

AT = (0.013, 0.25, 0.5, 0.61, 0.987)
# What W&B's own sampler says, the package sweeps 0.3.0 (it wants numpy below 2, so it is no dependency):
#   [sweeps.params.HyperParameter("p", {"distribution": NAME, **ARGUMENTS}).ppf(u) for u in AT]
WANDB: list[tuple[str, dict, list]] = [
    ("int_uniform", {"min": 3, "max": 9}, [3, 4, 6, 7, 9]),
    ("uniform", {"min": -1.5, "max": 4.0}, [-1.4285, -0.125, 1.25, 1.855, 3.9285]),
    ("q_uniform", {"min": 8, "max": 64, "q": 8}, [8, 24, 32, 40, 64]),
    ("q_uniform", {"min": 50, "max": 250, "q": 100}, [100, 100, 200, 200, 200]),
    ("q_uniform", {"min": 0.1, "max": 0.9, "q": 0.25}, [0.0, 0.25, 0.5, 0.5, 1.0]),
    ("q_uniform", {"min": 100, "max": 500}, [105.0, 200.0, 300.0, 344.0, 495.0]),
    (
        "log_uniform",
        {"min": -7.0, "max": -3},
        [0.000960554342551, 0.00247875217667, 0.00673794699909, 0.0104620589434, 0.0472643011971],
    ),
    ("q_log_uniform", {"min": 1.0, "max": 5.0, "q": 3}, [3, 6, 21, 30, 141]),
    (
        "inv_log_uniform",
        {"min": -1.0, "max": 5.0},
        [0.00728454717363, 0.0301973834223, 0.135335283237, 0.26184566858, 2.51431399264],
    ),
    (
        "log_uniform_values",
        {"min": 1e-05, "max": 0.01},
        [1.09395636627e-05, 5.6234132519e-05, 0.000316227766017, 0.000676082975392, 0.0091411324147],
    ),
    ("q_log_uniform_values", {"min": 16, "max": 512}, [17.0, 38.0, 91.0, 133.0, 489.0]),
    ("q_log_uniform_values", {"min": 2, "max": 128, "q": 2.5}, [2.5, 5.0, 15.0, 25.0, 122.5]),
    (
        "inv_log_uniform_values",
        {"min": 0.001, "max": 20.0},
        [0.00113740043482, 0.01189207115, 0.141421356237, 0.420366692205, 17.5839567031],
    ),
    ("normal", {"mu": 5.0, "sigma": 2.0}, [0.547576461366, 3.65102049961, 5.0, 5.55863806889, 9.45242353863]),
    ("normal", {}, [-2.22621176932, -0.674489750196, 0.0, 0.279319034447, 2.22621176932]),
    ("q_normal", {"mu": 5.0, "sigma": 2.0, "q": 0.5}, [0.5, 3.5, 5.0, 5.5, 9.5]),
    (
        "log_normal",
        {"mu": 1.0, "sigma": 0.5},
        [0.89305609417, 1.94013027892, 2.71828182846, 3.12570393563, 8.27389919532],
    ),
    ("q_log_normal", {"mu": 2.0, "sigma": 0.7, "q": 1}, [2, 5, 7, 9, 35]),
    ("beta", {"a": 2.0, "b": 5.0}, [0.0306762591133, 0.16116291679, 0.264449983296, 0.314210713186, 0.688650269446]),
    ("q_beta", {"a": 2.0, "b": 5.0, "q": 0.1}, [0.0, 0.2, 0.3, 0.3, 0.7]),
    (
        "categorical_w_probabilities",
        {"values": [0.1, 0.001, 7], "probabilities": [0.01, 0.49, 0.5]},
        [0.001, 0.001, 7, 7, 7],
    ),
    ("categorical_w_probabilities", {"values": [3, 5, 8], "probabilities": [0.25, 0.0, 0.75]}, [3, 8, 8, 8, 8]),
]


@pytest.mark.parametrize(("name", "arguments", "expected"), WANDB)
def test_a_quantile_is_that_of_wandbs_sampler(name, arguments, expected):
    parameter = parse({"distribution": name, **arguments}, "p")
    assert [quantile(parameter, u) for u in AT] == pytest.approx(expected, rel=1e-9)


def test_every_distribution_is_compared_with_wandbs():
    assert {name for name, *_ in WANDB} | {"constant", "categorical"} == set(DISTRIBUTIONS)
    letters = parse({"values": ["a", "b", "c"]}, "p")
    assert [quantile(letters, u) for u in (0.0, 0.33, 0.34, 0.99, 1.0)] == ["a", "a", "b", "c", "c"]


def test_a_grid_over_a_range_with_steps_is_wandbs():
    """Its grid is numpy.arange(min, max, q): from min, below max, whatever are the multiples of q."""
    values = lambda **of: list(grid_values("p", parse({"distribution": "q_uniform", **of}, "p")))  # noqa: E731
    assert values(min=50, max=250, q=100) == [50, 150]
    assert values(min=120, max=260, q=100) == [120, 220]
    assert values(min=200, max=202) == [200, 201]
    assert all(isinstance(one, int) for one in values(min=200, max=202))
    assert values(min=0.5, max=2, q=0.5) == [0.5, 1.0, 1.5]


@pytest.mark.parametrize(("name", "arguments", "_"), [one for one in WANDB if one[0] != "int_uniform"])
@given(u=st.floats(1e-6, 1 - 1e-6))
@settings(max_examples=15)
def test_a_rank_has_the_value_that_it_is_of(name, arguments, _, u):
    parameter = parse({"distribution": name, **arguments}, "p")
    value = quantile(parameter, u)
    found = rank(parameter, value)
    assert 0 <= found <= 1
    # A multiple of q below the range is a draw, and has no u of its own: the nearest in the range has.
    assert abs(quantile(parameter, found) - value) <= max(
        1e-6 * abs(value), arguments.get("q", 1) if "q_" in name else 0
    )


@pytest.mark.parametrize(("name", "arguments", "_"), WANDB)
def test_what_can_be_listed_is_what_can_be_drawn(name, arguments, _):
    parameter = parse({"distribution": name, **arguments}, "p")
    if (number := count(parameter)) is None:
        return
    listed = [identity({"p": value}) for value in every_value(parameter)]
    drawn = {identity({"p": quantile(parameter, i / 5000)}) for i in range(5001)}
    assert len(listed) == len(set(listed)) == number
    assert drawn <= set(listed)


def test_whole_multiples_are_whole_numbers():
    for name, more in (("q_uniform", {"min": 8, "max": 64, "q": 8}), ("q_log_uniform_values", {"min": 2, "max": 128})):
        parameter = parse({"distribution": name, **more}, "p")
        assert all(type(quantile(parameter, i / 50)) is int for i in range(51))


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ({"distribution": "log_uniform", "min": 1e-4, "max": 1000}, "write log_uniform_values"),
        ({"distribution": "inv_log_uniform", "min": -1000, "max": 0}, "write inv_log_uniform_values"),
        ({"distribution": "log_normal", "mu": 500, "sigma": 300}, "beyond any number"),
        ({"min": -1e308, "max": 1e308}, "farther than numbers reach"),
        ({"distribution": "uniform", "min": 0, "max": 10**400}, "is not a number"),
        ({"values": [0, 0.0]}, "a value is listed twice"),
        ({"distribution": "beta", "a": 0, "b": 1}, "a: 0 must be positive"),
        ({"distribution": ["uniform"], "min": 0, "max": 1}, "no distribution"),
    ],
)
def test_what_no_number_can_hold_is_refused(given_, told):
    with pytest.raises(UserError, match=told):
        parse(given_, "p")


def test_equal_numbers_are_one_value_and_true_is_none():
    assert identity({"a": 0, "b": [1, 2.0]}) == identity({"b": [1.0, 2], "a": 0.0})
    assert len({identity({"a": value}) for value in (1, True, "1", [1], None, math.pi)}) == 6
