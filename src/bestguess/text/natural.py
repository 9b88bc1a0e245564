"""What the experiment on much natural text tests, as the head of its YAML states it. Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bestguess.experiment.declare import At, Contrast, Difference, Experiment, Factor, Hypothesis, Measure, Reading
from bestguess.text.arms import ARMS, LAYERS, LITTLE, PAIRINGS, SAID, SMALL
from bestguess.text.comparable import same_tokens
from bestguess.text.config import TextConfig
from bestguess.text.counting import Pairing, paired

CORPUS = "proposals"
"""What the corpus is called; its files lie in data/proposals."""
FIRST = "encoder-decoder"


def level(pairing: Pairing | None = None) -> str:
    """Return a run's level of `change`: the encoder-decoder, or the full loss at a pairing."""
    arm, layers = (FIRST, LAYERS) if pairing is None else ("full loss", paired(LAYERS, pairing).layers)
    return f"{ARMS[arm]} model.layers={layers}"


LEVELS = {level(): (CORPUS, FIRST)} | {level(one): (CORPUS, f"full loss, {SAID[one]}") for one in PAIRINGS}
"""Corpus and arm, in words, by level of `change`, in the order of the YAML."""


def _read(read: Callable[[Mapping[str, Any]], float]) -> Callable[[TextConfig, Mapping[str, Any]], Reading]:
    return lambda config, figures: Reading(read(figures))


def _ln(name: str, label: str, axis: str, read: Callable[[Mapping[str, Any]], float]) -> Measure:
    return Measure(name, label, "ln", _read(read), name, axis, np.exp, log=True)


def _nats(name: str, label: str, read: Callable[[Mapping[str, Any]], float]) -> Measure:
    return Measure(name, label, "nats per token", _read(read), name, f"{label} (nats per token)", lambda value: value)


def _rise(name: str, label: str) -> Measure:
    return _nats(f"source_{name}", f"rise of the loss with {label}", lambda figures: figures["source"][name])


MEASURES = (
    _ln("perplexity", "perplexity", "perplexity per token of the target", lambda figures: figures["nats_per_token"]),
    _ln("bits_per_byte", "bits per byte", "bits per byte", lambda figures: math.log(figures["bits_per_byte"])),
    _nats(
        "learnt",
        "best constant's loss less the model's",
        lambda figures: figures["constant_nats_per_token"] - figures["nats_per_token"],
    ),
    *(_rise(name, label) for name, label in (("shuffled", "another paragraph's source"), ("empty", "an empty source"))),
)


def _against(pairing: Pairing) -> Contrast:
    """The encoder-decoder less the decoder-only model."""
    return {"change": Difference(level(), level(pairing))}


_ITSELF: Contrast = {"change": At(level())}

HYPOTHESES = (
    *(
        Hypothesis(
            f"H1{letter}",
            f"Perplexity 2–3 times: {SAID[pairing]}.",
            _against(pairing),
            "",
            ("perplexity",),
            between=(math.log(2), math.log(3)),
        )
        for letter, pairing in zip("abc", PAIRINGS)
    ),
    *(
        Hypothesis(f"H2{letter}", f"Decoder-only wins: {SAID[pairing]}.", _against(pairing), "", ("bits_per_byte",))
        for letter, pairing in zip("abc", PAIRINGS)
    ),
    Hypothesis("H3", "Training works.", _ITSELF, "", ("learnt",)),
    Hypothesis("H4a", "Another's source changes little.", _ITSELF, "", ("source_shuffled",), between=(-LITTLE, LITTLE)),
    Hypothesis("H4b", "An empty source changes little.", _ITSELF, "", ("source_empty",), between=(-LITTLE, LITTLE)),
)

NATURAL = Experiment(
    title="Encoder-decoder and decoder-only on much natural text",
    question="By how much is an encoder-decoder worse than a decoder-only model on natural text of which there is "
    "enough, cut in two, at equal information?",
    factors=(Factor("change", "arm", label=lambda value: LEVELS[value][1] if value in LEVELS else value),),
    measures=MEASURES,
    hypotheses=HYPOTHESES,
    small=(
        "train.first_seed=0,1",
        f"then={SMALL}",
    ),
    tuned=False,
    comparable=same_tokens({value: corpus for value, (corpus, _) in LEVELS.items()}),
    more="bestguess.text.raw:sections",
)
