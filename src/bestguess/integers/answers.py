"""The commands that answer a question about one sequence, with the oracle beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bestguess.command import UserError
from bestguess.integers.config import CLASSES, MAX_LENGTH
from bestguess.integers.explain import Guess, fits_in_part, guesses, parse_terms, probability, recurrences
from bestguess.integers.flags import ExplainFlags, PredictFlags
from bestguess.integers.oracle import Oracle, oracle_of
from bestguess.integers.portable import SHIPPED, load_portable
from bestguess.integers.table import make_table
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
            told = f"and {more} more, together {probability(rest)}; --top shows more, --json all"
            console.print(told, style="dim")
        console.print(
            f"next: {_list(following[: flags.top])}" if following else "next: nothing, every sequence ends here"
        )
    return {
        "oracle": [{"value": one.value, "probability": one.probability} for one in following],
        "recurrences": [{"formula": one.formula, "probability": one.probability} for one in found],
    }


def predict(flags: PredictFlags, console: Console) -> dict[str, Any]:
    """Print the model's guesses, the oracle's beside them, and where they differ; return both."""
    if flags.top < 1:
        raise UserError(f"--top {flags.top}: must be positive")
    model = load_portable(SHIPPED if flags.model is None else flags.model)
    terms = parse_terms(flags.terms, model.config.task.length)
    oracle = oracle_of(model.config.task)
    p, best = model.probabilities(terms), oracle.predict(terms)
    columns = ["next", "model", "oracle"]
    rows = [
        [str(value), probability(float(p[value])), "–" if best is None else probability(float(best[value]))]
        for value in _shown(p, best, flags.top)
    ]
    console.print(results_table(columns, rows, f"After {_said(terms)}"))
    console.print(comparison(p, best) if best is not None else no_fit(oracle, terms))
    return {"next": as_json(p), "oracle": [] if best is None else as_json(best)}


def comparison(p: np.ndarray, best: np.ndarray) -> str:
    """Return where a model's prediction differs from the oracle's, in one sentence; both [256]."""
    choice, right = int(p.argmax()), int(best.argmax())
    with np.errstate(divide="ignore"):
        regret = float(np.sum(np.where(best > 0, best * (np.log(np.where(best > 0, best, 1)) - np.log(p)), 0)))
    # A tie at the top is no difference: any of the most probable is a best guess.
    same = best[choice] > best[right] - 1e-9
    verdict = f"both expect {choice}" if same else f"they differ: the model expects {choice}, the oracle {right}"
    return f"{verdict}; the model's regret here is {regret:.2g} nats"


def as_json(p: np.ndarray) -> list[dict[str, Any]]:
    """Return the probable terms of [256] probabilities, most probable first."""
    return [
        {"value": one.value, "probability": one.probability} for one in guesses(p, CLASSES) if one.probability > 1e-4
    ]


def _shown(p: np.ndarray, best: np.ndarray | None, top: int) -> list[int]:
    """The most probable terms of both, the model's first."""
    values = [one.value for one in guesses(p, top)]
    return values + [one.value for one in guesses(best, top) if one.value not in values] if best is not None else values


def no_fit(oracle: Oracle, terms: tuple[int, ...]) -> str:
    """Return the line that says that no recurrence begins with `terms`, and which part of them one does."""
    beginning, end = fits_in_part(oracle, terms)
    hint = " and ".join(
        f"the {place} {_said(part)} does" for part, place in ((beginning, "beginning"), (end, "end")) if part
    )
    return f"no recurrence of the generator begins with {_said(terms)}" + (f"; {hint}" if hint else "")


def _said(terms: tuple[int, ...]) -> str:
    return ", ".join(map(str, terms))


def _list(found: list[Guess]) -> str:
    return ", ".join(f"{one.value} ({probability(one.probability)})" for one in found)
