"""Normalisation of features inside a transformer."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class RMSNorm(eqx.Module):
    """Features over their root mean square, times a gain (Zhang & Sennrich, 2019)."""

    gain: Float[Array, "D"]
    eps: float = eqx.field(static=True)

    def __init__(self, dim: int, eps: float = 1e-6):
        self.gain = jnp.ones(dim)
        self.eps = eps

    def __call__(self, x_TD: Float[Array, "T D"]) -> Float[Array, "T D"]:
        """Return x / rms(x) · gain, computed in float32 and returned in the dtype of `x_TD`."""
        x = x_TD.astype(jnp.float32)
        scale = 1 / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + self.eps)
        return (x * scale * self.gain[None]).astype(x_TD.dtype)
