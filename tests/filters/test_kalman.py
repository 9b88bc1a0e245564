"""The oracle, three ways (recursion, Cholesky factor, statsmodels) and by brute force, to 1e-9 in float64."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from statsmodels.tsa.statespace.kalman_filter import KalmanFilter

from bestguess.command import UserError
from bestguess.filters.kalman import (
    ceilings,
    cholesky_factor,
    horizon_ceilings,
    horizon_floors,
    innovations,
    kalman_filter,
    kalman_gains,
    observation_covariance,
    patch_factor,
    patch_floors,
    predict_ahead,
    predictions_from_factor,
    steady_state,
)
from bestguess.filters.systems import STRUCTURES, System, draw_system

# (n, m, T): odd and even n, m = 1, 2, 3 and m = n, no two sizes of a row equal but in the last two.
SIZES = [(7, 3, 11), (5, 2, 13), (2, 1, 17), (8, 3, 5), (10, 1, 29), (11, 2, 1), (3, 3, 7), (1, 1, 19)]
RADII = [(0.36, 0.0), (0.84, 0.0), (0.99, 0.0), (0.84, 0.7)]  # λ, r
every_structure = pytest.mark.parametrize("structure", STRUCTURES)
with_and_without_noise = pytest.mark.parametrize("r", [0.0, 0.7])


def draw(structure: str, n=7, m=3, lambda_=0.9, sigma=1.5, seed=2, r=0.0, **rest) -> System:
    sizes = {"latent_dim": n, "observed_dim": m}
    return draw_system(structure, **sizes, lambda_=lambda_, sigma=sigma, seed=seed, observation_noise=r, **rest)


def close(actual: np.ndarray, expected: np.ndarray, tolerance: float = 1e-9) -> None:
    """Assert equal shapes, and a largest difference of `tolerance` in units of the largest expected entry."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    difference = np.abs(actual - expected).max(initial=0)
    assert difference <= tolerance * np.abs(expected).max(initial=0), difference


def noise_to_observations(system: System, T: int) -> np.ndarray:
    """Return G (T·m, T·(n + m)) with y = G (ε, v), by running the system's own equations on every unit impulse."""
    n, m = system.latent_dim, system.observed_dim
    G = np.zeros((T, m, T, n))
    for s in range(T):
        for i in range(n):
            x = np.zeros(n)
            for t in range(T):
                noise = np.zeros(n)
                noise[i] = system.sigma if t == s else 0.0
                x = system.A @ x + noise
                G[t, :, s, i] = system.C @ x
    return np.hstack([G.reshape(T * m, T * n), system.observation_noise * np.eye(T * m)])


def conditional(covariance: np.ndarray, m: int, y: np.ndarray, context: int, step: int):
    """Return the mean and covariance of y_{step} given y_{1:context}, from the joint covariance."""
    past, now = slice(0, context * m), slice((step - 1) * m, step * m)
    weights = np.linalg.solve(covariance[past, past], covariance[past, now]).T
    return weights @ y.reshape(-1)[past], covariance[now, now] - weights @ covariance[past, now]


def sample(system: System, T: int, seed: int = 0) -> np.ndarray:
    """Return a sequence (T, m), by running the system's own equations."""
    rng = np.random.default_rng(seed)
    x, y = np.zeros(system.latent_dim), []
    for _ in range(T):
        x = system.A @ x + system.sigma * rng.standard_normal(system.latent_dim)
        y.append(system.C @ x + system.observation_noise * rng.standard_normal(system.observed_dim))
    return np.array(y)


def statsmodels_filter(system: System, y: np.ndarray):
    """Return statsmodels' results; a row of NaN in y is missing: a tail of them asks for h-step forecasts."""
    n, m = system.latent_dim, system.observed_dim
    Q = system.sigma**2 * np.eye(n)
    model = KalmanFilter(
        k_endog=m,
        k_states=n,
        k_posdef=n,
        design=system.C,
        obs_cov=system.observation_noise**2 * np.eye(m),
        transition=system.A,
        selection=np.eye(n),
        state_cov=Q,
        tolerance=0,
    )
    model.bind(np.array(y))
    model.initialize_known(np.zeros(n), Q)
    return model.filter()


