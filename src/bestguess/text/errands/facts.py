"""Summaries judged against their dialogues: each fact right, wrong or missing, and where the wrong ones stand.

A summary is read tolerantly, by its words: a place, a day, a thing or an occasion states that fact wherever it stands;
names before the first full stop are the two people; behind it, the last name before the thing brings it, and the first
name after the thing chose the day. What is stated twice must be right both times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Int8

from bestguess.text.errands.documents import (
    BRINGER,
    CHOOSER,
    FIRST,
    SECOND,
    THE_DAY,
    THE_ITEM,
    THE_PLACE,
    Facts,
)
from bestguess.text.errands.oracle import DialogueOracle
from bestguess.text.pairs import Pairs
from bestguess.text.tokens import EOS, PAD

ASKED = ("names", "place", "day", "item", "bringer", "chooser", "label")
"""Facts that are judged, in the order of the columns of `Judgement.states`."""
_NAMES, _PLACE, _DAY, _ITEM, _BRINGER, _CHOOSER, _LABEL = range(7)
COPIED_FACTS = ASKED[:5]
"""Facts that every summary states and that its dialogue tells for certain."""
MISSING, RIGHT, WRONG = range(3)
_TIE = 1e-9
"""Topics whose probabilities differ by less are equally likely."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """n summaries, judged."""

    states: Int8[np.ndarray, "n 7"]
    """MISSING, RIGHT or WRONG by ASKED. The label is right if it is (one of) the likeliest given the dialogue."""
    label_true: Bool[np.ndarray, " n"]
    """Whether the label is the hidden topic's own: the oracle itself is not always right here."""
    oracle_true: Bool[np.ndarray, " n"]
    """Whether the likeliest label is."""
    grammatical: Bool[np.ndarray, " n"]
    """Whether the grammar can say the summary of this dialogue, but for the choice of the label."""
    stops: Bool[np.ndarray, " n"]
    """Whether the summary ends with EOS."""
    says: Int8[np.ndarray, "n U"]
    """The fact that each token states, index into ASKED; -1 for other tokens."""
    wrong: Bool[np.ndarray, "n U"]
    """Whether a token states a fact that is not so; of the label, one that is not the likeliest."""

    @property
    def copied(self) -> Bool[np.ndarray, " n"]:
        """Whether names, place, day, item and bringer are all right."""
        return (self.states[:, : len(COPIED_FACTS)] == RIGHT).all(axis=1)

    @property
    def whole(self) -> Bool[np.ndarray, " n"]:
        """Whether the summary is right in everything: said as the grammar says it, no fact wrong, none missing.

        Who chose the day may be left out; the label must be the likeliest.
        """
        chooser = self.states[:, _CHOOSER] != WRONG
        return self.copied & chooser & (self.states[:, _LABEL] == RIGHT) & self.grammatical & self.stops

    def rates(self) -> dict[str, float]:
        """Return the fraction of summaries that are right, for each fact by itself and for all.

        The chooser: of those that name one (NaN where none does). `label_of_oracle`: the fraction with the likeliest
        label; `label`: the fraction with the true one, and `oracle_label` the fraction in which the likeliest is true.
        """
        found = {name: float((self.states[:, k] == RIGHT).mean()) for k, name in enumerate(ASKED[:_CHOOSER])}
        named = self.states[:, _CHOOSER] != MISSING
        found["chooser"] = float((self.states[named, _CHOOSER] == RIGHT).mean()) if named.any() else float("nan")
        return found | {
            "label_of_oracle": float((self.states[:, _LABEL] == RIGHT).mean()),
            "label": float(self.label_true.mean()),
            "oracle_label": float(self.oracle_true.mean()),
            "copied": float(self.copied.mean()),
            "whole": float(self.whole.mean()),
            "grammatical": float(self.grammatical.mean()),
            "stops": float(self.stops.mean()),
        }

    def spans(self, row: int) -> list[tuple[int, int, str]]:
        """Return (start, stop, fact) of each wrong statement in a summary; neighbouring tokens of a fact are one."""
        found: list[tuple[int, int, str]] = []
        for u in np.flatnonzero(self.wrong[row]):
            what = ASKED[self.says[row, u]]
            if found and found[-1][1] == u and found[-1][2] == what:
                found[-1] = (found[-1][0], int(u) + 1, what)
            else:
                found.append((int(u), int(u) + 1, what))
        return found


