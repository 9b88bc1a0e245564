"""How the rolls family is trained and judged: bits per value on the test part, against the source where it is known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bestguess.command import UserError
from bestguess.config import to_dict
from bestguess.family import Measured, Trained, Workings
from bestguess.report.story import Story
from bestguess.rolls import answers, page, trained
from bestguess.rolls.config import RollsConfig
from bestguess.rolls.evaluate import (
    TOPS,
    Constant,
    Evaluation,
    ModelPredictor,
    OraclePredictor,
    Outside,
    Predictor,
    evaluate,
)
from bestguess.rolls.evidence.joined import model_path
from bestguess.rolls.evidence.order import together
from bestguess.rolls.model import RollsModel, Shape, weights
from bestguess.rolls.problem import Data, Own, RollsProblem
from bestguess.rolls.task import About, RollsTask, task_of
from bestguess.task import skill
from bestguess.train.memory import device_memory

_SHARE = 4
"""A file may take up to 1/4 of a device's memory."""
_ON_CPU = 1 << 26
"""Bytes of a file that are kept in memory beside a CPU; more are read as they are needed."""
_INDEXED = 1 << 31
"""Most values on a device, where their indices have 32 bits."""
_PIECE = 1 << 25
"""Values that are moved to the device at a time."""


class RollsWorkings(Workings[RollsConfig, RollsTask, Predictor, Evaluation]):
    """The workings of the rolls family. A predictor takes windows [n, T + 1] and predicts all values but the first."""

    def task(self, config: RollsConfig) -> RollsTask:
        """Return the task of the run's values; the same object for the same values."""
        return task_of(config)

    def problem(self, configs: Sequence[RollsConfig], tasks: Sequence[RollsTask]) -> RollsProblem:
        """Return what trains models of one shape; values that all runs share, or that the host feeds, are its own."""
        config, about = configs[0], tasks[0].about
        shapes = {Shape.of(task.about.tokens) for task in tasks}
        if len(shapes) > 1:
            raise UserError(
                f"--tokens {config.task.tokens}: the runs' values have different numbers of tokens "
                f"({', '.join(str(one.vocab) for one in shapes)}); give --tokens uniform, or train the seeds apart"
            )
        fed = not resident(config, about)
        shared = len({id(task) for task in tasks}) == 1 or fed
        return RollsProblem(
            data=_data(config, about, fed, on_device=True) if shared else None,
            config=config,
            shape=shapes.pop(),
            windows=about.windows(about.split.training),
            last=about.split.training[1] - config.task.window - 1,
            rolls=about.rolls if fed else None,
        )

    def own(self, configs: Sequence[RollsConfig], tasks: Sequence[RollsTask]) -> Own:
        """Return each run's seed, and its values where runs do not share them."""
        seeds = np.asarray([config.train.first_seed for config in configs], np.int32)
        if len({id(task) for task in tasks}) == 1 or not resident(configs[0], tasks[0].about):
            return Own(seeds, None)
        every = [_data(config, task.about, False, on_device=False) for config, task in zip(configs, tasks)]
        return Own(seeds, jax.tree.map(lambda *leaves: np.stack(leaves), *every))

    def tokens(self, config: RollsConfig) -> int:
        """Return the positions of a window."""
        return config.task.window

    def sizes(self, config: RollsConfig) -> dict[str, int]:
        """Return the bytes of a micro-batch in the model, bfloat16 at the least, and of a validation's windows."""
        train, window = config.train, 2 * config.task.window
        return {
            f"--batch-size {train.batch_size}": train.batch_size // train.accumulate * window * config.model.d_model,
            f"--validation-sequences {train.validation_sequences}": train.validation_sequences * window,
        }

    def notes(self, config: RollsConfig) -> list[str]:
        """Return what the values are, how they are cut up, and whether several workers have anything to do."""
        about = self.task(config).about
        split, tokens = about.split, about.tokens
        count = weights(config.model, Shape.of(tokens), config.task.window)
        said = [
            f"{about.rolls.name}: {about.rolls.n:,} values; training {_range(split.training)}, validation "
            f"{_range(split.validation)}, test {_range(split.test)}",
            f"tokens: {tokens.kind}, {tokens.vocab:,}; {about.windows(split.training):,} windows of "
            f"{config.task.window} values an epoch; {count:,} weights, embeddings and heads included",
        ]
        if config.task.workers > 1 and resident(config, about):
            said.append(f"--workers {config.task.workers}: the values live on the device, so nothing is left to read")
        return said

    def told(self, config: RollsConfig, metrics: Mapping[str, float]) -> str:
        """Return the evidence of the first pass so far."""
        return answers.so_far(metrics["log10_e_largest"], int(metrics["first_pass_values"]), config.task.level)

    # Judging.

    def predictor(self, model: RollsModel, task: RollsTask) -> Predictor:
        """Return a trained model with its tokens."""
        return ModelPredictor(model, task.about.tokens)

    def oracle(self, config: RollsConfig, task: RollsTask) -> Predictor:
        """Return the source's own prediction; where no source is known, the training marginal.

        Of the marginal it is known otherwise, by counts, what it scores: that is the self-test then.
        """
        return OraclePredictor(task.about) if task.about.known else Constant(task.about.tokens.log_marginal)

    def constant(self, config: RollsConfig, task: RollsTask) -> Predictor:
        """Return the training marginal; where no source is known, the uniform distribution."""
        if task.about.known:
            return Constant(task.about.tokens.log_marginal)
        return Constant(np.zeros(task.about.rolls.classes))

    def outside(self, config: RollsConfig, task: RollsTask, predict: Callable[[np.ndarray], np.ndarray]) -> Predictor:
        """Return anybody's callable: windows [n, T + 1] → logits of every value from those before it, [n, T + 1, K]."""
        return Outside(predict)

    def predicted_size(self, config: RollsConfig, task: RollsTask) -> tuple[int]:
        """Return the number of values that have a probability."""
        return (len(task.about.tokens.log_marginal),)

    def sequences(self, config: RollsConfig, task: RollsTask, count: int) -> np.ndarray:
        """Return windows spread over the training part, int64 [count, T + 1]."""
        about = task.about
        windows = about.spread(about.split.training, count).astype(np.int64)
        return windows[np.arange(count) % len(windows)]

    def evaluated(self, config: RollsConfig) -> str:
        """Return the values and how they are cut up: neither the model nor the training changes what is evaluated."""
        drawn = config.train.first_seed if config.task.u16_path is None else None
        return json.dumps([to_dict(config.task), config.model.outputs, drawn], sort_keys=True)

    def evaluate(
        self,
        config: RollsConfig,
        task: RollsTask,
        predictor: Predictor,
        parts: Sequence[str],
        sequences: int | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> Evaluation:
        """Return the losses on the windows of the test part, or on the first so many."""
        most = max(1, config.task.test_samples // config.task.window)
        return evaluate(task.about, predictor, most if sequences is None else min(most, sequences))

    def measured(self, config: RollsConfig, task: RollsTask, found: Evaluation) -> list[Measured]:
        """Return the regret in bits per value; without a known source, the loss over the training marginal's."""
        if found.regret is not None:
            assert found.floor is not None
            assert found.ceiling is not None
            of_windows = found.regret.mean(axis=1)
            error = float(of_windows.std(ddof=1) / len(of_windows) ** 0.5) if len(of_windows) > 1 else 0.0
            floor, ceiling = float(found.floor.mean()), float(found.ceiling.mean())
            return [Measured("bits per value", float(of_windows.mean()), error, len(of_windows), floor, ceiling, 1.0)]
        expected = answers.marginal_bits(task.about, found.starts)
        uniform = math.log2(task.about.rolls.classes)
        over, count = found.bits - expected, len(found.starts)
        return [Measured("bits per value over the marginal", over, None, count, expected, uniform, max(1.0, uniform))]

    def by_position(self, found: Evaluation) -> np.ndarray:
        """Return the regret at each place of the window (bits); without a known source, the loss."""
        return -found.log_q.mean(axis=0) / math.log(2) if found.regret is None else found.regret.mean(axis=0)

    # What is written.

    def figures(self, found: Evaluation, part: str) -> dict[str, Any]:
        """Return the figures, those of every head, and by place in the window."""
        shown = self.record(found) | {"calibration": found.calibration()}
        shown["bits_by_position"] = -found.log_q.mean(axis=0) / math.log(2)
        if found.floor is not None:
            assert found.regret is not None
            shown |= {"floor_by_position": found.floor.mean(axis=0), "regret_by_position": found.regret.mean(axis=0)}
        for name in ("confidence", "entropy"):
            values = getattr(found, name)
            shown[f"{name}_quantiles"] = np.quantile(values, np.linspace(0, 1, 21))
        return shown

    def record(self, found: Evaluation) -> dict[str, Any]:
        """Return bits, accuracies and perplexity; regret, floor and skill where the oracle is known."""
        of_windows = -found.log_q.mean(axis=1) / math.log(2)
        count = len(of_windows)
        kept: dict[str, Any] = {
            "values": found.values,
            "bits_per_value": found.bits,
            "standard_error": float(of_windows.std(ddof=1) / count**0.5) if count > 1 else None,
            **{f"top{k}": found.top(k) for k in TOPS},
            "perplexity": 2.0**found.bits,
            "floor_bits": None,
            "regret": None,
            "skill": None,
        }
        if found.regret is not None:
            assert found.floor is not None
            assert found.ceiling is not None
            assert found.tops is not None
            floor, ceiling = float(found.floor.mean()), float(found.ceiling.mean())
            regret = float(found.regret.mean())
            gained = float(skill(*(jnp.asarray(one) for one in (regret, floor, ceiling))))
            kept |= {"floor_bits": floor, "ceiling_bits": ceiling, "regret": regret}
            kept["skill"] = None if math.isnan(gained) else gained
            kept |= {f"ceiling_top{k}": float(found.tops[..., i].mean()) for i, k in enumerate(TOPS)}
        if found.head_bits is not None and found.head_hits is not None:
            bits, hits = np.nanmean(found.head_bits, axis=(0, 1)), np.nanmean(found.head_hits, axis=(0, 1))
            assert found.within_bits is not None
            kept["bits_per_token"] = found.bits - found.within_bits
            kept["heads"] = [{"bits_per_value": float(b), "top1": float(h)} for b, h in zip(bits, hits)]
        if found.log_f is not None:
            path = together([model_path(found.log_f)]) / math.log(10)
            kept |= {"test_log10_e": max(0.0, float(path.max())), "test_log10_e_end": float(path[-1])}
        return kept

    def trained_record(
        self, training: Trained, i: int, curve: Sequence[Mapping[str, Any]], found: Evaluation
    ) -> dict[str, Any]:
        """Return the evidence of the first pass, alone and with the test part's, the gap to training, and spikes."""
        predictor = self.predictor(training.model(i), training.tasks[i])
        assert isinstance(predictor, ModelPredictor)
        return trained.record(training, i, curve, predictor, found)

    def results(self, training: Trained, found: Sequence[Evaluation], part: str) -> dict[str, Any]:
        """Return the evidence of all runs together, the baselines, and what the run that is shown comes to."""
        return answers.results(training, found)

    def answer(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Return the figures of the run that is shown beside those of all."""
        return answers.answer(results["evaluation"])

    def table(self, training: Trained, results: Mapping[str, Any]) -> tuple[list[str], list[list[Any]], str]:
        """Return what the console shows of an evaluation."""
        return page.table(training, results["evaluation"])

    def story(self, training: Trained, results: Mapping[str, Any]) -> Story:
        """Return the page."""
        return page.story(training, results["evaluation"])


def resident(config: RollsConfig, about: About) -> bool:
    """Return whether the values live on the device."""
    if about.rolls.drawn is not None:
        return True
    if config.task.feed == "resident" and about.rolls.n > _INDEXED:
        raise UserError(f"--feed resident: {about.rolls.n:,} values are more than 2^31; give --feed host")
    if config.task.feed != "auto":
        return config.task.feed == "resident"
    if about.rolls.n > _INDEXED:
        return False
    size = 2 * about.rolls.n
    on_cpu = jax.default_backend() == "cpu"
    return size <= (_ON_CPU if on_cpu else device_memory() // _SHARE)


def _data(config: RollsConfig, about: About, fed: bool, on_device: bool) -> Data:
    tokens = about.tokens
    validation = about.spread(about.split.validation, config.train.validation_sequences)
    values = None
    if not fed:
        values = _on_device(about) if on_device else about.rolls.read(*about.split.training)
    return Data(
        values=values,
        validation=validation,
        of_value=tokens.of_value,
        log_within=tokens.log_within.astype(np.float32),
        best_in_bin=tokens.best_in_bin,
        log_p0=tokens.log_p0.astype(np.float32),
    )


def _on_device(about: About) -> jax.Array:
    """Return the training part on the device, moved in pieces: the host never holds all of it."""
    start, stop = about.split.training
    if about.rolls.drawn is not None or stop - start <= _PIECE:
        return jnp.asarray(about.rolls.read(start, stop))
    whole = jnp.zeros(stop - start, jnp.uint16)
    put = jax.jit(lambda whole, piece, at: jax.lax.dynamic_update_slice(whole, piece, (at,)), donate_argnums=0)
    for first in range(start, stop, _PIECE):
        piece = jnp.asarray(about.rolls.read(first, min(stop, first + _PIECE)))
        whole = put(whole, piece, np.int32(first - start))
        whole.block_until_ready()
    return whole


def _range(part: tuple[int, int]) -> str:
    return f"{part[0]:,} to {part[1] - 1:,}"
