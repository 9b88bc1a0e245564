"""A lesson by hand: what teachers go on with, what they say of it, what is left out; and that a student learns it."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.command import UserError
from bestguess.config import runs
from bestguess.integers.commands.distill import DistillFlags, check_count, student_config
from bestguess.integers.config import IntegersConfig
from bestguess.integers.family import FAMILY
from bestguess.integers.model.distillation import Lesson, make_lesson
from bestguess.integers.model.transformer import IntegerModel
from bestguess.integers.problem import Setting, make_problem
from bestguess.integers.sequences.table import table_of
from bestguess.train.program import Program
from bestguess.workflow.training import make_training
from tests.compiled import whole
from tests.integers.test_problem import tiny

CONFIG = tiny(task={"held_out": 0.2, "validation": 0.2}, model={"dropout": 0.3}, train={"seeds": 3})
SETTING = Setting(jnp.asarray(0.3))


def student(steps: int = 60) -> IntegersConfig:
    """The config of a student of `CONFIG`'s runs."""
    flags = DistillFlags(run=Path(), steps=steps, batch_size=16, learning_rate=0.03)
    return student_config(CONFIG, flags, 0.1)


@functools.cache
def teacher(seed: int) -> IntegerModel:
    """A model with an opinion: every weight away from where it starts."""
    model = IntegerModel(CONFIG.model, CONFIG.task.length, key=jax.random.key(seed))
    leaves, tree = jax.tree.flatten(model)
    keys = jax.random.split(jax.random.key(seed + 100), len(leaves))
    return jax.tree.unflatten(tree, [leaf + 0.5 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys)])


