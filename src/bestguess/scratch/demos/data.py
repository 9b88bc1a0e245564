"""What the demos learn: strings with an ambiguity, and small pieces of Python."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import numpy.typing as npt

Index = npt.NDArray[np.integer]

PAD = 0
"""The token that fills rows up; never a target unless asked for."""


class Vocabulary:
    """Characters as integers: 0 is padding, 1 the end of a text where `end`, the characters follow."""

    def __init__(self, characters: str, end: bool = False):
        self.characters = characters
        self.end = 1 if end else None
        self._first = 2 if end else 1
        self._index = {c: i + self._first for i, c in enumerate(characters)}

    def __len__(self) -> int:
        return self._first + len(self.characters)

    def encode(self, text: str) -> list[int]:
        """Return the tokens of `text`; a character that is not in the vocabulary is a ValueError."""
        unknown = sorted(set(text) - self._index.keys())
        if unknown:
            raise ValueError(f"not in the vocabulary: {''.join(unknown)!r}")
        return [self._index[c] for c in text]

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the characters of `tokens`, leaving out padding and the end."""
        return "".join(self.characters[t - self._first] for t in tokens if t >= self._first)

    def rows(self, texts: Sequence[str], length: int | None = None) -> tuple[Index, Index]:
        """Return inputs and targets (texts, length): each target is the next token, padding after the last.

        `length` is by default the longest text's; a text longer than it is a ValueError.
        """
        tails = [] if self.end is None else [self.end]
        tokens = [self.encode(text) + tails for text in texts]
        need = max(len(t) for t in tokens) - 1
        length = need if length is None else length
        if length < need:
            raise ValueError(f"a text of {need + 1} tokens does not fit into rows of {length}")
        whole = np.full((len(texts), length + 1), PAD)
        for row, t in zip(whole, tokens):
            row[: len(t)] = t
        inputs, targets = whole[:, :-1].copy(), whole[:, 1:].copy()
        inputs[targets == PAD] = PAD  # nothing to predict there, so nothing to read either
        return inputs, targets


# Strings

