"""The grammar of dialogues and their summaries: from a state to weighted (phrase, next state).

Two people take turns. A slot (place, day, item) is empty, then in question, then settled: the one who speaks proposes
a value of an empty slot; the other accepts, or revises it, which is a proposal too. Chatter may come where nothing is
in question. The dialogue ends when all is settled; its summary follows behind SEP.

A topic is hidden: it makes some things likelier than others, and it is the occasion that the summary names.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import product
from typing import Any, NamedTuple, final

import numpy as np

from bestguess.text.errands import worlds
from bestguess.text.errands.worlds import DAY, ITEM, PLACE, World, vocabulary_of
from bestguess.text.tokens import SEP

Weight = float | np.ndarray
"""A probability, or one for each topic, float64 [topics]."""
Step = tuple[Weight, tuple[int, ...], Any]
"""A weight, the tokens said, the next state."""

PROPOSE, REVISE, ACCEPT, CHATTER = range(4)
NOTHING = 3
"""In question: nothing, where 0 to 2 are the slots."""


class Row(NamedTuple):
    """A wording of something that is said in a turn."""

    act: int
    slot: int
    """The slot it is about; NOTHING for chatter and acceptances, which are the same for all slots."""
    symbols: tuple[str, ...]
    """Words, and {place}, {day}, {noun}."""
    weight: float
    """Among the rows of its act and slot; they sum to 1."""
    mine: bool
    """Of an item: the speaker brings it."""
    pronoun: int
    """Of an item: the index of the word that says so; -1 otherwise."""


class Template(NamedTuple):
    """A summary with blanks."""

    symbols: tuple[str, ...]
    """Words, {first}, {second}, {place}, {day}, {label}, {item}, {bringer}, {chooser}; ends with [EOS]."""
    weight: float


def _row(act: int, slot: int, text: str, weight: float) -> Row:
    words = text.split()
    starred = [k for k, word in enumerate(words) if word.startswith("*")]
    words = [word.removeprefix("*") for word in words]
    pronoun = starred[0] if starred else -1
    return Row(act, slot, tuple(words), weight, pronoun >= 0 and words[pronoun] == "i", pronoun)


@lru_cache
def rows_of(world: World) -> tuple[Row, ...]:
    """Return all that can be said in a turn."""
    found = []
    for act, forms in ((PROPOSE, worlds.PROPOSE), (REVISE, worlds.REVISE)):
        for slot in range(3):
            found += [_row(act, slot, text, 1 / world.forms) for text in forms[slot][: world.forms]]
    found += [_row(ACCEPT, NOTHING, text, 1 / world.forms) for text in worlds.ACCEPT[: world.forms]]
    chatter = list(product(worlds.CHATTER[: world.chatters], worlds.TAILS[: world.tails]))
    found += [_row(CHATTER, NOTHING, f"{text} {tail}", 1 / len(chatter)) for text, tail in chatter]
    return tuple(found)


@lru_cache
def templates_of(world: World) -> tuple[Template, ...]:
    """Return all summaries with blanks."""
    opening, brings, choices = (
        list(zip(texts[world.style], weights))
        for texts, weights in zip((worlds.OPENINGS, worlds.BRINGS, worlds.CHOICES), world.wordings)
    )
    ends = [("", 1 - world.told), *((text, world.told * weight) for text, weight in choices)]
    found = []
    for (start, a), (order, b), (bring, c), (end, d) in product(
        opening, list(zip(worlds.ORDERS, world.orders)), brings, ends
    ):
        parts = " ".join(worlds.PARTS[k] for k in order)
        if a * b * c * d > 0:
            found.append(Template(tuple(f"{start} {parts} . {bring} {end} . [EOS]".split()), a * b * c * d))
    return tuple(found)


def wording(forms: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the words of forms, each once, without blanks and special tokens."""
    return tuple(dict.fromkeys(word for form in forms for word in form if word[0] not in "{["))


