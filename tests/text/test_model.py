"""The text model: what it may see, what padding does, the cache, its size."""

from __future__ import annotations

import dataclasses
import re
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.command import UserError
from bestguess.nn.config import NormPlace, Positions
from bestguess.nn.cross_entropy import cross_entropy
from bestguess.text.model import TextModel, parameters
from bestguess.text.model_config import Architecture, TextModelConfig
from bestguess.text.reference import reference_config
from bestguess.text.sequences import behind, pack, shift
from bestguess.text.tokens import BOS, EOS, PAD, SEP

S, U, V, H, D, LAYERS = 7, 5, 23, 3, 12, 2
CONFIG = TextModelConfig(layers=LAYERS, d_model=D, heads=H, d_ff=13)
ARCHITECTURES = typing.get_args(Architecture)
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


def model_of(**changes) -> TextModel:
    """A model whose predictions are far from uniform, and whose gains and biases are no ones and zeros."""
    model = TextModel(dataclasses.replace(CONFIG, **changes), V, (S + 3, U + 3), key=jax.random.key(0))
    leaves, shape = jax.tree.flatten(model)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(shape, [x + 0.3 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys)])


def words(n: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng((seed, n)).integers(5, V, n), jnp.int32)


def padded(token: jax.Array, size: int, filling: int = PAD) -> jax.Array:
    return jnp.pad(token, (0, size - len(token)), constant_values=filling)


SOURCE, TARGET = words(4), jnp.concatenate([words(3, 1), jnp.asarray([EOS], jnp.int32)])
L, M = len(SOURCE), len(TARGET)
nats = lambda logits, target: float(jnp.sum(cross_entropy(logits, target)[0]))  # noqa: E731
logits_of = jax.jit(lambda model, *document: model.logits(*document))
sequence_of = jax.jit(lambda model, *document: model.sequence_logits(*document))


# --------------------------------------------------------------------------------------- one sequence


@pytest.mark.parametrize("length", range(S + 1))
def test_packing_leaves_no_hole(length):
    source, target = words(S), words(U, 1)
    for target_length in range(1, U + 1):
        packed = jax.jit(pack)(source, length, target, target_length)
        expected = [BOS, *source[:length].tolist(), SEP, *target[:target_length].tolist()]
        assert packed.tolist() == expected + [PAD] * (S + U + 2 - len(expected))
        inputs, targets = shift(packed)
        assert inputs.tolist() == packed.tolist()[:-1]
        assert targets.tolist() == packed.tolist()[1:]
        scored = behind(len(targets), length + 2, target_length)
        assert targets[np.asarray(scored)].tolist() == target[:target_length].tolist()


# ------------------------------------------------------------------------------------------ causality


@every_architecture
def test_changing_a_target_changes_no_logit_that_predicts_it_or_what_is_before(architecture):
    model = model_of(architecture=architecture)
    before = np.asarray(logits_of(model, padded(SOURCE, S), L, padded(TARGET, U)))
    assert before.shape == (U, V)
    for t in range(U):
        after = np.asarray(logits_of(model, padded(SOURCE, S), L, padded(TARGET, U).at[t].set(9)))
        np.testing.assert_array_equal(after[: t + 1], before[: t + 1])
        if t + 1 < U:
            assert np.abs(after[t + 1 :] - before[t + 1 :]).max(axis=-1).min() > 1e-4


@every_architecture
def test_every_token_of_the_source_counts(architecture):
    model = model_of(architecture=architecture)
    before = logits_of(model, padded(SOURCE, S), L, padded(TARGET, U))
    for s in range(L):
        after = logits_of(model, padded(SOURCE.at[s].set(5 + SOURCE[s] % 7), S), L, padded(TARGET, U))
        assert np.abs(after - before).max(axis=-1).min() > 1e-5


def test_a_decoder_only_model_reads_its_source_one_way_and_a_prefix_model_both_ways():
    for architecture, both in (("decoder-only", False), ("prefix-lm", True)):
        model = model_of(architecture=architecture)
        document = padded(TARGET, U), M
        before = sequence_of(model, padded(SOURCE, S), L, *document).logits
        after = sequence_of(model, padded(SOURCE.at[2].set(9), S), L, *document).logits
        changed = np.abs(after - before).max(axis=-1) > 1e-6
        assert changed[3:].all()  # from BOS, two tokens
        assert set(changed[:3].tolist()) == {both}


