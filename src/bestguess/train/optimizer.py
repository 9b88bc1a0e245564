"""AdamW, Adam, momentum and Muon; warm-up and decay; clipping: all for a learning rate that is an array."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from bestguess.train.config import TrainConfig
from bestguess.train.muon import Muon, MuonState


class Optimizer:
    """An optimiser in two halves: its means of the gradients seen, and the direction that these point in.

    The trainer multiplies the direction by the rate, which is an array: runs of one program differ in it.
    adamw: Loshchilov & Hutter (2019); adam: Kingma & Ba (2015); sgd: m ← βm + g, the direction is m
    (Sutskever et al., 2013); muon: see there. Decay is part of the gradient in adam and sgd, decoupled in the others.

    Of one expression, XLA:CPU makes three loops that each compute the means anew, from copies of the old ones: twice
    the time, 1/20 of a small model's step.
    """

    def __init__(self, config: TrainConfig, hidden: Callable[[PyTree], PyTree] | None = None):
        """Return the optimiser. hidden: of a model, which leaves are hidden matrices, as muon must know."""
        self.config = config
        never = float("inf")
        by_value = config.clip_value < never
        # Without clipping by value, clipping by norm is a factor: see `update`.
        self._clips_by_factor = config.clip_norm < never and not by_value
        clip = optax.chain(
            optax.clip(config.clip_value) if by_value else optax.identity(),
            optax.clip_by_global_norm(config.clip_norm) if by_value and config.clip_norm < never else optax.identity(),
        )
        decay = optax.add_decayed_weights(config.weight_decay, mask=_matrices)
        adam = optax.scale_by_adam(config.beta1, config.beta2)
        chains: dict[str, tuple[optax.GradientTransformation, ...]] = {
            "adamw": (clip, adam, decay),
            "adam": (clip, decay, adam),
            "sgd": (clip, decay, optax.trace(config.beta1)),
        }
        self._muon: Muon | None = None
        if config.optimizer == "muon":
            if hidden is None:
                raise ValueError("muon moves hidden matrices in its own way: say which they are")
            self._muon = muon = Muon(config, hidden)
            update = lambda gradient, state, model: (gradient, muon.update(gradient, state))  # noqa: E731
            chains["muon"] = (clip, optax.GradientTransformation(muon.init, update))
        self._chain = optax.chain(*chains[config.optimizer])

    def init(self, model: PyTree) -> PyTree:
        """Return the state before the first step."""
        return self._chain.init(model)

    def update(
        self,
        gradient: PyTree,
        state: PyTree,
        model: PyTree,
        scale: Float[Array | float, ""] = 1.0,
        live: Bool[Array | bool, ""] = True,
    ) -> PyTree:
        """Return the state after a clipped `scale` · `gradient`; where not `live`, the state as it was."""
        if self._clips_by_factor:
            scale = scale * jnp.minimum(1.0, self.config.clip_norm / (optax.tree.norm(gradient) * scale))

        def step():
            return self._chain.update(jax.tree.map(lambda g: g * scale, gradient), state, model)[1]

        # A branch, not a choice between results: XLA:CPU then writes the new means over the old ones.
        return jax.lax.cond(live, step, lambda: state)

    def direction(self, state: PyTree, model: PyTree) -> PyTree:
        """Return what is to be taken off the model, at learning rate 1."""
        config = self.config
        if config.optimizer == "sgd":
            return optax.tree.get(state, "trace")
        decay = lambda d, p, is_matrix: d + config.weight_decay * p if is_matrix else d  # noqa: E731
        if self._muon is not None:
            own = next(part for part in state if isinstance(part, MuonState))
            return jax.tree.map(decay, self._muon.direction(own, model), model, _matrices(model))
        adam = next(part for part in state if isinstance(part, optax.ScaleByAdamState))
        # Products with 1/(1 − βᵗ): a loop over all weights has enough divisions without them.
        unbiased = [1 / (1 - beta**adam.count) for beta in (config.beta1, config.beta2)]
        along = lambda m, v: m * unbiased[0] / (jnp.sqrt(v * unbiased[1]) + _EPS)  # noqa: E731
        direction = jax.tree.map(along, adam.mu, adam.nu)
        if config.optimizer == "adam":
            return direction
        return jax.tree.map(decay, direction, model, _matrices(model))


_EPS = 1e-8
"""Optax's own, of Adam."""


def learning_rate(config: TrainConfig, peak: Float[Array | np.ndarray, ""], step: Int[Array, ""]) -> Float[Array, ""]:
    """Return the rate at `step`: linear warm-up to `peak`, the hold there, the schedule's way to its final share.

    The last step has the final share. Without a warm-up the first step has the peak.
    """
    warmup, final, begin = max(1, config.warmup_steps), config.final_learning_rate, max(1, config.decay_begins)
    step, decay = step + 1, max(1, config.steps - begin)
    if config.schedule == "cosine":
        cosine = optax.schedules.cosine_decay_schedule(1.0, decay, final)
        rise = optax.schedules.linear_schedule(0.0, 1.0, warmup)
        stages = [rise, lambda step: 1.0, cosine]
        return peak * optax.schedules.join_schedules(stages, [warmup, begin])(step)
    progress = jnp.clip((step - begin) / decay, 0.0, 1.0)
    match config.schedule:
        case "constant":
            share = jnp.ones(())
        case "step":
            drops = config.learning_rate_drops
            share = final ** (jnp.minimum(jnp.floor(progress * (drops + 1)), drops) / drops)
        case "exponential":
            share = final**progress
        case "linear":
            share = 1 - (1 - final) * progress
    return jnp.asarray(peak) * jnp.where(step < warmup, step / warmup, share)


def _matrices(parameters: PyTree) -> PyTree:
    """Gains and biases do not decay: pulling a gain to 0 is no prior that anyone holds."""
    return jax.tree.map(lambda p: jnp.ndim(p) >= 2, parameters)
