"""A family that trains in a moment, whose runs fail on request: `fault` names how, once or always.

once: a marker file under TOY_MARKS is made before the fault, and where there is one, the run is well.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bestguess.command import UserError
from bestguess.train.config import TrainConfig, from_dict, to_dict

REPORTED = "loss"

FAULTS = ("raise", "raise-once", "kill-once", "nan", "nan-once", "figure", "memory", "prepare")


@dataclass(frozen=True)
class ToyConfig:
    """One run of the toy."""

    train: TrainConfig = field(default_factory=TrainConfig)
    width: int = 1
    """Means nothing, but makes another shape."""
    fault: str = ""


def config(values: dict[str, Any]) -> ToyConfig:
    base = {"steps": 20, "batch_size": 8, "warmup_steps": 3, "validate_every": 5, "validation_sequences": 4}
    made = from_dict(ToyConfig, values | {"train": base | values.get("train", {})})
    if made.fault not in ("", *FAULTS):
        raise UserError(f"fault: no fault {made.fault!r}")
    made.train.check()
    return made


def shape(config: ToyConfig) -> str:
    plain = to_dict(config.train)
    return f"{config.width} {[plain[key] for key in plain if key not in ('first_seed', 'learning_rate')]}"


def prepare(configs: list[ToyConfig]):
    import numpy as np

    from tests.train.toy import NO_KEY, ToyProblem, key_of, members

    poison = []
    for one in configs:
        if one.fault == "prepare":
            raise ValueError("no such system")
        if one.fault == "memory":
            raise RuntimeError("RESOURCE_EXHAUSTED: injected")
        sick = one.fault == "nan" or (one.fault == "nan-once" and first_time(one))
        poison.append(key_of(one.train.first_seed, step=7, sequence=0) if sick else NO_KEY)
    made = members(
        rates=tuple(one.train.learning_rate[0] for one in configs),
        seeds=tuple(one.train.first_seed for one in configs),
        nan_loss_at=np.stack(poison),
    )
    # A learning rate is no part of a program: the tests share compiled ones by the config.
    return ToyProblem(), dataclasses.replace(configs[0].train, learning_rate=(0.01,), first_seed=0), made


def score(config: ToyConfig, task: Any, model: Any, curve: list[dict[str, Any]]) -> dict[str, Any]:
    if config.fault == "raise" or (config.fault == "raise-once" and first_time(config)):
        raise RuntimeError("injected")
    if config.fault == "kill-once" and first_time(config):
        os.kill(os.getpid(), signal.SIGKILL)
    loss = float("nan") if config.fault == "figure" else curve[-1]["score"]
    return {"loss": loss, "validations": len(curve), "skill": None}


def first_time(config: ToyConfig) -> bool:
    mark = Path(os.environ["TOY_MARKS"]) / f"{config.fault}-{config.train.first_seed}-{config.train.learning_rate[0]}"
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
