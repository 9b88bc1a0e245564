"""The causal test of heads: free where attention is fixed anyway or a head writes nothing, dear where one is needed."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bestguess.filters import kalman
from bestguess.filters.attention_variance import norm_correlation
from bestguess.filters.config import FilterModelConfig
from bestguess.filters.forecaster import make_forecaster
from bestguess.filters.heads import head_tests, lag_profiles, mean_heads, paired_rise, toeplitz
from bestguess.filters.heads_page import CHANGES, figures, tables
from bestguess.filters.inspection import tokens
from bestguess.filters.problem import distances
from bestguess.filters.systems import draw_system
from bestguess.filters.task import FilterTask
from bestguess.report.progress import two_digits

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
    for rise in (found.fixed[0][0], found.whole.fixed, found.whole.fixed_by_position):
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
    assert abs(found.whole.fixed.mean) > 1e-3
    assert abs(found.whole.fixed_by_position.mean) > 1e-3
    assert abs(found.ablated[0][0].mean) > 1e-3


def test_ablating_a_head_that_writes_nothing_changes_nothing(tests):
    _, found = tests
    assert found.ablated[1][0] == found.fixed[1][0] == (0, 0, 0)
    assert found.ablated[1][1].mean != 0


def test_a_layer_is_all_its_heads(tests):
    """Head 1 of layer 2 writes nothing, so its layer is head 2; and no layer alone is all heads."""
    _, found = tests
    assert (found.layers[1].fixed, found.layers[1].ablated) == (found.fixed[1][1], found.ablated[1][1])
    assert len(found.layers) == 2
    for kind in CHANGES:
        assert len({getattr(one, kind).mean for one in (*found.layers, found.whole)}) == 3
    only = head_tests(reads_lag(), TASK, Y, KEY, COUNT)
    assert only.layers == [only.whole]
    told = figures(found, T)
    assert [one["layer"] for one in told["layers"]] == [1, 2]
    for kind in CHANGES:
        assert told["layers"][1][kind]["rise"] == getattr(found.layers[1], kind).mean
        assert told["all_heads"][kind]["high"] == getattr(found.whole, kind).high


def test_the_changes_of_a_layer_all_differ(tests):
    for one in (*tests[1].layers, tests[1].whole):
        assert len({rise.mean for rise in one}) == len(one) == len(CHANGES)


@pytest.mark.parametrize(
    ("part", "depends", "free"), [(0, "query_fixed", "key_fixed"), (1, "key_fixed", "query_fixed")]
)
def test_what_attention_depends_on_is_what_it_costs_to_fix(part, depends, free):
    """Head 1 reads three steps ago by constant queries and keys, to one of which the observation is added."""
    added = lambda w: w.at[:2, 4 * 2 * part : 4 * 2 * part + 2].set(3e3 * jnp.eye(2))  # noqa: E731
    where = lambda one: one.core.decoder.blocks[0].attention.qkv  # noqa: E731
    found = head_tests(eqx.tree_at(where, reads_lag(), replace_fn=added), TASK, Y, KEY, COUNT)
    assert max(map(abs, getattr(found.whole, free))) < 1e-4 * found.excess
    assert abs(getattr(found.whole, depends).mean) > 0.01 * found.excess
    for kind in (depends, free):
        assert max(map(abs, getattr(head_tests(reads_lag(), TASK, Y, KEY, COUNT).whole, kind))) < 1e-4 * found.excess


def test_uniform_attention_is_fixed_by_position_but_has_no_single_kernel():
    """Each query spreads its weight over what it sees, so weights depend on the position, and not on the input."""
    width = 2 * 8
    model = eqx.tree_at(
        lambda one: [block.attention.qkv for block in one.core.decoder.blocks],
        random_model(),
        replace_fn=lambda w: w.at[:, :width].set(0),
    )
    found = head_tests(model, TASK, Y, KEY, COUNT)
    assert max(map(abs, found.whole.fixed_by_position)) < 1e-5 * found.excess
    assert abs(found.whole.fixed.mean) > 1e-4 * found.excess


@pytest.mark.parametrize(("patch", "dtype"), [(1, "float32"), (2, "bfloat16")])
def test_means_and_sums_are_over_all_sequences(patch, dtype):
    """23 sequences are two batches, of which the second is filled up."""
    model = random_model(patch, dtype=dtype)
    found, summed = mean_heads(model, Y)
    core = model.core
    each = np.asarray(jax.jit(jax.vmap(lambda one: core.attention_weights(tokens(model, one))))(Y), float)
    within = 1e-6 if dtype == "float32" else 1e-2
    np.testing.assert_allclose(found.weights, each.mean(axis=0), atol=within)
    N = T // patch
    assert found.read.shape == (2, 2, N, 4)
    assert found.query.shape == found.key.shape == (2, 2, 4)
    block = core.decoder.blocks[0]
    qkv = jax.vmap(lambda one: block.attention_norm(core.embedded(tokens(model, one))) @ block.attention.qkv)(Y)
    vectors = np.asarray(qkv, float).reshape(len(Y), N, 3, 2, 4).mean(axis=(0, 1))
    for mean, vector in ((found.query, vectors[0]), (found.key, vectors[1])):
        np.testing.assert_allclose(mean[0], vector, atol=10 * within)
    late = each[..., N - N // 2 :, :]
    np.testing.assert_allclose(summed.received, late.sum(axis=-2), atol=10 * within)
    np.testing.assert_allclose(summed.squares, (late**2).sum(axis=(0, -2)), rtol=10 * within)
    profiles = lag_profiles(found.weights)
    weights = np.asarray(found.weights)
    by_hand = np.mean([weights[1, 0, q, q - 2] for q in range(N - N // 2, N)])
    np.testing.assert_allclose(profiles[1, 0, 2], by_hand, rtol=1e-5)
    np.testing.assert_allclose(profiles[..., N - 1], weights[..., N - 1, 0], rtol=1e-5)


def test_norms_are_those_of_a_patchs_observations():
    """A token's norm is that of all steps of its patch, in units of y."""
    model = random_model(2)
    found = head_tests(model, task_of(2), Y, KEY, COUNT)
    _, summed = mean_heads(model, Y)
    norms = np.sqrt((np.asarray(Y, float) ** 2).reshape(len(Y), T // 2, 2 * M).sum(axis=-1))
    np.testing.assert_allclose(found.norm_correlation, norm_correlation(np.asarray(summed.received, float), norms))
    assert np.abs(found.norm_correlation).max() > 0.1
    told = figures(found, T)["heads"][1]
    assert told["norm_correlation"] == found.norm_correlation[0, 1]
    assert told["explained"] == {name: getattr(found.shares, name)[0, 1] for name in ("lag", "position", "token")}


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


def test_tables_have_a_row_for_each_head_and_for_each_change_of_a_layer(tests):
    told = figures(tests[1], T)
    told["heads"][3]["explained"]["token"] = told["heads"][3]["norm_correlation"] = None  # as JSON has what is none
    heads, layers = tables(told, "λ 0.95")
    columns, rows, caption = heads
    assert [row[0] for row in rows] == ["1.1", "1.2", "2.1", "2.2"]
    assert all(len(row) == len(columns) for row in rows)
    assert rows[2][-2:] == ["0 [0, 0]", "0 [0, 0]"]
    assert rows[0][3] == f"{told['heads'][0]['explained']['lag']:.1%}"
    assert rows[3][5:7] == [None, None]
    columns, rows, other = layers
    assert [row[0] for row in rows if row[0]] == ["layer 1", "layer 2", "all layers"]
    assert [row[1] for row in rows] == [*CHANGES.values()] * 3
    assert rows[12][2].startswith(two_digits(tests[1].whole.query_fixed.mean))
    assert f"{COUNT} sequences" in caption
    assert f"{COUNT} sequences" in other
