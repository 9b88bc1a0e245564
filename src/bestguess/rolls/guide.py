"""What the training guide's flags come to: epochs as steps, micro-batches as batches, a plain width as a gated one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from bestguess.command import UserError, check_range
from bestguess.config import flag
from bestguess.rolls.config import BY_EPOCHS, RollsConfig, gated_width
from bestguess.rolls.values import rolls_of, split_of, split_of_file, windows_in

EPOCHS, WARMUP, ACCUMULATION = 2.0, 0.1, 4
"""What is taken with a file, where nothing is said."""
_MANY = 1000
"""Steps of an epoch from which on gradients are accumulated."""


def completed(config: RollsConfig, flags: Any, base: RollsConfig) -> RollsConfig:
    """Return the config with the guide's flags in it; UserError where one contradicts another.

    flags: `GuideFlags`. base: the preset's config: what differs from it was given by the flag of its name.
    """
    try:
        return _completed(config, flags, base)
    except UserError as error:
        raise UserError(_as_typed(str(error), flags)) from None


def _completed(config: RollsConfig, flags: Any, base: RollsConfig) -> RollsConfig:
    _refuse_twice(config, flags, base)
    model, train, task = config.model, config.train, config.task
    if flags.nlayers is not None:
        model = dataclasses.replace(model, layers=flags.nlayers)
    if flags.nhead is not None:
        model = dataclasses.replace(model, heads=flags.nhead)
    if flags.dim_ff is not None:
        check_range("--dim-ff", flags.dim_ff, 1)
        gated = model.activation == "swiglu"
        model = dataclasses.replace(model, d_ff=gated_width(flags.dim_ff) if gated else flags.dim_ff)
    if flags.use_amp:
        model = dataclasses.replace(model, dtype="bfloat16")
    if flags.lr is not None:
        train = dataclasses.replace(train, learning_rate=flags.lr)
    if flags.eval_every is not None:
        train = dataclasses.replace(train, validate_every=flags.eval_every)
    if task.u16_path is not None:
        task = dataclasses.replace(task, u16_path=str(Path(task.u16_path).absolute()))
    config = dataclasses.replace(config, model=model, task=task)
    task.check()
    model.check()
    split = split_of(task.n, config) if task.u16_path is None else split_of_file(task, config)
    windows = windows_in(split.training, task.window)
    train = _batches(train, flags, windows, large=base.train.steps == BY_EPOCHS)
    epochs = EPOCHS if flags.epochs is None and train.steps == BY_EPOCHS else flags.epochs
    if epochs is not None:
        steps = train.for_epochs(epochs, windows).steps
        ratio = WARMUP if flags.warmup_ratio is None else flags.warmup_ratio
        warmup = train.warmup_steps
        if flags.warmup_ratio is not None or not flags.is_given("warmup_steps"):
            warmup = _warmup(ratio, steps)
        train = dataclasses.replace(train, steps=steps, warmup_steps=warmup)
    elif flags.warmup_ratio is not None:
        train = dataclasses.replace(train, warmup_steps=_warmup(flags.warmup_ratio, train.steps))
    if train.validation_sequences == base.train.validation_sequences:
        train = dataclasses.replace(train, validation_sequences=max(2, (1 << 20) // task.window))
    config = flags.shortened(dataclasses.replace(config, train=train))
    config.check()
    sha256 = None if task.u16_path is None else rolls_of(config).sha256
    return dataclasses.replace(config, task=dataclasses.replace(task, sha256=sha256))


def _batches(train, flags: Any, windows: int, *, large: bool):
    """Return the training config with the batch that --batch and --gradient-accumulation make."""
    for name in ("batch", "gradient_accumulation"):
        check_range(flag(name), getattr(flags, name), 1)
    micro = train.batch_size // train.accumulate if flags.batch is None else flags.batch
    times = flags.gradient_accumulation
    if times is None:
        times = train.accumulate
        if large and times == 1 and windows // micro >= _MANY:
            times = ACCUMULATION
    return dataclasses.replace(train, batch_size=micro * times, accumulate=times)


def _warmup(ratio: float, steps: int) -> int:
    if not 0 <= ratio < 1:
        raise UserError(f"--warmup-ratio {ratio:g}: a fraction of the steps, at least 0 and below 1")
    return min(round(ratio * steps), steps - 1)


_SAME = {
    "nlayers": ("model", "layers"),
    "nhead": ("model", "heads"),
    "dim_ff": ("model", "d_ff"),
    "lr": ("train", "learning_rate"),
    "eval_every": ("train", "validate_every"),
    "epochs": ("train", "steps"),
    "warmup_ratio": ("train", "warmup_steps"),
    "batch": ("train", "batch_size"),
    "gradient_accumulation": ("train", "accumulate"),
}
"""What a flag of the guide says by another flag."""


def _as_typed(message: str, flags: Any) -> str:
    """Return an error's message with the flags by the names that were used."""
    for name, (_, other) in _SAME.items():
        if getattr(flags, name) is not None and "give one of them" not in message:
            message = message.replace(f"--{other.replace('_', '-')} ", f"--{name.replace('_', '-')} ")
    return message


def _refuse_twice(config: RollsConfig, flags: Any, base: RollsConfig) -> None:
    for name, (room, other) in _SAME.items():
        given = getattr(getattr(config, room), other) != getattr(getattr(base, room), other)
        if getattr(flags, name) is not None and given:
            raise UserError(f"--{name.replace('_', '-')}: says what --{other.replace('_', '-')} says; give one of them")
