"""Where documents are cut, and what of them a model is given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestguess.command import UserError
from bestguess.text import cuts
from bestguess.text.corpora.options import CUTS, TOO_LONG, Cut
from bestguess.text.cuts import CutDocuments, cut_documents, pair_documents, places
from bestguess.text.splits import fingerprint
from bestguess.text.tokenizers import Encoded
from bestguess.text.tokens import EOS, PAD

rows = st.lists(st.integers(0, 13), max_size=8)


def encoded(lengths: list[int], first: int = 5) -> Encoded:
    """Texts of different tokens, each of which stands for 1 to 3 bytes."""
    start = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    tokens = first + np.arange(start[-1], dtype=np.int32)
    return Encoded(tokens, (1 + tokens % 3).astype(np.int32), start)


def keys(n: int) -> list[str]:
    return [fingerprint(str(i)).nearly for i in range(n)]


def as_lists(found: CutDocuments) -> list[tuple[list[int], list[int]]]:
    """(source, target without its EOS) of each pair, after a look at PAD and EOS."""
    pairs = found.pairs
    result = []
    for source, n, target, m in zip(pairs.source, pairs.source_length, pairs.target, pairs.target_length):
        assert np.all(source[:n] > EOS)
        assert np.all(source[n:] == PAD)
        assert target[m - 1] == EOS
        assert np.all(target[: m - 1] > EOS)
        assert np.all(target[m:] == PAD)
        result.append((source[:n].tolist(), target[: m - 1].tolist()))
    assert pairs.source.shape[1] == max(pairs.source_length, default=1)
    assert pairs.target.shape[1] == max(pairs.target_length, default=1)
    return result


def bytes_of(tokens: list[int]) -> int:
    return sum(1 + token % 3 for token in tokens)


@pytest.fixture(autouse=True)
def few_rows_at_a_time(monkeypatch):
    monkeypatch.setattr(cuts, "_ROWS", 3)


@given(lengths=rows, kind=st.sampled_from(CUTS), at=st.integers(1, 5), more=st.integers(0, 4), seed=st.integers(0, 2))
def test_source_and_target_are_the_document(lengths, kind, at, more, seed):
    cut, texts = Cut(kind, at, at + more, seed), encoded(lengths)
    found = cut_documents(texts, keys(len(lengths)), cut, longest=13)
    at = places(cut, texts.length, keys(len(lengths)))
    kept = [i for i, length in enumerate(lengths) if 1 <= at[i] < length]
    assert found.document.tolist() == kept
    for i, (source, target), n_bytes in zip(kept, as_lists(found), found.target_bytes):
        assert source + target == texts.text(i).tolist()
        assert len(source) == at[i]
        assert n_bytes == bytes_of(target)
    skipped = len(lengths) - len(kept)
    assert found.counts == ({"too short, skipped": skipped} if skipped else {})


def test_the_briefs_own_example():
    words = ["The", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"]
    ((source, target),) = as_lists(cut_documents(encoded([9]), keys(1), Cut("midpoint"), 9))
    assert [words[i - 5] for i in source] == ["The", "quick", "brown", "fox"]
    assert [words[i - 5] for i in target] == ["jumps", "over", "the", "lazy", "dog"]


def test_a_midpoint_tells_the_length_and_other_cuts_do_not():
    """The rest of a document cut at its midpoint has as many tokens as its source, or one more."""
    lengths = np.random.default_rng(3).integers(17, 400, 4001)
    documents = keys(len(lengths))
    rest = lengths - places(Cut("midpoint"), lengths, documents)
    assert set(rest - lengths // 2) == {0, 1}
    assert np.all(places(Cut("fixed", 7), lengths, documents) == 7)
    drawn = places(Cut("random", 3, 15), lengths, documents)
    assert np.array_equal(drawn, places(Cut("random", 3, 15), lengths[::-1], documents))
    assert abs(np.corrcoef(drawn, lengths)[0, 1]) < 4 / np.sqrt(len(lengths))


def test_random_places_are_uniform_and_follow_from_the_hash_and_the_seed():
    n = 13_007
    drawn = places(Cut("random", 3, 7), np.full(n, 9), keys(n))
    share = np.bincount(drawn, minlength=9)[3:8] / n
    np.testing.assert_allclose(share, 0.2, atol=4 * np.sqrt(0.16 / n))
    assert drawn.min() == 3
    assert drawn.max() == 7
    assert np.array_equal(places(Cut("random", 3, 7), np.full(n, 9), keys(n)[::-1]), drawn[::-1])
    assert not np.array_equal(places(Cut("random", 3, 7, seed=1), np.full(n, 9), keys(n)), drawn)


# ----------------------------------------------------------------------------------- texts that are too long


def test_a_text_too_long_is_refused_by_name():
    with pytest.raises(UserError) as error:
        cut_documents(encoded([5, 7, 11]), keys(3), Cut(), 6, where=lambda row: f"file.txt, record {row + 1}")
    assert str(error.value) == (
        "--too-long refuse: file.txt, record 2: its text has 7 tokens, the context takes 6, and 2 of 3 are longer; "
        "give --too-long cut, skip or split, or a longer context"
    )


@given(lengths=rows, longest=st.integers(2, 7), too_long=st.sampled_from([one for one in TOO_LONG if one != "refuse"]))
def test_cut_skip_and_split_leave_no_text_longer_than_the_context(lengths, longest, too_long):
    texts = encoded(lengths)
    found = cut_documents(texts, keys(len(lengths)), Cut("fixed", 1), longest, too_long)
    expected = []
    for i in range(len(lengths)):
        tokens = texts.text(i).tolist()
        match too_long:
            case "cut":
                parts = [tokens[:longest]]
            case "skip":
                parts = [tokens] if len(tokens) <= longest else []
            case "split":
                parts = [tokens[j : j + longest] for j in range(0, len(tokens), longest)]
        expected += [(i, part) for part in parts if len(part) > 1]
    got = [(i, a + b) for i, (a, b) in zip(found.document.tolist(), as_lists(found))]
    assert got == expected
    n_long = sum(length > longest for length in lengths)
    done = {"cut": "cut", "skip": "skipped", "split": "split"}[too_long]
    assert found.counts.get(f"text too long, {done}", 0) == n_long


def test_splitting_moves_no_cut_of_the_first_part_and_cuts_the_others_elsewhere():
    documents = keys(401)
    texts = encoded([30] * 401)
    split = cut_documents(texts, documents, Cut("random", 1, 9), 10, "split")
    whole = cut_documents(texts, documents, Cut("random", 1, 9), 30)
    source, document = split.pairs.source_length, split.document
    first = np.concatenate([[True], np.diff(document) > 0])
    assert np.array_equal(source[first], whole.pairs.source_length[np.isin(whole.document, document[first])])
    assert abs(np.corrcoef(source[:-1], source[1:])[0, 1]) < 5 / np.sqrt(len(source))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Cut("middle"), "--cut middle: must be one of midpoint, fixed, random"),
        (lambda: Cut("midpont"), "did you mean midpoint"),
        (lambda: Cut("fixed", 0), "--cut-at 0: must be 1 or more"),
        (lambda: Cut("random", 5, 4), "--cut-to 4: must be --cut-at, 5, or more"),
        (lambda: cut_documents(encoded([3]), keys(1), Cut(), 1), "--context 1: .* give 2 or more"),
        (lambda: cut_documents(encoded([3]), keys(1), Cut(), 5, "drop"), "--too-long drop: must be one of refuse"),
        (lambda: pair_documents(encoded([3]), encoded([3]), 5, 5, "split"), "--too-long split: a source and its"),
    ],
)
def test_bad_values_are_one_line(call, says):
    with pytest.raises(UserError, match=says):
        call()


# ------------------------------------------------------------------------------------------------ given pairs


@given(
    lengths=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 7)), max_size=7),
    longest=st.tuples(st.integers(1, 9), st.integers(1, 5)),
    too_long=st.sampled_from(["cut", "skip"]),
)
def test_sources_stay_with_their_targets(lengths, longest, too_long):
    sources, targets = encoded([a for a, _ in lengths]), encoded([b for _, b in lengths], first=1001)
    found = pair_documents(sources, targets, *longest, too_long)
    expected = []
    for i in range(len(lengths)):
        source, target = sources.text(i).tolist(), targets.text(i).tolist()
        if too_long == "skip" and (len(source) > longest[0] or len(target) > longest[1]):
            continue
        if source and target:
            expected.append((i, source[: longest[0]], target[: longest[1]]))
    assert [(i, a, b) for i, (a, b) in zip(found.document.tolist(), as_lists(found))] == expected
    assert found.target_bytes.tolist() == [bytes_of(target) for _, _, target in expected]
    altered = sum(count for what, count in found.counts.items() if "too long" in what)
    assert altered == sum(a > longest[0] for a, _ in lengths) + sum(b > longest[1] for _, b in lengths)


@pytest.mark.parametrize(
    ("longest", "says"),
    [((4, 9), "its source has 5 tokens.* --too-long cut or skip, or"), ((9, 2), "its target has 3 tokens")],
)
def test_a_source_or_a_target_too_long_is_refused(longest, says):
    with pytest.raises(UserError, match=says):
        pair_documents(encoded([2, 5]), encoded([2, 3]), *longest)


def test_sources_without_targets_are_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="2 sources for 1 targets"):
        pair_documents(encoded([2, 3]), encoded([2]), 9, 9)
