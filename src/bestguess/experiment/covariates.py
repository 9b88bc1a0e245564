"""The picture of what else differs between the tasks of an experiment: its primary measure over each covariate."""

from __future__ import annotations

from bestguess.experiment.analysis import Analysis
from bestguess.experiment.declare import Measure
from bestguess.experiment.pictures import _capital, _shade, _title, drawable
from bestguess.report.charts import Chart, Grid, Picture, Points


def covariates(analysis: Analysis, told: str | None) -> Picture | None:
    """Return each run's primary measure over what else sets its task apart, a panel a covariate; None without any.

    A covariate that is the same in every run has no panel.
    The primary measure is that of the first hypothesis that shows the covariate.
    """
    named = {measure.name: measure for measure in drawable(analysis)}
    pairs = [(one, named[own]) for one in named.values() if one.covariate and (own := _primary(analysis, one)) in named]
    if not pairs:
        return None
    factor = analysis.experiment.factors[0]
    panels = []
    for covariate, measure in pairs:
        positions, values = analysis.tables[covariate.name].values, analysis.tables[measure.name].values
        levels = analysis.tables[measure.name].levels[0]
        series = [
            Points(
                covariate.show(positions[i].ravel()),
                measure.show(values[i].ravel()),
                name=factor.titled(level),
                shade=_shade(i, len(levels)) if factor.position else None,
            )
            for i, level in enumerate(levels)
        ]
        panels.append(
            Chart(
                f"By {covariate.label.removeprefix('ln ')}",
                covariate.axis,
                measure.axis,
                series,
                log_x=covariate.log,
                log_y=measure.log,
            )
        )
    caption = f"One point for each seed and cell, at the learning rate of its cell. {_capital(told)}".strip()
    title = _title("What else differs between the tasks", told)
    one_axis = len({measure.name for _, measure in pairs}) == 1
    return Grid(title, panels, caption, columns=2, share_x=False, share_y=one_axis)


def _primary(analysis: Analysis, covariate: Measure) -> str | None:
    """The primary measure of the first hypothesis that shows the covariate."""
    for one in analysis.experiment.hypotheses:
        if one.shown is None or covariate.name in one.shown:
            return one.decides[0]
    return None
