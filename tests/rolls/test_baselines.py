"""Baselines are code lengths, and near the floor where they can be."""

from __future__ import annotations

import itertools
import lzma
import math
import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestguess.rolls import baselines as module
from bestguess.rolls.baselines import baselines, bins_of, context_bits, marginal, repeat_bits
from bestguess.rolls.sources import source_from


def halves_of(text: str, n: int) -> tuple[np.ndarray, np.ndarray, float]:
    source = source_from(text, 3)
    values = source.draw(source.start(), 2 * n)[0]
    return values[:n], values[n:], source.floor().bits


def by_name(train: np.ndarray, test: np.ndarray, classes: int) -> dict:
    return {one.name: one for one in baselines(train, test, classes)}


def test_on_independent_values_the_floor_plus_the_cost_of_learning():
    n, classes = 60_000, 31
    train, test, floor = halves_of(f"iid alphabet={classes} law=zipf", n)
    found = by_name(train, test, classes)
    p = source_from(f"iid alphabet={classes} law=zipf", 3).law_p
    deviation = math.sqrt(p @ np.log2(p) ** 2 - floor**2) / math.sqrt(n)
    cost = (classes - 1) / (2 * n * math.log(2))
    assert abs(found["marginal"].bits_per_value - floor) < 2 * cost + 4 * deviation
    # Beside the entropy of the values drawn the sampling noise is gone.
    drawn = -np.log2(p[test]).mean()
    assert 0 < found["marginal"].bits_per_value - drawn < 3 * cost
    assert abs(found["contexts"].bits_per_value - drawn) < 2 * cost + 2 * math.log2(22) / n
    assert found["marginal"].top1 == np.mean(test == 0)
    assert found["repeat"].bits_per_value == pytest.approx(found["marginal"].bits_per_value, abs=1e-3)
    assert f"{cost:.2g} bits" in found["marginal"].note
    for tool in ("xz", "bz2", "zlib"):
        assert found[tool].bits_per_value > floor - 4 * deviation


@pytest.mark.parametrize(("order", "alphabet"), [(1, 17), (2, 5), (3, 3)])
def test_on_a_markov_chain_the_mixture_is_near_the_floor(order, alphabet):
    train, test, _ = halves_of(f"markov alphabet={alphabet} order={order}", 50_000)
    source = source_from(f"markov alphabet={alphabet} order={order}", 3)
    drawn = -source.log_p(test, 50_000, train).mean() / math.log(2)
    found = by_name(train, test, alphabet)
    assert -0.001 < found["contexts"].bits_per_value - drawn < 0.015
    assert found["marginal"].bits_per_value > drawn + 0.15


def test_large_alphabets_are_seen_as_values_and_in_bins():
    train, test, _ = halves_of("periodic alphabet=1000 period=997", 5_000)
    found = by_name(train, test, 1000)
    assert found["contexts"].bits_per_value < 0.01
    assert "contexts of bins" in found
    assert "contexts of bins" not in by_name(train % 256, test % 256, 256)
    # Each value is too rare for a context of its own; its bin tells the half.
    train, test, _ = halves_of("halves alphabet=30000 epsilon=.9", 20_000)
    found = by_name(train, test, 30_000)
    assert found["contexts of bins"].bits_per_value < found["contexts"].bits_per_value - 0.1


def test_repeats():
    draw = np.random.default_rng(0)
    values = draw.integers(0, 50, 20_000).astype(np.uint16)
    for i in np.flatnonzero(draw.random(20_000) < 0.25):
        values[i] = values[i - 1]
    rate, bits = repeat_bits(values[:10_000], values[10_000:], marginal(values[:10_000], 50))
    assert rate == 0.25
    floor = -0.745 * math.log2(0.75 / 50) - 0.255 * math.log2(0.25 + 0.75 / 50)
    assert bits.mean() == pytest.approx(floor, abs=0.1)
    top1 = by_name(values[:10_000], values[10_000:], 50)["repeat"].top1
    assert top1 == np.mean(values[10_000:] == values[9_999:-1])


