"""The declaration of an experiment: factors, measures and hypotheses. Imports nothing heavier than NumPy.

A family declares an `Experiment`: factors (what the sweep varies), measures (what a run is judged by) and hypotheses.
A hypothesis is a **contrast**: one reducer for each factor, whose product weighs the cells. `statistics` turns a
sweep's runs into a verdict on each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np


@dataclass(frozen=True)
class Factor:
    """What a sweep varies: its dotted key, the name that readers know, and its levels' positions on an axis."""

    key: str
    name: str
    position: Callable[[Any], float] | None = None
    """A level's position on an axis, for slopes and for charts; None: levels have no order."""
    base: Any = None
    """Of levels without order, the one that a chart marks, since the others are changes to it; None: there is none."""
    label: Callable[[Any], str] = str
    """A level's name on a chart."""
    named: bool = False
    """Whether charts list the levels by their names, though they have positions."""

    @property
    def listed(self) -> bool:
        """Whether charts list its levels; otherwise its positions are an axis."""
        return self.named or self.position is None


@dataclass(frozen=True)
class Reading:
    """A run's value of a measure. NaN: the measure does not apply (no headroom).

    bound: the value stands for one beyond it, which could not be seen: `low`, no smaller one could be, or
    `high`, no larger one.
    """

    value: float
    bound: Literal["low", "high"] | None = None


@dataclass(frozen=True)
class Measure:
    """What a run is judged by, on a scale where differences mean something: mostly a logarithm."""

    name: str
    label: str
    """For readers, such as `final excess`."""
    unit: str
    """Of the value, such as `ln`."""
    read: Callable[[Any, Mapping[str, Any]], Reading | None]
    """From a run's config and its figures; None if the run did not record it."""
    group: str
    """What it shares a chart with."""
    axis: str
    """The axis' label of the shown values."""
    show: Callable[[Any], Any]
    """From values to what a chart shows (an excess in %, sequences, skill)."""
    log: bool = False
    """Whether a chart shows it on a log axis."""
    position: float | None = None
    """Its position among those of its group, if they form a curve (a horizon)."""
    bounds: tuple[str, str] = ("at the lowest value seen", "at the highest value seen")
    """What a low and a high bound mean."""
    exact: bool = False
    """Whether it is counted rather than sampled, so that it may be the same for all seeds: its interval is then a \
point. Of another measure, no spread over seeds is no interval."""
    rate: Literal["selected", "highest"] = "selected"
    """The learning rate at which it is read, of those of its cell: the one that validation data select, or the highest
    that the sweep tries: what is about stability under too high a rate."""


class _Reducer:
    """How a factor's axis is weighed away."""

    fewest = 1
    """Levels below which there is nothing to reduce."""

    def keep(self, levels: Sequence[Any]) -> list[int]:
        """Return the indices of the levels that count."""
        return list(range(len(levels)))

    def weights(self, factor: Factor, levels: Sequence[Any]) -> np.ndarray:
        """Return the weight of each of the levels kept."""
        raise NotImplementedError

    @property
    def may_drop(self) -> bool:
        """Whether a level without a value may be left out."""
        return True


@dataclass(frozen=True)
class Mean(_Reducer):
    """The mean over the factor's levels."""

    def weights(self, factor: Factor, levels: Sequence[Any]) -> np.ndarray:
        """Return equal weights."""
        return np.full(len(levels), 1 / len(levels))


@dataclass(frozen=True)
class _Along(_Reducer):
    """What is read off the positions of the factor's levels, or of those `among` them that it is about."""

    among: tuple[Any, ...] = ()

    def keep(self, levels: Sequence[Any]) -> list[int]:
        """Return the indices of the levels that it is about."""
        return [i for i, level in enumerate(levels) if not self.among or level in self.among]


@dataclass(frozen=True)
class Slope(_Along):
    """The least-squares slope over the factor's positions."""

    fewest = 2

    def weights(self, factor: Factor, levels: Sequence[Any]) -> np.ndarray:
        """Return the weights of the slope, Σ (x − x̄) v / Σ (x − x̄)²."""
        assert factor.position is not None
        x = np.array([factor.position(level) for level in levels])
        return (x - x.mean()) / ((x - x.mean()) ** 2).sum()


@dataclass(frozen=True)
class Curvature(_Along):
    """The second derivative of the least-squares parabola over the factor's positions: above 0 it bends upwards."""

    fewest = 3

    def weights(self, factor: Factor, levels: Sequence[Any]) -> np.ndarray:
        """Return the weights of twice the parabola's leading coefficient."""
        assert factor.position is not None
        x = np.array([factor.position(level) for level in levels])
        return 2 * np.linalg.pinv(np.vander(x - x.mean(), 3))[0]


