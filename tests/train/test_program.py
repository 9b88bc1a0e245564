"""The compiled program: gradients, schedules, faults and early stopping, run by run."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Array, Float

from bestguess.task import Task
from bestguess.train.mesh import make_mesh
from bestguess.train.optimizer import Optimizer, learning_rate
from bestguess.train.problem import Member, Problem, Purpose, member_key
from bestguess.train.program import Program
from tests.train.toy import D, T, ToyProblem, batch_keys, close, config, key_of, members, run_chunks, run_of, same


@pytest.fixture(scope="module")
def program() -> Program:
    return Program(ToyProblem(), config(), members())


@pytest.fixture(scope="module")
def trained(program):
    return run_chunks(program)


# ------------------------------------------------------------------------------------------ the step


def test_a_run_is_adamw_on_the_mean_over_all_targets(trained):
    """Against a plain loop with optax's own AdamW: the schedule, the clipping, the decay mask, the batches."""
    cfg, problem = config(), ToyProblem()
    member = run_of(members(), 1)
    model = problem.init(member.task, member_key(jnp.asarray(member.seed), Purpose.INIT))
    optimizer = optax.chain(
        optax.clip_by_global_norm(cfg.clip_norm),
        optax.adamw(
            lambda step: learning_rate(cfg, jnp.asarray(member.learning_rate), step),
            cfg.beta1,
            cfg.beta2,
            weight_decay=cfg.weight_decay,
            mask=lambda p: jax.tree.map(lambda leaf: leaf.ndim == 2, p),
        ),
    )
    state = optimizer.init(model)

    @jax.jit
    def step(model, state, keys):
        def mean(model):
            loss, count = jax.vmap(lambda key: problem.loss(model, member.task, key))(keys)
            return loss.sum() / count.sum()

        loss, gradient = jax.value_and_grad(mean)(model)
        updates, state = optimizer.update(gradient, state, model)
        return optax.apply_updates(model, updates), state, loss, optax.tree.norm(gradient)

    losses, norms = [], []
    for number in range(cfg.steps):
        model, state, loss, norm = step(model, state, batch_keys(6, number, cfg.batch_size))
        losses.append(loss), norms.append(norm)
    final, metrics = trained
    close(run_of(final.model, 1), model)
    close(np.asarray([m["train_loss"][1] for m in metrics]), np.asarray(losses).reshape(-1, 5).mean(axis=1), 1e-5)
    close(np.asarray([m["gradient_norm"][1] for m in metrics]), np.asarray(norms).reshape(-1, 5).mean(axis=1), 1e-5)


def test_training_lowers_the_score_and_keeps_the_best_weights(trained):
    final, metrics = trained
    scores = np.stack([m["score"] for m in metrics])
    assert (scores[-1] < 0.95 * scores[0]).all()
    np.testing.assert_array_equal(final.best_score, scores.min(axis=0))
    np.testing.assert_array_equal(final.best_step, 5 * (scores.argmin(axis=0) + 1))
    assert not final.stopped.any()
    assert (final.fault_step == -1).all()


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulation_changes_nothing_though_counts_differ(trained, accumulate):
    final, metrics = trained
    split, split_metrics = run_chunks(Program(ToyProblem(), config(accumulate=accumulate), members()))
    close(split.model, final.model)
    for a, b in zip(split_metrics, metrics, strict=True):
        close(a, b, 1e-5)


def test_the_toys_counts_make_a_mean_of_means_wrong():
    """What the test above must not overlook: micro-batches of unequal counts weigh their targets unequally."""
    problem, member = ToyProblem(), run_of(members(), 0)
    model = problem.init(member.task, jax.random.key(0))
    loss, count = jax.vmap(lambda key: problem.loss(model, member.task, key))(batch_keys(5, 0, 8))
    loss, count = loss.reshape(2, 4).sum(axis=1), count.reshape(2, 4).sum(axis=1)
    assert abs(float((loss / count).mean() / (loss.sum() / count.sum())) - 1) > 1e-3


