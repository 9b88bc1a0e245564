"""The flags of the integers family, and the runs that they make. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from bestguess.command import UserError
from bestguess.nn.config import DesignConfig, Positions
from bestguess.train.config import TrainConfig

CLASSES = 256
"""Values that a term can take: 0 to 255."""
MAX_LENGTH = 16

Embedding = Literal["learned", "fourier", "number-theoretic", "binary", "tuple"]
WIDTHS: dict[Embedding, int] = {"learned": 256, "fourier": 16, "number-theoretic": 17, "binary": 8, "tuple": 2}
"""Features of a number."""
Head = Literal["classification", "features", "differences", "regression"]
Loss = Literal["standard", "weighted", "distance"]
Weight = Literal["linear", "quadratic", "root"]
Design = Literal["default", "document", "lifted"]
Preset = Literal["default", "small"]


@dataclass(frozen=True)
class IntegerTaskConfig:
    """Integer sequences that follow a recurrence; the next term is to be predicted."""

    length: int = 8
    """The longest context (terms); the one after it is still predicted."""
    lengths: Literal["fixed", "variable"] = "fixed"
    """Whether all training sequences are full, or cut after 2 to --length terms more or less, and padded."""
    overflow: Literal["wrap", "end"] = "wrap"
    """What becomes of a term below 0 or above 255: taken modulo 256, or the sequence ends before it."""
    phases: int = 3
    """Families of sequences: those of phase 1, of 1 and 2, or of all 3."""
    curriculum: Literal["none", "strict", "gradual"] = "none"
    """When the phases come in: all at once; one after the other; with linear transitions that overlap."""
    held_out: float = 0.1
    """Share of full contexts that training never sees, chosen by a hash of their terms; the evaluation reports them."""
    validation: float = 0.05
    """Share of further such contexts, by which validation chooses; 0: it takes fresh draws of what training draws."""

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value is impossible."""
        if not 2 <= self.length <= MAX_LENGTH:
            raise UserError(f"--length {self.length}: must be from 2 to {MAX_LENGTH}")
        if self.phases not in (1, 2, 3):
            raise UserError(f"--phases {self.phases}: must be 1, 2 or 3")
        if not 0 < self.held_out < 1:
            raise UserError(f"--held-out {self.held_out:g}: must lie between 0 and 1, or one part has no rows")
        if not 0 <= self.validation < 1 - self.held_out:
            raise UserError(
                f"--validation {self.validation:g}: must not be negative, and leave something beside --held-out "
                f"{self.held_out:g} to train on"
            )


@dataclass(frozen=True)
class IntegerModelConfig(DesignConfig):
    """The transformer, what it sees of a number, and how it answers."""

    layers: int = 4
    """Number of blocks, each attention then feed-forward."""
    d_model: int = 256
    """Width of the residual stream (features)."""
    dropout: float = 0.1
    """Share of features that training drops, of the embedding and of every branch. Rows are few and return often: \
without it a model learns them by heart."""
    positions: Positions = "learned"
    """How terms know where they stand: rotated queries and keys, a learned vector added to each position, not at all. \
Rotation alone cannot count: where all terms are equal, every position gives the same answer."""
    embedding: Embedding = "fourier"
    """What the model sees of a number: nothing but which it is; sines and cosines; residues, divisibility and the \
like; its 8 bits; its two digits to base 16."""
    lift: bool = True
    """Map the embedding's features linearly to --d-model; without, there must be as many of them."""
    head: Head = "differences"
    """256 logits; the same plus a linear function of each number's features, so that numbers alike in these share \
what is learnt; the same plus logits of the difference to the last term, modulo 256; or one number μ and a learned \
deviation σ, read as a discretised Gaussian over the 256 values."""

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if the shape is impossible."""
        super().check()
        width = WIDTHS[self.embedding]
        if not self.lift and width != self.d_model:
            raise UserError(
                f"--no-lift: --embedding {self.embedding} has {width} features; give it --d-model {width}, or lift them"
            )


@dataclass(frozen=True)
class ObjectiveConfig:
    """What training makes small."""

    loss: Loss = "standard"
    """−log p; −log p times 1 + α·distance; the distance alone."""
    alpha: tuple[float, ...] = (0.1,)
    """α of the weighted loss (1/distance); several make several runs."""
    weight: Weight = "linear"
    """The distance of two numbers: |a − b| (in classes, 0 to 255), its square, its square root."""
    distance_by: Literal["argmax", "expected"] = "argmax"
    """Distance of the target from the likeliest number, which has no gradient of its own; or its expectation under \