# -------------------------------------------------------------------------------------------- padding


@every_architecture
@pytest.mark.parametrize("positions", typing.get_args(Positions))
def test_padding_changes_nothing(architecture, positions):
    model = model_of(architecture=architecture, positions=positions)
    exact = logits_of(model, SOURCE, L, TARGET)
    for filling in (PAD, 9):
        more = logits_of(model, padded(SOURCE, S, filling), L, padded(TARGET, U, filling))
        np.testing.assert_allclose(more[:M], exact, atol=1e-5 if positions == "sinusoidal" else 2e-6)


def test_a_batch_is_its_documents():
    """Sources of different lengths, an empty one among them; the loss is summed, and divided once."""
    model = model_of()
    lengths, targets = jnp.asarray([4, 0, 7]), jnp.asarray([2, 5, 3])
    source, target = jnp.stack([words(S, i) for i in range(3)]), jnp.stack([words(U, 9 + i) for i in range(3)])
    batch = jax.jit(jax.vmap(lambda *document: model.logits(*document)))(source, lengths, target)
    loss = 0.0
    for i in range(3):
        alone = logits_of(
            model, padded(source[i, : lengths[i]], S + 2), lengths[i], padded(target[i, : targets[i]], U + 1)
        )[: targets[i]]
        np.testing.assert_allclose(batch[i, : targets[i]], alone, atol=2e-6)
        loss += nats(alone, target[i, : targets[i]])
    scored = jnp.arange(U)[None] < targets[:, None]
    of_batch = jnp.sum(jnp.where(scored, cross_entropy(batch, target)[0], 0)) / jnp.sum(scored)
    np.testing.assert_allclose(of_batch, loss / 10, rtol=1e-6)


@pytest.mark.parametrize("architecture", ["decoder-only", "prefix-lm"])
def test_one_sequence_predicts_the_target_as_logits_do(architecture):
    model = model_of(architecture=architecture)
    found = sequence_of(model, padded(SOURCE, S), L, padded(TARGET, U), M)
    assert found.logits.shape == (S + U + 1, V)
    assert found.target[np.asarray(found.scored)].tolist() == TARGET.tolist()
    expected = logits_of(model, padded(SOURCE, S), L, padded(TARGET, U))
    np.testing.assert_allclose(found.logits[np.asarray(found.scored)], expected[:M], atol=2e-6)
    predicted = found.target[np.asarray(found.predicted)].tolist()
    # With a prefix mask, the model has read what stands before the target.
    assert predicted == ([*SOURCE.tolist(), SEP] if architecture == "decoder-only" else []) + TARGET.tolist()


def test_an_encoder_decoder_predicts_the_target_alone():
    with pytest.raises(ValueError, match="call logits"):
        model_of().sequence_logits(SOURCE, L, TARGET, M)


# --------------------------------------------------------------------------------------------- start


@every_architecture
@pytest.mark.parametrize(("tied", "norm_place"), [(True, "pre"), (False, "pre"), (True, "post")])
def test_an_untrained_model_is_nearly_uniform(architecture, tied, norm_place):
    config = dataclasses.replace(CONFIG, architecture=architecture, d_model=66, tied=tied, norm_place=norm_place)
    model = TextModel(config, V, key=jax.random.key(0))
    log_p = jax.nn.log_softmax(logits_of(model, padded(SOURCE, S), L, padded(TARGET, U)))
    assert np.abs(log_p.mean(axis=-1) + np.log(V)).max() < 0.05  # nats


# --------------------------------------------------------------------------------------------- cache

start = jax.jit(lambda model, source, length: model.start(source, length, U))
step = jax.jit(lambda model, token, cache: model.step(token, cache))


def generated(model: TextModel, source, length, target) -> np.ndarray:
    logits, cache = start(model, source, length)
    rows = [logits]
    for token in target[:-1]:
        logits, cache = step(model, token, cache)
        rows.append(logits)
    return np.stack(rows)


@every_architecture
@pytest.mark.parametrize("positions", typing.get_args(Positions))
def test_cached_equals_uncached(architecture, positions):
    model, target = model_of(architecture=architecture, positions=positions), words(U, 1)
    cached = generated(model, padded(SOURCE, S, 9), L, target)
    np.testing.assert_allclose(cached, logits_of(model, SOURCE, L, target), atol=1e-5)


