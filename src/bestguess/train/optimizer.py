"""AdamW, Adam and momentum; warm-up and decay; clipping: all for a learning rate that is an array."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from bestguess.train.config import TrainConfig


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Return the optimiser's direction of the clipped gradient, at learning rate 1.

    The trainer multiplies it by the rate, which is an array: runs of one ensemble differ in it.
    adamw: Loshchilov & Hutter (2019); adam: Kingma & Ba (2015); sgd: m ← βm + g, the direction is m
    (Sutskever et al., 2013). Decay is decoupled in the first and part of the gradient in the others.
    """
    never = float("inf")
    clip = optax.chain(
        optax.clip(config.clip_value) if config.clip_value < never else optax.identity(),
        optax.clip_by_global_norm(config.clip_norm) if config.clip_norm < never else optax.identity(),
    )
    decay = optax.add_decayed_weights(config.weight_decay, mask=_matrices)
    adam = optax.scale_by_adam(config.beta1, config.beta2)
    match config.optimizer:
        case "adamw":
            return optax.chain(clip, adam, decay)
        case "adam":
            return optax.chain(clip, decay, adam)
        case "sgd":
            return optax.chain(clip, decay, optax.trace(config.beta1))


def learning_rate(config: TrainConfig, peak: Float[Array | np.ndarray, ""], step: Int[Array, ""]) -> Float[Array, ""]:
    """Return the learning rate at `step`: linear warm-up to `peak`, then the schedule's way to its final share."""
    step = step + 1 if config.warmup_steps else step
    final = config.final_learning_rate
    if config.schedule == "cosine":
        shape = optax.schedules.warmup_cosine_decay_schedule(0.0, 1.0, config.warmup_steps, config.steps, final)(step)
        return peak * shape
    progress = jnp.clip((step - config.warmup_steps) / (config.steps - config.warmup_steps), 0.0, 1.0)
    match config.schedule:
        case "constant":
            share = jnp.ones(())
        case "step":
            drops = config.learning_rate_drops
            share = final ** (jnp.minimum(jnp.floor(progress * (drops + 1)), drops) / drops)
        case "exponential":
            share = final**progress
    return jnp.asarray(peak) * jnp.where(step < config.warmup_steps, step / max(1, config.warmup_steps), share)


def _matrices(parameters: PyTree) -> PyTree:
    """Gains and biases do not decay: pulling a gain to 0 is no prior that anyone holds."""
    return jax.tree.map(lambda p: jnp.ndim(p) >= 2, parameters)