def test_a_batch_of_runs_equals_its_runs_one_by_one(trained):
    final, metrics = trained
    alone = Program(ToyProblem(), config(), jax.tree.map(lambda leaf: leaf[:1], members()))
    for run in range(3):
        one = jax.tree.map(lambda leaf, run=run: leaf[run : run + 1], members())
        state, told = run_chunks(alone.with_members(one))
        close(state, jax.tree.map(lambda leaf, run=run: leaf[run : run + 1], final))
        close(told, jax.tree.map(lambda leaf, run=run: leaf[run : run + 1], metrics))


def test_runs_of_a_batch_differ(trained):
    """Else the test above would pass for a program that trains one run thrice."""
    first = trained[0].model.first
    assert all(np.abs(first[i] - first[j]).max() > 0.1 for i, j in [(0, 1), (0, 2), (1, 2)])


def test_on_one_cpu_runs_one_after_the_other_equal_all_at_once(trained, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    together, _ = run_chunks(Program(ToyProblem(), config(), members()))
    close(together, trained[0])


def test_start_depends_on_the_seed_alone(program):
    again = program.with_members(members(rates=(0.5, 0.01, 0.02), seeds=(5, 6, 8)))
    a, b = jax.device_get(program.start()), jax.device_get(again.start())
    same(jax.tree.map(lambda leaf: leaf[:2], a), jax.tree.map(lambda leaf: leaf[:2], b))
    assert np.abs(a.model.first[2] - b.model.first[2]).max() > 0.01


def test_purposes_share_no_random_numbers():
    data = [jax.random.key_data(member_key(jnp.asarray(seed), p)) for seed in (0, 1) for p in Purpose]
    assert len({tuple(np.asarray(d)) for d in data}) == len(data)


# -------------------------------------------------------------------------------- the learning rate


@pytest.mark.parametrize(("steps", "warmup", "share"), [(20, 3, 0.0), (20, 0, 0.1), (7, 6, 0.25), (2, 1, 0.0)])
def test_learning_rate_rises_to_its_peak_and_falls_to_its_final_share(steps, warmup, share):
    cfg, peak = config(steps=steps, warmup_steps=warmup, final_learning_rate=share), 0.02
    rates = np.asarray([learning_rate(cfg, jnp.asarray(peak), jnp.asarray(s)) for s in range(steps)])
    if warmup:
        np.testing.assert_allclose(rates[:warmup], peak * np.arange(1, warmup + 1) / warmup, rtol=1e-6)
    assert rates[0] > 0
    np.testing.assert_allclose(rates.max(), peak, rtol=1e-6)
    assert (np.diff(rates[max(warmup - 1, 0) :]) < 0).all()
    # The cosine by hand, over the steps after the warm-up; without one the first step has the very peak.
    begin = max(1, warmup)
    done = (np.arange(1, steps + 1) - begin) / (steps - begin)
    cosine = peak * (share + (1 - share) * 0.5 * (1 + np.cos(np.pi * done)))
    np.testing.assert_allclose(rates[warmup:], cosine[warmup:], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(rates[-1], share * peak, atol=1e-9)


TABLE = {
    "linear": [0.2, 0.4, 0.4, 0.4, 0.31, 0.22, 0.13, 0.04],
    "cosine": [0.2, 0.4, 0.4, 0.4, 0.34728, 0.22, 0.09272, 0.04],
    "exponential": [0.2, 0.4, 0.4, 0.4, 0.224937, 0.126491, 0.0711312, 0.04],
    "step": [0.2, 0.4, 0.4, 0.4, 0.4, 0.126491, 0.04, 0.04],
}
"""Rates of 8 steps by hand: 2 of warm-up, a third of the other 6 held, then from 0.4 to its tenth in 4; 2 drops."""


@pytest.mark.parametrize("schedule", TABLE)
def test_a_rate_is_held_at_its_peak_before_it_decays(schedule):
    cfg = config(
        steps=8, warmup_steps=2, schedule=schedule, hold=1 / 3, final_learning_rate=0.1, learning_rate_drops=2
    )  # fmt: skip
    cfg.check()
    assert cfg.decay_begins == 4
    rates = [float(learning_rate(cfg, jnp.asarray(0.4), jnp.asarray(step))) for step in range(8)]
    np.testing.assert_allclose(rates, TABLE[schedule], rtol=2e-5)


def test_a_linear_decay_without_warm_up_or_hold():
    cfg = config(steps=5, warmup_steps=0, schedule="linear")
    rates = [float(learning_rate(cfg, jnp.asarray(2.0), jnp.asarray(step))) for step in range(5)]
    np.testing.assert_allclose(rates, [2.0, 1.5, 1.0, 0.5, 0.0], rtol=1e-6)


@pytest.mark.parametrize("warmup", [0, 1, 4])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "exponential", "step"])
def test_the_last_step_has_the_final_rate_and_the_warm_up_ends_at_the_peak(schedule, warmup):
    cfg = config(steps=10, warmup_steps=warmup, schedule=schedule, final_learning_rate=0.1)
    rates = [float(learning_rate(cfg, jnp.asarray(2.0), jnp.asarray(step))) for step in range(10)]
    assert rates[-1] == pytest.approx(0.2, rel=1e-5)
    assert max(rates) == rates[max(0, warmup - 1)] == pytest.approx(2.0, rel=1e-5)


