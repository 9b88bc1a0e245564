"""The ledger: what counts as done, and what is said of the rest."""

from __future__ import annotations

import json

import pytest

from bestguess import __version__
from bestguess.command import Failure, UserError
from bestguess.sweep.lease import acquire
from bestguess.sweep.ledger import Ledger, not_finite, require_complete
from bestguess.sweep.plan import plan
from bestguess.sweep.spec import parse_spec

TEXT = """
method: grid
parameters: {family: {value: tests.sweep.toy_family}, width: {values: [1, 2]}, train.first_seed: {values: [0, 1]}}
"""


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    first = plan(parse_spec(TEXT, "n", "f"), ensemble=2)
    return Ledger.create(tmp_path / "n-1", TEXT, {"planned": 4, "method": "grid", "lacks": []}, first)


def finish(ledger: Ledger, run: str, **metrics) -> None:
    ledger.finish(ledger.runs()[run], {"loss": 1.0, **metrics}, {"seconds": 1.0})


def test_a_run_is_done_once_its_record_is_there(ledger):
    assert [m.reason for m in ledger.status().missing] == ["not begun"] * 4
    finish(ledger, "0002", skill=None)
    assert ledger.status().to_dict()["done"] == 1
    assert [m.run for m in ledger.status().missing] == ["0000", "0001", "0003"]
    assert ledger.records()[0]["config"] == ledger.runs()["0002"].config
    assert not ledger.status().complete
    for run in ("0000", "0001", "0003"):
        finish(ledger, run)
    assert ledger.status().complete
    assert ledger.status().to_dict() == {"planned": 4, "done": 4, "missing": []}


@pytest.mark.parametrize("bad", [{"loss": float("nan")}, {"a": {"b": [1.0, float("inf")]}}])
def test_a_run_whose_figures_are_not_finite_is_not_done(ledger, bad):
    with pytest.raises(ValueError, match="not finite"):
        ledger.finish(ledger.runs()["0000"], bad, {})
    assert ledger.record("0000") is None
    assert not (ledger.folder / "done").exists()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"run": "0001", "metrics": {}}', '{"run": "0000"}', '{"run": "0000", "metrics": {"x": NaN}}'],
)
def test_a_damaged_record_is_no_record(ledger, text):
    finish(ledger, "0000")
    (ledger.folder / "done" / "0000.json").write_text(text)
    assert ledger.record("0000") is None
    assert ledger.status().missing[0].reason == "its record is damaged"


def test_failures_are_kept_and_the_last_is_told(ledger):
    ledger.fail("0001", "first", "error", "a")
    ledger.fail("0001", "second", "memory", "b")
    assert [(f["reason"], f["kind"], f["attempt"]) for f in ledger.failures("0001")] == [
        ("first", "error", "a"),
        ("second", "memory", "b"),
    ]
    assert [m.reason for m in ledger.status().missing] == ["not begun", "second", "not begun", "not begun"]


def test_a_part_of_a_sweep_has_a_status_of_its_own(ledger):
    finish(ledger, "0000")
    assert ledger.status(["0000"]).complete
    assert ledger.status(["0000", "0001"]).to_dict()["planned"] == 2


def test_runs_not_proposed_yet_are_missing_too(tmp_path):
    first = plan(parse_spec(TEXT, "n", "f"), ensemble=2)
    made = Ledger.create(tmp_path / "b", TEXT, {"planned": 6, "method": "bayes", "lacks": []}, first)
    assert [(m.run, m.reason) for m in made.status().missing[-2:]] == [
        ("0004", "not proposed yet"),
        ("0005", "not proposed yet"),
    ]
    for run in made.runs():
        finish(made, run)
    assert not made.status().complete


def test_what_never_began_is_told_from_what_stopped(ledger):
    """A test of a sweep takes a unit for some of its runs: the others of that unit have not begun."""
    unit = ledger.units()[0]
    assert len(unit.runs) == 2
    with acquire(ledger.claims, unit.unit, {"runs": [unit.runs[0]]}):
        assert [m.reason.split(":")[0] for m in ledger.status().missing] == ["under way"] + ["not begun"] * 3
    assert [m.reason for m in ledger.status().missing] == ["stopped before it was done"] + ["not begun"] * 3
    with acquire(ledger.claims, unit.unit, {"runs": [unit.runs[1]]}):
        assert ledger.status().missing[0].reason == "stopped before it was done"
    ledger.fail("0003", "a reason", "error", "a")
    assert ledger.status().told() == "0 of 4 runs done; 2 stopped, 1 not begun, 1 failed"


