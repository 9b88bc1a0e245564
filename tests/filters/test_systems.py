"""Systems: the spectrum is the one asked for, twins share it and C, bad systems are refused in one line."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.stats

from bestguess.command import UserError
from bestguess.filters.systems import (
    MODULI,
    STRUCTURES,
    System,
    _haar_orthogonal,
    check_system,
    draw_system,
    henrici,
)

SIZES = {"latent_dim": 7, "observed_dim": 3, "lambda_": 0.9, "sigma": 1.5, "seed": 11}


def draw(structure: str, **changes) -> System:
    return draw_system(structure, **{**SIZES, **changes})


def spectral_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest distance between eigenvalues, paired so that their sum is least (order is noise)."""
    from scipy.optimize import linear_sum_assignment

    distance = np.abs(a[:, None] - b[None, :])
    return float(distance[linear_sum_assignment(distance)].max())


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("n", [1, 2, 7, 10, 64])
@pytest.mark.parametrize("lambda_", [0.36, 0.9, 0.99])
@pytest.mark.parametrize("law", MODULI)
def test_shapes_and_moduli(structure, n, lambda_, law):
    system = draw(structure, latent_dim=n, observed_dim=1, lambda_=lambda_, moduli=law)
    assert system.A.shape == (n, n)
    assert system.C.shape == (1, n)
    assert (system.latent_dim, system.observed_dim) == (n, 1)
    assert system.A.dtype == system.C.dtype == np.float64
    assert (system.sigma, system.structure) == (1.5, structure)
    moduli = np.abs(system.eigenvalues)
    assert moduli.shape == (n,)
    assert (moduli >= lambda_ / 2 - 1e-9).all()
    assert (moduli <= lambda_ + 1e-9).all()
    if law == "attained":
        assert system.spectral_radius == pytest.approx(lambda_, rel=1e-9)
    else:
        assert system.spectral_radius < lambda_ * (1 - 1e-6)


def test_the_law_of_the_moduli_changes_one_pair_or_one_real_eigenvalue_and_nothing_else():
    for structure, changed in (("diagonal", 2), ("diagonal-real", 1)):
        attained, bounded = (draw(structure, moduli=law) for law in MODULI)
        np.testing.assert_array_equal(attained.C, bounded.C)
        differ = np.abs(attained.A - bounded.A).max(axis=1) > 0
        assert differ.sum() == changed
        angles = [np.angle(np.linalg.eigvals(one.A[:changed, :changed])) for one in (attained, bounded)]
        np.testing.assert_allclose(*angles, atol=1e-12)
    with pytest.raises(UserError, match="--moduli 'bound' is not one of attained, bounded"):
        draw("diagonal", moduli="bound")


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 64])
@pytest.mark.parametrize("lambda_", [0.36, 0.84, 0.99])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_twins_share_spectrum_and_observation(n, lambda_, seed):
    sizes = {"latent_dim": n, "observed_dim": 1, "lambda_": lambda_, "seed": seed}
    diagonal, rotated, dense = (draw(s, **sizes) for s in ("diagonal", "rotated", "dense"))
    for twin in (rotated, dense):
        assert spectral_distance(diagonal.eigenvalues, twin.eigenvalues) < 1e-9
        np.testing.assert_array_equal(diagonal.C, twin.C)
        if n > 2:  # a lone block commutes with every rotation
            assert np.abs(diagonal.A - twin.A).max() > 1e-3
    np.testing.assert_array_equal(diagonal.C, draw("diagonal-real", **sizes).C)


def test_eigenvalues_do_not_hang_on_the_order_of_lapack():
    system = draw("diagonal")
    order = np.random.default_rng(0).permutation(7)
    shuffled = dataclasses.replace(system, A=system.A[np.ix_(order, order)])
    np.testing.assert_allclose(system.eigenvalues, shuffled.eigenvalues, atol=1e-12)
    assert np.iscomplexobj(draw("diagonal-real").eigenvalues)


def test_a_function_of_the_seed_alone():
    for structure in STRUCTURES:
        a, b, other = draw(structure), draw(structure), draw(structure, seed=12)
        np.testing.assert_array_equal(a.A, b.A)
        np.testing.assert_array_equal(a.C, b.C)
        assert np.abs(a.A - other.A).max() > 1e-3
        assert np.abs(a.C - other.C).max() > 1e-3


def test_lambda_scales_the_spectrum_and_leaves_the_rest():
    for structure in STRUCTURES:
        small, large = draw(structure, lambda_=0.3), draw(structure, lambda_=0.9)
        np.testing.assert_allclose(3 * small.A, large.A, rtol=1e-13, atol=1e-15)
        np.testing.assert_array_equal(small.C, large.C)


