"""The contract, against numbers worked out by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bestguess.task import (
    MIN_HEADROOM,
    Categorical,
    Gaussian,
    Task,
    estimate,
    expected_loss,
    headroom,
    normalised_loss,
    regret,
    skill,
)

INF = float("inf")


def gaussian(mean) -> Gaussian:
    mean = jnp.asarray(mean, jnp.float32)
    return Gaussian(mean, jnp.broadcast_to(jnp.eye(mean.shape[-1]), (*mean.shape, mean.shape[-1])))


def categorical(p) -> Categorical:
    return Categorical(jnp.log(jnp.asarray(p, jnp.float32)))


# ------------------------------------------------------------------------------------------- regret


def test_gaussian_regret_is_the_squared_distance_at_every_position():
    ours = gaussian([[1.0, 2.0], [0.0, 0.0], [-1.0, 0.5]])
    best = gaussian([[4.0, -2.0], [0.0, 0.0], [-1.0, 1.0]])
    np.testing.assert_allclose(regret(ours, best), [25.0, 0.0, 0.25])


def test_categorical_regret_is_the_divergence_from_the_oracle_in_nats():
    p, q = [0.5, 0.25, 0.25], [0.2, 0.2, 0.6]
    expected = 0.5 * np.log(0.5 / 0.2) + 0.25 * np.log(0.25 / 0.2) + 0.25 * np.log(0.25 / 0.6)
    np.testing.assert_allclose(regret(categorical([q, p]), categorical([p, p])), [expected, 0.0], atol=1e-7)
    # Not the other way round.
    swapped = 0.2 * np.log(0.2 / 0.5) + 0.2 * np.log(0.2 / 0.25) + 0.6 * np.log(0.6 / 0.25)
    np.testing.assert_allclose(regret(categorical(p), categorical(q)), swapped, rtol=1e-6)


def test_logits_need_not_be_normalised():
    a, b = jnp.asarray([[1.0, -2.0, 0.5]]), jnp.asarray([[0.0, 3.0, 1.0]])
    shifted = regret(Categorical(a + 7), Categorical(b - 100))
    np.testing.assert_allclose(shifted, regret(Categorical(a), Categorical(b)), rtol=1e-5)


probabilities = hnp.arrays(np.float64, (4, 5), elements=st.floats(0.01, 1)).map(lambda a: a / a.sum(-1, keepdims=True))


@settings(max_examples=25, deadline=None)
@given(probabilities, probabilities)
def test_categorical_regret_against_scipy(p, q):
    np.testing.assert_allclose(
        regret(categorical(q), categorical(p)), scipy.stats.entropy(p, q, axis=-1), atol=3e-6, rtol=1e-5
    )


def test_a_class_that_the_oracle_rules_out_adds_nothing():
    best = Categorical(jnp.asarray([[0.0, 0.0, -INF]]))
    model = categorical([[0.25, 0.25, 0.5]])
    np.testing.assert_allclose(regret(model, best), [np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(expected_loss(best), [np.log(2)], rtol=1e-6)
    # Where both rule it out, and where the model rules out what happens.
    np.testing.assert_allclose(regret(best, best), [0.0])
    assert regret(best, model).tolist() == [INF]


def test_a_ruled_out_class_leaves_the_gradient_finite():
    best = Categorical(jnp.asarray([[0.0, 0.0, -INF]]))
    gradient = jax.grad(lambda logits: jnp.sum(regret(Categorical(logits), best)))(jnp.asarray([[1.0, 0.0, 2.0]]))
    softmax = np.exp([1.0, 0.0, 2.0]) / np.exp([1.0, 0.0, 2.0]).sum()
    np.testing.assert_allclose(gradient, [softmax - [0.5, 0.5, 0.0]], rtol=1e-5)


def test_unlike_predictions_are_not_compared():
    with pytest.raises(TypeError, match="cannot compare Categorical with Gaussian"):
        regret(categorical([0.5, 0.5]), gaussian([1.0]))


# ---------------------------------------------------------------------------------------- the floor


def test_expected_loss_of_a_gaussian_is_the_trace():
    covariance = jnp.asarray([[[2.0, 0.7], [0.7, 3.0]], [[1.0, 0.0], [0.0, 0.5]]])
    np.testing.assert_allclose(expected_loss(Gaussian(jnp.zeros((2, 2)), covariance)), [5.0, 1.5])


def test_expected_loss_of_a_categorical_is_the_entropy_in_nats():
    p = [[0.5, 0.25, 0.25], [1.0, 0.0, 0.0], [1 / 3] * 3]
    np.testing.assert_allclose(expected_loss(categorical(p)), [1.5 * np.log(2), 0.0, np.log(3)], atol=1e-6)


def test_normalised_loss_and_headroom():
    floor = jnp.asarray([2.0, 4.0])
    np.testing.assert_allclose(normalised_loss(jnp.asarray([0.0, 0.2]), floor), [1.0, 1.05])
    np.testing.assert_allclose(headroom(jnp.asarray([3.0, 4.0]), floor), [0.5, 0.0])


def test_skill_is_1_at_the_oracle_0_at_the_constant_and_below_0_behind_it():
    floor, ceiling = jnp.full(4, 2.0), jnp.full(4, 5.0)
    np.testing.assert_allclose(skill(jnp.asarray([0.0, 3.0, 0.75, 6.0]), floor, ceiling), [1.0, 0.0, 0.75, -1.0])


def test_without_headroom_there_is_no_skill():
    floor = jnp.full(4, 100.0)
    ceiling = jnp.asarray([100.0, 100.9, 101.1, 99.0])
    found = skill(jnp.zeros(4), floor, ceiling)
    assert np.isnan(found).tolist() == [True, True, False, True]
    assert MIN_HEADROOM == 0.01
    gradient = jax.grad(lambda r: jnp.nansum(skill(r, floor, ceiling)))(jnp.zeros(4))
    assert np.isfinite(gradient).all()


# ---------------------------------------------------------------------------------------- estimates


def test_estimate_by_hand():
    mean, error, count = estimate(jnp.asarray([1.0, 2.0, 3.0, 6.0]))
    assert (mean, count) == (3.0, 4)
    np.testing.assert_allclose(error, np.sqrt((4 + 1 + 0 + 9) / 3) / 2, rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(hnp.arrays(np.float32, st.integers(2, 30), elements=st.floats(-100, 100, width=32)))
def test_estimate_against_scipy(samples):
    found = estimate(jnp.asarray(samples))
    np.testing.assert_allclose(found.mean, samples.astype(np.float64).mean(), atol=1e-4)
    np.testing.assert_allclose(found.standard_error, scipy.stats.sem(samples.astype(np.float64)), atol=1e-4)


def test_one_sequence_has_no_standard_error():
    with pytest.raises(ValueError, match="at least 2"):
        estimate(jnp.ones(1))


# --------------------------------------------------------------------------------------- a whole task

A, N, T = 0.8, 20_000, 11


class AutoRegression(Task):
    """y_t = a y_{t−1} + ε_t from y_0 = 0: the simplest task there is."""

    def sample(self, key):
        noise = jax.random.normal(key, (T,))
        return jax.lax.scan(lambda y, e: (A * y + e, A * y + e), jnp.zeros(()), noise)[1][:, None]

    def oracle(self, sequence):
        before = jnp.concatenate([jnp.zeros((1, 1)), sequence[:-1]])
        return Gaussian(A * before, jnp.ones((T, 1, 1)))

    def constant(self):
        return Gaussian(jnp.zeros((T, 1)), jnp.cumsum(A ** (2 * jnp.arange(T)))[:, None, None])


@pytest.fixture(scope="module")
def drawn():
    task = AutoRegression()
    y = jax.jit(jax.vmap(task.sample))(jax.random.split(jax.random.key(0), N))
    return task, y, jax.vmap(task.oracle)(y)


def within(samples, expected, errors: float = 4.0) -> None:
    """Assert that the mean over sequences lies within 4 standard errors of what is expected, at every position."""
    samples = np.asarray(samples, np.float64)
    error = samples.std(axis=0, ddof=1) / len(samples) ** 0.5
    assert (np.abs(samples.mean(axis=0) - expected) <= errors * error + 1e-12).all()


@pytest.mark.parametrize("predict", [lambda past: 0.5 * past + 0.3, lambda past: jnp.sin(3 * past), jnp.zeros_like])
def test_the_distance_to_the_oracle_is_the_difference_of_losses(drawn, predict):
    """E‖y − ŷ‖² − E‖y − ŷ*‖² = E‖ŷ − ŷ*‖², for every predictor that sees the past alone."""
    _, y, best = drawn
    past = jnp.concatenate([jnp.zeros((N, 1, 1)), y[:, :-1]], axis=1)
    guess = predict(past)
    difference = ((y - guess) ** 2 - (y - best.mean) ** 2).sum(-1)
    distance = regret(Gaussian(guess, best.covariance), best)
    within(difference - distance, 0.0)
    # And it takes far fewer sequences to see: that is what the distance is for.
    assert float(distance.mean(axis=1).std()) < 0.7 * float(difference.mean(axis=1).std())


def test_the_identity_fails_for_a_predictor_that_sees_the_future(drawn):
    _, y, best = drawn
    guess = 0.5 * best.mean + 0.5 * y
    difference = ((y - guess) ** 2 - (y - best.mean) ** 2).sum(-1)
    distance = regret(Gaussian(guess, best.covariance), best)
    with pytest.raises(AssertionError):
        within(difference - distance, 0.0)


def test_floor_and_ceiling_of_the_task(drawn):
    task, y, best = drawn
    within(((y - best.mean) ** 2).sum(-1), expected_loss(best)[0])
    within((y**2).sum(-1), expected_loss(task.constant()))
    # Regret of the best constant is the headroom, so its skill is 0.
    floor, ceiling = expected_loss(best).mean(), expected_loss(task.constant()).mean()
    zero = Gaussian(jnp.zeros_like(y), best.covariance)
    assert abs(float(skill(regret(zero, best).mean(), floor, ceiling))) < 0.02
