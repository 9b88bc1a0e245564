"""The moving average of the weights: against NumPy's, step by step; in runs, faults, checkpoints and packed models."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.train.checkpoint import checkpoints, load_checkpoint, named_leaves
from bestguess.train.fit import fit, load_fitted
from bestguess.train.memory import program_memory
from bestguess.train.problem import State
from bestguess.train.program import Program
from bestguess.train.step import average
from tests.train.noting import NotingProblem
from tests.train.test_fit import LEARNT, interrupted, learnt
from tests.train.toy import ToyProblem, close, config, key_of, members, run_chunks, run_of, same

DECAY = 0.5
"""Small enough for the 20 steps to see both the rates of the beginning and this one."""
AVERAGED = config(average=DECAY, checkpoint_every=0.0)


class PackedToy(ToyProblem):
    packed = True


class ErrorNoting(NotingProblem):
    """Notes what depends on the weights: the loss itself."""

    def loss(self, model, task, drawn):
        total, count, noted = super().loss(model, task, drawn)
        return total, count, noted | {"row": total}


@pytest.fixture(scope="module")
def program() -> Program:
    return Program(ToyProblem(), AVERAGED, members())


@pytest.fixture(scope="module")
def trained(program):
    return run_chunks(program)


@pytest.fixture(scope="module")
def plain():
    return run_chunks(Program(ToyProblem(), config(), members()))


@pytest.fixture(scope="module")
def path() -> list[State]:
    """The states before the first step and after every one."""
    program = Program(ToyProblem(), config(average=DECAY, validate_every=1), members())
    states = [program.start()]
    for t in range(20):
        states.append(program.chunk(jax.tree.map(jnp.copy, states[-1]), t, 1)[0])
    return jax.device_get(states)


def by_hand(weights: list) -> list:
    """Return the moving averages of the weights before the first step and after every one, in float64."""
    means = [jax.tree.map(np.float64, weights[0])]
    for t, new in enumerate(weights[1:]):
        beta = min(DECAY, (1 + t) / (10 + t))
        means.append(jax.tree.map(lambda old, new, beta=beta: beta * old + (1 - beta) * new, means[-1], new))
    return means


# ------------------------------------------------------------------------------------------ the average


def test_it_is_numpys_step_by_step(path):
    for t, (state, mean) in enumerate(zip(path, by_hand([state.model for state in path]), strict=True)):
        close(state.average, mean)
        if t:
            assert np.abs(state.average.first - state.model.first).max() > 1e-4
    assert (2 + 1) / (10 + 2) < DECAY < (19 + 1) / (10 + 19)  # rates of both kinds were seen


@pytest.mark.parametrize("runs", [slice(0, 1), slice(0, 3)])
def test_the_weights_themselves_are_trained_as_without_it(trained, plain, runs):
    with_it, without = (jax.tree.map(lambda leaf: leaf[runs], one[0]) for one in (trained, plain))
    close((with_it.model, with_it.optimizer), (without.model, without.optimizer), 1e-6)


def test_the_average_is_validated_and_its_best_are_kept(program, trained, path):
    final, metrics = trained
    scores = np.stack([told["score"] for told in metrics])
    np.testing.assert_array_equal(final.best_score, scores.min(axis=0))
    for run in range(3):
        member = run_of(members(), run)
        own = lambda model, run=run, member=member: ToyProblem().validate(  # noqa: E731
            run_of(model, run), member.task, VALIDATION[run]
        )["score"]
        for chunk, told in enumerate(metrics, start=1):
            np.testing.assert_allclose(told["score"][run], own(path[5 * chunk].average), rtol=1e-5)
            assert abs(float(own(path[5 * chunk].model)) / told["score"][run] - 1) > 1e-4
        close(run_of(final.best, run), run_of(path[int(final.best_step[run])].average, run))
    same(final.judged, final.average)


VALIDATION = [jax.random.split(jax.random.fold_in(jax.random.fold_in(jax.random.key(s), 2), 0), 4) for s in (5, 6, 7)]
"""The keys of each run's validation, of purpose 2."""


def test_early_weights_are_soon_forgotten_and_a_short_training_is_not_averaged_over_its_whole_course():
    """What the rates of the beginning are for: by a division by 1 − βᵗ the first steps would all weigh alike."""
    steps, decay = 200, 0.9999
    one = jax.jit(lambda mean, new, t: average(mean, new, decay, t))
    share, moving = jnp.asarray(1.0), jnp.asarray(0.0)
    shares, lags, debiased = [], [], 0.0
    for t in range(steps):
        share = one(share, jnp.asarray(0.0), jnp.asarray(t))
        moving = one(moving, jnp.asarray(t + 1.0), jnp.asarray(t))
        debiased = decay * debiased + (1 - decay) * (t + 1)
        shares.append(float(share)), lags.append(t + 1 - float(moving))
    assert shares[30] < 1e-8  # of the initial weights
    assert max(lags[t] / (t + 1) for t in range(9, steps)) < 0.11  # about a ninth of the way lies between
    assert steps - debiased / (1 - decay**steps) > 0.49 * steps


