"""Blocks, their order and their shuffle: every value once, whatever the chunks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestguess.rolls.counter import fractions, words
from bestguess.rolls.evidence.windows import (
    BLOCK,
    CONTEXT,
    Marginal,
    chunk_sizes,
    chunks,
    parts,
    runs_of,
    shuffled,
)


def reader(values):
    return lambda start, stop: values[start:stop]


@pytest.mark.parametrize("n", [34, 287, 288, 289, 290, 32 + 256 * 5, 32 + 256 * 5 + 1, 40_007])
def test_the_blocks_of_a_file_are_all_its_values_in_order(n):
    values = (np.arange(n) % 65521).astype(np.uint16)
    found = list(chunks(reader(values), runs_of(n), n))
    after = np.concatenate([chunk.block.T.ravel() for chunk in found])
    rest = (n - CONTEXT) % BLOCK
    np.testing.assert_array_equal(after, values[CONTEXT : n - (rest if rest == 1 else 0)])
    for chunk in found:
        for block, lagged in zip(chunk.block.T, chunk.lagged(5).T):
            first = int(np.flatnonzero(values == block[0])[0])
            np.testing.assert_array_equal(lagged, values[first - 5 : first - 5 + len(block)])


def test_what_is_learnt_is_frozen_for_an_eighth_at_most():
    sizes = list(chunk_sizes(5000))
    assert sum(sizes) == 5000
    assert max(sizes) == 256
    seen = np.cumsum([0, *sizes[:-1]])
    assert all(size <= max(1, before // 8) for size, before in zip(sizes, seen))


def test_runs_have_the_values_before_them_and_touch_no_other():
    n = CONTEXT + BLOCK * 10 + 9
    values = np.arange(n).astype(np.uint16)
    read: set[int] = set()

    def watched(start, stop):
        read.update(range(start, stop))
        return values[start:stop]

    runs = [(1, 2), (3, 1), (6, 2), (9, 1)]
    blocks = np.concatenate([chunk.block.T.ravel() for chunk in chunks(watched, runs, n)])
    expected = [CONTEXT + BLOCK * b + i for b in (1, 2, 3, 6, 7, 9) for i in range(BLOCK)]
    np.testing.assert_array_equal(blocks, [*expected, *range(n - 9, n)])
    touched = [i for start, stop in parts(runs, n) for i in range(start, stop)]
    assert len(touched) == len(set(touched))
    assert set(touched) == read


@given(n=st.integers(34, 1500), start=st.integers(0, 1499), size=st.integers(0, 700), seed=st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_a_shuffle_keeps_each_block_s_values_and_reads_alike_at_any_place(n, start, size, seed):
    values = np.random.default_rng(n).permutation(n).astype(np.uint16)
    read = shuffled(reader(values), n, seed)
    whole = read(0, n)
    stop = min(n, start + size)
    if start <= stop:
        np.testing.assert_array_equal(read(start, stop), whole[start:stop])
    np.testing.assert_array_equal(whole[:CONTEXT], values[:CONTEXT])
    for first in range(CONTEXT, n, BLOCK):
        block, old = whole[first : first + BLOCK], values[first : first + BLOCK]
        np.testing.assert_array_equal(np.sort(block), np.sort(old))
        assert len(block) < 9 or not np.array_equal(block, old)


def test_another_seed_is_another_shuffle():
    values = np.arange(900).astype(np.uint16)
    assert not np.array_equal(shuffled(reader(values), 900, 1)(0, 900), shuffled(reader(values), 900, 2)(0, 900))


@given(counts=st.lists(st.integers(0, 50), min_size=1, max_size=40).filter(any), most=st.sampled_from([2, 3, 16, 256]))
def test_bins(counts, most):
    marginal = Marginal(np.pad(counts, (3, 65536 - 3 - len(counts))))
    bins = marginal.bins(most)
    total = sum(counts)
    present = np.flatnonzero(marginal.counts)
    assert 1 <= len(bins) <= most
    assert (np.diff(bins.of_value[present]) >= 0).all()
    mass = np.bincount(bins.of_value[present], marginal.counts[present], len(bins)) / total
    np.testing.assert_allclose(bins.mass, mass)
    assert (bins.mass > 0).all()
    if len(present) <= most:
        assert len(bins) == len(present)
    np.testing.assert_allclose(marginal.inverse[present] * marginal.counts[present], total)


def test_two_bins_of_equal_values_are_halves():
    assert Marginal(np.pad(np.full(64, 7), (0, 65536 - 64))).bins(2).of_value[:64].tolist() == [0] * 32 + [1] * 32


@given(start=st.integers(0, 10**12), count=st.integers(0, 100), skip=st.integers(0, 99))
def test_words_are_the_same_wherever_one_starts(start, count, skip):
    whole = words(7, 3, start, count)
    assert whole.dtype == np.uint32
    np.testing.assert_array_equal(words(7, 3, start + skip, count - skip) if skip <= count else [], whole[skip:])


def test_words_are_uniform_and_streams_differ():
    u = fractions(0, 0, 5, 100_000)
    assert abs(u.mean() - 0.5) < 5 * (1 / 12 / 1e5) ** 0.5
    assert 0 <= u.min() < u.max() < 1
    for seed, stream in ((1, 0), (0, 1)):
        v = fractions(seed, stream, 5, 100_000)
        assert abs(np.corrcoef(u, v)[0, 1]) < 5 / 1e5**0.5
