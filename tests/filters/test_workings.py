"""What the filters family gives the rest of the package: configs of single runs, members, figures, the self-test."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from bestguess.command import UserError
from bestguess.config import run_of_single, shape_key
from bestguess.filters import evaluate
from bestguess.filters.config import FiltersConfig, small
from bestguess.filters.family import FAMILY
from bestguess.filters.task import FilterTask, system_of
from bestguess.sweep.train import figures_of
from bestguess.workflow.training import Training, make_training, slice_of

TINY = {
    "task": {"latent_dim": 3, "length": 8},
    "model": {"layers": 1, "d_model": 4, "heads": 2},
    "rollout": {"context": 4, "horizons": [1, 2], "rollouts": 3},
    "test_sequences": 5,
}


def config(**rooms) -> FiltersConfig:
    values = {key: dict(room) if isinstance(room, dict) else room for key, room in TINY.items()}
    for room, keys in rooms.items():
        values[room] = values.get(room, {}) | keys
    return FAMILY.single(values)


def training_of(*configs: FiltersConfig) -> Training:
    return make_training(FAMILY, Path(), [run_of_single(one, i) for i, one in enumerate(configs)])


def test_values_stand_in_place_of_the_presets():
    made = FAMILY.single({"preset": "small", "task": {"lambda": 0.5}, "train": {"learning_rate": "1e-4"}})
    assert made.task.lambda_ == (0.5,)
    assert made.train.learning_rate == (1e-4,)
    assert made.task.length == small().task.length
    assert made.train.steps == small().train.steps
    assert FAMILY.single({}) == FiltersConfig()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"preset": "smal"}, "did you mean small?"),
        ({"task": {"structure": ["dense", "rotated"]}}, "structure: a run of a sweep has one value"),
        ({"train": {"seeds": 2}}, "learning_rate: a run of a sweep has one value"),
        ({"task": 3}, "task"),
    ],
)
def test_a_config_that_is_off_is_told(values, told):
    with pytest.raises(UserError, match=None) as error:
        FAMILY.single(values)
    assert told in str(error.value)


def test_runs_share_a_shape_if_they_differ_in_arrays_alone():
    shape = shape_key(config())
    same = [
        {"task": {"lambda": 0.3}}, {"task": {"structure": "dense"}}, {"task": {"sigma": 2.0}},
        {"task": {"condition": 3.0}}, {"train": {"learning_rate": 0.5}}, {"train": {"first_seed": 9}},
    ]  # fmt: skip
    other = [
        {"task": {"observed_dim": 1}},
        {"model": {"patch": 2}},
        {"train": {"steps": 999}},
        {"model": {"layers": 2}},
    ]
    assert {shape_key(config(**one)) for one in same} == {shape}
    assert len({shape, *(shape_key(config(**one)) for one in other)}) == 5


def test_members_are_those_of_the_runs_in_their_order():
    settings = [(0.9, "dense", 1, 1e-3), (0.5, "diagonal", 0, 1e-2), (0.9, "dense", 1, 1e-2)]
    configs = [
        config(task={"lambda": lambda_, "structure": s}, train={"first_seed": seed, "learning_rate": rate})
        for lambda_, s, seed, rate in settings
    ]
    training = training_of(*configs)
    members = training.members
    assert dataclasses.replace(training.config, learning_rate=(), first_seed=0) == dataclasses.replace(
        configs[1].train, learning_rate=(), first_seed=0
    )
    assert np.asarray(members.seed).tolist() == [1, 0, 1]
    np.testing.assert_allclose(members.learning_rate, [1e-3, 1e-2, 1e-2])
    for i, one in enumerate(configs):
        alone = FilterTask(system_of(one.task, one.train.first_seed), 8, 1)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[i], b), members.task, alone)  # noqa: B023
    assert training.tasks[0] is training.tasks[2]  # a system is drawn once for all learning rates
    assert training.tasks[0] is not training.tasks[1]


def with_untrained(training: Training, key: int = 0) -> Training:
    """The training as if its first run had learnt nothing."""
    model = training.problem.init(slice_of(training.members.task, 0), jax.random.key(key))
    return dataclasses.replace(training, learnt=SimpleNamespace(best=jax.tree.map(lambda leaf: leaf[None], model)))


def test_a_score_has_every_figure_of_the_experiments():
    training = with_untrained(training_of(config(task={"lambda": 0.9}, train={"batch_size": 4})))
    curve = [
        {"step": 10, "sequences": 40, "skill": 0.5, "normalised_loss": 1.01},
        {"step": 20, "sequences": 80, "skill": 0.95, "normalised_loss": 1.0001},
    ]
    score = figures_of(training, 0, curve)
    assert score["normalised_loss"] > 1
    assert 40 < score["sequences_to_skill_0.9"] < 80
    assert score["sequences_to_skill_0.99"] is None
    # Half way between 1 % and 0.01 %, on a scale of digits.
    assert score["sequences_to_excess_0.001"] == pytest.approx(40 * 2**0.5, rel=0.02)
    assert set(score["rollout"]) == {"1", "2"}
    assert set(score["rollout"]["2"]) == {"normalised_loss", "standard_error", "skill", "headroom"}
    assert score["self_test"] <= 1e-6


@pytest.mark.parametrize(("patch", "normalisation"), [(1, "none"), (2, "input"), (4, "instance")])
@pytest.mark.parametrize("structure", ["diagonal", "diagonal-real", "rotated", "dense"])
def test_the_self_test_passes_where_all_is_well(patch, normalisation, structure):
    """Making an evaluator is its self-test; the figures that it then gives are of all parts."""
    one = config(
        task={"structure": structure, "lambda": 0.97},
        model={"patch": patch, "normalisation": normalisation},
        rollout={"context": 4, "horizons": [1, 3]},
    )
    training = training_of(one)
    evaluator = training.evaluator(0)
    assert 0 <= evaluator.missed <= 1e-6
    exact = FAMILY.works.oracle(one, training.tasks[0])
    measured = evaluator.measured(evaluator(exact))
    assert [row.name for row in measured] == ["one step ahead" if patch == 1 else "one patch ahead", "t+1", "t+3"]
    assert all(abs(row.regret) <= 1e-6 * row.floor for row in measured)
    assert [row.sequences for row in measured] == [5, 3, 3]
    assert all(row.ceiling > row.floor for row in measured)


def test_runs_of_one_task_share_its_self_test():
    training = training_of(*(config(train={"learning_rate": rate, "first_seed": s}) for rate, s in
                             ((1e-3, 0), (1e-2, 0), (1e-3, 1))))  # fmt: skip
    assert training.evaluator(0) is training.evaluator(1)
    assert training.evaluator(0) is not training.evaluator(2)


def test_what_judging_needs_is_told_beforehand_and_split_where_memory_is_short(monkeypatch):
    one = config()
    training = with_untrained(training_of(one))
    task, predictor = training.tasks[0], training.predictor(0)
    monkeypatch.setattr(evaluate, "programs", {})
    told: list[str] = []
    whole = FAMILY.works.memory(one, task, training.problem, told.append)
    assert [line.partition(":")[0] for line in told] == [
        "5 sequences of 8 steps judged at once",
        "3 rollouts of 2 steps after 4 of context at once",
    ]
    needed = [evaluate.program_memory([compiled]) for _, compiled in evaluate.programs.values()]
    assert whole == max(needed)
    figures = lambda: FAMILY.works.evaluate(one, task, predictor, ("evaluation",)).one_step  # noqa: E731
    at_once = figures()
    monkeypatch.setattr(evaluate, "programs", {})
    monkeypatch.setenv("BESTGUESS_MEMORY", str(needed[0] - 1))
    assert FAMILY.works.at_once(task, predictor, 5, told.append) == 3
    assert told[-2:-1] == ["that is more than there is: splitting into groups of 3"]
    np.testing.assert_allclose(figures().by_position, at_once.by_position, rtol=1e-5)
    monkeypatch.setattr(evaluate, "programs", {})
    monkeypatch.setenv("BESTGUESS_MEMORY", "9")
    with pytest.raises(UserError, match=r"^--length 8: judging one sequence needs .* lower it, --d-model or --layers$"):
        FAMILY.works.at_once(task, predictor, 5)
