"""What the page of the experiment on transfer has beside verdicts: the pairs that each arm needs to reach a regret."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from bestguess.report.charts import Chart, Grid, Points
from bestguess.report.story import Drawn, Rows, Section, Words
from bestguess.text.fits import between, needed
from bestguess.text.transfer import ARMS, LEVELS, PAIRS

REGRETS = (4.0, 2.0, 1.0, 0.5, 0.2, 0.1)
"""Regrets (nats per summary) of which the page says how many pairs they take."""
_RESAMPLES = 1000


def sections(records: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Return the regret over training pairs, how many pairs each arm needs, and what is drawn anew, of a ledger."""
    arms = by_arm(records)
    found = [Section("Pairs needed", [Drawn("pairs", chart(arms)), Words(_ABOUT), Rows(*pairs_needed(arms))])]
    words = drawn_anew(records)
    return [*found, Section("Words that the raw text lacks", [Rows(*words)])] if words[1] else found


_ABOUT = (
    "Between two numbers of pairs ln regret is interpolated linearly over ln pairs; a regret that is not reached with "
    f"{PAIRS[-1]:,} pairs is given as needing more. Figures are of the mean over seeds, with 95 % bootstrap intervals "
    "over seeds at each number of pairs. Weights are chosen on 512 further validation pairs, the same for all arms."
)


def by_arm(records: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Return the regret of every arm by pairs and seed, [pairs, seeds]; arms without a run of each size fall out."""
    found: dict[tuple[str, str], list[float]] = {}
    for record in records:
        if (place := LEVELS.get(record["config"]["change"])) is not None and place[0] != "files":
            found.setdefault(place, []).append(float(record["metrics"]["regret_per_document"]))
    arms = {}
    for arm in ARMS:
        own = [found.get((f"{pairs:,} pairs", arm), []) for pairs in PAIRS]
        if seeds := min(map(len, own)):
            arms[arm] = np.array([one[:seeds] for one in own])
    return arms


def chart(arms: Mapping[str, np.ndarray]) -> Grid:
    """Return the regret over training pairs, a line for each arm: the mean over seeds with its 95 % interval.

    Models with an encoder and without stand in panels of their own; arms lie a little apart, so that no interval hides.
    """
    one = [arm for arm in arms if arm.startswith(_ALONE)]
    kinds = {"encoder-decoder": [arm for arm in arms if arm not in one], "decoder-only": one}
    panels = []
    for kind, own in kinds.items():
        lines = [
            Points(
                np.array(PAIRS) * _APART ** (i - (len(own) - 1) / 2),
                arms[arm].mean(axis=1),
                _reach(arms[arm]),
                connect=True,
                name=arm.removeprefix(_ALONE),
                colour=i,
            )
            for i, arm in enumerate(own)
        ]
        if lines:
            panels.append(Chart(kind, "pairs", "regret (nats per summary)", lines, log_x=True, log_y=True))
    return Grid("Regret over training pairs", panels, "Means over seeds with 95 % intervals.", columns=2)


_ALONE = "decoder-only, "
_APART = 1.06
"""Ratio of neighbours' places."""


def _reach(regret: Float[np.ndarray, "pairs seeds"]) -> Float[np.ndarray, "2 pairs"]:
    """Return how far the interval of the mean over seeds reaches below and above it."""
    rng, mean = np.random.default_rng(0), regret.mean(axis=1)
    low, high = np.quantile([_drawn(regret, rng) for _ in range(_RESAMPLES)], [0.025, 0.975], axis=0)
    return np.stack([np.maximum(mean - low, 0), np.maximum(high - mean, 0)])


def _drawn(regret: Float[np.ndarray, "pairs seeds"], rng: np.random.Generator) -> Float[np.ndarray, " pairs"]:
    """Return the mean over seeds that are drawn with replacement at each number of pairs."""
    return np.take_along_axis(regret, rng.integers(regret.shape[1], size=regret.shape), axis=1).mean(axis=1)


def pairs_needed(arms: Mapping[str, np.ndarray]) -> tuple[list[str], list[list[Any]], str]:
    """Return the pairs that each arm needs to reach a regret, with intervals; those that none reaches are left out."""
    x = np.array(PAIRS, float)
    rng = np.random.default_rng(0)
    reached = [
        level for level in REGRETS if any(needed(x, one.mean(axis=1), level) < math.inf for one in arms.values())
    ]
    rows = []
    for arm, regret in arms.items():
        draws = [_drawn(regret, rng) for _ in range(_RESAMPLES)]
        cells = []
        for level in reached:
            low, high = between([needed(x, one, level) for one in draws])
            cells.append(f"{_pairs(needed(x, regret.mean(axis=1), level))} ({_pairs(low)} to {_pairs(high)})")
        rows.append([arm, f"{regret[-1].mean():.3g} nats", *cells])
    return (
        ["arm", f"regret with {PAIRS[-1]:,}", *(f"{level:g} nats" for level in reached)],
        rows,
        "Training pairs needed to reach a regret.",
    )


def drawn_anew(records: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]], str]:
    """Return, of each corpus, how many of its tokens the pretraining never saw; no row for results that lack it."""
    found: dict[str, Mapping[str, Any]] = {}
    for record in records:
        place, start = LEVELS.get(record["config"]["change"]), record["metrics"].get("start")
        if place is not None and start is not None and start["vocabulary"] is not None:  # a table has empty cells
            found.setdefault(place[0], start)
    rows = [
        [
            task,
            f"{one['vocabulary']:,}",
            f"{one['lacking']:,}",
            f"{one['unseen']:,}",
            f"{one['anew']:,} of {one['tokens']:,}",
            f"{100 * one['share']:.2f} %",
        ]
        for task, one in found.items()
    ]
    columns = ["corpus", "vocabulary", "not in the other", "never seen there", "tokens of the text", "share"]
    return (
        columns,
        rows,
        "Tokens whose embeddings are drawn anew: in the vocabulary, and their share of the training text.",
    )


def _pairs(value: float) -> str:
    if math.isinf(value):
        return f"> {PAIRS[-1]:,}"
    return f"≤ {PAIRS[0]:,}" if value <= PAIRS[0] else f"{value:,.0f}"
