"""What the trainer is given: draws by curriculum and part, the loss by hand, the validation, every option trained."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.config import runs
from bestguess.integers.config import IntegersConfig, IntegerTaskConfig
from bestguess.integers.family import FAMILY
from bestguess.integers.model.losses import RANDOM
from bestguess.integers.model.transformer import IntegerModel
from bestguess.integers.oracle.exact import oracle_of
from bestguess.integers.problem import Drawn, Setting, make_problem, phase_weights, sequence
from bestguess.integers.sequences.table import table_of
from bestguess.train.problem import Turn
from bestguess.train.program import Program
from bestguess.workflow.training import make_training
from tests.compiled import whole

SETTING = Setting(jnp.asarray(0.3))


def tiny(**rooms) -> IntegersConfig:
    """A config of one layer on the narrow prior's sequences of phase 1, with changes to its rooms."""
    base = {
        "task": {"length": 4, "phases": 1, "prior": "narrow"},
        "model": {"layers": 1, "d_model": 6, "heads": 3, "d_ff": 7},
        "train": {
            "steps": 6, "batch_size": 4, "warmup_steps": 1, "validate_every": 3, "validation_sequences": 5,
        },
    }  # fmt: skip
    config = IntegersConfig()
    for room in ("task", "model", "objective", "train"):
        values = base.get(room, {}) | rooms.get(room, {})
        config = dataclasses.replace(config, **{room: dataclasses.replace(getattr(config, room), **values)})
    config.check()
    return config


def draws(config: IntegersConfig, count: int = 400, progress: float = 1.0) -> Drawn:
    problem = make_problem(config)
    keys = jax.random.split(jax.random.key(0), count)
    draw = jax.vmap(lambda key, at: problem.draw(SETTING, Turn(key, at, jnp.asarray(0))), (0, None))
    return whole(draw, keys, jnp.asarray(progress))


@functools.cache
def started(config: IntegersConfig, opinion: float = 0.0) -> IntegerModel:
    """Return an untrained model, or one with every weight away from where it starts."""
    model = IntegerModel(config.model, config.task.length, key=jax.random.key(2))
    if not opinion:
        return model
    return jax.tree.map(lambda leaf: leaf + opinion * jnp.sin(jnp.arange(leaf.size)).reshape(leaf.shape), model)


def test_training_validation_and_evaluation_share_no_context():
    config = tiny(task={"phases": 3, "validation": 0.2, "held_out": 0.3})
    problem, table = make_problem(config), table_of(config.task)
    contexts = lambda rows: {bytes(row[:4]) for row in np.asarray(rows)}  # noqa: E731
    held = contexts(table.rows[table.held_out])
    seen, validation = contexts(problem.sampler.rows), contexts(problem.validation.rows)
    assert seen.isdisjoint(validation | held)
    assert validation.isdisjoint(held)
    assert len(validation) / len(seen) == pytest.approx(0.2 / 0.5, rel=0.05)
    fresh = make_problem(tiny(task={"validation": 0.0}))
    np.testing.assert_array_equal(fresh.validation.rows, fresh.sampler.rows)


@pytest.mark.parametrize("phases", [1, 2, 3])
def test_phases_that_are_left_out_are_not_drawn(phases):
    weights = np.asarray(phase_weights(IntegerTaskConfig(phases=phases), jnp.ones(())))
    np.testing.assert_allclose(weights, [1 / phases] * phases + [0] * (3 - phases), rtol=1e-6)


def test_draws_follow_the_curriculum():
    config = tiny(task={"phases": 3, "curriculum": "strict"})
    problem, table = make_problem(config), table_of(config.task)
    only_first = table.prior[0][table.part("seen")] > 0
    early, late = (np.asarray(draws(config, progress=p).place) for p in (0.0, 1.0))
    assert only_first[early].all()
    assert not only_first[late].all()
    assert len(set(early)) > 100
    assert problem.sampler.rows.shape[0] == len(only_first)


def test_variable_lengths_are_cut_and_padded():
    config = tiny(task={"lengths": "variable"})
    problem, drawn = make_problem(config), draws(config)
    assert set(np.asarray(drawn.terms).tolist()) == {2, 3, 4, 5}
    whole = np.asarray(problem.sampler.rows)[np.asarray(drawn.place)]
    shown = np.asarray(jax.vmap(lambda one: sequence(problem.sampler, one))(drawn))
    for row, terms, out in zip(whole, np.asarray(drawn.terms), shown, strict=True):
        np.testing.assert_array_equal(out, [*row[:terms], *[-1] * (5 - terms)])


@pytest.mark.parametrize("masked", ["ignored", "included", "weighted"])
def test_the_loss_of_one_sequence_by_hand(masked):
    config = tiny(task={"lengths": "variable"}, objective={"loss": "weighted", "masked": masked, "masked_weight": 0.25})
    problem = make_problem(config)
    model = started(config, 0.1)
    drawn = Drawn(jnp.asarray(17), jnp.asarray(3), None)
    row = np.asarray(problem.sampler.rows)[17].astype(int)
    inputs, targets = [*row[:3], -1], [*row[1:3], 0, 0]
    logits = np.asarray(whole(model, jnp.asarray(inputs))[0], float)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    own = -log_p[np.arange(4), targets] * (1 + 0.3 * np.abs(logits.argmax(axis=-1) - targets))
    weight = np.array([1, 1, *[{"ignored": 0, "included": 1, "weighted": 0.25}[masked]] * 2])
    total, count = whole(problem.loss, model, SETTING, drawn)
    np.testing.assert_allclose(total, own @ weight, rtol=1e-4)
    np.testing.assert_allclose(count, weight.sum())


