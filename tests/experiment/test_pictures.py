"""Pictures of a factor without order, and of more hypotheses than there are colours: a row for each."""

import dataclasses
import itertools

import numpy as np
import pytest

from bestguess.experiment.analysis import analyse
from bestguess.experiment.covariates import covariates
from bestguess.experiment.pictures import _thinned, effects, figure
from bestguess.experiment.rollouts import rollouts
from bestguess.filters.experiments import EXPERIMENTS as FILTERS
from bestguess.filters.normalisation import NORMALISATION
from bestguess.integers.experiments import EXPERIMENTS
from bestguess.report.charts import Grid, Points
from bestguess.report.render import to_matplotlib, to_plotly
from tests.experiment.planted import figures, integer_figures, planted

LEARNED, FOURIER = (f"model.embedding={one} model.positions=learned" for one in ("learned", "fourier"))
HARD = {"design=document": 1.0, FOURIER: -0.7, LEARNED: 0.5}


def law(config):
    return HARD.get(config["change"], 0.0)


def analysis_of(folder, leave=0):
    ledger = planted(folder, "integer_design", law, noise=0.02, leave=leave, score=integer_figures)
    return analyse(EXPERIMENTS["integer_design"], ledger.runs().values(), ledger.records(), "regret")


@pytest.mark.parametrize("leave", [0, 27])
def test_levels_without_order_have_a_row_each_the_lowest_at_the_top(tmp_path, leave):
    """Of the last 27 runs, fifteen are all of one level, and of another level two seeds at its best rate."""
    grid = figure(analysis_of(tmp_path, leave), None)
    assert isinstance(grid, Grid)
    assert (grid.columns, len(grid.panels)) == (1, 3)
    regret = grid.panels[0]
    rows = list(regret.y_ticks.values())
    assert len(rows) == regret.rows == (15 if leave else 16)
    assert ("model.d_ff=256" in rows) == (not leave)
    assert (rows[0], rows[1], rows[-1]) == ("design=document", LEARNED, FOURIER)
    means = next(series for series in regret.series if series.name == "mean")
    lacking = [row for row, mean in zip(rows, means.x) if np.isnan(mean)]
    assert lacking == (["model.heads=8"] if leave else [])  # a mean of fewer seeds is none
    seeds = next(series for series in regret.series if series.name == "one seed")
    assert np.isfinite(seeds.x).sum() == 5 * len(rows) - 2 * len(lacking)
    base = next(series for series in regret.series if series.name == "mean of “nothing”")
    assert set(base.x) == {means.x[rows.index("nothing")]}


def test_named_levels_with_an_order_have_their_rows_in_it(tmp_path):
    analysis = analysis_of(tmp_path)
    first, *others = EXPERIMENTS["integer_design"].factors
    tables = {
        name: dataclasses.replace(table, factors=[dataclasses.replace(first, position=len, named=True), *others])
        for name, table in analysis.tables.items()
    }
    panel = figure(dataclasses.replace(analysis, tables=tables), None).panels[0]
    rows = [panel.y_ticks[row] for row in sorted(panel.y_ticks)]
    assert rows == sorted(rows, key=len, reverse=True) != sorted(rows)
    assert len(rows) == 16
    assert panel.x == ""  # the panel's title names the measure already


def test_many_hypotheses_have_a_row_each_with_the_deciding_effect_by_verdict(tmp_path):
    analysis = analysis_of(tmp_path, leave=15)
    chart = effects(analysis, "incomplete")
    assert chart.title == "Effects (incomplete)"
    labels = [chart.y_ticks[row] for row in sorted(chart.y_ticks, reverse=True)]
    assert len(labels) == 15
    assert chart.rows == sum(label.count("\n") + 1 for label in labels)
    assert labels[0] == "H1  The original design beats the default"
    assert labels[-1] == "H9  No leakage: held-out rows are no harder"
    drawn = {series.name: series for series in chart.series if isinstance(series, Points)}
    for verdict in analysis.verdicts:
        (row,) = (row for row, label in chart.y_ticks.items() if label.split()[0] == verdict.hypothesis)
        if verdict.main.estimate is None:
            assert verdict.hypothesis == "H8"  # its level is what is missing
            assert not any(row in drawn[word].y for word in drawn if word != "one seed")
            continue
        place = list(drawn[verdict.verdict].y).index(row)
        low, high = verdict.main.estimate.interval
        assert drawn[verdict.verdict].x[place] == verdict.main.estimate.effect
        estimate = verdict.main.estimate.effect
        assert drawn[verdict.verdict].x_error[:, place] == pytest.approx([estimate - low, high - estimate])
    assert next(v for v in analysis.verdicts if v.hypothesis == "H2a").verdict == "supported"
    assert next(v for v in analysis.verdicts if v.hypothesis == "H1").verdict == "refuted"
    assert len(drawn["one seed"].x) == 14 * 5
    assert "to the right of 0 (H9: to the left)" in chart.caption