# ------------------------------------------------------------------------------------- closed forms


def test_one_dimension_is_an_autoregression():
    """n = m = 1: y_t = a y_{t−1} + c ε, so every number is known by hand."""
    a, c, sigma, T = -0.7, 2.0, 0.5, 6
    system = System(A=np.array([[a]]), C=np.array([[c]]), sigma=sigma, structure="diagonal")
    y = np.array([[1.0], [-2.0], [0.5], [3.0], [0.25], [-1.0]])
    result = kalman_filter(system, y)
    close(result.predictions, np.concatenate([[[0.0]], a * y[:-1]]), 1e-14)
    close(result.innovation_covariances, np.full((T, 1, 1), (c * sigma) ** 2), 1e-14)
    close(result.gains, np.full((T, 1, 1), a / c), 1e-14)
    close(predict_ahead(system, y, [3, 1]), np.array([[-(a**3)], [-a]]), 1e-14)
    L = cholesky_factor(system, T)
    variance = [(c * sigma) ** 2 * (1 - a ** (2 * h)) / (1 - a**2) for h in range(1, T + 1)]
    close(horizon_floors(L, 1, 2, [4, 1]), np.array([variance[3], variance[0]]), 1e-14)
    close(horizon_ceilings(L, 1, 2, [4, 1]), np.array([variance[5], variance[2]]), 1e-14)
    close(ceilings(L, 1), np.array(variance), 1e-14)
    close(patch_floors(L, 1, 3), np.array(variance[:3] * 2), 1e-14)


def test_a_state_that_is_observed_whole_is_predicted_from_the_last_observation():
    """m = n: P = σ² I and K = A C⁻¹ at every step."""
    system = draw("dense", n=5, m=5)
    gains, S = kalman_gains(system, 4)
    K = system.A @ np.linalg.inv(system.C)
    close(gains, np.broadcast_to(K, gains.shape))
    close(S, np.broadcast_to(2.25 * system.C @ system.C.T, S.shape))
    steady = steady_state(system)
    close(steady.P, 2.25 * np.eye(5))
    close(steady.K, K)


# ------------------------------------------------------------------------------- the law of the sequence


@every_structure
@with_and_without_noise
@pytest.mark.parametrize(("n", "m", "T"), SIZES)
def test_covariance_is_that_of_the_equations(structure, r, n, m, T):
    """Cov(y) = G Gᵀ with y = G (ε, v), the equations run on every impulse."""
    system = draw(structure, n, m, r=r)
    G = noise_to_observations(system, T)
    covariance = observation_covariance(system, T)
    close(covariance, G @ G.T, 1e-12)
    np.testing.assert_array_equal(covariance, covariance.T)
    L = cholesky_factor(system, T)
    np.testing.assert_array_equal(np.triu(L, 1), 0)
    assert (np.diag(L) > 0).all()
    close(L @ L.T, G @ G.T, 1e-12)


@with_and_without_noise
def test_covariance_is_the_formula(r):
    """Cov(y_t, y_s) = C A^{t−s} Π_s Cᵀ, with Π_s by its own recursion, and R where t = s."""
    system, T, m = draw("dense", r=r), 11, 3
    covariance = observation_covariance(system, T).reshape(T, m, T, m)
    Pi = np.zeros((7, 7))
    for s in range(T):
        Pi = system.A @ Pi @ system.A.T + 1.5**2 * np.eye(7)
        for t in range(s, T):
            block = system.C @ np.linalg.matrix_power(system.A, t - s) @ Pi @ system.C.T + (t == s) * r**2 * np.eye(m)
            np.testing.assert_allclose(covariance[t, :, s], block, rtol=0, atol=1e-12)


def test_isotropic_noise_hides_a_rotation_and_nothing_else():
    """Cov(y) is the same under (Q A Qᵀ, C Qᵀ); a skew change of basis shows: σ² I is not its noise."""
    system = draw("dense")
    Q = np.linalg.qr(np.random.default_rng(1).standard_normal((7, 7)))[0]
    V = Q * np.geomspace(0.5, 2, 7)
    expected = observation_covariance(system, 11)
    rotated = dataclasses.replace(system, A=Q @ system.A @ Q.T, C=system.C @ Q.T)
    close(observation_covariance(rotated, 11), expected, 1e-13)
    close(kalman_gains(rotated, 11)[1], kalman_gains(system, 11)[1])
    inverse = np.linalg.inv(V)
    skew = dataclasses.replace(system, A=V @ system.A @ inverse, C=system.C @ inverse)
    with pytest.raises(AssertionError):
        close(observation_covariance(skew, 11), expected, 1e-2)


