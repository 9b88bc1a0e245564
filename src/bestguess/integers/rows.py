"""The oracle's exact sums, taken over rows on the device: for scoring many models of one shape.

Every continuation of every prefix is given to the first row that begins with it; the row then carries,
at that position, P(prefix) p*(continuation | prefix). A mean over all prefixes is a weighted sum over
rows and positions of the model's loss at the row's own next term, which one pass over the table gives.
`oracle.Oracle.judge` takes the same sums prefix by prefix, for any predictor.
"""

from __future__ import annotations

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from bestguess.integers.losses import negative_log_likelihood
from bestguess.integers.model import IntegerModel
from bestguess.integers.oracle import Oracle, Scores
from bestguess.integers.table import Part

CHUNK = 4096


class RowSums:
    """The weights of one part of a table's rows at every position."""

    def __init__(self, oracle: Oracle, part: Part):
        table, length = oracle.table, oracle.table.length
        self.weight = np.zeros((len(table.rows), length))
        """P(prefix | part) p*(next term | prefix) where a row is the first to go on so, else 0: [N, length]."""
        self.log_p = np.zeros((len(table.rows), length))
        """log p*(next term | prefix) there (nats)."""
        self.ceiling = np.zeros(length)
        for j, level in enumerate(oracle.levels[1:], start=1):
            rows = np.flatnonzero((oracle.weights > 0) & (table.lengths > j))
            terms = table.rows[rows, : j + 1]
            first = rows[np.r_[True, (terms[1:] != terms[:-1]).any(axis=1)]]
            share = level.weight[part] / level.weight[part].sum()
            self.weight[first, j - 1] = share[level.prefix] * level.probability
            self.log_p[first, j - 1] = np.log(level.probability)
            starts = np.flatnonzero(np.r_[True, level.prefix[1:] != level.prefix[:-1]])
            self.ceiling[j - 1] = share @ np.maximum.reduceat(level.probability, starts)

    def mean(self, of: np.ndarray) -> np.ndarray:
        """Return the mean at each position of something known of every row and position, [N, length] → [length]."""
        return np.sum(self.weight * of, axis=0)


def scores_by_part(model: IntegerModel, oracle: Oracle, parts: tuple[Part, ...]) -> dict[Part, Scores]:
    """Return a model's exact scores on each part of the oracle's table."""
    loss, hit, distance = _by_row(model, oracle.table.rows)
    found = {}
    for part in parts:
        sums = _sums_of(oracle, part)
        floor = sums.mean(-sums.log_p)
        found[part] = Scores(
            regret=sums.mean(loss) - floor,
            floor=floor,
            accuracy=sums.mean(hit),
            ceiling=sums.ceiling,
            distance=sums.mean(distance),
        )
    return found


@functools.lru_cache(maxsize=16)
def _sums_of(oracle: Oracle, part: Part) -> RowSums:
    return RowSums(oracle, part)


def _by_row(model: IntegerModel, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """−log p of each row's next terms (nats), whether they are the first choice, how far that is: float64 [N, T]."""
    padded = jnp.asarray(np.pad(rows, ((0, -len(rows) % CHUNK), (0, 0)))).reshape(-1, CHUNK, rows.shape[1])
    parts = jax.device_get(_judge(model, padded))
    return tuple(np.asarray(one, np.float64).reshape(-1, rows.shape[1] - 1)[: len(rows)] for one in parts)  # type: ignore[return-value]


@eqx.filter_jit
def _judge(model: IntegerModel, rows: UInt8[Array, "chunks n terms"]) -> tuple[Float[Array, "chunks n T"], ...]:
    def of_row(row):
        term_T = row.astype(jnp.int32)
        logits_TV, _ = model(term_T[:-1])
        target_T, guess_T = term_T[1:], jnp.argmax(logits_TV, axis=-1)
        loss_T = negative_log_likelihood(logits_TV, target_T)
        return loss_T, (guess_T == target_T).astype(jnp.float32), jnp.abs(guess_T - target_T).astype(jnp.float32)

    return jax.lax.map(jax.vmap(of_row), rows)
