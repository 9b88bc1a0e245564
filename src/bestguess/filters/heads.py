"""A causal test of heads: what does it cost if a head's attention cannot depend on the input, or the head is gone?

Of each head alone, of all heads of a layer, and of all together. What takes the place of a head's own is estimated on
sequences other than those that it is judged on:

- **fixed**: the attention of a head is its mean lag profile, one kernel w(lag) for every query and every sequence,
  renormalised over the lags that the query sees. A tapped delay line passes this test; a head that looks at what it
  reads does not.
- **fixed by position**: the mean weights of each query, which may differ between positions, yet not between sequences.
- **queries fixed**: the query of every token, before its rotation, is the mean over sequences and positions. Attention
  depends on what the keys hold and on the lag, and no longer on what the query's token holds.
- **keys fixed**: likewise, so that attention depends on the query and on the lag. With both, it would be one kernel
  w(lag), renormalised: scores are then of the lag alone.
- **ablated**: what the head reads at each position is its mean there over sequences.

Queries and keys are fixed in whole layers only, and in all. Beside the test stands what the weights depend on, without
any change to the model: `attention_variance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key
from scipy import special

from bestguess.batches import in_batches
from bestguess.filters.attention_variance import Shares, Sums, norm_correlation, shares, sums
from bestguess.filters.forecaster import Forecaster
from bestguess.filters.inspection import tokens
from bestguess.filters.problem import distances
from bestguess.filters.task import FilterTask
from bestguess.nn.intervention import Changes, Observed, intervene, observe

_AT_ONCE = 16
"""Sequences that go through a model at once: their attention weights take layers · heads · tokens² values each."""
LEVEL = 0.95


class Rise(NamedTuple):
    """By how much an intervention raises the excess (error over the filter's), in the mean over sequences."""

    mean: float
    low: float
    """The 95 % interval of the mean: Student's t of the differences within sequences."""
    high: float


class Together(NamedTuple):
    """What it costs to change several heads at once."""

    fixed: Rise
    fixed_by_position: Rise
    query_fixed: Rise
    key_fixed: Rise
    ablated: Rise


@dataclass(frozen=True, eq=False)
class Heads:
    """The causal test of one forecaster, and what its attention depends on."""

    sequences: int
    """How many it was judged on."""
    excess: float
    """As trained, on these sequences."""
    profiles: Float[np.ndarray, "layers H N"]
    """Mean attention weight by lag in tokens."""
    shares: Shares
    """Of the variance of the attention weights."""
    norm_correlation: Float[np.ndarray, "layers H"]
    """Rank correlation of the weight that a token receives with the norm of its observations."""
    fixed: list[list[Rise]]
    """[layer][head]: that head's attention fixed."""
    ablated: list[list[Rise]]
    """[layer][head]: that head ablated."""
    layers: list[Together]
    """[layer]: all its heads."""
    whole: Together
    """All heads of all layers."""


def head_tests(
    forecaster: Forecaster, task: FilterTask, y: Float[Array, "n T m"], key: Key[Array, ""], count: int
) -> Heads:
    """Return the causal test of every head: estimated on the sequences `y`, judged on `count` others of the task.

    2 · layers · heads + 5 · layers + 6 passes over `count` sequences, forwards only, of one compiled program.
    """
    mean, found = mean_heads(forecaster, y)
    profiles = lag_profiles(mean.weights)
    by_lag = mean._replace(weights=jnp.asarray(toeplitz(profiles, np.asarray(mean.weights, float)), jnp.float32))
    L, H = profiles.shape[:2]
    nothing = Changes(*[np.zeros((L, H), bool)] * len(Changes._fields))
    keys = jax.random.split(key, count)
    own = _excess(forecaster, task, keys, by_lag, nothing)

    def rise(kind: str, heads: tuple[int | slice, int | slice], put: Observed = by_lag) -> Rise:
        which = np.zeros((L, H), bool)
        which[heads] = True
        return paired_rise(_excess(forecaster, task, keys, put, nothing._replace(**{kind: which})), own)

    def together(layer: int | slice) -> Together:
        heads = layer, slice(None)
        return Together(
            fixed=rise("fixed", heads),
            fixed_by_position=rise("fixed", heads, mean),
            query_fixed=rise("query_fixed", heads),
            key_fixed=rise("key_fixed", heads),
            ablated=rise("ablated", heads),
        )

    norms = np.linalg.norm(np.asarray(y, float).reshape(len(y), profiles.shape[-1], -1), axis=-1)
    return Heads(
        sequences=count,
        excess=float(own.mean()),
        profiles=profiles,
        shares=shares(np.asarray(mean.weights, float), profiles, found),
        norm_correlation=norm_correlation(np.asarray(found.received, float), norms),
        fixed=[[rise("fixed", (layer, h)) for h in range(H)] for layer in range(L)],
        ablated=[[rise("ablated", (layer, h)) for h in range(H)] for layer in range(L)],
        layers=[together(layer) for layer in range(L)],
        whole=together(slice(None)),
    )


def mean_heads(forecaster: Forecaster, y: Float[Array, "n T m"]) -> tuple[Observed, Sums]:
    """Return the mean over sequences of what every head does, at each position, and the sums of its weights."""
    total: Any = None
    received = []
    for places, count in in_batches(len(y), _AT_ONCE):
        found, of_each = _summed(forecaster, y[places], jnp.arange(len(places)) < count)
        total = found if total is None else jax.tree.map(jnp.add, total, found)
        received.append(np.asarray(of_each)[:count])
    observed, squares = total
    return jax.tree.map(lambda one: one / len(y), observed), Sums(np.concatenate(received), np.asarray(squares))


@eqx.filter_jit
def _summed(
    forecaster: Forecaster, y: Float[Array, "n T m"], counts: Bool[Array, "n"]
) -> tuple[tuple[Observed, Float[Array, "layers H N"]], Float[Array, "n layers H N"]]:
    """Return what is summed over the sequences that count, and the weight that each token receives, of each."""

    def one(y_Tm: Float[Array, "T m"]) -> tuple[Observed, Sums]:
        core = forecaster.core
        found = observe(core.decoder, core.embedded(tokens(forecaster, y_Tm)))
        return found, sums(found.weights)

    found, each = jax.vmap(one)(y)
    summed = lambda one: jnp.einsum("n,n...->...", counts.astype(one.dtype), one)  # noqa: E731
    return (jax.tree.map(summed, found), summed(each.squares)), jnp.asarray(each.received)


def lag_profiles(weights: Float[Array | np.ndarray, "layers H N N"]) -> Float[np.ndarray, "layers H N"]:
    """Return every head's mean weight by lag in tokens, over the queries of the second half that see the lag.

    Where scores depend on the lag alone, the weights of one query are those of another but for their sum, so that a
    profile, renormalised over the lags that a query sees, restores them.
    """
    weights = np.asarray(weights, float)
    N = weights.shape[-1]
    found = np.zeros(weights.shape[:-1])
    for lag in range(N):
        queries = np.arange(max(lag, N - N // 2), N)
        found[..., lag] = weights[..., queries, queries - lag].mean(axis=-1)
    return found


def toeplitz(
    profiles: Float[np.ndarray, "layers H N"], weights: Float[np.ndarray, "layers H N N"]
) -> Float[np.ndarray, "layers H N N"]:
    """Return the weights by which every query reads by its head's lag profile, renormalised over the lags that it sees.

    A query all of whose lags have the weight 0 there has nothing to be renormalised: it gets the mean `weights` of its
    position.
    """
    N = profiles.shape[-1]
    lag = np.arange(N)[:, None] - np.arange(N)[None]
    cut = np.where(lag >= 0, profiles[..., np.maximum(lag, 0)], 0.0)
    total = cut.sum(axis=-1, keepdims=True)
    return np.where(total > 0, cut / np.where(total > 0, total, 1.0), weights)


def paired_rise(changed: Float[np.ndarray, " n"], own: Float[np.ndarray, " n"]) -> Rise:
    """Return the mean difference of two excesses of the same sequences, with its interval."""
    rise = changed - own
    n = len(rise)
    half = float(special.stdtrit(n - 1, 0.5 + LEVEL / 2) * rise.std(ddof=1) / np.sqrt(n))
    mean = float(rise.mean())
    return Rise(mean, mean - half, mean + half)


def _excess(
    forecaster: Forecaster, task: FilterTask, keys: Key[Array, " n"], put: Observed, changes: Changes
) -> Float[np.ndarray, " n"]:
    """Return the excess of a changed forecaster on each sequence: its distance to the filter over the filter's loss."""
    changes = jax.tree.map(jnp.asarray, changes)
    found = [
        np.asarray(_distance(forecaster, task, keys[places], put, changes), float)[:count]
        for places, count in in_batches(len(keys), _AT_ONCE)
    ]
    return np.concatenate(found) / float(task.floor)


@eqx.filter_jit
def _distance(
    forecaster: Forecaster, task: FilterTask, keys: Key[Array, " n"], put: Observed, changes: Changes
) -> Float[Array, " n"]:
    decoder = intervene(forecaster.core.decoder, put, changes)
    changed = eqx.tree_at(lambda one: one.core.decoder, forecaster, decoder)
    return jax.vmap(lambda key: jnp.mean(distances(changed, task, key)))(keys)
