"""A toy whose sequences are rows of a table, chosen by number, drawn on the device or read by the host; it takes notes.

python -m tests.train.noting
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bestguess.train.program import Program
from tests.train.toy import D, T, ToyProblem, config, members, run_chunks

BATCH = 8
ROWS = np.random.default_rng(0).normal(size=(13, T, D)).astype(np.float32)


def row_of(seed: Any, number: Any) -> Any:
    """Return which row a run's sequence is, by its number."""
    return (7 * number + seed) % len(ROWS)


def rows_of(seed: int, first: int, count: int) -> np.ndarray:
    """Return the rows of a run's sequences `first` to `first + count`."""
    return ROWS[row_of(seed, first + np.arange(count))]


class Notes(eqx.Module):
    """What the toy keeps."""

    numbers: Int[Array, "*run"]
    rows: Float[Array, "*run"]
    largest: Float[Array, "*run"]


class NotingProblem(ToyProblem):
    """Draws the row of each number on the device; keeps the sums of the numbers and of the rows' first entries."""

    def draw(self, task, turn):
        seed = task.map[0, 0]  # nothing but the task sets a run apart in here
        seed = jnp.where(seed == SEEDS[5], 5, jnp.where(seed == SEEDS[6], 6, 7))
        return turn.key, jnp.asarray(ROWS)[row_of(seed, turn.number)], turn.number

    def loss(self, model, task, drawn):
        key, x, number = drawn
        guess = jnp.tanh(x @ model.first + model.bias[None]) @ model.second
        total = jnp.sum((guess - x @ task.map) ** 2)
        total = jnp.where(jnp.all(jax.random.key_data(key) == task.nan_loss_at), jnp.nan, total)
        return total, jnp.asarray(float(T)), {"number": number, "row": jnp.sum(x)}

    def keep(self, task):
        return Notes(jnp.asarray(0), jnp.asarray(0.0), jnp.asarray(0.0))

    def note(self, kept, noted):
        (one,) = noted
        rows = kept.rows + one["row"]
        return Notes(kept.numbers + one["number"], rows, jnp.maximum(kept.largest, one["row"]))

    def kept_measures(self, kept):
        return {"numbers": kept.numbers, "rows": kept.rows}


SEEDS = {seed: np.float32(np.random.default_rng(seed).normal(size=(D, 5)).astype(np.float32)[0, 0]) for seed in (5, 6)}
"""What `members` gives the task of a run with this seed as the first entry of its map."""


class FedProblem(NotingProblem):
    """The same rows, read by the host."""

    fed_bytes: ClassVar[int] = 4 * T * D

    def draw(self, task, turn):
        return turn.key, turn.fed, turn.number

    def feed(self, seeds: Sequence[int], first: int, count: int):
        return np.stack([rows_of(seed, first, count) for seed in seeds])


def kept_by_hand(seed: int, steps: int) -> tuple[int, float, float]:
    """Return the sum of the numbers, of the rows, and the largest sum of a batch's, after so many steps."""
    sums = [float(rows_of(seed, BATCH * step, BATCH).sum(dtype=float)) for step in range(steps)]
    return sum(range(BATCH * steps)), sum(sums), max(0.0, *sums)


def scaled() -> dict[str, Any]:
    """Return what some trainings keep on all devices, and the number of these."""
    found: dict[str, Any] = {"devices": len(jax.devices())}
    for problem in (NotingProblem(), FedProblem()):
        for runs in (1, 2):
            some = members((0.03, 0.01)[:runs], (5, 6)[:runs])
            kept = run_chunks(Program(problem, config(steps=10, accumulate=1), some))[0].kept
            found[f"{type(problem).__name__} {runs}"] = {
                "numbers": kept.numbers.tolist(),
                "rows": kept.rows.tolist(),
            }
    return found


if __name__ == "__main__":
    print(json.dumps(scaled()))
