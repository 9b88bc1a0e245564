"""The fused attention kernels, interpreted on the CPU, against the path that rotates first and then attends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from bestguess.command import UserError
from bestguess.nn import attention as attention_module
from bestguess.nn.attention import Attention, attend, select_kernel
from bestguess.nn.config import DecoderConfig
from bestguess.nn.kernels import attention as kernels
from bestguess.nn.kernels import has_triton

BASE = 100.0


def draw(*shape: int, seed: int = 0, dtype: str = "float32") -> jax.Array:
    return jnp.asarray(np.random.default_rng((seed, *shape)).normal(size=shape), dtype)


def fused(base: float | None = BASE, rows: int = 16):
    tiles = kernels.Tiles(kernels.Tile(rows), kernels.Tile(rows))
    return lambda qkv: kernels.attention(qkv, base, tiles, True)


def plain(base: float | None = BASE):
    return lambda qkv: attend(qkv, base, "xla")


def value_and_gradient(function, x, weight, levels: int = 0):
    """Return what `function` returns and the gradient of a sum that weighs each element, compiled in a hurry."""

    def of(x):
        out, back = jax.vjp(function, x)
        return out, back(weight)[0]

    for _ in range(levels):
        of = jax.vmap(of)
    return jax.jit(of).lower(x).compile({"xla_backend_optimization_level": 0})(x)


def apart(a: jax.Array, b: jax.Array) -> float:
    """The largest difference, relative to the largest element."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert np.isfinite(a).all()
    assert np.abs(b).max() > 0
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.mark.parametrize(
    ("T", "H", "K", "base"),
    [
        (13, 3, 16, BASE),  # one block, rows beyond the sequence
        (37, 1, 48, BASE),  # three blocks, features beyond the head's
        (32, 2, 32, None),  # two full blocks, no rotation
    ],
)
def test_values_and_gradients(T, H, K, base):
    x, weight = draw(T, 3, H, K), draw(T, H, K, seed=1)
    value, gradient = value_and_gradient(fused(base), x, weight)
    expected, expected_gradient = value_and_gradient(plain(base), x, weight)
    assert apart(value, expected) < 2e-6
    for which in range(3):
        assert apart(gradient[:, which], expected_gradient[:, which]) < 3e-6


def test_bfloat16_is_as_close_to_float32_as_the_other_path():
    exact, weight = draw(24, 3, 2, 16), draw(24, 2, 16, seed=1)
    expected = value_and_gradient(plain(), exact.astype("bfloat16").astype("float32"), weight)
    rounded, rounded_weight = exact.astype("bfloat16"), weight.astype("bfloat16")
    ours = value_and_gradient(fused(), rounded, rounded_weight)
    theirs = value_and_gradient(plain(), rounded, rounded_weight)
    assert ours[0].dtype == ours[1].dtype == jnp.bfloat16
    for a, b, c in zip(ours, theirs, expected):
        assert apart(a, c) < max(0.01, 1.5 * apart(b, c))
        assert apart(a, c) < 0.03


def test_vmap_over_runs_and_batch():
    R, B, T, H, K = 2, 3, 5, 3, 16
    x, weight = draw(R, B, T, 3, H, K), draw(T, H, K, seed=1)
    value, gradient = value_and_gradient(fused(), x, weight, levels=2)
    expected, expected_gradient = value_and_gradient(plain(), x, weight, levels=2)
    assert apart(value, expected) < 2e-6
    assert apart(gradient, expected_gradient) < 3e-6


def kernel_calls(jaxpr) -> list:
    """Every call of a kernel in a program, however deep."""
    found = []
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "pallas_call":
            found.append(eqn)
            continue
        for inner in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                found += kernel_calls(inner)
    return found


def test_a_batch_of_runs_is_one_kernel_each_way():
    x, weight = draw(2, 3, 5, 3, 3, 16), draw(5, 3, 16, seed=1)

    def both(x):
        return jax.vjp(jax.vmap(jax.vmap(fused())), x)[1](jnp.broadcast_to(weight, (2, 3, *weight.shape)))

    calls = kernel_calls(jax.make_jaxpr(both)(x).jaxpr)
    assert [eqn.params["grid_mapping"].grid for eqn in calls] == [(2 * 3 * 3,), (2 * 3 * 3,)]


def test_no_token_reads_the_future():
    T = 21
    x = draw(T, 3, 1, 16)
    run = jax.jit(fused())
    base = np.asarray(run(x))
    for cut in (16, 19):  # between two blocks, and within one
        changed = np.asarray(run(x.at[cut:].set(draw(T - cut, 3, 1, 16, seed=7) * 1e3)))
        np.testing.assert_array_equal(changed[:cut], base[:cut])
        assert np.abs(changed[cut:] - base[cut:]).max() > 1


def test_large_scores_do_not_overflow():
    x = draw(20, 3, 1, 16) * 300
    value, gradient = value_and_gradient(fused(), x, draw(20, 1, 16, seed=1))
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()


