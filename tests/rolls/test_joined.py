"""The evidence of a training as one process: M = ½ E_first + ½ E_test, from 1."""

from __future__ import annotations

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.rolls.answers import first_pass
from bestguess.rolls.evidence.joined import (
    MODEL_SHARE,
    FirstPass,
    model_path,
    order_of,
    side_paths,
    windows_of,
)
from bestguess.rolls.evidence.order import Path
from bestguess.rolls.evidence.windows import CONTEXT, Marginal
from bestguess.rolls.problem import Kept

NOTHING = FirstPass(0.0, 0.0, 0)


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings(), np.errstate(over="warn", invalid="warn", divide="warn"):
        warnings.simplefilter("error")
        yield


def path_of(*e: float) -> Path:
    """Return the path of a process with these values."""
    values = np.asarray(e)
    return Path(np.log(values), values - 1)


def side_of(*e: float):
    return path_of(*e), (math.log(e[-1]), "a side predictor")


def model_of(*e: float, heads: int = 2, weights: int = 3) -> np.ndarray:
    """Return ln f [windows, k, w] of a model all of whose bets have these E after each window."""
    log_f = np.diff(np.log([1.0, *e]))
    return np.broadcast_to(log_f[:, None, None], (len(e), heads, weights))


def test_nothing_bet_on_is_exactly_nothing():
    found = order_of(NOTHING, side_of(1, 1, 1), [model_path(np.zeros((3, 2, 5)))])
    assert found.log_m == 0
    np.testing.assert_array_equal(found.path, 0)


@pytest.mark.parametrize(
    ("first", "side", "model"),
    [
        ((3.0, 8.0), (2.0, 0.5, 4.0), (1.5, 10.0, 0.25)),
        ((0.01, 1.0), (1.1, 0.9), (1.0, 2.0)),
        ((200.0, 300.0), (0.1,), (0.2,)),
        ((0.5, 1.0), (0.5, 0.2), (0.5, 0.1)),  # never above 1: M's largest value is where it starts
    ],
)
def test_the_mean_by_hand(first, side, model):
    end, largest = first
    found = order_of(FirstPass(math.log(end), math.log(largest), 7), side_of(*side), [model_path(model_of(*model))])
    e_test = (1 - MODEL_SHARE) * np.asarray(side) + MODEL_SHARE * np.asarray(model)
    np.testing.assert_allclose(np.exp(found.path), e_test, rtol=1e-12)
    m = [1.0, 0.5 * largest + 0.5, *(0.5 * end + 0.5 * e_test)]
    assert math.exp(found.log_m) == pytest.approx(max(m), rel=1e-12)


def test_the_model_has_a_sixth_of_the_test_part():
    assert pytest.approx(1 / 6) == MODEL_SHARE


def test_a_model_s_path_is_the_mean_over_heads_and_weights():
    log_f = np.random.default_rng(0).normal(size=(5, 3, 4))
    e = np.exp(np.cumsum(log_f, axis=0)).reshape(5, -1).mean(axis=1)
    found = model_path(log_f)
    np.testing.assert_allclose(found.log, np.log(e), rtol=1e-12)
    np.testing.assert_allclose(found.excess, e - 1, rtol=1e-9)


def test_several_models_count_as_their_mean_and_never_as_the_best():
    good, bad = model_of(50.0, 1000.0), model_of(0.5, 0.25)
    found = order_of(NOTHING, side_of(1, 1), [model_path(one) for one in (good, bad, bad, bad)])
    expected = (1 - MODEL_SHARE) + MODEL_SHARE * np.asarray([(50 + 3 * 0.5) / 4, (1000 + 3 * 0.25) / 4])
    np.testing.assert_allclose(np.exp(found.path), expected, rtol=1e-12)
    assert math.exp(found.log_m) == pytest.approx(0.5 + 0.5 * expected[1])


