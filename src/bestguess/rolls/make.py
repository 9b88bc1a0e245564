"""`bestguess rolls make`: a file from a source, with its floor in a side file; resumes after an interruption."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import shutil
import signal
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from bestguess import files
from bestguess.command import UserError, check_range
from bestguess.report.bar import Bar
from bestguess.rolls.flags import MakeFlags
from bestguess.rolls.sources import source_of
from bestguess.rolls.sources.base import IndexedSource, Source, State
from bestguess.rolls.sources.dice import DiceHmac

_CHUNK = 1 << 19
"""Values drawn at a time."""
_BETWEEN_NOTES = 2.0
"""Seconds between two notes of the progress: the most that a kill costs."""
_WORTH_A_PROCESS = 1 << 21
"""Fewest values for which several processes share the work, for sources that start at any index."""


def make(flags: MakeFlags, console: Console) -> dict[str, Any]:
    """Write the file and its side file; return a summary of them."""
    start = time.perf_counter()
    source = source_of(flags.source, flags.seed, flags.parameters())
    _check(flags, source)
    recipe = {
        "source": source.name,
        "parameters": source.parameters(),
        "seed": source.seed,
        "n": flags.n,
        "classes": source.classes,
    }
    target, floor = _Target(flags.out), asdict(source.floor())
    if flags.out.exists():
        sha256 = target.finished(recipe)
        console.print(f"{flags.out}: already made with these flags", markup=False, soft_wrap=True)
        made = 0
    else:
        sha256, made = _written(target, source, recipe, floor, flags, console)
    error = f" ± {floor['standard_error']:.2g}" if floor["standard_error"] else ""
    console.print(
        f"{flags.out}: {flags.n:,} values of {source.name}; floor {floor['bits']:.6f}{error} bits per value: "
        + floor["says"],
        markup=False,
        soft_wrap=True,
    )
    seconds = time.perf_counter() - start
    return {
        "path": str(flags.out),
        "n": flags.n,
        "source": source.name,
        "floor_bits": floor["bits"],
        "sha256": sha256,
        "floor": floor,
        "seconds": seconds,
        "values_per_second": made / seconds,
    }


def _check(flags: MakeFlags, source: Source) -> None:
    check_range("--n", flags.n, 1)
    check_range("--processes", flags.processes, 1)
    if flags.device == "gpu":
        if not isinstance(source, DiceHmac):
            raise UserError(f"--device gpu: {source.name} is made on the CPU alone; drop the flag")
        from bestguess.rolls.sources import dice_jax

        dice_jax.require_gpu()
    folder, part = flags.out.parent, _Target(flags.out).part
    with files.boundary(f"--out {flags.out}", "written"):
        if not folder.is_dir():
            raise UserError(f"--out {flags.out}: there is no folder {folder}; create it first")
        if flags.out.is_dir():
            raise UserError(f"--out {flags.out}: is a folder; name a file")
        side = _Target(flags.out).side
        if side.exists() and not flags.out.exists() and "sha256" not in (_json(side) or {}):
            told = f"{side.name} beside it is not ours, and would be overwritten; name another file"
            raise UserError(f"--out {flags.out}: {told}")
        there = part.stat().st_size if part.is_file() else 0
        free = shutil.disk_usage(folder).free
        if not flags.out.exists() and 2 * flags.n > free + there:
            raise UserError(f"--n {flags.n}: takes {2 * flags.n:,} bytes, and {folder} has {free:,} free; make fewer")


class _Target:
    """Paths of the output file, its side file, the unfinished file and its note."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.side = out.parent / (out.name + ".json")
        self.part = files.GrowingFile.part_of(out)
        self.note = out.parent / (out.name + ".part.json")

    def finished(self, recipe: dict[str, Any]) -> str:
        """Return the SHA-256 of an existing file; UserError unless it and its side file match the flags."""
        side = _json(self.side)
        if side is None or any(side.get(key) != value for key, value in files.plain(recipe).items()):
            raise UserError(f"--out {self.out}: exists, and was not made with these flags; name another file")
        digest = hashlib.sha256()
        with files.DataFile(self.out, f"--out {self.out}") as file:
            file.feed(digest, file.size)
        if digest.hexdigest() != side.get("sha256"):
            raise UserError(f"--out {self.out}: changed since it was made; name another file, or delete it")
        return digest.hexdigest()

    def progress(self, recipe: dict[str, Any]) -> dict[str, Any] | None:
        """Return the note of an unfinished file, or None. UserError if it was begun with other flags."""
        note = _json(self.note)
        if note is None:
            return None
        if any(note.get(key) != value for key, value in files.plain(recipe).items()):
            raise UserError(f"--out {self.out}: {self.part} was begun with other flags; give those, or delete it")
        if not isinstance(note.get("done"), int) or not 0 <= note["done"] <= note["n"] or "state" not in note:
            raise UserError(f"--out {self.out}: {self.note} is damaged; delete it and {self.part}")
        return note


