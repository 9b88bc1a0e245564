"""The text family's commands: train, evaluate, generate, make, sheet, votes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bestguess.command import UserError, check_range, nearest
from bestguess.config import runs
from bestguess.files import check_writable, plain
from bestguess.report.bar import Bar
from bestguess.report.progress import results_table
from bestguess.text import page
from bestguess.text.config import ERRANDS, TextConfig
from bestguess.text.errands.publish import write_errands
from bestguess.text.family import FAMILY
from bestguess.text.flags import EvaluateFlags, GenerateFlags, MakeFlags, SheetFlags, VotesFlags
from bestguess.text.generation import GenerationConfig
from bestguess.text.sheet import Side, compare, name_of, write_sheet
from bestguess.text.tokens import UNK
from bestguess.text.votes import counted, read_votes
from bestguess.text.written import one_written
from bestguess.workflow import commands
from bestguess.workflow.report import write_report
from bestguess.workflow.training import Training, evaluated_config, load_training, read_training_config

if TYPE_CHECKING:
    from rich.console import Console

    from bestguess.family import Family


def train(family: Family, flags: Any, console: Console) -> dict[str, Any]:
    """Train, evaluate, let the model write, make the page; return the figures of the test documents."""
    found = commands.train(family, flags, console)
    _say(found, console)
    return found


def evaluate(flags: EvaluateFlags, console: Console) -> dict[str, Any]:
    """Evaluate a folder's runs, after the self-test; write the page; return the figures."""
    began = time.perf_counter()
    config = commands.overridden(read_training_config(FAMILY, flags.run), dataclasses.replace(flags, corpus=None))
    if flags.corpus is not None:
        config = _moved(config, flags.run, flags.corpus)
    training = load_training(FAMILY, flags.run, config)
    results = commands.evaluate_training(training, console)
    commands.print_results(training, results, console)
    report = write_report(training, results)
    found = plain(training.works.answer(results) | {"report": report, "seconds": time.perf_counter() - began})
    _say(found, console)
    console.print(f"page: {report}", soft_wrap=True)
    return found


def _moved(config: TextConfig, run: Path, corpus: Path) -> TextConfig:
    """Return the config with its corpus at another path; UserError where that is not the corpus of the training."""
    if config.task.corpus == ERRANDS:
        raise UserError(f"--corpus {corpus}: the training generated its documents; drop the flag")
    moved = dataclasses.replace(config, task=dataclasses.replace(config.task, corpus=str(corpus.absolute())))
    then = commands.read_results(run, FAMILY.works.of(config).parts[0]) or {}
    now = FAMILY.works.of(moved).task(runs(moved)[0].config).about.sha256
    if then.get("sha256") not in (None, now):
        raise UserError(
            f"--corpus {corpus}: not the corpus of the training, or changed since (SHA-256 {now[:12]}…, then "
            f"{then['sha256'][:12]}…); use the original"
        )
    return moved


def _say(found: Mapping[str, Any], console: Console) -> None:
    """Print facts and samples of the run that is shown."""
    one = found["runs"][found["shown"]]
    if one["facts"]:
        console.print(results_table(*page.facts_table(one)))
    for sample in found["samples"][:2]:
        for name in ("source", "marked", "reference"):
            console.print(f"{name.replace('marked', 'generated')}: {sample[name]}", soft_wrap=True)


