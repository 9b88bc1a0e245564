"""A keyed permutation of the first n integers, of which any part can be computed alone, by NumPy or by JAX.

Swap-or-not (Hoang, Morris & Rogaway, "An enciphering scheme based on a card shuffle", CRYPTO 2012): in round r, x and
its partner K_r − x mod n change places or not, by one bit that is a function of the larger of the two. For any n, and
without a table.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

MOST = 1 << 31
"""Most integers that are permuted: sums of two stay below 2^32."""
_ROUNDS = 48


def permuted(x: Any, n: int, key: Any) -> Any:
    """Return the places of the integers `x` (uint32 [m], each below `n`) in the permutation of the first `n`.

    key: uint32 [1], of `order_key`. Arrays are NumPy's or JAX's: the same integers come of both, uint32 [m].
    """
    if isinstance(key, jax.Array):
        # A loop compiles in a fraction of the time that 48 rounds in a row take.
        round_of = lambda r, x: _swapped(x, n, key, r.astype(np.uint32))  # noqa: E731
        return jax.lax.fori_loop(0, _ROUNDS, round_of, x)
    for r in range(_ROUNDS):
        x = _swapped(x, n, key, np.full(1, r, np.uint32))
    return x


def order_key(seed: Any, epoch: Any) -> Any:
    """Return the key of an epoch's permutation for a seed, uint32 [1]; both uint32 scalars, NumPy's or JAX's."""
    seed, epoch = seed[None], epoch[None]  # NumPy's scalars would warn of what wraps around
    return _mixed(_mixed(seed + np.uint32(0x9E3779B9)) ^ (epoch * np.uint32(0x85EBCA6B) + np.uint32(1)))


def shift(key: Any, epoch: Any, window: int) -> Any:
    """Return by how many values an epoch's windows are moved, uint32 [1]: below `window`, and 0 in the first epoch.

    key: of `order_key`; epoch: a uint32 scalar.
    """
    return (epoch[None] > np.uint32(0)) * (_mixed(key ^ np.uint32(0x27D4EB2F)) % np.uint32(window))


def _swapped(x: Any, n: int, key: Any, r: Any) -> Any:
    """Return the places of the integers `x` after round r, uint32. Its key is made here: 48 for each x are many."""
    own = _mixed(_mixed(key + (r + np.uint32(1)) * np.uint32(0xC2B2AE35)))
    partner = (own % np.uint32(n) + np.uint32(n) - x) % np.uint32(n)
    larger = (x > partner) * x + (x <= partner) * partner
    swap = _mixed(larger + own) & np.uint32(1)
    return x + swap * (partner - x)  # modulo 2^32


def _mixed(x: Any) -> Any:
    """Return a 32-bit mixture of the bits of x (the finaliser of MurmurHash3), uint32."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))
