"""What is done of a sweep, as a table that can be committed: it reads back as it was, and stands for the ledger."""

from __future__ import annotations

import csv
import json
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestguess import __version__
from bestguess.command import UserError
from bestguess.sweep.keys import RATE, SEED
from bestguess.sweep.ledger import Ledger
from bestguess.sweep.plan import plan
from bestguess.sweep.source import ABOUT, LISTS, RUNS, about_of, done_elsewhere, of_ledger, write_table
from bestguess.sweep.spec import parse_spec
from bestguess.sweep.table import cell_of, flat_figures, nested_figures, value_of
from tests.hostile.damage import damage, retyped
from tests.sweep.conftest import toy_yaml
from tests.sweep.test_commands import run

ODD = ["", "null", "None", "True", "1", "1.0", "nan", "inf", " 5", "1_0", '"', "[", "{}", "a,b\r\n'\"", "\ud800", "é"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.sampled_from(ODD),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def exact(value: object) -> str:
    """The value as text that tells 1 from 1.0 and from True."""
    return json.dumps(value, sort_keys=True)


@given(VALUES)
def test_a_cell_reads_back_as_it_was(value):
    cell = cell_of(value)
    cell.encode()
    assert cell
    assert exact(value_of(cell, "a cell")) == exact(value)


@given(st.dictionaries(st.text("ab_7 ", min_size=1, max_size=5), VALUES, max_size=5))
def test_figures_are_nested_again_as_they_were(metrics):
    assert exact(nested_figures(flat_figures(metrics))) == exact(metrics)


def test_a_figure_has_a_dotted_name():
    figures = {"rollout": {"16": {"skill": 0.5}}, "sequences_to_skill_0.99": 3, "none": {}}
    assert list(flat_figures(figures)) == ["rollout.16.skill", "sequences_to_skill_0.99", "none"]


PARAMETERS = {
    "width": [1, 2],
    "fault": "",
    "train__learning_rate": [0.1, 0.2],
    "train__first_seed": [0, 1],
    "train__steps": 20,
}
FIGURES = {
    "validation_loss": 0.1 + 0.2,
    "best_step": 20,
    "stopped_step": None,
    "loss": 1 / 3,
    "skill": None,
    "rollout": {"16": {"skill": 1e-17, "none": None}, "32": {}},
    "strategy": "null",
    "pair": [1, 2.0, None],
    "curve": {"nats": [i / 7 for i in range(20)], "names": ["a", "1"]},
}


def done(folder: Path, leave: int = 0, **more: object) -> Ledger:
    """Return the ledger of a toy's sweep, all but the last `leave` runs done; every second has figures of its own."""
    path = toy_yaml(folder, **(PARAMETERS | more))
    first = plan(parse_spec(path.read_text(), "toy", "f"), ensemble=4)
    about = {"name": "toy", "changes": [], "planned": len(first.runs), "method": "grid", "lacks": []}
    ledger = Ledger.create(folder / "sweeps" / "toy-1", path.read_text(), about, first)
    for i, one in enumerate(first.runs[: len(first.runs) - leave]):
        other = {"facts": None} if i % 2 else {"facts": {"day": None, "place": 0.5}}
        ledger.finish(
            one, FIGURES | other | {"loss": i / 3}, {"seconds": i / 9, "device": "1 × cpu", "version": __version__}
        )
    return ledger


def tabled(ledger: Ledger, folder: Path) -> Path:
    """Write the ledger's table and return its folder."""
    folder.mkdir(exist_ok=True)
    source = of_ledger(ledger)
    write_table(folder, source, (RATE, SEED), [])
    (folder / ABOUT).write_text(json.dumps(about_of(source)))
    return folder


def bare(records: list[dict]) -> list[str]:
    return [exact({key: one.get(key) for key in ("run", "config", "metrics", "seconds", "device", "version")})
            for one in records]  # fmt: skip


def test_the_records_of_a_table_are_those_of_its_ledger(tmp_path):
    ledger = done(tmp_path, leave=1, width=[1, 2], fault=["", "nan"])
    failed = list(ledger.runs().values())[-1]
    ledger.fail(failed.run, "loss not finite", "not finite", "first")
    ours, theirs = of_ledger(ledger), done_elsewhere(tmp_path, str(tabled(ledger, tmp_path / "t")), "--reuse")
    assert bare(theirs.records) == bare(ours.records)
    assert (theirs.id, theirs.planned, theirs.asked) == (ours.id, ours.planned, ours.asked)
    assert theirs.constants.items() >= {"family": "tests.sweep.toy_family", "train.steps": 20}.items()
    assert theirs.diverged == ours.diverged == (failed.config,)
    assert theirs.undone == ours.undone == 0
    assert (tmp_path / "t" / LISTS).is_file()


def test_levels_keep_their_types(tmp_path):
    """1 and 1.0, a text and a number, none and no key at all are different configurations."""
    ledger = done(tmp_path)
    source = of_ledger(ledger)
    levels = [1, 1.0, True, "1", None, "null", [1, 2], ""]
    records = [
        record | {"config": {**record["config"], "width": level}} for record, level in zip(source.records, levels)
    ]
    del records[-1]["config"]["width"]
    runs = [type(run)(run.run, record["config"], "") for run, record in zip(source.runs, records)]
    source = type(source)("toy", "toy-1", 8, source.asked, (), runs, records)
    (tmp_path / "t").mkdir()
    write_table(tmp_path / "t", source, (RATE, SEED), [])
    (tmp_path / "t" / ABOUT).write_text(json.dumps(about_of(source)))
    read = done_elsewhere(tmp_path, str(tmp_path / "t"), "--reuse")
    assert [exact(one["config"]) for one in read.records] == [exact(one["config"]) for one in records]


def test_a_sweep_goes_on_from_its_table(tmp_path, marks, capsys):
    ledger = done(tmp_path, leave=2)
    code, out, err = run(capsys, "sweep", ledger.folder, "--no-train", "--out", "t", "--json")
    assert (code, json.loads(out)["table"]) == (1, "t/runs.csv")
    assert "table: t/runs.csv (incomplete: 6 of 8 runs done)" in err
    path = toy_yaml(tmp_path, **PARAMETERS)
    for given_as in ("t", "t/runs.csv"):
        code, out, err = run(
            capsys, "sweep", path, "--reuse", given_as, "--folder", f"new-{given_as[-3:]}", "--no-train", "--json"
        )
        assert (code, json.loads(out)["done"]) == (1, 6)
        assert f"6 runs are taken over from {given_as}" in err
        new = Ledger(Path(json.loads(out)["folder"]))
        assert bare(new.records()) == bare(ledger.records())
        assert {one["adopted"] for one in new.records()} == {f"toy-1/{i:04d}" for i in range(6)}
        assert {one["table"] for one in new.records()} == {"t/runs.csv"}
    # It trains what is missing, and nothing else.
    code, out, err = run(capsys, "sweep", path, "--folder", "new-t", "--out", "whole", "--json")
    assert (code, json.loads(out)["done"]) == (0, 8)
    assert "table: whole/runs.csv\n" in err
    assert bare(Ledger(tmp_path / "new-t" / json.loads(out)["sweep"]).records())[:6] == bare(ledger.records())
    before = (tmp_path / "whole" / RUNS).read_text()
    assert run(capsys, "sweep", path, "--folder", "new-t", "--out", "whole")[0] == 0
    assert (tmp_path / "whole" / RUNS).read_text() == before
    rows = list(csv.DictReader(before.splitlines()))
    assert len(rows) == 8
    assert {(row["width"], row["selected"]) for row in rows} >= {("1", "yes"), ("2", "yes")}


def test_other_versions_and_other_sweeps_are_told(tmp_path, marks, capsys):
    ledger = done(tmp_path)
    path, folder = toy_yaml(tmp_path, **PARAMETERS), tabled(ledger, tmp_path / "t")
    text = (folder / RUNS).read_text()

    def reused(*more: object) -> tuple[int, str]:
        _, out, err = run(
            capsys, "sweep", path, "--reuse", "t", "--folder", f"s{random.random()}", "--no-train", "--json", *more
        )
        return json.loads(out)["done"], err

    count, err = reused("--set", "train.steps=30")
    assert (count, "no run of t has a configuration of this sweep" in err) == (0, True)
    (folder / RUNS).write_text(text.replace(f",{__version__}\n", ",0.0.1\n", 3))
    count, err = reused()
    told = f"3 runs of t are not taken over: another version than {__version__} trained them"
    assert (count, told in err) == (5, True)
    (folder / RUNS).write_text(text.replace(f",{__version__}\n", ",\n"))
    count, err = reused()
    assert (count, "8 of them record no version of bestguess" in err) == (8, True)
    (folder / LISTS).unlink()
    count, _ = reused()
    (made,) = (Ledger(one.parent) for one in tmp_path.glob("s*/toy-*/plan.json") if Ledger(one.parent).records()
               and "curve" not in Ledger(one.parent).records()[0]["metrics"])  # fmt: skip
    assert count == 8
    assert not of_ledger(made).whole  # so that a page leaves out what needs them


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--reuse", "none.csv"], "--reuse none.csv: no such file"),
        (["--reuse", "t/none.csv"], "--reuse t/none.csv: no such file"),
        (["--rates", "none/runs.csv"], "--rates none/runs.csv: no such file"),
        (["--reuse", "alone"], "--reuse alone/runs.csv: no verdicts.json or sweep.json beside it"),
        (
            ["--reuse", "t", "u"],
            "--reuse: run 0000 of t/runs.csv and run 0000 of u/runs.csv are the same and differ in",
        ),
        (["--rates", "t,u"], "--rates: run 0000 of t/runs.csv and run 0000 of u/runs.csv are the same and"),
        (["--rates", "t", "--set", "train.first_seed=0"], "--rates t: was tuned on train.first_seed 0"),
        (["--out", "t/runs.csv"], "--out: t/runs.csv"),
        (["--out", "theirs"], "--out theirs: holds a runs.csv that this command did not write"),
        (["--out", "new", "--plan"], "--out: --plan writes no table"),
        (["--track", "wandb"], "--track: --no-train trains no run to be logged"),
    ],
)
def test_what_is_off_is_one_line_and_exit_2(tmp_path, marks, capsys, words, told):
    ledger = done(tmp_path)
    for name in ("t", "u", "alone", "theirs"):
        tabled(ledger, tmp_path / name)
    for name in ("alone", "theirs"):
        (tmp_path / name / ABOUT).unlink()
    other = (tmp_path / "u" / RUNS).read_text().replace(",0.30000000000000004,", ",0.31,", 1)
    (tmp_path / "u" / RUNS).write_text(other)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, out, err = run(capsys, "sweep", toy_yaml(tmp_path, **PARAMETERS), *words, "--no-train")
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("column", "cell", "told"),
    [
        ("validation_loss", "lost", "run 0000: validation_loss 'lost': no finite number"),
        ("validation_loss", "", "run 0000: validation_loss: no number in its figures"),
        ("loss", "inf", "run 0000: loss 'inf': no finite number"),
        ("pair", "[1,", "run 0000: pair '[1,': damaged"),
        ("width", '"', "run 0000: width '\"': damaged"),
        ("seconds", "x", "run 0000: seconds 'x': no finite number"),
        ("run", "0001", "has run 0001 twice"),
    ],
)
@pytest.mark.parametrize("flag", ["--reuse", "--rates"])
def test_a_damaged_cell_is_one_line_that_names_it(tmp_path, marks, capsys, flag, column, cell, told):
    folder = tabled(done(tmp_path), tmp_path / "t")
    rows = list(csv.reader((folder / RUNS).read_text().splitlines()))
    rows[1][rows[0].index(column)] = cell
    with open(folder / RUNS, "w") as file:
        csv.writer(file).writerows(rows)
    code, out, err = run(capsys, "sweep", toy_yaml(tmp_path, **PARAMETERS), flag, "t", "--folder", "new")
    assert (code, out, err) == (2, "", f"bestguess: error: {err[18:]}")
    assert f"{flag} t/runs.csv: {told}" in err
    assert not (tmp_path / "new").exists()


