"""The whole distribution as one table: every sequence that a recurrence gives, with its prior.

All families' rules at all their parameters, cut after length + 1 terms and shown as bytes, make a
finite list of distinct rows. What is asked of the distribution (floor, oracle, samples, explanations)
is then a sum over rows, exact to rounding. Rows are sorted, so that those with a common prefix stand
together.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bestguess.integers.config import CLASSES, MAX_LENGTH, IntegerTaskConfig
from bestguess.integers.sequences.language import Family
from bestguess.integers.sequences.priors import families_of
from bestguess.integers.sequences.recurrences import FAMILIES

PHASES = 3
Overflow = Literal["wrap", "end"]
Part = Literal["all", "seen", "validation", "held-out"]
PARTS: tuple[Part, ...] = ("all", "seen", "held-out")
"""Those that an evaluation reports; the validation rows are to choose by."""


@dataclass(frozen=True, eq=False)
class Table:
    """N distinct rows of length + 1 terms, sorted, with what the generator says about each."""

    families: tuple[Family, ...]
    rows: np.ndarray
    """Terms 0..255, uint8 [N, length + 1]; 0 behind a row's own end."""
    lengths: np.ndarray
    """Terms of each row, int64 [N]: length + 1, or fewer where the row ended (`overflow="end"`)."""
    prior: np.ndarray
    """P(row | phase), float64 [3, N]; each phase that has a family sums to 1, one that has none is 0."""
    held_out: np.ndarray
    """Whether a row is kept from training and validation, for the evaluation alone, bool [N]."""
    validation: np.ndarray
    """Whether a row is kept from training, to choose learning rates and weights by, bool [N]."""
    first_source: np.ndarray
    """Sources of row i are `first_source[i]` up to `first_source[i + 1]`, int64 [N + 1]."""
    source_family: np.ndarray
    """Place in `families` of each source (a family at one choice of parameters), int64 [S]."""
    source_choice: np.ndarray
    """Place of the source's choice in the family's own grid of parameters, int64 [S]."""
    source_prior: np.ndarray
    """P(source | its family's phase), float64 [S]."""

    @property
    def length(self) -> int:
        """The longest context: a full row has one term more."""
        return self.rows.shape[1] - 1

    def part(self, part: Part) -> np.ndarray:
        """Return which rows belong to a part, bool [N]: all; or training's, validation's or evaluation's own."""
        match part:
            case "all":
                return np.full(len(self.rows), True)
            case "seen":
                return ~(self.held_out | self.validation)
            case "validation":
                return self.validation
            case "held-out":
                return self.held_out

    def weights(self, mixture: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return P(row) under a mixture of the phases, [3] → float64 [N], summing to 1."""
        total = np.asarray(mixture, np.float64) @ self.prior
        return total / total.sum()

    def starting_with(self, terms: Sequence[int]) -> np.ndarray:
        """Return the places of the rows that begin with `terms` (0..255), int64 [n], empty where none does."""
        low, high = 0, len(self.rows)
        for place, term in enumerate(terms[: self.rows.shape[1]]):
            column = self.rows[low:high, place]
            low, high = (low + int(np.searchsorted(column, term, side)) for side in ("left", "right"))
        places = np.arange(low, high)
        return places[self.lengths[places] >= len(terms)]


@functools.lru_cache(maxsize=4)
def make_table(
    length: int = 8,
    overflow: Overflow = "wrap",
    held_out_fraction: float = 0.1,
    salt: int = 0,
    families: tuple[Family, ...] = FAMILIES,
    validation_fraction: float = 0.0,
) -> Table:
    """Return the table of `families` for contexts of up to `length` terms; the same object for the same arguments.

    overflow: how terms outside 0..255 are shown. "wrap" shows each modulo 256, as a byte (−1 is 255);
    the recurrence itself runs on the true integers. "end" ends the row before the first such term;
    rows of fewer than two terms are left out.
    held_out_fraction: the fraction of full contexts (the first `length` terms) kept from training, chosen
    by a hash of their terms and `salt`; `validation_fraction` more are kept for validation. All
    continuations of a context are on one side, so what follows a full context is distributed as
    without holding out.
    """
    if not 2 <= length <= MAX_LENGTH:
        raise ValueError(f"length {length}: must be from 2 to {MAX_LENGTH}")
    true = [family.terms(length + 1) for family in families]
    terms = np.concatenate(true)
    family = np.repeat(np.arange(len(families)), [len(one) for one in true])
    choice = np.concatenate([np.arange(len(one)) for one in true])
    if overflow == "wrap":
        count = np.full(len(terms), length + 1)
    else:
        outside = (terms < 0) | (terms >= CLASSES)
        count = np.where(outside.any(axis=1), outside.argmax(axis=1), length + 1)
        terms = np.where(np.arange(length + 1) < count[:, None], terms, 0)
        kept = count >= 2
        terms, count, family, choice = terms[kept], count[kept], family[kept], choice[kept]
    shown = (terms % CLASSES).astype(np.uint8)
    phase = np.array([one.phase for one in families]) - 1
    source_prior = _prior_of_sources(families, family)

    order = np.lexsort((count, *_words(shown).T[::-1]))
    shown, count = shown[order], count[order]
    new = np.r_[True, (shown[1:] != shown[:-1]).any(axis=1) | (count[1:] != count[:-1])]
    row = np.cumsum(new) - 1
    rows, lengths = shown[new], count[new]
    family, choice, source_prior = family[order], choice[order], source_prior[order]
    prior = np.stack([np.bincount(row, source_prior * (phase[family] == i), len(rows)) for i in range(PHASES)])
    held_out, validation = _parts(
        rows[:, :length], np.minimum(lengths, length), held_out_fraction, validation_fraction, salt
    )
    return Table(
        families=families,
        rows=rows,
        lengths=lengths,
        prior=prior,
        held_out=held_out,
        validation=validation,
        first_source=np.r_[np.flatnonzero(new), len(row)],
        source_family=family,
        source_choice=choice,
        source_prior=source_prior,
    )


def _prior_of_sources(families: tuple[Family, ...], family: np.ndarray) -> np.ndarray:
    """Return the probability of each source within its phase; family: the index of each source's.

    A share of the phase for each family, then the same share for each choice of parameters that is left.
    """
    weight = np.array([one.weight for one in families])
    phase = np.array([one.phase for one in families]) - 1
    choices = np.bincount(family, minlength=len(families))
    weight = np.where(choices > 0, weight, 0.0)
    total = np.bincount(phase, weight, minlength=PHASES)
    return weight[family] / total[phase[family]] / choices[family]


def table_of(config: IntegerTaskConfig) -> Table:
    """Return the table that a config describes: of the families of its phases."""
    return make_table(
        config.length,
        config.overflow,
        config.held_out,
        families=families_of(config),
        validation_fraction=config.validation,
    )


def seen(config: IntegerTaskConfig, contexts: np.ndarray) -> np.ndarray:
    """Return which full contexts (uint8 [n, length]) training may see, in the config's table or not, bool [n]."""
    lengths = np.full(len(contexts), contexts.shape[1])
    held_out, validation = _parts(contexts, lengths, config.held_out, config.validation)
    return ~(held_out | validation)


def _parts(
    contexts: np.ndarray, lengths: np.ndarray, held_out: float, validation: float, salt: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return which contexts are held out for the evaluation, and which for validation, by a hash of their terms."""
    chance = hashed(contexts, lengths, salt)
    return chance < held_out, (chance >= held_out) & (chance < held_out + validation)


def hashed(rows: np.ndarray, lengths: np.ndarray, salt: int) -> np.ndarray:
    """Return a number in [0, 1) for each row, float64 [N], that its terms, its length and `salt` determine.

    The same on every machine, now and later: the mixing of SplitMix64 (Steele, Lea & Flood, 2014, fig. 14).
    """
    state = np.full(len(rows), salt, np.uint64)
    for word in (*_words(rows).T, lengths.astype(np.uint64)):
        state = _mix(state ^ word)
    return (state >> np.uint64(11)) * 2.0**-53


def _mix(state: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        state = state + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))


def _words(rows: np.ndarray) -> np.ndarray:
    """Return rows of bytes as rows of 64-bit words that sort the same way, uint64 [N, words]."""
    width = -(-rows.shape[1] // 8) * 8
    padded = np.zeros((len(rows), width), np.uint8)
    padded[:, : rows.shape[1]] = rows
    return padded.view(">u8").astype(np.uint64)
