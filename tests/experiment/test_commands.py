"""`bestguess experiment`, as a user types it: on planted ledgers, and once from end to end."""

from __future__ import annotations

import csv
import dataclasses
import html
import json
import math
import re
import typing
from pathlib import Path

import pytest

from bestguess import __version__
from bestguess.cli import main
from bestguess.command import Failure, make_console
from bestguess.experiment import commands
from bestguess.experiment.config import ExperimentFlags, experiments
from bestguess.family import families
from bestguess.filters import baselines, experiment_page
from bestguess.report import matplotlib_renderer
from bestguess.report.charts import describe
from bestguess.sweep import worker
from bestguess.sweep.commands import open_ledger
from bestguess.sweep.keys import SEED
from bestguess.sweep.ledger import Ledger
from bestguess.sweep.shipped import shipped
from tests.experiment.planted import FEWER, ROOT, SHRUNK, integer_figures, planted

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


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """AR(k) of systems of full size takes longer than all else here."""
    for place in (baselines, experiment_page):
        monkeypatch.setattr(place, "exact_ar", lambda *about: {8: 1e-2, 16: 1e-3, 32: 1e-4})
    monkeypatch.setattr(baselines, "ahead_ar", lambda *about: 1e-3)


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures are most of an analysis' time: here they are described, not drawn."""
    said = lambda picture: html.escape(f"{describe(picture)} {picture.caption}")  # noqa: E731
    monkeypatch.setattr(
        matplotlib_renderer, "render", lambda picture, *how, **more: f"<svg>{said(picture)}</svg>".encode()
    )


def run(capsys, *words: object) -> tuple[int, str, str]:
    """Return the exit status of `bestguess experiment …`, shrunk as a planted ledger is, and what it said."""
    asked = [str(word) for word in words]
    if Path(asked[0]).stem in SHRUNK and not {"--from", "--preset"} & set(asked):
        at = asked.index("--set") + 1 if "--set" in asked else len(asked)
        own = {word.partition("=")[0] for word in asked}
        fewer = [one for one in FEWER if one.partition("=")[0] not in own]
        asked[at:at] = fewer if "--set" in asked else ["--set", *fewer]
    with pytest.raises(SystemExit) as stop:
        main(["experiment", *asked])
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
    assert kept["command"] == f"bestguess experiment {name} --set {' '.join(FEWER)}"
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
    # AR(k) stands beside the models, in a table and as a line.
    assert "equivalent memory" in page
    assert b"AR(16), exact" in (tmp_path / "results" / "figure.png").read_bytes()
    assert "| 12.5 | 1 + 1.00e-2 | 1 + 1.00e-3 | 1 + 1.00e-4 |" in (tmp_path / "results" / "README.md").read_text()
    assert str(tmp_path) not in page + (tmp_path / "results" / "README.md").read_text()


@pytest.mark.usefixtures("undrawn")
def test_easy_medium_and_hard_are_named(tmp_path, capsys):
    planted(tmp_path / "runs" / "sweeps", "eigenvalue", LAWS["eigenvalue"], noise=0.001)
    code, out, _ = run(capsys, "eigenvalue")
    assert code == 0
    assert "easy: 0.36; medium: 0.92; hard: 0.99" in out
    # Each effect is named by its measure, in the words of the page.
    assert re.search(r"ln excess: [\d.]+ \(", out)
    assert "gap:" not in out


@pytest.mark.parametrize("name", ["eigenvalue", "structure", "patching", "observed", "integer_design"])
@pytest.mark.usefixtures("undrawn")
def test_committed_runs_are_judged_again_without_a_ledger(tmp_path, capsys, name):
    table = ROOT / "experiments" / "results" / name / "runs.csv"
    before = json.loads((table.parent / "verdicts.json").read_text())
    code, out, _ = run(capsys, name, "--from", table, "--json")
    found = json.loads(out)
    assert (code, found["complete"], found["report"]) == (0, True, None)
    assert (found["sweep"], found["runs"], found["planned"]) == (before["sweep"], before["runs"], before["planned"])
    chosen = lambda told: [(one["learning_rate"], one["edge"], one["seeds"]) for one in told["learning_rates"]]  # noqa: E731
    assert chosen(found) == chosen(before)
    assert list(tmp_path.iterdir()) == []  # nothing is written, unless --out says where
    words = {one["hypothesis"]: one["verdict"] for one in found["verdicts"]}
    if name in AGAIN:
        assert words == AGAIN[name]
    else:
        assert words == {one["hypothesis"]: one["verdict"] for one in before["verdicts"]}


AGAIN = {
    "eigenvalue": {"H1": "depends on the scale", "H2": "inconclusive", "H3": "depends on the scale"},
    "structure": {"H1": "inconclusive", "H2": "inconclusive", "H3": "depends on the scale", "H0": "inconclusive"},
    "patching": {"H1": "refuted", "H2": "inconclusive"},
    "observed": {"H1": "depends on the scale", "H2": "inconclusive"},
}


