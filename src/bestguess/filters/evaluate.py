"""How far a forecaster's rollouts are from the Kalman filter's own predictions at every horizon."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from bestguess.command import UserError
from bestguess.filters import kalman
from bestguess.filters.config import RolloutConfig
from bestguess.filters.forecaster import Forecaster, rollout
from bestguess.filters.task import FilterTask
from bestguess.sampled import Score, score
from bestguess.task import Gaussian, regret
from bestguess.train.memory import Memory, device_memory, gigabytes, program_memory
from bestguess.train.problem import Purpose, member_key

_programs: dict[tuple, tuple] = {}


@dataclass(frozen=True)
class Rollouts:
    """One run's rollouts: a score at each horizon."""

    horizons: tuple[int, ...]
    scores: tuple[Score, ...]


def evaluate_rollouts(
    config: RolloutConfig,
    seed: int,
    model: Forecaster,
    task: FilterTask,
    say: Callable[[str], None] = lambda line: None,
) -> Rollouts:
    """Return the distance of the model's rollouts to the filter's own h-step predictions.

    Runs `config.rollouts` in parallel, in as few groups as fit into memory; says what it needs first.
    """
    keys = jax.random.split(member_key(jnp.asarray(seed), Purpose.ROLLOUT), config.rollouts)
    horizons = jnp.asarray(config.horizons)
    task = jax.tree.map(jnp.asarray, task)
    group, compiled = _fit_rollouts(config.context, max(config.horizons), model, task, keys, horizons, say)
    # The last group is filled up with rollouts that are thrown away: one compiled program serves all.
    count = -(-len(keys) // group)
    filled = keys[jnp.arange(count * group) % len(keys)].reshape(count, group)
    distance = np.concatenate([np.asarray(compiled(model, task, part, horizons)) for part in filled])[: len(keys)]
    m = task.shape[1]
    factor = np.asarray(task.factor, np.float64)
    floors = kalman.horizon_floors(factor, m, config.context, config.horizons)
    ceilings = kalman.horizon_ceilings(factor, m, config.context, config.horizons)
    scores = [score(distance[:, i], floors[i], ceilings[i]) for i in range(len(config.horizons))]
    return Rollouts(config.horizons, tuple(scores))


def rollout_memory(
    config: RolloutConfig, seed: int, model: Forecaster, task: FilterTask, say: Callable[[str], None]
) -> int:
    """Return the bytes that the rollouts of a model of these shapes need at once on each device, and say them."""
    keys = jax.random.split(member_key(jnp.asarray(seed), Purpose.ROLLOUT), config.rollouts)
    task = jax.tree.map(jnp.asarray, task)
    longest, horizons = max(config.horizons), jnp.asarray(config.horizons)
    _, compiled = _fit_rollouts(config.context, longest, model, task, keys, horizons, say)
    return program_memory([compiled])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _roll(
    context: int,
    longest: int,
    model: Forecaster,
    task: FilterTask,
    keys: Key[Array, " n"],
    horizons: Int[Array, " h"],
) -> Float[Array, "n h"]:
    def one(key: Key[Array, ""]) -> Float[Array, " h"]:
        y, best = task.sample_with_forecast(key, context)
        predicted = rollout(model, y[:context], longest)
        distance = regret(Gaussian(predicted), Gaussian(best[context : context + longest]))
        return distance[horizons - 1]

    return jax.vmap(one)(keys)


def _fit_rollouts(context, longest, model, task, keys, horizons, say):
    """Return how many rollouts fit into memory at once, and the program compiled for that many."""
    # Runs of equal shapes share the program: compiling it anew for each would take longer than all rollouts.
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves((model, task, keys, horizons)))
    kind = context, longest, jax.tree.structure((model, task)), shapes
    if kind in _programs:
        return _programs[kind]
    group = len(keys)
    while True:
        lowered = _roll.lower(context, longest, model, task, keys[:group], horizons)
        compiled = lowered.compile()
        memory = Memory(program_memory([compiled]), device_memory())
        say(f"{group:,} rollouts of {longest} steps after {context} of context at once: needs {memory}")
        if memory.fits:
            if len(_programs) >= 4:  # a sweep meets its shapes one after the other: keep the last few
                del _programs[next(iter(_programs))]
            _programs[kind] = group, compiled
            return group, compiled
        if group == 1:
            raise UserError(
                f"--rollouts {len(keys)}: one rollout needs {gigabytes(memory.needed)}, "
                f"the device has {gigabytes(memory.available)}; lower --horizons or --context"
            )
        group = -(-group // 2)
        say(f"that is more than there is: splitting into groups of {group:,}")
