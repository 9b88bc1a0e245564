"""The best possible prediction of a linear Gaussian system, exactly: the Kalman filter. float64, no JAX.

    x_0 = 0,   x_{t+1} = A x_t + ε_t,   ε_t ~ N(0, σ² I),   y_t = C x_t + v_t,   v_t ~ N(0, R),   R = r² I

Kalman, "A New Approach to Linear Filtering and Prediction Problems" (1960); Anderson & Moore, "Optimal
Filtering" (1979), ch. 3-5. Sequences are y_1 … y_T, arrays count from 0: row t − 1 holds y_t. Letters: n
latent size, m observed size, T steps, P_t = Cov(x_t | y_{1:t−1}), S_t = Cov(y_t | y_{1:t−1}), K_t the gain.

By default there is no observation noise, R = 0: the *filtered* covariance Cov(x_t | y_{1:t}) is then singular and
the information form does not exist; S_t = C P_t Cᵀ + R ⪰ σ² C Cᵀ + R ≻ 0 does, wherever C has full row rank or r > 0.

The other way to the same numbers: stack y = (y_1, …, y_T) and factor Cov(y) = L Lᵀ. Then z = L⁻¹ y are
the innovations, whitened, and since z_1 … z_s span the same past as y_1 … y_s, every conditional
expectation is a matter of cutting columns off L: E[y_t | y_{1:s}] = Σ_{r≤s} L[t, r] z_r.

Every error below is a sum over the m observed coordinates, in the squared unit of y.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float

from bestguess.command import UserError
from bestguess.filters.systems import MIN_SINGULAR_RATIO, System, check_system


class FilterResult(NamedTuple):
    """What `kalman_filter` returns, for sequences y of shape (..., T, m)."""

    predictions: np.ndarray
    """(..., T, m): E[y_t | y_{1:t−1}]; 0 for t = 1."""
    innovation_covariances: np.ndarray
    """(T, m, m): S_t."""
    gains: np.ndarray
    """(T, n, m): K_t."""
    log_likelihood: np.ndarray
    """(...): log p(y_1, …, y_T), in nats."""


class SteadyState(NamedTuple):
    """The limits of the filter's matrices as t grows."""

    P: np.ndarray
    """(n, n): the predicted covariance of the state."""
    S: np.ndarray
    """(m, m): the covariance of the innovation."""
    K: np.ndarray
    """(n, m): the gain, predictor form."""


# ------------------------------------------------------------------------------------- the recursion


def kalman_gains(system: System, T: int) -> tuple[Float[np.ndarray, "{T} n m"], Float[np.ndarray, "{T} m m"]]:
    """Return the gains K_t (T, n, m) and innovation covariances S_t (T, m, m), which no data enters.

        P_1 = σ² I,   S_t = C P_t Cᵀ + R,   K_t = A P_t Cᵀ S_t⁻¹,
        P_{t+1} = (A − K_t C) P_t (A − K_t C)ᵀ + K_t R K_tᵀ + σ² I

    Predictor form; the update of P is Joseph's, a sum of positive semidefinite terms, which stays one under
    rounding. Raises UserError for a system that `check_system` refuses, and where S_t is singular in
    float64. Anderson & Moore (1979), ch. 3; for R = 0 Kalman (1960), Theorem 3, eqs. 28-30.
    """
    check_system(system)
    A, C, n = system.A, system.C, system.latent_dim
    r, Q = system.observation_noise, system.sigma**2 * np.eye(n)
    gains = np.empty((T, n, system.observed_dim))
    covariances = np.empty((T, system.observed_dim, system.observed_dim))
    P = Q
    for t in range(T):
        S, K = _innovation(A, C, P, r)
        closed = A - K @ C
        P = symmetric(closed @ P @ closed.T + r**2 * (K @ K.T)) + Q
        gains[t], covariances[t] = K, S
    return gains, covariances


def kalman_filter(system: System, y: Float[np.ndarray, "*batch T m"]) -> FilterResult:
    """Return E[y_t | y_{1:t−1}] for every t, with S_t, K_t and log p(y) in nats, for sequences y (..., T, m).

        x̂_{1|0} = 0,   ŷ_t = C x̂_{t|t−1},   x̂_{t+1|t} = A x̂_{t|t−1} + K_t (y_t − ŷ_t)

    The likelihood is the product of the innovations' densities N(y_t − ŷ_t; 0, S_t). Raises UserError as
    `kalman_gains`, ValueError for a y of the wrong shape. Anderson & Moore (1979), ch. 3 and 5.
    """
    y = _sequences(system, y)
    T, m = y.shape[-2:]
    gains, covariances = kalman_gains(system, T)
    predictions, _ = _run(system, gains, y)
    S_root = np.linalg.cholesky(covariances)
    whitened = np.linalg.solve(S_root, (y - predictions)[..., None])
    log_det = 2 * np.log(np.diagonal(S_root, axis1=-2, axis2=-1)).sum()
    log_likelihood = -0.5 * (T * m * np.log(2 * np.pi) + log_det + (whitened**2).sum((-3, -2, -1)))
    return FilterResult(predictions, covariances, gains, log_likelihood)


