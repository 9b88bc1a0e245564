"""What stands beside a run: the exact AR(k) of its system, and AR(k) fitted on the sequences that it was trained on."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bestguess.filters import kalman
from bestguess.filters.autoregression import (
    ORDERS,
    WIDEST,
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
from bestguess.filters.config import FiltersConfig, FilterTaskConfig, RolloutConfig
from bestguess.filters.task import FilterTask, system_of
from bestguess.train.problem import Purpose, sequence_keys

AT_ONCE = 4096
"""Sequences that are drawn at once to be fitted on."""


@dataclass(frozen=True, eq=False)
class BoundedMemory:
    """The excess of the best AR(k) of one system over its filter, exactly."""

    varying: Float[np.ndarray, " k"]
    """Of the time-varying AR(k), k = 0, 1, …: the scale of the equivalent memory."""
    invariant: Float[np.ndarray, " k"]
    """Of the time-invariant AR(k), k = 0, 1, …"""
    by_step: Float[np.ndarray, "k S"] = field(repr=False)
    """The time-varying AR(k)'s regret over the filter's error, at each predicted step."""
    fixed_by_step: Float[np.ndarray, " S"] = field(repr=False)
    """The same of the time-invariant one, of the last of `orders`."""

    @property
    def orders(self) -> list[int]:
        """The orders that tables list."""
        return [k for k in ORDERS if k < len(self.varying)]

    def equivalent(self, normalised_loss: float) -> float | None:
        """Return the k whose time-varying AR(k) has this loss; None beyond the longest that is looked at."""
        return equivalent_memory(normalised_loss - 1, self.varying)


@dataclass(frozen=True, eq=False)
class FittedAR:
    """AR(k) fitted by least squares on sequences that were drawn, and what it comes to on the process."""

    sequences: int
    """How many it was fitted on."""
    excess: dict[int, float]
    """By order: the regret over the filter's error, an expectation over the process."""
    chosen: int
    """The order that the validation sequences select."""
    W: Float[np.ndarray, "p k"] = field(repr=False)
    """The coefficients of the chosen order."""


@functools.lru_cache(maxsize=64)
def bounded_memory(config: FilterTaskConfig, seed: int, patch: int) -> BoundedMemory:
    """Return the exact excess of the best AR(k) of the system that a run's seed draws, for patches of `patch` steps."""
    L, m = _factor(config, seed), config.observed_dim
    floors = kalman.patch_floors(L, m, patch)[patch:]
    longest = longest_memory(config.length, m, patch)
    covariance = _covariance(config, seed)
    regret = bounded_regret(L, covariance, m, patch, longest)
    windows = window_moments(covariance, m, patch, longest)
    last = max(k for k in ORDERS if k <= longest)
    fixed = coefficients(windows, m, patch, last)
    return BoundedMemory(
        varying=regret.mean(1) / floors.mean(),
        invariant=invariant_excess(windows, floors.sum(), m, patch),
        by_step=regret / floors,
        fixed_by_step=fixed_regret(L, fixed, m, patch) / floors,
    )


@functools.lru_cache(maxsize=4096)
def exact_ar(config: FilterTaskConfig, seed: int, patch: int) -> dict[int, float]:
    """Return the exact excess of the best time-invariant AR(k) by k; the time-varying one would take longer."""
    L, m = _factor(config, seed), config.observed_dim
    orders = [k for k in ORDERS if k <= config.length - patch and k * m <= WIDEST] or [1]
    windows = window_moments(_covariance(config, seed), m, patch, orders[-1])
    found = invariant_excess(windows, kalman.patch_floors(L, m, patch)[patch:].sum(), m, patch)
    return {k: float(found[k]) for k in orders}


def ahead_ar(config: FilterTaskConfig, seed: int, context: int, horizon: int, order: int) -> float:
    """Return the exact excess, `horizon` steps after `context`, of the best predictor from the last `order` of them."""
    # Later steps have no part in it, and the factor of many dimensions takes seconds.
    config = dataclasses.replace(config, length=context + horizon)
    L, m = _factor(config, seed), config.observed_dim
    regret = horizon_regret(L, m, context, [horizon], order) / kalman.horizon_floors(L, m, context, [horizon])
    return float(regret[0])


