"""What follows from one run's validation: its best weights, and whether it stops early."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bestguess.train.config import TrainConfig
from bestguess.train.problem import State


def judge(config: TrainConfig, state: State, score: Float[Array, ""], step: Int[Array, ""]) -> State:
    """Return the run's state after a validation at `step`: the best weights kept, out of patience or not."""
    live = ~state.stopped
    # The best weights are the best, by however little; patience asks for more than `min_delta` and `min_decrease`.
    better = live & (score < state.best_score)
    asked = jnp.maximum(config.min_delta * jnp.abs(state.best_score), config.min_decrease)
    enough = score < state.best_score - asked
    progress = better & (enough | jnp.isinf(state.best_score))
    stale = jnp.where(live, jnp.where(progress, 0, state.stale + 1), state.stale)
    bored = (stale >= config.patience) if config.patience else jnp.asarray(False)
    best, best_score, best_step = jax.tree.map(
        lambda new, old: jnp.where(better, new, old),
        (state.judged, score, step),
        (state.best, state.best_score, state.best_step),
    )
    return dataclasses.replace(
        state,
        best=best,
        best_score=best_score,
        best_step=best_step,
        stale=stale,
        stopped=state.stopped | (live & bored),
    )
