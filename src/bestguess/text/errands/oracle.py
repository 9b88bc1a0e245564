"""The best possible predictor of summaries, for given documents, and its floor and ceilings."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Float64

from bestguess.text.errands.documents import (
    BRINGER,
    CHOOSER,
    COPIED,
    FACTS,
    INFERRED,
    LABEL,
    SECOND,
    THE_ITEM,
    Dialogues,
    Facts,
    Scored,
)
from bestguess.text.errands.grammar import NOTHING
from bestguess.text.errands.parse import Reader, Reading, refusal
from bestguess.text.errands.tables import DEAD
from bestguess.text.errands.worlds import DAY, ITEM
from bestguess.text.pairs import Pairs


class DialogueOracle:
    """The exact prediction of a summary's tokens, given the dialogue and the summary so far."""

    def __init__(self, dialogues: Dialogues) -> None:
        self.dialogues, self.reader = dialogues, Reader(dialogues)
        summary, words = dialogues.summary, len(dialogues.vocabulary)
        self._table = np.full((len(summary.edges) + 1, words), -np.inf, np.float32)
        for node, children in enumerate(summary.edges):
            for symbol, child in children.items():
                if symbol in dialogues.token:
                    self._table[node, dialogues.token[symbol]] = np.log(summary.mass[0, child] / summary.mass[0, node])
        # Behind the end, and behind what cannot be said (index DEAD, the last row).
        self._table[[DEAD, *summary.leaf]] = -np.log(words)

    def _read(self, pairs: Pairs) -> Reading:
        reading = self.reader.read(pairs.source, pairs.source_length)
        for row in np.flatnonzero(reading.wrong)[:1]:
            source = pairs.source[row, : pairs.source_length[row]]
            raise refusal(self.dialogues.stage.grammar, int(row), source)
        return reading

    def facts(self, pairs: Pairs) -> Facts:
        """Return what the dialogues settle, with the likeliest occasion; the summaries are not looked at.

        ValueError for a dialogue that the grammar cannot say.
        """
        reading = self._read(pairs)
        belief, _ = self.dialogues.posterior(reading.script, reading.course)
        tokens = self.dialogues.fact_tokens(reading.script, reading.course, belief.argmax(axis=1))
        return Facts(tokens, np.zeros(len(pairs), bool), np.full(len(pairs), -1), belief)

    def log_p(self, pairs: Pairs) -> Float32[np.ndarray, "n U V"]:
        """Return ln p* of every token at each position of the targets, given the source and the target before it.

        -inf for what the grammar cannot say. Behind a token that it cannot say, and behind EOS, all tokens are
        equally likely. ValueError for a dialogue that the grammar cannot say.
        """
        facts = self.facts(pairs)
        nodes = self.reader.walk(pairs.target, facts.tokens)[:, :-1]
        found = self._table[nodes]
        blank = np.where(nodes >= 0, self.reader.blank[nodes], -1)
        i, u = np.nonzero((blank >= 0) & (blank != LABEL))
        found[i, u, facts.tokens[i, blank[i, u]]] = 0
        i, u = np.nonzero(blank == LABEL)
        with np.errstate(divide="ignore"):
            found[i[:, None], u[:, None], self.dialogues.labels] = np.log(facts.posterior)[i]
        return found

    def score(self, pairs: Pairs) -> Scored:
        """Return floors, kinds, alignments and facts of given documents; ValueError for what the grammar cannot say."""
        reading, template, topic = self._read_all(pairs)
        return self.dialogues.score(pairs, reading.script, reading.course, template, topic)

    def _read_all(self, pairs: Pairs) -> tuple[Reading, np.ndarray, np.ndarray]:
        """Return the dialogues as turns, the summaries' templates, and the topics of the occasions that they name."""
        reading, every = self._read(pairs), np.arange(len(pairs))
        facts = self.dialogues.fact_tokens(reading.script, reading.course, np.zeros(len(pairs), np.int64))
        nodes = self.reader.walk(pairs.target, facts)
        behind = nodes[every, pairs.target_length]
        template = np.where(behind >= 0, self.reader.template[behind], -1)
        for row in np.flatnonzero(template < 0)[:1]:
            source, target = (
                pairs.source[row, : pairs.source_length[row]],
                pairs.target[row, : pairs.target_length[row]],
            )
            raise refusal(self.dialogues.stage.grammar, int(row), source, target)
        label = pairs.target[every, self.dialogues.label_at[template]]
        return reading, template, label.astype(np.int64) - int(self.dialogues.labels[0])

    @cached_property
    def constant(self) -> Float64[np.ndarray, " V"]:
        """ln p of the best prediction that ignores the source and the past: how often each token comes, EOS included.

        Exact: names, places, days, things and occasions are each equally likely over all documents.
        """
        dialogues = self.dialogues
        reader, expected = self.reader, np.zeros(len(dialogues.vocabulary))
        names = dialogues.names
        classes = (names, names, *reader.tokens, names, names, dialogues.labels)
        for template in dialogues.templates:
            for symbol in template.symbols:
                tokens = classes[FACTS.index(symbol)] if symbol[0] == "{" else np.array([dialogues.token[symbol]])
                expected[tokens] += template.weight / len(tokens)
        with np.errstate(divide="ignore"):
            return np.log(expected / expected.sum())

    def without_source(self, pairs: Pairs) -> Float64[np.ndarray, "n U"]:
        """Return ln p of each target token given the target before it alone: the best that a reader of no source does.

        0 behind the ends. ValueError where the grammar cannot say a document.
        """
        dialogues, every = self.dialogues, np.arange(len(pairs))
        reading, template, topic = self._read_all(pairs)
        scored = dialogues.score(pairs, reading.script, reading.course, template, topic)
        blank = dialogues.blanks(template, pairs.target.shape[1])
        facts, people = scored.facts.tokens, dialogues.world.people
        item = facts[:, THE_ITEM] - dialogues.base[ITEM]
        brings, chose = ((facts[:, k] == facts[:, SECOND]).astype(int) for k in (BRINGER, CHOOSER))
        joint = self._joint[topic, brings]  # [n, who chose the day, the item]
        of_item = joint.sum(axis=1)
        own = [
            *(-np.log(size) for size in (people, people - 1, *dialogues.stage.sizes[:2])),
            np.log(of_item[every, item] / of_item.sum(axis=1)),
            np.log(of_item.sum(axis=1)),
            np.log(joint[every, chose, item] / of_item[every, item]),
        ]
        table = np.stack([np.broadcast_to(one, len(pairs)) for one in own], axis=1)
        copied = scored.kinds == COPIED
        stated = np.take_along_axis(table, np.where(copied, blank, 0), axis=1)
        found = np.where(copied, stated, scored.floors.target)
        return np.where(scored.kinds == INFERRED, -np.log(float(dialogues.world.topics)), found)

    @cached_property
    def _joint(self) -> Float64[np.ndarray, "topics 2 2 things"]:
        """P(who brings the item, who chose the day, the item | topic)."""
        stage = self.dialogues.stage
        groups: dict[int, dict[tuple[bool, int, int], float]] = {}
        for s in range(len(stage.end)):
            groups[s] = defaultdict(float)
            for r in np.flatnonzero(stage.weight[s]):
                key = (bool(stage.mine[r]), int(stage.slot[r]), int(stage.after[s, r]))
                groups[s][key] += stage.weight[s, r]
        now: dict[tuple[int, int, int, int], float] = {(stage.opening, 0, 0, -1): 1.0}
        settled: dict[tuple[int, int, int], float] = defaultdict(float)
        for turn in range(self.dialogues.world.turns + 1):
            after: dict[tuple[int, int, int, int], float] = defaultdict(float)
            for (s, bringer, chooser, revised), p in now.items():
                settled[bringer, chooser, revised] += p * stage.end[s]
                for (mine, slot, state), weight in groups[s].items():
                    who, said = turn % 2, slot != NOTHING
                    there = (
                        state,
                        (who if mine else 1 - who) if said and slot == ITEM else bringer,
                        who if said and slot == DAY else chooser,
                        revised + (said and slot == ITEM),
                    )
                    after[there] += p * (1 - stage.end[s]) * weight
            now = after
        nouns = np.array(self.dialogues.world.noun_weights)
        chain = stage.noun[:-1].transpose(1, 0, 2)  # P(next | old) by topic
        found = np.zeros((len(nouns), 2, 2, nouns.shape[1]))
        for (bringer, chooser, revised), p in settled.items():
            thing = nouns
            for _ in range(revised):
                thing = np.einsum("zo,zon->zn", thing, chain)
            found[:, bringer, chooser] += p * thing
        return found