def generate(flags: GenerateFlags, console: Console) -> dict[str, Any]:
    """Print and return the target that a model writes for a source, its log-probability, and its facts."""
    settings = _settings(flags)
    if flags.text is not None and flags.index is not None:
        raise UserError(f"--index {flags.index}: cannot be combined with --text; give one of them")
    config = evaluated_config(FAMILY, flags.run, read_training_config(FAMILY, flags.run))
    training = load_training(FAMILY, flags.run, config)
    number = _number(training, "--number", flags.number)
    about = training.tasks[number].about
    if flags.text is None:
        index = flags.index or 0
        if not 0 <= index < len(about.asked):
            raise UserError(f"--index {index}: the test part has documents 0 to {len(about.asked) - 1}")
        source = about.asked.source[index, : about.asked.source_length[index]]
    else:
        source = np.asarray(about.encode(flags.text), np.int32)
        if about.known is not None and (source == UNK).any():
            unknown = [word for word in flags.text.split() if UNK in about.encode(word)]
            raise UserError(
                f"--text: the vocabulary has no {', '.join(map(repr, unknown[:5]))}; use --index for a test document"
            )
        most = about.window or about.source_width
        if not 1 <= len(source) <= most:
            raise UserError(f"--text: {len(source)} tokens; the model reads 1 to {most}")
    found = one_written(about, training.model(number), settings, source)
    console.print(found["text"], soft_wrap=True)
    console.print(f"log-probability {found['log_probability']:.4f} nats", style="dim")
    if found["unjudged"]:
        console.print(f"facts are not judged: {found['unjudged']}", style="dim", soft_wrap=True)
    if found["facts"]:
        rows = [[fact["fact"], fact["value"], fact["verdict"]] for fact in found["facts"]]
        console.print(results_table(["fact", "written", "verdict"], rows))
    return plain(found)


def _number(training: Training, flag: str, given: int | None) -> int:
    """Return the run of a folder that a flag names, or the one that validation data select."""
    number = training.shown() if given is None else given
    if not 0 <= number < len(training.runs):
        raise UserError(f"{flag} {number}: the folder has runs 0 to {len(training.runs) - 1}")
    return number


def _settings(flags: GenerationConfig) -> GenerationConfig:
    """Return the part of the flags that says how text is generated, checked."""
    found = GenerationConfig(**{one.name: getattr(flags, one.name) for one in dataclasses.fields(GenerationConfig)})
    found.check()
    return found


def make(flags: MakeFlags, console: Console) -> dict[str, Any]:
    """Write the corpus; return where, how many documents, the floor, the hash."""
    if flags.corpus != ERRANDS:
        raise UserError(f"CORPUS {flags.corpus}: cannot be made{nearest(flags.corpus, [ERRANDS])} (give {ERRANDS})")
    with Bar(console, flags.documents, "making") as bar:
        found = write_errands(flags.out, flags.world, flags.task, flags.documents, flags.seed, bar.update)
    console.print(f"{found['documents']:,} documents: {found['path']}", soft_wrap=True)
    return plain(found)


def sheet(flags: SheetFlags, console: Console) -> dict[str, Any]:
    """Write the blind sheet of two runs; return where it is, how many documents it has, and how many were left out."""
    settings = _settings(flags)
    check_range("--documents", flags.documents, 1)
    check_range("--seed", flags.seed, 0)
    if not flags.question.strip():
        raise UserError("--question: is empty; say what people are to compare")
    check_writable(flags.out, "HTML")
    with console.status("generating"):
        sides = side(flags.run_a, "--number-a", flags.number_a), side(flags.run_b, "--number-b", flags.number_b)
        found = compare(sides, settings, flags.documents, flags.seed)
    path = write_sheet(flags.out, found, flags.question)
    left_out = f"; {found.identical:,} left out, for which both runs write the same" if found.identical else ""
    console.print(f"{len(found.items):,} documents{left_out}: {path}", soft_wrap=True)
    about = {"sheet": name_of(found.key()), "documents": len(found.items), "identical": found.identical}
    return plain({"path": path, **about, "seed": found.seed})


def side(folder: Path, flag: str, given: int | None) -> Side:
    """Return a run of a folder: the one that a flag names, or that validation data select."""
    training = load_training(FAMILY, folder)
    number = _number(training, flag, given)
    name = str(folder) if given is None else f"{folder}, run {number}"
    return Side(name, training.tasks[number].about, training.model(number))


def votes(flags: VotesFlags, console: Console) -> dict[str, Any]:
    """Print and return how often each run won, with exact intervals."""
    if not flags.votes:
        raise UserError("VOTES: give a file that the sheet saved")
    found = counted([read_votes(path) for path in flags.votes])
    console.print(results_table(*page.votes_table(found)))
    return plain(found)
