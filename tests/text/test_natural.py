"""What the experiment on much natural text declares, against its YAML; and the verdicts on planted results."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path

import pytest

from bestguess.cli import main
from bestguess.experiment.analysis import analyse, check
from bestguess.experiment.results import more
from bestguess.report import matplotlib_renderer
from bestguess.report.story import Drawn, Rows
from bestguess.sweep.keys import SEED
from bestguess.sweep.ledger import Ledger
from bestguess.sweep.plan import config_of, plan
from bestguess.sweep.source import LISTS, RUNS, SWEEP
from bestguess.sweep.spec import read_spec
from bestguess.text.experiments import EXPERIMENTS
from bestguess.text.model import parameters
from bestguess.text.natural import LEVELS
from tests.experiment.planted import ROOT, planted
from tests.text.test_experiments import figures, noise

TESTED = EXPERIMENTS["text_natural"]


@functools.cache
def planned_of(changes: tuple[str, ...] = ()):
    return plan(read_spec(ROOT / "experiments" / "text_natural.yaml", changes), ensemble=64)


@pytest.mark.parametrize("changes", [(), TESTED.small])
def test_the_sweep_can_test_every_hypothesis(changes):
    runs = planned_of(changes).runs
    check(TESTED, runs)
    assert {run.config["change"] for run in runs} == set(LEVELS)
    head = (ROOT / "experiments" / "text_natural.yaml").read_text(encoding="utf-8")
    assert all(f"H{one.name[1]} " in head for one in TESTED.hypotheses)


def test_arms_differ_in_architecture_alone_and_have_the_sizes_that_their_names_say():
    configs = {LEVELS[run.config["change"]][1]: config_of(run.config)[1] for run in planned_of().runs}
    assert len({(one.task, one.train.learning_rate, one.model.dropout) for one in configs.values()}) == 1
    sizes = {arm: parameters(one.model, 1024) for arm, one in configs.items()}
    assert sizes["full loss, equal parameters"] == pytest.approx(sizes["encoder-decoder"], rel=0.01)
    layers = {arm: one.model.layers for arm, one in configs.items()}
    assert layers == {
        "encoder-decoder": 6,
        "full loss, equal parameters": 14,
        "full loss, equal FLOPs": 7,
        "full loss, equal depth": 6,
    }


def analysed(ratio: float, rise: float = 0.01):
    """The analysis of runs whose encoder-decoder has `ratio` times the perplexity of the others.

    rise: of the loss, with another source and with none.
    """
    runs = planned_of().runs
    records = []
    for run in runs:
        two, small = "encoder" in run.config["change"], 0.002 * noise(run.config)
        source = {"shuffled": rise + small, "empty": rise - small}
        own = figures(0.5 + math.log(ratio) * two + small, source=source)
        own |= {"bits_per_byte": math.exp(own["nats_per_token"]), "floor_per_document": None, "facts": None}
        records.append({"run": run.run, "config": run.config, "metrics": own, "seconds": 1.0, "device": "1 × Test"})
    return analyse(TESTED, runs, records, "nats_per_document")


@pytest.mark.parametrize(
    ("ratio", "rise", "refuted"),
    [
        (2.5, 0.01, set()),
        (1.1, 0.01, {"H1a", "H1b", "H1c"}),
        (0.9, 0.5, {"H1a", "H1b", "H1c", "H2a", "H2b", "H2c", "H4a", "H4b"}),
    ],
)
def test_verdicts_of_planted_results(ratio, rise, refuted):
    verdicts = analysed(ratio, rise).verdicts
    assert {one.hypothesis for one in verdicts if one.verdict == "refuted"} == refuted
    assert {one.verdict for one in verdicts} <= {"supported", "refuted"}


def test_the_page_has_the_sections_of_text_raw():
    drawn = [part for section in more(analysed(2.5)) for part in section.parts if isinstance(part, Drawn)]
    assert [part.name for part in drawn] == ["curves"]
    assert {panel.title for panel in drawn[0].picture.panels} == {"proposals"}


def test_its_tables_have_no_column_of_what_natural_text_lacks():
    columns = [part.columns for section in more(analysed(2.5)) for part in section.parts if isinstance(part, Rows)]
    assert not {"floor", "true", "prefix LM, equal parameters"} & {name for own in columns for name in own}
    assert {"perplexity", "repeated 4-grams"} <= {name for own in columns for name in own}


def test_it_goes_on_from_its_table_with_the_same_page(tmp_path, monkeypatch, capsys):
    """Losses of documents and curves are in the lists beside the table; verdicts, tables and sections are the same."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(matplotlib_renderer, "render", lambda *given, **more: b"<svg></svg>")

    def score(config, *given):
        nats = [(0.5 + 0.1 * noise(config)) * one / 3 for one in range(1, 20)]
        found = figures(0.5 + 0.1 * noise(config), document_nats=nats, document_tokens=list(range(1, 20)))
        return found | {"facts": None if config[SEED] else {"names": None, "place": 0.5}, "floor_per_document": None}

    def judged(*words: object) -> dict:
        with pytest.raises(SystemExit) as stop:
            main([*map(str, ("experiment", "text_natural", "--no-train", "--allow-incomplete", "--json", *words))])
        said = capsys.readouterr()
        assert stop.value.code == 0, said.err
        return json.loads(said.out)

    ledger = planted(tmp_path / "runs" / "sweeps", "text_natural", lambda config: 0.0, leave=2, score=score)
    first = judged("--out", "first")
    second = judged("--out", "second", "--folder", "new", "--reuse", "first/runs.csv")
    assert (first["runs"], second["runs"], second["sweep"]) == (10, 10, ledger.id)
    for name in ("verdicts.json", RUNS, LISTS, SWEEP, "README.md"):
        assert (tmp_path / "second" / name).read_bytes() == (tmp_path / "first" / name).read_bytes(), name
    done = [[one["metrics"] for one in Ledger(Path(folder, ledger.id)).records()] for folder in ("runs/sweeps", "new")]
    assert done[0] == done[1]
