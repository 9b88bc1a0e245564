"""Stories read token by token, in lockstep: the state, the place in the sentence, and the belief about the topic.

All but the topic is known at every token, since a sentence parses one way; so the exact prediction is a table's row,
with what was told (who, where, which thing) in its blanks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int, Int64

from bestguess.text.errands.stories.grammar import MOVE, WHERE, WHO_HAS
from bestguess.text.errands.stories.tables import (
    A_NOUN,
    A_PLACE,
    AT_LAST,
    AT_OTHER,
    ITEM0,
    LAST,
    OTHER,
    PRONOUN,
    REGISTERS,
    StoryTables,
)
from bestguess.text.errands.tables import DEAD
from bestguess.text.tokens import EOS

ENDED = -2
"""In a node's place: behind EOS."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Where n stories stand before each of their tokens."""

    state: Int64[np.ndarray, "n T"]
    node: Int64[np.ndarray, "n T"]
    """In the trie of sentences; DEAD behind a token that cannot be said, ENDED behind EOS."""
    joined: Int64[np.ndarray, "n T"]
    """Whether both are at one place once this sentence is said: 0 or 1, or 2 before its {place} is said."""
    told: Int64[np.ndarray, "n T 7"]
    """The token of each register (L, O, pronoun, things, places), -1 where nothing was told of it."""
    belief: Float64[np.ndarray, "n T topics"]
    """P(topic | what was told)."""
    log_p: Float64[np.ndarray, "n T"]
    """ln p* of each token; -inf where it cannot be said, 0 behind the end."""


