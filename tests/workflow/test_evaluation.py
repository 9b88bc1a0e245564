"""The evaluator refuses every evaluation that is off, and `check_causal` every predictor that sees the future."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.command import Failure, UserError
from bestguess.config import only_run
from bestguess.filters import evaluate
from bestguess.filters.config import FilterModelConfig, FiltersConfig, FilterTaskConfig, RolloutConfig
from bestguess.filters.family import FAMILY
from bestguess.filters.predictor import FilterPredictor
from bestguess.filters.workings import FilterWorkings
from bestguess.sampled import score
from bestguess.workflow.evaluation import TOLERANCE, Evaluator, Evaluators, check_causal

SHORT_MEMORY = {"lambda_": (0.5,)}
"""Little headroom: most of the ceiling is floor, so a wrong floor shows."""
CONFIG = only_run(
    FiltersConfig(
        task=FilterTaskConfig(latent_dim=5, observed_dim=3, length=14, lambda_=(0.95,)),
        model=FilterModelConfig(patch=2),
        rollout=RolloutConfig(context=6, horizons=(1, 4), rollouts=7),
        test_sequences=11,
    )
)
N, T, M = 8, 14, 3


@pytest.fixture(scope="module")
def task():
    return FilterWorkings(FAMILY).task(CONFIG)


# ------------------------------------------------------------------------------------------ the self-test


def test_a_right_evaluation_is_taken(task):
    evaluator = Evaluator(FilterWorkings(FAMILY), CONFIG, task)
    assert 0 <= evaluator.missed <= TOLERANCE
    works = evaluator.workings
    oracle, constant = (evaluator(one(CONFIG, task)) for one in (works.oracle, works.constant))
    assert [row.name for row in evaluator.measured(oracle)] == ["one patch ahead", "t+1", "t+4"]
    for best, least in zip(evaluator.measured(oracle), evaluator.measured(constant)):
        assert abs(best.regret) <= TOLERANCE * best.unit
        assert least.standard_error > 0
        assert abs(least.regret - (least.ceiling - least.floor)) < 5 * least.standard_error
    assert evaluator(works.oracle(CONFIG, task), ["evaluation"]).rollouts is None


class ScaledGains(FilterWorkings):
    """The reference filter is 1 % off."""

    def oracle(self, config, task):
        exact = super().oracle(config, task)
        return eqx.tree_at(lambda one: one.forecaster.core.gains, exact, 1.01 * exact.forecaster.core.gains)


class AlwaysZero(FilterWorkings):
    """No predictor is ever told from the oracle."""

    def evaluate(self, config, task, predictor, parts, sequences=None, say=print):
        return super().evaluate(config, task, self.oracle(config, task), parts, sequences, say)


class Scaled(FilterWorkings):
    """Every regret is twice what it is: the oracle's 0 is 0 all the same."""

    def evaluate(self, config, task, predictor, parts, sequences=None, say=print):
        found = super().evaluate(config, task, predictor, parts, sequences, say)
        one = found.one_step.score
        doubled = dataclasses.replace(one, regret=one.regret._replace(mean=2 * one.regret.mean))
        return dataclasses.replace(found, one_step=dataclasses.replace(found.one_step, score=doubled))


class OneStepLate(FilterWorkings):
    """Predictions are compared with the oracle's of the step before."""

    def evaluate(self, config, task, predictor, parts, sequences=None, say=print):
        late = predictor if "evaluation" not in parts else Late(predictor.forecaster)
        return super().evaluate(config, task, late, parts, sequences, say)


class Late(FilterPredictor):
    def __call__(self, sequences):
        found = super().__call__(sequences)
        return dataclasses.replace(found, mean=jnp.roll(found.mean, 1, axis=1))


class WrongFloor(FilterWorkings):
    """The regret is measured between wrong bounds."""

    def bounds(self, task, own):
        floor, ceiling = super().bounds(task, own)
        return 0.5 * floor, ceiling