def test_diagonal_is_blocks_of_rotations_with_one_real_left_over():
    A = draw("diagonal").A
    rebuilt = np.zeros((7, 7))
    for i in (0, 2, 4):
        r, theta = np.hypot(A[i, i], A[i + 1, i]), np.arctan2(A[i + 1, i], A[i, i])
        assert 0 <= theta <= np.pi
        rotation = [[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]]
        rebuilt[i : i + 2, i : i + 2] = r * np.array(rotation)
    rebuilt[6, 6] = A[6, 6]
    np.testing.assert_allclose(A, rebuilt, atol=1e-15)
    assert abs(A[6, 6]) > 0.4
    signs = {np.sign(draw("diagonal", seed=seed).A[6, 6]) for seed in range(20)}
    assert signs == {-1.0, 1.0}


def test_diagonal_real_is_diagonal_with_both_signs():
    A = draw("diagonal-real", latent_dim=64).A
    np.testing.assert_array_equal(A, np.diag(np.diag(A)))
    assert 16 <= (np.diag(A) < 0).sum() <= 48


def test_distributions_of_moduli_angles_and_observation():
    """Kolmogorov-Smirnov against the stated laws, over 100 fixed seeds (which must not share their draws)."""
    sizes = {"latent_dim": 64, "observed_dim": 5, "lambda_": 0.8}
    sizes["moduli"] = "bounded"
    systems = [draw("diagonal", **sizes, seed=seed) for seed in range(100)]
    upper = np.concatenate([system.eigenvalues for system in systems])
    upper = upper[upper.imag > 0]
    assert upper.size == 3200
    real = np.abs([np.diag(draw("diagonal-real", **sizes, seed=seed).A) for seed in range(100)]).ravel()
    C = np.array([system.C for system in systems])
    for sample, law in (
        (np.abs(upper), scipy.stats.uniform(0.4, 0.4)),
        (real, scipy.stats.uniform(0.4, 0.4)),
        (np.angle(upper), scipy.stats.uniform(0, np.pi)),
        (C.ravel(), scipy.stats.norm(0, 5**-0.5)),
    ):
        assert scipy.stats.kstest(sample, law.cdf).pvalue > 1e-3


def test_orthogonal_factor_is_haar():
    """E tr Q = 0 and E (tr Q)² = 1 under Haar's measure; LAPACK's bare Q has a mean trace far from 0."""
    rng = np.random.default_rng(0)
    Q = np.array([_haar_orthogonal(rng, 3) for _ in range(4000)])
    np.testing.assert_allclose(Q @ Q.transpose(0, 2, 1), np.broadcast_to(np.eye(3), Q.shape), atol=1e-13)
    trace = np.trace(Q, axis1=1, axis2=2)
    assert abs(trace.mean()) < 5 / np.sqrt(4000)
    assert abs((trace**2).mean() - 1) < 0.15
    bare = np.array([np.trace(np.linalg.qr(rng.standard_normal((3, 3)))[0]) for _ in range(4000)])
    assert abs(bare.mean()) > 0.3


def test_henrici_by_hand_and_by_its_definition():
    A = np.array([[0.5, 2.0], [0.0, -0.3]])
    assert henrici(A) == pytest.approx(2.0 / np.sqrt(0.25 + 4.0 + 0.09), rel=1e-14)
    assert henrici(np.array([[0.0, 3.0], [0.0, 0.0]])) == 1.0
    assert henrici(np.zeros((3, 3))) == 0.0
    A = draw("dense").A
    squares = np.linalg.norm(A) ** 2
    definition = np.sqrt(squares - (np.abs(np.linalg.eigvals(A)) ** 2).sum()) / np.sqrt(squares)
    assert henrici(A) == pytest.approx(definition, rel=1e-9)


def test_only_dense_departs_from_normality():
    for structure in ("diagonal", "diagonal-real", "rotated"):
        assert henrici(draw(structure, latent_dim=64).A) < 1e-13
    departures = [henrici(draw("dense", latent_dim=64, condition=k).A) for k in (1.0, 2.0, 10.0, 100.0)]
    assert departures[0] < 1e-13
    assert 0.1 < departures[1] < departures[2] < departures[3] < 1


