"""Grids and random draws."""

from __future__ import annotations

import math

import pytest

from bestguess.command import UserError
from bestguess.sweep.draw import combinations, draw, grid
from bestguess.sweep.spec import parse_spec


def spec(parameters: str, method: str = "random", cap: int | None = 1):
    return parse_spec(
        f"method: {method}\n" + f"run_cap: {cap}\n" * (cap is not None) + f"parameters: {parameters}", "n", "f"
    )


def test_a_grid_is_the_product_the_last_key_fastest():
    made = grid(spec("{a: {values: [1, 2]}, b: {value: x}, c: {min: 3, max: 5}}", "grid", None))
    assert made == [{"a": a, "b": "x", "c": c} for a in (1, 2) for c in (3, 4, 5)]
    assert grid(spec("{a: {values: [1, 2]}, c: {min: 3, max: 5}}", "grid", 4)) == [
        {"a": 1, "c": 3}, {"a": 1, "c": 4}, {"a": 1, "c": 5}, {"a": 2, "c": 3},
    ]  # fmt: skip
    stepped = grid(spec("{a: {distribution: q_uniform, min: 0, max: 1, q: 0.25}}", "grid", None))
    assert [one["a"] for one in stepped] == [0, 0.25, 0.5, 0.75]


def test_a_grid_over_a_range_without_steps_is_refused():
    with pytest.raises(UserError, match=r"parameters.a: a grid takes values, not uniform"):
        grid(spec("{a: {min: 0.5, max: 1}}", "grid", None))


ALL = """{
  constant: {value: 7}, categorical: {values: [1, 2, 3]}, weighted: {values: [0, 1], probabilities: [0.9, 0.1]},
  whole: {min: 2, max: 4}, uniform: {min: 1.0, max: 3.0}, q_uniform: {distribution: q_uniform, min: 0, max: 1, q: 0.25},
  log_e: {distribution: log_uniform, min: 0, max: 2}, log: {distribution: log_uniform_values, min: 1e-4, max: 1.0},
  q_log: {distribution: q_log_uniform_values, min: 1, max: 64, q: 4}, normal: {distribution: normal, mu: 5, sigma: 2},
  q_normal: {distribution: q_normal, mu: 5, sigma: 2, q: 0.5}, log_normal: {distribution: log_normal, mu: 1, sigma: 0.5}
}"""


@pytest.fixture(scope="module")
def drawn():
    made = draw(spec(ALL), 4000, seed=3)
    return {key: [one[key] for one in made] for key in made[0]}


def test_draws_have_the_range_that_was_asked_for(drawn):
    assert set(drawn["constant"]) == {7}
    assert set(drawn["categorical"]) == {1, 2, 3}
    assert set(drawn["whole"]) == {2, 3, 4}
    assert set(drawn["q_uniform"]) == {0, 0.25, 0.5, 0.75, 1}
    assert 1 <= min(drawn["uniform"]) < 1.01 < 2.99 < max(drawn["uniform"]) <= 3
    assert 1 <= min(drawn["log_e"]) < 1.01 < 7.3 < max(drawn["log_e"]) <= math.exp(2)
    assert 1e-4 <= min(drawn["log"]) < 1.1e-4 < 0.9 < max(drawn["log"]) <= 1
    assert all(value % 4 == 0 for value in drawn["q_log"])
    assert all(value * 2 == round(value * 2) for value in drawn["q_normal"])


def test_draws_have_the_mean_that_was_asked_for(drawn):
    # Each bound is five standard errors of the mean of 4,000 draws.
    mean = lambda values: sum(values) / len(values)  # noqa: E731
    assert mean(drawn["weighted"]) == pytest.approx(0.1, abs=5 * 0.3 / 63)
    assert mean(drawn["uniform"]) == pytest.approx(2, abs=5 * 0.577 / 63)
    assert mean([math.log10(x) for x in drawn["log"]]) == pytest.approx(-2, abs=5 * 1.155 / 63)
    assert mean(drawn["normal"]) == pytest.approx(5, abs=5 * 2 / 63)
    assert mean([math.log(x) for x in drawn["log_normal"]]) == pytest.approx(1, abs=5 * 0.5 / 63)


def test_draws_are_a_function_of_seed_number_and_key():
    few, many = draw(spec(ALL), 3, seed=1), draw(spec(ALL), 5, seed=1)
    assert many[:3] == few
    assert many[0] != many[1]
    assert draw(spec(ALL), 3, seed=2) != few
    alone = draw(spec("{uniform: {min: 1.0, max: 3.0}}"), 3, seed=1)
    assert [one["uniform"] for one in alone] == [one["uniform"] for one in few]


def test_no_run_is_drawn_twice():
    few = spec("{a: {values: [1, 2]}, b: {values: [x, y], probabilities: [0.001, 0.999]}, c: {value: 3}}")
    assert len({str(one) for one in draw(few, 3, seed=0)}) == 3
    assert [len(draw(few, 99, seed=seed)) for seed in range(5)] == [4] * 5  # x, too, which one in a thousand has
    assert draw(few, 99, seed=1)[:2] == draw(few, 2, seed=1)
    assert combinations(few) == 4
    assert combinations(spec("{a: {min: 1, max: 5}, b: {distribution: q_uniform, min: 0, max: 1, q: 0.5}}")) == 15
    assert combinations(spec("{a: {min: 0.5, max: 5}, b: {values: [1, 2]}}")) is None


def test_a_grid_without_end_is_refused_before_it_is_made():
    endless = "{a: {min: 0, max: 1000000000}, b: {min: 0, max: 1000000000}}"
    with pytest.raises(UserError, match=r"parameters.a: the grid has more than 1,000,000 runs"):
        grid(spec(endless, "grid", None))
    with pytest.raises(UserError, match=r"parameters.a: the grid has 1,002,001 runs"):
        grid(spec("{a: {min: 0, max: 1000}, b: {min: 0, max: 1000}}", "grid", None))
    assert grid(spec(endless, "grid", 2)) == [{"a": 0, "b": 0}, {"a": 0, "b": 1}]
