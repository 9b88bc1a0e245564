"""What attention weights depend on: constructed attention is told apart, and the shares are those of plain loops."""

from __future__ import annotations

from itertools import product

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bestguess.filters.attention_variance import Shares, Sums, norm_correlation, shares, sums
from bestguess.filters.heads import lag_profiles

SEQUENCES, N = 61, 23
FIRST = N - N // 2  # of the queries that count
LAG = np.arange(N)[:, None] - np.arange(N)[None]


def causal(weights: np.ndarray) -> np.ndarray:
    """Weights of queries on keys of one head, no key after its query, each query's with the sum 1."""
    weights = np.where(LAG >= 0, weights, 0.0)
    return weights / weights.sum(axis=-1, keepdims=True)


def summed(weights: np.ndarray) -> Sums:
    """The sums of one head's weights, [sequence, query, key]."""
    each = [sums(jnp.asarray(one, jnp.float32)[None, None]) for one in weights]
    return Sums(np.stack([one.received for one in each]), np.sum([one.squares for one in each], axis=0))


def shares_of(weights: np.ndarray) -> Shares:
    mean = weights.mean(axis=0)[None, None]
    found = shares(mean, lag_profiles(mean), summed(weights))
    return Shares(*(part[0, 0] for part in found))


def by_loops(weights: np.ndarray) -> Shares:
    """The shares as the module's docstring states them, one weight and one pair of queries at a time."""
    n = len(weights)
    pairs = [(q, k) for q in range(FIRST, N) for k in range(q + 1)]
    mean = weights.mean(axis=0)
    level = np.mean([mean[pair] for pair in pairs])
    profile = [np.mean([mean[q, k] for q, k in pairs if q - k == lag]) for lag in range(N)]
    apart = weights - mean
    sequence = sum(apart[s][pair] ** 2 for s in range(n) for pair in pairs) / (n - 1)
    lag = sum((profile[q - k] - level) ** 2 for q, k in pairs)
    position = sum((mean[q, k] - profile[q - k]) ** 2 for q, k in pairs) - sequence / n
    token = 0.0
    for k in range(N - 1):
        queries = range(max(FIRST, k), N)
        for s in range(n):
            products = [apart[s, q, k] * apart[s, other, k] for q, other in product(queries, queries) if q != other]
            token += len(queries) * np.mean(products) / (n - 1)
    total = sum((weights[s][pair] - level) ** 2 for s in range(n) for pair in pairs) / n
    assert lag + position + sequence == pytest.approx(total)
    return Shares(lag / total, position / total, token / total)


def content(seed: int) -> np.ndarray:
    """What each token of each sequence holds."""
    return np.random.default_rng(seed).normal(size=(SEQUENCES, N))


def test_the_shares_are_those_of_plain_loops():
    query, key = content(0), content(1)
    score = 1.5 * query[:, :, None] * key[:, None] + key[:, None] - 0.2 * LAG + np.sin(np.arange(N))
    weights = causal(np.exp(score))
    found = shares_of(weights)
    np.testing.assert_allclose(found, by_loops(weights), atol=1e-5)
    assert min(found) > 0.05
    assert sum(found) < 0.9  # the rest is of the query


def test_a_kernel_over_lags_is_all_lag():
    kernel = np.isin(LAG, (0, 3, 7)) * (1.0 + LAG)
    found = shares_of(np.broadcast_to(causal(kernel), (SEQUENCES, N, N)))
    np.testing.assert_allclose(found, (1, 0, 0), atol=1e-5)


def test_tokens_that_all_queries_read_are_all_token():
    """Each sequence has one token that all queries read, every token of the first half in as many sequences."""
    sink = np.tile(np.arange(FIRST), 5)
    weights = np.zeros((len(sink), N, N))
    for s, k in enumerate(sink):
        weights[s, k:, k] = 1.0
        weights[s, :k, 0] = 1.0  # of these queries, which do not count
    found = shares_of(weights)
    assert found.token > 0.95
    assert 0 <= found.lag < 0.05
    assert abs(found.position) < 0.05
    first = shares_of(np.broadcast_to(causal(np.where(np.arange(N) == 4, 1.0, 1e-9)), (SEQUENCES, N, N)))
    assert first.position > 0.8  # the same token of every sequence
    assert first.lag + first.position == pytest.approx(1, abs=1e-5)
    assert abs(first.token) < 1e-5


def test_what_queries_choose_by_themselves_is_no_token():
    """Without the correction, chance alone would give the token a tenth: the mean of few queries is not 0."""
    score = 3 * np.random.default_rng(3).normal(size=(SEQUENCES, N, N))
    found = shares_of(causal(np.exp(score)))
    assert max(map(abs, found)) < 0.02
    weights = causal(np.exp(score))[:, FIRST:]
    apart = weights - weights.mean(axis=0)
    seen = N - np.maximum(np.arange(N), FIRST)
    assert (apart.sum(axis=1) ** 2 / seen).sum() > 0.1 * (apart**2).sum()


def test_without_variance_or_a_second_query_there_is_no_share():
    uniform = np.full((5, 2, 2), 0.5) * np.tri(2)
    mean = uniform.mean(axis=0)[None, None]
    found = shares(mean, lag_profiles(mean), summed(uniform))
    assert all(np.isnan(part).all() for part in found)
    one = np.array([[[1.0, 0, 0], [0.5, 0.5, 0], [w, 0.1, 0.9 - w]] for w in (0.2, 0.5, 0.7)])
    mean = one.mean(axis=0)[None, None]
    found = shares(mean, lag_profiles(mean), summed(one))
    assert not np.isnan(found.lag).any()
    assert np.isnan(found.token).all()


@pytest.mark.parametrize(("sharpness", "expected"), [(0.7, 1), (-0.7, -1)])
def test_large_tokens_are_read_or_small_ones(sharpness, expected):
    norms = np.abs(content(5))
    # Weights of one query: a token's weight grows with its norm, but for the sum over all tokens.
    received = np.exp(sharpness * norms)[:, None, None]
    assert norm_correlation(received, norms)[0, 0] == pytest.approx(expected)
    assert abs(norm_correlation(received, np.abs(content(6)))[0, 0]) < 0.1


def test_what_norms_and_weights_have_from_the_position_does_not_count():
    growing = np.arange(N) + 1.0
    norms, received = growing * np.exp(0.1 * content(7)), growing * np.exp(0.1 * content(8))
    assert stats.spearmanr(norms.ravel(), received.ravel()).statistic > 0.9
    assert abs(norm_correlation(received[:, None, None], norms)[0, 0]) < 0.1


def test_correlations_of_positions_count_by_the_weight_that_these_receive():
    norms, other = np.abs(content(9)), np.abs(content(10))
    received = np.where(np.arange(N) < 3, 30 * norms, other)
    each = np.array([stats.spearmanr(norms[:, k], received[:, k]).statistic for k in range(N)])
    expected = np.average(each, weights=received.mean(axis=0))
    assert norm_correlation(received[:, None, None], norms)[0, 0] == pytest.approx(expected)
    received[:, 4] = 7.0  # the same in every sequence: no correlation, and left out
    kept = np.arange(N) != 4
    expected = np.average(each[kept], weights=received.mean(axis=0)[kept])
    assert norm_correlation(received[:, None, None], norms)[0, 0] == pytest.approx(expected)
    assert np.isnan(norm_correlation(np.ones((SEQUENCES, 1, 1, N)), norms)).all()
