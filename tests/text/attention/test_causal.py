"""Swaps against the grammar, and what they make of summaries that follow them and of summaries that do not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from bestguess.text.attention import causal
from bestguess.text.attention.causal import SWAPPED, Swap, causal_figures, swapped, swaps_of
from bestguess.text.corpus import about_of
from bestguess.text.errands.documents import BRINGER, THE_DAY, THE_ITEM, THE_PLACE
from bestguess.text.generation import GenerationConfig
from bestguess.text.model import TextModel
from tests.text.tiny import tiny

COLUMN = {"place": THE_PLACE, "day": THE_DAY, "item": THE_ITEM, "bringer": BRINGER}


@pytest.fixture(scope="module")
def about():
    return about_of(tiny(task={"world": "small"}).task, 12, 5, 60)


@pytest.fixture(scope="module")
def swaps(about) -> list[Swap]:
    return swaps_of(about, about.test)


def untrained(about) -> TextModel:
    return TextModel(tiny().model, about.vocab, key=jax.random.key(0))


def test_the_grammar_says_what_a_swap_changes(about, swaps):
    """A changed dialogue is of the grammar: of a true value it settles the new one, of a decoy still the old."""
    before = about.known.facts(about.test).tokens
    after = about.known.facts(swapped(about.test, swaps)).tokens
    for one, now in zip(swaps, after):
        was = before[one.document]
        assert was[COLUMN[one.fact]] == one.old == about.test.target[one.document, one.place]
        assert now[COLUMN[one.fact]] == (one.old if one.decoy else one.new)
        others = [column for fact, column in COLUMN.items() if fact != one.fact]
        assert (now[others] == was[others]).all()
    counts = {(fact, decoy): sum(o.fact == fact and o.decoy == decoy for o in swaps)
              for fact in SWAPPED for decoy in (False, True)}  # fmt: skip
    assert min(counts.values()) > 0
    assert counts["bringer", False] == len(about.test)


def test_a_new_value_stands_nowhere_else(about, swaps):
    for one in swaps:
        if one.fact != "bringer":
            assert one.source.count(one.new) == 1
            assert one.new not in about.test.source[one.document]


class Follower:
    """Writes every summary as the dialogue that it is given demands; or always as the dialogue was."""

    def __init__(self, about: Any, swaps: list[Swap], follows: bool):
        target = about.test.target
        changed = target[[one.document for one in swaps]].copy()
        for row, one in zip(changed, swaps):
            if follows and not one.decoy:
                row[one.place] = one.new
        self.changed, self.every, self.vocab = changed, np.concatenate([target, changed]), about.vocab

    def write(self, *_, **__):
        return SimpleNamespace(tokens=self.every)

    def predictor(self, model: Any):
        of_source = {}

        def predict(pairs):
            rows = [of_source[tuple(source[:n])] for source, n in zip(pairs.source.tolist(), pairs.source_length)]
            return SimpleNamespace(logits=np.log(np.eye(self.vocab)[self.changed[rows]] + 1e-9))

        for k, one in enumerate(self.swaps):
            of_source[one.source] = k
        return predict

    swaps: list[Swap]


@pytest.mark.parametrize("follows", [True, False])
def test_summaries_that_follow_and_summaries_that_do_not(about, swaps, monkeypatch, follows):
    made = Follower(about, swaps, follows)
    made.swaps = swaps
    monkeypatch.setattr(causal, "write", made.write)
    monkeypatch.setattr(causal, "ModelPredictor", made.predictor)
    found = causal_figures(about, untrained(about), about.test, GenerationConfig())
    for fact in SWAPPED:
        one = found[fact]
        assert (one["held"], one["unchanged"]) == (1, 1)
        assert one["followed"] == follows
        assert one["p_followed"] == pytest.approx(float(follows), abs=1e-6)
        assert one["p_held"] == pytest.approx(1, abs=1e-6)
        assert one["swaps"] + one["decoys"] == sum(o.fact == fact for o in swaps)


def test_stories_have_no_facts_to_swap():
    stories = about_of(tiny(task={"task": "story"}).task, 12, 5, 6)
    assert causal_figures(stories, untrained(stories), stories.test, GenerationConfig()) is None
