"""The config of the rolls family. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from bestguess.command import UserError, check_range
from bestguess.config import flag
from bestguess.nn.config import Activation, DesignConfig
from bestguess.train.config import TrainConfig

VALUES = 1 << 16
"""Number of different uint16 values."""
RAW = 1024
"""Most distinct values of the training part that become tokens as they are, with --tokens auto."""

Tokens = Literal["auto", "raw", "adaptive", "uniform", "bits", "digits"]
Feed = Literal["auto", "resident", "host"]


@dataclass(frozen=True)
class RollsTaskConfig:
    """A file of uint16 values, or values of a source whose oracle is known; the model predicts the next values."""

    MOST: ClassVar[dict[str, int]] = dict.fromkeys(("n", "max_samples", "test_samples"), 1 << 40)

    u16_path: str | None = None
    """File of unsigned 16-bit values, little-endian, without a header. Default: values drawn from --source."""
    sha256: str | None = None
    """SHA-256 of the file, in hexadecimal; another file is refused. `rolls train` notes it here."""
    source: str = "hmm"
    """Source of the values if there is no file, with its parameters: "lcg modulus=65536 drop=0". The run's seed draws \
them."""
    n: int = 300_000
    """Number of values that are drawn from the source."""
    window: int = 128
    """Context length (values)."""
    tokens: Tokens = "auto"
    """Tokens: a value each (raw), if at most 1024 occur in training, otherwise bins of equal mass there (adaptive); \
bins of equal width (uniform); values embedded by their bits, whose logits are linear in them (bits); or two tokens a \
value (digits)."""
    vocab: int = 1024
    """Number of adaptive or uniform bins."""
    validation: float = 0.05
    """Fraction of the values, before the test part, that select weights and rates."""
    test: float = 0.05
    """Fraction of the values, at the end, that are reported on."""
    max_samples: int | None = None
    """Most values of the training part that are predicted in an epoch; None: all."""
    test_samples: int = 1 << 20
    """Most values of the test part that are predicted."""
    feed: Feed = "auto"
    """Place of the values: on the device (resident), or read from the file as they are needed (host)."""
    workers: int = 1
    """Threads that read windows of a host-fed file."""
    level: float = 0.01
    """Probability of a false alarm, for each of the three questions."""

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value is impossible."""
        check_range("--n", self.n, 1)
        check_range("--window", self.window, 2, 2000)
        check_range("--vocab", self.vocab, 2, VALUES)
        for name in ("validation", "test"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"--{name} {getattr(self, name):g}: a fraction of the values, above 0 and below 1")
        if self.validation + self.test >= 1:
            raise UserError(
                f"--validation {self.validation:g}: with --test {self.test:g} it leaves nothing to train on"
            )
        for name in ("max_samples", "test_samples"):
            check_range(flag(name), getattr(self, name), 1)
        check_range("--workers", self.workers, 1, 256)
        if not 0 < self.level < 1:
            raise UserError(f"--level {self.level:g}: not between 0 and 1; use 0.01, for example")
        if self.u16_path is None and self.feed == "host":
            raise UserError("--feed host: reads a file; give one with --u16-path")

    def idle(self) -> dict[str, str]:
        """Return the fields that do nothing as the others stand, each with what it needs."""
        return {} if self.u16_path is None else dict.fromkeys(("source", "n"), "values that are drawn: drop --u16-path")


@dataclass(frozen=True)
class RollsModelConfig(DesignConfig):
    """The transformer, whose output heads predict the next 1 … k values."""

    layers: int = 2
    """Number of transformer blocks."""
    d_model: int = 64
    """Width of the residual stream (features)."""
    heads: int = 4
    """Number of attention heads. Must divide --d-model; with RoPE the head size must be even."""
    activation: Activation = "swiglu"
    """Activation function of the feed-forward layer."""
    outputs: int = 4
    """Number of output heads, k: head h predicts the value h steps ahead."""

    @property
    def hidden_dim(self) -> int:
        """Hidden width of the feed-forward layer: that of a plain one of 4 · d_model, or as many parameters gated."""
        return (
            gated_width(4 * self.d_model) if self.d_ff is None and self.activation == "swiglu" else super().hidden_dim
        )

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if the shape is impossible."""
        super().check()
        check_range("--outputs", self.outputs, 1, 64)


def gated_width(plain: int) -> int:
    """Return the width of a gated feed-forward layer with about the parameters of a plain one: ⅔ of it.

    A multiple of 64, where that is large: 2048 gives 1344.
    """
    step = 64 if plain >= 256 else 8
    return max(step, step * round(plain * 2 / 3 / step))


@dataclass(frozen=True)
class RollsObjectiveConfig:
    """What is done to the training windows; targets are never changed."""

    noise: float = 0.0
    """Fraction of the input values that are replaced by others, drawn from the training part's distribution."""
    masking: float = 0.0
    """Fraction of the input values that are replaced by a mask token."""
    label_smoothing: float = 0.0
    """Probability that is spread evenly over all tokens in the target; it spoils calibration."""

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value is impossible."""
        for name in ("noise", "masking", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name):g}: at least 0 and below 1")


@dataclass(frozen=True)
class RollsConfig:
    """Everything that determines the result of a training: what `config.yaml` holds."""

    task: RollsTaskConfig = field(default_factory=RollsTaskConfig)
    model: RollsModelConfig = field(default_factory=RollsModelConfig)
    objective: RollsObjectiveConfig = field(default_factory=RollsObjectiveConfig)
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=400,
            batch_size=32,
            learning_rate=(2e-3,),
            warmup_steps=40,
            validate_every=40,
            validation_sequences=8192,
            patience=3,
            beta2=0.95,
        )
    )

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value or a combination is impossible."""
        self.task.check()
        self.model.check()
        self.objective.check()
        self.train.check()
        if self.model.outputs >= self.task.window:
            raise UserError(f"--outputs {self.model.outputs}: must be fewer than --window {self.task.window}")


BY_EPOCHS = 0
"""Steps of a preset whose number follows from the file's length."""


def _large() -> RollsConfig:
    """Return the preset for a file: 27 million parameters, steps by epochs."""
    config = RollsConfig()
    return dataclasses.replace(
        config,
        model=RollsModelConfig(layers=8, d_model=512, heads=8),
        train=dataclasses.replace(
            config.train,
            steps=BY_EPOCHS,
            batch_size=256,
            learning_rate=(3e-4,),
            warmup_steps=0,
            validate_every=1000,
            patience=5,
        ),
    )


BASES: Mapping[tuple[str, ...], RollsConfig] = {
    ("default",): RollsConfig(),
    ("small",): RollsConfig(),
    ("large",): _large(),
}
"""Where the other flags' defaults come from, by preset. With a file, large stands for the default."""
