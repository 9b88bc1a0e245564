"""The exact Bayes predictor: what comes next, given the terms so far and the generator's prior.

Rows that begin alike are grouped; the next term's probability is the weight of the rows that go on
with it, over the weight of the group. All figures are sums over the whole table, none is sampled:

    floor at j     = Σ_prefix P(prefix) H(p*(· | prefix)),   the entropy, in nats
    ceiling at j   = Σ_prefix P(prefix) max_x p*(x | prefix)
    regret at j    = Σ_prefix P(prefix) KL(p*(· | prefix) ‖ p(· | prefix))

over prefixes of j terms. A part of the table, such as the rows held out of training, weighs the
prefixes by its own rows; what follows a prefix is p* all the same, as the generator has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bestguess.integers.config import CLASSES, IntegerTaskConfig
from bestguess.integers.sequences.curriculum import FINAL, final_mixture
from bestguess.integers.sequences.table import PARTS, Part, Table, table_of

Predictor = Callable[[np.ndarray], np.ndarray]
"""Contexts, uint8 [n, length] → logits of the next term after each of their prefixes, [n, length, 256]."""


@dataclass(frozen=True, eq=False)
class Level:
    """All distinct prefixes of one number of terms that something follows, and what follows each."""

    row: np.ndarray
    """A row that begins with the prefix, int64 [prefixes]."""
    weight: dict[Part, np.ndarray]
    """P(prefix, and a term follows | part), float64 [prefixes]."""
    prefix: np.ndarray
    """Prefix of each continuation, int64 [continuations], ascending."""
    value: np.ndarray
    """The term that follows, int64 [continuations], ascending within a prefix."""
    probability: np.ndarray
    """p*(value | prefix), float64 [continuations]."""
    next_prefix: np.ndarray
    """Place at the next level of the prefix and its continuation, int64 [continuations]; −1 where nothing follows."""

    def mean(self, of: np.ndarray, part: Part) -> float:
        """Return the mean over prefixes, weighed by a part's rows, of one number a prefix; NaN where there are none."""
        own = self.weight[part] > 0  # elsewhere may stand an infinite regret
        weight = self.weight[part][own]
        return float(weight @ of[own] / weight.sum()) if own.any() else float("nan")

    def sum(self, of: np.ndarray) -> np.ndarray:
        """Return the sum over each prefix's continuations of one number a continuation, [prefixes]."""
        return np.bincount(self.prefix, of, len(self.row))


