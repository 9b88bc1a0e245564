"""What the page of the experiment on attention has beside verdicts: best heads, facts and swaps, fading by step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bestguess.report.charts import Bars, Chart, Grid, Line
from bestguess.report.story import Drawn, Rows, Section, Words
from bestguess.text.attention.declared import DIALOGUES, FACTS, LEVELS
from bestguess.text.attention.measures import LABELS

Found = list[Mapping[str, Any]]
"""The attention figures of each seed."""
_MEANS = (
    ("cross", "gold_turn_mass"),
    ("cross", "gold_turn_uniform"),
    ("cross", "gold_token_mass"),
    ("cross", "copy"),
    ("cross", "copy_uniform"),
    ("cross", "turn_mass"),
    ("cross", "turn_uniform"),
    ("cross", "evenness"),
    ("encoder", "turn_mass"),
    ("encoder", "turn_uniform"),
    ("encoder", "within_turn"),
    ("encoder", "related"),
    ("encoder", "evenness"),
    ("decoder", "evenness"),
    ("decoder", "copy"),
    ("decoder", "copy_uniform"),
)


def sections(records: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Return the tables and the chart of a ledger's runs, in means over seeds."""
    arms: dict[str, Found] = {}
    for record in records:
        if (name := LEVELS.get(record["config"]["change"])) is not None:
            arms.setdefault(name, []).append(record["metrics"]["attention"])
    found = [Section("All heads", [Rows(*means(arms))]), Section("Best heads", [Rows(*best(arms))])]
    if LEVELS[DIALOGUES] in arms:
        own = arms[LEVELS[DIALOGUES]]
        found.append(
            Section("Facts and swaps", [Words(_SWAPS), Rows(*facts(own)), Drawn("swaps", weights_and_swaps(own))])
        )
    fading = {name: runs for name, runs in arms.items() if runs[0]["fading"] is not None}
    if fading:
        found.append(Section("Weight on the source", [Drawn("fading", by_step(fading))]))
    return found


_SWAPS = (
    "The encoder-decoder on dialogues. Weights are those of the best head for each fact, on the turn and on the token "
    "that state it. Beside them how often the summary that the model writes is right after a swap of what states the "
    "fact, and after a swap of a decoy."
)


def means(arms: Mapping[str, Found]) -> tuple[list[str], list[list[Any]], str]:
    """Return the mean of each measure over heads and seeds, a column for each arm."""
    rows = []
    for kind, name in _MEANS:
        values = [[one["mean"][kind].get(name) for one in runs] for runs in arms.values()]
        rows.append([f"{kind}: {LABELS[name]}", *(None if None in own else float(np.mean(own)) for own in values)])
    return ["measure", *arms], rows, "Means over heads, documents and seeds."


def best(arms: Mapping[str, Found]) -> tuple[list[str], list[list[Any]], str]:
    """Return the best head of each measure, in the mean over seeds."""
    names = list(dict.fromkeys(name for runs in arms.values() for one in runs for name in one["best"]))
    rows = []
    for name in names:
        values = [[one["best"].get(name, {}).get("value") for one in runs] for runs in arms.values()]
        kind = next(one["best"][name]["kind"] for runs in arms.values() for one in runs if name in one["best"])
        rows.append([f"{kind}: {LABELS[name]}", *(None if None in own else float(np.mean(own)) for own in values)])
    return ["measure", *arms], rows, "Heads chosen on validation documents, one for each measure and seed."


def facts(runs: Found) -> tuple[list[str], list[list[Any]], str]:
    """Return, of each fact, the best head's weights and what swaps do, in the mean over seeds."""
    columns = [
        *("fact", "weight on the turn", "on the token", "token has the largest weight"),
        *("swap followed", "decoy withstood", "swaps", "decoys"),
    ]
    rows = []
    for fact in runs[0]["facts"]:
        weights = [_mean([one["facts"][fact].get(name) for one in runs]) for name in _WEIGHTS]
        swaps = [
            _mean([one["causal"][fact][name] if fact in one["causal"] else None for one in runs])
            for name in ("followed", "held", "swaps", "decoys")
        ]
        rows.append([fact, *weights, *swaps])
    return columns, rows, "Fractions; a name's first turn counts as what states it, though any of its turns would do."


_WEIGHTS = ("gold_turn_mass", "gold_token_mass", "alignment")


def weights_and_swaps(runs: Found) -> Chart:
    """Return the best head's weight on the token that states each fact beside how often a swap of it is followed."""
    names = list(FACTS)
    weight = [_mean([one["facts"].get(fact, {}).get("gold_token_mass") for one in runs]) for fact in names]
    followed = [_mean([one["causal"][fact]["followed"] for one in runs]) for fact in names]
    known = lambda values: [math.nan if value is None else value for value in values]  # noqa: E731
    bars = [
        Bars(names, known(weight), name="weight on the token", role="model"),
        Bars(names, known(followed), name="swap followed", role="oracle"),
    ]
    return Chart("Where the best head looks, and what the summary depends on", "", "fraction", bars)


def _mean(values: list[Any]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) and known else None


def by_step(arms: Mapping[str, Found]) -> Grid:
    """Return the weight on the source by step, beside that of uniform attention, of the models without an encoder."""
    panels = []
    for name, runs in arms.items():
        step = np.arange(1, 1 + len(runs[0]["fading"]["source"]))
        own, uniform = (np.mean([one["fading"][key] for one in runs], axis=0) for key in ("source", "uniform"))
        lines = [Line(step, own, name="all heads", role="model"), Line(step, uniform, name="uniform", role="oracle")]
        panels.append(Chart(name, "token of the target", "weight on the source", lines))
    return Grid("Weight on the source by step", panels, "Means over heads, documents and seeds.", columns=2)
