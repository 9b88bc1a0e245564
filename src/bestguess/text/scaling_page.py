"""What the page of the experiment on size has beside verdicts: fitted curves, true counts, ROUGE by length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bestguess.report.charts import Chart, Grid, Line, Points
from bestguess.report.story import Drawn, Rows, Section, Words
from bestguess.text.arms import by_level
from bestguess.text.fits import Fit, between, fit, resampled
from bestguess.text.metrics import ROUGE
from bestguess.text.scaling import BRIEF, CLAIMED, LADDER, LEVELS, LITTLE
from bestguess.text.summaries import STRATA

Runs = list[Mapping[str, Any]]
"""The figures of each seed."""
_LOSSES = {
    "errands": ("regret_per_document", "regret (nats per summary)"),
    "files": ("nats_per_token", "nats per token"),
}
_BY_LENGTH = "rougeL"
_FEWEST = 3
"""Sizes that a curve is fitted to at least."""


def sections(records: Sequence[Mapping[str, Any]]) -> list[Section]:
    """Return fitted curves, where returns diminish, parameters and seconds of every shape, and ROUGE, of a ledger."""
    shapes = by_level(records, LEVELS)
    return [
        Section("Fitted curves", [Drawn("scaling", curves(shapes)), Words(_ABOUT), Rows(*fitted(shapes))]),
        Section("Sizes and times", [Rows(*sizes(shapes))]),
        Section("ROUGE", [Words(_ROUGE), Rows(*rouge(shapes))]),
    ]


_ABOUT = (
    "Regret is fitted by scale · x^(−exponent), with a level of 0 because the oracle is known. The loss on files is "
    "fitted with a level that no size goes below. Fits are least squares of logarithms; intervals are from a bootstrap "
    "over the seeds of each size. They are those of the mean over these seeds, and too narrow where seeds are few. "
    f"Returns have diminished where a doubling gains less than {LITTLE:g} nats per token."
)
_ROUGE = (
    "F in %. Words are runs of letters and digits in lower case, without stemming; sentences of ROUGE-Lsum are lines. "
    "The baseline writes the most frequent summary of the training part every time. By characters of the reference."
)


def _parameters(one: Mapping[str, Any]) -> float:
    return float(one["parameters"])


def _flops(one: Mapping[str, Any]) -> float:
    """Of the whole training: the last validation's documents."""
    return float(one["flops_per_document"]) * one["curve"]["documents"][-1]


_AXES: dict[str, Callable[[Mapping[str, Any]], float]] = {"parameters": _parameters, "training FLOPs": _flops}


def _points(shapes: Mapping[tuple[str, str], Runs], task: str, axis: str) -> tuple[np.ndarray, np.ndarray]:
    """Return x and every seed's loss of the shapes of one corpus, by rising x; seeds that some shape lacks fall out."""
    own = [runs for (corpus, _), runs in shapes.items() if corpus == task]
    if not own:
        return np.zeros(0), np.zeros((0, 1))
    seeds, (key, _) = min(map(len, own)), _LOSSES[task]
    x = np.array([_AXES[axis](runs[0]) for runs in own])
    y = np.array([[max(float(one[key]), 1e-9) for one in runs[:seeds]] for runs in own])
    order = np.argsort(x)
    return x[order], y[order]


def curves(shapes: Mapping[tuple[str, str], Runs]) -> Grid:
    """Return the loss over parameters and over training FLOPs, with the fitted curve: a row for each corpus."""
    panels = []
    for task, (_, told) in _LOSSES.items():
        for axis in _AXES:
            x, y = _points(shapes, task, axis)
            if not len(x):
                continue
            every = np.repeat(x, y.shape[1])
            series: list[Any] = [Points(every, y.ravel(), name="runs", role="model")]
            if len(set(x)) >= _FEWEST:
                along = np.geomspace(x[0], x[-1], 64)
                drawn = np.array([one.at(along) for one in resampled(x, y, task == "files")])
                low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
                best = fit(x, y.mean(axis=1), task == "files").at(along)
                series.append(
                    Line(along, best, np.minimum(low, best), np.maximum(high, best), name="fit", role="guide")
                )
            panels.append(Chart(task, axis, told, series, log_x=True, log_y=True))
    caption = "Every run, and the curve fitted to the means over seeds with its 95 % band."
    return Grid("Loss over size", panels, caption, columns=2, share_x=False, share_y=False)


