"""Freed memory is kept: an array that takes the place of another costs no page faults. Counted, not timed."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from bestguess.scratch.fast import memory

PROGRAM = """
import resource
import numpy as np
from bestguess.scratch.fast import memory  # importing the package keeps freed memory, so undo that where asked
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
if not {keep}:
    import ctypes
    ctypes.CDLL(None).mallopt(-3, 128 << 10)  # M_MMAP_THRESHOLD as glibc begins: arrays are mapped and given back
for _ in range(3):
    np.ones(1 << 20)
before = faults()
for _ in range(20):
    np.ones(1 << 20)
print(faults() - before)
"""
PAGES = 20 * (8 << 20) // 4096
"""Of the twenty arrays of 8 MiB."""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has to be told")
def test_arrays_take_the_place_of_freed_ones_without_page_faults():
    assert memory.keep_freed()
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", PROGRAM.format(keep=keep)], capture_output=True, check=True).stdout)
        for keep in (True, False)
    )
    assert kept < PAGES / 20
    assert given_back > 2 * kept + 20  # large pages may make one fault of 512


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert memory.keep_freed() is False
