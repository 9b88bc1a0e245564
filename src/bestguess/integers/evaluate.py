"""Any predictor against the exact Bayes predictor: its regret after every prefix of the table, none of it sampled."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from bestguess.integers.model.transformer import IntegerModel
from bestguess.integers.oracle.exact import Oracle, Predictor
from bestguess.integers.sequences.table import Part
from bestguess.integers.task import IntegerTask
from bestguess.task import Categorical, regret
from bestguess.train.machine import usable_cores

_CHUNK = 4096
"""Contexts asked at a time: an accelerator wants few calls of much work."""
_CHUNK_ON_CPU = 1024
"""There, arrays of 32 MiB, such as the logits of 4,096 contexts of 8 terms, are mapped and zeroed afresh each time
(malloc keeps none so large for the next chunk): a tenth to a fifth of the processor time."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """How a predictor does after each prefix: one array [prefixes] for each level, from 1 term on."""

    regret: list[np.ndarray]
    """KL(p* ‖ p), nats."""
    accuracy: list[np.ndarray]
    """p* of the predictor's first choice, the smallest of the most probable terms."""
    distance: list[np.ndarray]
    """E|x − first choice| under p*."""
    choice: list[np.ndarray]
    """The first choice itself, int64."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Means over a part's rows after 1, 2, …, length terms, each float64 [length]. Exact: no standard errors."""

    regret: np.ndarray
    """KL(p* ‖ p), nats."""
    floor: np.ndarray
    """The oracle's own log loss, its entropy, nats."""
    accuracy: np.ndarray
    """Probability that the first choice comes next."""
    ceiling: np.ndarray
    """The oracle's accuracy."""
    distance: np.ndarray
    """E|x − first choice|."""
    whole: float
    """P(every term of a sequence is the first choice, from the second term on): one number, of whole sequences."""
    whole_ceiling: float
    """The oracle's own: not a bound, since it chooses term by term."""

    @property
    def loss(self) -> np.ndarray:
        """Log loss, nats."""
        return self.floor + self.regret

    @property
    def relative_accuracy(self) -> np.ndarray:
        """Accuracy as a fraction of the oracle's."""
        return self.accuracy / self.ceiling


@dataclass(frozen=True)
class FamilyScore:
    """How a predictor does after full contexts of one family's sequences."""

    family: str
    phase: int
    share: float
    """P(the family gave the sequence | part)."""
    accuracy: float
    """Probability that the first choice comes next."""
    regret: float
    """KL(p* ‖ p), nats."""


def predictor(model: IntegerModel) -> Predictor:
    """Return a model as the oracle asks it: contexts, uint8 [n, length] → logits, [n, length, 256]."""
    return lambda contexts: np.asarray(_logits(model, jnp.asarray(contexts, jnp.int32)))


@eqx.filter_jit
def _logits(model: IntegerModel, contexts):
    return jax.vmap(lambda one: model(one)[0])(contexts)


def predictor_of_all(models: list[IntegerModel]) -> Predictor:
    """Return the mean of several models' probabilities as one predictor: contexts, uint8 [n, length] → log p.

    A deep ensemble (Lakshminarayanan et al., 2017): where training rows leave a rule open, models that began
    elsewhere settle it differently, and their mean is as unsure as it should be.
    """

    def predict(contexts: np.ndarray) -> np.ndarray:
        terms = jnp.asarray(contexts, jnp.int32)
        log_p = [jax.nn.log_softmax(_logits(model, terms)) for model in models]
        return np.asarray(functools.reduce(jnp.logaddexp, log_p) - math.log(len(models)))

    return predict


