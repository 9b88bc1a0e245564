"""Any predictor against the exact Bayes predictor: its regret after every prefix of the table, none of it sampled."""

from __future__ import annotations

import functools
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from bestguess.integers.model import IntegerModel
from bestguess.integers.oracle import Predictor, Scores, Verdict
from bestguess.integers.task import IntegerTask
from bestguess.task import Categorical, regret
from bestguess.train.machine import usable_cores

_CHUNK = 4096


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
    """Return how a predictor does after every distinct prefix of the table, asked in chunks of 4,096 contexts.

    The regret is the contract's, between the predictor and the task's oracle, on the device (float32); accuracy and
    distance are sums over what follows each prefix. Chunks are taken in as many threads as there are cores, at most 8:
    beside a GPU, most of the time is NumPy's.
    """
    oracle = task.exact
    levels = oracle.levels[1:]
    contexts = np.unique(np.concatenate([level.row for level in levels]))
    verdict = Verdict(*([np.zeros(len(level.row)) for level in levels] for _ in range(3)))
    first_of = [np.searchsorted(level.prefix, np.arange(len(level.row) + 1)) for level in levels]

    def judge_chunk(start: int) -> None:
        rows = contexts[start : start + _CHUNK]
        padded = rows[np.minimum(np.arange(_CHUNK), len(rows) - 1)]  # one shape: a compiled model compiles once
        terms = oracle.table.rows[padded, : oracle.table.length]
        regrets, choices = jax.device_get(_compare(task, jnp.asarray(terms), jnp.asarray(predictor(terms))))
        for j, level in enumerate(levels):
            # The prefixes that these contexts stand for; both are in ascending order.
            low, high = np.searchsorted(level.row, [rows[0], rows[-1] + 1])
            part = slice(low, high)
            own = np.searchsorted(rows, level.row[part])
            then = slice(first_of[j][low], first_of[j][high])
            owner, value, p = level.prefix[then] - low, level.value[then], level.probability[then]
            choice = choices[own, j][owner]
            gathered = lambda of: np.bincount(owner, of, high - low)  # noqa: B023, E731
            verdict.regret[j][part] = regrets[own, j]
            verdict.accuracy[j][part] = gathered(p * (value == choice))
            verdict.distance[j][part] = gathered(p * np.abs(value - choice))

    with ThreadPoolExecutor(min(usable_cores(), 8)) as pool:
        for _ in pool.map(judge_chunk, range(0, len(contexts), _CHUNK)):
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


def figures(scores: Scores) -> dict[str, Any]:
    """Return one part's figures: at full context, as means over positions, and by position."""
    names = ("accuracy", "ceiling", "relative_accuracy", "regret", "floor", "loss", "distance")
    values = {name: getattr(scores, name) for name in names}
    return {
        "full_context": {name: float(value[-1]) for name, value in values.items()},
        "mean": {name: float(value.mean()) for name, value in values.items()},
        "by_position": {name: value.tolist() for name, value in values.items()},
    }