@lru_cache
def dialogue_vocabulary(world: World) -> tuple[str, ...]:
    """Return the words of dialogues and summaries, by token."""
    forms = [row.symbols for row in rows_of(world)] + [template.symbols for template in templates_of(world)]
    return vocabulary_of((":", *wording(forms)), world)


def slack_of(world: World) -> int:
    """Return the turns that a dialogue has beyond the six that it needs."""
    return world.turns - 6


def act_chances(world: World, empty: int, pending: int, slack: int) -> dict[tuple[int, int], float]:
    """Return the probability of each (act, slot) in a turn.

    empty: bits of the slots not yet spoken of; slack: turns left beyond those needed.
    """
    if pending != NOTHING:
        revise = world.revise if slack else 0.0
        return {(ACCEPT, NOTHING): 1 - revise, (REVISE, pending): revise}
    slots = [slot for slot in range(3) if empty >> slot & 1]
    if not slots:
        return {(CHATTER, NOTHING): 1.0}
    chatter = world.chatter if slack else 0.0
    return {(PROPOSE, slot): (1 - chatter) / len(slots) for slot in slots} | {(CHATTER, NOTHING): chatter}


def end_chance(world: World, empty: int, pending: int, slack: int) -> float:
    """Return the probability that the dialogue ends here, before another turn."""
    if empty or pending != NOTHING:
        return 0.0
    return 1 - world.chatter if slack else 1.0


@dataclass(frozen=True)
class Talk:
    """What was said so far: between two turns, or (with a row) in the middle of one."""

    names: tuple[int, ...] = ()
    """The people who have spoken, by index: at most two."""
    turn: int = 0
    slack: int = 0
    empty: int = 7
    pending: int = NOTHING
    values: tuple[int, int, int] = (-1, -1, -1)
    """Place, day and item as last proposed."""
    bringer: int = -1
    chooser: int = -1
    """0: the one who spoke first; 1: the other."""
    row: int = -1
    position: int = 0
    said: tuple[tuple[str, int], ...] = ()
    """What the row's blanks were filled with so far."""


@dataclass(frozen=True)
class Occasion:
    """In the middle of a summary: the occasion comes next, then `rest`."""

    rest: tuple[int, ...]


class Grammar(abc.ABC):
    """A distribution over texts."""

    vocabulary: tuple[str, ...]
    topics: int
    """Values of what is hidden; equally likely."""
    start: Any
    """The state before the first token."""

    @abc.abstractmethod
    def following(self, state: Any) -> list[Step]:
        """Return all that may come next; the weights sum to 1 for every topic. The state None is the end."""