def test_claims_stand_whole_beside_their_rows_and_do_not_meet(tmp_path):
    analysis = analysis_of(tmp_path, leave=15)
    words = "about the parameters that are stated, and within a tenth of them"
    verdicts = [
        dataclasses.replace(one, claim=f"The {name} shape has {words}." if name else "It has.")
        for one, name in zip(analysis.verdicts, itertools.cycle(("compact", "", "extraordinarily large", "")))
    ]
    chart = effects(dataclasses.replace(analysis, verdicts=verdicts), None)
    drawn = to_matplotlib(chart)
    drawn.draw_without_rendering()
    axes = drawn.axes[0]
    labels = axes.get_yticklabels()
    for verdict in verdicts:
        told = f"{verdict.hypothesis} {verdict.claim.rstrip('.')}"
        assert told in [" ".join(label.get_text().split()) for label in labels]
        assert any(" ".join(one.replace("<br>", " ").split()) == told for one in to_plotly(chart).layout.yaxis.ticktext)
    boxes = sorted((label.get_window_extent() for label in labels), key=lambda box: box.y0)
    assert max(box.height for box in boxes) > 1.5 * min(box.height for box in boxes)  # some have several lines
    assert all(low.y1 < high.y0 for low, high in itertools.pairwise(boxes))
    assert all(drawn.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x0 for box in boxes)
    assert axes.bbox.width > 0.4 * drawn.bbox.width


def test_effects_by_horizon_stand_in_order_and_no_panel_is_empty(tmp_path):
    ledger = planted(tmp_path, "eigenvalue", lambda config: config["task.lambda"], noise=0.02)
    experiment = FILTERS["eigenvalue"]
    analysis = analyse(experiment, ledger.runs().values(), ledger.records(), "normalised_loss")
    grid = effects(analysis, None)
    assert isinstance(grid, Grid)
    assert all(panel.series for panel in grid.panels)
    by_horizon = [panel for panel in grid.panels if panel.x == "horizon (steps)"]
    assert by_horizon
    for panel in by_horizon:
        horizons = [float(label) for label in panel.x_ticks.values()]
        assert horizons == sorted(horizons)
        assert len(horizons) > 1
    # One measure alone has no tick: its title says it all.
    assert all(panel.x_ticks == {} for panel in grid.panels if panel.x_range == (-0.5, 0.5))


def test_of_many_seeds_order_statistics_are_drawn():
    values = np.random.default_rng(0).normal(size=(3, 1000))
    drawn = _thinned(values)
    assert drawn.shape == (3, 100)
    np.testing.assert_array_equal(drawn[:, [0, -1]], np.stack([values.min(axis=1), values.max(axis=1)], axis=1))
    np.testing.assert_allclose(np.median(drawn, axis=1), np.median(values, axis=1), atol=0.02)
    assert _thinned(values[:, :200]) is not drawn
    np.testing.assert_array_equal(_thinned(values[:, :200]), values[:, :200])


def test_seeds_that_have_not_begun_leave_the_means_of_the_others(tmp_path):
    only = lambda config: config["train.first_seed"] < 2  # noqa: E731
    ledger = planted(tmp_path, "eigenvalue", lambda config: config["task.lambda"], noise=0.02, only=only)
    experiment = FILTERS["eigenvalue"]
    analysis = analyse(experiment, ledger.runs().values(), ledger.records(), "normalised_loss")
    grid = figure(analysis, None)
    assert isinstance(grid, Grid)
    (model,) = (series for series in grid.panels[0].series if series.name == "model")
    values = analysis.tables["excess"].values
    assert np.isnan(values[:, 2:]).all()
    np.testing.assert_allclose(model.y, 100 * np.exp(values[:, :2].mean(axis=1)))
    assert "the 2 seeds that have begun" in grid.caption


