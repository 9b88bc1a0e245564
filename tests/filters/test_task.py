"""The task against the recursive Kalman filter in float64, for every size of patch and every structure."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.filters import kalman
from bestguess.filters.config import PATCHES, FilterTaskConfig
from bestguess.filters.systems import STRUCTURES, System, draw_system
from bestguess.filters.task import FilterTask, system_of
from bestguess.task import expected_loss, regret

N, M, T = 5, 3, 64
every_patch = pytest.mark.parametrize("patch", PATCHES)


def draw(structure: str, r: float = 0.0) -> System:
    return draw_system(structure, latent_dim=N, observed_dim=M, lambda_=0.9, sigma=1.7, seed=3, observation_noise=r)


SYSTEMS = {structure: draw(structure) for structure in STRUCTURES} | {"dense, with noise": draw("dense", 0.8)}


def predictions(system: System, y: np.ndarray, patch: int) -> np.ndarray:
    """E[y_t | the patches before t's] by the recursion, patch after patch, in float64."""
    y = np.asarray(y, np.float64)
    guesses = [
        kalman.predict_ahead(system, y[:start], range(1, patch + 1)) if start else np.zeros((patch, M))
        for start in range(0, len(y), patch)
    ]
    return np.concatenate(guesses)


def errors(system: System, patch: int) -> np.ndarray:
    """E‖y_t − E[y_t | the patches before t's]‖² by Riccati's recursion and noise added step by step, in float64."""
    A, C, Q = system.A, system.C, system.sigma**2 * np.eye(N)
    R = system.observation_noise**2 * np.eye(M)
    P, out = Q, np.zeros(T)
    for start in range(0, T, patch):
        ahead = P
        for t in range(start, start + patch):
            out[t] = np.trace(C @ ahead @ C.T + R)
            ahead = A @ ahead @ A.T + Q
        for _ in range(patch):
            gain = A @ P @ C.T @ np.linalg.inv(C @ P @ C.T + R)
            P = (A - gain @ C) @ P @ (A - gain @ C).T + gain @ R @ gain.T + Q
    return out


oracle_of = jax.jit(lambda task, y: task.oracle(y))
constant_of = jax.jit(lambda task: task.constant())
sample_with_forecast = jax.jit(lambda task, key, context: task.sample_with_forecast(key, context), static_argnums=2)
sample_and_oracle = jax.jit(
    lambda task, key: (task.sample(key), task.sample_with_oracle(key), task.oracle(task.sample(key)))
)


# ------------------------------------------------------------------------------------------- oracle


@every_patch
def test_oracle_equals_the_recursion_in_float64(patch):
    for structure, system in SYSTEMS.items():
        task = FilterTask(system, T, patch)
        y, (same_y, fast), oracle = sample_and_oracle(task, jax.random.key(11))
        np.testing.assert_allclose(y, same_y, atol=1e-6 * np.abs(y).max())
        expected = predictions(system, y, patch)
        unit = np.abs(expected).max()
        assert unit > 1, structure
        np.testing.assert_allclose(fast.mean, expected, atol=1e-5 * unit)
        np.testing.assert_allclose(oracle.mean, expected, atol=1e-5 * unit)
        np.testing.assert_allclose(regret(oracle, oracle), 0.0)


@every_patch
def test_oracle_of_a_sequence_that_the_task_did_not_draw(patch):
    system = SYSTEMS["dense"]
    task = FilterTask(system, T, patch)
    y = np.random.default_rng(0).normal(size=(T, M)).astype(np.float32)
    expected = predictions(system, y, patch)
    np.testing.assert_allclose(oracle_of(task, jnp.asarray(y)).mean, expected, atol=1e-5 * np.abs(expected).max())


@every_patch
def test_the_oracle_sees_the_patches_before_alone(patch):
    task = FilterTask(SYSTEMS["diagonal"], T, patch)
    y = task.sample(jax.random.key(0))
    before = np.asarray(oracle_of(task, y).mean)
    for start in {patch, T // 2, T - patch}:
        after = np.asarray(oracle_of(task, y.at[start:].add(3.0)).mean)
        np.testing.assert_allclose(after[: start + patch], before[: start + patch], atol=3e-5)
        if start + patch < T:
            assert np.abs(after[start + patch :] - before[start + patch :]).max() > 0.1


@every_patch
def test_floor_and_ceiling(patch):
    for system in SYSTEMS.values():
        task = FilterTask(system, T, patch)
        floor = errors(system, patch)
        np.testing.assert_allclose(task.floor_by_step, floor, rtol=1e-5)
        variance = np.diagonal(kalman.observation_covariance(system, T)).reshape(T, M)
        np.testing.assert_allclose(task.ceiling_by_step, variance.sum(axis=1), rtol=1e-5)
        np.testing.assert_allclose(task.floor, floor[patch:].mean(), rtol=1e-5)
        np.testing.assert_allclose(task.ceiling, variance.sum(axis=1)[patch:].mean(), rtol=1e-5)
        np.testing.assert_allclose(task.scale, np.sqrt(variance.mean(axis=0)), rtol=1e-5)
        # What the predictions expect of themselves.
        np.testing.assert_allclose(expected_loss(constant_of(task)), task.ceiling_by_step, rtol=1e-5)
        np.testing.assert_allclose(expected_loss(oracle_of(task, jnp.zeros((T, M)))), floor, rtol=1e-5)
    assert task.predicted == slice(patch, None)
    assert task.shape == (T, M)


def test_the_covariances_of_oracle_and_constant():
    system = SYSTEMS["dense"]
    task = FilterTask(system, T, 1)
    S = kalman.kalman_gains(system, T)[1]
    np.testing.assert_allclose(oracle_of(task, jnp.zeros((T, M))).covariance, S, rtol=1e-4, atol=1e-4)
    constant = task.constant()
    assert not np.asarray(constant.mean).any()
    full = kalman.observation_covariance(system, T).reshape(T, M, T, M)
    diagonal = np.stack([full[t, :, t] for t in range(T)])
    np.testing.assert_allclose(constant.covariance, diagonal, rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------------ sampling


def test_a_sample_is_the_factor_of_the_exact_covariance_times_white_noise():
    for system in SYSTEMS.values():
        task = FilterTask(system, T, 4)
        factor = np.asarray(task.factor, np.float64)
        covariance = kalman.observation_covariance(system, T)
        np.testing.assert_allclose(factor @ factor.T, covariance, atol=1e-6 * covariance.max())
        z = np.asarray(jax.random.normal(jax.random.key(7), (T * M,)), np.float64)
        np.testing.assert_allclose(task.sample(jax.random.key(7)).reshape(-1), factor @ z, atol=1e-4)


def test_the_covariance_of_many_samples():
    """Every entry within 5 of its standard errors, sqrt((Σ_ii Σ_jj + Σ_ij²) / count)."""
    steps, count = 8, 20_000
    system = SYSTEMS["dense"]
    task = FilterTask(system, steps, 2)
    keys = jax.random.split(jax.random.key(5), count)
    y = np.asarray(jax.jit(jax.vmap(task.sample))(keys), np.float64).reshape(count, steps * M)
    covariance = kalman.observation_covariance(system, steps)
    error = np.sqrt((np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / count)
    assert (np.abs(y.T @ y / count - covariance) < 5 * error).all()
    assert (np.abs(y.mean(axis=0)) < 5 * np.sqrt(np.diag(covariance) / count)).all()


@pytest.mark.parametrize("context", [0, 1, 13, T])
def test_forecasts_equal_the_filters_own_at_every_horizon(context):
    for system in SYSTEMS.values():
        task = FilterTask(system, T, 1)
        y, forecast = sample_with_forecast(task, jax.random.key(2), context)
        drawn = np.asarray(sample_and_oracle(task, jax.random.key(2))[0])
        np.testing.assert_allclose(y, drawn, atol=1e-6 * np.abs(drawn).max())
        np.testing.assert_allclose(forecast[:context], y[:context], atol=1e-6 * np.abs(drawn).max())
        seen = np.asarray(y[:context], np.float64)
        ahead = range(1, T - context + 1)
        expected = kalman.predict_ahead(system, seen, ahead) if context else np.zeros((T, M))
        np.testing.assert_allclose(forecast[context:], expected, atol=1e-5 * max(1.0, np.abs(y).max()))
        if 0 < context < T:
            assert np.abs(forecast[context]).max() > 0.1


# ------------------------------------------------------------------------------------------ the rest


def test_a_run_s_system_is_drawn_from_its_own_settings():
    config = FilterTaskConfig(
        latent_dim=N, observed_dim=M, sigma=0.5, condition=3.0, lambda_=(0.7,), structure=("dense",)
    )
    system = system_of(config, 9)
    expected = draw_system("dense", latent_dim=N, observed_dim=M, lambda_=0.7, sigma=0.5, seed=9, condition=3.0)
    np.testing.assert_array_equal(system.A, expected.A)
    np.testing.assert_array_equal(system.C, expected.C)
    assert (system.sigma, system.structure) == (0.5, "dense")


def test_tasks_stack_and_vmap():
    tasks = [FilterTask(system, 8, 2) for system in SYSTEMS.values()]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *tasks)
    keys = jax.random.split(jax.random.key(0), len(tasks))
    together = jax.vmap(lambda task, key: task.sample_with_oracle(key)[1].mean)(stacked, keys)
    for task, key, one in zip(tasks, keys, together, strict=True):
        np.testing.assert_allclose(one, task.sample_with_oracle(key)[1].mean, atol=1e-5)


def test_a_system_has_a_seed_of_its_own_where_it_is_given():
    config = FilterTaskConfig(latent_dim=N, observed_dim=M)
    own = dataclasses.replace(config, system_seed=9)
    np.testing.assert_array_equal(system_of(own, 3).A, system_of(config, 9).A)
    assert system_of(config, 9).spectral_radius == pytest.approx(0.9)
    assert system_of(dataclasses.replace(config, moduli="bounded"), 9).spectral_radius < 0.9