def test_a_training_of_one_step_has_the_peak():
    cfg = config(steps=1, warmup_steps=0)
    cfg.check()
    assert float(learning_rate(cfg, jnp.asarray(2.0), jnp.asarray(0))) == 2.0


@pytest.mark.parametrize(("warmup", "final"), [(0, 0.0), (7, 0.0), (7, 0.03)])
def test_without_a_hold_a_cosine_is_optax_s_own_to_the_bit(warmup, final):
    cfg = config(steps=53, warmup_steps=warmup, final_learning_rate=final)
    steps = jnp.arange(53)
    ours = jax.jit(jax.vmap(lambda step: learning_rate(cfg, jnp.asarray(0.3), step)))(steps)
    optax_s = optax.schedules.warmup_cosine_decay_schedule(0.0, 1.0, max(1, warmup), 53, final)
    theirs = jax.jit(jax.vmap(lambda step: jnp.asarray(0.3) * optax_s(step + 1)))(steps)
    same(ours, theirs)


def test_metrics_tell_the_rate_of_each_run(trained):
    cfg = config()
    for chunk, told in enumerate(trained[1]):
        expected = [float(learning_rate(cfg, jnp.asarray(r), jnp.asarray(5 * chunk + 4))) for r in (0.03, 0.01, 0.02)]
        np.testing.assert_allclose(told["learning_rate"], expected, rtol=1e-5, atol=1e-9)


# ------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("kind", ["nan_loss_at", "nan_gradient_at"])
def test_a_fault_stops_its_run_alone_and_keeps_its_last_good_weights(program, trained, kind):
    poison = np.zeros((3, 2), np.uint32)
    poison[1] = key_of(6, step=10, sequence=3)  # the first step of the third chunk
    faulty = program.with_members(members(**{kind: poison}))
    assert faulty._compiled is program._compiled  # what the healthy runs are trained by
    state, metrics = run_chunks(faulty)
    assert state.fault_step.tolist() == [-1, 10, -1]
    assert state.stopped.tolist() == [False, True, False]
    for run in (0, 2):
        same(run_of(state, run), run_of(trained[0], run))
    # The healthy runs' weights after 10 steps, bit for bit.
    healthy = program.start()
    for first in (0, 5):
        healthy, _ = program.chunk(healthy, first, 5)
    healthy = jax.device_get(healthy)
    same(run_of(state.model, 1), run_of(healthy.model, 1))
    same(run_of(state.optimizer, 1), run_of(healthy.optimizer, 1))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
    told = [[m["stopped"][1], m["fault_step"][1]] for m in metrics]
    assert told == [[False, -1], [False, -1], [True, 10], [True, 10]]


