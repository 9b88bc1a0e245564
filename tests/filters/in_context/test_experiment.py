"""What the experiment in_context declares, against the words of its YAML's head."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bestguess.experiment.declare import At
from bestguess.filters.declared import EXPERIMENTS
from bestguess.filters.family import FAMILY
from bestguess.filters.in_context.experiment import IN_CONTEXT
from bestguess.filters.in_context.experiment_page import curve

ROOT = Path(__file__).parents[3]
FIGURES = {
    "normalised_loss": 1.02,
    "skill": 0.97,
    "headroom": 0.6,
    "held_out": {
        "headroom": 0.8,
        "over_told": 0.2,
        "over_mixture": -0.2,
        "mixture_over_told": 0.4,
        "ridge_over_told": 0.25,
    },
}


def read(name: str, figures=FIGURES):
    (one,) = (one for one in IN_CONTEXT.measures if one.name == name)
    return one.read(None, figures)


def test_held_out_losses_are_compared_and_are_no_regret():
    expected = {
        "excess": math.log(0.02),
        "held_excess": math.log(0.2),
        "held_gap": math.log(0.25),
        "by_mixture": math.log(0.5),
        "less_mixture": -0.2,
        "by_ridge": math.log(0.8),
        "less_ridge": -0.05,
        "mixture_held": math.log(0.4),
    }
    for name, value in expected.items():
        assert read(name).value == pytest.approx(value), name
    assert read("held_excess", {"normalised_loss": 1.1, "headroom": 0.2, "skill": 0.5}) is None  # of one system


def test_beside_the_excess_stands_ridge_and_no_predictor_of_one_system():
    figures = FIGURES | {"trained": {"ridge_over_told": 0.26, "mixture_over_told": 0.05}}
    of = {one.name: one.references for one in IN_CONTEXT.measures}
    for name, expected in (("excess", math.log(0.2)), ("gap", math.log(0.2 / 0.6))):
        (one,) = of.pop(name)
        assert one.name == "ridge in context"
        assert one.read(None, figures) == pytest.approx(expected)
    assert not any(of.values())


def test_the_mixture_is_of_the_task_and_no_measure_of_the_model():
    assert [one.name for one in IN_CONTEXT.measures if one.covariate] == ["mixture_held"]


def test_the_curve_has_a_row_for_each_list_and_a_line_for_each_predictor():
    def record(K, model, mixture, **more):
        own = {"over_told": model, "mixture_over_told": mixture, "ridge_over_told": 0.3, "headroom": 0.8} | more
        held = own | {"over_told": 2 * model, "over_mixture": 2 * model - mixture}
        return {"config": {"task.systems": K}, "metrics": {"trained": own, "held_out": held}}

    records = [record(64, 0.2, 0.1), record(1, 0.4, 0.0), record(64, 0.4, 0.2)]
    (section,) = curve(records)
    drawn, table, _ = section.parts
    assert table.columns == [
        "K", "list", "transformer", "Bayes mixture of the K systems", "ridge in context", "best constant",
        "transformer less the mixture", "seeds",
    ]  # fmt: skip
    assert [row[:4] for row in table.rows] == [
        ["1", "systems of the mixture", "1 + 4.00e-1", "1"],
        ["1", "held-out systems", "1 + 8.00e-1", "1"],
        ["64", "systems of the mixture", "1 + 3.00e-1", "1 + 1.50e-1"],
        ["64", "held-out systems", "1 + 6.00e-1", "1 + 1.50e-1"],
    ]
    assert [row[-2:] for row in table.rows] == [["", 1], ["+0.8", 1], ["", 2], ["+0.45", 2]]
    trained, held = drawn.picture.panels
    lines = {line.name: line for line in held.series}
    assert list(lines["transformer"].y) == pytest.approx([80, 60])
    assert list(trained.series[0].x) == [0, 6]
    assert math.isnan(lines["Bayes mixture of the K systems"].y[0])  # it is the true filter: no place on a log axis
    told = [record(1, 0.4, 0.0, ar_over_told=0.5)]
    assert "AR(k) in context" in curve(told)[0].parts[1].columns


def test_the_family_declares_it_beside_those_on_one_system():
    assert FAMILY.declared_experiments() is EXPERIMENTS
    assert list(EXPERIMENTS) == ["eigenvalue", "structure", "patching", "observed", "in_context", "normalisation"]


def test_every_claim_of_the_head_is_declared_with_its_side():
    head = " ".join(
        (ROOT / "experiments" / "in_context.yaml").read_text().split("program:")[0].replace("#", " ").split()
    )
    measures = {measure.name for measure in IN_CONTEXT.measures}
    for one in IN_CONTEXT.hypotheses:
        assert f"{one.name} {one.claim}" in head
        assert len(one.decides) == len(one.scales) == 1
        assert {*one.decides, *one.scales} <= measures
        if isinstance(at := one.contrast["task.systems"], At):
            assert f"With {at.level:,} systems" in one.claim
    assert {one.name: one.direction for one in IN_CONTEXT.hypotheses} == {
        "H1": 1,
        "H5": 1,
        "H2": -1,
        "H3": -1,
        "H4": -1,
    }
    assert "above it for H1 and H5, below it for H2, H3 and H4" in head


def test_the_small_preset_is_a_whole_experiment():
    from bestguess.experiment.analysis import check
    from bestguess.sweep.plan import lacks, plan
    from bestguess.sweep.spec import read_spec

    spec = read_spec(ROOT / "experiments" / "in_context.yaml", IN_CONTEXT.small)
    planned = plan(spec, ensemble=16)
    check(IN_CONTEXT, planned.runs)
    assert lacks(spec, planned) == []
    assert len(planned.runs) == 16


def test_the_cost_is_the_one_that_the_head_counts():
    from bestguess.sweep.spec import read_spec

    assert IN_CONTEXT.operations is not None
    total = 0.0
    for name, runs in (("in_context", 42), ("in_context_tuning", 70)):
        spec = read_spec(ROOT / "experiments" / f"{name}.yaml", ())
        steps = spec.parameters["train.steps"].arguments["value"]
        base = {"preset": "default", "task": {"latent_dim": 8, "length": 128, "systems": 4}, "train": {"steps": steps}}
        operations, count = IN_CONTEXT.operations(FAMILY.single(base))
        assert f"{operations / 1e9:.0f}" == "161"
        total += operations * count * runs
    assert f"{total:.1e}" == "2.5e+17"
    assert round(total / 200e12 / 60) == 21
