"""Dialogues as their turns: which wording is said, and what its blanks are filled with. Drawn, replayed, checked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float64, Int64

from bestguess.text.errands.grammar import (
    ACCEPT,
    NOTHING,
    PROPOSE,
    REVISE,
    DialogueGrammar,
    act_chances,
    end_chance,
    slack_of,
)
from bestguess.text.errands.randomness import cumulated, picked, uniforms
from bestguess.text.errands.tables import Trie
from bestguess.text.errands.worlds import DAY, ITEM, PLACE, World

BLANKS = ("{place}", "{day}", "{noun}")
_STREAM = 0
_PER_DOCUMENT, _PER_TURN = 4, 5
"""Random numbers: topic, two names, template; row, place, day, noun and end of a turn."""


@dataclass(frozen=True, eq=False)
class Script:
    """n dialogues of at most T turns; whatever is behind a dialogue's end is -1."""

    names: Int64[np.ndarray, "n 2"]
    """The people by index: the first and the second to speak."""
    row: Int64[np.ndarray, "n T"]
    """Index into the grammar's rows."""
    values: Int64[np.ndarray, "n T 3"]
    """Place, day and thing that are named in the turn, -1 where none is."""


@dataclass(frozen=True, eq=False)
class Course:
    """What a script leads to."""

    state: Int64[np.ndarray, "n T"]
    """Before each turn."""
    old: Int64[np.ndarray, "n T 3"]
    """The value of each slot that cannot come in this turn, since it is the one revised; -1 for none."""
    final: Int64[np.ndarray, " n"]
    """State behind the last turn."""
    values: Int64[np.ndarray, "n 3"]
    """Place, day and item that were settled."""
    proposed: Int64[np.ndarray, "n 3"]
    """The turn that proposed each of them."""
    bringer: Int64[np.ndarray, " n"]
    """0: the one who spoke first brings the item; 1: the other."""
    chooser: Int64[np.ndarray, " n"]
    """Who proposed the day, likewise."""
    legal: Bool[np.ndarray, "n T"]
    """Whether the grammar can say each turn; True behind the end."""