def judge(oracle: DialogueOracle, pairs: Pairs, summaries: Int[np.ndarray, "n U"]) -> Judgement:
    """Return what is right in summaries of the dialogues of `pairs`, whose own targets tell the true label.

    summaries: tokens; whatever is behind EOS, or PAD, does not count. ValueError for a dialogue that the grammar
    cannot say.
    """
    facts = oracle.facts(pairs)
    dialogues, reader = oracle.dialogues, oracle.reader
    n, width = summaries.shape
    stops = (summaries == EOS).any(axis=1)
    closed = np.cumsum((summaries == EOS) | (summaries == PAD), axis=1) > 0
    text = np.where(closed, PAD, summaries).astype(np.int64)
    says = _said(oracle, text)
    wrong, states = np.zeros((n, width), bool), np.zeros((n, len(ASKED)), np.int8)
    columns = {_PLACE: THE_PLACE, _DAY: THE_DAY, _ITEM: THE_ITEM, _BRINGER: BRINGER, _CHOOSER: CHOOSER}
    for k, column in columns.items():
        here = says == k
        wrong |= here & (text != facts.tokens[:, [column]])
        states[:, k] = np.where((here & wrong).any(axis=1), WRONG, np.where(here.any(axis=1), RIGHT, MISSING))
    named = says == _NAMES
    one, two = ((named & (text == facts.tokens[:, [k]])).sum(axis=1) for k in (FIRST, SECOND))
    stranger = named & (text != facts.tokens[:, [FIRST]]) & (text != facts.tokens[:, [SECOND]])
    repeated = named & (_before(text, named) > 0)
    wrong |= stranger | repeated
    states[:, _NAMES] = np.where(
        (stranger | repeated).any(axis=1), WRONG, np.where((one > 0) & (two > 0), RIGHT, MISSING)
    )
    likeliest = facts.posterior >= facts.posterior.max(axis=1, keepdims=True) - _TIE
    topic = np.clip(text - dialogues.labels[0], 0, len(dialogues.labels) - 1)
    label = says == _LABEL
    wrong |= label & ~np.take_along_axis(likeliest, topic, axis=1)
    states[:, _LABEL] = np.where((label & wrong).any(axis=1), WRONG, np.where(label.any(axis=1), RIGHT, MISSING))
    true = _true_label(pairs, dialogues.labels)
    label_true = label.any(axis=1) & (~label | (text == true[:, None])).all(axis=1)
    nodes = reader.walk(np.where(closed & stops[:, None], EOS, text), facts.tokens)
    ended = nodes[np.arange(n), np.minimum((~closed).sum(axis=1) + 1, width)]
    grammatical = (ended >= 0) & (reader.template[np.maximum(ended, 0)] >= 0)
    return Judgement(states, label_true, _oracle_true(facts, true, dialogues.labels), grammatical, stops, says, wrong)


def _said(oracle: DialogueOracle, text: np.ndarray) -> np.ndarray:
    """Return which fact each token states, index into ASKED, -1 for none: int8 [n, U]."""
    dialogues, reader = oracle.dialogues, oracle.reader
    found = np.full(text.shape, -1, np.int8)
    for slot, tokens in enumerate(reader.tokens):
        found[np.isin(text, tokens)] = _PLACE + slot
    found[np.isin(text, dialogues.labels)] = _LABEL
    name, stop = np.isin(text, dialogues.names), dialogues.token["."]
    second = np.cumsum(text == stop, axis=1) > 0
    found[name & ~second] = _NAMES
    thing = second & (found == _ITEM)
    passed = np.cumsum(thing, axis=1) > 0
    after, ahead = name & second & passed, name & second & ~passed
    # Of the names before the thing, the last one brings it; of those after it, the first one chose the day.
    last = ahead & (np.cumsum(ahead[:, ::-1], axis=1)[:, ::-1] == 1)
    first = after & (np.cumsum(after, axis=1) == 1)
    found[last], found[first] = _BRINGER, _CHOOSER
    return found


def _before(text: np.ndarray, named: np.ndarray) -> np.ndarray:
    """Return how often each token stands at an earlier place of `named` in its row: int64 [n, U]."""
    same = (text[:, :, None] == text[:, None, :]) & named[:, None, :] & named[:, :, None]
    return np.tril(same, -1).sum(axis=2)


def _true_label(pairs: Pairs, labels: np.ndarray) -> np.ndarray:
    """Return the occasion that each target names, as a token; -1 where it names none."""
    here = np.isin(pairs.target, labels)
    found = np.take_along_axis(pairs.target, here.argmax(axis=1)[:, None], axis=1)[:, 0].astype(np.int64)
    return np.where(here.any(axis=1), found, -1)


def _oracle_true(facts: Facts, true: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return labels[facts.posterior.argmax(axis=1)] == true
