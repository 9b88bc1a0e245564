"""The forecaster: it never sees the future, its cache changes nothing, its rollout feeds back what it should."""

from __future__ import annotations

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.filters.config import PATCHES, FilterModelConfig
from bestguess.filters.forecaster import (
    Forecaster,
    Normaliser,
    Statistics,
    make_forecaster,
    make_normaliser,
    predict,
    rollout,
)
from tests.compiled import whole

T, M = 64, 3
SCALE = jnp.asarray([0.5, 2.0, 7.0])
NORMALISATIONS = ("none", "input", "instance")
every_normalisation = pytest.mark.parametrize("normalisation", NORMALISATIONS)
every_kind = pytest.mark.parametrize(("patch", "normalisation"), [(p, n) for p in PATCHES for n in NORMALISATIONS])


def draw(steps: int = T, seed: int = 0):
    """A sequence with a mean far from 0, so that a normalisation that looks ahead would show."""
    noise = np.random.default_rng(seed).normal(size=(steps, M))
    return jnp.asarray(noise * np.asarray(SCALE) + [1.0, -2.0, 3.0], jnp.float32)


@functools.cache
def make(patch: int, normalisation: str, **changes) -> Forecaster:
    """A forecaster whose head is not 0, as it is before training: else every test here would pass in vain."""
    if normalisation == "told":
        normalisation, changes = "instance", changes | {"told_statistics": True, "prior_steps": 3.0}
    config = FilterModelConfig(
        layers=1, d_model=10, heads=5, d_ff=7, patch=patch, normalisation=normalisation, **changes
    )
    forecaster = make_forecaster(config, SCALE, key=jax.random.key(0))
    head = forecaster.core.head
    return eqx.tree_at(lambda f: f.core.head, forecaster, jax.random.normal(jax.random.key(1), head.shape))


apply = jax.jit(lambda forecaster, y: forecaster(y)[0])
feed = jax.jit(lambda forecaster, y, cache: forecaster(y, cache))


@jax.jit
def sensitivity(forecaster, y, rows):
    """Return how the predictions before row `rows` depend on each row of y."""

    def early(y):
        weight = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
        return jnp.sum(jnp.where(jnp.arange(len(y))[:, None] < rows, weight * forecaster(y)[0], 0.0))

    return jnp.abs(jax.grad(early)(y)).max(axis=1)


# ------------------------------------------------------------------------------------------ no leak