class WrongCeiling(FilterWorkings):
    def bounds(self, task, own):
        floor, ceiling = super().bounds(task, own)
        return floor, 2.5 * ceiling


class NotANumber(FilterWorkings):
    def evaluate(self, config, task, predictor, parts, sequences=None, say=print):
        found = super().evaluate(config, task, predictor, parts, sequences, say)
        nan = score(np.full(7, np.nan), 1.0, 2.0)
        return dataclasses.replace(found, one_step=dataclasses.replace(found.one_step, score=nan))


@pytest.mark.parametrize(
    ("works", "told"),
    [
        (ScaledGains, "the oracle misses a regret of 0"),
        (AlwaysZero, "the best constant has a regret of"),
        (Scaled, "the best constant has a regret of"),
        (OneStepLate, "the oracle misses a regret of 0"),
        (WrongFloor, "the best constant has a regret of"),
        (WrongCeiling, "the best constant has a regret of"),
        (NotANumber, "the oracle misses a regret of 0 by nan (one patch ahead)"),
    ],
)
def test_an_evaluation_that_is_off_is_refused_before_it_says_anything(task, works, told):
    config = CONFIG
    if works is WrongFloor:
        config = dataclasses.replace(CONFIG, task=dataclasses.replace(CONFIG.task, **SHORT_MEMORY))
        task = works(FAMILY).task(config)
    Evaluator(FilterWorkings(FAMILY), config, task)
    with pytest.raises(Failure) as error:
        Evaluator(works(FAMILY), config, task)
    assert told in str(error.value)
    assert str(error.value).endswith("the evaluation is wrong, so no result is reported")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shift", [1, -1])
def test_a_rollout_that_is_scored_one_step_off_is_refused(task, monkeypatch, shift):
    good = evaluate.rollout
    late = lambda model, context, horizon: good(model, context, horizon + 1)[1:]  # noqa: E731
    early = lambda model, context, horizon: jnp.roll(good(model, context, horizon), 1, axis=0)  # noqa: E731
    monkeypatch.setattr(evaluate, "rollout", late if shift == 1 else early)
    monkeypatch.setattr(evaluate, "programs", {})  # what was compiled with the right rollout
    evaluate._roll.clear_cache()
    try:
        with pytest.raises(Failure, match=r"the oracle misses a regret of 0 by .* \(t\+1\)"):
            Evaluator(FilterWorkings(FAMILY), CONFIG, task)
    finally:
        evaluate._roll.clear_cache()


def test_a_task_s_evaluator_is_made_once(task):
    made = Evaluators()
    works = FilterWorkings(FAMILY)
    first = made.of(works, CONFIG, task, "a")
    assert made.of(works, CONFIG, task, "a") is first
    assert made.of(works, CONFIG, task, "b") is not first
    with pytest.raises(Failure):
        made.of(ScaledGains(FAMILY), CONFIG, task, "c")
    with pytest.raises(Failure):  # what was refused is not kept
        made.of(ScaledGains(FAMILY), CONFIG, task, "c")


# ------------------------------------------------------------------------------------------ anybody's predictor

SEQUENCES = np.random.default_rng(3).normal(size=(N, T, M)).astype(np.float32)


def before(y: np.ndarray) -> np.ndarray:
    """The mean of the elements before each, 0 for the first: sees the past alone."""
    total = np.cumsum(y, axis=1) - y
    return total / np.maximum(np.arange(y.shape[1]), 1)[:, None]


def with_nan(y: np.ndarray) -> np.ndarray:
    found = before(y)
    found[2, 3] = np.nan
    return found


CAUSAL = {
    "the mean before": before,
    "the last element": lambda y: np.concatenate([np.zeros_like(y[:, :1]), y[:, :-1]], axis=1),
    "a constant": np.zeros_like,
    "logits": lambda y: np.repeat(before(y)[..., :1], 7, axis=-1),
}


@pytest.mark.parametrize("name", CAUSAL)
def test_a_predictor_that_sees_the_past_alone_is_taken(name):
    kept = SEQUENCES.copy()
    check_causal(CAUSAL[name], kept)
    np.testing.assert_array_equal(kept, SEQUENCES)


