"""`integers generate`: a trained model and the oracle continue a sequence. Imports nothing heavy at first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from bestguess.command import UserError
from bestguess.integers.commands.terms import check_counts, parse_residues
from bestguess.integers.family import FAMILY

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

MOST = {"steps": 10_000, "beams": 1000, "top": 10**6}
"""What is asked for at most: a beam keeps the probabilities of every term."""


@dataclass(frozen=True)
class GenerateFlags:
    """Continue a sequence term by term, and compare the model's guesses with the oracle's.

    The context is a sliding window as long as in training, for the model and for the oracle.
    """

    run: tyro.conf.Positional[Path]
    """Folder written by `integers train`."""
    terms: tyro.conf.Positional[tuple[str, ...]]
    """First terms of the sequence, integers from 0 to 255, such as 2 4 6 8, or in one string: "2, 4, 6, 8"."""
    steps: int = 8
    """Number of terms to generate."""
    method: Literal["cached", "naive", "parallel"] = "cached"
    """Decoding method: one term at a time with cached keys and values, one term at a time without a cache, or all \
terms guessed in parallel until no guess changes. All three give the same terms."""
    temperature: float = 0.0
    """Sampling temperature; 0 selects the most probable term (greedy decoding)."""
    beams: int = 1
    """Beam width; 1 disables beam search."""
    seed: int = 0
    """Random seed for sampling; used if --temperature is above 0."""
    top: int = 3
    """Number of guesses to print for each term."""
    number: int | None = None
    """Index of the run in the folder, from 0 (default: the run with the best validation score)."""


def generate(flags: GenerateFlags, console: Console) -> dict[str, Any]:
    """Go on with a sequence; print and return each new term with the model's guesses and the oracle's."""
    from bestguess.files import plain
    from bestguess.integers.commands.select import run_to_use
    from bestguess.integers.model.decode import beam_search
    from bestguess.integers.model.decode import generate as decode
    from bestguess.integers.oracle.exact import oracle_of
    from bestguess.integers.oracle.posterior import as_json
    from bestguess.report.progress import results_table
    from bestguess.workflow.training import load_training

    _check(flags)
    training = load_training(FAMILY, flags.run)
    config = training.runs[0].config
    length = config.task.length
    terms = parse_residues(flags.terms, length)
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


def _check(flags: GenerateFlags) -> None:
    check_counts(flags, MOST)
    if not 0 <= flags.temperature < float("inf"):
        raise UserError(f"--temperature {flags.temperature:g}: must be finite and not negative")
    if flags.beams > 1 and flags.temperature > 0:
        raise UserError(f"--beams {flags.beams}: searches for the most probable terms; drop --temperature")
    if flags.beams > 1 and flags.method == "parallel":
        raise UserError("--method parallel: guesses one sequence; a beam search takes cached or naive")


def _told(p: np.ndarray, top: int) -> str:
    """Return the likeliest terms with their probabilities."""
    from bestguess.integers.oracle.posterior import guesses, probability

    return ", ".join(f"{one.value} ({probability(one.probability)})" for one in guesses(p, top))