# ------------------------------------------------------------------------------------------ where there is none


def test_without_it_the_state_is_what_it_was(plain):
    names = [name for name, _ in named_leaves(plain[0])]
    assert not any("average" in name for name in names)
    assert len(names) == 3 * 4 + 1 + 5  # weights, two means of Adam's and its count, the best; five numbers
    assert plain[0].average == ()
    same(plain[0].judged, plain[0].model)


def test_it_takes_the_memory_of_a_model(program):
    sizes = 4 * sum(leaf.size for leaf in jax.tree.leaves(program.shape().average))
    assert sizes == 4 * sum(leaf.size for leaf in jax.tree.leaves(program.shape().model))
    needed = [program_memory(one.compile(5)) for one in (program, Program(ToyProblem(), config(), members()))]
    assert needed[0] >= needed[1] + sizes


# ------------------------------------------------------------------------------------------ runs, faults, notes


def test_a_batch_of_runs_equals_its_runs_one_by_one(trained):
    alone = Program(ToyProblem(), AVERAGED, jax.tree.map(lambda leaf: leaf[:1], members()))
    for run in range(3):
        one = slice(run, run + 1)
        state, told = run_chunks(alone.with_members(jax.tree.map(lambda leaf, one=one: leaf[one], members())))
        close((state, told), jax.tree.map(lambda leaf, one=one: leaf[one], (trained[0], trained[1])))


def test_a_stopped_runs_average_stops(program, trained, path):
    poison = np.stack([key_of(5, 12, 0), np.zeros(2, np.uint32), key_of(7, 0, 3)])
    state, _ = run_chunks(program.with_members(members(nan_loss_at=poison)))
    assert state.fault_step.tolist() == [12, -1, 0]
    close(run_of(state.average, 0), run_of(path[12].average, 0))
    same(run_of(state.average, 1), run_of(trained[0].average, 1))
    same(run_of(state.average, 2), run_of(path[0].model, 2))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.average, state.best)))


def test_a_run_that_is_out_of_patience_keeps_its_average():
    cfg = config(average=DECAY, patience=1, min_delta=0.9)
    state, told = run_chunks(Program(ToyProblem(), cfg, members()))
    whole, _ = run_chunks(Program(ToyProblem(), config(average=DECAY), members()))
    assert told[1]["stopped"].all()  # after 10 of 20 steps
    halfway = Program(ToyProblem(), config(average=DECAY, validate_every=1), members())
    at = halfway.start()
    for t in range(10):
        at, _ = halfway.chunk(at, t, 1)
    close(state.average, at.average)
    assert np.abs(state.average.first - whole.average.first).max() > 1e-3


def test_notes_are_taken_of_the_weights_that_are_trained():
    with_it, without = (run_chunks(Program(ErrorNoting(), config(average=a), members()))[0] for a in (DECAY, 0.0))
    close(with_it.kept, without.kept)
    assert (with_it.kept.rows > 1).all()


def test_a_packed_models_average_is_the_models_own(trained):
    packed, told = run_chunks(Program(PackedToy(), AVERAGED, members()))
    assert jax.tree.structure(packed) == jax.tree.structure(trained[0])
    close((packed, told), (trained[0], trained[1]), 1e-5)


# ------------------------------------------------------------------------------------------ checkpoints


@pytest.mark.parametrize("at", [10, 20])
def test_resumed_is_bit_identical(tmp_path, at):
    whole = fit(ToyProblem(), AVERAGED, members(), tmp_path / "whole")
    interrupted(tmp_path / "cut", at, AVERAGED)
    assert [int(path.stem[5:]) for path in checkpoints(tmp_path / "cut" / "part-0")][-1] == at - 5
    same(learnt(fit(ToyProblem(), AVERAGED, members(), tmp_path / "cut")), learnt(whole))
    read = load_fitted(ToyProblem(), AVERAGED, members(), tmp_path / "cut")
    same({name: getattr(read, name) for name in LEARNT}, learnt(whole))
    last = [checkpoints(tmp_path / one / "part-0")[-1] for one in ("whole", "cut")]
    states = [load_checkpoint(path, Program(ToyProblem(), AVERAGED, members()).shape())[0] for path in last]
    same(*states)
    assert np.abs(states[0].average.first - states[0].model.first).max() > 1e-4
