"""How a predictor is judged: regret against the forward algorithm, kinds of tokens, the contract's own task."""

from __future__ import annotations

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bestguess
from bestguess.command import UserError
from bestguess.task import Categorical, expected_loss, regret
from bestguess.text import answers
from bestguess.text.corpus import about_of, widened
from bestguess.text.errands.documents import COPIED, FREE, INFERRED
from bestguess.text.evaluate import Constant, ModelPredictor, OraclePredictor, evaluate
from bestguess.text.model import TextModel
from bestguess.text.task import ErrandsTask, constant_of, laid_out, taken_apart
from bestguess.text.tokens import EOS, SEP
from tests.text.tiny import tiny

TASKS = [{"task": "dialogue"}, {"task": "story"}, {"task": "story", "cut": "midpoint"}]
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: "-".join(task.values()))


def about(task=TASKS[0], count: int = 13):
    return about_of(tiny(task=task).task, 8, 5, count)


@every_task
def test_the_forward_algorithm_has_no_regret_and_its_entropy_is_the_floor(task):
    known = about(task)
    found = evaluate(known, OraclePredictor(known.known), 13)
    assert np.abs(found.regret).max() < 1e-6
    # What it loses differs from what it expects to lose by chance alone.
    assert abs(found.nats.sum() - found.floor.sum()) < 6 * math.sqrt(found.nats.size)
    assert (found.regret[~found.there] == 0).all()
    assert (found.floor[~found.there] == 0).all()


@every_task
def test_a_document_s_regret_is_the_sum_of_the_contract_s(task):
    """By hand, document by document, against the plain forward algorithm."""
    known = about(task, 5)
    config = tiny(task=task)
    model = TextModel(config.model, known.vocab, (known.source_width, known.target_width), key=jax.random.key(3))
    found = evaluate(known, ModelPredictor(model), 5)
    best = known.known.plain_log_p(known.test)
    logits_of = eqx.filter_jit(model.logits)
    for i in range(5):
        n, length = int(known.test.target_length[i]), jnp.asarray(known.test.source_length[i])
        logits = logits_of(jnp.asarray(known.test.source[i]), length, jnp.asarray(known.test.target[i]))
        # Of the whole width, padding included: one shape for all documents.
        own, oracle = Categorical(logits), Categorical(jnp.asarray(best[i]))
        np.testing.assert_allclose(found.regret[i, :n], regret(own, oracle)[:n], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.floor[i, :n], expected_loss(oracle)[:n], rtol=1e-5, atol=1e-6)
        log_q = np.asarray(jax.nn.log_softmax(logits))
        np.testing.assert_allclose(found.nats[i, :n], -log_q[np.arange(n), known.test.target[i, :n]], rtol=1e-4)


def test_the_best_constant_is_at_the_ceiling():
    known = about()
    found = evaluate(known, Constant(known.log_constant), 13)
    np.testing.assert_allclose(found.regret, found.ceiling - found.floor, atol=1e-5)
    told = answers.record(found, None, known)
    assert told["skill"] == pytest.approx(0, abs=1e-5)
    assert told["regret_per_document"] == pytest.approx(told["ceiling_per_document"] - told["floor_per_document"])


def test_copied_tokens_have_no_floor_and_kinds_add_up():
    known = about()
    found = evaluate(known, Constant(known.log_constant), 13)
    kinds = answers.kinds(found, known)
    assert set(kinds) == {known.kind_names[kind] for kind in (COPIED, INFERRED, FREE)}
    assert kinds["copied"]["floor"] == 0
    told = answers.record(found, None, known)
    for key in ("floor", "regret"):
        assert sum(one[key] for one in kinds.values()) == pytest.approx(told[f"{key}_per_document"])
    assert sum(one["tokens"] for one in kinds.values()) == told["tokens"]


def test_the_last_batch_is_filled_up_and_cut_again(monkeypatch):
    known = about()
    whole = evaluate(known, Constant(known.log_constant), 13)
    monkeypatch.setattr("bestguess.text.evaluate._LARGEST", 5 * known.target_width * known.vocab)
    parts = evaluate(known, Constant(known.log_constant), 13)
    np.testing.assert_allclose(parts.regret, whole.regret, atol=1e-6)
    assert len(evaluate(known, Constant(known.log_constant), 7).nats) == 7


@every_task
def test_the_task_keeps_the_contract(task):
    """Sequences of fixed layout, the oracle at every place of the target; behind its end padding is certain."""
    known = about(task, 4)
    contract = ErrandsTask(known)
    sequence = contract.sample(jax.random.key(1))
    assert int((sequence == SEP).argmax()) <= known.source_width
    best, n = contract.oracle(sequence), int((np.asarray(sequence) != 0).sum())
    assert n > 3
    rows = np.asarray(jax.nn.softmax(best.logits))[contract.predicted]
    pairs = taken_apart(np.asarray(sequence)[None], known.source_width)
    end = int(pairs.target_length[0])
    assert pairs.target[0, end - 1] == EOS
    np.testing.assert_allclose(rows[:end], np.exp(known.known.plain_log_p(pairs)[0, :end]), atol=1e-5)
    assert (rows[end:, 0] == 1).all()
    assert contract.constant().logits.shape == best.logits.shape


def test_sequences_of_fixed_layout_come_apart_as_they_were():
    pairs = about().test
    again = taken_apart(laid_out(pairs), pairs.source.shape[1])
    for x, y in zip(vars(pairs).values(), vars(again).values()):
        np.testing.assert_array_equal(x, y)
    wide = widened(pairs, pairs.source.shape[1] + 2, pairs.target.shape[1] + 3)
    np.testing.assert_array_equal(taken_apart(laid_out(wide), wide.source.shape[1]).target_length, pairs.target_length)


def test_the_constant_of_counted_targets():
    pairs = dataclasses.replace(about().test[np.arange(2)])
    there = np.arange(pairs.target.shape[1])[None] < pairs.target_length[:, None]
    counts = np.bincount(pairs.target[there], minlength=50)
    np.testing.assert_allclose(np.exp(constant_of(pairs, 50)), (counts + 0.5) / (counts.sum() + 25), rtol=1e-5)


def test_anybody_s_predictor_is_judged():
    task = bestguess.open_task("text", world="tiny", test_documents=9, generated=0, steps=4, batch_size=2,
                               validation_sequences=2, warmup_steps=1, hold=0.0)  # fmt: skip
    known = task.task.about
    uniform = lambda sequences: np.zeros((*sequences.shape, known.vocab), np.float32)  # noqa: E731
    found = bestguess.judge(task, uniform)
    mean = float(known.test.target_length.mean()) * math.log(known.vocab)
    assert found.regret == pytest.approx(mean - found.measured.floor, rel=1e-4)
    assert task.sequences(3).shape == (3, known.source_width + 1 + known.target_width)

    def sees_the_future(sequences):
        return 5.0 * np.eye(known.vocab, dtype=np.float32)[np.clip(sequences, 0, known.vocab - 1)]

    with pytest.raises(UserError, match="sees the future"):
        bestguess.judge(task, sees_the_future)

    few = lambda sequences: np.zeros((*sequences.shape, known.vocab - 1), np.float32)  # noqa: E731
    with pytest.raises(UserError, match=rf"every element of each, \[n, T, {known.vocab}\]$"):
        bestguess.judge(task, few)