@functools.lru_cache(maxsize=4096)
def memory_of(config: FilterTaskConfig, seed: int, patch: int, normalised_loss: float) -> float | None:
    """Return the equivalent memory of a model of the system that a run's seed draws."""
    return bounded_memory(config, seed, patch).equivalent(normalised_loss)


def fitted_ar(config: FiltersConfig, steps: int, judged: FilterTaskConfig | None = None) -> FittedAR:
    """Return AR(k) fitted on the sequences of the first `steps` training steps of a run, drawn again.

    judged: the task on whose process it is judged, where that is not the one of its training.
    """
    # The learning rate draws nothing: runs that differ in it share the fit.
    train = dataclasses.replace(config.train, learning_rate=())
    return _fitted(dataclasses.replace(config, train=train), steps, config.task if judged is None else judged)


@functools.lru_cache(maxsize=64)
def _fitted(config: FiltersConfig, steps: int, judged: FilterTaskConfig) -> FittedAR:
    train, patch, m = config.train, config.model.patch, config.task.observed_dim
    task = FilterTask(system_of(config.task, train.first_seed), config.task.length, patch)
    orders = [k for k in ORDERS if k <= longest_memory(config.task.length, m, patch)]
    seed = jnp.asarray(train.first_seed)
    drawn = _second_moments(task, seed, Purpose.TRAIN, train.batch_size, steps)
    held = _second_moments(task, seed, Purpose.VALIDATE, train.validation_sequences, 1)
    windows, validation = (window_moments(moments, m, patch, orders[-1]) for moments in (drawn, held))
    fits = {k: coefficients(windows, m, patch, k) for k in orders}
    chosen = min(orders, key=lambda k: squared_error(validation, fits[k]))
    L = _factor(judged, train.first_seed)
    floor = kalman.patch_floors(L, m, patch)[patch:].sum()
    exact = window_moments(_covariance(judged, train.first_seed), m, patch, orders[-1])
    excess = {k: squared_error(exact, W) / floor - 1 for k, W in fits.items()}
    return FittedAR(steps * train.batch_size, excess, chosen, fits[chosen])


def rolled_out(config: FiltersConfig, fitted: FittedAR, rollout: RolloutConfig) -> dict[int, float]:
    """Return the excess of the fitted AR of the chosen order at each horizon, its predictions fed back."""
    L, m = _factor(config.task, config.train.first_seed), config.task.observed_dim
    found = rollout_excess(L, fitted.W, m, rollout.context, rollout.horizons)
    return dict(zip(rollout.horizons, map(float, found)))


@functools.lru_cache(maxsize=4)
def _factor(config: FilterTaskConfig, seed: int) -> Float[np.ndarray, "n n"]:
    return kalman.cholesky_factor(system_of(config, seed), config.length)


@functools.lru_cache(maxsize=4)
def _covariance(config: FilterTaskConfig, seed: int) -> Float[np.ndarray, "n n"]:
    return kalman.observation_covariance(system_of(config, seed), config.length)


def _second_moments(
    task: FilterTask, seed: Int[Array, ""], purpose: Purpose, batch: int, steps: int
) -> Float[np.ndarray, "n n"]:
    """Return Σ y yᵀ over the stacked sequences of the first `steps` steps, in float64."""
    at_once = max(1, AT_ONCE // batch)
    total = np.zeros((task.factor.shape[-1],) * 2)
    for first in range(0, steps, at_once):
        t = first + jnp.arange(at_once)
        total += np.asarray(_sum_of_steps(task, seed, purpose, batch, t, t < steps), np.float64)
    return total


@functools.partial(jax.jit, static_argnums=(2, 3))
def _sum_of_steps(task, seed, purpose: Purpose, batch: int, t: Int[Array, " steps"], wanted) -> Float[Array, "n n"]:
    keys = jax.vmap(lambda step: sequence_keys(seed, purpose, step, batch))(t).reshape(-1)
    y = jax.vmap(task.sample)(keys).reshape(len(keys), -1) * jnp.repeat(wanted, batch)[:, None]
    return jnp.matmul(y.T, y, precision="highest")
