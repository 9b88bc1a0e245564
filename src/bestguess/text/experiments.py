"""What the experiment on raw text tests, as the head of its YAML states it. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bestguess.experiment.declare import (
    At,
    Contrast,
    Difference,
    Experiment,
    Factor,
    Hypothesis,
    Measure,
    Reading,
    Reference,
)
from bestguess.text.arms import ARMS, LAYERS, LITTLE, PAIRINGS, SAID, SMALL
from bestguess.text.attention.declared import ATTENTION
from bestguess.text.comparable import same_tokens
from bestguess.text.config import ERRANDS, TextConfig
from bestguess.text.counting import Pairing, paired
from bestguess.text.natural import NATURAL
from bestguess.text.scaling import SCALING
from bestguess.text.transfer import TRANSFER

# ------------------------------------------------------------------------------------------ arms

CORPORA = {
    "stories": "task.task=story",
    "midpoint": "task.task=story task.cut=midpoint task.training_documents=38400 model.positions=sinusoidal "
    "model.norm=layer model.bias=true",
    "dialogues": "task.task=dialogue",
    "docstrings": "task.corpus=docstrings train.steps=1500",
}
"""What sets a corpus apart. The midpoint is the brief's own arm: its cut, its design, 10 epochs of 38,400 documents."""
FROZEN = "frozen encoder"

# What text_raw_tuning selected on validation data; text_raw.yaml repeats it.
TUNED: dict[str, dict[str, tuple[float, float]]] = {
    ERRANDS: {
        "encoder-decoder": (0.001, 0.1),
        "full loss": (0.002, 0.0),
        "target loss": (0.001, 0.0),
        "prefix LM": (0.002, 0.1),
    },
    "docstrings": {
        "encoder-decoder": (0.004, 0.3),
        "full loss": (0.004, 0.3),
        "target loss": (0.004, 0.3),
        "prefix LM": (0.004, 0.3),
    },
}
"""Peak learning rate and dropout of each arm, on Errands and on natural text."""
UNTUNED = (0.001, 0.1)
"""Of all arms of the midpoint: equal hyperparameters, tuned for none."""


def level(corpus: str, arm: str, pairing: Pairing | None = None) -> str:
    """Return a run's level of `change`: corpus, arm, layers, learning rate and dropout.

    pairing: what a model without an encoder has in common with the encoder-decoder.
    """
    kind = "encoder-decoder" if arm == FROZEN else arm
    layers = LAYERS if pairing is None else paired(LAYERS, pairing).layers
    rate, dropout = UNTUNED if corpus == "midpoint" else TUNED.get(corpus, TUNED[ERRANDS])[kind]
    frozen = " objective.freeze_encoder=true" if arm == FROZEN else ""
    tuned = f"train.learning_rate={rate:g} model.dropout={dropout:g}"
    return f"{CORPORA[corpus]} {ARMS[kind]}{frozen} model.layers={layers} {tuned}"


def _levels() -> dict[str, tuple[str, str]]:
    """Return (corpus, arm in words) by level, in the order of the YAML."""
    full = [("full loss", pairing) for pairing in PAIRINGS]
    some: list[tuple[str, Pairing]] = [("target loss", "parameters"), ("prefix LM", "parameters")]
    every = [(arm, pairing) for arm in ("full loss", "target loss", "prefix LM") for pairing in PAIRINGS]
    chosen: dict[str, list[tuple[str, Pairing | None]]] = {
        "stories": [("encoder-decoder", None), (FROZEN, None), *every],
        "midpoint": [("encoder-decoder", None), ("full loss", "parameters"), ("full loss", "depth")],
        "dialogues": [("encoder-decoder", None), *full, *some],
        "docstrings": [("encoder-decoder", None), *full, *some],
    }
    return {
        level(corpus, arm, pairing): (corpus, arm if pairing is None else f"{arm}, {SAID[pairing]}")
        for corpus, arms in chosen.items()
        for arm, pairing in arms
    }


LEVELS = _levels()
"""Levels of `change`: the corpus and the arm of each, in words."""
ARM = Factor("change", "arm", label=lambda value: ": ".join(LEVELS[value]) if value in LEVELS else value)

DROPOUTS = {"stories": (0.0, 0.1), "docstrings": (0.1, 0.3)}
"""Dropout rates that are tried in tuning, by corpus."""


def tuning_levels() -> list[str]:
    """Return the levels of `change` of the search for rate and dropout: every arm at equal parameters."""
    layers = {arm: LAYERS if arm == "encoder-decoder" else paired(LAYERS, "parameters").layers for arm in ARMS}
    return [
        f"{CORPORA[corpus]} {ARMS[arm]} model.layers={layers[arm]} model.dropout={dropout:g}"
        for corpus, dropouts in DROPOUTS.items()
        for arm in ARMS
        for dropout in dropouts
    ]


# ------------------------------------------------------------------------------------------ measures

Read = Callable[[Mapping[str, Any]], float | None]


