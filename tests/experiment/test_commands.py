"""`bestguess experiment`, as a user types it: on planted ledgers, and once from end to end."""

from __future__ import annotations

import csv
import json
import math
import typing

import pytest

from bestguess.cli import main
from bestguess.experiment.config import ExperimentFlags, experiments
from bestguess.family import families
from bestguess.report import matplotlib_renderer
from bestguess.report.charts import describe
from bestguess.sweep.shipped import shipped
from tests.experiment.planted import ROOT, integer_figures, planted

LAWS = {
    "eigenvalue": lambda config: 0.5 * math.log(1 / (1 - config["task.lambda"])),
    "structure": lambda config: {"diagonal-real": -0.4, "dense": 1.0}.get(config["task.structure"], 0.0),
    "patching": lambda config: (
        (0.1 + 0.05 * math.log(1 / (1 - config["task.lambda"])) + 0.1 * (config["task.structure"] == "dense"))
        * math.log2(config["model.patch"])
    ),
    "observed": lambda config: (
        -0.2 * math.log2(config["task.observed_dim"])
        + (0.3 - 0.05 * math.log2(config["task.observed_dim"])) * math.log2(config["model.patch"])
    ),
}
SUPPORTED = {"eigenvalue": "H1 H2 H3", "structure": "H1 H2 H3", "patching": "H1 H2", "observed": "H1 H2"}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures are most of an analysis' time: here they are described, not drawn."""
    monkeypatch.setattr(
        matplotlib_renderer, "render", lambda picture, *how, **more: f"{describe(picture)} {picture.caption}".encode()
    )


def run(capsys, *words: object) -> tuple[int, str, str]:
    """Return the exit status of `bestguess experiment …`, and what it said on both outputs."""
    with pytest.raises(SystemExit) as stop:
        main(["experiment", *map(str, words)])
    said = capsys.readouterr()
    return stop.value.code or 0, said.out, said.err


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.usefixtures("undrawn")
def test_planted_effects_of_a_complete_sweep_are_found_without_training(tmp_path, capsys, name):
    ledger = planted(tmp_path / "runs" / "sweeps", name, LAWS[name], noise=0.02)
    code, out, _ = run(capsys, name, "--out", "results", "--json")
    found = json.loads(out)
    assert (code, found["complete"], found["report"]) == (0, True, "results/report.html")
    words = {one["hypothesis"]: one["verdict"] for one in found["verdicts"]}
    words.pop("H0", None)  # decided by noise alone
    assert words == dict.fromkeys(SUPPORTED[name].split(), "supported")
    for one in found["verdicts"]:
        low, high = one["interval"]
        assert low < one["effect"] < high
    if name == "patching":  # the slopes of slopes that were planted
        assert [one["effect"] for one in found["verdicts"]] == pytest.approx([0.05, 0.1], abs=0.01)
    assert not (ledger.folder / "claims").exists()  # no worker was there
    kept = json.loads((tmp_path / "results" / "verdicts.json").read_text())
    assert kept["verdicts"] == found["verdicts"]
    assert kept["command"] == f"bestguess experiment {name}"
    rows = list(csv.DictReader((tmp_path / "results" / "runs.csv").read_text().splitlines()))
    assert len(rows) == ledger.planned
    # A third of the runs are at the rate that validation chose, though the test's figures would choose another.
    assert {row["train.learning_rate"] for row in rows if row["selected"] == "yes"} == {"0.001"}
    assert sum(row["selected"] == "yes" for row in rows) == len(rows) / 3
    for file in ("figure.png", "effects.png", "rollouts.png", "README.md", "sweep.yaml"):
        assert (tmp_path / "results" / file).stat().st_size > 100
    page = (tmp_path / "results" / "report.html").read_text()
    assert "supported" in page
    assert "incomplete" not in page
    assert str(tmp_path) not in page + (tmp_path / "results" / "README.md").read_text()


@pytest.mark.usefixtures("undrawn")
def test_easy_medium_and_hard_are_named(tmp_path, capsys):
    planted(tmp_path / "runs" / "sweeps", "eigenvalue", LAWS["eigenvalue"], noise=0.001)
    code, out, _ = run(capsys, "eigenvalue")
    assert code == 0
    assert "easy: 0.36; medium: 0.92; hard: 0.99" in out


