"""The contract: a task, its oracle, and how far a prediction is from the best possible one.

A **task** is a distribution over sequences. Its **oracle** is the best possible predictor: it sees
the past only, as a model does, and no model can do better on average. **Regret** is how much worse
than the oracle a model predicts, in the task's own loss:

    squared loss:  E‖y − ŷ‖² − E‖y − ŷ*‖²  =  E‖ŷ − ŷ*‖²
    log loss:      E[log p*(x) − log p(x)] =  E KL(p* ‖ p)

The right-hand sides need no target: what is random in the future cancels. The oracle's error is
orthogonal to every function of the past (Anderson & Moore, "Optimal Filtering", 1979, §5.3), so the
distance between two *predictions*, on the same sequences, measures the regret with far less noise
than the difference of two losses.

A new family of sequences starts here: subclass `OracleTask`, and give `sample`, `oracle` and `constant`. If only the
floor is known, `FlooredTask`; if not even that, as for natural text, `Task`: nothing that needs a floor takes one.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Num, Shaped

MIN_HEADROOM = 0.01
"""Below this headroom (L₀ − L*)/L* a constant is as good as the oracle, and a skill means nothing."""


class Gaussian(eqx.Module):
    """A Gaussian prediction of each element of a sequence, given the elements before it."""

    mean: Float[Array, "*T d"]
    covariance: Float[Array, "*T d d"] | None = None
    """None: a point prediction, whose regret is known and whose own expected loss is not."""


class Categorical(eqx.Module):
    """A categorical prediction of each element of a sequence, given the elements before it."""

    logits: Float[Array, "*T classes"]


Prediction = Gaussian | Categorical

Predictor = Callable[[Num[Array, "n T *d"]], Prediction]
"""Sequences → predictions of every element of each, from the elements before it: leaves [n, T, ...]."""


class Task(eqx.Module):
    """A distribution over sequences, and which of their elements are predicted. A pytree."""

    @property
    def predicted(self) -> slice:
        """The elements that are predicted, along the sequence: all, unless nothing stands before the first ones."""
        return slice(None)

    @abc.abstractmethod
    def sample(self, key: Key[Array, ""]) -> Num[Array, "T *d"]:
        """Return one sequence, drawn with `key`."""


class FlooredTask(Task):
    """A task of which it is known how well it can be predicted, though not by which predictor."""

    @property
    @abc.abstractmethod
    def floor(self) -> Float[Array, ""]:
        """The smallest expected loss that any predictor has, averaged over the predicted elements."""


class OracleTask(FlooredTask):
    """A task whose best possible prediction is known at every element, and the best one that ignores the past."""

    @abc.abstractmethod
    def oracle(self, sequence: Num[Array, "T *d"]) -> Prediction:
        """Return the best possible prediction of every element from the elements before it."""

    @abc.abstractmethod
    def constant(self) -> Prediction:
        """Return the best prediction of every element that ignores the past: the skill's zero."""

    def sample_with_oracle(self, key: Key[Array, ""]) -> tuple[Num[Array, "T *d"], Prediction]:
        """Return one sequence and its oracle's prediction; a task that has both for the price of one says so here."""
        sequence = self.sample(key)
        return sequence, self.oracle(sequence)

    @property
    def floor(self) -> Float[Array, ""]:
        """The oracle's expected loss, averaged over the predicted elements.

        A mean over sequences drawn with a key of its own; a task that knows it exactly says so here.
        """
        keys = jax.random.split(jax.random.key(_FLOOR_KEY), _FLOOR_SEQUENCES)
        losses = jax.vmap(lambda key: expected_loss(self.oracle(self.sample(key)))[self.predicted])(keys)
        return jnp.mean(losses)


_FLOOR_KEY, _FLOOR_SEQUENCES = 2**31 - 1, 4096


def regret(prediction: Prediction, oracle: Prediction) -> Float[Array, "*T"]:
    """Return the regret at every position: ‖ŷ − ŷ*‖² (squared units) or KL(p* ‖ p) (nats)."""
    match prediction, oracle:
        case Gaussian(), Gaussian():
            return jnp.sum((prediction.mean - oracle.mean) ** 2, axis=-1)
        case Categorical(), Categorical():
            log_p = jax.nn.log_softmax(prediction.logits)
            log_best = jax.nn.log_softmax(oracle.logits)
            best = jnp.exp(log_best)
            # A class that the oracle rules out (logit −∞) adds 0, not 0 · ∞.
            return jnp.sum(jnp.where(best > 0, best * (log_best - log_p), 0.0), axis=-1)
        case _:
            raise TypeError(f"cannot compare {type(prediction).__name__} with {type(oracle).__name__}")


def expected_loss(oracle: Prediction) -> Float[Array, "*T"]:
    """Return the loss that a prediction expects of itself: tr Σ (squared units) or entropy (nats).

    For the oracle that is the floor; for the best constant prediction, the ceiling.
    """
    match oracle:
        case Gaussian():
            if oracle.covariance is None:
                raise TypeError("a point prediction does not say how far off it expects to be")
            return jnp.trace(oracle.covariance, axis1=-2, axis2=-1)
        case Categorical():
            log_p = jax.nn.log_softmax(oracle.logits)
            p = jnp.exp(log_p)
            return -jnp.sum(jnp.where(p > 0, p * log_p, 0.0), axis=-1)
        case _:
            raise TypeError(f"{type(oracle).__name__} is no prediction")


def normalised_loss(regret: Shaped[Array, "..."], floor: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """Return 1 + regret / floor (no unit): 1 for a perfect model, 1.01 for one that is 1 % off."""
    return 1 + regret / floor


def headroom(ceiling: Shaped[Array, "..."], floor: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """Return (L₀ − L*)/L* (no unit): how much there is to gain over the best constant prediction."""
    return (ceiling - floor) / floor


def skill(
    regret: Shaped[Array, "..."], floor: Shaped[Array, "..."], ceiling: Shaped[Array, "..."]
) -> Shaped[Array, "..."]:
    """Return (L₀ − L)/(L₀ − L*) with L = L* + regret (no unit): 1 at the oracle, 0 at the best constant.

    NaN where the headroom is below `MIN_HEADROOM`: print "no headroom" there.
    """
    enough = headroom(ceiling, floor) >= MIN_HEADROOM
    return jnp.where(enough, 1 - regret / jnp.where(enough, ceiling - floor, 1.0), jnp.nan)


class Estimate(NamedTuple):
    """A mean over independent sequences, its standard error, and their count."""

    mean: float
    standard_error: float
    sequences: int


def estimate(samples: Float[Array, "sequences"]) -> Estimate:
    """Return the mean of `samples`, one per sequence, with its standard error (same unit)."""
    count = samples.shape[0]
    if count < 2:
        raise ValueError(f"a standard error needs at least 2 sequences, not {count}")
    return Estimate(float(jnp.mean(samples)), float(jnp.std(samples, ddof=1) / count**0.5), count)
