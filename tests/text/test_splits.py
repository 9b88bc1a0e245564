"""Parts that follow from a document's hash alone, and duplicates across parts."""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestguess.text.splits import PARTS, assign, fingerprint, normalised, overlap, repeats

texts = st.text(max_size=12)


@given(text=st.text() | st.sampled_from(["ǰ", "ΐ", "\u1f80\u0323"]))
def test_normalising_twice_is_normalising_once_and_gives_nfc(text):
    assert normalised(normalised(text)) == normalised(text)
    assert unicodedata.is_normalized("NFC", normalised(text))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Cat", " the  cat\n"),
        ("e\u0301te\u0301", "\u00e9t\u00e9"),
        ("Straße", "STRASSE"),
        ("α\u0345\u0301", "\u1fb4"),
        ("a\u00a0b", "a b"),
        (unicodedata.normalize("NFD", "각"), "각"),
    ],
)
def test_what_differs_in_case_space_or_composition_is_nearly_the_same(one, other):
    assert fingerprint(one).nearly == fingerprint(other).nearly
    assert fingerprint(one).verbatim != fingerprint(other).verbatim


@pytest.mark.parametrize(("one", "other"), [("the cat", "the cats"), ("ab", "a b"), ("a.", "a"), ("2²", "22")])
def test_other_texts_are_not(one, other):
    assert fingerprint(one).nearly != fingerprint(other).nearly


def test_fingerprints_are_sha256():
    text = " Ein  Ärgernis"
    assert fingerprint(text).verbatim == hashlib.sha256(text.encode()).hexdigest()
    assert fingerprint(text).nearly == hashlib.sha256("ein ärgernis".encode()).hexdigest()


def keys(n: int) -> list[str]:
    return [fingerprint(f"document {i}").nearly for i in range(n)]


def test_fractions_are_those_that_were_asked_for():
    parts = assign(keys(20_011), 0.07, 0.13)
    share = np.bincount(parts, minlength=3) / len(parts)
    np.testing.assert_allclose(share, [0.8, 0.07, 0.13], atol=4 * np.sqrt(0.25 / len(parts)))
    assert parts.dtype == np.int8


@given(
    old=st.lists(texts, min_size=1, max_size=7), new=st.lists(texts, max_size=5), seed=st.integers(0, 3), data=st.data()
)
def test_adding_documents_and_reordering_them_moves_none(old, new, seed, data):
    before = dict(zip(old, assign(old, 0.3, 0.3, seed).tolist()))
    together = data.draw(st.permutations(old + new))
    after = dict(zip(together, assign(together, 0.3, 0.3, seed).tolist()))
    assert all(after[one] == part for one, part in before.items())


def test_a_larger_test_part_keeps_its_documents_and_another_seed_changes_them():
    test = PARTS.index("test")
    small, large = (assign(keys(997), 0.1, fraction) == test for fraction in (0.1, 0.2))
    assert np.all(large[small])
    assert small.sum() < large.sum()
    assert np.any((assign(keys(997), 0.1, 0.1, seed=1) == test) != small)


def test_no_documents_have_no_parts():
    assert assign([], 0.1, 0.1).shape == (0,)


@given(texts=st.lists(st.sampled_from(["a", "A", "a ", "b", "B b", "b  b"]), max_size=7), others=st.lists(texts))
def test_overlap_is_what_comparing_all_pairs_finds(texts, others):
    others += ["A", "b b"]
    found = overlap([fingerprint(one) for one in texts], [fingerprint(one) for one in others])
    verbatim = [one in others for one in texts]
    nearly = [normalised(one) in map(normalised, others) for one in texts]
    assert found.verbatim.tolist() == verbatim
    assert found.nearly.tolist() == nearly
    assert found.counts() == {"verbatim": sum(verbatim), "nearly": sum(nearly)}


@given(texts=st.lists(st.sampled_from(["a", "A", "a ", "b", "c"]), max_size=9))
def test_repeats_are_what_stood_before(texts):
    found = repeats([fingerprint(one) for one in texts])
    assert found.verbatim.tolist() == [one in texts[:i] for i, one in enumerate(texts)]
    folded = [normalised(one) for one in texts]
    assert found.nearly.tolist() == [one in folded[:i] for i, one in enumerate(folded)]
