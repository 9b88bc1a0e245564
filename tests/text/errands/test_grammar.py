"""The grammar, and the forward algorithm against all texts of a tiny world, listed."""

from __future__ import annotations

import numpy as np
import pytest

from bestguess.text.errands import forward
from bestguess.text.errands.grammar import DialogueGrammar
from bestguess.text.errands.worlds import FULL, SMALL, TINY, WORLDS
from bestguess.text.tokens import EOS, SPECIAL


@pytest.fixture(scope="module")
def texts(listed) -> tuple[np.ndarray, np.ndarray]:
    """Every text of the tiny world, padded [texts, length], and its probability."""
    rows = np.zeros((len(listed), max(len(text) for text, _ in listed)), np.int8)
    for row, (text, _) in zip(rows, listed):
        row[: len(text)] = text
    return rows, np.array([p for _, p in listed])


def test_probabilities_of_all_texts_sum_to_one_and_each_is_said_one_way(texts):
    rows, p = texts
    assert abs(p.sum() - 1) < 1e-12
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_forward_equals_the_sum_over_all_texts(texts):
    rows, p = texts
    grammar = DialogueGrammar(TINY)
    for text in rows[[5, 9_001, 20_011]]:
        length = int((text > 0).sum())
        predicted = forward.predictions(grammar, text[:length].tolist())
        alive = np.ones(len(rows), bool)
        for t in range(length):
            counted = np.bincount(rows[alive, t], p[alive], len(grammar.vocabulary)) / p[alive].sum()
            np.testing.assert_allclose(predicted[t], counted, atol=1e-12)
            alive &= rows[:, t] == text[t]
        assert alive.sum() == 1


def test_what_the_grammar_cannot_say_has_probability_zero():
    grammar = DialogueGrammar(TINY)
    anna = grammar.token["anna"]
    assert forward.log_p(grammar, [anna, anna]).tolist() == [np.log(0.5), -np.inf]
    assert forward.log_p(grammar, [anna, anna, anna])[2] == -np.inf


def test_the_small_world_is_as_specified():
    assert (len(SMALL.names), len(SMALL.places), len(SMALL.days), len(SMALL.nouns)) == (8, 4, 4, 8)
    assert len(SMALL.labels) == 4
    assert len(DialogueGrammar(SMALL).vocabulary) == 76
    np.testing.assert_allclose(
        np.array(SMALL.noun_weights)[1] * 8.2, [0.15, 0.15, 3.15, 3.15, 0.65, 0.65, 0.15, 0.15], atol=1e-12
    )


def test_the_full_world_is_as_specified():
    sizes = [len(FULL.names), len(FULL.places), len(FULL.days), len(FULL.nouns), len(FULL.labels), FULL.turns]
    assert sizes == [16, 10, 7, 32, 8, 14]


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_vocabularies_begin_with_the_special_tokens_and_have_each_word_once(world):
    words = DialogueGrammar(world).vocabulary
    assert words[:5] == SPECIAL
    assert words[EOS] == "[EOS]"
    assert len(set(words)) == len(words)
