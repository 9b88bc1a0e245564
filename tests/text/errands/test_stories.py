"""Stories: tables against the forward algorithm, and who sees the cut against all stories of a tiny world."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bestguess.text.errands import forward
from bestguess.text.errands.documents import COPIED, FREE, INFERRED
from bestguess.text.errands.stories.grammar import StoryGrammar, story_vocabulary
from bestguess.text.errands.stories.oracle import StoryOracle, cut, joined
from bestguess.text.errands.stories.tables import tables_of
from bestguess.text.errands.worlds import FULL, SMALL, TINY, WORLDS
from bestguess.text.pairs import Pairs
from bestguess.text.tokens import EOS, SPECIAL

every_world = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)


@pytest.fixture(scope="module")
def told() -> list[tuple[tuple[int, ...], float]]:
    """Every story of the tiny world, and its probability."""
    return list(forward.every_text(StoryGrammar(TINY)))


@pytest.fixture(scope="module")
def oracles() -> dict[str, StoryOracle]:
    return {name: StoryOracle(tables_of(world)) for name, world in WORLDS.items()}


def halves(oracle: StoryOracle, seed: int, count: int) -> Pairs:
    text, length = oracle.tables.draw(seed, 0, count)
    return cut(text, length, length // 2)


def test_probabilities_of_all_stories_sum_to_one_and_each_is_told_one_way(told):
    assert abs(sum(p for _, p in told) - 1) < 1e-9
    assert len({text for text, _ in told}) == len(told)


def test_forward_equals_the_sum_over_all_stories(told):
    grammar, text = StoryGrammar(TINY), told[1_013][0]
    predicted, alive = forward.predictions(grammar, text), told
    for t, token in enumerate(text):
        counted = np.zeros(len(grammar.vocabulary))
        for other, p in alive:
            counted[other[t]] += p
        np.testing.assert_allclose(predicted[t], counted / counted.sum(), atol=1e-12)
        alive = [(other, p) for other, p in alive if other[t] == token]


@pytest.mark.parametrize(("world", "count"), [(TINY, 13), (SMALL, 5), (FULL, 3)], ids=["tiny", "small", "full"])
def test_predictions_and_floors_equal_the_forward_algorithm(world, count, oracles):
    oracle = oracles[world.name]
    pairs = halves(oracle, 3, count)
    scored, found = oracle.score(pairs), oracle.log_p(pairs)
    text, length = joined(pairs)
    for i in range(count):
        s, u = int(pairs.source_length[i]), int(pairs.target_length[i])
        tokens = text[i, : length[i]].tolist()
        p = forward.predictions(oracle.tables.grammar, tokens)
        np.testing.assert_allclose(np.exp(found[i, :u]), p[s:], atol=1e-6)
        own = np.log(p[np.arange(len(tokens)), tokens])
        np.testing.assert_allclose(scored.floors.source[i, :s], own[:s], atol=1e-6)
        np.testing.assert_allclose(scored.floors.target[i, :u], own[s:], atol=1e-6)
        entropy = -np.sum(p * np.log(np.maximum(p, 1e-300)), axis=1)
        np.testing.assert_allclose(scored.floors.entropy[i, :u], entropy[s:], atol=1e-6)


def test_who_sees_the_cut_predicts_as_all_stories_of_that_length_do(told, oracles):
    oracle = oracles["tiny"]
    pairs = halves(oracle, 5, 7)
    found = np.exp(oracle.midpoint_log_p(pairs))
    for i in range(7):
        half, u = int(pairs.source_length[i]), int(pairs.target_length[i])
        text = (*pairs.source[i, :half].tolist(), *pairs.target[i, :u].tolist())
        alive = [(other, p) for other, p in told if (len(other) - 1) // 2 == half and other[:half] == text[:half]]
        for t in range(half, half + u):
            counted = np.zeros(found.shape[2])
            for other, p in alive:
                counted[other[t]] += p
            np.testing.assert_allclose(found[i, t - half], counted / counted.sum(), atol=1e-6)
            alive = [(other, p) for other, p in alive if other[t] == text[t]]


@every_world
def test_the_cut_tells_something_of_the_length(world, oracles):
    oracle = oracles[world.name]
    pairs = halves(oracle, 7, 301)
    blind, sees = oracle.log_p(pairs), oracle.midpoint_log_p(pairs)
    own = [np.take_along_axis(p, pairs.target[:, :, None], axis=2)[:, :, 0] for p in (blind, sees)]
    inside = np.arange(pairs.target.shape[1])[None] < pairs.target_length[:, None]
    gain = np.where(inside, own[1] - own[0], 0).sum(axis=1)
    assert gain.mean() > 5 * gain.std() / 301**0.5
    assert np.isfinite(own[1][inside]).all()
    np.testing.assert_allclose(np.exp(sees).sum(axis=2), 1, atol=1e-5)


@every_world
def test_any_slice_of_stories_is_drawn_again(world):
    tables = tables_of(world)
    whole, part = tables.draw(5, 0, 53), tables.draw(5, 17, 23)
    for one, other in zip(whole, part):
        np.testing.assert_array_equal(one[17:40, : other.shape[1]] if one.ndim == 2 else one[17:40], other)
    assert whole[1].min() > world.story_cut


def test_cutting_and_joining_are_inverse():
    text, length = tables_of(SMALL).draw(1, 0, 101)
    pairs = cut(text, length, length // 3)
    whole, total = joined(pairs)
    np.testing.assert_array_equal(total, length + 1)
    for i in (0, 50, 100):
        assert whole[i, : total[i]].tolist() == [*text[i, : length[i]].tolist(), EOS]
        assert pairs.target[i, pairs.target_length[i] - 1] == EOS


def test_kinds(oracles):
    scored = oracles["small"].score(halves(oracles["small"], 1, 211))
    assert (scored.floors.entropy[scored.kinds == COPIED] == 0).all()
    assert (scored.floors.entropy[scored.kinds == INFERRED] > 0).all()
    for kind in (COPIED, INFERRED, FREE):
        assert (scored.kinds == kind).sum() > 20
    nouns = np.isin(scored.pairs.target, oracles["small"].tables.nouns)
    assert nouns[scored.kinds == INFERRED].all()


def test_log_p_averages_to_the_entropy(oracles):
    scored = oracles["small"].score(halves(oracles["small"], 9, 2003))
    difference = (scored.floors.target + scored.floors.entropy).sum(axis=1)
    assert abs(difference.mean()) < 4 * difference.std() / 2003**0.5


def test_behind_an_impossible_token_all_are_equally_likely(oracles):
    oracle = oracles["small"]
    pairs = halves(oracle, 0, 3)
    target = pairs.target.copy()
    target[1, 4] = oracle.tables.token["?"]
    changed = Pairs(pairs.source, pairs.source_length, target, pairs.target_length)
    before, after = oracle.log_p(pairs), oracle.log_p(changed)
    np.testing.assert_array_equal(after[1, :5], before[1, :5])
    assert after[1, 4, target[1, 4]] == -np.inf
    np.testing.assert_allclose(after[1, 5:], -math.log(oracle.walker.words), rtol=1e-6)
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])


@pytest.mark.parametrize("word", ["tent", "anna", ".", "market", "she", "he", "[UNK]", "to"])
def test_any_other_word_is_refused_where_forward_refuses_it(word, oracles):
    oracle = oracles["small"]
    pairs = halves(oracle, 2, 40)
    token, refused = oracle.tables.token[word], 0
    for i in range(40):
        source, position = pairs.source.copy(), i % 17
        source[i, position] = token
        changed = Pairs(source, pairs.source_length, pairs.target, pairs.target_length)[i : i + 1]
        tokens = joined(changed)
        at = forward.first_impossible(oracle.tables.grammar, tokens[0][0, : tokens[1][0]].tolist())
        if at is None:
            oracle.score(changed)
            continue
        refused += 1
        with pytest.raises(ValueError, match=f"row 0: the grammar cannot say token {at} of the story"):
            oracle.score(changed)
    assert refused > 20


def test_parts_that_are_no_halves_are_refused(oracles):
    text, length = tables_of(SMALL).draw(1, 0, 5)
    with pytest.raises(ValueError, match="row 0: the parts have"):
        oracles["small"].midpoint_log_p(cut(text, length, length // 3))


def test_a_story_that_ends_too_soon_is_refused(oracles):
    pairs = halves(oracles["small"], 1, 3)
    short = Pairs(pairs.source, pairs.source_length, pairs.target, pairs.target_length - 1)
    with pytest.raises(ValueError, match="row 0: the story ends at token"):
        oracles["small"].score(short)


@every_world
def test_stories_add_words_behind_those_of_dialogues(world):
    from bestguess.text.errands.grammar import dialogue_vocabulary

    words = story_vocabulary(world)
    assert words[: len(dialogue_vocabulary(world))] == dialogue_vocabulary(world)
    assert words[:5] == SPECIAL
    assert len(set(words)) == len(words)


def test_lengths_add_up_to_one(oracles):
    """β is a distribution over lengths at every state and node that can be reached."""
    oracle = oracles["small"]
    total = oracle.beta.sum(axis=3)
    reached = oracle.walker.mass > 0
    reached[:, 0] = False
    np.testing.assert_allclose(total[reached], 1, atol=1e-5)
