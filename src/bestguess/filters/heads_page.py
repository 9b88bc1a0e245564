"""What page, table and JSON of `filters inspect` say of heads: what they read, and what it costs to change them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bestguess.filters.heads import Heads, Rise
from bestguess.report.charts import Chart, Grid, Heatmap, Line, Picture, Points, Series
from bestguess.report.progress import two_digits
from bestguess.report.story import Drawn, Rows, Section, Words

HOW = (
    "- **Lag profile**: a head's mean attention weight by lag, over sequences and the second half of queries.\n"
    "- **Fixed**: the head's attention is its lag profile for every sequence and every query, renormalised over the "
    "lags that the query sees. **Fixed by position**: its mean weights over sequences, query by query. **Ablated**: "
    "what it reads at each position is its mean there over sequences. Estimated on the sequences of the lag profiles, "
    "judged on as many others; nothing is trained again. Intervals: 95 %, Student's t over the differences within "
    "sequences.\n"
)


def figures(heads: Heads, lags: int) -> dict[str, Any]:
    """Return the figures as JSON has them; profiles to that many lags."""
    L, H, N = heads.profiles.shape
    known = heads.profiles[:, :, : max(N // 2, 1)]  # lags that every query of the second half sees
    return {
        "lag_profiles": known[:, :, :lags],
        "heads": [
            {
                "layer": layer + 1,
                "head": head + 1,
                "lag": int(known[layer, head].argmax()),
                "weight": known[layer, head].max(),
                "fixed": _rise(heads.fixed[layer][head]),
                "ablated": _rise(heads.ablated[layer][head]),
            }
            for layer in range(L)
            for head in range(H)
        ],
        "layers": [
            {
                "layer": layer + 1,
                "fixed": _rise(heads.layers_fixed[layer]),
                "fixed_by_position": _rise(heads.layers_fixed_by_position[layer]),
                "ablated": _rise(heads.layers_ablated[layer]),
            }
            for layer in range(L)
        ],
        "all_heads": {
            "sequences": heads.sequences,
            "excess": heads.excess,
            "fixed": _rise(heads.all_fixed),
            "fixed_by_position": _rise(heads.all_fixed_by_position),
            "ablated": _rise(heads.all_ablated),
        },
    }


def _rise(one: Rise) -> dict[str, float]:
    return {"rise": one.mean, "low": one.low, "high": one.high}


def table(told: Mapping[str, Any], name: str) -> tuple[list[str], list[list[Any]], str]:
    """Return what changing each head of a run costs, and all of them; `told`: what JSON has of the run."""
    columns = ["head", "lag read most", "weight", "rise if fixed", "rise if ablated"]
    rows: list[list[Any]] = [
        [
            f"{one['layer']}.{one['head']}",
            one["lag"],
            f"{one['weight']:.2f}",
            _cell(one["fixed"]),
            _cell(one["ablated"]),
        ]
        for one in told["heads"]
    ]
    whole = told["all_heads"]
    for what, one in [*((f"layer {one['layer']}", one) for one in _layers(told)), ("all heads", whole)]:
        rows.append([what, "", "", _cell(one["fixed"]), _cell(one["ablated"])])
        rows.append([f"{what}, by position", "", "", _cell(one["fixed_by_position"]), ""])
    caption = (
        f"Rise of the excess ({name}; {two_digits(whole['excess'])} as trained, {whole['sequences']} sequences) with a "
        "head's attention fixed, and with the head ablated, for single heads and for all of a layer. Head 1.2 is the "
        "second of layer 1"
    )
    return columns, rows, caption


def _layers(told: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return told.get("layers", ())  # results of before lack it


def _cell(rise: dict[str, float]) -> str:
    return f"{two_digits(rise['rise'])} [{two_digits(rise['low'])}, {two_digits(rise['high'])}]"


def section(shown: Sequence[tuple[str, Mapping[str, Any]]], name: str, chosen: Mapping[str, Any]) -> Section:
    """Return the section on heads: profiles and table of the run `name`, and the cost of changes for all `shown`.

    Drawn from what JSON has of each run.
    """
    return Section(
        "What heads read, and whether it matters",
        [
            Words(
                "A lag profile shows where a head reads, not what the model needs of it. So each head is changed, and "
                "the model judged again: once with its attention fixed, so that it cannot depend on the sequence, once "
                "with the head ablated. A head that costs little when fixed and much when ablated acts as a tap of a "
                "linear filter. One that costs more when fixed than when ablated does not: the model needs little of "
                "what differs between sequences in its output, and a fixed kernel lets more of that through."
            ),
            Drawn("inspect_heads", _profiles(chosen["lag_profiles"], name)),
            Drawn("inspect_heads_changed", _changed(shown)),
            Rows(*table(chosen, name)),
        ],
    )


def _profiles(profiles: Any, name: str) -> Picture:
    profiles = np.asarray(profiles, float)
    _, H, lags = profiles.shape
    labels = [f"head {h + 1}" for h in range(H)]
    panels = [
        Chart(f"layer {i + 1}", "lag (tokens)", "", [Heatmap(profile, y_labels=labels, low=0.0, unit="weight")])
        for i, profile in enumerate(profiles)
    ]
    return Grid(
        f"Lag profiles of heads ({name})",
        panels,
        "Mean attention weight by lag. A bright cell is a lag that the head reads with a weight near the top of the "
        f"scale. A row that is dark throughout has its weight spread over many lags, or beyond lag {lags - 1}.",
        columns=2,
    )


def _changed(shown: Sequence[tuple[str, Mapping[str, Any]]]) -> Picture:
    panels = []
    for name, told in shown:
        names = [f"{one['layer']}.{one['head']}" for one in told["heads"]]
        names += [*(f"{one['layer']}" for one in _layers(told)), "all"]
        of, excess = [*told["heads"], *_layers(told), told["all_heads"]], told["all_heads"]["excess"]
        at = np.arange(len(names), dtype=float)
        series: list[Series] = [
            # In the legend, for a label on the line would lie on points.
            Line([-0.6, len(names) - 0.4], [excess, excess], name="as trained", role="baseline"),
            *(
                _points(at + shift, [one[kind] for one in of], excess, label)
                for kind, label, shift in (("fixed", "attention fixed", -0.15), ("ablated", "ablated", 0.15))
            ),
        ]
        panels.append(
            Chart(name, "head, or layer", "excess", series, log_y=True, x_ticks=dict(zip(at.tolist(), names)))
        )
    return Grid(
        "Excess with a head changed",
        panels,
        "Bars: 95 % intervals of the rise over sequences. 1.2 is the second head of layer 1; 1: all heads of layer 1; "
        "all: all heads of all layers.",
        columns=2,
    )


def _points(at: np.ndarray, rises: Sequence[dict[str, float]], excess: float, name: str) -> Points:
    mean, low, high = (np.array([one[key] for one in rises]) for key in ("rise", "low", "high"))
    return Points(at, excess + mean, np.stack([mean - low, high - mean]), name=name)