# ------------------------------------------------------------------------------------- one step, three ways


def check_three_ways(system: System, T: int) -> None:
    m = system.observed_dim
    y = sample(system, T)
    result = kalman_filter(system, y)
    L = cholesky_factor(system, T)
    other = statsmodels_filter(system, y)
    z = innovations(L, y)

    close(predictions_from_factor(L, z, m), result.predictions)
    close(other.forecasts.T, result.predictions)

    S = np.array([L[i : i + m, i : i + m] @ L[i : i + m, i : i + m].T for i in range(0, T * m, m)])
    close(S, result.innovation_covariances)
    close(other.forecasts_error_cov.transpose(2, 0, 1), result.innovation_covariances)
    close(other.kalman_gain.transpose(2, 0, 1), result.gains)
    assert result.log_likelihood == pytest.approx(other.llf, rel=1e-9, abs=1e-9)

    # Whitened in the factor's way and in the recursion's, innovations are the same numbers.
    whitened = np.linalg.solve(np.linalg.cholesky(result.innovation_covariances), (y - other.forecasts.T)[..., None])
    close(z, whitened[..., 0])
    close(patch_floors(L, m, 1), np.trace(result.innovation_covariances, axis1=1, axis2=2))


@every_structure
@pytest.mark.parametrize(("n", "m", "T"), SIZES)
@pytest.mark.parametrize(("lambda_", "r"), RADII)
def test_three_ways_agree(structure, n, m, T, lambda_, r):
    check_three_ways(draw(structure, n, m, lambda_, r=r), T)


