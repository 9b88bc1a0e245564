"""`integers predict`: what comes next, by the bundled model and by the oracle. Imports nothing heavy at first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from bestguess.command import UserError

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console


@dataclass(frozen=True)
class PredictFlags:
    """Predict the next term with the bundled model, compared with the exact Bayes predictor."""

    terms: tyro.conf.Positional[tuple[str, ...]]
    """First terms of the sequence, integers from 0 to 255, such as 2 4 8 16."""
    model: Path | None = None
    """Model file written by `integers export` (default: the bundled model)."""
    top: int = 5
    """Number of guesses to print; --json returns all with probability above 0.0001."""


def predict(flags: PredictFlags, console: Console) -> dict[str, Any]:
    """Print the model's guesses, the oracle's beside them, and where they differ; return both."""
    from bestguess.integers.model.portable import SHIPPED, load_portable
    from bestguess.integers.oracle.exact import oracle_of
    from bestguess.integers.oracle.posterior import as_json, comparison, no_fit, parse_terms, probability, said
    from bestguess.report.progress import results_table

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
    console.print(results_table(columns, rows, f"After {said(terms)}"))
    console.print(comparison(p, best) if best is not None else no_fit(oracle, terms))
    return {"next": as_json(p), "oracle": [] if best is None else as_json(best)}


def _shown(p: np.ndarray, best: np.ndarray | None, top: int) -> list[int]:
    """The most probable terms of both, the model's first."""
    from bestguess.integers.oracle.posterior import guesses

    values = [one.value for one in guesses(p, top)]
    return values + [one.value for one in guesses(best, top) if one.value not in values] if best is not None else values
