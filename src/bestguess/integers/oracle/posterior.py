"""What the oracle says of a prefix, in words: likely terms, probabilities, which part of it fits. Imports no JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bestguess.integers.config import CLASSES
from bestguess.integers.oracle.exact import Oracle
from bestguess.integers.words import said


@dataclass(frozen=True)
class Guess:
    """A term and its probability to come next."""

    value: int
    probability: float


def guesses(probabilities: np.ndarray, count: int) -> list[Guess]:
    """Return the `count` most probable terms of [256] probabilities, those of probability 0 left out."""
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [Guess(int(value), float(probabilities[value])) for value in order if probabilities[value] > 0]


def fits_in_part(oracle: Oracle, terms: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the longest beginning and the longest end of `terms` that some recurrence begins with, modulo 256."""
    n = len(terms)
    fits = lambda part: oracle.predict([term % CLASSES for term in part]) is not None  # noqa: E731
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
