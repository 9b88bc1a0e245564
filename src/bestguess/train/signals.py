"""Signals that end a training: its loop finishes what it is at, and checkpoints."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterator

SAME = 1.0
"""Seconds within which a second signal is taken for the first."""


@contextlib.contextmanager
def graceful() -> Iterator[list[int]]:
    """On SIGTERM or Ctrl-C, note its number, so that the loop finishes its chunk and checkpoints; a second stops it.

    One within `SAME` seconds is the first again: a terminal's Ctrl-C comes to a command and to what it has started.
    """
    caught: list[int] = []
    before = {}
    first = math.inf

    def note(number, frame):
        nonlocal first
        if caught and time.monotonic() - first > SAME:
            raise KeyboardInterrupt
        if not caught:
            caught.append(number)
            first = time.monotonic()

    with contextlib.suppress(ValueError):  # only the main thread may set handlers
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