@pytest.mark.usefixtures("undrawn")
def test_what_is_judged_again_is_what_the_ledger_says(tmp_path, capsys):
    planted(tmp_path / "runs" / "sweeps", "structure", LAWS["structure"])
    first = json.loads(run(capsys, "structure", "--out", "results", "--json")[1])
    again = json.loads(run(capsys, "structure", "--from", "results/runs.csv", "--out", "again", "--json")[1])
    for key in ("constants", "changes", "grading", "sweep", "complete"):
        assert again[key] == first[key], key
    assert [one["verdict"] for one in again["verdicts"]] == [one["verdict"] for one in first["verdicts"]]
    for one, other in zip(again["verdicts"], first["verdicts"]):
        assert [two["measure"] for two in one["measures"]] == [two["measure"] for two in other["measures"]]
        assert [two["effect"] for two in one["measures"]] == pytest.approx([two["effect"] for two in other["measures"]])
    assert again["command"] == "bestguess experiment structure --from results/runs.csv"
    assert (tmp_path / "again" / "covariates.png").stat().st_size > 100
    assert (tmp_path / "again" / "runs.csv").read_text() == (tmp_path / "results" / "runs.csv").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--from", "none/runs.csv"], "--from none/runs.csv: no sweep.yaml beside it"),
        (["--from", "runs.csv", "--set", "a=1"], "--set: --from judges runs that are done; drop it"),
        (["--from", "runs.csv", "--no-train"], "--train: --from judges runs that are done; drop it"),
        (["--from", "runs.csv"], "--from runs.csv: no table of runs"),
    ],
)
def test_a_table_that_is_off_is_one_line(tmp_path, capsys, words, told):
    (tmp_path / "runs.csv").write_text("a,b\n1,2\n")
    (tmp_path / "sweep.yaml").write_text((ROOT / "experiments" / "structure.yaml").read_text())
    code, _, err = run(capsys, "structure", *words)
    assert code == 2
    assert told in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("line", "cell", "given", "told"),
    [
        (1, "task.lambda", "x", "run 0000: parameters: task.lambda"),
        (1, "train.first_seed", "", "parameters.train.first_seed: missing"),
        (1, "task.lambda", "", "parameters.task.lambda: missing"),
        (2, "validation_loss", "lost", "run 0001: validation_loss 'lost': no finite number"),
        (2, "seconds", "", "run 0001: seconds '': no finite number"),
        (3, "normalised_loss", "", "run 0002: normalised_loss: no number in its figures"),
        (3, "run", "0000", "has run 0000 twice"),
        (0, "normalised_loss", "x", "run 0000: normalised_loss: no number in its figures"),
        (0, "skill", "headroom", "has two columns of one name"),
        (4, "device", "a,b", "line 5: has 41 cells, and the table 40 columns"),
    ],
)
def test_a_cell_that_is_off_is_one_line_that_names_it(tmp_path, capsys, line, cell, given, told):
    results = ROOT / "experiments" / "results" / "eigenvalue"
    for name in ("sweep.yaml", "verdicts.json"):
        (tmp_path / name).write_text((results / name).read_text())
    rows = list(csv.reader((results / "runs.csv").read_text().splitlines()))
    rows[line][rows[0].index(cell)] = given
    (tmp_path / "runs.csv").write_text("\n".join(",".join(row) for row in rows) + "\n")
    code, _, err = run(capsys, "eigenvalue", "--from", "runs.csv")
    assert code == 2
    assert f"--from runs.csv: {told}" in err
    assert len(err.strip().splitlines()) == 1


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


@pytest.mark.usefixtures("undrawn")
def test_of_the_seeds_that_are_done_there_are_means_and_verdicts(tmp_path, capsys):
    """The second half of the seeds never ran: the others have all cells, so they are judged and drawn."""
    planted(tmp_path / "runs" / "sweeps", "eigenvalue", LAWS["eigenvalue"], only=lambda config: config[SEED] < 2)
    code, out, _ = run(capsys, "eigenvalue", "--no-train", "--allow-incomplete", "--json")
    found = json.loads(out)
    assert (code, found["complete"]) == (0, False)
    assert [one["verdict"] for one in found["verdicts"]] == ["supported"] * 3
    assert set(found["verdicts"][0]["measures"][0]["by_seed"]) == {"0", "1"}
    figure = (Path(found["report"]).parent / "figure.png").read_text()
    assert "over the 2 seeds that have begun" in figure


