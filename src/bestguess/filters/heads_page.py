"""What page, table and JSON of `filters inspect` say of heads: what they read, and what it costs to change them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bestguess.filters.heads import Heads, Rise, Together
from bestguess.report.charts import Chart, Grid, Heatmap, Line, Picture, Points, Series
from bestguess.report.progress import two_digits
from bestguess.report.story import Drawn, Part, Rows, Section, Words

CHANGES = {
    "fixed": "attention fixed",
    "fixed_by_position": "fixed by position",
    "query_fixed": "queries fixed",
    "key_fixed": "keys fixed",
    "ablated": "ablated",
}
"""Changes of all heads of a layer, by their names in JSON; of a single head the first and the last."""

HOW = (
    "- **Lag profile**: a head's mean attention weight by lag, over sequences and the second half of queries.\n"
    "- **Fixed**: the head's attention is its lag profile for every sequence and every query, renormalised over the "
    "lags that the query sees. **Fixed by position**: its mean weights over sequences, query by query. **Queries "
    "fixed**, **keys fixed**: the query, or the key, of every token is its mean over sequences and positions, before "
    "the rotation by its position; attention then depends on the keys, or on the queries, and on the lag. **Ablated**: "
    "what it reads at each position is its mean there over sequences. Estimated on the sequences of the lag profiles, "
    "judged on as many others; nothing is trained again. Intervals: 95 %, Student's t over the differences within "
    "sequences.\n"
    "- **Explained**, of the variance of a head's weights over sequences, the second half of queries, and keys: by the "
    "lag; by the position, what a query and a key have in every sequence, beyond that; by the token, what all queries "
    "that see it give to the key of one sequence, whatever its lag, beyond both. The rest differs between sequences "
    "and between queries: by what the query's token holds, or by what the key's does, where it counts at some lags "
    "only. Corrected for the numbers of sequences and queries, so that 0 may come out as a little less.\n"
    "- **Correlation with the norm**: Spearman's, between the weight that a token receives and ‖y‖ of its "
    "observations, over sequences at each position, averaged over positions by the weight that they receive. Above 0, "
    "large observations are read more.\n"
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
                "explained": {name: share[layer, head] for name, share in heads.shares._asdict().items()},
                "norm_correlation": heads.norm_correlation[layer, head],
                "fixed": _rise(heads.fixed[layer][head]),
                "ablated": _rise(heads.ablated[layer][head]),
            }
            for layer in range(L)
            for head in range(H)
        ],
        "layers": [{"layer": layer + 1, **_rises(heads.layers[layer])} for layer in range(L)],
        "all_heads": {"sequences": heads.sequences, "excess": heads.excess, **_rises(heads.whole)},
    }


def _rises(together: Together) -> dict[str, dict[str, float]]:
    return {kind: _rise(getattr(together, kind)) for kind in CHANGES}


def _rise(one: Rise) -> dict[str, float]:
    return {"rise": one.mean, "low": one.low, "high": one.high}


Table = tuple[list[str], list[list[Any]], str]


def tables(told: Mapping[str, Any], name: str) -> tuple[Table, Table]:
    """Return what heads of a run read, and what changing them costs: each head, then layers; `told`: what JSON has."""
    return _head_table(told, name), _layer_table(told, name)


def _head_table(told: Mapping[str, Any], name: str) -> Table:
    columns = ["head", "lag read most", "weight", "explained by lag", "by position", "by token", "correlation with ‖y‖"]
    rows: list[list[Any]] = []
    for one in told["heads"]:
        shares = (one["explained"][kind] for kind in ("lag", "position", "token"))
        correlation = one["norm_correlation"]
        rows.append(
            [
                f"{one['layer']}.{one['head']}",
                one["lag"],
                f"{one['weight']:.2f}",
                *(None if share is None else f"{share:z.1%}" for share in shares),
                None if correlation is None else f"{correlation:z.2f}",
                *(_cell(one[kind]) for kind in ("fixed", "ablated")),
            ]
        )
    caption = (
        f"What heads read, and the rise of the excess ({_judged(told, name)}) with a head's attention fixed, and with "
        "the head ablated. Head 1.2 is the second of layer 1"
    )
    return [*columns, "rise if fixed", "rise if ablated"], rows, caption


def _layer_table(told: Mapping[str, Any], name: str) -> Table:
    # A row for each change: as columns, five intervals would be wider than a page.
    rows: list[list[Any]] = [
        [what if i == 0 else "", CHANGES[kind], _cell(one[kind])]
        for what, one in [
            *((f"layer {one['layer']}", one) for one in told["layers"]),
            ("all layers", told["all_heads"]),
        ]
        for i, kind in enumerate(CHANGES)
    ]
    caption = f"Rise of the excess ({_judged(told, name)}) with all heads of a layer changed, and those of all layers"
    return ["heads of", "change", "rise"], rows, caption


def _judged(told: Mapping[str, Any], name: str) -> str:
    whole = told["all_heads"]
    return f"{name}; {two_digits(whole['excess'])} as trained, {whole['sequences']} sequences"


def _cell(rise: dict[str, float]) -> str:
    return f"{two_digits(rise['rise'])} [{two_digits(rise['low'])}, {two_digits(rise['high'])}]"


def section(shown: Sequence[tuple[str, Mapping[str, Any]]], name: str, chosen: Mapping[str, Any]) -> Section:
    """Return the section on heads: profiles and tables of the run `name`, and the cost of changes for all `shown`.

    Drawn from what JSON has of each run.
    """
    heads, layers = tables(chosen, name)
    parts: list[Part] = [
        Words(
            "A lag profile shows where a head reads, not what the model needs of it. So each head is changed, and "
            "the model judged again: once with its attention fixed, so that it cannot depend on the sequence, once "
            "with the head ablated. A head that costs little when fixed and much when ablated acts as a tap of a "
            "linear filter. One that costs more when fixed than when ablated does not: the model needs little of "
            "what differs between sequences in its output, and a fixed kernel lets more of that through."
        ),
        Drawn("inspect_heads", _profiles(chosen["lag_profiles"], name)),
        Drawn("inspect_heads_changed", _heads_changed(shown)),
        Rows(*heads),
        Words(
            "On what in the sequence does attention depend? With the queries of a layer fixed, it can depend on what "
            "the keys hold, and on the lag; with the keys fixed, on what the query holds, and on the lag. Where fixing "
            "keys costs and fixing queries does not, all queries look for the same, and what they find differs between "
            "sequences."
        ),
        Drawn("inspect_layers_changed", _layers_changed(shown)),
        Rows(*layers),
    ]
    return Section("What heads read, and whether it matters", parts)


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


def _heads_changed(shown: Sequence[tuple[str, Mapping[str, Any]]]) -> Picture:
    panels = [
        _panel(
            name, "head", [(f"{one['layer']}.{one['head']}", one) for one in told["heads"]], told, ["fixed", "ablated"]
        )
        for name, told in shown
    ]
    return Grid(
        "Excess with a head changed",
        panels,
        "Bars: 95 % intervals of the rise over sequences. 1.2 is the second head of layer 1.",
        columns=2,
    )


def _layers_changed(shown: Sequence[tuple[str, Mapping[str, Any]]]) -> Picture:
    panels = [
        _panel(
            name,
            "layer",
            [*((f"{one['layer']}", one) for one in told["layers"]), ("all", told["all_heads"])],
            told,
            list(CHANGES),
        )
        for name, told in shown
    ]
    return Grid(
        "Excess with all heads of a layer changed",
        panels,
        "Bars: 95 % intervals of the rise over sequences. All: all heads of all layers.",
        columns=2,
    )


def _panel(
    title: str,
    what: str,
    named: Sequence[tuple[str, Mapping[str, Any]]],
    told: Mapping[str, Any],
    kinds: Sequence[str],
) -> Chart:
    excess = told["all_heads"]["excess"]
    at = np.arange(len(named), dtype=float)
    shifts = (np.arange(len(kinds)) - (len(kinds) - 1) / 2) * (0.3 if len(kinds) == 2 else 0.15)
    series: list[Series] = [
        # In the legend, for a label on the line would lie on points.
        Line([-0.6, len(named) - 0.4], [excess, excess], name="as trained", role="baseline"),
        *(
            _points(at + shift, [one[kind] for _, one in named], excess, CHANGES[kind])
            for kind, shift in zip(kinds, shifts, strict=True)
        ),
    ]
    ticks = dict(zip(at.tolist(), (name for name, _ in named)))
    return Chart(title, what, "excess", series, log_y=True, x_ticks=ticks)


def _points(at: np.ndarray, rises: Sequence[dict[str, float]], excess: float, name: str) -> Points:
    mean, low, high = (np.array([one[key] for one in rises]) for key in ("rise", "low", "high"))
    return Points(at, excess + mean, np.stack([mean - low, high - mean]), name=name)
