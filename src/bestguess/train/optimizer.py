"""AdamW with warm-up, cosine decay and global-norm clipping, for a learning rate that is an array."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from bestguess.train.config import TrainConfig


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Return AdamW's direction (Loshchilov & Hutter, 2019) of the clipped gradient, at learning rate 1.

    The trainer multiplies it by the rate, which is an array: runs of one ensemble differ in it.
    """
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm) if config.clip_norm < float("inf") else optax.identity(),
        optax.scale_by_adam(config.beta1, config.beta2),
        optax.add_decayed_weights(config.weight_decay, mask=_matrices),
    )


def learning_rate(config: TrainConfig, peak: Float[Array | np.ndarray, ""], step: Int[Array, ""]) -> Float[Array, ""]:
    """Return the learning rate at `step`: linear warm-up to `peak`, then a cosine to its final share."""
    shape = optax.schedules.warmup_cosine_decay_schedule(
        0.0, 1.0, config.warmup_steps, config.steps, config.final_learning_rate
    )
    return peak * shape(step + 1 if config.warmup_steps else step)


def _matrices(parameters: PyTree) -> PyTree:
    """Gains and biases do not decay: pulling a gain to 0 is no prior that anyone holds."""
    return jax.tree.map(lambda p: jnp.ndim(p) >= 2, parameters)
