"""A CPU's cores as devices, over which runs and batches are spread as over any others."""

from __future__ import annotations

import contextlib
import os

MOST = 8
"""Devices that are made at most: a batch in smaller parts leaves each less to do between two sums over all.

On a server of 16 cores, 8 are 1.07 to 1.27 times as fast as 4, and 16 are 0.9 to 1.1 times as fast as 8."""


def usable_cores() -> int:
    """Return how many cores this process may use: as many as PJRT_NPROC says, or all that the system gives it."""
    given = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(os.environ.get("PJRT_NPROC") or given)


def devices_of(cores: int) -> int:
    """Return how many devices `use_cores` makes of that many cores: a power of 2, `MOST` at most."""
    return 2 ** (min(cores, MOST).bit_length() - 1)


def use_cores() -> int:
    """Make cores devices of JAX; return how many CPU devices there are.

    XLA:CPU spreads an operation over threads, but those of a small model are done before a thread has
    woken up: two cores are then slower than one. A device to each core works on its own runs, or on its
    own part of a batch, and waits once a step. A number of devices that the environment names
    (JAX_NUM_CPU_DEVICES) stays, as do those of a JAX that has begun to compute.
    """
    import jax

    named = "JAX_NUM_CPU_DEVICES" in os.environ or "host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not named:
        with contextlib.suppress(RuntimeError):  # too late: JAX has begun
            jax.config.update("jax_num_cpu_devices", devices_of(usable_cores()))
    return len(jax.devices("cpu"))
