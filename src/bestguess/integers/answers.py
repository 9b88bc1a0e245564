"""The commands that answer a question about one sequence, with the oracle beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bestguess.command import UserError
from bestguess.integers.explain import Guess, fits_in_part, guesses, parse_terms, recurrences
from bestguess.integers.flags import ExplainFlags
from bestguess.integers.oracle import Oracle
from bestguess.integers.table import CLASSES, MAX_LENGTH, make_table
from bestguess.report.progress import results_table

if TYPE_CHECKING:
    from rich.console import Console


def explain(flags: ExplainFlags, console: Console) -> dict[str, Any]:
    """Print the recurrences that fit, and the next term; return all of both."""
    if not 2 <= flags.length <= MAX_LENGTH:
        raise UserError(f"--length {flags.length}: must be from 2 to {MAX_LENGTH}")
    if flags.top < 1:
        raise UserError(f"--top {flags.top}: must be positive")
    terms = parse_terms(flags.terms, flags.length)
    oracle = Oracle(make_table(flags.length, flags.overflow))
    found = recurrences(oracle, terms)
    probabilities = oracle.predict(terms)
    following = [] if probabilities is None else guesses(probabilities, CLASSES)
    if not found:
        console.print(no_fit(oracle, terms))
    else:
        shown = [[one.formula, one.words, probability(one.probability)] for one in found[: flags.top]]
        more = len(found) - len(shown)
        title = f"{_said(terms)}: {len(found)} recurrence{'s' * (len(found) > 1)} fit{'s' * (len(found) == 1)}"
        console.print(results_table(["recurrence", "in words", "probability"], shown, title))
        if more:
            rest = sum(one.probability for one in found[flags.top :])
            console.print(f"[dim]and {more} more, together {probability(rest)}; --top shows more, --json all[/dim]")
        console.print(
            f"next: {_list(following[: flags.top])}" if following else "next: nothing, every sequence ends here"
        )
    return {
        "oracle": [{"value": one.value, "probability": one.probability} for one in following],
        "recurrences": [{"formula": one.formula, "probability": one.probability} for one in found],
    }


def no_fit(oracle: Oracle, terms: tuple[int, ...]) -> str:
    """Return the line that says that no recurrence begins with `terms`, and which part of them one does."""
    beginning, end = fits_in_part(oracle, terms)
    hint = " and ".join(
        f"the {place} {_said(part)} does" for part, place in ((beginning, "beginning"), (end, "end")) if part
    )
    return f"no recurrence of the generator begins with {_said(terms)}" + (f"; {hint}" if hint else "")


def probability(value: float) -> str:
    """Return a probability as a percentage: never 0 or 100 unless it is."""
    if 0 < value < 0.0005:
        return "< 0.1 %"
    if 0.9995 < value < 1 - 1e-9:
        return "> 99.9 %"
    return "100 %" if value > 0.9995 else f"{100 * value:.1f} %"


def _said(terms: tuple[int, ...]) -> str:
    return ", ".join(map(str, terms))


def _list(found: list[Guess]) -> str:
    return ", ".join(f"{one.value} ({probability(one.probability)})" for one in found)
