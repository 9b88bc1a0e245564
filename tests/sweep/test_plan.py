"""Plans: runs, the ensembles that they make, and what a sweep lacks."""

from __future__ import annotations

import pytest

from bestguess.command import UserError
from bestguess.sweep.plan import Round, config_of, lacks, plan, sample, sweep_id
from bestguess.sweep.spec import parse_spec
from tests.sweep.conftest import ROOT

TOY = "family: {value: tests.sweep.toy_family}"


def spec(parameters: str, top: str = "method: grid"):
    return parse_spec(f"{top}\nparameters: {{{TOY}, {parameters}}}", "n", "f")


def test_runs_that_differ_in_arrays_share_an_ensemble_and_no_others():
    made = plan(spec("width: {values: [1, 2]}, train.learning_rate: {values: [1e-3, 0.01]}"), ensemble=16)
    assert [run.run for run in made.runs] == ["0000", "0001", "0002", "0003"]
    assert [unit.runs for unit in made.units] == [("0000", "0001"), ("0002", "0003")]
    assert len({run.shape for run in made.runs}) == 2
    assert made.runs[0].cell == made.runs[1].cell != made.runs[2].cell


@pytest.mark.parametrize(
    ("count", "ensemble", "jobs", "sizes"),
    [
        (18, 16, 1, [9, 9]),
        (16, 16, 1, [16]),
        (16, 16, 4, [4] * 4),
        (3, 16, 8, [1] * 3),
        (7, 3, 1, [2, 2, 3]),
        (5, 1, 1, [1] * 5),
    ],
)
def test_ensembles_are_even_and_enough_for_all_workers(count, ensemble, jobs, sizes):
    made = plan(spec(f"train.first_seed: {{min: 1, max: {count}}}"), ensemble=ensemble, jobs=jobs)
    assert [len(unit.runs) for unit in made.units] == sizes
    assert [run for unit in made.units for run in unit.runs] == [run.run for run in made.runs]
    assert len({unit.unit for unit in made.units}) == len(sizes)


def test_a_round_survives_json():
    made = plan(spec("width: {values: [1, 2]}"), ensemble=4)
    assert Round.from_dict(made.to_dict()) == made


@pytest.mark.parametrize("units", [[], [["0000"]], [["0000", "0001"], ["0001"]], [["0001", "0001"]]])
def test_a_round_holds_every_run_in_one_unit(units):
    told = plan(spec("width: {values: [1, 2]}"), ensemble=4).to_dict()
    told["units"] = [{"unit": f"u{i}", "runs": runs} for i, runs in enumerate(units)]
    with pytest.raises(UserError, match=r"^rounds/0000.json: units: do not hold every run once"):
        Round.from_dict(told, "rounds/0000.json")


def test_a_sample_has_every_shape_before_a_second_of_any():
    made = plan(spec("width: {values: [1, 2, 3]}, train.first_seed: {values: [0, 1]}"), ensemble=4)
    assert sample(made, 4) == ["0000", "0002", "0004", "0001"]
    assert sorted(sample(made, 99)) == [run.run for run in made.runs]


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ("width: {values: [1, 2]}", ["every configuration has one seed", "every configuration has one learning rate"]),
        ("train.first_seed: {values: [0, 1]}", ["every configuration has one learning rate, which nobody tuned"]),
        ("train.learning_rate: {values: [0.1, 0.2]}", ["every configuration has one seed: give train.first_seed"]),
        ("train.first_seed: {values: [0, 1]}, train.learning_rate: {values: [0.1, 0.2]}", []),
    ],
)
def test_what_a_grid_lacks_is_said(parameters, told):
    one = spec(parameters)
    found = lacks(one, plan(one, ensemble=4))
    assert len(found) == len(told)
    for line, text in zip(found, told):
        assert text in line


def test_a_capped_grid_lacks_pairs():
    one = spec(
        "train.first_seed: {values: [0, 1]}, train.learning_rate: {values: [0.1, 0.2]}", "method: grid\nrun_cap: 3"
    )
    assert lacks(one, plan(one, ensemble=4)) == [
        "every configuration lacks some pairs of seed and rate: plan the whole grid"
    ]


def test_a_bayes_sweep_lacks_seeds_and_may_lack_more():
    top = "method: bayes\nrun_cap: 3\nmetric: {name: %s}"
    whole = spec("train.learning_rate: {min: 0.1, max: 1.0}", top % "validation_loss")
    assert len(lacks(whole, Round((), ()))) == 1
    poor = spec("width: {min: 1, max: 3}", top % "loss")
    assert "the learning rate is not tuned" in lacks(poor, Round((), ()))[0]
    assert "it optimises loss" in lacks(poor, Round((), ()))[1]


def test_an_id_is_the_sweeps_own():
    one = spec("width: {values: [1, 2]}")
    assert sweep_id(one, 0) == sweep_id(spec("width: {values: [1, 2]}"), 0)
    others = {
        sweep_id(one, 1),
        sweep_id(spec("width: {values: [2, 1]}"), 0),
        sweep_id(spec("width: {values: [1, 3]}"), 0),
    }
    assert len(others | {sweep_id(one, 0)}) == 4


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"train.first_seed": 1}, "family is missing"),
        ({"family": "filter"}, "no family 'filter'; did you mean filters?"),
        ({"family": "no.such.module"}, "no module no.such.module"),
        ({"family": "filters", "train.seed": 1}, "parameters.train.seed: a run of a sweep has one seed"),
        ({"family": "filters", "train.seeds": 2}, "parameters.train.seeds: a run of a sweep has one seed"),
        ({"family": "filters", "task.lamda": 0.5}, "task.lamda: unknown key; did you mean lambda?"),
        ({"family": "filters", "tusk.lambda": 0.5}, "tusk: unknown key; did you mean task?"),
        ({"family": "filters", "task.lambda": "x"}, "task.lambda[0]: 'x' is not a number"),
        ({"family": "filters", "task.lambda": [0.5, 0.6]}, "lambda: a run of a sweep has one value"),
        ({"family": "filters", "train.learning_rate": [0.5, 0.6]}, "learning_rate: a run of a sweep has one value"),
        ({"family": "filters", "preset": "smal"}, "preset: no preset 'smal'; did you mean small?"),
        ({"family": "filters", "model.heads": 3}, "--heads 3: does not divide"),
        ({"family": "filters", "task": 3, "task.lambda": 0.5}, "task has a value of its own"),
    ],
)
def test_a_config_that_is_off_is_one_line_that_names_the_key(values, told):
    with pytest.raises(UserError) as error:
        config_of(values)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_no_shared_room_imports_a_family():
    for path in (ROOT / "src/bestguess/sweep").glob("*.py"):
        lines = path.read_text().splitlines()
        assert not [line for line in lines if "import" in line and "bestguess.filters" in line], path


def test_equal_runs_are_planned_once():
    one = spec(
        "train.learning_rate: {values: [1e-3, 3e-3]}, train.first_seed: {values: [0, 1]}", "method: random\nrun_cap: 9"
    )
    runs = plan(one, ensemble=16).runs
    assert len({(run.config["train.learning_rate"], run.config["train.first_seed"]) for run in runs}) == len(runs) == 4
    assert lacks(one, plan(one, ensemble=16)) == []


def test_whole_numbers_may_be_written_as_fractions():
    _, config = config_of({"family": "tests.sweep.toy_family", "train.steps": 20.0, "width": 2.0})
    assert (config.train.steps, type(config.width)) == (20, int)
    with pytest.raises(UserError, match=r"train.steps: 20.5 is not an int"):
        config_of({"family": "tests.sweep.toy_family", "train.steps": 20.5})
