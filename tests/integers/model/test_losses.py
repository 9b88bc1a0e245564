"""Losses and weights against NumPy, and which of them have a gradient."""

from __future__ import annotations

import math
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.integers.config import Loss, ObjectiveConfig, Weight
from bestguess.integers.model.losses import (
    RANDOM,
    likeliest,
    loss_by_position,
    negative_log_likelihood,
    position_weights,
)

T, V = 5, 256
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(T, V)).astype(np.float32)
TARGET = RNG.integers(0, V, T)
P = np.exp(LOGITS.astype(float)) / np.exp(LOGITS.astype(float)).sum(axis=-1, keepdims=True)
NLL = -np.log(P[np.arange(T), TARGET])
WEIGHTS = {"linear": lambda d: d, "quadratic": lambda d: d**2, "root": np.sqrt}
ALPHA = jnp.asarray(0.3)


def ours(objective: ObjectiveConfig, logits=LOGITS):
    return loss_by_position(jnp.asarray(logits), jnp.asarray(TARGET), objective, ALPHA)


def by_hand(objective: ObjectiveConfig) -> np.ndarray:
    weigh = WEIGHTS[objective.weight]
    if objective.distance_by == "argmax":
        apart = weigh(np.abs(P.argmax(axis=-1) - TARGET).astype(float))
    else:
        apart = np.sum(P * weigh(np.abs(np.arange(V)[None] - TARGET[:, None]).astype(float)), axis=-1)
    return {"standard": NLL, "weighted": NLL * (1 + 0.3 * apart), "distance": apart}[objective.loss]


@pytest.mark.parametrize("distance_by", ["argmax", "expected"])
@pytest.mark.parametrize("weight", typing.get_args(Weight))
@pytest.mark.parametrize("loss", typing.get_args(Loss))
def test_every_loss_by_hand(loss, weight, distance_by):
    objective = ObjectiveConfig(loss=loss, weight=weight, distance_by=distance_by)
    np.testing.assert_allclose(ours(objective), by_hand(objective), rtol=1e-4)


def gradient(objective: ObjectiveConfig) -> np.ndarray:
    return np.asarray(jax.grad(lambda logits: jnp.sum(ours(objective, logits)))(jnp.asarray(LOGITS)))


def test_the_likeliest_is_the_argmax_and_the_first_of_equals():
    logits = np.random.default_rng(3).normal(size=(7, 256)).astype(np.float32)
    logits[2, [11, 101]] = logits[4, [0, 255]] = 9
    logits[5] = -np.inf
    found = likeliest(jnp.asarray(logits))
    assert jnp.issubdtype(found.dtype, jnp.integer)
    np.testing.assert_array_equal(found, logits.argmax(axis=-1))
    assert (int(found[2]), int(found[4])) == (11, 0)


def test_the_distance_of_the_likeliest_has_no_gradient_and_the_expected_one_has():
    assert (gradient(ObjectiveConfig(loss="distance", distance_by="argmax")) == 0).all()
    slope = gradient(ObjectiveConfig(loss="distance", distance_by="expected"))
    assert np.isfinite(slope).all()
    # Going down it moves probability towards the target: the logit of the target itself rises most of all nearby.
    for t in range(T):
        far = np.abs(np.arange(V) - TARGET[t]).argmax()
        assert slope[t, TARGET[t]] < 0 < slope[t, far]


def test_a_weight_by_argmax_scales_the_gradient_of_its_position():
    weighted, standard = gradient(ObjectiveConfig(loss="weighted")), gradient(ObjectiveConfig(loss="standard"))
    apart = np.abs(P.argmax(axis=-1) - TARGET)
    np.testing.assert_allclose(weighted, standard * (1 + 0.3 * apart)[:, None], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("weight", typing.get_args(Weight))
def test_gradients_are_finite_at_distance_0(weight):
    """A square root's own is not: the distance of a number from itself must not be differentiated."""
    for distance_by in ("argmax", "expected"):
        objective = ObjectiveConfig(loss="weighted", weight=weight, distance_by=distance_by)
        logits = jnp.asarray(np.where(np.arange(V)[None] == TARGET[:, None], 50.0, 0.0), jnp.float32)
        assert np.isfinite(jax.grad(lambda x, o=objective: jnp.sum(ours(o, x)))(logits)).all()


def test_random_baselines_are_those_of_a_uniform_guess():
    numbers = np.arange(256)
    assert pytest.approx(np.mean(numbers[:, None] == numbers[None])) == RANDOM.accuracy
    assert pytest.approx(np.mean(np.abs(numbers[:, None] - numbers[None]))) == RANDOM.mean_distance
    uniform = negative_log_likelihood(jnp.zeros((1, 256)), jnp.asarray([7]))
    assert float(uniform[0]) == pytest.approx(RANDOM.loss)
    # The document's figures.
    assert RANDOM.accuracy == 1 / 256
    assert round(RANDOM.mean_distance, 2) == 85.33
    assert math.floor(100 * RANDOM.loss + 0.5) / 100 == 5.55


@pytest.mark.parametrize(
    ("prefixes", "masked", "expected"),
    [
        ("all", "ignored", [1, 1, 1, 0, 0]),
        ("all", "included", [1, 1, 1, 1, 1]),
        ("all", "weighted", [1, 1, 1, 0.25, 0.25]),
        ("full", "ignored", [0, 0, 1, 0, 0]),
        ("full", "included", [0, 0, 1, 1, 1]),
        ("full", "weighted", [0, 0, 1, 0.25, 0.25]),
    ],
)
def test_which_positions_count(prefixes, masked, expected):
    objective = ObjectiveConfig(prefixes=prefixes, masked=masked, masked_weight=0.25)
    real = jnp.asarray([True, True, True, False, False])
    np.testing.assert_array_equal(position_weights(real, objective), expected)
