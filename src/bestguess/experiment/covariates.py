"""The picture of what else differs between the tasks of an experiment: its primary measure over each covariate."""

from __future__ import annotations

from bestguess.experiment.analysis import Analysis
from bestguess.experiment.pictures import _capital, _shade, _title
from bestguess.report.charts import Chart, Grid, Picture, Points


def covariates(analysis: Analysis, told: str | None) -> Picture | None:
    """Return each run's primary measure over what else sets its task apart, a panel a covariate; None without any."""
    named = {measure.name: measure for measure in analysis.experiment.measures}
    known = [one for one in analysis.experiment.measures if one.covariate and one.name in analysis.tables]
    primary = next((one.decides[0] for one in analysis.experiment.hypotheses if one.decides[0] in named), None)
    if not known or primary not in analysis.tables:
        return None
    factor, measure = analysis.experiment.factors[0], named[primary]
    levels, values = analysis.tables[primary].levels[0], analysis.tables[primary].values
    panels = []
    for covariate in known:
        positions = analysis.tables[covariate.name].values
        series = [
            Points(
                covariate.show(positions[i].ravel()),
                measure.show(values[i].ravel()),
                name=f"{factor.name} {factor.label(level)}",
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
    return Grid(_title("What else differs between the tasks", told), panels, caption, columns=2, share_x=False)
