"""Naive rules alarm on independent values far more often than their level: the figures that `rolls audit` quotes."""

from __future__ import annotations

import functools

import numpy as np
import pytest

K, N, FILES = 256, 8192, 1000
LEVEL, CRITICAL = 0.01, 2.3263  # one-sided
LAGS, LOOKS = 20, 100


def z(hits: np.ndarray, n: np.ndarray | int) -> np.ndarray:
    """The z statistic of top-1 accuracy at n guesses; chance is 1/K."""
    return (hits - n / K) / np.sqrt(n / K * (1 - 1 / K))


@functools.cache
def rates() -> dict[str, float]:
    """Fraction of uniform files in which each rule alarms. A guess is the value of some steps before."""
    draw = np.random.default_rng(0)
    looks = np.arange(1, LOOKS + 1) * N // LOOKS
    alarms = dict.fromkeys(("once", "100 looks", "best of 20", "four heads"), 0)
    for _ in range(FILES):
        values = draw.integers(0, K, N + LAGS, dtype=np.uint16)
        hits = np.stack([values[LAGS:] == values[LAGS - lag : len(values) - lag] for lag in range(1, LAGS + 1)])
        path = z(np.cumsum(hits[0])[looks - 1], looks)
        alarms["once"] += path[-1] > CRITICAL
        alarms["100 looks"] += path.max() > CRITICAL
        alarms["best of 20"] += z(hits.sum(axis=1), N).max() > CRITICAL
        alarms["four heads"] += z(4 * hits[0].sum(), 4 * N) > CRITICAL  # four heads that make the same guess
    return {rule: count / FILES for rule, count in alarms.items()}


def test_one_look_at_one_try_holds_its_level():
    assert rates()["once"] < 2.5 * LEVEL


@pytest.mark.parametrize(("rule", "quoted"), [("100 looks", 0.156), ("best of 20", 0.185), ("four heads", 0.136)])
def test_a_naive_rule_alarms_as_often_as_quoted(rule, quoted):
    assert abs(rates()[rule] - quoted) < 0.05
    assert rates()[rule] > 8 * LEVEL


def test_a_fixed_training_marginal_as_the_null_always_alarms():
    """A marginal that goes on learning beats one that does not; E is their ratio on independent test values."""
    for seed in range(20):
        draw = np.random.default_rng(seed)
        counts, test = np.bincount(draw.integers(0, 1024, N), minlength=1024) + 0.5, draw.integers(0, 1024, N)
        in_order = np.argsort(test, kind="stable")
        before = np.empty(N)  # how often the value came before in the test part
        before[in_order] = np.arange(N) - np.searchsorted(test[in_order], test[in_order])
        learning = (counts[test] + before) / (counts.sum() + np.arange(N))
        log_e = np.cumsum(np.log(learning / (counts[test] / counts.sum())))
        assert log_e.max() > np.log(1 / LEVEL)
