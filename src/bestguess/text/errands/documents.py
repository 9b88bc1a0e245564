"""Dialogues and their summaries with all that is known about them: floors, kinds of tokens, alignments, facts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int, Int8, Int32, Int64

from bestguess.text.errands.randomness import cumulated
from bestguess.text.errands.script import BLANKS, Course, Script, stage_of
from bestguess.text.errands.tables import Trie, packed, sealed
from bestguess.text.errands.worlds import ITEM, World
from bestguess.text.pairs import Pairs

NO_KIND, COPIED, INFERRED, FREE = range(4)
"""Kinds of a target's tokens: behind its end; stated in the source (floor 0); the occasion; wording."""
KINDS = ("none", "copied", "inferred", "free")
FACTS = ("{first}", "{second}", "{place}", "{day}", "{item}", "{bringer}", "{chooser}", "{label}")
"""Blanks of a summary, in the order of the columns of `Facts.tokens`."""
FIRST, SECOND, THE_PLACE, THE_DAY, THE_ITEM, BRINGER, CHOOSER, LABEL = range(8)


@dataclass(frozen=True, eq=False)
class Facts:
    """What n dialogues settle, as tokens of the vocabulary."""

    tokens: Int32[np.ndarray, "n 8"]
    """By FACTS: the two people (who spoke first comes first), place, day, item, who brings it, who chose the day, and
    the occasion."""
    told: Bool[np.ndarray, " n"]
    """Whether the summary says who chose the day."""
    topic: Int64[np.ndarray, " n"]
    """The hidden topic; -1 where it is not known, and the occasion is the likeliest one then."""
    posterior: Float64[np.ndarray, "n topics"]
    """P(topic | dialogue): the best prediction of the occasion."""


class Floors(NamedTuple):
    """The exact prediction of a document's own tokens (nats), 0 behind the ends."""

    source: Float64[np.ndarray, "n S1"]
    """ln p* of each source token given those before it; behind the last one, of the source's end. S1 = S + 1."""
    target: Float64[np.ndarray, "n U"]
    """ln p* of each target token given the source and the target before it."""
    entropy: Float64[np.ndarray, "n U"]
    """Entropy of the prediction of each target token: the expected loss of the best predictor."""


@dataclass(frozen=True, eq=False)
class Scored:
    """n dialogues with their summaries, and all that is known about them."""

    pairs: Pairs
    floors: Floors
    kinds: Int8[np.ndarray, "n U"]
    """Of each target token: NO_KIND, COPIED, INFERRED or FREE."""
    aligned: Int32[np.ndarray, "n U"]
    """Index of the source token that states a copied token's true value; -1 for other tokens.

    The two people, and who chose the day: the speaker in front of the turn. Who brings the item: the word (I, you).
    """
    turn: Int32[np.ndarray, "n U"]
    """The turn in which that token stands; -1 for other tokens."""
    facts: Facts


