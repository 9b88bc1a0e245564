"""The three processes: valid under their nulls, powerful against what they are for, exact where a figure is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import multivariate_hypergeom

from bestguess.rolls.evidence import drift, effect, order, uniform
from bestguess.rolls.evidence.counts import Counts
from bestguess.rolls.evidence.effect import Effect, copied, log_e_of_halves, repeat_information, round_up
from bestguess.rolls.evidence.pipeline import Answers
from bestguess.rolls.evidence.uniform import Uniform, looking
from bestguess.rolls.evidence.verdict import evidence, false_alarms, sentence
from bestguess.rolls.evidence.windows import BLOCK, Chunk, chunk_sizes
from tests.rolls.processes import log_e, log_uniform, marginal_of, values_until


@pytest.fixture
def draw():
    return np.random.default_rng(17)


# ------------------------------------------------------------------------------------------------- order


@pytest.mark.parametrize("kind", ["uniform", "two atoms", "slow drift", "deck"])
def test_no_alarm_where_the_past_does_not_help(draw, kind):
    """4 × 12 files at level 1/4: more than 24 alarms have a probability of 10^-4 at that rate."""
    alarms = 0
    for _ in range(12):
        match kind:
            case "uniform":
                values = draw.integers(0, 977, 1500)
            case "two atoms":
                values = draw.choice([3, 65535], 1500, p=[0.7, 0.3])
            case "slow drift":
                values = (draw.random(1500) < np.linspace(0.4, 0.6, 1500)) * 500 + draw.integers(0, 500, 1500)
            case "deck":
                values = np.concatenate([draw.permutation(1500)])
        alarms += log_e(values).max() >= math.log(4)
    assert alarms <= 6


def test_the_mean_of_each_component_is_1_under_the_null(draw):
    """Over 4,000 shuffles of one block. Of large stakes the mean lies in events too rare to be drawn: left out."""
    values = draw.choice(40, 32 + 64).astype(np.uint16)
    windows = np.tile(values[:, None], 4000)
    windows[32:] = draw.permuted(windows[32:], axis=0)
    marginal, seen = marginal_of(values), 0
    for families in order.PARTS:
        for one in order.Part(families, marginal).predictors:
            logs = np.array(one.log_factors(Chunk(windows, 32)))
            e = np.exp(logs[(logs.std(axis=1) > 1e-6) & (logs.std(axis=1) < 0.3)])
            assert (np.abs(e.mean(axis=1) - 1) < 5.5 * e.std(axis=1) / 4000**0.5).all()
            seen += len(e)
    assert seen > 100


def test_a_constant_file_is_worth_exactly_nothing():
    assert (log_e(np.full(3000, 7)) == 0).all()


def test_a_repeat_three_steps_later_is_found_within_1000_values(draw):
    for _ in range(3):
        values = copied_from(draw, draw.integers(0, 977, 1000), 3, 0.03)
        assert log_e(values).max() >= math.log(100)


def copied_from(draw, values: np.ndarray, lag: int, fraction: float) -> np.ndarray:
    for t in np.flatnonzero(draw.random(len(values)) < fraction):
        if t >= lag:
            values[t] = values[t - lag]
    return values


def test_what_each_family_is_for(draw):
    """One source for each, found within a number of values that a prototype needed a half of or less."""
    pattern = draw.integers(0, 1000, 307)
    assert values_until(log_e(np.tile(pattern, 7), [("successor",)])) <= 2 * 512
    assert values_until(log_e(copied_from(draw, draw.integers(0, 977, 3000), 32, 0.03), [("repeat",)])) <= 2048
    hidden = np.cumsum(draw.random(6000) < 0.05) % 2
    assert values_until(log_e(hidden * 30 + draw.integers(0, 40, 6000), [("decayed",)])) <= 4096
    halves = copied(draw.integers(0, 2, 6000), draw.random(6000) < 0.2)
    assert values_until(log_e(halves * 32 + draw.integers(0, 32, 6000), [("counts",)])) <= 4096
    never_twice = np.cumsum(draw.integers(1, 20, 3000)) % 20
    assert values_until(log_e(never_twice, [("aversion",)])) <= 1024


def test_parts_are_summed_exactly(draw):
    values = copied_from(draw, draw.integers(0, 90, 2500), 2, 0.02)
    alone = log_e(values, [order.FAMILIES])
    np.testing.assert_allclose(log_e(values), alone, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(log_e(values, [(one,) for one in order.FAMILIES]), alone, rtol=1e-10, atol=1e-12)
    assert alone.max() > 1


def test_huge_evidence_does_not_overflow():
    path = log_e(np.tile([1, 2, 3, 4, 5, 60000], 3000))
    assert np.isfinite(path).all()
    assert path.max() > 2000


def test_the_future_of_the_file_is_not_seen(draw):
    """With the marginal unchanged, other orders later on leave the path so far as it was."""
    values = draw.integers(0, 50, 32 + 20 * BLOCK).astype(np.uint16)
    other = values.copy()
    other[32 + 12 * BLOCK :] = draw.permutation(other[32 + 12 * BLOCK :])
    before, after = log_e(values), log_e(other)
    np.testing.assert_allclose(before[:12], after[:12], rtol=1e-9, atol=1e-12)
    assert not np.allclose(before[12:], after[12:])


# ----------------------------------------------------------------------------------------------- uniform


@pytest.mark.parametrize("n", [34, 100, 1000, 8192, 10**6, 10**9])
def test_the_price_of_having_looked_at_the_range(n):
    """Σ_d (d + 1) c(K − d) (1 − d/K)^n ≤ 1 for ranges of every size."""
    for K in [*range(1, 40), 100, 977, 1024, 10_001, 65_536]:
        d = np.arange(K)
        total = np.sum((d + 1) * np.exp(looking(n, K - d) + n * np.log1p(-d / K)))
        assert total <= 1 + 1e-9


def test_uniform_values_are_told_from_others(draw):
    fair = draw.integers(3, 3 + 977, 20_000)
    assert log_uniform(fair) < math.log(100)
    assert log_uniform(np.full(500, 9)) == 0
    assert log_uniform(np.minimum(draw.integers(0, 977, 20_000), 899)) > math.log(1e6)
    assert log_uniform(np.concatenate([draw.permutation(1000) for _ in range(3)])) > math.log(100)
    assert log_uniform((draw.random(60_000) < 0.52) * 500 + draw.integers(0, 500, 60_000)) > math.log(100)


def test_alarms_on_uniform_values_are_rare(draw):
    alarms = sum(log_uniform(draw.integers(0, K, 3000)) >= math.log(4) for K in (2, 20, 300) for _ in range(20))
    assert alarms <= 15


def test_the_bins_process_by_hand():
    """Three values over a told range of 2: Krichevsky and Trofimov's ½ · ¾ · ⅙ for 0, 0, 1, times 2³."""
    process = Uniform(0, 1, 3, told=True)
    process.add(np.array([0, 0, 1], np.uint16))
    assert process._log_bins() == pytest.approx([math.log(0.5 * 0.75 / 6 * 8)])


