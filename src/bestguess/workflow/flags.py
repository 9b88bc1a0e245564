"""The flags of the commands that every family has, made from its config. Imports nothing heavy."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from bestguess.command import UserError, load
from bestguess.config import MOST, flag
from bestguess.family import Family

Tracker = Literal["jsonl", "tensorboard", "wandb"]


_OF_STEPS = ("warmup_steps", "hold")
"""Fields of `train` whose defaults suit the default number of steps."""


class FromConfig:
    """Flags that hold a config: made by `config_flags`, which sets the two class variables."""

    FAMILY: ClassVar[Family]

    def as_given(self) -> Any:
        """Return the part that determines the result."""
        cls = load(self.FAMILY.config)
        return cls(**{one.name: getattr(self, one.name) for one in dataclasses.fields(cls)})

    def base(self) -> Any:
        """Return the config that the flags start from: what differs from it was given."""
        return self.FAMILY.base({name: getattr(self, name) for name in self.FAMILY.choosers})

    @classmethod
    def choices(cls) -> dict[str, tuple[str, ...]]:
        """Return the values of each flag that sets the others' defaults."""
        bases = cls.FAMILY.configs()
        return {name: tuple(dict.fromkeys(base[i] for base in bases)) for i, name in enumerate(cls.FAMILY.choosers)}

    @classmethod
    def chosen(cls, values: Mapping[str, str]) -> Any:
        """Return all flags as the values of these flags set them."""
        config = cls.FAMILY.base(values)
        fields = {one.name: getattr(config, one.name) for one in dataclasses.fields(config)}
        return cls(**fields, **values)


@dataclass(frozen=True)
class TrainingFlags(FromConfig):
    """What every `train` takes beside its config."""

    epochs: float | None = None
    """Length of the training in epochs, in place of --steps. An epoch is one pass over the training data, or, where \
sequences are drawn without end, the --validate-every steps between two validations."""
    track: tuple[Tracker, ...] = ("jsonl",)
    """Metric loggers; metrics.jsonl is always written."""
    out: Path | None = None
    """Output folder (default: a new folder under runs/)."""
    resume: Path | None = None
    """Folder of an interrupted training run to resume, with the configuration stored in it."""

    WITH_RESUME: ClassVar[tuple[str, ...]] = ("--track",)
    GIVEN: ClassVar[frozenset[str]] = frozenset()
    """The flags that were typed. An instance has its own, by `with_given`: a field would be one more flag."""

    def with_given(self, names: Collection[str]) -> Any:
        """Return the flags with the names of those that were typed, such as --steps."""
        made = copy.copy(self)
        object.__setattr__(made, "GIVEN", frozenset(names))
        return made

    def is_given(self, name: str) -> bool:
        """Return whether a field of the config's `train` was chosen, and is no default."""
        own, base = (getattr(one.train, name) for one in (self.as_given(), self.base()))
        return flag(name) in self.GIVEN or own != base

    def shortened(self, config: Any) -> Any:
        """Return the config with defaults that its number of steps has room for."""
        given = [name for name in _OF_STEPS if self.is_given(name)]
        return dataclasses.replace(config, train=config.train.shortened(given))

    def told(self, config: Any) -> list[str]:
        """Return a line for each default that `shortened` replaced in this config."""
        kept = {name: getattr(config.train, name) for name in _OF_STEPS if self.is_given(name)}
        return config.train.told_beside(dataclasses.replace(self.base().train, **kept))

    def config(self) -> Any:
        """Return the part that determines the result, with the steps that --epochs stands for."""
        config = self.shortened(self.as_given())
        if self.epochs is None:
            return config
        # What is measured against the number of steps is checked when that is known.
        dataclasses.replace(config, train=dataclasses.replace(config.train, steps=MOST)).check()
        if config.train.steps != self.base().train.steps:
            raise UserError("--epochs: says what --steps says; give one of them")
        train = config.train.for_epochs(self.epochs, self.sequences_of_epoch(config))
        return self.shortened(dataclasses.replace(config, train=train))

    def sequences_of_epoch(self, config: Any) -> int | None:
        """Return the training sequences of one pass over the data; None: they are drawn without end."""
        return None


@dataclass(frozen=True)
class RunFlags:
    """What every command on a trained folder takes."""

    run: tyro.conf.Positional[Path]
    """Folder written by `train`."""


def refuse_idle(config: Any, base: Any) -> None:
    """Raise a UserError for a value that was given and does nothing as the others stand.

    given: it differs from that of `base`. A config, or a room of it, tells such fields by a method `idle`: their dotted
    names, each with what it needs.
    """
    for room in dataclasses.fields(config):
        inner = getattr(config, room.name)
        if dataclasses.is_dataclass(inner):
            refuse_idle(inner, getattr(base, room.name))
    for path, needed in config.idle().items() if hasattr(config, "idle") else ():
        value, default = (functools.reduce(getattr, path.split("."), one) for one in (config, base))
        if value != default:
            name = flag(path.split(".")[-1])
            told = (
                name
                if value is True
                else f"{name} {' '.join(map(str, value if isinstance(value, tuple) else [value]))}"
            )
            raise UserError(f"{told}: does nothing here; it needs {needed}")


def config_flags(family: Family, name: str, help_text: str, base: type) -> type:
    """Return a dataclass of flags: the config's rooms, the family's choosers, and the fields of `base`."""
    bases = family.configs()
    choosers = [
        (
            one,
            Annotated[Literal[tuple(dict.fromkeys(key[i] for key in bases))], tyro.conf.arg(help=meaning)],
            dataclasses.field(default="default"),
        )
        for i, (one, meaning) in enumerate(family.choosers.items())
    ]
    made = dataclasses.make_dataclass(
        name,
        choosers,
        bases=(base, load(family.config)),
        frozen=True,
        namespace={"__doc__": inspect.cleandoc(help_text)},
    )
    made.FAMILY = family  # type: ignore[attr-defined]
    made.__module__ = load(family.config).__module__
    return made


def train_flags(family: Family) -> type:
    """Return the flags of the family's `train`."""
    return config_flags(family, "TrainFlags", family.about, TrainingFlags)


def evaluate_flags(family: Family) -> type:
    """Return the flags of the family's `evaluate`."""
    help_text = f"Measure the regret of every run in a folder on test data ({family.title.rstrip(':')})."
    return _described("EvaluateFlags", load(family.evaluate_flags), help_text)


def report_flags(family: Family) -> type:
    """Return the flags of the family's `report`."""
    help_text = "Rewrite the page of a folder (one HTML file that opens offline) and its figures."
    return _described("ReportFlags", RunFlags, help_text)


def _described(name: str, base: type, help_text: str) -> type:
    return dataclasses.make_dataclass(name, [], bases=(base,), frozen=True, namespace={"__doc__": help_text})
