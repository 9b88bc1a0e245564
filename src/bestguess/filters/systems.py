"""Random linear Gaussian systems whose spectrum is set apart from their eigenvectors. NumPy float64, no JAX.

    x_0 = 0,   x_{t+1} = A x_t + ε_t,   ε_t ~ N(0, σ² I),   y_t = C x_t + v_t,   v_t ~ N(0, r² I)

with r = 0 unless given. Two systems drawn from one seed with the structures `diagonal`, `rotated` and `dense` are
**twins**: the same eigenvalues and the same C, other eigenvectors. `rotated` is the negative control: as the noise is
isotropic and C Gaussian, (Q A Qᵀ, C) has the same law as (A, C) for every orthogonal Q.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Complex, Float

from bestguess.command import UserError, nearest
from bestguess.filters.config import FilterTaskConfig

STRUCTURES = ("diagonal", "diagonal-real", "rotated", "dense")
MODULI = ("attained", "bounded")

MIN_SINGULAR_RATIO = 1e-7
"""Below this ratio of the singular values of (σ C, r I) C counts as rank-deficient: the filter inverts
S ⪰ σ² C Cᵀ + r² I, which squares the ratio, and float64 resolves about 1e-16."""

MAX_CONDITION = 1e4
"""The largest κ of `dense`: it costs the filter digits, in silence. At n = 64, m = 2, λ = 0.99, T = 256 the
recursion and the Cholesky factor agree to 1e-13 (relative) at κ = 100, to 1e-8 at 1e4, to 1e-2 at 1e6."""


# Compared by identity: `==` over arrays has no single truth.
@dataclass(frozen=True, eq=False)
class System:
    """A linear Gaussian system: A (n, n), C (m, n), the standard deviations σ and r of both noises, its structure.

    The fields are not checked here, so that `check_system` can say what is wrong with any of them.
    """

    A: np.ndarray
    C: np.ndarray
    sigma: float
    structure: str
    observation_noise: float = 0.0
    """r, in the unit of y."""

    @property
    def latent_dim(self) -> int:
        """Return n, the size of the hidden state x_t."""
        return self.A.shape[0]

    @property
    def observed_dim(self) -> int:
        """Return m, the size of an observation y_t."""
        return self.C.shape[0]

    @property
    def eigenvalues(self) -> Complex[np.ndarray, " n"]:
        """Return the n eigenvalues of A, complex, sorted by real part, then by imaginary part."""
        return np.sort_complex(np.linalg.eigvals(self.A).astype(np.complex128))

    @property
    def spectral_radius(self) -> float:
        """Return the largest modulus of A's eigenvalues."""
        return float(np.abs(self.eigenvalues).max())