def _json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file; None if there is none."""
    try:
        found = files.read_json(path)
    except files.Unreadable:
        return None
    return found if isinstance(found, dict) else None


def _written(
    target: _Target, source: Source, recipe: dict[str, Any], floor: dict[str, Any], flags: MakeFlags, console: Console
) -> tuple[str, int]:
    """Complete the unfinished file and rename it; return its SHA-256 and the number of values written now."""
    target.progress(recipe)  # refuses before a file is created
    files.check_writable(target.note)  # has the longest name of the four
    with files.GrowingFile(target.out, f"--out {target.out}") as file:
        # Only now does no other process write it.
        done, state, digest = _resumed(file, target.progress(recipe), source)
        if done:
            console.print(f"{target.part}: resumed at {done:,} values", markup=False, soft_wrap=True)
        before, noted = done, time.monotonic()
        with Bar(console, flags.n, "making") as bar, _pieces(source, state, done, flags) as pieces:
            for values, state in pieces:
                raw = np.ascontiguousarray(values, "<u2").data
                file.append(raw)
                digest.update(raw)
                done += len(values)
                bar.update(done)
                if time.monotonic() - noted > _BETWEEN_NOTES:
                    file.sync()
                    files.write_json(target.note, recipe | {"done": done, "state": state})
                    noted = time.monotonic()
        file.sync()
        # If killed from here on, only the last steps are repeated: the note records that all values are written.
        files.write_json(target.note, recipe | {"done": done, "state": state})
        files.write_json(target.side, recipe | {"floor": floor, "sha256": digest.hexdigest()})
        file.finish()
        files.remove(target.note)
    return digest.hexdigest(), done - before


def _resumed(file: files.GrowingFile, note: dict[str, Any] | None, source: Source) -> tuple[int, State, Any]:
    """Return how many values of the file are kept, the state after them and their digest; drop the rest.

    What was written after the last note is drawn again. If the file is shorter than its note, all of it is.
    """
    done, state, digest = 0, source.start(), hashlib.sha256()
    if note is not None and file.size >= 2 * note["done"]:
        done, state = note["done"], note["state"]
        file.feed(digest, 2 * done)
    file.cut(2 * done)
    return done, state, digest


@contextlib.contextmanager
def _pieces(source: Source, state: State, done: int, flags: MakeFlags) -> Iterator[Iterator[tuple[np.ndarray, State]]]:
    """Give the values from `done` on in pieces, each with the state after it; in parallel if that is faster."""
    if flags.device == "gpu" and isinstance(source, DiceHmac):
        yield _on_the_gpu(source, done, flags.n)
    elif isinstance(source, IndexedSource) and flags.processes > 1 and flags.n - done >= _WORTH_A_PROCESS:
        pool = ProcessPoolExecutor(
            flags.processes,
            multiprocessing.get_context("spawn"),
            # Ctrl-C is handled by the parent process.
            initializer=signal.signal,
            initargs=(signal.SIGINT, signal.SIG_IGN),
        )
        try:
            yield _side_by_side(pool, source, done, flags)
        finally:
            pool.shutdown(cancel_futures=True)
    else:
        yield _one_by_one(source, state, done, flags.n)


def _one_by_one(source: Source, state: State, done: int, n: int) -> Iterator[tuple[np.ndarray, State]]:
    while done < n:
        values, state = source.draw(state, min(_CHUNK, n - done))
        done += len(values)
        yield values, state


def _on_the_gpu(source: DiceHmac, done: int, n: int) -> Iterator[tuple[np.ndarray, State]]:
    """Yield pieces in order; the device makes the next ones while the caller writes."""
    from bestguess.rolls.sources import dice_jax

    for values in dice_jax.batches(source, done, n, dice_jax.BATCH):
        done += len(values)
        yield values, {"index": done}


def _side_by_side(
    pool: ProcessPoolExecutor, source: IndexedSource, done: int, flags: MakeFlags
) -> Iterator[tuple[np.ndarray, State]]:
    """Yield pieces in order, with enough of them in flight to keep all processes busy."""
    under_way: deque[Any] = deque()
    for first in range(done, flags.n, _CHUNK):
        count = min(_CHUNK, flags.n - first)
        under_way.append((pool.submit(source.at, first, count), {"index": first + count}))
        if len(under_way) > 2 * flags.processes:
            future, state = under_way.popleft()
            yield future.result(), state
    for future, state in under_way:
        yield future.result(), state
