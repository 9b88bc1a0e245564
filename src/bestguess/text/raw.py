"""What the page of the experiment on raw text has beside verdicts: learning curves, and bootstraps over documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bestguess.report.charts import Chart, Grid, Line
from bestguess.report.story import Drawn, Rows, Section, Words
from bestguess.text.experiments import CORPORA, FROZEN, LEVELS
from bestguess.text.metrics import perplexity_ratio

Runs = list[Mapping[str, Any]]
"""The figures of each seed."""
_AXES = (
    ("tokens processed", "processed_per_document"),
    ("training FLOPs", "flops_per_document"),
    ("training seconds", "seconds_per_document"),
)
FIRST = "encoder-decoder"
"""The arm that all others are compared with."""


def sections(records: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Return the learning curves of every arm, and each arm's perplexity beside the encoder-decoder's, of a ledger."""
    arms = by_arm(records)
    return [
        Section("Learning curves", [Drawn("curves", curves(arms))]),
        Section("Over documents", [Words(_ABOUT), Rows(*compared(arms))]),
    ]


_ABOUT = (
    "The verdicts rest on seeds. Here documents are drawn with replacement instead, each with its loss by both models, "
    "in the mean over seeds: how much the ratio depends on the test documents, not on the training."
)


def by_arm(records: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Runs]:
    """Return the figures of the runs by corpus and arm, in the order of the declaration."""
    found: dict[tuple[str, str], Runs] = {place: [] for place in LEVELS.values()}
    for record in records:
        if (place := LEVELS.get(record["config"]["change"])) is not None:
            found[place].append(record["metrics"])
    return {place: runs for place, runs in found.items() if runs}


def curves(arms: Mapping[tuple[str, str], Runs]) -> Grid:
    """Return the validation loss over tokens, FLOPs and seconds: a row for each corpus, a line for each arm."""
    names = [name for name in dict.fromkeys(arm for _, arm in arms) if _drawn(name)]
    panels = []
    for corpus in CORPORA:
        own = {arm: runs for (one, arm), runs in arms.items() if one == corpus and arm in names}
        for axis, cost in _AXES:
            lines = [_curve(runs, cost, arm, names.index(arm)) for arm, runs in own.items()]
            drawn = [line for line in lines if line is not None]
            if drawn:
                panels.append(Chart(corpus, axis, "nats per token", drawn, log_x=True, log_y=True))
    caption = (
        "Means over seeds of the loss of validation documents' targets, from the first validation on. Of the arms "
        "without an encoder those with the encoder-decoder's parameters, and the full loss at all pairings."
    )
    return Grid("Validation loss over what was spent", panels, caption, columns=3, share_x=False, share_y=False)


def _drawn(arm: str) -> bool:
    return arm != FROZEN and (arm.startswith("full loss") or arm.endswith("parameters") or arm == FIRST)


def _curve(runs: Runs, cost: str, name: str, colour: int) -> Line | None:
    """The mean curve of an arm's seeds; None where the cost was not measured."""
    if any(one[cost] is None for one in runs):
        return None
    spent = np.mean([np.asarray(one["curve"]["documents"], float) * one[cost] for one in runs], axis=0)
    losses = np.array([one["curve"]["nats_per_token"] for one in runs], float)
    return Line(spent, losses.mean(axis=0), name=name, colour=colour)


def compared(arms: Mapping[tuple[str, str], Runs]) -> tuple[list[str], list[list[Any]], str]:
    """Return the perplexity of the encoder-decoder divided by each arm's, with the interval of a paired bootstrap."""
    rows = []
    for (corpus, arm), runs in arms.items():
        if arm == FIRST or (corpus, FIRST) not in arms:
            continue
        ours, theirs = _documents(arms[corpus, FIRST]), _documents(runs)
        tokens = np.asarray(runs[0]["document_tokens"], float)
        found = perplexity_ratio(ours, theirs, tokens)
        rows.append([corpus, arm, *(float(f"{one:.4g}") for one in found), len(tokens)])
    columns = ["corpus", "compared with", "perplexity ratio", "from", "to", "documents"]
    caption = (
        "Perplexity of the encoder-decoder divided by the other arm's, on the same tokens: above 1 it is worse. "
        "Paired bootstrap over documents, BCa, 95 %."
    )
    return columns, rows, caption


def _documents(runs: Runs) -> np.ndarray:
    """Every document's loss (nats), in the mean over seeds."""
    return np.mean([one["document_nats"] for one in runs], axis=0)