@dataclass(frozen=True)
class At(_Reducer):
    """One level of the factor."""

    level: Any

    def keep(self, levels: Sequence[Any]) -> list[int]:
        """Return the level's index."""
        return [list(levels).index(self.level)]

    def weights(self, factor: Factor, levels: Sequence[Any]) -> np.ndarray:
        """Return 1."""
        return np.ones(1)

    @property
    def may_drop(self) -> bool:
        """Return False: without its level there is nothing."""
        return False


@dataclass(frozen=True)
class Difference(_Reducer):
    """One level of the factor minus another."""

    plus: Any
    minus: Any

    def keep(self, levels: Sequence[Any]) -> list[int]:
        """Return the indices of both."""
        return [list(levels).index(self.plus), list(levels).index(self.minus)]

    def weights(self, factor: Factor, levels: Sequence[Any]) -> np.ndarray:
        """Return 1 and −1."""
        return np.array([1.0, -1.0])

    @property
    def may_drop(self) -> bool:
        """Return False: one level alone has no difference."""
        return False


Contrast: TypeAlias = Mapping[str, _Reducer]
"""A reducer for every factor, by its key."""


@dataclass(frozen=True)
class Proportion:
    """Bounds for a proportion: of the seeds, how many have an effect of 1, where effects are 0 or 1.

    Supported if the exact interval (Clopper and Pearson) lies within the bounds, refuted if it lies outside,
    inconclusive otherwise. No spread is needed: of 1,000 seeds, none is a result.
    """

    at_least: float = 0.0
    at_most: float = 1.0


@dataclass(frozen=True)
class Hypothesis:
    """A claim, the contrast that measures it, and the side of 0 that its effect should lie on."""

    name: str
    claim: str
    contrast: Contrast
    per: str
    """What the effect is per, after the measure's unit; "" for a plain difference."""
    decides: tuple[str, ...]
    """The measures whose effects decide; the others are shown. `group*` stands for all of a group."""
    direction: Literal[1, -1] = 1
    turned_by: Contrast | None = None
    """A contrast that flips the sign of this hypothesis' effects if its own mean effect is negative."""
    beyond: float = 0.0
    """What the effect is compared with, in place of 0: a claim of at least 15 % in a measure in ln has ln 1.15."""
    between: tuple[float, float] | None = None
    """Of a claim that the effect lies between two bounds, such as ln 2 and ln 3: what decides instead of one side. \
Supported if the interval lies between them, refuted if it lies outside, inconclusive otherwise."""
    proportion: Proportion | None = None
    """Of a claim about how many seeds: what decides instead of the side of 0. Its contrast picks one cell."""


@dataclass(frozen=True)
class Control:
    """A claim that nothing differs; if it is refuted, no other verdict stands.

    Supported if every interval contains 0 and lies within ± `margin` times the effect of the hypothesis `against`,
    refuted if one excludes 0 after Holm's correction over the measures, inconclusive otherwise.
    """

    name: str
    claim: str
    contrast: Contrast
    against: str
    margin: float = 0.25


@dataclass(frozen=True)
class Grading:
    """Names of a factor's levels by how hard they are: easy, medium and hard, by the first measure (ties: the next)."""

    factor: str
    measures: tuple[str, ...]


@dataclass(frozen=True)
class Experiment:
    """What an experiment asks of a sweep of its name."""

    title: str
    question: str
    factors: tuple[Factor, ...]
    """The first lies on the charts' x-axis; the others make the lines."""
    measures: tuple[Measure, ...]
    hypotheses: tuple[Hypothesis, ...]
    small: tuple[str, ...]
    """Changes (KEY=VALUE,VALUE) to the sweep that make it one for a laptop's CPU."""
    control: Control | None = None
    grading: Grading | None = None
    tuned: bool = True
    """Whether the learning rate is tuned in every cell. Of claims about any training whatever, one rate will do."""
    comparable: Callable[[Sequence[Mapping[str, Any]]], None] | None = None
    """Raises a UserError where runs' figures do not compare, before there is a verdict; as `more`, of the records."""
    more: str | None = None
    """`module:name` of what makes further sections of the page of the ledger's records: `config` by dotted key and
    `metrics` of every run with its cell's learning rate."""
    operations: Callable[[Any], tuple[float, int]] | None = None
    """From a run's config, the floating-point operations of one training step, and the number of steps."""


def decides(hypothesis: Hypothesis, measure: Measure) -> bool:
    """Return whether the measure is one that decides the hypothesis."""
    return measure.name in hypothesis.decides or f"{measure.group}*" in hypothesis.decides
