"""Trainings of rolls small enough to compile in a second, and models that have something to say."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bestguess.config import runs
from bestguess.rolls.config import (
    RollsConfig,
    RollsModelConfig,
    RollsObjectiveConfig,
    RollsTaskConfig,
)
from bestguess.rolls.family import FAMILY
from bestguess.train.config import TrainConfig
from bestguess.workflow.training import Training, make_training, slice_of


def tiny(
    *,
    task: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    objective: dict[str, Any] | None = None,
    train: dict[str, Any] | None = None,
) -> RollsConfig:
    """Return a checked config of one layer and few values, with the given fields in its rooms."""
    config = RollsConfig(
        task=dataclasses.replace(
            RollsTaskConfig(source="hmm alphabet=8", n=3000, window=8, test_samples=160), **(task or {})
        ),
        model=dataclasses.replace(RollsModelConfig(layers=1, d_model=8, heads=2, outputs=2), **(model or {})),
        objective=dataclasses.replace(RollsObjectiveConfig(), **(objective or {})),
        train=dataclasses.replace(
            TrainConfig(
                steps=6, batch_size=4, learning_rate=(0.01,), warmup_steps=1, validate_every=3,
                validation_sequences=4, checkpoint_every=0.0,
            ),
            **(train or {}),
        ),
    )  # fmt: skip
    config.check()
    return config


def made(config: RollsConfig, folder: Path = Path()) -> Training:
    """Return the training of a config; nothing is trained yet."""
    return make_training(FAMILY, folder, runs(config))


def own(training: Training, run: int = 0) -> Any:
    """Return what the problem knows of one run."""
    return slice_of(training.members.task, run)


def lively(training: Training, seed: int = 0, size: float = 0.5) -> Any:
    """Return a model whose weights are all random: an untrained one predicts the marginal and bets on nothing."""
    model = training.problem.init(own(training), jax.random.key(seed))
    leaves, shape = jax.tree.flatten(model)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    return jax.tree.unflatten(
        shape, [leaf + size * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves)]
    )


def write(path: Path, values: Any) -> Path:
    """Write values as a file of uint16."""
    np.asarray(values).astype("<u2").tofile(path)
    return path
