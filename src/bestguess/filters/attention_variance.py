"""What a head's attention weights depend on: how much of their variance the lag, the position and the token explain.

Of the weights A_{sqk} of query q on key k ≤ q in sequence s, over n sequences and the queries of the second half. With
P_{q−k} the mean over all pairs of one lag, Ā_{qk} the mean over sequences and D = A − Ā, the variance has three parts:

- **lag**: that of P;
- **position**: that of Ā − P, which a query and a key have in every sequence, beyond their lag;
- **sequence**: that of D. Of it, the **token** explains the mean product of D_{sqk} and D_{sq'k} over pairs of
  different queries that see key k. That is all of it where every query gives a token the same weight, whatever its lag,
  and none where the weight that one query gives a token says nothing of another's. The rest differs between queries: by
  what their tokens hold, or by what the key's holds, where it counts at some lags only.

D² is over n − 1, and what D leaves in a mean of n is taken from Ā − P, so that position and token are 0 in expectation
where they explain nothing; by chance they may be negative. The three parts add up to the variance.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import stats

_LEAST = 1e-5
"""Variance, over the mean square, that sums in float32 can tell from 0."""


class Sums(NamedTuple):
    """Attention weights, summed over the queries of the second half, by key."""

    received: Float[Array | np.ndarray, "*n layers H N"]
    """The weight that each token receives, of each sequence."""
    squares: Float[Array | np.ndarray, "layers H N"]
    """Squared weights, summed over sequences as well."""


class Shares(NamedTuple):
    """Shares of the variance of each head's weights; NaN where there is none."""

    lag: Float[np.ndarray, "layers H"]
    position: Float[np.ndarray, "layers H"]
    token: Float[np.ndarray, "layers H"]
    """NaN, too, where the second half has a single query."""


def second_half(tokens: int) -> slice:
    """Return the queries of the second half of a sequence."""
    return slice(tokens - tokens // 2, tokens)


def sums(weights: Float[Array, "layers H N N"]) -> Sums:
    """Return the sums of one sequence."""
    weights = weights[..., second_half(weights.shape[-1]), :]
    return Sums(jnp.sum(weights, axis=-2), jnp.sum(weights**2, axis=-2))


def shares(mean: Float[np.ndarray, "layers H N N"], profiles: Float[np.ndarray, "layers H N"], found: Sums) -> Shares:
    """Return the shares, from the mean weights over sequences, their mean by lag, and the sums."""
    received, squares = (np.asarray(one, float) for one in found)
    n, N = len(received), mean.shape[-1]
    seen = N - np.maximum(np.arange(N), N - N // 2)  # queries that see a key; as many see a lag
    of_mean = (np.asarray(mean, float)[..., second_half(N), :] ** 2).sum(axis=-2)  # by key
    apart = squares - n * of_mean  # Σ D², by key
    by_lag = (seen * profiles**2).sum(axis=-1)
    sequence = apart.sum(axis=-1) / (n - 1)
    lag = by_lag - received.mean(axis=0).sum(axis=-1) ** 2 / seen.sum()
    position = of_mean.sum(axis=-1) - by_lag - sequence / n
    pairs = ((received - received.mean(axis=0)) ** 2).sum(axis=0) - apart  # Σ D D' of different queries, by key
    others = np.where(seen > 1, seen - 1, np.nan)
    token = np.nansum(pairs / others, axis=-1) / (n - 1) if (seen > 1).any() else np.full_like(lag, np.nan)
    total = lag + position + sequence
    total = np.where(total > _LEAST * squares.sum(axis=-1) / n, total, np.nan)
    return Shares(lag / total, position / total, token / total)


def norm_correlation(
    received: Float[np.ndarray, "n layers H N"], norms: Float[np.ndarray, "n N"]
) -> Float[np.ndarray, "layers H"]:
    """Return the rank correlation, over sequences, of the weight that a token receives with its norm.

    At each position by itself, so that nothing that both have from the position counts; then the mean over positions,
    each by the weight that it receives. Positions where one of the two is the same in every sequence are left out; NaN
    where that is all.
    """
    weight, norm = (_standard_ranks(one) for one in (received, norms[:, None, None]))
    correlation = np.mean(weight * norm, axis=0)
    share = np.where(np.isnan(correlation), 0.0, received.mean(axis=0))
    total = share.sum(axis=-1)
    summed = (share * np.nan_to_num(correlation)).sum(axis=-1)
    return np.where(total > 0, summed / np.where(total > 0, total, 1.0), np.nan)


def _standard_ranks(values: Float[np.ndarray, "n *rest"]) -> Float[np.ndarray, "n *rest"]:
    """Return ranks over sequences with mean 0 and variance 1; NaN where all values are equal."""
    ranks = stats.rankdata(values, axis=0)
    ranks -= ranks.mean(axis=0)
    spread = ranks.std(axis=0)
    return ranks / np.where(spread > 0, spread, np.nan)
