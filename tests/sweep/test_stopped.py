"""Runs of a batch that stop early: logged until then and no longer, with the step and the reason told."""

from __future__ import annotations

import dataclasses
import io
import json

from rich.console import Console

from bestguess.config import run_of_single
from bestguess.sweep.train import train_runs
from bestguess.workflow.report import ended_early
from bestguess.workflow.training import make_training
from tests.sweep.toy_family import FAMILY, ToyConfig


def test_a_stopped_run_is_logged_no_more_and_its_end_is_told(tmp_path, marks):
    base = ToyConfig()
    # An improvement of 99.9 % of the best score is asked for, so no run gets beyond its third validation.
    train = dataclasses.replace(base.train, patience=2, min_delta=0.999, steps=200)
    configs = [
        dataclasses.replace(base, train=dataclasses.replace(train, first_seed=seed), fault=fault)
        for seed, fault in enumerate(["", "nan"])
    ]
    with io.StringIO() as said:
        own = [{"seed": 0}, {"seed": 1}]
        found = dict(train_runs(FAMILY, configs, own, tmp_path, Console(file=said, width=300)))
        told = said.getvalue()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    # The second run meets a loss that is not finite at step 7, in the chunk that ends at step 10.
    assert [(row["step"], row["run"]) for row in rows] == [(5, 0), (5, 1), (10, 0), (10, 1), (15, 0)]
    assert all(row["train_loss"] is not None for row in rows)
    assert (found[0].metrics["stopped_step"], found[1].metrics["stopped_step"]) == (15, 10)
    assert "stopped early at step 15 of 200: no improvement in 2 validations" in told
    assert "loss not finite at step 7; this run stops, others go on" in told
    assert "nan" not in told.replace("loss not finite", "")
    training = make_training(FAMILY, tmp_path, [run_of_single(one, i) for i, one in enumerate(configs)])
    learnt = _Learnt([True, True], [-1, 7])
    assert ended_early(dataclasses.replace(training, learnt=learnt)) == [
        "Stopped early, no improvement in 2 validations: seed 0 at step 15.",
        "Stopped early, the loss was not finite: seed 1 at step 7.",
    ]
    assert ended_early(dataclasses.replace(training, learnt=_Learnt([False, False], [-1, -1]))) == []


@dataclasses.dataclass
class _Learnt:
    stopped: list[bool]
    fault_step: list[int]


def test_a_training_without_a_curve_tells_of_no_stop(tmp_path):
    """A file of weights brings no metrics.jsonl along, and the runs of its page may have stopped early."""
    training = make_training(FAMILY, tmp_path, [run_of_single(ToyConfig())])
    stopped = dataclasses.replace(training, learnt=_Learnt([True], [-1]))
    assert stopped.stopped_steps() == [None]
    assert ended_early(stopped) == []
