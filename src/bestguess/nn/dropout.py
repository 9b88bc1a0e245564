"""Dropout."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def dropout(x_TD: Float[Array, "*T D"], rate: float, key: Key[Array, ""] | None) -> Float[Array, "*T D"]:
    """Return `x_TD` with a share `rate` of its entries set to 0 and the others divided by 1 − rate.

    Without a key, outside of training, `x_TD` itself (Srivastava et al., 2014, in its inverted form).
    """
    if key is None or rate == 0:
        return x_TD
    kept = jax.random.bernoulli(key, 1 - rate, x_TD.shape)
    return jnp.where(kept, x_TD / (1 - rate), jnp.zeros((), x_TD.dtype))
