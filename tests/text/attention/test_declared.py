"""What the experiment on attention declares, against its YAML, and the verdicts on planted results."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest

from bestguess.experiment.analysis import analyse, check
from bestguess.experiment.pictures import effects, figure
from bestguess.experiment.results import more
from bestguess.report.story import Drawn, Rows
from bestguess.sweep.plan import UNTUNED, config_of, lacks, plan
from bestguess.sweep.spec import read_spec
from bestguess.text.attention.declared import ATTENTION, DIALOGUES, FACTS, LEVELS
from tests.experiment.planted import ROOT


@functools.cache
def planned_of(changes: tuple[str, ...] = ()):
    spec = read_spec(ROOT / "experiments" / "text_attention.yaml", changes)
    return spec, plan(spec, ensemble=64)


@pytest.mark.parametrize("changes", [(), ATTENTION.small])
def test_the_sweep_can_test_every_hypothesis(changes):
    spec, planned = planned_of(changes)
    check(ATTENTION, planned.runs)
    assert [one for one in lacks(spec, planned) if UNTUNED not in one] == []
    assert {run.config["change"] for run in planned.runs} == set(LEVELS)
    for run in planned.runs:
        config = config_of(run.config)[1]
        config.check()
        assert config.attention_documents <= min(config.test_documents, config.train.validation_sequences)
        assert LEVELS[run.config["change"]].endswith(config.model.architecture)
        assert (LEVELS[run.config["change"]].startswith("stories")) == (config.task.task == "story")


def test_the_head_of_the_yaml_names_every_hypothesis():
    text = (ROOT / "experiments" / "text_attention.yaml").read_text(encoding="utf-8")
    for one in ATTENTION.hypotheses:
        assert re.search(rf"^#   {one.name.rstrip('abcd')} ", text, re.MULTILINE), one.name


def attention(config, rng, good: bool) -> dict:
    """Figures of a run: as the brief expects, or the opposite."""
    level = LEVELS[config["change"]]
    dialogues, two = level.startswith("dialogues"), level.endswith("encoder-decoder")
    near = lambda value: float(value + 0.002 * rng.normal())  # noqa: E731
    cross = {"evenness": near(0.95 if dialogues != good else 0.6)}
    encoder = {"within_turn": near(0.1 if dialogues == good else 0.0)}
    if not good:
        encoder = {"within_turn": near(-0.1)}
    best = {"within_turn": {"kind": "encoder", "value": near(0.2 if good else 0.01)}}
    if dialogues:
        cross |= {"gold_turn_mass": near(0.6 if good else 0.1), "gold_turn_uniform": 0.15}
        best |= {
            "gold_turn_mass": {"kind": "cross", "value": near(0.9 if good else 0.2)},
            "related": {"kind": "encoder", "value": near(2.0 if good else 1.0)},
        }
    weights = {name: near(0.1 if good else 0.9) for name in ("gold_turn_mass", "gold_token_mass", "alignment")}
    p = {name: near(0.99 if good else 0.5) for name in ("p_followed", "p_held", "followed", "held", "unchanged")}
    slope = near(-0.05 if good else 0.05)
    steps = {"source": np.linspace(0.9, 0.5, 6).tolist(), "uniform": np.linspace(0.9, 0.6, 6).tolist()}
    return {
        "documents": 9,
        "mean": {"cross": cross, "encoder": encoder, "decoder": {"evenness": 0.5}},
        "best": best,
        "facts": dict.fromkeys(FACTS, weights) if dialogues else {},
        "causal": {fact: p | {"swaps": 9, "decoys": 3} for fact in FACTS} if dialogues else None,
        "fading": None if two else {"slope": slope, **steps},
    }


def judged(good: bool):
    runs, rng = planned_of()[1].runs, np.random.default_rng(0)
    records = [
        {"run": run.run, "config": run.config, "seconds": 1.0, "device": "1 × Test",
         "metrics": {"validation_loss": 0.5, "nats_per_document": 4.0, "attention": attention(run.config, rng, good)}}
        for run in runs
    ]  # fmt: skip
    return analyse(ATTENTION, runs, records, "nats_per_document")


def test_all_as_the_brief_expects_and_the_opposite():
    assert {one.verdict for one in judged(True).verdicts} == {"supported"}
    assert {one.verdict for one in judged(False).verdicts} == {"refuted"}


def test_figures_and_the_sections_of_the_page():
    found = judged(True)
    for picture in (figure(found, None), effects(found, None)):
        assert picture.panels
    parts = [part for section in more(found) for part in section.parts]
    tables = [part for part in parts if isinstance(part, Rows)]
    swaps, fading = (part for part in parts if isinstance(part, Drawn))
    assert [len(one.labels) for one in swaps.picture.series] == [len(FACTS)] * 2
    assert len(fading.picture.panels) == 2  # the models without an encoder
    assert tables[0].columns[1:] == list(LEVELS.values())
    assert [row[0] for row in tables[-1].rows] == list(FACTS)
    values = [
        one["metrics"]["attention"]["facts"]["day"]["gold_token_mass"]
        for one in found.records
        if one["config"]["change"] == DIALOGUES
    ]
    assert tables[-1].rows[1][2] == pytest.approx(np.mean(values))