def drawn(y: np.ndarray, draw: np.random.Generator = np.random.default_rng(0)) -> np.ndarray:  # noqa: B008
    return before(y) + draw.normal(size=y.shape)


def leak(where: int, amount: float = 1e-3) -> Any:
    """Sees element t + where of the sequence in its prediction of t, if only a little."""

    def predict(y: np.ndarray) -> np.ndarray:
        seen = np.zeros_like(y)
        seen[:, : T - where] = y[:, where:]
        return before(y) + amount * seen

    return predict


REFUSED = {
    "sees the element itself": (leak(0), "sees the future: its prediction of element"),
    "sees the next element": (leak(1), "sees the future: its prediction of element"),
    "sees an element far ahead": (leak(9), "sees the future: its prediction of element"),
    "normalises by the whole sequence": (lambda y: before(y) / y.std(axis=1, keepdims=True), "sees the future"),
    "sees the last element in the last alone": (
        lambda y: np.where(np.arange(T)[:, None] == T - 1, y, before(y)), f"its prediction of element {T - 1} changes"
    ),
    "sees the first element in the first alone": (
        lambda y: np.where(np.arange(T)[:, None] == 0, y, before(y)), "its prediction of element 0 changes"
    ),
    "draws random numbers": (drawn, "gives other predictions when it is asked the same again"),
    "leaves the first element out": (lambda y: before(y)[:, 1:], f"of shape [{N}, {T - 1}, {M}] for sequences"),
    "predicts the last element alone": (lambda y: before(y)[:, -1], f"an array of shape [{N}, {M}] for sequences"),
    "predicts one sequence": (lambda y: before(y)[0], f"an array of shape [{T}, {M}] for sequences of shape"),
    "returns a number": (lambda y: 0.0, "an array of shape [] for sequences of shape"),
    "returns NaN": (lambda y: np.full_like(y, np.nan), "returned NaN"),
    "returns NaN somewhere": (with_nan, "returned NaN"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_predictor_that_cannot_be_judged_is_told_why_in_one_line(name):
    predict, told = REFUSED[name]
    with pytest.raises(UserError) as error:
        check_causal(predict, SEQUENCES)
    assert str(error.value).startswith("predict: ")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("where", [0, 1])
def test_discrete_sequences_are_tested_too(where):
    """Where most elements are equal, one sequence in the place of another may change nothing: several are asked."""
    bits = np.random.default_rng(5).integers(0, 2, size=(N, T))

    def predict(x: np.ndarray) -> np.ndarray:
        seen = np.zeros_like(x)
        seen[:, : T - where] = x[:, where:]
        return np.stack([seen, 1 - seen], axis=-1).astype(np.float32)

    with pytest.raises(UserError, match="sees the future"):
        check_causal(predict, bits)
    check_causal(lambda x: predict(np.concatenate([0 * x[:, : where + 1], x], axis=1)[:, :T]), bits)


def test_an_evaluator_judges_anybody_s_predictor_and_refuses_one_that_sees_the_future(task):
    evaluator = Evaluator(FilterWorkings(FAMILY), CONFIG, task)
    as_jax = jax.tree.map(jnp.asarray, task)
    exact = lambda y: np.asarray(jax.vmap(as_jax.oracle)(jnp.asarray(y)).mean)  # noqa: E731
    (best,) = evaluator.measured(evaluator.outside(exact))
    assert (best.name, best.sequences) == ("one patch ahead", 11)
    assert abs(best.regret) < 1e-6 * best.unit
    (zero,) = evaluator.measured(evaluator.outside(np.zeros_like))
    found = evaluator(FilterWorkings(FAMILY).constant(CONFIG, task), ["evaluation"])
    assert zero.regret == pytest.approx(evaluator.measured(found)[0].regret, rel=1e-5)
    with pytest.raises(UserError, match="sees the future"):
        evaluator.outside(lambda y: y)