def test_the_fault_step_is_the_step_within_a_chunk(program, trained):
    poison = np.stack([key_of(5, 0, 7), key_of(6, 13, 0), key_of(7, 19, 5)])
    state, metrics = run_chunks(program.with_members(members(nan_loss_at=poison)))
    assert state.fault_step.tolist() == [0, 13, 19]
    # A fault at the very first step leaves the start; the mean loss leaves out the steps that were not taken.
    same(
        run_of(state.model, 0),
        run_of(program.start().model, 0),
    )
    assert np.isfinite(metrics[2]["train_loss"][1])
    assert np.isnan(metrics[0]["train_loss"][0])
    assert np.isfinite(state.best_score[1:]).all()


# ----------------------------------------------------------------------------------- early stopping

ROUNDS, EVERY = 12, 2


class Table(Task):
    """A score for every validation, written by the test."""

    scores: Float[Array, "*R rounds"]

    def sample(self, key):
        return jnp.zeros((1, 1))

    oracle = constant = sample


class Counter(eqx.Module):
    steps: Float[Array, "*R"]


class TableProblem(Problem):
    """The weight counts the steps: its gradient is −1, so Adam adds the learning rate, which is 1."""

    def init(self, task, key):
        return Counter(jnp.zeros(()))

    def loss(self, model, task, key):
        return -model.steps, jnp.asarray(1.0)

    def validate(self, model, task, key):
        return {"score": task.scores[jnp.round(model.steps / EVERY).astype(int) - 1]}


def stop_early(scores: np.ndarray, patience: int, min_delta: float):
    """Return (best score, its round, the round that stopped the run or None), by a plain loop."""
    best, best_round, stale = np.float32(np.inf), 0, 0
    for number, score in enumerate(scores, start=1):
        progress = score < (best if np.isinf(best) else best - np.float32(min_delta) * abs(best))
        if score < best:
            best, best_round = score, number
        stale = 0 if progress else stale + 1
        if patience and stale >= patience:
            return best, best_round, number
    return best, best_round, None


def table_program(patience: int, min_delta: float) -> Program:
    cfg = config(
        steps=ROUNDS * EVERY, warmup_steps=0, final_learning_rate=1.0, learning_rate=(1.0,), batch_size=1,
        validate_every=EVERY, patience=patience, min_delta=min_delta,
    )  # fmt: skip
    return Program(TableProblem(), cfg, table_members(np.zeros((3, ROUNDS))))


def table_members(scores: np.ndarray) -> Member:
    return Member(Table(jnp.asarray(scores, jnp.float32)), np.ones(3, np.float32), np.arange(3, dtype=np.int32))


@pytest.fixture(scope="module")
def tables():
    return {(p, d): table_program(p, d) for p, d in [(0, 0.0), (1, 0.0), (3, 0.0), (2, 0.125)]}


score_tables = st.lists(
    st.lists(st.integers(-8, 24).map(lambda i: i / 8), min_size=ROUNDS, max_size=ROUNDS), min_size=3, max_size=3
)