@pytest.mark.usefixtures("undrawn")
def test_an_incomplete_sweep_is_refused_unless_told_and_then_it_is_said(tmp_path, capsys):
    ledger = planted(tmp_path / "runs" / "sweeps", "eigenvalue", LAWS["eigenvalue"], leave=3)
    code, out, err = run(capsys, "eigenvalue", "--no-train", "--json")
    found = json.loads(out)
    assert (code, found["complete"], found["verdicts"], found["report"]) == (1, False, [], None)
    assert [one["run"] for one in found["missing"]] == ["0081", "0082", "0083"]
    assert f"{ledger.id}: 81 of 84 runs done" in err
    assert "--allow-incomplete" in err
    assert not (ledger.folder / "results").exists()
    code, out, _ = run(capsys, "eigenvalue", "--no-train", "--allow-incomplete", "--json")
    found = json.loads(out)
    assert (code, found["complete"]) == (0, False)
    # The three runs are the seeds of one rate at the largest λ: three seeds fewer where they are needed.
    results = ledger.folder / "results"
    for file in ("figure.png", "effects.png", "rollouts.png", "README.md", "report.html"):
        assert "ncomplete: 81 of 84 runs done" in (results / file).read_text(), file
    assert "--allow-incomplete" in found["command"]


@pytest.mark.parametrize("leave", [0, 12])
def test_an_experiment_whose_only_factor_has_no_order_is_judged_and_drawn(tmp_path, capsys, leave):
    def law(config):
        return {"design=document": 1.0, "model.embedding=learned": 0.5}.get(config["change"], 0.0)

    planted(tmp_path / "runs" / "sweeps", "integer_design", law, noise=0.02, leave=leave, score=integer_figures)
    code, out, _ = run(capsys, "integer_design", "--no-train", "--allow-incomplete", "--out", "results", "--json")
    found = json.loads(out)
    assert (code, found["complete"]) == (0, not leave)
    words = {one["hypothesis"]: one["verdict"] for one in found["verdicts"]}
    assert (words["H1"], words["H2a"]) == ("refuted", "supported")
    for file in ("figure.png", "effects.png"):
        assert (tmp_path / "results" / file).read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "results" / "rollouts.png").exists()
    page = (tmp_path / "results" / "report.html").read_text()
    assert page.count("<figure>") == 2
    assert ("ncomplete: 228 of 240 runs done" in page) == bool(leave)


@pytest.mark.usefixtures("undrawn")
def test_figures_of_another_benchmark_are_an_estimate(tmp_path, capsys):
    planted(tmp_path / "runs" / "sweeps", "observed", LAWS["observed"])
    benchmark = ROOT / "benchmarks" / "results" / "filters_h100.json"
    found = json.loads(run(capsys, "observed", "--benchmark", benchmark, "--json")[1])["pytorch"]
    assert (found["runs_of_its_shape"], found["other_runs"], found["same_device"]) == (12, 204, False)
    assert found["seconds_of_its_shape"] == pytest.approx(12 * 3000 / found["steps_per_second"])
    assert 0 < found["seconds_of_others_by_operations"] < 204 * 3000 / found["steps_per_second"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["eigenvalu"], "eigenvalu: no experiment of this name; did you mean eigenvalue? (shipped: eigenvalue"),
        (["none.yaml"], "none.yaml: cannot be read"),
        (["eigenvalue", "--set", "train.first_seed=0"], "every configuration has one seed: give train.first_seed"),
        (["eigenvalue", "--set", "train.learning_rate=0.001"], "has one learning rate, which nobody tuned"),
        (["eigenvalue", "--set", "model.layers=2,3"], "parameters.model.layers: varies, but"),
        (["eigenvalue", "--set", "task.lambda=0.9"], "parameters.task.lambda: H1 is about a slope"),
        (["structure", "--set", "task.structure=diagonal,rotated,diagonal-real"], "lacks dense, which H1 is about"),
        (["observed", "--set", "model.patch=4,16"], "parameters.model.patch: lacks 1, which H1 is about"),
        (["other.yaml"], "name: other: the family filters declares no experiment of this name"),
        (["eigenvalue", "--jobs", "0"], "--jobs 0: must be positive"),
        (["eigenvalue", "--benchmark", "none.json"], "--benchmark none.json: not the figures of benchmarks/filters.py"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path, capsys, words, told):
    planted(tmp_path / "runs" / "sweeps", "eigenvalue", LAWS["eigenvalue"])
    text = (ROOT / "experiments" / "eigenvalue.yaml").read_text()
    (tmp_path / "other.yaml").write_text(text.replace("name: eigenvalue", "name: other"))
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("bestguess: error: ")
    assert told in err
    assert err.count("\n") == 1


