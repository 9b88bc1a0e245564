"""Muon against a plain NumPy version of its paper's steps; which weights it takes; whole trainings."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.command import UserError
from bestguess.nn.config import DecoderConfig
from bestguess.nn.decoder import Decoder
from bestguess.train.checkpoint import named_leaves
from bestguess.train.muon import orthogonal
from bestguess.train.optimizer import Optimizer
from bestguess.train.program import Program
from tests.train.toy import Net, ToyProblem, close, config, members, run_chunks

SHAPES = {"wide": (3, 7), "tall": (7, 3), "square": (5, 5), "other": (2, 11)}


class Hidden(ToyProblem):
    """The toy with its square matrix as the hidden one."""

    def hidden(self, model):
        return Net(True, False, False)


class PackedHidden(Hidden):
    packed = True


def newton_schulz(m: np.ndarray) -> np.ndarray:
    """The iterations as they stand in the article, of one matrix, in double precision."""
    x = m / (np.linalg.norm(m) + 1e-7)
    if m.shape[0] > m.shape[1]:
        x = x.T
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if m.shape[0] > m.shape[1] else x


def test_matrices_become_orthogonal_each_by_itself():
    random = np.random.default_rng(0)
    given = {name: random.normal(size=shape) * 10.0**i for i, (name, shape) in enumerate(SHAPES.items())}
    found = orthogonal([jnp.asarray(one, jnp.float32) for one in given.values()])
    for one, ours in zip(given.values(), found, strict=True):
        np.testing.assert_allclose(ours, newton_schulz(one), atol=2e-5)
        u, _, v = np.linalg.svd(one, full_matrices=False)
        # Jordan's coefficients stop at singular values between 0.68 and 1.14, in the matrix's own directions.
        inner = u.T @ np.asarray(ours) @ v.T
        np.testing.assert_allclose(inner - np.diag(np.diag(inner)), 0, atol=1e-4)
        assert (np.diag(inner) > 0.6).all()
        assert (np.diag(inner) < 1.2).all()


def test_a_gradient_of_0_moves_nothing():
    (found,) = orthogonal([jnp.zeros((3, 5))])
    assert not np.asarray(found).any()


@pytest.mark.parametrize("clip_norm", [float("inf"), 0.1])
def test_steps_are_those_of_numpy(clip_norm):
    """Hidden matrices by momentum and Newton–Schulz; a matrix and a vector that are not hidden by AdamW."""
    cfg = config(optimizer="muon", momentum=0.8, beta1=0.7, beta2=0.9, weight_decay=0.3, clip_norm=clip_norm)
    random = np.random.default_rng(1)
    model = {"hidden": random.normal(size=(3, 7)), "embedding": random.normal(size=(5, 3)), "gain": np.ones(3)}
    ours = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), model)
    optimizer = Optimizer(cfg, lambda model: {"hidden": True, "embedding": False, "gain": False})
    state = optimizer.init(ours)
    mean, square = ({name: 0.0 * leaf for name, leaf in model.items()} for _ in range(2))
    for t in range(1, 5):
        gradient = {name: random.normal(size=leaf.shape) for name, leaf in model.items()}
        state = optimizer.update(jax.tree.map(lambda g: jnp.asarray(g, jnp.float32), gradient), state, ours)
        direction = optimizer.direction(state, ours)
        norm = np.sqrt(sum((g**2).sum() for g in gradient.values()))
        for name, g in gradient.items():
            g = g * min(1.0, clip_norm / norm)
            beta = 0.8 if name == "hidden" else 0.7
            mean[name] = beta * mean[name] + (1 - beta) * g
            square[name] = 0.9 * square[name] + 0.1 * g**2
            if name == "hidden":
                step = 0.2 * np.sqrt(7) * newton_schulz(0.2 * g + 0.8 * mean[name])
            else:
                step = mean[name] / (1 - 0.7**t) / (np.sqrt(square[name] / (1 - 0.9**t)) + 1e-8)
            step = step + (0.3 * model[name] if model[name].ndim == 2 else 0.0)
            np.testing.assert_allclose(direction[name], step, atol=3e-5)
            model[name] = model[name] - 0.05 * step
        ours = jax.tree.map(lambda p, d: p - 0.05 * d, ours, direction)


def test_hidden_are_the_matrices_of_the_blocks():
    decoder = DecoderConfig(layers=2, d_model=8, heads=2)
    make = lambda: {"head": jnp.zeros((8, 3)), "stack": Decoder(decoder, key=jax.random.key(0))}  # noqa: E731
    model = jax.eval_shape(make)
    hidden = [name for name, found in named_leaves(ToyProblem().hidden(model)) if found]
    parts = ("attention/qkv", "attention/out", "feed_forward/up", "feed_forward/down")
    assert sorted(hidden) == sorted(f"stack/blocks/{i}/{part}" for i in range(2) for part in parts)


def test_a_model_without_any_is_told():
    with pytest.raises(UserError, match=r"--optimizer muon: .*choose adamw"):
        Optimizer(config(optimizer="muon"), ToyProblem().hidden).init(Net(jnp.zeros((3, 3)), jnp.zeros(3), jnp.eye(3)))


def test_trainings_learn_and_packed_models_are_trained_alike():
    settings = config(optimizer="muon", learning_rate=(0.03,))
    plain, packed = (run_chunks(Program(one, settings, members())) for one in (Hidden(), PackedHidden()))
    close(plain[0].model, packed[0].model)
    losses = np.stack([one["score"] for one in plain[1]])
    assert (losses[-1] < losses[0]).all()
    adam = run_chunks(Program(Hidden(), config(), members()))[0]
    assert np.abs(np.asarray(plain[0].model.first) - np.asarray(adam.model.first)).max() > 1e-3
