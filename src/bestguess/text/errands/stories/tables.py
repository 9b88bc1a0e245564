"""Stories as tables: the states of a story, what may be said in each, where it leads; and stories drawn by them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Int32

from bestguess.text.errands.randomness import cumulated, picked, uniforms
from bestguess.text.errands.stories.grammar import (
    GIVE,
    MOVE,
    OPENING,
    WHERE,
    WHO_HAS,
    StoryGrammar,
    chances,
    end_chance,
)
from bestguess.text.errands.tables import DEAD, Trie, packed, sealed
from bestguess.text.errands.worlds import World

BLANKS = ("{L}", "{O}", "{pronoun}", "{item0}", "{item1}", "{at_L}", "{at_O}", "{place}", "{noun}")
LAST, OTHER, PRONOUN, ITEM0, ITEM1, AT_LAST, AT_OTHER, A_PLACE, A_NOUN = range(9)
REGISTERS = 7
"""The blanks before {place}: what was told decides them, but for a person who is new."""
_STREAM = 1
_PER_DOCUMENT, _PER_SENTENCE = 4, 4
"""Random numbers: topic and two names; row, value and end of a sentence."""


class StoryTables:
    """The tables of a world's stories."""

    def __init__(self, world: World) -> None:
        self.world, self.grammar = world, StoryGrammar(world)
        self.vocabulary, self.token, self.rows = self.grammar.vocabulary, self.grammar.token, self.grammar.rows
        self.sentences = OPENING + world.events[1]
        """Most sentences of a story."""
        states = (self.sentences + 1) * 8
        self.weight = np.zeros((states, len(self.rows)))
        self.after = np.zeros((states, len(self.rows), 2), np.int64)
        """The next state, by whether both are at one place once the sentence's {place} is filled."""
        for s in range(states):
            said, together, holders = self.parts(s)
            if said < self.sentences:
                self.weight[s] = chances(world, said, together, holders)
                for r in np.flatnonzero(self.weight[s]):
                    self.after[s, r] = [self._after(s, int(r), joined) for joined in (False, True)]
        self.end = np.array([end_chance(world, s // 8) for s in range(states)])
        self.cumulative = cumulated(self.weight)
        self.trie = Trie([row.symbols for row in self.rows], self.weight)
        self.act, self.item = (np.array([getattr(row, name) for row in self.rows]) for name in ("act", "item"))
        self.other = np.array([row.other for row in self.rows])
        self.codes = sealed([row.symbols for row in self.rows], self.token, BLANKS)
        self.names, self.places, self.nouns, self.pronouns = (
            np.array([self.token[word] for word in words])
            for words in (world.names, world.places, world.nouns, world.pronouns)
        )
        self.noun = np.repeat(np.array(world.noun_weights)[None], len(self.nouns) + 1, axis=0)
        every = np.arange(len(self.nouns))
        self.noun[every, :, every] = 0
        self.noun /= self.noun.sum(axis=2, keepdims=True)
        """P(thing | topic) without the thing told of already, [1 + things, topics, things]; index -1: with all."""
        self.noun_cumulative = cumulated(self.noun)

    @staticmethod
    def parts(state: int) -> tuple[int, bool, tuple[bool, bool]]:
        """Return (sentences, both at one place, whether O holds each thing) of a state."""
        return state // 8, bool(state // 4 % 2), (bool(state // 2 % 2), bool(state % 2))

    def _after(self, state: int, row: int, joined: bool) -> int:
        said, together, holders = self.parts(state)
        one = self.rows[row]
        turned = [holder != one.other for holder in holders]  # the subject is L from now on
        if one.act == WHO_HAS:
            turned[said - 2] = False
        elif one.act == GIVE:
            turned[one.item] = True
        elif one.act == MOVE or (one.act == WHERE and said == 1):
            together = joined
        return (((said + 1) * 2 + together) * 2 + turned[0]) * 2 + turned[1]

    def draw(self, seed: int, first: int, count: int) -> tuple[Int32[np.ndarray, "n T"], Int32[np.ndarray, " n"]]:
        """Return stories `first` to `first + count` without EOS, and their lengths."""
        u = uniforms(seed, _STREAM, first, count, _PER_DOCUMENT + _PER_SENTENCE * self.sentences)
        people, sizes = self.world.people, (len(self.places), len(self.nouns))
        topic = (u[:, 0] * self.world.topics).astype(np.int64)
        one, two = (u[:, 1] * people).astype(np.int64), (u[:, 2] * (people - 1)).astype(np.int64)
        names = np.stack([one, two + (two >= one)], axis=1)
        row = np.full((count, self.sentences), -1, np.int64)
        blanks = np.zeros((count, self.sentences, len(BLANKS)), np.int32)
        live, state, last = np.arange(count), np.zeros(count, np.int64), np.zeros(count, np.int64)
        where, items = np.full((count, 2), -1, np.int64), np.full((count, 2), -1, np.int64)
        for t in range(self.sentences):
            v = u[live, _PER_DOCUMENT + _PER_SENTENCE * t :][:, :_PER_SENTENCE]
            goes_on = v[:, 2] >= self.end[state]
            live, state, v = live[goes_on], state[goes_on], v[goes_on]
            said = picked(self.cumulative[state], v[:, 0])
            act, subject = self.act[said], last[live] ^ self.other[said]
            row[live, t] = said
            own = where[live, subject]
            value = (v[:, 1] * (sizes[0] - (own >= 0))).astype(np.int64)
            value += (own >= 0) & (value >= own)
            has = np.flatnonzero(act == WHO_HAS)
            value[has] = picked(self.noun_cumulative[items[live[has], 0], topic[live[has]]], v[has, 1])
            at, things = where[live], items[live]
            every, known = np.arange(len(live)), last[live]
            blanks[live, t] = np.stack(
                [
                    *(self.names[names[live, known]], self.names[names[live, 1 - known]]),
                    *(self.pronouns[names[live, known]], self.nouns[things[:, 0]], self.nouns[things[:, 1]]),
                    *(self.places[at[every, known]], self.places[at[every, 1 - known]]),
                    *(self.places[np.minimum(value, sizes[0] - 1)], self.nouns[np.minimum(value, sizes[1] - 1)]),
                ],
                axis=1,
            )
            moved = np.flatnonzero((act == WHERE) | (act == MOVE))
            where[live[moved], subject[moved]] = value[moved]
            items[live[has], t % 2] = value[has]
            last[live] = subject
            joined = (where[live, 0] == where[live, 1]).astype(np.int64)
            state = self.after[state, said, joined]
        codes = self.codes[row]
        blank = codes - len(self.vocabulary)
        tokens = np.where(blank >= 0, np.take_along_axis(blanks, np.maximum(blank, 0), axis=2), codes)
        lengths = np.where(row >= 0, self.trie.length[row], 0)
        mask = np.arange(codes.shape[2]) < lengths[:, :, None]
        return packed(tokens.astype(np.int32), mask)

    def edges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the trie's children by node and code (token, or V + blank), its place-like and its noun-like codes.

        A token that names a place can mean one blank at most at each node; one that names a thing can mean {noun}, or
        a thing that was told of.
        """
        words = len(self.vocabulary)
        child = np.full((len(self.trie.edges), words + len(BLANKS)), DEAD, np.int64)
        place, fresh = (np.full(len(child), DEAD, np.int64) for _ in range(2))
        code = dict(self.token) | {blank: words + k for k, blank in enumerate(BLANKS)}
        for node, children in enumerate(self.trie.edges):
            for symbol, behind in children.items():
                child[node, code[symbol]] = behind
            placed = [code[symbol] for symbol in children if symbol in ("{at_L}", "{at_O}", "{place}")]
            if len(placed) > 1 or ("{noun}" in children and len(children) > 1):
                raise ValueError(f"one token fits two of: {', '.join(children)}")
            place[node] = placed[0] if placed else DEAD
            fresh[node] = code["{noun}"] if "{noun}" in children else DEAD
        return child, place, fresh


@lru_cache(maxsize=4)
def tables_of(world: World) -> StoryTables:
    """Return the tables of a world, made once."""
    return StoryTables(world)
