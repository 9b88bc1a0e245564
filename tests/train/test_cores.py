"""A CPU's cores as devices: in processes of their own, as JAX settles its devices once."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import pytest

from bestguess.train.cores import use_cores

SAY = "from bestguess.train.cores import use_cores; import jax; print(use_cores(), len(jax.devices()))"


@pytest.mark.parametrize(
    ("environment", "devices"),
    [
        ({"PJRT_NPROC": "1"}, 1),
        ({"PJRT_NPROC": "3"}, 2),
        ({"PJRT_NPROC": "7"}, 4),
        ({"PJRT_NPROC": "40"}, 8),
        ({"PJRT_NPROC": "7", "JAX_NUM_CPU_DEVICES": "3"}, 3),
        ({"PJRT_NPROC": "7", "XLA_FLAGS": "--xla_force_host_platform_device_count=5"}, 5),
    ],
)
def test_a_power_of_2_unless_the_environment_names_a_number(environment, devices):
    said = subprocess.run(
        [sys.executable, "-c", SAY], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == [str(devices)] * 2


def test_a_jax_that_has_begun_keeps_its_devices(monkeypatch):
    before = jax.devices("cpu")
    monkeypatch.setenv("PJRT_NPROC", "4")
    assert use_cores() == len(before)
    assert jax.devices("cpu") == before
