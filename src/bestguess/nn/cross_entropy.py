"""Cross-entropy of logits that stay in the dtype that they were computed in."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def cross_entropy(
    logits: Float[Array, "*T V"], target: Int[Array, "*T"], smoothing: float = 0.0
) -> tuple[Float[Array, "*T"], Float[Array, "*T"]]:
    """Return the cross-entropy (nats, float32), and ln Σ exp(logits), which has no gradient here.

    smoothing: probability of the target that is spread evenly over all V classes (Szegedy et al., 2016, §7).

    Logits of a large vocabulary are the largest arrays of a step. Differentiation by itself keeps float32 copies of
    them; here the backward pass makes the softmax anew from the logits and their normaliser, in one loop.
    """
    return _forward(logits, target, smoothing)[0]


def _forward(logits, target, smoothing):
    wide = logits.astype(jnp.float32)
    normaliser = jax.nn.logsumexp(wide, axis=-1)
    own = jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0].astype(jnp.float32)
    expected = own if smoothing == 0 else (1 - smoothing) * own + smoothing * jnp.mean(wide, axis=-1)
    return (normaliser - expected, normaliser), (logits, target, normaliser)


def _backward(smoothing, kept, cotangents):
    logits, target, normaliser = kept
    along = cotangents[0]
    p = jnp.exp(logits.astype(jnp.float32) - normaliser[..., None])
    hit = jax.lax.broadcasted_iota(target.dtype, logits.shape, logits.ndim - 1) == target[..., None]
    wanted = jnp.where(hit, 1 - smoothing, 0.0) + smoothing / logits.shape[-1]
    return ((p - wanted) * along[..., None]).astype(logits.dtype), None


cross_entropy.defvjp(_forward, _backward)
