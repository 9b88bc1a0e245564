"""How runs are trained. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Literal

from bestguess.command import UserError
from bestguess.config import MOST, MOST_RUNS, added, arrays, axis, check_bounds, flag, infinite

Optimizer = Literal["adamw", "adam", "sgd", "muon"]
Schedule = Literal["cosine", "constant", "step", "exponential", "linear"]


@dataclass(frozen=True)
class TrainConfig:
    """How the runs are trained."""

    MOST: ClassVar[dict[str, int]] = {"seeds": MOST_RUNS, "batch_size": 1 << 24, "validation_sequences": 1 << 24}
    DROPPED: ClassVar[tuple[str, ...]] = ("epochs",)  # it set the steps, which stand beside it

    steps: int = 12_000
    """Number of optimiser steps."""
    batch_size: int = 64
    """Sequences per step and run."""
    learning_rate: tuple[float, ...] = axis((1e-3,), "rate", setting=False)
    """Peak learning rate. Give several to train one run each; validation data select one of them."""
    seeds: int = 1
    """Number of random seeds. A seed determines the task (unless it has a seed of its own), the initial weights and \
the data."""
    first_seed: int = arrays(0)
    """First seed; the others follow it consecutively."""
    warmup_steps: int = 500
    """Steps of linear warm-up from 0 to the peak learning rate. If it is not given and the default is no less than \
--steps, a tenth of the steps."""
    schedule: Schedule = "cosine"
    """Learning-rate schedule after warm-up: half a cosine, constant, a step function, exponential or linear decay."""
    hold: float = added(0.0)
    """Fraction of the steps after warm-up during which the rate stays at its peak before it decays."""
    final_learning_rate: float = 0.0
    """Final learning rate, as a fraction of the peak (every schedule but constant)."""
    learning_rate_drops: int = 3
    """Number of drops of the step schedule, equally spaced and by equal factors."""
    optimizer: Optimizer = "adamw"
    """AdamW (decoupled weight decay), Adam, SGD with momentum, or Muon, which updates the matrices of the blocks in \
orthogonal directions and all other weights by AdamW; learning rates and weight decays that suit AdamW suit Muon. Adam \
and SGD add the weight decay to the gradient."""
    beta1: float = 0.9
    """Decay rate of the first moment; the momentum of SGD."""
    beta2: float = 0.999
    """Decay rate of the second moment (every optimiser but sgd)."""
    momentum: float = added(0.95)
    """Nesterov momentum for the matrices that Muon updates (muon)."""
    weight_decay: float = 0.01
    """Weight decay of the matrices, per step and multiplied by the learning rate."""
    clip_norm: float = infinite(1.0)
    """Maximum global norm of the gradient; inf disables clipping by norm."""
    clip_value: float = infinite(float("inf"))
    """Maximum absolute value of a gradient entry, applied before --clip-norm; inf disables clipping by value."""
    average: float = added(0.0)
    """Decay rate of an exponential moving average of the weights, such as 0.998; 0 disables it. The averaged weights \
are validated, kept as the best and reported, and take as much memory as the model; training continues from the \
unaveraged weights. After t steps the rate is at most (1 + t) / (10 + t), so that early weights are soon forgotten."""
    accumulate: int = 1
    """Number of micro-batches per batch, to save memory; the gradient is that of the full batch."""
    validate_every: int = 100
    """Steps between validations, and per call of the compiled program."""
    validation_sequences: int = 256
    """Number of validation sequences, the same at every validation unless --fresh-validation."""
    fresh_validation: bool = added(False)
    """Draw new validation sequences at every validation. Scores, and so the choice of the best weights, then vary \
