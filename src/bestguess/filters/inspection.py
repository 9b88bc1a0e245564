"""What a forecaster has learnt: its response to single observations, and what its layers know of the state.

The **response** of a forecaster is the Jacobian of its prediction, ∂ŷ_{s+1} / ∂y_{s−j} at lag j = 0, 1, …, after s
steps were seen. The Kalman filter's is a constant, H_j; a linear model's is the same for every sequence. With patches
of P steps, s is a multiple of P and ŷ_{s+1} is the first step of the patch that is predicted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from bestguess.filters import kalman
from bestguess.filters.forecaster import Forecaster
from bestguess.filters.systems import System

_AT_ONCE = 16
"""Sequences that are differentiated at once."""


@dataclass(frozen=True, eq=False)
class Response:
    """A forecaster's response after s steps beside the filter's, by lag; coefficients have no unit."""

    seen: int
    """s, the steps that were seen."""
    mean: Float[np.ndarray, "s m m"]
    """Mean over sequences: [j] is ∂ŷ_{s+1} / ∂y_{s−j}, rows the predicted dimensions."""
    spread: Float[np.ndarray, "s m m"]
    """Standard deviation over sequences."""
    filter: Float[np.ndarray, "s m m"]
    """The Kalman filter's coefficients, exactly."""
    linear_excess: float
    """E‖Σ_j (J̄_j − H_j) y_{s−j}‖² over the filter's error: the regret of the mean response, used as a linear filter."""

    @property
    def relative_error(self) -> float:
        """‖J̄ − H‖ / ‖H‖, over all lags."""
        return float(np.linalg.norm(self.mean - self.filter) / np.linalg.norm(self.filter))

    @property
    def nonlinearity(self) -> float:
        """√E‖J − J̄‖² / ‖J̄‖, over all lags: 0 for a linear model."""
        return float(np.linalg.norm(self.spread) / np.linalg.norm(self.mean))


def filter_response(L: Float[np.ndarray, "Tm Tm"], m: int, seen: int) -> Float[np.ndarray, "s m m"]:
    """Return the Kalman filter's H_j after `seen` steps, by lag: E[y_{s+1} | y_{1:s}] = Σ_j H_j y_{s−j}.

    From y = L z: the row of step s+1, cut to the innovations of what was seen, times L⁻¹.
    """
    n = seen * m
    flat = scipy.linalg.solve_triangular(L[:n, :n], L[n : n + m, :n].T, lower=True, trans="T").T
    return flat.reshape(m, seen, m).transpose(1, 0, 2)[::-1]


def response(
    forecaster: Forecaster, system: System, y: Float[Array, "n T m"], L: Float[np.ndarray, "Tm Tm"], seen: int
) -> Response:
    """Return the response of a forecaster after `seen` steps, over some sequences of the system."""
    m, parts = y.shape[-1], range(0, len(y), _AT_ONCE)
    found = np.concatenate([np.asarray(_jacobians(forecaster, y[i : i + _AT_ONCE, :seen]), float) for i in parts])
    mean = found.mean(0)
    exact = filter_response(L, m, seen)
    off = (mean - exact)[::-1].transpose(1, 0, 2).reshape(m, seen * m) @ L[: seen * m, : seen * m]
    floor = kalman.horizon_floors(L, m, seen, [1])[0]
    return Response(seen, mean, found.std(0), exact, float((off**2).sum() / floor))


@eqx.filter_jit
def _jacobians(forecaster: Forecaster, y: Float[Array, "n s m"]) -> Float[Array, "n s m m"]:
    def one(y_sm: Float[Array, "s m"]) -> Float[Array, "s m m"]:
        jacobian = jax.jacrev(lambda seen: forecaster(seen)[0][-forecaster.patch])(y_sm)
        return jacobian.transpose(1, 0, 2)[::-1]

    return jax.vmap(one)(y)


def changes(first: Response, second: Response) -> tuple[float, float]:
    """Return by how much the model's and the filter's response differ between two times, relative to the second's norm.

    Over the lags that both have.
    """
    lags = min(first.seen, second.seen)
    apart = lambda a, b: float(np.linalg.norm(a[:lags] - b[:lags]) / np.linalg.norm(b[:lags]))  # noqa: E731
    return apart(first.mean, second.mean), apart(first.filter, second.filter)


