"""The charts of an experiment: measures by factor, effects with their intervals."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bestguess.experiment.analysis import Analysis, edges, references
from bestguess.experiment.declare import Factor, Measure
from bestguess.experiment.statistics import EffectEstimate, Finding, ProportionEstimate, Verdict
from bestguess.experiment.tables import MeasureTable, error_of, mean_of
from bestguess.report.charts import Chart, Curve, Dash, Grid, HLine, Line, Picture, Points
from bestguess.report.look import PALETTE, fold

_SEED = "one seed"
_SEEDS = 100
"""Seeds that are drawn, where there are more than twice as many."""
_LETTERS = 46
"""Of a line of a claim beside its row: half of the figure's width."""
_TICK = 10
"""Of a line of a measure's name below its effect: three lie side by side in a third of the figure's width."""
_DASHES: tuple[Dash, ...] = ("solid", "dash", "dot", "dashdot")
# Supported and refuted never meet as red and green.
_WORDS: dict[str, dict[str, Any]] = {
    "supported": {"colour": 0},
    "refuted": {"colour": 1},
    "inconclusive": {"role": "baseline"},
    "depends on the scale": {"colour": 2},
}


def findings(analysis: Analysis) -> Iterator[tuple[Verdict, Measure, Finding]]:
    """Yield each finding once: where hypotheses share a contrast, at the one that it decides, or at the first."""
    measures = {measure.name: measure for measure in analysis.experiment.measures}
    contrasts = {one.name: one.contrast for one in analysis.experiment.hypotheses}
    owners: list[tuple[Any, str]] = []  # (contrast, measure) that some hypothesis is decided by
    for verdict in analysis.verdicts:
        for finding in verdict.findings:
            if finding.decides and verdict.hypothesis in contrasts:
                owners.append((contrasts[verdict.hypothesis], finding.measure))
    for verdict in analysis.verdicts:
        contrast = contrasts.get(verdict.hypothesis)
        for finding in verdict.findings:
            if not finding.decides:
                if (contrast, finding.measure) in owners:
                    continue
                owners.append((contrast, finding.measure))
            yield verdict, measures[finding.measure], finding


def drawable(analysis: Analysis) -> list[Measure]:
    """Return the measures that were recorded, without covariates that are the same in every run, but for rounding."""

    def differs(measure: Measure) -> bool:
        values = analysis.tables[measure.name].values
        finite = values[np.isfinite(values)]
        return not np.allclose(finite, finite[:1], rtol=1e-9, atol=0)

    recorded = [measure for measure in analysis.experiment.measures if measure.name in analysis.tables]
    return [measure for measure in recorded if not measure.covariate or differs(measure)]


def figure(analysis: Analysis, told: str | None) -> Picture:
    """Return the experiment's figure: each measure by the first factor, and rollout skill at one horizon."""
    recorded = drawable(analysis)
    shown = [measure for measure in recorded if measure.position is None]
    curve = [measure for measure in recorded if measure.position is not None]
    if curve:  # the farthest point of those that apply in most cells
        applies = [int(np.isfinite(analysis.tables[measure.name].values).sum()) for measure in curve]
        shown.append(max(zip(applies, range(len(curve)), curve))[2])
    panels = [_by_factor(analysis, measure) for measure in shown]
    listed = analysis.experiment.factors[0].listed
    shown_too = "each seed is in grey" if listed else "the band is ± one standard error"
    rate = " at the learning rate that validation data chose" if analysis.experiment.tuned else ""
    seeds = analysis.tables[shown[0].name].told_seeds if shown else "seeds"
    means = f"Means over {seeds}{rate}; {shown_too}."
    caption = " ".join(part for part in (means, edges(analysis), _capital(told)) if part)
    title = _title(analysis.experiment.title, told)
    return Grid(title, panels, caption, columns=1 if listed else 2, share_x=False, share_y=False)


