"""Sequences of unknown systems as a task: each comes from one of K, the oracle is a Bayes mixture of K Kalman filters.

Float32, on a device; `mixture` computes the same in float64, with the equations. Shapes in names: K systems, n latent
and m observed dimensions, T steps, N patches of P steps.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from bestguess.filters.in_context.mixture import Systems, filters_of
from bestguess.task import Gaussian, OracleTask

_STATES = 1 << 22
"""Elements of the filters' states, of all sequences that are filtered at once: 16 MiB."""
_WRITTEN_OUT = 16
"""Columns up to which a product with a vector is written out."""


class Known(NamedTuple):
    """A sequence, and what is known of it by who is told its system, and by who is not."""

    y: Float[Array, "*n T m"]
    told: Float[Array, "*n T m"]
    """The prediction of the Kalman filter of the sequence's own system."""
    mixture: Float[Array, "*n T m"]
    """The prediction of the mixture of the task's K filters."""
    weight: Float[Array, "*n N"]
    """The posterior probability of the sequence's own system before each patch, if it is one of the K; else 0."""


class Bank(eqx.Module):
    """K systems with the filters of all, and what is exact about them."""

    A: Float[Array, "K n n"]
    C: Float[Array, "K m n"]
    gains: Float[Array, "T K n m"]
    whiten: Float[Array, "T K m m"]
    """The inverses of the Cholesky factors of S_t."""
    ahead: Float[Array, "T K m m"]
    """The covariance of y_t given the patches before its own."""
    second: Float[Array, "T K m m"]
    """E[y_t y_tᵀ]."""
    sigma: Float[Array, ""]
    observation_noise: Float[Array, ""]
    patch: int = eqx.field(static=True)

    @property
    def count(self) -> int:
        """K."""
        return self.A.shape[-3]

    @property
    def floor_by_step(self) -> Float[Array, "T"]:
        """The error of the filters that are told the system, by step: the mean over the K (squared units of y)."""
        return jnp.trace(self.ahead, axis1=2, axis2=3).mean(1)

    @property
    def ceiling_by_step(self) -> Float[Array, "T"]:
        """E‖y_t‖², the error of the prediction 0, by step: the mean over the K (squared units of y)."""
        return jnp.trace(self.second, axis1=2, axis2=3).mean(1)

    def draw(self, k: Int[Array, ""], key: Key[Array, ""]) -> Float[Array, "T m"]:
        """Return one sequence of system k: x_t = Σ_{s≤t} A^{t−s} ε_s, summed in log₂ T products with powers of A."""
        T, n = self.gains.shape[0], self.A.shape[-1]
        of_state, of_sight = jax.random.split(key)
        x_Tn = self.sigma * jax.random.normal(of_state, (T, n))
        power, reach = self.A[k], 1
        while reach < T:
            earlier = jnp.concatenate([jnp.zeros((reach, n)), x_Tn[:-reach]])
            x_Tn = x_Tn + _times(earlier, power.T)
            power, reach = _times(power, power), 2 * reach
        v_Tm = self.observation_noise * jax.random.normal(of_sight, (T, self.C.shape[1]))
        return _times(x_Tn, self.C[k].T) + v_Tm

    def told(self, k: Int[Array, ""], y: Float[Array, "T m"]) -> Float[Array, "T m"]:
        """Return the predictions of system k's Kalman filter, of each step from the patches before its own."""
        own = lambda a: a[:, k][:, None]  # noqa: E731
        A, C, sigma, r = self.A[k][None], self.C[k][None], self.sigma, self.observation_noise
        gains, whiten, ahead, second = map(own, (self.gains, self.whiten, self.ahead, self.second))
        alone = Bank(A, C, gains, whiten, ahead, second, sigma, r, self.patch)
        return alone.mixture(y)[0]

    def mixture(self, y: Float[Array, "T m"]) -> tuple[Float[Array, "T m"], Float[Array, "N K"]]:
        """Return the mixture's predictions of each step from the patches before its own, and its weights before each.

        The log weights are sums over the innovations e: log p(y_t | k, past) = log |V| − ½‖V e‖² + …, VᵀV = S_t⁻¹.
        """
        guess_NPm, weight_NK, _ = self._filter(y)
        return guess_NPm.reshape(y.shape), weight_NK

    def moments(self, y: Float[Array, "T m"]) -> Gaussian:
        """Return the mixture's prediction with its covariance: Σ_k w_k (S_k + ŷ_k ŷ_kᵀ) − ŷ ŷᵀ."""
        guess_NPm, weight_NK, spread_NPmm = self._filter(y, spread=True)
        own = jnp.repeat(weight_NK, self.patch, axis=0)
        within = jnp.einsum("tk,tkij->tij", own, self.ahead, precision="highest")
        T, m = y.shape
        return Gaussian(guess_NPm.reshape(T, m), within + spread_NPmm.reshape(T, m, m))

    def _filter(self, y: Float[Array, "T m"], spread: bool = False):
        P, (K, n) = self.patch, self.A.shape[:2]
        log_det = jnp.log(jnp.diagonal(self.whiten, axis1=2, axis2=3)).sum(2)
        by_patch = jax.tree.map(lambda a: a.reshape(-1, P, *a.shape[1:]), (y, self.gains, self.whiten, log_det))

        def observe(carry, given):
            x_Kn, evidence_K = carry
            y_m, gain_Knm, whiten_Kmm, log_det_K = given
            error_Km = y_m[None] - _each(self.C, x_Kn)
            evidence_K = evidence_K + log_det_K - 0.5 * jnp.sum(_each(whiten_Kmm, error_Km) ** 2, axis=1)
            return (_each(self.A, x_Kn) + _each(gain_Knm, error_Km), evidence_K), None

        def ahead(x_Kn, _):
            return _each(self.A, x_Kn), _each(self.C, x_Kn)

        def of_patch(carry, given):
            x_Kn, evidence_K = carry
            weight_K = jax.nn.softmax(evidence_K)
            _, guess_PKm = jax.lax.scan(ahead, x_Kn, length=P)
            guess_Pm = jnp.einsum("k,pkm->pm", weight_K, guess_PKm, precision="highest")
            apart = None
            if spread:
                away = guess_PKm - guess_Pm[:, None]
                apart = jnp.einsum("k,pki,pkj->pij", weight_K, away, away, precision="highest")
            carry, _ = jax.lax.scan(observe, carry, given)
            return carry, (guess_Pm, weight_K, apart)

        _, found = jax.lax.scan(of_patch, (jnp.zeros((K, n)), jnp.zeros(K)), by_patch)
        return found


