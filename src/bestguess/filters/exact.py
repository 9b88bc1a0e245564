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
from bestguess.filters.forecaster import Forecaster, Normaliser, Statistics, make_normaliser
from bestguess.filters.systems import System


class FilterState(NamedTuple):
    """The predictor's state: x̂_{t+1|t}, the step t + 1, and the sequence's statistics up to t."""

    state: Float[Array, "n"]
    step: Int[Array, ""]
    statistics: Statistics


class FilterCore(eqx.Module):
    """A forecaster's core that undoes the normalisation, filters, predicts, and normalises again.

        x̂_{t+1|t} = A x̂_{t|t−1} + K_t (y_t − C x̂_{t|t−1}),   E[y_{t+h} | y_{1:t}] = C A^{h−1} x̂_{t+1|t}

    It recurses over time, where the oracle of `FilterTask` cuts a Cholesky factor: two ways to one number.
    """

    A: Float[Array, "n n"]
    C: Float[Array, "m n"]
    gains: Float[Array, "T n m"]
    normaliser: Normaliser
    patch: int = eqx.field(static=True)

    def __call__(
        self, token_Nk: Float[Array, "N i"], cache: FilterState | None = None
    ) -> tuple[Float[Array, "N k"], FilterState]:
        """Return, for each patch, the filter's prediction of the one after it, and the state after the last."""
        start = self.empty_cache(0) if cache is None else cache
        end, out_Nk = jax.lax.scan(lambda carry, token: self._patch(carry, token), start, token_Nk)
        return out_Nk, end

    def empty_cache(self, tokens: int) -> FilterState:
        """Return the state before the first step; it needs no room for tokens."""
        return FilterState(jnp.zeros(self.A.shape[0]), jnp.zeros((), jnp.int32), self.normaliser.start())

    def _patch(self, carry: FilterState, token: Float[Array, "i"]) -> tuple[FilterState, Float[Array, "k"]]:
        m = self.C.shape[0]
        # Statistics that are told after the values are kept in the state, too.
        u_Pm = token[: self.patch * m].reshape(self.patch, m)
        before = jax.tree.map(lambda s: s[None], carry.statistics)
        y_Pm = self.normaliser.restore(u_Pm[None], before)[0]
        _, after = self.normaliser.normalise(y_Pm[None], carry.statistics)

        def observe(state_step, y):
            state, step = state_step
            gain = self.gains[jnp.minimum(step, self.gains.shape[0] - 1)]
            state = _times(self.A, state) + _times(gain, y - _times(self.C, state))
            return (state, step + 1), None

        def ahead(state, _):
            return _times(self.A, state), _times(self.C, state)

        (state, step), _ = jax.lax.scan(observe, (carry.state, carry.step), y_Pm)
        _, guess_Pm = jax.lax.scan(ahead, state, length=self.patch)
        # What `restore` will undo: its inverse is `normalise` with the statistics after this patch.
        latest = jax.tree.map(lambda s: s[0], after)
        out_Pm, _ = self.normaliser.normalise(guess_Pm[None], latest)
        return FilterState(state, step, latest), out_Pm.reshape(-1)


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
    core = FilterCore(as32(system.A), as32(system.C), as32(gains), normaliser, config.patch)
    return Forecaster(normaliser, core, config.patch)


def _times(matrix: Float[Array, "i j"], vector: Float[Array, "j"]) -> Float[Array, "i"]:
    return jnp.matmul(matrix, vector, precision="highest")
