"""Integer sequences as a task: the table draws them and is their oracle, on the device.

The oracle walks the tree of prefixes: at every node lie what can follow and with which probability.
A task holds the whole table (some 10 MB), so all runs share one instead of stacking copies.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from bestguess.integers.config import CLASSES
from bestguess.integers.oracle.exact import Level, Oracle
from bestguess.integers.sequences.sampler import PADDING, Sampler, make_sampler
from bestguess.integers.sequences.table import Part
from bestguess.task import Categorical, OracleTask


class Branches(eqx.Module):
    """What follows each prefix of one number of terms."""

    first: Int[Array, "prefixes+1"]
    """The continuations of prefix i are those from `first[i]` up to `first[i + 1]`."""
    value: Int[Array, "continuations"]
    log_probability: Float[Array, "continuations"]
    """log p*(value | prefix), nats."""
    next_prefix: Int[Array, "continuations"]
    """Place of the longer prefix among those of one term more, or −1."""
    most: int = eqx.field(static=True)
    """The most continuations of a prefix: all 256 numbers of the empty one, a few of those of several terms."""

    def __init__(self, level: Level):
        first = np.searchsorted(level.prefix, np.arange(len(level.row) + 1))
        self.most = int(np.diff(first).max(initial=1))
        self.first = jnp.asarray(first, jnp.int32)
        self.value = jnp.asarray(level.value, jnp.int32)
        self.log_probability = jnp.asarray(np.log(level.probability), jnp.float32)
        self.next_prefix = jnp.asarray(level.next_prefix, jnp.int32)

    def follow(self, prefix: Int[Array, ""], term: Int[Array, ""]) -> tuple[Float[Array, "classes"], Int[Array, ""]]:
        """Return log p*(· | prefix), all zeros for an unknown prefix (−1), and the prefix one `term` longer."""
        known = prefix >= 0
        start = self.first[prefix]
        place = start + jnp.arange(self.most)
        exists = known & (place < self.first[prefix + 1])
        value = jnp.where(exists, self.value[place], CLASSES)
        out = jnp.full(CLASSES, jnp.where(known, -jnp.inf, 0.0))
        out = out.at[value].set(self.log_probability[place], mode="drop")
        return out, jnp.max(jnp.where(value == term, self.next_prefix[place], -1))


class IntegerTask(OracleTask):
    """Sequences of terms 0..255 under one mixture of the phases; terms behind a sequence's end are `PADDING`."""

    sampler: Sampler
    branches: tuple[Branches, ...]
    mixture: Float[Array, "phases"]
    constants: Float[Array, "terms classes"]
    """Log frequency of every value at every place, nats."""
    shortest: int = eqx.field(static=True)
    """Fewest terms of a sequence; below the table's own, each is cut to a length drawn uniformly."""

    exact: Oracle = eqx.field(static=True)
    """The same predictor in NumPy, with what it knows of the whole table."""

    def __init__(self, oracle: Oracle, part: Part = "all", shortest: int | None = None):
        table, self.exact = oracle.table, oracle
        self.sampler = make_sampler(table, part)
        self.branches = tuple(Branches(level) for level in oracle.levels)
        self.mixture = jnp.asarray(oracle.mixture, jnp.float32)
        terms = table.length + 1
        there = np.arange(terms) < table.lengths[:, None]
        count = np.zeros((terms, CLASSES))
        for j in range(terms):
            count[j] = np.bincount(table.rows[:, j], oracle.weights * there[:, j], CLASSES)
        with np.errstate(divide="ignore"):
            self.constants = jnp.asarray(np.log(count / count.sum(axis=1, keepdims=True)), jnp.float32)
        self.shortest = terms if shortest is None else shortest
        if not 2 <= self.shortest <= terms:
            raise ValueError(f"shortest {shortest}: must be from 2 to {terms}")

    @property
    def predicted(self) -> slice:
        """The terms that are predicted: all but the first, before which there is nothing to see."""
        return slice(1, None)

    @property
    def floor(self) -> Float[Array, ""]:
        """The mean over positions of the oracle's entropy, exact (nats)."""
        return jnp.asarray(self.exact.entropies("all").mean(), jnp.float32)

    def sample(self, key: Key[Array, ""]) -> Int[Array, "terms"]:
        """Return one sequence of length + 1 terms, `PADDING` behind its end."""
        row_key, count_key = jax.random.split(key)
        terms = self.sampler.sequence(self.sampler.draw(row_key, self.mixture))
        longest = terms.shape[0]
        count = jax.random.randint(count_key, (), self.shortest, longest + 1)
        return jnp.where(jnp.arange(longest) < count, terms, PADDING)

    def oracle(self, sequence: Int[Array, "terms"]) -> Categorical:
        """Return p*(term | the terms before it) of every term, the first one included.

        All zeros (uniform) where the terms before are none that the generator gives.
        """
        prefix, logits = jnp.asarray(0), []
        for branches, term in zip(self.branches, sequence):
            out, prefix = branches.follow(prefix, term)
            logits.append(out)
        return Categorical(jnp.stack(logits))

    def constant(self) -> Categorical:
        """Return the frequencies of the values at every place: the best prediction that ignores the past."""
        return Categorical(self.constants)