with the draw."""
    patience: int = 0
    """Early stopping: number of validations without improvement before a run stops; 0 disables it."""
    min_delta: float = 0.0
    """Smallest decrease of the validation score that counts as an improvement, as a fraction of the best score."""
    min_decrease: float = added(0.0)
    """Smallest decrease of the validation score that counts as an improvement, in the score's own unit; the larger of \
this and --min-delta counts."""
    checkpoint_every: float = infinite(60.0)
    """Seconds between checkpoints; 0 writes one after every validation. The last step is always saved."""

    def for_epochs(self, epochs: float, sequences: int | None = None) -> TrainConfig:
        """Return the config with the steps of so many epochs; UserError where that is no number of epochs.

        sequences: of one pass over the training data. None: they are drawn without end, and an epoch is the
        `validate_every` steps between two validations.
        """
        if not 0 < epochs <= MOST:
            raise UserError(f"--epochs {epochs:g}: must be positive, and at most {MOST:,}")
        sequences = self.validate_every * self.batch_size if sequences is None else sequences
        return dataclasses.replace(self, steps=max(1, math.ceil(epochs * sequences / self.batch_size)))

    def shortened(self, given: Collection[str]) -> TrainConfig:
        """Return the config with a warm-up and a hold that its steps and schedule have room for.

        given: names of fields that somebody chose, and which stay. A warm-up of all the steps or more becomes a tenth
        of them; a hold after which no step decays becomes 0.
        """
        made = self
        if "warmup_steps" not in given and made.warmup_steps >= made.steps:
            made = dataclasses.replace(made, warmup_steps=max(0, made.steps // 10))
        if "hold" not in given and (made.schedule == "constant" or made.decay_begins >= made.steps):
            made = dataclasses.replace(made, hold=0.0)
        return made

    def told_beside(self, base: TrainConfig) -> list[str]:
        """Return a line for each value that `shortened` put in place of one of `base`, the defaults."""
        lines = []
        if self.warmup_steps != base.warmup_steps and base.warmup_steps >= self.steps:
            lines.append(
                f"warm-up: {self.warmup_steps} of {self.steps} steps, in place of the default {base.warmup_steps} "
                "(--warmup-steps sets it)"
            )
        if self.hold != base.hold:
            lines.append(f"hold: {self.hold:g}, in place of the default {base.hold:g}, after which no step would decay")
        return lines

    @property
    def decay_begins(self) -> int:
        """Steps before the rate begins to decay: of the warm-up, and at the peak."""
        return self.warmup_steps + round(self.hold * (self.steps - self.warmup_steps))

    def idle(self) -> dict[str, str]:
        """Return the fields that do nothing as the others stand, each with what it needs."""
        found: dict[str, str] = {}
        if self.optimizer != "muon":
            found["momentum"] = "--optimizer muon"
        if self.optimizer == "sgd":
            found["beta2"] = "--optimizer adamw, adam or muon"
        if self.schedule == "constant":
            found["final_learning_rate"] = "a --schedule that decays"
        if self.schedule != "step":
            found["learning_rate_drops"] = "--schedule step"
        if not self.patience:
            found |= dict.fromkeys(("min_delta", "min_decrease"), "--patience")
        return found

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value is impossible."""
        check_bounds(self)
        positive = ["steps", "batch_size", "seeds", "accumulate", "validate_every", "validation_sequences", "clip_norm"]
        positive += ["learning_rate_drops", "clip_value"]
        not_negative = "first_seed warmup_steps final_learning_rate weight_decay patience min_delta checkpoint_every"
        not_negative += " min_decrease"
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
            raise UserError(f"--learning-rate {' '.join(map(str, self.learning_rate))}: a value is given twice")
        for name in ("beta1", "beta2", "momentum", "average", "hold"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{flag(name)} {getattr(self, name)}: must lie in [0, 1)")
        if self.final_learning_rate > 1:
            raise UserError(f"--final-learning-rate {self.final_learning_rate}: a fraction of the peak, at most 1")
        if self.schedule in ("step", "exponential") and not self.final_learning_rate:
            raise UserError(
                f"--schedule {self.schedule}: multiplies the rate and never reaches --final-learning-rate 0; "
                "give a fraction of the peak, such as 0.01"
            )
        if self.warmup_steps >= self.steps:
            raise UserError(
                f"--warmup-steps {self.warmup_steps}: must be fewer than --steps {self.steps}; try {self.steps // 10}"
            )
        if self.hold and self.schedule == "constant":
            raise UserError(
                f"--hold {self.hold}: the constant schedule never decays; drop it, or take --schedule linear"
            )
        if self.decay_begins >= self.steps:
            raise UserError(f"--hold {self.hold}: leaves none of {self.steps} steps to decay in; give less")
        if self.batch_size % self.accumulate:
            raise UserError(f"--accumulate {self.accumulate}: does not divide --batch-size {self.batch_size}")
        if self.validation_sequences < 2:
            raise UserError(f"--validation-sequences {self.validation_sequences}: at least 2")
        if self.first_seed + self.seeds > 2**31:
            raise UserError(f"--first-seed {self.first_seed}: seeds must stay below 2^31")
