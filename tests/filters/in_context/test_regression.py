"""Regressions fitted in context, against closed forms in float64, step by step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.filters.in_context.regression import fitted_in_context, orders_of

S, T, M = 2, 12, 2
Y = np.asarray(jax.random.normal(jax.random.key(0), (S, T, M)).cumsum(1), np.float64)
SCALE = np.array([1.5, 2.5])


def closed_form(y: np.ndarray, order: int, patch: int, penalty: float) -> np.ndarray:
    """Ridge regression on all pairs seen so far, solved anew before every patch."""
    u = y / SCALE
    seen = lambda s: np.concatenate([u[s - j] if s >= j else np.zeros(M) for j in range(order)])  # noqa: E731
    found = np.zeros_like(u)
    for start in range(patch, T, patch):
        pairs = range(start - patch)  # the target of pair s is y_{s+1} … y_{s+P}, all before `start`
        X = np.array([seen(s) for s in pairs]).reshape(-1, order * M)
        ahead = np.array([u[s + 1 : s + 1 + patch].reshape(-1) for s in pairs]).reshape(-1, patch * M)
        W = np.linalg.solve(X.T @ X + penalty * np.eye(order * M), X.T @ ahead)
        found[start : start + patch] = (seen(start - 1) @ W).reshape(patch, M)
    return found * SCALE


@pytest.mark.parametrize(("order", "patch"), [(1, 1), (3, 1), (2, 3)])
def test_recursive_least_squares_is_ridge_regression_at_every_step(order, patch):
    penalties = (1e-3, 0.5, 7.0)
    found = fitted_in_context(jnp.asarray(Y), jnp.asarray(SCALE), order, patch, jnp.asarray(penalties))
    assert found.shape == (len(penalties), S, T, M)
    for i, penalty in enumerate(penalties):
        for s in range(S):
            np.testing.assert_allclose(found[i, s], closed_form(Y[s], order, patch, penalty), rtol=2e-3, atol=2e-3)
    assert np.abs(np.asarray(found[0] - found[1])).max() > 0.1  # the penalty matters here


def test_no_prediction_sees_its_own_patch():
    before = fitted_in_context(jnp.asarray(Y), jnp.asarray(SCALE), 2, 3, jnp.ones(1))
    after = fitted_in_context(jnp.asarray(Y).at[:, 6:].add(5.0), jnp.asarray(SCALE), 2, 3, jnp.ones(1))
    np.testing.assert_array_equal(before[:, :, :9][:, :, :6], after[:, :, :6])
    np.testing.assert_array_equal(before[:, :, 6:9], after[:, :, 6:9])
    assert (np.asarray(before[:, :, 9:]) != np.asarray(after[:, :, 9:])).all()


def test_orders_fit_the_sequence():
    assert orders_of(64, 2) == [1, 2, 4, 8, 16]
    assert orders_of(64, 8) == [1, 2, 4, 8]
    assert orders_of(8, 2) == [1, 2, 4]
    assert orders_of(1, 100) == [1]