def corpus_of(config: TextConfig) -> str:
    """Return which of `CORPORA` a run is about."""
    if config.task.corpus != ERRANDS:
        return "docstrings"
    if config.task.task == "dialogue":
        return "dialogues"
    return "midpoint" if config.task.cut == "midpoint" else "stories"


def _of(read: Read, *corpora: str) -> Callable[[TextConfig, Mapping[str, Any]], Reading]:
    """Return what reads a figure of these corpora; of others, and where it was not measured, there is none (NaN)."""

    def reading(config: TextConfig, figures: Mapping[str, Any]) -> Reading:
        value = read(figures) if corpus_of(config) in corpora else None
        return Reading(math.nan if value is None else value)

    return reading


def _ln(name: str) -> Read:
    return lambda figures: None if figures[name] is None else math.log(figures[name])


def _plain(value: Any) -> Any:
    return value


def _milliseconds(value: Any) -> Any:
    return 1e3 * np.exp(value)


def _megabytes(value: Any) -> Any:
    return np.exp(value) / 1e6


def _perplexity(corpus: str) -> Measure:
    read = _of(lambda figures: figures["nats_per_token"], corpus)
    axis = f"{corpus}: perplexity per token of the target"
    name, label, floor = (
        f"perplexity_{corpus}",
        f"perplexity, {corpus}",
        Reference("the grammar itself", _floor(corpus)),
    )
    return Measure(name, label, "ln", read, corpus, axis, np.exp, log=True, references=(floor,))


def _floor(corpus: str) -> Callable[[TextConfig, Mapping[str, Any]], float]:
    """What reads the best possible loss per token; NaN where it is not known."""

    def read(config: TextConfig, figures: Mapping[str, Any]) -> float:
        floor = figures["floor_per_document"]
        if floor is None or corpus_of(config) != corpus:
            return math.nan
        return floor * figures["documents"] / figures["tokens"]

    return read


def _source(name: str, label: str) -> Measure:
    """The rise of the loss, of models with an encoder and of those with as many parameters."""
    layers = paired(LAYERS, "parameters").layers

    def read(config: TextConfig, figures: Mapping[str, Any]) -> Reading:
        shown = config.model.architecture == "encoder-decoder" or config.model.layers == layers
        value = figures["source"][name] if shown else None
        return Reading(math.nan if value is None else value)

    axis = f"rise of the loss with {label} (nats per token)"
    return Measure(name, f"rise of the loss with {label}", "nats per token", read, name, axis, _plain)


def _cost(name: str, figure: str, label: str, axis: str, show: Callable[[Any], Any], exact: bool) -> Measure:
    read = _of(_ln(figure), "stories", "midpoint")
    return Measure(name, label, "ln", read, name, axis, show, log=True, exact=exact)


MEASURES = (
    *(_perplexity(corpus) for corpus in CORPORA),
    Measure(
        "bits",
        "bits per byte, docstrings",
        "ln",
        _of(_ln("bits_per_byte"), "docstrings"),
        "bits",
        "docstrings: bits per byte",
        np.exp,
        log=True,
    ),
    Measure(
        "learnt",
        "best constant's loss less the model's",
        "nats per token",
        _of(lambda figures: figures["constant_nats_per_token"] - figures["nats_per_token"], "midpoint", "docstrings"),
        "learnt",
        "best constant's loss less the model's (nats per token)",
        _plain,
    ),
    _cost(
        "time", "seconds_per_document", "training time", "training time of a document (ms)", _milliseconds, exact=False
    ),
    _cost("memory", "peak_bytes", "peak memory", "peak memory of a run (MB)", _megabytes, exact=True),
    _cost("flops", "flops_per_document", "training FLOPs", "training FLOPs of a document", np.exp, exact=True),
    Measure(
        "utilisation",
        "token utilisation",
        "of tokens",
        _of(lambda figures: figures["utilisation"], "stories", "midpoint"),
        "utilisation",
        "targets learnt from, of the tokens processed",
        _plain,
        exact=True,
    ),
    _source("shuffled", "another document's source"),
    _source("empty", "an empty source"),
    Measure(
        "statements",
        "true statements, stories",
        "fraction",
        _of(lambda figures: figures["facts"]["statements"], "stories"),
        "statements",
        "stories: statements generated that are true",
        _plain,
    ),
    Measure(
        "repeated",
        "repeated 4-grams, docstrings",
        "fraction",
        _of(lambda figures: figures["generated"]["repeated_4"], "docstrings"),
        "repeated",
        "docstrings: 4-grams generated that repeat",
        _plain,
    ),
)


# ------------------------------------------------------------------------------------------ hypotheses

NOT_WORSE = math.log(1.01)
"""Margin of a claim of not being worse: 1 % of the perplexity."""


def _against(corpus: str, pairing: Pairing) -> Contrast:
    """The encoder-decoder less the decoder-only model with the full loss."""
    return {"change": Difference(level(corpus, "encoder-decoder"), level(corpus, "full loss", pairing))}


