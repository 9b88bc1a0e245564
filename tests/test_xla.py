"""Programs whose sums XLA:CPU has returned wrong."""

import os
import sys
import warnings
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess import xla


def test_sums_over_many_rows_are_right():
    # jaxlib 0.10.2 returns less than 32,768² of the last row unless it is told otherwise before it starts.
    rows = jnp.stack([jnp.arange(32_769.0), jnp.zeros(32_769), jnp.zeros(32_769)], axis=1)
    turned = jax.jit(jax.vmap(lambda row: jnp.sum((jnp.eye(3) @ row) ** 2)))
    np.testing.assert_array_equal(turned(rows), np.arange(32_769, dtype=np.float32) ** 2)


@pytest.mark.parametrize(
    ("installed", "flags", "wanted"),
    [
        ("0.10.2", None, "--xla_cpu_experimental_ynn_fusion_type="),
        ("0.10.2", "--xla_dump_to=x", "--xla_dump_to=x --xla_cpu_experimental_ynn_fusion_type="),
        ("0.10.2", "--xla_cpu_experimental_ynn_fusion_type=-reduce", "--xla_cpu_experimental_ynn_fusion_type=-reduce"),
        ("0.11.0", None, None),
        ("0.12.0.1", "--xla_dump_to=x", "--xla_dump_to=x"),
        ("unknown", None, None),
    ],
)
def test_flags_are_those_of_the_installed_jaxlib(monkeypatch, installed, flags, wanted):
    monkeypatch.setattr(xla, "version", lambda name: installed)
    monkeypatch.delitem(sys.modules, "jax._src.xla_bridge")
    environment = {} if flags is None else {"XLA_FLAGS": flags}
    xla.settle(environment)
    assert environment.get("XLA_FLAGS") == wanted


@pytest.mark.parametrize("begun", [False, True])
def test_where_jax_has_begun_to_compute_it_is_said(monkeypatch, begun):
    monkeypatch.setattr(xla, "version", lambda name: "0.10.2")
    monkeypatch.setitem(sys.modules, "jax._src.xla_bridge", SimpleNamespace(backends_are_initialized=lambda: begun))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        xla.settle({})
    assert [str(one.message).partition(",")[0] for one in heard] == ["JAX had begun to compute"] * begun


def test_importing_the_package_settles_them():
    environment = dict(os.environ)
    xla.settle(environment)
    assert environment == dict(os.environ)