def effects(analysis: Analysis, told: str | None) -> Picture:
    """Return the effects of every hypothesis in every measure, with their intervals and each seed's effect.

    Where the hypotheses outnumber the colours and one measure decides each: a row for each, with its deciding effect
    alone.
    """
    deciding = [[finding for finding in verdict.findings if finding.decides] for verdict in analysis.verdicts]
    alone = all(len(found) == 1 for found in deciding)
    if alone and len(deciding) > len(PALETTE):
        return _forest(analysis, told)
    groups = dict.fromkeys(one.group for one in analysis.experiment.measures if one.name in analysis.tables)
    judged = [(measure, one.estimate) for _, measure, one in findings(analysis) if one.estimate is not None]
    there = {one.group for one, estimate in judged if not one.covariate or any(estimate.interval)}
    alike = dict.fromkeys(one.label for one, _ in judged if one.group not in there)
    same = f"The same in all cells that are compared: {', '.join(alike)}. " if alike else ""
    caption = (
        f"Paired over seeds: mean, 95 % interval (Student's t{_exact(analysis)}), and each seed's effect in light "
        f"grey. What is dark grey is shown but decides nothing. {same}{_capital(told)}"
    ).strip()
    panels = [_effects(analysis, group) for group in groups if group in there or not there]
    names = [verdict.hypothesis for verdict in analysis.verdicts]
    return Grid(_title("Effects", told), panels, caption, share_x=False, share_y=False, legend=names)


