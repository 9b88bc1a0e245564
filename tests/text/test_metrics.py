"""Figures of texts against rouge-score, SciPy and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from bestguess.text.metrics import (
    ROUGE,
    Score,
    bits_per_byte,
    bootstrap,
    bootstrap_ratio,
    distinct,
    perplexity_ratio,
    repetition,
    rouge,
    rouge_of_documents,
    words,
)

# ------------------------------------------------------------------------------------------ ROUGE


@pytest.fixture(scope="module")
def reference_scorer():
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    return rouge_scorer.RougeScorer(list(ROUGE), use_stemmer=False, split_summaries=False)


pieces = st.sampled_from(["a", "b", "c", "The", "cats", "2", "it's", ",", ".", "\n", "\n\n", "-"])
texts = st.lists(pieces, max_size=18).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(texts, texts)
@example("a b c\nc b a", "c a\nb a\na b c")
@example("The cats ran. It's late!", "the CAT's running,\nlate_night")
@example("", "")
def test_rouge_is_that_of_rouge_score_without_its_stemmer(reference_scorer, reference, text):
    theirs = reference_scorer.score(reference, text)
    ours = rouge(reference, text)
    assert list(ours) == list(ROUGE)
    for name in ROUGE:
        np.testing.assert_allclose(ours[name], tuple(theirs[name]), atol=1e-12, err_msg=name)


def test_rouge_by_hand():
    found = rouge("anna brings the soup", "anna takes soup the home")
    assert found["rouge1"] == Score(3 / 5, 3 / 4, pytest.approx(2 / 3))
    assert found["rouge2"] == Score(0, 0, 0)
    assert found["rougeL"] == Score(2 / 5, 2 / 4, pytest.approx(4 / 9))
    assert found["rougeLsum"] == found["rougeL"]
    # Lines: each of the reference's meets every line of the text.
    assert rouge("a b\nc d", "c d\na b")["rougeLsum"] == Score(1, 1, 1)
    assert rouge("a b\nc d", "c d\na b")["rougeL"] == Score(0.5, 0.5, 0.5)


def test_other_scripts_have_words_too():
    assert words("Анна_несёт 3 супа, ñandú!") == ["анна", "несёт", "3", "супа", "ñandú"]
    assert rouge("Анна несёт суп", "суп несёт Анна")["rouge1"] == Score(1, 1, 1)


def test_rouge_of_documents_is_rouge_of_each():
    references, texts = ["a b", "c", ""], ["b a", "d", "e"]
    found = rouge_of_documents(references, texts)
    for name in ROUGE:
        np.testing.assert_array_equal(found[name], [rouge(r, t)[name] for r, t in zip(references, texts)])
    assert rouge_of_documents([], [])["rouge1"].shape == (0, 3)
    with pytest.raises(ValueError, match="2 references for 1 texts"):
        rouge_of_documents(["a", "b"], ["a"])


# ------------------------------------------------------------------------------------------ repetition


def test_distinct_is_of_all_texts_together():
    assert distinct([[1, 2, 1], [2, 1]], 1) == 2 / 5
    assert distinct([[1, 2, 1], [2, 1]], 2) == 2 / 3
    assert math.isnan(distinct([[1], []], 2))


@given(st.lists(st.integers(0, 2), max_size=15))
def test_repetition_by_a_plain_loop(tokens):
    seen: list[tuple[int, ...]] = []
    again = 0
    for i in range(len(tokens) - 3):
        four = tuple(tokens[i : i + 4])
        again += four in seen
        seen.append(four)
    found = repetition(tokens)
    assert (found == pytest.approx(again / len(seen))) if seen else math.isnan(found)


def test_repetition_of_a_loop():
    assert repetition(["the", "end", "of", "the", "end", "of", "the", "end", "of"]) == pytest.approx(1 - 3 / 6)


# ------------------------------------------------------------------------------------------ means over documents


@pytest.fixture(scope="module")
def documents() -> tuple[np.ndarray, np.ndarray]:
    """Losses of 37 documents by two models: skewed, and alike."""
    rng = np.random.default_rng(5)
    of_document = rng.exponential(size=37) + 0.2
    return of_document * rng.lognormal(0.8, 0.4, 37), of_document * rng.lognormal(0.0, 0.4, 37)


def test_the_interval_of_a_mean_is_scipys(documents):
    ours = bootstrap(*documents, resamples=20_000)
    difference = documents[0] - documents[1]
    theirs = stats.bootstrap((difference,), np.mean, n_resamples=20_000, rng=1).confidence_interval
    assert ours.mean == pytest.approx(difference.mean())
    width = theirs.high - theirs.low
    np.testing.assert_allclose(ours[1:], theirs, atol=0.03 * width)
    percentile = stats.bootstrap((difference,), np.mean, n_resamples=20_000, rng=1, method="percentile")
    assert abs(percentile.confidence_interval.high - theirs.high) > 0.05 * width  # the correction is seen
    assert bootstrap(difference, resamples=20_000) == ours


def test_the_interval_of_a_ratio_is_scipys(documents):
    ours = bootstrap_ratio(*documents, resamples=20_000, seed=3, level=0.9)
    theirs = stats.bootstrap(
        documents, lambda a, b, axis: a.mean(axis=axis) / b.mean(axis=axis), paired=True, vectorized=True,
        n_resamples=20_000, confidence_level=0.9, rng=1,
    ).confidence_interval  # fmt: skip
    assert ours.mean == pytest.approx(documents[0].mean() / documents[1].mean())
    np.testing.assert_allclose(ours[1:], theirs, atol=0.03 * (theirs.high - theirs.low))
    # Pairs: of what one document's two losses share, nothing is left in the ratio.
    unpaired = bootstrap_ratio(documents[0], documents[1][::-1], resamples=20_000, level=0.9)
    assert unpaired.high - unpaired.low > 1.1 * (ours.high - ours.low)


def test_a_bootstrap_is_a_function_of_its_seed_and_no_chunk_changes_it(documents, monkeypatch):
    found = bootstrap(*documents, resamples=500, seed=1)
    assert bootstrap(*documents, resamples=500, seed=1) == found
    assert bootstrap(*documents, resamples=500, seed=2) != found
    monkeypatch.setattr("bestguess.text.metrics._MOST_DRAWN", 37 * 7)
    assert bootstrap(*documents, resamples=500, seed=1) == found


def test_an_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    draws = rng.exponential(size=(300, 40))
    found = [bootstrap(one, resamples=400, level=0.9) for one in draws]
    assert 0.83 < np.mean([low <= 1 <= high for _, low, high in found]) < 0.95


def test_documents_of_one_ratio_have_a_point_for_an_interval(documents):
    assert bootstrap_ratio(3 * documents[1], documents[1]) == pytest.approx((3, 3, 3))
    assert bootstrap(np.full(5, 0.25)) == (0.25, 0.25, 0.25)
    assert bootstrap(np.zeros(5)) == (0, 0, 0)


def test_a_ratio_of_perplexities_is_that_of_the_tokens_not_of_the_documents():
    nats, others, tokens = np.array([10.0, 3.0, 8.0]), np.array([4.0, 2.0, 7.0]), np.array([5, 1, 9])
    found = perplexity_ratio(nats, others, tokens, resamples=300)
    assert found.mean == pytest.approx(math.exp(21 / 15) / math.exp(13 / 15))
    ends = bootstrap_ratio(nats - others, tokens, resamples=300)
    assert found == pytest.approx(tuple(math.exp(one) for one in ends))
    assert found.low < found.mean < found.high


def test_what_has_no_interval_is_refused(documents):
    with pytest.raises(ValueError, match="1 documents"):
        bootstrap(np.ones(1))
    with pytest.raises(ValueError, match="not apart from 0"):
        bootstrap_ratio(documents[0], documents[1] - documents[1].mean())


def test_bits_per_byte():
    assert bits_per_byte(8 * math.log(2), 4) == pytest.approx(2)
