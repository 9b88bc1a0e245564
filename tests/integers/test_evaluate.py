"""Any predictor through the one evaluation: models alone, several together, and which of them is used."""

from __future__ import annotations

import io
import json
import threading
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from bestguess import files
from bestguess.command import UserError
from bestguess.config import runs
from bestguess.integers.commands.select import run_to_use
from bestguess.integers.config import IntegerModelConfig, IntegersConfig, IntegerTaskConfig, ObjectiveConfig
from bestguess.integers.evaluate import family_scores, figures, judge, mean_scores, predictor, predictor_of_all
from bestguess.integers.family import FAMILY
from bestguess.integers.model.transformer import IntegerModel
from bestguess.integers.oracle.exact import Oracle
from bestguess.integers.sequences.table import make_table
from bestguess.integers.task import IntegerTask
from bestguess.train.config import TrainConfig
from bestguess.train.fit import Fitted
from bestguess.workflow.commands import evaluate_training
from bestguess.workflow.training import Training, slice_of
from tests.integers.sequences.test_table import SMALL
from tests.train.toy import ToyProblem, members

MIXTURE = (0.2, 0.5, 0.3)
SHAPE = IntegerModelConfig(layers=1, d_model=8, heads=2)
PARTS = ("all", "seen", "held-out")


def task_of(overflow="wrap", **options):
    return IntegerTask(Oracle(make_table(4, overflow, families=SMALL, **options), MIXTURE))


def model_of(seed, length):
    model = IntegerModel(SHAPE, length, key=jax.random.key(seed))
    leaves, tree = jax.tree.flatten(model)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    return jax.tree.unflatten(tree, [leaf + 0.4 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys)])


@pytest.mark.parametrize("overflow", ["wrap", "end"])
def test_a_model_s_regret_is_what_its_own_probabilities_give(overflow):
    task = task_of(overflow)
    oracle, model = task.exact, model_of(3, 4)
    scores = mean_scores(oracle, judge(task, predictor(model)), "all")
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


def test_an_accelerator_is_asked_by_one_thread_at_a_time(monkeypatch):
    """Two threads met in it, once: a chunk of one was judged by the logits of the other."""
    task, busy, most = task_of(), threading.Semaphore(0), []

    def slow(contexts):
        busy.release()
        most.append(busy._value)
        time.sleep(0.01)  # any other thread would come in
        busy.acquire()
        return task.exact.logits(contexts)

    monkeypatch.setattr("bestguess.integers.evaluate._CHUNK", 7)
    monkeypatch.setattr("bestguess.integers.evaluate.usable_cores", lambda: 4)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    scores = mean_scores(task.exact, judge(task, slow), "all")
    assert len(most) > 2
    assert set(most) == {1}
    np.testing.assert_allclose(scores.regret, 0, atol=1e-6)


def test_a_verdict_does_not_depend_on_the_size_of_the_chunks(monkeypatch):
    """Of a CPU and of an accelerator it differs. The logits are of each context alone: a model rounds by its batch."""
    task, sizes, found = task_of(), [], []
    monkeypatch.setattr("bestguess.integers.evaluate._CHUNK_ON_CPU", 8)
    monkeypatch.setattr("bestguess.integers.evaluate._CHUNK", 16)

    def logits(contexts):
        sizes.append(len(contexts))
        return np.stack([np.random.default_rng(one).normal(size=(4, 256)).astype(np.float32) for one in contexts])

    for backend, size in (("cpu", 8), ("gpu", 16)):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        del sizes[:]
        found.append(judge(task, logits))
        assert set(sizes) == {size}
    assert len(sizes) > 1
    for name, one in vars(found[0]).items():
        for a, b in zip(one, vars(found[1])[name], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6 if name == "regret" else 0, err_msg=name)


def state_of(models, best_score):
    count = len(best_score)
    best = jax.tree.map(lambda *leaves: np.stack(leaves), *models) if models else None
    return Fitted(
        model=best,
        best=best,
        best_score=np.asarray(best_score),
        best_step=np.full(count, 7),
        stopped=np.full(count, False),
        fault_step=np.asarray([-1, 5, -1][:count]),
    )


def training_of(config, learnt, folder, task=None) -> Training:
    """A training that has ended, of a task of which its config says nothing."""
    every = runs(config)
    tasks = [task] * len(every)
    return Training(FAMILY, folder, every, tasks, ToyProblem(), members(), learnt=learnt)


