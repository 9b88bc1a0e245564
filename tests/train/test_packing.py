"""Two flat arrays in place of many small ones: there, back, and through a gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bestguess.train.packing import Packed, Packing
from bestguess.train.program import Program
from tests.train.toy import ToyProblem, close, config, members, run_chunks, run_of, same


class PackedToy(ToyProblem):
    packed = True


def net():
    member = run_of(members(), 0)
    return ToyProblem().init(member.task, jax.random.key(0))


def test_there_and_back_and_matrices_apart_from_vectors():
    model = net()
    packing = Packing(model)
    packed = packing.pack(model)
    sizes = {
        leaf.ndim: sum(x.size for x in jax.tree.leaves(model) if x.ndim == leaf.ndim)
        for leaf in [model.bias, model.first]
    }
    assert packed.matrices.shape == (1, sizes[2])
    assert packed.vectors.shape == (sizes[1],)
    same(packing.unpack(packed), model)


def test_the_gradient_is_the_models_own_packed():
    model = net()
    packing = Packing(model)
    weigh = jax.tree.map(lambda leaf: jnp.arange(leaf.size, dtype=jnp.float32).reshape(leaf.shape), model)
    loss = lambda m: sum(jnp.sum(w * leaf**2) for w, leaf in zip(jax.tree.leaves(weigh), jax.tree.leaves(m)))  # noqa: E731
    packed = jax.grad(lambda p: loss(packing.unpack(p)))(packing.pack(model))
    assert isinstance(packed, Packed)
    same(packing.unpack(packed), jax.grad(loss)(model))


def test_models_within_an_optimisers_state_are_packed_and_nothing_else():
    model = net()
    packing = Packing(model)
    state = optax.adam(1.0).init(model)
    packed = packing.within(state)
    assert len(jax.tree.leaves(packed)) == 5  # mu and nu are two arrays each, and the count
    same(packing.without(packed), state)


def test_training_packed_is_training():
    """To rounding alone: the gradient's norm is summed in another order."""
    plain, told = run_chunks(Program(ToyProblem(), config(), members()))
    packed, packed_told = run_chunks(Program(PackedToy(), config(), members()))
    assert jax.tree.structure(packed) == jax.tree.structure(plain)
    close(packed, plain, 1e-5)
    for a, b in zip(packed_told, told, strict=True):
        close(a, b, 1e-5)
    assert not all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(run_of(plain.model, 0)), jax.tree.leaves(run_of(plain.model, 1)))
    )