@pytest.mark.parametrize("size", [1e5, -1e5])
def test_evidence_beyond_every_float(size):
    """E = e^(1e5): no number has it, its logarithm does; and e^(−1e5) takes away a model's share, no more."""
    log_f = np.full((4, 2, 5), size / 4)
    found = order_of(FirstPass(size, max(0.0, size), 9), side_of(1, 1, 1, 1), [model_path(log_f)])
    assert np.isfinite(found.path).all()
    if size > 0:
        assert found.path[-1] == pytest.approx(size + math.log(MODEL_SHARE))
        assert found.log_m == pytest.approx(size + math.log(0.5 + 0.5 * MODEL_SHARE))
        assert "the model" in found.bet
    else:
        assert found.path[-1] == pytest.approx(math.log(1 - MODEL_SHARE))
        assert found.log_m == 0


def test_small_evidence_is_not_lost_in_the_rounding():
    """30,000 windows that each gain 1e-9: E − 1 is 3e-5, and no sum of ones takes that away."""
    steps = np.full((30_000, 2, 5), 1e-9)
    found = order_of(NOTHING, (Path(np.zeros(30_000), np.zeros(30_000)), (0.0, "nothing")), [model_path(steps)])
    assert found.path[-1] == pytest.approx(MODEL_SHARE * 3e-5, rel=1e-3)


# ------------------------------------------------------------------------------------------ the first pass of runs


def kept_of(*log_e: list[list[float]], largest: list[float], windows: int = 10) -> Kept:
    e = jnp.asarray(log_e, jnp.float32)
    e = e if e.ndim == 3 else e[:, None]
    kept = Kept(e, jnp.zeros_like(e), jnp.asarray(largest), jnp.zeros(len(e)), jnp.full(len(e), windows))
    return jax.device_get(kept)


def learnt(kept: Kept):
    return type("Learnt", (), {"kept": kept})()


def test_the_first_pass_of_one_run_has_its_largest_value():
    found = first_pass(learnt(kept_of([[0.0, math.log(3)]], largest=[5.0])), [0], window=8)
    assert math.exp(found.log_e) == pytest.approx(2)
    assert found.largest == 5
    assert found.values == 10 * 7


def test_the_first_pass_of_several_runs_is_their_mean_at_its_end():
    kept = kept_of([[0.0, 0.0]], [[math.log(9), math.log(5)]], [[-3.0, -3.0]], largest=[0.0, 50.0, 0.0])
    found = first_pass(learnt(kept), [0, 1], window=8)
    assert math.exp(found.log_e) == pytest.approx((1 + 7) / 2)
    assert found.largest == found.log_e  # not the largest of them on the way
    lost = first_pass(learnt(kept), [2, 2], window=8)
    assert lost.log_e == pytest.approx(-3)
    assert lost.largest == 0


def test_the_first_pass_of_a_constant_file_is_exactly_nothing():
    found = first_pass(learnt(kept_of([[0.0] * 5] * 2, [[0.0] * 5] * 2, largest=[0.0, 0.0])), [0, 1], window=8)
    assert (found.log_e, found.largest) == (0, 0)


# ------------------------------------------------------------------------------------------ side predictors


def test_side_predictors_see_the_windows_values_and_those_before():
    values = np.random.default_rng(0).integers(0, 50, 400).astype(np.uint16)
    starts, T = np.asarray([100, 110, 120, 130]), 10
    chunks = list(windows_of(lambda a, b: values[a:b], starts, T))
    blocks = np.concatenate([chunk.block.T for chunk in chunks])
    np.testing.assert_array_equal(blocks.ravel(), values[101:141])
    windows = np.concatenate([chunk.window.T for chunk in chunks])
    np.testing.assert_array_equal(windows[0], values[101 - CONTEXT : 111])


def test_side_predictors_find_a_repeat_and_nothing_in_a_constant_file():
    draw = np.random.default_rng(1)
    repeats = np.repeat(draw.integers(0, 1000, 400), 2).astype(np.uint16)
    starts = 40 + 16 * np.arange(40)
    marginal = lambda values: Marginal(np.bincount(values, minlength=1 << 16))  # noqa: E731
    found, (log_e, bet) = side_paths(windows_of(lambda a, b: repeats[a:b], starts, 16), marginal(repeats))
    assert found.log[-1] > math.log(100)
    assert bet.startswith("repeat")
    assert log_e <= found.log[-1]
    constant = np.full(800, 3, np.uint16)
    found, _ = side_paths(windows_of(lambda a, b: constant[a:b], starts, 16), marginal(constant))
    np.testing.assert_array_equal(found.excess, 0)
