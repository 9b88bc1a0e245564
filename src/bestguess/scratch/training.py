"""The training loop of the demos: batches in, a loss curve out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bestguess.scratch.data import PAD, Index, Vocabulary
from bestguess.scratch.gpt import GPT
from bestguess.scratch.node import no_grad
from bestguess.scratch.optim import AdamW, warmup_cosine

Batches = Callable[[int], tuple[Index, Index]]
"""From a step to that step's inputs and targets, both (B, T)."""


@dataclass
class Curve:
    """The loss of every step (nats per scored target) and the seconds that they took together."""

    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0


def fit(
    model: GPT,
    batches: Batches,
    steps: int,
    lr: float,
    *,
    score_padding: bool = False,
    warmup: int = 20,
    floor: float = 0.05,
    watch: Callable[[int, float], bool | None] = lambda step, loss: None,
) -> Curve:
    """Train `model` in place for `steps` steps of AdamW and return its curve.

    The rate rises over `warmup` steps and falls in a cosine to `floor` times `lr`. `watch(step, loss)`
    sees every step (counted from 1) and ends training by returning True.
    """
    optimizer = AdamW(model.parameters(), lr, betas=(0.9, 0.99), clip=1.0)
    ignore = None if score_padding else PAD
    curve = Curve()
    start = time.perf_counter()
    for step in range(steps):
        optimizer.lr = lr * warmup_cosine(step, steps, warmup, floor)
        optimizer.zero_grad()
        loss = model.loss(*batches(step), ignore)
        loss.backward()
        optimizer.step()
        curve.losses.append(loss.item())
        curve.seconds = time.perf_counter() - start
        if watch(step + 1, curve.losses[-1]):
            break
    return curve


def evaluate(model: GPT, inputs: Index, targets: Index, ignore_index: int | None = PAD) -> float:
    """Return the loss (nats per scored target) without training."""
    with no_grad():
        return model.loss(inputs, targets, ignore_index).item()


def draws(vocabulary: Vocabulary, texts: Sequence[str], batch: int, seed: int) -> Batches:
    """Return batches of `batch` texts drawn with replacement; the same seed and step draw the same."""
    inputs, targets = vocabulary.rows(texts)
    lengths = (targets != PAD).sum(axis=1)

    def batches(step: int) -> tuple[Index, Index]:
        rows = np.random.default_rng([seed, step]).integers(0, len(inputs), batch)
        longest = int(lengths[rows].max())  # columns of nothing but padding teach nothing
        return inputs[rows, :longest], targets[rows, :longest]

    return batches
