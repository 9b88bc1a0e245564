"""A model's many small arrays as two flat ones, so that an optimiser's step is a few operations, not a few hundred."""

from __future__ import annotations

import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


class Packed(eqx.Module):
    """The arrays of a model, end to end. Matrices stand apart from gains and biases, because only they decay."""

    matrices: Float[Array, "1 M"]
    vectors: Float[Array, "V"]


class Packing:
    """How models of one shape are packed."""

    def __init__(self, model: PyTree):
        leaves, self.tree = jax.tree.flatten(model)
        self.shapes = tuple(leaf.shape for leaf in leaves)
        self.kind = type(model)

    def pack(self, model: PyTree) -> Packed:
        """Return a model's arrays, packed."""
        leaves = jax.tree.leaves(model)
        join = lambda of: jnp.concatenate([leaf.reshape(-1) for leaf in of] or [jnp.zeros(0)])  # noqa: E731
        matrices = join([leaf for leaf in leaves if leaf.ndim >= 2])
        return Packed(matrices[None], join([leaf for leaf in leaves if leaf.ndim < 2]))

    def unpack(self, packed: Packed) -> Any:
        """Return the model. Its gradient is one concatenation, not a sum of zero-padded pieces."""
        return _unpack(self, packed)

    def within(self, tree: PyTree) -> PyTree:
        """Return `tree` with every model in it packed: a state's weights, an optimiser's means."""
        is_model = lambda node: isinstance(node, self.kind)  # noqa: E731
        return jax.tree.map(lambda node: self.pack(node) if is_model(node) else node, tree, is_leaf=is_model)

    def without(self, tree: PyTree) -> PyTree:
        """Return `tree` with every packed model in it unpacked."""
        is_packed = lambda node: isinstance(node, Packed)  # noqa: E731
        return jax.tree.map(lambda node: self.unpack(node) if is_packed(node) else node, tree, is_leaf=is_packed)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _unpack(packing: Packing, packed: Packed) -> Any:
    flat, place = (packed.matrices[0], packed.vectors), [0, 0]
    leaves = []
    for shape in packing.shapes:
        which, size = int(len(shape) < 2), math.prod(shape)
        leaves.append(flat[which][place[which] : place[which] + size].reshape(shape))
        place[which] += size
    return jax.tree.unflatten(packing.tree, leaves)


_unpack.defvjp(
    lambda packing, packed: (_unpack(packing, packed), None),
    lambda packing, _, gradient: (packing.pack(gradient),),
)
