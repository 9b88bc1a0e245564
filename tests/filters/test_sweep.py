"""What sweeps are given by the filters family."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from bestguess.command import UserError
from bestguess.filters import sweep
from bestguess.filters.config import FiltersConfig, small
from bestguess.filters.evaluate import run_of
from bestguess.filters.problem import make_members

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
    return sweep.config(values)


def test_values_stand_in_place_of_the_presets():
    made = sweep.config({"preset": "small", "task": {"lambda": 0.5}, "train": {"learning_rate": "1e-4"}})
    assert made.task.lambda_ == (0.5,)
    assert made.train.learning_rate == (1e-4,)
    assert made.task.length == small().task.length
    assert made.train.steps == small().train.steps
    assert sweep.config({}) == FiltersConfig()


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
        sweep.config(values)
    assert told in str(error.value)


def test_runs_share_a_shape_if_they_differ_in_arrays_alone():
    shape = sweep.shape(config())
    same = [
        {"task": {"lambda": 0.3}}, {"task": {"structure": "dense"}}, {"task": {"sigma": 2.0}},
        {"train": {"learning_rate": 0.5}}, {"train": {"first_seed": 9}},
    ]  # fmt: skip
    other = [
        {"task": {"observed_dim": 1}},
        {"model": {"patch": 2}},
        {"train": {"steps": 999}},
        {"model": {"layers": 2}},
    ]
    assert {sweep.shape(config(**one)) for one in same} == {shape}
    assert len({shape, *(sweep.shape(config(**one)) for one in other)}) == 5


def test_members_are_those_of_the_runs_in_their_order():
    settings = [(0.9, "dense", 1, 1e-3), (0.5, "diagonal", 0, 1e-2), (0.9, "dense", 1, 1e-2)]
    configs = [
        config(task={"lambda": lambda_, "structure": s}, train={"first_seed": seed, "learning_rate": rate})
        for lambda_, s, seed, rate in settings
    ]
    _, train, members = sweep.prepare(configs)
    assert train == configs[0].train
    assert np.asarray(members.seed).tolist() == [1, 0, 1]
    np.testing.assert_allclose(members.learning_rate, [1e-3, 1e-2, 1e-2])
    for i, one in enumerate(configs):
        alone = make_members(one)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[i], b[0]), members.task, alone.task)  # noqa: B023


def test_a_score_has_every_figure_of_the_experiments():
    one = config(task={"lambda": 0.9}, train={"batch_size": 4})
    problem, _, members = sweep.prepare([one])
    task = run_of(members.task, 0)
    model = problem.init(task, jax.random.key(0))
    curve = [{"step": 10, "skill": 0.5}, {"step": 20, "skill": 0.95}]
    score = sweep.score(one, task, model, curve)
    assert score["normalised_loss"] > 1
    assert 40 < score["sequences_to_skill_0.9"] < 80
    assert score["sequences_to_skill_0.99"] is None
    assert set(score["rollout"]) == {"1", "2"}
    assert set(score["rollout"]["2"]) == {"normalised_loss", "standard_error", "skill", "headroom"}
    assert score["self_test"] <= 1e-6