@every_architecture
@pytest.mark.parametrize("norm_place", typing.get_args(NormPlace))
def test_cached_equals_uncached_wherever_blocks_normalise(architecture, norm_place):
    changes = {"norm_place": norm_place, "norm": "layer", "bias": True, "tied": False}
    model, target = model_of(architecture=architecture, **changes), words(U, 1)
    cached = generated(model, padded(SOURCE, S, 9), L, target)
    whole = np.asarray(logits_of(model, SOURCE, L, target))
    np.testing.assert_allclose(cached, whole, atol=3e-6 * np.abs(whole).max())


@every_architecture
def test_a_batch_steps_as_its_documents_whatever_their_lengths(architecture):
    model = model_of(architecture=architecture)
    lengths = jnp.asarray([4, 0, 7])
    source, target = jnp.stack([words(S, i) for i in range(3)]), jnp.stack([words(U, 9 + i) for i in range(3)])
    logits, cache = jax.jit(lambda source, lengths: model.start_batch(source, lengths, U))(source, lengths)
    stepped = [logits]
    advance = jax.jit(lambda token, cache: model.step_batch(token, cache))
    for t in range(U - 1):
        logits, cache = advance(target[:, t], cache)
        stepped.append(logits)
    assert all(len(leaf) == 3 for leaf in jax.tree.leaves(cache))
    for i in range(3):
        np.testing.assert_allclose(
            np.stack(stepped)[:, i], logits_of(model, source[i], lengths[i], target[i]), atol=1e-5
        )
    compiled = advance.lower(target[:, 0], cache).compile().as_text()
    kinds = ("dynamic-update-slice", "scatter", "while")
    assert [len(re.findall(rf" {kind}\(", compiled)) for kind in kinds] == [2 * LAYERS, 0, 0]


# ----------------------------------------------------------------------------------------- attention


@every_architecture
def test_attention_weights(architecture):
    model = model_of(architecture=architecture)
    found = jax.jit(lambda *document: model.attention(*document))(padded(SOURCE, S), L, padded(TARGET, U))
    N = S + U + 1
    shapes = {"encoder": (S, S), "decoder": (U, U), "cross": (U, S)}
    expected = shapes if architecture == "encoder-decoder" else {"decoder": (N, N)}
    assert {name: weights.shape for name, weights in found.items()} == {
        name: (LAYERS, H, *shape) for name, shape in expected.items()
    }
    for name, weights in found.items():
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
        if name != "decoder":
            assert not np.asarray(weights)[..., L:].any()
    own = np.asarray(found["decoder"])
    allowed = np.tri(own.shape[-1], dtype=bool)
    if architecture == "prefix-lm":
        allowed[:, : L + 2] = True
    assert (own[..., allowed] > 0).all()
    assert not own[..., ~allowed].any()


# ------------------------------------------------------------------------------- dropout and gradients


