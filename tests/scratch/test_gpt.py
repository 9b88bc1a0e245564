"""The GPT: causal, the same with a cache as without and fused as primitive; and the ways to write with it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bestguess.scratch import fast
from bestguess.scratch.demos.data import PAD, PYTHON
from bestguess.scratch.demos.decoder import Decoder, DecoderConfig
from bestguess.scratch.demos.generate import distribution, generate
from bestguess.scratch.demos.walk import architecture, attention_weights
from bestguess.scratch.engine.gpt import GPT, GPTConfig
from bestguess.scratch.engine.node import no_grad, topological_order
from bestguess.scratch.engine.tensor import Tensor
from bestguess.scratch.fast.gpt import FastGPT

# Primes, so that a swapped axis fails; `rms` is the norm, `rope` the positions of the JAX decoder.
CONFIG = GPTConfig(vocab=11, d_model=14, layers=3, heads=7, positions=13)
OTHER = DecoderConfig(**dataclasses.asdict(CONFIG), position="rope", norm="rms", bias=False)
EVERY = {"simple": (GPT, CONFIG), "fast": (FastGPT, CONFIG), "the JAX decoder's": (Decoder, OTHER)}
every_model = pytest.mark.parametrize(("kind", "config"), EVERY.values(), ids=EVERY)
every_fast = pytest.mark.parametrize(("kind", "config"), list(EVERY.values())[1:], ids=list(EVERY)[1:])


def tokens(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 11, shape)


def made(kind, config, seed: int = 0):
    """Return a model in float64."""
    model = kind(config, seed)
    for p in model.parameters():
        p.data = p.data.astype(np.float64)
    return model


@every_model
def test_no_token_reads_a_later_one(kind, config):
    model = made(kind, config)
    index = tokens(2, 13)
    with no_grad():
        before = model(index).data
        for t in range(13):
            changed = index.copy()
            changed[:, t] = 1 + changed[:, t] % 10
            after = model(changed).data
            np.testing.assert_array_equal(after[:, :t], before[:, :t])
            assert (np.abs(after[:, t] - before[:, t]).max(-1) > 1e-6).all()


@every_fast
def test_a_cache_changes_nothing(kind, config):
    model = made(kind, config)
    index = tokens(3, 13)
    with no_grad():
        whole = model(index).data
    cache = model.empty_cache(3)
    parts = [model(part, cache).data for part in np.split(index, [1, 2, 7], axis=1)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-12)
    assert cache.length == 13
    with pytest.raises(ValueError, match=r"wants \(batch, 1 to 0 tokens\)"):
        model(tokens(3, 1), cache)


def agree(one: GPT, other: GPT) -> None:
    """Assert that loss and gradients of two models are the same."""
    index, targets = tokens(5, 13), tokens(5, 13, seed=1)
    targets[2, 7:] = PAD
    losses = [model.loss(index, targets, PAD) for model in (one, other)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-13)
    for loss in losses:
        loss.backward()
    for (name, a), (_, b) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        np.testing.assert_allclose(a.grad, b.grad, atol=1e-13, err_msg=name)


def test_the_fast_gpt_is_the_engine_s():
    agree(made(GPT, CONFIG, 3), made(FastGPT, CONFIG, 3))


@pytest.mark.parametrize("name", fast.LAYERS)
def test_operations_are_replaced_one_by_one(name):
    """With one fast layer the model is the same, of fewer nodes; afterwards all is as before."""
    model = made(GPT, CONFIG, 3)
    nodes = len(topological_order(model.loss(tokens(2, 5), tokens(2, 5))))
    with fast.replaced(name):
        fewer = len(topological_order(model.loss(tokens(2, 5), tokens(2, 5))))
        assert fewer < nodes or name == "embedding"
        agree(model, made(FastGPT, CONFIG, 3))
    assert len(topological_order(model.loss(tokens(2, 5), tokens(2, 5)))) == nodes


def test_only_what_is_there_is_replaced():
    with pytest.raises(ValueError, match="rms_norm: not among linear, "), fast.replaced("rms_norm"):
        pass


@every_model
def test_float32_is_strict(kind, config):
    """Nothing in a step leaves float32: half the memory, twice the speed."""
    model = kind(config, 0)
    loss = model.loss(tokens(2, 13), tokens(2, 13), PAD)
    assert {node.dtype for node in topological_order(loss)} == {np.dtype(np.float32)}
    loss.backward()
    assert {p.grad.dtype for p in model.parameters()} == {np.dtype(np.float32)}


def test_attention_weights_are_causal_and_sum_to_1():
    weights = attention_weights(made(FastGPT, CONFIG), tokens(5).tolist())
    assert weights.shape == (3, 7, 5, 5)
    np.testing.assert_allclose(weights.sum(-1), 1)
    assert not np.triu(weights, 1).any()


def test_the_walk_through_the_architecture_counts_every_parameter():
    model = FastGPT(GPTConfig(vocab=61, d_model=14, layers=3, heads=7, positions=13), 0)
    stages = architecture(model, "def f", PYTHON)
    assert sum(stage.parameters for stage in stages) == model.count()
    assert [stage.shape for stage in stages] == [(1, 5), *[(1, 5, 14)] * 7, (1, 5, 61)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"heads": 3}, "heads divide d_model"),
        ({"layers": 0}, "at least 1"),
        ({"heads": 14}, "must be even"),
    ],
)
def test_an_impossible_shape_is_told(change, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(OTHER, **change)


@pytest.mark.parametrize("shape", [(3,), (2, 0), (2, 3, 5)])
def test_tokens_of_another_shape_are_told(shape):
    with pytest.raises(ValueError, match=r"wants \(batch, 1 to 13 tokens\)"):
        GPT(CONFIG)(np.ones(shape, int))


def test_weights_go_out_and_in_and_misfits_are_told():
    a, b = FastGPT(CONFIG, 0), FastGPT(CONFIG, 1)
    b.load_state_dict(a.state_dict())
    index = tokens(2, 5)
    np.testing.assert_array_equal(a(index).data, b(index).data)
    state = a.state_dict()
    state["extra"] = state.pop("head.weight")
    with pytest.raises(ValueError, match=r"missing \['head.weight'\], unknown \['extra'\]"):
        b.load_state_dict(state)
    with pytest.raises(ValueError, match="token_embedding has shape"):
        b.load_state_dict(a.state_dict() | {"token_embedding": np.zeros((2, 2))})


# Writing

LOGITS = np.log([0.5, 0.25, 0.15, 0.1])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.5, 0.25, 0.15, 0.1]),
        ({"temperature": 0}, [1, 0, 0, 0]),
        ({"temperature": 0.5}, np.array([0.25, 0.0625, 0.0225, 0.01]) / 0.345),
        ({"top_k": 2}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_k": 9}, [0.5, 0.25, 0.15, 0.1]),
        ({"top_p": 0.5}, [1, 0, 0, 0]),
        ({"top_p": 0.51}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_p": 1.0}, [0.5, 0.25, 0.15, 0.1]),
        ({"top_k": 3, "top_p": 0.6}, [2 / 3, 1 / 3, 0, 0]),
    ],
)
def test_distribution(options, expected):
    np.testing.assert_allclose(distribution(LOGITS, **options), expected, atol=1e-12)


@pytest.mark.parametrize("options", [{"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.1}])
def test_an_impossible_way_to_draw_is_told(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        distribution(LOGITS, **options)


@every_model
def test_writing_is_asking_the_whole_model_again_and_again(kind, config):
    model = made(kind, config, 2)
    prompt = [1, 2, 3]
    written = generate(model, prompt, 11)
    text = list(prompt)
    for _ in range(11):
        text.append(int(model(np.array([text])).data[0, -1].argmax()))
    assert written == text[3:]
    assert generate(model, prompt, 11, stop=written[4]) == written[: written.index(written[4])]


def test_draws_follow_the_distribution():
    model = made(FastGPT, CONFIG, 2)
    p = distribution(model(np.array([[4]])).data[0, -1], 0.7)
    rng = np.random.default_rng(0)
    counts = np.bincount([generate(model, [4], 1, temperature=0.7, rng=rng)[0] for _ in range(2000)], minlength=11)
    assert np.abs(counts / 2000 - p).max() < 5 * np.sqrt(0.25 / 2000)


@pytest.mark.parametrize(
    ("prompt", "new", "options", "said"),
    [
        ([], 1, {}, "prompt is empty"),
        ([1], 14, {}, "exceed the 13 positions"),
        ([1], 1, {"temperature": 1.0}, "needs an rng"),
    ],
)
def test_what_cannot_be_written_is_told(prompt, new, options, said):
    with pytest.raises(ValueError, match=said):
        generate(GPT(CONFIG), prompt, new, **options)


def test_a_plain_tensor_is_no_parameter():
    model = GPT(CONFIG)
    model.note = Tensor([1.0])
    assert "note" not in dict(model.named_parameters())
