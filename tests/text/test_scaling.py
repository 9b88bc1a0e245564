"""What the experiment on size declares, against its YAML; the shapes' parameters; verdicts on planted results."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from bestguess.experiment.analysis import analyse, check
from bestguess.experiment.declare import Curvature, Factor, Slope
from bestguess.experiment.pictures import effects, figure
from bestguess.experiment.results import more
from bestguess.report.story import Drawn, Rows
from bestguess.sweep.plan import config_of, lacks, plan
from bestguess.sweep.spec import read_spec
from bestguess.text.experiments import EXPERIMENTS
from bestguess.text.metrics import ROUGE
from bestguess.text.model import parameters
from bestguess.text.scaling import BRIEF, CLAIMED, LADDER, LEVELS, SHAPES, corpus_of
from bestguess.text.scaling_page import within
from tests.experiment.planted import ROOT
from tests.text.test_experiments import noise

TESTED = EXPERIMENTS["text_scaling"]
ONE_RATE = ("train.learning_rate=0.001",)


@functools.cache
def planned_of(name: str = "text_scaling", changes: tuple[str, ...] = ()):
    spec = read_spec(ROOT / "experiments" / f"{name}.yaml", changes)
    return spec, plan(spec, ensemble=64)


@pytest.mark.parametrize("changes", [(), TESTED.small])
def test_the_sweep_can_test_every_hypothesis(changes):
    spec, planned = planned_of(changes=changes)
    check(TESTED, planned.runs)
    assert lacks(spec, planned) == []
    assert {run.config["change"] for run in planned.runs} == set(LEVELS)
    assert len(spec.parameters["train.first_seed"].arguments["values"]) >= 2


def test_every_level_is_the_shape_that_its_name_says():
    one = planned_of()[1].runs[0].config
    for value, (task, shape) in LEVELS.items():
        config = config_of({**one, "change": value})[1]
        config.check()
        model = config.model
        assert (model.layers, model.d_model, model.heads) == SHAPES[shape]
        assert model.d_ff == 4 * model.d_model
        assert corpus_of(config) == task


def test_the_brief_s_counts_are_met_by_the_ladder_and_not_by_its_shapes():
    """With 1,024 tokens, biases, LayerNorm and a tied embedding, one each of 128 to 768 wide."""
    one = planned_of()[1].runs[0].config
    counts = {}
    for value, (task, shape) in LEVELS.items():
        if task == "files":
            counts[shape] = parameters(config_of({**one, "change": value})[1].model, 1024, (512, 257)).total
    assert [round(counts[f"{name}, as drawn"] / 1e6, 2) for name in BRIEF] == [1.06, 7.64, 44.66, 133.11]
    for name in LADDER:
        assert counts[f"{name}, as counted"] == pytest.approx(CLAIMED[name], rel=0.06)
    for shape, count in counts.items():
        assert SHAPES[shape].nearly == pytest.approx(count, rel=0.02)


def test_tuning_gives_every_shape_the_budget_of_the_experiment_on_a_seed_of_its_own():
    spec, planned = planned_of("text_scaling_tuning")
    assert list(spec.parameters["change"].arguments["values"]) == list(LEVELS)
    rates = spec.parameters["train.learning_rate"].arguments["values"]
    assert len(planned.runs) == len(LEVELS) * len(rates)
    seeds = {run.config["train.first_seed"] for run in planned_of()[1].runs}
    assert not seeds & {run.config["train.first_seed"] for run in planned.runs}
    assert rates == planned_of()[0].parameters["train.learning_rate"].arguments["values"]
    trained = {key: value for key, value in planned.runs[0].config.items() if key.startswith("train.")}
    for key in trained.keys() - {"train.learning_rate", "train.first_seed"}:
        assert trained[key] == planned_of()[1].runs[0].config[key]


def test_slopes_and_curvatures_of_some_levels():
    factor = Factor("x", "x", position=float)
    levels, x = [0.0, 1.0, 2.0, 5.0, 9.0], np.array([0.0, 2.0, 5.0, 9.0])
    some = tuple(x)
    y = 3 - 2 * x + 0.25 * x**2
    for reducer, expected in ((Curvature(some), 0.5), (Slope(some), np.polyfit(x, y, 1)[0])):
        kept = [levels[i] for i in reducer.keep(levels)]
        assert kept == list(x)
        values, weights = reducer.reduce(factor, kept, y[:, None], np.ones((len(y), 1)))
        assert values == pytest.approx([expected])
        assert weights > 0
        _, none = reducer.reduce(factor, kept, y[:, None], np.array([[1.0], [0.0], [0.0], [0.0]]))
        assert none == 0
    assert Slope().keep(levels) == list(range(5))


# ------------------------------------------------------------------------------------------ planted results


def figures(value: str, config, law) -> dict:
    task, shape = LEVELS[value]
    count, small = SHAPES[shape].nearly, 0.002 * noise(config)
    loss = law(task, count) * math.exp(small)
    rouge = dict.fromkeys(ROUGE, 0.5 - 0.1 * loss)
    one = {"documents": 2, **rouge, "baseline": dict.fromkeys(ROUGE, 0.1)}
    return {
        "validation_loss": loss, "nats_per_document": loss, "nats_per_token": loss, "parameters": count,
        "regret_per_document": loss, "documents": 2, "tokens": 41, "document_tokens": [20, 21],
        "flops_per_document": 6.0 * count, "curve": {"documents": [64, 128], "nats_per_token": [2 * loss, loss]},
        "seconds_per_document": 1e-9 * count * math.exp(small),
        "rouge": one | {"by_length": {"below 20": one}} if task == "files" else None,
    }  # fmt: skip


def judged(law):
    runs = planned_of(changes=ONE_RATE)[1].runs
    about = {"seconds": 1.0, "device": "1 × Test"}
    records = [
        {"run": run.run, "config": run.config, "metrics": figures(run.config["change"], run.config, law), **about}
        for run in runs
    ]
    return analyse(TESTED, runs, records, "nats_per_document")


@functools.cache
def saturated():
    """Regret by a power law that flattens, loss on files with a level below which nothing falls."""
    return judged(lambda task, count: (0.02 if task == "errands" else 1.5) + 900 * count**-0.6)


def test_verdicts_where_returns_diminish():
    found = {one.hypothesis: one.verdict for one in saturated().verdicts}
    refuted = {"H1a", "H1b", "H1c", "H1d"}  # 2 to 4 times the parameters
    assert {name for name, word in found.items() if word == "refuted"} == refuted
    assert {word for name, word in found.items() if name not in refuted} == {"supported"}


def test_verdicts_of_a_power_law_and_of_worse_larger_models():
    straight = {one.hypothesis: one.verdict for one in judged(lambda task, count: 900 * count**-0.5).verdicts}
    assert straight["H2a"] == straight["H2b"] == "supported"
    assert straight["H3a"] != "supported"
    worse = {one.hypothesis: one.verdict for one in judged(lambda task, count: 0.1 * count**0.2).verdicts}
    assert {worse[name] for name in ("H2a", "H2b", "H2c")} == {"refuted"}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((3e6, 2e6, 4e6), "3e+06 (2e+06 to 4e+06)"),
        ((0.0, 0.0, 7e-35), "below"),
        ((2e27, 1e25, math.inf), "above"),
        ((3e6, 0.0, math.inf), "3e+06 (below to above)"),
    ],
)
def test_where_nothing_was_measured_no_figure_is_told(values, told):
    assert within(1e6, 1e8, *values) == told


def test_figures_and_the_sections_of_the_page():
    found = saturated()
    for picture in (figure(found, None), effects(found, None)):
        assert picture.panels
    first = figure(found, None).panels[0]  # lists the shapes of one corpus, of which the other has none
    assert len(first.y_ticks) == len(SHAPES)
    curves, sizes, rouge = more(found)
    drawn, _, fitted = curves.parts
    assert isinstance(drawn, Drawn)
    assert len(drawn.picture.panels) == 4
    rows = {(row[0], row[1]): row for row in fitted.rows}
    level, low = rows["files", "parameters"][2].replace("(", "").split()[:2]
    assert float(low) <= float(level) == pytest.approx(1.5, rel=0.02)
    # A doubling from x gains 0.01 nats where 900 (1 − 2^−0.6) x^−0.6 = 0.01: at 30 million, among those measured.
    where, low, high = rows["files", "parameters"][4].replace("(", "").replace(")", "").replace("to ", "").split()
    assert float(low) <= float(where) <= float(high)
    assert float(where) == pytest.approx((900 * (1 - 2**-0.6) / 0.01) ** (1 / 0.6), rel=0.1)
    assert isinstance(sizes.parts[0], Rows)
    assert len(sizes.parts[0].rows) == len(LEVELS)
    table = rouge.parts[1]
    assert table.rows[0][:2] == ["most frequent summary", "10.0"]
    assert table.rows[-1][1] == "2"
    assert len({len(row) for row in table.rows} | {len(table.columns)}) == 1
