"""How far trained forecasters are from the Kalman filter, on fresh sequences, in one step and in many."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Key, PyTree

from bestguess.command import Failure, UserError
from bestguess.filters import kalman
from bestguess.filters.config import FiltersConfig, RolloutConfig, Run
from bestguess.filters.exact import exact_forecaster
from bestguess.filters.forecaster import Forecaster, rollout
from bestguess.filters.problem import distances
from bestguess.filters.task import FilterTask, system_of
from bestguess.task import Estimate, estimate, headroom, skill
from bestguess.train.ensemble import member_key
from bestguess.train.memory import Memory, device_memory, gigabytes, program_memory

TEST, ROLLOUT, PICTURE = 16, 17, 18
"""Purposes of random keys: training and validation have others, so test sequences are none of theirs."""

SELF_TEST_TOLERANCE = 1e-6
_SELF_TEST_SEQUENCES = 64
_programs: dict[tuple, tuple] = {}
_BATCH = 256


@dataclass(frozen=True)
class Score:
    """A squared error beside the filter's, over independent sequences."""

    loss: Estimate
    """Normalised loss, 1 + E‖ŷ − ŷ*‖² / E‖y − ŷ*‖² (no unit)."""
    skill: float
    """Share of the headroom gained; NaN where there is no headroom."""
    headroom: float
    """How much worse than the filter the best constant is (share of the filter's error)."""


@dataclass(frozen=True)
class Evaluation:
    """One run's one-step (one-patch) evaluation."""

    score: Score
    by_step: np.ndarray
    """E‖ŷ_t − ŷ*_t‖² / E‖y_t − ŷ*_t‖² of each predicted step t = P+1..T (no unit)."""


def evaluate(config: FiltersConfig, run: Run, model: Forecaster, task: FilterTask, sequences: int) -> Evaluation:
    """Return the distance of `model` to the filter on `sequences` test sequences of the run's seed."""
    keys = jax.random.split(member_key(jnp.asarray(run.seed), TEST), sequences)
    distance = np.asarray(_distances(model, task, keys), np.float64)
    floor = np.asarray(task.floor_by_step[task.predicted], np.float64)
    return Evaluation(_score(distance.mean(axis=1), task.floor, task.ceiling), distance.mean(axis=0) / floor)


@dataclass(frozen=True)
class Rollouts:
    """One run's rollouts: a score at each horizon."""

    horizons: tuple[int, ...]
    scores: tuple[Score, ...]


