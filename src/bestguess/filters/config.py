"""The config of the filters family, and its presets. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, ClassVar, Literal

import tyro

from bestguess.command import UserError, check_range
from bestguess.config import added, arrays, axis, flag
from bestguess.nn.config import DecoderConfig
from bestguess.train.config import TrainConfig

Structure = Literal["diagonal", "diagonal-real", "rotated", "dense"]
PATCHES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class FilterTaskConfig:
    """The linear state-space system x' = A x + ε, y = C x + v; the model predicts the next y."""

    MOST: ClassVar[dict[str, int]] = {
        "latent_dim": 1 << 14,
        "observed_dim": 1 << 12,
        "length": 1 << 17,
        "systems": 1 << 16,
        "held_out": 1 << 16,
    }

    lambda_: Annotated[tuple[float, ...], tyro.conf.arg(name="lambda")] = axis((0.9,), "λ", always=True)
    """Spectral radius λ of A, in (0, 1): the moduli of its eigenvalues lie in [λ/2, λ]. Give several to train one run \
each."""
    structure: tuple[Structure, ...] = axis(("diagonal",), "")
    """Structure of A: diagonal with complex-conjugate pairs (2×2 rotations), diagonal with real eigenvalues, the \
diagonal A rotated by an orthogonal matrix (the negative control), or a dense A with the same eigenvalues and \
non-normal eigenvectors. Give several to train one run each."""
    moduli: Literal["attained", "bounded"] = added("attained", before="bounded", arrays=True)
    """Law of the moduli: one pair of eigenvalues (or one real eigenvalue) at λ and the others uniform on [λ/2, λ], so \
that λ is attained; or all of them uniform on it, so that λ is only a bound."""
    system_seed: int | None = added(None, arrays=True)
    """Seed of the system, if it is not to be each run's own: several seeds then train on one system."""
    systems: int | None = added(None)
    """Number K of systems, unknown in context: each sequence comes from one of them, the model is not told which, and \
the oracle is the Bayes mixture of their K Kalman filters. The default is one system. No rollouts."""
    held_out: int = added(256)
    """Number of systems that are held out, on which the runs are judged too (with --systems)."""
    latent_dim: int = 64
    """Dimension of the state x."""
    observed_dim: int = 2
    """Dimension of the observation y; at most --latent-dim, unless there is observation noise."""
    sigma: float = arrays(1.0)
    """Standard deviation of the process noise ε in each dimension (units of y)."""
    observation_noise: float = added(0.0, arrays=True)
    """Standard deviation of the observation noise v in each dimension (units of y), which the Kalman filter knows; \
with 0, y is C x itself."""
    length: int = 256
    """Sequence length T (steps)."""
    condition: float = arrays(10.0)
    """Condition number of the eigenvector matrix of a dense A; 1 makes A normal."""

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value is impossible."""
        for name in ("latent_dim", "observed_dim", "length"):
            check_range(flag(name), getattr(self, name), 1)
        if not 1e-6 <= self.sigma <= 1e6:
            raise UserError(
                f"--sigma {self.sigma}: must lie in [1e-6, 1e6]; without noise there is nothing to filter, and beyond "
                "that range squares leave float32"
            )
        check_range("--system-seed", self.system_seed, 0)
        if self.observation_noise and not 1e-6 <= self.observation_noise <= 1e6:
            raise UserError(f"--observation-noise {self.observation_noise}: must be 0 or lie in [1e-6, 1e6]")
        if self.observed_dim > self.latent_dim and not self.observation_noise:
            raise UserError(
                f"--observed-dim {self.observed_dim}: more than --latent-dim {self.latent_dim}, so C cannot have full "
                "row rank; lower it, raise --latent-dim or give --observation-noise"
            )
        for name, least in (("systems", 1), ("held_out", 2)):
            check_range(flag(name), getattr(self, name), least)
        if not 1 <= self.condition <= 1e4:
            raise UserError(f"--condition {self.condition:g}: must lie in [1, 1e4]; beyond, float64 loses the filter")
        for name in ("lambda_", "structure"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise UserError(f"{flag(name)} {' '.join(map(str, values))}: give each value once, and at least one")
        for value in self.lambda_:
            if not 0 < value < 1:
                raise UserError(f"--lambda {value}: must lie between 0 and 1, or the system is not stable")


@dataclass(frozen=True)
class FilterModelConfig(DecoderConfig):
    """The transformer and its input."""

    patch: int = 1
    """Patch size: time steps per token, 1, 2, 4, 8, 16 or 32. Each token predicts the whole next patch."""
    normalisation: Literal["none", "input", "instance"] = "input"
    """Scaling of y: none; division by the standard deviation of the process; or causal reversible instance \
