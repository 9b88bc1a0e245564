"""What a summary takes from its dialogue, tested by swaps: of what states a value, and of a decoy.

Attention says where a head looks; a swap says what the summary depends on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bestguess.batches import in_batches
from bestguess.text.attention.gold import FACTS, Gold, gold_of
from bestguess.text.errands.documents import BRINGER, FIRST, SECOND
from bestguess.text.errands.facts import ASKED, RIGHT, Judgement
from bestguess.text.errands.worlds import ITEM
from bestguess.text.evaluate import ModelPredictor
from bestguess.text.generation import GenerationConfig
from bestguess.text.model import TextModel
from bestguess.text.pairs import Pairs
from bestguess.text.task import About
from bestguess.text.tokens import PAD
from bestguess.text.written import write

SWAPPED = ("place", "day", "item", "bringer")
"""Facts that are swapped, of `gold.FACTS`."""
_SLOTS = {"place": 0, "day": 1, "item": 2}
_BATCH = 256
"""Changed dialogues whose summaries are predicted at once."""


class Swap(NamedTuple):
    """A changed dialogue, and what its summary is to be looked at for."""

    document: int
    fact: str
    decoy: bool
    """Whether what was changed settles nothing."""
    source: tuple[int, ...]
    """The dialogue as it is now."""
    place: int
    """Index of the target's token that states the fact."""
    old: int
    """The value that the dialogue settled before, as a token."""
    new: int
    """What it settles now; of a decoy, the value that was put in and is not to be named."""


def swaps_of(about: About, pairs: Pairs, seed: int = 0) -> list[Swap]:
    """Return the swaps of dialogues, at most one of the true value and one of a decoy for each fact.

    place, day, item: the token gets a value of its class that stands nowhere in the dialogue. A decoy is a mention of
    another value of the class, in chatter or proposed and then revised. bringer: the turn that decides it gets the
    wording in which the other one brings the same thing; its decoy is such a turn that was revised later.
    """
    assert about.known is not None
    rng = np.random.default_rng(seed)
    found: list[Swap] = []
    for i, gold in enumerate(gold_of(about, pairs)):
        source = pairs.source[i, : pairs.source_length[i]]
        for fact, slot in _SLOTS.items():
            found += _values(about, i, source, gold, fact, slot, rng)
    return found + _bringers(about, pairs)


def _values(about: About, i: int, source: np.ndarray, gold: Gold, fact: str, slot: int, rng) -> list[Swap]:
    assert about.known is not None
    assert gold.aligned is not None
    assert gold.fact is not None
    tokens = about.known.dialogue_oracle.reader.tokens[slot]
    places, free = np.flatnonzero(gold.fact == FACTS.index(fact)), np.setdiff1d(tokens, source)
    if not len(places) or not len(free):
        return []
    at = int(gold.aligned[places[0]])
    others = np.flatnonzero(np.isin(source, tokens) & (source != source[at]))
    swaps = []
    for decoy, where in [(False, at), *([(True, int(rng.choice(others)))] if len(others) else [])]:
        changed, new = source.copy(), int(rng.choice(free))
        changed[where] = new
        swaps.append(Swap(i, fact, decoy, tuple(changed.tolist()), int(places[0]), int(source[at]), new))
    return swaps