def evaluated(models, scores, folder, seeds):
    """The evaluation's file of `seeds` runs, and the task that they are judged on."""
    config = IntegersConfig(
        task=IntegerTaskConfig(length=4), model=SHAPE, train=TrainConfig(learning_rate=(1e-3,), seeds=seeds)
    )
    task = task_of(held_out_fraction=0.4)
    training = training_of(config, state_of(models, scores), folder, task)
    found = evaluate_training(training, Console(file=io.StringIO()))["evaluation"]
    path = folder / "evaluation.json"
    assert files.unsealed(json.loads(path.read_text()), path, "") == found
    return found, task


def test_every_run_gets_its_own_figures(tmp_path):
    models = [model_of(3, 4), model_of(11, 4)]
    result, task = evaluated(models, [2.0, 1.0], tmp_path, seeds=2)
    found = result["runs"]
    assert [(one["run"], one["seed"], one["fault_step"]) for one in found] == [(0, 0, None), (1, 1, 5)]
    assert [(one["alpha"], one["learning_rate"], one["best_step"]) for one in found] == [(0.1, 1e-3, 7)] * 2
    assert [one["validation_score"] for one in found] == [2.0, 1.0]
    for one, model in zip(found, models):
        verdict = judge(task, predictor(model))
        for part in PARTS:
            assert one[part.replace("-", "_")] == figures(mean_scores(task.exact, verdict, part))
        by_family = family_scores(task.exact, verdict, "held-out")
        assert one["held_out_by_family"] == [vars(family) for family in by_family]
    assert found[0]["held_out"] != found[1]["held_out"]


def test_runs_together_predict_the_mean_of_their_probabilities(tmp_path):
    models = [model_of(3, 4), model_of(11, 4), model_of(5, 4)]
    contexts = task_of(held_out_fraction=0.4).exact.table.rows[:7, :4]
    p = [
        np.exp(log - np.logaddexp.reduce(log, axis=-1, keepdims=True))
        for log in (predictor(m)(contexts) for m in models)
    ]
    np.testing.assert_allclose(np.exp(predictor_of_all(models)(contexts)), np.mean(p, axis=0), rtol=1e-4, atol=1e-8)

    # A run without a finite score has no part in it; one run alone is no ensemble.
    result, task = evaluated(models, [2.0, np.nan, 1.0], tmp_path, seeds=3)
    found = result["together"]
    verdict = judge(task, predictor_of_all([models[0], models[2]]))
    assert found["runs"] == [0, 2]
    for part in PARTS:
        assert found[part.replace("-", "_")] == figures(mean_scores(task.exact, verdict, part))
    assert evaluated(models, [2.0, np.nan, np.inf], tmp_path, seeds=3)[0]["together"] is None


def test_the_mean_prediction_loses_no_more_than_its_members_on_average():
    task = task_of()
    models = [model_of(3, 4), model_of(11, 4)]
    each = [mean_scores(task.exact, judge(task, predictor(model)), "all").regret for model in models]
    both = mean_scores(task.exact, judge(task, predictor_of_all(models)), "all").regret
    assert (both <= np.mean(each, axis=0) + 1e-6).all()  # −log is convex


def test_figures_are_the_last_position_and_the_mean():
    task = task_of()
    scores = mean_scores(task.exact, judge(task, predictor(model_of(3, 4))), "all")
    one = figures(scores)
    assert one["full_context"]["regret"] == scores.regret[-1]
    assert one["mean"]["loss"] == pytest.approx((scores.regret + scores.floor).mean())
    assert one["by_position"]["relative_accuracy"] == (scores.accuracy / scores.ceiling).tolist()


def test_the_run_that_is_used(tmp_path):
    config = IntegersConfig(train=TrainConfig(learning_rate=(1e-3,), seeds=3))
    training = training_of(config, state_of([], [2.0, np.nan, 1.5]), tmp_path)
    assert run_to_use(training, None) == 2
    assert run_to_use(training, 0) == 0
    for number in (-1, 3):
        with pytest.raises(UserError, match=r"the folder has runs 0\.\.2"):
            run_to_use(training, number)
    several = IntegersConfig(objective=ObjectiveConfig(loss="weighted", alpha=(0.1, 0.2)))
    with pytest.raises(UserError, match="differ in α"):
        run_to_use(training_of(several, state_of([], [1.0, 2.0]), tmp_path), None)


def test_a_run_is_cut_out_of_the_batch():
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), model_of(3, 4), model_of(11, 4))
    for name, one in (("first", 0), ("second", 1)):
        expected = model_of((3, 11)[one], 4)
        for a, b in zip(jax.tree.leaves(slice_of(stacked, one)), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