def predict_ahead(
    system: System, y: Float[np.ndarray, "*batch T m"], horizons: Sequence[int] | np.ndarray
) -> Float[np.ndarray, "*batch h m"]:
    """Return E[y_{T+h} | y_{1:T}] (..., len(horizons), m), in the horizons' order, of y (..., T, m).

        E[y_{T+h} | y_{1:T}] = C A^{h−1} x̂_{T+1|T}

    Raises UserError as `kalman_gains`, ValueError for a horizon below 1 or a y of the wrong shape.
    Kalman (1960), eq. 23.
    """
    y = _sequences(system, y)
    h = _horizons(horizons)
    gains, _ = kalman_gains(system, y.shape[-2])
    _, x = _run(system, gains, y)
    ahead = np.empty((*y.shape[:-2], h.size, system.observed_dim))
    for step in range(1, h.max(initial=0) + 1):
        ahead[..., h == step, :] = (x @ system.C.T)[..., None, :]
        x = x @ system.A.T
    return ahead


def steady_state(system: System) -> SteadyState:
    """Return the limits P (n, n), S (m, m), K (n, m) of the filter's matrices, solved for, not iterated to.

        P = A P Aᵀ − A P Cᵀ S⁻¹ C P Aᵀ + σ² I,   S = C P Cᵀ + R,   K = A P Cᵀ S⁻¹

    SciPy's solver of the discrete algebraic Riccati equation takes R = 0 (it never inverts R: it deflates
    an extended pencil, and S is regular). Raises UserError for a system that `check_system` refuses, and
    where the solver fails or leaves a relative residual above 1e-9. Anderson & Moore (1979), ch. 4.
    """
    check_system(system)
    A, C, n, m = system.A, system.C, system.latent_dim, system.observed_dim
    failed = "the steady state of this system cannot be solved for in float64; lower --condition or --lambda"
    # At equal r/σ, P and S are proportional to σ² and K does not depend on it: solving at σ = 1 leaves scale out.
    r = system.observation_noise / system.sigma
    try:
        P = symmetric(scipy.linalg.solve_discrete_are(A.T, C.T, np.eye(n), r**2 * np.eye(m)))
    except np.linalg.LinAlgError as error:
        raise UserError(failed) from error
    S, K = _innovation(A, C, P, r)
    closed = A - K @ C
    residual = np.abs(closed @ P @ closed.T + r**2 * (K @ K.T) + np.eye(n) - P).max() / np.abs(P).max()
    if not residual < 1e-9:
        raise UserError(failed)
    return SteadyState(system.sigma**2 * P, system.sigma**2 * S, K)


# ----------------------------------------------------------------------------------- the Cholesky factor


def observation_covariance(system: System, T: int) -> Float[np.ndarray, "Tm Tm"]:
    """Return Cov(y) (T·m, T·m) of the stacked sequence y = (y_1, …, y_T), in the squared unit of y.

        Cov(y_t, y_s) = C A^{t−s} Π_s Cᵀ (t > s),   Cov(y_s) = C Π_s Cᵀ + R,   Π_s = Cov(x_s) = σ² Σ_{k<s} A^k (A^k)ᵀ

    computed, but for R, as Cov(y_t, y_s) = Cov(y_{t−1}, y_{s−1}) + σ² (C A^{t−1}) (C A^{s−1})ᵀ: one matrix
    product, then a running sum down the diagonals. Raises ValueError for T below 1. Anderson & Moore (1979), ch. 2.
    """
    if T < 1:
        raise ValueError(f"T = {T} must be 1 or more")
    m, n = system.C.shape
    response = np.empty((T, m, n))  # σ C A^{t−1}
    response[0] = system.sigma * system.C
    for t in range(1, T):
        response[t] = response[t - 1] @ system.A
    flat = response.reshape(T * m, n)
    covariance = flat @ flat.T
    for row in range(m, T * m, m):
        covariance[row : row + m, m:] += covariance[row - m : row, :-m]
    covariance[np.diag_indices(T * m)] += system.observation_noise**2
    return covariance


