"""Muon: matrices between hidden features move along orthogonal directions, all other weights by Adam.

Of a hidden matrix with gradient g, momentum m and rate η (Jordan et al., 2024, "Muon: an optimizer for hidden layers
in neural networks"), with the scale of Liu et al. (2025, arXiv 2502.16982, eq. 4):

    m ← β m + (1 − β) g
    u = (1 − β) g + β m                     Nesterov's: the momentum one step ahead
    O ≈ U Vᵀ  of  u = U S Vᵀ                every singular value becomes about 1
    W ← W − η (0.2 √max(rows, columns) O + decay W)

With that scale an entry of the step is as large as one of AdamW's, so the same rates and decays fit both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from bestguess.command import UserError
from bestguess.train.config import TrainConfig

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Jordan's: of the quintics that bring singular values from (0, 1] into about [0.7, 1.2], one steep at 0."""
_ITERATIONS = 5
_LIKE_ADAM = 0.2
"""Root mean square of the entries of AdamW's usual step at rate 1 (Liu et al.)."""
_EPS = 1e-8
"""Optax's own, of Adam."""


class MuonState(NamedTuple):
    """What is kept of the gradients, for each weight two numbers."""

    steps: Int[Array, ""]
    mean: PyTree
    """The momentum of hidden matrices; Adam's first moment."""
    second: PyTree
    """The momentum one step ahead; Adam's second moment."""


class Muon:
    """The optimiser in two halves, as `Optimizer` has them. hidden: of a model, which leaves are hidden matrices."""

    def __init__(self, config: TrainConfig, hidden: Callable[[PyTree], PyTree]):
        self.config = config
        self.hidden = hidden

    def init(self, model: PyTree) -> MuonState:
        """Return the state before the first step; UserError for a model without a hidden matrix."""
        if not any(jax.tree.leaves(self.hidden(model))):
            raise UserError("--optimizer muon: this model has no matrix between hidden features; choose adamw")
        zeros = jax.tree.map(jnp.zeros_like, model)
        return MuonState(jnp.zeros((), jnp.int32), zeros, jax.tree.map(jnp.zeros_like, model))

    def update(self, gradient: PyTree, state: MuonState) -> MuonState:
        """Return the state after a gradient."""
        config = self.config
        hidden = self.hidden(gradient)

        def first(is_hidden, m, g):
            beta = config.momentum if is_hidden else config.beta1
            return beta * m + (1 - beta) * g

        def second(is_hidden, v, m, g):
            if is_hidden:
                return (1 - config.momentum) * g + config.momentum * m
            return config.beta2 * v + (1 - config.beta2) * g * g

        mean = jax.tree.map(first, hidden, state.mean, gradient)
        return MuonState(state.steps + 1, mean, jax.tree.map(second, hidden, state.second, mean, gradient))

    def direction(self, state: MuonState, model: PyTree) -> PyTree:
        """Return what is to be taken off the model at learning rate 1, its decay left out."""
        config = self.config
        leaves, tree = jax.tree.flatten(self.hidden(model))
        mean, second = jax.tree.leaves(state.mean), jax.tree.leaves(state.second)
        unbiased = [1 / (1 - beta**state.steps) for beta in (config.beta1, config.beta2)]
        found = [
            None if is_hidden else m * unbiased[0] / (jnp.sqrt(v * unbiased[1]) + _EPS)
            for is_hidden, m, v in zip(leaves, mean, second)
        ]
        places = [i for i, is_hidden in enumerate(leaves) if is_hidden]
        for i, one in zip(places, orthogonal([second[i] for i in places])):
            found[i] = _LIKE_ADAM * max(one.shape) ** 0.5 * one
        return jax.tree.unflatten(tree, found)


def orthogonal(matrices: list[Float[Array, "_ _"]]) -> list[Float[Array, "_ _"]]:
    """Return about U Vᵀ of each matrix U S Vᵀ, by five Newton–Schulz iterations; 0 of a matrix that is 0.

    Matrices of one shape, turned on their sides where that makes them one, share a product: a GPU has little to do for
    each by itself.
    """
    wide = [m if m.shape[0] <= m.shape[1] else m.T for m in matrices]
    found: dict[int, Array] = {}
    for shape in sorted({m.shape for m in wide}):
        own = [i for i, m in enumerate(wide) if m.shape == shape]
        found |= dict(zip(own, _iterated(jnp.stack([wide[i] for i in own]))))
    return [found[i] if m.shape[0] <= m.shape[1] else found[i].T for i, m in enumerate(matrices)]


def _iterated(x_NRC: Float[Array, "N R C"]) -> Float[Array, "N R C"]:
    """Return the iterations' result: each applies X ← a X + (b A + c A²) X, A = X Xᵀ, to all singular values."""
    a, b, c = _COEFFICIENTS
    # The norm of all entries is at least the largest singular value.
    x_NRC = x_NRC / (jnp.linalg.norm(x_NRC, axis=(1, 2), keepdims=True) + 1e-7)
    for _ in range(_ITERATIONS):
        gram_NRR = x_NRC @ x_NRC.swapaxes(1, 2)
        x_NRC = a * x_NRC + (b * gram_NRR + c * gram_NRR @ gram_NRR) @ x_NRC
    return x_NRC
