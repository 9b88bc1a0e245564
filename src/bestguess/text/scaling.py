"""What the experiment on the size of a model tests, as the head of its YAML states it. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from bestguess.experiment.declare import (
    At,
    Contrast,
    Curvature,
    Difference,
    Experiment,
    Factor,
    Hypothesis,
    Measure,
    Reading,
    Reference,
    Slope,
)
from bestguess.text.comparable import same_tokens
from bestguess.text.config import ERRANDS, TextConfig
from bestguess.text.counting import encoder_decoder_parameters
from bestguess.text.metrics import ROUGE


class Shape(NamedTuple):
    """An encoder-decoder's layers on either side, width and heads."""

    layers: int
    d_model: int
    heads: int

    @property
    def nearly(self) -> int:
        """Parameters of the matrices and of a vocabulary of 1,024 tokens; biases and norms add 1 % or less."""
        return encoder_decoder_parameters(self.layers, self.d_model) + 1024 * self.d_model


CLAIMED = {"tiny": 500_000, "small": 2_000_000, "medium": 15_000_000, "large": 50_000_000}
"""Parameters that the brief states of its shapes."""
BRIEF = {"tiny": Shape(2, 128, 4), "small": Shape(4, 256, 8), "medium": Shape(6, 512, 8), "large": Shape(8, 768, 12)}
"""The brief's shapes, as they stand."""
LADDER = {"tiny": Shape(2, 88, 4), "small": Shape(4, 128, 8), "medium": Shape(6, 288, 8), "large": Shape(8, 480, 12)}
"""The same layers and heads, with the widths that have the parameters which the brief states."""
SHAPES = {f"{name}, as drawn": shape for name, shape in BRIEF.items()} | {
    f"{name}, as counted": shape for name, shape in LADDER.items()
}

TASKS = {
    "errands": "task.task=dialogue",
    "files": "task.corpus=data/mts_dialog task.max_source=512 task.max_target=256 generation.max_tokens=256 "
    "model.dropout=0.3 train.steps=1500 train.batch_size=32 train.warmup_steps=150 train.validate_every=50 "
    "train.validation_sequences=100",
}
"""What sets the corpora apart: generated dialogues whose oracle is known, and files of dialogues with summaries."""


def level(task: str, shape: str) -> str:
    """Return a run's level of `change`: corpus and shape."""
    return f"{TASKS[task]} {_sized(SHAPES[shape])}"


def _sized(shape: Shape) -> str:
    layers, width, heads = shape
    return f"model.layers={layers} model.d_model={width} model.heads={heads} model.d_ff={4 * width}"


LEVELS = {level(task, shape): (task, shape) for task in TASKS for shape in SHAPES}
"""Corpus and shape of each level of `change`."""


def _position(value: str) -> float:
    _, shape = LEVELS[value]
    return math.log(SHAPES[shape].nearly)


SIZE = Factor(
    "change",
    "ln parameters",
    position=_position,
    label=lambda value: ": ".join(LEVELS[value]) if value in LEVELS else value,
    named=True,
)

# ------------------------------------------------------------------------------------------ measures


def corpus_of(config: TextConfig) -> str:
    """Return which of `TASKS` a run is about."""
    return "errands" if config.task.corpus == ERRANDS else "files"


def _on(task: str, read: Callable[[Mapping[str, Any]], float | None]):
    """Return what reads a figure of one corpus; of the other there is none (NaN)."""

    def reading(config: TextConfig, figures: Mapping[str, Any]) -> Reading:
        value = read(figures) if corpus_of(config) == task else None
        return Reading(math.nan if value is None else value)

    return reading


_NAMED = {(shape.d_model, shape.heads): name for own in (BRIEF, LADDER) for name, shape in own.items()}


def _claimed(config: TextConfig, figures: Mapping[str, Any]) -> Reading:
    """ln of the parameters over those that the brief states of the shape."""
    name = _NAMED[config.model.d_model, config.model.heads]
    return Reading(math.log(figures["parameters"] / CLAIMED[name]) if corpus_of(config) == "files" else math.nan)


def _plain(value: Any) -> Any:
    return value


def _percent(value: Any) -> Any:
    return 100 * value


def _rouge(name: str) -> Measure:
    def baseline(config: TextConfig, figures: Mapping[str, Any]) -> float:
        return figures["rouge"]["baseline"][name] if corpus_of(config) == "files" else math.nan

    read, told = _on("files", lambda figures: figures["rouge"][name]), ROUGE[name]
    beside = (Reference("the most frequent summary", baseline),)
    return Measure(
        name, f"{told} F, files", "of 1", read, "rouge", f"files: {told}, F (%)", _percent, references=beside
    )


def _over_baseline(figures: Mapping[str, Any]) -> float:
    return figures["rouge"]["rougeL"] - figures["rouge"]["baseline"]["rougeL"]


def _seconds(figures: Mapping[str, Any]) -> float | None:
    each = figures["seconds_per_document"]
    return None if each is None else math.log(each)


