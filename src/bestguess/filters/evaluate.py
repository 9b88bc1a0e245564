"""A forecaster's rollouts beside the Kalman filter's own predictions, and what judging it needs of memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from bestguess.batches import in_batches
from bestguess.command import UserError
from bestguess.filters import kalman
from bestguess.filters.config import RolloutConfig
from bestguess.filters.forecaster import Forecaster, predict, rollout
from bestguess.filters.task import FilterTask
from bestguess.sampled import Score, score
from bestguess.task import Gaussian, regret
from bestguess.train.memory import Memory, device_memory, gigabytes, program_memory
from bestguess.train.problem import Purpose, member_key

programs: dict[tuple, tuple[int, Any]] = {}
"""The last few that were fitted to memory: how many sequences each takes at once, and the compiled program."""


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
    groups = in_batches(len(keys), group)
    found = [np.asarray(compiled(model, task, keys[places], horizons))[:count] for places, count in groups]
    distance = np.concatenate(found)
    m = task.shape[1]
    factor = np.asarray(task.factor, np.float64)
    floors = kalman.horizon_floors(factor, m, config.context, config.horizons)
    ceilings = kalman.horizon_ceilings(factor, m, config.context, config.horizons)
    scores = [score(distance[:, i], floors[i], ceilings[i]) for i in range(len(config.horizons))]
    return Rollouts(config.horizons, tuple(scores))


@jax.jit
def predict_all(forecaster: Forecaster, sequences: Float[Array, "n T m"]) -> Float[Array, "n T m"]:
    """Return the predictions of every step of many sequences; 0 for the first patch."""
    first = jnp.zeros_like(sequences[:, : forecaster.patch])
    return jnp.concatenate([first, jax.vmap(lambda y: predict(forecaster, y))(sequences)], axis=1)


def judged_at_once(model: Forecaster, shape: tuple[int, int], most: int, say: Callable[[str], None]) -> tuple[int, int]:
    """Return how many sequences of T steps of m fit into memory at once, `most` at most, and the bytes they need.

    Compiles their predictions, which a later call of `predict_all` finds compiled.
    """
    group, compiled = _fit(
        ("one step", *shape),
        (model,),
        most,
        lambda group: predict_all.lower(model, jax.ShapeDtypeStruct((group, *shape), jnp.float32)),
        lambda group: f"{group:,} sequences of {shape[0]} steps judged at once",
        f"--length {shape[0]}: judging one sequence",
        "lower it, --d-model or --layers",
        say,
    )
    return group, program_memory([compiled])


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
    return _fit(
        ("rollouts", context, longest),
        (model, task, horizons),
        len(keys),
        lambda group: _roll.lower(context, longest, model, task, keys[:group], horizons),
        lambda group: f"{group:,} rollouts of {longest} steps after {context} of context at once",
        f"--rollouts {len(keys)}: one rollout",
        "lower --horizons or --context",
        say,
    )


def _fit(
    what: tuple,
    arguments: tuple,
    most: int,
    lower: Callable[[int], Any],
    told: Callable[[int], str],
    one: str,
    fix: str,
    say: Callable[[str], None],
) -> tuple[int, Any]:
    """Return how many fit into memory at once, and the program compiled for that many; UserError where one does not."""
    # Runs of equal shapes share the program: compiling it anew for each would take longer than running it.
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(arguments))
    kind = what, most, jax.tree.structure(arguments), shapes
    if kind in programs:
        return programs[kind]
    group = most
    while True:
        compiled = lower(group).compile()
        memory = Memory(program_memory([compiled]), device_memory())
        say(f"{told(group)}: needs {memory}")
        if memory.fits:
            if len(programs) >= 8:  # a sweep meets its shapes one after the other: keep the last few
                del programs[next(iter(programs))]
            programs[kind] = group, compiled
            return group, compiled
        if group == 1:
            raise UserError(
                f"{one} needs {gigabytes(memory.needed)}, the device has {gigabytes(memory.available)}; {fix}"
            )
        group = -(-group // 2)
        say(f"that is more than there is: splitting into groups of {group:,}")
