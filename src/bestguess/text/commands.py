"""The text family's commands: train, evaluate, generate, make."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bestguess.command import UserError, nearest
from bestguess.files import plain
from bestguess.report.bar import Bar
from bestguess.report.progress import results_table
from bestguess.text import page
from bestguess.text.config import ERRANDS
from bestguess.text.errands.publish import write_errands
from bestguess.text.family import FAMILY
from bestguess.text.flags import EvaluateFlags, GenerateFlags, MakeFlags
from bestguess.text.generation import GenerationConfig
from bestguess.text.tokens import UNK
from bestguess.text.written import one_written
from bestguess.workflow import commands
from bestguess.workflow.report import write_report
from bestguess.workflow.training import load_training, read_training_config

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
    config = commands.overridden(read_training_config(FAMILY, flags.run), flags)
    training = load_training(FAMILY, flags.run, config)
    results = commands.evaluate_training(training, console)
    commands.print_results(training, results, console)
    report = write_report(training, results)
    found = plain(training.works.answer(results) | {"report": report})
    _say(found, console)
    console.print(f"page: {report}", soft_wrap=True)
    return found


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
    settings = GenerationConfig(**{one.name: getattr(flags, one.name) for one in dataclasses.fields(GenerationConfig)})
    settings.check()
    if flags.text is not None and flags.index is not None:
        raise UserError(f"--index {flags.index}: goes with no --text; give one of them")
    training = load_training(FAMILY, flags.run)
    number = training.shown() if flags.number is None else flags.number
    if not 0 <= number < len(training.runs):
        raise UserError(f"--number {number}: the folder has runs 0 to {len(training.runs) - 1}")
    about = training.tasks[number].about
    if flags.text is None:
        index = flags.index or 0
        if not 0 <= index < len(about.test):
            raise UserError(f"--index {index}: the test part has documents 0 to {len(about.test) - 1}")
        source = about.test.source[index, : about.test.source_length[index]]
    else:
        source = np.asarray(about.encode(flags.text), np.int32)
        if about.known is not None and (source == UNK).any():
            unknown = [word for word in flags.text.split() if UNK in about.encode(word)]
            raise UserError(f"--text: the world has no {', '.join(map(repr, unknown[:5]))}; see --index for a dialogue")
        if not 1 <= len(source) <= about.source_width:
            raise UserError(f"--text: {len(source)} tokens; the model reads 1 to {about.source_width}")
    found = one_written(about, training.model(number), settings, source)
    console.print(found["text"], soft_wrap=True)
    console.print(f"log-probability {found['log_probability']:.4f} nats", style="dim")
    if found["unjudged"]:
        console.print(f"facts are not judged: {found['unjudged']}", style="dim", soft_wrap=True)
    if found["facts"]:
        rows = [[fact["fact"], fact["value"], fact["verdict"]] for fact in found["facts"]]
        console.print(results_table(["fact", "written", "verdict"], rows))
    return plain(found)


def make(flags: MakeFlags, console: Console) -> dict[str, Any]:
    """Write the corpus; return where, how many documents, the floor, the hash."""
    if flags.corpus != ERRANDS:
        raise UserError(f"CORPUS {flags.corpus}: cannot be made{nearest(flags.corpus, [ERRANDS])} (give {ERRANDS})")
    with Bar(console, flags.documents, "making") as bar:
        found = write_errands(flags.out, flags.world, flags.task, flags.documents, flags.seed, bar.update)
    console.print(f"{found['documents']:,} documents: {found['path']}", soft_wrap=True)
    return plain(found)
