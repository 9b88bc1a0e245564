"""One step of one run, against the same mathematics in NumPy: gradients, clipping and optimisers by hand."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from bestguess.train.config import TrainConfig
from bestguess.train.optimizer import Optimizer
from bestguess.train.problem import Member, Problem, State
from bestguess.train.step import loss_of, start, step
from bestguess.train.validation import judge
from tests.train.toy import config, same

STEPS, BATCH, T, D, F = 5, 6, 7, 3, 2
PEAK, WARMUP, DECAY, CLIP = 0.05, 2, 0.1, 0.5


class Linear(eqx.Module):
    weight: Float[Array, "D F"]
    bias: Float[Array, "F"]


class Regression(Problem):
    """Squared errors of the first targets of a sequence, as many as it has."""

    def init(self, task, key):
        return Linear(task, jnp.ones(F))

    def loss(self, model, task, drawn):
        x, y, count = drawn
        errors = jnp.sum((x @ model.weight + model.bias[None] - y) ** 2, axis=-1)
        return jnp.sum(jnp.where(jnp.arange(T) < count, errors, 0.0)), count

    def validate(self, model, task, key):
        raise NotImplementedError


@pytest.fixture(scope="module")
def batches():
    """Inputs, targets and counts of every step's sequences; no two micro-batches have equally many targets."""
    rng = np.random.default_rng(0)
    counts = np.asarray([rng.permutation(BATCH) + 1.0 for _ in range(STEPS)])
    assert (counts[:, : BATCH // 2].sum(axis=1) != counts[:, BATCH // 2 :].sum(axis=1)).all()
    return rng.normal(size=(STEPS, BATCH, T, D)), rng.normal(size=(STEPS, BATCH, T, F)), counts


def settings(**changes) -> TrainConfig:
    return config(
        **{"steps": STEPS, "batch_size": BATCH, "warmup_steps": WARMUP, "schedule": "constant"}
        | {"weight_decay": DECAY, "clip_norm": CLIP, **changes}
    )


def member() -> Member:
    weight = np.random.default_rng(1).normal(size=(D, F))
    return Member(jnp.asarray(weight, jnp.float32), jnp.asarray(PEAK), jnp.asarray(3))


def trained(cfg, batches):
    """Return the states after every step, the start first, and what was told of each step."""
    optimizer, loss = Optimizer(cfg), loss_of(Regression())
    one = member()
    taken = jax.jit(lambda state, t, micro: step(loss, optimizer, state, one, t, micro))
    states, told = [start(Regression(), optimizer, one)], []
    for t in range(STEPS):
        split = [jnp.asarray(part[t], jnp.float32).reshape(cfg.accumulate, -1, *part.shape[2:]) for part in batches]
        state, tale = taken(states[-1], jnp.asarray(t), tuple(split))
        states.append(state), told.append(tale)
    return states, told


def by_hand(cfg, batches):
    """Return the weights and biases, the losses and the gradients' norms of every step, in float64."""
    weight, bias = np.asarray(member().task, float), np.ones(F)
    first, second = ([np.zeros_like(weight), np.zeros_like(bias)] for _ in range(2))
    path, losses, norms = [], [], []
    for t, (x, y, counts) in enumerate(zip(*batches, strict=True)):
        kept = np.arange(T) < counts[:, None]
        error = (x @ weight + bias - y) * kept[..., None]
        losses.append((error**2).sum() / counts.sum())
        gradient = [2 * np.einsum("btd,btf->df", x, error) / counts.sum(), 2 * error.sum(axis=(0, 1)) / counts.sum()]
        norms.append(np.sqrt(sum((g**2).sum() for g in gradient)))
        by_value = [np.clip(g, -cfg.clip_value, cfg.clip_value) for g in gradient]
        norm = np.sqrt(sum((g**2).sum() for g in by_value))
        clipped = [g * min(1, cfg.clip_norm / norm) for g in by_value]
        if cfg.optimizer != "adamw":  # of matrices alone, as part of the gradient
            clipped[0] = clipped[0] + DECAY * weight
        if cfg.optimizer == "sgd":
            first = [0.9 * m + g for m, g in zip(first, clipped, strict=True)]
            direction = list(first)
        else:
            first = [0.9 * m + 0.1 * g for m, g in zip(first, clipped, strict=True)]
            second = [0.999 * v + 0.001 * g**2 for v, g in zip(second, clipped, strict=True)]
            direction = [
                m / (1 - 0.9 ** (t + 1)) / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
                for m, v in zip(first, second, strict=True)
            ]
        if cfg.optimizer == "adamw":
            direction[0] = direction[0] + DECAY * weight
        rate = PEAK * min(1, (t + 1) / WARMUP)
        weight, bias = weight - rate * direction[0], bias - rate * direction[1]
        path.append((weight, bias))
    return path, losses, norms


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("clip_value", [float("inf"), 0.3])
def test_a_step_is_the_mathematics_by_hand(batches, optimizer, accumulate, clip_value):
    cfg = settings(optimizer=optimizer, accumulate=accumulate, clip_value=clip_value)
    states, told = trained(cfg, batches)
    path, losses, norms = by_hand(cfg, batches)
    assert min(norms) > CLIP  # else nothing would be clipped
    np.testing.assert_allclose([tale.loss for tale in told], losses, rtol=1e-5)
    np.testing.assert_allclose([tale.gradient_norm for tale in told], norms, rtol=1e-5)
    for state, (weight, bias) in zip(states[1:], path, strict=True):
        np.testing.assert_allclose(state.model.weight, weight, atol=1e-5)
        np.testing.assert_allclose(state.model.bias, bias, atol=1e-5)
    assert all(tale.live for tale in told)


def test_a_step_takes_what_other_devices_have_summed(batches):
    """The sums of two halves, added, are the sums of the whole."""
    optimizer, loss, one = Optimizer(settings()), loss_of(Regression()), member()
    before = start(Regression(), optimizer, one)
    whole = tuple(jnp.asarray(part[0], jnp.float32)[None] for part in batches)
    halves = [jax.tree.map(lambda leaf, half=half: leaf[:, half::2], whole) for half in range(2)]
    sent: list = []
    step(loss, optimizer, before, one, jnp.asarray(0), halves[0], lambda sums: sent.append(sums) or sums)
    both = lambda sums: jax.tree.map(jnp.add, sums, sent[0])  # noqa: E731
    after, tale = step(loss, optimizer, before, one, jnp.asarray(0), halves[1], both)
    expected, expected_tale = step(loss, optimizer, before, one, jnp.asarray(0), whole)
    np.testing.assert_allclose(after.model.weight, expected.model.weight, atol=1e-6)
    np.testing.assert_allclose(tale.loss, expected_tale.loss, rtol=1e-6)


def test_a_weight_that_is_held_stays_and_the_others_move_as_ever(batches):
    """Decay, too, is held off."""
    optimizer, loss, one = Optimizer(settings()), loss_of(Regression()), member()
    before = start(Regression(), optimizer, one)
    first = tuple(jnp.asarray(part[0], jnp.float32)[None] for part in batches)
    hold = lambda old, new: dataclasses.replace(new, weight=old.weight)  # noqa: E731
    held, _ = step(loss, optimizer, before, one, jnp.asarray(0), first, hold=hold)
    free, _ = step(loss, optimizer, before, one, jnp.asarray(0), first)
    np.testing.assert_array_equal(held.model.weight, before.model.weight)
    np.testing.assert_array_equal(held.model.bias, free.model.bias)
    assert (free.model.weight != before.model.weight).any()


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_fault_keeps_the_weights_and_the_means_and_stops_the_run_for_good(batches, poison):
    inputs = batches[0].copy()
    inputs[2, 4, 0] = poison  # the third step, its fifth sequence
    states, told = trained(settings(accumulate=2), (inputs, *batches[1:]))
    assert [bool(tale.live) for tale in told] == [True, True, False, False, False]
    assert [bool(state.stopped) for state in states] == [False] * 3 + [True] * 3
    assert [int(state.fault_step) for state in states] == [-1] * 3 + [2] * 3
    assert np.abs(states[2].model.weight - states[1].model.weight).max() > 1e-3
    for state in states[3:]:
        same((state.model, state.optimizer), (states[2].model, states[2].optimizer))


def test_a_validation_keeps_the_best_and_counts_those_without_progress():
    """A score better by less than `min_delta` is the best, and no progress."""
    cfg = settings(patience=2, min_delta=0.1)
    one = member()
    state: State = start(Regression(), Optimizer(cfg), one)
    told = []
    for at, score in enumerate([2.0, 1.95, 3.0, 0.1]):
        state = judge(cfg, state, jnp.asarray(score), jnp.asarray(at))
        told.append((float(state.best_score), int(state.best_step), int(state.stale), bool(state.stopped)))
    np.testing.assert_allclose([best for best, *_ in told], [2.0, 1.95, 1.95, 1.95])
    # Out of patience after the third: the fourth, though the best, is not the run's any more.
    assert [rest for _, *rest in told] == [[0, 0, False], [1, 1, False], [1, 2, True], [1, 2, True]]
