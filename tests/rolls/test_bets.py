"""Bets are valid (their factors have mean 1 over all orders), right (beside brute force) and see no future."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestguess.rolls.evidence import bets, order
from bestguess.rolls.evidence.bets import Aversion, Predictor, Repeat, Successor, log_product
from bestguess.rolls.evidence.counts import Counts, Decayed
from bestguess.rolls.evidence.windows import CONTEXT, Chunk, Marginal, later

C = 3


def marginal_of(*arrays: np.ndarray) -> Marginal:
    return Marginal(np.bincount(np.concatenate([a.ravel() for a in arrays]), minlength=1 << 16))


def predictors(marginal: Marginal) -> dict[str, Predictor]:
    return {
        "repeat": Repeat(marginal, lags=C),
        "aversion": Aversion(),
        **{f"successor {k}": Successor(marginal, k) for k in (1, 2, 3)},
        **{f"counts {b} {k}": Counts(marginal.bins(b), k) for b in (2, 3, 256) for k in (1, 2)},
        **{f"decayed {b}": Decayed(marginal.bins(b)) for b in (1, 2, 256)},
    }


NAMES = list(predictors(Marginal(np.eye(1, 1 << 16, 5, dtype=int)[0])))


def taught(name: str, alphabet: list[int], context: np.ndarray, seed: int, blocks: tuple[np.ndarray, ...]) -> Predictor:
    """A predictor that has learnt from some random blocks of the same alphabet."""
    lesson = np.random.default_rng(seed).choice(alphabet, (C + 7, 11)).astype(np.uint16)
    marginal = marginal_of(lesson, context, *blocks)
    predictor = predictors(marginal)[name]
    predictor.learn(Chunk(lesson, C))
    return predictor


def orders(context: list[int], multiset: list[int]) -> Chunk:
    """Every order of a block's values as a block of its own, after the same context."""
    return Chunk(np.array([[*context, *order] for order in itertools.permutations(multiset)], np.uint16).T, C)


small = st.lists(st.sampled_from([0, 1, 2, 700, 65535]), min_size=1, max_size=3, unique=True).flatmap(
    lambda alphabet: st.tuples(
        st.just(alphabet),
        st.lists(st.sampled_from(alphabet), min_size=C, max_size=C),
        st.lists(st.sampled_from(alphabet), min_size=5, max_size=5),
        st.integers(0, 99),
    )
)


@pytest.mark.parametrize("name", NAMES)
@given(case=small)
@settings(max_examples=15, deadline=None)
def test_the_mean_over_all_orders_is_1_at_every_step(name, case):
    """E[f_i | past, multiset] = 1: over all orders that begin alike, the mean of the next factor is 1."""
    alphabet, context, multiset, seed = case
    chunk = orders(context, multiset)
    predictor = taught(name, alphabet, np.array(context), seed, (chunk.block,))
    factors = list(predictor.factors(chunk))
    assert len(factors) == predictor.components == len(predictor.names())
    for f in factors:
        assert np.prod(f, axis=0).mean() == pytest.approx(1, abs=1e-12)
        for i in range(len(multiset)):
            groups: dict[tuple[int, ...], list[float]] = {}
            for past, factor in zip(chunk.block[:i].T, f[i]):
                groups.setdefault(tuple(past), []).append(factor)
            for group in groups.values():
                assert np.mean(group) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
@given(case=small)
@settings(max_examples=10, deadline=None)
def test_the_sum_of_logarithms_is_the_product_of_factors(name, case):
    alphabet, context, multiset, seed = case
    chunk = orders(context, multiset)
    predictor = taught(name, alphabet, np.array(context), seed, (chunk.block,))
    product = [np.prod(f, axis=0) for f in predictor.factors(chunk)]
    np.testing.assert_allclose(np.exp(predictor.log_factors(chunk)), product, rtol=1e-11)


