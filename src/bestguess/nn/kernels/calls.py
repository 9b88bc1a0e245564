"""What the kernels share: batching, partitioning, and masked access to memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.experimental.pallas import triton as plgpu
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array


def over_sequences(function: Callable[..., Any], rule: str) -> Callable[..., Any]:
    """Return `function`, all of whose arrays begin with the sequences: `vmap` multiplies them, devices divide them.

    rule: its axes by name, n the sequences.
    """
    divided = custom_partitioning(function)

    def partition(mesh, arguments, results):
        by_sequence = NamedSharding(mesh, PartitionSpec(arguments[0].sharding.spec[0]))
        each = lambda tree: jax.tree.map(lambda _: by_sequence, tree)  # noqa: E731
        return mesh, function, each(results), each(arguments)

    names = dict.fromkeys(rule.replace("->", " ").replace(",", " ").split())  # in the order that they appear in
    whole = tuple(name for name in names if name != "n")
    divided.def_partition(partition, sharding_rule=rule, need_replication_factors=whole)

    @custom_vmap
    def flat(*arrays):
        return divided(*arrays)

    @flat.def_vmap
    def batched(size, in_batched, *arrays):
        each = [a if b else jnp.broadcast_to(a, (size, *a.shape)) for a, b in zip(arrays, in_batched)]
        results = flat(*(a.reshape(-1, *a.shape[2:]) for a in each))
        split = lambda a: a.reshape(size, -1, *a.shape[1:])  # noqa: E731
        return jax.tree.map(split, results), jax.tree.map(lambda _: True, results)

    return flat


def load(part: Any, mask: Array | None) -> Array:
    """Return a part of an array in memory, zeros where masked."""
    return plgpu.load(part, mask=mask, other=None if mask is None else 0)


def store(part: Any, mask: Array | None, value: Array) -> None:
    """Write a part of an array in memory, in its dtype, except where masked."""
    plgpu.store(part, value.astype(part.dtype), mask=mask)
