"""The exact Kalman filter in the transformer's place, so that the path around both can be tested.

A self-test sends it through the very normalisation, patches, cache and rollout that a model goes
through. It then scores 1, or the path is off: a rollout that is scored one step late looks like a
finding otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bestguess.filters import kalman
from bestguess.filters.config import FilterModelConfig
from bestguess.filters.forecaster import Forecaster, Normaliser, make_normaliser
from bestguess.filters.recursion import RecursiveCore
from bestguess.filters.systems import System


class FilterState(NamedTuple):
    """The filter's state: x̂_{t+1|t} and the step t + 1."""

    state: Float[Array, "n"]
    step: Int[Array, ""]


class FilterCore(RecursiveCore[FilterState]):
    """The filter as a forecaster's core.

        x̂_{t+1|t} = A x̂_{t|t−1} + K_t (y_t − C x̂_{t|t−1}),   E[y_{t+h} | y_{1:t}] = C A^{h−1} x̂_{t+1|t}

    It recurses over time, where the oracle of `FilterTask` cuts a Cholesky factor: two ways to one number.
    """

    A: Float[Array, "n n"]
    C: Float[Array, "m n"]
    gains: Float[Array, "T n m"]
    normaliser: Normaliser
    patch: int = eqx.field(static=True)

    def begun(self) -> FilterState:
        """Return the state before the first step."""
        return FilterState(jnp.zeros(self.A.shape[0]), jnp.zeros((), jnp.int32))

    def observed(self, state: FilterState, y: Float[Array, "m"]) -> FilterState:
        """Return the state after one more observation."""
        x, step = state
        gain = self.gains[jnp.minimum(step, self.gains.shape[0] - 1)]
        return FilterState(_times(self.A, x) + _times(gain, y - _times(self.C, x)), step + 1)

    def ahead(self, state: FilterState) -> Float[Array, "P m"]:
        """Return the predictions of the next patch's steps."""
        step = lambda x, _: (_times(self.A, x), _times(self.C, x))  # noqa: E731
        return jax.lax.scan(step, state.state, length=self.patch)[1]


def constant_forecaster(config: FilterModelConfig, system: System, scale: Float[Array, "m"], length: int) -> Forecaster:
    """Return a forecaster that always predicts 0, the best constant: a filter that heeds no observation.

    Its arrays have the shapes of the exact filter's, so that both are one compiled program.
    """
    exact = exact_forecaster(config, system, scale, length)
    return eqx.tree_at(lambda one: one.core.gains, exact, jnp.zeros_like(exact.core.gains))


def exact_forecaster(config: FilterModelConfig, system: System, scale: Float[Array, "m"], length: int) -> Forecaster:
    """Return a forecaster with the exact filter of `system` as its core, for sequences of up to `length` steps."""
    gains, _ = kalman.kalman_gains(system, length)
    normaliser = make_normaliser(config, scale)
    as32 = lambda a: jnp.asarray(a, jnp.float32)  # noqa: E731
    core = FilterCore(A=as32(system.A), C=as32(system.C), gains=as32(gains), normaliser=normaliser, patch=config.patch)
    return Forecaster(normaliser, core, config.patch)


def _times(matrix: Float[Array, "i j"], vector: Float[Array, "j"]) -> Float[Array, "i"]:
    return jnp.matmul(matrix, vector, precision="highest")
