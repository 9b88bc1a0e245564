"""Attention under any boolean mask, and the projections that it reads, laid out so that a CPU is quick.

Measured on one core, a layer forwards and backwards (16 examples of 104 tokens, 4 heads of 16): 5.2 ms, no more than
without rotary positions; 6.1 with each head's halves turned where they lie, and 10.8 with `jax.nn`'s attention, too.

Shapes in names: T queries, S keys, D model width, H heads, K head size.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from bestguess.nn.dropout import dropout
from bestguess.nn.linear import affine

_LOWEST = -1e30
"""Score of a key that may not be read. Finite: infinity less infinity is not a number."""


Start = Int[Array, ""] | Int[Array, "_"] | int
"""Position of the first token of several that follow one another, or of each."""

Keys = Bool[Array, "S"] | Bool[Array, "T S"]
"""Which of S keys are read: the same by every query, or by each."""


def prefix_mask(tokens: int, prefix: Int[Array, ""] | int) -> Bool[Array, "T T"]:
    """Return the mask of a prefix language model: causal, but every token reads the whole prefix (tokens)."""
    key_T = jnp.arange(tokens)
    return (key_T[None] <= key_T[:, None]) | (key_T[None] < prefix)


def project(
    x_TD: Float[Array, "T D"],
    w_DE: Float[Array, "D E"],
    b_E: Float[Array, "E"] | None,
    gain_D: Float[Array, "D"] | None,
    heads: int,
    turned: int,
    start: Start,
    base: float | None,
) -> list[Float[Array, "H T K"]]:
    """Return the E/D products of (x · gain) and the parts of w, by heads, the first `turned` of them turned as by RoPE.

    RoPE turns feature i of a head with feature i + K/2. The columns of w are few, so they are sorted by halves, and the
    halves of all heads then lie side by side: cutting every head of every token in two would cost more than turning.
    """
    T, D = x_TD.shape
    by_heads = lambda x_TE: x_TE.reshape(T, heads, -1)  # noqa: E731
    if base is None:
        return [by_heads(part).swapaxes(0, 1) for part in _parts(affine(x_TD, w_DE, b_E, gain_D), D)]
    w_DE = _halves_first(w_DE, heads, turned, D)
    b_E = None if b_E is None else _halves_first(b_E[None], heads, turned, D)[0]
    parts = _parts(affine(x_TD, w_DE, b_E, gain_D), D)
    cos, sin = _turns(start, T, D // heads // 2, base)
    for i in range(turned):
        a, b = (by_heads(half_TE).astype(jnp.float32) for half_TE in _parts(parts[i], D // 2))
        parts[i] = jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(x_TD.dtype)
    return [by_heads(part).swapaxes(0, 1) for part in parts]


def read(
    q_HTK: Float[Array, "H T K"],
    k_HSK: Float[Array, "H S K"],
    v_HSK: Float[Array, "H S K"],
    mask_TS: Bool[Array, "#T S"],
    rate: float = 0.0,
    key: Key[Array, ""] | None = None,
) -> Float[Array, "T D"]:
    """Return what each query reads, its heads side by side: softmax(q kᵀ / √K) v over the keys that it may read.

    A query that may read none reads 0. With a key for dropout, a share `rate` of the weights is dropped.
    """
    weight_HTS, total_HT1 = _exponentials(q_HTK, k_HSK, mask_TS)
    weight_HTS = dropout(weight_HTS, rate, key).astype(v_HSK.dtype)
    # Divided after the product: there are fewer values than weights.
    read_HTK = jnp.einsum("hts,hsk->htk", weight_HTS, v_HSK, preferred_element_type=jnp.float32) / total_HT1
    return read_HTK.swapaxes(0, 1).reshape(q_HTK.shape[1], -1).astype(v_HSK.dtype)


def weights(
    q_HTK: Float[Array, "H T K"], k_HSK: Float[Array, "H S K"], mask_TS: Bool[Array, "#T S"]
) -> Float[Array, "H T S"]:
    """Return the attention weights (rows: queries; each sums to 1, or to 0 where nothing may be read), in float32."""
    weight_HTS, total_HT1 = _exponentials(q_HTK, k_HSK, mask_TS)
    return weight_HTS / total_HT1


def _exponentials(q_HTK, k_HSK, mask_TS) -> tuple[Float[Array, "H T S"], Float[Array, "H T 1"]]:
    """Return the weights before they are divided by their sum, and their sum."""
    q_HTK = q_HTK * q_HTK.shape[-1] ** -0.5
    score_HTS = jnp.einsum("htk,hsk->hts", q_HTK, k_HSK, preferred_element_type=jnp.float32)
    score_HTS = jnp.where(mask_TS[None], score_HTS, _LOWEST)
    # Above the score of what may not be read, so that exp gives 0 there even where that is all.
    highest_HT1 = jnp.maximum(jax.lax.stop_gradient(jnp.max(score_HTS, axis=-1, keepdims=True)), _LOWEST / 2)
    weight_HTS = jnp.exp(score_HTS - highest_HT1)
    total_HT1 = jnp.sum(weight_HTS, axis=-1, keepdims=True)
    return weight_HTS, jnp.where(total_HT1 == 0, 1.0, total_HT1)


def positions(start: Start, tokens: int) -> Int[Array | np.ndarray, "T"]:
    """Return the position of each of the tokens; NumPy's where they are known."""
    if isinstance(start, int):
        return start + np.arange(tokens)
    return start if start.ndim else start + jnp.arange(tokens)


def _turns(start: Start, tokens: int, half: int, base: float) -> tuple[Array, Array]:
    """Return cos and sin of every position's angles, [T, 1, half].

    Those of known positions are constants: XLA would compute anew for every example and head what it could look up.
    """
    numpy = np if isinstance(start, int) else jnp
    frequency = base ** (-numpy.arange(half) / half)
    angle_T1h = positions(start, tokens)[:, None, None] * frequency[None, None]
    return jnp.asarray(numpy.cos(angle_T1h), jnp.float32), jnp.asarray(numpy.sin(angle_T1h), jnp.float32)


def _parts(y_TE: Float[Array, "T E"], width: int) -> list[Float[Array, "T D"]]:
    return jnp.split(y_TE, y_TE.shape[1] // width, axis=1)


def _halves_first(w_DE, heads: int, turned: int, width: int) -> Float[Array, "D E"]:
    """Return w with the columns of its first `turned` parts sorted: first halves of all heads, then second halves."""
    rows, E = w_DE.shape
    split = turned * width
    sorted_w = w_DE[:, :split].reshape(rows, turned, heads, 2, -1).swapaxes(2, 3).reshape(rows, split)
    return sorted_w if split == E else jnp.concatenate([sorted_w, w_DE[:, split:]], axis=1)
