"""Trainings of text small enough to compile in seconds."""

from __future__ import annotations

import dataclasses
from typing import Any

from bestguess.text.config import TextConfig, TextObjectiveConfig, TextTaskConfig
from bestguess.text.generation import GenerationConfig
from bestguess.text.model_config import TextModelConfig
from bestguess.train.config import TrainConfig

FLAGS = [
    *("--world", "tiny", "--layers", "1", "--d-model", "8", "--heads", "2", "--test-documents", "12"),
    *("--generated", "5", "--schedule", "cosine", "--hold", "0"),
]
"""What makes a training from the command line tiny, beside its steps."""


def tiny(
    *,
    task: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    objective: dict[str, Any] | None = None,
    train: dict[str, Any] | None = None,
    **top: Any,
) -> TextConfig:
    """Return a checked config of one layer and the tiny world, with the given fields in its rooms."""
    config = TextConfig(
        task=dataclasses.replace(TextTaskConfig(world="tiny"), **(task or {})),
        model=dataclasses.replace(TextModelConfig(layers=1, d_model=8, heads=2), **(model or {})),
        objective=dataclasses.replace(TextObjectiveConfig(), **(objective or {})),
        generation=GenerationConfig(),
        train=dataclasses.replace(
            TrainConfig(
                steps=6, batch_size=4, learning_rate=(0.01,), warmup_steps=1, validate_every=3,
                validation_sequences=5, checkpoint_every=0.0,
            ),
            **(train or {}),
        ),
        **({"test_documents": 13, "generated": 7} | top),
    )  # fmt: skip
    config.check()
    return config
