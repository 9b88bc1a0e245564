"""Normalisation of features inside a transformer."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from bestguess.nn.config import Norm
from bestguess.nn.kernels import has_triton


class RMSNorm(eqx.Module):
    """Features over their root mean square, times a gain (Zhang & Sennrich, 2019)."""

    gain: Float[Array, "D"]
    eps: float = eqx.field(static=True)

    def __init__(self, dim: int, eps: float = 1e-6):
        self.gain = jnp.ones(dim)
        self.eps = eps

    def __call__(self, x_TD: Float[Array, "T D"]) -> Float[Array, "T D"]:
        """Return x / rms(x) · gain, computed in float32 and returned in the dtype of `x_TD`."""
        return (self._scaled(x_TD) * self.gain[None]).astype(x_TD.dtype)

    def add(
        self, x_TD: Float[Array, "T D"], branch_TD: Float[Array, "T D"] | None
    ) -> tuple[Float[Array, "T D"], Float[Array, "T D"]]:
        """Return y = x + branch, or x without one, and y / rms(y): the gain is left to the product that follows."""
        if fuses(x_TD):
            from bestguess.nn.kernels.residual import add_norm  # takes a tenth of a second to import

            return add_norm(x_TD, branch_TD, self.eps)
        y_TD = x_TD if branch_TD is None else x_TD + branch_TD
        return y_TD, self._scaled(y_TD).astype(y_TD.dtype)

    def _scaled(self, x_TD) -> Float[Array, "T D"]:
        x = x_TD.astype(jnp.float32)
        return x * (1 / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + self.eps))


class LayerNorm(eqx.Module):
    """Features less their mean, over their standard deviation, times a gain, plus a bias (Ba et al., 2016).

    Over two features that is a sign: (a, b) becomes ±(1, −1), whatever a and b are.
    """

    gain: Float[Array, "D"]
    bias: Float[Array, "D"]
    eps: float = eqx.field(static=True)

    def __init__(self, dim: int, eps: float = 1e-5):
        self.gain = jnp.ones(dim)
        self.bias = jnp.zeros(dim)
        self.eps = eps

    def __call__(self, x_TD: Float[Array, "T D"]) -> Float[Array, "T D"]:
        """Return (x − mean) / deviation · gain + bias, computed in float32, in the dtype of `x_TD`."""
        x = x_TD.astype(jnp.float32)
        x = x - jnp.mean(x, axis=-1, keepdims=True)
        scale = jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + self.eps)
        return (x * scale * self.gain[None] + self.bias[None]).astype(x_TD.dtype)


class NoNorm(eqx.Module):
    """Features as they are."""

    def __call__(self, x_TD: Float[Array, "T D"]) -> Float[Array, "T D"]:
        """Return x."""
        return x_TD


def fuses(x_TD: Float[Array, "T D"]) -> bool:
    """Return whether an addition and its norm are one kernel: wide streams in bfloat16 on a GPU.

    What stands around a narrow one, XLA takes into the products themselves.
    """
    wide = x_TD.dtype == jnp.bfloat16 and x_TD.shape[-1] >= 256
    return wide and jax.default_backend() == "gpu" and has_triton()


FeatureNorm = RMSNorm | LayerNorm | NoNorm


def make_norm(norm: Norm, dim: int) -> RMSNorm | LayerNorm:
    """Return the normalisation of that name over `dim` features."""
    return RMSNorm(dim) if norm == "rms" else LayerNorm(dim)