def at_once(bank: Bank, sequences: int) -> int:
    """Return how many sequences to filter at once, so that the states of all filters take little memory."""
    K, n = bank.A.shape[-3:-1]
    return min(sequences, max(1, _STATES // (K * n)))


def make_bank(systems: Systems, T: int, patch: int) -> Bank:
    """Return the bank of systems for sequences of T steps, its filters computed in float64."""
    filters = filters_of(systems, T, patch, np.float32)
    as32 = lambda a: jnp.asarray(a, jnp.float32)  # noqa: E731
    whiten = np.empty_like(filters.innovations)
    for t, S in enumerate(filters.innovations):
        whiten[t] = np.linalg.inv(np.linalg.cholesky(S.astype(np.float64)))
    A, C, gains, ahead, second = map(as32, (systems.A, systems.C, filters.gains, filters.ahead, filters.second))
    sigma, r = as32(systems.sigma), as32(systems.observation_noise)
    return Bank(A, C, gains, as32(whiten), ahead, second, sigma, r, patch)


class MixtureTask(OracleTask):
    """Sequences that each come from one of K systems, all as likely; which one is not told.

    A second list of systems, of the same law, is held out: no sequence is trained on them.
    """

    bank: Bank
    held_out: Bank
    scale: Float[Array, "m"]
    """Standard deviation of y over all steps and the K systems, per dimension (units of y)."""

    def __init__(self, systems: Systems, held_out: Systems, length: int, patch: int):
        self.bank, self.held_out = (make_bank(one, length, patch) for one in (systems, held_out))
        variance = np.diagonal(np.asarray(self.bank.second, np.float64), axis1=2, axis2=3).mean((0, 1))
        self.scale = jnp.asarray(np.sqrt(variance), jnp.float32)

    @property
    def patch(self) -> int:
        """P."""
        return self.bank.patch

    @property
    def shape(self) -> tuple[int, int]:
        """T and m: the steps of a sequence and its observed dimensions."""
        return self.bank.gains.shape[-4], self.scale.shape[-1]

    @property
    def predicted(self) -> slice:
        """The steps that are predicted: all but the first patch, before which there is nothing to see."""
        return slice(self.patch, None)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "T m"]:
        """Return one sequence of one of the K systems."""
        return self._draw(key)[1]

    def oracle(self, sequence: Float[Array, "T m"]) -> Gaussian:
        """Return the mixture's prediction of every step, given the patches before the step's own."""
        return self.bank.moments(sequence)

    def constant(self) -> Gaussian:
        """Return the best prediction that ignores the past: 0, with the covariance of y_t."""
        return Gaussian(jnp.zeros(self.shape), self.bank.second.mean(1))

    def sample_with_oracle(self, key: Key[Array, ""]) -> tuple[Float[Array, "T m"], Gaussian]:
        """Return one sequence and the means of its oracle."""
        y = self.sample(key)
        return y, Gaussian(self.bank.mixture(y)[0])

    def told(self, key: Key[Array, ""]) -> tuple[Float[Array, "T m"], Float[Array, "T m"], Int[Array, ""]]:
        """Return one of the sequences of `sample`, the predictions of its own system's filter, and that system."""
        k, y = self._draw(key)
        return y, self.bank.told(k, y), k

    def told_held_out(self, k: Int[Array, ""], key: Key[Array, ""]) -> tuple[Float[Array, "T m"], Float[Array, "T m"]]:
        """Return one sequence of the held-out system k, and the predictions of its filter."""
        y = self.held_out.draw(k, key)
        return y, self.held_out.told(k, y)

    def known(self, key: Key[Array, ""]) -> Known:
        """Return one of the sequences of `sample`, with the predictions of both filters."""
        y, told, k = self.told(key)
        guess, weight_NK = self.bank.mixture(y)
        return Known(y, told, guess, weight_NK[:, k])

    def known_held_out(self, k: Int[Array, ""], key: Key[Array, ""]) -> Known:
        """Return a sequence of the held-out system k, with the predictions of its filter and of the K-mixture."""
        y, told = self.told_held_out(k, key)
        guess, weight_NK = self.bank.mixture(y)
        return Known(y, told, guess, jnp.zeros(len(weight_NK)))

    @property
    def told_floor(self) -> Float[Array, ""]:
        """The mean error of the filters that are told the system: below the mixture's, which must find it out."""
        return jnp.mean(self.bank.floor_by_step[self.predicted])

    @property
    def ceiling(self) -> Float[Array, ""]:
        """The best constant's expected squared error, averaged over the predicted steps."""
        return jnp.mean(self.bank.ceiling_by_step[self.predicted])

    def _draw(self, key: Key[Array, ""]) -> tuple[Int[Array, ""], Float[Array, "T m"]]:
        which, noise = jax.random.split(key)
        k = jax.random.randint(which, (), 0, self.bank.count)
        return k, self.bank.draw(k, noise)


def _each(matrix_Kij: Float[Array, "K i j"], vector_Kj: Float[Array, "K j"]) -> Float[Array, "K i"]:
    """Return each matrix times its vector.

    Small ones are written out, which fuses with what stands around and is the fastest on a CPU. jnp.sum over the
    broadcast product is not the same: XLA compiles it wrongly for CPUs at K = 1,024 (JAX 0.10.2).
    """
    width = matrix_Kij.shape[2]
    if width > _WRITTEN_OUT:
        return jnp.einsum("kij,kj->ki", matrix_Kij, vector_Kj, precision="highest")
    found = matrix_Kij[:, :, 0] * vector_Kj[:, :1]
    for j in range(1, width):
        found = found + matrix_Kij[:, :, j] * vector_Kj[:, j : j + 1]
    return found


def _times(a: Float[Array, "i j"], b: Float[Array, "j k"]) -> Float[Array, "i k"]:
    return jnp.matmul(a, b, precision="highest")