MEASURES = (
    Measure(
        "regret",
        "regret, errands",
        "ln",
        _on("errands", lambda figures: math.log(max(figures["regret_per_document"], 1e-9))),
        "regret",
        "errands: regret (nats per summary)",
        np.exp,
        log=True,
    ),
    Measure(
        "loss",
        "loss, files",
        "nats per token",
        _on("files", lambda figures: figures["nats_per_token"]),
        "loss",
        "files: loss (nats per token of the summary)",
        _plain,
    ),
    *(_rouge(name) for name in ("rougeL", "rouge1", "rouge2", "rougeLsum")),
    Measure(
        "over_baseline",
        "ROUGE-L over the most frequent summary's",
        "of 1",
        _on("files", _over_baseline),
        "over_baseline",
        "files: ROUGE-L less the most frequent summary's (%)",
        _percent,
    ),
    Measure(
        "time",
        "training time, errands",
        "ln",
        _on("errands", _seconds),
        "time",
        "errands: training time of a document (ms)",
        lambda value: 1e3 * np.exp(value),
        log=True,
    ),
    Measure(
        "parameters",
        "parameters over those stated",
        "ln",
        _claimed,
        "parameters",
        "parameters over those that the brief states",
        np.exp,
        log=True,
        exact=True,
    ),
)

# ------------------------------------------------------------------------------------------ hypotheses

STATED = math.log(1.25)
"""What counts as the number stated: a quarter more or less."""
LITTLE = 0.01
"""Nats per token that a doubling gains where returns have diminished: 1 % of the perplexity."""


def _over(task: str) -> tuple[str, ...]:
    return tuple(level(task, shape) for shape in SHAPES)


def _step(task: str, larger: str, smaller: str) -> Contrast:
    return {"change": Difference(level(task, f"{larger}, as drawn"), level(task, f"{smaller}, as drawn"))}


_NAMES = tuple(CLAIMED)
_CLAIMS = (
    *(
        Hypothesis(
            f"H1{'abcd'[i]}",
            f"The brief's {name} shape has about the parameters stated.",
            {"change": At(level("files", f"{name}, as drawn"))},
            "",
            ("parameters",),
            between=(-STATED, STATED),
        )
        for i, name in enumerate(_NAMES)
    ),
    Hypothesis(
        "H2a", "Larger is better: errands.", {"change": Slope(_over("errands"))}, "per ln", ("regret",), direction=-1
    ),
    Hypothesis(
        "H2b", "Larger is better: files, loss.", {"change": Slope(_over("files"))}, "per ln", ("loss",), direction=-1
    ),
    Hypothesis("H2c", "Larger is better: files, ROUGE-L.", {"change": Slope(_over("files"))}, "per ln", ("rougeL",)),
    Hypothesis("H3a", "Returns diminish: errands.", {"change": Curvature(_over("errands"))}, "per ln²", ("regret",)),
    Hypothesis("H3b", "Returns diminish: files.", {"change": Curvature(_over("files"))}, "per ln²", ("loss",)),
    Hypothesis(
        "H3c",
        "Large gains little on medium: files.",
        _step("files", "large", "medium"),
        "",
        ("loss",),
        between=(-5 * LITTLE, 5 * LITTLE),
    ),
    *(
        Hypothesis(
            f"H4{'abc'[i]}",
            f"The {larger} shape takes longer than the {smaller}.",
            _step("errands", larger, smaller),
            "",
            ("time",),
        )
        for i, (smaller, larger) in enumerate(itertools.pairwise(_NAMES))
    ),
    *(
        Hypothesis(
            f"H5{'abcd'[i]}",
            f"The {name} shape beats the most frequent summary.",
            {"change": At(level("files", f"{name}, as drawn"))},
            "",
            ("over_baseline",),
        )
        for i, name in enumerate(_NAMES)
    ),
)

_BESIDE = {"rougeL": ("rouge1", "rouge2", "rougeLsum")}
HYPOTHESES = tuple(
    dataclasses.replace(one, shown=(*one.decides, *(other for name in one.decides for other in _BESIDE.get(name, ()))))
    for one in _CLAIMS
)
"""Each with its own measure; of ROUGE-L the others of its kind stand beside it."""

SCALING = Experiment(
    title="Size of an encoder-decoder, on dialogues with summaries",
    question="How do the regret, the loss and the quality of summaries depend on the number of parameters, and where "
    "do returns diminish?",
    factors=(SIZE,),
    measures=MEASURES,
    hypotheses=HYPOTHESES,
    small=(
        "train.first_seed=0,1",
        "train.learning_rate=0.001,0.004",
        "then=task.world=tiny model.layers=1 model.dtype=float32 train.steps=8 train.warmup_steps=2 "
        "train.validate_every=4 train.batch_size=4 train.validation_sequences=8 test_documents=16 generated=8 "
        "generation.max_tokens=16",
    ),
    comparable=same_tokens({value: task for value, (task, _) in LEVELS.items()}),
    more="bestguess.text.scaling_page:sections",
)
