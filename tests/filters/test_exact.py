"""The self-test's subject: the exact filter, sent through the path that a model takes, is the oracle."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from bestguess.filters import kalman
from bestguess.filters.config import PATCHES, FilterModelConfig
from bestguess.filters.exact import constant_forecaster, exact_forecaster
from bestguess.filters.forecaster import Forecaster, predict, rollout
from bestguess.filters.systems import STRUCTURES, draw_system
from bestguess.filters.task import FilterTask

N, M, T, CONTEXT, HORIZON = 5, 3, 64, 32, 19
SYSTEMS = [
    draw_system(s, latent_dim=N, observed_dim=M, lambda_=0.93, sigma=1.3, seed=4, observation_noise=r)
    for s, r in [*((one, 0.0) for one in STRUCTURES), ("dense", 0.8)]
]
every_kind = pytest.mark.parametrize(
    ("patch", "normalisation"), [*((p, n) for p in PATCHES for n in ("none", "input", "instance")), (4, "told")]
)

predict_ = jax.jit(predict)


@jax.jit
def draw(task: FilterTask):
    y, best = task.sample_with_oracle(jax.random.key(6))
    return y, best.mean


draw_ahead = jax.jit(lambda task: task.sample_with_forecast(jax.random.key(8), CONTEXT))
rollout_ = jax.jit(rollout, static_argnums=2)
feed = jax.jit(lambda forecaster, y, cache: forecaster(y, cache))


@functools.cache
def make_task(system, patch: int) -> FilterTask:
    return FilterTask(system, T, patch)


def config_of(patch: int, normalisation: str) -> FilterModelConfig:
    told = normalisation == "told"
    named = "instance" if told else normalisation
    return FilterModelConfig(patch=patch, normalisation=named, told_statistics=told)  # type: ignore[arg-type]


def make(system, patch: int, normalisation: str) -> tuple[FilterTask, Forecaster]:
    task = make_task(system, patch)
    config = config_of(patch, normalisation)
    return task, exact_forecaster(config, system, task.scale, T)


def off(found, best, unit) -> float:
    """The distance² of two predictions, in units of the floor."""
    found, best = np.asarray(found, np.float64), np.asarray(best)
    assert found.shape == best.shape
    return float(np.mean(np.sum((found - best) ** 2, axis=-1)) / np.mean(unit))


@every_kind
def test_the_exact_filter_is_the_oracle(patch, normalisation):
    for system in SYSTEMS:
        task, exact = make(system, patch, normalisation)
        y, best = draw(task)
        found, best = np.asarray(predict_(exact, y)), np.asarray(best)
        assert off(found, best[task.predicted], task.floor) < 1e-8
        # A step early or late it is far from it: the bound above can fail.
        if patch < T // 2:
            assert off(found[1:], best[task.predicted][:-1], task.floor) > 1e-3


@every_kind
def test_the_rollout_is_the_filters_prediction_at_every_horizon(patch, normalisation):
    for system in SYSTEMS:
        task, exact = make(system, patch, normalisation)
        y, best = draw_ahead(task)
        found = np.asarray(rollout_(exact, y[:CONTEXT], HORIZON))
        floors = kalman.horizon_floors(np.asarray(task.factor, np.float64), M, CONTEXT, range(1, HORIZON + 1))
        expected = kalman.predict_ahead(system, np.asarray(y[:CONTEXT]), range(1, HORIZON + 1))
        for h in range(HORIZON):
            assert off(found[h : h + 1], expected[h : h + 1], floors[h]) < 1e-8
        assert off(found, best[CONTEXT : CONTEXT + HORIZON], floors) < 1e-8


some_kinds = pytest.mark.parametrize(
    ("patch", "normalisation"), [(1, "none"), (4, "instance"), (16, "input"), (2, "told")]
)


@some_kinds
def test_a_rollout_scored_a_step_late_or_early_does_not_pass(patch, normalisation):
    """The mistake that looks like a finding: E[y_{t+h±1} | y_{1:t}] in the place of E[y_{t+h} | y_{1:t}]."""
    system = SYSTEMS[0]
    task, exact = make(system, patch, normalisation)
    y, best = draw_ahead(task)
    found = np.asarray(rollout_(exact, y[:CONTEXT], HORIZON))
    floors = kalman.horizon_floors(np.asarray(task.factor, np.float64), M, CONTEXT, range(1, HORIZON + 1))
    due = np.asarray(best[CONTEXT : CONTEXT + HORIZON])
    assert off(found[1:], due[:-1], floors) > 1e-3
    assert off(found[:-1], due[1:], floors) > 1e-3
    # Nor does one that was fed a context one patch too short.
    if patch < CONTEXT:
        assert off(rollout_(exact, y[: CONTEXT - patch], HORIZON), due, floors) > 1e-3


@some_kinds
def test_cached_equals_uncached(patch, normalisation):
    task, exact = make(SYSTEMS[3], patch, normalisation)
    y, best = (np.asarray(a) for a in draw(task))
    cache, outputs = exact.empty_cache(T), []
    pieces = [CONTEXT] + [patch] * ((T - CONTEXT) // patch)
    for start, length in zip(np.cumsum([0, *pieces]), pieces):
        output, cache = feed(exact, y[start : start + length], cache)
        outputs.append(output)
    assert off(np.concatenate(outputs)[:-patch], best[task.predicted], task.floor) < 1e-8
    assert int(cache.core.state.step) == T


def test_the_wrong_system_is_found_out():
    """What the self-test is for: a filter of another system, however near, does not score 1."""
    system = SYSTEMS[0]
    task = FilterTask(system, T, 1)
    other = draw_system("diagonal", latent_dim=N, observed_dim=M, lambda_=0.9, sigma=1.3, seed=4)
    wrong = exact_forecaster(FilterModelConfig(), other, task.scale, T)
    y, best = draw(task)
    assert off(predict_(wrong, y), best[task.predicted], task.floor) > 1e-5


@every_kind
def test_the_constant_predicts_0_whatever_it_sees(patch, normalisation):
    """What the self-test holds against floor and ceiling, one step ahead and rolled out."""
    task = make_task(SYSTEMS[0], patch)
    config = config_of(patch, normalisation)
    constant = constant_forecaster(config, SYSTEMS[0], task.scale, T)
    y, _ = draw(task)
    unit = float(np.std(y))
    assert unit > 0.5
    assert np.abs(predict_(constant, y)).max() < 1e-5 * unit
    assert np.abs(rollout_(constant, y[:CONTEXT], HORIZON)).max() < 1e-5 * unit
    exact = exact_forecaster(config, SYSTEMS[0], task.scale, T)
    assert jax.tree.structure(constant) == jax.tree.structure(exact)  # one compiled program for both
