"""Freed memory kept for the next array: given back to the system, it costs a page fault per 4 KiB to have again."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's names: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
_LARGEST_MMAP_THRESHOLD = 32 << 20  # bytes; glibc takes no larger one
_KEPT = 1 << 30  # bytes


def keep_freed() -> bool:
    """Tell the C library to keep up to 1 GiB of freed memory; return whether it will.

    Only glibc has to be told (`man mallopt`). Elsewhere nothing is done, and all works as before.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD) and mallopt(_TRIM_THRESHOLD, _KEPT))
