"""A recursive predictor in the transformer's place: what the exact filter and the exact mixture of filters share."""

from __future__ import annotations

import abc
from typing import Any, Generic, NamedTuple, TypeVar

import equinox as eqx
import jax
from jaxtyping import Array, Float

from bestguess.filters.forecaster import Normaliser, Statistics

S = TypeVar("S")


class Recursed(NamedTuple):
    """Where a recursion stands: its own state after t steps, and the sequence's statistics up to t."""

    state: Any
    statistics: Statistics


class RecursiveCore(eqx.Module, Generic[S]):
    """A forecaster's core that undoes the normalisation, recurses over time, predicts, and normalises again.

    S: the recursion's state.
    """

    C: eqx.AbstractVar[Float[Array, "*K m n"]]
    normaliser: eqx.AbstractVar[Normaliser]
    patch: eqx.AbstractVar[int]

    @abc.abstractmethod
    def begun(self) -> S:
        """Return the state before the first step."""

    @abc.abstractmethod
    def observed(self, state: S, y: Float[Array, "m"]) -> S:
        """Return the state after one more observation."""

    @abc.abstractmethod
    def ahead(self, state: S) -> Float[Array, "P m"]:
        """Return the predictions of the next patch's steps."""

    def __call__(
        self, token_Nk: Float[Array, "N i"], cache: Recursed | None = None
    ) -> tuple[Float[Array, "N k"], Recursed]:
        """Return, for each patch, the prediction of the one after it, and the state after the last."""
        start = self.empty_cache(0) if cache is None else cache
        end, out_Nk = jax.lax.scan(lambda carry, token: self._patch(carry, token), start, token_Nk)
        return out_Nk, end

    def empty_cache(self, tokens: int) -> Recursed:
        """Return the state before the first step; it needs no room for tokens."""
        return Recursed(self.begun(), self.normaliser.start())

    def _patch(self, carry: Recursed, token: Float[Array, "i"]) -> tuple[Recursed, Float[Array, "k"]]:
        m = self.C.shape[-2]
        # Statistics that are told after the values are kept in the state, too.
        u_Pm = token[: self.patch * m].reshape(self.patch, m)
        before = jax.tree.map(lambda s: s[None], carry.statistics)
        y_Pm = self.normaliser.restore(u_Pm[None], before)[0]
        _, after = self.normaliser.normalise(y_Pm[None], carry.statistics)
        state, _ = jax.lax.scan(lambda state, y: (self.observed(state, y), None), carry.state, y_Pm)
        # What `restore` will undo: its inverse is `normalise` with the statistics after this patch.
        latest = jax.tree.map(lambda s: s[0], after)
        out_Pm, _ = self.normaliser.normalise(self.ahead(state)[None], latest)
        return Recursed(state, latest), out_Pm.reshape(-1)
