"""What the benchmarks share: variants that take turns, what they ran on, what XLA made of a program.

A variant has `runs` (trained together), `turn` (steps of a turn), and `run(steps)`, which takes so many steps, waits
for the device and returns a loss.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path
from typing import Any


def save(args: argparse.Namespace, result: dict[str, Any]) -> None:
    """Write the figures so far, if a file was asked for."""
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def device_name() -> str:
    """Return what the chip is called."""
    import jax

    device = jax.devices()[0]
    if device.platform != "cpu":
        return device.device_kind
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions that speed depends on."""
    found = {"python": platform.python_version()}
    for package in (
        "jax",
        "jaxlib",
        "equinox",
        "optax",
        "torch",
        "triton",
        "nvidia-cudnn-cu12",
        "nvidia-cudnn-cu13",
    ):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        found["commit"] = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return found


def error_line(error: BaseException) -> str:
    """Return what went wrong, in one line."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}"[:300]


def one_device() -> list:
    """Return the one device that is measured."""
    import jax

    return jax.devices()[:1]


def own_devices(args: argparse.Namespace) -> list | None:
    """Return the devices that our own runs take: one GPU, or on a CPU all that its cores have been made (None)."""
    return one_device() if args.device == "gpu" else None


def our_training(family: str, config: Any):
    """Return the problem and the members of a config's runs, as the family's `train` builds them."""
    from bestguess.config import runs
    from bestguess.family import load_family
    from bestguess.workflow.training import make_training

    return make_training(load_family(family), Path(), runs(config))
