"""The commands, as a user types them."""

from __future__ import annotations

import json

import pytest

from bestguess.cli import main
from bestguess.family import families
from bestguess.sweep import launch
from bestguess.sweep.cells import best_of_cells
from bestguess.sweep.estimate import spread
from bestguess.sweep.launch import share
from bestguess.sweep.ledger import Ledger
from bestguess.sweep.plan import UNTUNED
from tests.sweep.conftest import ROOT, process, toy_yaml


def run(capsys, *words: object) -> tuple[int, str, str]:
    """Return a command's exit status, and what it said on both outputs."""
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    said = capsys.readouterr()
    return stop.value.code or 0, said.out, said.err


def test_plan_train_status_go_on(tmp_path, marks, capsys):
    path = toy_yaml(tmp_path, fault=["", "raise-once"], train__first_seed=[0, 1], train__learning_rate=[0.01, 0.03])
    code, out, _ = run(capsys, "sweep", path, "--plan", "--json")
    plan = json.loads(out)
    assert (code, plan["planned"], plan["lacks"]) == (0, 8, [])
    assert plan["ensembles"] == [[f"{i:04d}" for i in range(8)]]
    sweep_id = plan["sweep"]
    code, out, err = run(capsys, "sweep", "status", sweep_id, "--json")
    assert (code, json.loads(out)["done"], len(json.loads(out)["missing"])) == (1, 0, 8)
    assert f"8 of 8 runs are not done; resume with `bestguess sweep {sweep_id}`" in err
    code, out, err = run(capsys, "sweep", path, "--json")
    assert (code, json.loads(out)["done"]) == (1, 4)
    assert "RuntimeError: injected" in err
    code, out, _ = run(capsys, "sweep", "status", sweep_id)
    assert code == 1
    assert "fault raise-once, train.first_seed 0, train.learning_rate 0.01" in out
    code, out, _ = run(capsys, "sweep", sweep_id, "--json")
    assert (code, json.loads(out)["done"], len(json.loads(out)["best"])) == (0, 8, 2)
    code, out, _ = run(capsys, "sweep", "status", sweep_id, "--json")
    assert code == 0
    assert {key: json.loads(out)[key] for key in ("planned", "done", "missing")} == {
        "planned": 8,
        "done": 8,
        "missing": [],
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["sweep", "none"], "none: no sweep of this ID"),
        (["sweep", "status", "none"], "none: no sweep of this ID"),
        (["sweep", "none.yaml"], "none.yaml: cannot be read"),
        (["sweep", "toy.yaml", "--jobs", "0"], "--jobs 0: must be positive"),
        (["sweep", "toy.yaml", "--test", "0"], "--test 0: must be positive"),
        (["sweep", "toy.yaml", "--set", "fault=x"], "toy.yaml with --set fault=x: parameters: fault: no fault 'x'"),
        (["sweep", "toy.yaml", "--set", "widht=3"], "widht=3: parameters: widht: unknown key; did you mean width?"),
        (["sweep", "toy.yaml", "--reuse", "none"], "--reuse: none: no sweep of this ID"),
        (["sweep", "toy.yaml", "--rates", "none"], "--rates: none: no sweep of this ID"),
        (["sweep", "an-id", "--set", "width=3"], "--set: the sweep an-id is planned already"),
        (["sweep", "an-id", "--distributed", "--jobs", "2"], "--distributed: all processes are one worker"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path, marks, capsys, words, told):
    toy_yaml(tmp_path, width=[1, 2])
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("bestguess: error: ")
    assert told in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_what_a_sweep_lacks_is_said(tmp_path, marks, capsys):
    code, out, _ = run(capsys, "sweep", toy_yaml(tmp_path, width=[1, 2]), "--plan")
    assert code == 0
    assert out.count("lacks: every configuration has one") == 2


def test_changes_make_another_sweep(tmp_path, marks, capsys):
    path = toy_yaml(tmp_path, width=[1, 2])
    ids = {
        json.loads(run(capsys, "sweep", path, "--plan", "--json", *more)[1])["sweep"]
        for more in ([], ["--set", "width=3"])
    }
    assert len(ids) == 2


def test_estimate_measures_every_shape_and_trains_nothing(tmp_path, marks, capsys):
    path = toy_yaml(tmp_path, width=[1, 2], train__first_seed=[0, 1, 2])
    code, out, _ = run(capsys, "sweep", path, "--estimate", "--json", "--jobs", 3)
    found = json.loads(out)
    assert (code, found["runs"]) == (0, 6)
    assert [(shape["runs"], shape["units"]) for shape in found["shapes"]] == [(3, 2), (3, 2)]
    assert found["memory"] == max(shape["memory"] for shape in found["shapes"]) > 0
    units = [second for shape in found["shapes"] for second in shape["seconds_per_unit"]]
    assert found["seconds"] == pytest.approx(sum(units))
    assert found["seconds_by_workers"]["8"] == max(units)
    assert set(found["seconds_by_workers"]) == {"1", "2", "3", "4", "8"}
    assert json.loads(run(capsys, "sweep", "status", found["sweep"], "--json")[1])["done"] == 0


def test_cores_are_devices_of_the_one_worker(tmp_path, marks):
    path = toy_yaml(tmp_path, train__first_seed=[0, 1], train__learning_rate=[0.01, 0.02])
    worker = process("bestguess.cli", "sweep", path, "--json", PJRT_NPROC="3", TOY_MARKS=str(marks))
    out, err = worker.communicate()
    assert worker.returncode == 0, err
    records = Ledger.find(tmp_path, json.loads(out)["folder"]).records()
    assert [record["device"] for record in records] == ["2 × cpu"] * 4


