"""What a forecaster has learnt: a linear one is read exactly, the filter itself most of all; probes do not flatter."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import statsmodels.api as sm

from bestguess.filters import kalman
from bestguess.filters.config import FilterModelConfig
from bestguess.filters.exact import exact_forecaster
from bestguess.filters.forecaster import Forecaster, Normaliser, make_forecaster
from bestguess.filters.inspection import (
    changes,
    filter_response,
    probe,
    probes,
    response,
    state_estimates,
    streams,
)
from bestguess.filters.systems import draw_system
from tests.compiled import whole

M, T, SEEN = 2, 12, 10
SYSTEM = draw_system("diagonal", latent_dim=3, observed_dim=M, lambda_=0.9, sigma=1.3, seed=2)
L = kalman.cholesky_factor(SYSTEM, T)
NOISY = dataclasses.replace(SYSTEM, observation_noise=0.3)
Y = (np.random.default_rng(0).normal(size=(24, T * M)) @ L.T).reshape(-1, T, M)
SCALE = jnp.ones(M)


@pytest.mark.parametrize("system", [SYSTEM, NOISY], ids=["clean", "noisy"])
def test_the_filters_response_predicts_as_the_filter_does(system):
    H = filter_response(kalman.cholesky_factor(system, T), M, SEEN)
    found = np.einsum("jab,njb->na", H, Y[:, :SEEN][:, ::-1])
    np.testing.assert_allclose(found, kalman.predict_ahead(system, Y[:, :SEEN], [1])[:, 0], atol=1e-11)


@pytest.mark.parametrize(("patch", "system"), [(1, SYSTEM), (2, SYSTEM), (1, NOISY)], ids=["1", "2", "noisy"])
def test_the_exact_filter_has_the_filters_response(patch, system):
    L = kalman.cholesky_factor(system, T)
    exact = exact_forecaster(FilterModelConfig(patch=patch, layers=1, d_model=8, heads=2), system, SCALE, T)
    y = jnp.asarray(Y[:3], jnp.float32)
    late, early = (response(exact, system, y, L, seen) for seen in (SEEN, 2))
    assert late.relative_error < 1e-5
    assert late.nonlinearity < 1e-5
    assert late.linear_excess < 1e-9
    assert late.mean.shape == late.filter.shape == (SEEN, M, M)
    model, filters = changes(early, late)
    assert model == pytest.approx(filters, rel=1e-3)
    assert filters > 1e-3  # the gain has not settled after two steps


class _Cubic(eqx.Module):
    def __call__(self, token, cache=None):
        return 0.5 * token + token**3, cache


def test_the_response_of_a_model_that_is_not_linear_has_a_spread():
    y = jnp.asarray(Y, jnp.float32)
    found = response(Forecaster(Normaliser(SCALE, "none"), _Cubic(), 1), SYSTEM, y, L, SEEN)
    slope = 0.5 + 3 * Y[:, SEEN - 1] ** 2
    np.testing.assert_allclose(np.diagonal(found.mean[0]), slope.mean(0), rtol=1e-5)
    np.testing.assert_allclose(np.diagonal(found.spread[0]), slope.std(0), rtol=1e-5)
    assert np.abs(found.mean[1:]).max() == 0
    off = np.linalg.norm(found.mean - found.filter) / np.linalg.norm(found.filter)
    assert found.relative_error == pytest.approx(off)
    # E‖(J̄ − H) y‖² by the covariance itself.
    D = (found.mean - found.filter)[::-1].transpose(1, 0, 2).reshape(M, -1)
    covariance = kalman.observation_covariance(SYSTEM, SEEN)
    floor = kalman.horizon_floors(L, M, SEEN, [1])[0]
    assert found.linear_excess == pytest.approx(np.trace(D @ covariance @ D.T) / floor)


@pytest.mark.parametrize("system", [SYSTEM, NOISY], ids=["clean", "noisy"])
def test_state_estimates_are_those_of_statsmodels(system):
    model = sm.tsa.statespace.MLEModel(Y[0], k_states=3)
    model["design"], model["transition"], model["selection"] = system.C, system.A, np.eye(3)
    model["state_cov"], model["obs_cov"] = system.sigma**2 * np.eye(3), system.observation_noise**2 * np.eye(M)
    model.initialize_known(np.zeros(3), system.sigma**2 * np.eye(3))
    found = model.ssm.filter().predicted_state[:, 1:].T
    np.testing.assert_allclose(state_estimates(system, Y)[0], found, atol=1e-9)


def test_a_probe_reads_what_is_there_and_nothing_else():
    rng = np.random.default_rng(1)
    state = rng.normal(size=(40, 30, 4))
    stream = np.concatenate([state @ rng.normal(size=(4, 5)) + 3, rng.normal(size=(40, 30, 2))], axis=2)
    assert probe(stream, state) > 0.999
    assert probe(rng.normal(size=stream.shape), state) < 0
    # More features than values to fit: what is fitted by heart does not count.
    assert probe(rng.normal(size=(4, 5, 30)), rng.normal(size=(4, 5, 4))) < 0.1


@pytest.fixture(scope="module")
def model():
    return make_forecaster(FilterModelConfig(layers=2, d_model=8, heads=2), SCALE, key=jax.random.key(0))


def test_probes_of_every_depth_have_their_controls(model):
    y = jnp.asarray(np.tile(Y, (8, 1, 1)) + np.random.default_rng(2).normal(size=(192, T, M)), jnp.float32)
    found = probes(model, model, SYSTEM, y)
    assert len(found.r2) == len(found.shuffled) == 3
    assert found.r2 == found.untrained
    # The embedding is linear in y_t, and the state estimate depends on y_t.
    assert 0.1 < found.r2[0] < 1
    assert max(found.shuffled) < 0.05


def test_streams_end_where_the_decoder_does(model):
    y = jnp.asarray(Y[:2], jnp.float32)
    last = streams(model, y)[:, -1]
    ended = jax.vmap(model.core.decoder.norm)(last) @ model.core.head
    np.testing.assert_allclose(ended, whole(jax.vmap(lambda one: model(one)[0]), y), atol=1e-5)
