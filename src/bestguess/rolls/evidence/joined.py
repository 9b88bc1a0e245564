"""The evidence of a trained model and of the side predictors, as one process.

    M = ½ E_first + ½ E_test

E_first is the mean over the model's heads and weights on the first pass over the training part, in training's order.
E_test is a mean on the windows of the test part, in the file's order: of the five families of side predictors, and of
the model with its best weights. Both are test martingales under the null of order, so M is one from 1 (the first pass
comes first, E_test is 1 until then), and P(sup M ≥ N) ≤ 1/N. The blocks are the windows' predicted values; in the
first pass all but the last, with which another window begins that may have been visited before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bestguess.rolls.evidence.order import FAMILIES, Part, Path, joined, together
from bestguess.rolls.evidence.windows import CONTEXT, Chunk, Marginal, Read, chunk_sizes

MODEL_SHARE = 1 / (len(FAMILIES) + 1)
"""Of E_test."""
TEST_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class FirstPass:
    """The evidence of the first pass over the training part."""

    log_e: float
    """ln E at its end, or so far."""
    largest: float
    """The largest ln E, at least 0."""
    values: int
    """Values bet on."""


@dataclass(frozen=True, eq=False)
class Order:
    """The answer to: does the past help?"""

    log_m: float
    """The largest ln M, at least 0."""
    path: np.ndarray
    """ln E_test after each window, float64 [windows]."""
    bet: str
    """The strongest bet."""


def windows_of(read: Read, starts: np.ndarray, length: int) -> Iterator[Chunk]:
    """Yield the windows that start at `starts` and predict `length` values, as blocks with 32 values before each."""
    done = 0
    for size in chunk_sizes(len(starts)):
        own = starts[done : done + size]
        rows = [read(int(start) + 1 - CONTEXT, int(start) + 1 + length) for start in own]
        yield Chunk(np.ascontiguousarray(np.stack(rows).T), CONTEXT)
        done += size


def side_paths(chunks: Iterator[Chunk], marginal: Marginal) -> tuple[Path, tuple[float, str]]:
    """Return the side predictors' E after each window, and ln π E of the strongest component with its bet."""
    part = Part(FAMILIES, marginal)
    paths = [part.add(chunk) for chunk in chunks]
    return joined(paths), part.strongest()


def model_path(log_f: np.ndarray) -> Path:
    """Return a model's E after each window, the mean over heads and weights, from ln f [windows, k, w]."""
    log_e = np.cumsum(log_f.reshape(len(log_f), -1), axis=0)
    top = log_e.max(axis=1)
    with np.errstate(over="ignore"):
        excess = np.expm1(log_e).mean(axis=1)
    return Path(top + np.log(np.exp(log_e - top[:, None]).mean(axis=1)), excess)


def order_of(first: FirstPass, side: tuple[Path, tuple[float, str]], models: list[Path]) -> Order:
    """Return the answer from the first pass, the side predictors and the models on the test part.

    models: of several, the mean of their E stands for them, never the best.
    """
    shares = [_scaled(side[0], 1 - MODEL_SHARE), *(_scaled(one, MODEL_SHARE / len(models)) for one in models)]
    path = together(shares)
    strongest = max(
        [(side[1][0] + np.log(1 - MODEL_SHARE), side[1][1])]
        + [(float(one.log[-1]) + np.log(MODEL_SHARE / len(models)), "the model on the test part") for one in models]
        + [(first.largest, "the model on its first pass over the training part")]
    )
    return Order(largest(first, path), path, strongest[1])


def largest(first: FirstPass, path: np.ndarray) -> float:
    """Return the largest ln M, at least 0, from the first pass and ln E_test after each window of the test part."""
    both = together(
        [_scaled(Path(path, np.expm1(np.minimum(path, 700.0))), TEST_SHARE), _level(first.log_e, len(path))]
    )
    return max(0.0, _mean_with_one(first.largest), float(both.max()))


def _scaled(path: Path, share: float) -> Path:
    return Path(path.log + np.log(share), path.excess * share)


def _level(log_e: float, length: int) -> Path:
    """½ E_first as a path that stands still."""
    log, excess = log_e + np.log(1 - TEST_SHARE), (1 - TEST_SHARE) * np.expm1(min(log_e, 700.0))
    return Path(np.full(length, log), np.full(length, excess))


def _mean_with_one(log_e: float) -> float:
    """ln (½ E_first + ½), before the test part has been looked at."""
    return float(np.log1p((1 - TEST_SHARE) * np.expm1(min(log_e, 700.0))) if log_e < 700 else log_e - np.log(2))
