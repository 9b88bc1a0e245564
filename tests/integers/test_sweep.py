"""What sweeps are given by the integers family, and the sums that score their runs."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.command import UserError
from bestguess.integers import sweep
from bestguess.integers.config import BASES, IntegersConfig
from bestguess.integers.evaluate import predictor
from bestguess.integers.model import IntegerModel
from bestguess.integers.oracle import oracle_of
from bestguess.integers.problem import Setting
from bestguess.integers.rows import scores_by_part

TINY = {"task": {"length": 3, "phases": 1}, "model": {"layers": 1, "d_model": 4, "heads": 2}}


def config(**rooms) -> IntegersConfig:
    values = {key: dict(room) for key, room in TINY.items()}
    for room, keys in rooms.items():
        values[room] = values.get(room, {}) | keys if isinstance(keys, dict) else keys
    return sweep.config(values)


def test_values_stand_in_place_of_a_designs():
    made = sweep.config({"preset": "small", "design": "document", "train": {"learning_rate": "1e-4"}})
    base = BASES["small", "document"]
    assert made == dataclasses.replace(base, train=dataclasses.replace(base.train, learning_rate=(1e-4,)))
    assert sweep.config({}) == IntegersConfig()


def test_a_change_is_one_key_more():
    assert config(change="nothing") == config()
    assert config(change="model.embedding=learned") == config(model={"embedding": "learned"}) != config()
    several = config(change="model.embedding=learned train.clip_norm=0.5  model.heads=1")
    assert several == config(model={"embedding": "learned", "heads": 1}, train={"clip_norm": 0.5})
    assert config(change="train.clip_norm=0.5").train.clip_norm == 0.5
    assert sweep.config({"change": "design=document"}) == BASES["default", "document"]
    assert config(change="model.d_ff=256").model.d_model == 4  # what the sweep sets besides stays


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"preset": "smal"}, "preset: no preset 'smal'; did you mean small?"),
        ({"design": "documnt"}, "design: no design 'documnt'; did you mean document?"),
        ({"objective": {"loss": "weighted", "alpha": [0.1, 0.2]}}, "alpha: a run of a sweep has one value"),
        ({"train": {"seeds": 2}}, "learning_rate: a run of a sweep has one value"),
        ({"change": "heads"}, "change: 'heads': write KEY=VALUE"),
        ({"change": ""}, "change: '': write KEY=VALUE"),
        ({"change": "model.heads=2 nothing"}, "change: 'nothing': write KEY=VALUE"),
        ({"change": "model.haeds=2"}, "model.haeds: unknown key; did you mean heads?"),
    ],
)
def test_a_config_that_is_off_is_told(values, told):
    with pytest.raises(UserError) as error:
        sweep.config(values)
    assert told in str(error.value)


def test_runs_share_a_shape_if_they_differ_in_arrays_alone():
    shape = sweep.shape(config())
    same = [{"objective": {"alpha": 0.7}}, {"train": {"learning_rate": 0.5}}, {"train": {"first_seed": 9}}]
    other = [
        {"task": {"length": 4}},
        {"model": {"layers": 2}},
        {"train": {"steps": 999}},
        {"task": {"curriculum": "strict"}},
    ]
    assert {sweep.shape(config(**one)) for one in same} == {shape}
    assert len({shape, *(sweep.shape(config(**one)) for one in other)}) == 5


def test_members_are_those_of_the_runs_in_their_order():
    settings = [(0.5, 1, 1e-3), (0.0, 0, 1e-2), (0.5, 1, 1e-2)]
    configs = [
        config(objective={"loss": "weighted", "alpha": a}, train={"first_seed": s, "learning_rate": r})
        for a, s, r in settings
    ]
    problem, train, members = sweep.prepare(configs)
    assert problem.config == configs[0]
    assert train == configs[0].train
    assert np.asarray(members.seed).tolist() == [1, 0, 1]
    np.testing.assert_allclose(members.learning_rate, [1e-3, 1e-2, 1e-2])
    np.testing.assert_allclose(members.task.alpha, [0.5, 0.0, 0.5])


@pytest.mark.parametrize("overflow", ["wrap", "end"])
def test_sums_over_rows_are_the_oracles_own(overflow):
    made = config(task={"overflow": overflow})
    oracle = oracle_of(made.task)
    model = IntegerModel(made.model, 3, key=jax.random.key(0))
    model = jax.tree.map(lambda leaf: leaf + 0.3 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), model)
    found = scores_by_part(model, oracle, ("held-out", "seen", "all"))
    verdict = oracle.judge(predictor(model))
    for part, scores in found.items():
        expected = oracle.scores(verdict, part)
        for name in ("regret", "floor", "accuracy", "ceiling", "distance"):
            np.testing.assert_allclose(getattr(scores, name), getattr(expected, name), rtol=1e-5, atol=1e-6)
        assert (scores.regret > 0.1).all()
    assert np.abs(found["held-out"].regret - found["seen"].regret).max() > 1e-4  # parts are told apart


def test_a_score_is_of_held_out_rows_at_full_context_and_json():
    made = config()
    model = IntegerModel(made.model, 3, key=jax.random.key(0))
    found = sweep.score(made, Setting(jnp.asarray(0.1)), model, [])
    oracle = oracle_of(made.task)
    # An untrained model is uniform: its loss is log 256 after every prefix.
    floor = oracle.scores(oracle.judge(predictor(model)), "held-out").floor
    assert found[sweep.REPORTED] == pytest.approx(np.log(256) - floor[-1], rel=1e-5)
    assert found["by_position"]["1"]["regret"] == pytest.approx(np.log(256) - floor[0], rel=1e-5)
    assert found["seen"]["loss"] == pytest.approx(np.log(256), rel=1e-5)
    assert found["validation"]["loss"] == pytest.approx(np.log(256), rel=1e-5)
    assert found["validation"]["floor"] != found["seen"]["floor"]
    assert json.loads(json.dumps(found)) == found


def test_without_validation_rows_there_is_nothing_to_choose_by():
    made = config(task={"validation": 0})
    model = IntegerModel(made.model, 3, key=jax.random.key(0))
    assert "validation" not in sweep.score(made, Setting(jnp.asarray(0.1)), model, [])
