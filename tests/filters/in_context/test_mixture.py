"""The Bayes mixture in float64, against brute force: joint Gaussian densities and conditional means of every system."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.stats

from bestguess.command import UserError
from bestguess.filters import kalman
from bestguess.filters.config import FilterTaskConfig
from bestguess.filters.in_context import mixture
from bestguess.filters.in_context.mixture import (
    HELD_OUT,
    TRAINED,
    Systems,
    bayes_mixture,
    filters_of,
    stacked,
    systems_of,
)
from bestguess.filters.systems import System, draw_system

K, N, M, T = 3, 5, 2, 6
DRAWN = [
    draw_system(structure, latent_dim=N, observed_dim=M, lambda_=lambda_, sigma=1.3, seed=seed)
    for structure, lambda_, seed in (("diagonal", 0.9, 1), ("dense", 0.7, 2), ("diagonal-real", 0.95, 3))
]
NOISY = [dataclasses.replace(one, observation_noise=0.8) for one in DRAWN]
SYSTEMS = stacked(DRAWN)
rng = np.random.default_rng(4)
Y = np.stack([kalman.cholesky_factor(one, T) @ rng.standard_normal(T * M) for one in DRAWN]).reshape(K, T, M)


def brute(y: np.ndarray, seen: int, t: int, drawn: list[System]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The log posterior after `seen` steps, and E[y_t | k] and Cov[y_t | k] of every system (t counts from 0)."""
    past, own = slice(seen * M), slice(t * M, (t + 1) * M)
    evidence, means, covariances = [], [], []
    for one in drawn:
        joint = kalman.observation_covariance(one, T)
        gain = np.linalg.solve(joint[past, past], joint[past, own]).T if seen else np.zeros((M, 0))
        known = y.reshape(-1)[past]
        evidence.append(scipy.stats.multivariate_normal(cov=joint[past, past]).logpdf(known) if seen else 0.0)
        means.append(gain @ known)
        covariances.append(joint[own, own] - gain @ joint[past, own])
    log = np.array(evidence)
    return log - np.logaddexp.reduce(log), np.stack(means), np.stack(covariances)


@pytest.mark.parametrize(("patch", "drawn"), [(1, DRAWN), (2, NOISY), (3, DRAWN)])
def test_the_mixture_is_that_of_the_joint_densities(patch, drawn):
    """With and without observation noise."""
    found = bayes_mixture(stacked(drawn), Y, patch)
    assert found.predictions.shape == (K, T, M)
    assert found.log_weights.shape == (K, T + 1, K)
    for y, predictions, log_weights in zip(Y, found.predictions, found.log_weights):
        for t in range(T):
            posterior, means, _ = brute(y, t // patch * patch, t, drawn)
            np.testing.assert_allclose(predictions[t], np.exp(posterior) @ means, rtol=0, atol=1e-9)
            np.testing.assert_allclose(log_weights[t], brute(y, t, t, drawn)[0], rtol=0, atol=1e-9)


def test_the_likelihood_is_the_mean_of_the_systems_own():
    found = bayes_mixture(SYSTEMS, Y)
    every = [
        scipy.stats.multivariate_normal(cov=kalman.observation_covariance(one, T)).logpdf(Y.reshape(K, -1))
        for one in DRAWN
    ]
    np.testing.assert_allclose(found.log_likelihood, np.logaddexp.reduce(every, axis=0) - np.log(K), atol=1e-9)


def test_a_mixture_of_one_is_its_kalman_filter():
    alone = bayes_mixture(stacked(DRAWN[1:2]), Y)
    expected = kalman.kalman_filter(DRAWN[1], Y)
    np.testing.assert_allclose(alone.predictions, expected.predictions, atol=1e-12)
    np.testing.assert_allclose(alone.log_likelihood, expected.log_likelihood, atol=1e-10)
    assert not alone.log_weights.any()


@pytest.mark.parametrize(("patch", "at_once", "drawn"), [(1, 1, DRAWN), (3, 2 * N**2, NOISY), (2, 1 << 20, DRAWN)])
def test_the_filters_of_all_systems_are_those_of_each(patch, at_once, drawn, monkeypatch):
    """However many are computed together."""
    monkeypatch.setattr(mixture, "_AT_ONCE", at_once)
    found = filters_of(stacked(drawn), T, patch)
    for k, one in enumerate(drawn):
        gains, innovations = kalman.kalman_gains(one, T)
        np.testing.assert_allclose(found.gains[:, k], gains, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(found.innovations[:, k], innovations, rtol=1e-11)
        L = kalman.cholesky_factor(one, T)
        trace = lambda a, k=k: np.trace(a[:, k], axis1=1, axis2=2)  # noqa: E731
        np.testing.assert_allclose(trace(found.ahead), kalman.patch_floors(L, M, patch), rtol=1e-10)
        np.testing.assert_allclose(trace(found.second), kalman.ceilings(L, M), rtol=1e-10)


def test_a_system_whose_innovations_are_singular_is_refused():
    A, C = DRAWN[0].A, DRAWN[0].C.copy()
    C[1] = C[0] * (1 + 1e-9)
    singular = Systems(np.stack([DRAWN[0].A, A]), np.stack([DRAWN[0].C, C]), 1.0)
    with pytest.raises(UserError, match="not positive definite"):
        filters_of(singular, T)


CONFIG = FilterTaskConfig(latent_dim=4, observed_dim=2, length=8, lambda_=(0.8,))


def test_a_longer_list_of_systems_begins_with_a_shorter_one():
    short, long = (systems_of(CONFIG, 5, count, TRAINED) for count in (3, 7))
    np.testing.assert_array_equal(short.A, long.A[:3])
    np.testing.assert_array_equal(short.C, long.C[:3])
    assert len({one.tobytes() for one in long.C}) == 7


def test_held_out_systems_are_others_of_the_same_law():
    trained, held_out = (systems_of(CONFIG, 5, 7, which) for which in (TRAINED, HELD_OUT))
    assert not {one.tobytes() for one in trained.C} & {one.tobytes() for one in held_out.C}
    for systems in (trained, held_out, systems_of(CONFIG, 6, 7, TRAINED)):
        np.testing.assert_allclose(np.abs(np.linalg.eigvals(systems.A)).max(1), 0.8)
    assert (systems_of(CONFIG, 6, 7, TRAINED).C != trained.C).any()


def test_a_seed_of_the_systems_stands_in_for_the_runs_own():
    own = dataclasses.replace(CONFIG, system_seed=5)
    np.testing.assert_array_equal(systems_of(own, 9, 2, TRAINED).A, systems_of(CONFIG, 5, 2, TRAINED).A)


def test_systems_are_stacked_as_they_are():
    one = System(np.eye(2) / 2, np.ones((1, 2)), 0.7, "diagonal")
    made = stacked([one, one])
    assert (made.count, made.sigma) == (2, 0.7)
