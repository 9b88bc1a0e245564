"""A causal test of heads: what does it cost if a head's attention cannot depend on the input, or the head is gone?

Of each head alone, of all heads of a layer, and of all together. Three interventions, all estimated on sequences other
than those that they are judged on:

- **fixed**: the attention of a head is its mean lag profile, one kernel w(lag) for every query and every sequence,
  renormalised over the lags that the query sees. A tapped delay line passes this test; a head that looks at what it
  reads does not.
- **fixed by position**: the mean weights of each query, which may differ between positions, yet not between sequences.
- **ablated**: what the head reads at each position is its mean there over sequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key
from scipy import special

from bestguess.batches import in_batches
from bestguess.filters.forecaster import Forecaster
from bestguess.filters.inspection import tokens
from bestguess.filters.problem import distances
from bestguess.filters.task import FilterTask
from bestguess.nn.intervention import Observed, intervene, observe

_AT_ONCE = 16
"""Sequences that go through a model at once: their attention weights take layers · heads · tokens² values each."""
LEVEL = 0.95


class Rise(NamedTuple):
    """By how much an intervention raises the excess (error over the filter's), in the mean over sequences."""

    mean: float
    low: float
    """The 95 % interval of the mean: Student's t of the differences within sequences."""
    high: float


@dataclass(frozen=True, eq=False)
class Heads:
    """The causal test of one forecaster."""

    sequences: int
    """How many it was judged on."""
    excess: float
    """As trained, on these sequences."""
    profiles: Float[np.ndarray, "layers H N"]
    """Mean attention weight by lag in tokens."""
    fixed: list[list[Rise]]
    """[layer][head]: that head's attention fixed."""
    ablated: list[list[Rise]]
    """[layer][head]: that head ablated."""
    layers_fixed: list[Rise]
    """[layer]: the attention of all its heads fixed."""
    layers_fixed_by_position: list[Rise]
    layers_ablated: list[Rise]
    all_fixed: Rise
    all_fixed_by_position: Rise
    all_ablated: Rise


def head_tests(
    forecaster: Forecaster, task: FilterTask, y: Float[Array, "n T m"], key: Key[Array, ""], count: int
) -> Heads:
    """Return the causal test of every head: estimated on the sequences `y`, judged on `count` others of the task.

    2 · layers · heads + 3 · layers + 4 passes over `count` sequences, forwards only, of one compiled program.
    """
    mean = mean_heads(forecaster, y)
    profiles = lag_profiles(mean.weights)
    by_lag = mean._replace(weights=jnp.asarray(toeplitz(profiles, np.asarray(mean.weights, float)), jnp.float32))
    none, every = (np.full(profiles.shape[:2], yes) for yes in (False, True))
    keys = jax.random.split(key, count)
    excess = lambda put, fixed, ablated: _excess(forecaster, task, keys, put, fixed, ablated)  # noqa: E731
    own = excess(by_lag, none, none)
    rise = lambda put, fixed, ablated: paired_rise(excess(put, fixed, ablated), own)  # noqa: E731

    def alone(layer: int, head: int | slice = slice(None)) -> np.ndarray:
        one = none.copy()
        one[layer, head] = True
        return one

    L, H = profiles.shape[:2]
    return Heads(
        count,
        float(own.mean()),
        profiles,
        [[rise(by_lag, alone(layer, h), none) for h in range(H)] for layer in range(L)],
        [[rise(by_lag, none, alone(layer, h)) for h in range(H)] for layer in range(L)],
        [rise(by_lag, alone(layer), none) for layer in range(L)],
        [rise(mean, alone(layer), none) for layer in range(L)],
        [rise(by_lag, none, alone(layer)) for layer in range(L)],
        rise(by_lag, every, none),
        rise(mean, every, none),
        rise(by_lag, none, every),
    )


def mean_heads(forecaster: Forecaster, y: Float[Array, "n T m"]) -> Observed:
    """Return the mean over sequences of every head's weights and of what it reads, at each position."""
    total = None
    for places, count in in_batches(len(y), _AT_ONCE):
        found = _summed(forecaster, y[places], jnp.arange(len(places)) < count)
        total = found if total is None else jax.tree.map(jnp.add, total, found)
    return jax.tree.map(lambda one: one / len(y), total)


@eqx.filter_jit
def _summed(forecaster: Forecaster, y: Float[Array, "n T m"], counts: Bool[Array, "n"]) -> Observed:
    def one(y_Tm: Float[Array, "T m"]) -> Observed:
        core = forecaster.core
        return observe(core.decoder, core.embedded(tokens(forecaster, y_Tm)))

    found = jax.vmap(one)(y)
    return jax.tree.map(lambda each: jnp.einsum("n,n...->...", counts.astype(each.dtype), each), found)


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
    forecaster: Forecaster,
    task: FilterTask,
    keys: Key[Array, " n"],
    put: Observed,
    fixed: Bool[np.ndarray, "layers H"],
    ablated: Bool[np.ndarray, "layers H"],
) -> Float[np.ndarray, " n"]:
    """Return the excess of a changed forecaster on each sequence: its distance to the filter over the filter's loss."""
    changes = jnp.asarray(fixed), jnp.asarray(ablated)
    found = [
        np.asarray(_distance(forecaster, task, keys[places], put, *changes), float)[:count]
        for places, count in in_batches(len(keys), _AT_ONCE)
    ]
    return np.concatenate(found) / float(task.floor)


@eqx.filter_jit
def _distance(
    forecaster: Forecaster,
    task: FilterTask,
    keys: Key[Array, " n"],
    put: Observed,
    fixed: Bool[Array, "layers H"],
    ablated: Bool[Array, "layers H"],
) -> Float[Array, " n"]:
    decoder = intervene(forecaster.core.decoder, put, fixed, ablated)
    changed = eqx.tree_at(lambda one: one.core.decoder, forecaster, decoder)
    return jax.vmap(lambda key: jnp.mean(distances(changed, task, key)))(keys)
