"""A forecaster as a predictor of many sequences, and a score as results and ledgers have it."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from bestguess.filters.evaluate import predict_all
from bestguess.filters.forecaster import Forecaster
from bestguess.sampled import Score
from bestguess.task import Gaussian


class FilterPredictor(eqx.Module):
    """A forecaster as a predictor: a trained one, the exact filter, or the constant in its place."""

    forecaster: Forecaster

    def __call__(self, sequences: Float[Array, "n T m"]) -> Gaussian:
        """Return the predictions of every step from the patches before its own; 0 for the first patch."""
        return Gaussian(predict_all(self.forecaster, jnp.asarray(sequences)))


def told(score: Score) -> dict[str, Any]:
    """Return a score as results have it."""
    return {
        "normalised_loss": score.loss.mean,
        "standard_error": score.loss.standard_error,
        "sequences": score.loss.sequences,
        "skill": score.skill,
        "headroom": score.headroom,
    }


def kept(score: Score) -> dict[str, Any]:
    """Return a score as a ledger keeps it: None where there is no headroom, NaN where there was a fault."""
    figures = told(score) | {"skill": score.recorded_skill}
    del figures["sequences"]
    return figures
