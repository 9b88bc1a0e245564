"""Does the past help? The evidence that the order of values within blocks is not arbitrary.

    E_t = Σ_k π_k Π_{i ≤ t} f_i^(k)

over components k (`bets`, `counts`), π uniform over families and then within each. Null: given the past,
all orders of a block's values are equally likely. Then E is a test martingale from 1, so P(sup_t E_t ≥ N) ≤ 1/N
(Ville). The null includes independent values of any marginal, and marginals that change between blocks.

E is a sum over components, so parts of it can be computed in separate operating-system processes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bestguess.rolls.evidence.bets import Aversion, Predictor, Repeat, Successor
from bestguess.rolls.evidence.counts import BINNINGS, Counts, Decayed
from bestguess.rolls.evidence.windows import Chunk, Marginal

FAMILIES = ("repeat", "aversion", "successor", "counts", "decayed")
PARTS: tuple[tuple[str, ...], ...] = (
    ("repeat", "aversion", "successor"),
    ("counts", "decayed"),
)
"""Families per process: about half of the work each."""
_SQUARE = 16
"""Bins of the finest table of order 2."""


def family(name: str, marginal: Marginal) -> list[Predictor]:
    """Return new predictors of a family."""
    bins = {most: marginal.bins(most) for most in BINNINGS} if name in ("counts", "decayed") else {}
    # With no more values than bins, finer binnings are equal.
    distinct = {len(one): one for one in bins.values()}
    match name:
        case "repeat":
            return [Repeat(marginal)]
        case "aversion":
            return [Aversion()]
        case "successor":
            return [Successor(marginal, order) for order in (1, 2, 3)]
        case "counts":
            return [
                Counts(one, order) for one in distinct.values() for order in (1, 2) if order == 1 or len(one) <= _SQUARE
            ]
        case "decayed":
            return [Decayed(one) for one in distinct.values()]
    raise ValueError(f"unknown family of predictors: {name}")


@dataclass(frozen=True, eq=False)
class Path:
    """A part's share of E after each block: Σ_k π_k E_k over its components k."""

    log: np.ndarray
    """Logarithm of the share, float64 [blocks], nats."""
    excess: np.ndarray
    """Σ_k π_k (E_k − 1), float64 [blocks]: exactly 0 until something is gained or lost; ∞ on overflow."""


class Part:
    """The components of some families, and ln E of each so far."""

    def __init__(self, families: Iterable[str], marginal: Marginal) -> None:
        groups = [family(name, marginal) for name in families]
        self.predictors = [one for group in groups for one in group]
        sizes = [sum(one.components for one in group) for group in groups]
        self.weight = np.concatenate([np.full(size, 1 / (len(FAMILIES) * size)) for size in sizes])
        self._log_e = np.zeros(len(self.weight))

    def strongest(self) -> tuple[float, str]:
        """Return ln π_k E_k of the component with the largest E so far, and its bet in words."""
        share = self._log_e + np.log(self.weight)
        return float(share.max()), [one for p in self.predictors for one in p.names()][int(share.argmax())]

    def add(self, chunk: Chunk) -> Path:
        """Process the next blocks; return this part's share after each of them."""
        gained = np.array([path for one in self.predictors for path in one.log_factors(chunk)])
        log_e = self._log_e[:, None] + np.cumsum(gained, axis=1)
        self._log_e = log_e[:, -1]
        for one in self.predictors:
            one.learn(chunk)
        top = log_e.max(axis=0)
        with np.errstate(over="ignore"):
            excess = self.weight @ np.expm1(log_e)
        return Path(top + np.log(self.weight @ np.exp(log_e - top)), excess)


def together(paths: Iterable[Path]) -> np.ndarray:
    """Return ln E after each block, float64 [blocks], from the shares of all parts; exactly 0 if nothing was gained."""
    all_of = list(paths)
    length = min(len(path.log) for path in all_of)
    excess = np.sum([path.excess[:length] for path in all_of], axis=0)
    log = np.logaddexp.reduce([path.log[:length] for path in all_of], axis=0)
    small = np.abs(excess) < 0.5
    return np.where(small, np.log1p(np.where(small, excess, 0.0)), log)


def joined(paths: list[Path]) -> Path:
    """Return one part's paths of consecutive chunks as one."""
    return Path(np.concatenate([p.log for p in paths]), np.concatenate([p.excess for p in paths]))
