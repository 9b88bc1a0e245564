"""The best weights of a training as one file: `--ckpt`. Safetensors, whatever it is called; reading it runs no code.

The header holds the config, its hash, and the evidence of the first pass; so `evaluate --ckpt` needs nothing else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bestguess import __version__, files
from bestguess.command import UserError
from bestguess.config import from_dict, runs, to_dict
from bestguess.family import Family
from bestguess.rolls.config import RollsConfig
from bestguess.train.checkpoint import fill, named_leaves
from bestguess.train.fit import Fitted
from bestguess.workflow.training import Training, make_training, slice_of

_FORMAT = "bestguess rolls 1"


def save_weights(path: Path, training: Training, shown: int) -> Path:
    """Write the best weights of a run, and what its first pass has shown, as one file; return its path."""
    config = training.runs[shown].config
    about = training.tasks[shown].about
    # The file's hash belongs to the weights: another file would be judged by tokens that are not its own.
    if config.task.u16_path is not None:
        config = dataclasses.replace(config, task=dataclasses.replace(config.task, sha256=about.rolls.sha256))
    state = {"best": training.model(shown), "kept": slice_of(training.learnt.kept, shown)}
    arrays = {name: np.asarray(leaf) for name, leaf in named_leaves(state)}
    plain = json.dumps(to_dict(config), sort_keys=True)
    header = {
        "format": _FORMAT,
        "version": __version__,
        "config": plain,
        "config_sha256": hashlib.sha256(plain.encode()).hexdigest(),
        "best_score": repr(float(training.learnt.best_score[shown])),
        "best_step": str(int(training.learnt.best_step[shown])),
    }
    header["sha256"] = files.digest(header, arrays)
    with files.boundary(f"--ckpt {path}", "written"):
        return files.write_safetensors(path, arrays, header)


def load_weights(family: Family, path: Path, changes: Mapping[str, Any], use_amp: bool = False) -> Training:
    """Return the training of one run that a file of weights stands for; UserError where it is none, or is damaged.

    changes: values of the config's task in place of its own. use_amp: compute in bfloat16.
    """
    name = f"--ckpt {path}"
    try:
        arrays, header = files.read_safetensors(path)
    except files.Unreadable as error:
        raise UserError(f"{name}: {error.reason}; give a file that rolls train --ckpt wrote") from error
    if header.get("format") != _FORMAT:
        raise UserError(f"{name}: not written by rolls train --ckpt; give one of its files, or a run's folder")
    if header.pop("sha256", None) != files.digest(header, arrays):
        raise UserError(f"{name}: damaged (its contents do not match its checksum); take a copy that is whole")
    config = from_dict(RollsConfig, files.parse_json(header["config"], path), f"{name}: ", complete=True)
    config = changed(config, changes, use_amp)
    training = make_training(family, Path(), runs(config))
    like = jax.eval_shape(
        lambda task: {
            "best": training.problem.init(task, jax.random.key(0)),
            "kept": training.problem.keep(task),
        },
        slice_of(training.members.task, 0),
    )
    tree = jax.tree.map(lambda leaf: leaf[None], fill(like, arrays, name))
    learnt = Fitted(
        model=tree["best"],
        best=tree["best"],
        best_score=np.asarray([float(header["best_score"])]),
        best_step=np.asarray([int(header["best_step"])]),
        fault_step=np.asarray([-1]),
        stopped=np.asarray([False]),
        kept=tree["kept"],
    )
    return dataclasses.replace(training, learnt=learnt)


def changed(config: RollsConfig, changes: Mapping[str, Any], use_amp: bool) -> RollsConfig:
    """Return the checked config with other values in its task; UserError where a file is given for drawn values."""
    if "u16_path" in changes and config.task.u16_path is None:
        raise UserError(f"--u16-path {changes['u16_path']}: the training drew its values; drop the flag")
    config = dataclasses.replace(config, task=dataclasses.replace(config.task, **changes))
    if use_amp:
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, dtype="bfloat16"))
    config.check()
    return config