def draw_system(
    structure: str,
    *,
    latent_dim: int,
    observed_dim: int,
    lambda_: float,
    sigma: float,
    seed: int,
    condition: float = 10.0,
    moduli: str = "attained",
    observation_noise: float = 0.0,
) -> System:
    """Return a stable system whose eigenvalues have moduli in [λ/2, λ], a function of `seed`.

    moduli: `attained`, the first pair (or real eigenvalue) has modulus λ, so that λ is the spectral radius, and the
    others are i.i.d. uniform on [λ/2, λ]; `bounded`, all are, and the spectral radius lies below λ: at n = 8 and
    λ = 0.97 between 0.82 and 0.94. What else is drawn is the same under both.

    `diagonal`: 2x2 blocks r [[cos θ, −sin θ], [sin θ, cos θ]] (a conjugate pair r e^{±iθ}) with θ uniform on
    [0, π], and for odd n one real eigenvalue of random sign; `diagonal-real`: n real eigenvalues of random
    sign; `rotated`: Q A Qᵀ of the diagonal twin A, Q Haar-orthogonal; `dense`: V A V⁻¹ of the diagonal twin,
    V = Q₁ diag(s) Q₂ᵀ, its singular values s geometric from κ^(−1/2) to κ^(1/2) with κ = `condition`, so
    that the eigenvectors are not orthogonal. C_ij ~ N(0, 1/m) (fan-out normalisation).

    The moduli scale with λ and the eigenvectors and C do not depend on it: systems of one seed and several
    λ differ in scale alone; no noise changes A or C. Raises UserError for λ outside (0, 1), a dimension below 1,
    m > n without observation noise, κ outside [1, 1e4], σ <= 0, r < 0, an unknown structure or law. Source: the
    original design, docs/decisions.md.
    """
    _check_arguments(structure, latent_dim, observed_dim, lambda_, seed, condition, observation_noise)
    if moduli not in MODULI:
        raise UserError(f"--moduli {moduli!r} is not one of {', '.join(MODULI)}{nearest(moduli, MODULI)}")
    # One stream per ingredient: what one structure draws more of must not move the others' draws.
    spectrum, observation, eigenvectors = (
        np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(3)
    )
    n = latent_dim
    if structure == "diagonal-real":
        A = _real_diagonal(spectrum, n, lambda_, moduli == "attained")
    else:
        A = _block_diagonal(spectrum, n, lambda_, moduli == "attained")
    C = observation.standard_normal((observed_dim, n)) / np.sqrt(observed_dim)
    if structure == "rotated":
        Q = _haar_orthogonal(eigenvectors, n)
        A = Q @ A @ Q.T
    elif structure == "dense":
        left, right = _haar_orthogonal(eigenvectors, n), _haar_orthogonal(eigenvectors, n)
        s = np.geomspace(condition**-0.5, condition**0.5, n) if n > 1 else np.ones(1)
        # V⁻¹ = Q₂ diag(1/s) Q₁ᵀ is known in closed form: no solve, no loss of digits.
        A = (left * s) @ (right.T @ A @ right) @ (left / s).T
    system = System(A, C, float(sigma), structure, float(observation_noise))
    check_system(system)
    return system


@functools.lru_cache(maxsize=64)
def system_of(config: FilterTaskConfig, seed: int) -> System:
    """Return the system of a run: drawn by the run's seed, unless the config has a seed of the system.

    `config` has one λ and one structure.
    """
    return draw_system(
        config.structure[0],
        latent_dim=config.latent_dim,
        observed_dim=config.observed_dim,
        lambda_=config.lambda_[0],
        sigma=config.sigma,
        seed=seed if config.system_seed is None else config.system_seed,
        condition=config.condition,
        moduli=config.moduli,
        observation_noise=config.observation_noise,
    )


def henrici(A: Float[np.ndarray, "n n"]) -> float:
    """Return A's relative departure from normality, sqrt(‖A‖_F² − Σ|λ_i|²) / ‖A‖_F, in [0, 1].

    Henrici, "Bounds for iterates, inverses, spectral variation and fields of values of non-normal matrices"
    (1962). 0 for a normal A (and for A = 0), 1 for a nilpotent one.
    """
    norm = np.linalg.norm(A)
    if norm == 0:
        return 0.0
    # The Schur form T = U* A U has the eigenvalues on its diagonal, so the difference of squares is the
    # strict triangle's norm: nothing cancels, and a normal matrix gives 1e-15, not 1e-8.
    triangle, _ = scipy.linalg.schur(A, output="complex")
    return float(np.linalg.norm(np.triu(triangle, 1)) / norm)


