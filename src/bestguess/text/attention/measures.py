"""What a head does in a document: sums over its queries, so that figures of many documents add up.

Weights are measured as shares of what lies on the block: p = w / Σ w over its keys. Of an encoder-decoder Σ w is 1; of
a model without an encoder it is the `mass` of the block, and the rest of a row lies on the other blocks and on [BOS].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from bestguess.text.attention.gold import FACTS, Gold
from bestguess.text.attention.weights import KINDS, Blocks

SHUFFLES = 16
"""Permutations of the turns' lengths that within-turn weights are compared with, for each document."""
RELATED = "related"
LABELS = {
    "mass": "weight on the block, of each query's whole weight",
    "entropy": "entropy (nats)",
    "evenness": "entropy as a fraction of that of uniform attention",
    "distance": "mean distance (tokens)",
    "copy": "weight on tokens equal to the one to be predicted (encoder: to the query, elsewhere)",
    "copy_uniform": "the same for uniform attention",
    "turn_mass": "weight on one turn (encoder: the query's own; cross: the most attended)",
    "turn_uniform": "the same for uniform attention",
    "within_turn": "weight on the query's own turn, less that with the turns' lengths permuted",
    "same_slot": "weight on other turns about the same slot, over that of uniform attention",
    "same_slot_permuted": "the same with the slots permuted over the turns",
    RELATED: "weight on other turns about the same slot, over that with the slots permuted",
    "gold_turn_mass": "weight on the turn that states the value to be predicted",
    "gold_turn_uniform": "the same for uniform attention",
    "gold_token_mass": "weight on the token that states it",
    "alignment": "fraction in which that token has the largest weight",
}
"""The measures, in words."""


class Sum(NamedTuple):
    """A measure summed over the queries that it applies to, by layer and head, and how many they are."""

    total: Float[np.ndarray, "L H"]
    queries: float


Sums = Mapping[tuple[str, str], Sum]
"""By block and measure; the gold measures of one fact are `gold_turn_mass place` and so on."""


def measure(
    blocks: Blocks, source: Int[np.ndarray, " S"], target: Int[np.ndarray, " U"], gold: Gold, causal: bool, seed: int
) -> dict[tuple[str, str], Sum]:
    """Return the sums of every measure that applies to a document.

    causal: whether source tokens read those before them alone. seed: of the permutations.
    """
    S, U = len(source), len(target)
    there = {
        "encoder": np.tri(S, dtype=bool) if causal else np.ones((S, S), bool),
        "decoder": np.tri(U, dtype=bool),
        "cross": np.ones((U, S), bool),
    }
    query, key = np.arange(S, S + U), np.arange(S)
    distance = {
        "encoder": abs(key[:, None] - key),
        "decoder": abs(query[:, None] - query),
        "cross": query[:, None] - key,
    }
    read = np.concatenate([[-1], target[:-1]])  # [SEP] is no token of the text
    same = {
        "encoder": (source[:, None] == source) & ~np.eye(S, dtype=bool),
        "decoder": target[:, None] == read,
        "cross": target[:, None] == source,
    }
    found: dict[tuple[str, str], Sum] = {}
    for kind in KINDS:
        weight = getattr(blocks, kind).astype(np.float64)
        mass = weight.sum(axis=-1)
        p = weight / np.maximum(mass, 1e-30)[..., None]
        uniform = there[kind] / there[kind].sum(axis=1, keepdims=True)
        found[kind, "mass"] = _over(mass)
        of = _general(p, uniform, distance[kind], same[kind] & there[kind])
        if gold.turn is not None and kind == "encoder":
            of |= _turns(p, uniform, gold.turn, gold.slot, np.random.default_rng(seed))
        if gold.turn is not None and kind == "cross":
            of |= _most_attended(p, gold.turn)
            of |= _gold(p, gold, gold.turn)
        found |= {(kind, name): one for name, one in of.items()}
    return found


def _over(values: Float[np.ndarray, "L H Q"], rows: Bool[np.ndarray, " Q"] | None = None) -> Sum:
    own = values if rows is None else values[..., rows]
    return Sum(own.sum(axis=-1), float(own.shape[-1]))


def _constant(values: Float[np.ndarray, " queries"], like: Float[np.ndarray, "L H Q K"]) -> Sum:
    """Return the sum of what is the same for all heads."""
    return Sum(np.full(like.shape[:2], values.sum()), float(len(values)))


