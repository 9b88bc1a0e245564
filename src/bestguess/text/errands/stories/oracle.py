"""The best possible predictor of stories; and the one that sees where a story was cut in half.

A story cut at half its length tells its length to whoever sees the cut: behind h tokens, h or h + 1 follow. With E the
event that the story goes on for so many, Bayes' rule gives that reader's prediction from the other's:

    p(x | past, E) = p(x | past) P(E | past, x) / P(E | past)

P(E | past) = β is a table too, by how many tokens follow: the lengths of sentences depend on the state alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int, Int8, Int32

from bestguess.text.errands import forward
from bestguess.text.errands.documents import COPIED, FREE, INFERRED, NO_KIND, Floors
from bestguess.text.errands.stories.grammar import MOVE, WHERE
from bestguess.text.errands.stories.tables import (
    A_NOUN,
    A_PLACE,
    AT_LAST,
    ITEM0,
    LAST,
    OTHER,
    REGISTERS,
    StoryTables,
)
from bestguess.text.errands.stories.walk import Trace, Walker
from bestguess.text.errands.tables import DEAD
from bestguess.text.pairs import Pairs
from bestguess.text.tokens import EOS, PAD

_PIECE = 1 << 20
"""Positions times words that are predicted at a time."""


@dataclass(frozen=True, eq=False)
class ScoredStories:
    """n stories in two parts, with their floors."""

    pairs: Pairs
    floors: Floors
    """The source's last entry, of its end, is 0: the cut is no part of the story."""
    kinds: Int8[np.ndarray, "n U"]
    """Of each target token. COPIED: names, pronouns, things and places that are certain, given what was told;
    INFERRED: a thing that is new; FREE: all others."""


def joined(pairs: Pairs) -> tuple[Int32[np.ndarray, "n T"], Int32[np.ndarray, " n"]]:
    """Return sources with their targets behind them, and the lengths of both together."""
    length = (pairs.source_length + pairs.target_length).astype(np.int32)
    found = np.full((len(pairs), int(length.max(initial=1))), PAD, np.int32)
    column = np.arange(found.shape[1])[None]
    found[column < pairs.source_length[:, None]] = pairs.source[_inside(pairs.source, pairs.source_length)]
    second = (column >= pairs.source_length[:, None]) & (column < length[:, None])
    found[second] = pairs.target[_inside(pairs.target, pairs.target_length)]
    return found, length


def _inside(part: np.ndarray, length: np.ndarray) -> np.ndarray:
    return np.arange(part.shape[1])[None] < length[:, None]


def cut(text: Int[np.ndarray, "n T"], length: Int[np.ndarray, " n"], at: Int[np.ndarray, " n"]) -> Pairs:
    """Return texts cut before token `at`; EOS is added to the second part."""
    n, width = text.shape
    first = int(at.max(initial=1))
    source = np.where(np.arange(first)[None] < at[:, None], text[:, :first], PAD)
    ended = np.pad(text, ((0, 0), (0, 1)))
    ended[np.arange(n), length] = EOS
    rest = (length + 1 - at).astype(np.int32)
    index = np.minimum(at[:, None] + np.arange(int(rest.max(initial=1)))[None], width)
    target = np.where(np.arange(index.shape[1])[None] < rest[:, None], np.take_along_axis(ended, index, axis=1), PAD)
    return Pairs(source.astype(np.int32), at.astype(np.int32), target.astype(np.int32), rest)