def by_dimension(config, *others):
    """Figures whose headroom grows with the observed dimensions, one step ahead and two."""
    found = figures(config, *others)
    found["headroom"] = found["rollout"]["2"]["headroom"] = 0.1 * config["task.observed_dim"]
    return found


def test_a_covariate_stands_under_the_primary_measure_of_its_hypothesis(tmp_path):
    """Patch sizes are compared ahead, so the headroom ahead stands under the excess ahead, and not under one step's."""
    ledger = planted(tmp_path, "observed", lambda config: 0.0, noise=0.02, score=by_dimension)
    analysis = analyse(FILTERS["observed"], ledger.runs().values(), ledger.records(), "normalised_loss")
    grid = covariates(analysis, None)
    assert not grid.share_y
    assert [(panel.title, panel.y) for panel in grid.panels] == [
        ("By headroom", "final excess over the filter (%)"),
        ("By headroom at t+2", "excess over the filter at t+2 (%)"),
    ]


def test_a_covariate_that_is_the_same_but_for_rounding_has_no_panel(tmp_path):
    def rounded(config, *others):
        found = by_dimension(config, *others)
        return found | {"spectral_radius": 0.96 - 1e-16 * config["train.first_seed"]}

    ledger = planted(tmp_path, "observed", lambda config: 0.0, noise=0.02, score=rounded)
    analysis = analyse(FILTERS["observed"], ledger.runs().values(), ledger.records(), "normalised_loss")
    assert "Spectral radius of A" not in [panel.title for panel in figure(analysis, None).panels]
    assert "By spectral radius" not in [panel.title for panel in covariates(analysis, None).panels]


def test_no_covariate_that_differs_is_no_picture(tmp_path):
    ledger = planted(tmp_path, "observed", lambda config: 0.0, noise=0.02)
    analysis = analyse(FILTERS["observed"], ledger.runs().values(), ledger.records(), "normalised_loss")
    assert covariates(analysis, None) is None


def test_curves_over_the_horizon_name_their_levels_as_the_other_figures_do(tmp_path):
    ledger = planted(tmp_path, "normalisation", lambda config: 0.0, noise=0.02)
    analysis = analyse(NORMALISATION, ledger.runs().values(), ledger.records(), "normalised_loss")
    drawn = rollouts(analysis, None)
    assert [panel.title for panel in drawn.panels] == [
        "normalisation input",
        "normalisation none",
        "normalisation instance",
        "normalisation instance, told",
        "normalisation instance, prior 64",
        "normalisation instance, both",
    ]


def test_a_covariate_that_is_the_same_in_all_cells_is_told_and_has_no_panel(tmp_path):
    ledger = planted(tmp_path, "patching", lambda config: 0.0, noise=0.02)
    analysis = analyse(FILTERS["patching"], ledger.runs().values(), ledger.records(), "normalised_loss")
    (finding,) = (one for one in analysis.verdicts[0].findings if one.measure == "headroom_2")
    assert (finding.estimate.effect, finding.estimate.interval) == (0.0, (0.0, 0.0))
    grid = effects(analysis, None)
    assert [panel.title for panel in grid.panels] == ["ln excess at t+2", "ln(1 − skill) by horizon"]
    assert "The same in all cells that are compared: ln headroom at t+2, spectral radius." in grid.caption


def test_the_effects_legend_lists_hypotheses_in_their_order_and_panels_name_their_measure_once(tmp_path):
    ledger = planted(tmp_path, "eigenvalue", lambda config: config["task.lambda"], noise=0.02)
    experiment = FILTERS["eigenvalue"]
    analysis = analyse(experiment, ledger.runs().values(), ledger.records(), "normalised_loss")
    grid = effects(analysis, None)
    names = [verdict.hypothesis for verdict in analysis.verdicts]
    ranked = sorted((t.legendrank, t.name) for t in to_plotly(grid).data if t.showlegend)
    shown = [name for _, name in ranked if name in names]
    assert shown == [name for name in names if name in shown]
    assert [name for _, name in ranked][: len(shown)] == shown
    assert all(panel.y == "" and panel.title for panel in figure(analysis, None).panels)
