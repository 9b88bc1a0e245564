"""What the experiment on transfer declares, against its YAML; compute that is equal; verdicts on planted results."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from bestguess.experiment.analysis import analyse, check
from bestguess.experiment.results import more
from bestguess.report.story import Drawn
from bestguess.sweep.plan import config_of, lacks, plan
from bestguess.sweep.spec import read_spec
from bestguess.text.counting import decoder_only_flops, encoder_decoder_flops
from bestguess.text.experiments import EXPERIMENTS
from bestguess.text.transfer import (
    ARMS,
    BATCH,
    EQUAL,
    LAYERS,
    LEVELS,
    PAIRS,
    PRETRAINED,
    STEPS,
    corpus_of,
    level,
    searched,
    tuning_levels,
)
from bestguess.text.transfer_page import by_arm, drawn_anew, pairs_needed
from tests.experiment.planted import ROOT
from tests.text.test_experiments import noise

TESTED = EXPERIMENTS["text_transfer"]


@functools.cache
def planned_of(changes: tuple[str, ...] = ()):
    spec = read_spec(ROOT / "experiments" / "text_transfer.yaml", changes)
    return spec, plan(spec, ensemble=64)


@pytest.mark.parametrize("changes", [(), TESTED.small])
def test_the_sweep_can_test_every_hypothesis(changes):
    spec, planned = planned_of(changes)
    check(TESTED, planned.runs)
    assert lacks(spec, planned) == []
    assert {run.config["change"] for run in planned.runs} == set(LEVELS)


def test_every_level_is_the_arm_that_its_name_says():
    one = planned_of()[1].runs[0].config
    head = (ROOT / "experiments" / "text_transfer.yaml").read_text(encoding="utf-8")
    for value, (task, arm) in LEVELS.items():
        config = config_of({**one, "change": value})[1]
        config.check()
        assert corpus_of(config) == task
        assert (config.model.architecture == "decoder-only") == arm.startswith("decoder-only")
        assert bool(config.objective.start) == ("scratch" not in arm)
        equal = EQUAL["files" if task == "files" else "errands"]
        assert config.train.steps == (equal if arm.endswith("compute") else STEPS)
        assert config.train.batch_size == BATCH
        assert config.train.batch_size <= (config.task.training_documents or 1201)
        if config.objective.start:  # the head says how to make it
            corpus, _, form = config.objective.start.removeprefix("runs/transfer/").partition("-")
            assert f"--out runs/transfer/{corpus}\n" in head
            assert set(filter(None, form.split("-"))) <= {"decoder", "random", "zero"}


def test_equal_compute_is_that_of_pretraining_and_fine_tuning():
    """Matrices and attention on paper, padded widths as drawn; embeddings and logits are left out."""
    pretraining = PRETRAINED * decoder_only_flops(LAYERS, 192, 32 + 72 + 1).total
    step = BATCH * encoder_decoder_flops(LAYERS, 192, 164, 28).total
    assert pretraining / step + STEPS == pytest.approx(EQUAL["errands"], rel=0.05)
    pretraining = PRETRAINED / 2 * decoder_only_flops(LAYERS, 192, 32 + 225 + 1).total
    step = BATCH * encoder_decoder_flops(LAYERS, 192, 512, 257).total
    assert pretraining / step + STEPS == pytest.approx(EQUAL["files"], rel=0.1)


def test_tuning_gives_every_arm_the_same_budget_on_a_seed_of_its_own():
    spec = read_spec(ROOT / "experiments" / "text_transfer_tuning.yaml", ())
    planned = plan(spec, ensemble=64)
    assert list(spec.parameters["change"].arguments["values"]) == tuning_levels()
    rates = spec.parameters["train.learning_rate"].arguments["values"]
    assert len(planned.runs) == len(ARMS) * len(rates)
    seeds = {run.config["train.first_seed"] for run in planned_of()[1].runs}
    assert not seeds & {run.config["train.first_seed"] for run in planned.runs}
    assert rates == planned_of()[0].parameters["train.learning_rate"].arguments["values"]
    levels = {value: searched({"change": value}) for value in LEVELS}
    assert {one["change"] for one in levels.values()} == set(tuning_levels())
    for value, one in levels.items():
        assert LEVELS[one["change"]] == ("1,000 pairs", LEVELS[value][1])


# ------------------------------------------------------------------------------------------ planted results

START = {"vocabulary": 1024, "lacking": 301, "unseen": 7, "tokens": 4000, "anew": 500, "share": 0.125}


def figures(config, law) -> dict:
    task, arm = LEVELS[config["change"]]
    pairs = 1201 if task == "files" else int(task.split()[0].replace(",", ""))
    loss = law(arm, pairs) * math.exp(0.002 * noise(config))
    return {
        "validation_loss": loss, "nats_per_document": loss, "nats_per_token": loss, "regret_per_document": loss,
        "start": START if "objective.start" in config["change"] else None,
        "documents": 2, "tokens": 41, "document_tokens": [20, 21], "facts": {"copied": 0.5}, "rouge": {"rougeL": 0.3},
    }  # fmt: skip


def judged(law):
    runs = planned_of(("train.learning_rate=0.001",))[1].runs
    about = {"seconds": 1.0, "device": "1 × Test"}
    records = [{"run": run.run, "config": run.config, "metrics": figures(run.config, law), **about} for run in runs]
    return analyse(TESTED, runs, records, "nats_per_document")


BY_ARM = dict(zip(ARMS, (4.0, 3.0, 1.0, 2.0, 1.5, 4.0, 3.0)))


@functools.cache
def helped():
    return judged(lambda arm, pairs: BY_ARM[arm] * 10 / math.sqrt(pairs))


def test_verdicts():
    assert {one.verdict for one in helped().verdicts} == {"supported"}
    assert {one.hypothesis[:2] for one in helped().verdicts} == {f"H{i}" for i in range(1, 7)}
    hurt = judged(lambda arm, pairs: 10 / BY_ARM[arm] / math.sqrt(pairs))
    assert {one.verdict for one in hurt.verdicts} == {"refuted"}


def test_pairs_needed_and_the_section_of_the_page():
    """Regret falls by the square root: half of it takes four times the pairs."""
    columns, rows, _ = pairs_needed(by_arm(helped().records))
    by_name = {row[0]: row[1:] for row in rows}
    assert set(by_name) == set(ARMS)
    at = columns.index("0.5 nats") - 1
    ours, theirs = (float(by_name[arm][at].split()[0].replace(",", "")) for arm in ("converted", "scratch"))
    assert ours == pytest.approx(400, rel=0.02)
    assert theirs == pytest.approx(6400, rel=0.02)
    assert by_name["scratch"][columns.index("0.2 nats") - 1].startswith(f"> {PAIRS[-1]:,}")
    section, words = more(helped())
    assert words.heading == "Words that the raw text lacks"
    drawn = section.parts[0]
    assert isinstance(drawn, Drawn)
    assert [len(panel.series) for panel in drawn.picture.panels] == [len(ARMS) - 2, 2]
    own = drawn.picture.panels[0].series[2]  # converted
    seeds = by_arm(helped().records)["converted"]
    low, high = np.asarray(own.y) - own.error[0], np.asarray(own.y) + own.error[1]
    assert (seeds.min(axis=1) <= low).all()
    assert (low < seeds.mean(axis=1)).all()
    assert (seeds.mean(axis=1) < high).all()
    assert (high <= seeds.max(axis=1)).all()


def test_what_is_drawn_anew_has_a_row_for_each_corpus():
    _, rows, _ = drawn_anew(helped().records)
    assert [row[0] for row in rows] == [*(f"{pairs:,} pairs" for pairs in PAIRS), "files"]
    assert rows[0][1:] == ["1,024", "301", "7", "500 of 4,000", "12.50 %"]
    without = [{**one, "metrics": {"start": None}} for one in helped().records]
    assert drawn_anew(without)[1] == drawn_anew([{**one, "metrics": {}} for one in without])[1] == []
    empty = [{**one, "metrics": {"start": dict.fromkeys(START)}} for one in without]  # as a table is read
    assert drawn_anew([*empty, *helped().records])[1] == rows


def test_levels_differ():
    assert len(LEVELS) == 3 * len(ARMS) + 5
    assert level("files", "scratch") != level("files", "converted")
