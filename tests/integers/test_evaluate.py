"""Models through the oracle's evaluation."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.command import UserError
from bestguess.integers.config import IntegerModelConfig, IntegersConfig, IntegerTaskConfig, ObjectiveConfig
from bestguess.integers.evaluate import (
    best_run,
    evaluation_of_all,
    evaluations,
    figures,
    predictor,
    predictor_of_all,
    run_of,
)
from bestguess.integers.model import IntegerModel
from bestguess.integers.oracle import Oracle
from bestguess.integers.table import make_table
from bestguess.train.config import TrainConfig
from bestguess.train.ensemble import State
from tests.integers.test_table import SMALL

MIXTURE = (0.2, 0.5, 0.3)
SHAPE = IntegerModelConfig(layers=1, d_model=8, heads=2)


def model_of(seed, length):
    model = IntegerModel(SHAPE, length, key=jax.random.key(seed))
    leaves, tree = jax.tree.flatten(model)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    return jax.tree.unflatten(tree, [leaf + 0.4 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys)])


@pytest.mark.parametrize("overflow", ["wrap", "end"])
def test_a_model_s_regret_is_what_its_own_probabilities_give(overflow):
    oracle = Oracle(make_table(4, overflow, families=SMALL), MIXTURE)
    model = model_of(3, 4)
    scores = oracle.scores(oracle.judge(predictor(model)), "all")
    table = oracle.table
    run = eqx.filter_jit(lambda rows: jax.vmap(lambda row: model(row)[0])(rows))
    after = np.asarray(run(jnp.asarray(table.rows[:, :4], jnp.int32)), np.float64)
    for j in range(1, 5):
        total = loss = hit = 0.0
        for row, n, w, logits in zip(table.rows, table.lengths, oracle.weights, after[:, j - 1]):
            if n > j:
                loss -= w * (logits[row[j]] - np.log(np.exp(logits).sum()))
                hit += w * (logits.argmax() == row[j])
                total += w
        np.testing.assert_allclose(scores.loss[j - 1], loss / total, rtol=1e-5)
        np.testing.assert_allclose(scores.accuracy[j - 1], hit / total, atol=1e-9)


def state_of(models, best_score):
    count = len(best_score)
    best = jax.tree.map(lambda *leaves: np.stack(leaves), *models) if models else None
    each = lambda value: jnp.asarray([value] * count)  # noqa: E731
    return State(
        model=best,
        optimizer=None,
        best=best,
        best_score=jnp.asarray(best_score),
        best_step=each(7),
        stale=each(0),
        stopped=each(False),
        fault_step=jnp.asarray([-1, 5, -1][:count]),
    )


def test_every_run_gets_its_own_figures():
    config = IntegersConfig(
        task=IntegerTaskConfig(length=4), model=SHAPE, train=TrainConfig(learning_rate=(1e-3,), seeds=2)
    )
    oracle = Oracle(make_table(4, families=SMALL, held_out_fraction=0.4), MIXTURE)
    models = [model_of(3, 4), model_of(11, 4)]
    found = list(evaluations(config, state_of(models, [2.0, 1.0]), oracle))
    assert [(one["run"], one["seed"], one["fault_step"]) for one in found] == [(0, 0, None), (1, 1, 5)]
    for one, model in zip(found, models):
        verdict = oracle.judge(predictor(model))
        for part in ("all", "seen", "held-out"):
            assert one[part.replace("-", "_")] == figures(oracle.scores(verdict, part))
    assert found[0]["held_out"] != found[1]["held_out"]


def test_runs_together_predict_the_mean_of_their_probabilities():
    oracle = Oracle(make_table(4, families=SMALL, held_out_fraction=0.4), MIXTURE)
    models = [model_of(3, 4), model_of(11, 4), model_of(5, 4)]
    contexts = oracle.table.rows[:7, :4]
    p = [
        np.exp(log - np.logaddexp.reduce(log, axis=-1, keepdims=True))
        for log in (predictor(m)(contexts) for m in models)
    ]
    np.testing.assert_allclose(np.exp(predictor_of_all(models)(contexts)), np.mean(p, axis=0), rtol=1e-4, atol=1e-8)

    # A run without a finite score has no part in it; one run alone is no ensemble.
    found = evaluation_of_all(state_of(models, [2.0, np.nan, 1.0]), oracle)
    verdict = oracle.judge(predictor_of_all([models[0], models[2]]))
    assert found is not None
    assert found["runs"] == [0, 2]
    assert found["held_out"] == figures(oracle.scores(verdict, "held-out"))
    assert evaluation_of_all(state_of(models, [2.0, np.nan, np.inf]), oracle) is None


def test_the_mean_prediction_loses_no_more_than_its_members_on_average():
    oracle = Oracle(make_table(4, families=SMALL), MIXTURE)
    models = [model_of(3, 4), model_of(11, 4)]
    each = [oracle.scores(oracle.judge(predictor(model)), "all").regret for model in models]
    both = oracle.scores(oracle.judge(predictor_of_all(models)), "all").regret
    assert (both <= np.mean(each, axis=0) + 1e-6).all()  # −log is convex


def test_figures_are_the_last_position_and_the_mean():
    oracle = Oracle(make_table(4, families=SMALL), MIXTURE)
    scores = oracle.scores(oracle.judge(predictor(model_of(3, 4))), "all")
    one = figures(scores)
    assert one["full_context"]["regret"] == scores.regret[-1]
    assert one["mean"]["loss"] == pytest.approx((scores.regret + scores.floor).mean())
    assert one["by_position"]["relative_accuracy"] == (scores.accuracy / scores.ceiling).tolist()


def test_the_run_that_is_used():
    config = IntegersConfig(train=TrainConfig(learning_rate=(1e-3,), seeds=3))
    state = state_of([], [2.0, np.nan, 1.5])
    assert best_run(config, state, None) == 2
    assert best_run(config, state, 0) == 0
    for number in (-1, 3):
        with pytest.raises(UserError, match=r"the folder has runs 0\.\.2"):
            best_run(config, state, number)
    several = IntegersConfig(objective=ObjectiveConfig(loss="weighted", alpha=(0.1, 0.2)))
    with pytest.raises(UserError, match="differ in α"):
        best_run(several, state_of([], [1.0, 2.0]), None)


def test_a_run_is_cut_out_of_the_ensemble():
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), model_of(3, 4), model_of(11, 4))
    for name, one in (("first", 0), ("second", 1)):
        expected = model_of((3, 11)[one], 4)
        for a, b in zip(jax.tree.leaves(run_of(stacked, one)), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
