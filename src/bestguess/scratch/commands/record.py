"""What a result is kept with: the command that made it, when, and on which machine."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bestguess import __version__, files

RESULT = "result.json"


def cpu() -> str:
    """Return the processor's name, as well as the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep(folder: Path, result: dict[str, Any]) -> Path:
    """Write `result` with its origin to RESULT in `folder`, and return the file."""
    path = folder / RESULT
    origin = {
        "command": shlex.join(["bestguess", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu(),
        "cores": cores(),
        "versions": f"bestguess {__version__}, NumPy {np.__version__}, Python {platform.python_version()}",
    }
    return files.write_bytes(path, files.json_bytes(origin | result))
