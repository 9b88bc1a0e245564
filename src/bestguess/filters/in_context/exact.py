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
from bestguess.filters.forecaster import Forecaster, Normaliser, Statistics, make_normaliser
from bestguess.filters.in_context.task import MixtureTask


class MixtureState(NamedTuple):
    """The predictor's state: every filter's x̂_{t+1|t}, its log evidence, the step, the sequence's statistics."""

    states: Float[Array, "K n"]
    evidence: Float[Array, "K"]
    step: Int[Array, ""]
    statistics: Statistics


class MixtureCore(eqx.Module):
    """A forecaster's core that undoes the normalisation, runs K filters, weighs them, and normalises again."""

    A: Float[Array, "K n n"]
    C: Float[Array, "K m n"]
    gains: Float[Array, "T K n m"]
    whiten: Float[Array, "T K m m"]
    """V_t with V_tᵀ V_t = S_t⁻¹."""
    normaliser: Normaliser
    patch: int = eqx.field(static=True)

    def __call__(
        self, token_Nk: Float[Array, "N i"], cache: MixtureState | None = None
    ) -> tuple[Float[Array, "N k"], MixtureState]:
        """Return, for each patch, the mixture's prediction of the one after it, and the state after the last."""
        start = self.empty_cache(0) if cache is None else cache
        end, out_Nk = jax.lax.scan(lambda carry, token: self._patch(carry, token), start, token_Nk)
        return out_Nk, end

    def empty_cache(self, tokens: int) -> MixtureState:
        """Return the state before the first step; it needs no room for tokens."""
        K, n = self.A.shape[:2]
        return MixtureState(jnp.zeros((K, n)), jnp.zeros(K), jnp.zeros((), jnp.int32), self.normaliser.start())

    def _patch(self, carry: MixtureState, token: Float[Array, "i"]) -> tuple[MixtureState, Float[Array, "k"]]:
        m = self.C.shape[1]
        # Statistics that are told after the values are kept in the state, too.
        u_Pm = token[: self.patch * m].reshape(self.patch, m)
        before = jax.tree.map(lambda s: s[None], carry.statistics)
        y_Pm = self.normaliser.restore(u_Pm[None], before)[0]
        _, after = self.normaliser.normalise(y_Pm[None], carry.statistics)

        def observe(state, y):
            states, evidence, step = state
            at = jnp.minimum(step, self.gains.shape[0] - 1)
            error = y[None] - _each(self.C, states)
            squared = jnp.sum(_each(self.whiten[at], error) ** 2, axis=1)
            evidence = evidence - squared / 2 + jnp.log(jnp.linalg.det(self.whiten[at]))
            states = _each(self.A, states) + _each(self.gains[at], error)
            return (states, evidence, step + 1), None

        (states, evidence, step), _ = jax.lax.scan(observe, (carry.states, carry.evidence, carry.step), y_Pm)
        weight = jnp.exp(evidence - jax.nn.logsumexp(evidence))

        def ahead(states, _):
            guess = jnp.einsum("k,kij,kj->i", weight, self.C, states, precision="highest")
            return _each(self.A, states), guess

        _, guess_Pm = jax.lax.scan(ahead, states, length=self.patch)
        latest = jax.tree.map(lambda s: s[0], after)
        out_Pm, _ = self.normaliser.normalise(guess_Pm[None], latest)
        return MixtureState(states, evidence, step, latest), out_Pm.reshape(-1)


def exact_mixture(config: FilterModelConfig, task: MixtureTask) -> Forecaster:
    """Return a forecaster with the exact mixture of a task's systems as its core."""
    normaliser, bank = make_normaliser(config, task.scale), task.bank
    core = MixtureCore(bank.A, bank.C, bank.gains, bank.whiten, normaliser, config.patch)
    return Forecaster(normaliser, core, config.patch)


def constant_mixture(config: FilterModelConfig, task: MixtureTask) -> Forecaster:
    """Return a forecaster that always predicts 0, the best constant: a mixture of filters that heed no observation.

    Its arrays have the shapes of the exact mixture's, so that both are one compiled program.
    """
    return eqx.tree_at(lambda one: one.core.gains, exact_mixture(config, task), jnp.zeros_like(task.bank.gains))


def _each(matrix: Float[Array, "K i j"], vector: Float[Array, "K j"]) -> Float[Array, "K i"]:
    return jnp.einsum("kij,kj->ki", matrix, vector, precision="highest")
