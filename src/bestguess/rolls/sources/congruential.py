"""Linear congruential generators, full and truncated, and PCG: random access by jumps; an oracle for small moduli."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from functools import cached_property
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


class AffineSource(IndexedSource):
    """A generator x ← (a·x + c) mod m, of which a function is shown. The first x is drawn from the seed.

    Its oracle knows a, c and m, and that all first states are equally likely.
    """

    @property
    @abc.abstractmethod
    def modulus(self) -> int:
        """m: at most 2^32, or a power of two up to 2^64."""

    @property
    @abc.abstractmethod
    def multiplier(self) -> int:
        """a."""

    @property
    @abc.abstractmethod
    def increment(self) -> int:
        """c."""

    @property
    def lowest_state(self) -> int:
        """Lowest possible first state."""
        return 0

    @abc.abstractmethod
    def first(self) -> int:
        """Return the state of the first value."""

    @abc.abstractmethod
    def shown(self, states: np.ndarray) -> np.ndarray:
        """Return the values of states, int64."""

    def at(self, index: int, count: int) -> np.ndarray:
        """Return `count` values from `index` on, uint16."""
        out = np.empty(count, np.uint16)
        a, c = self._steps(min(_PIECE, max(count, 1)))
        x = self.after(np.array([self.first()], np.uint64), index)
        for start in range(0, count, len(a)):
            part = out[start : start + len(a)]
            part[:] = self.shown(self._affine(a[: len(part)], x, c[: len(part)]))
            x = self.after(x, len(a))
        return out

    def after(self, states: np.ndarray, steps: int = 1) -> np.ndarray:
        """Return the states after some steps, uint64."""
        a, c = jump(self.multiplier, self.increment, steps, self.modulus)
        return self._affine(np.uint64(a), states, np.uint64(c))

    def _affine(self, a: np.ndarray | np.uint64, x: np.ndarray, c: np.ndarray | np.uint64) -> np.ndarray:
        """Return a·x + c modulo m: below 2^64 for m ≤ 2^32; the arithmetic of uint64 is modulo 2^64."""
        total = a * x + c
        if self.modulus & (self.modulus - 1) == 0:
            return total & np.uint64(self.modulus - 1)
        return total % np.uint64(self.modulus)

    def _steps(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a and c of 0 to `size` − 1 steps, uint64 [size], by doubling."""
        a, c = np.ones(size, np.uint64), np.zeros(size, np.uint64)
        done = 1
        while done < size:
            step_a, step_c = (np.uint64(one) for one in jump(self.multiplier, self.increment, done, self.modulus))
            more = min(done, size - done)
            a[done : done + more] = self._affine(step_a, a[:more], np.uint64(0))
            c[done : done + more] = self._affine(step_a, c[:more], step_c)
            done += more
        return a, c

    @property
    def has_oracle(self) -> bool:
        """Whether the states can be enumerated: 2^24 at most."""
        return self.modulus <= _ENUMERATED

    @property
    def reach(self) -> int:
        """The modulus.

        Call states alike that show the same next n values. The number of classes grows with n until one more value
        splits none, and never after that: as many values as states tell all that can be told.
        """
        self._check_states()
        return self.modulus

    def _check_states(self) -> None:
        if not self.has_oracle:
            raise ValueError(f"{self.name}: the oracle enumerates all states, and {self.modulus:,} are more than 2^24")

    def _states(self, index: int) -> np.ndarray:
        """Return the equally likely states at an index, uint64; some are equal if steps merge states."""
        states = np.arange(self.lowest_state, self.modulus, dtype=np.uint64)
        return states if math.gcd(self.multiplier, self.modulus) == 1 else self.after(states, index)

    @cached_property
    def _by_value(self) -> tuple[np.ndarray, np.ndarray]:
        """All states in the order of their values, uint32, and where those of each value begin, [classes + 1]."""
        states = self._states(0)
        shown = self.shown(states)
        starts = np.concatenate([[0], np.cumsum(np.bincount(shown, minlength=self.classes))])
        return states[np.argsort(shown, kind="stable")].astype(np.uint32), starts

    def predict(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return the fraction of each value among the states consistent with all before it, float64 [n, classes].

        ValueError for more than 2^24 states.
        """
        self._check_states()
        found = log_p_of(self, len(values))
        states, begun = np.empty(0, np.uint64), 0
        if len(values) and math.gcd(self.multiplier, self.modulus) == 1:
            # All states are equally likely at any index: the first step is the same for all windows.
            ordered, starts = self._by_value
            found[0] = log_of(np.diff(starts) / len(ordered))
            states = self.after(ordered[starts[values[0]] : starts[values[0] + 1]].astype(np.uint64))
            begun = 1
        elif len(values):
            states = self._states(index)
        for i, value in enumerate(values[begun:].tolist(), begun):
            shown = self.shown(states)
            found[i] = log_of(np.bincount(shown, minlength=self.classes) / max(1, len(states)))
            states = self.after(states[shown == value])
        return found

    def log_p_within(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return ln p of each value itself, float64 [n]: p is the fraction of the states that it leaves."""
        self._check_states()
        found = np.full(len(values), -np.inf)
        states, done = self._states(index), 0
        a, c = self._steps(_PIECE)
        while done < len(values) and len(states):
            part = values[done : done + max(1, _PIECE // len(states))]
            shown = self.shown(self._affine(a[: len(part), None], states, c[: len(part), None]))
            fits = np.logical_and.accumulate(shown == part[:, None], axis=0)
            left = fits.sum(axis=1)
            before = np.concatenate([[len(states)], left[:-1]])
            found[done : done + len(part)] = log_of(left / np.maximum(before, 1))
            states = self.after(states[fits[-1]], len(part))
            done += len(part)
        return found


@dataclass(frozen=True)
class Lcg(AffineSource):
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
    def lowest_state(self) -> int:
        """Without an increment, 0 is a fixed point."""
        return 0 if self.increment % self.modulus else 1

    def first(self) -> int:
        """Return the state of the first value."""
        low, high = (int(word) for word in words(self.seed, 0, 0, 2))
        return self.lowest_state + (high << 32 | low) % (self.modulus - self.lowest_state)

    def shown(self, states: np.ndarray) -> np.ndarray:
        """Return the upper bits, int64."""
        return (states >> np.uint64(self.drop)).astype(np.int64)

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
        states = np.arange(self.lowest_state, self.modulus, dtype=np.uint64)
        group, found = np.zeros(len(states), np.int64), []
        before = 0.0
        for _ in range(count):
            group = group * self.classes + self.shown(states)
            _, group, sizes = np.unique(group, return_inverse=True, return_counts=True)
            p = sizes / len(states)
            entropy = -float(p @ np.log2(p))
            found.append(max(0.0, entropy - before))
            before, states = entropy, self.after(states)
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


_PCG_MULTIPLIER = 6364136223846793005


@dataclass(frozen=True)
class Pcg(AffineSource):
    """PCG-XSH-RR (O'Neill, HMC-CS-2014-0905, 2014): a value is the upper `bits` bits of an output.

    With `state_bits` = 64 it is the reference's `pcg32`. The state and the stream are drawn from the seed and set up
    as in its `pcg32_srandom`.

    A smaller state of b bits, b even, is the same generator scaled: x ← (a·x + c) mod 2^b with the multiplier of
    64 bits modulo 2^b and an odd c, so the period is 2^b. An output has b/2 bits: t ← x ⊕ (x >> ⌊(r + b/2)/2⌋), then
    its b/2 bits above the lowest b/2 − r, rotated right by the r highest bits of x, with r = ⌊log2(b/2)⌋. The shifts
    at b = 16 and 32 are those of the published small generators; their multipliers are others.
    """

    name: ClassVar[str] = "pcg"
    bits: int = 16
    state_bits: int = 64
    """Bits of the state. The oracle enumerates the states of 24 bits at most; it knows the stream."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(1 <= self.bits <= 16, "bits", self.bits, "must be 1 to 16")
        even = 8 <= self.state_bits <= 64 and self.state_bits % 2 == 0
        check(even, "state-bits", self.state_bits, "must be an even number from 8 to 64")
        half = self.state_bits // 2
        check(self.bits <= half, "bits", self.bits, f"an output of {self.state_bits} bits of state has {half} bits")

    @property
    def classes(self) -> int:
        """2^bits."""
        return 1 << self.bits

    @property
    def modulus(self) -> int:
        """2^state_bits."""
        return 1 << self.state_bits

    @property
    def multiplier(self) -> int:
        """That of 64 bits, modulo 2^state_bits."""
        return _PCG_MULTIPLIER % self.modulus

    @cached_property
    def _set_up(self) -> tuple[int, int]:
        """State and stream as drawn from the seed."""
        a, b, c, d = (int(word) for word in words(self.seed, 0, 0, 4))
        return a << 32 | b, c << 32 | d

    @property
    def increment(self) -> int:
        """Odd; it names the stream."""
        return pcg_set_up(*self._set_up, self.state_bits)[1]

    def first(self) -> int:
        """Return the state of the first value."""
        return pcg_set_up(*self._set_up, self.state_bits)[0]

    def shown(self, states: np.ndarray) -> np.ndarray:
        """Return the upper bits of the outputs, int64."""
        return (xsh_rr(states, self.state_bits) >> np.uint64(self.state_bits // 2 - self.bits)).astype(np.int64)

    def floor(self) -> Floor:
        """Return 0: the state determines all later values."""
        return Floor(
            0.0,
            says=f"0 once the {self.state_bits} bits of state are known (given the stream); otherwise {self.bits} bits "
            "for tests by counts or linear algebra",
            known_after=math.ceil(self.state_bits / self.bits),
        )


def pcg_set_up(state: int, stream: int, state_bits: int) -> tuple[int, int]:
    """Return the state of the first output and the increment, set up as by `pcg32_srandom`."""
    m = 1 << state_bits
    increment = (2 * stream + 1) % m
    return (_PCG_MULTIPLIER * (state + increment) + increment) % m, increment


def xsh_rr(states: np.ndarray, state_bits: int) -> np.ndarray:
    """Return the outputs of PCG-XSH-RR states of `state_bits` bits, uint64 of half as many bits."""
    half = state_bits // 2
    turns = half.bit_length() - 1
    mask = np.uint64((1 << half) - 1)
    mixed = (states ^ states >> np.uint64((turns + half) // 2)) >> np.uint64(half - turns) & mask
    by = states >> np.uint64(state_bits - turns)
    return (mixed >> by | mixed << (np.uint64(half) - by)) & mask