def teachers() -> list[IntegerModel]:
    return [teacher(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    return make_lesson(make_problem(student()), teachers(), 1, 500)


def always(value: int) -> IntegerModel:
    """A teacher that is sure of one value, whatever came before."""
    bias = jnp.full(256, -1e3).at[value].set(1e3)
    return eqx.tree_at(lambda model: (model.head.bias, model.head.weight), teacher(0), (bias, jnp.zeros((6, 256))))


def test_sequences_begin_as_training_rows_and_go_on_as_a_teacher_does():
    length, table = CONFIG.task.length, table_of(CONFIG.task)
    found = np.asarray(make_lesson(make_problem(student()), [always(7), always(9)], 0, 400).terms_NT)
    beginnings = [{bytes(row[:k]) for row in table.rows[table.part("seen")]} for k in range(length + 1)]
    real, said = [], set()
    for row in found:
        k = max(k for k in range(1, length + 1) if bytes(row[:k]) in beginnings[k])
        assert set(row[k:].tolist()) <= {7, 9}
        assert len(set(row[k:].tolist())) <= 1
        real.append(k)
        said |= set(row[k:].tolist())
    assert set(real) == {1, 2, 3, 4}  # cut after any number of terms
    assert said == {7, 9}  # by each of the teachers


def test_what_is_held_out_of_training_is_no_lesson(lesson):
    table = table_of(CONFIG.task)
    kept = {bytes(row[: CONFIG.task.length]) for row in table.rows[table.held_out | table.validation]}
    assert kept
    assert kept.isdisjoint(map(bytes, np.asarray(lesson.terms_NT)))
    # A quarter are whole training rows; of what teachers that know nothing say, 40 % is held out.
    assert 0.6 * 500 < len(lesson.terms_NT) < 0.8 * 500


def test_a_lesson_of_nothing_but_held_out_contexts_is_refused():
    config = dataclasses.replace(student(), task=dataclasses.replace(CONFIG.task, held_out=0.5, validation=0.4999))
    with pytest.raises(UserError, match="--sequences 1: all of them are held out"):
        make_lesson(make_problem(config), teachers(), 0, 1)


def test_a_lesson_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setenv("BESTGUESS_MEMORY", str(500 * 4 * 512 - 1))
    with pytest.raises(UserError, match=r"--sequences 500: .* need 1.0 MB, a device has 1.0 MB; draw fewer"):
        check_count(500, 4)
    monkeypatch.setenv("BESTGUESS_MEMORY", str(500 * 4 * 512))
    check_count(500, 4)


def test_a_lesson_is_a_function_of_its_seed(lesson):
    again = make_lesson(make_problem(student()), teachers(), 1, 500)
    np.testing.assert_array_equal(again.terms_NT, lesson.terms_NT)
    np.testing.assert_array_equal(again.p_NTV, lesson.p_NTV)
    config = dataclasses.replace(student(), train=dataclasses.replace(student().train, first_seed=5))
    other = make_lesson(make_problem(config), teachers(), 1, 500)
    assert len(other.terms_NT) != len(lesson.terms_NT) or (other.terms_NT != lesson.terms_NT).any()


def test_targets_are_the_mean_of_the_teachers(lesson):
    for place in (0, 7, len(lesson.terms_NT) - 1):
        terms = jnp.asarray(lesson.terms_NT[place], jnp.int32)
        p = np.mean([np.asarray(jax.nn.softmax(whole(one, terms)[0])) for one in teachers()], axis=0)
        np.testing.assert_allclose(lesson.p_NTV[place], p, atol=5e-4)
        np.testing.assert_allclose(np.asarray(lesson.p_NTV[place], np.float64).sum(axis=1), 1.0, atol=2e-3)


def test_the_student_starts_as_the_teacher_asked_for_and_drops_nothing(lesson):
    began = lesson.init(SETTING, jax.random.key(3))
    for a, b in zip(jax.tree.leaves(began), jax.tree.leaves(teacher(1))):
        np.testing.assert_array_equal(a, b)
    terms = jnp.asarray([1, 2, 3, 4])
    with_key, _ = whole(began, terms, key=jax.random.key(0))
    np.testing.assert_array_equal(with_key, whole(began, terms)[0])
    dropped, _ = whole(teacher(1), terms, key=jax.random.key(0))
    assert not np.allclose(dropped, with_key)


def test_the_loss_is_the_cross_entropy_and_least_where_student_and_teachers_agree(lesson):
    place = jnp.asarray(4)
    loss, count = whole(lesson.loss, teacher(0), SETTING, place)
    logits, _ = whole(teacher(0), jnp.asarray(lesson.terms_NT[4], jnp.int32))
    log_q = np.asarray(jax.nn.log_softmax(logits), np.float64)
    assert float(loss) == pytest.approx(-(np.asarray(lesson.p_NTV[4], np.float64) * log_q).sum(), rel=1e-4)
    assert float(count) == CONFIG.task.length
    alike = make_lesson(make_problem(student()), [teacher(2)] * 2, 0, 50)

    def slope(of: Lesson, model: IntegerModel) -> float:
        gradient = eqx.filter_jit(eqx.filter_grad(lambda m: of.loss(m, SETTING, place)[0]))(model)
        return float(jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient))))

    assert slope(alike, teacher(2)) < 0.01 * slope(alike, teacher(0))


def test_a_student_comes_nearer_to_the_mean_than_any_teacher():
    config = student(steps=300)
    lesson = make_lesson(make_problem(config), teachers(), 1, 500)
    other = dataclasses.replace(config, train=dataclasses.replace(config.train, first_seed=9))
    fresh = make_lesson(make_problem(other), teachers(), 1, 300)
    training = make_training(FAMILY, Path(), runs(config), lesson)
    program = Program(training.problem, config.train, training.members)
    state, _ = program.chunk(program.start(), 0, 300)
    learnt = jax.tree.map(lambda leaf: leaf[0], state.model)

    @eqx.filter_jit
    def log_softmax(model: IntegerModel, terms_NT: jax.Array) -> jax.Array:
        return jax.vmap(lambda terms_T: jax.nn.log_softmax(model(terms_T.astype(jnp.int32))[0]))(terms_NT)

    def apart(model: IntegerModel) -> float:
        """Mean KL(mean of the teachers ‖ model) after sequences that the student has not seen, nats."""
        p = np.asarray(fresh.p_NTV, np.float64)
        log_q = log_softmax(model, fresh.terms_NT)
        return float(np.mean(np.sum(p * (np.log(np.maximum(p, 1e-9)) - np.asarray(log_q)), axis=-1)))

    assert apart(learnt) < 0.7 * min(apart(one) for one in teachers())