def test_bets_on_recent_values_by_hand(draw):
    values = draw.integers(0, 400, 900).astype(np.uint16)
    process = Uniform(0, 399, 900, told=True)
    for first in (0, 100, 350, 777):
        process.add(values[first : {0: 100, 100: 350, 350: 777, 777: 900}[first]])
    expected = 0.0
    for t in range(256, 900):
        recent = set(values[t - 256 : t].tolist())
        expected += math.log1p(-0.9 * (int(values[t]) in recent)) - math.log1p(-0.9 * len(recent) / 400)
    assert process._log_recent[0] == pytest.approx(expected, rel=1e-10)


# ------------------------------------------------------------------------------------------------- drift


def test_drift_is_the_ratio_of_two_laws(draw):
    """One segment by SciPy's laws; over all counts that a segment can have, the mean of e is 1."""
    left, alpha = np.array([4, 3, 2]), np.array([1.3, 0.4, 2.0])
    total = 0.0
    for c in itertools.product(range(5), range(4), range(3)):
        if sum(c) == 4:
            counts = np.array(c)
            hyper = drift._log_hypergeometric(counts, left)
            assert hyper - np.sum([math.lgamma(k + 1) for k in c]) == pytest.approx(
                multivariate_hypergeom.logpmf(c, left, 4)
            )
            total += math.exp(drift._log_dirichlet_multinomial(counts, alpha)) / np.prod([math.factorial(k) for k in c])
    reachable = total
    assert 0 < reachable <= 1 + 1e-9  # some counts of the one law are impossible under the other: E[e] ≤ 1
    free = sum(
        math.exp(drift._log_dirichlet_multinomial(np.array(c), alpha)) / np.prod([math.factorial(k) for k in c])
        for c in itertools.product(range(5), repeat=3)
        if sum(c) == 4
    )
    assert free == pytest.approx(1)


def test_drift_is_found_and_only_drift(draw):
    def counts(p):
        bins = draw.random((256, 1000)) < np.broadcast_to(p, 256)[:, None]
        return np.stack([(~bins).sum(axis=1), bins.sum(axis=1)], axis=1)

    assert drift.log_drift(counts(np.linspace(0.48, 0.52, 256))) > math.log(100)
    assert sum(drift.log_drift(counts(0.5)) >= math.log(4) for _ in range(20)) <= 10
    assert drift.log_drift(np.full((256, 1), 19)) == 0
    assert drift.log_drift(np.array([[3, 4]])) == 0


# ----------------------------------------------------------------------------------------------- effects


