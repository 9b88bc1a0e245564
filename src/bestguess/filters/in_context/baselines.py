"""What stands beside a run on unknown systems: ridge and AR(k) fitted in context, on the run's own test sequences."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from bestguess.filters.in_context.evaluate import grouped
from bestguess.filters.in_context.regression import PENALTIES, fitted_in_context, orders_of
from bestguess.filters.in_context.task import Bank, MixtureTask
from bestguess.task import Estimate, Gaussian, regret
from bestguess.train.problem import Purpose, member_key, sequence_keys


@dataclass(frozen=True, eq=False)
class Regression:
    """A regression's loss over the told filters' on one list of systems."""

    over_told: Estimate
    """In units of the told filters' error."""
    by_step: Float[np.ndarray, " S"] = field(repr=False)
    """The same at each predicted step, in units of their error there."""


@dataclass(frozen=True, eq=False)
class Baselines:
    """Regressions fitted in context, each on the trained and on the held-out systems."""

    ridge: tuple[int, float]
    """Order and penalty, which validation sequences select."""
    of_ridge: tuple[Regression, Regression]
    least_squares: dict[int, tuple[Regression, Regression]]
    """By order."""
    order: int
    """The order of least squares that validation sequences select."""


def in_context_baselines(task: MixtureTask, seed: int, validation: int, test: int) -> Baselines:
    """Return ridge and least squares fitted in context, on the test sequences of a run.

    The orders and the ridge's penalty are selected on `validation` sequences of the trained systems.
    """
    first = jnp.asarray(seed)
    keys = sequence_keys(first, Purpose.VALIDATE, jnp.asarray(0), validation)
    y = jax.jit(jax.vmap(task.sample))(keys)
    errors: dict[tuple[int, float], float] = {}
    for k in orders_of(*task.shape):
        predicted = fitted_in_context(y, task.scale, k, task.patch, jnp.asarray(PENALTIES))
        squared = (np.asarray(predicted, np.float64) - np.asarray(y)[None]) ** 2
        found = squared[:, :, task.predicted].sum(3).mean((1, 2))
        errors |= {(k, alpha): one for alpha, one in zip(PENALTIES, found)}
    keys, keys_out = (
        jax.random.split(member_key(first, purpose), test) for purpose in (Purpose.TEST, Purpose.HELD_OUT)
    )
    groups = min(task.held_out.count, test)
    drawn, drawn_out = _told(task, keys), _told_held_out(task, jnp.arange(test) % groups, keys_out)

    def judged(order: int, penalty: float) -> tuple[Regression, Regression]:
        predictor = functools.partial(_predict, task, order, penalty)
        return (
            _judge(predictor(drawn[0]), drawn[1], task, task.bank, test),
            _judge(predictor(drawn_out[0]), drawn_out[1], task, task.held_out, groups),
        )

    chosen = min(errors, key=errors.__getitem__)
    order = min((k for k, _ in errors), key=lambda k: errors[k, PENALTIES[0]])
    return Baselines(chosen, judged(*chosen), {k: judged(k, PENALTIES[0]) for k, _ in errors}, order)


def _predict(task: MixtureTask, order: int, penalty: float, y: Float[Array, "n T m"]) -> Float[Array, "n T m"]:
    return fitted_in_context(y, task.scale, order, task.patch, jnp.asarray([penalty]))[0]


def _judge(
    predicted: Float[Array, "n T m"], told: Float[Array, "n T m"], task: MixtureTask, bank: Bank, groups: int
) -> Regression:
    S = task.predicted
    apart = np.asarray(regret(Gaussian(predicted), Gaussian(told)), np.float64)[:, S]
    floor = np.asarray(bank.floor_by_step, np.float64)[S]
    return Regression(grouped(apart.mean(1) / floor.mean(), groups), apart.mean(0) / floor)


@jax.jit
def _told(task: MixtureTask, keys: Key[Array, " n"]) -> tuple[Float[Array, "n T m"], Float[Array, "n T m"]]:
    return jax.vmap(lambda key: task.told(key)[:2])(keys)


@jax.jit
def _told_held_out(
    task: MixtureTask, places: Int[Array, " n"], keys: Key[Array, " n"]
) -> tuple[Float[Array, "n T m"], Float[Array, "n T m"]]:
    return jax.vmap(task.told_held_out)(places, keys)
