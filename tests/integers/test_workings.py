"""The integers family's workings: single configs, shapes, runs together, and the exact sums that score them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.command import Failure, UserError
from bestguess.config import run_of_single, shape_key
from bestguess.integers import workings
from bestguess.integers.config import BASES, IntegersConfig
from bestguess.integers.evaluate import judge, mean_scores, predictor
from bestguess.integers.family import FAMILY
from bestguess.integers.model.transformer import IntegerModel
from bestguess.workflow.evaluation import Evaluator
from bestguess.workflow.training import make_training

TINY = {"task": {"length": 3, "phases": 1, "prior": "narrow"}, "model": {"layers": 1, "d_model": 4, "heads": 2}}
WORKS = FAMILY.works


def config(**rooms) -> IntegersConfig:
    values = {key: dict(room) for key, room in TINY.items()}
    for room, keys in rooms.items():
        values[room] = values.get(room, {}) | keys if isinstance(keys, dict) else keys
    return FAMILY.single(values)


# ------------------------------------------------------------------------------------------ configs of single runs


def test_values_stand_in_place_of_a_designs():
    made = FAMILY.single({"preset": "small", "design": "document", "train": {"learning_rate": "1e-4"}})
    base = BASES["small", "document"]
    assert made == dataclasses.replace(base, train=dataclasses.replace(base.train, learning_rate=(1e-4,)))
    assert FAMILY.single({}) == IntegersConfig()


def test_a_change_is_one_key_more():
    assert config(change="nothing") == config()
    assert config(change="model.embedding=learned") == config(model={"embedding": "learned"}) != config()
    several = config(change="model.embedding=learned train.clip_norm=0.5  model.heads=1")
    assert several == config(model={"embedding": "learned", "heads": 1}, train={"clip_norm": 0.5})
    assert config(change="train.clip_norm=0.5").train.clip_norm == 0.5
    assert FAMILY.single({"change": "design=document"}) == BASES["default", "document"]
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
        FAMILY.single(values)
    assert told in str(error.value)


def test_runs_share_a_shape_if_they_differ_in_arrays_alone():
    shape = shape_key(config())
    same = [{"objective": {"alpha": 0.7}}, {"train": {"learning_rate": 0.5}}, {"train": {"first_seed": 9}}]
    other = [
        {"task": {"length": 4}},
        {"model": {"layers": 2}},
        {"train": {"steps": 999}},
        {"task": {"curriculum": "strict"}},
    ]
    assert {shape_key(config(**one)) for one in same} == {shape}
    assert len({shape, *(shape_key(config(**one)) for one in other)}) == 5


def test_members_are_those_of_the_runs_in_their_order():
    settings = [(0.5, 1, 1e-3), (0.0, 0, 1e-2), (0.5, 1, 1e-2)]
    configs = [
        config(objective={"loss": "weighted", "alpha": a}, train={"first_seed": s, "learning_rate": r})
        for a, s, r in settings
    ]
    training = make_training(FAMILY, Path(), [run_of_single(one, i) for i, one in enumerate(configs)])
    assert training.problem.config == configs[0]
    assert training.config == configs[0].train
    members = training.members
    assert np.asarray(members.seed).tolist() == [1, 0, 1]
    np.testing.assert_allclose(members.learning_rate, [1e-3, 1e-2, 1e-2])
    np.testing.assert_allclose(members.task.alpha, [0.5, 0.0, 0.5])
    assert len(set(map(id, training.tasks))) == 1  # all judged on the one table


# ------------------------------------------------------------------------------------------ figures


def made_up(made: IntegersConfig) -> IntegerModel:
    """A model with an opinion: every weight away from where it starts."""
    model = IntegerModel(made.model, 3, key=jax.random.key(0))
    return jax.tree.map(lambda leaf: leaf + 0.3 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), model)


def sums_over_rows(model, oracle, part) -> dict[str, np.ndarray]:
    """What `Scores` holds, from plain sums over the rows of a table in float64."""
    table, length = oracle.table, oracle.table.length
    logits = eqx.filter_jit(jax.vmap(lambda row: model(row)[0]))(jnp.asarray(table.rows[:, :length], jnp.int32))
    logits = np.asarray(logits, np.float64)
    log_q = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    choice = logits.argmax(axis=-1)
    found: dict[str, list[float]] = {name: [] for name in ("regret", "floor", "accuracy", "ceiling", "distance")}
    for j in range(1, length + 1):
        rows = np.flatnonzero(table.lengths > j)
        continued, first, of_row = np.unique(table.rows[rows, : j + 1], axis=0, return_index=True, return_inverse=True)
        _, prefix = np.unique(continued[:, :j], axis=0, return_inverse=True)
        weight = np.bincount(of_row.ravel(), oracle.weights[rows])
        p = weight / np.bincount(prefix, weight)[prefix]
        own = np.bincount(of_row.ravel(), (oracle.weights * table.part(part))[rows])
        own = np.bincount(prefix, own / own.sum())
        row, value = rows[first], continued[:, j].astype(int)
        best = np.zeros(prefix.max() + 1)
        np.maximum.at(best, prefix, p)
        mean = lambda of: float((own[prefix] * p) @ of)  # noqa: B023, E731
        found["regret"].append(mean(np.log(p) - log_q[row, j - 1, value]))
        found["floor"].append(mean(-np.log(p)))
        found["accuracy"].append(mean(value == choice[row, j - 1]))
        found["ceiling"].append(float(own @ best))
        found["distance"].append(mean(np.abs(value - choice[row, j - 1])))
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize("overflow", ["wrap", "end"])
def test_scores_are_sums_over_rows(overflow):
    made = config(task={"overflow": overflow})
    task, model = WORKS.task(made), made_up(made)
    found = WORKS.evaluate(made, task, WORKS.predictor(model, task), WORKS.parts)
    regrets = {}
    for part in ("held-out", "seen", "all"):
        scores, expected = found.scores(part), sums_over_rows(model, task.exact, part)
        for name, values in expected.items():
            np.testing.assert_allclose(getattr(scores, name), values, rtol=1e-5, atol=1e-6, err_msg=f"{part} {name}")
        assert (scores.regret > 0.1).all()
        regrets[part] = scores.regret
    assert np.abs(regrets["held-out"] - regrets["seen"]).max() > 1e-4  # parts are told apart
    np.testing.assert_array_equal(WORKS.by_position(found), regrets["held-out"])


def recorded(made: IntegersConfig, model: IntegerModel) -> dict:
    task = WORKS.task(made)
    return WORKS.record(Evaluator(WORKS, made, task)(WORKS.predictor(model, task)))


def test_a_record_is_of_held_out_rows_at_full_context_and_json():
    made = config()
    model = IntegerModel(made.model, 3, key=jax.random.key(0))
    found, task = recorded(made, model), WORKS.task(made)
    # An untrained model is uniform: its loss is log 256 after every prefix.
    floor = mean_scores(task.exact, judge(task, predictor(model)), "held-out").floor
    assert found[FAMILY.reported] == pytest.approx(np.log(256) - floor[-1], rel=1e-5)
    assert found["by_position"]["1"]["regret"] == pytest.approx(np.log(256) - floor[0], rel=1e-5)
    assert found["seen"]["loss"] == pytest.approx(np.log(256), rel=1e-5)
    assert found["validation"]["loss"] == pytest.approx(np.log(256), rel=1e-5)
    assert found["validation"]["floor"] != found["seen"]["floor"]
    assert json.loads(json.dumps(found)) == found


def test_without_validation_rows_there_is_nothing_to_choose_by():
    made = config(task={"validation": 0})
    assert "validation" not in recorded(made, IntegerModel(made.model, 3, key=jax.random.key(0)))


def test_what_is_measured_first_is_what_sweeps_report():
    made = config()
    task, model = WORKS.task(made), made_up(made)
    found = WORKS.evaluate(made, task, WORKS.predictor(model, task), WORKS.parts)
    measured = WORKS.measured(made, task, found)
    assert measured[0].name == "after 3 terms, held-out rows"
    assert measured[0].regret == WORKS.record(found)["regret"] == WORKS.reported(found)
    assert measured[0].standard_error is None  # an exact sum
    # Regret and accuracy after 1, 2 and 3 terms, on each of three parts: the self-test checks them all.
    assert len({one.name for one in measured}) == len(measured) == 2 * 3 * 3


def test_the_constant_s_regret_is_the_headroom_on_every_part():
    made = config(task={"overflow": "end"})
    task = WORKS.task(made)
    found = WORKS.evaluate(made, task, WORKS.constant(made, task), WORKS.parts)
    measured = {one.name: one for one in WORKS.measured(made, task, found) if not one.name.startswith("accuracy")}
    for one in measured.values():
        np.testing.assert_allclose(one.regret, one.ceiling - one.floor, rtol=1e-5)
    # Its loss on all rows, from the rows.
    table, log_p = task.exact.table, np.asarray(task.constants, np.float64)
    for j in range(1, 4):
        there = table.lengths > j
        expected = -np.average(log_p[j, table.rows[there, j]], weights=task.exact.weights[there])
        np.testing.assert_allclose(measured[f"after {j} terms, all rows"].ceiling, expected, rtol=1e-6)


# ------------------------------------------------------------------------------------------ anybody's predictor


def test_a_callable_is_asked_for_every_term_from_those_before_it():
    made = config()
    task = WORKS.task(made)
    rows = WORKS.sequences(made, task, 5)
    assert rows.shape == (5, 4)
    assert {tuple(row) for row in rows.tolist()} <= {tuple(row) for row in task.exact.table.rows.tolist()}
    model, oracle = made_up(made), task.exact

    def shifted(of):
        """A callable of whole sequences, which predicts term j from the terms before it; of the first it says 0."""
        return lambda terms: np.pad(of(terms[:, :-1].astype(np.uint8)), ((0, 0), (1, 0), (0, 0)))

    evaluator = Evaluator(WORKS, made, task)
    np.testing.assert_allclose(WORKS.by_position(evaluator.outside(shifted(oracle.logits))), 0, atol=1e-6)
    own = evaluator.outside(shifted(predictor(model)))
    np.testing.assert_array_equal(WORKS.by_position(own), WORKS.by_position(evaluator(WORKS.predictor(model, task))))
    with pytest.raises(UserError, match="sees the future"):
        evaluator.outside(lambda terms: np.eye(256, dtype=np.float32)[terms])


@pytest.mark.parametrize("part", ["seen", "held-out"])
def test_the_self_test_sees_an_error_on_one_part_alone(part, monkeypatch):
    made = config(task={"held_out": 0.11})  # a task that no other test judges
    task = WORKS.task(made)
    good = workings.mean_scores

    def off(oracle, verdict, of):
        scores = good(oracle, verdict, of)
        return dataclasses.replace(scores, regret=scores.regret + 1e-5) if of == part else scores

    monkeypatch.setattr(workings, "mean_scores", off)
    with pytest.raises(Failure, match=rf"the oracle misses a regret of 0 by 1e-05 \(after \d terms, {part} rows\)"):
        Evaluator(WORKS, made, task)


def test_a_loss_without_a_gradient_is_told_before_training():
    (note,) = WORKS.notes(config(objective={"loss": "distance", "distance_by": "argmax"}))
    assert "has no gradient" in note
    assert "--distance-by expected" in note
    assert WORKS.notes(config(objective={"loss": "distance", "distance_by": "expected"})) == []
    assert WORKS.notes(config()) == []
