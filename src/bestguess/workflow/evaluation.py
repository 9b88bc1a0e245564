"""The only way to a figure: an evaluator, which has sent the oracle and the best constant through its own path.

A family's `evaluate` takes any predictor. An `Evaluator` cannot be made unless the oracle scores a regret of 0
through it, and the best constant what lies between floor and ceiling: an evaluation that is one step off, scaled, or
always says 0, is refused before it has said anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Generic

import jax
import numpy as np

from bestguess.command import Failure, UserError
from bestguess.family import C, E, Measured, P, T, Workings
from bestguess.task import Gaussian, OracleTask

TOLERANCE = 1e-6
"""By how much the oracle may miss a regret of 0 (of the figure's unit)."""
_SEQUENCES = 256
"""Drawn for it: with 64, twice the right regret lay within ten standard errors of short sequences."""
_ERRORS, _SHARE = 10.0, 0.25
"""By how much the best constant may miss, where sequences are drawn: so many standard errors, and this fraction of the
headroom, since few sequences may tell a standard error wrong. Where sums are exact, it may not at all."""


class Evaluator(Generic[C, T, P, E]):
    """Figures of any predictor on one task. Making one runs the self-test; Failure where that fails."""

    def __init__(self, workings: Workings[C, T, P, E], config: C, task: T):
        self.workings, self.config, self.task = workings, config, task
        self.missed = self._self_test()
        """By how much the oracle misses a regret of 0, at worst."""

    def __call__(
        self, predictor: P, parts: Sequence[str] | None = None, say: Callable[[str], None] = lambda line: None
    ) -> E:
        """Return the predictor's figures, of all parts or of those named; `say` is told what a long part needs."""
        return self.workings.evaluate(self.config, self.task, predictor, parts or self.workings.parts, say=say)

    def outside(self, predict: Callable[[np.ndarray], np.ndarray]) -> E:
        """Return the figures of anybody's callable, first part alone; UserError where it sees the future."""
        works = self.workings
        size = _size(self.task) or works.predicted_size(self.config, self.task)
        check_causal(predict, works.sequences(self.config, self.task, 8), size)
        return self(works.outside(self.config, self.task, predict), works.parts[:1])

    def measured(self, found: E) -> list[Measured]:
        """Return an evaluation's regrets, the headline first."""
        return self.workings.measured(self.config, self.task, found)

    def _self_test(self) -> float:
        works, config, task = self.workings, self.config, self.task
        run = lambda predictor: works.measured(  # noqa: E731
            config, task, works.evaluate(config, task, predictor, works.parts, _SEQUENCES)
        )
        worst = 0.0
        for one in run(works.oracle(config, task)):
            missed = abs(one.regret) / one.unit
            if not missed <= TOLERANCE:
                raise Failure(_refused(f"the oracle misses a regret of 0 by {missed:.2g} ({one.name})", TOLERANCE))
            worst = max(worst, missed)
        for one in run(works.constant(config, task)):
            if math.isnan(one.ceiling):
                continue
            expected = one.ceiling - one.floor
            allowed = TOLERANCE * max(one.unit, abs(one.ceiling))
            if one.standard_error is not None:
                allowed += _ERRORS * one.standard_error + _SHARE * expected
            missed = abs(one.regret - expected)
            if not missed <= allowed:
                raise Failure(
                    _refused(
                        f"the best constant has a regret of {one.regret:.6g}, not its {expected:.6g} ({one.name})",
                        allowed,
                    )
                )
        return worst


def _refused(what: str, tolerance: float) -> str:
    return (
        f"self-test: {what} through this evaluation, more than {tolerance:.2g} off; the evaluation is wrong, so no "
        "result is reported"
    )


def _size(task: Any) -> tuple[int, ...]:
    """The shape of the prediction of one element: dimensions of its mean, or classes; () where that is not known."""
    if not isinstance(task, OracleTask):
        return ()
    best = jax.eval_shape(lambda task: task.constant(), task)
    return (best.mean if isinstance(best, Gaussian) else best.logits).shape[1:]


def check_causal(
    predict: Callable[[np.ndarray], np.ndarray], sequences: np.ndarray, size: tuple[int, ...] = ()
) -> None:
    """Raise a UserError where a prediction changes with the elements it is of, or with later ones.

    Also where it is of another shape than [n, T, *size]; size: () for any.

    Sequences [n, T, …] are changed from several t on; predictions of the elements up to t, the t-th included, must be
    the very same. Asked twice first: a predictor that draws random numbers cannot be tested so, nor judged.
    """
    asked = lambda given: np.asarray(predict(given))  # noqa: E731
    before = asked(sequences)
    if before.shape[:2] != sequences.shape[:2] or (size and before.shape[2:] != size):
        wanted = ", ".join(map(str, ("n", "T", *(size or "…"))))
        raise UserError(
            f"predict: returned an array of shape {list(before.shape)} for sequences of shape "
            f"{list(sequences.shape)}; it must predict every element of each, [{wanted}]"
        )
    if not np.isfinite(before).any() or np.isnan(before).any():
        raise UserError("predict: returned NaN")
    if not np.array_equal(before, asked(sequences)):
        raise UserError(
            "predict: gives other predictions when it is asked the same again; switch dropout and sampling off"
        )
    length = sequences.shape[1]
    for start in sorted({0, 1, length // 3, length // 2, length - 1}):
        changed = sequences.copy()
        changed[:, start:] = np.roll(sequences, 1, axis=0)[:, start:]
        after = asked(changed)
        seen = ~np.all(np.isclose(after[:, : start + 1], before[:, : start + 1], rtol=1e-5, atol=1e-6), axis=0)
        if seen.any():
            first = int(np.flatnonzero(seen.reshape(start + 1, -1).any(axis=1))[0])
            raise UserError(
                f"predict: sees the future: its prediction of element {first} changes with elements {start} and later; "
                "it may use the elements before its own alone"
            )


class Evaluators:
    """Evaluators by task: one is made for each, whatever number of runs and parts asks for it."""

    def __init__(self) -> None:
        self._made: dict[Any, Evaluator] = {}

    def of(self, workings: Workings, config: Any, task: Any, key: Any) -> Evaluator:
        """Return the evaluator for a task; `key` tells tasks and what of a config is evaluated apart."""
        if key not in self._made:
            if len(self._made) >= 16:  # a sweep meets its tasks one after the other: keep the last few
                del self._made[next(iter(self._made))]
            self._made[key] = Evaluator(workings, config, task)
        return self._made[key]
