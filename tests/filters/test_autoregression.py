"""AR(k): the exact excess against brute force and statsmodels, and the fit on the sequences of a training."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import statsmodels.api as sm

from bestguess.filters import kalman
from bestguess.filters.autoregression import (
    bounded_regret,
    coefficients,
    equivalent_memory,
    fixed_regret,
    horizon_regret,
    invariant_excess,
    longest_memory,
    rollout_excess,
    squared_error,
    window_moments,
)
from bestguess.filters.baselines import ahead_ar, bounded_memory, exact_ar, fitted_ar, memory_of, rolled_out
from bestguess.filters.config import FilterModelConfig, FiltersConfig, FilterTaskConfig, RolloutConfig
from bestguess.filters.systems import draw_system, system_of
from bestguess.filters.task import FilterTask
from bestguess.train.config import TrainConfig
from bestguess.train.problem import Purpose, sequence_keys

M, T = 3, 10
SYSTEM, NOISY = (
    draw_system("dense", latent_dim=5, observed_dim=M, lambda_=0.9, sigma=1.7, seed=1, observation_noise=r)
    for r in (0.0, 0.9)
)
every_system = pytest.mark.parametrize("system", [SYSTEM, NOISY], ids=["clean", "noisy"])
COVARIANCE = kalman.observation_covariance(SYSTEM, T)
L = kalman.cholesky_factor(SYSTEM, T)


def residual(covariance: np.ndarray, target: np.ndarray, seen: np.ndarray) -> float:
    """Return the error of the best linear prediction of some values from others, by solving for it."""
    both = covariance[np.ix_(seen, target)]
    explained = both.T @ np.linalg.solve(covariance[np.ix_(seen, seen)], both) if len(seen) else 0.0
    return float(np.trace(covariance[np.ix_(target, target)] - explained))


@every_system
@pytest.mark.parametrize("patch", [1, 2, 5])
def test_bounded_regret_is_the_conditional_error_less_the_filters(patch, system):
    L, covariance = kalman.cholesky_factor(system, T), kalman.observation_covariance(system, T)
    found = bounded_regret(L, covariance, M, patch, T - patch)
    floors = kalman.patch_floors(L, M, patch)
    for k in range(T - patch + 1):
        for t in range(patch, T):
            start = t // patch * patch
            seen = np.arange(max(0, start - k) * M, start * M)
            direct = residual(covariance, np.arange(t * M, (t + 1) * M), seen)
            np.testing.assert_allclose(found[k, t - patch], direct - floors[t], atol=1e-11)
    # With every step before it, it is the filter, to more digits than a difference of errors has.
    assert found[-1].max() < 1e-24
    assert (np.diff(found.mean(1)) < 0).all()


@every_system
def test_bounded_regret_is_statsmodels_filter_started_k_steps_ago(system):
    """A filter that begins at the stationary-in-law prior Cov(x_{t−k}) knows what AR(k) knows."""
    k, t = 3, 9
    L = kalman.cholesky_factor(system, T)
    A, C, n = system.A, system.C, system.latent_dim
    prior = sum(system.sigma**2 * np.linalg.matrix_power(A, j) @ np.linalg.matrix_power(A, j).T for j in range(t - k))
    model = sm.tsa.statespace.MLEModel(np.zeros((k + 1, M)), k_states=n)
    model["design"], model["transition"], model["selection"] = C, A, np.eye(n)
    model["state_cov"], model["obs_cov"] = system.sigma**2 * np.eye(n), system.observation_noise**2 * np.eye(M)
    model.initialize_known(np.zeros(n), prior)
    error = model.ssm.filter().forecasts_error_cov[:, :, -1]
    found = bounded_regret(L, L @ L.T, M, 1, k)[k, t - 2]
    np.testing.assert_allclose(found + kalman.patch_floors(L, M, 1)[t - 1], np.trace(error), rtol=1e-12)


@every_system
@pytest.mark.parametrize("patch", [1, 2])
def test_the_regret_of_fixed_coefficients_is_their_error_beyond_the_filter_s_at_each_step(patch, system):
    k = 4
    L = kalman.cholesky_factor(system, T)
    covariance = L @ L.T
    windows = window_moments(covariance, M, patch, k)
    W = coefficients(windows, M, patch, k)
    regret = fixed_regret(L, W, M, patch)
    floors = kalman.patch_floors(L, M, patch)[patch:]
    np.testing.assert_allclose(regret.sum(), squared_error(windows, W) - floors.sum(), rtol=1e-8)
    for start in (patch, 2 * patch, T - patch):  # from the covariance: fewer steps than k, and more
        lags = min(k, start)
        seen = np.concatenate([np.arange((start - j) * M, (start - j + 1) * M) for j in range(1, lags + 1)])
        ahead, own = np.arange(start * M, (start + patch) * M), W[:, : lags * M]
        error = covariance[np.ix_(ahead, ahead)] - 2 * own @ covariance[np.ix_(seen, ahead)]
        error += own @ covariance[np.ix_(seen, seen)] @ own.T
        expected = np.diag(error).reshape(patch, M).sum(1)
        here = slice(start - patch, start)
        np.testing.assert_allclose(regret[here] + floors[here], expected, rtol=1e-10)


@every_system
@pytest.mark.parametrize("patch", [1, 2])
def test_invariant_excess_is_least_squares_over_all_windows(patch, system):
    k = 4
    L = kalman.cholesky_factor(system, T)
    windows = window_moments(L @ L.T, M, patch, k)
    # Rows of L are y as coefficients of white noise: least squares over them is least squares in expectation.
    padded = np.concatenate([np.zeros((k * M, T * M)), L])
    starts = range(patch, T, patch)
    seen = [padded[s * M : (s + k) * M].reshape(k, M, -1)[::-1].reshape(k * M, -1) for s in starts]
    ahead = [L[s * M : (s + patch) * M] for s in starts]
    floor = kalman.patch_floors(L, M, patch)[patch:].sum()
    excess = invariant_excess(windows, floor, M, patch)
    for order in (1, k):
        X = np.concatenate([one[: order * M].T for one in seen])
        Y = np.concatenate([one.T for one in ahead])
        W, squares, *_ = np.linalg.lstsq(X, Y, rcond=None)
        np.testing.assert_allclose(coefficients(windows, M, patch, order), W.T, atol=1e-9)
        np.testing.assert_allclose(squared_error(windows, W.T), squares.sum(), rtol=1e-10)
        np.testing.assert_allclose(excess[order], squares.sum() / floor - 1, atol=1e-10)
    assert excess[0] > excess[1] > excess[k] >= 0


def test_rollout_excess_feeds_predictions_back():
    k, context, horizons = 4, 5, (1, 2, 5)
    W = np.random.default_rng(0).normal(size=(M, k * M)) / 5
    z = np.eye(T * M)
    y = (z @ L.T).reshape(-1, T, M)  # one sequence for each innovation: the sum of their squares is the expectation
    fed = [y[:, t] for t in range(context)]
    for _ in range(max(horizons)):
        fed.append(np.concatenate(fed[: -k - 1 : -1], axis=1) @ W.T)
    best = np.where(np.arange(T * M) < context * M, 1.0, 0.0)[:, None, None] * y
    off = [((fed[context + h - 1] - best[:, context + h - 1])[: context * M] ** 2).sum() for h in horizons]
    floors = kalman.horizon_floors(L, M, context, horizons)
    np.testing.assert_allclose(rollout_excess(L, W, M, context, horizons), off / floors, rtol=1e-10)
    # The best coefficients of one patch are the filter's own prediction of it, where memory reaches the start.
    exact = coefficients(window_moments(COVARIANCE[: 8 * M, : 8 * M], M, 4, 4), M, 4, 4)
    np.testing.assert_allclose(rollout_excess(L, exact, M, 4, (1, 2, 3, 4)), 0, atol=1e-18)


@every_system
def test_horizon_regret_is_the_conditional_error_less_the_filters(system):
    L, covariance = kalman.cholesky_factor(system, T), kalman.observation_covariance(system, T)
    context, horizons = 6, (1, 3, 4)
    floors = kalman.horizon_floors(L, M, context, horizons)
    for k in (1, 4, 6):
        seen = np.arange((context - k) * M, context * M)
        steps = [np.arange((context + h - 1) * M, (context + h) * M) for h in horizons]
        direct = [residual(covariance, step, seen) for step in steps] - floors
        np.testing.assert_allclose(horizon_regret(L, M, context, horizons, k), direct, atol=1e-11)
    bounded = bounded_regret(L, covariance, M, 1, 2)[2, context - 1]
    np.testing.assert_allclose(horizon_regret(L, M, context, [1], 2), bounded)


def test_what_stands_in_experiments_is_what_stands_beside_a_run():
    bounded = bounded_memory(SMALL.task, 0, 2)
    assert exact_ar(SMALL.task, 0, 2) == pytest.approx({k: bounded.invariant[k] for k in (1, 2, 4, 8)})
    assert memory_of(SMALL.task, 0, 2, 1 + bounded.varying[3]) == pytest.approx(3)
    L = kalman.cholesky_factor(system_of(SMALL.task, 0), 12)
    expected = horizon_regret(L, 2, 4, [3], 2)[0] / kalman.horizon_floors(L, 2, 4, [3])[0]
    assert ahead_ar(SMALL.task, 0, 4, 3, 2) == pytest.approx(expected)


def test_equivalent_memory_lies_between_orders_by_the_logarithm():
    by_order = np.array([1.0, 1e-1, 1e-3, 1e-3, 1e-4])
    assert equivalent_memory(2.0, by_order) == 0
    assert equivalent_memory(1e-1, by_order) == 1
    assert equivalent_memory(1e-2, by_order) == pytest.approx(1.5)
    assert equivalent_memory(10**-3.25, by_order) == pytest.approx(3.25)
    assert equivalent_memory(9e-5, by_order) is None
    assert np.isnan(equivalent_memory(float("nan"), by_order))


def test_the_longest_memory_is_bounded_by_the_sequence_and_by_the_work():
    assert longest_memory(256, 2, 1) == 128
    assert longest_memory(64, 2, 4) == 60
    assert longest_memory(256, 64, 1) == 8
    assert longest_memory(4096, 16, 1) == 4


SMALL = FiltersConfig(
    task=FilterTaskConfig(lambda_=(0.9,), latent_dim=4, observed_dim=2, length=12),
    model=FilterModelConfig(layers=1, d_model=8, heads=2),
    train=TrainConfig(steps=9, batch_size=7, learning_rate=(1e-2,), validation_sequences=5),
    rollout=RolloutConfig(context=4, horizons=(1, 3), rollouts=2),
)


def test_the_fit_is_ordinary_least_squares_on_the_trainings_own_sequences():
    steps = 5
    fitted = fitted_ar(SMALL, steps)
    task = FilterTask(draw_system("diagonal", latent_dim=4, observed_dim=2, lambda_=0.9, sigma=1.0, seed=0), 12, 1)
    keys = [sequence_keys(np.asarray(0), Purpose.TRAIN, jnp.asarray(step), 7) for step in range(steps)]
    y = np.concatenate([np.asarray(jax.vmap(task.sample)(one), float) for one in keys])
    k = fitted.chosen
    padded = np.concatenate([np.zeros((len(y), k, 2)), y], axis=1)
    X = np.concatenate([np.concatenate([padded[:, k + t - j] for j in range(1, k + 1)], 1) for t in range(1, 12)])
    own = sm.OLS(np.concatenate([y[:, t, 0] for t in range(1, 12)]), X).fit()
    np.testing.assert_allclose(fitted.W[0], own.params, rtol=1e-3, atol=1e-5)
    assert fitted.sequences == steps * 7
    # No fit is better than the best coefficients of its order.
    bounded = bounded_memory(SMALL.task, 0, 1)
    assert all(fitted.excess[order] > bounded.invariant[order] for order in fitted.excess)
    assert list(rolled_out(SMALL, fitted, SMALL.rollout)) == [1, 3]


def test_runs_that_differ_in_the_rate_share_a_fit():
    other = dataclasses.replace(SMALL, train=dataclasses.replace(SMALL.train, learning_rate=(3e-2,)))
    assert fitted_ar(SMALL, 5) is fitted_ar(other, 5)
    assert fitted_ar(SMALL, 6) is not fitted_ar(SMALL, 5)