@final
class DialogueGrammar(Grammar):
    """Dialogues with their summaries."""

    def __init__(self, world: World) -> None:
        self.world, self.vocabulary = world, dialogue_vocabulary(world)
        self.token = {word: token for token, word in enumerate(self.vocabulary)}
        self.rows, self.templates = rows_of(world), templates_of(world)
        self.topics = world.topics
        self.start = Talk(slack=slack_of(world))

    @cached_property
    def _nouns(self) -> np.ndarray:
        return np.array(self.world.noun_weights)

    def following(self, state: Any) -> list[Step]:
        """Return all that may come next; the weights sum to 1 for every topic. The state None is the end."""
        if isinstance(state, Occasion):
            one_hot = np.eye(self.topics)
            return [(one_hot[z], (self.token[label], *state.rest), None) for z, label in enumerate(self.world.labels)]
        if state.row >= 0:
            return self._blank(state)
        end = end_chance(self.world, state.empty, state.pending, state.slack)
        steps: list[Step] = [(1 - end, phrase, talk) for phrase, talk in self._speaker(state)] if end < 1 else []
        if len(state.names) < 2:
            steps = [(1 / (self.world.people - len(state.names)), phrase, talk) for _, phrase, talk in steps]
        return steps + ([(end * w, (SEP, *phrase), talk) for w, phrase, talk in self._summary(state)] if end else [])

    def _speaker(self, talk: Talk) -> list[tuple[tuple[int, ...], Any]]:
        """Return the speakers who may come next, each with the state in which their turn begins."""
        names = self.world.names
        known = talk.names
        new = [k for k in range(len(names)) if k not in known]
        choices = [(*known, k) for k in new] if len(known) < 2 else [known]
        return [
            ((self.token[names[some[talk.turn % 2]]], self.token[":"]), replace(talk, names=some, row=len(self.rows)))
            for some in choices
        ]

    def _blank(self, talk: Talk) -> list[Step]:
        """Return what may come at the start of a turn (row = the number of rows), or in a blank of its row."""
        if talk.row == len(self.rows):
            chances = act_chances(self.world, talk.empty, talk.pending, talk.slack)
            return [
                (chance * row.weight, *self._until_blank(replace(talk, row=k)))
                for k, row in enumerate(self.rows)
                if (chance := chances.get((row.act, row.slot), 0.0)) > 0
            ]
        kind = self.rows[talk.row].symbols[talk.position][1:-1]
        slot = {"place": PLACE, "day": DAY, "noun": ITEM}[kind]
        words = {"place": self.world.places, "day": self.world.days, "noun": self.world.nouns}[kind]
        taken = talk.values[slot] if talk.pending == slot else -1
        weights = self._nouns if kind == "noun" else np.full((self.topics, len(words)), 1 / len(words))
        if taken >= 0:
            weights = np.delete(weights, taken, axis=1)
        weights = weights / weights.sum(axis=1, keepdims=True)
        steps: list[Step] = []
        for column, value in enumerate(k for k in range(len(words)) if k != taken):
            filled = replace(talk, position=talk.position + 1, said=(*talk.said, (kind, value)))
            phrase, state = self._until_blank(filled)
            steps.append((weights[:, column], (self.token[words[value]], *phrase), state))
        return steps

    def _until_blank(self, talk: Talk) -> tuple[tuple[int, ...], Talk]:
        """Return the words from here to the next blank or the turn's end, and the state there."""
        symbols, position = self.rows[talk.row].symbols, talk.position
        phrase: list[int] = []
        while position < len(symbols) and symbols[position][0] != "{":
            phrase.append(self.token[symbols[position]])
            position += 1
        talk = replace(talk, position=position)
        return tuple(phrase), talk if position < len(symbols) else self._said(talk)

    def _said(self, talk: Talk) -> Talk:
        """Return the state after a turn."""
        row, speaker, said = self.rows[talk.row], talk.turn % 2, dict(talk.said)
        after = replace(talk, turn=talk.turn + 1, row=-1, position=0, said=())
        if row.act in (REVISE, CHATTER):
            after = replace(after, slack=talk.slack - 1)
        if row.act == ACCEPT:
            return replace(after, pending=NOTHING)
        if row.act == CHATTER:
            return after
        values = list(talk.values)
        values[row.slot] = said[("place", "day", "noun")[row.slot]]
        return replace(
            after,
            empty=talk.empty & ~(1 << row.slot),
            pending=row.slot,
            values=(values[0], values[1], values[2]),
            bringer=speaker if row.mine else 1 - speaker if row.slot == ITEM else talk.bringer,
            chooser=speaker if row.slot == DAY else talk.chooser,
        )

    def _summary(self, talk: Talk) -> list[Step]:
        world = self.world
        names = [self.token[world.names[k]] for k in talk.names]
        blanks = {
            "{first}": names[0],
            "{second}": names[1],
            "{place}": self.token[world.places[talk.values[PLACE]]],
            "{day}": self.token[world.days[talk.values[DAY]]],
            "{item}": self.token[world.nouns[talk.values[ITEM]]],
            "{bringer}": names[talk.bringer],
            "{chooser}": names[talk.chooser],
        }
        steps: list[Step] = []
        for template in self.templates:
            at = template.symbols.index("{label}")
            before, behind = (
                tuple(blanks[one] if one in blanks else self.token[one] for one in part)
                for part in (template.symbols[:at], template.symbols[at + 1 :])
            )
            steps.append((template.weight, before, Occasion(behind)))
        return steps