def test_workers_take_the_next_unit_when_they_are_free():
    assert spread([3, 1, 1, 1], 1) == 6
    assert spread([3, 1, 1, 1], 2) == 3
    assert spread([1, 1, 1, 3], 2) == 4
    assert spread([], 4) == 0


def test_a_machine_is_shared_between_its_workers(monkeypatch):
    monkeypatch.delenv("BESTGUESS_MEMORY", raising=False)
    assert [share(i, 2, ["0", "1"]) for i in range(2)] == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]
    assert [share(i, 2, ["0", "1", "2"])["CUDA_VISIBLE_DEVICES"] for i in range(2)] == ["0,2", "1"]
    assert [share(i, 3, ["5"]) for i in range(3)] == [
        {"CUDA_VISIBLE_DEVICES": "5", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.30"}
    ] * 3
    monkeypatch.setenv("PJRT_NPROC", "9")
    monkeypatch.setattr(launch, "free_memory", lambda: 8_000_000)
    halves = share(0, 2, [])
    assert halves["PJRT_NPROC"] == "4"
    assert halves["BESTGUESS_MEMORY"] == "1000000"  # each half has 4 devices
    monkeypatch.setenv("BESTGUESS_MEMORY", "1e9")
    assert share(0, 2, []) == {"PJRT_NPROC": "4"}
    assert share(0, 20, []) == {"PJRT_NPROC": "1"}


def record(width: int, seed: int, rate: float, validation: float, loss: float) -> dict:
    config = {"width": width, "train.first_seed": seed, "train.learning_rate": rate}
    return {"config": config, "metrics": {"validation_loss": validation, "loss": loss}}


def test_validation_selects_and_test_reports():
    records = [
        # The middle rate is best on validation data, though the test's figures would choose another.
        record(1, 0, 0.1, 5.0, 1.0), record(1, 1, 0.1, 5.0, 1.0),
        record(1, 0, 0.2, 4.0, 7.0), record(1, 1, 0.2, 4.0, 9.0),
        record(1, 0, 0.3, 4.5, 1.0), record(1, 1, 0.3, 4.5, 1.0),
        # One seed of the best rate is missing: it cannot win by that.
        record(2, 0, 0.1, 3.0, 3.0), record(2, 1, 0.1, 3.0, 5.0), record(2, 0, 0.2, 1.0, 1.0),
    ]  # fmt: skip
    first, second = best_of_cells(records, "loss")
    assert (first["learning_rate"], first["loss"], first["seeds"], first["edge"]) == (0.2, 8.0, 2, False)
    assert first["standard_error_over_seeds"] == pytest.approx(1.0)
    assert (second["config"], second["learning_rate"], second["edge"]) == ({"width": 2}, 0.1, True)


def test_a_run_that_was_trained_twice_is_one_seed():
    once = [record(1, 0, 0.1, 5.0, 1.0), record(1, 1, 0.1, 5.0, 3.0)]
    twice = [*once, once[0], record(1, 0, 0.2, 4.0, 9.0), record(1, 0, 0.2, 4.0, 9.0), record(1, 0, 0.2, 4.0, 9.0)]
    [found] = best_of_cells(twice, "loss")
    # Three records of one seed are no three seeds: this rate does not win by them.
    assert (found["learning_rate"], found["loss"], found["seeds"]) == (0.1, 2.0, 2)
    assert found["standard_error_over_seeds"] == pytest.approx(1.0)


def test_a_shipped_sweep_is_known_by_its_name(tmp_path, marks, capsys):
    code, out, _ = run(capsys, "sweep", "eigenvalue", "--plan", "--json", "--folder", tmp_path)
    by_path = run(capsys, "sweep", ROOT / "experiments" / "eigenvalue.yaml", "--plan", "--json", "--folder", tmp_path)
    assert (code, json.loads(out)) == (0, json.loads(by_path[1]))


SEARCHES = {
    *("integer_heads", "integer_tuning", "text_raw_tuning"),
    *("eigenvalue_tuning", "structure_tuning", "patching_tuning", "observed_tuning", "in_context_tuning"),
    *("normalisation_tuning", "text_scaling_tuning", "text_transfer_tuning"),
}
"""Sweeps that look for a default and test no hypothesis."""

ONE_SEED = {"text_raw_tuning", "text_scaling_tuning", "text_transfer_tuning"}
"""Searches whose budget is one seed, as their head says."""


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_experiments_lack_nothing_and_state_their_hypotheses(tmp_path, marks, capsys, path):
    code, out, _ = run(capsys, "sweep", path, "--plan", "--json")
    plan = json.loads(out)
    assert code == 0
    declared = {name: one for family in families() for name, one in family.declared_experiments().items()}
    tuned = path.stem in SEARCHES or declared[path.stem].tuned
    lacks = [one for one in plan["lacks"] if tuned or UNTUNED not in one]
    head = path.read_text().split("program:")[0]
    if path.stem in ONE_SEED:
        assert "on one seed" in head
        lacks = [one for one in lacks if "has one seed" not in one]
    assert lacks == []
    if path.stem in SEARCHES:
        assert "A search, not an experiment" in head
        return
    assert plan["planned"] >= 10
    for word in ("# Question.", "# Hypotheses.", "# Measures.", "# Rule.", "95 % interval"):
        assert word in head