@every_architecture
@pytest.mark.parametrize(("rate", "value"), [("dropout", 0.3), ("attention_dropout", 0.3), ("token_noise", 0.9)])
def test_dropout_and_noise_only_with_a_key(architecture, rate, value):
    plain, dropping = model_of(architecture=architecture), model_of(architecture=architecture, **{rate: value})
    document = padded(SOURCE, S), L, padded(TARGET, U)
    np.testing.assert_array_equal(logits_of(dropping, *document), logits_of(plain, *document))
    dropped = jax.jit(lambda key: dropping.logits(*document, key=key))
    one, same, other = (dropped(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert min(np.abs(one - other).max(), np.abs(one - logits_of(plain, *document)).max()) > 1e-3


@every_architecture
@pytest.mark.parametrize("tied", [True, False])
def test_every_weight_has_a_finite_gradient(architecture, tied):
    model = model_of(architecture=architecture, tied=tied, positions="learned", bias=True, norm="layer")

    def loss(model):
        logits = model.logits(padded(SOURCE, S), L, padded(TARGET, U))
        return jnp.sum(jnp.where(jnp.arange(U) < M, cross_entropy(logits, padded(TARGET, U))[0], 0))

    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(model)):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 1e-6, jax.tree_util.keystr(path)


def test_an_empty_source_has_finite_gradients():
    model = model_of()
    gradient = jax.jit(jax.grad(lambda model: jnp.sum(model.logits(SOURCE, 0, TARGET) ** 2)))(model)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@every_architecture
def test_without_a_mask_a_causal_decoder_is_the_same(architecture, monkeypatch):
    """On a CPU a mask says what elsewhere a kernel does."""
    model, document = model_of(architecture=architecture), (padded(SOURCE, S), L, padded(TARGET, U))
    masked = logits_of(model, *document)
    monkeypatch.setattr(jax, "default_backend", lambda: "other")
    assert (model._mask(U, 0) is None) == (architecture != "prefix-lm")
    plain = jax.jit(lambda model: model.logits(*document))(model)
    np.testing.assert_allclose(plain, masked, atol=2e-6)


@every_architecture
def test_bfloat16_stays_close(architecture):
    document = padded(SOURCE, S), L, padded(TARGET, U)
    narrow = logits_of(model_of(architecture=architecture, dtype="bfloat16"), *document)
    wide = jax.nn.softmax(logits_of(model_of(architecture=architecture), *document))
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(jax.nn.softmax(narrow.astype(jnp.float32)), wide, atol=0.1)


# --------------------------------------------------------------------------------------------- sizes

SHAPES = {
    # d_model, layers, heads: encoder-decoder and decoder-only without the vocabulary; the first with 1,000 tokens
    "tiny": (128, 2, 4, "0.93", "0.40", "1.05"),
    "small": (256, 4, 8, "7.37", "3.16", "7.63"),
    "medium": (512, 6, 8, "44.1", "18.9", "44.7"),
    "large": (768, 8, 12, "132", "56.7", "133"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_of_the_reference_shapes(shape):
    d, layers, heads, two, one, with_vocabulary = SHAPES[shape]
    million = lambda n: f"{n / 1e6:#.3g}" if n >= 1e6 else f"{n / 1e6:.2f}"  # noqa: E731
    found = parameters(reference_config("encoder-decoder", d, layers, heads, 4 * d, 0.0), 1000)
    assert million(found.without_vocabulary).rstrip(".") == two
    assert million(found.total).rstrip(".") == with_vocabulary
    assert found.total - found.without_vocabulary == 1000 * d
    # Matrices, biases and norms of every layer, and each side's last norm.
    assert found.without_vocabulary == layers * (28 * d * d + 32 * d) + 4 * d
    found = parameters(reference_config("decoder-only", d, layers, heads, 4 * d, 0.0), 1000)
    assert million(found.without_vocabulary).rstrip(".") == one


@pytest.mark.parametrize(
    ("d", "layers", "heads", "million"), [(88, 2, 4, 0.53), (128, 4, 8, 1.98), (288, 6, 8, 14.3), (480, 8, 12, 52.2)]
)
def test_a_ladder_that_meets_the_sizes_named(d, layers, heads, million):
    found = parameters(reference_config("encoder-decoder", d, layers, heads, 4 * d, 0.0), 1024)
    assert found.total / 1e6 == pytest.approx(million, rel=0.005)


def test_parameters_of_what_an_untied_or_learned_model_adds():
    base = parameters(CONFIG, V)
    assert parameters(dataclasses.replace(CONFIG, tied=False), V).total == base.total + D * V
    learned = dataclasses.replace(CONFIG, positions="learned")
    assert parameters(learned, V, (S, U)).total == base.total + (S + S + U) * D
    one = dataclasses.replace(CONFIG, architecture="decoder-only")
    more = parameters(dataclasses.replace(one, positions="learned"), V, (S, U)).total
    assert more == parameters(one, V).total + (S + U + 1) * D


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"attention_dropout": 1.0}, "--attention-dropout 1"),
        ({"token_noise": 1.0}, "--token-noise 1"),
        (
            {"architecture": "prefix-lm", "attention": "cudnn", "dtype": "bfloat16", "heads": 1, "d_model": 16},
            "--attention cudnn",
        ),
        (
            {"attention_dropout": 0.1, "attention": "fused", "dtype": "bfloat16", "heads": 1, "d_model": 16},
            "--attention fused",
        ),
        ({"heads": 5}, "--heads 5"),
    ],
)
def test_an_impossible_shape_names_its_flag(changes, flag):
    with pytest.raises(UserError, match=flag):
        dataclasses.replace(CONFIG, **changes).check()
