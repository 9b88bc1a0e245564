"""The mixture of phases over a training."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestguess.integers.page import _curriculum
from bestguess.integers.sequences.curriculum import FINAL, STAGES, TRANSITIONS, mixture

KINDS = ("none", "strict", "gradual")


@given(st.floats(0, 1), st.sampled_from(KINDS))
def test_a_mixture_at_all_times(progress, kind):
    weights = mixture(progress, kind)
    assert weights.shape == (3,)
    assert weights.min() >= -1e-12
    np.testing.assert_allclose(weights.sum(), 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_all_end_with_all_phases_alike(kind):
    np.testing.assert_allclose(mixture(1.0, kind), FINAL)
    np.testing.assert_allclose(mixture(0.0, kind), FINAL if kind == "none" else STAGES[0], atol=1e-12)


def test_gradual_transitions_are_linear_and_overlap():
    (start2, stop2), (start3, stop3) = TRANSITIONS
    assert start2 < start3 < stop2 < stop3
    alone = np.linspace(start2, start3, 5)  # only the second phase comes in
    np.testing.assert_allclose(mixture(alone, "gradual")[:, 1], (alone - start2) / (stop2 - start2) / 2)
    middle = mixture(np.linspace(start3, stop2, 7), "gradual")
    assert (middle[1:-1] > 0).all()
    np.testing.assert_allclose(np.diff(middle, n=2, axis=0), 0, atol=1e-12)
    assert (np.abs(np.diff(mixture(np.linspace(0, 1, 1001), "gradual"), axis=0)) < 0.003).all()


def test_strict_switches_at_once_halfway():
    for (start, stop), before, after in zip(TRANSITIONS, STAGES, STAGES[1:]):
        half = (start + stop) / 2
        np.testing.assert_allclose(mixture(half - 1e-6, "strict"), before, atol=1e-12)
        np.testing.assert_allclose(mixture(half + 1e-6, "strict"), after, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_under_jax(kind):
    progress = np.linspace(0, 1, 23)
    traced = jax.jit(lambda p: mixture(p, kind, jnp))(jnp.asarray(progress))
    np.testing.assert_allclose(traced, mixture(progress, kind), atol=1e-5)


def test_the_picture_shows_every_phase():
    picture = _curriculum("gradual")
    assert [series.name for series in picture.series] == ["phase 1", "phase 2", "phase 3"]
    np.testing.assert_allclose(picture.series[2].y[-1], FINAL[2])
