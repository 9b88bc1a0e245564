"""How far a predictor is from the mixture, and from the filter of the true system: on trained and held-out systems.

Two kinds of figures. A **regret** is a distance to the best possible prediction: to the mixture, on sequences of the
trained systems, since the mixture is their law. On held-out systems it is not, and a loss is compared with another one
of the same sequences: with that of the filter that is told the system, and with the mixture's. Both differences are
computed without the noise of the future. With e = y − ŷ°, ŷ° the told filter's prediction, e is orthogonal to the past:

    E‖y − ŷ‖² − E‖e‖² = E‖ŷ − ŷ°‖²,   E‖y − ŷ‖² − E‖y − ŷ_mix‖² = E[‖ŷ − ŷ°‖² − ‖ŷ_mix − ŷ°‖²].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from bestguess.batches import in_batches
from bestguess.filters.in_context.task import Bank, Known, MixtureTask, at_once
from bestguess.sampled import BATCH
from bestguess.task import Estimate, Gaussian, Prediction, Predictor, regret


@dataclass(frozen=True, eq=False)
class Compared:
    """A predictor's mean distances by step on sequences of one list of systems (squared units of y)."""

    from_mixture: Float[np.ndarray, "n S"]
    """‖ŷ − ŷ_mix‖² of each sequence."""
    from_told: Float[np.ndarray, "n S"]
    """‖ŷ − ŷ°‖²."""
    mixture_from_told: Float[np.ndarray, "n S"]
    """‖ŷ_mix − ŷ°‖²."""
    weight: Float[np.ndarray, " N"]
    """The mean posterior probability of the sequence's own system before each patch."""
    floor_by_step: Float[np.ndarray, " S"]
    """The told filters' own error, exactly."""
    ceiling: float
    """The error of the prediction 0, exactly."""
    groups: int
    """How many independent groups the sequences are: sequence i is of group i mod groups."""

    @property
    def floor(self) -> float:
        """The told filters' own error, over all steps."""
        return float(self.floor_by_step.mean())

    @property
    def headroom(self) -> float:
        """How much worse than the told filters the prediction 0 is, as a fraction of their error."""
        return self.ceiling / self.floor - 1

    def over_told(self) -> Estimate:
        """Return the loss over the told filters', in units of theirs."""
        return self._mean(self.from_told)

    def over_mixture(self) -> Estimate:
        """Return the loss over the mixture's, in units of the told filters'; below 0 where the predictor is better."""
        return self._mean(self.from_told - self.mixture_from_told)

    def mixture_over_told(self) -> Estimate:
        """Return the mixture's own loss over the told filters', in units of theirs."""
        return self._mean(self.mixture_from_told)

    def _mean(self, by_step: Float[np.ndarray, "n S"]) -> Estimate:
        return grouped(by_step.mean(1) / self.floor, self.groups)


def grouped(values: Float[np.ndarray, " n"], groups: int) -> Estimate:
    """Return the mean of values, of which i is of group i mod `groups`: the standard error is over the groups."""
    whole = len(values) // groups * groups
    by_group = values[:whole].reshape(-1, groups).mean(0)
    return Estimate(float(values.mean()), float(by_group.std(ddof=1) / groups**0.5), len(values))


def on_trained(task: MixtureTask, predictor: Predictor, keys: Key[Array, " n"]) -> Compared:
    """Return a predictor's distances on sequences of the K systems: those that `task.sample` draws with the keys."""
    return _compared(task, task.bank, predictor, len(keys), lambda places: _known(task, keys[places]), len(keys))


def on_held_out(task: MixtureTask, predictor: Predictor, key: Key[Array, ""], count: int) -> Compared:
    """Return a predictor's distances on `count` sequences of the held-out systems, of each in turn."""
    systems = min(task.held_out.count, count)
    keys = jax.random.split(key, count)
    draw = lambda places: _known_held_out(task, places % systems, keys[places])  # noqa: E731
    return _compared(task, task.held_out, predictor, count, draw, systems)


def _compared(
    task: MixtureTask,
    bank: Bank,
    predictor: Predictor,
    count: int,
    draw: Callable[[Int[Array, " n"]], Known],
    groups: int,
) -> Compared:
    found = []
    for places, own in in_batches(count, BATCH):
        known = draw(jnp.asarray(places))
        found.append([np.asarray(one, np.float64)[:own] for one in _distances(predictor(known.y), known)])
    mixture, told, between, weight = (np.concatenate(parts) for parts in zip(*found))
    S = task.predicted
    ceiling = float(np.asarray(bank.ceiling_by_step, np.float64)[S].mean())
    floor = np.asarray(bank.floor_by_step, np.float64)[S]
    return Compared(mixture[:, S], told[:, S], between[:, S], weight.mean(0), floor, ceiling, groups)


@eqx.filter_jit
def _known(task: MixtureTask, keys: Key[Array, " n"]) -> Known:
    return jax.lax.map(task.known, keys, batch_size=at_once(task.bank, len(keys)))


@eqx.filter_jit
def _known_held_out(task: MixtureTask, places: Int[Array, " n"], keys: Key[Array, " n"]) -> Known:
    one = lambda given: task.known_held_out(*given)  # noqa: E731
    return jax.lax.map(one, (places, keys), batch_size=at_once(task.bank, len(keys)))


@eqx.filter_jit
def _distances(prediction: Prediction, known: Known):
    mixture, told = Gaussian(known.mixture), Gaussian(known.told)
    return regret(prediction, mixture), regret(prediction, told), regret(mixture, told), known.weight
