"""The best possible prediction when the system is unknown: the Bayes mixture of K Kalman filters. float64, no JAX.

A sequence comes from one of K systems (A_k, C_k), each with probability 1/K, and which one is not told. Given the past,
the prediction is every filter's own, weighed by the posterior of its system:

    E[y_t | y_{1:t−1}] = Σ_k w_k(t) ŷ_{k,t},   w_k(t) ∝ p(y_{1:t−1} | k) = Π_{s<t} N(y_s − ŷ_{k,s}; 0, S_{k,s})

Magill, "Optimal adaptive estimation of sampled stochastic processes" (1965). Letters as in `kalman`, with an axis K.
The gains depend on no data, so they are computed once, for all systems together.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bestguess.command import UserError
from bestguess.filters import kalman
from bestguess.filters.config import FilterTaskConfig
from bestguess.filters.systems import MIN_SINGULAR_RATIO, System, draw_system

TRAINED, HELD_OUT = 0, 1
"""Which list of systems: those that sequences are trained on, or those that are held out."""
_AT_ONCE = 1 << 22
"""Elements of the covariances of the state that are computed with at once: 32 MiB."""


@dataclass(frozen=True, eq=False)
class Systems:
    """K systems of equal shape, stacked."""

    A: Float[np.ndarray, "K n n"]
    C: Float[np.ndarray, "K m n"]
    sigma: float
    observation_noise: float = 0.0

    @property
    def count(self) -> int:
        """K."""
        return len(self.A)


class Filters(NamedTuple):
    """What no data enters of K filters over T steps, time first."""

    gains: np.ndarray
    """(T, K, n, m): K_t, predictor form."""
    innovations: np.ndarray
    """(T, K, m, m): S_t, the covariance of y_t given all steps before it."""
    ahead: np.ndarray
    """(T, K, m, m): the covariance of y_t given the patches before its own; S_t itself where a patch is one step."""
    second: np.ndarray
    """(T, K, m, m): E[y_t y_tᵀ], of which no past is given."""


class Mixture(NamedTuple):
    """What `bayes_mixture` returns, for sequences y of shape (..., T, m)."""

    predictions: np.ndarray
    """(..., T, m): E[y_t | the patches before t's]."""
    log_weights: np.ndarray
    """(..., T + 1, K): the log posterior of the systems after t = 0 … T steps."""
    log_likelihood: np.ndarray
    """(...): log p(y_1, …, y_T), in nats."""


@functools.lru_cache(maxsize=8)
def systems_of(config: FilterTaskConfig, seed: int, count: int, which: int) -> Systems:
    """Return the first `count` systems of a run's list, TRAINED or HELD_OUT: both i.i.d. of the law of `draw_system`.

    A longer list begins with a shorter one, so that runs that differ in K alone share systems.
    """
    own = seed if config.system_seed is None else config.system_seed
    drawn = [
        draw_system(
            config.structure[0],
            latent_dim=config.latent_dim,
            observed_dim=config.observed_dim,
            lambda_=config.lambda_[0],
            sigma=config.sigma,
            seed=_seed(own, which, i),
            condition=config.condition,
            moduli=config.moduli,
            observation_noise=config.observation_noise,
        )
        for i in range(count)
    ]
    return stacked(drawn)


def stacked(systems: list[System]) -> Systems:
    """Return systems of equal shape and equal noises as one stack."""
    A, C, first = np.stack([one.A for one in systems]), np.stack([one.C for one in systems]), systems[0]
    return Systems(A, C, first.sigma, first.observation_noise)


def _seed(seed: int, which: int, i: int) -> int:
    high, low = np.random.SeedSequence([seed, which, i]).generate_state(2)
    return int(high) << 32 | int(low)


def filters_of(systems: Systems, T: int, patch: int = 1, dtype: type = np.float64) -> Filters:
    """Return the gains and covariances of all K filters over T steps, computed in float64 and kept as `dtype`.

    The recursion is `kalman.kalman_gains`'; as many systems are computed together as fit into little memory. Raises
    UserError where an S_t is singular in float64.
    """
    K, m, n = systems.C.shape
    made = Filters(np.empty((T, K, n, m), dtype), *(np.empty((T, K, m, m), dtype) for _ in range(3)))
    width = max(1, _AT_ONCE // n**2)
    for first in range(0, K, width):
        part = slice(first, first + width)
        some = dataclasses.replace(systems, A=systems.A[part], C=systems.C[part])
        _recurse(some, patch, Filters(*(a[:, part] for a in made)))
    return made


def _recurse(systems: Systems, patch: int, into: Filters) -> None:
    A, C, r = systems.A, systems.C, systems.observation_noise
    Q, R = systems.sigma**2 * np.eye(A.shape[-1]), r**2 * np.eye(C.shape[1])
    At, Ct = _t(A), _t(C)
    P = opened = free = np.broadcast_to(Q, A.shape)
    for t in range(len(into.gains)):
        if t % patch == 0:
            opened = P
        S = kalman.symmetric(C @ P @ Ct) + R
        _refuse_singular(S)
        gain = _t(np.linalg.solve(S, C @ P @ At))
        into.gains[t], into.innovations[t] = gain, S
        into.ahead[t], into.second[t] = kalman.symmetric(C @ opened @ Ct) + R, kalman.symmetric(C @ free @ Ct) + R
        closed = A - gain @ C
        P = kalman.symmetric(closed @ P @ _t(closed) + r**2 * (gain @ _t(gain))) + Q
        opened, free = A @ opened @ At + Q, A @ free @ At + Q


def _refuse_singular(S: Float[np.ndarray, "K m m"]) -> None:
    try:
        pivots = np.diagonal(np.linalg.cholesky(S), axis1=1, axis2=2)
    except np.linalg.LinAlgError as error:
        raise UserError(kalman.NOT_POSITIVE_DEFINITE) from error
    if (pivots.min(1) < MIN_SINGULAR_RATIO * pivots.max(1)).any():
        raise UserError(kalman.NOT_POSITIVE_DEFINITE)


def bayes_mixture(systems: Systems, y: Float[np.ndarray, "*batch T m"], patch: int = 1) -> Mixture:
    """Return E[y_t | the patches before t's], the posteriors of the systems and log p(y), for sequences y (..., T, m).

    The reference in float64: `task` computes the same on a device. Raises UserError as `filters_of`.
    """
    T, m = y.shape[-2:]
    filters = filters_of(systems, T, patch)
    batch = y.shape[:-2]
    x = np.zeros((*batch, *systems.A.shape[:2]))
    log_likelihood = np.zeros((*batch, systems.count))
    predictions, evidence = np.empty(y.shape), [log_likelihood]
    opened, weights = x, _posterior(log_likelihood)
    for t in range(T):
        if t % patch == 0:
            opened, weights = x, _posterior(log_likelihood)
        predictions[..., t, :] = np.einsum("...k,kmn,...kn->...m", np.exp(weights), systems.C, opened)
        error = y[..., t, None, :] - np.einsum("kmn,...kn->...km", systems.C, x)
        scaled = np.einsum("kij,...kj->...ki", np.linalg.inv(filters.innovations[t]), error)
        log_det = np.linalg.slogdet(filters.innovations[t])[1]
        log_likelihood = log_likelihood - 0.5 * ((scaled * error).sum(-1) + log_det + m * np.log(2 * np.pi))
        evidence.append(log_likelihood)
        x = np.einsum("kij,...kj->...ki", systems.A, x) + np.einsum("kim,...km->...ki", filters.gains[t], error)
        opened = np.einsum("kij,...kj->...ki", systems.A, opened)
    log_weights = _posterior(np.stack(evidence, axis=-2))
    return Mixture(predictions, log_weights, np.logaddexp.reduce(log_likelihood, axis=-1) - np.log(systems.count))


def _posterior(log_likelihood: Float[np.ndarray, "*batch K"]) -> Float[np.ndarray, "*batch K"]:
    return log_likelihood - np.logaddexp.reduce(log_likelihood, axis=-1, keepdims=True)


def _t(matrices: np.ndarray) -> np.ndarray:
    return matrices.swapaxes(-1, -2)
