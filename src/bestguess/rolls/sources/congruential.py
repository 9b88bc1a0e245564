"""Linear congruential generators, full and truncated, and PCG: random access by jumps; an oracle for small moduli."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bestguess.rolls.counter import words
from bestguess.rolls.file import VALUES
from bestguess.rolls.sources.base import Floor, IndexedSource, check, log_of, log_p_of

_ENUMERATED = 1 << 24
"""Most states that the oracle enumerates."""
_COUNTED = 1 << 20
"""Most states for which the entropy of each value given those before is computed exactly."""
_PIECE = 1 << 16


@dataclass(frozen=True)
class Lcg(IndexedSource):
    """x ← (a·x + c) mod m; a value is ⌊x / 2^drop⌋. The first x is drawn from the seed."""

    name: ClassVar[str] = "lcg"
    modulus: int = 1 << 20
    multiplier: int = 214_013
    increment: int = 2_531_011
    drop: int = 10
    """Number of low bits dropped from x."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(2 <= self.modulus <= 1 << 32, "modulus", self.modulus, "must be 2 to 4294967296")
        check(self.multiplier >= 1, "multiplier", self.multiplier, "must be 1 or more")
        check(self.increment >= 0, "increment", self.increment, "must be 0 or more")
        check(0 <= self.drop <= 31, "drop", self.drop, "must be 0 to 31")
        check(self.classes <= VALUES, "drop", self.drop, f"leaves {self.classes:,} values; drop more of the low bits")
        check(self.classes >= 2, "drop", self.drop, "leaves no bit of x; drop fewer bits")

    @property
    def classes(self) -> int:
        """Number of values of the upper bits."""
        return ((self.modulus - 1) >> self.drop) + 1

    @property
    def _lowest_state(self) -> int:
        """Without an increment, 0 is a fixed point."""
        return 0 if self.increment % self.modulus else 1

    def _first(self) -> int:
        low, high = (int(word) for word in words(self.seed, 0, 0, 2))
        return self._lowest_state + (high << 32 | low) % (self.modulus - self._lowest_state)

    def at(self, index: int, count: int) -> np.ndarray:
        """Return `count` values from `index` on, uint16."""
        m = self.modulus
        a, c = jump(self.multiplier, self.increment, index, m)
        x = (a * self._first() + c) % m
        size = min(_PIECE, max(count, 1))
        # x_{i+j} = A_j x_i + C_j: all steps of a piece at once, by doubling. Products stay below 2^64 as m ≤ 2^32.
        A, C = np.ones(size, np.uint64), np.zeros(size, np.uint64)
        done = 1
        while done < size:
            step_a, step_c = jump(self.multiplier, self.increment, done, m)
            more = min(done, size - done)
            A[done : done + more] = A[:more] * np.uint64(step_a) % np.uint64(m)
            C[done : done + more] = (C[:more] * np.uint64(step_a) + np.uint64(step_c)) % np.uint64(m)
            done += more
        over_a, over_c = jump(self.multiplier, self.increment, size, m)
        out = np.empty(count, np.uint16)
        for first in range(0, count, size):
            part = out[first : first + size]
            part[:] = ((A[: len(part)] * np.uint64(x) + C[: len(part)]) % np.uint64(m)) >> np.uint64(self.drop)
            x = (over_a * x + over_c) % m
        return out

    def floor(self) -> Floor:
        """Return 0: the state determines all later values."""
        return Floor(
            0.0,
            says=f"0 once the state is known; bits per value until then: {self._said()}",
            known_after=self._known_after(),
        )

    def _known_after(self) -> int:
        """Return the number of values with as many bits as a state."""
        return math.ceil(math.log2(self.modulus) / math.log2(self.classes))

    def _said(self) -> str:
        if self.modulus > _COUNTED:
            return f"about {math.log2(self.classes):.2f} for the first {self._known_after()} values"
        return ", ".join(f"{bits:.2f}" for bits in self.entropies(8))

    def entropies(self, count: int) -> list[float]:
        """Return H(x_t | x_1 … x_{t−1}), bits, for the first `count` values, over all states; exact."""
        states = np.arange(self._lowest_state, self.modulus, dtype=np.uint64)
        group, found = np.zeros(len(states), np.int64), []
        before = 0.0
        for _ in range(count):
            group = group * self.classes + (states >> np.uint64(self.drop)).astype(np.int64)
            _, group, sizes = np.unique(group, return_inverse=True, return_counts=True)
            p = sizes / len(states)
            entropy = -float(p @ np.log2(p))
            found.append(max(0.0, entropy - before))
            before, states = entropy, self._next(states)
        return found

    def _next(self, states: np.ndarray) -> np.ndarray:
        m = np.uint64(self.modulus)
        return (states * np.uint64(self.multiplier % self.modulus) + np.uint64(self.increment % self.modulus)) % m

    def predict(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return the fraction of each value among the states consistent with all before it, float64 [n, classes].

        ValueError for more than 2^24 states.
        """
        if self.modulus > _ENUMERATED:
            raise ValueError(f"lcg: the oracle enumerates all states, and {self.modulus:,} are more than 2^24")
        found = log_p_of(self, len(values))
        # At any index all states are equally likely: a full period visits each once.
        states = np.arange(self._lowest_state, self.modulus, dtype=np.uint64)
        for i, value in enumerate(values):
            shown = (states >> np.uint64(self.drop)).astype(np.int64)
            found[i] = log_of(np.bincount(shown, minlength=self.classes) / max(1, len(states)))
            states = self._next(states[shown == value])
        return found


def jump(a: int, c: int, steps: int, m: int) -> tuple[int, int]:
    """Return the a and c of `steps` steps of x ← a·x + c modulo m, in log2(steps) products."""
    total_a, total_c = 1, 0
    a, c = a % m, c % m
    while steps:
        if steps & 1:
            total_a, total_c = a * total_a % m, (a * total_c + c) % m
        a, c = a * a % m, (a * c + c) % m
        steps >>= 1
    return total_a, total_c


@dataclass(frozen=True)
class Pcg(IndexedSource):
    """PCG-XSH-RR 64/32 (O'Neill, HMC-CS-2014-0905, 2014): a value is the upper `bits` bits of an output.

    The state and the stream are drawn from the seed and set up as in the reference's `pcg32_srandom`.
    """

    name: ClassVar[str] = "pcg"
    bits: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        check(1 <= self.bits <= 16, "bits", self.bits, "must be 1 to 16")

    @property
    def classes(self) -> int:
        """2^bits."""
        return 1 << self.bits

    def at(self, index: int, count: int) -> np.ndarray:
        """Return `count` values from `index` on, uint16."""
        a, b, c, d = (int(word) for word in words(self.seed, 0, 0, 4))
        outputs = pcg32(a << 32 | b, c << 32 | d, index, count)
        return (outputs >> np.uint32(32 - self.bits)).astype(np.uint16)

    def floor(self) -> Floor:
        """Return 0: the state determines all later values."""
        return Floor(
            0.0,
            says=f"0 once the 64 bits of state are known (given the stream); otherwise {self.bits} bits for tests by "
            "counts or linear algebra",
            known_after=math.ceil(64 / self.bits),
        )


_PCG_MULTIPLIER = 6364136223846793005


def pcg32(state: int, stream: int, index: int, count: int) -> np.ndarray:
    """Return outputs `index` to `index + count` of PCG-XSH-RR 64/32, uint32, set up with `state` and `stream`."""
    m, increment = 1 << 64, (2 * stream + 1) % (1 << 64)
    a, c = jump(_PCG_MULTIPLIER, increment, 1, m)
    x = (a * (state + increment) + c) % m
    a, c = jump(_PCG_MULTIPLIER, increment, index, m)
    x = (a * x + c) % m
    states = np.array([x], np.uint64)
    done = 1
    while done < count:  # the arithmetic of uint64 is modulo 2^64
        a, c = jump(_PCG_MULTIPLIER, increment, done, m)
        states = np.concatenate([states, states[: count - done] * np.uint64(a) + np.uint64(c)])
        done = len(states)
    states = states[:count]
    mixed = (((states >> np.uint64(18)) ^ states) >> np.uint64(27)).astype(np.uint32)
    by = (states >> np.uint64(59)).astype(np.uint32)
    return (mixed >> by) | (mixed << (-by & np.uint32(31)))
