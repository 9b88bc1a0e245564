"""Texts read back: a dialogue as its turns, a summary as its template. In lockstep over documents, token by token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Int64

from bestguess.text.errands import forward
from bestguess.text.errands.documents import FACTS, LABEL, Dialogues
from bestguess.text.errands.grammar import Grammar
from bestguess.text.errands.script import BLANKS, Course, Script
from bestguess.text.errands.tables import DEAD
from bestguess.text.tokens import SEP

_SPEAKER, _COLON = -3, -2
"""What comes next, in a node's place."""


def refusal(grammar: Grammar, row: int, source: np.ndarray, target: np.ndarray | None = None) -> ValueError:
    """Return the error that names a row and the first of its tokens that the grammar cannot say.

    source, target: those of the row; a target of None was not looked at.
    """
    text = source.tolist() if target is None else [*source.tolist(), SEP, *target.tolist()]
    at = forward.first_impossible(grammar, text)
    if at is None and target is None:
        at = len(text)
    if at is None or at == len(source):
        part, at = ("dialogue", len(source)) if at is not None else ("summary", len(text) - len(source) - 1)
        return ValueError(f"row {row}: the {part} ends at token {at}, where the grammar goes on")
    part, at, token = ("dialogue", at, text[at]) if at < len(source) else ("summary", at - len(source) - 1, text[at])
    known = 0 <= token < len(grammar.vocabulary)
    word = repr(grammar.vocabulary[token]) if known else f"{token} (not in the vocabulary)"
    return ValueError(f"row {row}: the grammar cannot say token {at} of the {part}, {word}")


@dataclass(frozen=True, eq=False)
class Reading:
    """Dialogues as read."""

    script: Script
    course: Course
    wrong: Bool[np.ndarray, " n"]
    """Whether the grammar cannot say a dialogue; its script and course mean nothing then."""


class Reader:
    """Reads the dialogues of a world and their summaries."""

    def __init__(self, dialogues: Dialogues) -> None:
        self.dialogues, self.world = dialogues, dialogues.world
        stage, token = dialogues.stage, dialogues.token
        sizes = stage.sizes
        self.tokens = [dialogues.base[slot] + np.arange(sizes[slot]) for slot in range(3)]
        """The places, days and things, as tokens."""
        self._moves = stage.trie.moves(token, dict(zip(BLANKS, self.tokens)))
        self._row = np.full(len(stage.trie.edges), -1)
        self._row[list(stage.trie.leaf)] = list(stage.trie.leaf.values())
        names = dialogues.names
        classes = (names, names, *self.tokens, names, names, dialogues.labels)
        self.summary_moves = dialogues.summary.moves(token, dict(zip(FACTS, classes)))
        self.template = np.full(len(dialogues.summary.edges), -1)
        self.template[list(dialogues.summary.leaf)] = list(dialogues.summary.leaf.values())
        """The template that ends in each node; -1 for other nodes."""
        self.blank = np.full(len(dialogues.summary.edges), -1)
        """The blank that comes next at each node of the summaries; -1 where words come."""
        for node, children in enumerate(dialogues.summary.edges):
            for symbol in children:
                if symbol in FACTS:
                    if len(children) > 1:
                        raise ValueError(f"a word or a fact may come: {', '.join(children)}")
                    self.blank[node] = FACTS.index(symbol)

    def read(self, source: Int[np.ndarray, "n S"], length: Int[np.ndarray, " n"]) -> Reading:
        """Return dialogues as their turns."""
        n, width = source.shape
        turns, words = self.world.turns, len(self.dialogues.vocabulary)
        names, row = np.full((n, 2), -1, np.int64), np.full((n, turns), -1, np.int64)
        values = np.full((n, turns, 3), -1, np.int64)
        node, turn = np.full(n, _SPEAKER), np.zeros(n, np.int64)
        wrong, live = np.zeros(n, bool), np.arange(n)
        first_name, colon = self.dialogues.names[0], self.dialogues.token[":"]
        for s in range(width):
            live = live[(length[live] > s) & ~wrong[live]]
            token = source[live, s].astype(np.int64)
            fits = (token >= 0) & (token < words)
            now, spoken = node[live], turn[live]
            after = np.where(now >= 0, self._moves[np.maximum(now, 0), np.where(fits, token, 0)], DEAD)
            after = np.where(now == _COLON, np.where(token == colon, 0, DEAD), after)
            # The speaker: new in the first two turns, known afterwards.
            name, place = token - first_name, spoken % 2
            known = names[live]
            new = (name >= 0) & (name < self.world.people) & (name != known[:, 0])
            right = np.where(spoken < 2, new, name == known[np.arange(len(live)), place]) & (spoken < turns)
            speaks = now == _SPEAKER
            after = np.where(speaks, np.where(right, _COLON, DEAD), after)
            met = np.flatnonzero(speaks & right & (spoken < 2))
            names[live[met], place[met]] = name[met]
            after = np.where(fits, after, DEAD)
            wrong[live] = after == DEAD
            for slot in range(3):
                value = token - self.dialogues.base[slot]
                filled = np.flatnonzero((after >= 0) & (now >= 0) & (value >= 0) & (value < len(self.tokens[slot])))
                values[live[filled], spoken[filled], slot] = value[filled]
            ended = np.flatnonzero((after >= 0) & (self._row[np.maximum(after, 0)] >= 0))
            row[live[ended], spoken[ended]] = self._row[after[ended]]
            turn[live[ended]] += 1
            after[ended] = _SPEAKER
            node[live] = after
        most = int(turn.max(initial=0))
        script = Script(names, row[:, :most], values[:, :most])
        course = self.dialogues.stage.course(script)
        wrong |= (node != _SPEAKER) | (self.dialogues.stage.end[course.final] == 0) | ~course.legal.all(axis=1)
        return Reading(script, course, wrong)

    def walk(self, target: Int[np.ndarray, "n U"], facts: Int[np.ndarray, "n 8"]) -> Int64[np.ndarray, "n U1"]:
        """Return the node of the summaries' trie before each token and behind the last; DEAD once it cannot be said.

        facts: as `Facts.tokens`; the occasion is not checked, since any may be named.
        """
        n, width = target.shape
        words, every = len(self.dialogues.vocabulary), np.arange(n)
        nodes = np.zeros((n, width + 1), np.int64)
        for u in range(width):
            now, token = nodes[:, u], target[:, u].astype(np.int64)
            fits = (now >= 0) & (token >= 0) & (token < words)
            after = np.where(fits, self.summary_moves[np.maximum(now, 0), np.where(fits, token, 0)], DEAD)
            blank = self.blank[np.maximum(now, 0)]
            copied = (blank >= 0) & (blank != LABEL)
            after = np.where(copied & (facts[every, np.maximum(blank, 0)] != token), DEAD, after)
            nodes[:, u + 1] = after
        return nodes