LETTERS = Vocabulary("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
AMBIGUOUS = (
    "ALPHA", "ARRAY", "ASCII", "BYTES", "CACHE", "DEBUG", "FLOAT", "GRAPH", "INDEX", "LOOPS", "QUEUE", "STACK",
)  # fmt: skip
DISTINCT = (
    "ALPHA", "BYTES", "CACHE", "DEBUG", "ERROR", "FLOAT", "GRAPH", "HASH3", "INDEX", "LOOPS", "QUEUE", "STACK",
)  # fmt: skip


SHIFTED = (
    "FGHIJ", "BBBBB", "CCCCC", "ABCDE", "KLMNO", "PQRST", "DDDDD", "ZYXWV", "1A2B3", "X9Y8Z", "7QM4T", "M3N5P",
)  # fmt: skip
"""Four characters in, the next four out. TinyTorch's summary names FGHI → GHIJ, BBBB → BBBB, CCCC → CCCC and, as those
that failed, complex sequences and mixed letters and digits: the other nine are of these kinds."""


@dataclass(frozen=True)
class Ceiling:
    """The best that any predictor can do: strings completed from their first character, and the loss."""

    correct: int
    of: int
    loss: float
    """Nats per scored target; padding is not scored."""


def ceiling(strings: Sequence[str]) -> Ceiling:
    """Return the best possible score on `strings`, each equally likely, from counting alone.

    A greedy reader completes one string per first character. The least loss is the entropy of the
    next character given all before it: for each prefix, log(uses of the prefix / uses of it + next).
    """
    prefixes = Counter(s[:i] for s in strings for i in range(1, len(s)))
    longer = Counter(s[: i + 1] for s in strings for i in range(1, len(s)))
    nats = sum(n * math.log(prefixes[text[:-1]] / n) for text, n in longer.items())
    correct = sum(max(Counter(s for s in strings if s[0] == c).values()) for c in {s[0] for s in strings})
    return Ceiling(correct, len(strings), nats / sum(longer.values()))


def best_constant(strings: Sequence[str]) -> float:
    """Return the loss (nats per scored target) of the best guess that reads nothing: how often each character comes."""
    counts = Counter("".join(s[1:] for s in strings))
    return -sum(n * math.log(n / counts.total()) for n in counts.values()) / counts.total()


def gained(loss: float, floor: float, constant: float) -> float:
    """Return the fraction of what can be gained over the best constant that a model has gained: 1 at the floor."""
    return (constant - loss) / (constant - floor)


# Python

PYTHON = Vocabulary('\n ()[]:,.=+-*/%<>!_"TFN0123456789abcdefghijklmnopqrstuvwxyz', end=True)
DEMOS = ("def add(a, b):", "def is_even(n):", "for i in range(n):", "if x is None:", "while n > 0:")

TINY_PYTHON = Vocabulary("\n (),:+-*abdeflmnrstuxy", end=True)
"""23 characters, a vocabulary of 25: of the corpus, the functions add, sub and mul of a, b, m, n, x and y."""
TINY_DEMOS = ("def add(a, b):", "def sub(x, y):", "def mul(m, n):", "def add(n, m):", "def sub(b, a):")


def _pairs(names: str) -> Iterator[tuple[str, str]]:
    return permutations(names, 2)


def snippets() -> list[str]:
    """Return every snippet of the corpus: one header line, and the one body that belongs to it."""
    out = []
    for name, op in (("add", "+"), ("sub", "-"), ("mul", "*"), ("div", "/"), ("mod", "%")):
        out += [f"def {name}({a}, {b}):\n    return {a} {op} {b}\n" for a, b in _pairs("abmnpqxy")]
    for name, op in (("less", "<"), ("more", ">"), ("same", "=="), ("differ", "!=")):
        out += [f"def {name}({a}, {b}):\n    return {a} {op} {b}\n" for a, b in _pairs("abxy")]
    for v in "abcmnpqxyz":
        out += [f"def is_even({v}):\n    return {v} % 2 == 0\n", f"def is_odd({v}):\n    return {v} % 2 == 1\n"]
        out += [f"def square({v}):\n    return {v} * {v}\n", f"def double({v}):\n    return {v} + {v}\n"]
        out += [f"def negate({v}):\n    return -{v}\n", f"def identity({v}):\n    return {v}\n"]
        out += [f"if {v} is None:\n    {v} = 0\n", f"if not {v}:\n    return False\n"]
        out += [f"while {v} > 0:\n    {v} -= 1\n", f"while {v} < 10:\n    {v} += 1\n"]
    for call in ("max", "min", "sum", "len", "sorted", "list"):
        out += [f"def get_{call}({v}):\n    return {call}({v})\n" for v in ("xs", "ys", "items", "rows", "names")]
    for i, n in [(i, n) for i in "ijk" for n in "nmt"]:
        out += [f"for {i} in range({n}):\n    total += {i}\n", f"while {i} < {n}:\n    {i} += 1\n"]
    for v, xs in [(v, xs) for v in ("x", "y", "item", "row") for xs in ("xs", "ys", "items", "rows")]:
        out.append(f"for {v} in {xs}:\n    print({v})\n")
    for a, b in _pairs("abxymn"):
        out += [f"if {a} > {b}:\n    {a}, {b} = {b}, {a}\n", f"if {a} == {b}:\n    return True\n"]
    for name in ("path", "name", "source", "target"):
        out += [f"with open({name}) as {f}:\n    text = {f}.read()\n" for f in "fgh"]
    return out


def held_out(snippet: str, demos: Sequence[str] = DEMOS) -> bool:
    """Return whether the snippet is never trained on: about one in eight, by its hash; no demo is."""
    header = snippet.partition("\n")[0]
    return header not in demos and zlib.crc32(snippet.encode()) % 8 == 0


def split(characters: str = PYTHON.characters, demos: Sequence[str] = DEMOS) -> tuple[list[str], list[str]]:
    """Return the snippets to train on and those held out, of all that `characters` can write."""
    every = [s for s in snippets() if set(s) <= set(characters)]
    return [s for s in every if not held_out(s, demos)], [s for s in every if held_out(s, demos)]
