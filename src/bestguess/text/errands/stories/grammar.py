"""The grammar of stories: two people, two things, and what becomes of them.

Four sentences say where each is and who has what; then events follow: one goes somewhere else, gives a thing to the
other if both are at one place, or says something, which is true. A person who was the last sentence's subject may be
called she or he. What can be said depends on who holds what and who is where: the second half needs the first.

Of the two, L is the last sentence's subject and O the other: whatever may be said depends on the state

    (sentences so far, whether both are at one place, who holds each thing: L or O)

alone, and so do the lengths of what follows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple, final

import numpy as np

from bestguess.text.errands import worlds
from bestguess.text.errands.grammar import Grammar, Step, dialogue_vocabulary, wording
from bestguess.text.errands.worlds import World
from bestguess.text.tokens import EOS

OPENING = 4
"""Sentences before the first event."""
WHERE, WHO_HAS, MOVE, GIVE, SAY = range(5)
"""What a sentence does."""
_MOVE, _GIVE, _SAY = 0.35, 0.25, 0.4
"""Weights of the kinds of events; one that is impossible is left out."""
_SUBJECTS = (("{L}", 0.3), ("{O}", 0.4), ("{pronoun}", 0.3))
"""Subjects of a sentence; the pronoun is L's."""


class Sentence(NamedTuple):
    """A wording of a sentence."""

    act: int
    other: bool
    """The subject is O."""
    chance: float
    """Of the subject."""
    item: int
    """The thing that it is about, 0 or 1; -1 for none."""
    own: bool
    """Of what is said about a thing: that the subject holds it."""
    symbols: tuple[str, ...]
    """Words, {L}, {O}, {pronoun}, {place}, {noun}, {item0}, {item1}, {at_L}, {at_O}."""


def _sentence(act: int, subject: str, chance: float, text: str, item: int = -1) -> Sentence:
    other = subject == "{O}"
    blanks = {
        "{subject}": subject,
        "{object}": "{L}" if other else "{O}",
        "{item}": f"{{item{item}}}",
        "{here}": "{at_O}" if other else "{at_L}",
        "{there}": "{at_L}" if other else "{at_O}",
    }
    symbols = tuple(blanks.get(word, word) for word in text.split())
    return Sentence(act, other, chance, item, " i have " in text, symbols)


@lru_cache
def sentences_of(world: World) -> tuple[Sentence, ...]:
    """Return all sentences of a world's stories."""
    wordings = min(world.forms, 2)
    found = [
        _sentence(WHERE, subject, 1.0, text) for subject in ("{L}", "{O}") for text in worlds.STORY_PLACES[:wordings]
    ]
    for subject, chance in _SUBJECTS:
        found += [_sentence(WHO_HAS, subject, chance, text) for text in worlds.STORY_THINGS[:wordings]]
        found += [_sentence(MOVE, subject, chance, text) for text in worlds.STORY_MOVES[:wordings]]
        for text in worlds.STORY_GIFTS[:wordings]:
            found += [_sentence(GIVE, subject, chance, text, item) for item in range(2)]
        for text in worlds.STORY_SAYS:
            items = range(2) if "{item}" in text else range(-1, 0)
            found += [_sentence(SAY, subject, chance, text, item) for item in items]
    return tuple(found)


@lru_cache
def story_vocabulary(world: World) -> tuple[str, ...]:
    """Return the words of stories, by token: those of dialogues, and behind them those of stories alone."""
    words = dict.fromkeys((*dialogue_vocabulary(world), "she", "he"))
    return tuple(dict.fromkeys((*words, *wording([one.symbols for one in sentences_of(world)]))))


def end_chance(world: World, sentences: int) -> float:
    """Return the probability that a story ends after so many sentences."""
    fewest, most = world.events
    events = sentences - OPENING
    return 0.0 if events < fewest else 1.0 if events >= most else world.story_end


def chances(world: World, sentences: int, together: bool, holders: tuple[bool, bool]) -> np.ndarray:
    """Return the probability of each sentence as the next, float64 [sentences].

    holders: of each thing, whether O holds it.
    """
    found = np.zeros(len(sentences_of(world)))
    for k, one in enumerate(sentences_of(world)):
        opening = WHERE if sentences < 2 else WHO_HAS if sentences < OPENING else None
        if opening is not None:
            allowed = one.act == opening and (opening == WHO_HAS or one.other == (sentences == 1))
            found[k] = one.chance * allowed
            continue
        held = one.item >= 0 and holders[one.item] == one.other
        gifts = together * sum(holder == one.other for holder in holders)
        if one.act == MOVE:
            found[k] = _MOVE
        elif one.act == GIVE and together and held:
            found[k] = _GIVE / gifts
        elif one.act == SAY and (one.item < 0 or held == one.own):
            found[k] = _SAY
        found[k] *= one.chance / (_MOVE + _SAY + _GIVE * (gifts > 0))
    return _shared(world, found)