def fitted(shapes: Mapping[tuple[str, str], Runs]) -> tuple[list[str], list[list[Any]], str]:
    """Return level, exponent, and where returns diminish, of each corpus and axis, with intervals."""
    rows = []
    for task in _LOSSES:
        little = LITTLE * _tokens(shapes) if task == "errands" else LITTLE
        for axis in _AXES:
            x, y = _points(shapes, task, axis)
            if len(set(x)) < _FEWEST:
                continue
            best, drawn = fit(x, y.mean(axis=1), task == "files"), resampled(x, y, task == "files")

            def values(figure: Callable[[Fit], float], best: Fit = best, drawn: list[Fit] = drawn) -> list[float]:
                return [figure(best), *between([figure(one) for one in drawn])]

            def told(figure: Callable[[Fit], float], values: Callable[..., list[float]] = values) -> str:
                return "{} ({} to {})".format(*map(_number, values(figure)))

            rows.append(
                [
                    task,
                    axis,
                    told(lambda one: one.level) if task == "files" else "0",
                    told(lambda one: one.exponent),
                    within(x[0], x[-1], *values(lambda one, little=little: one.diminished(little))),  # type: ignore[misc]
                    f"{_number(x[0])} to {_number(x[-1])}",
                ]
            )
    columns = ["corpus", "x", "level", "exponent", "returns diminish at", "range of x"]
    return (
        columns,
        rows,
        "Fitted y = level + scale · x^(−exponent), 95 % intervals in brackets. Below and above: outside the "
        "range of x, where nothing was measured.",
    )


def _tokens(shapes: Mapping[tuple[str, str], Runs]) -> float:
    """Tokens of a summary of Errands."""
    own = next((runs for (task, _), runs in shapes.items() if task == "errands"), None)
    return 1.0 if own is None else own[0]["tokens"] / own[0]["documents"]


def _number(value: float) -> str:
    return f"{value:.3g}"


def within(lowest: float, highest: float, value: float, low: float, high: float) -> str:
    """Return where returns diminish, with its interval, as far as x was measured: a curve says nothing beyond."""
    told = ["below" if one < lowest else "above" if one > highest else _number(one) for one in (value, low, high)]
    return told[0] if len(set(told)) == 1 else f"{told[0]} ({told[1]} to {told[2]})"


def sizes(shapes: Mapping[tuple[str, str], Runs]) -> tuple[list[str], list[list[Any]], str]:
    """Return true counts, seconds and losses of every shape on each corpus."""
    rows = []
    for (task, shape), runs in shapes.items():
        name, drawn = shape.split(", ")
        own = (BRIEF if drawn == "as drawn" else LADDER)[name]
        key, _ = _LOSSES[task]
        seconds = [one["seconds_per_document"] for one in runs]
        each = "" if None in seconds else f"{np.mean(seconds) * runs[0]['curve']['documents'][-1]:.1f}"
        losses = [float(one[key]) for one in runs]
        rows.append(
            [
                task,
                shape,
                f"{own.layers} + {own.layers}, {own.d_model}, {own.heads}",
                f"{runs[0]['parameters']:,}",
                f"{CLAIMED[name]:,}",
                f"{runs[0]['parameters'] / CLAIMED[name]:.2f}",
                each,
                f"{np.mean(losses):.4g}",
                f"{min(losses):.4g} to {max(losses):.4g}",
            ]
        )
    columns = ["corpus", "shape", "layers, width, heads", "parameters", "stated", "ratio", "seconds", "loss", "seeds"]
    caption = "Loss: on Errands the regret (nats per summary), on files nats per token. Seconds of training alone."
    return columns, rows, caption


def rouge(shapes: Mapping[tuple[str, str], Runs]) -> tuple[list[str], list[list[Any]], str]:
    """Return ROUGE of every shape on the files, in all and by length, in the mean over seeds, under the baseline's."""
    own = {shape: [one["rouge"] for one in runs] for (task, shape), runs in shapes.items() if task == "files"}
    columns = ["", *ROUGE.values(), *(f"{ROUGE[_BY_LENGTH]}, {name}" for name in STRATA)]
    if not own:
        return columns, [], ""
    first = next(iter(own.values()))[0]
    rows = [["most frequent summary", *_scores([first], True)]]
    rows += [[shape, *_scores(runs, False)] for shape, runs in own.items()]
    counts = [first["documents"]] * len(ROUGE) + [_count(first, name) for name in STRATA]
    rows.append(["documents", *map(str, counts)])
    return columns, rows, "Mean over seeds."


def _scores(runs: list[Mapping[str, Any]], baseline: bool) -> list[str]:
    """ROUGE of all references, then ROUGE-L by their length."""
    of = lambda one: one["baseline"] if baseline else one  # noqa: E731
    found = [f"{100 * np.mean([of(one)[name] for one in runs]):.1f}" for name in ROUGE]
    for name in STRATA:
        there = [of(one["by_length"][name])[_BY_LENGTH] for one in runs if name in one["by_length"]]
        found.append(f"{100 * np.mean(there):.1f}" if there else "")
    return found


def _count(one: Mapping[str, Any], name: str) -> int:
    return one["by_length"][name]["documents"] if name in one["by_length"] else 0
