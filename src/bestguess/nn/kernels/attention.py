"""Causal attention with rotary positions as one GPU kernel each way, for short sequences.

Library kernels take queries and keys that another kernel has rotated, and return gradients that further kernels
rotate back and pack: half of the time of attention over short sequences. Here a program takes one head of one
sequence as the projection left it, holds it on the chip, and writes what the next projection reads.

    q̂ = R q,  k̂ = R k             R rotates the pair of features (i, i + K/2) of row t by t · base^(−2i/K) radians
    S = q̂ k̂ᵀ / √K,  P = softmax(S),  O = P v         forward; L = log₂ Σ exp S is kept
    dV = Pᵀ dO,  dP = dO vᵀ,  dS = P (dP − Σ O dO)    backward; P = 2^(S log₂ e − L)
    dq = Rᵀ dS k̂ / √K,  dk = Rᵀ dSᵀ q̂ / √K

Rotations, softmax and sums are in float32; the factors of matrix products are in the dtype of the input.

Shapes in names: N sequences, T tokens, H heads, K head size, h = K/2.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float

from bestguess.nn.kernels.calls import load, over_sequences, store

_LOG2E = math.log2(math.e)


class Tile(NamedTuple):
    """How a program is divided."""

    rows: int = 64
    """Rows of a block of queries or keys; blocks above the diagonal are skipped."""
    warps: int = 4
    """Groups of 32 threads."""


class Tiles(NamedTuple):
    """The tiles of both passes."""

    forward: Tile = Tile()
    backward: Tile = Tile()


TILES = Tiles()
"""The fastest of seven choices on an H100, at 128 tokens and head size 64: 281 µs both ways (64 rows, 8 warps: 495; 128
and 8: 337; 128 and 4: 461; 32 and 4: 620), 256 sequences of 8 heads."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def attention(
    qkv_T3HK: Float[Array, "T 3 H K"], base: float | None, tiles: Tiles = TILES, interpret: bool = False
) -> Float[Array, "T H K"]:
    """Return softmax(q̂ k̂ᵀ / √K) v under a causal mask; without a base, queries and keys are not rotated.

    interpret: evaluate the kernels by JAX, slowly and on any device, instead of compiling them for a GPU.
    """
    return _attention_forward(qkv_T3HK, base, tiles, interpret)[0]


def _attention_forward(qkv_T3HK, base, tiles, interpret):
    out_NTHK, lse_NHT = _forward(base, tiles.forward, interpret)(qkv_T3HK[None])
    return out_NTHK[0], (qkv_T3HK, out_NTHK[0], lse_NHT[0])


def _attention_backward(base, tiles, interpret, kept, cotangent_THK):
    arrays = (array[None] for array in (*kept, cotangent_THK))
    return (_backward(base, tiles.backward, interpret)(*arrays)[0],)


attention.defvjp(_attention_forward, _attention_backward)


@functools.cache
def _forward(base: float | None, tile: Tile, interpret: bool) -> Callable[..., Any]:
    """Return the function [N T 3 H K] → (O [N T H K], L [N H T])."""

    def function(qkv_NT3HK):
        N, T, _, H, K = qkv_NT3HK.shape
        at = _Head(T, H, K, tile)
        return pl.pallas_call(
            functools.partial(_forward_kernel, at=at),
            grid=(N * H,),
            in_specs=[at.packed, at.table, at.table],
            out_specs=[at.unpacked, at.row],
            out_shape=[
                jax.ShapeDtypeStruct((N, T, H, K), qkv_NT3HK.dtype),
                jax.ShapeDtypeStruct((N, H, T), jnp.float32),
            ],
            compiler_params=plgpu.CompilerParams(num_warps=tile.warps, num_stages=1),
            interpret=interpret,
            name="attention_forward",
        )(qkv_NT3HK, *_rotations(T, K, base))

    return over_sequences(function, "n t c h k -> n t h k, n h t")


@functools.cache
def _backward(base: float | None, tile: Tile, interpret: bool) -> Callable[..., Any]:
    """Return the function (what was read, O, L, dO) → the gradient of what was read."""

    def function(qkv_NT3HK, out_NTHK, lse_NHT, cotangent_NTHK):
        N, T, _, H, K = qkv_NT3HK.shape
        at = _Head(T, H, K, tile)
        return pl.pallas_call(
            functools.partial(_backward_kernel, at=at),
            grid=(N * H,),
            in_specs=[at.packed, at.unpacked, at.row, at.unpacked, at.table, at.table],
            out_specs=at.packed,
            out_shape=jax.ShapeDtypeStruct(qkv_NT3HK.shape, qkv_NT3HK.dtype),
            compiler_params=plgpu.CompilerParams(num_warps=tile.warps, num_stages=1),
            interpret=interpret,
            name="attention_backward",
        )(qkv_NT3HK, out_NTHK, lse_NHT, cotangent_NTHK, *_rotations(T, K, base))

    return over_sequences(function, "n t c h k, n t h k, n h t, n t h k -> n t c h k")


