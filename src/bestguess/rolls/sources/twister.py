"""MT19937, the Mersenne Twister."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from bestguess.rolls.sources.base import Floor, State, check
from bestguess.rolls.sources.linear import Form, LinearSource


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

    @cached_property
    def reach(self) -> int:
        """Number of values that determine the state: 1,247 of 16 bits; 19,937 at most, as upper bits alone do.

        The elimination for `log_p` takes seconds at 16 bits, and is out of reach below; windows of a few hundred values
        take less than seconds at any.
        """
        return 1247 if self.bits == 16 else 19_937

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
