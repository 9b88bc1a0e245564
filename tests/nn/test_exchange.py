"""The same weights, two engines: a GPT trained in NumPy becomes a JAX decoder and goes back, with equal logits."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bestguess.nn.exchange import from_arrays, to_arrays
from bestguess.scratch.demos import checkpoint, copilot, stdlib
from bestguess.scratch.demos.decoder import Decoder, DecoderConfig
from bestguess.scratch.demos.training import fit

GPT2 = DecoderConfig(vocab=11, d_model=12, layers=3, heads=2, positions=17)
KINDS = {
    "gpt-2": GPT2,
    "learned": dataclasses.replace(GPT2, norm="rms", bias=False),
    "layer": dataclasses.replace(GPT2, position="rope", bias=False),
    "bias": dataclasses.replace(GPT2, position="rope", norm="rms"),
    "decoder": dataclasses.replace(GPT2, position="rope", norm="rms", bias=False),
}


@pytest.fixture(scope="module", params=KINDS)
def trained(request) -> Decoder:
    """A GPT some way from its start, so that gains are not 1 and biases not 0."""
    model = Decoder(KINDS[request.param], 0)
    rng = np.random.default_rng(0)
    index = rng.integers(1, 11, (7, 14))
    fit(model, lambda _: (index[:, :-1], index[:, 1:]), 30, 1e-2)
    return model


@jax.jit
def scores_of(model, index):
    return jax.vmap(model)(index)


def logits(model, index: np.ndarray) -> np.ndarray:
    return np.asarray(scores_of(model, index))


def test_a_gpt_trained_in_numpy_has_the_same_logits_in_jax(trained):
    assert np.abs(trained.norm.gain.data - 1).max() > 0.01
    index = np.random.default_rng(1).integers(0, 11, (5, 17))
    ours = trained(index).data
    theirs = logits(from_arrays(trained.state_dict(), heads=2), index)
    assert np.abs(ours).max() > 1
    np.testing.assert_allclose(theirs, ours, atol=1e-5)


def test_the_second_stage_s_checkpoint_goes_over(tmp_path):
    checkpoint.save(tmp_path / "m.npz", Decoder(stdlib.CONFIG, 5))
    model, _ = checkpoint.load(tmp_path / "m.npz")
    index = np.random.default_rng(1).integers(0, model.config.vocab, (2, 128))
    there = from_arrays(model.state_dict(), model.config.heads)
    np.testing.assert_allclose(logits(there, index), model(index).data, atol=1e-5)


def test_the_copilot_in_the_package_goes_over():
    # Of logits up to 14: how far float32 may be off, NumPy says in float64. Each engine rounds in an order of its own.
    model, _ = copilot.pretrained()
    index = np.random.default_rng(1).integers(0, model.config.vocab, (2, 128))
    ours = model(index).data
    theirs = jax.vmap(from_arrays(model.state_dict(), model.config.heads))(jnp.asarray(index))
    for p in model.parameters():
        p.data = p.data.astype(np.float64)
    exact = model(index).data
    assert exact.dtype == np.float64
    off, own = np.asarray(theirs) - exact, ours - exact
    assert np.abs(own).max() < 1e-5
    assert np.sqrt(np.mean(off**2)) < 1.5 * np.sqrt(np.mean(own**2))
    assert np.abs(off).max() < 2 * np.abs(own).max()


def test_gradients_agree_too(trained):
    index = np.random.default_rng(2).integers(1, 11, (3, 14))
    inputs, targets = index[:, :-1], index[:, 1:]
    for p in trained.parameters():
        p.grad = None
    trained.loss(inputs, targets).backward()

    def loss(model):
        scores = scores_of(model, inputs)
        return optax.softmax_cross_entropy_with_integer_labels(scores, jnp.asarray(targets)).mean()

    theirs = to_arrays(jax.jit(jax.grad(loss))(from_arrays(trained.state_dict(), heads=2)))
    for name, p in trained.named_parameters():
        np.testing.assert_allclose(theirs[name], p.grad, atol=2e-5, err_msg=name)


def test_there_and_back_is_the_same_to_the_bit(trained):
    state = trained.state_dict()
    back = to_arrays(from_arrays(state, heads=2))
    assert back.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(back[name], array)
    again = Decoder(trained.config, 1)
    again.load_state_dict(back)
    index = np.array([[3, 1, 4, 1, 5]])
    np.testing.assert_array_equal(again(index).data, trained(index).data)


def test_what_jax_changes_comes_back_too(trained):
    model = from_arrays(trained.state_dict(), heads=2)
    model = jax.tree.map(lambda leaf: 0.9 * leaf + 0.01, model)
    back = Decoder(trained.config, 1)
    back.load_state_dict(to_arrays(model))
    index = np.random.default_rng(3).integers(0, 11, (2, 13))
    np.testing.assert_allclose(back(index).data, logits(model, index), atol=1e-5)


def test_arrays_that_do_not_fit_are_told(trained):
    state = trained.state_dict()
    for change, said in (
        ({"head.weight": None}, r"missing \['head.weight'\]"),
        ({"extra": np.ones(3)}, r"unknown \['extra'\]"),
        ({"norm.gain": np.ones(5)}, r"norm.gain has shape \(5,\), wants \(12,\)"),
        ({"token_embedding": None}, "not two matrices"),
    ):
        changed = {n: a for n, a in (state | change).items() if a is not None}
        with pytest.raises(ValueError, match=said):
            from_arrays(changed, heads=2)