@pytest.mark.usefixtures("undrawn")
def test_of_cells_that_are_not_done_it_is_said_that_they_are_missing(tmp_path, capsys):
    """The first λ alone: no slope, no grades, and the reason is not the headroom."""
    planted(tmp_path / "runs" / "sweeps", "eigenvalue", LAWS["eigenvalue"], only=lambda c: c["task.lambda"] == 0.36)
    code, out, _ = run(capsys, "eigenvalue", "--no-train", "--allow-incomplete", "--json")
    found = json.loads(out)
    assert (code, found["grading"]) == (0, None)
    for one in found["verdicts"]:
        assert (one["verdict"], one["effect"]) == ("inconclusive", None)
        assert {tuple(measure["notes"]) for measure in one["measures"]} == {
            ("no seed has all the runs that it needs",),
        }


@pytest.mark.parametrize("leave", [0, 12])
def test_an_experiment_whose_only_factor_has_no_order_is_judged_and_drawn(tmp_path, capsys, leave):
    def law(config):
        worse = {"design=document": 1.0, "model.embedding=learned model.positions=learned": 0.5}
        return worse.get(config["change"], 0.0)

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
    assert found["seconds_of_its_shape"] == pytest.approx(12 * 12_000 / found["steps_per_second"])
    assert 0 < found["seconds_of_others_by_operations"] < 204 * 12_000 / found["steps_per_second"]


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
        (["eigenvalue", "--benchmark", "none.json"], "--benchmark: none.json: no such file"),
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
        assert found["command"] == by_name["command"] == f"bestguess experiment eigenvalue --set {' '.join(FEWER)}"
    assert "is planned already" in run(capsys, ledger.id, "--preset", "small")[2]


@pytest.mark.usefixtures("undrawn")
def test_more_seeds_take_over_the_runs_of_fewer(tmp_path, capsys):
    ledger = planted(tmp_path / "runs" / "sweeps", "eigenvalue", LAWS["eigenvalue"])
    seeds = ("--set", "train.first_seed=0,1,2,3,4,5")
    code, out, err = run(capsys, "eigenvalue", *seeds, "--reuse", ledger.id, "--no-train", "--json")
    assert (code, json.loads(out)["done"], json.loads(out)["planned"]) == (1, 84, 126)
    assert f"84 runs are taken over from {ledger.id}" in err


@pytest.mark.usefixtures("undrawn")
def test_an_experiment_goes_on_from_its_table(tmp_path, capsys):
    """Half of it is lost with its ledger, and the other half was written as a table before."""
    ledger = planted(tmp_path / "runs" / "sweeps", "eigenvalue", LAWS["eigenvalue"], leave=12)
    words = ["eigenvalue", "--no-train", "--allow-incomplete", "--json"]
    first = run(capsys, *words, "--out", "first")
    code, out, err = run(capsys, *words, "--out", "second", "--folder", "new", "--reuse", "first")
    assert (code, json.loads(out)["sweep"], json.loads(out)["complete"]) == (0, ledger.id, False)
    assert err.count("72 runs are taken over from first") == 1
    assert json.loads(out)["verdicts"] == json.loads(first[1])["verdicts"]
    for name in ("verdicts.json", "runs.csv", "sweep.yaml"):
        assert (tmp_path / "second" / name).read_text() == (tmp_path / "first" / name).read_text()
    planted(tmp_path / "runs" / "sweeps", "eigenvalue", LAWS["eigenvalue"])
    whole = run(capsys, *words, "--folder", "new", "--reuse", ledger.folder)
    assert "12 runs are taken over from" in whole[2]
    assert json.loads(whole[1])["complete"]


@pytest.mark.parametrize(
    ("name", "count"), [("text_attention", 12), ("text_natural", 12), ("rolls_power", 126), ("integer_design", 240)]
)
@pytest.mark.usefixtures("undrawn")
def test_committed_runs_are_done_in_a_new_ledger(tmp_path, capsys, name, count):
    """Tables of older versions, whose figures have twelve digits, too."""
    table = ROOT / "experiments" / "results" / name
    code, out, err = run(capsys, table / "sweep.yaml", "--reuse", table, "--no-train", "--json")
    found = json.loads(out)
    assert (code, found["complete"], found["runs"]) == (0, True, count)
    assert f"{count} runs are taken over from {table}" in err
    before = json.loads((table / "verdicts.json").read_text())
    words = {one["hypothesis"]: one["verdict"] for one in found["verdicts"]}
    assert words == {one["hypothesis"]: one["verdict"] for one in before["verdicts"]}


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
        assert one["verdict"] in ("supported", "refuted", "inconclusive", "depends on the scale")
    (first, *_) = found["verdicts"]
    assert first["interval"][0] < first["effect"] < first["interval"][1]
    assert len(first["measures"][0]["by_seed"]) == 2
    page = (tmp_path / found["report"]).read_text()
    assert page.count("<figure>") == 5
    again = json.loads(run(capsys, *words, "--json")[1])
    assert again["verdicts"] == found["verdicts"]


