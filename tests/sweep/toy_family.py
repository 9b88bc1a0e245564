"""A family that trains in a moment, whose runs fail on request: `fault` names how, once or always.

once: a marker file under TOY_MARKS is made before the fault, and where there is one, the run is well.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bestguess.command import Absent, UserError
from bestguess.config import arrays
from bestguess.family import Family, Measured, Workings
from bestguess.report.story import Story
from bestguess.train.config import TrainConfig

FAULTS = ("raise", "raise-once", "kill-once", "nan", "nan-once", "figure", "memory", "prepare", "absent-once")
SEQUENCES = 64

FAMILY = Family(
    name="toy",
    title="A toy:",
    about="Train a toy.",
    config="tests.sweep.toy_family:ToyConfig",
    workings="tests.sweep.toy_family:ToyWorkings",
    reported="loss",
    levels={"score": (0.0, 1e6)},
)


@dataclass(frozen=True)
class ToyConfig:
    """One run of the toy."""

    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=20, batch_size=8, warmup_steps=3, validate_every=5, validation_sequences=4
        )
    )
    width: int = 1
    """Means nothing, but makes another shape."""
    fault: str = arrays("")
    """Makes no other shape."""

    def check(self) -> None:
        if self.fault not in ("", *FAULTS):
            raise UserError(f"fault: no fault {self.fault!r}")
        self.train.check()


class Found(NamedTuple):
    """An evaluation: the squared error of every sequence, over steps and features."""

    errors: Any
    by_position: Any
    ceiling: float
    sick: bool


class ToyWorkings(Workings[ToyConfig, Any, Callable, Found]):
    """Inputs are white noise, a fixed map of them is to be predicted: the best predictor knows the map."""

    def task(self, config: ToyConfig) -> Any:
        import jax
        import numpy as np

        from tests.train.toy import members

        if config.fault == "prepare":
            raise ValueError("no such system")
        if config.fault == "absent-once" and first_time(config):
            raise Absent("--start there: no such folder; train that model first")
        if config.fault == "memory":
            raise RuntimeError("RESOURCE_EXHAUSTED: injected")
        made = members(rates=(0.0,), seeds=(config.train.first_seed,)).task
        return jax.tree.map(lambda leaf: np.asarray(leaf)[0], made)

    def problem(self, configs: Sequence[ToyConfig], tasks: Sequence[Any]) -> Any:
        from tests.train.toy import ToyProblem

        return ToyProblem()

    def own(self, configs: Sequence[ToyConfig], tasks: Sequence[Any]) -> Any:
        import numpy as np

        from tests.train.toy import NO_KEY, key_of, members

        poison = []
        for one in configs:
            sick = one.fault == "nan" or (one.fault == "nan-once" and first_time(one))
            poison.append(key_of(one.train.first_seed, step=7, sequence=0) if sick else NO_KEY)
        seeds = tuple(one.train.first_seed for one in configs)
        return members(rates=(0.0,) * len(seeds), seeds=seeds, nan_loss_at=np.stack(poison)).task

    def predictor(self, model: Any, task: Any) -> Callable:
        import numpy as np

        first, bias, second = (np.asarray(leaf) for leaf in (model.first, model.bias, model.second))
        return Learnt(lambda x: np.tanh(x @ first + bias) @ second)

    def oracle(self, config: ToyConfig, task: Any) -> Callable:
        return lambda x: x @ task.map

    def constant(self, config: ToyConfig, task: Any) -> Callable:
        return lambda x: 0 * (x @ task.map)

    def outside(self, config: ToyConfig, task: Any, predict: Callable) -> Callable:
        return predict

    def sequences(self, config: ToyConfig, task: Any, count: int) -> Any:
        import numpy as np

        from tests.train.toy import D, T

        draw = np.random.default_rng(config.train.first_seed)
        return draw.normal(size=(count, T, D)).astype(np.float32)

    def evaluate(
        self, config: ToyConfig, task: Any, predictor: Callable, parts: Sequence[str], sequences=None, say=print
    ) -> Found:
        # In the self-test too: evaluators are shared by the runs of a task, so that one may meet no fault else.
        if config.fault == "raise" or (config.fault == "raise-once" and first_time(config)):
            raise RuntimeError("injected")
        if config.fault == "kill-once" and first_time(config):
            os.kill(os.getpid(), signal.SIGKILL)
        x = self.sequences(config, task, sequences or SEQUENCES)
        errors = ((predictor(x) - x @ task.map) ** 2).sum(axis=-1)
        sick = config.fault == "figure" and isinstance(predictor, Learnt)
        return Found(errors.mean(axis=1), errors.mean(axis=0), float((task.map**2).sum()), sick)

    def measured(self, config: ToyConfig, task: Any, found: Found) -> list[Measured]:
        count = len(found.errors)
        error = float(found.errors.std(ddof=1)) / count**0.5
        return [Measured("all", float(found.errors.mean()), error, count, 0.0, found.ceiling, 1.0)]

    def by_position(self, found: Found) -> Any:
        return found.by_position

    def figures(self, found: Found, part: str) -> dict[str, Any]:
        return self.record(found)

    def record(self, found: Found) -> dict[str, Any]:
        return {"loss": float("nan") if found.sick else float(found.errors.mean()), "skill": None}

    def table(self, training: Any, results: Any) -> tuple[list[str], list[list[Any]], str]:
        return ["loss"], [[one["loss"]] for one in results["evaluation"]["runs"]], "The toy"

    def story(self, training: Any, results: Any) -> Story:
        return Story("The toy", "", training.headline(results))


@dataclass(frozen=True)
class Learnt:
    """A trained model as a predictor."""

    predict: Callable

    def __call__(self, x: Any) -> Any:
        return self.predict(x)


def first_time(config: ToyConfig) -> bool:
    mark = Path(os.environ["TOY_MARKS"]) / f"{config.fault}-{config.train.first_seed}-{config.train.learning_rate[0]}"
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