@pytest.mark.parametrize("stop_on", ["loss", "last", "accuracy", "combined"])
def test_validation_stands_beside_a_random_guess(stop_on):
    config = tiny(objective={"stop_on": stop_on})
    problem = make_problem(config)
    model = started(config)
    found = whole(problem.validate, model, SETTING, jax.random.split(jax.random.key(0), 300))
    assert float(found["loss"]) == pytest.approx(RANDOM.loss, rel=1e-5)  # an untrained model is one
    assert float(found["random_sequence_accuracy"]) == pytest.approx(RANDOM.accuracy**4)
    assert float(found["sequence_accuracy"]) <= float(found["accuracy"])
    for name in ("loss", "accuracy", "mean_distance"):
        assert float(found[f"random_{name}"]) == pytest.approx(getattr(RANDOM, name))
    accuracy = float(found["accuracy"])
    wrong = 1 - accuracy
    expected = {"loss": RANDOM.loss, "last": RANDOM.loss, "accuracy": wrong, "combined": 1 + wrong}[stop_on]
    assert float(found["score"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("lengths", ["fixed", "variable"])
def test_the_last_loss_is_that_of_every_sequences_last_term(lengths):
    config = tiny(task={"lengths": lengths, "overflow": "end"}, objective={"stop_on": "last"})
    problem = make_problem(config)
    model = started(config, 0.1)
    keys = jax.random.split(jax.random.key(0), 40)
    losses, ends = [], set()
    draw = lambda key: sequence(problem.validation, problem._draw(problem.validation, key, jnp.ones(())))  # noqa: E731
    for terms in np.asarray(whole(jax.vmap(draw), keys)):
        end = int((terms >= 0).sum())
        logits = np.asarray(whole(model, terms[:-1])[0], np.float64)[end - 2]
        losses.append(np.log(np.exp(logits).sum()) - logits[terms[end - 1]])
        ends.add(end)
    found = whole(problem.validate, model, SETTING, keys)
    assert float(found["last_loss"]) == pytest.approx(np.mean(losses), rel=1e-4)
    assert float(found["score"]) == float(found["last_loss"]) != float(found["loss"])
    assert len(ends) > 1  # overflow ends some, and variable lengths are cut


OPTIONS: list[dict] = [
    {"task": {"length": 16}, "model": {"embedding": "learned"}},
    {"task": {"lengths": "variable", "overflow": "end"}, "objective": {"masked": "weighted"}},
    {"task": {"curriculum": "gradual"}, "model": {"dropout": 0.3, "activation": "silu", "norm_place": "none"}},
    {"model": {"norm": "layer", "norm_place": "post", "positions": "none", "embedding": "fourier"}},
    {
        "model": {"head": "regression", "embedding": "tuple"},
        "objective": {"loss": "distance", "distance_by": "expected", "weight": "root", "prefixes": "full"},
    },
]


@pytest.mark.parametrize("rooms", OPTIONS, ids=lambda rooms: "-".join(str(v) for room in rooms.values() for v in room))
def test_options_reach_every_weight(rooms):
    config = tiny(**rooms)
    problem, drawn = make_problem(config), draws(config, 8, progress=0.5)
    model = started(config, 0.1)

    def total(model):
        loss, count = jax.vmap(lambda one: problem.loss(model, SETTING, one))(drawn)
        return jnp.sum(loss) / jnp.sum(count)

    loss, gradient = jax.jit(jax.value_and_grad(total))(model)
    assert np.isfinite(loss)
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0


def test_alphas_are_arrays_of_one_program_that_learns():
    config = tiny(
        objective={"loss": "weighted", "alpha": (0.0, 1.0)},
        train={
            "steps": 200, "batch_size": 16, "warmup_steps": 10, "validate_every": 100, "learning_rate": (0.02,),
            "validation_sequences": 64,
        },
    )  # fmt: skip
    training = make_training(FAMILY, Path(), runs(config))
    np.testing.assert_array_equal(training.members.task.alpha, [0.0, 1.0])
    program = Program(training.problem, config.train, training.members)
    state, metrics = program.chunk(program.start(), 0, 100)
    plain, weighted = np.asarray(metrics["train_loss"])
    assert weighted > 5 * plain  # distances are in classes
    _, later = program.chunk(state, 100, 100)
    assert (np.asarray(later["train_loss"]) < np.asarray(metrics["train_loss"])).all()
    assert float(later["loss"][0]) < RANDOM.loss - 0.3


def test_whole_sequences_are_counted_beside_the_oracles():
    """A uniform model's first choice is 0 everywhere: right of whole sequences that are 0 from the second term on."""
    config = tiny(task={"validation": 0.2})
    problem, table = make_problem(config), table_of(config.task)
    model = started(config)
    keys = jax.random.split(jax.random.key(0), 400)
    found = whole(problem.validate, model, SETTING, keys)
    draw = lambda key: problem._draw(problem.validation, key, jnp.ones(())).place  # noqa: E731
    terms = np.asarray(problem.validation.rows)[np.asarray(whole(jax.vmap(draw), keys))]
    assert float(found["sequence_accuracy"]) == pytest.approx((terms[:, 1:] == 0).all(axis=1).mean())
    oracle = oracle_of(config.task)
    right = [
        all(int(oracle.predict(row[:j]).argmax()) == row[j] for j in range(1, len(row)))
        for row in terms.astype(int).tolist()
    ]
    assert float(found["oracle_sequence_accuracy"]) == pytest.approx(np.mean(right))
    assert 0 < np.mean(right) < 1
    assert table.length == 4
