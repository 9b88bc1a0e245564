"""A model's attention as tables for a console or a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bestguess.report.progress import with_error
from bestguess.text.attention.measures import LABELS

Table = tuple[list[str], list[list[Any]], str]


def best_table(found: Mapping[str, Any]) -> Table:
    """Return the head with the largest value of each measure, chosen on validation documents."""
    rows = [
        [LABELS[name], one["kind"], f"{one['layer']}.{one['head']}", _told(one["value"], one["error"])]
        for name, one in found["best"].items()
    ]
    caption = f"Heads chosen on validation documents, measured on {found['documents']:,} test documents."
    return ["best head's", "block", "head", "value"], rows, caption


def _told(value: float, error: float | None) -> str:
    return f"{value:.4g}" if error is None else with_error(value, error)


def swaps_table(found: Mapping[str, Any]) -> Table:
    """Return what swaps in the dialogue do to the summary, beside the weight on what was swapped."""
    rows = [
        [
            fact,
            _share(found["facts"].get(fact, {}).get("gold_token_mass")),
            _share(one["followed"]),
            one["swaps"],
            _share(one["held"]),
            one["decoys"],
        ]
        for fact, one in found["causal"].items()
    ]
    columns = ["fact", "weight on its token", "swap followed", "swaps", "decoy withstood", "decoys"]
    return columns, rows, "Weight of the best head; summaries that the model writes after a swap."


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"
