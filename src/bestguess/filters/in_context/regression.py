"""Ridge regression and AR(k) fitted in context: what needs no training, since it learns from the sequence alone.

At every step the coefficients of the next patch on the last k steps are fitted to the sequence so far:

    W_t = argmin_W Σ ‖y_{s+1 … s+P} − W φ_s‖² + α ‖W‖²,   φ_s = (y_s, …, y_{s−k+1}),

over all s + P ≤ t: by recursive least squares, exactly. y is divided by the standard deviation of the process first, so
that α has no unit. A small α is least squares, of all that fit the smallest coefficients where there are several.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

ORDERS = (1, 2, 4, 8, 16)
"""The orders k that are tried."""
WIDEST = 64
"""Largest number of values k·m in one."""
PENALTIES = (1e-3, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""The penalties α of the ridge that are tried; the first one stands for least squares."""


def orders_of(T: int, m: int) -> list[int]:
    """Return the orders that are tried on sequences of T steps of m dimensions; 1 at least."""
    return [k for k in ORDERS if k == 1 or (k * m <= WIDEST and 2 * k <= T)]


@functools.partial(jax.jit, static_argnums=(2, 3))
def fitted_in_context(
    y_STm: Float[Array, "S T m"], scale: Float[Array, "m"], order: int, patch: int, penalties: Float[Array, "a"]
) -> Float[Array, "a S T m"]:
    """Return the predictions of AR(order) with each penalty, of every step from the patches before its own.

    scale: the standard deviation of the process, per dimension (units of y). The first patch is predicted as 0.
    """
    of_all = jax.vmap(lambda y, penalty: _of_sequence(y, order, patch, penalty), in_axes=(0, None))
    return jax.vmap(of_all, in_axes=(None, 0))(y_STm / scale[None, None], penalties) * scale[None, None, None]


def _of_sequence(y: Float[Array, "T m"], order: int, patch: int, penalty: Float[Array, ""]) -> Float[Array, "T m"]:
    T, m = y.shape
    padded = jnp.concatenate([jnp.zeros((order, m)), y])
    # Row s: the `order` steps up to step s, the latest first; before the first there are zeros.
    back = jnp.arange(T)[:, None] + order - jnp.arange(order)[None]
    seen = padded[back].reshape(T, order * m)
    ahead = y[jnp.clip(jnp.arange(T)[:, None] + 1 + jnp.arange(patch)[None], 0, T - 1)].reshape(T, patch * m)

    def step(carry, s):
        W, inverse = carry
        # The latest pair whose target has been seen. Of none, the regressors are 0, and nothing changes.
        pair = jnp.maximum(s - patch, 0)
        phi = jnp.where(s >= patch, seen[pair], 0.0)
        along = _times(inverse, phi)
        gain = along / (1 + jnp.dot(phi, along, precision="highest"))
        W = W + jnp.outer(ahead[pair] - _times(W, phi), gain)
        inverse = inverse - jnp.outer(gain, along)
        return (W, inverse), _times(W, seen[s])

    start = jnp.zeros((patch * m, order * m)), jnp.eye(order * m) / penalty
    _, predicted = jax.lax.scan(step, start, jnp.arange(T))
    blocks = predicted[patch - 1 :: patch][: T // patch - 1]
    return jnp.concatenate([jnp.zeros((patch, m)), blocks.reshape(T - patch, m)])


def _times(matrix: Float[Array, "i j"], vector: Float[Array, "j"]) -> Float[Array, "i"]:
    return jnp.matmul(matrix, vector, precision="highest")