@given(
    structure=st.sampled_from(STRUCTURES),
    n=st.integers(1, 8),
    m=st.integers(1, 4),
    T=st.integers(1, 12),
    lambda_=st.floats(0.05, 0.99),
    sigma=st.floats(1e-3, 1e3),
    r=st.just(0.0) | st.floats(1e-3, 1e3),
    condition=st.floats(1.0, 30.0),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_three_ways_agree_on_drawn_systems(structure, n, m, T, lambda_, sigma, r, condition, seed):
    assume(m <= n or r > 0)
    system = draw(structure, n, m, lambda_, sigma, seed, r, condition=condition)
    # S contains σ² C Cᵀ + R: a nearly square C loses digits in every way alike, and 1e-9 would test luck.
    assume(np.linalg.cond(np.hstack([sigma * system.C, r * np.eye(m)])) < 100)
    check_three_ways(system, T)


@pytest.mark.parametrize(("structure", "r"), [*((one, 0.0) for one in STRUCTURES), ("diagonal", 0.5)])
def test_three_ways_agree_over_long_sequences(structure, r):
    """The default sizes at the slowest spectrum: neither way drifts over 256 steps."""
    check_three_ways(draw(structure, 64, 2, 0.99, 1.0, r=r), 256)


@every_structure
@with_and_without_noise
@pytest.mark.parametrize(("n", "m", "T"), SIZES)
def test_one_step_by_brute_force(structure, r, n, m, T):
    system = draw(structure, n, m, r=r)
    y = sample(system, T)
    G = noise_to_observations(system, T)
    brute = [conditional(G @ G.T, m, y, t - 1, t) for t in range(1, T + 1)]
    result = kalman_filter(system, y)
    close(result.predictions, np.array([mean for mean, _ in brute]))
    close(result.innovation_covariances, np.array([covariance for _, covariance in brute]))
    joint = scipy.stats.multivariate_normal(np.zeros(T * m), G @ G.T)
    assert result.log_likelihood == pytest.approx(joint.logpdf(y.reshape(-1)), rel=1e-9)


def test_predictions_see_the_past_only():
    system = draw("dense")
    y = sample(system, 11)
    moved = y.copy()
    moved[5:] += 100.0
    L = cholesky_factor(system, 11)
    for predict in (
        lambda y: kalman_filter(system, y).predictions,
        lambda y: predictions_from_factor(L, innovations(L, y), 3),
    ):
        before, after = predict(y), predict(moved)
        np.testing.assert_allclose(after[:6], before[:6], rtol=0, atol=1e-10)
        assert (np.abs(after[6:] - before[6:]).max(1) > 0.1).all()


def test_more_sensors_than_states_and_sensors_that_repeat_each_other():
    """With noise of their own they are as good as their mean: one sensor of smaller noise."""
    many = draw("diagonal", 2, 5, r=0.7)
    check_three_ways(many, 11)
    one = draw("diagonal", 2, 1, r=0.7)
    repeated = dataclasses.replace(one, C=np.repeat(one.C, 4, axis=0))
    check_three_ways(repeated, 11)
    y = sample(repeated, 11)
    mean = dataclasses.replace(one, observation_noise=0.7 / 2)
    expected = kalman_filter(mean, y.mean(1, keepdims=True)).predictions
    close(kalman_filter(repeated, y).predictions, np.repeat(expected, 4, axis=1))


def test_a_scalar_with_noise_by_hand():
    """n = m = 1: the steady P solves P = a² P r²/(c² P + r²) + σ², a quadratic equation."""
    a, c, sigma, r = 0.9, 0.8, 1.3, 0.6
    system = System(np.array([[a]]), np.array([[c]]), sigma, "diagonal", r)
    b = r**2 * (1 - a**2) - c**2 * sigma**2
    P = (-b + np.sqrt(b**2 + 4 * c**2 * sigma**2 * r**2)) / (2 * c**2)
    steady = steady_state(system)
    close(steady.P, [[P]])
    close(steady.S, [[c**2 * P + r**2]])
    close(steady.K, [[a * P * c / (c**2 * P + r**2)]])
    close(kalman_gains(system, 100)[0][-1], steady.K)


def test_matrices_scale_with_sigma_and_gains_do_not():
    one, other = draw("dense", sigma=1.0), draw("dense", sigma=1e-4)
    (K, S), (K_other, S_other) = kalman_gains(one, 11), kalman_gains(other, 11)
    close(K_other, K, 1e-12)
    close(S_other, 1e-8 * S, 1e-12)
    close(steady_state(other).P, 1e-8 * steady_state(one).P, 1e-12)
    close(cholesky_factor(other, 11), 1e-4 * cholesky_factor(one, 11), 1e-12)


# ------------------------------------------------------------------------------------------- h steps


@every_structure
@pytest.mark.parametrize(("n", "m", "T"), [(7, 3, 11), (10, 1, 13), (3, 2, 5)])
@pytest.mark.parametrize(("lambda_", "r"), RADII)
def test_every_horizon_four_ways(structure, n, m, T, lambda_, r):
    """From every context, to every horizon that the sequence holds: means and errors."""
    system = draw(structure, n, m, lambda_, r=r)
    y = sample(system, T)
    L = cholesky_factor(system, T)
    z = innovations(L, y).reshape(-1)
    G = noise_to_observations(system, T)
    for context in range(0, T, 2):
        horizons = np.arange(1, T - context + 1)
        missing = y.copy()
        missing[context:] = np.nan
        other = statsmodels_filter(system, missing)
        brute = [conditional(G @ G.T, m, y, context, context + h) for h in horizons]
        expected = np.array([mean for mean, _ in brute])
        cut = (L[context * m :, : context * m] @ z[: context * m]).reshape(-1, m)
        scale = np.abs(y).max()
        for way in (predict_ahead(system, y[:context], horizons), cut, other.forecasts.T[context:]):
            assert way.shape == expected.shape
            assert np.abs(way - expected).max() <= 1e-9 * scale
        floors = horizon_floors(L, m, context, horizons)
        close(floors, np.array([np.trace(covariance) for _, covariance in brute]))
        close(floors, np.trace(other.forecasts_error_cov, axis1=0, axis2=1)[context:])
        close(horizon_ceilings(L, m, context, horizons), (G**2).sum(1).reshape(T, m).sum(1)[context:])


def test_horizons_keep_their_order_and_repeats():
    system, y = draw("dense"), sample(draw("dense"), 11)
    L = cholesky_factor(system, 11)
    straight = predict_ahead(system, y, [1, 2, 3, 4])
    np.testing.assert_array_equal(predict_ahead(system, y, [4, 1, 4, 2]), straight[[3, 0, 3, 1]])
    floors = horizon_floors(L, 3, 5, [1, 2, 3, 4])
    np.testing.assert_array_equal(horizon_floors(L, 3, 5, [4, 1, 4, 2]), floors[[3, 0, 3, 1]])


def test_floors_lie_between_one_step_and_the_ceiling():
    L = cholesky_factor(draw("diagonal"), 31)
    horizons = np.arange(1, 21)
    floors, tops = horizon_floors(L, 3, 11, horizons), horizon_ceilings(L, 3, 11, horizons)
    assert (floors < tops).all()
    np.testing.assert_array_equal(horizon_floors(L, 3, 0, horizons), horizon_ceilings(L, 3, 0, horizons))
    assert floors[0] == pytest.approx(patch_floors(L, 3, 1)[11], rel=1e-12)
    np.testing.assert_allclose(tops, ceilings(L, 3)[11:31], rtol=1e-12)


# ------------------------------------------------------------------------------------------- patches


@every_structure
@with_and_without_noise
@pytest.mark.parametrize("patch", [1, 2, 3, 4, 6, 12])
def test_patches_by_brute_force(structure, r, patch):
    n, m, T = 7, 2, 12
    system = draw(structure, n, m, r=r)
    y = sample(system, T)
    L = cholesky_factor(system, T)
    G = noise_to_observations(system, T)
    brute = [conditional(G @ G.T, m, y, t // patch * patch, t + 1) for t in range(T)]
    predicted = (patch_factor(L, m, patch) @ innovations(L, y).reshape(-1)).reshape(T, m)
    assert np.abs(predicted - [mean for mean, _ in brute]).max() <= 1e-9 * np.abs(y).max()
    close(patch_floors(L, m, patch), np.array([np.trace(covariance) for _, covariance in brute]))
    # What is predicted and what is not are orthogonal: their second moments add up.
    close(patch_floors(L, m, patch) + ceilings(patch_factor(L, m, patch), m), ceilings(L, m))


def test_a_patch_of_one_is_the_filter_and_one_of_all_is_the_constant():
    system, T, m = draw("dense"), 12, 3
    y, L = sample(system, T), cholesky_factor(system, T)
    kept = L.copy()
    z = innovations(L, y)
    one = (patch_factor(L, m, 1) @ z.reshape(-1)).reshape(T, m)
    close(one, kalman_filter(system, y).predictions)
    np.testing.assert_array_equal(patch_factor(L, m, T), 0)
    close(patch_floors(L, m, T), ceilings(L, m), 1e-12)
    np.testing.assert_array_equal(L, kept)  # the factor given is not the one written to


# -------------------------------------------------------------------------------------- steady state


@every_structure
@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 1), (7, 3), (10, 2), (5, 4)])
@pytest.mark.parametrize(("lambda_", "r"), RADII)
def test_steady_state_is_the_limit_and_solves_riccati(structure, n, m, lambda_, r):
    system = draw(structure, n, m, lambda_, r=r)
    A, C = system.A, system.C
    P, S, K = steady_state(system)
    gains, covariances = kalman_gains(system, 600)
    close(K, gains[-1])
    close(S, covariances[-1])
    R = r**2 * np.eye(m)
    riccati = A @ P @ A.T - A @ P @ C.T @ np.linalg.solve(C @ P @ C.T + R, C @ P @ A.T) + 2.25 * np.eye(n)
    close(riccati, P, 1e-12)
    close(S, C @ P @ C.T + R, 1e-12)
    np.testing.assert_array_equal(P, P.T)
    assert np.linalg.eigvalsh(P).min() >= 2.25 * (1 - 1e-12)  # P ⪰ σ² I
    assert np.abs(np.linalg.eigvals(A - K @ C)).max() < 1  # the stabilising solution