class Walker:
    """Reads the stories of a world."""

    def __init__(self, tables: StoryTables) -> None:
        self.tables, self.words = tables, len(tables.vocabulary)
        self.child, self._place, self._fresh = tables.edges()
        trie = tables.trie
        self.mass, self.nodes = trie.mass, len(trie.edges)
        self.row = np.full(self.nodes, -1)
        self.row[list(trie.leaf)] = list(trie.leaf.values())
        self.other = np.zeros(self.nodes, bool)
        """Whether the sentence's subject is O, of each node behind the subject."""
        for row, nodes in enumerate(trie.path):
            self.other[nodes[nodes > 0]] = tables.other[row]
        self._classes = np.zeros(self.words, np.int64)
        for k, tokens in enumerate((tables.names, tables.pronouns, tables.nouns, tables.places)):
            self._classes[tokens] = k + 1

    @cached_property
    def entropy(self) -> Float64[np.ndarray, "states nodes"]:
        """The entropy of the next symbol, blanks not filled (nats)."""
        found = np.zeros(self.mass.shape)
        for node, children in enumerate(self.tables.trie.edges):
            if children:
                p = self.mass[:, list(children.values())] / np.maximum(self.mass[:, [node]], 1e-300)
                found[:, node] = -np.sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-300)), 0.0), axis=1)
        end = self.tables.end
        inside = np.where((end > 0) & (end < 1), end * np.log(np.maximum(end, 1e-300)), 0.0)
        outside = np.where((end > 0) & (end < 1), (1 - end) * np.log(np.maximum(1 - end, 1e-300)), 0.0)
        found[:, 0] = (1 - end) * found[:, 0] - inside - outside
        return found

    def walk(self, text: Int[np.ndarray, "n T"], length: Int[np.ndarray, " n"]) -> Trace:
        """Return where stories stand before each token; they may end with EOS, or before it."""
        tables, world = self.tables, self.tables.world
        n, width = text.shape
        every = np.arange(n)
        state, node, joined = np.zeros(n, np.int64), np.zeros(n, np.int64), np.full(n, 2)
        last, names = np.zeros(n, np.int64), np.full((n, 2), -1, np.int64)
        where, items = np.full((n, 2), -1, np.int64), np.full((n, 2), -1, np.int64)
        belief = np.full((n, world.topics), 1 / world.topics)
        whole = (n, width)
        seen = Trace(
            state=np.zeros(whole, np.int64),
            node=np.zeros(whole, np.int64),
            joined=np.zeros(whole, np.int64),
            told=np.zeros((*whole, REGISTERS), np.int64),
            belief=np.zeros((*whole, world.topics)),
            log_p=np.zeros(whole),
        )
        for t in range(width):
            told = self._told(every, names, last, where, items)
            seen.state[:, t], seen.node[:, t], seen.joined[:, t] = state, node, joined
            seen.told[:, t], seen.belief[:, t] = told, belief
            live = (node >= 0) & (length > t)
            token = text[:, t].astype(np.int64)
            fits = live & (token >= 0) & (token < self.words)
            word = np.where(fits, token, 0)
            code = self._code(word, np.maximum(node, 0), told)
            after = np.where(fits & (code >= 0), self.child[np.maximum(node, 0), code], DEAD)
            factor = np.where(node == 0, 1 - tables.end[state], 1.0)
            # A new person, a place, a thing: which one is a matter of chance.
            symbol = code - self.words
            new = (symbol >= LAST) & (symbol <= OTHER) & (after >= 0) & (told[every, np.clip(symbol, LAST, OTHER)] < 0)
            factor = np.where(new, factor / np.maximum(world.people - (names >= 0).sum(axis=1), 1), factor)
            names[new, (names[new] >= 0).sum(axis=1)] = word[new] - tables.names[0]
            placed = (symbol == A_PLACE) & (after >= 0)
            subject = np.where(self.other[np.maximum(after, 0)], 1 - last, last)
            own, apart = where[every, subject], where[every, 1 - subject]
            value = word - tables.places[0]
            after = np.where(placed & (own == value), DEAD, after)
            factor = np.where(placed, factor / (len(tables.places) - (own >= 0)), factor)
            joined = np.where(placed, apart == value, joined)
            filled = np.flatnonzero((symbol == A_NOUN) & (after >= 0))
            thing = word - tables.nouns[0]
            joint = belief[filled] * tables.noun[items[filled, 0], :, thing[filled]]
            p = joint.sum(axis=1)
            factor[filled] *= p
            after[filled[p == 0]] = DEAD
            belief[filled] = joint / np.maximum(p, 1e-300)[:, None]
            edge = self.mass[state, np.maximum(after, 0)] / np.maximum(self.mass[state, np.maximum(node, 0)], 1e-300)
            p_token = np.where(after >= 0, edge * factor, 0.0)
            ends = live & (node == 0) & (token == EOS)
            p_token = np.where(ends, tables.end[state], p_token)
            after = np.where(p_token > 0, np.where(ends, ENDED, after), DEAD)
            with np.errstate(divide="ignore"):
                seen.log_p[:, t] = np.where(
                    live, np.log(p_token), np.where((node == DEAD) & (length > t), -np.inf, 0.0)
                )
            # Behind a sentence: who is where, who holds what.
            row = np.where(after > 0, self.row[np.maximum(after, 0)], -1)
            said = live & (row >= 0)
            act = np.where(said, tables.act[row], -1)
            moved = np.flatnonzero((act == WHERE) | (act == MOVE))
            place = text[moved, t - 1].astype(np.int64) - tables.places[0]  # the word before the full stop
            where[moved, subject[moved]] = place
            has = np.flatnonzero(act == WHO_HAS)
            items[has, (items[has] >= 0).sum(axis=1)] = text[has, t - 1].astype(np.int64) - tables.nouns[0]
            state = np.where(said, tables.after[state, row, np.minimum(joined, 1)], state)
            last = np.where(said, subject, last)
            joined = np.where(said, 2, joined)
            node = np.where(said, 0, np.where(live, after, node))
        return seen

    def _told(
        self, every: np.ndarray, names: np.ndarray, last: np.ndarray, where: np.ndarray, items: np.ndarray
    ) -> np.ndarray:
        tables = self.tables
        found = np.empty((len(last), REGISTERS), np.int64)
        name, place = names[every, last], where[every, last]
        name_o, place_o = names[every, 1 - last], where[every, 1 - last]
        columns = (
            (LAST, tables.names, name), (OTHER, tables.names, name_o), (PRONOUN, tables.pronouns, name),
            (ITEM0, tables.nouns, items[:, 0]), (ITEM0 + 1, tables.nouns, items[:, 1]),
            (AT_LAST, tables.places, place), (AT_OTHER, tables.places, place_o),
        )  # fmt: skip
        for column, tokens, index in columns:
            found[:, column] = np.where(index >= 0, tokens[index], -1)
        return found

    def _code(self, word: np.ndarray, node: np.ndarray, told: np.ndarray) -> np.ndarray:
        """Return the code of the edge that a token takes from a node: itself, or V + a blank; DEAD for none."""
        kind, base = self._classes[word], self.words
        # A name is L's or O's, or a new person's: L in the first sentence, O in the second.
        new = np.where(told[:, LAST] < 0, base + LAST, np.where(told[:, OTHER] < 0, base + OTHER, DEAD))
        name = np.where(word == told[:, LAST], base + LAST, np.where(word == told[:, OTHER], base + OTHER, new))
        pronoun = np.where(word == told[:, PRONOUN], base + PRONOUN, DEAD)
        one, two = word == told[:, ITEM0], word == told[:, ITEM0 + 1]
        known = np.where(one, base + ITEM0, np.where(two, base + ITEM0 + 1, DEAD))
        thing = np.where(self._fresh[node] >= 0, self._fresh[node], known)
        place = self._place[node]
        stated = place - base
        fits = (stated == A_PLACE) | (told[np.arange(len(word)), np.clip(stated, 0, REGISTERS - 1)] == word)
        return np.choose(kind, [word, name, pronoun, thing, np.where((place >= 0) & fits, place, DEAD)])
