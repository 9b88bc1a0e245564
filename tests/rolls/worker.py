"""Trainings in a process of their own, for tests that give it several devices, or XLA as it is by default.

python -m tests.rolls.worker curves FOLDER
python -m tests.rolls.worker feeds FOLDER FILE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax
import numpy as np

from bestguess.train import program
from bestguess.train.fit import Fitted, fit
from tests.rolls.tiny import made, tiny

PIECES = {"resident": 0, "host": 2 * 9 * 4 * 4}
"""Bytes that the host reads at a time: the windows of half of a chunk's steps."""


def curves(folder: Path) -> dict[str, list[float]]:
    """Return the curves of a short training, and the number of devices."""
    config = tiny(train={"steps": 8, "batch_size": 16, "validate_every": 2})
    training, told = made(config), []
    fit(training.problem, config.train, training.members, folder, on_chunk=lambda *chunk: told.append(chunk[2]))
    found = {name: [float(one[name][0]) for one in told] for name in told[0]}
    return found | {"devices": len(jax.devices())}


def on_file(path: Path, feed: str):
    """Return the config of a training whose first pass over a file ends in the midst of a batch and of a chunk."""
    return tiny(
        task={"u16_path": str(path), "feed": feed, "validation": 0.06, "test": 0.06},
        model={"outputs": 3},
        train={"steps": 40, "validate_every": 8, "learning_rate": (0.03,)},
    )


def learnt(config, folder: Path) -> Fitted:
    """Return what a training came to."""
    training = made(config)
    return fit(training.problem, config.train, training.members, folder)


if __name__ == "__main__":
    command, folder = sys.argv[1], Path(sys.argv[2])
    if command == "curves":
        print(json.dumps(curves(folder)))
    else:
        for name, piece in PIECES.items():
            program.PIECE = piece
            fitted = learnt(on_file(Path(sys.argv[3]), name), folder / name)
            leaves = jax.tree.leaves((fitted.model, fitted.best, fitted.best_score, fitted.kept))
            np.savez(folder / f"{name}.npz", *leaves)
