"""What the trainer needs for sequences of unknown systems: the loss of one sequence, the validation."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from bestguess.filters.config import FilterModelConfig
from bestguess.filters.forecaster import Forecaster, make_forecaster, predict
from bestguess.filters.in_context.task import MixtureTask, at_once
from bestguess.task import Gaussian, normalised_loss, regret, skill
from bestguess.train.problem import Problem


class InContextProblem(Problem[MixtureTask, Forecaster]):
    """Predict the next patch of y, whichever system it is of."""

    config: FilterModelConfig = eqx.field(static=True)

    def init(self, task: MixtureTask, key: Key[Array, ""]) -> Forecaster:
        """Return an untrained forecaster for the task's scale."""
        return make_forecaster(self.config, task.scale, key=key)

    def loss(
        self, model: Forecaster, task: MixtureTask, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return Σ_t ‖y_t − ŷ_t‖² over the predicted steps of one sequence, and their count.

        In units of the error of the filters that are told the system, which is known exactly: the mean is 1 for them,
        and a little more for the oracle, which is not told.
        """
        y = task.sample(key)
        error = jnp.sum((y[task.predicted] - predict(model, y)) ** 2)
        return error / task.told_floor, jnp.asarray(float(y[task.predicted].shape[0]))

    def validate(self, model: Forecaster, task: MixtureTask, key: Key[Array, "n"]) -> dict[str, Float[Array, ""]]:
        """Return the normalised loss and the skill, from the distance to the mixture's predictions."""

        def of_sequence(one: Key[Array, ""]) -> tuple[Float[Array, "S"], Float[Array, "S"]]:
            known = task.known(one)
            best = Gaussian(known.mixture[task.predicted])
            return regret(Gaussian(predict(model, known.y)), best), regret(best, Gaussian(known.told[task.predicted]))

        found = jax.lax.map(of_sequence, key, batch_size=at_once(task.bank, len(key)))
        distance, untold = map(jnp.mean, found)
        floor = task.told_floor + untold
        loss = normalised_loss(distance, floor)
        return {"score": loss, "normalised_loss": loss, "skill": skill(distance, floor, task.ceiling)}
