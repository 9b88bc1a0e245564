"""The GPT: causal, the same with a cache as without and fused as primitive; and the ways to write with it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bestguess.scratch.data import PAD
from bestguess.scratch.generate import distribution, generate
from bestguess.scratch.gpt import GPT, GPTConfig
from bestguess.scratch.node import no_grad
from bestguess.scratch.ops import Tensor

# Primes, so that a swapped axis fails; `rms` is the norm, `rope` the positions of the JAX decoder.
CONFIG = GPTConfig(vocab=11, d_model=14, layers=3, heads=7, positions=13)
OTHER = dataclasses.replace(CONFIG, position="rope", norm="rms", bias=False)
every_config = pytest.mark.parametrize("config", [CONFIG, OTHER], ids=["GPT-2's", "the JAX decoder's"])
every_kernel = pytest.mark.parametrize("kernels", ["fused", "primitive"])


def tokens(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 11, shape)


@every_config
@every_kernel
def test_no_token_reads_a_later_one(config, kernels):
    model = GPT(config, 0, kernels, np.float64)
    index = tokens(2, 13)
    with no_grad():
        before = model(index).array
        for t in range(13):
            changed = index.copy()
            changed[:, t] = 1 + changed[:, t] % 10
            after = model(changed).array
            np.testing.assert_array_equal(after[:, :t], before[:, :t])
            assert (np.abs(after[:, t] - before[:, t]).max(-1) > 1e-6).all()


@every_config
def test_a_cache_changes_nothing(config):
    model = GPT(config, 0, dtype=np.float64)
    index = tokens(3, 13)
    with no_grad():
        whole = model(index).array
    cache = model.empty_cache(3)
    parts = [model(part, cache).array for part in np.split(index, [1, 2, 7], axis=1)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-12)
    assert cache.length == 13
    with pytest.raises(ValueError, match="14 tokens, but this model has 13"):
        model(tokens(3, 1), cache)


@every_config
def test_fused_and_primitive_are_the_same_model(config):
    index, targets = tokens(5, 13), tokens(5, 13, seed=1)
    targets[2, 7:] = PAD
    models = [GPT(config, 3, kernels, np.float64) for kernels in ("fused", "primitive")]
    losses = [model.loss(index, targets, PAD) for model in models]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-13)
    for loss in losses:
        loss.backward()
    for (name, a), (_, b) in zip(*(model.named_parameters() for model in models), strict=True):
        np.testing.assert_allclose(a.grad, b.grad, atol=1e-13, err_msg=name)


def test_float32_is_strict():
    """Nothing in a step leaves float32: half the memory, twice the speed."""
    model = GPT(CONFIG, 0)
    loss = model.loss(tokens(2, 13), tokens(2, 13), PAD)
    assert loss.dtype == np.float32
    loss.backward()
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {np.dtype(np.float32)}


def test_attention_weights_are_causal_and_sum_to_1_and_make_the_output():
    model = GPT(CONFIG, 0, dtype=np.float64)
    weights = model.attention_weights(tokens(2, 5))
    assert weights.shape == (3, 2, 7, 5, 5)
    np.testing.assert_allclose(weights.sum(-1), 1)
    assert not np.triu(weights, 1).any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"heads": 3}, "3 heads do not divide d_model 14"),
        ({"layers": 0}, "layers is 0"),
        ({"heads": 14, "position": "rope"}, "must be even"),
    ],
)
def test_an_impossible_shape_is_told(change, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(CONFIG, **change)


@pytest.mark.parametrize("shape", [(3,), (2, 0), (2, 3, 5)])
def test_tokens_of_another_shape_are_told(shape):
    with pytest.raises(ValueError, match=r"wants \(batch, tokens\)"):
        GPT(CONFIG)(np.ones(shape, int))


def test_weights_go_out_and_in_and_misfits_are_told():
    a, b = GPT(CONFIG, 0), GPT(CONFIG, 1)
    b.load_state_dict(a.state_dict())
    index = tokens(2, 5)
    np.testing.assert_array_equal(a(index).array, b(index).array)
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


def test_writing_is_asking_the_whole_model_again_and_again():
    model = GPT(CONFIG, 2, dtype=np.float64)
    prompt = [1, 2, 3]
    written = generate(model, prompt, 11)
    text = list(prompt)
    for _ in range(11):
        text.append(int(model(np.array([text])).array[0, -1].argmax()))
    assert written == text[3:]
    assert generate(model, prompt, 11, stop=written[4]) == written[: written.index(written[4])]


def test_draws_follow_the_distribution():
    model = GPT(CONFIG, 2, dtype=np.float64)
    p = distribution(model(np.array([[4]])).array[0, -1], 0.7)
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
