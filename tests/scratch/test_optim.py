"""The optimisers against Optax, step by step, and what they refuse."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest

from bestguess.scratch.node import GraphError
from bestguess.scratch.ops import Tensor
from bestguess.scratch.optim import SGD, Adam, AdamW, warmup_cosine, warmup_linear

SHAPES = [(2, 3), (5,), (1, 7)]


def parameters() -> list[Tensor]:
    rng = np.random.default_rng(0)
    return [Tensor(rng.normal(size=shape), requires_grad=True) for shape in SHAPES]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
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
        other = [p.array.copy() for p in mine]
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
                np.testing.assert_allclose(p.array, expected, rtol=1e-6)


def test_clipping_tells_the_norm_before():
    mine = parameters()
    optimizer = SGD(mine, 0.0, clip=1.0)
    for p in mine:
        p.grad = np.full(p.shape, 2.0)
    optimizer.step()
    assert optimizer.norm == pytest.approx(2 * np.sqrt(6 + 5 + 7))


def test_a_step_between_forward_and_backward_is_noticed():
    mine = parameters()
    optimizer = SGD(mine, 0.1)
    for p in mine:
        p.grad = np.ones(p.shape)
    loss = (mine[0] * mine[0]).sum()
    optimizer.step()
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()


def test_what_cannot_be_optimised_is_told():
    p = parameters()
    with pytest.raises(ValueError, match="no parameters"):
        SGD([], 0.1)
    with pytest.raises(ValueError, match="given twice"):
        SGD([p[0], p[0]], 0.1)
    with pytest.raises(TypeError, match="unequal dtype"):
        SGD([p[0], Tensor([1.0], requires_grad=True)], 0.1)
    optimizer = SGD(p, 0.1)
    with pytest.raises(ValueError, match=r"parameter 0 of shape \(2, 3\) has no gradient"):
        optimizer.step()
    SGD(p, 0.1)
    for one in p:
        one.grad = np.ones(one.shape)
    with pytest.raises(ValueError, match="another optimiser"):
        optimizer.step()


def test_schedules():
    assert [warmup_linear(step, 10, 5) for step in (0, 4, 5, 10)] == [0.2, 1.0, 1.0, 0.0]
    assert [warmup_cosine(step, 10, 0, 0.1) for step in (0, 5, 10, 20)] == pytest.approx([1.0, 0.55, 0.1, 0.1])
    theirs = optax.warmup_cosine_decay_schedule(0.2, 1.0, 4, 20, 0.05)
    ours = [warmup_cosine(step, 20, 4, 0.05) for step in range(4, 20)]
    assert ours == pytest.approx([float(theirs(step)) for step in range(4, 20)], rel=1e-5)
