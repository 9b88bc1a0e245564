"""Three phases of sequences over a training: which of them, when. A function of progress, from 0 to 1."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

Curriculum = Literal["none", "strict", "gradual"]

STAGES = ((1.0, 0.0, 0.0), (1 / 2, 1 / 2, 0.0), (1 / 3, 1 / 3, 1 / 3))
"""Mixtures of the phases: the first alone, the first two, all three."""
FINAL = STAGES[-1]
"""What a training ends with, and what a model is evaluated under: all three phases alike."""
TRANSITIONS = ((0.1, 0.4), (0.3, 0.6))
"""When the second and the third phase come in (progress): they overlap. Hard switches stand halfway."""


def mixture(progress: Any, curriculum: Curriculum, xp: Any = np) -> Any:
    """Return the weights of the three phases, [..., 3], summing to 1, at `progress` in [0, 1], [...].

    "none" is the final mixture throughout, "gradual" moves linearly from stage to stage, "strict"
    switches from stage to stage at once, halfway through each transition.
    xp: NumPy, or jax.numpy where `progress` is traced.
    """
    progress = xp.asarray(progress)[..., None]
    spread = lambda stage: xp.broadcast_to(xp.asarray(stage), (*progress.shape[:-1], len(stage)))  # noqa: E731
    if curriculum == "none":
        return spread(FINAL)
    weights = spread(STAGES[0])
    for before, after, (start, stop) in zip(STAGES, STAGES[1:], TRANSITIONS):
        if curriculum == "gradual":
            share = xp.clip((progress - start) / (stop - start), 0, 1)
        else:
            share = xp.where(progress >= (start + stop) / 2, 1.0, 0.0)
        weights = weights + share * (spread(after) - spread(before))
    return weights


def final_mixture(phases: int = 3) -> tuple[float, ...]:
    """Return the mixture that a training on the first `phases` phases ends with: those alike, the others not at all."""
    total = sum(FINAL[:phases])
    return tuple(share / total if i < phases else 0.0 for i, share in enumerate(FINAL))
