"""A residual addition and the root-mean-square norm behind it, as one GPU kernel each way.

Apart, they pass over the stream three times forward (the product that adds writes into a copy; a sum of squares; the
norm) and twice backward. Here each array is read or written once.

    y = x + b,  s = 1 / √(mean(y²) + ε),  n = s y
    dx = db = dy + s (dn − n · mean(n dn))

Shapes in names: N sequences, T tokens, D features.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float

from bestguess.nn.kernels.calls import load, over_sequences, store

_ELEMENTS = 4096
"""Elements of each array that a program holds."""
_WARPS = 4


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def add_norm(
    x_TD: Float[Array, "T D"], branch_TD: Float[Array, "T D"] | None, eps: float, interpret: bool = False
) -> tuple[Float[Array, "T D"], Float[Array, "T D"]]:
    """Return y = x + branch, or x without one, and y / rms(y); sums are in float32.

    interpret: evaluate the kernels by JAX, slowly and on any device, instead of compiling them for a GPU.
    """
    return _add_norm_forward(x_TD, branch_TD, eps, interpret)[0]


def _add_norm_forward(x_TD, branch_TD, eps, interpret):
    if branch_TD is None:
        y_TD, (norm_NTD,) = x_TD, _forward(False, eps, interpret)(x_TD[None])
    else:
        y_NTD, norm_NTD = _forward(True, eps, interpret)(x_TD[None], branch_TD[None])
        y_TD = y_NTD[0]
    return (y_TD, norm_NTD[0]), (y_TD, branch_TD is not None)


def _add_norm_backward(eps, interpret, kept, cotangents):
    y_TD, added = kept
    gradient_TD = _backward(eps, interpret)(y_TD[None], *(array[None] for array in cotangents))[0]
    return gradient_TD, gradient_TD if added else None


add_norm.defvjp(_add_norm_forward, _add_norm_backward)


@functools.cache
def _forward(added: bool, eps: float, interpret: bool) -> Callable[..., Any]:
    """Return the function (x [N T D], perhaps b) → (perhaps y, n)."""
    read, written = (2, 2) if added else (1, 1)
    kernel = functools.partial(_forward_kernel, eps=eps)
    rule = ", ".join(["n t d"] * read) + " -> " + ", ".join(["n t d"] * written)
    return over_sequences(lambda *arrays: _call(kernel, "add_norm_forward", arrays, written, interpret), rule)


@functools.cache
def _backward(eps: float, interpret: bool) -> Callable[..., Any]:
    """Return the function (y [N T D], dy, dn) → dx."""
    kernel = functools.partial(_backward_kernel, eps=eps)
    call = lambda *arrays: _call(kernel, "add_norm_backward", arrays, 1, interpret)[0]  # noqa: E731
    return over_sequences(call, "n t d, n t d, n t d -> n t d")


def _call(kernel: Callable[..., None], name: str, arrays: tuple, written: int, interpret: bool) -> list[Array]:
    """Return what the kernel writes: arrays like those that it reads, all of them in blocks of whole rows."""
    N, T, D = arrays[0].shape
    width = pl.next_power_of_2(D)
    rows = max(1, _ELEMENTS // width)
    block = pl.BlockSpec((rows, width), lambda i: (i, 0))
    like = jax.ShapeDtypeStruct((N * T, D), arrays[0].dtype)
    results = pl.pallas_call(
        functools.partial(kernel, size=(N * T, D)),
        grid=(pl.cdiv(N * T, rows),),
        in_specs=[block] * len(arrays),
        out_specs=[block] * written,
        out_shape=[like] * written,
        compiler_params=plgpu.CompilerParams(num_warps=_WARPS, num_stages=1),
        interpret=interpret,
        name=name,
    )(*(array.reshape(N * T, D) for array in arrays))
    return [result.reshape(N, T, D) for result in results]


# What follows runs on the GPU: one program for each block of rows.


def _forward_kernel(*refs: Any, size: tuple[int, int], eps: float) -> None:
    x_ref, *more, norm_ref = refs
    mask = _mask(x_ref, size)
    y = load(x_ref.at[:, :], mask)
    if more:
        branch_ref, y_ref = more
        y = (y.astype(jnp.float32) + load(branch_ref.at[:, :], mask).astype(jnp.float32)).astype(y.dtype)
        store(y_ref.at[:, :], mask, y)
    y = y.astype(jnp.float32)
    store(norm_ref.at[:, :], mask, y * _scale(y, size[1], eps))


def _backward_kernel(y_ref, of_y_ref, of_norm_ref, gradient_ref, *, size: tuple[int, int], eps: float) -> None:
    mask = _mask(y_ref, size)
    y, of_y, of_norm = (load(ref.at[:, :], mask).astype(jnp.float32) for ref in (y_ref, of_y_ref, of_norm_ref))
    scale = _scale(y, size[1], eps)
    norm = y * scale
    along = jnp.sum(norm * of_norm, axis=1, keepdims=True) / size[1]
    store(gradient_ref.at[:, :], mask, of_y + scale * (of_norm - norm * along))


def _scale(y: Array, features: int, eps: float) -> Array:
    return jax.lax.rsqrt(jnp.sum(y * y, axis=1, keepdims=True) / features + eps)


def _mask(ref: Any, size: tuple[int, int]) -> Array | None:
    """Return which elements of a program's block are the array's; None: all are."""
    (rows, width), (tokens, features) = ref.shape, size
    row = None if tokens % rows == 0 else (pl.program_id(0) * rows + jnp.arange(rows) < tokens)[:, None]
    column = None if width == features else (jnp.arange(width) < features)[None]
    return row if column is None else column if row is None else row & column
