"""The exact mixture in the transformer's place, so that the path around both can be tested.

A self-test sends it through the normalisation, patches and cache that a model goes through. It recurses token by token
over a state of K filters; the task's oracle computes whole sequences, with other products in another order.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from bestguess.filters.config import FilterModelConfig
from bestguess.filters.forecaster import Forecaster, Normaliser, make_normaliser
from bestguess.filters.in_context.task import MixtureTask
from bestguess.filters.recursion import RecursiveCore


class MixtureState(NamedTuple):
    """The mixture's state: every filter's x̂_{t+1|t}, its log evidence, and the step."""

    states: Float[Array, "K n"]
    evidence: Float[Array, "K"]
    step: Int[Array, ""]


class MixtureCore(RecursiveCore[MixtureState]):
    """K filters, weighed by their evidence, as a forecaster's core."""

    A: Float[Array, "K n n"]
    C: Float[Array, "K m n"]
    gains: Float[Array, "T K n m"]
    whiten: Float[Array, "T K m m"]
    """V_t with V_tᵀ V_t = S_t⁻¹."""
    normaliser: Normaliser
    patch: int = eqx.field(static=True)

    def begun(self) -> MixtureState:
        """Return the state before the first step."""
        K, n = self.A.shape[:2]
        return MixtureState(jnp.zeros((K, n)), jnp.zeros(K), jnp.zeros((), jnp.int32))

    def observed(self, state: MixtureState, y: Float[Array, "m"]) -> MixtureState:
        """Return the state after one more observation."""
        states, evidence, step = state
        at = jnp.minimum(step, self.gains.shape[0] - 1)
        error = y[None] - _each(self.C, states)
        squared = jnp.sum(_each(self.whiten[at], error) ** 2, axis=1)
        evidence = evidence - squared / 2 + jnp.log(jnp.linalg.det(self.whiten[at]))
        return MixtureState(_each(self.A, states) + _each(self.gains[at], error), evidence, step + 1)

    def ahead(self, state: MixtureState) -> Float[Array, "P m"]:
        """Return the predictions of the next patch's steps."""
        weight = jnp.exp(state.evidence - jax.nn.logsumexp(state.evidence))

        def step(states, _):
            guess = jnp.einsum("k,kij,kj->i", weight, self.C, states, precision="highest")
            return _each(self.A, states), guess

        return jax.lax.scan(step, state.states, length=self.patch)[1]


def exact_mixture(config: FilterModelConfig, task: MixtureTask) -> Forecaster:
    """Return a forecaster with the exact mixture of a task's systems as its core."""
    normaliser, bank = make_normaliser(config, task.scale), task.bank
    core = MixtureCore(
        A=bank.A, C=bank.C, gains=bank.gains, whiten=bank.whiten, normaliser=normaliser, patch=config.patch
    )
    return Forecaster(normaliser, core, config.patch)


def constant_mixture(config: FilterModelConfig, task: MixtureTask) -> Forecaster:
    """Return a forecaster that always predicts 0, the best constant: a mixture of filters that heed no observation.

    Its arrays have the shapes of the exact mixture's, so that both are one compiled program.
    """
    return eqx.tree_at(lambda one: one.core.gains, exact_mixture(config, task), jnp.zeros_like(task.bank.gains))


def _each(matrix: Float[Array, "K i j"], vector: Float[Array, "K j"]) -> Float[Array, "K i"]:
    return jnp.einsum("kij,kj->ki", matrix, vector, precision="highest")
