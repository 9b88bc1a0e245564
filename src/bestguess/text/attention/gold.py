"""What a grammar knows of documents, token by token: turns, what each turn is about, where a fact is stated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from bestguess.text.errands.documents import BRINGER, CHOOSER, FIRST, LABEL, SECOND, THE_DAY, THE_ITEM, THE_PLACE
from bestguess.text.errands.grammar import ACCEPT, NOTHING
from bestguess.text.pairs import Pairs
from bestguess.text.task import About

FACTS = ("names", "place", "day", "item", "bringer", "chooser")
"""Kinds of copied facts."""
_FACT = {FIRST: 0, SECOND: 0, THE_PLACE: 1, THE_DAY: 2, THE_ITEM: 3, BRINGER: 4, CHOOSER: 5}


@dataclass(frozen=True)
class Gold:
    """What is known of one document, without padding; None: not known of such documents."""

    turn: Int[np.ndarray, " S"] | None = None
    """The turn (of stories: the sentence; of files with targets: the line) of each source token, from 0 on."""
    slot: Int[np.ndarray, " turns"] | None = None
    """What each turn is about: place, day or item (0 to 2); −1 for chatter."""
    aligned: Int[np.ndarray, " U"] | None = None
    """Index of the source token that states a copied token of the target; −1 for other tokens."""
    fact: Int[np.ndarray, " U"] | None = None
    """Which of `FACTS` each copied token is; −1 for other tokens."""


def gold_of(about: About, pairs: Pairs) -> list[Gold]:
    """Return what is known of documents of a corpus: of natural text the lines, where it has targets of its own."""
    if about.known is None:
        return lines_of(about, pairs) if about.references else [Gold() for _ in range(len(pairs))]
    turn = about.known.turns(pairs)
    turns = [row[:length].astype(np.int64) for row, length in zip(turn, pairs.source_length)]
    if about.known.task != "dialogue":
        return [Gold(turn=one) for one in turns]
    oracle = about.known.dialogue_oracle
    scored = oracle.score(pairs)
    nodes = oracle.reader.walk(pairs.target, scored.facts.tokens)[:, :-1]
    blank = np.where(nodes >= 0, oracle.reader.blank[nodes], -1)
    facts = np.full(LABEL + 2, -1)
    facts[list(_FACT)] = list(_FACT.values())
    reading = oracle.reader.read(pairs.source, pairs.source_length)
    row, stage = reading.script.row, oracle.dialogues.stage
    # An acceptance is about the slot in question, which its wording does not tell.
    about_slot = np.where(stage.act[row] == ACCEPT, reading.course.state % 4, stage.slot[row])
    slot = np.where((row < 0) | (about_slot == NOTHING), -1, about_slot)
    return [
        Gold(
            turns[i],
            slot[i, : int((row[i] >= 0).sum())].astype(np.int64),
            scored.aligned[i, : pairs.target_length[i]].astype(np.int64),
            facts[blank[i, : pairs.target_length[i]]].astype(np.int64),
        )
        for i in range(len(pairs))
    ]


def lines_of(about: About, pairs: Pairs) -> list[Gold]:
    """Return the lines of each source as its turns, as dialogues in files have one a line; none of a source of one.

    A token with a line break ends its line; breaks in a row end one.
    """
    used = np.unique(pairs.source)
    ends = np.zeros(about.vocab, bool)
    ends[used] = ["\n" in about.decode(used[i : i + 1]) for i in range(len(used))]
    found = []
    for source, length in zip(pairs.source, pairs.source_length):
        end = ends[source[:length]]
        begins = np.concatenate([[False], end[:-1] & ~end[1:]])
        turn = np.cumsum(begins).astype(np.int64)
        found.append(Gold(turn) if turn[-1] else Gold())
    return found
