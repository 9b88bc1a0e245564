"""Bayes sweeps: what Optuna proposes, and that the ledger is all it needs."""

from __future__ import annotations

import math
import sys

import pytest
from rich.console import Console

from bestguess.command import UserError
from bestguess.sweep.bayes import propose, suggest
from bestguess.sweep.commands import sweep
from bestguess.sweep.ledger import Ledger
from bestguess.sweep.spec import parse_spec
from tests.sweep.conftest import flags, toy_yaml

TOP = "method: bayes\nrun_cap: 99\nmetric: {name: loss}\n"


def spec(parameters: str):
    return parse_spec(f"{TOP}parameters: {parameters}", "n", "f")


def test_proposals_come_near_the_optimum():
    one = spec(
        "{x: {min: -10.0, max: 10.0}, r: {distribution: log_uniform_values, min: 1e-5, max: 1.0}, c: {value: 5}}"
    )
    loss = lambda config: (config["x"] - 3) ** 2 + math.log10(config["r"] / 1e-2) ** 2  # noqa: E731
    told: list = []
    for round_ in range(12):
        for config in suggest(one, told, 5, seed=round_):
            assert config["c"] == 5
            told.append((config, loss(config)))
    # Draws at random have a mean of 40, the last no less than the first.
    first, last = told[:20], told[-20:]
    assert sum(v for _, v in last) < sum(v for _, v in first) / 2
    assert min(value for _, value in told) < 0.5


def test_every_kind_of_parameter_is_proposed_within_its_bounds():
    one = spec(
        "{a: {values: [[1, 2], [3]]}, b: {min: 2, max: 4}, c: {distribution: q_uniform, min: 0, max: 1, q: 0.25},"
        " d: {distribution: log_uniform, min: -1, max: 1}, e: {values: [x]}, f: {value: y}}"
    )
    told: list = []
    for round_ in range(6):
        told += [(config, None) for config in suggest(one, told, 5, seed=round_)]
    configs = [config for config, _ in told]
    assert {str(config["a"]) for config in configs} == {"[1, 2]", "[3]"}
    assert {config["b"] for config in configs} == {2, 3, 4}
    assert {config["c"] for config in configs} <= {0, 0.25, 0.5, 0.75, 1}
    assert all(math.exp(-1) <= config["d"] <= math.exp(1) for config in configs)
    assert {(config["e"], config["f"]) for config in configs} == {("x", "y")}


def test_proposals_are_a_function_of_seed_and_figures():
    one = spec("{x: {min: -10.0, max: 10.0}}")
    told = [({"x": float(i)}, float(i * i)) for i in range(-9, 10)]
    assert suggest(one, told, 3, seed=1) == suggest(one, told, 3, seed=1)
    assert suggest(one, told, 3, seed=1) != suggest(one, told, 3, seed=2)


def test_proposals_follow_the_distribution_that_was_asked_for():
    """Eight proposals at random, before the sampler has learnt anything: weighted, quantised, without bounds."""
    one = spec(
        "{w: {values: [0, 1], probabilities: [0.02, 0.98]}, n: {distribution: q_normal, mu: 100, sigma: 3},"
        " q: {distribution: q_uniform, min: 100, max: 500}, d: {distribution: q_log_uniform_values, min: 16, max: 512},"
        " x: {min: 0.0, max: 1.0}}"
    )
    found = [config for seed in range(20) for config in suggest(one, [], 8, seed=seed)]
    assert len(found) == 160
    assert sum(config["w"] for config in found) > 140
    assert all(type(config[key]) is int for config in found for key in ("n", "q", "d"))
    assert 97 < sum(config["n"] for config in found) / 160 < 103
    # They can all be told: what is rounded out of its bounds as well.
    assert len(suggest(one, [(config, 1.0) for config in found], 4, seed=0)) == 4


def test_no_run_is_proposed_twice():
    one = spec("{a: {values: [1, 2]}, b: {min: 1, max: 3}}")
    told: list = [(config, 1.0) for config in suggest(one, [], 4, seed=0)]
    told += [(config, 2.0) for config in suggest(one, told, 4, seed=1)]
    assert len(told) == len({str(config) for config, _ in told}) == 6


def test_without_optuna_the_mend_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        UserError, match=r"the package optuna is missing; .* `uv run --extra bayes bestguess`, or install optuna, or"
    ):
        suggest(spec("{x: {min: 0, max: 1}}"), [], 1, seed=0)


def test_a_bayes_sweep_runs_to_its_cap_in_rounds(tmp_path, marks):
    rate = {"distribution": "log_uniform_values", "min": 1e-3, "max": 0.1}
    path = toy_yaml(
        tmp_path, method="bayes", run_cap=5, metric={"name": "validation_loss"},
        train__learning_rate=rate, train__first_seed=[0, 1],
    )  # fmt: skip
    result = sweep(flags(path, ensemble=2), Console(quiet=True))
    assert (result["planned"], result["done"]) == (5, 5)
    ledger = Ledger(tmp_path / result["folder"])
    assert [len(round_.runs) for round_ in ledger.rounds()] == [2, 2, 1]
    assert [record["run"] for record in ledger.records()] == [f"{i:04d}" for i in range(5)]
    assert not propose(ledger)


def test_a_figure_that_there_is_not_is_told_before_anything_is_trained(tmp_path, marks):
    path = toy_yaml(
        tmp_path, method="bayes", run_cap=3, metric={"name": "los"}, train__learning_rate={"min": 0.01, "max": 0.1}
    )
    with pytest.raises(UserError, match=r"metric.name: a run of toy has no figure 'los'; did you mean loss\?"):
        sweep(flags(path, ensemble=1), Console(quiet=True))
    assert not (tmp_path / "runs").exists()


def test_a_figure_that_a_run_does_not_reach_counts_as_the_worst(tmp_path, marks):
    path = toy_yaml(
        tmp_path, method="bayes", run_cap=3, metric={"name": "sequences_to_score_1e+06"},
        train__learning_rate={"min": 0.01, "max": 0.1},
    )  # fmt: skip
    result = sweep(flags(path, ensemble=1), Console(quiet=True))
    assert result["done"] == 3
    one = spec("{x: {min: 0.0, max: 1.0}}")
    # With enough known, proposals keep away from where runs did not get there.
    told = [({"x": i / 40}, float(i) if i < 20 else math.inf) for i in range(40)]
    assert all(config["x"] < 0.5 for seed in range(4) for config in suggest(one, told, 2, seed=seed))


def test_a_random_sweep_without_a_cap_runs_as_many_as_are_asked_for(tmp_path, marks):
    path = toy_yaml(tmp_path, method="random", train__learning_rate={"min": 0.01, "max": 0.1}, train__first_seed=[0, 1])
    with pytest.raises(UserError, match="or with --runs"):
        sweep(flags(path, plan=True), Console(quiet=True))
    made = sweep(flags(path, plan=True, runs=3), Console(quiet=True))
    assert made["planned"] == 3
    path = toy_yaml(tmp_path, "few.yaml", method="bayes", metric={"name": "loss"}, train__first_seed=[0, 1])
    few = sweep(flags(path, runs=3), Console(quiet=True))
    assert (few["planned"], few["done"]) == (2, 2)