def judge(task: IntegerTask, predictor: Predictor) -> Verdict:
    """Return how a predictor does after every distinct prefix of the table, asked in chunks of contexts.

    The regret is the contract's, between the predictor and the task's oracle, on the device (float32); accuracy and
    distance are sums over what follows each prefix. Chunks are taken in as many threads as there are cores, at most 8:
    beside a GPU, most of the time is NumPy's. An accelerator is asked by one thread at a time: on a GPU asked by eight,
    one run was once judged, in a stretch of the sorted rows, as if by another chunk's logits.
    """
    oracle = task.exact
    levels = oracle.levels[1:]
    contexts = np.unique(np.concatenate([level.row for level in levels]))
    empty = lambda kind: [np.zeros(len(level.row), kind) for level in levels]  # noqa: E731
    verdict = Verdict(empty(float), empty(float), empty(float), empty(np.int64))
    first_of = [np.searchsorted(level.prefix, np.arange(len(level.row) + 1)) for level in levels]
    backend = jax.default_backend()
    size = _CHUNK_ON_CPU if backend == "cpu" else _CHUNK
    alone = contextlib.nullcontext() if backend == "cpu" else threading.Lock()

    def judge_chunk(start: int) -> None:
        rows = contexts[start : start + size]
        padded = rows[np.minimum(np.arange(size), len(rows) - 1)]  # one shape: a compiled model compiles once
        terms = oracle.table.rows[padded, : oracle.table.length]
        with alone:
            regrets, choices = jax.device_get(_compare(task, jnp.asarray(terms), jnp.asarray(predictor(terms))))
        for j, level in enumerate(levels):
            # The prefixes that these contexts stand for; both are in ascending order.
            low, high = np.searchsorted(level.row, [rows[0], rows[-1] + 1])
            part = slice(low, high)
            own = np.searchsorted(rows, level.row[part])
            then = slice(first_of[j][low], first_of[j][high])
            owner, value, p = level.prefix[then] - low, level.value[then], level.probability[then]
            verdict.choice[j][part] = choices[own, j]
            choice = choices[own, j][owner]
            gathered = lambda of: np.bincount(owner, of, high - low)  # noqa: B023, E731
            verdict.regret[j][part] = regrets[own, j]
            verdict.accuracy[j][part] = gathered(p * (value == choice))
            verdict.distance[j][part] = gathered(p * np.abs(value - choice))

    with ThreadPoolExecutor(min(usable_cores(), 8)) as pool:
        for _ in pool.map(judge_chunk, range(0, len(contexts), size)):
            pass
    return verdict


@eqx.filter_jit
def _compare(
    task: IntegerTask, contexts: UInt8[Array, "n T"], logits: Float[Array, "n T V"]
) -> tuple[Float[Array, "n T"], Int[Array, "n T"]]:
    """The regret after each prefix of each context, and the predictor's first choice there."""

    def of_one(terms_T, logits_TV):
        # The oracle also predicts the term after the last: any term may stand there.
        best = task.oracle(jnp.append(terms_T.astype(jnp.int32), 0))
        return regret(Categorical(logits_TV), Categorical(best.logits[task.predicted])), jnp.argmax(logits_TV, axis=-1)

    return jax.vmap(of_one)(contexts, logits)


def mean_scores(oracle: Oracle, verdict: Verdict, part: Part) -> Scores:
    """Return a verdict's means over the rows of a part, beside the oracle's own."""
    mean = lambda of: np.array([level.mean(one, part) for level, one in zip(oracle.levels[1:], of)])  # noqa: E731
    return Scores(
        regret=mean(verdict.regret),
        floor=oracle.entropies(part),
        accuracy=mean(verdict.accuracy),
        ceiling=oracle.ceilings(part),
        distance=mean(verdict.distance),
        whole=_whole(oracle, verdict.choice, part),
        whole_ceiling=_whole(oracle, oracle.choices(), part),
    )


def _whole(oracle: Oracle, choices: list[np.ndarray], part: Part) -> float:
    """The probability that a sequence of the part is predicted whole; NaN where the part has no rows."""
    weights = oracle.weights * oracle.table.part(part)
    total = weights.sum()
    return float(weights @ oracle.predicted(choices).all(axis=1) / total) if total > 0 else float("nan")


def family_scores(oracle: Oracle, verdict: Verdict, part: Part) -> list[FamilyScore]:
    """Return a verdict after full contexts, family by family; those that give no such row of the part left out.

    Where a context may come from several families, each has its posterior share of what follows.
    """
    table, level = oracle.table, oracle.levels[-1]
    there = table.part(part) & (table.lengths > table.length) & (oracle.weights > 0)
    row = np.repeat(np.arange(len(table.rows)), np.diff(table.first_source))
    place = np.searchsorted(level.row, row, "right") - 1
    phase = np.array([family.phase for family in table.families]) - 1
    weight = oracle.mixture[phase[table.source_family]] * table.source_prior * there[row]
    total = np.bincount(table.source_family, weight, len(table.families))
    sums = [
        np.bincount(table.source_family, weight * np.where(weight > 0, of[-1][place], 0), len(table.families))
        for of in (verdict.accuracy, verdict.regret)
    ]
    return [
        FamilyScore(one.name, one.phase, float(share), *(float(of[i] / total[i]) for of in sums))
        for i, (one, share) in enumerate(zip(table.families, total / (total.sum() or 1.0)))
        if share > 0
    ]


def figures(scores: Scores) -> dict[str, Any]:
    """Return one part's figures: at full context, as means over positions, by position, and of whole sequences."""
    names = ("accuracy", "ceiling", "relative_accuracy", "regret", "floor", "loss", "distance")
    values = {name: getattr(scores, name) for name in names}
    return {
        "full_context": {name: float(value[-1]) for name, value in values.items()},
        "mean": {name: float(value.mean()) for name, value in values.items()},
        "by_position": {name: value.tolist() for name, value in values.items()},
        "whole_sequence": {"accuracy": scores.whole, "oracle": scores.whole_ceiling},
    }
