"""Continuations of stories, judged: is what they tell true of what was told before?

A sentence that is none of the grammar's counts as unread. One that can be read makes a claim: that someone holds a
thing or is somewhere, that a thing can be given by who holds it to who is there, that one goes to another place.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int, Int64

from bestguess.text.errands.stories.tables import StoryTables
from bestguess.text.pairs import Pairs
from bestguess.text.tokens import EOS, PAD

_BE, _HAVE, _GO, _GIVE = ("is", "waits"), ("has", "holds"), ("goes", "walks"), ("gives", "hands")


@dataclass(frozen=True, eq=False)
class Truth:
    """n continuations, judged."""

    true: Int64[np.ndarray, " n"]
    """Claims that are true."""
    false: Int64[np.ndarray, " n"]
    unread: Int64[np.ndarray, " n"]
    """Sentences that say nothing that can be understood."""
    stops: Bool[np.ndarray, " n"]
    """Whether the continuation ends with EOS, behind a full stop."""
    wrong: Bool[np.ndarray, "n U"]
    """The tokens of claims that are false."""

    @property
    def fraction(self) -> float:
        """The fraction of all claims that are true; NaN where there are none."""
        claims = int(self.true.sum() + self.false.sum())
        return float(self.true.sum() / claims) if claims else float("nan")

    def rates(self) -> dict[str, float]:
        """Return the fraction of claims that are true, of sentences that are read, of continuations that stop."""
        sentences = int((self.true + self.false + self.unread).sum())
        read = float(1 - self.unread.sum() / sentences) if sentences else float("nan")
        return {"true": self.fraction, "read": read, "stops": float(self.stops.mean())}

    def spans(self, row: int) -> list[tuple[int, int]]:
        """Return (start, stop) of each false claim in a continuation."""
        edges = np.flatnonzero(np.diff(np.pad(self.wrong[row].astype(np.int8), 1)))
        return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


@dataclass
class _World:
    """What was told so far, in words."""

    pronouns: dict[str, str]
    places: frozenset[str]
    things: frozenset[str]
    last: str | None = None
    where: dict[str, str] = field(default_factory=dict)
    holder: dict[str, str] = field(default_factory=dict)

    def read(self, words: list[str]) -> tuple[bool, int] | None:
        """Take in a sentence without its full stop; return whether it is true and where its claim begins.

        None: it cannot be read. A new fact of the opening is true.
        """
        if len(words) < 4:
            return None
        subject = words[0]
        if subject in self.pronouns.values():
            if self.last is None:
                return None
            fits, subject = self.pronouns[self.last] == subject, self.last
        elif subject in self.pronouns:
            fits = True
        else:
            return None
        claim = self._said(subject, words[1:])
        if claim is None:
            return None
        self.last = subject
        return claim[0] and fits, 1 + claim[1] if fits else 0

    def _said(self, subject: str, words: list[str]) -> tuple[bool, int] | None:
        match words:
            case ["says", ":", "i", "have", "the", thing] if thing in self.things:
                return self.holder.get(thing) == subject, 2
            case ["says", ":", "i", "am", "at", "the", place] if place in self.places:
                return self.where.get(subject) == place, 2
            case ["says", ":", other, "has", "the", thing] if other in self.pronouns and thing in self.things:
                return self.holder.get(thing) == other != subject, 2
            case ["says", ":", other, "is", "at", "the", place] if other in self.pronouns and place in self.places:
                return self.where.get(other) == place and other != subject, 2
            case [verb, "at", "the", place] if verb in _BE and place in self.places:
                if subject not in self.where and len(self.where) < 2:
                    self.where[subject] = place
                return self.where.get(subject) == place, 0
            case [verb, "the", thing] if verb in _HAVE and thing in self.things:
                if thing not in self.holder and len(self.holder) < 2 and subject in self.where:
                    self.holder[thing] = subject
                return self.holder.get(thing) == subject, 0
            case [verb, "to", "the", place] if verb in _GO and place in self.places:
                true = self.where.get(subject, place) != place
                if subject in self.where:
                    self.where[subject] = place
                return true, 0
            case [verb, "the", thing, "to", other] if verb in _GIVE and thing in self.things and other in self.pronouns:
                there = subject in self.where and self.where.get(other) == self.where[subject]
                true = self.holder.get(thing) == subject and there and other != subject
                if true:
                    self.holder[thing] = other
                return true, 0
        return None


def judge_stories(tables: StoryTables, pairs: Pairs, continuations: Int[np.ndarray, "n U"]) -> Truth:
    """Return what is true in continuations of the sources of `pairs`.

    continuations: tokens; whatever is behind EOS, or PAD, does not count. A sentence that the source began counts.
    """
    n, width = continuations.shape
    counts = np.zeros((3, n), np.int64)
    wrong, stops = np.zeros((n, width), bool), np.zeros(n, bool)
    known = tables.vocabulary
    for row in range(n):
        world = _World(
            dict(zip(tables.world.names, tables.world.pronouns)),
            frozenset(tables.world.places),
            frozenset(tables.world.nouns),
        )
        source = [int(token) for token in pairs.source[row, : pairs.source_length[row]]]
        text = continuations[row].tolist()
        closed = [k for k, token in enumerate(text) if token in (EOS, PAD)]
        length = closed[0] if closed else width
        tokens = [*source, *text[:length]]
        words = [known[token] if 0 <= token < len(known) else "?" for token in tokens]
        start = 0
        for end, word in enumerate(words):
            if word != ".":
                continue
            found = world.read(words[start:end])
            if end >= len(source):
                kind = 2 if found is None else 1 - found[0]
                counts[kind, row] += 1
                if found is not None and not found[0]:
                    wrong[row, max(start + found[1] - len(source), 0) : end - len(source)] = True
            start = end + 1
        stops[row] = length < width and text[length] == EOS and start == len(words)
    return Truth(counts[0], counts[1], counts[2], stops, wrong)
