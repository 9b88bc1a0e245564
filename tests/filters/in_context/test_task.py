"""Sequences of unknown systems on a device: what is sampled, the float32 oracle against float64, and causality."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.filters.config import FilterModelConfig, FilterTaskConfig
from bestguess.filters.forecaster import predict
from bestguess.filters.in_context.baselines import in_context_baselines
from bestguess.filters.in_context.exact import constant_mixture, exact_mixture
from bestguess.filters.in_context.mixture import HELD_OUT, TRAINED, bayes_mixture, filters_of, systems_of
from bestguess.filters.in_context.regression import PENALTIES, fitted_in_context, orders_of
from bestguess.filters.in_context.task import MixtureTask, make_bank
from bestguess.train.problem import Purpose, sequence_keys
from tests.compiled import whole

CONFIG = FilterTaskConfig(latent_dim=4, observed_dim=2, length=12, lambda_=(0.8,), observation_noise=0.5)
K, H, T, M, N = 5, 3, 12, CONFIG.observed_dim, CONFIG.latent_dim
SYSTEMS, OTHERS = systems_of(CONFIG, 2, K, TRAINED), systems_of(CONFIG, 2, H, HELD_OUT)
TASKS = {patch: MixtureTask(SYSTEMS, OTHERS, T, patch) for patch in (1, 3)}
every_patch = pytest.mark.parametrize("patch", TASKS)

known_ = jax.jit(lambda task, key: task.known(key))
held_out_ = jax.jit(lambda task, k, key: task.known_held_out(k, key))
oracle_ = jax.jit(lambda task, y: task.oracle(y))
draw_ = jax.jit(lambda task, k, key: task.bank.draw(k, key))


def test_a_sequence_is_what_the_recursion_gives_of_the_same_noise():
    key = jax.random.key(3)
    of_state, of_sight = jax.random.split(key)
    noise = CONFIG.sigma * np.asarray(jax.random.normal(of_state, (T, N)), np.float64)
    seen = CONFIG.observation_noise * np.asarray(jax.random.normal(of_sight, (T, M)), np.float64)
    for k in (0, K - 1):
        x, expected = np.zeros(N), []
        for t in range(T):
            x = SYSTEMS.A[k] @ x + noise[t]
            expected.append(SYSTEMS.C[k] @ x + seen[t])
        np.testing.assert_allclose(draw_(TASKS[1], jnp.asarray(k), key), expected, rtol=0, atol=1e-5)


def test_every_system_is_as_likely():
    keys = jax.random.split(jax.random.key(0), 4000)
    k = np.asarray(jax.jit(jax.vmap(lambda key: TASKS[1].told(key)[2]))(keys))
    assert np.abs(np.bincount(k, minlength=K) / len(k) - 1 / K).max() < 0.03


@every_patch
def test_the_oracle_is_the_mixture_in_float64(patch):
    task = TASKS[patch]
    for seed in range(3):
        known = known_(task, jax.random.key(seed))
        y = np.asarray(known.y, np.float64)
        expected = bayes_mixture(SYSTEMS, y, patch)
        np.testing.assert_allclose(known.mixture, expected.predictions, rtol=0, atol=2e-5)
        found = oracle_(task, known.y)
        np.testing.assert_allclose(found.mean, expected.predictions, rtol=0, atol=2e-5)
        # The variance of a mixture: what is within its parts, and what lies between them.
        weights = np.exp(expected.log_weights[np.arange(T) // patch * patch])
        each = np.stack([bayes_mixture(_only(k), y, patch).predictions for k in range(K)], axis=1)
        second = filters_of(SYSTEMS, T, patch).ahead + each[..., :, None] * each[..., None, :]
        whole = np.einsum("tk,tkij->tij", weights, second)
        mean = expected.predictions
        np.testing.assert_allclose(found.covariance, whole - mean[..., :, None] * mean[..., None, :], atol=1e-4)


def _only(k: int):
    return dataclasses.replace(SYSTEMS, A=SYSTEMS.A[k : k + 1], C=SYSTEMS.C[k : k + 1])


@every_patch
def test_who_is_told_the_system_uses_its_filter(patch):
    task = TASKS[patch]
    y, told, k = jax.jit(lambda key: task.told(key))(jax.random.key(7))
    expected = bayes_mixture(_only(int(k)), np.asarray(y, np.float64), patch)
    np.testing.assert_allclose(told, expected.predictions, rtol=0, atol=2e-5)
    known = held_out_(task, jnp.asarray(H - 1), jax.random.key(8))
    other = dataclasses.replace(OTHERS, A=OTHERS.A[H - 1 :], C=OTHERS.C[H - 1 :])
    y = np.asarray(known.y, np.float64)
    np.testing.assert_allclose(known.told, bayes_mixture(other, y, patch).predictions, rtol=0, atol=2e-5)
    np.testing.assert_allclose(known.mixture, bayes_mixture(SYSTEMS, y, patch).predictions, rtol=0, atol=2e-4)


def test_floors_and_ceilings_are_means_over_the_systems():
    task = TASKS[3]
    filters = filters_of(SYSTEMS, T, 3)
    trace = lambda a: np.trace(a, axis1=2, axis2=3).mean(1)  # noqa: E731
    np.testing.assert_allclose(task.told_floor, trace(filters.ahead)[3:].mean(), rtol=1e-5)
    np.testing.assert_allclose(task.ceiling, trace(filters.second)[3:].mean(), rtol=1e-5)
    assert task.told_floor < task.ceiling


def test_many_systems_and_sequences_at_once_are_what_one_is():
    """XLA compiled a sum over a broadcast product wrongly for CPUs: from the fifth sequence on, at this very size."""
    systems = systems_of(CONFIG, 0, 1024, TRAINED)
    bank = make_bank(systems, 4, 1)
    y = jax.random.normal(jax.random.key(1), (8, 4, M))
    found, _ = jax.jit(jax.vmap(bank.mixture))(y)
    np.testing.assert_allclose(found, bayes_mixture(systems, np.asarray(y, np.float64)).predictions, atol=2e-5)


KINDS = [(1, "none", False), (3, "input", False), (3, "instance", True), (1, "instance", False)]


@pytest.mark.parametrize(("patch", "normalisation", "told"), KINDS)
def test_the_exact_mixture_by_the_path_of_a_model_is_the_oracle(patch, normalisation, told):
    task = TASKS[patch]
    config = FilterModelConfig(patch=patch, normalisation=normalisation, told_statistics=told)
    exact = exact_mixture(config, task)
    known = known_(task, jax.random.key(4))
    best = np.asarray(known.mixture)[task.predicted]
    off = lambda found: float(np.mean((np.asarray(found) - best) ** 2) / task.told_floor)  # noqa: E731
    found = jax.jit(predict)(exact, known.y)
    assert off(found) < 1e-9
    # A patch late it is far from it: the bound above can fail.
    assert off(np.roll(found, patch, axis=0)) > 1e-3
    # Fed in two pieces, with a cache, it is the same.
    feed = jax.jit(lambda forecaster, y, cache: forecaster(y, cache))
    first, cache = feed(exact, known.y[:6], exact.empty_cache(T))
    rest, _ = feed(exact, known.y[6:], cache)
    assert off(jnp.concatenate([first, rest])[:-patch]) < 1e-9
    constant = constant_mixture(config, task)
    assert np.abs(jax.jit(predict)(constant, known.y)).max() < 1e-4


def test_other_systems_are_found_out():
    task = TASKS[1]
    other = MixtureTask(systems_of(CONFIG, 3, K, TRAINED), OTHERS, T, 1)
    wrong = exact_mixture(FilterModelConfig(), other)
    known = known_(task, jax.random.key(4))
    apart = np.mean((np.asarray(predict(wrong, known.y)) - np.asarray(known.mixture)[1:]) ** 2)
    assert apart / task.told_floor > 1e-3


def test_orders_and_penalty_of_regressions_are_selected_on_validation_sequences():
    task, validation = TASKS[1], 8
    few, many = (in_context_baselines(task, 2, validation, test) for test in (4, 9))
    assert (few.ridge, few.order) == (many.ridge, many.order)
    keys = sequence_keys(jnp.asarray(2), Purpose.VALIDATE, jnp.asarray(0), validation)
    y = whole(jax.vmap(task.sample), keys)
    fitted = lambda k, penalty: fitted_in_context(y, task.scale, k, 1, jnp.asarray([penalty]))[0]  # noqa: E731
    errors = {
        (k, penalty): float(jnp.mean((fitted(k, penalty) - y)[:, 1:] ** 2))
        for k in orders_of(T, M)
        for penalty in PENALTIES
    }
    assert few.ridge == min(errors, key=errors.__getitem__)
    assert few.order == min(few.least_squares, key=lambda k: errors[k, PENALTIES[0]])
