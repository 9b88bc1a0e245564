"""The oracle over given documents: what the sampler knows, found again from the text alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bestguess.text.errands import forward
from bestguess.text.errands.documents import dialogues_of
from bestguess.text.errands.oracle import DialogueOracle
from bestguess.text.errands.worlds import FULL, SMALL, TINY, WORLDS
from bestguess.text.pairs import Pairs, make_pairs
from bestguess.text.tokens import SEP

every_world = pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)


@pytest.fixture(scope="module")
def oracles() -> dict[str, DialogueOracle]:
    return {name: DialogueOracle(dialogues_of(world)) for name, world in WORLDS.items()}


@every_world
def test_text_is_read_back(world, oracles):
    drawn = dialogues_of(world).draw_scored(2, 100, 307)
    read = oracles[world.name].score(drawn.pairs)
    for name in ("source", "target", "entropy"):
        np.testing.assert_array_equal(getattr(read.floors, name), getattr(drawn.floors, name))
    for name in ("kinds", "aligned", "turn"):
        np.testing.assert_array_equal(getattr(read, name), getattr(drawn, name))
    for name in ("tokens", "told", "topic", "posterior"):
        np.testing.assert_array_equal(getattr(read.facts, name), getattr(drawn.facts, name))


@pytest.mark.parametrize("world", [TINY, SMALL, FULL], ids=["tiny", "small", "full"])
def test_predictions_equal_the_forward_algorithm(world, oracles):
    dialogues = dialogues_of(world)
    pairs = dialogues.draw(4, 0, 5)
    found = oracles[world.name].log_p(pairs)
    assert found.shape == (*pairs.target.shape, len(dialogues.vocabulary))
    for i in range(5):
        s, u = int(pairs.source_length[i]), int(pairs.target_length[i])
        text = [*pairs.source[i, :s].tolist(), SEP, *pairs.target[i, :u].tolist()]
        p = forward.predictions(dialogues.stage.grammar, text)[s + 1 :]
        np.testing.assert_allclose(np.exp(found[i, :u]), p, atol=1e-6)


@every_world
def test_predictions_are_distributions_that_hold_the_floors(world, oracles):
    drawn = dialogues_of(world).draw_scored(4, 0, 211)
    log_p = oracles[world.name].log_p(drawn.pairs)
    np.testing.assert_allclose(np.exp(log_p).sum(axis=2), 1, atol=1e-5)
    own = np.take_along_axis(log_p, drawn.pairs.target[:, :, None], axis=2)[:, :, 0]
    np.testing.assert_allclose(np.where(drawn.kinds > 0, own, 0), drawn.floors.target, atol=1e-5)


def test_behind_an_impossible_token_all_are_equally_likely(oracles):
    dialogues = dialogues_of(SMALL)
    pairs = dialogues.draw(0, 0, 3)
    target = pairs.target.copy()
    target[1, 4] = dialogues.token["?"]
    changed = Pairs(pairs.source, pairs.source_length, target, pairs.target_length)
    before, after = oracles["small"].log_p(pairs), oracles["small"].log_p(changed)
    np.testing.assert_array_equal(after[1, :5], before[1, :5])
    assert after[1, 4, dialogues.token["?"]] == -np.inf
    np.testing.assert_allclose(after[1, 5:], -math.log(76), rtol=1e-6)
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])


def documents(oracle: DialogueOracle, count: int) -> list[tuple[list[int], list[int]]]:
    pairs = oracle.dialogues.draw(8, 0, count)
    return [
        (pairs.source[i, : pairs.source_length[i]].tolist(), pairs.target[i, : pairs.target_length[i]].tolist())
        for i in range(count)
    ]


def repacked(texts: list[tuple[list[int], list[int]]]) -> Pairs:
    return make_pairs([source for source, _ in texts], [target for _, target in texts])


@pytest.mark.parametrize("word", ["tent", "anna", ":", "?", "[UNK]", "picnic", "friday"])
@pytest.mark.parametrize("position", [0, 1, 2, 5, 9, 14])
def test_any_other_word_in_a_dialogue_is_refused_where_forward_refuses_it(word, position, oracles):
    oracle = oracles["small"]
    texts = documents(oracle, 3)
    token = oracle.dialogues.token[word]
    source = texts[1][0]
    if source[position] == token:
        return
    source[position] = token
    text = [*source, SEP, *texts[1][1]]
    impossible = np.flatnonzero(np.isneginf(forward.log_p(oracle.dialogues.stage.grammar, text)))
    if len(impossible) and impossible[0] < len(source):
        with pytest.raises(ValueError, match=rf"row 1: .* token {impossible[0]} of the dialogue, '"):
            oracle.score(repacked(texts))
    elif len(impossible):
        with pytest.raises(ValueError, match=r"row 1: the grammar cannot say token .* of the summary"):
            oracle.score(repacked(texts))
    else:
        oracle.score(repacked(texts))


def test_what_ends_too_soon_is_refused(oracles):
    oracle = oracles["small"]
    texts = documents(oracle, 2)
    texts[1] = (texts[1][0][:-1], texts[1][1])
    with pytest.raises(ValueError, match=f"row 1: the dialogue ends at token {len(texts[1][0])}"):
        oracle.log_p(repacked(texts))
    texts = documents(oracle, 2)
    colons = [k for k, token in enumerate(texts[0][0]) if token == oracle.dialogues.token[":"]]
    texts[0] = (texts[0][0][: colons[2] - 1], texts[0][1])  # two whole turns
    with pytest.raises(ValueError, match="row 0: the dialogue ends"):
        oracle.log_p(repacked(texts))
    texts = documents(oracle, 2)
    texts[0] = (texts[0][0], texts[0][1][:-1])
    with pytest.raises(ValueError, match="row 0: the summary ends"):
        oracle.score(repacked(texts))


def test_tokens_outside_the_vocabulary_are_refused(oracles):
    texts = documents(oracles["small"], 2)
    texts[0][0][3] = 4_000
    with pytest.raises(ValueError, match=r"row 0: .*not in the vocabulary"):
        oracles["small"].log_p(repacked(texts))


def test_revising_to_the_same_value_is_refused(oracles):
    oracle = oracles["small"]
    place = "anna : shall we meet at the park ? ben : i would prefer the {} ."
    for value, told in (("park", "token 15 of the dialogue, 'park'"), ("market", "ends at token 17")):
        source = [oracle.dialogues.token[word] for word in place.format(value).split()]
        with pytest.raises(ValueError, match=told):
            oracle.log_p(make_pairs([source], [[3]]))


def test_the_floor_without_the_source_equals_the_sum_over_all_texts(listed, oracles):
    """Of the tiny world, whose texts can be listed: the summary's probability, whatever the dialogue."""
    dialogues = dialogues_of(TINY)
    total: dict[tuple[int, ...], float] = {}
    for text, p in listed:
        summary = text[text.index(SEP) + 1 :]
        total[summary] = total.get(summary, 0.0) + p
    assert abs(sum(total.values()) - 1) < 1e-9
    pairs = dialogues.draw(0, 0, 31)
    log_p = oracles["tiny"].without_source(pairs)
    for i in range(31):
        summary = tuple(pairs.target[i, : pairs.target_length[i]].tolist())
        assert abs(log_p[i].sum() - math.log(total[summary])) < 1e-9


@every_world
def test_the_constant_is_how_often_tokens_come(world, oracles):
    pairs = dialogues_of(world).draw(1, 0, 20_011)
    p = np.exp(oracles[world.name].constant)
    assert abs(p.sum() - 1) < 1e-12
    count = np.bincount(pairs.target[pairs.target > 0], minlength=len(p))
    error = np.sqrt(p * count.sum())
    assert (np.abs(count - p * count.sum()) <= 6 * error).all()


def test_floors_are_ordered(oracles):
    drawn = dialogues_of(SMALL).draw_scored(0, 0, 503)
    without = oracles["small"].without_source(drawn.pairs).sum(axis=1)
    constant = oracles["small"].constant
    unigram = np.where(drawn.kinds > 0, constant[np.maximum(drawn.pairs.target, 3)], 0).sum(axis=1)
    assert drawn.floors.target.sum(axis=1).mean() > without.mean() + 5 > unigram.mean() + 5