@settings(max_examples=25, deadline=None)
@given(score_tables, st.data())
def test_early_stopping_against_a_plain_loop(tables, scores, data):
    patience, min_delta = data.draw(st.sampled_from(sorted(tables)))
    scores = np.asarray(scores, np.float32)
    state, metrics = run_chunks(tables[patience, min_delta].with_members(table_members(scores)))
    for run in range(3):
        best, best_round, stop = stop_early(scores[run], patience, min_delta)
        assert state.best_score[run] == best
        assert state.best_step[run] == best_round * EVERY
        assert bool(state.stopped[run]) == (stop is not None)
        np.testing.assert_allclose(state.best.steps[run], best_round * EVERY, rtol=1e-5)
        np.testing.assert_allclose(state.model.steps[run], (stop or ROUNDS) * EVERY, rtol=1e-5)
        told = [bool(m["stopped"][run]) for m in metrics]
        assert told == [stop is not None and n >= stop for n in range(1, ROUNDS + 1)]


def test_a_score_that_is_not_a_number_is_no_progress(tables):
    scores = np.full((3, ROUNDS), np.nan, np.float32)
    scores[1, 0], scores[2, 3] = 2.0, 1.0
    state, _ = run_chunks(tables[3, 0.0].with_members(table_members(scores)))
    assert state.best_score.tolist() == [np.inf, 2.0, np.inf]
    np.testing.assert_allclose(state.model.steps, [3 * EVERY, 4 * EVERY, 3 * EVERY], rtol=1e-5)


# -------------------------------------------------------------------------------------------- parts


def test_with_members_shares_programs_only_where_shapes_are_equal(program):
    assert program.with_members(members(seeds=(1, 2, 3)))._compiled is program._compiled
    assert program.with_members(members((0.1,), (1,)))._compiled is not program._compiled


def test_mesh_of_one_device():
    mesh = make_mesh(3, 8)
    assert dict(mesh.shape) == {"run": 1, "batch": 1}


# ------------------------------------------------------- optimisers, schedules; draws ahead of the steps


@pytest.mark.parametrize(
    ("optimizer", "theirs"),
    [
        ("adam", lambda rate, mask: optax.chain(optax.add_decayed_weights(0.01, mask), optax.adam(rate))),
        ("sgd", lambda rate, mask: optax.chain(optax.add_decayed_weights(0.01, mask), optax.sgd(rate, momentum=0.9))),
    ],
)
def test_other_optimisers_are_optax_s_own(optimizer, theirs):
    """Decay is part of the gradient there, of matrices only; gradients are clipped by value, then by norm."""
    cfg = config(optimizer=optimizer, clip_value=0.5, clip_norm=1.0)
    mask = lambda p: jax.tree.map(lambda leaf: leaf.ndim == 2, p)  # noqa: E731
    clip = lambda g: jax.tree.map(lambda leaf: jnp.clip(leaf, -0.5, 0.5), g)  # noqa: E731
    ours, reference = Optimizer(cfg), theirs(1.0, mask)
    model = {"matrix": jnp.asarray([[1.0, -2.0]]), "vector": jnp.asarray([3.0])}
    state, their_state = ours.init(model), reference.init(model)
    for seed in range(4):
        key = jax.random.key(seed)
        gradient = {"matrix": jax.random.normal(key, (1, 2)), "vector": jax.random.normal(key, (1,)) - 3}
        clipped = clip(gradient)
        norm = float(optax.tree.norm(clipped))
        clipped = jax.tree.map(lambda g, norm=norm: g / max(1.0, norm), clipped)
        state = ours.update(gradient, state, model)
        direction = ours.direction(state, model)
        expected, their_state = reference.update(clipped, their_state, model)
        close(direction, jax.tree.map(jnp.negative, expected), 1e-5)