def evaluate_rollouts(
    config: RolloutConfig,
    run: Run,
    model: Forecaster,
    task: FilterTask,
    say: Callable[[str], None] = lambda line: None,
) -> Rollouts:
    """Return the distance of the model's rollouts to the filter's own h-step predictions.

    Runs `config.rollouts` in parallel, in as few groups as fit into memory; says what it needs first.
    """
    keys = jax.random.split(member_key(jnp.asarray(run.seed), ROLLOUT), config.rollouts)
    horizons = jnp.asarray(config.horizons)
    group, compiled = _fit_rollouts(config.context, max(config.horizons), model, task, keys, horizons, say)
    # The last group is filled up with rollouts that are thrown away: one compiled program serves all.
    count = -(-len(keys) // group)
    filled = keys[jnp.arange(count * group) % len(keys)].reshape(count, group)
    distance = np.concatenate([np.asarray(compiled(model, task, part, horizons)) for part in filled])[: len(keys)]
    m = task.shape[1]
    factor = np.asarray(task.factor, np.float64)
    floors = kalman.horizon_floors(factor, m, config.context, config.horizons)
    ceilings = kalman.horizon_ceilings(factor, m, config.context, config.horizons)
    scores = [_score(distance[:, i], floors[i], ceilings[i]) for i in range(len(config.horizons))]
    return Rollouts(config.horizons, tuple(scores))


def self_test(config: FiltersConfig, run: Run, task: FilterTask) -> float:
    """Return by how much the exact filter, in the model's place, misses 1 in evaluation and rollout.

    It takes the very path of a model: normalisation, patches, cache, rollout. Raises Failure above
    `SELF_TEST_TOLERANCE`: then no figure of this evaluation is to be believed.
    """
    system = system_of(config.task, run)
    exact = exact_forecaster(config.model, system, task.scale, config.task.length)
    once = evaluate(config, run, exact, task, _SELF_TEST_SEQUENCES).score.loss.mean
    small = RolloutConfig(config.rollout.context, config.rollout.horizons, _SELF_TEST_SEQUENCES)
    rolled = [score.loss.mean for score in evaluate_rollouts(small, run, exact, task).scores]
    worst = max(abs(loss - 1) for loss in (once, *rolled))
    if not worst <= SELF_TEST_TOLERANCE:
        raise Failure(
            f"self-test: the exact Kalman filter scores {once:.7f} in one step and "
            f"{', '.join(f'{loss:.7f} at t+{h}' for h, loss in zip(small.horizons, rolled))} through this evaluation, "
            f"not 1 within {SELF_TEST_TOLERANCE:g}; the evaluation is wrong, so no result is reported"
        )
    return worst


def sequences_to_skill(sequences: np.ndarray, skills: np.ndarray, level: float) -> float | None:
    """Return after how many training sequences the validation skill first reached `level`; None if never.

    Interpolated between two validations, linearly in the logarithm of the sequences.
    """
    reached = np.flatnonzero(np.asarray(skills) >= level)
    if not len(reached):
        return None
    i = int(reached[0])
    if i == 0:
        return float(sequences[0])
    share = (level - skills[i - 1]) / (skills[i] - skills[i - 1])
    return float(np.exp((1 - share) * np.log(sequences[i - 1]) + share * np.log(sequences[i])))


def selected(runs: list[Run], best_score: np.ndarray) -> dict[tuple[float, str], float]:
    """Return, for each setting (λ, structure), the learning rate with the lowest mean validation loss over seeds.

    Validation data selects, test data reports: the two are drawn apart. A rate with a run that never
    had a finite validation is passed over, unless there is no other.
    """
    choice = {}
    for setting in dict.fromkeys(run.setting for run in runs):
        rates = dict.fromkeys(run.learning_rate for run in runs if run.setting == setting)
        mean = {
            rate: np.mean([s for r, s in zip(runs, best_score) if (r.setting, r.learning_rate) == (setting, rate)])
            for rate in rates
        }
        choice[setting] = min(mean, key=lambda rate: (not np.isfinite(mean[rate]), mean[rate]))
    return choice


def run_of(stacked: PyTree, index: int) -> Any:
    """Return one run's slice of a pytree with a leading run axis."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[index]), stacked)


def _score(distance: Float[np.ndarray, " sequences"], floor: ArrayLike, ceiling: ArrayLike) -> Score:
    floor, ceiling = jnp.asarray(floor), jnp.asarray(ceiling)
    # The excess on its own: 1 + 1e-12 is 1 in float32, and the self-test looks that closely.
    excess = estimate(jnp.asarray(distance) / floor)
    loss = 1 + excess.mean
    reached = skill(jnp.asarray(distance.mean()), floor, ceiling)
    return Score(excess._replace(mean=loss), float(reached), float(headroom(ceiling, floor)))


@functools.partial(jax.jit)
def _distances(model: Forecaster, task: FilterTask, keys: Key[Array, " n"]) -> Float[Array, "n S"]:
    # In batches: the memory does not grow with the number of sequences.
    return jax.lax.map(lambda key: distances(model, task, key), keys, batch_size=min(_BATCH, len(keys)))


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
        distance = jnp.sum((predicted - best[context : context + longest]) ** 2, axis=-1)
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
        memory = Memory(program_memory(compiled), device_memory())
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
