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
from bestguess.report.story import Drawn, Rows, Words

RESULTS = Path(__file__).parents[2] / "experiments/results/filters_muon_h200"
FULL = RESULTS / "inspected"


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
    for name in ("inspect_heads_changed", "inspect_layers_changed"):
        for panel, one in zip(panels_of(drawn(told, name)), told[0]["runs"], strict=True):
            assert panel.hlines == ()
            (line,) = (series for series in panel.series if isinstance(series, Line))
            assert (line.name, set(line.y)) == ("as trained", {one["all_heads"]["excess"]})
            assert line.x[0] < min(panel.x_ticks)
            assert line.x[1] > max(panel.x_ticks)


def changed(rise):
    return {"rise": rise, "low": rise / 2, "high": 2 * rise}


def whole_of(results):
    """Return the results as they are written today, with figures of our own for what they lack."""
    results = copy.deepcopy(results)
    for one in results["runs"]:
        for head in one["heads"]:
            head["explained"] = {"lag": 0.25, "position": 0.125, "token": -0.0001}
            head["norm_correlation"] = None
        of = dict(zip(CHANGES, map(changed, (1e-3, 2e-3, 3e-3, 4e-3, 5e-3)), strict=True))
        one["layers"] = [{"layer": i + 1, **of} for i in range(4)]
        one["all_heads"] |= of
    return results


def heads_of(story):
    """Return the tables of the section on heads, its words, and the names and places of the points of layers."""
    section = next(one for one in story.sections if one.heading.startswith("What heads read"))
    tables = [part for part in section.parts if isinstance(part, Rows)]
    words = " ".join(part.text for part in section.parts if isinstance(part, Words))
    picture = next(one.picture for one in story.pictures() if one.name == "inspect_layers_changed")
    panel = panels_of(picture)[0]
    points = {one.name: one for one in panel.series if isinstance(one, Points)}
    return tables, words, points, list(panel.x_ticks.values())


def test_what_older_results_lack_is_said_and_not_drawn(told):
    results, names, page = told
    layers = json.loads((RESULTS / "layers" / "inspect.json").read_text(encoding="utf-8"))
    old = [CHANGES[kind] for kind in ("fixed", "fixed_by_position", "ablated")]
    for story_of, of in (
        (page, ["all"]),
        (story(layers, names[:4], range(4), 3), ["1", "2", "3", "4", "all"]),
    ):
        tables, words, points, ticks = heads_of(story_of)
        assert "did not fix queries or keys" in words
        assert (list(points), ticks) == (old, of)
        assert [len(one.rows) for one in tables] == [16, 3 * len(of)]
        assert tables[0].columns == ["head", "lag read most", "weight", "rise if fixed", "rise if ablated"]

    tables, words, points, ticks = heads_of(story(whole_of(results), names, range(9), 7))
    assert "did not fix" not in words
    assert list(points) == list(CHANGES.values())
    assert ticks == ["1", "2", "3", "4", "all"]
    excess = results["runs"][0]["all_heads"]["excess"]
    np.testing.assert_allclose(points["keys fixed"].y, excess + 4e-3)
    np.testing.assert_allclose(points["keys fixed"].error[:, 0], (2e-3, 4e-3))
    assert tables[0].rows[0][3:7] == ["25.0%", "12.5%", "0.0%", None]
    assert len(tables[1].rows) == 5 * 5
    for part in ("layers", "all_heads"):  # of today's results, nothing is passed over
        lacking = whole_of(results)
        for one in lacking["runs"]:
            if part == "layers":
                del one["layers"]
            else:
                del one["all_heads"]["key_fixed"]
        with pytest.raises(KeyError):
            story(lacking, names, range(9), 7)


def test_points_of_one_layer_do_not_lie_on_each_other(told):
    _, _, points, _ = heads_of(story(whole_of(told[0]), told[1], range(9), 7))
    at = np.sort(np.concatenate([one.x for one in points.values()]))
    assert np.diff(at).min() > 0.1


def test_controls_of_the_probes_follow_the_runs_in_the_legend(told):
    named = [series.name for series in drawn(told, "inspect_probes").series if series.name]
    assert named == [*told[1], "untrained", "shuffled"]


def test_tables_write_figures_alike(told):
    tables = [part for section in told[2].sections for part in section.parts if isinstance(part, Rows)]
    assert [len(table.rows) for table in tables] == [9, 16, 3]
    cells = [cell for table in tables for row in table.rows for cell in row if isinstance(cell, str)]
    assert "1 + 2.80e-6 ± 4e-8" in cells
    assert "6.1e-7" in cells
    assert not [cell for cell in cells if "e-0" in cell]


def test_every_section_with_pictures_says_what_they_are_of(told):
    for section in told[2].sections:
        if any(isinstance(part, Drawn) for part in section.parts):
            assert not isinstance(section.parts[0], Drawn)
            assert all(part.picture.caption for part in section.parts if isinstance(part, Drawn))