_WHERE: tuple[tuple[str, Pairing], ...] = (("midpoint", "depth"), *(("stories", one) for one in PAIRINGS))
"""Where the brief's ratios are tested: its own arm, and the three pairings with a cut that tells no length."""


def _told(corpus: str, pairing: Pairing) -> str:
    return "the brief's own arm" if corpus == "midpoint" else f"{corpus}, {SAID[pairing]}"


def _ratio(name: str, what: str, low: float, high: float, measure: str) -> list[Hypothesis]:
    """Return the claims that the encoder-decoder has `low` to `high` times a measure, wherever the brief says it."""
    where = [*_WHERE, *((("docstrings", "parameters"),) if measure == "perplexity" else ())]
    return [
        Hypothesis(
            f"{name}{'abcde'[i]}",
            f"{what} {low:g}–{high:g} times: {_told(corpus, pairing)}.",
            _against(corpus, pairing),
            "",
            (f"perplexity_{corpus}" if measure == "perplexity" else measure,),
            between=(math.log(low), math.log(high)),
        )
        for i, (corpus, pairing) in enumerate(where)
    ]


def _worse() -> list[Hypothesis]:
    where = [*_WHERE, *(("docstrings", one) for one in PAIRINGS)]
    return [
        Hypothesis(
            f"H5{'abcdefg'[i]}",
            f"Decoder-only wins: {_told(corpus, pairing)}.",
            _against(corpus, pairing),
            "",
            ("bits" if corpus == "docstrings" else f"perplexity_{corpus}",),
        )
        for i, (corpus, pairing) in enumerate(where)
    ]


def _at(corpus: str) -> Contrast:
    return {"change": At(level(corpus, "encoder-decoder"))}


_CLAIMS = (
    *_ratio("H1", "Perplexity", 2.0, 3.0, "perplexity"),
    *_ratio("H2", "An epoch", 1.5, 2.0, "time"),
    *_ratio("H3", "Memory", 1.3, 1.5, "memory"),
    Hypothesis(
        "H4", "Half of the tokens are learnt from.", _at("midpoint"), "", ("utilisation",), between=(0.45, 0.55)
    ),
    *_worse(),
    Hypothesis("H6a", "Another's source changes little.", _at("stories"), "", ("shuffled",), between=(-LITTLE, LITTLE)),
    Hypothesis("H6b", "An empty source changes little.", _at("stories"), "", ("empty",), between=(-LITTLE, LITTLE)),
    Hypothesis(
        "H6c",
        "A frozen encoder changes little.",
        {"change": Difference(level("stories", FROZEN), level("stories", "encoder-decoder"))},
        "",
        ("perplexity_stories",),
        between=(-LITTLE, LITTLE),
    ),
    Hypothesis("H7a", "Training works: the brief's own arm.", _at("midpoint"), "", ("learnt",)),
    Hypothesis("H7b", "Training works: docstrings.", _at("docstrings"), "", ("learnt",)),
    Hypothesis(
        "H8a",
        "Less of what it writes is true: stories.",
        _against("stories", "parameters"),
        "",
        ("statements",),
        direction=-1,
    ),
    Hypothesis("H8b", "It repeats itself more: docstrings.", _against("docstrings", "parameters"), "", ("repeated",)),
    *(
        Hypothesis(
            f"H9{'abc'[i]}",
            f"Not worse in summaries: {SAID[pairing]}.",
            _against("dialogues", pairing),
            "",
            ("perplexity_dialogues",),
            direction=-1,
            beyond=NOT_WORSE,
        )
        for i, pairing in enumerate(PAIRINGS)
    ),
    *(
        Hypothesis(
            f"H10{'ab'[i]}",
            f"The full loss beats the target's: {corpus}.",
            {
                "change": Difference(
                    level(corpus, "target loss", "parameters"), level(corpus, "full loss", "parameters")
                )
            },
            "",
            (f"perplexity_{corpus}",),
        )
        for i, corpus in enumerate(("stories", "docstrings"))
    ),
)

HYPOTHESES = tuple(dataclasses.replace(one, shown=one.decides) for one in _CLAIMS)
"""Each is about one measure alone: what the others come to, another hypothesis says."""

EXPERIMENTS = {
    "text_attention": ATTENTION,
    "text_raw": Experiment(
        title="Encoder-decoder and decoder-only on raw text",
        question="By how much is an encoder-decoder worse than a decoder-only model on raw text that is cut in two, at "
        "equal information, and what does it cost?",
        factors=(ARM,),
        measures=MEASURES,
        hypotheses=HYPOTHESES,
        small=(
            "train.first_seed=0,1",
            f"then=task.world=tiny {SMALL}",
        ),
        tuned=False,
        comparable=same_tokens({value: corpus for value, (corpus, _) in LEVELS.items()}),
        more="bestguess.text.raw:sections",
    ),
    "text_natural": NATURAL,
    "text_scaling": SCALING,
    "text_transfer": TRANSFER,
}