@every_structure
def test_steady_state_at_the_default_sizes(structure):
    system = draw(structure, 64, 2, 0.9, 1.0)
    gains, covariances = kalman_gains(system, 400)
    steady = steady_state(system)
    close(steady.K, gains[-1])
    close(steady.S, covariances[-1])


# ---------------------------------------------------------------------------------- shapes and faults


def test_batches_are_sequences_one_by_one():
    system, T, m = draw("dense"), 11, 3
    L = cholesky_factor(system, T)
    y = np.array([[sample(system, T, seed=2 * i + j) for j in range(2)] for i in range(5)])
    z = innovations(L, y)
    result, ahead = kalman_filter(system, y), predict_ahead(system, y, [1, 4])
    predicted = predictions_from_factor(L, z, m)
    assert result.predictions.shape == z.shape == predicted.shape == (5, 2, T, m)
    assert result.log_likelihood.shape == (5, 2)
    assert ahead.shape == (5, 2, 2, m)
    for i, j in np.ndindex(5, 2):
        one = kalman_filter(system, y[i, j])
        close(result.predictions[i, j], one.predictions, 1e-12)
        assert result.log_likelihood[i, j] == pytest.approx(one.log_likelihood, rel=1e-12)
        close(ahead[i, j], predict_ahead(system, y[i, j], [1, 4]), 1e-12)
        close(z[i, j], innovations(L, y[i, j]), 1e-12)
        close(predicted[i, j], one.predictions)


