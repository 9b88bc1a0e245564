"""The integers family's own commands on a trained folder: generate, export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bestguess.command import UserError
from bestguess.files import plain
from bestguess.integers.answers import as_json
from bestguess.integers.decode import beam_search
from bestguess.integers.decode import generate as decode
from bestguess.integers.explain import guesses, parse_terms, probability
from bestguess.integers.family import FAMILY
from bestguess.integers.flags import ExportFlags, GenerateFlags
from bestguess.integers.oracle import oracle_of
from bestguess.integers.portable import save_portable
from bestguess.report.progress import results_table
from bestguess.train.checkpoint import named_leaves
from bestguess.workflow.training import Training, load_training, read_training_config

if TYPE_CHECKING:
    from rich.console import Console


def generate(flags: GenerateFlags, console: Console) -> dict[str, Any]:
    """Go on with a sequence; print and return each new term with the model's guesses and the oracle's."""
    _check(flags)
    training = load_training(FAMILY, flags.run)
    config = training.runs[0].config
    length = config.task.length
    terms = parse_terms(flags.terms, length)
    model = training.model(run_to_use(training, flags.number))
    if flags.beams > 1:
        found = beam_search(model, terms, flags.steps, length, flags.beams, flags.method)
    else:
        one = decode(
            model, terms, flags.steps, length, method=flags.method, temperature=flags.temperature, seed=flags.seed
        )
        found = [one]
    first, oracle = found[0], oracle_of(config.task)
    steps, rows, apart, unknown = [], [], [], False
    for i, term in enumerate(first.terms):
        window = [*terms, *first.terms[:i]][-length:]
        p, best = first.probabilities[i], oracle.predict(window)
        differ = best is not None and bool(best[p.argmax()] < best.max() - 1e-9)
        unknown |= best is None
        apart += [len(terms) + i + 1] if differ else []
        steps.append(
            {
                "term": term,
                "next": as_json(p),
                "oracle": [] if best is None else as_json(best),
                "differ": None if best is None else differ,
            }
        )
        told = "nothing fits" if best is None else _told(best, flags.top)
        rows.append([f"{len(terms) + i + 1}", f"{term}", _told(p, flags.top), told, "differ" if differ else ""])
    title = f"{', '.join(map(str, terms))} goes on {', '.join(map(str, first.terms))}"
    console.print(results_table(["place", "term", "model", "oracle", ""], rows, title))
    if apart:
        console.print(f"model and oracle differ on the best guess at place {', '.join(map(str, apart))}")
    elif not unknown:
        console.print("model and oracle agree on every best guess")
    if unknown:
        console.print("where nothing fits, no recurrence of the generator begins with the terms in the window")
    if len(terms) + flags.steps > length + 1:
        console.print(f"both see the last {length} terms", style="dim")
    beams = [{"terms": one.terms, "log_probability": one.log_probability} for one in found]
    if flags.beams > 1:
        table = [[f"{one.log_probability:.3f}", ", ".join(map(str, one.terms))] for one in found]
        console.print(results_table(["log p (nats)", "terms"], table, f"The {len(found)} beams"))
    return plain({"terms": first.terms, "log_probability": first.log_probability, "steps": steps, "beams": beams})


def export(flags: ExportFlags, console: Console) -> dict[str, Any]:
    """Write one run's best weights as one file."""
    training = load_training(FAMILY, flags.run)
    number = run_to_use(training, flags.number)
    weights = {name: np.asarray(leaf) for name, leaf in named_leaves(training.model(number))}
    config = read_training_config(FAMILY, flags.run)
    try:
        path = save_portable(flags.out, config, weights, flags.half)
    except OverflowError as error:
        raise UserError(f"--half: {error}; leave it out") from error
    size = path.stat().st_size
    console.print(f"run {number}: {sum(w.size for w in weights.values()):,} parameters, {size:,} bytes: {path}")
    return plain({"model": path, "number": number, "bytes": size})


def run_to_use(training: Training, number: int | None) -> int:
    """Return the run of a folder that was asked for, or the one that validation data select.

    Raises UserError where there is no such run, or where runs differ in α: then their scores do not compare.
    """
    runs = training.runs
    if number is None:
        if len({run.setting for run in runs}) > 1:
            raise UserError(
                f"--number: the folder's runs differ in α, and so do their scores; give one of 0..{len(runs) - 1}"
            )
        return training.shown()
    if not 0 <= number < len(runs):
        raise UserError(f"--number {number}: the folder has runs 0..{len(runs) - 1}")
    return number


def _check(flags: GenerateFlags) -> None:
    for name in ("steps", "beams", "top"):
        if getattr(flags, name) < 1:
            raise UserError(f"--{name} {getattr(flags, name)}: must be positive")
    if not 0 <= flags.temperature < float("inf"):
        raise UserError(f"--temperature {flags.temperature:g}: must be finite and not negative")
    if flags.beams > 1 and flags.temperature > 0:
        raise UserError(f"--beams {flags.beams}: searches for the most probable terms; drop --temperature")
    if flags.beams > 1 and flags.method == "parallel":
        raise UserError("--method parallel: guesses one sequence; a beam search takes cached or naive")


def _told(p: np.ndarray, top: int) -> str:
    return ", ".join(f"{one.value} ({probability(one.probability)})" for one in guesses(p, top))