def cholesky_factor(system: System, T: int) -> Float[np.ndarray, "Tm Tm"]:
    """Return the lower L (T·m, T·m) with L Lᵀ = Cov(y): y = L z with z ~ N(0, I) samples the process exactly.

    Its m x m blocks are the filter: L[t, t] L[t, t]ᵀ = S_t, and L[t, s] z_s is what y_s adds to the
    prediction of y_t. Raises UserError for a system that `check_system` refuses, and where the covariance is
    not positive definite in float64; ValueError for T below 1. Anderson & Moore (1979), ch. 9.
    """
    check_system(system)
    covariance = observation_covariance(system, T)
    try:
        # LAPACK wants columns first: the transpose of the (symmetric) covariance is that, without a copy.
        # Its upper factor, transposed back, is the lower one in rows-first order.
        upper = scipy.linalg.cholesky(covariance.T, lower=False, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError as error:
        raise UserError(NOT_POSITIVE_DEFINITE) from error
    return upper.T


def innovations(L: Float[np.ndarray, "Tm Tm"], y: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Return the whitened innovations z = L⁻¹ y, of y's shape: i.i.d. N(0, 1) where y has covariance L Lᵀ.

    `y` is (..., T, m) or stacked (..., T·m). Raises ValueError where it fits L in neither way.
    """
    flat = _stacked(L, y)
    z = scipy.linalg.solve_triangular(L, flat.reshape(-1, L.shape[0]).T, lower=True).T
    return z.reshape(np.shape(y))


def predictions_from_factor(
    L: Float[np.ndarray, "Tm Tm"], z: Float[np.ndarray, "*shape"], m: int
) -> Float[np.ndarray, "*shape"]:
    """Return E[y_t | y_{1:t−1}] for every t, of z's shape, from the whitened innovations z of y = L z.

        ŷ_t = Σ_{s<t} L[t, s] z_s = y_t − L[t, t] z_t

    `z` is (..., T, m) or stacked (..., T·m). Raises ValueError where it, or m, does not fit L.
    """
    # The sum, not the difference: nothing cancels, and ŷ_1 is exactly 0.
    return (_stacked(L, z) @ patch_factor(L, m, 1).T).reshape(np.shape(z))


def horizon_floors(
    L: Float[np.ndarray, "Tm Tm"], m: int, context: int, horizons: Sequence[int] | np.ndarray
) -> Float[np.ndarray, " h"]:
    """Return the least possible error of y_{t+h} given y_{1:t}, t = `context`, for each h (len(horizons),).

        E‖y_{t+h} − E[y_{t+h} | y_{1:t}]‖² = Σ_{s>t} ‖L[t+h, s]‖_F²

    A context of 0 gives the ceilings. Raises ValueError where t + h is beyond the T steps of L, a horizon is
    below 1, or m does not fit L. Anderson & Moore (1979), ch. 5.
    """
    return np.array([(rows[:, context * m :] ** 2).sum() for rows in _rows_ahead(L, m, context, horizons)])


def horizon_ceilings(
    L: Float[np.ndarray, "Tm Tm"], m: int, context: int, horizons: Sequence[int] | np.ndarray
) -> Float[np.ndarray, " h"]:
    """Return E‖y_{t+h}‖², t = `context`, for each h (len(horizons),): the error of the best constant, zero.

    Raises ValueError as `horizon_floors`.
    """
    return np.array([(rows**2).sum() for rows in _rows_ahead(L, m, context, horizons)])


def patch_factor(L: Float[np.ndarray, "Tm Tm"], m: int, patch: int) -> Float[np.ndarray, "Tm Tm"]:
    """Return L with its diagonal blocks of `patch` steps zeroed, F (T·m, T·m): the oracle of patches.

        (F z)_t = E[y_t | y_s of all patches before t's],   F[t, s] = L[t, s] where s's patch ends before t's

    With a patch of 1 step, F z are the one-step predictions. Raises ValueError where T is not a multiple of
    `patch`, or m does not fit L.
    """
    size = m * patch
    predictive = L.copy()
    for start in _patch_starts(L, m, patch):
        predictive[start : start + size, start : start + size] = 0
    return predictive


def patch_floors(L: Float[np.ndarray, "Tm Tm"], m: int, patch: int) -> Float[np.ndarray, " T"]:
    """Return E‖y_t − E[y_t | all patches before t's]‖² for every t (T,): the least error with such patches.

    With a patch of 1 step it is tr S_t. Raises ValueError as `patch_factor`.
    """
    size = m * patch
    blocks = [L[a : a + size, a : a + size] for a in _patch_starts(L, m, patch)]
    return np.concatenate([(block**2).sum(1).reshape(patch, m).sum(1) for block in blocks])


def ceilings(L: Float[np.ndarray, "Tm Tm"], m: int) -> Float[np.ndarray, " T"]:
    """Return E‖y_t‖² for every t (T,): the error of the best prediction that ignores the past, zero.

    Raises ValueError where m does not fit L.
    """
    return np.einsum("ij,ij->i", L, L).reshape(_steps(L, m), m).sum(1)


# -------------------------------------------------------------------------------------------- parts

NOT_POSITIVE_DEFINITE = (
    "the observations' covariance is not positive definite in float64: C is close to rank-deficient; "
    "lower --observed-dim or --condition, or draw another seed"
)


def symmetric(P: Float[np.ndarray, "*batch n n"]) -> Float[np.ndarray, "*batch n n"]:
    """Return matrices without what rounding makes unsymmetric in them."""
    return (P + P.swapaxes(-1, -2)) / 2


def _innovation(A: np.ndarray, C: np.ndarray, P: np.ndarray, r: float) -> tuple[np.ndarray, np.ndarray]:
    """Return S = C P Cᵀ + r² I and K = A P Cᵀ S⁻¹."""
    PC = P @ C.T
    S = symmetric(C @ PC) + r**2 * np.eye(len(C))
    try:
        factor = scipy.linalg.cho_factor(S, lower=True)
    except np.linalg.LinAlgError as error:
        raise UserError(NOT_POSITIVE_DEFINITE) from error
    pivots = np.diag(factor[0])
    # A pivot of rounding error may come out positive: the factorisation passes and the gain is noise.
    if pivots.min() < MIN_SINGULAR_RATIO * pivots.max():
        raise UserError(NOT_POSITIVE_DEFINITE)
    return S, scipy.linalg.cho_solve(factor, (A @ PC).T).T


def _run(system: System, gains: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the one-step predictions (..., T, m) and the last predicted state x̂_{T+1|T} (..., n)."""
    predictions = np.empty_like(y)
    x = np.zeros((*y.shape[:-2], system.latent_dim))
    for t, K in enumerate(gains):
        predictions[..., t, :] = x @ system.C.T
        x = x @ system.A.T + (y[..., t, :] - predictions[..., t, :]) @ K.T
    return predictions, x


def _sequences(system: System, y: np.ndarray) -> np.ndarray:
    y = np.asarray(y, np.float64)
    if y.ndim < 2 or y.shape[-1] != system.observed_dim:
        raise ValueError(f"y has shape {y.shape}, not (..., T, {system.observed_dim})")
    return y


def _horizons(horizons: Sequence[int] | np.ndarray) -> np.ndarray:
    h = np.asarray(horizons, np.int64)
    if h.ndim != 1 or (h < 1).any():
        raise ValueError(f"horizons {horizons} must be a list of steps, each 1 or more")
    return h


def _steps(L: np.ndarray, m: int) -> int:
    """Return T, the number of m x m block rows of L."""
    if m < 1 or L.shape[0] % m:
        raise ValueError(f"a factor of {L.shape[0]} rows does not hold steps of {m}")
    return L.shape[0] // m


def _stacked(L: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return y (..., T, m) or (..., T·m) as (..., T·m)."""
    y = np.asarray(y, np.float64)
    rows = L.shape[0]
    if y.ndim >= 1 and y.shape[-1] == rows:
        return y
    if y.ndim >= 2 and y.shape[-1] * y.shape[-2] == rows:
        return y.reshape(*y.shape[:-2], rows)
    raise ValueError(f"sequences of shape {y.shape} do not fit a factor of {rows} rows")


def _rows_ahead(L: np.ndarray, m: int, context: int, horizons: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """Return L's m rows of the step context + h, for each h."""
    T = _steps(L, m)
    h = _horizons(horizons)
    if context < 0 or context + h.max(initial=0) > T:
        raise ValueError(f"context {context} and horizons {horizons} do not fit the {T} steps of the factor")
    return [L[(context + step - 1) * m : (context + step) * m] for step in h]


def _patch_starts(L: np.ndarray, m: int, patch: int) -> range:
    T = _steps(L, m)
    if patch < 1 or T % patch:
        raise ValueError(f"{T} steps are not a multiple of a patch of {patch}")
    return range(0, T * m, patch * m)