class Oracle:
    """The Bayes predictor of a table under a mixture of the phases, the curriculum's last one by default."""

    def __init__(self, table: Table, mixture: Sequence[float] = FINAL):
        self.table = table
        self.mixture = np.asarray(mixture, np.float64)
        self.weights = table.weights(self.mixture)

    def predict(self, terms: Sequence[int]) -> np.ndarray | None:
        """Return p*(next | terms), float64 [256], or None where no row of the table begins so and goes on."""
        rows = self.table.starting_with(terms)
        rows = rows[self.table.lengths[rows] > len(terms)]
        weight = self.weights[rows]
        if not weight.sum() > 0:
            return None
        return np.bincount(self.table.rows[rows, len(terms)], weight, CLASSES) / weight.sum()

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """The prefixes of 0, 1, …, length terms."""
        table = self.table
        parts: tuple[Part, ...] = (*PARTS, "validation")
        shares = {part: _normalised(self.weights * table.part(part)) for part in parts}
        # Rows that the mixture cannot give are no part of any prefix.
        possible = self.weights > 0
        levels: list[Level] = []
        for j in range(table.length, -1, -1):
            rows = np.flatnonzero(possible & (table.lengths > j))
            terms = table.rows[rows]
            new = np.r_[True, (terms[1:, :j] != terms[:-1, :j]).any(axis=1)]
            new_next = new | np.r_[True, terms[1:, j] != terms[:-1, j]]
            prefix, continuation = np.cumsum(new) - 1, np.cumsum(new_next) - 1
            weight = np.bincount(continuation, self.weights[rows])
            owner = prefix[new_next]
            following = np.full(len(owner), -1)
            if levels:  # the level of one term more: which of its prefixes is each continuation?
                place = np.searchsorted(rows, levels[-1].row)
                following[continuation[place]] = np.arange(len(place))
            levels.append(
                Level(
                    row=rows[new],
                    weight={part: np.bincount(prefix, share[rows]) for part, share in shares.items()},
                    prefix=owner,
                    value=terms[new_next, j].astype(np.int64),
                    probability=weight / np.bincount(owner, weight)[owner],
                    next_prefix=following,
                )
            )
        return tuple(levels[::-1])

    def logits(self, contexts: np.ndarray) -> np.ndarray:
        """Return log p*(next | first j terms) for j = 1..length, float32 [n, length, 256]; −∞ for what cannot come.

        A prefix that the table does not have gets all zeros. It is a `Predictor`, so that the oracle
        can stand where a model stands.
        """
        out = np.zeros((len(contexts), self.table.length, CLASSES), np.float32)
        here = np.zeros(len(contexts), np.int64)
        for j, (before, level) in enumerate(zip(self.levels, self.levels[1:])):
            # Continuations are sorted by prefix, then by value.
            key = before.prefix * CLASSES + before.value
            wanted = here * CLASSES + contexts[:, j]
            place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
            here = np.where((here >= 0) & (key[place] == wanted), before.next_prefix[place], -1)
            known = np.flatnonzero(here >= 0)
            first = np.searchsorted(level.prefix, here[known], "left")
            count = np.searchsorted(level.prefix, here[known], "right") - first
            which = np.repeat(np.arange(len(known)), count)
            place = first[which] + np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
            out[known, j] = -np.inf
            out[known[which], j, level.value[place]] = np.log(level.probability[place])
        return out

    def entropies(self, part: Part) -> np.ndarray:
        """Return the oracle's log loss after 1, 2, … terms, its entropy, over the rows of a part: float64 [length]."""
        levels = self.levels[1:]
        return np.array(
            [level.mean(level.sum(-level.probability * np.log(level.probability)), part) for level in levels]
        )

    def ceilings(self, part: Part) -> np.ndarray:
        """Return the oracle's accuracy after 1, 2, … terms over the rows of a part: float64 [length]."""
        levels = self.levels[1:]
        return np.array(
            [level.mean(np.maximum.reduceat(level.probability, _firsts(level.prefix)), part) for level in levels]
        )

    def choices(self) -> list[np.ndarray]:
        """Return the oracle's first choice after each prefix, the smallest of the likeliest terms: int64 by level."""
        found = []
        for level in self.levels[1:]:
            best = np.maximum.reduceat(level.probability, _firsts(level.prefix))
            likeliest = np.flatnonzero(level.probability == best[level.prefix])
            found.append(level.value[likeliest[np.searchsorted(level.prefix[likeliest], np.arange(len(level.row)))]])
        return found

    def predicted(self, choices: Sequence[np.ndarray]) -> np.ndarray:
        """Return which terms of each row are a predictor's first choices, bool [N, length]; True behind a row's end.

        choices: the first choice after each prefix, one array [prefixes] for each level, from 1 term on.
        """
        table = self.table
        right = np.full((len(table.rows), table.length), True)
        for j, (level, choice) in enumerate(zip(self.levels[1:], choices), start=1):
            rows = np.flatnonzero((table.lengths > j) & (self.weights > 0))
            own = choice[np.searchsorted(level.row, rows, "right") - 1]
            right[rows, j - 1] = table.rows[rows, j] == own
        return right

    def constant_losses(self, log_p: np.ndarray, part: Part) -> np.ndarray:
        """Return the log loss of a constant, log_p [length, 256], after 1, 2, … terms over a part's rows: [length]."""
        found = []
        for level, own in zip(self.levels[1:], log_p):
            weight = level.weight[part][level.prefix] * level.probability
            follows = np.bincount(level.value, weight, CLASSES)
            there = follows > 0  # a value that never follows costs nothing, though its logarithm is infinite
            total = follows.sum()
            found.append(-float(follows[there] @ own[there]) / total if total > 0 else np.nan)
        return np.array(found)


def oracle_of(config: IntegerTaskConfig) -> Oracle:
    """Return the Bayes predictor of a config's sequences, under the mixture that its training ends with."""
    return Oracle(table_of(config), final_mixture(config.phases))


def _normalised(weights: np.ndarray) -> np.ndarray:
    total = weights.sum()
    return weights / total if total > 0 else weights


def _firsts(prefix: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.r_[True, prefix[1:] != prefix[:-1]])
