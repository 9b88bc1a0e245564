"""The training loop of the demos: batches in, a loss curve out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bestguess.scratch.demos.data import PAD, Index, Vocabulary
from bestguess.scratch.engine import optim
from bestguess.scratch.engine.gpt import GPT
from bestguess.scratch.engine.node import no_grad
from bestguess.scratch.fast.gpt import FastGPT
from bestguess.scratch.fast.optim import AdamW

Batches = Callable[[int], tuple[Index, Index]]
"""From a step to that step's inputs and targets, both (B, T)."""


def warmup_cosine(step: int, steps: int, warmup: int = 0, floor: float = 0.0) -> float:
    """Return the factor of the learning rate at `step` of `steps`: up in a line, then down a half cosine."""
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))


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
    optimizer: optim.Optimizer
    if isinstance(model, FastGPT):
        optimizer = AdamW(model.parameters(), lr, betas=(0.9, 0.99), clip=1.0)
    else:
        optimizer = optim.AdamW(model.parameters(), lr, clip=1.0)
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
