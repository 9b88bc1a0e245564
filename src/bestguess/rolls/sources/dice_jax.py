"""`dice-hmac` on JAX's default device: the values of `DiceHmac.at`, in batches of 5 million nonces.

A value takes two compressions of SHA-256. With three-input instructions a round is 14 integer operations and a word
of the message schedule 10: 64 · (14 + 10) = 1,536 a compression, about 3,200 a value with digits and placement. The
16.7e12 operations a second of an H100 (132 multiprocessors, 64 a clock, 1.98 GHz) allow 5e9 values a second.

A loop takes 16 rounds in an iteration, so that XLA compiles 16 and not 128. Between iterations 24 words of each
nonce pass through memory: 192 bytes read or written, eight times a value. At 3.35 TB/s that allows 2.2e9 a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bestguess.command import UserError
from bestguess.rolls.sources.dice import SIDES, DiceHmac, bytes_of, stretches
from bestguess.rolls.sources.sha256 import BLOCK_BYTES, CONSTANTS, DIGEST_END, Hmac, compress, padded, rounds, schedule

BATCH = 5_000_000
"""Nonces in a batch: it divides 10^7, and the 24 words of each take half a gigabyte."""
_VARYING = 7
"""Last digits in which the nonces of a batch differ."""
_AHEAD = 2
"""Batches on the device or on their way from it while the caller has one."""
_WORDS = BLOCK_BYTES // 4
_Words = list[jax.Array]
"""Each is uint32 [size]."""


class _Batch(NamedTuple):
    """What the device is told of consecutive nonces that agree in all but their last digits."""

    inner: np.ndarray
    """State of the inner hash before the first block with a digit that varies, uint32 [8]."""
    outer: np.ndarray
    """State of the outer hash after the key's block, uint32 [8]."""
    template: np.ndarray
    """The one or two blocks that are left, with ASCII 0 for the digits that vary, uint32 [16 or 32]."""
    word: np.int32
    """Index in it of the word with the last digit."""
    shift: np.uint32
    """Bits below the last digit in its word: 0, 8, 16 or 24."""
    low: np.uint32
    """Last digits of the first nonce, as a number below 10^7."""


def require_gpu() -> None:
    """Raise UserError unless JAX's default device is a GPU."""
    try:
        found = jax.default_backend() == "gpu"
    except (RuntimeError, AssertionError):  # JAX_PLATFORMS names a platform that is not here
        found = False
    if not found:
        raise UserError("--device gpu: JAX sees no GPU here; drop the flag")


def at(source: DiceHmac, first: int, count: int, size: int = BATCH) -> np.ndarray:
    """Return the values of `count` nonces from `first` on, uint16 [count]."""
    return np.concatenate([np.empty(0, np.uint16), *batches(source, first, first + count, size)])


def batches(source: DiceHmac, first: int, stop: int, size: int = BATCH) -> Iterator[np.ndarray]:
    """Yield the values of nonces `first` to `stop` in order, uint16 [≤ size]; meanwhile the device makes the next.

    size: nonces in a batch, a divisor of 10^7. Each batch takes the time of a whole one, and each size one compilation.
    """
    if size < 1 or 10**_VARYING % size:
        raise ValueError(f"a batch of {size} does not divide {10**_VARYING}")
    hmac = Hmac(bytes_of(source.server_seed))
    under_way: deque[tuple[int, jax.Array]] = deque()
    for start, end in stretches(first, stop, size):
        values = values_of(_batch(source, hmac, start), size)
        values.copy_to_host_async()
        under_way.append((end - start, values))
        if len(under_way) > _AHEAD:
            count, values = under_way.popleft()
            yield np.asarray(values)[:count]
    for count, values in under_way:
        yield np.asarray(values)[:count]


def _batch(source: DiceHmac, hmac: Hmac, first: int) -> _Batch:
    """Return what the device is told of nonces from `first` on."""
    digits = str(first)
    varying = min(_VARYING, len(digits))
    head = bytes_of(f"{source.client_seed}:{digits[:-varying]}")
    message = np.array(padded([*head, *b"0" * varying, *b":0"]), np.uint8).view(">u4")
    state, skipped = hmac.inner, len(head) // BLOCK_BYTES * _WORDS
    for i in range(0, skipped, _WORDS):
        state = compress(state, message[i : i + _WORDS].tolist())
    last = len(head) + varying - 1
    return _Batch(
        np.array(state, np.uint32),
        np.array(hmac.outer, np.uint32),
        message[skipped:].astype(np.uint32),
        np.int32(last // 4 - skipped),
        np.uint32(8 * (3 - last % 4)),
        np.uint32(first % 10**_VARYING),
    )


@partial(jax.jit, static_argnames="size")
def values_of(batch: _Batch, size: int) -> jax.Array:
    """Return the values of `size` nonces, uint16 [size]; those past the last digits' end are without meaning."""
    varying = _placed(batch.low + lax.iota(jnp.uint32, size), batch.shift)
    words = [
        # Where no digit that varies stands, all nonces share the word; leading zeros add nothing to it.
        template + sum(jnp.where(batch.word - back == i, part, jnp.uint32(0)) for back, part in enumerate(varying))
        for i, template in enumerate(batch.template)
    ]
    state = [jnp.broadcast_to(word, size) for word in batch.inner]
    for i in range(0, len(words), _WORDS):
        state = _compress(state, words[i : i + _WORDS])
    end = [jnp.full(size, word, jnp.uint32) for word in DIGEST_END]
    first = _compress([jnp.broadcast_to(word, size) for word in batch.outer], [*state, *end])[0]
    # ⌊first · SIDES / 2^32⌋ in 32 bits: SIDES is below 2^16.
    low = (first & jnp.uint32(0xFFFF)) * jnp.uint32(SIDES) >> jnp.uint32(16)
    return ((first >> jnp.uint32(16)) * jnp.uint32(SIDES) + low >> jnp.uint32(16)).astype(jnp.uint16)


def _placed(low: jax.Array, shift: jax.Array | np.uint32) -> _Words:
    """Return the word with the last digit and the two before it: seven digits (0 to 9, not ASCII) in a byte each."""
    bytes_ = []
    for _ in range(_VARYING):
        rest = low // jnp.uint32(10)
        bytes_.append(low - rest * jnp.uint32(10))
        low = rest
    right, left = (
        sum((byte << jnp.uint32(8 * i) for i, byte in enumerate(four)), jnp.uint32(0))
        for four in (bytes_[:4], bytes_[4:])
    )
    # In two steps, as a shift by 32 bits is undefined.
    over = lambda x: x >> jnp.uint32(1) >> jnp.uint32(31) - shift  # noqa: E731
    return [right << shift, over(right) | left << shift, over(left)]


def _compress(state: _Words, block: _Words) -> _Words:
    """Return the state after a block, as `sha256.compress` does."""
    constants = jnp.array(CONSTANTS, jnp.uint32).reshape(4, 16)

    def sixteen(i: jax.Array, carry: tuple[_Words, _Words]) -> tuple[_Words, _Words]:
        variables, w = carry
        # The fourth schedule is made for nothing: cheaper than to compile the last 16 rounds once more.
        return rounds(variables, w, list(constants[i])), schedule(w)

    after, _ = lax.fori_loop(0, 4, sixteen, (state, block))
    return [old + new for old, new in zip(state, after)]
