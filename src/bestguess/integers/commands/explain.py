"""`integers explain`: the recurrences that fit, without a model. Imports nothing heavy at first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import tyro

from bestguess.command import check_range
from bestguess.integers.commands.terms import parse_integers
from bestguess.integers.words import number, said

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class ExplainFlags:
    """List the recurrences that fit the start of a sequence, their probabilities, and the likely next terms.

    Uses no model: the probabilities are the exact Bayes posterior over all recurrences of the generator.
    """

    terms: tyro.conf.Positional[tuple[str, ...]]
    """First terms of the sequence, any integers, such as 1 1 2 3 5 8; of more than --length, the last are used."""
    top: int = 5
    """Number of recurrences and of next terms to print; --json returns all of them."""
    length: int = 8
    """Context length in terms, from 2 to 16."""
    overflow: Literal["wrap", "end"] = "wrap"
    """Handling of terms outside 0..255: reduce them modulo 256, or end the sequence."""
    prior: Literal["narrow", "wide"] = "wide"
    """Prior over sequences: of 19 families, or of 39."""


def explain(flags: ExplainFlags, console: Console) -> dict[str, Any]:
    """Print the recurrences that fit, the simplest of those that go on alike, and the next term; return both."""
    from bestguess.integers.config import MAX_LENGTH, IntegerTaskConfig
    from bestguess.integers.oracle.exact import oracle_of
    from bestguess.integers.oracle.fitting import fit
    from bestguess.integers.oracle.posterior import no_fit, probability
    from bestguess.report.progress import results_table

    check_range("--length", flags.length, 2, MAX_LENGTH)
    check_range("--top", flags.top, 1)
    terms = parse_integers(flags.terms)
    given, terms = len(terms), terms[-flags.length :]
    task = IntegerTaskConfig(length=flags.length, overflow=flags.overflow, prior=flags.prior)
    answer = fit(task, terms)
    found = answer.fits
    following = list(answer.next.items())
    if len(terms) < given:
        console.print(f"the last {len(terms)} of {given} terms are used; --length takes up to {MAX_LENGTH}")
    if not found:
        console.print(no_fit(oracle_of(task), terms), soft_wrap=True)
    else:
        alike = lambda one: f" (and {len(one.others)} alike)" if one.others else ""  # noqa: E731
        shown = [[one.formula, one.words + alike(one), probability(one.probability)] for one in found[: flags.top]]
        many = len(found) + sum(len(one.others) for one in found)
        title = f"{said(terms)}: {many} recurrence{'s' * (many > 1)} fit{'s' * (many == 1)}"
        console.print(results_table(["recurrence", "in words", "probability"], shown, title))
        if len(found) > flags.top:
            rest = sum(one.probability for one in found[flags.top :])
            told = f"and {len(found) - flags.top} more, together {probability(rest)}; --top shows more, --json all"
            console.print(told, style="dim")
        listed = ", ".join(f"{number(value)} ({probability(chance)})" for value, chance in following[: flags.top])
        modulo = "" if answer.exact else " modulo 256, as the terms fit that way alone"
        told = f"next{modulo}: {listed}" if following else "next: nothing, every sequence ends here"
        console.print(told, soft_wrap=True)
    return {
        "oracle": [{"value": value, "probability": chance} for value, chance in following],
        "recurrences": [
            {"formula": one.formula, "words": one.words, "probability": one.probability, "alike": list(one.others)}
            for one in found
        ],
    }
