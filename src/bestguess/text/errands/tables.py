"""Probabilities of wordings as tables: every form parses one way, so ln p of a word is found by (state, row, position).

The forms of a grammar share their beginnings: they are a trie, whose edges are words and blanks. In a state s a row r
has weight w[s, r], a node the sum W of the rows that pass through it, and ln p of the edge to it is the difference of
two ln W. What a blank is filled with comes on top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64, Int32

DEAD = -1
"""No node: what was said is no form's beginning."""


class Trie:
    """Forms as a trie. Node 0 is the root; the leaves are the ends of forms.

    symbols: of each row, words and blanks such as `{place}`. weights [states, rows]: their probabilities.
    ValueError where a form equals another or is the beginning of one.
    """

    def __init__(self, symbols: Sequence[tuple[str, ...]], weights: np.ndarray) -> None:
        self.symbols, self.weights = list(symbols), np.asarray(weights, np.float64)
        self.length = np.array([len(one) for one in symbols], np.int32)
        self.longest = int(self.length.max())
        self.edges: list[dict[str, int]] = [{}]
        """Of each node, its children by symbol."""
        self.leaf: dict[int, int] = {}
        """The row that ends in a node."""
        self.path = np.full((len(symbols), self.longest + 1), DEAD, np.int32)
        """Nodes along each row, from the root to its leaf; DEAD behind it."""
        for row, one in enumerate(symbols):
            self._add(row, one)
        self._check()
        member = np.zeros((len(symbols), len(self.edges)))
        for row, nodes in enumerate(self.path):
            member[row, nodes[nodes >= 0]] = 1
        self.mass = self.weights @ member
        """W of each node, float64 [states, nodes]."""

    def _add(self, row: int, symbols: tuple[str, ...]) -> None:
        node = 0
        self.path[row, 0] = 0
        for position, symbol in enumerate(symbols):
            if symbol not in self.edges[node]:
                self.edges[node][symbol] = len(self.edges)
                self.edges.append({})
            node = self.edges[node][symbol]
            self.path[row, position + 1] = node
        if node in self.leaf:
            raise ValueError(f"two forms are equal: {' '.join(symbols)}")
        self.leaf[node] = row

    def _check(self) -> None:
        for node, row in self.leaf.items():
            if self.edges[node]:
                raise ValueError(f"a form begins another: {' '.join(self.symbols[row])}")

    def log_p(self) -> Float64[np.ndarray, "states rows length"]:
        """Return ln p of each symbol of a row given those before it; 0 behind a row's end and where it is not said."""
        with np.errstate(divide="ignore"):
            log = np.log(self.mass)[:, np.maximum(self.path, 0)]
        found = np.zeros((*self.weights.shape, self.longest))
        np.subtract(
            log[:, :, 1:], log[:, :, :-1], out=found, where=np.isfinite(log[:, :, :-1]) & (self.path[:, 1:] >= 0)
        )
        return np.where(np.isfinite(found), found, 0.0)

    def entropy(self) -> Float64[np.ndarray, "states rows length"]:
        """Return the entropy of the next symbol (nats), blanks not filled, at each position of a row."""
        node_entropy = np.zeros(self.mass.shape)
        for node, children in enumerate(self.edges):
            if children:
                p = self.mass[:, list(children.values())] / np.maximum(self.mass[:, [node]], 1e-300)
                node_entropy[:, node] = -np.sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0.0), axis=1)
        inside = self.path[:, 1:] >= 0
        return node_entropy[:, np.maximum(self.path[:, :-1], 0)] * inside

    def moves(self, token: Mapping[str, int], classes: Mapping[str, np.ndarray]) -> Int32[np.ndarray, "nodes V"]:
        """Return the node behind each node and token, DEAD where there is none.

        classes: the tokens that may fill each blank. ValueError where a token fits two edges of a node.
        """
        found = np.full((len(self.edges), len(token)), DEAD, np.int32)
        for node, children in enumerate(self.edges):
            for symbol, child in children.items():
                tokens = classes[symbol] if symbol in classes else np.array([token[symbol]])
                if (found[node, tokens] != DEAD).any():
                    raise ValueError(f"one token fits two of: {', '.join(children)}")
                found[node, tokens] = child
        return found

    def where(self, symbol: str) -> Int32[np.ndarray, " rows"]:
        """Return the index of a symbol in each row, -1 where it has none; ValueError where a row has it twice."""
        if any(one.count(symbol) > 1 for one in self.symbols):
            raise ValueError(f"{symbol} twice in a form")
        return np.array([one.index(symbol) if symbol in one else -1 for one in self.symbols], np.int32)


def sealed(symbols: Sequence[tuple[str, ...]], token: Mapping[str, int], blanks: Sequence[str]) -> np.ndarray:
    """Return rows as tokens, blank k of `blanks` as V + k, 0 (PAD) behind their ends: int32 [rows, length]."""
    code = dict(token) | {blank: len(token) + k for k, blank in enumerate(blanks)}
    found = np.zeros((len(symbols), max(map(len, symbols))), np.int32)
    for row, one in enumerate(symbols):
        found[row, : len(one)] = [code[symbol] for symbol in one]
    return found


def packed(values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values [n, ...] that a mask of their shape keeps, in order, as rows padded with 0, and the lengths."""
    length = mask.sum(axis=tuple(range(1, mask.ndim))).astype(np.int32)
    found = np.zeros((len(values), int(length.max(initial=1))), values.dtype)
    found[np.arange(found.shape[1])[None] < length[:, None]] = values[mask]
    return found, length