def test_an_id_without_its_hash_suggests_the_whole_one(tmp_path):
    for name in ("eigenvalue-aaaaaaaa", "eigenvalue-bbbbbbbb", "other-cccccccc"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "plan.json").write_text("{}")
    with pytest.raises(UserError, match=r"did you mean eigenvalue-aaaaaaaa or eigenvalue-bbbbbbbb\?"):
        Ledger.find(tmp_path, "eigenvalue")


def test_creating_it_again_changes_nothing(ledger):
    finish(ledger, "0000")
    other = plan(parse_spec(TEXT, "n", "f"), ensemble=1)
    again = Ledger.create(ledger.folder, "else", {"planned": 9}, other)
    assert (again.planned, len(again.units()), again.status().done) == (4, 2, 1)
    assert (ledger.folder / "sweep.yaml").read_text() == TEXT
    assert not again.add_round(0, other)


def test_find_takes_an_id_or_a_folder_and_names_the_nearest(ledger):
    root = ledger.folder.parent
    assert Ledger.find(root, "n-1").folder == ledger.folder
    assert Ledger.find(root / "elsewhere", str(ledger.folder)).folder == ledger.folder
    with pytest.raises(UserError, match=r"n-2: no sweep of this ID under .*; did you mean n-1\?"):
        Ledger.find(root, "n-2")
    (ledger.folder / "plan.json").write_text("{")
    with pytest.raises(UserError, match="not the folder of a sweep"):
        Ledger(ledger.folder)


def test_analysis_refuses_an_incomplete_sweep_unless_told_to(ledger):
    finish(ledger, "0000")
    with pytest.raises(Failure, match="1 of 4 runs done, so there is no result yet"):
        require_complete(ledger)
    assert require_complete(ledger, allow_incomplete=True) == "incomplete: 1 of 4 runs done"
    for run in ("0001", "0002", "0003"):
        finish(ledger, run)
    assert require_complete(ledger) is None


def test_a_larger_sweep_takes_over_what_a_smaller_one_has_done(ledger):
    for run, version in (("0000", __version__), ("0002", __version__), ("0003", "0.0.1")):
        ledger.finish(ledger.runs()[run], {"loss": float(run)}, {"seconds": 1.0, "version": version})
    text = TEXT.replace("[0, 1]", "[1, 2, 0]")
    first = plan(parse_spec(text, "n", "f"), ensemble=2)
    larger = Ledger.create(ledger.folder.parent / "n-2", text, {"planned": 6, "method": "grid", "lacks": []}, first)
    done = next(run for run in larger.runs().values() if run.config == ledger.runs()["0002"].config)
    larger.finish(done, {"loss": 9.0}, {"seconds": 1.0})  # what is done here is not altered
    assert larger.adopt(ledger.records(), ledger.id) == (1, 3, 1, 0)
    assert larger.adopt(ledger.records(), ledger.id) == (0, 3, 1, 0)
    (adopted,) = (one for one in larger.records() if "adopted" in one)
    assert adopted["config"] == ledger.runs()["0000"].config == larger.runs()[adopted["run"]].config
    assert (adopted["metrics"], adopted["adopted"]) == ({"loss": 0.0}, "n-1/0000")
    assert larger.status().done == 2
    assert larger.record(done.run)["metrics"] == {"loss": 9.0}


def test_a_run_from_before_a_default_changed_is_taken_over_as_what_it_meant(tmp_path):
    text = """
method: grid
parameters: {family: {value: filters}, preset: {value: small}, task.moduli: {values: [attained, bounded]}}
"""
    first = plan(parse_spec(text, "n", "f"), ensemble=2)
    ledger = Ledger.create(tmp_path / "n-3", text, {"planned": 2, "method": "grid", "lacks": []}, first)
    attained, bounded = ledger.runs().values()
    before = {key: value for key, value in bounded.config.items() if key != "task.moduli"}
    record = {"run": "0007", "config": before, "metrics": {"loss": 1.0}, "version": __version__}
    assert ledger.adopt([record], "older").taken == 1
    assert ledger.record(attained.run) is None
    assert ledger.record(bounded.run)["config"] == bounded.config


def test_not_finite_names_what_is_off():
    nan = float("nan")
    assert not_finite({"a": 1, "b": None, "c": "x", "d": True}) == []
    assert not_finite({"a": nan, "b": {"c": [1.0, nan]}}) == ["a", "b.c[1]"]


def test_files_are_json_that_any_reader_takes(ledger):
    finish(ledger, "0000")
    paths = list(ledger.folder.rglob("*.json"))
    assert len(paths) == 3
    for path in paths:
        json.loads(path.read_text(), parse_constant=pytest.fail)
