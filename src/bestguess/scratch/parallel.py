"""Work on a batch shared among threads: NumPy lets the interpreter go inside a product or a ufunc."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

LEAST = 1 << 17
"""Numbers that a thread must have to work on; for fewer, waking it costs more than it saves."""


@cache
def threads() -> int:
    """Return how many threads to use: what OMP_NUM_THREADS or OPENBLAS_NUM_THREADS grants BLAS, else 1."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        if (granted := os.environ.get(name, "").split(",")[0].strip()).isdecimal():
            return max(1, int(granted))
    return 1


def over(count: int, numbers: int, work: Callable[[slice], None]) -> None:
    """Call `work` on slices that together are 0 … `count` − 1, in as many threads as pay for so many `numbers`.

    Buffers that it writes to must be there before: the pool is for one thread at a time.
    """
    parts = min(threads(), count, numbers // LEAST)
    if parts < 2:
        work(slice(0, count))
        return
    edges = [count * i // parts for i in range(parts + 1)]
    own, *others = map(slice, edges[:-1], edges[1:])
    waiting = [_workers().submit(work, part) for part in others]
    work(own)
    for one in waiting:
        one.result()


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads() - 1, thread_name_prefix="bestguess-scratch")
