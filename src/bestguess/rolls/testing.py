"""`bestguess rolls test`: tests whether a file can be predicted, by betting, without a model and without JAX."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bestguess.command import UserError, check_range
from bestguess.report.bar import Bar
from bestguess.rolls.counter import SAMPLE, words
from bestguess.rolls.evidence import pipeline
from bestguess.rolls.evidence.effect import MEASURED, smallest_effects
from bestguess.rolls.evidence.verdict import evidence, sentence
from bestguess.rolls.evidence.windows import LEAST, Marginal
from bestguess.rolls.file import VALUES, RollsFile, Summary
from bestguess.rolls.flags import FileTestFlags

_QUESTIONS = {"order": "does the past help?", "uniform": "independent and uniform?", "drift": "does it drift?"}


def run_test(flags: FileTestFlags, console: Console) -> dict[str, Any]:
    """Print and return the answers to the three questions about a file."""
    start = time.perf_counter()
    _check(flags)
    with RollsFile(flags.file, least=LEAST) as file:
        shuffle = flags.seed if flags.control else None
        if flags.seconds is None:
            plan = pipeline.whole(flags.file, file.n, shuffle)
        else:
            plan = pipeline.within(flags.file, file, shuffle, flags.seconds, flags.processes)
        summary = file.summary(plan.parts)
        _check_alphabet(flags, summary)
        marginal = Marginal(summary.counts)
        with Bar(console, pipeline.work(plan), "testing") as bar:
            answers = pipeline.answer(file, plan, marginal, flags.alphabet, flags.processes, bar.update)
        effects = smallest_effects(_sample(file, plan, flags.seed), marginal, answers.values, flags.level)
    found = evidence(answers, effects, flags.level)
    said = sentence(found, answers.values, summary.distinct)
    if summary.n < file.n or answers.values < summary.n // 2:
        said = f"part of the file's {file.n:,} values: {said}"
    if flags.control:
        said = f"control, each block's values shuffled: {said}"
    _show(console, found)
    console.print(said, markup=False, soft_wrap=True)
    return {
        "values": answers.values,
        "of": file.n,
        "distinct": summary.distinct,
        "lowest": summary.lowest,
        "highest": summary.highest,
        "sha256": summary.sha256 if summary.n == file.n else None,
        "control": flags.control,
        "level": flags.level,
        "evidence": found,
        "sentence": said,
        "seconds": time.perf_counter() - start,
    }


def _check(flags: FileTestFlags) -> None:
    if not 0 < flags.level < 1:
        raise UserError(f"--level {flags.level}: not between 0 and 1; use 0.01, for example")
    if flags.seconds is not None and not (math.isfinite(flags.seconds) and flags.seconds > 0):
        raise UserError(f"--seconds {flags.seconds}: must be a positive number of seconds")
    check_range("--processes", flags.processes, 1, 2)
    check_range("--seed", flags.seed, 0)
    check_range("--alphabet", flags.alphabet, 1, VALUES)


def _check_alphabet(flags: FileTestFlags, summary: Summary) -> None:
    if flags.alphabet is not None and summary.highest >= flags.alphabet:
        raise UserError(
            f"--alphabet {flags.alphabet}: {flags.file} has the value {summary.highest}; "
            f"give {summary.highest + 1} or more, or drop the flag"
        )


def _sample(file: RollsFile, plan: pipeline.Plan, seed: int) -> np.ndarray:
    """Return up to 2^18 of the tested values, evenly spread, in random order."""
    total = sum(stop - start for start, stop in plan.parts)
    pieces, each = [], MEASURED / total
    for start, stop in plan.parts:
        # The same fraction from the start of each part; a single part is cut into 64.
        edges = np.linspace(start, stop, 65 if len(plan.parts) == 1 else 2).astype(int).tolist()
        for first, last in itertools.pairwise(edges):
            pieces.append(file.read(first, min(last, first + math.ceil((last - first) * min(1.0, each)))))
    values = np.concatenate(pieces)
    return values[np.argsort(words(seed, SAMPLE, 0, len(values)), kind="stable")][:MEASURED]


def _show(console: Console, found: dict[str, Any]) -> None:
    table = Table("question", "log10 E", "verdict", box=None)
    for key, question in _QUESTIONS.items():
        table.add_row(question, f"{found[key]['log10_e']:.2f}", found[key]["verdict"])
    console.print(table)
    for effect in found["order"]["smallest_effects"]:
        console.print(
            f"smallest effect that would have been seen ({effect['how']}): {effect['kind']} {effect['size']:.6g}, "
            f"{effect['bits_per_value']:.2g} bits per value",
            markup=False,
        )
