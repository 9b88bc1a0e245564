"""Cases in processes of their own: a crash ends one of them, and is a result like any other.

python -m tests.hostile.campaign FILE ...      what came of the cases in the files of `--hostile-out`
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from bestguess.cli import commands

ROOT = Path(__file__).parents[2]
PART = 50
"""Cases that a process runs before the next one takes its place."""


@dataclass(frozen=True)
class Result:
    """How a case ended."""

    number: int
    seed: int
    words: list[str]
    off: str
    kind: str
    status: Any
    """0, 1, 2, or `taken`: the work would have begun."""
    wrong: str
    """What must not be; "" for nothing."""
    said: str


def start(*words: object, stderr: Any = subprocess.PIPE) -> subprocess.Popen:
    """Start `python -m WORDS` in the repository's root; its standard output is read line by line."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": paths, "JAX_NUM_CPU_DEVICES": "1"}
    command = [sys.executable, "-P", "-m", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)


def run(samples: Path, seed: int, numbers: range, workers: int, out: Path | None = None) -> list[Result]:
    """Return how the cases with these numbers ended, those of several processes at a time.

    Each is added to the file `out` as it ends: what was tried survives whatever ends the campaign, and those of this
    seed that the file has are not tried again.
    """
    before = [one for one in read(out) if one.seed == seed and one.number in numbers] if out and out.exists() else []
    pool = ThreadPoolExecutor(workers)
    with open(out, "a") if out else contextlib.nullcontext() as file:
        if file and file.tell():
            file.write("\n")  # after a line that was cut off
        parts = _parts(numbers, {one.number for one in before})
        ended = [pool.submit(lambda part: list(_results(samples, seed, part, file)), part) for part in parts]
        try:
            return sorted([*before, *(one for future in ended for one in future.result())], key=lambda one: one.number)
        finally:
            pool.shutdown(cancel_futures=True)


def _parts(numbers: range, done: Container[int]) -> Iterator[range]:
    """Yield what is left of the numbers, in ranges that one process runs."""
    first = numbers.start
    for number in (*numbers, numbers.stop):
        if number - first == PART or number in done or number == numbers.stop:
            if first < number:
                yield range(first, number)
            first = number + (number in done)


def _results(samples: Path, seed: int, part: range, file: TextIO | None) -> Iterator[Result]:
    """Yield how the cases of a part ended. What ends a process is the result of its last case: the next one goes on."""
    first = part.start
    while first < part.stop:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place, tempfile.TemporaryFile("w+b") as said:
            process = start("tests.hostile.worker", samples, place, seed, first, part.stop, stderr=said)
            assert process.stdout is not None
            under_way: dict[str, Any] | None = None
            began = False
            for line in process.stdout:
                told = json.loads(line)
                began = True
                if "words" in told:
                    under_way = told
                else:
                    assert under_way is not None
                    yield kept(Result(**(under_way | told)), file)
                    first, under_way = told["number"] + 1, None
            process.stdout.close()
            status = process.wait()
            said.seek(0)
            last_words = said.read()[-1500:].decode(errors="replace")
        if first == part.stop:
            return
        if not began:
            raise RuntimeError(f"the process of case {first} ended with {status}: {last_words}")
        about = under_way or {"number": first, "seed": seed, "words": [], "off": "", "kind": "between two cases"}
        yield kept(Result(**about, status=status, wrong=f"crash, or no end: {status}: {last_words}", said=""), file)
        first = about["number"] + 1


def kept(result: Result, file: TextIO | None) -> Result:
    """Add a result to a file, in one write, so that several threads and processes may add to the same."""
    if file:
        file.write(json.dumps(asdict(result)) + "\n")
        file.flush()
    return result


def read(path: Path) -> list[Result]:
    """Return the results of a file; a line that a killed campaign left unfinished is none."""
    found = []
    for line in path.read_text().splitlines():
        with contextlib.suppress(ValueError):
            found.append(Result(**json.loads(line)))
    return found


def command_of(one: Result) -> str:
    """Return the name of a case's command; of a file that is read without one, its kind."""
    names = (" ".join(one.words[:count]) for count in (2, 1))
    return next((name for name in names if name in commands()), one.kind)


def table(found: list[Result], by: Callable[[Result], str] = lambda one: one.kind) -> str:
    """Return what came of the cases, by kind, in Markdown."""
    rows = ["| kind | cases | refused (2) | failed (1) | done or begun | wrong |", "|---|---|---|---|---|---|"]
    for kind in [*sorted({by(one) for one in found}), "all"]:
        own = [one for one in found if kind in ("all", by(one))]
        ends = Counter(str(one.status) for one in own)
        wrong = sum(bool(one.wrong) for one in own)
        rows.append(f"| {kind} | {len(own)} | {ends['2']} | {ends['1']} | {ends['0'] + ends['taken']} | {wrong} |")
    return "\n".join(rows)


def faults(found: list[Result]) -> list[str]:
    """Return every case that ended as it must not, with what tries it again."""
    return [
        f"--hostile-seed {one.seed} --hostile-first {one.number} --hostile-cases 1: {' '.join(one.words)[:300]}"
        f" ({one.off}): {one.wrong}\n{one.said}"
        for one in found
        if one.wrong
    ]


if __name__ == "__main__":
    results = [one for path in sys.argv[1:] for one in read(Path(path))]
    seeds = Counter(one.seed for one in results)
    print("\n\n".join([table(results), table(results, command_of), f"cases by seed: {dict(seeds)}", *faults(results)]))