# ------------------------------------------------------------------------------------------------ what layers know


@dataclass(frozen=True, eq=False)
class Probes:
    """R² of linear probes from the residual stream, of sequences that they were not fitted on."""

    r2: list[float]
    """By depth: after the embedding, then after each layer."""
    shuffled: list[float]
    """The same, fitted and judged with every sequence's stream beside another's state: the control, 0 or below."""
    untrained: list[float] = field(default_factory=list)
    """The same as `r2`, of the model before its first step."""


def state_estimates(system: System, y: Float[np.ndarray, "n T m"]) -> Float[np.ndarray, "n T d"]:
    """Return the filter's x̂_{t+1|t} after every step t = 1 … T."""
    gains, _ = kalman.kalman_gains(system, y.shape[1])
    x, found = np.zeros((len(y), system.latent_dim)), []
    for t, K in enumerate(gains):
        x = x @ system.A.T + (y[:, t] - x @ system.C.T) @ K.T
        found.append(x)
    return np.stack(found, axis=1)


@eqx.filter_jit
def streams(forecaster: Forecaster, y: Float[Array, "n T m"]) -> Float[Array, "n depth N D"]:
    """Return the residual stream of each token: after the embedding, and after each layer."""

    def one(y_Tm: Float[Array, "T m"]) -> Float[Array, "depth N D"]:
        core = forecaster.core
        x_ND = core.decoder.enter(core.embedded(tokens(forecaster, y_Tm)))
        found = [x_ND]
        for block in core.decoder.blocks:
            x_ND, _ = block(x_ND)
            found.append(x_ND)
        return jnp.stack(found).astype(jnp.float32)

    return jax.vmap(one)(y)


def tokens(forecaster: Forecaster, y_Tm: Float[Array, "T m"]) -> Float[Array, "N i"]:
    """Return what the core is given: the normalised patches."""
    patches = y_Tm.reshape(-1, forecaster.patch, y_Tm.shape[-1])
    return forecaster.normaliser.tokens(patches, forecaster.normaliser.start())[0]


def probe(stream: Float[np.ndarray, "n N D"], state: Float[np.ndarray, "n N d"]) -> float:
    """Return R² of a linear probe from a stream to a state: fitted on one half of the sequences, judged on the other.

    R² = 1 − Σ‖x̂ − x̂ᵖ‖² / Σ‖x̂ − mean‖², the mean that of the first half; 0 knows nothing, below 0 is worse.
    """
    half = len(stream) // 2
    flat = lambda a: np.asarray(a, float).reshape(-1, a.shape[-1])  # noqa: E731
    X, Y, X_held, Y_held = flat(stream[:half]), flat(state[:half]), flat(stream[half:]), flat(state[half:])
    centre, level = X.mean(0), Y.mean(0)
    X = X - centre
    # Streams repeat themselves in some directions: a trace of ridge keeps rounding out of the coefficients.
    gram = X.T @ X
    gram += 1e-6 * np.trace(gram) / len(gram) * np.eye(len(gram))
    W = np.linalg.solve(gram, X.T @ (Y - level))
    left = Y_held - level - (X_held - centre) @ W
    return float(1 - (left**2).sum() / ((Y_held - level) ** 2).sum())


def probes(forecaster: Forecaster, untrained: Forecaster, system: System, y: Float[Array, "n T m"]) -> Probes:
    """Return the probes of every depth of a forecaster and of the one before its first step."""
    state = state_estimates(system, np.asarray(y, float))[:, forecaster.patch - 1 :: forecaster.patch]
    trained = np.asarray(streams(forecaster, y)).swapaxes(0, 1)
    raw = np.asarray(streams(untrained, y)).swapaxes(0, 1)
    half = len(y) // 2
    # Within each half, or what was fitted on would come back among what it is judged on.
    other = np.concatenate([np.roll(state[:half], 1, axis=0), np.roll(state[half:], 1, axis=0)])
    return Probes(
        [probe(one, state) for one in trained],
        [probe(one, other) for one in trained],
        [probe(one, state) for one in raw],
    )
