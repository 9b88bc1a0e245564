"""A training in a process of its own, for tests that kill it or give it several devices.

python -m tests.train.worker train FOLDER AVERAGE
python -m tests.train.worker spread FOLDER
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np

from bestguess.config import runs
from bestguess.filters.config import FilterModelConfig, FiltersConfig, FilterTaskConfig
from bestguess.filters.family import FAMILY
from bestguess.train.config import TrainConfig
from bestguess.train.fit import Fitted, fit
from bestguess.train.mesh import make_mesh
from bestguess.workflow.training import make_training
from tests.train.toy import ToyProblem, config, members

TINY = FiltersConfig(
    task=FilterTaskConfig(latent_dim=3, observed_dim=2, length=6, lambda_=(0.8, 0.9)),
    model=FilterModelConfig(layers=1, d_model=4, heads=2, normalisation="instance"),
    train=TrainConfig(
        steps=120,
        batch_size=2,
        warmup_steps=5,
        validate_every=3,
        validation_sequences=2,
        checkpoint_every=0.0,
    ),
)
"""Two runs, forty chunks, a checkpoint after each."""


def train(folder: Path, average: float, on_chunk=lambda runs, step, metrics: None, **more) -> Fitted:
    """Train the tiny batch of runs in `folder`, or go on with it."""
    config = dataclasses.replace(TINY.train, average=average)
    training = make_training(FAMILY, folder, runs(dataclasses.replace(TINY, train=config)))
    return fit(training.problem, config, training.members, folder, on_chunk=on_chunk, **more)


SPREADS = {
    "one run": {"rates": (0.03,), "seeds": (5,)},
    "two runs, their batches shared": {"rates": (0.03, 0.01), "seeds": (5, 6)},
}


def spread(folder: Path, devices: list | None = None) -> dict[str, Fitted]:
    """Train toys on all devices, or the given ones."""
    return {
        name: fit(ToyProblem(), config(), members(**runs), folder / name, devices=devices)
        for name, runs in SPREADS.items()
    }


if __name__ == "__main__":
    command, folder = sys.argv[1], Path(sys.argv[2])
    if command == "train":
        train(folder, float(sys.argv[3]), on_chunk=lambda runs, step, metrics: print(step, flush=True))
        print("done", flush=True)
    else:
        sizes = [(8, 8), (1, 8), (2, 8), (3, 2), (6, 4), (5, 3)]
        meshes = {f"{runs} {batch}": dict(make_mesh(runs, batch).shape) for runs, batch in sizes}
        print(len(jax.devices()), meshes)
        for name, fitted in spread(folder).items():
            leaves = jax.tree.leaves((fitted.model, fitted.best_score, fitted.best_step))
            np.savez(folder / f"{name}.npz", *leaves)
