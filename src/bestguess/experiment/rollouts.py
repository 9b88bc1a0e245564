"""The picture of an experiment's skill by horizon."""

from __future__ import annotations

import itertools

from bestguess.experiment.analysis import Analysis
from bestguess.experiment.pictures import _capital, _shade, _title
from bestguess.experiment.tables import mean_of
from bestguess.report.charts import Chart, Grid, HLine, Picture, Points


def rollouts(analysis: Analysis, told: str | None) -> Picture | None:
    """Return skill by horizon, a panel for each line of the figure; None where no measure has a place on a curve."""
    measures = [one for one in analysis.experiment.measures if one.position is not None and one.name in analysis.tables]
    if not measures:
        return None
    tables = [analysis.tables[measure.name] for measure in measures]
    x_factor, *others = analysis.experiment.factors
    x_levels, *other_levels = tables[0].levels
    horizons = [float(measure.position) for measure in measures if measure.position is not None]
    panels = []
    for place in itertools.product(*(range(len(levels)) for levels in other_levels)):
        series = []
        for i, level in enumerate(x_levels):
            shown = [measure.show(mean_of(table.begun[(i, *place)])) for measure, table in zip(measures, tables)]
            series.append(
                Points(
                    horizons,
                    shown,
                    name=x_factor.titled(level),
                    shade=_shade(i, len(x_levels)) if x_factor.position else None,
                    connect=True,
                )
            )
        names = [one.titled(levels[i]) for one, levels, i in zip(others, other_levels, place)]
        panels.append(
            Chart(
                ", ".join(names) or "all",
                "horizon (steps)",
                "rollout skill",
                series,
                log_x=True,
                x_ticks={h: f"{h:g}" for h in horizons},
                hlines=(HLine(1.0, "oracle"),),
            )
        )
    title = _title("Rollout skill by horizon", told)
    caption = (
        f"Means over {tables[0].told_seeds}. 1 is the best possible prediction at that horizon, 0 the best constant; "
        f"horizons at which a seed has no headroom are left out. {_capital(told)}"
    ).strip()
    if len(panels) == 1:
        only = panels[0]
        return Chart(title, only.x, only.y, only.series, caption, log_x=True, x_ticks=only.x_ticks, hlines=only.hlines)
    return Grid(title, panels, caption, columns=2 if len(panels) in (2, 4) else 3)
