"""Cases in processes of their own: a crash ends one of them, and is a result like any other."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Result:
    """How a case ended."""

    number: int
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
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"}
    command = [sys.executable, "-P", "-m", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)


def run(samples: Path, seed: int, count: int, workers: int) -> list[Result]:
    """Return how `count` cases ended, those of several processes at a time."""
    found: list[Result] = []
    edges = [count * i // workers for i in range(workers + 1)]
    threads = [
        threading.Thread(target=_run_part, args=(samples, seed, first, last, found))
        for first, last in itertools.pairwise(edges)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(found, key=lambda one: one.number)


def _run_part(samples: Path, seed: int, first: int, last: int, found: list[Result]) -> None:
    while first < last:
        with tempfile.TemporaryDirectory() as place, tempfile.TemporaryFile("w+") as said:
            process = start("tests.hostile.worker", samples, place, seed, first, last, stderr=said)
            assert process.stdout is not None
            under_way: dict[str, Any] | None = None
            for line in process.stdout:
                told = json.loads(line)
                if "words" in told:
                    under_way = told
                else:
                    assert under_way is not None
                    found.append(Result(**(under_way | told)))
                    first, under_way = told["number"] + 1, None
            process.stdout.close()
            status = process.wait()
            said.seek(0)
            last_words = said.read()[-1500:]
        if under_way is not None:
            found.append(Result(**under_way, status=status, wrong=f"crash, or no end: {status}: {last_words}", said=""))
            first = under_way["number"] + 1
        elif first < last:
            raise RuntimeError(f"the process of case {first} ended with {status}: {last_words}")


def table(found: list[Result]) -> str:
    """Return what came of the cases, by kind, in Markdown."""
    rows = ["| kind | cases | refused (2) | failed (1) | done or begun | wrong |", "|---|---|---|---|---|---|"]
    for kind in [*sorted({one.kind for one in found}), "all"]:
        own = [one for one in found if kind in ("all", one.kind)]
        ends = Counter(str(one.status) for one in own)
        wrong = sum(bool(one.wrong) for one in own)
        rows.append(f"| {kind} | {len(own)} | {ends['2']} | {ends['1']} | {ends['0'] + ends['taken']} | {wrong} |")
    return "\n".join(rows)