def _general(p, uniform, distance, same) -> dict[str, Sum]:
    keys = (uniform > 0).sum(axis=1)
    choice = keys > 1  # one key leaves nothing to choose
    entropy = -np.sum(p * np.log(np.maximum(p, 1e-30)), axis=-1)
    said = same.any(axis=1)
    found = {
        "entropy": _over(entropy, choice),
        "evenness": _over(entropy / np.log(np.maximum(keys, 2)), choice),
        "distance": _over(np.einsum("lhqk,qk->lhq", p, distance.astype(float))),
    }
    if said.any():
        found["copy"] = _over(np.einsum("lhqk,qk->lhq", p, same.astype(float)), said)
        found["copy_uniform"] = _constant((uniform * same).sum(axis=1)[said], p)
    return found


def _turns(p, uniform, turn, slot, rng: np.random.Generator) -> dict[str, Sum]:
    """Return how much of the encoder's weights stays within turns, and goes to other turns about the same slot.

    A head that reads its neighbours reads its own turn, whatever it knows of turns. So the turns are compared with
    others of the same lengths in another order: the weights are the same, the boundaries lie elsewhere.
    """
    within = (turn[:, None] == turn).astype(float)
    permuted = np.mean([_same(_shuffled(turn, rng)) for _ in range(SHUFFLES)], axis=0)
    # Of a causal encoder uniform attention, too, has another weight within other boundaries.
    own, other = (np.einsum("lhqk,qk->lhq", p, one) for one in (within, permuted))
    of_uniform, of_permuted = ((uniform * one).sum(axis=1) for one in (within, permuted))
    found = {
        "turn_mass": _over(own),
        "turn_uniform": _constant(of_uniform, p),
        "within_turn": _over((own - of_uniform) - (other - of_permuted)),
    }
    if slot is not None:
        runs = np.cumsum(np.concatenate([[0], np.diff(slot) != 0])).astype(np.int64)
        for name, labels in (
            ("same_slot", [slot]),
            ("same_slot_permuted", [_reordered(slot, runs, rng) for _ in range(SHUFFLES)]),
        ):
            # Between turns: what lies within one is the other measure's.
            mates = np.mean([_mates(of[turn]) for of in labels], axis=0) * (1 - within)
            share = float((uniform * mates).sum())
            if share > 0:
                found[name] = Sum(np.einsum("lhqk,qk->lh", p, mates), share)
    return found


def _mates(slot: Int[np.ndarray, " S"]) -> np.ndarray:
    return ((slot[:, None] == slot) & (slot >= 0)).astype(float)


def _same(turn: Int[np.ndarray, " S"]) -> np.ndarray:
    return (turn[:, None] == turn).astype(float)


def _shuffled(turn: Int[np.ndarray, " S"], rng: np.random.Generator) -> Int[np.ndarray, " S"]:
    """Return turns of the same lengths in another order."""
    length = np.bincount(turn)
    return np.repeat(np.arange(len(length)), rng.permutation(length))


def _reordered(slot: Int[np.ndarray, " turns"], runs: Int[np.ndarray, " turns"], rng: np.random.Generator):
    """Return the slots with their runs (turns in a row about one slot) in another order: neighbours stay neighbours."""
    return np.concatenate([slot[runs == k] for k in rng.permutation(runs[-1] + 1)])


def _most_attended(p, turn) -> dict[str, Sum]:
    of_turn = np.eye(turn[-1] + 1)[turn]  # [S, turns]
    most = np.einsum("lhqk,kt->lhqt", p, of_turn).max(axis=-1)
    largest = np.full(p.shape[2], of_turn.sum(axis=0).max() / len(turn))
    return {"turn_mass": _over(most), "turn_uniform": _constant(largest, p)}


def _gold(p, gold: Gold, turn: Int[np.ndarray, " S"]) -> dict[str, Sum]:
    if gold.aligned is None or gold.fact is None or not (gold.aligned >= 0).any():
        return {}
    rows = np.flatnonzero(gold.aligned >= 0)
    at, fact = gold.aligned[rows], gold.fact[rows]
    inside = (turn[at][:, None] == turn).astype(float)  # [rows, S]
    in_turn = np.einsum("lhqk,qk->lhq", p[:, :, rows], inside)
    on_token = p[:, :, rows, at]
    hit = (p[:, :, rows].argmax(axis=-1) == at).astype(float)
    of_uniform = inside.mean(axis=1)
    found = {"gold_turn_uniform": _constant(of_uniform, p)}
    for name, values in (("gold_turn_mass", in_turn), ("gold_token_mass", on_token), ("alignment", hit)):
        found[name] = _over(values)
        for k, said in enumerate(FACTS):
            if (fact == k).any():
                found[f"{name} {said}"] = _over(values, fact == k)
    return found