the model, which has."""
    prefixes: Literal["all", "full"] = "all"
    """Which positions count: every prefix's next term, or only a whole sequence's last."""
    masked: Literal["ignored", "included", "weighted"] = "ignored"
    """Positions behind a sequence's end: no part of the loss; as good as others, to be predicted as 0; or by \
--masked-weight."""
    masked_weight: float = 0.1
    """What a masked position counts, where they are weighted."""
    stop_on: Literal["loss", "last", "accuracy", "combined"] = "loss"
    """The score that chooses the best weights and stops early: the validation loss, the log loss of each sequence's \
last term alone, the share of wrong guesses, or the first over a random guess's plus the third."""

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value is impossible."""
        if not self.alpha or len(set(self.alpha)) < len(self.alpha):
            raise UserError(f"--alpha {' '.join(map(str, self.alpha))}: give each value once, and at least one")
        for alpha in self.alpha:
            if not 0 <= alpha < float("inf"):
                raise UserError(f"--alpha {alpha:g}: must be finite and not negative")
        if len(self.alpha) > 1 and self.loss != "weighted":
            raise UserError(f"--alpha {' '.join(map(str, self.alpha))}: several only with --loss weighted")
        if not 0 <= self.masked_weight < float("inf"):
            raise UserError(f"--masked-weight {self.masked_weight:g}: must be finite and not negative")


@dataclass(frozen=True)
class IntegersConfig:
    """Everything that determines the result of a training: what `config.yaml` holds."""

    task: IntegerTaskConfig = field(default_factory=IntegerTaskConfig)
    model: IntegerModelConfig = field(default_factory=IntegerModelConfig)
    objective: ObjectiveConfig = field(default_factory=lambda: ObjectiveConfig(stop_on="last"))
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=15_000,
            batch_size=512,
            learning_rate=(2e-3,),
            warmup_steps=500,
            weight_decay=3.0,
            validate_every=500,
            validation_sequences=8192,
            beta2=0.99,
        )
    )

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value or a combination is impossible."""
        self.task.check()
        self.model.check()
        self.objective.check()
        self.train.check()

    def product(self) -> int:
        """Return the multiply-adds of a product of a micro-batch's tokens with a square matrix of the model's width."""
        return self.train.batch_size // self.train.accumulate * self.task.length * self.model.d_model**2

    def runs(self) -> list[Run]:
        """Return the runs, in the order of the ensemble's run axis: α, seed, then learning rate."""
        seeds = range(self.train.first_seed, self.train.first_seed + self.train.seeds)
        settings = itertools.product(self.objective.alpha, seeds, self.train.learning_rate)
        return [Run(*setting) for setting in settings]


@dataclass(frozen=True)
class Run:
    """What sets one run of the ensemble apart."""

    alpha: float
    seed: int
    learning_rate: float

    def label(self, among: list[Run]) -> str:
        """Return the run's name among others: only what differs between them."""
        parts = {
            "α": lambda run: f"{run.alpha:g}",
            "rate": lambda run: f"{run.learning_rate:g}",
            "seed": lambda run: f"{run.seed}",
        }
        told = [f"{k} {p(self)}" for k, p in parts.items() if len({p(run) for run in among}) > 1]
        return ", ".join(told) or "the run"


