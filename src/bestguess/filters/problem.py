"""What the trainer needs of the filters family: the model, the loss of one sequence, the validation."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from bestguess.filters.config import FilterModelConfig
from bestguess.filters.forecaster import Forecaster, make_forecaster, predict
from bestguess.filters.task import FilterTask
from bestguess.task import Gaussian, normalised_loss, regret, skill
from bestguess.train.problem import Problem


class FilterProblem(Problem[FilterTask, Forecaster]):
    """Predict the next patch of y; the loss is the squared error over the filter's."""

    config: FilterModelConfig = eqx.field(static=True)

    def init(self, task: FilterTask, key: Key[Array, ""]) -> Forecaster:
        """Return an untrained forecaster for the task's scale."""
        return make_forecaster(self.config, task.scale, key=key)

    def loss(
        self, model: Forecaster, task: FilterTask, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Return Σ_t ‖y_t − ŷ_t‖² / E‖y − ŷ*‖² over the predicted steps of one sequence, and their count.

        Normalised by the exact floor, so the mean is 1 for the filter. The oracle's predictions have no
        part in it: a model learns from what it could see.
        """
        y = task.sample(key)
        error = jnp.sum((y[task.predicted] - predict(model, y)) ** 2)
        return error / task.floor, jnp.asarray(float(y[task.predicted].shape[0]))

    def validate(self, model: Forecaster, task: FilterTask, key: Key[Array, "n"]) -> dict[str, Float[Array, ""]]:
        """Return the normalised loss and the skill, from the distance to the filter's predictions."""
        distance = jnp.mean(jax.vmap(lambda k: distances(model, task, k))(key))
        loss = normalised_loss(distance, task.floor)
        return {"score": loss, "normalised_loss": loss, "skill": skill(distance, task.floor, task.ceiling)}


def distances(model: Forecaster, task: FilterTask, key: Key[Array, ""]) -> Float[Array, "S"]:
    """Return ‖ŷ_t − ŷ*_t‖² at each predicted step of one sequence (squared units of y)."""
    y, best = task.sample_with_oracle(key)
    return regret(Gaussian(predict(model, y)), Gaussian(best.mean[task.predicted]))