def _shared(world: World, found: np.ndarray) -> np.ndarray:
    """Return chances with each shared among the wordings of the same; what can be said is four sentences, each true."""
    wordings = min(world.forms, 2)
    acts = np.array([one.act for one in sentences_of(world)])
    return found / np.where(acts == SAY, 4, wordings)


@dataclass(frozen=True)
class Tale:
    """What was told so far: between two sentences, or (with a row) in the middle of one."""

    names: tuple[int, ...] = ()
    """The people by index, at most two."""
    last: int = 0
    """Which of the two was the last subject."""
    sentences: int = 0
    places: tuple[int, ...] = ()
    """Where each of the two is."""
    items: tuple[int, ...] = ()
    holders: tuple[int, ...] = ()
    """Who holds each thing: 0 or 1."""
    row: int = -1
    position: int = 0
    value: int = -1
    """What the row's {place} or {noun} was filled with."""


@final
class StoryGrammar(Grammar):
    """Stories, which end with EOS."""

    def __init__(self, world: World) -> None:
        self.world, self.vocabulary = world, story_vocabulary(world)
        self.token = {word: token for token, word in enumerate(self.vocabulary)}
        self.rows, self.topics, self.start = sentences_of(world), world.topics, Tale()
        self._nouns = np.array(world.noun_weights)

    def following(self, state: Any) -> list[Step]:
        """Return all that may come next; the weights sum to 1 for every topic. The state None is the end."""
        if state.row >= 0:
            return self._filled(state)
        end = end_chance(self.world, state.sentences)
        steps: list[Step] = [(end, (EOS,), None)] if end else []
        if end == 1:
            return steps
        together = len(state.places) == 2 and state.places[0] == state.places[1]
        others = [holder != state.last for holder in state.holders] + [False, False]
        p = chances(self.world, state.sentences, together, (others[0], others[1]))
        for k in np.flatnonzero(p):
            steps.append(((1 - end) * p[k], *self._until_blank(replace(state, row=int(k)))))
        return steps

    def _filled(self, tale: Tale) -> list[Step]:
        """Return what may fill the blank that the tale is at: a new person, a place or a thing."""
        symbol, world = self.rows[tale.row].symbols[tale.position], self.world
        ahead = replace(tale, position=tale.position + 1)
        if symbol in ("{L}", "{O}"):
            new = [k for k in range(world.people) if k not in tale.names]
            phrases = [(world.names[k], self._until_blank(replace(ahead, names=(*tale.names, k)))) for k in new]
            weights = np.full((self.topics, len(new)), 1 / len(new))
        else:
            words = world.places if symbol == "{place}" else world.nouns
            person = self._subject(tale)
            taken = tale.places[person : person + 1] if symbol == "{place}" else tale.items
            values = [k for k in range(len(words)) if k not in taken]
            phrases = [(words[k], self._until_blank(replace(ahead, value=k))) for k in values]
            weights = self._nouns if symbol == "{noun}" else np.ones((self.topics, len(words)))
            weights = weights[:, values] / weights[:, values].sum(axis=1, keepdims=True)
        return [
            (weights[:, k], (self.token[word], *phrase), state) for k, (word, (phrase, state)) in enumerate(phrases)
        ]

    def _subject(self, tale: Tale) -> int:
        return 1 - tale.last if self.rows[tale.row].other else tale.last

    def _until_blank(self, tale: Tale) -> tuple[tuple[int, ...], Tale]:
        symbols, position = self.rows[tale.row].symbols, tale.position
        phrase: list[int] = []
        while position < len(symbols):
            word = self._word(tale, symbols[position])
            if word is None:
                return tuple(phrase), replace(tale, position=position)
            phrase.append(self.token[word])
            position += 1
        return tuple(phrase), self._told(tale)

    def _word(self, tale: Tale, symbol: str) -> str | None:
        """Return the word of a symbol; None where several may come."""
        world, last = self.world, tale.last
        if symbol in ("{L}", "{O}"):
            who = last if symbol == "{L}" else 1 - last
            return world.names[tale.names[who]] if who < len(tale.names) else None
        if symbol == "{pronoun}":
            return world.pronouns[tale.names[last]]
        if symbol in ("{at_L}", "{at_O}"):
            return world.places[tale.places[last if symbol == "{at_L}" else 1 - last]]
        if symbol in ("{item0}", "{item1}"):
            return world.nouns[tale.items[int(symbol[5])]]
        return None if symbol[0] == "{" else symbol

    def _told(self, tale: Tale) -> Tale:
        """Return the state after a sentence."""
        row, subject = self.rows[tale.row], self._subject(tale)
        after = replace(tale, last=subject, sentences=tale.sentences + 1, row=-1, position=0, value=-1)
        if row.act == WHERE:
            return replace(after, places=(*tale.places, tale.value))
        if row.act == WHO_HAS:
            return replace(after, items=(*tale.items, tale.value), holders=(*tale.holders, subject))
        if row.act == MOVE:
            return replace(after, places=tuple(tale.value if k == subject else tale.places[k] for k in range(2)))
        if row.act == GIVE:
            return replace(after, holders=tuple(1 - subject if k == row.item else tale.holders[k] for k in range(2)))
        return after