def _bringers(about: About, pairs: Pairs) -> list[Swap]:
    """Return the swaps of who brings the item."""
    assert about.known is not None
    oracle = about.known.dialogue_oracle
    reading, stage, token = (
        oracle.reader.read(pairs.source, pairs.source_length),
        oracle.dialogues.stage,
        about.known.token,
    )
    facts = oracle.facts(pairs).tokens
    found = []
    for i, gold in enumerate(gold_of(about, pairs)):
        assert gold.turn is not None
        assert gold.fact is not None
        source, row = pairs.source[i, : pairs.source_length[i]], reading.script.row[i]
        decides, people = int(reading.course.proposed[i, ITEM]), {int(facts[i, k]) for k in (FIRST, SECOND)}
        old = int(facts[i, BRINGER])
        (new,) = people - {old}
        places = np.flatnonzero(gold.fact == FACTS.index("bringer"))
        proposals = [t for t in np.flatnonzero(stage.slot[row] == ITEM) if row[t] >= 0]
        for t in dict.fromkeys([decides, *proposals[:1]]):
            said = row[t]
            ways = (stage.act == stage.act[said]) & (stage.slot == ITEM) & (stage.mine != stage.mine[said])
            if not ways.any():
                continue
            own = np.flatnonzero(gold.turn == t)
            thing = int(source[own[2 + stage.blank[said, ITEM]]])
            other = oracle.dialogues.rows[int(np.flatnonzero(ways)[0])].symbols
            turn = [thing if symbol == "{noun}" else token[symbol] for symbol in other]
            changed = [*source[: own[2]].tolist(), *turn, *source[own[-1] + 1 :].tolist()]
            if len(changed) <= pairs.source.shape[1]:
                found.append(Swap(i, "bringer", t != decides, tuple(changed), int(places[0]), old, new))
    return found


def swapped(pairs: Pairs, swaps: list[Swap]) -> Pairs:
    """Return the documents of the swaps, each with its source changed."""
    own = pairs[np.array([one.document for one in swaps])]
    source = np.full_like(own.source, PAD)
    for row, one in zip(source, swaps):
        row[: len(one.source)] = one.source
    length = np.array([len(one.source) for one in swaps], own.source_length.dtype)
    return Pairs(source, length, own.target, own.target_length)


def joined(first: Pairs, second: Pairs) -> Pairs:
    """Return the documents of both, of equal widths."""
    names = ("source", "source_length", "target", "target_length")
    return Pairs(*(np.concatenate([getattr(first, name), getattr(second, name)]) for name in names))


def causal_figures(
    about: About, model: TextModel, pairs: Pairs, config: GenerationConfig
) -> dict[str, dict[str, Any]] | None:
    """Return how far summaries follow a swap of the true value, and hold to it when a decoy is swapped, by fact.

    followed, held: fraction of the summaries that the model writes (by `config`) in which the fact is right: that of
    the changed dialogue, and no other. p_followed, p_held: the probability that the model gives it at its place in the
    dialogue's own summary, in the mean. unchanged: fraction right without a swap. None for documents without facts.
    """
    if about.known is None or about.known.task != "dialogue":
        return None
    swaps = swaps_of(about, pairs)
    changed = swapped(pairs, swaps)
    every = joined(pairs, changed)
    judged = about.known.judge(every, write(about, model, config, every, judge=False).tokens)
    assert isinstance(judged, Judgement)
    p = _probabilities(model, changed, swaps)
    found: dict[str, dict[str, Any]] = {}
    for fact in SWAPPED:
        right = judged.states[:, ASKED.index(fact)] == RIGHT
        own = [k for k, one in enumerate(swaps) if one.fact == fact]
        true, decoy = ([k for k in own if swaps[k].decoy == kind] for kind in (False, True))
        now = right[len(pairs) :]
        found[fact] = {
            "swaps": len(true),
            "followed": _mean([now[k] for k in true]),
            "p_followed": _mean([p[k] for k in true]),
            "decoys": len(decoy),
            "held": _mean([now[k] for k in decoy]),
            "p_held": _mean([p[k] for k in decoy]),
            "unchanged": _mean([right[swaps[k].document] for k in true]),
        }
    return found


def _wanted(one: Swap) -> int:
    return one.old if one.decoy else one.new


def _probabilities(model: TextModel, changed: Pairs, swaps: list[Swap]) -> np.ndarray:
    """Return the probability of the value that is right now, at its place in the summary."""
    found, predict = [], ModelPredictor(model)
    for places, count in in_batches(len(swaps), _BATCH):
        log_p = np.asarray(predict(changed[places]).logits)
        for k, i in enumerate(places[:count]):
            found.append(float(np.exp(log_p[k, swaps[i].place, _wanted(swaps[i])])))
    return np.array(found)


def _mean(values: list[Any]) -> float | None:
    return float(np.mean(values)) if values else None
