"""The table-driven sampler: equal to the forward algorithm, and a function of (seed, index) alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bestguess.text.errands import forward
from bestguess.text.errands.documents import (
    COPIED,
    FACTS,
    FREE,
    INFERRED,
    Scored,
    dialogues_of,
    turns_of,
)
from bestguess.text.errands.grammar import REVISE
from bestguess.text.errands.tables import Trie
from bestguess.text.errands.worlds import FULL, SMALL, TINY, WORLDS
from bestguess.text.tokens import EOS, PAD, SEP

every_world = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)


@pytest.fixture(scope="module")
def small() -> Scored:
    return dialogues_of(SMALL).draw_scored(3, 0, 4001)


@pytest.mark.parametrize(("world", "count"), [(TINY, 13), (SMALL, 11), (FULL, 3)], ids=["tiny", "small", "full"])
def test_floors_equal_the_forward_algorithm(world, count):
    dialogues = dialogues_of(world)
    scored = dialogues.draw_scored(1, 7, count)
    for i in range(count):
        s, u = int(scored.pairs.source_length[i]), int(scored.pairs.target_length[i])
        text = [*scored.pairs.source[i, :s].tolist(), SEP, *scored.pairs.target[i, :u].tolist()]
        p = forward.predictions(dialogues.stage.grammar, text)
        ours = np.concatenate([scored.floors.source[i, : s + 1], scored.floors.target[i, :u]])
        np.testing.assert_allclose(ours, np.log(p[np.arange(len(text)), text]), atol=1e-6)
        entropy = -np.sum(p * np.log(np.maximum(p, 1e-300)), axis=1)[s + 1 :]
        np.testing.assert_allclose(scored.floors.entropy[i, :u], entropy, atol=1e-6)


@every_world
def test_any_slice_is_drawn_again(world):
    dialogues = dialogues_of(world)
    whole, part = dialogues.draw(5, 0, 53), dialogues.draw(5, 17, 23)
    np.testing.assert_array_equal(whole.source[17:40, : part.source.shape[1]], part.source)
    np.testing.assert_array_equal(whole.target[17:40, : part.target.shape[1]], part.target)
    np.testing.assert_array_equal(whole.source_length[17:40], part.source_length)
    assert (dialogues.draw(6, 17, 23).source[:, :3] != part.source[:, :3]).any()


def test_with_floors_or_without_the_documents_are_the_same(small):
    pairs = dialogues_of(SMALL).draw(3, 0, 4001)
    np.testing.assert_array_equal(pairs.source, small.pairs.source)
    np.testing.assert_array_equal(pairs.target, small.pairs.target)


@every_world
def test_lengths_and_padding(world):
    dialogues = dialogues_of(world)
    pairs = dialogues.draw(0, 0, 997)
    assert pairs.source_length.max() <= dialogues.max_source
    assert pairs.target_length.max() <= dialogues.max_target
    np.testing.assert_array_equal((pairs.source != PAD).sum(axis=1), pairs.source_length)
    np.testing.assert_array_equal((pairs.target != PAD).sum(axis=1), pairs.target_length)
    assert (pairs.target[np.arange(997), pairs.target_length - 1] == EOS).all()
    assert ((pairs.target == EOS).sum(axis=1) == 1).all()


def test_the_longest_dialogue_is_told_exactly(listed):
    longest = max(len(text[: text.index(SEP)]) for text, _ in listed)
    assert dialogues_of(TINY).max_source == longest


def test_copied_tokens_are_certain_and_the_rest_are_not(small):
    entropy = small.floors.entropy
    assert (entropy[small.kinds == COPIED] == 0).all()
    assert (small.floors.target[small.kinds == COPIED] == 0).all()
    assert (entropy[small.kinds == INFERRED] > 0).all()
    assert entropy[small.kinds == FREE].mean() > 0.1
    assert ((small.kinds == INFERRED).sum(axis=1) == 1).all()


def test_log_p_averages_to_the_entropy(small):
    difference = (small.floors.target + small.floors.entropy).sum(axis=1)
    assert abs(difference.mean()) < 4 * difference.std() / 4001**0.5


def test_the_small_worlds_figures(small):
    """Those of the specification, as far as 4,001 documents tell them."""
    assert abs(small.pairs.source_length.mean() - 57.6) < 1.5
    assert abs(small.pairs.target_length.mean() - 20.9) < 0.3
    assert abs(small.floors.entropy.sum(axis=1).mean() - 3.75) < 0.05
    assert abs((small.facts.posterior.argmax(axis=1) == small.facts.topic).mean() - 0.84) < 0.03
    assert small.pairs.target.shape[1] == 24
    stage = dialogues_of(SMALL).stage
    row = stage.draw(3, 0, 4001)[0].row
    assert abs(((stage.act[row] == REVISE) & (row >= 0)).any(axis=1).mean() - 0.37) < 0.03
    assert (row >= 0).sum(axis=1).max() == 8


def test_alignments_point_at_the_true_value(small):
    dialogues = dialogues_of(SMALL)
    i, u = np.nonzero(small.kinds == COPIED)
    stated, target = small.pairs.source[i, small.aligned[i, u]], small.pairs.target[i, u]
    i_, you = dialogues.token["i"], dialogues.token["you"]
    pronoun = (stated == i_) | (stated == you)
    np.testing.assert_array_equal(stated[~pronoun], target[~pronoun])
    # The word of who brings it: I is the speaker of that turn, you the other.
    turn = small.turn[i, u]
    np.testing.assert_array_equal(turn, turns_of(small.pairs.source, dialogues.token[":"])[i, small.aligned[i, u]])
    people = small.facts.tokens[i, :2]
    other = (turn + (stated == you)) % 2
    np.testing.assert_array_equal(np.take_along_axis(people, other[:, None], 1)[pronoun, 0], target[pronoun])
    assert pronoun.sum() == 4001
    assert (small.aligned[small.kinds != COPIED] == -1).all()


def test_facts_are_what_the_summary_says(small):
    where = {name: k for k, name in enumerate(FACTS)}
    for name in ("{place}", "{day}", "{item}", "{label}"):
        fact = small.facts.tokens[:, where[name]]
        assert ((small.pairs.target == fact[:, None]).sum(axis=1) == 1).all()
    assert 0.4 < small.facts.told.mean() < 0.6


def test_the_occasion_is_never_named_in_a_dialogue(small):
    labels = dialogues_of(SMALL).labels
    assert not np.isin(small.pairs.source, labels).any()


def test_a_form_that_is_another_or_its_beginning_is_refused():
    with pytest.raises(ValueError, match="equal"):
        Trie([("a", "b"), ("a", "b")], np.ones((1, 2)) / 2)
    with pytest.raises(ValueError, match="begins another"):
        Trie([("a", "b"), ("a",)], np.ones((1, 2)) / 2)
    with pytest.raises(ValueError, match="fits two"):
        Trie([("{x}", "b"), ("a",)], np.ones((1, 2)) / 2).moves({"a": 0, "b": 1}, {"{x}": np.array([0])})


def test_negative_seeds_and_indices_are_refused():
    with pytest.raises(ValueError, match="negative"):
        dialogues_of(TINY).draw(-1, 0, 2)
    with pytest.raises(ValueError, match="negative"):
        dialogues_of(TINY).draw(0, -1, 2)


def test_no_documents_are_no_error():
    pairs = dialogues_of(replace(TINY, name="other")).draw(0, 0, 0)
    assert len(pairs) == 0
