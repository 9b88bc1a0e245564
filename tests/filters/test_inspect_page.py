"""The page of `filters inspect` is drawn from its JSON alone, and shows what curves on top of one another hide."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bestguess.filters.inspect_page import story
from bestguess.report.charts import Line, panels_of
from bestguess.report.story import Drawn, Rows

FULL = Path(__file__).parents[2] / "experiments/results/filters_muon_h200/inspected"


@pytest.fixture(scope="module")
def told():
    """The full size's results, and its page drawn from them."""
    results = json.loads((FULL / "inspect.json").read_text(encoding="utf-8"))
    evaluated = json.loads((FULL / "evaluation.json").read_text(encoding="utf-8"))
    for one, other in zip(results["runs"], evaluated["runs"], strict=True):
        one.setdefault("standard_error", other["standard_error"])  # older results have it beside them
    names = [f"λ {one['lambda']:g}, rate {one['learning_rate']:g}" for one in results["runs"]]
    return results, names, story(results, names, range(len(names)), 7)


def drawn(told, name):
    return next(one.picture for one in told[2].pictures() if one.name == name)


def test_errors_of_the_response_are_told_by_lag(told):
    results, names, _ = told
    panels = panels_of(drawn(told, "inspect_response_error"))
    assert [panel.title.partition(":")[0] for panel in panels] == names
    for panel, one in zip(panels, results["runs"], strict=True):
        exact, error, spread = (np.asarray(line.y) for line in panel.series)
        response = one["response"]
        apart = np.subtract(response["model"], response["filter"])
        assert error[3] == pytest.approx(np.sqrt((apart[3] ** 2).sum()))
        assert exact[0] == pytest.approx(np.linalg.norm(response["filter"][0]))
        assert spread[5] == pytest.approx(np.linalg.norm(response["spread"][5]))
        # The error is 1 % of the coefficients: invisible beside them, but within the range of a log axis of its own.
        low, high = panel.y_range
        assert panel.log_y
        assert low < min(error.min(), spread.min())
        assert high > exact.max()
    assert min(np.min(panel.series[0].y) for panel in panels) < panels[0].y_range[0]  # the filter's go on falling


def test_no_label_lies_on_the_points_of_a_changed_head(told):
    for panel, one in zip(panels_of(drawn(told, "inspect_heads_changed")), told[0]["runs"], strict=True):
        assert panel.hlines == ()
        (line,) = (series for series in panel.series if isinstance(series, Line))
        assert (line.name, set(line.y)) == ("as trained", {one["all_heads"]["excess"]})
        assert line.x[0] < min(panel.x_ticks)
        assert line.x[1] > max(panel.x_ticks)


def test_controls_of_the_probes_follow_the_runs_in_the_legend(told):
    named = [series.name for series in drawn(told, "inspect_probes").series if series.name]
    assert named == [*told[1], "untrained", "shuffled"]


def test_tables_write_figures_alike(told):
    tables = [part for section in told[2].sections for part in section.parts if isinstance(part, Rows)]
    assert [len(table.rows) for table in tables] == [9, 18]
    cells = [cell for table in tables for row in table.rows for cell in row if isinstance(cell, str)]
    assert "1 + 2.80e-6 ± 4e-8" in cells
    assert "6.1e-7" in cells
    assert not [cell for cell in cells if "e-0" in cell]


def test_every_section_with_pictures_says_what_they_are_of(told):
    for section in told[2].sections:
        if any(isinstance(part, Drawn) for part in section.parts):
            assert not isinstance(section.parts[0], Drawn)
            assert all(part.picture.caption for part in section.parts if isinstance(part, Drawn))
