"""The whole test of a file: the choice of blocks, and the pass for the three questions in two processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from bestguess.command import Failure, UserError
from bestguess.rolls.evidence import order
from bestguess.rolls.evidence.drift import LEAST_SEGMENT, SEGMENTS, log_drift
from bestguess.rolls.evidence.order import Part, joined, together
from bestguess.rolls.evidence.uniform import Uniform
from bestguess.rolls.evidence.windows import (
    BLOCK,
    CONTEXT,
    LEAST,
    Chunk,
    Marginal,
    Read,
    Run,
    chunks,
    parts,
    runs_of,
    shuffled,
)
from bestguess.rolls.file import RollsFile

_FEW = 200_000
"""Number of values below which a second process costs more than it saves."""
_RUN = 64
"""Blocks per run if a part of the file is tested."""
_PIECE = 1 << 16
"""Most values between two evaluations of the evidence against uniform values."""

_SHARE = 0.6
"""Fraction of the time limit for the bets on order. The rest is for the other questions and the smallest effect."""

Progress = Callable[[int], None]
"""Called with the number of values done."""
Share = tuple[order.Path, tuple[float, str]]
"""A part's share of E after each block; ln of the share of its strongest component, and that component's bet."""


@dataclass(frozen=True, eq=False)
class Plan:
    """The parts of a file to read, and how: the input of a process."""

    path: Path
    n: int
    """Number of values in the file."""
    runs: list[Run]
    """Blocks to test, in the file's order."""
    shuffle: int | None
    """Seed of a shuffle within blocks; None for no shuffle."""
    until: float
    """Time (s since the epoch) after which to stop at the end of a chunk."""

    @property
    def parts(self) -> list[tuple[int, int]]:
        """Values to read, as (start, stop)."""
        return parts(self.runs, self.n)

    def reader(self, file: RollsFile) -> Read:
        """Return the reader of the open file, with the shuffle."""
        return file.read if self.shuffle is None else shuffled(file.read, self.n, self.shuffle)


@dataclass(frozen=True, eq=False)
class Answers:
    """Results of the three processes: the largest ln E of each, at least 0."""

    order: float
    uniform: float
    drift: float
    values: int
    """Number of values bet on by the process of the order."""
    bet: str
    """Bet of the strongest component."""
    log_e: np.ndarray
    """ln E of the process of the order after each block, float64 [blocks]."""


def whole(path: Path, n: int, shuffle: int | None) -> Plan:
    """Return the plan to test all of a file of `n` values."""
    return Plan(path, n, runs_of(n), shuffle, float("inf"))


def within(path: Path, file: RollsFile, shuffle: int | None, seconds: float, processes: int) -> Plan:
    """Return the plan of a test of about `seconds`: all of the file, or runs of 64 blocks spread over it."""
    start = time.time()
    until = start + seconds
    blocks = (file.n - CONTEXT) // BLOCK
    if blocks <= _RUN:
        return Plan(path, file.n, runs_of(file.n), shuffle, until)
    rate = _seconds_per_block(file, processes)
    spare = _SHARE * max(0.0, start + seconds - time.time())
    count = max(1, int(spare / (rate * _RUN)))
    if count * _RUN >= blocks:
        return Plan(path, file.n, runs_of(file.n), shuffle, until)
    firsts = np.linspace(0, blocks - _RUN, count).astype(int)
    firsts = np.maximum(firsts, _RUN * np.arange(count))  # runs do not overlap
    return Plan(path, file.n, [(int(first), _RUN) for first in firsts], shuffle, until)


def _seconds_per_block(file: RollsFile, processes: int) -> float:
    """Return the seconds per block, measured on the file's first ones."""
    values = file.read(0, CONTEXT + BLOCK * _RUN)
    marginal = Marginal(np.bincount(values, minlength=1 << 16))
    windows = np.lib.stride_tricks.sliding_window_view(values, CONTEXT + BLOCK)[::BLOCK]
    took = []
    for families in order.PARTS:
        part, times = Part(families, marginal), []
        for _ in range(2):  # the first time imports and warms up
            start = time.perf_counter()
            part.add(Chunk(np.ascontiguousarray(windows.T), CONTEXT))
            times.append(time.perf_counter() - start)
        took.append(min(times))
    return (max(took) if processes > 1 else sum(took)) / _RUN


