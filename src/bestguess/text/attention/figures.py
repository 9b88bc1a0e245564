"""A model's attention in figures: every head's measures with their errors, the best heads, fading, swaps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from bestguess.text.attention.causal import causal_figures
from bestguess.text.attention.gold import FACTS, Gold, gold_of
from bestguess.text.attention.measures import LABELS, RELATED, Sum, measure
from bestguess.text.attention.weights import KINDS, Blocks, blocks_of
from bestguess.text.generation import GenerationConfig
from bestguess.text.model import TextModel
from bestguess.text.pairs import Pairs
from bestguess.text.task import About

BEST = {
    "gold_turn_mass": "cross",
    "gold_token_mass": "cross",
    "alignment": "cross",
    "copy": "cross",
    "within_turn": "encoder",
    RELATED: "encoder",
}
"""Measures whose best head is told, and in which block it is sought."""


class Head(NamedTuple):
    """Where a head is, from 1 on."""

    layer: int
    head: int


@dataclass
class Totals:
    """The measures of documents: sums by document, and the weight on the source by step."""

    sums: dict[tuple[str, str], list[Sum]] = field(default_factory=lambda: defaultdict(list))
    source: list[tuple[Float[np.ndarray, "L H U"], Float[np.ndarray, " U"]]] = field(default_factory=list)
    """Weight on the source of each step's query, and that of uniform attention over all before it."""

    def add(self, blocks: Blocks, found: Mapping[tuple[str, str], Sum]) -> None:
        """Take a document in."""
        for key, one in found.items():
            self.sums[key].append(one)
        U, S = blocks.cross.shape[-2:]
        # [BOS], the source, [SEP], and the target's tokens before this step.
        self.source.append((blocks.cross.sum(axis=-1), S / (S + 2.0 + np.arange(U))))

    def mean(self, kind: str, name: str) -> Float[np.ndarray, "L H"] | None:
        """Return a measure by layer and head over all queries that it applies to; None if it applies to none."""
        if name == RELATED:
            parts = [self.mean(kind, one) for one in ("same_slot", "same_slot_permuted")]
            return None if parts[0] is None or parts[1] is None else parts[0] / np.maximum(parts[1], 1e-12)
        own = self.sums.get((kind, name))
        return None if own is None else np.sum([one.total for one in own], axis=0) / sum(one.queries for one in own)

    def error(self, kind: str, name: str) -> Float[np.ndarray, "L H"] | None:
        """Return the standard error of that mean over documents (that of a ratio of sums); None for one document."""
        own = self.sums.get((kind, name))
        if own is None or len(own) < 2:
            return None
        total, queries = np.array([one.total for one in own]), np.array([one.queries for one in own])
        off = total - total.sum(axis=0) / queries.sum() * queries[:, None, None]
        n = len(own)
        return np.sqrt((off**2).sum(axis=0) * n / (n - 1)) / queries.sum()

    def fading(self) -> dict[str, Any]:
        """Return the weight on the source by step, in the mean over all heads, beside uniform attention's.

        slope: of their ratio per token, by least squares over all queries; below 0 attention leaves the source faster
        than it would if it were uniform. slopes: of each head.
        """
        steps = max(len(uniform) for _, uniform in self.source)
        heads = self.source[0][0].shape[:2]
        mass, ratio = np.zeros((*heads, steps)), np.zeros((*heads, steps))
        uniform, count = np.zeros(steps), np.zeros(steps)
        for of, even in self.source:
            n = len(even)
            mass[..., :n] += of
            ratio[..., :n] += of / even
            uniform[:n] += even
            count[:n] += 1
        step = np.arange(steps)
        centred = step - np.average(step, weights=count)
        slopes = (ratio * centred).sum(axis=-1) / (count * centred**2).sum()
        return {
            "slope": float(slopes.mean()),
            "slopes": slopes,
            "source": mass.mean(axis=(0, 1)) / count,
            "uniform": uniform / count,
            "documents": count.astype(int),
        }


