"""What this machine leaves a process: cores and memory. Nothing heavier than the standard library."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from bestguess.command import UserError


def usable_cores() -> int:
    """Return how many cores this process may use: as many as PJRT_NPROC says, or all that the system gives it."""
    given = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(given_number("PJRT_NPROC") or given, 1 << 16)


def given_number(name: str) -> int | None:
    """Return the positive number that an environment variable gives, None where it gives none; UserError for others."""
    text = os.environ.get(name)
    if not text:
        return None
    try:
        value = int(float(text))
    except (ValueError, OverflowError):
        value = 0
    if value < 1:
        raise UserError(f"{name}={text[:40]}: expected a positive number; set it, or unset it")
    return value


_GROUP_FILES = {
    1: ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
}
"""Where control groups lie, by version: their limit, what is taken of it, and what of that only caches files."""


def free_memory(root: Path = Path("/")) -> int:
    """Return the bytes of main memory that this process may still take, what only caches files among them.

    In a container or a Slurm job it is no more than is left of its limit (of its control group). A system that
    does not say what is free, as macOS does not, is taken to have half of its memory so.

    root: where the system's files lie.
    """
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    told = dict(line.split(":", 1) for line in lines)
    kilobytes = told.get("MemAvailable", told["MemFree"]).split()[0]  # the former since Linux 3.14
    return min([1024 * int(kilobytes), *_left_in_groups(root)])


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield the bytes that each control group with a limit leaves, from this process's own to the outermost."""
    try:
        entries = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for number, controllers, path in (entry.split(":", 2) for entry in entries):
        if number != "0" and "memory" not in controllers.split(","):
            continue
        place, limit_file, taken_file, caching = _GROUP_FILES[2 if number == "0" else 1]
        own = PurePosixPath(path.lstrip("/"))
        for group in (own, *own.parents):
            folder = root / place / group
            try:
                limit = (folder / limit_file).read_text().strip()
                taken = int((folder / taken_file).read_text())
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            except OSError:
                continue  # a group outside of a container, or the outermost
            if limit != "max":
                yield max(0, int(limit) - taken + int(stat[caching]))
