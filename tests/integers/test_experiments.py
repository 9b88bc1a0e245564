"""What the experiment on the design declares, against the YAML that it is about."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bestguess.experiment.analysis import check
from bestguess.integers.config import IntegersConfig
from bestguess.integers.experiments import EXPERIMENTS
from bestguess.sweep.plan import lacks, plan
from bestguess.sweep.spec import read_spec

YAML = Path(__file__).parents[2] / "experiments" / "integer_design.yaml"
TESTED = EXPERIMENTS["integer_design"]


@pytest.mark.parametrize("changes", [(), TESTED.small], ids=["whole", "small"])
def test_the_sweep_can_test_every_hypothesis(changes):
    spec = read_spec(YAML, changes)
    planned = plan(spec, ensemble=16)
    check(TESTED, planned.runs)
    assert not lacks(spec, planned)
    if not changes:
        assert len({run.config["train.first_seed"] for run in planned.runs}) >= 5
        # Every change that the sweep makes is one that a hypothesis is about.
        levels = {run.config["change"] for run in planned.runs}
        about = {level for one in TESTED.hypotheses for level in vars(one.contrast["change"]).values()}
        assert levels == about


def test_the_head_of_the_yaml_names_every_hypothesis():
    text = YAML.read_text(encoding="utf-8")
    for one in TESTED.hypotheses:
        assert f"#   {one.name.rstrip('abcd')} " in text


def test_measures():
    figures = {"regret": 0.02, "mean": {"regret": 0.08}, "seen": {"regret": 0.01}}
    values = {one.name: one.read(IntegersConfig(), figures).value for one in TESTED.measures}
    assert values["regret"] == pytest.approx(math.log2(0.02))
    assert values["mean_regret"] == pytest.approx(math.log2(0.08))
    assert values["leak"] == pytest.approx(1)
    assert TESTED.measures[0].show(values["regret"]) == pytest.approx(0.02)
