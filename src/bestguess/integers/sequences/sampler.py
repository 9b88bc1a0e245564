"""Rows of the table drawn on the device, in constant time and with exactly their probabilities.

Walker's alias method: any distribution over N outcomes is the mean of N distributions over two
outcomes each. So one uniform place and one uniform number draw a row, however many there are.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from bestguess.integers.sequences.table import PHASES, Part, Table

PADDING = -1
"""What stands behind the end of a sequence."""


class Sampler(eqx.Module):
    """Draws rows of one part of a table under any mixture of the phases. Shared by all runs of a batch."""

    rows: UInt8[Array, "N terms"]
    lengths: Int[Array, "N"]
    threshold: Float[Array, "phases N"]
    alias: Int[Array, "phases N"]

    def draw(self, key: Key[Array, ""], mixture: Float[Array, "phases"]) -> Int[Array, ""]:
        """Return the place in `rows` of one row, drawn with probability Σ_phase mixture · P(row | phase, part)."""
        phase_key, place_key, side_key = jax.random.split(key, 3)
        phase = jax.random.categorical(phase_key, jnp.log(mixture))
        place = jax.random.randint(place_key, (), 0, self.threshold.shape[1])
        stay = jax.random.uniform(side_key) < self.threshold[phase, place]
        return jnp.where(stay, place, self.alias[phase, place])

    def sequence(self, place: Int[Array, ""]) -> Int[Array, "terms"]:
        """Return a row's terms, 0..255, and `PADDING` behind its end."""
        terms = self.rows[place].astype(jnp.int32)
        return jnp.where(jnp.arange(terms.shape[0]) < self.lengths[place], terms, PADDING)


def make_sampler(table: Table, part: Part = "seen") -> Sampler:
    """Return a sampler of one part of the table, by default of the rows that training may see."""
    kept = table.part(part)
    tables = [alias_table(table.prior[phase, kept]) for phase in range(PHASES)]
    return Sampler(
        rows=jnp.asarray(table.rows[kept]),
        lengths=jnp.asarray(table.lengths[kept], jnp.int32),
        threshold=jnp.asarray(np.stack([threshold for threshold, _ in tables]), jnp.float32),
        alias=jnp.asarray(np.stack([alias for _, alias in tables]), jnp.int32),
    )


def alias_table(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (threshold [N], alias [N]): place i is kept with probability threshold[i], else alias[i] taken.

    Outcome i then has probability weights[i] / Σ weights. Light outcomes are filled up from heavy ones
    in order; who fills whom follows from two running sums, with no loop (Hübschle-Schneider & Sanders,
    "Parallel weighted random sampling", 2022, §4). All-zero weights, a phase that has no row in this
    part, give the uniform distribution: nobody draws from such a phase.
    """
    count = len(weights)
    if not weights.any():
        return np.ones(count), np.arange(count)
    share = weights * (count / weights.sum())
    is_light = share < 1
    is_light[share.argmax()] = False  # rounding may leave even equal shares a little below 1
    light, heavy = np.flatnonzero(is_light), np.flatnonzero(~is_light)
    lacking = np.cumsum(1 - share[light])
    spare = np.cumsum(share[heavy] - 1)
    threshold, alias = np.ones(count), np.arange(count)
    # A light outcome takes from the heavy one whose turn it is when all before it are full ...
    giver = np.searchsorted(spare, np.r_[0.0, lacking[:-1]], side="left")
    threshold[light] = share[light]
    alias[light] = heavy[np.minimum(giver, len(heavy) - 1)]
    # ... which thereby may give too much: then the next heavy one fills it up in turn.
    taker = np.searchsorted(lacking, spare, side="right")[:-1]
    over = taker < len(light)
    threshold[heavy[:-1][over]] = np.maximum(0, 1 - (lacking[taker[over]] - spare[:-1][over]))
    alias[heavy[:-1][over]] = heavy[1:][over]
    return threshold, alias