def test_tune_searches_and_widens_before_it_trains(tmp_path, capsys, monkeypatch):
    def work(ledger, console, **more):
        """A worker for which 0.05 is the best rate of all, and 0.004 that of λ = 0.36."""
        for run in ledger.runs().values():
            best = 0.004 if run.config["task.lambda"] == 0.36 else 0.05
            loss = abs(math.log(run.config["train.learning_rate"] / best))
            about = {"seconds": 1.0, "device": "none", "version": __version__}
            ledger.finish(run, {"validation_loss": loss, "normalised_loss": 1.1}, about)
        return worker.Tally(done=len(ledger.runs()), units=len(ledger.units()))

    monkeypatch.setattr(worker, "work", work)
    flags = ExperimentFlags("eigenvalue", tune=True, folder=tmp_path / "sweeps")
    found = commands._tuned(flags, make_console(json=True))
    names = found.rates.split(",")
    assert [name.partition("-")[0] for name in names] == ["eigenvalue_tuning"] * 2
    assert found == dataclasses.replace(flags, tune=False, rates=found.rates)
    wider = Ledger(tmp_path / "sweeps" / names[1])
    assert {run.config["train.learning_rate"] for run in wider.runs().values()} == {0.09}
    assert len(wider.runs()) == 6 * 2  # of the seven λ six stood at the edge, on two seeds each
    judged = open_ledger(commands._sweep_flags(found))
    rates = {run.config["task.lambda"]: run.config["train.learning_rate"] for run in judged.runs().values()}
    assert rates == {0.36: 0.003} | dict.fromkeys([0.68, 0.84, 0.92, 0.96, 0.98, 0.99], 0.03)


def scored(score):
    """A worker that trains nothing, and whose validation loss at a rate is the score."""

    def work(ledger, console, **more):
        for run in ledger.runs().values():
            loss = score(run.config["train.learning_rate"])
            about = {"seconds": 1.0, "device": "none", "version": __version__}
            ledger.finish(run, {"validation_loss": loss, "normalised_loss": 1.1}, about)
        return worker.Tally(done=len(ledger.runs()), units=len(ledger.units()))

    return work


def test_rates_that_tie_are_not_widened(tmp_path, monkeypatch):
    """As where nothing is learnt at any: the best rate at the edge ties with one within the grid, so it is that one."""
    monkeypatch.setattr(worker, "work", scored(lambda rate: 1.0))
    flags = ExperimentFlags("eigenvalue", tune=True, folder=tmp_path / "sweeps")
    found = commands._tuned(flags, make_console(json=True))
    assert "," not in found.rates
    rates = {run.config["train.learning_rate"] for run in open_ledger(commands._sweep_flags(found)).runs().values()}
    assert rates == {0.001}


def test_a_search_that_never_settles_says_where_and_between_which_losses(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "work", scored(lambda rate: 1 + 1e-9 / rate))
    monkeypatch.setattr(commands, "_WIDENINGS", 2)
    flags = ExperimentFlags("eigenvalue", tune=True, folder=tmp_path / "sweeps")
    with pytest.raises(Failure) as failure:
        commands._tuned(flags, make_console(json=True))
    told = str(failure.value)
    assert told.startswith(
        "--tune: after 2 grids the best rate of 7 of 7 cells still stands at the edge, such as 0.09 of task.lambda "
        "0.36, whose 6 rates have validation losses from 1.00000001 to 1.00000333; if those are all alike, nothing was "
        "learnt at any: give the search more steps; its sweeps: eigenvalue_tuning-"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--rates", "x"], "--rates: --tune searches"),
        (["--preset", "small"], "--preset: --tune searches"),
        (["--no-train"], "--no-train: --tune searches"),
        (["--test", "3"], "--test: --tune searches"),
        (["--from", "runs.csv"], "--tune: --from judges runs that are done"),
    ],
)
def test_tune_beside_what_contradicts_it_is_refused(capsys, words, told):
    with pytest.raises(SystemExit) as stop:
        main(["experiment", "eigenvalue", "--tune", *words])
    assert stop.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("word", ["--no-train", "--estimate"])
def test_no_tracker_where_nothing_is_trained(tmp_path, monkeypatch, capsys, word):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "eigenvalue", "--track", "wandb", word)
    assert (code, err.count("\n")) == (2, 1)
    assert f"--track: {word} trains no run to be logged; drop one of the two" in err
    assert list(tmp_path.iterdir()) == []


def test_tune_needs_a_search(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("name: eigenvalue\nmethod: grid\nparameters: {}\n")
    for name, told in (
        ("mine.yaml", "has no search beside it, mine_tuning.yaml"),
        ("eigenvalue-12345678", "is planned"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["experiment", name, "--tune"])
        assert stop.value.code == 2
        assert told in capsys.readouterr().err