normalisation, by the running mean and standard deviation of each sequence."""
    prior_steps: float = added(8.0)
    """Weight of the process's own mean and standard deviation in the running ones, in steps (instance)."""
    told_statistics: bool = added(False)
    """Whether each token also holds the mean and the log deviation that it was normalised by (instance)."""

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value is impossible."""
        super().check()
        if not 0 < self.prior_steps < float("inf"):
            raise UserError(f"--prior-steps {self.prior_steps:g}: must be positive and finite")


@dataclass(frozen=True)
class RolloutConfig:
    """Rollouts after training: predictions are fed back as observations."""

    MOST: ClassVar[dict[str, int]] = {"rollouts": 1 << 24}

    context: int = 64
    """Observed steps before the rollout starts."""
    horizons: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    """Horizons h, in steps, at which the prediction of y_{t+h} is compared with the Kalman filter's."""
    rollouts: int = 8192
    """Number of parallel rollouts, split into batches if memory is short."""

    def check(self, task: FilterTaskConfig, model: FilterModelConfig) -> None:
        """Raise a UserError that names the flag at fault, if a value is impossible."""
        if self.context < 1 or self.context % model.patch:
            raise UserError(f"--context {self.context}: must be a positive multiple of --patch {model.patch}")
        if not self.horizons or min(self.horizons) < 1:
            raise UserError(f"--horizons {' '.join(map(str, self.horizons)) or '(none)'}: give positive horizons")
        if tuple(sorted(set(self.horizons))) != self.horizons:
            raise UserError(f"--horizons {' '.join(map(str, self.horizons))}: must increase")
        if self.context + max(self.horizons) > task.length:
            raise UserError(
                f"--context {self.context} and --horizons {max(self.horizons)} reach past --length {task.length}; "
                "lower one of them"
            )
        if self.rollouts < 2:
            raise UserError(f"--rollouts {self.rollouts}: at least 2, for a standard error")


@dataclass(frozen=True)
class FiltersConfig:
    """Everything that determines the result of a training: what `config.yaml` holds."""

    MOST: ClassVar[dict[str, int]] = {"test_sequences": 1 << 24}

    task: FilterTaskConfig = field(default_factory=FilterTaskConfig)
    model: FilterModelConfig = field(default_factory=FilterModelConfig)
    train: TrainConfig = field(default_factory=lambda: TrainConfig(optimizer="muon"))
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    test_sequences: int = 2048
    """Number of test sequences, drawn independently of the training and validation sequences."""

    def idle(self) -> dict[str, str]:
        """Return the fields, by dotted name, that do nothing as the others stand, each with what it needs."""
        found: dict[str, str] = {}
        if self.model.normalisation != "instance":
            found |= dict.fromkeys(("model.prior_steps", "model.told_statistics"), "--normalisation instance")
        if "dense" not in self.task.structure:
            found["task.condition"] = "--structure dense"
        if self.task.systems is None:
            found["task.held_out"] = "--systems"
        else:
            names = (f"rollout.{one.name}" for one in fields(self.rollout))
            found |= dict.fromkeys(names, "one known system: there are no rollouts with --systems")
        return found

    def check(self) -> None:
        """Raise a UserError that names the flag at fault, if a value or a combination is impossible."""
        self.task.check()
        self.model.check()
        self.train.check()
        if self.model.patch not in PATCHES:
            raise UserError(f"--patch {self.model.patch}: must be one of {', '.join(map(str, PATCHES))}")
        if self.task.length % self.model.patch:
            raise UserError(f"--length {self.task.length}: must be a multiple of --patch {self.model.patch}")
        if self.task.length < 2 * self.model.patch:
            raise UserError(
                f"--length {self.task.length}: holds one patch of {self.model.patch}; at least two are needed, one as "
                "context and one as target"
            )
        if self.task.systems is None:  # of unknown systems there are no rollouts
            self.rollout.check(self.task, self.model)
        if self.test_sequences < 2:
            raise UserError(f"--test-sequences {self.test_sequences}: at least 2, for a standard error")


def brief() -> FiltersConfig:
    """Return the original design's full size with its reversible instance normalisation, whose statistics are told."""
    return FiltersConfig(model=FilterModelConfig(normalisation="instance", prior_steps=64.0, told_statistics=True))


def small() -> FiltersConfig:
    """Return the preset that two CPU cores train in minutes."""
    return FiltersConfig(
        task=FilterTaskConfig(latent_dim=8, observed_dim=2, length=64),
        model=FilterModelConfig(layers=2, d_model=64, heads=4),
        train=TrainConfig(
            steps=400, batch_size=32, learning_rate=(3e-3,), warmup_steps=50, validate_every=25, beta2=0.99
        ),
        rollout=RolloutConfig(context=32, horizons=(2, 4, 8, 16, 32), rollouts=1024),
        test_sequences=1024,
    )


PRESETS = {("default",): FiltersConfig(), ("brief",): brief(), ("small",): small()}
"""Where the flags' defaults come from, by --preset."""