class StoryOracle:
    """The exact prediction of a story's tokens, given those before."""

    def __init__(self, tables: StoryTables) -> None:
        self.tables, self.walker = tables, Walker(tables)

    def _walked(self, pairs: Pairs, whole: bool) -> tuple[Trace, np.ndarray]:
        """Return the trace of stories and the tokens; ValueError for a source (or, if whole, a target) that is none."""
        text, length = joined(pairs)
        trace = self.walker.walk(text, length)
        bad = np.isneginf(trace.log_p)
        bad &= np.arange(text.shape[1])[None] < (length if whole else pairs.source_length)[:, None]
        ended = text[np.arange(len(text)), length - 1] == EOS
        for row in np.flatnonzero(bad.any(axis=1) | (whole & ~ended))[:1]:
            tokens = text[row, : length[row]].tolist()
            at = forward.first_impossible(self.tables.grammar, tokens)
            if at is None:
                raise ValueError(f"row {row}: the story ends at token {len(tokens)}, where the grammar goes on")
            known = 0 <= tokens[at] < len(self.tables.vocabulary)
            word = repr(self.tables.vocabulary[tokens[at]]) if known else f"{tokens[at]} (not in the vocabulary)"
            raise ValueError(f"row {row}: the grammar cannot say token {at} of the story, {word}")
        return trace, text

    def log_p(self, pairs: Pairs) -> Float32[np.ndarray, "n U V"]:
        """Return ln p* of every token at each position of the targets, given all tokens before it.

        Who predicts so does not know where the story was cut. -inf for what the grammar cannot say; behind a token that
        it cannot say, and behind EOS, all tokens are equally likely. ValueError for a source that it cannot say.
        """
        return self._log_p(pairs, midpoint=False)

    def midpoint_log_p(self, pairs: Pairs) -> Float32[np.ndarray, "n U V"]:
        """Return the same for who knows that the source has half the story's tokens, rounded down (EOS not counted).

        ValueError too for a target that does not have as many tokens as its source, or one more.
        """
        more = pairs.target_length - 1 - pairs.source_length
        for row in np.flatnonzero((more < 0) | (more > 1))[:1]:
            here = f"{pairs.source_length[row]} tokens, and {pairs.target_length[row] - 1} without EOS"
            raise ValueError(f"row {row}: the parts have {here}: not the halves of a story")
        return self._log_p(pairs, midpoint=True)

    def _log_p(self, pairs: Pairs, midpoint: bool) -> np.ndarray:
        trace, _ = self._walked(pairs, whole=False)
        words = self.walker.words
        found = np.full((*pairs.target.shape, words), -np.log(words), np.float32)
        i, u = np.nonzero(_inside(pairs.target, pairs.target_length))
        t = u + pairs.source_length[i]
        alive = trace.node[i, t] >= 0
        i, u, t = i[alive], u[alive], t[alive]
        for some in _pieces(len(i), words):
            child, flag, p = self._next(trace, i[some], t[some])
            if midpoint:
                half = pairs.source_length[i[some]]
                p = self._given_length(trace, i[some], t[some], child, flag, p, (half - u[some]).astype(np.int64))
            with np.errstate(divide="ignore"):
                found[i[some], u[some]] = np.log(p)
        return found

    def _next(self, trace: Trace, i: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return, by position and token: the node behind it, what `Trace.joined` is then, and its probability."""
        tables, walker = self.tables, self.walker
        state, node, told, belief = trace.state[i, t], trace.node[i, t], trace.told[i, t], trace.belief[i, t]
        words = walker.words
        child = walker.child[node][:, :words].copy()
        p = np.ones((len(i), words))
        flag = np.repeat(trace.joined[i, t][:, None], words, axis=1)
        edges = walker.child[node][:, words:]
        for k in range(REGISTERS):
            here = np.flatnonzero((edges[:, k] >= 0) & (told[:, k] >= 0))
            child[here, told[here, k]] = edges[here, k]
        people = (told[:, [LAST, OTHER]] >= 0).sum(axis=1)
        for k in (LAST, OTHER):  # a new person
            here = np.flatnonzero((edges[:, k] >= 0) & (told[:, k] < 0) & (people == k))
            child[here[:, None], tables.names] = edges[here, k][:, None]
            p[here[:, None], tables.names] = 1 / (tables.world.people - k)
            if k == OTHER:
                child[here, told[here, LAST]] = DEAD
        here = np.flatnonzero(edges[:, A_PLACE] >= 0)
        subject = walker.other[node[here]].astype(int)
        own, apart = told[here, AT_LAST + subject], told[here, AT_LAST + 1 - subject]
        child[here[:, None], tables.places] = edges[here, A_PLACE][:, None]
        p[here[:, None], tables.places] = (1 / (len(tables.places) - (own >= 0)))[:, None]
        p[here[own >= 0], own[own >= 0]] = 0
        flag[here[:, None], tables.places] = tables.places == apart[:, None]
        here = np.flatnonzero(edges[:, A_NOUN] >= 0)
        child[here[:, None], tables.nouns] = edges[here, A_NOUN][:, None]
        taken = np.where(told[here, ITEM0] >= 0, told[here, ITEM0] - tables.nouns[0], -1)
        p[here[:, None], tables.nouns] = np.einsum("kz,kzn->kn", belief[here], tables.noun[taken])
        mass = walker.mass
        p *= np.where(child >= 0, mass[state[:, None], child], 0.0) / np.maximum(mass[state, node], 1e-300)[:, None]
        root = np.flatnonzero(node == 0)
        end = tables.end[state[root]]
        p[root] *= (1 - end)[:, None]
        p[root, EOS] = end
        return child, flag, p

    def _given_length(
        self, trace: Trace, i: np.ndarray, t: np.ndarray, child: np.ndarray, flag: np.ndarray, p: np.ndarray,
        left: np.ndarray,
    ) -> np.ndarray:  # fmt: skip
        """Return p where `left` or `left` + 1 tokens follow, the next one included."""
        beta, state = self.beta, trace.state[i, t]

        def chance(node: np.ndarray, joined: np.ndarray, state: np.ndarray, follow: np.ndarray) -> np.ndarray:
            most = beta.shape[3] - 1
            possible = (follow >= 0) & (follow <= most)
            return np.where(possible, beta[state, np.maximum(node, 0), joined, np.clip(follow, 0, most)], 0.0)

        node, now = trace.node[i, t], trace.joined[i, t]
        before = chance(node, now, state, left) + chance(node, now, state, left + 1)
        found = np.zeros_like(p)
        k, x = np.nonzero(p > 0)
        after, then = child[k, x], flag[k, x]
        behind = chance(after, then, state[k], left[k] - 1) + chance(after, then, state[k], left[k])
        ends = x == EOS
        behind = np.where(ends, (left[k] == 0) | (left[k] == -1), behind)
        found[k, x] = p[k, x] * behind / np.maximum(before[k], 1e-300)
        return found

    @cached_property
    def beta(self) -> Float32[np.ndarray, "states nodes 3 lengths"]:
        """P(just so many tokens follow before EOS), by state, node and `Trace.joined`."""
        tables, trie = self.tables, self.tables.trie
        weight, end, length = trie.weights, tables.end, trie.length
        most = int(length.max()) * tables.sentences
        between = np.zeros((len(end), most + 1))
        behind = np.zeros((*weight.shape, 3, most + 1))
        """By state, sentence and joined, of what follows the sentence."""
        for said in range(tables.sentences, -1, -1):
            states = np.arange(said * 8, said * 8 + 8)
            between[states, 0] = end[states]
            for s in states:
                for r in np.flatnonzero(weight[s]):
                    apart, near = between[tables.after[s, r]]
                    chance = self._joining(int(s), int(r))
                    behind[s, r] = np.stack([apart, near, (1 - chance) * apart + chance * near])
                    step = int(length[r])
                    between[s, step:] += (1 - end[s]) * weight[s, r] * behind[s, r, 2, : most + 1 - step]
        found = np.zeros((len(end), self.walker.nodes, 3, most + 1), np.float32)
        for row, nodes in enumerate(trie.path):
            for depth in range(1, int(length[row]) + 1):
                node, left = int(nodes[depth]), int(length[row]) - depth
                share = weight[:, row] / np.maximum(trie.mass[:, node], 1e-300)
                found[:, node, :, left:] += share[:, None, None] * behind[:, row, :, : most + 1 - left]
        found[:, 0] = between[:, None]
        return found

    def _joining(self, state: int, row: int) -> float:
        """Return the probability that both are at one place once a sentence's {place} is filled."""
        said, together, _ = self.tables.parts(state)
        act, places = self.tables.act[row], len(self.tables.places)
        if act == WHERE and said == 1:
            return 1 / places
        return 0.0 if act == WHERE else (not together) / (places - 1) if act == MOVE else float(together)

    @property
    def lengths(self) -> tuple[int, int]:
        """Tokens of the shortest and of the longest story, without EOS."""
        possible = np.flatnonzero(self.beta[0, 0, 0])
        return int(possible[0]), int(possible[-1])

    def score(self, pairs: Pairs) -> ScoredStories:
        """Return floors and kinds of given stories; ValueError for what the grammar cannot say."""
        trace, text = self._walked(pairs, whole=True)
        entropy, kinds = self._entropies(trace, text)
        n, inside = len(pairs), _inside(pairs.target, pairs.target_length)
        source = np.zeros((n, pairs.source.shape[1] + 1))
        known = _inside(pairs.source, pairs.source_length)
        column = np.arange(text.shape[1])[None]
        source[:, :-1][known] = trace.log_p[column < pairs.source_length[:, None]]
        second = (column >= pairs.source_length[:, None]) & (column < _total(pairs)[:, None])
        log_p, expected = np.zeros(pairs.target.shape), np.zeros(pairs.target.shape)
        found = np.zeros(pairs.target.shape, np.int8)
        log_p[inside], expected[inside], found[inside] = trace.log_p[second], entropy[second], kinds[second]
        return ScoredStories(pairs, Floors(source, log_p, expected), found)

    def _entropies(self, trace: Trace, text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the entropy of every prediction (nats) and the kind of every token, both [n, T]."""
        tables, walker = self.tables, self.walker
        node = np.maximum(trace.node, 0)
        found = walker.entropy[trace.state, node]
        content = np.isin(text, np.concatenate([tables.names, tables.pronouns, tables.nouns, tables.places]))
        edges = walker.child[:, walker.words :][node]
        share = walker.mass[trace.state[:, :, None], np.maximum(edges, 0)] * (edges >= 0)
        share /= np.maximum(walker.mass[trace.state, node], 1e-300)[:, :, None]
        share *= np.where(node == 0, 1 - tables.end[trace.state], 1.0)[:, :, None]
        people = (trace.told[:, :, [LAST, OTHER]] >= 0).sum(axis=2)
        for k in (LAST, OTHER):
            found += share[:, :, k] * (people == k) * np.log(tables.world.people - k)
        subject = walker.other[node].astype(int)
        own = np.take_along_axis(trace.told[:, :, AT_LAST:], subject[:, :, None], axis=2)[:, :, 0]
        found += share[:, :, A_PLACE] * np.log(len(tables.places) - (own >= 0))
        i, t = np.nonzero(share[:, :, A_NOUN] > 0)
        taken = np.where(trace.told[i, t, ITEM0] >= 0, trace.told[i, t, ITEM0] - tables.nouns[0], -1)
        p = np.einsum("kz,kzn->kn", trace.belief[i, t], tables.noun[taken])
        found[i, t] += share[i, t, A_NOUN] * -np.sum(p * np.log(np.maximum(p, 1e-300)), axis=1)
        inferred = share[:, :, A_NOUN] > 0
        kinds = np.where(inferred, INFERRED, np.where(content & (found == 0), COPIED, FREE))
        return np.where(trace.node >= 0, found, 0.0), np.where(trace.node >= 0, kinds, NO_KIND).astype(np.int8)


def _total(pairs: Pairs) -> np.ndarray:
    return pairs.source_length + pairs.target_length


def _pieces(count: int, words: int) -> Iterator[slice]:
    step = max(1, _PIECE // words)
    return (slice(first, first + step) for first in range(0, count, step))
