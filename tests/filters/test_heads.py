"""The causal test of heads: free where attention is fixed anyway or a head writes nothing, dear where one is needed."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bestguess.filters import kalman
from bestguess.filters.config import FilterModelConfig
from bestguess.filters.forecaster import make_forecaster
from bestguess.filters.heads import head_tests, lag_profiles, mean_heads, paired_rise, toeplitz
from bestguess.filters.heads_page import figures, table
from bestguess.filters.inspection import tokens
from bestguess.filters.problem import distances
from bestguess.filters.systems import draw_system
from bestguess.filters.task import FilterTask

M, T, LAG, COUNT = 2, 14, 3, 19
SYSTEM = draw_system("diagonal", latent_dim=3, observed_dim=M, lambda_=0.95, sigma=1.3, seed=2)
KEY = jax.random.key(1)


def task_of(patch: int) -> FilterTask:
    return jax.tree.map(jnp.asarray, FilterTask(SYSTEM, T, patch))


TASK = task_of(1)
Y = jax.vmap(TASK.sample)(jax.random.split(jax.random.key(2), 23))


def random_model(patch: int = 1, **config):
    """Return a model with a head, whose attention depends on what it reads."""
    shape = FilterModelConfig(layers=2, d_model=8, heads=2, patch=patch, **config)
    model = make_forecaster(shape, TASK.scale, key=jax.random.key(0))
    model = eqx.tree_at(lambda one: one.core.head, model, jax.random.normal(KEY, (8, patch * M)))
    return eqx.tree_at(lambda one: one.core.decoder.blocks[0].attention.qkv, model, replace_fn=lambda w: 4 * w)


@pytest.fixture(scope="module")
def tests():
    """The tests of a random model whose head 1 of layer 2 writes nothing."""
    model = eqx.tree_at(
        lambda one: one.core.decoder.blocks[1].attention.out, random_model(), replace_fn=lambda w: w.at[:4].set(0)
    )
    return model, head_tests(model, TASK, Y, KEY, COUNT)


def reads_lag() -> eqx.Module:
    """Return a model whose head 1 reads y three steps ago, and predicts from it alone; its head 2 writes nothing.

    Scores are c Σ_i cos((lag − 3) f_i): the query is the key, turned back by three steps. Both are made from the
    constant part of the token.
    """
    config = FilterModelConfig(layers=1, d_model=8, heads=2, rope_base=100.0, normalisation="none")
    model = make_forecaster(config, TASK.scale, key=jax.random.key(0))
    constant, sharp = 1e3, 120.0
    angle = LAG * 100.0 ** (-np.arange(2) / 2)
    qkv = np.zeros((8, 3, 2, 4))
    qkv[7, 0, 0] = sharp * np.concatenate([np.cos(angle), -np.sin(angle)]) / 8**0.5
    qkv[7, 1, 0] = np.array([1, 1, 0, 0]) / 8**0.5
    qkv[[0, 1], 2, 0, [0, 1]] = 1.0
    qkv[[0, 1], 2, 1, [0, 1]] = 1.0
    out = np.zeros((8, 8))
    out[[0, 1], [2, 3]] = 1.0  # head 1 writes to features 2 and 3
    covariance = kalman.observation_covariance(SYSTEM, T)
    rows = [slice(M * t, M * t + M) for t in (T - 1, T - 2 - LAG)]
    gain = covariance[rows[0], rows[1]] @ np.linalg.inv(covariance[rows[1], rows[1]])
    head = np.zeros((8, M))
    head[2:4] = constant**2 / 8 * gain.T  # both norms divide by the constant over √8
    embed, bias = np.zeros((M, 8)), np.zeros(8)
    embed[[0, 1], [0, 1]], bias[7] = 1.0, constant
    put = [embed, bias, head, qkv.reshape(8, 24), out, np.zeros((32, 8))]
    block = lambda one: one.core.decoder.blocks[0]  # noqa: E731
    where = lambda one: [  # noqa: E731
        *(one.core.embed, one.core.bias, one.core.head),
        *(block(one).attention.qkv, block(one).attention.out, block(one).feed_forward.down),
    ]
    return eqx.tree_at(where, model, [jnp.asarray(one, jnp.float32) for one in put])


def test_a_head_that_reads_one_lag_may_be_fixed_and_not_ablated():
    found = head_tests(reads_lag(), TASK, Y, KEY, COUNT)
    np.testing.assert_allclose(found.profiles[0, 0, LAG], 1, atol=1e-3)
    for rise in (found.fixed[0][0], found.all_fixed, found.all_fixed_by_position):
        assert max(map(abs, rise)) < 1e-5 * found.excess
    assert found.ablated[0][0].low > 0.1 * found.excess
    assert found.fixed[0][1] == found.ablated[0][1] == (0, 0, 0)  # head 2 writes nothing
    told = figures(found, T)["heads"]
    assert [one["lag"] for one in told if one["head"] == 1] == [LAG]
    assert told[0]["ablated"]["rise"] == found.ablated[0][0].mean
    fewer = figures(found, LAG)  # the lag read most is beyond those that JSON has profiles of
    assert np.shape(fewer["lag_profiles"])[-1] == LAG
    assert [one["lag"] for one in fewer["heads"] if one["head"] == 1] == [LAG]


def test_as_trained_is_the_model_itself(tests):
    model, found = tests
    own = jax.jit(jax.vmap(lambda key: jnp.mean(distances(model, TASK, key))))(jax.random.split(KEY, COUNT))
    assert found.excess == pytest.approx(float(own.mean() / TASK.floor), rel=1e-4)
    assert found.sequences == COUNT


def test_attention_that_depends_on_the_input_cannot_be_fixed_for_free(tests):
    _, found = tests
    assert abs(found.fixed[0][0].mean) > 1e-3
    assert abs(found.all_fixed.mean) > 1e-3
    assert abs(found.all_fixed_by_position.mean) > 1e-3
    assert abs(found.ablated[0][0].mean) > 1e-3


def test_ablating_a_head_that_writes_nothing_changes_nothing(tests):
    _, found = tests
    assert found.ablated[1][0] == found.fixed[1][0] == (0, 0, 0)
    assert found.ablated[1][1].mean != 0


def test_a_layer_is_all_its_heads(tests):
    """Head 1 of layer 2 writes nothing, so its layer is head 2; and no layer alone is all heads."""
    _, found = tests
    assert (found.layers_fixed[1], found.layers_ablated[1]) == (found.fixed[1][1], found.ablated[1][1])
    for layers, whole in (
        (found.layers_fixed, found.all_fixed),
        (found.layers_fixed_by_position, found.all_fixed_by_position),
        (found.layers_ablated, found.all_ablated),
    ):
        assert len(layers) == 2
        assert len({one.mean for one in (*layers, whole)}) == 3
    only = head_tests(reads_lag(), TASK, Y, KEY, COUNT)
    assert (only.layers_fixed, only.layers_ablated) == ([only.all_fixed], [only.all_ablated])
    told = figures(found, T)["layers"]
    assert [one["layer"] for one in told] == [1, 2]
    assert told[1]["fixed_by_position"]["rise"] == found.layers_fixed_by_position[1].mean


def test_uniform_attention_is_fixed_by_position_but_has_no_single_kernel():
    """Each query spreads its weight over what it sees, so weights depend on the position, and not on the input."""
    width = 2 * 8
    model = eqx.tree_at(
        lambda one: [block.attention.qkv for block in one.core.decoder.blocks],
        random_model(),
        replace_fn=lambda w: w.at[:, :width].set(0),
    )
    found = head_tests(model, TASK, Y, KEY, COUNT)
    assert max(map(abs, found.all_fixed_by_position)) < 1e-5 * found.excess
    assert abs(found.all_fixed.mean) > 1e-4 * found.excess


@pytest.mark.parametrize(("patch", "dtype"), [(1, "float32"), (2, "bfloat16")])
def test_means_are_over_all_sequences(patch, dtype):
    """23 sequences are two batches, of which the second is filled up."""
    model = random_model(patch, dtype=dtype)
    found = mean_heads(model, Y)
    core = model.core
    weights = jax.jit(jax.vmap(lambda one: core.attention_weights(tokens(model, one))))(Y).mean(axis=0)
    np.testing.assert_allclose(found.weights, weights, atol=1e-6 if dtype == "float32" else 1e-2)
    assert found.read.shape == (2, 2, T // patch, 4)
    N = T // patch
    profiles = lag_profiles(found.weights)
    weights = np.asarray(found.weights)
    by_hand = np.mean([weights[1, 0, q, q - 2] for q in range(N - N // 2, N)])
    np.testing.assert_allclose(profiles[1, 0, 2], by_hand, rtol=1e-5)
    np.testing.assert_allclose(profiles[..., N - 1], weights[..., N - 1, 0], rtol=1e-5)


def test_a_kernel_is_renormalised_over_what_a_query_sees():
    profile, mean = np.array([[[0.0, 0.2, 0.6]]]), np.full((1, 1, 3, 3), 0.5)
    found = toeplitz(profile, mean)[0, 0]
    np.testing.assert_allclose(found[1:], [[1.0, 0.0, 0.0], [0.75, 0.25, 0.0]])
    np.testing.assert_allclose(found[0], 0.5)  # it sees lag 0 alone, to which the kernel gives nothing


def test_the_rise_is_paired():
    rng = np.random.default_rng(0)
    own = rng.normal(size=11) * 100
    rises = rng.normal(size=11) + 2
    found = paired_rise(own + rises, own)
    interval = stats.ttest_1samp(rises, 0).confidence_interval(0.95)
    np.testing.assert_allclose(found, (rises.mean(), interval.low, interval.high))


def test_the_table_has_a_row_for_each_head_and_two_for_each_layer_and_for_all(tests):
    columns, rows, caption = table(figures(tests[1], T), "λ 0.95")
    assert [row[0] for row in rows] == [
        *("1.1", "1.2", "2.1", "2.2"),
        *(f"{name}{how}" for name in ("layer 1", "layer 2", "all heads") for how in ("", ", by position")),
    ]
    assert all(len(row) == len(columns) for row in rows)
    assert rows[2][3:] == ["0 [0, 0]", "0 [0, 0]"]
    assert f"{COUNT} sequences" in caption
