"""Linear state-space sequences as a task: the Cholesky factor samples them and is their oracle.

Stack y₁…y_T and factor their covariance, Σ = L Lᵀ. Then y = L z, with z standard normal, is the
process exactly, and z are its innovations. The past y_{1:s} and z_{1:s} determine each other, so
E[y_t | y_{1:s}] = Σ_{r≤s} L_{tr} z_r is the Kalman prediction at every horizon.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bestguess.filters import kalman
from bestguess.filters.systems import System
from bestguess.filters.systems import system_of as system_of
from bestguess.task import Gaussian, OracleTask


class FilterTask(OracleTask):
    """Sequences y_1..y_T of one system; what is to be predicted is the next patch of steps.

    With patches of P steps the oracle predicts what the model must: every step of a patch from the
    patches before it. P = 1 is the one-step Kalman filter. Float32 here; `kalman` computes in float64.
    """

    factor: Float[Array, "n n"]
    """L: T·m rows, step by step; m observed dimensions within a step."""
    block: Float[Array, "N k k"]
    """L's diagonal blocks, one for each of the N patches: what a patch adds to its own past."""
    floor_by_step: Float[Array, "T"]
    """E‖y_t − ŷ*_t‖² (squared units of y)."""
    ceiling_by_step: Float[Array, "T"]
    """E‖y_t‖²: the best constant prediction is 0 (squared units of y)."""
    scale: Float[Array, "m"]
    """Standard deviation of y over all steps, per dimension (units of y)."""
    patch: int = eqx.field(static=True)

    def __init__(self, system: System, length: int, patch: int):
        m = system.C.shape[0]
        factor = kalman.cholesky_factor(system, length)
        k = patch * m
        self.factor = jnp.asarray(factor, jnp.float32)
        self.block = jnp.asarray(np.stack([factor[i : i + k, i : i + k] for i in range(0, length * m, k)]), jnp.float32)
        self.floor_by_step = jnp.asarray(kalman.patch_floors(factor, m, patch), jnp.float32)
        ceiling = kalman.ceilings(factor, m)
        self.ceiling_by_step = jnp.asarray(ceiling, jnp.float32)
        variance = (factor**2).sum(axis=1).reshape(length, m).mean(axis=0)
        self.scale = jnp.asarray(np.sqrt(variance), jnp.float32)
        self.patch = patch

    @property
    def shape(self) -> tuple[int, int]:
        """T and m: the steps of a sequence and its observed dimensions."""
        m = self.scale.shape[-1]
        return self.factor.shape[-1] // m, m

    def sample(self, key: Key[Array, ""]) -> Float[Array, "T m"]:
        """Return one sequence y_1..y_T."""
        return _times(self.factor, self._draw(key)).reshape(self.shape)

    def oracle(self, sequence: Float[Array, "T m"]) -> Gaussian:
        """Return the Kalman filter's prediction of every step, given the patches before the step's own."""
        z = jax.scipy.linalg.solve_triangular(self.factor, sequence.reshape(-1), lower=True)
        return self._gaussian(sequence - self._innovation(z))

    def constant(self) -> Gaussian:
        """Return the best prediction that ignores the past: 0, with the covariance of y_t."""
        T, m = self.shape
        rows = self.factor.reshape(T, m, T * m)
        covariance = jnp.einsum("tin,tjn->tij", rows, rows, precision="highest")
        return Gaussian(jnp.zeros((T, m)), covariance)

    def sample_with_oracle(self, key: Key[Array, ""]) -> tuple[Float[Array, "T m"], Gaussian]:
        """Return one sequence and the means of its oracle: `sample` and `oracle` for the price of the first."""
        z = self._draw(key)
        sequence = _times(self.factor, z).reshape(self.shape)
        return sequence, Gaussian(sequence - self._innovation(z))

    def sample_with_forecast(
        self, key: Key[Array, ""], context: int
    ) -> tuple[Float[Array, "T m"], Float[Array, "T m"]]:
        """Return one sequence and E[y_t | y_{1:context}] of every step t (for t ≤ context, y_t itself)."""
        z = self._draw(key)
        seen = jnp.where(jnp.arange(z.shape[0]) < context * self.shape[1], z, 0.0)
        return _times(self.factor, z).reshape(self.shape), _times(self.factor, seen).reshape(self.shape)

    @property
    def predicted(self) -> slice:
        """The steps that are predicted: all but the first patch, before which there is nothing to see."""
        return slice(self.patch, None)

    @property
    def floor(self) -> Float[Array, ""]:
        """The filter's expected squared error, averaged over the predicted steps."""
        return jnp.mean(self.floor_by_step[self.predicted])

    @property
    def ceiling(self) -> Float[Array, ""]:
        """The best constant's expected squared error, averaged over the predicted steps."""
        return jnp.mean(self.ceiling_by_step[self.predicted])

    def _draw(self, key: Key[Array, ""]) -> Float[Array, "n"]:
        return jax.random.normal(key, (self.factor.shape[-1],))

    def _innovation(self, z: Float[Array, "n"]) -> Float[Array, "T m"]:
        """y − ŷ*: the part of each patch that its past does not determine."""
        own = z.reshape(self.block.shape[:2])
        return jnp.einsum("pij,pj->pi", self.block, own, precision="highest").reshape(self.shape)

    def _gaussian(self, mean: Float[Array, "T m"]) -> Gaussian:
        T, m = self.shape
        rows = self.block.reshape(-1, self.patch, m, self.block.shape[-1])
        covariance = jnp.einsum("ptin,ptjn->ptij", rows, rows, precision="highest")
        return Gaussian(mean, covariance.reshape(T, m, m))


def _times(factor: Float[Array, "n n"], z: Float[Array, "n"]) -> Float[Array, "n"]:
    # A GPU's default for float32 products keeps 10 bits; the oracle needs all 24.
    return jnp.matmul(factor, z, precision="highest")
