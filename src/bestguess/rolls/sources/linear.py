"""Generators that are linear over GF(2): xorshift128, a linear feedback shift register, MT19937.

Each output bit is a sum, modulo 2, of bits of the first state. Elimination gives the number of new bits of an output,
the bits that are sums of earlier ones, and the number of outputs that determine the state.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from bestguess.rolls.counter import words
from bestguess.rolls.sources.base import Floor, IndexedSource, Source, State, check, log_p_of

Form = int
"""A sum of state bits: bit i is set if state bit i is a term."""


class Span:
    """The span of linear forms with their values: the knowledge of a state."""

    def __init__(self, width: int) -> None:
        self._by_top: dict[int, int] = {}
        self._value = 1 << width  # one more bit, for the value

    def __len__(self) -> int:
        return len(self._by_top)

    def reduce(self, form: Form, value: int = 0) -> tuple[Form, int]:
        """Return the form reduced by the span, and its value. The form is 0 if the span determines `form`."""
        row = form | self._value * value
        mask = self._value - 1
        while row & mask:
            basis = self._by_top.get((row & mask).bit_length())
            if basis is None:
                break
            row ^= basis
        return row & mask, row // self._value & 1

    def learn(self, form: Form, value: int = 0) -> bool:
        """Add a form and its value; return whether it was new."""
        rest, bit = self.reduce(form, value)
        if rest:
            self._by_top[rest.bit_length()] = rest | self._value * bit
        return bool(rest)


class LinearSource(Source):
    """A source whose values are bits of a GF(2)-linear generator; the first is an output's highest bit."""

    @property
    @abc.abstractmethod
    def width(self) -> int:
        """Bits per state."""

    @property
    @abc.abstractmethod
    def shown(self) -> int:
        """Bits per value."""

    @abc.abstractmethod
    def forms(self) -> Iterator[list[Form]]:
        """Yield the forms of each value's bits, the highest first, over the bits of the first state."""

    @property
    def classes(self) -> int:
        """2^bits."""
        return 1 << self.shown

    def new_bits(self) -> list[int]:
        """Return the number of new bits of each value, not determined by those before, until the state is known.

        If some bits of the state have no effect, it counts as known after `width` values without a new bit.
        """
        span, found, idle = Span(self.width), [], 0
        for bits in self.forms():
            found.append(sum(span.learn(form) for form in bits))
            idle = 0 if found[-1] else idle + 1
            if len(span) == self.width or idle > self.width:
                break
        return found[: len(found) - idle]

    def floor(self) -> Floor:
        """Return 0: the state determines all later values."""
        new = self.new_bits()
        few = ", ".join(map(str, new[:12])) + (", …" if len(new) > 12 else "")
        return Floor(
            0.0,
            says=f"0 once the state is known; new bits per value: {few}, 0. The others are sums of bits modulo 2, "
            "which a model of whole values cannot represent",
            known_after=len(new),
        )

    def predict(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return equal probabilities for all values consistent with those before, float64 [n, classes]."""
        found, span = log_p_of(self, len(values)), Span(self.width)
        for i, (value, bits) in enumerate(zip(values.tolist(), self.forms())):
            allowed, new = self._allowed(span, bits)
            found[i, allowed] = -new * np.log(2)
            for place, form in enumerate(bits):
                span.learn(form, value >> (self.shown - 1 - place) & 1)
        return found

    def _allowed(self, span: Span, bits: list[Form]) -> tuple[np.ndarray, int]:
        """Return which values are consistent with the span, bool [classes], and the number of new bits."""
        value = np.arange(self.classes)
        allowed = np.ones(self.classes, bool)
        own: dict[
            int, tuple[Form, int]
        ] = {}  # new forms of this value by their top bit, and the bits of it in their sum
        for place, form in enumerate(bits):
            rest, known = span.reduce(form)
            sums = 1 << (self.shown - 1 - place)
            while rest:
                met = own.get(rest.bit_length())
                if met is None:
                    own[rest.bit_length()] = rest, sums | known << self.shown
                    break
                rest, sums, known = rest ^ met[0], sums ^ (met[1] & self.classes - 1), known ^ (met[1] >> self.shown)
            else:
                allowed &= np.bitwise_count(value & sums) % 2 == known
        return allowed, len(own)


class LanedSource(LinearSource, IndexedSource):
    """A linear source with a small state, run in parallel lanes: the state is an integer of `width` bits."""

    _STEPS: ClassVar[int] = 1 << 10

    @abc.abstractmethod
    def step(self, state: list[np.ndarray]) -> list[np.ndarray]:
        """Return the state after one more value; a state is a few uint64 arrays [lanes]."""

    @abc.abstractmethod
    def output(self, state: list[np.ndarray]) -> np.ndarray:
        """Return the values of the states, uint64 [lanes]."""

    @abc.abstractmethod
    def pack(self, state: list[np.ndarray]) -> list[int]:
        """Return states as integers."""

    @abc.abstractmethod
    def unpack(self, states: list[int]) -> list[np.ndarray]:
        """Return integers as states."""

    @cached_property
    def _columns(self) -> list[int]:
        """Image of each bit of the state under one step."""
        return self.pack(self.step(self.unpack([1 << i for i in range(self.width)])))

    @cached_property
    def _powers(self) -> list[list[int]]:
        """Columns of 1, 2, 4, … steps."""
        return [self._columns]

    def _power(self, k: int) -> list[int]:
        while len(self._powers) <= k:
            last = self._powers[-1]
            self._powers.append([_apply(last, column) for column in last])
        return self._powers[k]

    def _advance(self, state: int, steps: int) -> int:
        for k in range(steps.bit_length()):
            if steps >> k & 1:
                state = _apply(self._power(k), state)
        return state

    def _first(self) -> int:
        """Return the first state, drawn from the seed; never 0, a fixed point."""
        number = 0
        for word in words(self.seed, 0, 0, -(-self.width // 32)).tolist():
            number = number << 32 | word
        return number % ((1 << self.width) - 1) + 1

    def at(self, index: int, count: int) -> np.ndarray:
        """Return `count` values from `index` on, uint16."""
        steps = min(self._STEPS, max(count, 1))
        starts = [self._advance(self._first(), index)]
        while len(starts) * steps < count:
            starts.append(self._advance(starts[-1], steps))
        state = self.unpack(starts)
        out = np.empty((steps, len(starts)), np.uint16)
        for i in range(steps):
            state = self.step(state)
            out[i] = self.output(state)
        return out.T.ravel()[:count]

    def forms(self) -> Iterator[list[Form]]:
        """Yield the forms of each value's bits: rows of successive powers of the step."""
        columns = [1 << i for i in range(self.width)]
        while True:
            columns = [_apply(self._columns, column) for column in columns]
            shown = self.output(self.unpack(columns)).tolist()
            yield [
                sum((value >> place & 1) << i for i, value in enumerate(shown)) for place in reversed(range(self.shown))
            ]


def _apply(columns: list[int], state: int) -> int:
    """Return the image of a state under a linear map, given by its columns."""
    found = 0
    while state:
        low = state & -state
        found ^= columns[low.bit_length() - 1]
        state ^= low
    return found


_WORD = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class Xorshift(LanedSource):
    """xorshift128 (Marsaglia, "Xorshift RNGs", 2003): a value is the upper `bits` bits of a 32-bit output."""

    name: ClassVar[str] = "xorshift"
    bits: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        check(1 <= self.bits <= 16, "bits", self.bits, "must be 1 to 16")

    @property
    def width(self) -> int:
        """128."""
        return 128

    @property
    def shown(self) -> int:
        """Bits per value."""
        return self.bits

    def step(self, state: list[np.ndarray]) -> list[np.ndarray]:
        """Return the four words after one more output: t = x ^ (x << 11); w' = w ^ (w >> 19) ^ t ^ (t >> 8)."""
        x, y, z, w = state
        t = (x ^ (x << np.uint64(11))) & _WORD
        return [y, z, w, w ^ (w >> np.uint64(19)) ^ t ^ (t >> np.uint64(8))]

    def output(self, state: list[np.ndarray]) -> np.ndarray:
        """Return the upper bits of w."""
        return state[3] >> np.uint64(32 - self.bits)

    def pack(self, state: list[np.ndarray]) -> list[int]:
        """Return x in the lowest 32 bits, then y, z, w."""
        return [x | y << 32 | z << 64 | w << 96 for x, y, z, w in zip(*(one.tolist() for one in state))]

    def unpack(self, states: list[int]) -> list[np.ndarray]:
        """Return x, y, z and w."""
        return [np.array([one >> k & 0xFFFFFFFF for one in states], np.uint64) for k in (0, 32, 64, 96)]


@dataclass(frozen=True)
class Lfsr(LanedSource):
    """A linear feedback shift register: s_t = s_{t−degree} ⊕ s_{t−tap}; a value is the next `bits` bits of s.

    x^31 + x^3 + 1 is primitive, so the default (31 and 28) has a period of 2^31 − 1 bits.
    """

    name: ClassVar[str] = "lfsr"
    degree: int = 31
    tap: int = 28
    bits: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        check(2 <= self.degree <= 64, "degree", self.degree, "must be 2 to 64")
        check(1 <= self.tap < self.degree, "tap", self.tap, f"must be 1 to {self.degree - 1}")
        check(1 <= self.bits <= 16, "bits", self.bits, "must be 1 to 16")

    @property
    def width(self) -> int:
        """The degree."""
        return self.degree

    @property
    def shown(self) -> int:
        """Bits per value."""
        return self.bits

    def step(self, state: list[np.ndarray]) -> list[np.ndarray]:
        """Return the register and the value after `bits` more bits; the register's lowest bit is the latest."""
        register, value = state[0], np.zeros_like(state[0])
        for _ in range(self.bits):
            new = (register >> np.uint64(self.degree - 1) ^ register >> np.uint64(self.tap - 1)) & np.uint64(1)
            register = (register << np.uint64(1) | new) & np.uint64((1 << self.degree) - 1)
            value = value << np.uint64(1) | new
        return [register, value]

    def output(self, state: list[np.ndarray]) -> np.ndarray:
        """Return the latest bits."""
        return state[1]

    def pack(self, state: list[np.ndarray]) -> list[int]:
        """Return the registers."""
        return state[0].tolist()

    def unpack(self, states: list[int]) -> list[np.ndarray]:
        """Return the registers, with 0 as their values."""
        return [np.array(states, np.uint64), np.zeros(len(states), np.uint64)]

    def forms(self) -> Iterator[list[Form]]:
        """Yield the forms of the bits of s."""
        line = [1 << i for i in reversed(range(self.degree))]
        while True:
            for _ in range(self.bits):
                line.append(line[-self.degree] ^ line[-self.tap])
            yield line[-self.bits :]
            line = line[-max(self.degree, self.bits) :]


@dataclass(frozen=True)
class Mt19937(LinearSource):
    """The Mersenne Twister (Matsumoto & Nishimura, 1998), NumPy's own: a value is an output's upper `bits` bits."""

    name: ClassVar[str] = "mt19937"
    bits: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        check(1 <= self.bits <= 16, "bits", self.bits, "must be 1 to 16")

    @property
    def width(self) -> int:
        """19,937 of the 624 words' bits; forms are in all 19,968, of which 31 have no effect."""
        return 624 * 32

    @property
    def shown(self) -> int:
        """Bits per value."""
        return self.bits

    def start(self) -> State:
        """Return the generator's words after seeding, before the first output."""
        # At 624 all words are used: the first output is from the first word of the recurrence. NumPy starts one
        # word earlier.
        return self._state(np.random.MT19937(np.random.SeedSequence(self.seed))) | {"pos": 624}

    @staticmethod
    def _state(generator: np.random.MT19937) -> State:
        inner = generator.state["state"]
        return {"key": np.asarray(inner["key"]).tolist(), "pos": int(inner["pos"])}

    def draw(self, state: State, count: int) -> tuple[np.ndarray, State]:
        """Return the next values, and the generator's words after them."""
        generator = np.random.MT19937(0)
        generator.state = {
            "bit_generator": "MT19937",
            "state": {"key": np.array(state["key"], np.uint32), "pos": state["pos"]},
        }
        values = generator.random_raw(count) >> np.uint64(32 - self.bits)
        return values.astype(np.uint16), self._state(generator)

    def floor(self) -> Floor:
        """Return 0: the state determines all later values.

        Known after 19,937 bits at the earliest. By elimination with 16 bits per value, all bits until then are new:
        1,247 values, computed in a minute.
        """
        return Floor(
            0.0,
            says="0 once the state is known; every later bit is a sum of earlier ones modulo 2, which a model of "
            "whole values cannot represent",
            known_after=math.ceil(19_937 / self.bits),
        )

    def forms(self) -> Iterator[list[Form]]:
        """Yield the forms of each output's upper bits; a word is a list of 32 forms, the lowest bit's first."""
        line = [[1 << (32 * k + i) for i in range(32)] for k in range(624)]
        while True:
            # y = upper bit of x_k, the rest of x_{k+1}; x_{k+624} = x_{k+397} ⊕ (y >> 1) ⊕ (lowest bit of y)·a.
            y = line[1][:31] + line[0][31:]
            shifted = [*y[1:], 0]
            twist = [y[0] if 0x9908B0DF >> i & 1 else 0 for i in range(32)]
            line.append([a ^ b ^ c for a, b, c in zip(line[397], shifted, twist)])
            del line[0]
            yield _tempered(line[-1])[::-1][: self.bits]


def _tempered(x: list[Form]) -> list[Form]:
    """Return MT19937's tempering of a word of forms."""

    def masked(by: int, mask: int) -> Callable[[list[Form]], list[Form]]:
        return lambda y: [y[i] ^ (y[i - by] if i >= by and mask >> i & 1 else 0) for i in range(32)]

    x = [x[i] ^ (x[i + 11] if i + 11 < 32 else 0) for i in range(32)]
    x = masked(15, 0xEFC60000)(masked(7, 0x9D2C5680)(x))
    return [x[i] ^ (x[i + 18] if i + 18 < 32 else 0) for i in range(32)]
