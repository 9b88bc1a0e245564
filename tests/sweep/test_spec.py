"""W&B sweep YAMLs: what is read from them, and what is said of a bad one."""

from __future__ import annotations

import pytest

from bestguess.command import UserError
from bestguess.sweep.spec import flatten, nest, numbers_of, parse_spec, read_spec, read_value


def spec(text: str, *changes: str):
    return parse_spec(text, "name", "file.yaml", changes)


def parameters(lines: str):
    return spec(
        "method: random\nrun_cap: 1\nparameters:\n" + "\n".join("  " + x for x in lines.splitlines())
    ).parameters


def test_nested_and_dotted_keys_are_one():
    nested = parameters(
        "a: {value: 1}\ntask:\n  parameters:\n    x: {values: [1, 2]}\n    y:\n      parameters: {z: {value: 3}}"
    )
    dotted = parameters("a: {value: 1}\ntask.x: {values: [1, 2]}\ntask.y.z: {value: 3}")
    assert nested == dotted
    assert list(nested) == ["a", "task.x", "task.y.z"]


def test_numbers_that_pyyaml_takes_for_words_are_numbers():
    found = parameters("a: {values: [1e-4, 1.0e-3, 3E2, -2e+1]}\nb: {min: 1e-4, max: 1e-2}\nc: {value: e5}")
    assert found["a"].arguments["values"] == [1e-4, 1e-3, 300.0, -20.0]
    assert (found["b"].distribution, found["b"].arguments["min"]) == ("uniform", 1e-4)
    assert found["c"].arguments["value"] == "e5"
    assert numbers_of({"x": ["1e-4", "1e", "e-4", "1e-4x", "v1e5"]}) == {"x": [1e-4, "1e", "e-4", "1e-4x", "v1e5"]}


@pytest.mark.parametrize(
    ("text", "distribution"),
    [
        ("{value: x}", "constant"),
        ("{values: [1]}", "categorical"),
        ("{values: [1, 2], probabilities: [0.25, 0.75]}", "categorical_w_probabilities"),
        ("{min: 1, max: 5}", "int_uniform"),
        ("{min: 1.0, max: 5}", "uniform"),
        ("{min: 1, max: 5.5}", "uniform"),
        ("{distribution: log_uniform_values, min: 1, max: 5}", "log_uniform_values"),
        ("{distribution: normal}", "normal"),
    ],
)
def test_the_distribution_is_the_one_that_wandb_takes(text, distribution):
    [found] = parameters(f"p: {text}").values()
    assert found.distribution == distribution


def test_varies():
    found = parameters("a: {value: 1}\nb: {values: [1]}\nc: {values: [1, 2]}\nd: {min: 0, max: 1}")
    assert [p.varies for p in found.values()] == [False, False, True, True]


def test_changes_replace_add_and_list():
    text = "method: grid\nparameters: {a: {values: [1, 2]}, b: {value: 0}}"
    found = spec(text, "a=5", "c.d=1e-4,x", "h=[2, 4]").parameters
    assert {key: dict(p.arguments) for key, p in found.items()} == {
        "a": {"value": 5}, "b": {"value": 0}, "c.d": {"values": [1e-4, "x"]}, "h": {"value": [2, 4]},
    }  # fmt: skip


def test_name_cap_metric_and_what_is_not_done_here():
    text = "name: My Sweep!\nmethod: bayes\nrun_cap: 7\nmetric: {name: m}\n"
    text += "early_terminate: {type: hyperband, min_iter: 3}\n"
    found = spec(text + "parameters: {a: {min: 0, max: 3}}")
    assert (found.name, found.run_cap, found.metric) == ("my-sweep", 7, {"name": "m", "goal": "minimize"})
    assert "early_terminate" in found.notes[0]
    text = text.replace("{name: m}", "{name: m, target: 1.01, impute: best, impute_while_running: latest}")
    told = spec(text + "parameters: {a: {min: 0, max: 3}}")
    assert told.metric == found.metric
    assert [note.split(":")[0] for note in told.notes[1:]] == [
        "metric.target", "metric.impute", "metric.impute_while_running",
    ]  # fmt: skip
    text = text.replace("impute: best", "impute: worst").replace("running: latest", "running: false")
    assert len(spec(text + "parameters: {a: {min: 0, max: 3}}").notes) == 2


def test_logarithms_that_look_like_values_are_noted():
    text = "method: random\nrun_cap: 2\nparameters: {a: {distribution: log_uniform, min: 0.0001, max: 0.1}}"
    assert "draws from 1 to 1.105; for values from 0.0001 to 0.1 write log_uniform_values" in spec(text).notes[0]
    assert spec(text.replace("0.0001", "-7").replace("0.1", "-3")).notes == ()


def test_runs_take_the_place_of_run_cap():
    text = "method: random\nparameters: {a: {min: 0.0, max: 1.0}}"
    with pytest.raises(UserError, match="say how many runs it has, there or with --runs"):
        spec(text)
    assert parse_spec(text, "n", "f", runs=7).run_cap == 7
    assert parse_spec("run_cap: 3\n" + text, "n", "f", runs=7).run_cap == 7


