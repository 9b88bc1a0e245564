"""How runs are trained, and how any config is read from and written to YAML. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from bestguess.command import UserError, nearest

C = TypeVar("C")
Optimizer = Literal["adamw", "adam", "sgd"]
Schedule = Literal["cosine", "constant", "step", "exponential"]


@dataclass(frozen=True)
class TrainConfig:
    """How the runs are trained."""

    steps: int = 12_000
    """Optimiser steps."""
    batch_size: int = 64
    """Sequences a step, for each run."""
    learning_rate: tuple[float, ...] = (1e-3,)
    """Peak learning rate; several train side by side, and the best on validation is reported."""
    seeds: int = 1
    """Number of seeds; a seed draws the system, the initial weights and the data."""
    first_seed: int = 0
    """The first seed; the others count up from it."""
    warmup_steps: int = 500
    """Steps over which the learning rate rises linearly from 0 to its peak."""
    schedule: Schedule = "cosine"
    """How the learning rate falls after warm-up: as half a cosine, not at all, in stairs, exponentially."""
    final_learning_rate: float = 0.0
    """Learning rate at the end (share of the peak); a constant one does not heed it."""
    learning_rate_drops: int = 3
    """Drops of the schedule `step`, all by the same factor, between parts of equal length."""
    optimizer: Optimizer = "adamw"
    """Adam with decoupled decay, Adam, or gradient descent with momentum; the last two add their decay to the \
gradient."""
    beta1: float = 0.9
    """Decay of the gradient's mean; the momentum of sgd."""
    beta2: float = 0.999
    """Decay of the gradient's square; sgd has none."""
    weight_decay: float = 0.01
    """Decay of matrices (1/step, times the learning rate)."""
    clip_norm: float = 1.0
    """Global norm that gradients are clipped to; inf means never."""
    clip_value: float = float("inf")
    """Largest size that a gradient's entries are clipped to, before their norm is; inf means never."""
    accumulate: int = 1
    """Micro-batches that a batch is split into to save memory; the gradient is that of the whole batch."""
    validate_every: int = 100
    """Steps between two validations; also the length of one compiled chunk."""
    validation_sequences: int = 256
    """Sequences of a validation; the same ones every time."""
    patience: int = 0
    """Validations without progress after which a run stops early; 0 means never."""
    min_delta: float = 0.0
    """By how much the validation score must fall to count as progress (share of the best)."""
    checkpoint_every: float = 60.0
    """Seconds between two checkpoints; one is always written at the end; 0 means after every validation."""

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value is impossible."""
        positive = ["steps", "batch_size", "seeds", "accumulate", "validate_every", "validation_sequences", "clip_norm"]
        positive += ["learning_rate_drops", "clip_value"]
        not_negative = "first_seed warmup_steps final_learning_rate weight_decay patience min_delta checkpoint_every"
        for name in positive:
            if not getattr(self, name) > 0:
                raise UserError(f"{flag(name)} {getattr(self, name)}: must be positive")
        for name in not_negative.split():
            if not getattr(self, name) >= 0:
                raise UserError(f"{flag(name)} {getattr(self, name)}: must not be negative")
        if not self.learning_rate:
            raise UserError("--learning-rate: give at least one")
        for rate in self.learning_rate:
            if not 0 < rate < float("inf"):
                raise UserError(f"--learning-rate {rate}: must be positive and finite")
        if len(set(self.learning_rate)) < len(self.learning_rate):
            raise UserError(f"--learning-rate {' '.join(map(str, self.learning_rate))}: a value stands twice")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{flag(name)} {getattr(self, name)}: must lie in [0, 1)")
        if self.final_learning_rate > 1:
            raise UserError(f"--final-learning-rate {self.final_learning_rate}: a share of the peak, at most 1")
        if self.schedule in ("step", "exponential") and not self.final_learning_rate:
            raise UserError(
                f"--schedule {self.schedule}: multiplies the rate and never reaches --final-learning-rate 0; "
                "give it a share of the peak, such as 0.01"
            )
        if self.warmup_steps >= self.steps:
            raise UserError(
                f"--warmup-steps {self.warmup_steps}: must be fewer than --steps {self.steps}; try {self.steps // 10}"
            )
        if self.batch_size % self.accumulate:
            raise UserError(f"--accumulate {self.accumulate}: does not divide --batch-size {self.batch_size}")
        if self.validation_sequences < 2:
            raise UserError(f"--validation-sequences {self.validation_sequences}: at least 2")
        if self.first_seed + self.seeds > 2**31:
            raise UserError(f"--first-seed {self.first_seed}: seeds must stay below 2^31")


def flag(name: str) -> str:
    """Return the command-line flag of a field."""
    return "--" + key_of(name).replace("_", "-")


def key_of(name: str) -> str:
    """Return the YAML key of a field: a trailing underscore only keeps Python's keyword apart."""
    return name.rstrip("_")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a nested dataclass as a dict of plain values, ready for YAML or JSON."""
    return {key_of(f.name): _plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def from_dict(cls: type[C], data: Any, where: str = "", complete: bool = False) -> C:
    """Return an instance of the nested dataclass `cls` from `data`; UserError on a key or value that is off.

    An unknown key is an error that names the nearest known one; a missing key takes its default, or is
    an error too where the data must be `complete`: a file that was written whole and is not any more.
    """
    if not isinstance(data, dict):
        raise UserError(f"{where.rstrip('.: ') or cls.__name__}: expected a mapping of keys, found {data!r}")
    hints = typing.get_type_hints(cls)
    fields = {key_of(f.name): f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise UserError(f"{where}{key}: unknown key{nearest(str(key), fields)}")
    if complete and (missing := [key for key in fields if key not in data]):
        raise UserError(f"{where}{missing[0]}: this key is missing; the file was cut or is of another version")
    values = {f.name: _value(hints[f.name], data[k], where + k, complete) for k, f in fields.items() if k in data}
    return cls(**values)


def _value(hint: Any, value: Any, where: str, complete: bool = False) -> Any:
    """Return `value` as the type `hint`, or raise a UserError that names the key."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _value(args[0], value, where)
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, where + ".", complete)
    if origin is typing.Literal:
        if value not in args:
            raise UserError(f"{where}: {value!r} is none of {', '.join(map(str, args))}")
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _value(next(a for a in args if a is not type(None)), value, where)
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_value(args[0], item, f"{where}[{i}]") for i, item in enumerate(items))
    if hint is float and not isinstance(value, bool):
        try:  # PyYAML reads 1e-4 as a string
            return float(value)
        except (TypeError, ValueError):
            raise UserError(f"{where}: {value!r} is not a number") from None
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UserError(f"{where}: {value!r} is not {'an' if hint is int else 'a'} {hint.__name__}")
    return value