def totals(model: TextModel, about: About, pairs: Pairs) -> Totals:
    """Return the measures of a model on documents."""
    found, causal = Totals(), model.encoder is None and not model.prefix
    for i, (blocks, gold) in enumerate(zip(blocks_of(model, pairs), gold_of(about, pairs))):
        found.add(blocks, measure_of(blocks, pairs, i, gold, causal))
    return found


def measure_of(blocks: Blocks, pairs: Pairs, i: int, gold: Gold, causal: bool) -> dict[tuple[str, str], Sum]:
    """Return the sums of document i."""
    source, target = pairs.source[i, : pairs.source_length[i]], pairs.target[i, : pairs.target_length[i]]
    return measure(blocks, source, target, gold, causal, seed=i)


def attention_figures(about: About, model: TextModel, config: GenerationConfig, documents: int) -> dict[str, Any]:
    """Return what the first test documents show of a model's attention.

    `heads`: every head's measures, each with its standard error over documents (`errors`). `mean`: over the heads of a
    block. `best`: the head with the largest value of a measure on as many validation documents, with its value on the
    test ones. `facts`: of each kind of fact the best heads' weights. `fading`: None of an encoder-decoder, whose
    cross-attention lies on the source whatever the step. `causal`: swaps; None for documents without facts.
    """
    test, chosen = about.test[:documents], totals(model, about, about.validation[:documents])
    found = totals(model, about, test)
    fading = found.fading() if model.encoder is None else None
    rows = head_rows(found, fading)
    best = {}
    for name, kind in BEST.items():
        if (head := _best(chosen, kind, name)) is not None and (value := found.mean(kind, name)) is not None:
            error = found.error(kind, name)
            best[name] = {
                "kind": kind, "layer": head.layer, "head": head.head, "value": float(_at(value, head)),
                "error": None if error is None else float(_at(error, head)),
            }  # fmt: skip
    return {
        "documents": len(test),
        "tokens": int(test.target_length.sum()),
        "heads": rows,
        "mean": {kind: _means(found, kind) for kind in KINDS},
        "best": best,
        "facts": _facts(chosen, found),
        "fading": None if fading is None else {key: fading[key] for key in fading if key != "slopes"},
        "causal": causal_figures(about, model, test, config),
    }


def head_rows(found: Totals, fading: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return a row for each head of each block; a measure that does not apply to a block is None."""
    means = {(kind, name): found.mean(kind, name) for kind in KINDS for name in LABELS}
    errors = {(kind, name): found.error(kind, name) for kind in KINDS for name in LABELS}
    rows = []
    for kind in KINDS:
        layers, heads = found.sums[kind, "mass"][0].total.shape
        for head in (Head(layer + 1, h + 1) for layer in range(layers) for h in range(heads)):
            at = lambda of, kind=kind, head=head: {  # noqa: E731
                name: None if of[kind, name] is None else float(_at(of[kind, name], head)) for name in LABELS
            }
            of_steps = float(_at(fading["slopes"], head)) if fading is not None and kind == "cross" else None
            rows.append({"kind": kind, **head._asdict(), **at(means), "fading": of_steps, "errors": at(errors)})
    return rows


def _at(values: np.ndarray, head: Head) -> Any:
    return values[head.layer - 1, head.head - 1]


def _best(found: Totals, kind: str, name: str) -> Head | None:
    values = found.mean(kind, name)
    if values is None:
        return None
    layer, head = np.unravel_index(int(values.argmax()), values.shape)
    return Head(int(layer) + 1, int(head) + 1)


def _means(found: Totals, kind: str) -> dict[str, float]:
    values = {name: found.mean(kind, name) for name in LABELS}
    return {name: float(one.mean()) for name, one in values.items() if one is not None}


def _facts(chosen: Totals, found: Totals) -> dict[str, dict[str, float]]:
    """Return the best head's weights for each kind of fact, the head chosen for that kind on validation documents."""
    rows: dict[str, dict[str, float]] = {}
    for fact in FACTS:
        for name in ("gold_turn_mass", "gold_token_mass", "alignment"):
            key = f"{name} {fact}"
            if (head := _best(chosen, "cross", key)) is not None and (value := found.mean("cross", key)) is not None:
                rows.setdefault(fact, {})[name] = float(_at(value, head))
    return rows
