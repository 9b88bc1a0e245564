"""Which recurrences fit a prefix, with their posterior probabilities, and what follows from them. Imports no JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bestguess.command import UserError
from bestguess.integers.config import CLASSES
from bestguess.integers.oracle.exact import Oracle


@dataclass(frozen=True)
class Recurrence:
    """A recurrence that fits a prefix."""

    formula: str
    words: str
    family: str
    probability: float
    """P(recurrence | prefix)."""
    next: int | None
    """The term that it puts next; None where its sequence ends."""


@dataclass(frozen=True)
class Guess:
    """A term and its probability to come next."""

    value: int
    probability: float


def parse_terms(words: Sequence[str], longest: int) -> tuple[int, ...]:
    """Return terms as typed; UserError in one line if there are none, too many, or one is no integer 0..255."""
    if not words:
        raise UserError("no terms given; name the beginning of a sequence, such as 2 4 8 16")
    terms = []
    for word in words:
        try:
            term = int(word.rstrip(",") if len(words) > 1 else word)
        except ValueError:
            raise UserError(f"term {word!r}: not an integer; terms are integers from 0 to {CLASSES - 1}") from None
        if not 0 <= term < CLASSES:
            raise UserError(
                f"term {term}: outside 0..{CLASSES - 1}; sequences are shown modulo {CLASSES}, "
                f"so write {term % CLASSES} if you mean that"
            )
        terms.append(term)
    if len(terms) > longest:
        raise UserError(
            f"{len(terms)} terms: the context holds at most {longest}; give the last {longest}, or the first"
        )
    return tuple(terms)


def recurrences(oracle: Oracle, terms: Sequence[int]) -> list[Recurrence]:
    """Return the recurrences that begin with `terms`, most probable first, those with one formula as one.

    Empty where none fits. Probabilities sum to 1.
    """
    table = oracle.table
    rows = table.starting_with(terms)
    if not len(rows):
        return []
    sources = np.arange(table.first_source[rows[0]], table.first_source[rows[-1] + 1])
    # Shorter rows of overflow="end" may stand between those that fit.
    row = np.searchsorted(table.first_source, sources, "right") - 1
    kept = np.isin(row, rows)
    sources, row = sources[kept], row[kept]
    family = table.source_family[sources]
    phase = np.array([one.phase for one in table.families]) - 1
    weight = oracle.mixture[phase[family]] * table.source_prior[sources]
    if not weight.sum() > 0:
        return []
    weight /= weight.sum()
    grids = {number: table.families[number].parameters() for number in np.unique(family)}
    found: dict[str, Recurrence] = {}
    for i in np.argsort(-weight, kind="stable"):
        one, grid = table.families[family[i]], grids[family[i]]
        choice = table.source_choice[sources[i]]
        formula, words = one.describe({name: int(values[choice]) for name, values in grid.items()})
        more = found[formula].probability if formula in found else 0.0
        goes_on = table.lengths[row[i]] > len(terms) < table.rows.shape[1]
        following = int(table.rows[row[i], len(terms)]) if goes_on else None
        found[formula] = Recurrence(formula, words, one.name, more + float(weight[i]), following)
    return sorted(found.values(), key=lambda one: -one.probability)


def guesses(probabilities: np.ndarray, count: int) -> list[Guess]:
    """Return the `count` most probable terms of [256] probabilities, those of probability 0 left out."""
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [Guess(int(value), float(probabilities[value])) for value in order if probabilities[value] > 0]


def fits_in_part(oracle: Oracle, terms: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the longest beginning and the longest end of `terms` that some recurrence begins with."""
    n = len(terms)
    fits = lambda part: oracle.predict(part) is not None  # noqa: E731
    beginning = next((tuple(terms[:i]) for i in range(n, 0, -1) if fits(terms[:i])), ())
    end = next((tuple(terms[i:]) for i in range(n) if fits(terms[i:])), ())
    return beginning, end


def probability(value: float) -> str:
    """Return a probability as a percentage: never 0 or 100 unless it is."""
    if value == 0:
        return "0 %"
    if 0 < value < 0.0005:
        return "< 0.1 %"
    if 0.9995 < value < 1 - 1e-9:
        return "> 99.9 %"
    return "100 %" if value > 0.9995 else f"{100 * value:.1f} %"


def comparison(p: np.ndarray, best: np.ndarray, named: Callable[[int], str] = str) -> str:
    """Return where a model's prediction differs from the oracle's, in one sentence; both [256].

    named: how a residue is written.
    """
    choice, right = int(p.argmax()), int(best.argmax())
    with np.errstate(divide="ignore"):
        regret = float(np.sum(np.where(best > 0, best * (np.log(np.where(best > 0, best, 1)) - np.log(p)), 0)))
    # A tie at the top is no difference: any of the most probable is a best guess.
    same = best[choice] > best[right] - 1e-9
    told = f"they differ: the model expects {named(choice)}, the oracle {named(right)}"
    verdict = f"both expect {named(choice)}" if same else told
    return f"{verdict}; the model's regret here is {regret:.2g} nats"


def as_json(p: np.ndarray) -> list[dict[str, Any]]:
    """Return the probable terms of [256] probabilities, most probable first."""
    return [
        {"value": one.value, "probability": one.probability} for one in guesses(p, CLASSES) if one.probability > 1e-4
    ]


def no_fit(oracle: Oracle, terms: tuple[int, ...]) -> str:
    """Return the line that says that no recurrence begins with `terms`, and which part of them one does."""
    beginning, end = fits_in_part(oracle, terms)
    hint = " and ".join(
        f"the {place} {said(part)} does" for part, place in ((beginning, "beginning"), (end, "end")) if part
    )
    return f"no recurrence of the generator begins with {said(terms)}" + (f"; {hint}" if hint else "")


def said(terms: tuple[int, ...]) -> str:
    """Return terms as a list with commas."""
    return ", ".join(map(str, terms))


def listed(found: list[Guess]) -> str:
    """Return guesses with their probabilities as a list with commas."""
    return ", ".join(f"{one.value} ({probability(one.probability)})" for one in found)
