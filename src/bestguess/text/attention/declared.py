"""What the experiment on attention tests, as the head of its YAML states it. Imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from bestguess.experiment.declare import At, Contrast, Difference, Experiment, Factor, Hypothesis, Measure, Reading

LEVELS = {
    "task.task=dialogue model.architecture=encoder-decoder": "dialogues, encoder-decoder",
    "task.task=story model.architecture=encoder-decoder": "stories, encoder-decoder",
    "task.task=dialogue model.architecture=decoder-only": "dialogues, decoder-only",
    "task.task=story model.architecture=decoder-only": "stories, decoder-only",
}
"""Levels of `change`, in words."""
DIALOGUES, STORIES, DIALOGUES_ALONE, STORIES_ALONE = LEVELS
ARM = Factor("change", "arm", label=lambda value: LEVELS.get(value, value))
FACTS = ("place", "day", "item", "bringer")
"""Facts whose swap is tested."""

TWICE = math.log(2)
HALF = 0.5
"""Of the weight."""
CLEARLY = 0.05
"""Of the weight: what counts as clustering that one can see."""
QUARTER_MORE = math.log(1.25)
NEARLY_UNIFORM = 0.9
"""Of uniform attention's entropy."""
NOTHING = 0.01
"""Of the weight: what counts as none."""
SURE = 0.95
"""Probability."""

Read = Callable[[Mapping[str, Any]], float | None]


def _of(read: Read) -> Callable[[Any, Mapping[str, Any]], Reading | None]:
    """Return what reads a figure of a run's attention; of runs that it does not apply to, there is none (NaN)."""

    def reading(config: Any, figures: Mapping[str, Any]) -> Reading | None:
        if "attention" not in figures:
            return None
        value = read(figures["attention"])
        return Reading(math.nan if value is None else value)

    return reading


def _plain(value: Any) -> Any:
    return value


def _mean(kind: str, name: str) -> Read:
    return lambda found: found["mean"][kind].get(name)


def _best(name: str) -> Read:
    return lambda found: found["best"][name]["value"] if name in found["best"] else None


def _fact(name: str, fact: str) -> Read:
    return lambda found: found["facts"].get(fact, {}).get(name)


def _causal(name: str, fact: str) -> Read:
    return lambda found: None if found["causal"] is None else found["causal"][fact][name]


def _lift(found: Mapping[str, Any]) -> float | None:
    mass, uniform = (_mean("cross", name)(found) for name in ("gold_turn_mass", "gold_turn_uniform"))
    return None if mass is None or uniform is None else math.log(mass / uniform)


def _related(found: Mapping[str, Any]) -> float | None:
    value = _best("related")(found)
    return None if value is None else math.log(value)


def _gap(fact: str) -> Read:
    def read(found: Mapping[str, Any]) -> float | None:
        p, weight = _causal("p_followed", fact)(found), _fact("gold_token_mass", fact)(found)
        return None if p is None or weight is None else p - weight

    return read


def _slope(found: Mapping[str, Any]) -> float | None:
    return None if found["fading"] is None else found["fading"]["slope"]


def _measure(name: str, label: str, unit: str, read: Read, group: str, axis: str) -> Measure:
    return Measure(name, label, unit, _of(read), group, axis, _plain)


_WITHIN = "own turn less that of permuted turns"
MEASURES = (
    _measure("lift", "turn that states it, all heads", "ln", _lift, "lift", "weight on the turn over uniform (ln)"),
    _measure("turn", "turn that states it, best head", "of weight", _best("gold_turn_mass"), "turn", "on the turn"),
    _measure("within", "own turn, all heads", "of weight", _mean("encoder", "within_turn"), "within", _WITHIN),
    _measure("within_best", "own turn, best head", "of weight", _best("within_turn"), "within_best", _WITHIN),
    _measure("related", "same slot, best head", "ln", _related, "related", "same slot over permuted (ln)"),
    _measure(
        "evenness", "evenness of cross-attention", "of uniform", _mean("cross", "evenness"), "evenness",
        "entropy over uniform attention's",
    ),
    *(
        _measure(
            f"followed_{fact}", f"swap followed: {fact}", "probability", _causal("p_followed", fact),
            f"followed_{fact}", f"{fact}: p of the new value",
        )
        for fact in FACTS
    ),
    *(
        _measure(
            f"held_{fact}", f"swap of a decoy withstood: {fact}", "probability", _causal("p_held", fact),
            f"held_{fact}", f"{fact}: p of the true value",
        )
        for fact in FACTS
    ),
    *(
        _measure(
            f"gap_{fact}", f"swap followed less weight: {fact}", "", _gap(fact), f"gap_{fact}",
            f"{fact}: p of the new value less weight",
        )
        for fact in FACTS
    ),
    _measure("fading", "weight on the source over uniform", "ratio", _slope, "fading", "slope of the ratio per token"),
)  # fmt: skip

_HERE: Contrast = {"change": At(DIALOGUES)}


def _each(name: str, claim: str, measure: str, beyond: float) -> list[Hypothesis]:
    return [
        Hypothesis(f"{name}{'abcd'[i]}", f"{claim}: {fact}.", _HERE, "", (f"{measure}_{fact}",), beyond=beyond)
        for i, fact in enumerate(FACTS)
    ]


HYPOTHESES = (
    Hypothesis("H1a", "Relevant turns have twice their share.", _HERE, "", ("lift",), beyond=TWICE),
    Hypothesis("H1b", "The best head reads the relevant turn.", _HERE, "", ("turn",), beyond=HALF),
    Hypothesis("H2a", "Tokens of a turn read one another.", _HERE, "", ("within",)),
    Hypothesis("H2b", "The best head shows the turns.", _HERE, "", ("within_best",), beyond=CLEARLY),
    Hypothesis("H2c", "Turns about one thing read one another.", _HERE, "", ("related",), beyond=QUARTER_MORE),
    Hypothesis("H3a", "More diffuse on raw text.", {"change": Difference(STORIES, DIALOGUES)}, "", ("evenness",)),
    Hypothesis("H3b", "Nearly uniform on raw text.", {"change": At(STORIES)}, "", ("evenness",), beyond=NEARLY_UNIFORM),
    Hypothesis(
        "H3c", "No sentences in raw text.", {"change": At(STORIES)}, "", ("within",), between=(-NOTHING, NOTHING)
    ),
    *_each("H4", "Attention is not alignment", "gap", HALF),
    *_each("H5", "The summary follows the value", "followed", SURE),
    *_each("H6", "A decoy changes nothing", "held", SURE),
    Hypothesis(
        "H7a", "Attention leaves the dialogue.", {"change": At(DIALOGUES_ALONE)}, "per token", ("fading",), direction=-1
    ),
    Hypothesis(
        "H7b", "Attention leaves the story.", {"change": At(STORIES_ALONE)}, "per token", ("fading",), direction=-1
    ),
)

ATTENTION = Experiment(
    title="What attention shows of dialogues and of raw text",
    question="Does attention point at what a summary says, does the encoder group what belongs together, and is either "
    "less so on raw text that is cut in two?",
    factors=(ARM,),
    measures=MEASURES,
    hypotheses=HYPOTHESES,
    small=(
        "train.first_seed=1,2",
        "then=task.world=tiny model.layers=1 model.d_model=16 model.heads=2 train.steps=60 train.warmup_steps=10 "
        "train.validate_every=20 train.batch_size=8 train.validation_sequences=32 test_documents=32 generated=8 "
        "attention_documents=24",
    ),
    tuned=False,
    more="bestguess.text.attention.sections:sections",
)