def spread() -> None:
    """What a process of two devices runs: each device must compute its own sequences alone."""
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,))
    by_sequence = NamedSharding(mesh, PartitionSpec("batch"))
    x, weight = draw(4, 5, 3, 1, 16), draw(4, 5, 1, 16, seed=1)

    def both(x, weight):
        out, back = jax.vjp(jax.vmap(fused()), x)
        return out, back(weight)[0]

    program = jax.jit(both, in_shardings=(by_sequence, by_sequence), out_shardings=by_sequence)
    compiled = program.lower(x, weight).compile()
    assert "all-gather" not in compiled.as_text()
    divided = compiled(*(jax.device_put(array, by_sequence) for array in (x, weight)))
    for ours, expected in zip(divided, jax.jit(both)(x, weight)):
        np.testing.assert_allclose(ours, expected, atol=1e-6)
    print(len(divided[0].sharding.device_set), "devices")


def test_devices_divide_the_sequences():
    """Left whole, a kernel makes every device fetch all sequences and repeat the work of the others."""
    environment = os.environ | {"XLA_FLAGS": os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=2"}
    said = subprocess.run(
        [sys.executable, "-c", "from tests.nn.test_kernels import spread; spread()"],
        cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert said.stdout.strip() == "2 devices", said.stderr


# -------------------------------------------------------------------------------------- the choice


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def test_the_layer_uses_the_kernel_without_a_cache_and_not_with_one(gpu, monkeypatch):
    config = DecoderConfig(layers=1, d_model=48, heads=3, rope_base=BASE, dtype="bfloat16", attention="fused")
    config.check()
    layer = Attention(config, key=jax.random.key(0))
    called, compiled = [], kernels.attention

    def interpreted(qkv, base):
        called.append(base)
        return compiled(qkv, base, kernels.TILES, True)

    x = draw(9, 48, dtype="bfloat16")
    monkeypatch.setattr(kernels, "attention", interpreted)
    out, cache = layer(x)
    assert (called, cache) == ([BASE], None)
    other = eqx.tree_at(lambda one: one.out, Attention(_with(config, "xla"), key=jax.random.key(0)), layer.out)
    assert apart(out, other(x)[0]) < 0.02
    cached, _ = layer(x, layer.empty_cache(9, jnp.dtype("bfloat16")))
    assert called == [BASE]
    assert apart(cached, out) < 0.02


def _with(config: DecoderConfig, kernel: str) -> DecoderConfig:
    return DecoderConfig(**{**vars(config), "attention": kernel})


BF16, F32 = jnp.dtype("bfloat16"), jnp.dtype("float32")


@pytest.mark.parametrize(
    ("dtype", "tokens", "head_dim", "expected"),
    [
        (BF16, 128, 64, "fused"),
        (BF16, 1, 16, "fused"),
        (BF16, 129, 64, "cudnn"),
        (BF16, 128, 80, "cudnn"),
        (BF16, 128, 40, "cudnn"),
        (BF16, 128, 12, "xla"),
        (F32, 128, 64, "xla"),
    ],
)
def test_auto_on_a_gpu(gpu, dtype, tokens, head_dim, expected):
    assert select_kernel("auto", dtype, tokens, head_dim) == expected


def test_auto_does_without_triton(gpu, monkeypatch):
    monkeypatch.setattr(attention_module, "has_triton", lambda: False)
    assert select_kernel("auto", BF16, 128, 64) == "cudnn"
    with pytest.raises(UserError, match=r"--attention fused: JAX .* has no Pallas for Triton"):
        select_kernel("fused", BF16, 128, 64)


@pytest.mark.parametrize("base", [BASE, None])
def test_cudnn_reads_an_even_number_of_tokens(monkeypatch, base):
    """cuDNN refuses odd lengths in training; on the CPU its place is taken by the plain kernel."""
    own, seen = jax.nn.dot_product_attention, []

    def instead(q, k, v, *, is_causal, implementation):
        seen.append((q.shape[0], implementation))
        return own(q, k, v, is_causal=is_causal, implementation="xla")

    monkeypatch.setattr(jax.nn, "dot_product_attention", instead)
    for tokens in (5, 6):
        qkv, weight = draw(tokens, 3, 2, 8), draw(tokens, 2, 8, seed=1)
        got = value_and_gradient(lambda qkv: attend(qkv, base, "cudnn"), qkv, weight)
        wanted = value_and_gradient(plain(base), qkv, weight)
        for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(wanted)):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert {length for length, name in seen if name == "cudnn"} == {6}


def test_triton_is_found_here():
    assert has_triton()


def test_fused_by_name(gpu):
    assert select_kernel("fused", BF16, 256, 128) == "fused"
    with pytest.raises(UserError, match="--attention fused: takes up to 256 tokens, not 257; choose auto"):
        select_kernel("fused", BF16, 257, 64)


def test_fused_needs_a_gpu():
    with pytest.raises(UserError, match="--attention fused: needs a GPU; choose auto"):
        attend(draw(4, 3, 1, 16, dtype="bfloat16"), BASE, "fused")


@pytest.mark.parametrize(("dtype", "d_model"), [("float32", 32), ("bfloat16", 16), ("bfloat16", 48), ("bfloat16", 288)])
def test_fused_asks_for_a_dtype_and_a_head_size(dtype, d_model):
    config = DecoderConfig(d_model=d_model, heads=2, dtype=dtype, attention="fused")
    with pytest.raises(
        UserError, match="--attention fused: needs --dtype bfloat16 and a head size of 16, 32, 48, … 128"
    ):
        config.check()
