"""A CPU's cores as devices, over which runs and batches are spread as over any others."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from typing import Any

from bestguess.train.machine import usable_cores

MOST = 8
"""Devices that are made at most: a batch in smaller parts leaves each less to do between two sums over all.

On a server of 16 cores, 8 are 1.07 to 1.27 times as fast as 4, and 16 are 0.9 to 1.1 times as fast as 8."""

SHARED = 2**20
"""Multiply-adds in a device's part of a product from which on other cores' threads may share in it.

They hindered integers at 0.1 and 0.5 million, made no difference to filters at 1 million on sixteen cores, and helped
filters at 2 million and more: 1.3 to 1.9 times.
"""


def devices_of(cores: int) -> int:
    """Return how many devices `use_cores` makes of that many cores: a power of 2, `MOST` at most."""
    return 2 ** (min(cores, MOST).bit_length() - 1)


_FLOPS = 6e10
"""Floating-point operations per second that a core does in training, roughly: 5.8e10 in the default of integers, 1.5
steps per second on two cores of a server, float32 (`integers train --steps 30 --warmup-steps 3`)."""


def product_of(config: Any, tokens: int | None) -> float | None:
    """Return the multiply-adds of a micro-batch with a square matrix of the model's width; None: unknown.

    A usual matrix product in a step of one run, by which cores and hours are judged. tokens: of one example.
    """
    train = config.train
    return None if tokens is None else float(train.batch_size // train.accumulate * tokens * config.model.d_model**2)


def hours_on(cores: int, product: float | int, layers: int, steps: int) -> float:
    """Return roughly how many hours cores take for the blocks' matrix products in so many steps, back and forth.

    product: multiply-adds of a step's tokens with a matrix of width². A block has twelve such (Kaplan et al., 2020,
    table 1), and a step takes three times the forward pass's.
    """
    return 2 * 3 * 12 * layers * product * steps / (_FLOPS * cores) / 3600


def use_cores(product: float | int | None = None, runs: int = 1) -> None:
    """Make cores devices of JAX.

    XLA:CPU spreads an operation over threads, but those of a small model are done before a thread has
    woken up: two cores are then slower than one. A device to each core works on its own runs, or on its
    own part of a batch, and waits once a step. A number of devices that the environment names
    (JAX_NUM_CPU_DEVICES) stays, as do those of a JAX that has begun to compute.

    product: multiply-adds of a usual matrix product in a step of one run of `runs`, tokens · width²; None: unknown.
    Where there are more cores than devices, threads of the others share in a device's operations, unless its part of
    a product is too small: one run of the integers benchmark, on sixteen cores, is 1.3 to 1.5 times as fast without.
    """
    import jax

    if "JAX_NUM_CPU_DEVICES" in os.environ or "host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    devices = devices_of(usable_cores())
    with contextlib.suppress(RuntimeError):  # too late: JAX has begun
        jax.config.update("jax_num_cpu_devices", devices)
        if product is not None and product <= SHARED * devices / math.gcd(runs, devices):
            with _threads(devices):
                jax.devices("cpu")  # threads are made with the first device


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let XLA:CPU make so many threads."""
    before = os.environ.get("PJRT_NPROC")
    os.environ["PJRT_NPROC"] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PJRT_NPROC"]
        else:
            os.environ["PJRT_NPROC"] = before
