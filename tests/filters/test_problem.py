"""What the trainer is given: a loss whose floor is 1, a validation whose floor is 1 exactly, and the runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.config import runs
from bestguess.filters.config import FilterModelConfig, FiltersConfig, FilterTaskConfig
from bestguess.filters.exact import exact_forecaster
from bestguess.filters.family import FAMILY
from bestguess.filters.forecaster import predict
from bestguess.filters.problem import FilterProblem, distances
from bestguess.filters.systems import draw_system
from bestguess.filters.task import FilterTask, system_of
from bestguess.train.config import TrainConfig
from bestguess.train.problem import Member
from bestguess.train.program import Program
from bestguess.workflow.training import make_training

N, M, T = 5, 3, 16
SYSTEM = draw_system("dense", latent_dim=N, observed_dim=M, lambda_=0.9, sigma=1.3, seed=4)
every_patch = pytest.mark.parametrize("patch", [1, 4])


def make(patch: int):
    config = FilterModelConfig(layers=1, d_model=10, heads=5, d_ff=7, patch=patch, normalisation="instance")
    task = FilterTask(SYSTEM, T, patch)
    return FilterProblem(config), task, exact_forecaster(config, SYSTEM, task.scale, T)


losses = jax.jit(lambda problem, model, task, keys: jax.vmap(lambda key: problem.loss(model, task, key))(keys))
validate = jax.jit(lambda problem, model, task, keys: problem.validate(model, task, keys))


@every_patch
def test_the_exact_filter_s_loss_is_1_on_average(patch):
    problem, task, exact = make(patch)
    loss, count = losses(problem, exact, task, jax.random.split(jax.random.key(0), 8192))
    assert (np.asarray(count) == T - patch).all()
    per_target = np.asarray(loss, np.float64) / np.asarray(count)
    error = per_target.std(ddof=1) / len(per_target) ** 0.5
    assert error < 0.01  # else the bound below says nothing
    assert abs(per_target.mean() - 1) < 4 * error


def untrained(problem, task, key):
    model, y = problem.init(task, jax.random.key(1)), task.sample(key)
    return model, y, predict(model, y)


@every_patch
def test_a_loss_is_the_sum_of_squared_errors_over_the_floor(patch):
    problem, task, _ = make(patch)
    keys = jax.random.split(jax.random.key(2), 1)
    model, y, guess = jax.jit(untrained)(problem, task, keys[0])
    y, guess = np.asarray(y, np.float64), np.asarray(guess)
    (loss,), (count,) = losses(problem, model, task, keys)
    floor = np.mean(np.asarray(task.floor_by_step, np.float64)[patch:])
    np.testing.assert_allclose(loss, ((y[patch:] - guess) ** 2).sum() / floor, rtol=1e-5)
    assert float(count) == T - patch


@every_patch
def test_validation_gives_the_exact_filter_1(patch):
    problem, task, exact = make(patch)
    measures = validate(problem, exact, task, jax.random.split(jax.random.key(3), 32))
    assert set(measures) == {"score", "normalised_loss", "skill"}
    for name, value in measures.items():
        assert abs(float(value) - 1) <= 1e-6, name


@every_patch
def test_validation_measures_the_distance_to_the_filter(patch):
    problem, task, exact = make(patch)
    worse = eqx.tree_at(lambda f: f.core.C, exact, exact.core.C * 0.9)
    keys = jax.random.split(jax.random.key(3), 64)
    measures = validate(problem, worse, task, keys)
    distance = np.mean(jax.jit(jax.vmap(distances, (None, None, 0)))(worse, task, keys))
    np.testing.assert_allclose(measures["score"], 1 + distance / float(task.floor), rtol=1e-5)
    headroom = float((task.ceiling - task.floor) / task.floor)
    np.testing.assert_allclose(measures["skill"], 1 - (float(measures["score"]) - 1) / headroom, rtol=1e-4)
    assert float(measures["score"]) > 1.001
    # The distance, and not the loss: on the same sequences the loss itself wanders much further.
    loss, count = losses(problem, worse, task, keys)
    assert abs(float(jnp.sum(loss) / jnp.sum(count)) - float(measures["score"])) > 1e-4


CONFIG = FiltersConfig(
    task=FilterTaskConfig(latent_dim=N, observed_dim=M, length=T, lambda_=(0.5, 0.9), structure=("dense", "rotated")),
    model=FilterModelConfig(layers=1, d_model=10, heads=5, d_ff=7, patch=2),
    train=TrainConfig(seeds=2, learning_rate=(1e-2, 3e-3)),
)


def make_members(config: FiltersConfig) -> Member:
    return make_training(FAMILY, Path(), runs(config)).members


def test_members_are_the_runs_in_order():
    members, every = make_members(CONFIG), runs(CONFIG)
    np.testing.assert_allclose(members.learning_rate, [run.learning_rate for run in every], rtol=1e-6)
    assert members.seed.tolist() == [run.seed for run in every]
    assert len({run.seed for run in every}) == 2
    for i, run in enumerate(every):
        setting = {"lambda_": (run.values["lambda"],), "structure": (run.values["structure"],)}
        task = FilterTask(system_of(dataclasses.replace(CONFIG.task, **setting), run.seed), T, 2)
        own = jax.tree.map(lambda leaf, i=i: leaf[i], members.task)
        assert jax.tree.structure(own) == jax.tree.structure(task)
        for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(task), strict=True):
            np.testing.assert_array_equal(a, b)
    # Runs of one setting and seed differ in their rate alone; other seeds have other systems.
    np.testing.assert_array_equal(members.task.factor[0], members.task.factor[1])
    assert np.abs(np.asarray(members.task.factor[0] - members.task.factor[2])).max() > 0.1


def test_training_comes_closer_to_the_filter_and_leaves_the_scale_alone():
    config = dataclasses.replace(
        CONFIG,
        task=dataclasses.replace(CONFIG.task, lambda_=(0.95,), structure=("diagonal",)),
        train=TrainConfig(
            steps=150, batch_size=16, learning_rate=(1e-2,), seeds=2, warmup_steps=10, validate_every=50,
            validation_sequences=64,
        ),
    )  # fmt: skip
    members = make_members(config)
    program = Program(FilterProblem(config.model), config.train, members)
    state, skills = program.start(), []
    for first in (0, 50, 100):
        state, metrics = program.chunk(state, first, 50)
        skills.append(np.asarray(metrics["skill"]))
    assert (skills[0] < skills[-1]).all()
    assert (skills[-1] > 0.2).all()
    assert (np.asarray(metrics["normalised_loss"]) > 1).all()
    np.testing.assert_array_equal(state.model.normaliser.scale, members.task.scale)
    assert (np.asarray(state.best_step) > 0).all()
