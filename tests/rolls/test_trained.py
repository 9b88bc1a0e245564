"""What a training adds to the record of a run, by brute force; and the self-test where the law moves with the index."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestguess.config import run_of_single
from bestguess.rolls.evidence.counts import WEIGHTS
from bestguess.rolls.evidence.joined import FirstPass, largest
from bestguess.rolls.family import FAMILY
from bestguess.rolls.problem import Kept
from bestguess.rolls.trained import spikes
from bestguess.train.fit import Fitted
from bestguess.workflow.evaluation import Evaluator
from bestguess.workflow.training import Training, make_training

OUTPUTS, HEADS = 2, (2, len(WEIGHTS))


def config_of(source: str, **task):
    values = {"source": source, "n": 1200, "window": 8, "test": 0.1, **task}
    model = {"layers": 1, "d_model": 8, "heads": 2, "outputs": OUTPUTS}
    return FAMILY.single({"task": values, "model": model, "train": {"learning_rate": [0.01], "first_seed": 3}})


@pytest.mark.parametrize(
    "source", ["deck alphabet=30", "drift alphabet=6 amount=0.4 period=50", "lcg modulus=64 drop=3"]
)
def test_the_oracle_has_no_regret_where_its_law_moves_with_the_index(source):
    config = config_of(source)
    task = FAMILY.works.task(config)
    assert Evaluator(FAMILY.works, config, task).missed <= 1e-6


# ------------------------------------------------------------------------------------- evidence of both parts


@given(
    first=st.lists(st.floats(-20, 20), min_size=1, max_size=6),
    test=st.lists(st.floats(-20, 20), min_size=1, max_size=6),
)
def test_the_largest_m_is_that_of_the_whole_process(first, test):
    """The process from its start: ½ E_first + ½ while training runs, then ½ of its end + ½ E_test."""
    process = [1.0] + [0.5 * math.exp(one) + 0.5 for one in first]
    process += [0.5 * math.exp(first[-1]) + 0.5 * math.exp(one) for one in test]
    found = largest(FirstPass(first[-1], max(0.0, *first), 1), np.array(test))
    assert found == pytest.approx(math.log(max(process)), abs=1e-9)


def trained(kept: Kept, scale: float) -> Training:
    """A training of one run with planted evidence, whose head has random weights of this size."""
    training = make_training(FAMILY, Path(), [run_of_single(config_of("iid alphabet=7"))])
    model = training.problem.init(jax.tree.map(lambda leaf: leaf, training.members.task), jax.random.key(0))
    weight = scale * jax.random.normal(jax.random.key(1), model.head.weight.shape)
    model = eqx.tree_at(lambda model: model.head.weight, model, weight)
    best = jax.tree.map(lambda leaf: np.asarray(leaf)[None], model)
    one, none = np.ones(1), np.full(1, -1)
    learnt = Fitted(best, best, one, none, none, one > 2, kept)
    return dataclasses.replace(training, learnt=learnt)


def planted(log_e: float, highest: float) -> Kept:
    """Evidence of two windows of 8 values, with 5 nats lost in all."""
    every = jnp.full((1, *HEADS), log_e, jnp.float32)
    high, nats, windows = (jnp.array([one], jnp.float32) for one in (highest, 5.0, 2))
    return jax.tree.map(np.asarray, Kept(every, 0 * every, high, nats, windows.astype(jnp.int32)))


@pytest.mark.parametrize(("log_e", "highest", "scale"), [(-3.0, 1.0, 0.0), (9.0, 9.5, 0.0), (-1.0, 0.0, 3.0)])
def test_the_record_of_a_training(log_e, highest, scale):
    training = trained(planted(log_e, highest), scale)
    evaluator = training.evaluator(0)
    found = evaluator(training.predictor(0))
    record = training.works.record(found) | training.works.trained_record(training, 0, [{"train_loss": 1.0}], found)
    ten = math.log(10)
    assert record["first_pass_log10_e"] == pytest.approx(log_e / ten)
    assert record["first_pass_log10_e_largest"] == pytest.approx(highest / ten)
    assert record["first_pass_bits"] == pytest.approx(5 / 16 / math.log(2))
    # E of the test part after each window, product by product.
    e = np.cumprod(np.exp(found.log_f), axis=0).mean(axis=(1, 2))
    assert record["test_log10_e"] == pytest.approx(max(0, np.log10(e.max())), abs=1e-6)
    assert record["test_log10_e_end"] == pytest.approx(np.log10(e[-1]), abs=1e-6)
    m = max(1.0, 0.5 * math.exp(highest) + 0.5, 0.5 * math.exp(log_e) + 0.5 * e.max())
    assert record["log10_m"] == pytest.approx(np.log10(m), abs=1e-6)
    assert record["alarm"] == float(m >= 100) == float(log_e > 8)
    if not scale:  # the marginal itself: no bet on the order, and the training part is its own
        assert record["test_log10_e"] == 0 == record["test_log10_e_end"]
        assert record["bits_per_value"] == pytest.approx(record["marginal_bits"], abs=1e-5)
    about, predictor = training.tasks[0].about, training.predictor(0)
    windows = about.spread(about.split.training, len(found.starts))
    one_by_one = np.mean([predictor.heads(one[None])[0][0, :, 0].mean() for one in windows])
    assert record["training_bits"] == pytest.approx(one_by_one, rel=1e-5)
    assert record["gap_bits"] == pytest.approx(record["bits_per_value"] - one_by_one, abs=1e-4)
    # Π q/p* over the test part's values, window by window.
    odds = np.cumsum((found.log_q + np.log(7)).sum(axis=1))
    assert record["above_ceiling_log10_e"] == pytest.approx(max(0, odds.max()) / ten, abs=1e-4)
    assert (record["loss_spike"], record["diverged"]) == (0, 0)


@pytest.mark.parametrize(
    ("losses", "spike", "diverged"),
    [
        ([3.0, 2.0, 1.0], 0, 0),
        ([3.0, 1.0, 2.5, 0.5], 1.5, 0),
        ([3.0, 1.0, 3.5], 2.5, 1),
        ([2.0, math.nan, math.nan], 0, 0),
        ([], 0, 0),
    ],
)
def test_spikes(losses, spike, diverged):
    assert spikes(losses) == {"loss_spike": spike, "diverged": diverged}
