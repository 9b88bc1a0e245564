"""Work on a batch shared among threads: NumPy lets the interpreter go inside a product or a ufunc."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

Result = TypeVar("Result")

LEAST = 1 << 19
"""Numbers that a thread must have to pass over, about 0.15 ms; waking it takes almost as long."""

_ALL = slice(None)


@cache
def threads() -> int:
    """Return how many threads to use: what OMP_NUM_THREADS, else OPENBLAS_NUM_THREADS, grants; without either 1.

    Give BLAS one (OPENBLAS_NUM_THREADS=1), as the commands do: its own threads wait by spinning, on these cores.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        if (granted := os.environ.get(name, "").split(",")[0].strip()).isdecimal():
            return max(1, int(granted))
    return 1


def over(count: int, numbers: int, work: Callable[[slice], Result]) -> list[Result]:
    """Call `work` on slices that together are 0 … `count` − 1; return its results in the slices' order.

    As many threads share the slices as pay for passing over so many `numbers`.
    """
    if numbers < 2 * LEAST or (parts := min(threads(), count, numbers // LEAST)) < 2:
        return [work(_ALL)]
    edges = [count * i // parts for i in range(parts + 1)]
    first, *others = map(slice, edges[:-1], edges[1:])
    done: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()
    for i, part in enumerate(others, 1):
        _tasks().put((work, part, i, done))
    results: list[Any] = [work(first)] + [None] * len(others)
    for _ in others:
        i, results[i], error = done.get()
        if error is not None:
            raise error
    return results


@cache
def _tasks() -> SimpleQueue[Any]:
    """Start the other threads, and return the queue that they take tasks from (an executor's takes twice as long)."""
    tasks: SimpleQueue[Any] = SimpleQueue()
    for i in range(1, threads()):
        Thread(target=_serve, args=(tasks,), name=f"bestguess-scratch-{i}", daemon=True).start()
    return tasks


def _serve(tasks: SimpleQueue[Any]) -> None:
    while True:
        work, part, i, done = tasks.get()
        try:
            done.put((i, work(part), None))
        except BaseException as error:
            done.put((i, None, error))
        del work, part, done  # what they refer to is not to wait for the next task
