"""The optimisers against Optax, step by step, and what they refuse."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest

from bestguess.scratch.demos.training import warmup_cosine
from bestguess.scratch.engine import optim as simple
from bestguess.scratch.engine.tensor import Tensor
from bestguess.scratch.fast.optim import SGD, Adam, AdamW

SHAPES = [(2, 3), (5,), (1, 7)]


def parameters() -> list[Tensor]:
    rng = np.random.default_rng(0)
    return [Tensor(rng.normal(size=shape), requires_grad=True) for shape in SHAPES]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda p: simple.SGD(p, 0.1), optax.sgd(0.1)),
        (lambda p: simple.SGD(p, 0.1, clip=1.0), optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1))),
        (lambda p: simple.AdamW(p, 0.01), optax.adamw(0.01, b2=0.99, weight_decay=0.01)),
        (
            lambda p: simple.AdamW(p, 0.01, weight_decay=0.3, clip=1.0),
            optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.01, b2=0.99, weight_decay=0.3)),
        ),
        (lambda p: SGD(p, 0.1), optax.sgd(0.1)),
        (lambda p: SGD(p, 0.1, momentum=0.9), optax.sgd(0.1, momentum=0.9)),
        (lambda p: Adam(p, 0.01, (0.8, 0.95)), optax.adam(0.01, 0.8, 0.95)),
        (
            lambda p: Adam(p, 0.01, weight_decay=0.3),
            optax.chain(optax.add_decayed_weights(0.3), optax.adam(0.01)),
        ),
        (lambda p: AdamW(p, 0.01, weight_decay=0.3), optax.adamw(0.01, weight_decay=0.3)),
        (
            lambda p: AdamW(p, 0.01, weight_decay=0.3, clip=1.0),
            optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.01, weight_decay=0.3)),
        ),
    ],
)
def test_every_step_is_optax_s(ours, theirs):
    mine = parameters()
    optimizer = ours(mine)
    with jax.enable_x64(True):
        other = [p.data.copy() for p in mine]
        state = theirs.init(other)
        rng = np.random.default_rng(1)
        for scale in (1.0, 0.1, 3.0, 0.01, 1.0):
            gradients = [scale * rng.normal(size=shape) for shape in SHAPES]
            for p, g in zip(mine, gradients):
                p.grad = g.copy()
            optimizer.step()
            changes, state = theirs.update(gradients, state, other)
            other = optax.apply_updates(other, changes)
            for p, expected in zip(mine, other):
                np.testing.assert_allclose(p.data, expected, rtol=1e-6)


def test_clipping_tells_the_norm_before():
    mine = parameters()
    optimizer = SGD(mine, 0.0, clip=1.0)
    for p in mine:
        p.grad = np.full(p.shape, 2.0)
    optimizer.step()
    assert optimizer.norm == pytest.approx(2 * np.sqrt(6 + 5 + 7))


@pytest.mark.parametrize("optimizer", [simple.SGD, simple.AdamW, SGD, AdamW])
def test_a_step_between_forward_and_backward_changes_no_gradient(optimizer):
    """Steps make new arrays, so the graph still holds the values that it was computed from."""
    mine = parameters()
    stepping = optimizer(mine, 0.1)
    for p in mine:
        p.grad = np.ones(p.shape)
    before = mine[0].data
    loss = (mine[0] * mine[0]).sum()
    stepping.step()
    assert (mine[0].data != before).all()
    stepping.zero_grad()
    loss.backward()
    np.testing.assert_array_equal(mine[0].grad, 2 * before)
    with pytest.raises(ValueError, match="read-only"):
        mine[0].data[0] = 1.0


@pytest.mark.parametrize("optimizer", [simple.SGD, SGD])
def test_what_cannot_be_optimised_is_told(optimizer):
    p = parameters()
    for wrong in ([], [p[0], p[0]]):
        with pytest.raises(ValueError, match="no parameters, or one that is given twice"):
            optimizer(wrong, 0.1)
    with pytest.raises(ValueError, match=r"parameter 0 of shape \(2, 3\) has no gradient"):
        optimizer(p, 0.1).step()


def test_what_a_flat_array_cannot_hold_is_told():
    p = parameters()
    with pytest.raises(TypeError, match="unequal dtype"):
        SGD([p[0], Tensor([1.0], requires_grad=True)], 0.1)
    optimizer = SGD(p, 0.1)
    SGD(p, 0.1)
    for one in p:
        one.grad = np.ones(one.shape)
    with pytest.raises(ValueError, match="another optimiser"):
        optimizer.step()


def test_schedules():
    assert [warmup_cosine(step, 10, 0, 0.1) for step in (0, 5, 10, 20)] == pytest.approx([1.0, 0.55, 0.1, 0.1])
    theirs = optax.warmup_cosine_decay_schedule(0.2, 1.0, 4, 20, 0.05)
    ours = [warmup_cosine(step, 20, 4, 0.05) for step in range(4, 20)]
    assert ours == pytest.approx([float(theirs(step)) for step in range(4, 20)], rel=1e-5)
