"""The interface of a source of values: drawn from a seed, with a floor and usually an oracle.

A source draws the same values for any division into pieces. It resumes from a state of a few numbers, so an
interrupted file can be completed. Its oracle knows the source's parameters and predicts each value from the values
before it. No predictor is better on average.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from bestguess.command import UserError
from bestguess.rolls.file import VALUES

State = dict[str, Any]
"""Position in a source, as JSON values."""
_LARGEST = 1 << 27
"""Most numbers in a prediction: 1 GiB."""
_PIECE = 1 << 20
"""Fewest values in a piece of `log_p`."""


@dataclass(frozen=True)
class Floor:
    """The best possible loss."""

    bits: float
    """Bits per value, in the long run."""
    standard_error: float = 0.0
    """Standard error of the bits if they are a mean over simulated values; 0 if they are exact."""
    says: str = ""
    """Basis of the figure, one line."""
    known_after: int | None = None
    """Number of values that determine the state of a known generator, and so all later values."""
    top: Mapping[int, float] = field(default_factory=dict)
    """Probability that the next value is among the oracle's 1, 3 and 5 most probable ones."""


@dataclass(frozen=True)
class Source(abc.ABC):
    """A source. Its fields are its parameters; the flags of `rolls make` have the same names."""

    name: ClassVar[str]
    seed: int = 0
    """Random seed of the values and of the source's random tables."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UserError(f"--seed {self.seed}: must be 0 or more")

    @property
    @abc.abstractmethod
    def classes(self) -> int:
        """Number of possible values: 0 to this minus 1."""

    @abc.abstractmethod
    def start(self) -> State:
        """Return the state before the first value."""

    @abc.abstractmethod
    def draw(self, state: State, count: int) -> tuple[np.ndarray, State]:
        """Return the next `count` values, uint16, and the state after them."""

    @abc.abstractmethod
    def floor(self) -> Floor:
        """Return the best possible loss."""

    def predict(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return ln p of every value given those before it, float64 [n, classes]; −∞ for impossible values.

        values: consecutive values of the source, uint16 [n]. index: of the first; the values before it are unknown.
        What follows a value that is impossible is unspecified, here and in the methods below.
        """
        raise NotImplementedError(f"{self.name}: no oracle is computable")

    def predict_windows(self, windows: np.ndarray, indexes: np.ndarray) -> np.ndarray:
        """Return `predict` of each window, float64 [n, T, classes]; it may be read-only. ValueError above 1 GiB.

        windows: consecutive values, uint16 [n, T]. indexes: of the windows' first values, int64 [n]; the values
        before a window are unknown, also if another window has them.
        """
        n, length = windows.shape
        check_size(self, n * length)
        check_values(self, windows)
        if indexes.shape != (n,):
            raise ValueError(f"{n} windows have {n} first indexes, not an array of shape {indexes.shape}")
        return self._predict_windows(windows, indexes)

    def _predict_windows(self, windows: np.ndarray, indexes: np.ndarray) -> np.ndarray:
        n, length = windows.shape
        found = np.empty((n, length, self.classes))
        for i, (window, index) in enumerate(zip(windows, indexes.tolist())):
            found[i] = self.predict(window, index)
        return found

    @property
    def has_oracle(self) -> bool:
        """Whether `predict`, `predict_windows` and `log_p` can be computed."""
        return type(self).predict is not Source.predict

    @property
    def reach(self) -> int:
        """Number of earlier values that determine the law of a value as well as all of them do."""
        raise NotImplementedError(f"{self.name}: no oracle is computable")

    def memory(self, index: int) -> int:
        """Return how many of the values before `index` `log_p` needs."""
        return min(index, self.reach)

    def log_p(self, values: np.ndarray, index: int, before: np.ndarray) -> np.ndarray:
        """Return ln p of each value itself given all values before it in the file, float64 [n]; −∞ if impossible.

        values: uint16 [n]. index: of the first. before: the values before it, `memory(index)` of them or more, uint16
        [m]; ValueError for fewer.
        """
        wanted, n = self.memory(index), len(values)
        if not wanted <= len(before) <= index:
            raise ValueError(f"{self.name}: {wanted} to {index} values before index {index} are needed")
        line = np.concatenate([before[len(before) - wanted :], values])
        check_values(self, line)
        size, found = max(_PIECE, wanted), np.empty(n)
        for first in range(0, n, size):
            past = self.memory(index + first)
            part = line[wanted + first - past : wanted + first + size]
            found[first : first + size] = self.log_p_within(part, index + first - past)[past:]
        return found

    def log_p_within(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return `predict`'s ln p of each value itself, float64 [n], without that of the other values."""
        raise NotImplementedError(f"{self.name}: no oracle is computable")

    def parameters(self) -> dict[str, Any]:
        """Return the fields by name, without the seed."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "seed"}


class IndexedSource(Source):
    """A source with random access: the values at any index, without those before."""

    @abc.abstractmethod
    def at(self, index: int, count: int) -> np.ndarray:
        """Return `count` values from `index` on, uint16."""

    def start(self) -> State:
        """Return index 0."""
        return {"index": 0}

    def draw(self, state: State, count: int) -> tuple[np.ndarray, State]:
        """Return the next values, and the index after them."""
        return self.at(state["index"], count), {"index": state["index"] + count}


class WindowedSource(Source):
    """A source whose oracle handles many windows at once; `predict` is that of one window."""

    def predict(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return ln p of every value given those before it, float64 [n, classes]."""
        return self.predict_windows(values[None], np.array([index]))[0]

    @abc.abstractmethod
    def _predict_windows(self, windows: np.ndarray, indexes: np.ndarray) -> np.ndarray: ...


class IndependentSource(WindowedSource, IndexedSource):
    """A source of independent values of one law."""

    @property
    @abc.abstractmethod
    def law_p(self) -> np.ndarray:
        """Probability of each value, float64 [classes]."""

    @property
    def reach(self) -> int:
        """0: the past does not help."""
        return 0

    def _predict_windows(self, windows: np.ndarray, indexes: np.ndarray) -> np.ndarray:
        """Return a read-only view of one row."""
        return np.broadcast_to(log_of(self.law_p), (*windows.shape, self.classes))

    def log_p_within(self, values: np.ndarray, index: int = 0) -> np.ndarray:
        """Return ln p of each value itself, float64 [n]."""
        return log_of(self.law_p)[values]


def check_size(source: Source, n: int) -> None:
    """Raise ValueError if `n` predictions take more than 1 GiB."""
    if n * source.classes > _LARGEST:
        raise ValueError(
            f"{n} predictions of {source.classes} classes take {n * source.classes / 2**27:.1f} GiB; ask for fewer"
        )


def check_values(source: Source, values: np.ndarray) -> None:
    """Raise ValueError if the source has no such values."""
    if values.size and values.max() >= source.classes:
        raise ValueError(f"{source.name}: has values 0 to {source.classes - 1}, not {values.max()}")


def log_p_of(source: Source, n: int, fill: float = -np.inf) -> np.ndarray:
    """Return an array for a prediction, float64 [n, classes]. ValueError above 1 GiB."""
    check_size(source, n)
    return np.full((n, source.classes), fill)


def overlapping(values: np.ndarray, reach: int, length: int) -> np.ndarray:
    """Return windows of `reach + length` values that begin every `length` values; the last is padded with zeros."""
    count = max(1, -(-(len(values) - reach) // length))
    line = np.concatenate([values, np.zeros(max(0, reach + count * length - len(values)), values.dtype)])
    return np.lib.stride_tricks.sliding_window_view(line, reach + length)[::length][:count]


def joined(windows: np.ndarray, reach: int, n: int) -> np.ndarray:
    """Return the first `n` numbers of the line that `overlapping` cut, without the first `reach` of later windows."""
    return np.concatenate([windows[0, :reach], windows[:, reach:].ravel()])[:n]


def log_of(p: np.ndarray | float) -> np.ndarray:
    """Return ln p, with −∞ for p = 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(p))


def top_masses(p: np.ndarray) -> dict[int, float]:
    """Return the mean over rows of `p` [rows, classes] of the mass of the 1, 3 and 5 most probable classes."""
    ordered = -np.sort(-p, axis=1)
    return {k: float(ordered[:, :k].sum(axis=1).mean()) for k in (1, 3, 5)}


def measured(source: Source, values: np.ndarray, skip: int = 0) -> Floor:
    """Return the oracle's own loss and top masses on `values` after the first `skip`, with the standard error.

    Both are expectations under the oracle's prediction, which vary less than the losses of the values drawn.
    """
    p = np.exp(source.predict(values)[skip:])
    entropies = -np.sum(np.where(p > 0, p * np.log2(np.where(p > 0, p, 1.0)), 0.0), axis=1)
    # Neighbouring entropies are correlated: the error is that of the means of 32 segments.
    means = np.array([part.mean() for part in np.array_split(entropies, 32)])
    return Floor(float(entropies.mean()), float(means.std(ddof=1) / 32**0.5), top=top_masses(p))


def check(condition: bool, flag: str, value: object, mend: str) -> None:
    """Raise UserError naming the flag unless the condition holds."""
    if not condition:
        raise UserError(f"--{flag} {value}: {mend}")


def check_alphabet(alphabet: int, least: int = 2) -> None:
    """Raise UserError unless the alphabet fits 16 bits."""
    check(least <= alphabet <= VALUES, "alphabet", alphabet, f"must be {least} to {VALUES}")
