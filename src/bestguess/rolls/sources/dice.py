"""`dice-hmac`: rolls as on provably fair dice sites, with a computational floor."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import ClassVar

import numpy as np

from bestguess.rolls.sources.base import Floor, IndependentSource
from bestguess.rolls.sources.sha256 import BLOCK_BYTES, Hmac

SIDES = 10_001
_VARYING = 4
"""Digits in which the nonces of one batch differ; arrays of 40 kB stay in cache."""
_ALIGNED = 10**_VARYING
_DIGITS = np.array([48 + np.arange(_ALIGNED) // 10**k % 10 for k in reversed(range(_VARYING))], np.uint8)
"""The last digits of the nonces in ASCII, uint8 [4, 10000]."""


@dataclass(frozen=True)
class DiceHmac(IndependentSource):
    """⌊u · 10001⌋ with u the first 4 bytes of HMAC-SHA256(server seed, "client seed:nonce:0") over 2^32.

    The nonce is the index.
    """

    name: ClassVar[str] = "dice-hmac"
    server_seed: str = ""
    """Key of the HMAC, by default the SHA-256 of the seed, in hexadecimal."""
    client_seed: str = "bestguess"
    """Public part of the message."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.server_seed:
            key = hashlib.sha256(str(self.seed).encode()).hexdigest()
            object.__setattr__(self, "server_seed", key)

    @property
    def classes(self) -> int:
        """10,001."""
        return SIDES

    def at(self, index: int, count: int) -> np.ndarray:
        """Return `count` values from `index` on, uint16."""
        if count < _ALIGNED or hashlib_is_faster():
            return self.one_by_one(index, count)
        hmac = Hmac(bytes_of(self.server_seed))
        return np.concatenate([self.together(hmac, *ends) for ends in stretches(index, index + count)])

    def one_by_one(self, index: int, count: int) -> np.ndarray:
        """Return the values from hashlib, with both states after the key's block computed once, uint16."""
        key = bytes_of(self.server_seed)
        key = (hashlib.sha256(key).digest() if len(key) > BLOCK_BYTES else key).ljust(BLOCK_BYTES, b"\0")
        inner, outer = (hashlib.sha256(bytes(k ^ pad for k in key)) for pad in (0x36, 0x5C))
        inner.update(bytes_of(f"{self.client_seed}:"))
        found = []
        for nonce in range(index, index + count):
            first, second = inner.copy(), outer.copy()
            first.update(b"%d:0" % nonce)
            second.update(first.digest())
            found.append(second.digest()[:4])
        return _values(np.frombuffer(b"".join(found), ">u4"))

    def together(self, hmac: Hmac, first: int, last: int) -> np.ndarray:
        """Return the values of nonces `first` to `last`, of equal length and equal in all but the last four digits."""
        digits = str(first)
        varying = min(_VARYING, len(digits))
        low = slice(first % _ALIGNED, (last - 1) % _ALIGNED + 1)
        head = bytes_of(f"{self.client_seed}:{digits[:-varying]}")
        return _values(hmac.first_words([*head, *_DIGITS[_VARYING - varying :, low], *b":0"]))

    def floor(self) -> Floor:
        """Return log2 10001 − 6.6e-13: each value has 429,453 or 429,454 of the 2^32 words."""
        p = self.law_p
        return Floor(
            -float(p @ np.log2(p)),
            says="if HMAC-SHA256 is a pseudorandom function; the entropy of a file is at most that of its 256-bit key",
            top={k: float(np.sort(p)[-k:].sum()) for k in (1, 3, 5)},
        )

    @cached_property
    def law_p(self) -> np.ndarray:
        """Probability of each value for a uniform word, float64 [10001]."""
        edges = -(-np.arange(SIDES + 1, dtype=object) * 2**32 // SIDES)
        return np.diff(edges).astype(float) / 2**32


@cache
def hashlib_is_faster() -> bool:
    """Return whether hashlib is faster than NumPy here, as with SHA instructions in the processor."""
    source, hmac = DiceHmac(server_seed="a"), Hmac(b"a")

    def seconds(work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    one_by_one = min(seconds(lambda: source.one_by_one(_ALIGNED, _ALIGNED)) for _ in range(2))
    return one_by_one < min(seconds(lambda: source.together(hmac, _ALIGNED, 2 * _ALIGNED)) for _ in range(2))


def _values(word: np.ndarray) -> np.ndarray:
    """Return ⌊u · 10001⌋ for words u·2^32, uint16."""
    return ((word.astype(np.uint64) * np.uint64(SIDES)) >> np.uint64(32)).astype(np.uint16)


def bytes_of(text: str) -> bytes:
    """Return the bytes of a flag's text, as they were typed."""
    return text.encode("utf-8", "surrogateescape")


def stretches(start: int, stop: int, most: int = _ALIGNED) -> Iterator[tuple[int, int]]:
    """Yield ranges of nonces with the same number of digits, none across a multiple of `most`.

    If `most` divides a power of ten, the nonces of a range agree in all digits but the last ones that it counts.
    """
    while start < stop:
        end = min(stop, 10 ** len(str(start)), (start // most + 1) * most)
        yield start, end
        start = end
