"""How close generated summaries come to their references: ROUGE by length, beside the most frequent summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bestguess.text.metrics import ROUGE, rouge_of_documents

STRATA = {"below 20": (0, 20), "20 to 99": (20, 100), "100 to 299": (100, 300), "300 and more": (300, 1 << 62)}
"""Lengths of references, in characters. Short ones repeat: a model that knows a few by heart does well there."""
_F = 2


def rouge_by_length(references: Sequence[str], texts: Sequence[str], frequent: str) -> dict[str, Any]:
    """Return the mean F of ROUGE-1, -2, -L and -Lsum (0 to 1), of all documents and by length of the reference.

    frequent: the summary that is most frequent in training; `baseline` has the figures of writing it every time. Texts
    are split as `metrics.words` says, without stemming; the sentences of -Lsum are lines.
    """
    ours, frequent_ones = (rouge_of_documents(references, of) for of in (texts, [frequent] * len(references)))
    length = np.array([len(reference) for reference in references])

    def of(rows: np.ndarray) -> dict[str, Any]:
        means = {name: float(ours[name][rows, _F].mean()) for name in ROUGE}
        baseline = {name: float(frequent_ones[name][rows, _F].mean()) for name in ROUGE}
        return {"documents": int(rows.sum()), **means, "baseline": baseline}

    strata = {name: (length >= low) & (length < high) for name, (low, high) in STRATA.items()}
    every = of(np.ones(len(length), bool))
    return every | {"by_length": {name: of(rows) for name, rows in strata.items() if rows.any()}}