def test_no_damage_to_a_table_is_a_crash(tmp_path):
    """Whatever is done to one of its files: it is read, or refused with the flag."""
    sound = tabled(done(tmp_path), tmp_path / "sound")
    refusals = []
    for seed in range(200):
        rng = random.Random(seed)
        folder = shutil.copytree(sound, tmp_path / f"t{seed}")
        path = rng.choice(sorted(folder.iterdir()))
        (retyped if path.name == RUNS and seed % 2 else damage)(path, rng)
        try:
            done_elsewhere(tmp_path, str(folder), "--reuse")
        except UserError as error:
            refusals.append(str(error))
    assert [one for one in refusals if not one.startswith("--reuse") or "\n" in one] == []
    assert 50 < len(refusals) < 190


def test_a_table_of_an_older_version_is_read_as_before(tmp_path):
    """Twelve digits, no column `version`, and an empty cell for none."""
    folder = tabled(done(tmp_path), tmp_path / "t")
    about = json.loads((folder / ABOUT).read_text())
    (folder / ABOUT).unlink()
    (folder / LISTS).unlink()
    (folder / "verdicts.json").write_text(json.dumps(about | {"version": "0.0.1"}))
    (folder / RUNS).write_text(
        "run,width,train.learning_rate,train.first_seed,selected,validation_loss,loss,facts,facts.day,facts.place,"
        "seconds,device\n"
        "0000,1,0.1,0,yes,0.333333333333,2,,,0.5,1.5,1 × cpu\n"
        "0001,2,0.1,0,yes,0.25,2.0,,,,1.5,1 × cpu\n"
    )
    found = done_elsewhere(tmp_path, str(folder), "--reuse")
    assert [one["metrics"] for one in found.records] == [
        {"validation_loss": 0.333333333333, "loss": 2, "facts": {"place": 0.5}},
        {"validation_loss": 0.25, "loss": 2.0, "facts": None},
    ]
    assert {one["version"] for one in found.records} == {"0.0.1"}
    assert [exact(one["config"]["width"]) for one in found.records] == ["1", "2"]