class Dialogues:
    """Dialogues of a world and their summaries: drawn, and scored, by table."""

    def __init__(self, world: World) -> None:
        self.world, self.stage = world, stage_of(world)
        self.vocabulary, self.token = self.stage.grammar.vocabulary, self.stage.grammar.token
        self.rows, self.templates = self.stage.grammar.rows, self.stage.grammar.templates
        self.base = np.array([self.token[words[0]] for words in (world.places, world.days, world.nouns)])
        """The token of the first place, day and thing; those of the others follow it."""
        self.names, self.labels = (np.array([self.token[w] for w in words]) for words in (world.names, world.labels))
        self._turn_codes = sealed([row.symbols for row in self.rows], self.token, BLANKS)
        self._turn_length = self.stage.trie.length
        self._turn_log_p, self._pronoun = self.stage.trie.log_p(), np.array([row.pronoun for row in self.rows])
        self.summary = Trie([one.symbols for one in self.templates], np.array([[t.weight for t in self.templates]]))
        self._codes = sealed([one.symbols for one in self.templates], self.token, FACTS)
        self._cumulative = cumulated(self.summary.weights[0])
        self._log_p, self._entropy = self.summary.log_p()[0], self.summary.entropy()[0]
        self.label_at = self.summary.where("{label}")
        """Index of the occasion in each template."""
        blank = self._codes - len(self.vocabulary)
        self._kinds = np.where(blank == LABEL, INFERRED, np.where(blank >= 0, COPIED, FREE)).astype(np.int8)
        self._kinds[np.arange(blank.shape[1]) >= self.summary.length[:, None]] = NO_KIND
        if (self._entropy[self._kinds == COPIED] != 0).any():
            raise ValueError("a copied token is not certain: its form's beginning is another's")

    @cached_property
    def max_target(self) -> int:
        """Tokens of the longest summary, with EOS."""
        return int(self.summary.longest)

    @cached_property
    def max_source(self) -> int:
        """Tokens of the longest dialogue."""
        stage = self.stage
        most = np.full(len(stage.end), -1)
        most[stage.opening] = 0
        for _ in range(self.world.turns):
            after = np.full(len(most), -1)
            after[stage.end == 1] = most[stage.end == 1]
            for s, r in zip(*np.nonzero((stage.weight > 0) & (most >= 0)[:, None] & (stage.end < 1)[:, None])):
                after[stage.after[s, r]] = max(after[stage.after[s, r]], most[s] + 2 + self._turn_length[r])
            most = np.maximum(after, np.where(stage.end > 0, most, -1))
        return int(most.max())

    def draw(self, seed: int, first: int, count: int) -> Pairs:
        """Return documents `first` to `first + count`: each a function of the seed and its index."""
        return self._drawn(seed, first, count)[0]

    def draw_scored(self, seed: int, first: int, count: int) -> Scored:
        """Return the same documents with all that is known about them."""
        return self.score(*self._drawn(seed, first, count))

    def _drawn(self, seed: int, first: int, count: int) -> tuple[Pairs, Script, Course, np.ndarray, np.ndarray]:
        """Return documents, and how they were made: the dialogues' turns, the summaries' templates, the topics."""
        script, topic, u = self.stage.draw(seed, first, count)
        course, template = self.stage.course(script), np.searchsorted(self._cumulative, u, side="right")
        source, mask = self._turns(script)
        target = self._filled(template, self.fact_tokens(script, course, topic))
        pairs = Pairs(*packed(source, mask), *_cut(target, self.summary.length[template]))
        return pairs, script, course, template, topic

    def _turns(self, script: Script) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens of each turn, int32 [n, T, 2 + L], and which of them are said."""
        row = script.row
        n, turns = row.shape
        source = np.empty((n, turns, 2 + self._turn_codes.shape[1]), np.int32)
        source[:, 0::2, 0], source[:, 1::2, 0] = self.names[script.names[:, :1]], self.names[script.names[:, 1:]]
        source[:, :, 1] = self.token[":"]
        source[:, :, 2:] = self._turn_codes[row]
        for slot in range(3):
            i, t = np.nonzero(script.values[:, :, slot] >= 0)
            at = self.stage.blank[row[i, t], slot]
            source[i, t, 2 + at] = self.base[slot] + script.values[i, t, slot]
        return source, np.arange(source.shape[2]) < self._lengths(script)[:, :, None]

    def _lengths(self, script: Script) -> np.ndarray:
        return np.where(script.row >= 0, 2 + self._turn_length[script.row], 0)

    def fact_tokens(self, script: Script, course: Course, topic: Int64[np.ndarray, " n"]) -> Int32[np.ndarray, "n 8"]:
        """Return what dialogues settle, by FACTS, with the occasion of a topic."""
        every, names = np.arange(len(topic)), self.names[script.names]
        return np.stack(
            [
                *(names[:, 0], names[:, 1], *(self.base + course.values).T),
                *(names[every, course.bringer], names[every, course.chooser], self.labels[topic]),
            ],
            axis=1,
        ).astype(np.int32)

    def _filled(self, template: np.ndarray, facts: np.ndarray) -> np.ndarray:
        codes = self._codes[template]
        blank = codes - len(self.vocabulary)
        return np.where(blank >= 0, np.take_along_axis(facts, np.maximum(blank, 0), axis=1), codes)

    def blanks(self, template: np.ndarray, width: int) -> np.ndarray:
        """Return the blank (index into FACTS) at each position of templates, negative where words stand: [n, width]."""
        return self._codes[template][:, :width] - len(self.vocabulary)

    def posterior(self, script: Script, course: Course) -> tuple[np.ndarray, np.ndarray]:
        """Return P(topic | dialogue) [n, topics], and ln p of the thing named in each turn [n, T], 0 for none."""
        n, turns = script.row.shape
        belief, log_p = np.full((n, self.world.topics), 1 / self.world.topics), np.zeros((n, turns))
        by_thing = self.stage.noun.transpose(0, 2, 1)
        for t in range(turns):
            named = np.flatnonzero(script.values[:, t, ITEM] >= 0)
            joint = belief[named] * by_thing[course.old[named, t, ITEM], script.values[named, t, ITEM]]
            p = joint.sum(axis=1)
            log_p[named, t], belief[named] = np.log(p), joint / p[:, None]
        return belief, log_p

    def source_log_p(self, script: Script, course: Course, noun_log_p: np.ndarray) -> Float64[np.ndarray, "n S1"]:
        """Return ln p* of each source token and, behind the last, of the source's end."""
        stage, row = self.stage, script.row
        n, turns = row.shape
        found = np.zeros((n, turns, 2 + self._turn_codes.shape[1]))
        with np.errstate(divide="ignore"):
            goes_on, ends = np.log1p(-stage.end), np.log(stage.end)
        found[:, :, 0] = goes_on[course.state]
        for turn in range(min(2, turns)):
            found[:, turn, 0] = -np.log(float(self.world.people - turn))
        found[:, :, 2:] = self._turn_log_p[course.state, row]
        for slot in range(3):
            i, t = np.nonzero(script.values[:, :, slot] >= 0)
            at = 2 + stage.blank[row[i, t], slot]
            uniform = -np.log(stage.sizes[slot] - (course.old[i, t, slot] >= 0))
            found[i, t, at] += noun_log_p[i, t] if slot == ITEM else uniform
        lengths = self._lengths(script)
        log_p, length = packed(found, np.arange(found.shape[2]) < lengths[:, :, None])
        log_p = np.pad(log_p, ((0, 0), (0, 1)))
        log_p[np.arange(n), length] = ends[course.final]
        return log_p

    def score(self, pairs: Pairs, script: Script, course: Course, template: np.ndarray, topic: np.ndarray) -> Scored:
        """Return all that is known about documents, given how they are made; the occasion that is named is a topic."""
        belief, noun_log_p = self.posterior(script, course)
        n, width = pairs.target.shape
        every, at = np.arange(n), self.label_at[template]
        log_p, entropy = self._log_p[template][:, :width].copy(), self._entropy[template][:, :width].copy()
        log_p[every, at] += np.log(belief[every, topic])
        entropy[every, at] += -np.sum(belief * np.log(np.maximum(belief, 1e-300)), axis=1)
        floors = Floors(self.source_log_p(script, course, noun_log_p), log_p, entropy)
        kinds = self._kinds[template][:, :width]
        blank = self.blanks(template, width)
        copied = kinds == COPIED
        aligned, turn = (
            np.where(copied, np.take_along_axis(found, np.where(copied, blank, 0), axis=1), -1).astype(np.int32)
            for found in self._stated(script, course)
        )
        told = (blank == CHOOSER).any(axis=1)
        facts = Facts(self.fact_tokens(script, course, topic), told, topic, belief)
        return Scored(pairs, floors, kinds, aligned, turn, facts)

    def _stated(self, script: Script, course: Course) -> tuple[np.ndarray, np.ndarray]:
        """Return where the source states each copied fact, and in which turn, both [n, 7]."""
        n, lengths = len(script.row), self._lengths(script)
        every, start = np.arange(n), np.cumsum(lengths, axis=1) - lengths
        turn = np.stack(
            [np.zeros(n, np.int64), np.ones(n, np.int64), *course.proposed.T, course.proposed[:, ITEM],
             course.proposed[:, 1]],
            axis=1,
        )  # fmt: skip
        inside = np.zeros_like(turn)
        for slot in range(3):
            inside[:, THE_PLACE + slot] = 2 + self.stage.blank[script.row[every, course.proposed[:, slot]], slot]
        inside[:, BRINGER] = 2 + self._pronoun[script.row[every, course.proposed[:, ITEM]]]
        return start[every[:, None], turn] + inside, turn


def _cut(target: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return target[:, : int(length.max(initial=1))], length.astype(np.int32)


def turns_of(source: Int[np.ndarray, "n S"], colon: int) -> Int32[np.ndarray, "n S"]:
    """Return the turn in which each source token stands: a turn begins one token before its colon.

    colon: the token of ":". Padding counts to the last turn.
    """
    begins = np.zeros(source.shape, np.int32)
    begins[:, :-1] = source[:, 1:] == colon
    return np.cumsum(begins, axis=1, dtype=np.int32) - 1


@lru_cache(maxsize=4)
def dialogues_of(world: World) -> Dialogues:
    """Return the dialogues of a world, their tables made once."""
    return Dialogues(world)
