"""Leases: at most one worker at a time on a unit of work, on one machine or on many that share a folder.

A claim is a file `UNIT.0001`, made exclusively (link(2), which NFS keeps atomic too); whoever takes the unit
over after it makes `UNIT.0002`, exclusively again, and the highest number holds the lease. Nothing is ever
deleted or renamed away, so two that find one dead claim cannot both win. A holder touches its claim to show
that it lives; ages are differences of the file server's own clock. On the holder's own machine, a dead process
is seen at once.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bestguess import files
from bestguess.files import write_new

HEARTBEAT = 10.0
"""Seconds between two touches of a claim."""
GLANCE = 1.0
"""Seconds for which a holder takes it for granted that it still holds."""
EXPIRY = 120.0
"""Seconds without a touch after which a claim held on another machine counts as dead."""


@dataclass
class Lease:
    """A unit of work that is ours until `release`; a context manager that keeps it alive meanwhile.

    Its number is a fence: it grows with every worker that takes the unit, so what a worker writes under its own number
    is never written by another, even by one that slept through the end of its lease.
    """

    path: Path
    after: dict[str, Any] | None
    """The claim of a worker that died over this unit, if this lease takes over from one."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _looked: float = -math.inf
    _lost: bool = False

    @property
    def number(self) -> int:
        """How many workers have taken the unit so far, this one among them."""
        return int(self.path.name.rpartition(".")[2])

    @property
    def lost(self) -> bool:
        """Whether another worker has taken the unit over, because this one was silent for too long."""
        # The clock goes on while a process is stopped: one that wakes up looks before it does anything else.
        if not self._lost and time.monotonic() - self._looked > GLANCE:
            self._looked = time.monotonic()
            with contextlib.suppress(OSError):
                self._lost = _newest(self.path.parent, self.path.name.rpartition(".")[0]) != self.path
        return self._lost

    def __enter__(self) -> Lease:
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()
        with contextlib.suppress(OSError):
            files.touch(self.path, (0, 0))  # released: as if last touched long ago

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            # A file server that is away for a while must not end the training.
            with contextlib.suppress(OSError):
                files.touch(self.path)


def acquire(folder: Path, unit: str, about: dict[str, Any]) -> Lease | None:
    """Return a lease of `unit`, or None while another worker holds it. `about` is kept in the claim."""
    files.make_folder(folder)
    newest = _newest(folder, unit)
    after = None
    if newest is not None:
        claim = read_claim(newest)
        if claim["alive"]:
            return None
        after = None if claim["released"] else claim
    number = 1 + (int(newest.name.rpartition(".")[2]) if newest else 0)
    path = files.within(folder, f"{unit}.{number:04d}")
    return Lease(path, after) if write_new(path, json.dumps(me() | about).encode()) else None


def holder(folder: Path, unit: str) -> dict[str, Any] | None:
    """Return the newest claim of a unit, with `alive` and `released`; None where there never was one."""
    newest = _newest(folder, unit)
    return None if newest is None else read_claim(newest)


def claims(folder: Path, unit: str) -> list[dict[str, Any]]:
    """Return all claims of a unit, oldest first, as `holder` returns the last."""
    return [read_claim(path) for path in _all(folder, unit)]


def read_claim(path: Path) -> dict[str, Any]:
    """Return what a claim's file says, and whether its holder lives or released it."""
    claim: dict[str, Any] = {"host": "?", "pid": 0, "machine": "", "born": ""}
    with contextlib.suppress(files.Unreadable):
        found = files.read_json(path)
        # One of another shape is no claim of ours: it counts as held until it has been silent for long.
        if isinstance(found, dict) and all(type(found.get(key, one)) is type(one) for key, one in claim.items()):
            claim |= found
    with files.boundary(path, "read"):
        touched = path.lstat().st_mtime
    released = touched == 0
    if released:
        alive = False
    elif claim["machine"] == _machine():
        alive = _born(claim["pid"]) == claim["born"] != ""
    else:
        alive = _server_time(path.parent) - touched < EXPIRY
    return claim | {"alive": alive, "released": released}


def me() -> dict[str, Any]:
    """Return what tells this process from all others."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "machine": _machine(), "born": _born(os.getpid())}


def _newest(folder: Path, unit: str) -> Path | None:
    return max(_all(folder, unit), default=None)


def _all(folder: Path, unit: str) -> list[Path]:
    return sorted(folder.glob(f"{unit}.[0-9][0-9][0-9][0-9]"))


def _machine() -> str:
    """This boot of this machine, and this space of process numbers: containers may share the first."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + " " + os.readlink("/proc/self/ns/pid")
    return ""


def _born(pid: int) -> str:
    """When a process of this machine began, empty if there is none: numbers of processes come back."""
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    return ""


def _server_time(folder: Path) -> float:
    """The file server's clock, which may not be ours."""
    probe = folder / f".clock.{socket.gethostname()}.{os.getpid()}"
    try:
        files.write_bytes(probe, b"")
        return probe.lstat().st_mtime
    except (files.Unreadable, OSError):
        return time.time()
    finally:
        with contextlib.suppress(files.Unreadable):
            files.remove(probe)