def _rotations(T: int, K: int, base: float | None) -> tuple[Float[Array, "T h"], Float[Array, "T h"]]:
    """Return cos and sin of the angles of every position."""
    half = K // 2
    if base is None:
        return jnp.ones((T, half)), jnp.zeros((T, half))
    frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle_Th = jnp.arange(T)[:, None] * frequency[None]
    return jnp.cos(angle_Th), jnp.sin(angle_Th)


# What follows runs on the GPU: one program for each head of each sequence.


def _forward_kernel(qkv_ref, cos_ref, sin_ref, out_ref, lse_ref, *, at: _Head) -> None:
    scale = _LOG2E / math.sqrt(at.features)
    keys, values = [], []
    for row in at.starts:
        turn = at.load_half(cos_ref, row), at.load_half(sin_ref, row)
        query = at.load_rotated(qkv_ref, row, 0, turn)
        keys.append(at.load_rotated(qkv_ref, row, 1, turn))
        values.append(at.load(qkv_ref, row, (2,)))
        # The scores of all keys up to this block fit in registers: no rescaling as larger ones come.
        scores = [_dot(query, key, (1, 1)) for key in keys]
        scores[-1] = jnp.where(_causal(at.rows), scores[-1], -jnp.inf)
        top = functools.reduce(jnp.maximum, [jnp.max(score, axis=1) for score in scores]) * scale
        weights = [jnp.exp2(score * scale - top[:, None]) for score in scores]
        total = functools.reduce(jnp.add, [jnp.sum(weight, axis=1) for weight in weights])
        parts = [_dot(weight.astype(value.dtype), value) for weight, value in zip(weights, values)]
        at.store(out_ref, row, (), functools.reduce(jnp.add, parts) / total[:, None])
        at.store_row(lse_ref, row, top + jnp.log2(total))


