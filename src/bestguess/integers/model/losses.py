"""What training makes small, and the measures beside it.

Distances are in classes: the alphabet's numbers run from 0 to 255, so that a random guess is 85.33 away on
average. Shapes in names: T positions, V values.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from bestguess.integers.config import CLASSES, ObjectiveConfig, Weight


class Random(NamedTuple):
    """What a uniform guess scores against a uniform target."""

    accuracy: float = 1 / CLASSES
    mean_distance: float = (CLASSES**2 - 1) / (3 * CLASSES)
    """E|a − b| of two numbers drawn uniformly from 0..n−1 is (n² − 1)/3n (classes)."""
    loss: float = math.log(CLASSES)
    """Nats."""


RANDOM = Random()


def negative_log_likelihood(logits_TV: Float[Array, "T V"], target_T: Int[Array, "T"]) -> Float[Array, "T"]:
    """Return −log p of each target (nats)."""
    own_TV = target_T[:, None] == jnp.arange(CLASSES)[None]
    # A masked sum, not an index: its gradient is one too, where an index's is a scatter.
    return jax.nn.logsumexp(logits_TV, axis=-1) - jnp.sum(jnp.where(own_TV, logits_TV, 0.0), axis=-1)


def likeliest(logits_TV: Float[Array, "T V"]) -> Int[Array, "T"]:
    """Return the class of the largest logit, the first of equal ones."""
    # As two reductions of floats: an argmax reduces pairs, which XLA:CPU does not vectorise. Nor does it floats
    # counted up: those converted from integers take it a quarter of the time.
    is_top_TV = logits_TV == jnp.max(logits_TV, axis=-1, keepdims=True)
    return jnp.min(jnp.where(is_top_TV, jnp.arange(CLASSES)[None].astype(jnp.float32), CLASSES), axis=-1).astype(int)


def weigh(distance: Float[Array, "..."], weight: Weight) -> Float[Array, "..."]:
    """Return a distance (classes), its square, or its square root."""
    match weight:
        case "linear":
            return distance
        case "quadratic":
            return distance**2
        case "root":
            return jnp.sqrt(distance)


def distance(
    logits_TV: Float[Array, "T V"], target_T: Int[Array, "T"], objective: ObjectiveConfig
) -> Float[Array, "T"]:
    """Return how far the guess is from each target, under the objective's weight.

    argmax: the distance of the likeliest number: a constant almost everywhere, so no gradient comes of it.
    expected: Σ_k p(k)·distance(k, target), whose gradient moves probability towards the target.
    """
    if objective.distance_by == "argmax":
        guess_T = likeliest(logits_TV)
        return weigh(jnp.abs(guess_T - target_T).astype(jnp.float32), objective.weight)
    apart_TV = jnp.abs(jnp.arange(CLASSES)[None] - target_T[:, None]).astype(jnp.float32)
    return jnp.sum(jax.nn.softmax(logits_TV) * weigh(apart_TV, objective.weight), axis=-1)


def loss_by_position(
    logits_TV: Float[Array, "T V"], target_T: Int[Array, "T"], objective: ObjectiveConfig, alpha: Float[Array, ""]
) -> Float[Array, "T"]:
    """Return the objective's loss at every position: −log p, −log p · (1 + α·distance), or the distance."""
    if objective.loss == "distance":
        return distance(logits_TV, target_T, objective)
    loss_T = negative_log_likelihood(logits_TV, target_T)
    if objective.loss == "weighted":
        loss_T = loss_T * (1 + alpha * distance(logits_TV, target_T, objective))
    return loss_T


def random_objective(objective: ObjectiveConfig, alpha: Float[Array, ""]) -> Float[Array, ""]:
    """Return the objective's loss of a uniform guess against a uniform target, averaged over both."""
    numbers = jnp.arange(CLASSES)
    apart_VV = jnp.abs(numbers[:, None] - numbers[None]).astype(jnp.float32)
    distant = jnp.mean(weigh(apart_VV, objective.weight))
    if objective.loss == "distance":
        return distant
    return jnp.asarray(RANDOM.loss) * (1 + alpha * distant * (objective.loss == "weighted"))


def is_last(real_T: Bool[Array, "T"]) -> Bool[Array, "T"]:
    """Return where a sequence's last term is the target. real: targets that are terms, not padding."""
    return real_T & (jnp.cumsum(real_T) == jnp.sum(real_T))


def position_weights(real_T: Bool[Array, "T"], objective: ObjectiveConfig) -> Float[Array, "T"]:
    """Return what each position counts in the loss. real: its target is a term, not padding."""
    counts_T = real_T
    if objective.prefixes == "full":
        counts_T = is_last(real_T)
    masked = {"ignored": 0.0, "included": 1.0, "weighted": objective.masked_weight}[objective.masked]
    return jnp.where(real_T, counts_T.astype(jnp.float32), masked)
