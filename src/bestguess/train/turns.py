"""Turns of the workers that share a GPU: one computes at a time, so that its times are its own."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from bestguess.files import lock

TURN = "BESTGUESS_TURN"
"""Environment variable: the folder that a worker holds while it computes; unset where it need not wait."""


def turn() -> contextlib.AbstractContextManager[None]:
    """Wait until no other worker computes on this one's GPU, and keep them all waiting until the block ends.

    What only compiles needs no turn. A worker that dies gives up its turn.
    """
    folder = os.environ.get(TURN)
    return lock(Path(folder), wait=True) if folder else contextlib.nullcontext()