@pytest.mark.parametrize("condition", [1.0, 3.0, 10.0])
def test_dense_in_two_dimensions_in_closed_form(condition):
    """V A V⁻¹ is, up to orthogonal factors, r [[cos θ, ∓ sin θ / κ], [± κ sin θ, cos θ]]."""
    dense = draw("dense", latent_dim=2, observed_dim=1, condition=condition)
    eigenvalue = draw("diagonal", latent_dim=2, observed_dim=1).eigenvalues[1]
    cosine, sine = eigenvalue.real, eigenvalue.imag
    expected = 2 * cosine**2 + sine**2 * (condition**2 + condition**-2)
    assert np.linalg.norm(dense.A) ** 2 == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lambda_": 0.0}, "--lambda 0 "),
        ({"lambda_": 1.0}, "--lambda 1 "),
        ({"lambda_": -0.5}, "--lambda -0.5 "),
        ({"lambda_": float("nan")}, "--lambda nan "),
        ({"latent_dim": 0}, "--latent-dim 0 "),
        ({"observed_dim": 0}, "--observed-dim 0 "),
        ({"observed_dim": 8}, "--observed-dim 8 is above --latent-dim 7"),
        ({"condition": 0.5}, "--condition 0.5 "),
        ({"condition": 2e4}, "--condition 20000 must lie between 1 and 10000"),
        ({"condition": float("inf")}, "--condition inf "),
        ({"condition": float("nan")}, "--condition nan "),
        ({"sigma": 0.0}, "--sigma 0 "),
        ({"sigma": -1.0}, "--sigma -1 "),
        ({"sigma": float("nan")}, "--sigma nan "),
        ({"seed": -1}, "seed -1 "),
        ({"observation_noise": -1.0}, "--observation-noise -1 must be 0 or more"),
        ({"observation_noise": float("nan")}, "--observation-noise nan "),
        ({"structure": "diagonl"}, "--structure 'diagonl' is not one of .*; did you mean diagonal"),
    ],
)
def test_bad_arguments_name_the_flag_in_one_line(changes, words):
    with pytest.raises(UserError, match=f"^{words}") as caught:
        draw_system(**{"structure": "dense", **SIZES, **changes})
    assert "\n" not in str(caught.value)


def bad(**changes) -> System:
    return dataclasses.replace(draw("dense"), **changes)


REPEATED = np.vstack([draw("dense").C[:2], draw("dense").C[0] - 2 * draw("dense").C[1]])
NEARLY_REPEATED = REPEATED + 1e-9 * draw("dense", seed=5).C


@pytest.mark.parametrize(
    ("system", "words"),
    [
        (bad(C=REPEATED), "C has rank 2, not 3.*--observed-dim 2 "),
        (bad(C=NEARLY_REPEATED), "C has rank 2, not 3.*--observed-dim 2 "),
        (bad(C=np.zeros((3, 7))), "C has rank 0, not 3.*--observed-dim 1 "),
        (bad(C=np.ones((8, 7))), "--observed-dim 8 is above --latent-dim 7.*--observed-dim 7 or less"),
        (bad(A=draw("dense").A / 0.85), "A is unstable.*lower --lambda .*--condition"),
        (bad(A=np.eye(7)), "A is unstable: its spectral radius 1 is not below 1"),
        (bad(sigma=0.0), "--sigma 0 must be positive"),
        (bad(sigma=-2.0), "--sigma -2 must be positive"),
        (bad(observation_noise=-0.5), "--observation-noise -0.5 must be 0 or more, and finite"),
        (bad(observation_noise=np.inf), "--observation-noise inf must be"),
        (bad(C=REPEATED, observation_noise=1e-9), "C has rank 2, not 3"),
        (bad(sigma=np.inf), "--sigma inf must be positive and finite"),
        (bad(A=np.full((7, 7), np.nan)), "A has entries that are not finite"),
        (bad(C=np.full((3, 7), np.inf)), "C has entries that are not finite"),
        (bad(A=np.eye(7, 6)), r"A has shape \(7, 6\).*--latent-dim, m of --observed-dim"),
        (bad(C=np.eye(3, 6)), r"C \(3, 6\).*--latent-dim, m of --observed-dim"),
        (bad(C=np.ones(7)), r"C \(7,\).*--latent-dim"),
        (bad(C=np.ones((0, 7))), r"C \(0, 7\).*--latent-dim"),
    ],
)
def test_bad_systems_are_refused_in_one_line(system, words):
    with pytest.raises(UserError, match=words) as caught:
        check_system(system)
    assert "\n" not in str(caught.value)


def test_good_systems_pass():
    for structure in STRUCTURES:
        check_system(draw(structure))
        check_system(draw(structure, observed_dim=7))
        check_system(draw(structure, sigma=1e-6))
        check_system(draw(structure, observed_dim=11, observation_noise=0.5))
    check_system(bad(C=REPEATED, observation_noise=0.1))
    same, noisy = draw("dense"), draw("dense", observation_noise=0.5)
    np.testing.assert_array_equal(same.A, noisy.A)
    np.testing.assert_array_equal(same.C, noisy.C)
