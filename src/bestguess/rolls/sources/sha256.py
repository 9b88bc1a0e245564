"""SHA-256 and HMAC of many messages at once (FIPS 180-4, FIPS 198-1), on 32-bit words in NumPy.

A word is a Python integer if all messages share it, and an array if they differ: the common part is computed once.
All but `Hmac` uses array operators alone: `rounds` and `schedule` take JAX's arrays too.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

Word = Any
"""An int below 2^32, or an array of uint32."""

_MASK = 0xFFFFFFFF
BLOCK_BYTES = 64
DIGEST_END = [0x80000000, *[0] * 6, 8 * (BLOCK_BYTES + 32)]
"""Last eight words of the outer hash's block, which starts with the inner digest."""


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % p for p in found):
            found.append(candidate)
        candidate += 1
    return found


def _root_bits(number: int, root: int) -> int:
    """Return the first 32 bits of the fraction of a square or cube root, by bisection in integers."""
    low, high = 0, number << 32
    scaled = number << (32 * root)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**root <= scaled else (low, middle - 1)
    return low & _MASK


_INITIAL = [_root_bits(p, 2) for p in _primes(8)]
CONSTANTS = [_root_bits(p, 3) for p in _primes(64)]
"""One for each round."""


def _add(*terms: Word) -> Word:
    """Return the sum modulo 2^32: integers first, so that arrays are added to them once."""
    number = sum(term for term in terms if isinstance(term, int)) & _MASK
    arrays = [term for term in terms if not isinstance(term, int)]
    if not arrays:
        return number
    total = arrays[0] + np.uint32(number) if number or len(arrays) == 1 else None
    for one in arrays[1:] if total is not None else arrays:
        total = one if total is None else total + one
    return total


def _rotate(x: Word, by: int) -> Word:
    if isinstance(x, int):
        return (x >> by) | (x << (32 - by)) & _MASK
    turned = x >> np.uint32(by)
    turned |= x << np.uint32(32 - by)
    return turned


def _shift(x: Word, by: int) -> Word:
    return x >> by if isinstance(x, int) else x >> np.uint32(by)


def _xor(x: Word, y: Word) -> Word:
    return (
        y ^ np.uint32(x)
        if isinstance(x, int) and not isinstance(y, int)
        else x ^ (np.uint32(y) if isinstance(y, int) and not isinstance(x, int) else y)
    )


def _and(x: Word, y: Word) -> Word:
    return (
        y & np.uint32(x)
        if isinstance(x, int) and not isinstance(y, int)
        else x & (np.uint32(y) if isinstance(y, int) and not isinstance(x, int) else y)
    )


def rounds(state: Sequence[Word], w: Sequence[Word], constants: Sequence[Word]) -> list[Word]:
    """Return the eight working variables after one round per word of the schedule, usually sixteen."""
    a, b, c, d, e, f, g, h = state
    for word, constant in zip(w, constants):
        # Three rotations of e, nested, so that the outer one is shared; choose and majority in three and four steps.
        big1 = _rotate(_xor(_rotate(_xor(_rotate(e, 14), e), 5), e), 6)
        choose = _xor(g, _and(e, _xor(f, g)))
        first = _add(h, big1, choose, word, constant)
        big0 = _rotate(_xor(_rotate(_xor(_rotate(a, 9), a), 11), a), 2)
        majority = _xor(_and(_xor(a, b), _xor(a, c)), a)
        a, b, c, d, e, f, g, h = _add(first, big0, majority), a, b, c, _add(d, first), e, f, g
    return [a, b, c, d, e, f, g, h]


def schedule(w: Sequence[Word]) -> list[Word]:
    """Return the next 16 words of the message schedule after 16 of them."""
    w = list(w)
    for t in range(16, 32):
        old, new = w[t - 15], w[t - 2]
        small0 = _xor(_xor(_rotate(old, 7), _rotate(old, 18)), _shift(old, 3))
        small1 = _xor(_xor(_rotate(new, 17), _rotate(new, 19)), _shift(new, 10))
        w.append(_add(w[t - 16], small0, w[t - 7], small1))
    return w[16:]


def compress(state: Sequence[Word], block: Sequence[Word], need: int = 8) -> list[Word]:
    """Return the first `need` words of the state after a block of 16 words (FIPS 180-4, §6.2.2)."""
    w, after = list(block), list(state)
    for t in range(0, 64, 16):
        w = schedule(w) if t else w
        after = rounds(after, w, CONSTANTS[t : t + 16])
    return [_add(old, new) for old, new in zip(state[:need], after)]


class Hmac:
    """HMAC-SHA256 under one key."""

    def __init__(self, key: bytes) -> None:
        key = hashlib.sha256(key).digest() if len(key) > BLOCK_BYTES else key
        key = key.ljust(BLOCK_BYTES, b"\0")
        self.inner, self.outer = (
            compress(_INITIAL, struct.unpack(">16I", bytes(k ^ pad for k in key))) for pad in (0x36, 0x5C)
        )
        """Both states after the key's block."""

    def first_words(self, message: Sequence[int | np.ndarray]) -> np.ndarray:
        """Return the first 4 bytes of each digest as an integer, uint32 [messages].

        message: its bytes, each an integer that all messages share, or uint8 [messages]; at least one differs.
        """
        whole, digest = padded(message), self.inner
        for i in range(0, len(whole), BLOCK_BYTES):
            digest = compress(digest, [_joined(whole[j : j + 4]) for j in range(i, i + BLOCK_BYTES, 4)])
        return compress(self.outer, [*digest, *DIGEST_END], need=1)[0]


def padded(message: Sequence[int | np.ndarray]) -> list[int | np.ndarray]:
    """Return the bytes of whole blocks: those of a message that follows a key's block, its end mark, its length."""
    length = struct.pack(">Q", 8 * (BLOCK_BYTES + len(message)))
    return [*message, 0x80, *[0] * (-(len(message) + 9) % BLOCK_BYTES), *length]


def _joined(four: Sequence[int | np.ndarray]) -> Word:
    """Return four bytes as a word, the first one highest."""
    number, total = 0, None
    for place, byte in zip((24, 16, 8, 0), four):
        if isinstance(byte, int):
            number |= byte << place
        else:
            shifted = byte.astype(np.uint32) << np.uint32(place)
            total = shifted if total is None else total | shifted
    return number if total is None else total | np.uint32(number)
