"""What the experiment on raw text declares, against its YAML; and the verdicts on planted results."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import re

import numpy as np
import pytest

from bestguess.command import UserError
from bestguess.experiment.analysis import analyse, check
from bestguess.experiment.pictures import effects, figure
from bestguess.experiment.results import more, verdict_table
from bestguess.report.story import Drawn, Rows
from bestguess.sweep.plan import UNTUNED as ONE_RATE
from bestguess.sweep.plan import config_of, lacks, plan
from bestguess.sweep.source import LISTS, RUNS, Source, of_table, write_table
from bestguess.sweep.spec import read_spec
from bestguess.text.experiments import (
    ARMS,
    CORPORA,
    EXPERIMENTS,
    FROZEN,
    LAYERS,
    LEVELS,
    MEASURES,
    PAIRINGS,
    TUNED,
    corpus_of,
    level,
    tuning_levels,
)
from bestguess.text.model import parameters
from tests.experiment.planted import ROOT

TESTED = EXPERIMENTS["text_raw"]


@functools.cache
def planned_of(name: str = "text_raw", changes: tuple[str, ...] = ()):
    spec = read_spec(ROOT / "experiments" / f"{name}.yaml", changes)
    return spec, plan(spec, ensemble=64)


@pytest.mark.parametrize("changes", [(), TESTED.small])
def test_the_sweep_can_test_every_hypothesis(changes):
    spec, planned = planned_of(changes=changes)
    check(TESTED, planned.runs)
    assert [one for one in lacks(spec, planned) if ONE_RATE not in one] == []
    assert {run.config["change"] for run in planned.runs} == set(LEVELS)
    about = {level for one in TESTED.hypotheses for level in vars(one.contrast["change"]).values()}
    assert about <= set(LEVELS)


def config_at(value: str):
    """The config of a level of `change`."""
    return config_of({**planned_of()[1].runs[0].config, "change": value})[1]


def test_three_seeds_of_every_arm():
    spec, planned = planned_of()
    assert len(spec.parameters["train.first_seed"].arguments["values"]) >= 3
    assert len(planned.runs) == 3 * len(LEVELS)


def test_the_head_of_the_yaml_names_every_hypothesis_and_corpus():
    text = (ROOT / "experiments" / "text_raw.yaml").read_text(encoding="utf-8")
    for one in TESTED.hypotheses:
        assert re.search(rf"^#   {one.name.rstrip('abcdefg')} ", text, re.MULTILINE), one.name
    for corpus in CORPORA:
        assert re.search(rf"^#   {corpus} ", text, re.MULTILINE), corpus


def test_every_level_is_the_config_that_its_name_says():
    """Architecture, loss and corpus; pairings by the parameters of the models that would be built."""
    made = {value: config_at(value) for value in LEVELS}
    for value, (corpus, arm) in LEVELS.items():
        config = made[value]
        config.check()
        assert corpus_of(config) == corpus
        assert config.objective.freeze_encoder == (arm == FROZEN)
        assert (config.model.architecture == "encoder-decoder") == (arm in ("encoder-decoder", FROZEN))
        assert (config.objective.loss == "full") == arm.startswith("full loss")
        assert config.model.attention == "xla"  # one kernel for all
    matrices = {value: parameters(config.model, 184, (32, 72)).without_vocabulary for value, config in made.items()}
    own = matrices[level("stories", "encoder-decoder")]
    for pairing, ratio in zip(PAIRINGS, (1, 1 / 2, 3 / 7)):
        assert matrices[level("stories", "full loss", pairing)] / own == pytest.approx(ratio, rel=2e-3)
    for corpus in CORPORA:  # an equal budget and equal information for all arms
        own = [config for config in made.values() if corpus_of(config) == corpus]
        for room in ("task", "generation"):
            assert len({getattr(config, room) for config in own}) == 1
        assert len({(config.train.steps, config.train.batch_size) for config in own}) == 1


def test_the_brief_s_own_arm_has_ten_epochs_and_equal_hyperparameters():
    own = [value for value, (corpus, _) in LEVELS.items() if corpus == "midpoint"]
    made = [config_at(value) for value in own]
    for config in made:
        assert config.train.steps * config.train.batch_size == 10 * config.task.training_documents
        assert config.task.cut == "midpoint"
    assert len({(config.train, config.model.dropout, config.model.positions) for config in made}) == 1
    depths = {config.model.layers for config in made if config.model.architecture == "encoder-decoder"}
    assert depths == {LAYERS}


def test_tuning_gives_every_arm_the_same_budget_on_a_seed_of_its_own():
    spec, planned = planned_of("text_raw_tuning")
    assert list(spec.parameters["change"].arguments["values"]) == tuning_levels()
    rates = spec.parameters["train.learning_rate"].arguments["values"]
    assert len(planned.runs) == len(tuning_levels()) * len(rates)
    tried: dict[tuple, list] = {}
    for run in planned.runs:
        config = config_of(run.config)[1]
        arm = (corpus_of(config), config.model.architecture, config.objective.loss)
        tried.setdefault(arm, []).append((config.train.learning_rate[0], config.model.dropout))
    assert len(tried) == 2 * len(ARMS)
    for corpus in ("stories", "docstrings"):
        budgets = [sorted(own) for (of, *_), own in tried.items() if of == corpus]
        assert budgets == len(ARMS) * [budgets[0]]
    seeds = {run.config["train.first_seed"] for run in planned_of()[1].runs}
    assert not seeds & {run.config["train.first_seed"] for run in planned.runs}
    for chosen in TUNED.values():  # what is entered was among what is tried
        assert {rate for rate, _ in chosen.values()} <= set(rates)


# ------------------------------------------------------------------------------------------ planted results

TOKENS = [17, 20, 23, 31]


def figures(nats: float = 0.5, **more):
    return {
        "validation_loss": nats, "nats_per_document": nats * sum(TOKENS) / len(TOKENS), "nats_per_token": nats,
        "constant_nats_per_token": 3.0, "bits_per_byte": 2 * nats, "documents": len(TOKENS), "tokens": sum(TOKENS),
        "document_tokens": TOKENS, "document_nats": [nats * one * (1 + 0.01 * one) for one in TOKENS],
        "utilisation": 0.51, "seconds_per_document": 1e-5, "peak_bytes": 2e8, "flops_per_document": 2e9,
        "floor_per_document": 7.0, "processed_per_document": 66.5, "source": {"shuffled": 0.3, "empty": 0.4},
        "facts": {"statements": 0.9}, "generated": {"repeated_4": 0.1}, "parameters": 5,
        "curve": {"documents": [128, 256], "nats_per_token": [1.0, nats]}, **more,
    }  # fmt: skip


def noise(config) -> float:
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).digest()
    return float(np.random.default_rng(int.from_bytes(digest[:8], "little")).normal())


def records_of(law):
    runs = planned_of()[1].runs
    about = {"seconds": 1.0, "device": "1 × Test"}
    return runs, [
        {"run": run.run, "config": run.config, "metrics": figures(**law(run.config)), **about} for run in runs
    ]


def judged(law):
    runs, records = records_of(law)
    return analyse(TESTED, runs, records, "nats_per_document")


def words(law) -> dict[str, str]:
    return {one.hypothesis: one.verdict for one in judged(law).verdicts}


def the_brief(config):
    """Everything as the brief predicts."""
    corpus, arm = LEVELS[config["change"]]
    two = arm in ("encoder-decoder", FROZEN)
    ratio = math.log(2.5) if two and corpus != "dialogues" else 0.2 if arm.startswith("target") else 0.0
    small = 0.01 * noise(config)
    return {
        "nats": 0.5 + ratio + small,
        "bits_per_byte": math.exp(0.3 * two + small),
        "seconds_per_document": (1.7 if two else 1.0) * math.exp(small),
        "peak_bytes": 1.4e8 if two else 1e8,
        "source": {"shuffled": small, "empty": 0.01 + small},
        "facts": {"statements": 0.8 - 0.1 * two + small},
        "generated": {"repeated_4": 0.1 + 0.1 * two + small},
    }


def test_all_as_the_brief_predicts():
    found = words(the_brief)
    # One claim contradicts another: an encoder that adds nothing, and one that is better on dialogues by nothing.
    assert {name for name, word in found.items() if word != "supported"} <= {"H9a", "H9b", "H9c"}
    assert found["H9a"] != "refuted"


def test_the_opposite():
    def law(config):
        corpus, arm = LEVELS[config["change"]]
        two, small = arm in ("encoder-decoder", FROZEN), 0.002 * noise(config)
        worse = 0.1 if corpus == "dialogues" else -0.1
        return {
            "nats": 0.5 + worse * two + (0.2 if arm == FROZEN else 0) + small,
            "bits_per_byte": math.exp(worse * two + small),
            "seconds_per_document": (0.6 if two else 1.0) * math.exp(small),
            "peak_bytes": 0.9e8 if two else 1e8,
            "utilisation": 1.0,
            "source": {"shuffled": 2 + small, "empty": 2 + small},
            "constant_nats_per_token": 0.1,
            "facts": {"statements": 0.8 + 0.1 * two + small},
            "generated": {"repeated_4": 0.2 - 0.1 * two + small},
        }

    found = words(law)
    # The target loss is as good as the full one here.
    assert {name for name, word in found.items() if word != "refuted"} == {"H10a", "H10b"}


def test_a_ratio_at_the_edge_of_its_bounds_is_open_and_counts_need_no_spread():
    def law(config):
        two = LEVELS[config["change"]][1] == "encoder-decoder"
        return {"nats": 0.5 + two * math.log(2) + 0.05 * noise(config), "peak_bytes": 1e8 * (1.5 if two else 1.2)}

    found = judged(law)
    by_name = {one.hypothesis: one for one in found.verdicts}
    assert by_name["H1b"].verdict == "inconclusive"
    assert by_name["H3b"].verdict == "refuted"
    low, high = by_name["H3b"].main.estimate.interval
    assert low == high == pytest.approx(math.log(1.25))
    assert by_name["H2b"].main.estimate is None  # times without spread are no certainty


def test_other_scored_tokens_are_refused():
    def law(config):
        other = config["change"] == level("stories", "prefix LM", "depth")
        return {"document_tokens": [*TOKENS[1:], TOKENS[0]]} if other else {}

    with pytest.raises(UserError, match=r"stories: run .* do not compare"):
        judged(law)


def test_figures_and_the_sections_of_the_page():
    texts = {"samples": {"source": ["a"], "reference": ["b"], "written": ["⟦c⟧"]}}
    found = judged(lambda config: the_brief(config) | texts)
    for picture in (figure(found, None), effects(found, None)):
        assert picture.panels
    floors = [one for one in figure(found, None).panels[0].series if one.name == "the grammar itself"]
    assert floors[0].x == pytest.approx(math.exp(7 * len(TOKENS) / sum(TOKENS)))
    assert {len(one.findings) for one in found.verdicts} == {1}
    columns, table = verdict_table(found)
    ratios = {row[0]: row[columns.index("ratio")] for row in table}
    assert float(ratios["H1b"].split()[0]) == pytest.approx(2.5, rel=0.1)
    assert ratios["H4"] == ""  # a share is no ratio
    costs, written, curves, over = more(found)
    assert len(costs.parts[1].rows) == len(LEVELS)
    assert len(written.parts[0].rows) == len(LEVELS) + len(CORPORA)  # and the documents' own targets
    assert len({len(row) for row in written.parts[0].rows} | {len(written.parts[0].columns)}) == 1
    side = written.parts[2]
    assert side.rows[0][1:] == ["a", "b", "⟦c⟧", "⟦c⟧", "⟦c⟧"]
    (drawn,) = curves.parts
    assert isinstance(drawn, Drawn)
    assert len(drawn.picture.panels) == 3 * len(CORPORA)
    table = over.parts[1]
    assert isinstance(table, Rows)
    rows = {(row[0], row[1]): row[2:] for row in table.rows}
    ratio, low, high, count = rows["stories", "full loss, equal parameters"]
    by_arm = [
        np.mean([one["metrics"]["document_nats"] for one in found.records if one["config"]["change"] == value], axis=0)
        for value in (level("stories", "encoder-decoder"), level("stories", "full loss", "parameters"))
    ]
    assert ratio == pytest.approx(math.exp((by_arm[0] - by_arm[1]).sum() / sum(TOKENS)), rel=1e-3)
    assert low < ratio < high
    assert count == len(TOKENS)


def test_a_table_of_runs_is_judged_again_with_its_long_lists_and_without(tmp_path, monkeypatch):
    """Documents' losses and curves stand beside the table; what a corpus lacks is none, whatever the others."""
    monkeypatch.setitem(globals(), "TOKENS", TOKENS * 5)

    def law(config):
        bare = LEVELS[config["change"]][0] == "docstrings"
        return the_brief(config) | ({"facts": None} if bare else {}) | {"skill": None}

    found = judged(law)
    asked = (ROOT / "experiments" / "text_raw.yaml").read_text(encoding="utf-8")
    runs = list(planned_of()[1].runs)
    ours = Source("text_raw", "text_raw-1", len(runs), asked, (), runs, found.records)
    write_table(tmp_path, ours, [factor.key for factor in TESTED.factors], found.selected)

    def again():
        source = of_table(tmp_path / RUNS, "text_raw")
        return source, analyse(TESTED, source.runs, source.records, "nats_per_document")

    source, read = again()
    assert source.whole
    assert [one["metrics"] for one in source.records] == [one["metrics"] for one in found.records]
    assert [one.verdict for one in read.verdicts] == [one.verdict for one in found.verdicts]
    assert [one.heading for one in more(read)] == [one.heading for one in more(found)]
    (tmp_path / LISTS).unlink()
    source, read = again()
    assert not source.whole
    assert [one.verdict for one in read.verdicts] == [one.verdict for one in found.verdicts]
    (told,) = more(read, source.whole)
    assert LISTS in told.parts[0].text
    with pytest.raises(LookupError):
        more(read)


def test_measures_are_of_their_corpora():
    config = {value: config_at(value) for value in LEVELS}
    by_name = {one.name: one for one in MEASURES}
    for value, (corpus, _) in LEVELS.items():
        for of in CORPORA:
            read = by_name[f"perplexity_{of}"].read(config[value], figures(nats=0.7)).value
            assert math.isnan(read) if of != corpus else read == 0.7
    own = config[level("stories", "encoder-decoder")]
    assert math.isnan(by_name["time"].read(own, figures(seconds_per_document=None)).value)
    assert by_name["empty"].read(own, figures()).value == 0.4
    assert math.isnan(by_name["empty"].read(config[level("stories", "full loss", "depth")], figures()).value)
    assert by_name["memory"].show(by_name["memory"].read(own, figures()).value) == pytest.approx(200)
