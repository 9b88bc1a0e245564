"""What the experiment on transfer tests, as the head of its YAML states it. Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bestguess.experiment.declare import Contrast, Difference, Experiment, Factor, Hypothesis, Measure, Reading
from bestguess.text.comparable import same_tokens
from bestguess.text.config import ERRANDS, TextConfig

LAYERS = 6
PAIRS = (100, 1_000, 10_000)
"""Training pairs of Errands."""
STEPS, BATCH = 1_500, 32
"""Of a fine-tuning."""
PRETRAINED = 3_000 * 128
"""Documents of a pretraining."""

TASKS = {
    **{f"{pairs:,} pairs": f"task.task=dialogue task.training_documents={pairs}" for pairs in PAIRS},
    "files": "task.corpus=data/mts_dialog task.max_source=512 task.max_target=256 generation.max_tokens=256 "
    "train.validation_sequences=100",
}
"""What sets the corpora apart: so many generated dialogues with summaries, and files of such."""
EQUAL = {ERRANDS: 7_000, "files": 3_050}
"""Steps from scratch that take as many operations as pretraining and fine-tuning, by XLA's count."""

_TWO, _ONE = "model.architecture=encoder-decoder", "model.architecture=decoder-only"
ARMS = {
    "scratch": (_TWO, ""),
    "scratch, equal compute": (_TWO, ""),
    "converted": (_TWO, "-decoder-zero"),
    "converted, random encoder": (_TWO, "-random-zero"),
    "converted, drawn output": (_TWO, "-decoder-random"),
    "decoder-only, scratch": (_ONE, ""),
    "decoder-only, pretrained": (_ONE, "/"),
}
"""Architecture, and which form of the pretrained model an arm begins with: none, converted, or as it is."""
OF_FILES = ("scratch", "scratch, equal compute", "converted", "decoder-only, scratch", "decoder-only, pretrained")
"""Arms that are trained on files, too."""


def start(task: str, arm: str) -> str:
    """Return the folder of the weights that an arm begins with; "" for none."""
    form = ARMS[arm][1]
    base = "runs/transfer/" + ("docstrings" if task == "files" else "stories")
    return base + form.rstrip("/") if form else ""


def level(task: str, arm: str) -> str:
    """Return a run's level of `change`: corpus, arm and steps."""
    steps = EQUAL["files" if task == "files" else ERRANDS] if arm.endswith("equal compute") else STEPS
    begin = f" objective.start={start(task, arm)}" if start(task, arm) else ""
    dropout = " model.dropout=0.3" if task == "files" else ""
    return f"{TASKS[task]} {ARMS[arm][0]}{begin}{dropout} train.steps={steps}"


TUNED_ON = f"{PAIRS[1]:,} pairs"
"""What the search for the rates trains on."""


def tuning_levels() -> list[str]:
    """Return the levels of `change` of the search for the rate: every arm, with 1,000 pairs."""
    return [level(TUNED_ON, arm) for arm in ARMS]


LEVELS = {level(task, arm): (task, arm) for task in TASKS for arm in (OF_FILES if task == "files" else ARMS)}
"""Corpus and arm of each level of `change`."""


def searched(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the run of the search that tells a run's rate: its arm, with 1,000 pairs."""
    place = LEVELS.get(config["change"])
    return config if place is None else {**config, "change": level(TUNED_ON, place[1])}


ARM = Factor("change", "arm", label=lambda value: ": ".join(LEVELS[value]) if value in LEVELS else value)

# ------------------------------------------------------------------------------------------ measures


def corpus_of(config: TextConfig) -> str:
    """Return which of `TASKS` a run is about."""
    return f"{config.task.training_documents:,} pairs" if config.task.corpus == ERRANDS else "files"


def _on(tasks: tuple[str, ...], read: Callable[[Mapping[str, Any]], float | None]):
    """Return what reads a figure of some corpora; of others there is none (NaN)."""

    def reading(config: TextConfig, figures: Mapping[str, Any]) -> Reading:
        value = read(figures) if corpus_of(config) in tasks else None
        return Reading(math.nan if value is None else value)

    return reading


def _percent(value: Any) -> Any:
    return 100 * value


_ON_ERRANDS = tuple(task for task in TASKS if task != "files")
MEASURES = (
    Measure(
        "regret",
        "regret, errands",
        "ln",
        _on(_ON_ERRANDS, lambda figures: math.log(max(figures["regret_per_document"], 1e-9))),
        "regret",
        "errands: regret (nats per summary)",
        np.exp,
        log=True,
    ),
    Measure(
        "copied",
        "copied facts, errands",
        "fraction",
        _on(_ON_ERRANDS, lambda figures: figures["facts"]["copied"]),
        "copied",
        "errands: copied facts that are right (%)",
        _percent,
    ),
    Measure(
        "loss",
        "loss, files",
        "nats per token",
        _on(("files",), lambda figures: figures["nats_per_token"]),
        "loss",
        "files: loss (nats per token of the summary)",
        lambda value: value,
    ),
    Measure(
        "rougeL",
        "ROUGE-L F, files",
        "of 1",
        _on(("files",), lambda figures: figures["rouge"]["rougeL"]),
        "rougeL",
        "files: ROUGE-L, F (%)",
        _percent,
    ),
)

# ------------------------------------------------------------------------------------------ hypotheses


def _against(task: str, arm: str, other: str) -> Contrast:
    return {"change": Difference(level(task, arm), level(task, other))}


def _claims(name: str, claim: str, arm: str, other: str) -> list[Hypothesis]:
    """Return the claims that an arm loses less than another, on each corpus that has both."""
    there = [task for task in TASKS if task != "files" or {arm, other} <= set(OF_FILES)]
    return [
        Hypothesis(
            f"{name}{'abcd'[i]}",
            f"{claim}: {task}.",
            _against(task, arm, other),
            "",
            ("loss" if task == "files" else "regret",),
            direction=-1,
            shown=("loss", "rougeL") if task == "files" else ("regret", "copied"),
        )
        for i, task in enumerate(there)
    ]


HYPOTHESES = (
    *_claims("H1", "Pretraining helps", "converted", "scratch"),
    *_claims("H2", "Pretraining helps at equal compute", "converted", "scratch, equal compute"),
    *_claims("H3", "Pretraining helps a decoder-only model", "decoder-only, pretrained", "decoder-only, scratch"),
    *_claims("H4", "Converting beats fine-tuning as it is", "converted", "decoder-only, pretrained"),
    *_claims("H5", "A pretrained encoder beats a random one", "converted", "converted, random encoder"),
    *_claims("H6", "Cross-attention is better begun at zero", "converted", "converted, drawn output"),
)

TRANSFER = Experiment(
    title="Pretraining on raw text, fine-tuning on dialogues with summaries",
    question="Does a decoder-only model that was trained on raw text, and then given an encoder and cross-attention, "
    "need fewer pairs than one from scratch, at equal compute?",
    factors=(ARM,),
    measures=MEASURES,
    hypotheses=HYPOTHESES,
    small=(
        "train.first_seed=0,1",
        "train.learning_rate=0.001,0.004",
        "then=train.steps=20 train.warmup_steps=5 train.validate_every=10 train.batch_size=4 "
        "train.validation_sequences=16 test_documents=16 generated=8 generation.max_tokens=16 model.dtype=float32",
    ),
    searched=searched,
    comparable=same_tokens({value: task for value, (task, _) in LEVELS.items()}),
    more="bestguess.text.transfer_page:sections",
)