@every_kind
def test_the_future_does_not_leak(patch, normalisation):
    """Rows before p·P of the output predict patches 2..p + 1: they may depend on rows before p·P of y alone."""
    forecaster, y = make(patch, normalisation), draw()
    before = np.asarray(apply(forecaster, y))
    assert np.abs(before).max() > 0.1
    for rows in {patch, T // 2, T - patch}:
        after = np.asarray(apply(forecaster, y.at[rows:].add(5.0)))
        np.testing.assert_array_equal(after[:rows], before[:rows])
        assert np.abs(after[rows:] - before[rows:]).reshape(-1, patch * M).max(axis=1).min() > 1e-4


@pytest.mark.parametrize(
    ("patch", "normalisation"), [(p, "instance") for p in PATCHES] + [(1, "none"), (4, "input"), (2, "told")]
)
def test_the_future_does_not_leak_by_gradient(patch, normalisation):
    forecaster, y = make(patch, normalisation), draw()
    for rows in {patch, T // 2, T - patch}:
        gradient = np.asarray(sensitivity(forecaster, y, rows))
        assert (gradient[rows:] == 0).all()
        assert (gradient[:rows] > 0).all()


# -------------------------------------------------------------------------------------------- cache


@pytest.mark.parametrize(
    ("patch", "normalisation"), [*((p, n) for p in PATCHES for n in NORMALISATIONS), (1, "told"), (8, "told")]
)
def test_cached_equals_uncached(patch, normalisation):
    """Prefill, then chunks, then one patch at a time: the same predictions."""
    forecaster, y = make(patch, normalisation), draw()
    whole = np.asarray(apply(forecaster, y))
    half = T // 2 // patch * patch
    for pieces in ([half, T - half], [patch] * (T // patch)) if patch > 1 else ([half] + [patch] * half,):
        cache, outputs = forecaster.empty_cache(T), []
        for start, length in zip(np.cumsum([0, *pieces]), pieces):
            output, cache = feed(forecaster, y[start : start + length], cache)
            outputs.append(output)
        np.testing.assert_allclose(np.concatenate(outputs), whole, atol=1e-5 * max(1.0, np.abs(whole).max()))
        assert float(cache.statistics.steps) == T


@every_normalisation
@pytest.mark.parametrize(("patch", "horizon"), [(1, 5), (4, 11), (4, 4), (4, 3)])
def test_rollout_feeds_its_own_predictions_back(patch, normalisation, horizon):
    """Against a loop without a cache: predict the next patch, append it, start over."""
    forecaster, context = make(patch, normalisation), draw(8)
    y = np.zeros((20, M), np.float32)  # what is not predicted yet may be anything: the future does not leak
    y[: len(context)] = context
    for end in range(len(context), len(context) + horizon, patch):
        y[end : end + patch] = apply(forecaster, jnp.asarray(y))[end - patch : end]
    expected = y[len(context) :][:horizon]
    found = jax.jit(rollout, static_argnums=2)(forecaster, context, horizon)
    assert found.shape == (horizon, M)
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize(("patch", "normalisation"), [(1, "none"), (4, "instance"), (32, "input")])
def test_predict_gives_the_steps_after_the_first_patch(patch, normalisation):
    forecaster, y = make(patch, normalisation), draw()
    found = jax.jit(predict)(forecaster, y)
    assert found.shape == (T - patch, M)
    np.testing.assert_array_equal(found, apply(forecaster, y)[: T - patch])


# ------------------------------------------------------------------------------------- normalisation

normalise = jax.jit(lambda normaliser, y, before: normaliser.normalise(y, before))
restore = jax.jit(lambda normaliser, v, after: normaliser.restore(v, after))


def statistics_of(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of a prefix with 8 prior steps of mean 0 and variance 1, in float64."""
    mean = y.sum(axis=0) / (len(y) + 8)
    return mean, np.sqrt((8 + ((y - mean) ** 2).sum(axis=0)) / (len(y) + 8))


@pytest.mark.parametrize("patch", [1, 4])
def test_told_statistics_undo_the_normalisation(patch):
    """A token with its statistics is the patch itself, whatever came before it; without them it is not."""
    normaliser, y = Normaliser(SCALE, "instance", 3.0, True), draw()
    token, _ = normaliser.tokens(y.reshape(-1, patch, M), normaliser.start())
    assert token.shape == (T // patch, patch * M + 2 * M)
    u, mean, log_deviation = np.split(np.asarray(token), [patch * M, patch * M + M], axis=1)
    back = u.reshape(-1, patch, M) * np.exp(log_deviation)[:, None] + mean[:, None]
    np.testing.assert_allclose(back.reshape(T, M) * np.asarray(SCALE), y, rtol=1e-4, atol=1e-4)
    bare, _ = Normaliser(SCALE, "instance", 3.0).tokens(y.reshape(-1, patch, M), normaliser.start())
    np.testing.assert_array_equal(bare, u)
    # Only instance normalisation has statistics to tell.
    config = FilterModelConfig(normalisation="input", told_statistics=True)
    assert not make_normaliser(config, SCALE).told


@pytest.mark.parametrize("patch", PATCHES)
def test_instance_normalisation_by_hand(patch):
    normaliser, y = Normaliser(SCALE, "instance"), draw()
    assert normaliser.prior == FilterModelConfig().prior_steps == 8
    v = np.random.default_rng(1).normal(size=(T, M)).astype(np.float32)
    shape = (-1, patch, M)
    u, after = normalise(normaliser, y.reshape(shape), normaliser.start())
    restored = restore(normaliser, jnp.asarray(v).reshape(shape), after)
    scaled, scale = np.asarray(y, np.float64) / np.asarray(SCALE), np.asarray(SCALE, np.float64)
    for p, start in enumerate(range(0, T, patch)):
        mean, deviation = statistics_of(scaled[:start])
        np.testing.assert_allclose(u[p], (scaled[start : start + patch] - mean) / deviation, rtol=1e-4, atol=1e-4)
        mean, deviation = statistics_of(scaled[: start + patch])
        guess = (mean + deviation * v[start : start + patch]) * scale
        np.testing.assert_allclose(restored[p], guess, rtol=1e-4, atol=1e-4)


def test_the_other_normalisations_by_hand():
    y = draw().reshape(-1, 4, M)
    for mode, scale in (("none", np.ones(M)), ("input", np.asarray(SCALE))):
        normaliser = Normaliser(SCALE, mode)
        u, after = normalise(normaliser, y, normaliser.start())
        np.testing.assert_allclose(u, np.asarray(y) / scale, rtol=1e-6)
        np.testing.assert_allclose(restore(normaliser, y, after), np.asarray(y) * scale, rtol=1e-6)


@every_normalisation
def test_restore_undoes_normalise(normalisation):
    normaliser = Normaliser(SCALE, normalisation)
    _, seen = normalise(normaliser, draw(12).reshape(3, 4, M), normaliser.start())
    last = jax.tree.map(lambda s: s[-1], seen)
    assert isinstance(last, Statistics)
    y = draw(4, seed=2).reshape(1, 4, M)
    u, _ = normalise(normaliser, y, last)
    if normalisation != "none":
        assert np.abs(np.asarray(u - y)).max() > 0.1
    np.testing.assert_allclose(restore(normaliser, u, jax.tree.map(lambda s: s[None], last)), y, rtol=1e-5)


@every_normalisation
def test_statistics_in_pieces_equal_those_in_one(normalisation):
    normaliser, y = Normaliser(SCALE, normalisation), draw().reshape(-1, 4, M)
    whole, after = normalise(normaliser, y, normaliser.start())
    first, middle = normalise(normaliser, y[:5], normaliser.start())
    second, end = normalise(normaliser, y[5:], jax.tree.map(lambda s: s[-1], middle))
    np.testing.assert_allclose(jnp.concatenate([first, second]), whole, rtol=1e-5, atol=1e-5)
    for a, b in zip(jax.tree.leaves(end), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(a[-1], b[-1], rtol=1e-5)


@every_normalisation
def test_no_gradient_moves_the_scale(normalisation):
    forecaster, y = make(4, normalisation), draw()
    gradient = jax.jit(jax.grad(lambda f: jnp.sum(f(y)[0] ** 2)))(forecaster)
    assert not np.asarray(gradient.normaliser.scale).any()
    assert np.abs(np.asarray(gradient.core.embed)).max() > 0


# -------------------------------------------------------------------------------------------- start


@every_normalisation
def test_an_untrained_forecaster_predicts_a_constant(normalisation):
    """0 in normalised units: the best constant, or with instance normalisation the mean so far."""
    config = FilterModelConfig(layers=1, d_model=10, heads=5, d_ff=7, patch=4, normalisation=normalisation)
    y = draw()
    found = np.asarray(apply(make_forecaster(config, SCALE, key=jax.random.key(0)), y)).reshape(-1, 4, M)
    if normalisation != "instance":
        assert not found.any()
        return
    for p, guess in enumerate(found):
        mean = np.asarray(y[: 4 * (p + 1)], np.float64).sum(axis=0) / (4 * (p + 1) + 8)
        np.testing.assert_allclose(guess, np.broadcast_to(mean, (4, M)), rtol=1e-4, atol=1e-4)


def test_bfloat16_stays_close_and_predicts_in_float32():
    full, half, y = make(4, "instance"), make(4, "instance", dtype="bfloat16"), draw()
    a, b = apply(full, y), apply(half, y)
    assert b.dtype == jnp.float32
    assert 1e-4 < float(jnp.abs(a - b).max()) < 0.05 * float(jnp.abs(a).max())


def test_attention_weights_are_over_patches():
    forecaster = make(4, "input")
    tokens = draw().reshape(-1, 4 * M)
    weights = whole(forecaster.core.attention_weights, tokens)
    assert weights.shape == (1, 5, T // 4, T // 4)
    np.testing.assert_allclose(np.asarray(weights).sum(-1), 1, atol=1e-6)