@given(data=st.data(), classes=st.integers(1, 7), n=st.integers(1, 40), m=st.integers(1, 12), wide=st.booleans())
@settings(deadline=None, max_examples=40)
def test_every_baseline_is_a_code(data, classes, n, m, wide):
    """The probabilities of all continuations by one value add up to 1, and no later value matters."""
    draw = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    values = draw.integers(0, classes, n + m).astype(np.uint16)
    if draw.random() < 0.5:
        values = np.resize(values[:3], n + m)
    train, test = values[:n], values[n:]
    bins = np.arange(classes) // 2 if wide else np.arange(classes)
    p = marginal(train, classes)
    assert p.sum() == pytest.approx(1)
    totals = np.zeros(2)
    for last in range(classes):
        line = test.copy()
        line[-1] = last
        totals += 2.0 ** -np.array([context_bits(train, line, bins)[-1], repeat_bits(train, line, p)[1][-1]])
        np.testing.assert_allclose(context_bits(train, line, bins)[:-1], context_bits(train, test, bins)[:-1])
    np.testing.assert_allclose(totals, 1, rtol=1e-9)


def test_the_mixture_beside_its_definition():
    """All 22 models one value at a time, from dictionaries of counts."""
    draw = np.random.default_rng(5)
    train, test = draw.integers(0, 3, 41).astype(np.uint16), draw.integers(0, 3, 23).astype(np.uint16)
    line = [*train.tolist(), *test.tolist()]
    weights, expected = np.full(22, 1 / 22), []
    for i, value in enumerate(line):
        seen = []  # by order: the values that followed the same context so far
        for order in range(4):
            padded = [None] * order + line
            context = padded[i : i + order]
            seen.append([line[j] for j in range(i) if padded[j : j + order] == context])
        lowest = (seen[0].count(value) + 0.5) / (len(seen[0]) + 1.5)
        models = [lowest]
        for strength, per in [*itertools.product((0.25, 2, 16, 128, 1024), [0]), (0.25, 1), (1, 1)]:
            p = lowest
            for past in seen[1:]:
                s = strength * (max(1, len(set(past))) if per else 1)
                p = (past.count(value) + s * p) / (len(past) + s)
                models.append(p)
        if i >= len(train) - len(train) // 4:
            joint = weights * np.array(models)
            weights = joint / joint.sum()
            if i >= len(train):
                expected.append(-math.log2(joint.sum()))
    np.testing.assert_allclose(context_bits(train, test, np.arange(3)), expected, rtol=1e-9)


def test_the_chunks_do_not_show(monkeypatch):
    train, test, _ = halves_of("hmm alphabet=9", 700)
    whole = context_bits(train, test, np.arange(9))
    monkeypatch.setattr(module, "_CHUNK", 61)
    np.testing.assert_allclose(context_bits(train, test, np.arange(9)), whole, rtol=1e-9)


def test_bins_are_quantiles_in_order():
    for p in (np.full(10_000, 1e-4), marginal(np.arange(5_000, dtype=np.uint16) ** 2 % 4_999, 5_000)):
        bins = bins_of(p)
        assert (np.diff(bins) >= 0).all()
        assert set(bins.tolist()) == set(range(bins[-1] + 1))
        assert 200 <= bins[-1] < 256
        assert np.bincount(bins, p).max() < 2 / 256 + p.max()


def test_compressors_take_the_test_part_alone(monkeypatch):
    test = np.arange(3_000, dtype=np.uint16) % 300
    assert by_name(test[:9], test, 300)["xz"].bits_per_value == 8 * len(lzma.compress(test.tobytes())) / 3_000
    small = test % 200
    assert by_name(small[:9], small, 200)["xz"].bits_per_value == 8 * len(lzma.compress(bytes(small.tolist()))) / 3_000
    # zstd where there is one: a stand-in tells which.
    later = types.ModuleType("compression.zstd")
    later.compress = lambda data, level: b"x" * level
    monkeypatch.setitem(sys.modules, "compression", types.ModuleType("compression"))
    monkeypatch.setitem(sys.modules, "compression.zstd", later)
    assert by_name(test[:9], test, 300)["zstd"].bits_per_value == 8 * 19 / 3_000
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert "zstd" not in by_name(test[:9], test, 300)


def test_what_is_refused_and_how_much_is_used(monkeypatch):
    values = np.arange(5, dtype=np.uint16)
    for train, test in ((values[:0], values), (values, values[:0])):
        with pytest.raises(ValueError, match="at least one value"):
            baselines(train, test, 5)
    with pytest.raises(ValueError, match="4 is not one of 4 values"):
        baselines(values[:2], values, 4)
    line = np.random.default_rng(1).integers(0, 5, 300).astype(np.uint16)
    monkeypatch.setattr(module, "MOST", 100)
    assert baselines(line[:200], line[100:], 5) == baselines(line[100:200], line[100:200], 5)
