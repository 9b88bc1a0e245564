"""How weights start."""

from __future__ import annotations

import jax
from jaxtyping import Array, Float, Key


def scaled_normal(key: Key[Array, ""], shape: tuple[int, int], gain: float = 1.0) -> Float[Array, "i o"]:
    """Return weights for `x @ w` drawn from N(0, gain² / inputs), so that outputs keep the inputs' variance."""
    return gain * shape[0] ** -0.5 * jax.random.normal(key, shape)
