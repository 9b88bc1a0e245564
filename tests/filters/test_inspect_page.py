"""The page of `filters inspect` is drawn from its JSON alone, and shows what curves on top of one another hide."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from bestguess.filters.heads_page import CHANGES
from bestguess.filters.inspect_page import story
from bestguess.report.charts import Line, Points, panels_of
from bestguess.report.story import Drawn, Rows

FULL = Path(__file__).parents[2] / "experiments/results/filters_muon_h200/layers"
CHOSEN = 4
"""λ = 0.99, seed 0: of this run the page has profiles and tables."""


@pytest.fixture(scope="module")
def told():
    """The full size's results, and its page drawn from them."""
    results = json.loads((FULL / "inspect.json").read_text(encoding="utf-8"))
    names = [f"λ {one['lambda']:g}, seed {one['seed']}" for one in results["runs"]]
    return results, names, story(results, names, range(len(names)), CHOSEN)


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
    for name in ("inspect_heads_changed", "inspect_layers_changed"):
        for panel, one in zip(panels_of(drawn(told, name)), told[0]["runs"], strict=True):
            assert panel.hlines == ()
            (line,) = (series for series in panel.series if isinstance(series, Line))
            assert (line.name, set(line.y)) == ("as trained", {one["all_heads"]["excess"]})
            assert line.x[0] < min(panel.x_ticks)
            assert line.x[1] > max(panel.x_ticks)


def heads_of(story):
    """Return the tables of the section on heads, and the names and places of the first panel's points of layers."""
    section = next(one for one in story.sections if one.heading.startswith("What heads read"))
    tables = [part for part in section.parts if isinstance(part, Rows)]
    picture = next(one.picture for one in story.pictures() if one.name == "inspect_layers_changed")
    panel = panels_of(picture)[0]
    points = {one.name: one for one in panel.series if isinstance(one, Points)}
    return tables, points, list(panel.x_ticks.values())


def test_every_change_and_every_share_stands_on_the_page(told):
    results, _, page = told
    (heads, layers), points, ticks = heads_of(page)
    assert list(points) == list(CHANGES.values())
    assert ticks == ["1", "2", "3", "4", "all"]
    first = results["runs"][0]
    rises = [one["key_fixed"] for one in (*first["layers"], first["all_heads"])]
    excess = first["all_heads"]["excess"]
    np.testing.assert_allclose(points["keys fixed"].y, [excess + one["rise"] for one in rises])
    below, above = points["keys fixed"].error
    np.testing.assert_allclose(below, [one["rise"] - one["low"] for one in rises])
    np.testing.assert_allclose(above, [one["high"] - one["rise"] for one in rises])
    assert [len(heads.rows), len(layers.rows)] == [16, 5 * 5]
    assert heads.rows[1][:7] == ["1.2", 4, "0.02", "13.8%", "0.1%", "59.2%", "-0.18"]


def test_a_share_that_there_is_none_of_is_an_empty_cell_and_0_has_no_sign(told):
    results = copy.deepcopy(told[0])
    head = results["runs"][CHOSEN]["heads"][0]
    head["explained"] = {"lag": None, "position": 0.125, "token": -0.0001}
    head["norm_correlation"] = None
    (heads, _), _, _ = heads_of(story(results, told[1], range(6), CHOSEN))
    assert heads.rows[0][3:7] == [None, "12.5%", "0.0%", None]


@pytest.mark.parametrize("part", ["layers", "key_fixed"])
def test_nothing_that_results_lack_is_passed_over(told, part):
    lacking = copy.deepcopy(told[0])
    for one in lacking["runs"]:
        del (one if part == "layers" else one["all_heads"])[part]
    with pytest.raises(KeyError):
        story(lacking, told[1], range(6), CHOSEN)


def test_points_of_one_layer_do_not_lie_on_each_other(told):
    _, points, _ = heads_of(told[2])
    at = np.sort(np.concatenate([one.x for one in points.values()]))
    assert np.diff(at).min() > 0.1


def test_controls_of_the_probes_follow_the_runs_in_the_legend(told):
    named = [series.name for series in drawn(told, "inspect_probes").series if series.name]
    assert named == [*told[1], "untrained", "shuffled"]


def test_tables_write_figures_alike(told):
    tables = [part for section in told[2].sections for part in section.parts if isinstance(part, Rows)]
    assert [len(table.rows) for table in tables] == [6, 16, 25]
    cells = [cell for table in tables for row in table.rows for cell in row if isinstance(cell, str)]
    assert "1 + 2.82e-6 ± 4e-8" in cells
    assert "7.2e-7" in cells
    assert not [cell for cell in cells if "e-0" in cell]


def test_every_section_with_pictures_says_what_they_are_of(told):
    for section in told[2].sections:
        if any(isinstance(part, Drawn) for part in section.parts):
            assert not isinstance(section.parts[0], Drawn)
            assert all(part.picture.caption for part in section.parts if isinstance(part, Drawn))