def _backward_kernel(qkv_ref, out_ref, lse_ref, cotangent_ref, cos_ref, sin_ref, gradient_ref, *, at: _Head) -> None:
    root = 1 / math.sqrt(at.features)
    queries: dict[int, Any] = {}
    of_queries: dict[int, Any] = {}

    def read_keys(row):
        turn = at.load_half(cos_ref, row), at.load_half(sin_ref, row)
        return at.load_rotated(qkv_ref, row, 1, turn), at.load(qkv_ref, row, (2,))

    def read_queries(row):
        turn = at.load_half(cos_ref, row), at.load_half(sin_ref, row)
        query, cotangent = at.load_rotated(qkv_ref, row, 0, turn), at.load(cotangent_ref, row)
        product = at.load(out_ref, row).astype(jnp.float32) * cotangent.astype(jnp.float32)
        queries[row] = query, cotangent, jnp.sum(product, axis=1)

    for column in at.starts:
        key, value = read_keys(column)
        of_key: Any = 0.0
        of_value: Any = 0.0
        for row in at.starts[column // at.rows :]:
            if column == 0:  # every block of queries sees the first keys
                read_queries(row)
            query, cotangent, along = queries[row]
            # Keys along rows: two of the three products with dS then take it as it is, without a transposition.
            score = _dot(key, query, (1, 1)) * (root * _LOG2E)
            weight = jnp.exp2(score - at.load_row(lse_ref, row)[None])
            if row == column:
                weight = jnp.where(_causal(at.rows, queries=1), weight, 0.0)
            of_value += _dot(weight.astype(value.dtype), cotangent)
            of_score = (weight * (_dot(value, cotangent, (1, 1)) - along[None])).astype(key.dtype)
            of_key += _dot(of_score, query)
            of_queries[row] = of_queries.get(row, 0.0) + _dot(of_score, key, (0, 0))
            if row == column:  # these queries see no later keys
                at.store_rotated_back(gradient_ref, row, 0, of_queries[row] * root, cos_ref, sin_ref)
        at.store(gradient_ref, column, (2,), of_value)
        at.store_rotated_back(gradient_ref, column, 1, of_key * root, cos_ref, sin_ref)


class _Head:
    """Sizes of one head of a sequence, the part of each array that is its own, and access to its blocks of rows."""

    def __init__(self, T: int, H: int, K: int, tile: Tile):
        self.tokens, self.features = T, K
        self.rows = min(tile.rows, max(16, pl.next_power_of_2(T)))
        self.half = max(16, pl.next_power_of_2(K // 2))
        self.width = 2 * self.half
        self.starts = range(0, T, self.rows)
        padded = len(self.starts) * self.rows
        self.packed = pl.BlockSpec((None, padded, 3, None, self.width), lambda p: (p // H, 0, 0, p % H, 0))
        self.unpacked = pl.BlockSpec((None, padded, None, self.width), lambda p: (p // H, 0, p % H, 0))
        self.row = pl.BlockSpec((None, None, padded), lambda p: (p // H, p % H, 0))
        self.table = pl.BlockSpec((padded, self.half), lambda p: (0, 0))

    def load(self, ref: Any, start: int, which: tuple = ()) -> Float[Array, "rows width"]:
        """Return all features of a block's rows."""
        return load(*self._all(ref, start, which))

    def load_half(self, ref: Any, start: int, which: tuple = (), second: bool = False) -> Float[Array, "rows half"]:
        """Return the first or second half of the features of a block's rows."""
        return load(*self._half(ref, start, which, second))

    def load_rotated(self, ref: Any, start: int, which: int, turn: tuple[Array, Array]) -> Float[Array, "rows width"]:
        """Return the queries (0) or keys (1) of a block, rotated; the second half begins at half the width."""
        first, second = (self.load_half(ref, start, (which,), part).astype(jnp.float32) for part in (False, True))
        a, b = (half.astype(ref.dtype) for half in _rotated(first, second, turn))
        return jnp.stack([a, b], axis=-1).transpose(0, 2, 1).reshape(self.rows, self.width)

    def load_row(self, ref: Any, start: int) -> Float[Array, "rows"]:
        """Return one number for each row of a block."""
        return load(ref.at[pl.ds(start, self.rows)], self._row_mask(start))

    def store(self, ref: Any, start: int, which: tuple, value: Float[Array, "rows width"]) -> None:
        """Write where `load` reads."""
        store(*self._all(ref, start, which), value)

    def store_rotated_back(
        self, ref: Any, start: int, which: int, value: Float[Array, "rows width"], cos_ref: Any, sin_ref: Any
    ) -> None:
        """Write the gradient of what `load_rotated` reads, given that of what it returns."""
        a, b = jnp.split(value, 2, axis=1)
        turn_back = self.load_half(cos_ref, start), -self.load_half(sin_ref, start)
        for second, part in enumerate(_rotated(a, b, turn_back)):
            store(*self._half(ref, start, (which,), bool(second)), part)

    def store_row(self, ref: Any, start: int, value: Float[Array, "rows"]) -> None:
        """Write where `load_row` reads."""
        store(ref.at[pl.ds(start, self.rows)], self._row_mask(start), value)

    def _all(self, ref: Any, start: int, which: tuple) -> tuple[Any, Array | None]:
        return self._part(ref, start, which, 0, self.width, self.features)

    def _half(self, ref: Any, start: int, which: tuple, second: bool) -> tuple[Any, Array | None]:
        size = self.features // 2
        return self._part(ref, start, which, size if second else 0, self.half, size)

    def _part(self, ref, start: int, which: tuple, column: int, width: int, features: int) -> tuple[Any, Array | None]:
        """Return a block of `width` columns, and which of its elements are the head's."""
        # The interpreter wants indices to be arrays.
        part = ref.at[(pl.ds(start, self.rows), *map(jnp.int32, which), pl.ds(column, width))]
        row = self._row_mask(start)
        if width == features:
            return part, None if row is None else row[:, None]
        own = (jnp.arange(width) < features)[None]
        return part, own if row is None else row[:, None] & own

    def _row_mask(self, start: int) -> Array | None:
        return None if start + self.rows <= self.tokens else start + jnp.arange(self.rows) < self.tokens


def _rotated(a: Array, b: Array, turn: tuple[Array, Array]) -> tuple[Array, Array]:
    cos, sin = turn
    return a * cos - b * sin, a * sin + b * cos


def _causal(rows: int, queries: int = 0) -> Array:
    """Return which keys of a block its queries see; `queries` is their axis."""
    query, key = (jax.lax.broadcasted_iota(jnp.int32, (rows, rows), axis) for axis in (queries, 1 - queries))
    return query >= key


def _dot(a: Array, b: Array, contracted: tuple[int, int] = (1, 0)) -> Array:
    dimensions = ((contracted[:1], contracted[1:]), ((), ()))
    return jax.lax.dot_general(a, b, dimensions, preferred_element_type=jnp.float32)