def check_system(system: System) -> None:
    """Return nothing for a system that the Kalman filter can take; raise UserError with the mend otherwise.

    Refused: shapes that do not fit, entries that are not finite, σ <= 0, r < 0, a spectral radius of 1 or more; where
    there is no observation noise, or as good as none, m > n and a C without full row rank (numerically).
    """
    A, C, sigma, r = system.A, system.C, system.sigma, system.observation_noise
    if A.ndim != 2 or A.shape[0] != A.shape[1] or C.ndim != 2 or C.shape[1] != A.shape[0] or 0 in C.shape:
        raise UserError(
            f"A has shape {A.shape} and C {C.shape}; they must be (n, n) and (m, n), "
            "n of --latent-dim, m of --observed-dim"
        )
    m, n = C.shape
    if not (np.isfinite(A).all() and np.isfinite(C).all()):
        name = "C" if np.isfinite(A).all() else "A"
        raise UserError(f"{name} has entries that are not finite; lower --condition or draw another seed")
    if not (np.isfinite(r) and r >= 0):
        raise UserError(f"--observation-noise {r:g} must be 0 or more, and finite")
    _check_observed(m, n, r)
    if not (np.isfinite(sigma) and sigma > 0):
        raise UserError(f"--sigma {sigma:g} must be positive and finite: without noise nothing is random")
    # With noise of its own, a dimension that repeats the others is still worth something.
    seen = C if r == 0 else np.hstack([C, r / sigma * np.eye(m)])
    rank = np.linalg.matrix_rank(seen, rtol=MIN_SINGULAR_RATIO)
    if rank < m:
        raise UserError(
            f"C has rank {rank}, not {m}: an observed dimension repeats the others; "
            f"choose --observed-dim {max(rank, 1)} or another C"
        )
    radius = system.spectral_radius
    if radius >= 1:
        raise UserError(
            f"A is unstable: its spectral radius {radius:.6g} is not below 1; lower --lambda (or --condition)"
        )


def _check_arguments(
    structure: str, latent_dim: int, observed_dim: int, lambda_: float, seed: int, condition: float, r: float
) -> None:
    if structure not in STRUCTURES:
        raise UserError(
            f"--structure {structure!r} is not one of {', '.join(STRUCTURES)}{nearest(structure, STRUCTURES)}"
        )
    for flag, size in (("--latent-dim", latent_dim), ("--observed-dim", observed_dim)):
        if size < 1:
            raise UserError(f"{flag} {size} must be 1 or more")
    # Before C is drawn: check_system would find it too, after the memory has been taken.
    _check_observed(observed_dim, latent_dim, r)
    if not 0 < lambda_ < 1:
        raise UserError(f"--lambda {lambda_:g} must lie strictly between 0 and 1")
    if not 1 <= condition <= MAX_CONDITION:
        raise UserError(f"--condition {condition:g} must lie between 1 and {MAX_CONDITION:g}")
    if seed < 0:
        raise UserError(f"seed {seed} must be 0 or more")


def _check_observed(m: int, n: int, r: float) -> None:
    if m > n and r == 0:
        raise UserError(
            f"--observed-dim {m} is above --latent-dim {n}: C cannot have full row rank; "
            f"choose --observed-dim {n} or less, or give --observation-noise"
        )


def _moduli(rng: np.random.Generator, count: int, lambda_: float, attained: bool) -> np.ndarray:
    """Return moduli (count,), uniform on [λ/2, λ], the first of them λ where it is to be attained."""
    r = lambda_ * rng.uniform(0.5, 1.0, count)
    if attained:
        r[0] = lambda_
    return r


def _block_diagonal(rng: np.random.Generator, n: int, lambda_: float, attained: bool) -> np.ndarray:
    """Return A (n, n) of n // 2 rotation-scaling blocks and, for odd n, one real eigenvalue last."""
    pairs = n // 2
    r = _moduli(rng, n - pairs, lambda_, attained)
    theta = rng.uniform(0.0, np.pi, pairs)
    A = np.zeros((n, n))
    even = 2 * np.arange(pairs)
    A[even, even] = A[even + 1, even + 1] = r[:pairs] * np.cos(theta)
    A[even + 1, even] = r[:pairs] * np.sin(theta)
    A[even, even + 1] = -A[even + 1, even]
    if n % 2:
        A[-1, -1] = r[-1] * rng.choice((-1.0, 1.0))
    return A


def _real_diagonal(rng: np.random.Generator, n: int, lambda_: float, attained: bool) -> np.ndarray:
    """Return A (n, n), diagonal, of real eigenvalues with random signs."""
    return np.diag(_moduli(rng, n, lambda_, attained) * rng.choice((-1.0, 1.0), n))


def _haar_orthogonal(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return an orthogonal (n, n) matrix, uniform under the Haar measure (Mezzadri, 2007)."""
    Q, R = np.linalg.qr(rng.standard_normal((n, n)))
    # LAPACK's own choice of signs is not uniform; a positive diagonal of R makes QR unique, hence Q Haar.
    return Q * np.where(np.diag(R) < 0, -1.0, 1.0)
