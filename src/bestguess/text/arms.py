"""The arms of the experiments that compare architectures, and how their sizes are paired. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bestguess.text.counting import Pairing

LAYERS = 6
"""Of either side of the encoder-decoder: the pairings are then exact, 14, 7 and 6 layers."""
PAIRINGS: tuple[Pairing, ...] = ("parameters", "flops", "depth")
SAID: dict[Pairing, str] = {"parameters": "equal parameters", "flops": "equal FLOPs", "depth": "equal depth"}
ARMS = {
    "encoder-decoder": "model.architecture=encoder-decoder objective.loss=target",
    "full loss": "model.architecture=decoder-only objective.loss=full",
    "target loss": "model.architecture=decoder-only objective.loss=target",
    "prefix LM": "model.architecture=prefix-lm objective.loss=target",
}
"""What sets an arm apart, beside its layers. Of a decoder-only model, what it is trained on; scored is the target."""

LITTLE = 0.05
"""Nats per token that count as little: 5 % of the perplexity."""
SMALL = (
    "model.layers=1 model.d_model=16 model.heads=2 model.d_ff=32 model.dtype=float32 train.steps=100 "
    "train.warmup_steps=10 train.validate_every=20 train.batch_size=8 train.validation_sequences=32 test_documents=64 "
    "generated=16 generation.max_tokens=32"
)
"""What makes a run a matter of seconds on a CPU."""


def by_level(
    records: Sequence[Mapping[str, Any]], levels: Mapping[str, tuple[str, str]]
) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Return the figures of an experiment's runs by corpus and arm, in the order in which `levels` declares them.

    levels: the corpus and the arm of each level of `change`; runs of other levels, and levels without a run, are left
    out.
    """
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {place: [] for place in levels.values()}
    for record in records:
        if (place := levels.get(record["config"]["change"])) is not None:
            found[place].append(record["metrics"])
    return {place: runs for place, runs in found.items() if runs}