@pytest.mark.parametrize("count", [1, 7])
def test_adamw_of_a_summed_gradient_is_optax_s_of_the_mean(count):
    cfg = config(optimizer="adamw", clip_norm=1.0)
    mask = lambda p: jax.tree.map(lambda leaf: leaf.ndim == 2, p)  # noqa: E731
    adamw = optax.adamw(1.0, cfg.beta1, cfg.beta2, weight_decay=cfg.weight_decay, mask=mask)
    ours, reference = Optimizer(cfg), optax.chain(optax.clip_by_global_norm(1.0), adamw)
    model = {"matrix": jnp.asarray([[1.0, -2.0]]), "vector": jnp.asarray([3.0])}
    state, their_state = ours.init(model), reference.init(model)
    for size in (0.1, 5.0, 0.0, 0.5):  # below the limit and above it
        mean = {"matrix": jnp.asarray([[size, -2 * size]]), "vector": jnp.asarray([size])}
        total = jax.tree.map(lambda g: g * count, mean)
        kept = ours.update(total, state, model, 1 / count, jnp.asarray(False))
        assert all((a == b).all() for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(state), strict=True))
        state = ours.update(total, state, model, 1 / count, jnp.asarray(True))
        expected, their_state = reference.update(mean, their_state, model)
        close(ours.direction(state, model), jax.tree.map(jnp.negative, expected), 1e-5)


def test_schedules_by_hand():
    rates = {}
    for schedule in ("constant", "exponential", "step"):
        cfg = config(steps=23, warmup_steps=3, schedule=schedule, final_learning_rate=0.01, learning_rate_drops=4)
        rates[schedule] = np.asarray([learning_rate(cfg, jnp.asarray(2.0), jnp.asarray(s)) for s in range(23)])
        np.testing.assert_allclose(rates[schedule][:3], [2 / 3, 4 / 3, 2], rtol=1e-6)
    done = (np.arange(23) + 1 - 3)[2:] / 20
    np.testing.assert_allclose(rates["constant"][2:], 2)
    np.testing.assert_allclose(rates["exponential"][2:], 2 * 0.01**done, rtol=1e-5)
    stairs = np.repeat(2 * 0.01 ** (np.arange(5) / 4), 4)  # 20 steps in 5 stairs, the last at the final share
    np.testing.assert_allclose(rates["step"][2:], [*stairs, stairs[-1]], rtol=1e-5)


class SharedTableProblem(ToyProblem):
    """Sequences are rows of a table that all runs share; which, is drawn ahead and depends on the progress."""

    rows: Float[Array, "N T D"]

    def draw(self, task, turn):
        # The first row until half of the steps are done, any other after that.
        return jnp.where(turn.progress < 0.5, 0, 1 + jax.random.randint(turn.key, (), 0, self.rows.shape[0] - 1))

    def loss(self, model, task, place):
        x = self.rows[place]
        guess = jnp.tanh(x @ model.first + model.bias[None]) @ model.second
        return jnp.sum((guess - x @ task.map) ** 2), jnp.asarray(float(T))


def test_a_shared_table_is_an_argument_and_draws_follow_progress_seed_and_step():
    cfg = config(steps=6, batch_size=4, warmup_steps=0, validate_every=1)
    tables = [np.random.default_rng(n).normal(size=(5, T, D)).astype(np.float32) for n in (0, 1)]
    programs = [Program(SharedTableProblem(jnp.asarray(rows)), cfg, members()) for rows in tables]
    programs[1]._compiled = programs[0]._compiled  # the very same program is given the other table
    for program in programs:
        start = jax.device_get(program.start())
        model, task = jax.tree.map(jnp.asarray, run_of(start.model, 1)), run_of(members(), 1).task
        for step in (0, 4):
            keys = batch_keys(6, step, 4)
            places = [0 if step == 0 else 1 + jax.random.randint(key, (), 0, 4) for key in keys]
            losses = [program.problem.loss(model, task, jnp.asarray(place))[0] / T for place in places]
            _, told = program.chunk(program.place(start), step, 1)
            np.testing.assert_allclose(told["train_loss"][1], np.mean(losses), rtol=1e-5)


def test_a_table_is_no_constant_of_the_program():
    rows = np.zeros((4001, T, D), np.float32)
    program = Program(SharedTableProblem(jnp.asarray(rows)), config(batch_size=4), members())
    assert program.compile(5)[0].memory_analysis().argument_size_in_bytes > rows.nbytes