def document() -> IntegersConfig:
    """Return the ticked choices of the design document, to the letter.

    Of one or two layers, two: nested sequences take two looks at the past. Its rate, 1e-3, is AdamW's own
    default; its minimum of 1e-6 is a share of 1e-3. Two heads of one feature cannot be rotated, so positions
    are learned.
    """
    return IntegersConfig(
        task=IntegerTaskConfig(curriculum="gradual", validation=0.0),
        model=IntegerModelConfig(
            layers=2,
            d_model=2,
            heads=2,
            d_ff=32,
            dropout=0.0,
            activation="relu",
            norm="layer",
            norm_place="post",
            positions="learned",
            embedding="tuple",
            lift=False,
            head="classification",
        ),
        objective=ObjectiveConfig(loss="weighted", alpha=(0.1,)),
        train=TrainConfig(
            steps=50_000,
            batch_size=32,
            learning_rate=(1e-3,),
            warmup_steps=5000,
            final_learning_rate=1e-3,
            validate_every=1000,
            validation_sequences=100,
            patience=10,
            min_delta=0.001,
        ),
    )


def lifted() -> IntegersConfig:
    """Return the document's choices in a width of 64, to which its two features are mapped: there, choices can act."""
    config = document()
    return dataclasses.replace(config, model=dataclasses.replace(config.model, d_model=64, lift=True))


def _small(config: IntegersConfig) -> IntegersConfig:
    """The sequences of phase 1, and a training that two CPU cores do in minutes."""
    return dataclasses.replace(
        config,
        task=dataclasses.replace(config.task, phases=1),
        train=dataclasses.replace(
            config.train, steps=6000, batch_size=64, warmup_steps=300, validate_every=200, validation_sequences=256
        ),
    )


def _small_default() -> IntegersConfig:
    """The default in a size for a CPU.

    So short a training does better with little weight decay and without dropout: on validation rows a mean regret of
    0.023 nats, against 0.063 with a decay of 4.5 and 0.033 with the default's dropout (seed 0).
    """
    config = IntegersConfig(
        model=IntegerModelConfig(layers=2, d_model=64, dropout=0.0),
        objective=ObjectiveConfig(),
        train=dataclasses.replace(IntegersConfig().train, learning_rate=(1e-3,), weight_decay=0.01),
    )
    return _small(config)


BASES: dict[tuple[Preset, Design], IntegersConfig] = {
    ("default", "default"): IntegersConfig(),
    ("default", "document"): document(),
    ("default", "lifted"): lifted(),
    ("small", "default"): _small_default(),
    ("small", "document"): _small(document()),
    ("small", "lifted"): _small(lifted()),
}
"""Where the other flags' defaults come from, by preset and design."""

Tracker = Literal["jsonl", "tensorboard", "wandb"]


@dataclass(frozen=True)
class TrainFlags(IntegersConfig):
    """Train transformers to predict integer sequences, beside the exact Bayes predictor.

    One program trains every combination of --alpha, --learning-rate and seed. The folder left behind is taken
    by the family's other commands.
    """

    design: Design = "default"
    """Where the other flags' defaults come from: the best design that was found; the design document's choices; the \
same in a width of 64."""
    preset: Preset = "default"
    """At which size: all phases, or phase 1 for a laptop's CPU."""
    track: tuple[Tracker, ...] = ("jsonl",)
    """Where metrics go besides metrics.jsonl, which is always written."""
    out: Path | None = None
    """Folder of the training; a new one under runs/integers by default."""
    resume: Path | None = None
    """Folder of a training that was cut off, to go on with; its own configuration is used."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""

    WITH_RESUME: ClassVar = ("--track", "--json", "--no-json")

    @staticmethod
    def presets() -> dict[str, TrainFlags]:
        """Return each preset's default design as a whole set of flags."""
        return {preset: made for (preset, design), made in _bases().items() if design == "default"}

    def designs(self) -> dict[str, TrainFlags]:
        """Return each design at this preset's size as a whole set of flags."""
        return {design: made for (preset, design), made in _bases().items() if preset == self.preset}

    def config(self) -> IntegersConfig:
        """Return the part that determines the result."""
        return IntegersConfig(**{f.name: getattr(self, f.name) for f in dataclasses.fields(IntegersConfig)})


def _bases() -> dict[tuple[Preset, Design], TrainFlags]:
    fields = dataclasses.fields(IntegersConfig)
    return {
        (preset, design): TrainFlags(**{f.name: getattr(config, f.name) for f in fields}, preset=preset, design=design)
        for (preset, design), config in BASES.items()
    }
