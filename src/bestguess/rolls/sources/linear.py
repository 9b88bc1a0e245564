"""Generators that are linear over GF(2): xorshift128, a linear feedback shift register; MT19937 is in `twister`.

Each output bit is a sum, modulo 2, of bits of the first state. Elimination gives the number of new bits of an output,
the bits that are sums of earlier ones, and the number of outputs that determine the state.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from bestguess.rolls.counter import words
from bestguess.rolls.sources.base import Floor, IndexedSource, WindowedSource, check, joined, overlapping

Form = int
"""A sum of state bits: bit i is set if state bit i is a term."""


class Span:
    """The span of linear forms with a label each; the label of a sum is the sum of labels.

    A label is an integer whose bits are summed modulo 2: the form's value, or a bit that names the form.
    """

    def __init__(self, width: int) -> None:
        self._by_top: dict[int, int] = {}
        self._width = width  # the label is in the bits above

    def __len__(self) -> int:
        return len(self._by_top)

    def reduce(self, form: Form, label: int = 0) -> tuple[Form, int]:
        """Return the form reduced by the span, and its label. The form is 0 if the span determines `form`."""
        row = form | label << self._width
        mask = (1 << self._width) - 1
        while row & mask:
            basis = self._by_top.get((row & mask).bit_length())
            if basis is None:
                break
            row ^= basis
        return row & mask, row >> self._width

    def learn(self, form: Form, label: int = 0) -> bool:
        """Add a form and its label; return whether it was new."""
        return bool(self.reduced(form, label)[0])

    def reduced(self, form: Form, label: int = 0) -> tuple[Form, int]:
        """Return the form and label reduced by the span, and add them if new."""
        rest, label = self.reduce(form, label)
        if rest:
            self._by_top[rest.bit_length()] = rest | label << self._width
        return rest, label


@dataclass(frozen=True)
class Relations:
    """What the bits of the values before tell of a value."""

    new: int
    """Number of bits of the value that they do not determine."""
    sums: list[np.ndarray]
    """Sets of bits that sum to 0 modulo 2: int64, bit `shown·i + j` is the j-th highest of value i. The last is new."""


class LinearSource(WindowedSource):
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

    @cached_property
    def _elimination(self) -> tuple[Span, Iterator[list[Form]], list[Relations]]:
        return Span(self.width), self.forms(), []

    def relations(self, count: int) -> list[Relations]:
        """Return the relations of the first `count` values; those between any consecutive values are the same."""
        span, forms, found = self._elimination
        while len(found) < count:
            first, new, sums = len(found) * self.shown, 0, []
            for bit, form in enumerate(next(forms), first):
                rest, label = span.reduced(form, 1 << bit)
                new += bool(rest)
                if not rest:
                    label_bytes = np.frombuffer(label.to_bytes(bit // 8 + 1, "little"), np.uint8)
                    sums.append(np.flatnonzero(np.unpackbits(label_bytes, bitorder="little")))
            found.append(Relations(new, sums))
        return found[:count]

    def _bits(self, windows: np.ndarray) -> np.ndarray:
        """Return the bits of windows [n, T], packed along windows, uint8 [T·shown, ⌈n/8⌉]."""
        places = np.arange(self.shown - 1, -1, -1, dtype=np.uint16)
        bits = windows.T[:, None] >> places[:, None] & 1
        return np.packbits(bits.astype(np.uint8).reshape(windows.shape[1] * self.shown, len(windows)), axis=1)

    def _predict_windows(self, windows: np.ndarray, indexes: np.ndarray) -> np.ndarray:
        """Return equal probabilities for all values consistent with those before."""
        n, length = windows.shape
        found, bits = np.empty((n, length, self.classes)), self._bits(windows)
        value = np.arange(self.classes)
        for t, known in enumerate(self.relations(length)):
            # A value is possible if its own bits in each sum add up to the sum's earlier bits: one code for all sums.
            code, wanted = np.zeros(self.classes, np.int32), np.zeros(n, np.int32)
            for k, places in enumerate(known.sums):
                earlier, own = places[places < t * self.shown], places[places >= t * self.shown] - t * self.shown
                mask = sum(1 << self.shown - 1 - int(place) for place in own)
                code |= (np.bitwise_count(value & mask) & 1).astype(np.int32) << k
                total = np.bitwise_xor.reduce(bits[earlier], axis=0)
                wanted |= np.unpackbits(total, count=n).astype(np.int32) << k
            found[:, t] = np.where(code == wanted[:, None], -known.new * np.log(2), -np.inf)
        return found

    @cached_property
    def reach(self) -> int:
        """Number of values that determine the state."""
        return len(self.new_bits())

    def log_p_within(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return ln p of each value itself, float64 [n]: by windows, each with the `reach` values before it."""
        reach = min(self.reach, len(values))
        windows = overlapping(values, reach, max(1, min(max(64, reach), len(values) - reach)))
        bits, found = self._bits(windows), np.empty(windows.shape)
        for t, known in enumerate(self.relations(windows.shape[1])):
            wrong = np.zeros(bits.shape[1], np.uint8)
            for places in known.sums:
                wrong |= np.bitwise_xor.reduce(bits[places], axis=0)
            found[:, t] = np.where(np.unpackbits(wrong, count=len(windows)), -np.inf, -known.new * np.log(2))
        return joined(found, reach, len(values))


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