def test_halves_all_at_once_are_the_counts_predictor(draw):
    halves = copied(draw.integers(0, 2, 1 + 40 * BLOCK), draw.random(1 + 40 * BLOCK) < 0.1)
    bins = marginal_of(halves).bins(2)
    predictor, found, first = Counts(bins, 1), [], 0
    for size in chunk_sizes(40):
        windows = [halves[BLOCK * b : BLOCK * (b + 1) + 1] for b in range(first, first + size)]
        chunk = Chunk(np.array(windows, np.uint16).T, 1)
        found.append(predictor.log_factors(chunk))
        predictor.learn(chunk)
        first += size
    path = np.logaddexp.reduce(np.cumsum(np.concatenate(found, axis=1), axis=1), axis=0)
    np.testing.assert_allclose(log_e_of_halves(halves, float(bins.mass[1])), path, rtol=1e-9, atol=1e-9)


def test_an_effect_of_the_size_that_is_told_is_found_by_the_whole_test(draw):
    values = draw.integers(0, 500, 6000).astype(np.uint16)
    repeat, halves = effect.smallest_effects(values, marginal_of(values), len(values), 0.01)
    assert (repeat.kind, halves.kind, repeat.how) == ("repeat", "halves", "measured")
    found = [
        log_e(copied(draw.permutation(values), draw.random(6000) < 1.5 * repeat.size)).max() >= math.log(100)
        for _ in range(4)
    ]
    assert sum(found) >= 3
    assert log_e(copied(draw.permutation(values), draw.random(6000) < repeat.size / 20)).max() < math.log(100)


def test_more_values_see_less(draw):
    values = draw.integers(0, 500, 3000).astype(np.uint16)
    sizes = [effect.smallest_effects(values, marginal_of(values), n, 0.01) for n in (3000, 10**6, 10**8)]
    for kind in (0, 1):
        assert sizes[0][kind].size > 10 * sizes[1][kind].size > 50 * sizes[2][kind].size > 0
    assert sizes[2][0].how == "computed"


def test_nothing_can_be_seen_in_a_few_values_or_in_a_constant():
    few = np.array([5, 5, 5, 6] * 10, np.uint16)
    assert effect.smallest_effects(few, marginal_of(few), 40, 1e-9) == []
    same = np.full(1000, 5, np.uint16)
    assert effect.smallest_effects(same, marginal_of(same), 1000, 0.01) == []


@pytest.mark.parametrize(("size", "rounded"), [(0.031, 0.04), (0.03, 0.03), (0.95, 1.0), (1.0, 1.0), (2.1e-7, 3e-7)])
def test_sizes_are_rounded_up_to_a_digit(size, rounded):
    assert round_up(size) == pytest.approx(rounded, rel=1e-12)


def test_information_of_a_repeat():
    p = np.array([0.2, 0.3, 0.5])
    joint = np.array([[p[a] * (0.1 * (a == b) + 0.9 * p[b]) for b in range(3)] for a in range(3)])
    expected = np.sum(joint * np.log2(joint / np.outer(p, p)))
    assert repeat_information(p, 0.1) == pytest.approx(expected, rel=1e-12)
    assert repeat_information(p, 1.0) == pytest.approx(-np.sum(p * np.log2(p)))


# ---------------------------------------------------------------------------------------------- verdicts


def said(order_e: float, uniform_e: float, drift_e: float, effects=(), distinct: int = 9) -> str:
    answers = Answers(float(order_e), float(uniform_e), float(drift_e), 12_345, "lag 3", np.zeros(1))
    return sentence(evidence(answers, list(effects), 0.01), 12_345, distinct)


def test_sentences():
    repeat, halves = Effect("repeat", 0.003, 0.1, "measured"), Effect("halves", 0.05, 0.1, "measured")
    none = "no evidence after 12,345 values; "
    assert said(4.6, 0, 0, [repeat, halves]) == none + "a repeat in 0.3 % would have been seen"
    assert said(0, 0, 0, [halves]) == none + "the same half twice in a row in 52.5 % of cases would have been seen"
    assert said(0, 0, 0) == none + "too few for any repeat to be seen"
    assert said(0, 0, 0, distinct=1) == "no evidence after 12,345 values, which are all the same"
    assert said(math.log(234.5), 0, 9) == "predictable: at most 1 false alarm in 234 (strongest bet: lag 3)"
    assert "values are not equally likely (at most 1 false alarm in 10^8)" in said(0, math.log(3e8), 0)
    assert "not independent and uniform" in said(9, 9, 9)
    assert "equally likely" not in said(9, 9, 9)
    assert "drifts (at most 1 false alarm in 8,103)" in said(0, 0, 9)
    assert "drifts" not in said(9, 0, 9)


def test_the_level_decides():
    answers = Answers(math.log(50), 0.0, 0.0, 9, "", np.zeros(1))
    assert evidence(answers, [], 0.01)["order"]["verdict"] == "no evidence"
    assert evidence(answers, [], 0.03)["order"]["verdict"] == "predictable"
    assert evidence(answers, [], 0.01)["order"]["log10_e"] == pytest.approx(math.log10(50))
    assert false_alarms(2.0) == "1 false alarm in 100"


def test_the_processes_start_at_1():
    assert uniform.Uniform(0, 9, 100, told=False).log_e == 0
