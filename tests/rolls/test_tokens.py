"""Tokens: partitions of the values, fitted on the training part alone, whose probabilities sum to one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestguess.rolls.config import RAW, RollsTaskConfig
from bestguess.rolls.task import task_of
from bestguess.rolls.tokens import fit_tokens
from tests.rolls.tiny import tiny, write

KINDS = ("auto", "raw", "adaptive", "uniform", "bits", "digits")
kinds = st.sampled_from(KINDS)
some_counts = st.lists(st.one_of(st.just(0), st.integers(0, 50)), min_size=1, max_size=60).filter(any)


def fitted(counts, kind: str = "auto", vocab: int = 8):
    return fit_tokens(np.asarray(counts, np.int64), RollsTaskConfig(tokens=kind, vocab=vocab))


@settings(deadline=None)
@given(some_counts, kinds, st.integers(2, 20))
def test_tokens_are_a_partition_and_a_distribution(counts, kind, vocab):
    tokens, K = fitted(counts, kind, vocab), len(counts)
    assert tokens.values == K
    assert tokens.of_value.shape == (K,)
    used = sorted(set(tokens.of_value.tolist()))
    if kind != "adaptive":
        assert used == list(range(tokens.vocab))  # every bin has a value
    else:  # as many bins for any counts, so that files of several seeds train as one program; the last may be empty
        assert used == list(range(len(used)))
        assert tokens.vocab == min(vocab, K)
        assert (np.exp(tokens.log_p0[len(used) :]) < 1e-20).all()
    if kind in ("adaptive", "uniform"):
        assert tokens.vocab <= vocab
        assert (np.diff(tokens.of_value) >= 0).all()
    if kind in ("bits", "digits"):
        assert tokens.vocab == K
    assert np.exp(tokens.log_p0).sum() == pytest.approx(1)
    assert np.exp(tokens.log_marginal).sum() == pytest.approx(1)
    within = np.bincount(tokens.of_value, np.exp(tokens.log_within))
    np.testing.assert_allclose(within, 1)
    assert np.isfinite(tokens.log_marginal).all()  # of values that training lacks, too


@settings(deadline=None)
@given(some_counts, kinds)
def test_the_most_probable_value_of_each_bin(counts, kind):
    tokens = fitted(counts, kind)
    for b, best in enumerate(tokens.best_in_bin[: 1 + tokens.of_value.max()]):
        own = np.flatnonzero(tokens.of_value == b)
        assert best in own
        assert tokens.log_within[best] == tokens.log_within[own].max()


def test_the_marginal_by_hand():
    """Half a count for each bin, shared by its values."""
    tokens = fitted([3, 0, 1], "raw")
    np.testing.assert_allclose(np.exp(tokens.log_marginal), np.asarray([3.5, 0.5, 1.5]) / 5.5)
    np.testing.assert_array_equal(tokens.log_within, 0)
    tokens = fitted([6, 2, 0, 4], "uniform", vocab=2)
    assert tokens.of_value.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(np.exp(tokens.log_p0), np.asarray([8.5, 4.5]) / 13)
    np.testing.assert_allclose(np.exp(tokens.log_within), [6.25 / 8.5, 2.25 / 8.5, 0.25 / 4.5, 4.25 / 4.5])


def test_adaptive_bins_have_about_equal_mass():
    draw = np.random.default_rng(0)
    values = np.minimum(draw.exponential(900, 200_000).astype(int), 9_999)
    tokens = fitted(np.bincount(values, minlength=10_000), "adaptive", vocab=64)
    assert tokens.vocab == 64
    mass = np.bincount(tokens.of_value[values]) / len(values)
    assert np.abs(mass * 64 - 1).max() < 0.15
    even = fitted(np.bincount(values, minlength=10_000), "uniform", vocab=64)
    mass = np.bincount(even.of_value[values], minlength=64) / len(values)
    assert mass.max() > 5 / 64  # bins of equal width are far from that
    assert np.ptp(np.bincount(even.of_value)) <= 1


def test_a_value_of_great_mass_has_a_bin_for_itself():
    counts = np.ones(100, np.int64)
    counts[40] = 10_000
    tokens = fitted(counts, "adaptive", vocab=16)
    assert (tokens.of_value == tokens.of_value[40]).sum() < 5


def test_values_that_training_lacks_join_the_nearest_below():
    tokens = fitted([0, 5, 0, 0, 5, 0, 5, 0], "adaptive", vocab=3)
    assert tokens.of_value.tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert fitted([0, 5, 0, 0, 5, 0, 5, 0], "adaptive", vocab=3).best_in_bin.tolist() == [1, 4, 6]


def test_few_values_in_a_wide_range_are_tokens_as_they_are():
    counts = np.zeros(1 << 16, np.int64)
    counts[::100] = 7
    tokens = fitted(counts)
    assert (tokens.kind, tokens.vocab) == ("raw", np.count_nonzero(counts))
    np.testing.assert_array_equal(tokens.best_in_bin, np.arange(0, 1 << 16, 100))
    assert fitted(counts, "raw").vocab == tokens.vocab


@pytest.mark.parametrize(("distinct", "kind"), [(RAW, "raw"), (RAW + 1, "adaptive")])
def test_auto_takes_bins_above_1024_values(distinct, kind):
    assert fitted(np.ones(distinct, np.int64)).kind == kind


def test_raw_tokens_of_all_values_where_asked_for():
    assert fitted(np.ones(1 << 16, np.int64), "raw").vocab == 1 << 16
    assert fitted(np.ones(1 << 16, np.int64), "bits").bits == 16
    assert fitted(np.ones(1 << 16, np.int64), "digits").base == 256


@settings(deadline=None)
@given(st.integers(1, 3000))
def test_digits_and_bits_hold_every_value(K):
    tokens = fitted(np.ones(K, np.int64), "digits")
    assert tokens.base**2 >= K
    assert (tokens.base - 1) ** 2 < K or tokens.base == 2
    assert 1 << tokens.bits >= K


def test_tokens_are_fitted_on_the_training_part_alone(tmp_path):
    draw = np.random.default_rng(0)
    values = draw.integers(0, 5000, 4000)
    found = []
    for rest in (values[3600:], draw.integers(0, 100, 400)):
        path = write(tmp_path / f"{len(found)}.u16", [*values[:3600], *rest[:-1], 4999])
        about = task_of(tiny(task={"u16_path": str(path), "vocab": 32})).about
        assert about.split.training[1] <= 3600
        found.append(about.tokens)
    for name in ("of_value", "log_within", "log_p0"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))
    assert found[0].edges == found[1].edges
    assert len(found[0].edges or []) == 31


def test_max_samples_is_all_that_tokens_see():
    config = tiny(task={"max_samples": 200})
    about = task_of(config).about
    assert about.rolls.counts.sum() == 201
    assert about.split.training == (0, 201)
    whole = task_of(dataclasses.replace(config, task=dataclasses.replace(config.task, max_samples=None))).about
    assert whole.split.test == about.split.test


def test_the_marginal_s_bits_on_counted_values():
    tokens = fit_tokens(np.array([5, 0, 3, 1]), RollsTaskConfig(tokens="raw"))
    p = (np.array([5, 0, 3, 1]) + 0.5) / 11
    expected = -(2 * np.log2(p[0]) + np.log2(p[1])) / 3
    assert tokens.marginal_bits(np.array([2, 1, 0, 0])) == pytest.approx(expected)
