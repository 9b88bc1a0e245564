"""Fits of curves whose law is known, and where a falling figure reaches a level."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bestguess.text.fits import Fit, between, fit, needed, resampled

X = np.array([5e5, 2e6, 7e6, 1.5e7, 5e7, 1.3e8])


def test_a_power_law_is_found_exactly():
    law = Fit(0.0, 300.0, 0.4)
    found = fit(X, law.at(X), saturating=False)
    assert found.level == 0
    assert found.exponent == pytest.approx(0.4, rel=1e-9)
    assert found.scale == pytest.approx(300.0, rel=1e-9)


@pytest.mark.parametrize("level", [0.3, 1.7])
def test_a_level_that_no_size_goes_below_is_found(level):
    law = Fit(level, 300.0, 0.4)
    found = fit(X, law.at(X), saturating=True)
    assert found.level == pytest.approx(level, rel=0.03)
    assert found.exponent == pytest.approx(0.4, rel=0.05)
    np.testing.assert_allclose(found.at(X), law.at(X), rtol=2e-3)


def test_returns_diminish_where_a_doubling_gains_little():
    law = Fit(1.0, 300.0, 0.4)
    x = law.diminished(0.01)
    assert float(law.at(np.array([x]))[0] - law.at(np.array([2 * x]))[0]) == pytest.approx(0.01, rel=1e-9)
    assert Fit(1.0, 300.0, -0.1).diminished(0.01) == 0.0  # it rises: no size is worth it


def test_intervals_hold_the_law_and_widen_with_the_noise():
    rng, law = np.random.default_rng(0), Fit(0.0, 300.0, 0.4)
    widths = []
    for noise in (0.01, 0.1):
        y = law.at(X)[:, None] * np.exp(noise * rng.normal(size=(len(X), 5)))
        low, high = between([one.exponent for one in resampled(X, y, False, 300)])
        assert low < 0.4 < high
        widths.append(high - low)
    assert widths[1] > 5 * widths[0]


def test_where_a_level_is_reached():
    x, y = np.array([100.0, 1000.0, 10000.0]), np.array([10.0, 1.0, 0.1])
    assert needed(x, y, math.sqrt(10)) == pytest.approx(100 * math.sqrt(10))
    assert needed(x, y, 1.0) == pytest.approx(1000)
    assert needed(x, y, 12.0) == 100
    assert needed(x, y, 0.05) == math.inf
