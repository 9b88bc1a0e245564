"""A model's bets on the order of a window's values, inside the compiled step: the factors of its block e-process.

Block: T values that a window predicts. Head h (0, 1, …) at input t predicts the block's position t + h from the
window's values before input t + 1, so it bets there, and on nothing before position h. With the lift

    λ_i(u) = q(u | past) / p₀(u),     f_i = ((1 − w) + w λ_i(x_i)) / ((1 − w) + w · mean of λ_i(x_j) over j ≥ i),

E[f_i | past, the block's multiset] = 1 where all orders of the block are equally likely (see `bets`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bestguess.rolls.evidence.counts import WEIGHTS


def log_factors(
    logits_TkV: Float[Array, "T k V"],
    normaliser_Tk: Float[Array, "T k"],
    log_p0_V: Float[Array, "V"],
    target_T: Int[Array, "T"],
) -> Float[Array, "k w"]:
    """Return Σ ln f over the block, for each head and each weight w (nats); exactly 0 for a constant block.

    Numerator and mean hold the same rounded lifts, so rounding leaves E[f] = 1.
    """
    T, k, _ = logits_TkV.shape
    logits_TkV = jax.lax.stop_gradient(logits_TkV)
    # Of each input and head, the lift of each value of the block.
    of_block = jnp.take(logits_TkV, target_T, axis=2).astype(jnp.float32)
    log_lift = of_block - jax.lax.stop_gradient(normaliser_Tk)[..., None] - log_p0_V[target_T][None, None]
    lift = jnp.exp(jnp.clip(log_lift, -_LARGEST, _LARGEST))
    input_T, head_k, place_T = jnp.arange(T)[:, None, None], jnp.arange(k)[None, :, None], jnp.arange(T)[None, None, :]
    own_place = input_T + head_k
    own = jnp.sum(jnp.where(place_T == own_place, lift, 0.0), axis=-1)
    left = (T - own_place)[..., 0]
    # As a difference to its own lift: exactly 0 where all lifts are equal.
    over = jnp.sum(jnp.where(place_T >= own_place, lift - own[..., None], 0.0), axis=-1) / jnp.maximum(left, 1)
    w = jnp.asarray(WEIGHTS)[None, None]
    own_f, mean_f = (1 - w) + w * own[..., None], (1 - w) + w * (own + over)[..., None]
    log_f = jnp.where(left[..., None] > 0, jnp.log(own_f) - jnp.log(mean_f), 0.0)
    return jnp.sum(log_f, axis=0)


_LARGEST = 80.0
"""ln of the largest lift, and of the smallest inverse one: float32 ends at e^88, and 0/0 would be no number.

Another lift, above and below alike, is a valid bet all the same.
"""