def answer(
    file: RollsFile, plan: Plan, marginal: Marginal, alphabet: int | None, processes: int, progress: Progress
) -> Answers:
    """Return the answers for the open file. One part of the components, and the other questions, run in this process.

    progress: called with the number of values done, from 0 to `work(plan)`.
    """
    if processes == 1 or sum(b - a for a, b in plan.parts) < _FEW:
        done = [run_part(plan, part, marginal.counts, _after(progress, i, plan)) for i, part in enumerate(order.PARTS)]
    else:
        with _beside(plan, order.PARTS[0], marginal.counts) as other:
            both = len(order.PARTS)  # the other process is about as far
            mine = run_part(plan, order.PARTS[1], marginal.counts, lambda values: progress(both * values))
            done = [other(), mine]
    log_e = together([path for path, _ in done])
    log_uniform, log_drifting = other_questions(plan.reader(file), plan.parts, marginal, alphabet)
    return Answers(
        order=max(0.0, float(log_e.max())),
        uniform=log_uniform,
        drift=log_drifting,
        values=_bet_on(plan, len(log_e)),
        bet=max(best for _, best in done)[1],
        log_e=log_e,
    )


@contextlib.contextmanager
def _beside(plan: Plan, families: tuple[str, ...], counts: np.ndarray) -> Iterator[Callable[[], Share]]:
    """Run a part in another process; give a function that waits for its result. An error here ends the process."""
    context = multiprocessing.get_context("spawn")  # to fork a process that has threads may deadlock
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_send_part, args=(there, plan, families, counts), daemon=True)
    process.start()
    there.close()

    def result() -> Share:
        try:
            found = here.recv()
        except EOFError:
            process.join()
            raise Failure(
                f"a process of the test ended unexpectedly (status {process.exitcode}); --processes 1 needs less memory"
            ) from None
        if isinstance(found, UserError):
            raise found
        return found

    try:
        yield result
    finally:
        process.terminate()
        process.join()


def _send_part(there: Connection, plan: Plan, families: tuple[str, ...], counts: np.ndarray) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent process
    try:
        there.send(run_part(plan, families, counts, None))
    except UserError as error:
        there.send(error)


def work(plan: Plan) -> int:
    """Return the total of the progress of `answer`, in values."""
    return len(order.PARTS) * sum(count for _, count in plan.runs) * BLOCK


def _after(progress: Progress, part: int, plan: Plan) -> Progress:
    share = work(plan) // len(order.PARTS)
    return lambda values: progress(part * share + values)


def _bet_on(plan: Plan, blocks: int) -> int:
    """Return the number of values in the plan's first `blocks` blocks; the file's last one may be shorter."""
    whole_ones = sum(count for _, count in plan.runs)
    rest = (plan.n - CONTEXT) % BLOCK if blocks > whole_ones else 0
    return BLOCK * min(blocks, whole_ones) + rest


def run_part(plan: Plan, families: tuple[str, ...], counts: np.ndarray, progress: Progress | None) -> Share:
    """Return the share of E of some families over the plan's blocks, and their strongest component."""
    with RollsFile(plan.path, least=LEAST) as file:
        part, paths, done = Part(families, Marginal(counts)), [], 0
        for chunk in chunks(plan.reader(file), plan.runs, plan.n):
            paths.append(part.add(chunk))
            done += chunk.blocks * BLOCK
            if progress:
                progress(done)
            if time.time() > plan.until and done >= _RUN * BLOCK:
                break
        file.check_untouched()
    return joined(paths), part.strongest()


def other_questions(
    read: Read, parts: list[tuple[int, int]], marginal: Marginal, alphabet: int | None
) -> tuple[float, float]:
    """Return the largest ln E against uniform values, and for drift, from one pass over some parts.

    marginal: of the values in these parts. alphabet: number of possible values, from 0 up; None: the range seen.
    """
    total = int(marginal.counts.sum())
    present = np.flatnonzero(marginal.counts)
    lowest, highest = (0, alphabet - 1) if alphabet else (int(present[0]), int(present[-1]))
    uniform = Uniform(lowest, highest, total, told=alphabet is not None)
    bins, size = marginal.bins(64), max(LEAST_SEGMENT, -(-total // SEGMENTS))
    segments, done = np.zeros((-(-total // size), len(bins)), np.int64), 0
    for start, stop in parts:
        while start < stop:
            # Frequent evaluations at first, fewer later: each costs as much as some thousand values.
            values = read(start, min(stop, start + min(_PIECE, max(BLOCK, done // 8))))
            uniform.add(values)
            of_segment = (done + np.arange(len(values))) // size
            np.add.at(segments, (of_segment, bins.of_value[values]), 1)
            start, done = start + len(values), done + len(values)
    return uniform.log_e, log_drift(segments)