def test_stacked_sequences_come_back_stacked():
    system, T, m = draw("dense"), 11, 3
    L, y = cholesky_factor(system, T), sample(system, T)
    z = innovations(L, y)
    close(innovations(L, y.reshape(-1)), z.reshape(-1), 1e-14)
    close(L @ z.reshape(-1), y.reshape(-1), 1e-12)
    close(predictions_from_factor(L, z.reshape(-1), m), kalman_filter(system, y).predictions.reshape(-1))


UNOBSERVED_GIANT = System(
    A=np.array([[0.5, 0.0, 1e9], [0.0, 0.5, 1e9], [0.0, 0.0, 0.5]]),
    C=np.eye(2, 3),
    sigma=1.0,
    structure="dense",
)


@pytest.mark.parametrize(
    "use",
    [
        lambda system: kalman_gains(system, 5),
        lambda system: kalman_filter(system, np.zeros((5, system.observed_dim))),
        lambda system: cholesky_factor(system, 5),
        steady_state,
    ],
)
def test_bad_systems_raise_one_line(use):
    good = draw("dense")
    repeated = dataclasses.replace(good, C=good.C[[0, 1, 0]])
    for system, words in (
        (repeated, "C has rank 2, not 3"),
        (dataclasses.replace(good, A=2 * good.A), "A is unstable"),
        (dataclasses.replace(good, sigma=0.0), "--sigma 0"),
        # Every check passes, yet both observations are one to float64 from the second step on.
        (UNOBSERVED_GIANT, "not positive definite|cannot be solved for"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            use(system)
        assert "\n" not in str(caught.value)


def test_shapes_that_do_not_fit_raise():
    system = draw("dense")
    L, y = cholesky_factor(system, 4), sample(system, 4)
    for use in (
        lambda: kalman_filter(system, y[:, :2]),
        lambda: kalman_filter(system, y[0]),
        lambda: observation_covariance(system, 0),
        lambda: innovations(L, y[:3]),
        lambda: innovations(L, y.T[:2]),
        lambda: predictions_from_factor(L, y, 5),
        lambda: predict_ahead(system, y, [0]),
        lambda: horizon_floors(L, 3, 2, [3]),
        lambda: horizon_floors(L, 3, 2, [0]),
        lambda: horizon_floors(L, 3, -1, [1]),
        lambda: horizon_ceilings(L, 5, 0, [1]),
        lambda: patch_factor(L, 3, 3),
        lambda: patch_floors(L, 3, 0),
        lambda: ceilings(L, 0),
    ):
        # Where shapes are checked at every call, the checker's TypeError comes first.
        with pytest.raises((ValueError, TypeError), match=r"shape|T = 0|fit|hold|horizons|multiple|Type-check"):
            use()