@pytest.mark.usefixtures("undrawn")
def test_a_sweep_that_is_planned_goes_by_its_id_too(tmp_path, capsys):
    ledger = planted(tmp_path / "runs" / "sweeps", "eigenvalue", LAWS["eigenvalue"])
    by_name = json.loads(run(capsys, "eigenvalue", "--json")[1])
    for name in (ledger.id, ledger.folder, ROOT / "experiments" / "eigenvalue.yaml"):
        found = json.loads(run(capsys, name, "--json")[1])
        assert found["verdicts"] == by_name["verdicts"]
        assert found["command"] == by_name["command"] == "bestguess experiment eigenvalue"
    assert "is planned already" in run(capsys, ledger.id, "--preset", "small")[2]


@pytest.mark.usefixtures("undrawn")
def test_more_seeds_take_over_the_runs_of_fewer(tmp_path, capsys):
    ledger = planted(tmp_path / "runs" / "sweeps", "eigenvalue", LAWS["eigenvalue"])
    seeds = ("--set", "train.first_seed=0,1,2,3,4,5")
    code, out, err = run(capsys, "eigenvalue", *seeds, "--reuse", ledger.id, "--no-train", "--json")
    assert (code, json.loads(out)["done"], json.loads(out)["planned"]) == (1, 84, 126)
    assert f"84 runs are taken over from {ledger.id}" in err


def test_all_experiments_are_offered_and_no_search(tmp_path, capsys):
    declared = {name for family in families() for name in family.declared_experiments()}
    assert set(experiments()) == declared & set(shipped())
    hints = typing.get_type_hints(ExperimentFlags, include_extras=True)["experiment"]
    for name in experiments():
        assert name in str(hints)
    with pytest.raises(SystemExit) as stop:
        main(["experiment", "integer_tuning"])
    assert stop.value.code == 2
    assert "train it with `bestguess sweep integer_tuning`" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_experiments_are_shipped():
    assert set(LAWS) <= set(shipped())


@pytest.mark.slow
def test_the_small_preset_from_end_to_end(tmp_path, capsys):
    words = ["eigenvalue", "--preset", "small", "--set", "train.steps=30", "train.validate_every=10",
             "train.warmup_steps=5", "task.lambda=0.68,0.98", "model.layers=1", "model.d_model=16",
             "task.length=48", "rollout.context=16", "rollout.horizons=[2,4,8]", "test_sequences=64",
             "rollout.rollouts=64", "train.validation_sequences=16"]  # fmt: skip
    code, out, err = run(capsys, *words, "--no-train", "--json")
    assert code == 1
    assert "0 of 8 runs done" in err
    assert json.loads(out)["complete"] is False
    code, out, _ = run(capsys, *words, "--json")
    found = json.loads(out)
    assert (code, found["complete"], found["runs"]) == (0, True, 8)
    for one in found["verdicts"]:
        assert one["verdict"] in ("supported", "refuted", "inconclusive")
    (first, *_) = found["verdicts"]
    assert first["interval"][0] < first["effect"] < first["interval"][1]
    assert len(first["measures"][0]["by_seed"]) == 2
    page = (tmp_path / found["report"]).read_text()
    assert page.count("<figure>") == 3
    again = json.loads(run(capsys, *words, "--json")[1])
    assert again["verdicts"] == found["verdicts"]
