"""Whether runs of an experiment score the very same tokens. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bestguess.command import UserError


def same_tokens(corpora: Mapping[str, str]) -> Callable[[Sequence[Mapping[str, Any]]], None]:
    """Return what raises a UserError where two runs on one corpus score other numbers of tokens in some document.

    corpora: the corpus of each level of `change`.
    """

    def comparable(records: Sequence[Mapping[str, Any]]) -> None:
        seen: dict[str, tuple[str, Mapping[str, Any]]] = {}
        for record in records:
            value, figures = record["config"]["change"], record["metrics"]
            corpus = corpora.get(value, value)
            first, other = seen.setdefault(corpus, (record["run"], figures))
            for key in ("documents", "tokens", "document_tokens"):
                if figures.get(key) != other.get(key):  # a table of runs may lack the lists
                    raise UserError(
                        f"{corpus}: run {record['run']} scores {figures['tokens']:,} tokens of "
                        f"{figures['documents']:,} documents, run {first} {other['tokens']:,} of "
                        f"{other['documents']:,}, or of others; their losses do not compare"
                    )

    return comparable
