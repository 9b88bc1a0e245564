"""The best linear predictors of the last k steps, AR(k), and their distance to the Kalman filter. float64, no JAX.

Letters as in `kalman`. With patches of P steps, a predictor sees the k steps before the patch; with P = 1 they are
y_{t−k} … y_{t−1}. Three kinds:

* **time-varying**: E[y_t | the last k steps], whose coefficients may differ at every t. No predictor that sees k steps
  is better, and with k = T − P it is the Kalman filter: the scale on which `equivalent_memory` places a model;
* **time-invariant**: one set of coefficients for all t, steps before the first counted as 0. The process starts at
  x_0 = 0 and is not stationary in its first steps, so the excess of AR(k) does not fall to 0 as k grows;
* **fitted**: time-invariant, by least squares on sequences that were drawn.

All are exact: expectations over the process, no test sequences. "Excess" is the regret divided by the filter's error.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg
from jaxtyping import Float

from bestguess.filters import kalman

ORDERS = (1, 2, 4, 8, 16, 32, 64)
"""The orders k that tables list."""
LONGEST, WIDEST, WORK = 128, 512, 2**38
"""Largest order that is looked at, largest number of values k·m in it, and largest k·T²·m³, seconds of products."""


def longest_memory(T: int, m: int, patch: int) -> int:
    """Return the largest order that is looked at for sequences of T steps of m dimensions; 1 at least."""
    return max(1, min(LONGEST, WIDEST // m, WORK // (T**2 * m**3), T - patch))


def bounded_regret(
    L: Float[np.ndarray, "Tm Tm"], covariance: Float[np.ndarray, "Tm Tm"], m: int, patch: int, orders: int
) -> Float[np.ndarray, "k S"]:
    """Return E‖ŷ_t − ŷ*_t‖² of the time-varying AR(k), k = 0 … `orders`, at the steps t = P+1 … T (squared unit of y).

    covariance: Cov(y) = L Lᵀ. The Cholesky factor R of the steps before a patch, the latest first, splits what they
    say of it into what each step further back adds, R⁻¹ Cov(y_{t−1}, y_{t−2}, …; y_t). AR(k) lacks what is added beyond
    k steps, and what all `orders` steps together leave of the innovations z of y = L z from before the patch:

        regret_k = ‖L[t, :s] − W L[s−orders:s, :s]‖² + Σ_{j>k} ‖(R⁻¹ Cov)_j‖²,   W = Covᵀ R⁻ᵀ R⁻¹

    A sum of squares, in which nothing cancels. Raises ValueError where L does not hold patches of `patch` steps.
    Brockwell & Davis, "Time Series" (1991), §5.2.
    """
    T = kalman.patch_floors(L, m, patch).shape[0]
    found = []
    for start in range(patch, T, patch):
        seen = min(orders, start)
        first, here, end = (start - seen) * m, start * m, (start + patch) * m
        known = np.arange(first, here).reshape(seen, m)[::-1].reshape(-1)
        root = np.linalg.cholesky(covariance[np.ix_(known, known)])
        added = scipy.linalg.solve_triangular(root, covariance[known, here:end], lower=True)
        W = scipy.linalg.solve_triangular(root, added, lower=True, trans="T")
        W = W.reshape(seen, m, -1)[::-1].reshape(seen * m, -1)
        left = L[here:end, :here] - W.T @ L[first:here, :here]
        own = (added**2).reshape(seen, m, patch, m).sum((1, 3))
        beyond = np.zeros((orders + 1, patch))
        beyond[:seen] = np.cumsum(own[::-1], axis=0)[::-1]
        found.append(beyond + (left**2).sum(1).reshape(patch, m).sum(1))
    return np.concatenate(found, axis=1)


def horizon_regret(
    L: Float[np.ndarray, "Tm Tm"], m: int, context: int, horizons: Sequence[int], order: int
) -> Float[np.ndarray, " h"]:
    """Return E‖ŷ_{t+h} − ŷ*_{t+h}‖² of the best predictor from y_{t−order+1} … y_t, t = `context` (squared unit of y).

    What is left of the innovations' coefficients of y_{t+h}, as far as t, outside the span of the steps that are seen.
    """
    known = context * m
    basis = np.linalg.qr(L[max(0, context - order) * m : known, :known].T)[0]
    rows = L[:, :known].reshape(-1, m, known)[context - 1 + np.asarray(horizons)]
    return ((rows - (rows @ basis) @ basis.T) ** 2).sum((1, 2))


def equivalent_memory(excess: float, by_order: Float[np.ndarray, " k"]) -> float | None:
    """Return the k whose time-varying AR(k) has this excess, between two orders by the excess' logarithm.

    by_order: the excess of k = 0, 1, …, the first the best constant's. 0 for a model that is worse than that; None for
    one that is better than the last order.
    """
    if np.isnan(excess):
        return float("nan")
    if excess >= by_order[0]:
        return 0.0
    if excess < by_order[-1]:
        return None
    above = int(np.flatnonzero(by_order >= excess)[-1])
    if by_order[above] == excess:
        return float(above)
    high, low = np.log(by_order[above]), np.log(max(by_order[above + 1], np.finfo(float).tiny))
    return float(above + (high - np.log(excess)) / (high - low))


# ------------------------------------------------------------------------------- one set of coefficients for all t


def window_moments(moments: Float[np.ndarray, "Tm Tm"], m: int, patch: int, order: int) -> Float[np.ndarray, "w w"]:
    """Return Σ over the patches after the first of the second moments of a patch and the `order` steps before it.

    moments: E[y yᵀ] of the stacked sequence, or a sum of y yᵀ over sequences. w = (order + P)·m: the steps before the
    patch, the latest first, then the patch; steps before the sequence are 0.
    """
    total = np.zeros(((order + patch) * m,) * 2)
    for start in range(patch * m, len(moments), patch * m):
        first = max(0, start - order * m)
        hidden = order * m - (start - first)
        total[hidden:, hidden:] += moments[first : start + patch * m, first : start + patch * m]
    latest_first = np.concatenate(
        [np.arange(order * m).reshape(order, m)[::-1].reshape(-1), np.arange(order * m, len(total))]
    )
    return total[np.ix_(latest_first, latest_first)]


def coefficients(windows: Float[np.ndarray, "w w"], m: int, patch: int, order: int) -> Float[np.ndarray, "p k"]:
    """Return the least squares coefficients W (P·m, order·m) of the patch on the steps before it, the latest first."""
    seen, ahead = order * m, len(windows) - patch * m
    # Fewer sequences than coefficients: of all that fit them, the smallest coefficients.
    return np.linalg.lstsq(windows[:seen, :seen], windows[:seen, ahead:], rcond=None)[0].T


def squared_error(windows: Float[np.ndarray, "w w"], W: Float[np.ndarray, "p k"]) -> float:
    """Return Σ ‖y_t − ŷ_t‖² of such coefficients over what the moments are summed over (squared unit of y)."""
    seen, ahead = W.shape[1], len(windows) - W.shape[0]
    cross = windows[ahead:, :seen]
    return float(np.trace(windows[ahead:, ahead:]) - 2 * np.sum(W * cross) + np.sum((W @ windows[:seen, :seen]) * W))


def invariant_excess(windows: Float[np.ndarray, "w w"], floor: float, m: int, patch: int) -> Float[np.ndarray, " k"]:
    """Return the excess of the best time-invariant AR(k) for k = 0 … as far as the exact process' windows reach.

    floor: the filter's error summed over the same steps. The columns of one Cholesky factor are what each step further
    back explains.
    """
    ahead = len(windows) - patch * m
    explained = np.linalg.cholesky(windows)[ahead:, :ahead] ** 2
    gained = np.cumsum(explained.sum(0).reshape(-1, m).sum(1))
    # Past float64's digits the excess of a long memory is rounding.
    return np.maximum(np.trace(windows[ahead:, ahead:]) - np.append(0, gained), floor) / floor - 1


def fixed_regret(
    L: Float[np.ndarray, "Tm Tm"], W: Float[np.ndarray, "p k"], m: int, patch: int
) -> Float[np.ndarray, " S"]:
    """Return E‖ŷ_t − ŷ*_t‖² of fixed coefficients W (P·m, order·m), the latest step first, at the steps t = P+1 … T.

    What they get wrong of the innovations z of y = L z from before the patch (squared unit of y); steps before the
    sequence are 0.
    """
    by_lag = W.reshape(len(W), -1, m)
    found = []
    for here in range(patch * m, len(L), patch * m):
        seen = min(by_lag.shape[1], here // m)
        known = L[here - seen * m : here, :here].reshape(seen, m, here)[::-1]
        left = L[here : here + patch * m, :here] - np.einsum("pkm,kmz->pz", by_lag[:, :seen], known)
        found.append((left**2).sum(1).reshape(patch, m).sum(1))
    return np.concatenate(found)


def rollout_excess(
    L: Float[np.ndarray, "Tm Tm"],
    W: Float[np.ndarray, "p k"],
    m: int,
    context: int,
    horizons: Sequence[int],
) -> Float[np.ndarray, " h"]:
    """Return the excess of time-invariant coefficients at each horizon after `context` steps, predictions fed back.

    In units of the filter's own h-step error. Exact: predictions are linear in the innovations z of y = L z.
    """
    seen, reach = context * m, W.shape[1]
    # What is known at first, as coefficients of z_1 … z_context, after as many zeros as the coefficients may ask for.
    known = np.concatenate([np.zeros((reach, seen)), L[:seen, :seen]])
    while len(known) < reach + seen + max(horizons) * m:
        latest_first = known[len(known) - reach :].reshape(-1, m, seen)[::-1].reshape(reach, seen)
        known = np.concatenate([known, W @ latest_first])
    ahead = known[reach:].reshape(-1, m, seen)
    at = context - 1 + np.asarray(horizons)
    off = ((ahead[at] - L[:, :seen].reshape(-1, m, seen)[at]) ** 2).sum((1, 2))
    return off / kalman.horizon_floors(L, m, context, horizons)