def test_few_and_many_equal_values_give_the_same_sums(monkeypatch):
    """The path over what is above 0 alone, and the path over everything."""
    draw = np.random.default_rng(0)
    chunk = Chunk(draw.integers(0, 40, (C + 31, 7)).astype(np.uint16), C)
    found = []
    for thin in (0.0, 1.0):
        monkeypatch.setattr(bets, "_THIN", thin)
        found.append(Repeat(marginal_of(chunk.window), lags=C).log_factors(chunk))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12, atol=1e-14)
    assert np.abs(found[0]).max() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_no_factor_sees_the_order_of_the_future(name):
    draw = np.random.default_rng(3)
    window = draw.integers(0, 9, (C + 13, 5)).astype(np.uint16)
    later_values = window.copy()
    cut = C + 6
    later_values[cut:] = draw.permuted(window[cut:], axis=0)
    assert not np.array_equal(window, later_values)
    found = []
    for values in (window, later_values):
        predictor = taught(name, list(range(9)), values[:C], 1, (values,))
        found.append(np.array(list(predictor.factors(Chunk(values, C)))))
    np.testing.assert_allclose(found[0][:, :6], found[1][:, :6], rtol=1e-12)
    if name != "decayed 1":
        assert not np.allclose(found[0][:, 6:], found[1][:, 6:], rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_no_factor_sees_other_blocks_than_it_was_taught(name):
    draw = np.random.default_rng(4)
    window = draw.integers(0, 9, (C + 13, 5)).astype(np.uint16)
    predictor = taught(name, list(range(9)), window[:C], 1, (window,))
    together = np.array(list(predictor.factors(Chunk(window, C))))
    alone = np.array(list(predictor.factors(Chunk(window[:, 2:3].copy(), C))))
    np.testing.assert_allclose(together[:, :, 2:3], alone, rtol=1e-12)


# --------------------------------------------------------------------------------- beside brute force


def by_hand(lift, window: np.ndarray) -> np.ndarray:
    """f of one block from a function (past, value) → λ, with the mean taken over what is to come."""
    window = window.tolist()
    found = []
    for t in range(C, len(window)):
        past, rest = window[:t], window[t:]
        found.append(lift(past, window[t]) / np.mean([lift(past, u) for u in rest]))
    return np.array(found)


@pytest.fixture
def block() -> np.ndarray:
    return np.random.default_rng(8).choice([2, 5, 5, 11, 900], C + 17).astype(np.uint16)


@pytest.fixture
def p0(block) -> dict[int, float]:
    values, counts = np.unique(block, return_counts=True)
    return dict(zip(values.tolist(), (counts / counts.sum()).tolist()))


def test_repeat_by_hand(block, p0):
    factors = iter(Repeat(marginal_of(block), lags=C).factors(Chunk(block[:, None], C)))
    for lag in range(1, C + 1):
        for rate in bets.RATES:
            expected = by_hand(lambda past, u: 1 + rate / p0[u] * (u == past[-lag]), block)  # noqa: B023
            np.testing.assert_allclose(next(factors)[:, 0], expected, rtol=1e-12)
    assert next(factors, None) is None


def test_aversion_by_hand(block):
    factors = iter(Aversion().factors(Chunk(block[:, None], C)))
    for sees in (lambda past, u: u == past[-1], lambda past, u: u in past):
        for a in bets.AVERSIONS:
            expected = by_hand(lambda past, u: 1 + a * sees(past, u), block)  # noqa: B023
            np.testing.assert_allclose(next(factors)[:, 0], expected, rtol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_successor_by_hand(block, p0, k):
    predictor = Successor(marginal_of(block), k)
    lesson = np.tile(block[: C + 5, None], 3)
    lesson[:, 1:] = np.random.default_rng(k).permuted(lesson[:, 1:], axis=0)
    predictor.learn(Chunk(lesson, C))
    known: dict[tuple[int, ...], int] = {}
    for one in lesson.T.tolist():
        for t in range(C, len(one)):
            known[tuple(one[t - k : t])] = one[t]
    factors = list(predictor.factors(Chunk(block[:, None], C)))
    for rate, f in zip(bets.RATES, factors):
        expected = by_hand(
            lambda past, u: 1 + rate / p0[u] * (u == known.get(tuple(past[-k:]))),  # noqa: B023
            block,
        )
        np.testing.assert_allclose(f[:, 0], expected, rtol=1e-12)
    assert np.abs(factors[0] - 1).max() > 0.1


@pytest.mark.parametrize("most", [2, 3, 256])
@pytest.mark.parametrize("k", [1, 2])
def test_counts_by_hand(block, most, k):
    bins = marginal_of(block).bins(most)
    predictor = Counts(bins, k)
    lesson = np.random.default_rng(k).choice(block, (C + 9, 4))
    predictor.learn(Chunk(lesson, C))
    b = bins.of_value
    seen = [(tuple(b[one[t - k : t]]), b[one[t]]) for one in lesson.T for t in range(C, len(one))]

    def lift(past, u):
        context = tuple(b[past[-k:]])
        total = sum(c == context for c, _ in seen)
        count = seen.count((context, b[u]))
        return (count / bins.mass[b[u]] + len(bins) / 2) / (total + len(bins) / 2)

    for w, f in zip((1, 0.5, 0.125, 0.03125, 0.0078125), predictor.factors(Chunk(block[:, None], C))):
        expected = by_hand(lambda past, u: (1 - w) + w * lift(past, u), block)  # noqa: B023
        np.testing.assert_allclose(f[:, 0], expected, rtol=1e-12)


@pytest.mark.parametrize("most", [2, 256])
def test_decayed_counts_by_hand(block, most):
    bins = marginal_of(block).bins(most)
    b = bins.of_value
    factors = iter(Decayed(bins).factors(Chunk(block[:, None], C)))
    for g in (15 / 16, 63 / 64):
        for w in (1, 0.5, 0.125, 0.03125, 0.0078125):

            def lift(past, u):
                ages = g ** np.arange(len(past), 0, -1)  # noqa: B023
                count = ages[b[past] == b[u]].sum()
                return (count / bins.mass[b[u]] + 8) / (ages.sum() + 8)

            expected = by_hand(lambda past, u: (1 - w) + w * lift(past, u), block)  # noqa: B023
            np.testing.assert_allclose(next(factors)[:, 0], expected, rtol=1e-12)
    assert next(factors, None) is None


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_later_counts(data):
    draw = np.random.default_rng(data.draw(st.integers(0, 999)))
    B, blocks, asked = (data.draw(st.integers(1, n)) for n in (13, 5, 17))
    block = draw.choice([0, 1, 2, 65535], (B, blocks)).astype(np.uint16)
    queries = draw.choice([0, 1, 3, 65535], (asked, blocks)).astype(np.uint16)
    start = draw.integers(0, B + 1, asked)
    expected = [[(block[s:, j] == q).sum() for j, q in enumerate(row)] for s, row in zip(start, queries)]
    np.testing.assert_array_equal(later(block, queries, start), expected)


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 31, 255, 256, 257])
def test_log_product(length):
    f = np.random.default_rng(length).uniform(0.1, 9, (length, 3))
    np.testing.assert_allclose(log_product(f), np.log(f).sum(axis=0), rtol=1e-12)
    assert (log_product(np.ones((length, 3))) == 0).all()


def test_no_product_overflows():
    """The rarest value of a file of 10^10 values, hit at every step."""
    assert np.isfinite(log_product(np.full((256, 1), 2e10))).all()


def test_all_families_together_have_weight_1():
    marginal = marginal_of(np.arange(1000, dtype=np.uint16))
    parts = [order.Part(families, marginal) for families in order.PARTS]
    assert sum(part.weight.sum() for part in parts) == pytest.approx(1, abs=1e-12)
    assert sorted(name for families in order.PARTS for name in families) == sorted(order.FAMILIES)
    for part in parts:
        assert len(part.weight) == sum(one.components for one in part.predictors)
    assert CONTEXT >= bets.LAGS
