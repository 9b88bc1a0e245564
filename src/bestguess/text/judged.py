"""What the grammar says of what is generated, as results and pages have it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bestguess.text.errands.corpus import Errands
from bestguess.text.errands.facts import ASKED, COPIED_FACTS, MISSING, RIGHT, Judgement
from bestguess.text.errands.stories.truth import Truth
from bestguess.text.pairs import Pairs

_VERDICTS = ("missing", "right", "wrong")


@dataclass(frozen=True, eq=False)
class JudgedSummaries:
    """Summaries, judged, with their words."""

    found: Judgement
    tokens: np.ndarray
    """int32 [n, M]."""
    length: np.ndarray
    """Tokens of each without its end, int [n]."""
    decode: Callable[[np.ndarray], str]

    def shares(self) -> dict[str, float | None]:
        """Return the fraction of each kind of fact that is right; None where there is none to judge."""
        found = self.found
        rates = found.rates()
        own = {name: rates[name] for name in COPIED_FACTS}
        copied = float((found.states[:, : len(COPIED_FACTS)] == RIGHT).mean())
        said: dict[str, float | None] = {"copied": copied, "all_copied": rates["copied"], "whole": rates["whole"]}
        said |= own | {"chooser": rates["chooser"]}
        said |= {name: rates[name] for name in ("label_of_oracle", "label", "oracle_label")}
        return {name: None if value is None or np.isnan(value) else value for name, value in said.items()}

    def marked(self, row: int) -> str:
        """Return a summary as text, every wrong fact between ⟦ and ⟧."""
        spans = [(start, stop) for start, stop, _ in self.found.spans(row)]
        return _marked(self.tokens[row, : self.length[row]], spans, self.decode)

    def told(self, row: int) -> list[dict[str, Any]]:
        """Return each fact of a summary: its words, and whether it is right, wrong or missing."""
        found, tokens = self.found, self.tokens[row]
        rows = []
        for k, name in enumerate(ASKED):
            words = self.decode(tokens[np.flatnonzero(found.says[row, : len(tokens)] == k)])
            state = int(found.states[row, k])
            if name == "chooser" and state == MISSING:
                continue  # a summary need not say who chose the day
            rows.append({"fact": name, "value": words, "verdict": _VERDICTS[state]})
        return rows


@dataclass(frozen=True, eq=False)
class JudgedStories:
    """Continuations of stories, judged, with their words."""

    found: Truth
    tokens: np.ndarray
    length: np.ndarray
    decode: Callable[[np.ndarray], str]

    def shares(self) -> dict[str, float | None]:
        """Return the fraction of the claims that are true, and of the sentences that can be read."""
        rates = self.found.rates()
        said = {"statements": rates["true"], "read": rates["read"]}
        return {name: None if np.isnan(value) else value for name, value in said.items()}

    def marked(self, row: int) -> str:
        """Return a continuation as text, every false claim between ⟦ and ⟧."""
        return _marked(self.tokens[row, : self.length[row]], self.found.spans(row), self.decode)

    def told(self, row: int) -> list[dict[str, Any]]:
        """Return how many of its claims are true and false, and its sentences that cannot be read."""
        found = self.found
        counts = {"true claims": found.true, "false claims": found.false, "unread sentences": found.unread}
        return [
            {"fact": name, "value": int(count[row]), "verdict": "right" if name == "true claims" else "wrong"}
            for name, count in counts.items()
            if count[row]
        ]


def judged(errands: Errands, pairs: Pairs, tokens: np.ndarray, length: np.ndarray) -> JudgedSummaries | JudgedStories:
    """Return what is right in what was generated for the sources of `pairs`; length: without the ends."""
    found = errands.judge(pairs, tokens)
    if isinstance(found, Truth):
        return JudgedStories(found, tokens, length, errands.decode)
    return JudgedSummaries(found, tokens, length, errands.decode)


def _marked(tokens: np.ndarray, spans: list[tuple[int, int]], decode: Callable[[np.ndarray], str]) -> str:
    pieces, end = [], 0
    for start, stop in spans:
        pieces += [decode(tokens[end:start]), f"⟦{decode(tokens[start:stop])}⟧"]
        end = stop
    return " ".join(piece for piece in (*pieces, decode(tokens[end:])) if piece)
