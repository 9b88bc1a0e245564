"""What the page of the experiment on raw text has beside verdicts: costs, what is written, curves, bootstraps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bestguess.report.charts import Chart, Grid, Line
from bestguess.report.story import Drawn, Rows, Section, Words
from bestguess.text import experiments, natural
from bestguess.text.arms import by_level
from bestguess.text.experiments import FROZEN
from bestguess.text.metrics import perplexity_ratio

LEVELS = experiments.LEVELS | natural.LEVELS
"""Corpus and arm of every level of the experiments that have this page."""

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
    """Return costs and texts of every arm, learning curves, perplexities beside the encoder-decoder's, of a ledger."""
    arms = by_level(records, LEVELS)
    texts: list[Any] = [Rows(*writing(arms))]
    known = any(one.get("floor_per_document") is not None for runs in arms.values() for one in runs)
    if samples := side_by_side(arms):
        texts += [Words(_SAMPLES + _MARKED * known), Rows(*samples)]
    return [
        Section("Costs", [Words(_COSTS + _FLOOR * known), Rows(*costs(arms))]),
        Section("What is written", texts),
        Section("Learning curves", [Drawn("curves", curves(arms))]),
        Section("Over documents", [Words(_ABOUT), Rows(*compared(arms))]),
    ]


_ABOUT = (
    "The verdicts are based on seeds. This is a bootstrap over documents instead, each with its loss under both "
    "models, averaged over seeds: it shows how much the ratio depends on the test documents, not on the training."
)


_COSTS = (
    "Means over seeds. Memory is that of one run without the corpus; what is kept from step to step are the weights, "
    "the optimiser's moments and the best weights. FLOPs are those of loss and gradient, by XLA's count. Times are "
    "those of training only."
)
_FLOOR = " The floor is the perplexity of the grammar itself."
_SAMPLES = (
    "The first test documents of each corpus, as the arms of equal parameters continue them (first seed, greedily). "
    "Nothing is selected."
)
_MARKED = " On Errands errors are marked by ⟦ and ⟧."
_SIDE_BY_SIDE = ("full loss, equal parameters", "prefix LM, equal parameters")
_SHOWN = 3
"""Documents of a corpus that are shown with what was written for them."""


def costs(arms: Mapping[tuple[str, str], Runs]) -> tuple[list[str], list[list[Any]], str]:
    """Return the parameters, perplexity, speed, memory and operations of every arm."""
    rows = []
    for (corpus, arm), runs in arms.items():
        floor = _mean(runs, "floor_per_document")
        if floor is not None:
            floor = math.exp(floor * runs[0]["documents"] / runs[0]["tokens"])
        loss, speed, seconds = (
            _mean(runs, key) for key in ("nats_per_token", "tokens_per_second", "seconds_per_document")
        )
        memory = [_scaled(_mean(runs, key), 1e-6) for key in ("peak_bytes", "state_bytes", "working_bytes")]
        flops = _scaled(_mean(runs, "flops_per_document"), 1e-9)
        row = [corpus, arm, f"{runs[0]['parameters']:,}", None if loss is None else math.exp(loss), floor]
        row += [None if speed is None else f"{speed:,.0f}", _scaled(seconds, 1e3), *memory, flops]
        rows.append([*row, _percent(_mean(runs, "utilisation"))])
    columns = ["corpus", "arm", "parameters", "perplexity", "floor", "training tokens/s", "ms a document", "peak MB"]
    columns += ["kept MB", "working MB", "GFLOPs a document", "tokens learnt from"]
    return *_filled(columns, rows), ""


def writing(arms: Mapping[tuple[str, str], Runs]) -> tuple[list[str], list[list[Any]], str]:
    """Return how varied, how long and how true what each arm writes is, and the same of the documents' own targets."""
    rows = []
    for corpus in _corpora(arms):
        own = {arm: runs for (one, arm), runs in arms.items() if one == corpus and runs[0]["generated"]}
        for arm, runs in own.items():
            told = [one["generated"] for one in runs]
            facts = [one["facts"] or {} for one in runs]
            true = _mean(facts, "copied" if corpus == "dialogues" else "statements")
            ends, length = _percent(_mean(told, "stops")), _mean(told, "mean_tokens")
            rows.append([corpus, arm, ends, length, *_variety(told), _percent(true)])
        if own:
            reference = [one["generated"].get("reference", {}) for runs in own.values() for one in runs]
            rows.append([corpus, "the documents themselves", None, None, *_variety(reference), None])
    columns = ["corpus", "arm", "ends", "tokens", "distinct 1-grams", "distinct 2-grams", "repeated 4-grams", "true"]
    caption = (
        "Greedy, means over seeds. Distinct n-grams are fractions of all; repeated is the fraction of 4-grams that "
        "occur earlier in the text; true, as a grammar judges it: copied facts of summaries, statements of stories."
    )
    return *_filled(columns, rows), caption


def _filled(columns: list[str], rows: list[list[Any]]) -> tuple[list[str], list[list[Any]]]:
    """Return the columns in which a row has a value: natural text has no floor, and nothing says what is true of it."""
    kept = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]


def side_by_side(arms: Mapping[tuple[str, str], Runs]) -> tuple[list[str], list[list[Any]], str] | None:
    """Return what the arms write for the same documents, if their records have it."""
    others = [one for one in _SIDE_BY_SIDE if any(arm == one for _, arm in arms)]
    rows = []
    for corpus in _corpora(arms):
        told = {arm: arms[corpus, arm][0].get("samples") for arm in (FIRST, *others) if (corpus, arm) in arms}
        if (first := told.get(FIRST)) is None:
            continue
        for i in range(min(_SHOWN, len(first["source"]))):
            texts = [own["written"][i] if own else None for own in (told.get(arm) for arm in (FIRST, *others))]
            rows.append([corpus, first["source"][i], first["reference"][i], *texts])
    return (["corpus", "source", "reference", FIRST, *others], rows, "") if rows else None


def _variety(told: Sequence[Mapping[str, Any]]) -> list[str | None]:
    return [_percent(_mean(told, key)) for key in ("distinct_1", "distinct_2", "repeated_4")]


def _mean(runs: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """The mean over seeds of a figure; None where one of them has none."""
    values = [one.get(key) for one in runs]
    return None if any(value is None for value in values) else float(np.mean(np.array(values, float)))


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else value * by


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.1f} %"


def _corpora(arms: Mapping[tuple[str, str], Runs]) -> list[str]:
    return list(dict.fromkeys(corpus for corpus, _ in arms))


def curves(arms: Mapping[tuple[str, str], Runs]) -> Grid:
    """Return the validation loss over tokens, FLOPs and seconds: a row for each corpus, a line for each arm."""
    names = [name for name in dict.fromkeys(arm for _, arm in arms) if _drawn(name)]
    panels = []
    for corpus in _corpora(arms):
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