class Stage:
    """The states of a dialogue, as tables: what may be said in each, and where it leads."""

    def __init__(self, world: World) -> None:
        self.world, self.grammar = world, DialogueGrammar(world)
        rows = self.grammar.rows
        self.slack = slack_of(world)
        states = (self.slack + 1) * 32
        self.weight, self.after = np.zeros((states, len(rows))), np.zeros((states, len(rows)), np.int64)
        self.end = np.zeros(states)
        for s in range(states):
            slack, empty, pending = self.parts(s)
            self.end[s] = end_chance(world, empty, pending, slack)
            chances = act_chances(world, empty, pending, slack)
            for r, row in enumerate(rows):
                self.weight[s, r] = chances.get((row.act, row.slot), 0.0) * row.weight
                if self.weight[s, r] > 0:
                    self.after[s, r] = self._after(slack, empty, pending, row.act, row.slot)
        self.trie = Trie([row.symbols for row in rows], self.weight)
        self.cumulative = cumulated(self.weight)
        self.act = np.array([row.act for row in rows])
        self.slot = np.array([row.slot for row in rows])
        self.mine = np.array([row.mine for row in rows])
        self.proposes = (self.act == PROPOSE) | (self.act == REVISE)
        self.blank = np.stack([self.trie.where(blank) for blank in BLANKS], axis=1)
        """Where each row has a place, a day, a thing; -1 where it has none."""
        nouns = np.array(world.noun_weights)
        self.noun = np.repeat(nouns[None], nouns.shape[1] + 1, axis=0)
        self.noun[np.arange(nouns.shape[1]), :, np.arange(nouns.shape[1])] = 0
        self.noun /= self.noun.sum(axis=2, keepdims=True)
        """P(thing | topic) where one thing is excluded, [1 + things, topics, things]; index -1 excludes none."""
        self.noun_cumulative = cumulated(self.noun)
        self.sizes = (len(world.places), len(world.days), len(world.nouns))

    @staticmethod
    def parts(state: int) -> tuple[int, int, int]:
        """Return (slack, bits of the empty slots, slot in question) of a state."""
        return state // 32, state // 4 % 8, state % 4

    @staticmethod
    def _state(slack: int, empty: int, pending: int) -> int:
        return (slack * 8 + empty) * 4 + pending

    def _after(self, slack: int, empty: int, pending: int, act: int, slot: int) -> int:
        if act == PROPOSE:
            return self._state(slack, empty & ~(1 << slot), slot)
        if act == ACCEPT:
            return self._state(slack, empty, NOTHING)
        return self._state(slack - 1, empty, pending)

    @property
    def opening(self) -> int:
        """The state before the first turn."""
        return self._state(self.slack, 7, NOTHING)

    def draw(
        self, seed: int, first: int, count: int
    ) -> tuple[Script, Int64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
        """Return dialogues, their topics, and a number in [0, 1) for each, with which to draw its summary."""
        turns = self.world.turns
        u = uniforms(seed, _STREAM, first, count, _PER_DOCUMENT + _PER_TURN * turns)
        topic = (u[:, 0] * self.world.topics).astype(np.int64)
        people = self.world.people
        one = (u[:, 1] * people).astype(np.int64)
        two = (u[:, 2] * (people - 1)).astype(np.int64)
        two += two >= one
        row = np.full((count, turns), -1, np.int64)
        values = np.full((count, turns, 3), -1, np.int64)
        live, state, current = np.arange(count), np.full(count, self.opening), np.full((count, 3), -1, np.int64)
        t = 0
        while len(live):
            v = u[live, _PER_DOCUMENT + _PER_TURN * t :][:, :_PER_TURN]
            said = picked(self.cumulative[state], v[:, 0])
            found = self._filled(said, state, current, topic[live], v[:, 1:4])
            row[live, t], values[live, t] = said, found
            state = self.after[state, said]
            current = np.where(self.proposes[said][:, None] & (found >= 0), found, current)
            goes_on = v[:, 4] >= self.end[state]
            live, state, current = live[goes_on], state[goes_on], current[goes_on]
            t += 1
        return Script(np.stack([one, two], axis=1), row[:, :t], values[:, :t]), topic, u[:, 3]

    def _filled(
        self, row: np.ndarray, state: np.ndarray, current: np.ndarray, topic: np.ndarray, u: np.ndarray
    ) -> np.ndarray:
        """Return a place, a day and a thing for each row that has such a blank, -1 elsewhere: int64 [n, 3]."""
        found = np.full((len(row), 3), -1, np.int64)
        for slot in (PLACE, DAY):
            at = np.flatnonzero(self.blank[row, slot] >= 0)
            old = np.where(state[at] % 4 == slot, current[at, slot], -1)
            value = (u[at, slot] * (self.sizes[slot] - (old >= 0))).astype(np.int64)
            found[at, slot] = value + ((old >= 0) & (value >= old))
        at = np.flatnonzero(self.blank[row, ITEM] >= 0)
        old = np.where(state[at] % 4 == ITEM, current[at, ITEM], -1)
        found[at, ITEM] = picked(self.noun_cumulative[old, topic[at]], u[at, ITEM])
        return found

    def course(self, script: Script) -> Course:
        """Return what scripts lead to; `legal` says which turns the grammar can say."""
        n, turns = script.row.shape
        state, old = np.full((n, turns), -1, np.int64), np.full((n, turns, 3), -1, np.int64)
        legal = np.ones((n, turns), bool)
        now, current = np.full(n, self.opening), np.full((n, 3), -1, np.int64)
        proposed, bringer, chooser = np.full((n, 3), -1, np.int64), np.full(n, -1), np.full(n, -1)
        for t in range(turns):
            row, spoken = script.row[:, t], script.row[:, t] >= 0
            state[:, t] = now
            slot = now % 4
            asked = spoken & (slot != NOTHING) & (self.act[row] == REVISE)
            which = np.flatnonzero(asked)
            old[which, t, slot[which]] = current[which, slot[which]]
            repeated = (script.values[:, t] == old[:, t]) & (old[:, t] >= 0)
            over = (script.row[:, t - 1] < 0) if t else np.zeros(n, bool)
            possible = (self.weight[now, row] > 0) & (self.end[now] < 1) & ~repeated.any(axis=1) & ~over
            legal[:, t] = possible | ~spoken
            new = np.flatnonzero(spoken & self.proposes[row])
            about = self.slot[row[new]]
            current[new, about] = script.values[new, t, about]
            proposed[new, about] = t
            who = np.where(self.mine[row[new]], t % 2, 1 - t % 2)
            bringer[new] = np.where(about == ITEM, who, bringer[new])
            chooser[new] = np.where(about == DAY, t % 2, chooser[new])
            now = np.where(spoken, self.after[now, row], now)
        return Course(state, old, now, current, proposed, bringer, chooser, legal)


@lru_cache(maxsize=4)
def stage_of(world: World) -> Stage:
    """Return the tables of a world, made once."""
    return Stage(world)