def _by_factor(analysis: Analysis, measure: Measure) -> Chart:
    table = analysis.tables[measure.name]
    x_factor, *others = table.factors
    x_levels, *other_levels = table.levels
    if x_factor.listed:
        return _by_level(table, measure, references(analysis, measure))
    assert x_factor.position is not None
    x = np.array([x_factor.position(level) for level in x_levels])
    series = []
    for place in itertools.product(*(range(len(levels)) for levels in other_levels)):
        values = np.moveaxis(table.begun, 0, -2)[place]
        mean, error = mean_of(values), error_of(values)
        names = [one.brief(levels[i]) for one, levels, i in zip(others, other_levels, place)]
        series.append(
            Line(
                x,
                measure.show(mean),
                measure.show(mean - error),
                measure.show(mean + error),
                name=", ".join(names) or ("model" if measure.references else ""),
                **_look(others, table, place),
            )
        )
    beside = list(references(analysis, measure).items())
    if others:  # one is enough, the middle one, in the look of each line
        beside = beside[len(beside) // 2 :][:1]
    for i, (name, found) in enumerate(beside):
        for n, place in enumerate(itertools.product(*(range(len(levels)) for levels in other_levels))):
            look = {"role": "baseline"} if not others else _look(others, table, place)
            look["dash"] = "dot" if others else _DASHES[1 + i % (len(_DASHES) - 1)]
            series.append(Line(x, measure.show(np.moveaxis(found, 0, -1)[place]), name="" if n else name, **look))
    ticks = {float(at): str(level) for at, level in zip(x, x_levels)}
    at = "" if measure.position is None else f" at t+{measure.position:g}"
    title = _capital(measure.axis) + at
    return Chart(title, x_factor.name, "", series, log_y=measure.log, x_ticks=ticks)


def _by_level(table: MeasureTable, measure: Measure, beside: Mapping[str, np.ndarray]) -> Chart:
    """A row for each level with a value of a first factor, in its order; in one without, the lowest mean at the top.

    beside: what stands beside the measure, by name: means over seeds.
    """
    factor, *others = table.factors
    _, *other_levels = table.levels
    places = list(itertools.product(*(range(len(one)) for one in other_levels)))
    there = np.flatnonzero(np.isfinite(table.values.reshape(len(table.values), -1)).any(axis=1))
    if factor.position is not None:
        heights = [factor.position(table.levels[0][at]) for at in there]
    else:
        heights = [float(np.nanmean(table.values[at])) for at in there]
    order = there[np.argsort(heights, kind="stable")[::-1]]
    levels, rows = [table.levels[0][at] for at in order], np.arange(len(order))
    limits = (-0.7, len(order) - 0.3)
    series: list[Points | Curve] = []
    for i, place in enumerate(places):
        values = np.moveaxis(table.begun, 0, -2)[place][order]
        mean = measure.show(mean_of(values))
        names = [one.titled(own[at]) for one, own, at in zip(others, other_levels, place)]
        base = float(mean[levels.index(factor.base)]) if factor.base in levels else np.nan
        if np.isfinite(base):
            name = ", ".join([*names, f"mean of “{factor.label(factor.base)}”"])
            series.append(Curve([base, base], limits, name=name, role=None, colour=i, dash="dot"))
        seeds = _thinned(values)
        x, y = measure.show(seeds).ravel(), np.repeat(rows, seeds.shape[-1])
        series.append(
            Points(
                x, y, name=_SEED if seeds is values else f"{_SEED}, of every {values.shape[-1] // _SEEDS}", role="guide"
            )
        )
        series.append(Points(mean, rows, name=", ".join([*names, "mean"]), colour=i))
    for name, found in beside.items():
        values = found.reshape(len(found), -1)[order]
        x = measure.show(mean_of(values))
        series.append(Points(x[np.isfinite(x)], rows[np.isfinite(x)], name=name, role="baseline"))
    return Chart(
        _capital(measure.axis),
        "",
        "",
        series,
        log_x=measure.log,
        y_range=limits,
        y_ticks={float(row): factor.label(level) for row, level in zip(rows, levels)},
        rows=len(order),
    )


def _look(others: list[Factor], table: MeasureTable, place: tuple[int, ...]) -> dict[str, Any]:
    """Colours on a scale for an ordered factor, dashes or the palette for one without order."""
    look: dict[str, Any] = {"role": "model"} if not others else {}
    ordered = [one.position is not None for one in others]
    for i, factor, levels in zip(place, others, table.levels[1:]):
        if factor.position is not None:
            look["shade"] = _shade(i, len(levels))
        elif any(ordered):
            look["dash"] = _DASHES[i % len(_DASHES)]
        else:
            look["colour"] = i
    return look


def _forest(analysis: Analysis, told: str | None) -> Picture:
    """A row for each hypothesis, the first at the top: the effect in the measure that decides it, by verdict.

    A panel for each of these measures, or of one unit, one for all.
    """
    verdicts = analysis.verdicts
    labels = {measure.name: measure.label for measure in analysis.experiment.measures}
    names = list(dict.fromkeys(one.main.measure for one in verdicts))
    left = ", ".join(one.name for one in analysis.experiment.hypotheses if one.direction < 0)
    but = f" ({left}: to the left)" if left else ""
    caption = (
        f"Paired over seeds, in the measure that decides: mean, 95 % interval (Student's t{_exact(analysis)}), and "
        f"each seed's effect in light grey. A claim holds to the right of 0{but}, or of the bound that it states, "
        f"or between its two. "
        f"{_capital(told)}"
    ).strip()
    stated = {one.name: one.between or ((one.beyond,) if one.beyond else ()) for one in analysis.experiment.hypotheses}
    title = _title("Effects", told)
    if len({one.main.unit for one in verdicts}) == 1:
        return _rows(verdicts, stated, title, f" ({verdicts[0].main.unit})", caption)
    panels = [
        _rows(own, stated, _capital(", ".join(filter(None, (labels[name], own[0].main.unit)))), unit="")
        for name in names
        if (own := [one for one in verdicts if one.main.measure == name])
    ]
    return Grid(title, panels, caption, columns=1, share_x=False, share_y=False)


def _rows(
    verdicts: list[Verdict], stated: Mapping[str, tuple[float, ...]], title: str, unit: str, caption: str = ""
) -> Chart:
    """stated: the bounds that hypotheses name. unit: behind the axis's name; of several panels it stands above."""
    labels = {one.hypothesis: fold(f"{one.hypothesis}  {one.claim.rstrip('.')}", _LETTERS) for one in verdicts}
    rows: dict[str, float] = {}
    lines = 0
    for name, label in reversed(labels.items()):
        own = label.count("\n") + 1
        rows[name] = lines + (own - 1) / 2  # in the middle of its label
        lines += own
    limits = (-0.7, lines - 0.3)
    # Seeds lie a little below their mean, so that they hide no interval.
    seeds = [(value, rows[one.hypothesis] - 0.25) for one in verdicts for value in _of_seeds(one.main)]
    bounds = [(bound, rows[one.hypothesis]) for one in verdicts for bound in stated.get(one.hypothesis, ())]
    series: list[Points | Curve] = [
        Curve([0.0, 0.0], limits),
        *(
            Curve([x, x], [row - 0.35, row + 0.35], name="bound of the claim" if not i else "", dash="dot", colour=2)
            for i, (x, row) in enumerate(bounds)
        ),
        Points([x for x, _ in seeds], [y for _, y in seeds], name=_SEED, role="guide"),
    ]
    for word, look in _WORDS.items():
        found = [(one.main.estimate, rows[one.hypothesis]) for one in verdicts if one.verdict == word]
        judged = [(estimate, row) for estimate, row in found if estimate is not None]
        if judged:
            means, halves = _bars([estimate for estimate, _ in judged])
            series.append(Points(means, [row for _, row in judged], x_error=halves, name=word, **look))
    return Chart(
        title,
        f"effect{unit}",
        "",
        series,
        caption,
        y_range=limits,
        y_ticks={rows[name]: label for name, label in labels.items()},
        rows=lines,
    )


def _effects(analysis: Analysis, group: str) -> Chart:
    own = [(v, m, f) for v, m, f in findings(analysis) if m.group == group]
    shown = {measure.name for _, measure, finding in own if finding.estimate is not None}
    names = [measure.name for measure in analysis.experiment.measures if measure.name in shown]
    hypotheses = list(dict.fromkeys(verdict.hypothesis for verdict, _, _ in own))
    order = [verdict.hypothesis for verdict in analysis.verdicts]
    series: list[Points] = []
    for hypothesis in hypotheses:
        width = 0.6 / len(hypotheses)
        shift = width * (hypotheses.index(hypothesis) + 0.7) - 0.3
        for deciding in (True, False):
            found = [(m, f) for v, m, f in own if v.hypothesis == hypothesis and f.decides is deciding]
            found = [(m, f) for m, f in found if f.estimate is not None]
            if not found:
                continue
            at = [names.index(measure.name) + shift for measure, _ in found]
            means, halves = _bars([finding.estimate for _, finding in found if finding.estimate])
            seeds = [(x - 0.3 * width, value) for x, (_, one) in zip(at, found) for value in _of_seeds(one)]
            series.append(Points([x for x, _ in seeds], [y for _, y in seeds], name=_SEED, role="guide"))
            look: dict[str, Any] = {"colour": order.index(hypothesis)} if deciding else {"role": "baseline"}
            series.append(Points(at, means, halves, name=hypothesis if deciding else "not deciding", **look))
    measures = {measure.name: measure for _, measure, _ in own}
    prefix = "" if len(names) < 2 else _common([measures[name].label for name in names])
    labels = [measures[name].label.removeprefix(prefix) if prefix else "" for name in names]
    horizons = bool(prefix) and all(measures[name].position is not None for name in names)
    if horizons:
        prefix = prefix.removesuffix("at ")
        labels = [f"{measures[name].position:g}" for name in names]
    (unit,) = {measure.unit for measure in measures.values()}
    title = prefix.strip() or next(iter(measures.values())).label
    title += " by horizon" if horizons else " …" if prefix else ""
    return Chart(
        title if title.startswith((f"{unit} ", f"{unit}(")) else f"{_capital(title)} ({unit})",
        "horizon (steps)" if horizons else "",
        "effect",
        series,
        x_range=(-0.5, max(len(names), 1) - 0.5),
        x_ticks={float(place): fold(label, _TICK) for place, label in enumerate(labels) if label},
        hlines=(HLine(0.0, "", "guide"),),
    )


def _bars(estimates: list[EffectEstimate]) -> tuple[list[float], np.ndarray]:
    """The effects, and how far the intervals reach below and above them, [2, n]."""
    effects = [one.effect for one in estimates]
    reach = [[one.effect - one.interval[0], one.interval[1] - one.effect] for one in estimates]
    return effects, np.array(reach).T


def _exact(analysis: Analysis) -> str:
    """What a caption says of proportions, where there are any."""
    proportions = any(one.proportion for one in analysis.experiment.hypotheses)
    return "; of proportions the exact one" if proportions else ""


def _of_seeds(finding: Finding) -> list[float]:
    """Every seed's effect; nothing for a proportion, of which they are 0 and 1."""
    if isinstance(finding.estimate, ProportionEstimate):
        return []
    return _thinned(np.array(list(finding.by_seed.values()))).tolist()


def _thinned(values: np.ndarray) -> np.ndarray:
    """The values of all seeds, along the last axis; of many, order statistics evenly spaced, the extremes included."""
    count = values.shape[-1]
    if count <= 2 * _SEEDS:
        return values
    return np.sort(values, axis=-1)[..., np.linspace(0, count - 1, _SEEDS).round().astype(int)]


def _common(labels: list[str]) -> str:
    """The words that all labels begin with."""
    words = [label.split(" ") for label in labels]
    same = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*words))
    return "".join(f"{column[0]} " for column in same)


def _title(title: str, told: str | None) -> str:
    return title if told is None else f"{title} ({told})"


def _capital(text: str | None) -> str:
    return "" if not text else text[0].upper() + text[1:]


def _shade(i: int, count: int) -> float:
    return i / (count - 1) if count > 1 else 0.0