def test_a_sweep_without_a_name_has_its_files():
    assert spec("method: grid\nparameters: {a: {value: 1}}").name == "name"


GRID = "method: grid\nparameters: "


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "file.yaml: not YAML"),
        ("- 1", "file.yaml: expected the keys of a W&B sweep"),
        ("method: grid\nparamters: {a: {value: 1}}", "paramters: no key of a W&B sweep; did you mean parameters?"),
        ("parameters: {a: {value: 1}}", "method: None is not one of grid, random, bayes"),
        ("method: custom\nparameters: {a: {value: 1}}", "method: 'custom' is not one of"),
        ("method: random\nparameters: {a: {value: 1}}", "run_cap: a random sweep has no end of its own"),
        ("method: grid\nrun_cap: 0\nparameters: {a: {value: 1}}", "run_cap: 0 is not a positive whole number"),
        ("method: grid\nrun_cap: true\nparameters: {a: {value: 1}}", "run_cap: True is not a positive"),
        ("method: bayes\nrun_cap: 3\nparameters: {a: {value: 1}}", "metric: a bayes sweep needs one"),
        ("method: grid\nmetric: {name: a, goal: max}\nparameters: {a: {value: 1}}", "metric.goal: 'max' is not one of"),
        ("method: grid", "parameters: expected at least one key"),
        (GRID + "{}", "parameters: expected at least one key"),
        (GRID + "{a: 3}", "parameters.a: write `value: 3`"),
        (GRID + "{a: {}}", "parameters.a: give value, values, or min and max"),
        (GRID + "{a: {min: 3}}", "parameters.a: give value, values, or min and max"),
        (GRID + "{a: {value: 1, q: 2}}", "parameters.a.q: not a key of constant"),
        (GRID + "{a: {values: []}}", "parameters.a.values: expected a list of at least one"),
        (GRID + "{a: {values: 3}}", "parameters.a.values: expected a list of at least one"),
        (GRID + "{a: {values: [1, 2, 1]}}", "parameters.a.values: a value is listed twice"),
        (GRID + "{a: {min: 3, max: 3}}", "min 3 must be below max 3"),
        (GRID + "{a: {min: x, max: 3}}", "parameters.a.min: 'x' is not a number"),
        (GRID + "{a: {distribution: int_uniform, min: 0.5, max: 3}}", "a.min: 0.5 is not a whole number"),
        (GRID + "{a: {distribution: log_uniform_values, min: 0, max: 3}}", "a.min: 0 must be positive"),
        (GRID + "{a: {distribution: unifrom, min: 0, max: 3}}", "no distribution 'unifrom'; did you mean uniform?"),
        (GRID + "{a: {distribution: log_uniform, min: 1e-4, max: 1000}}", "for values from 0.0001 to 1000 write log_u"),
        (
            "method: grid\nmetric: {name: a, gaol: minimize}\nparameters: {a: {value: 1}}",
            "gaol: no key of a metric; did",
        ),
        (
            "method: bayes\nrun_cap: 2\nmetric: {name: m}\nparameters: {a: {value: 1}}",
            "a bayes sweep searches, and every",
        ),
        ("method: random\nrun_cap: 10000000000000000000\nparameters: {a: {value: 1}}", "or more than 1,000,000"),
        (GRID + "{a: {values: [1, 2], probabilities: [0.5, 0.6]}}", "a.probabilities: expected one for each value"),
        (GRID + "{a: {values: [1, 2], probabilities: [1]}}", "a.probabilities: expected one for each value"),
        (GRID + "{a: {parameters: {b: {value: 1}}, value: 2}}", "with parameters inside it"),
        (GRID + "{a: {parameters: {b: {value: 1}}}, a.b: {value: 2}}", "a.b is given twice"),
        (GRID + "{2a: {value: 2}}", "'2a': a key is letters"),
        ("method: grid\nprogram: 3\nparameters: {a: {value: 1}}", "program must be text"),
    ],
)
def test_bad_yaml_is_one_clear_line(text, told):
    with pytest.raises(UserError) as error:
        spec(text)
    assert told in str(error.value)
    assert str(error.value).startswith("file.yaml: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", ["a", "=3", "a b=3"])
def test_a_bad_change_is_told(change):
    with pytest.raises(UserError, match="--set"):
        spec(GRID + "{a: {value: 1}}", change)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(UserError, match=r"none.yaml: cannot be read"):
        read_spec(tmp_path / "none.yaml")


def test_flatten_and_nest_are_inverse():
    nested = {"a": 1, "b": {"c": [1, 2], "d": {"e": None}}}
    assert flatten(nested) == {"a": 1, "b.c": [1, 2], "b.d.e": None}
    assert nest(flatten(nested)) == nested
    with pytest.raises(UserError, match="b has a value of its own"):
        nest({"b": 1, "b.c": 2})


def test_read_value():
    assert [read_value(x) for x in ("1", "1e-3", "0.5", "true", "word", "[1, 2]", "a: b: c")] == [
        1, 1e-3, 0.5, True, "word", [1, 2], "a: b: c",
    ]  # fmt: skip
