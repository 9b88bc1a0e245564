"""A CPU's cores as devices: in processes of their own, as JAX settles its devices once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from bestguess.train.cores import SHARED, use_cores

SAY = """
import os, sys
import jax
from bestguess.train.cores import use_cores
before = os.environ.get("PJRT_NPROC")
use_cores(*map(float, sys.argv[1:2]), *map(int, sys.argv[2:]))
print(len(jax.devices()), len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0)
assert os.environ.get("PJRT_NPROC") == before
"""


def said(environment: dict[str, str], *arguments: float) -> list[int]:
    """Return the devices and the threads of a process that has called `use_cores` with these arguments."""
    command = [sys.executable, "-c", SAY, *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    return [int(number) for number in done.stdout.split()]


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
    assert said(environment)[0] == devices


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are counted in /proc")
def test_products_too_small_to_share_have_no_threads_but_the_devices():
    cores = {"PJRT_NPROC": "40"}  # of which 8 are devices
    (_, shared), (_, small) = said(cores, 8 * SHARED + 1), said(cores, 8 * SHARED)
    assert shared - small >= 32
    assert said(cores, 8 * SHARED, 4)[1] - small >= 32  # four runs: each has two devices, not eight, to its batch
    assert said(cores, 2 * SHARED, 4)[1] == small
    assert said(cores | {"JAX_NUM_CPU_DEVICES": "8"}, 1)[1] - small >= 32  # the environment's devices stay as they are


def test_a_jax_that_has_begun_keeps_its_devices(monkeypatch):
    before = jax.devices("cpu")
    monkeypatch.setenv("PJRT_NPROC", "4")
    use_cores(1)
    assert jax.devices("cpu") == before


SCRIPT = """
import sys
from pathlib import Path
import jax
import numpy as np
from bestguess.train.fit import fit
from bestguess.train.problem import Member
from tests.train.toy import D, F, Line, ToyProblem, config
if sys.argv[1] == "late":
    jax.devices()
none = np.zeros((2, 2), np.uint32)
task = Line(np.ones((2, D, F), np.float32), none + 7, none + 7)
runs = Member(task, np.ones(2, np.float32), np.arange(2, dtype=np.int32))
fit(ToyProblem(), config(steps=5), runs, Path(sys.argv[2]), say=print)
print(len(jax.devices()))
"""


def test_a_script_that_calls_fit_trains_on_all_cores_or_is_told(tmp_path):
    for when, devices in (("early", 2), ("late", 1)):
        command = [sys.executable, "-c", SCRIPT, when, str(tmp_path / when)]
        here = str(Path(__file__).parents[2])
        environment = os.environ | {"PJRT_NPROC": "2", "PYTHONPATH": here}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == str(devices)
        assert ("on 1 of 2 cores, for JAX had begun to compute" in done.stdout) == (when == "late")
