"""The declaration of an experiment: factors, measures and hypotheses. Imports nothing heavier than NumPy.

A family declares an `Experiment`: factors (what the sweep varies), measures (what a run is judged by) and hypotheses.
A hypothesis is a **contrast**: one reducer for each factor, whose product weighs the cells. `statistics` turns a
sweep's runs into a verdict on each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
    former: Mapping[Any, Any] = field(default_factory=dict)
    """Levels of earlier sweeps that are the same as levels of today under another name: to today's name."""

    def titled(self, level: Any) -> str:
        """A level behind the factor's name, such as `λ 0.9`."""
        return f"{self.name} {self.label(level)}"

    def brief(self, level: Any) -> str:
        """A level as a line's name has it: names of levels without order say of themselves what they are."""
        return self.label(level) if self.position is None else self.titled(level)

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
    weight: float = 1.0
    """What the value counts for, in (0, 1]: the inverse of its variance, as a fraction of a good value's. A level with
    little headroom says little, and is weighed down rather than left out."""


@dataclass(frozen=True)
class Reference:
    """Another predictor that a chart shows beside the models, such as a linear one: it decides nothing."""

    name: str
    read: Callable[[Any, Mapping[str, Any]], float]
    """From a run's config and its figures to the predictor's value in the measure's unit; NaN where there is none."""


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
    covariate: bool = False
    """Whether it is about the task and not about the model, such as the headroom: its effect is shown, so that readers
    see what else differs between the cells, and no verdict rests on it."""
    references: tuple[Reference, ...] = ()
    rate: Literal["selected", "highest"] = "selected"
    """The learning rate at which it is read, of those of its cell: the one that validation data select, or the highest
    that the sweep tries: what is about stability under too high a rate."""


class _Reducer:
    """How a factor's axis is weighed away.

    Values have weights, their precisions 1/variance up to a factor; what comes out of a reduction has one too. Of equal
    weights the reductions are the plain mean, difference and slope.
    """

    order = 1
    """Of a contrast, what has the lowest is reduced first: arms are compared within a level, then levels averaged."""

    def keep(self, levels: Sequence[Any]) -> list[int]:
        """Return the indices of the levels that count."""
        return list(range(len(levels)))

    def reduce(
        self, factor: Factor, levels: Sequence[Any], values: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the values with their first axis, the levels kept, reduced, and their weights.

        A weight of 0 means that there is no value.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Mean(_Reducer):
    """The mean over the factor's levels."""

    order = 3

    def reduce(
        self, factor: Factor, levels: Sequence[Any], values: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the weighted mean, and the sum of the weights."""
        total = weights.sum(axis=0)
        return _over(np.sum(weights * values, axis=0), total), total


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

    order = 2

    def reduce(
        self, factor: Factor, levels: Sequence[Any], values: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the slope of weighted least squares, Σ w (x − x̄) v / Σ w (x − x̄)², and the last sum, its precision."""
        assert factor.position is not None
        x = np.array([factor.position(level) for level in levels])
        x = x.reshape(-1, *(1,) * (values.ndim - 1))
        away = x - _over(np.sum(weights * x, axis=0), weights.sum(axis=0))
        spread = np.sum(weights * away**2, axis=0)
        spread = np.where((weights > 0).sum(axis=0) < 2, 0.0, spread)  # rounding of one level is no slope
        return _over(np.sum(weights * away * values, axis=0), spread), spread


@dataclass(frozen=True)
class Curvature(_Along):
    """The second derivative of the least-squares parabola over the factor's positions: above 0 it bends upwards."""

    order = 2

    def reduce(
        self, factor: Factor, levels: Sequence[Any], values: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return twice the leading coefficient of the parabola of weighted least squares, and its precision."""
        assert factor.position is not None
        x = np.array([factor.position(level) for level in levels])
        basis = np.vander(x - x.mean(), 3)
        inverse = np.linalg.pinv(np.einsum("ld,l...,le->...de", basis, weights, basis))
        coefficient = np.einsum("...e,le,l...->...", inverse[..., 0, :], basis, weights * values)
        variance = np.where((weights > 0).sum(axis=0) < 3, 0.0, inverse[..., 0, 0])  # of fewer levels there is none
        return 2 * coefficient, _over(np.full(variance.shape, 0.25), variance)


@dataclass(frozen=True)
class At(_Reducer):
    """One level of the factor."""

    level: Any

    def keep(self, levels: Sequence[Any]) -> list[int]:
        """Return the level's index."""
        return [list(levels).index(self.level)]

    order = 0

    def reduce(
        self, factor: Factor, levels: Sequence[Any], values: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the level's values and weights."""
        return values[0], weights[0]


@dataclass(frozen=True)
class Difference(_Reducer):
    """One level of the factor minus another."""

    plus: Any
    minus: Any

    def keep(self, levels: Sequence[Any]) -> list[int]:
        """Return the indices of both."""
        return [list(levels).index(self.plus), list(levels).index(self.minus)]

    def reduce(
        self, factor: Factor, levels: Sequence[Any], values: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the difference, and its precision 1 / (1/w₊ + 1/w₋): none where one of them has none."""
        return values[0] - values[1], _over(weights[0] * weights[1], weights[0] + weights[1])


def _over(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(np.shape(b)), where=b > 0)


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
    """The measures whose effects decide; the others are shown, with Holm's correction. `group*` stands for all of a
    group. One, the primary measure, is best."""
    scales: tuple[str, ...] = ()
    """Measures of the same quantity on other scales than the primary one's. Supported or refuted only if all of them
    say so; if they do not agree, the verdict is `depends on the scale`."""
    direction: Literal[1, -1] = 1
    shown: tuple[str, ...] | None = None
    """The measures that compare over its cells; None: all do. Patch sizes compare at a floor that they share alone."""
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

    Supported if the interval of every measure with a margin lies within ± that margin, refuted if one of any measure
    excludes 0 after Holm's correction over all of them, inconclusive otherwise.
    """

    name: str
    claim: str
    contrast: Contrast
    margins: Mapping[str, float]
    """By the measure's name: stated before any run, such that the number of seeds can meet them."""


@dataclass(frozen=True)
class Grading:
    """Names of a factor's levels by how hard they are: easy, medium and hard, by one measure.

    They are named only if they are in order: the measure's paired differences from easy to medium and from medium to
    hard have intervals above 0.
    """

    factor: str
    measure: str


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
    searched: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    """From a run's flat config to that of the cell whose rate it takes from a search (`--rates`), where the search has
    fewer cells than the experiment; None: the same."""
    comparable: Callable[[Sequence[Mapping[str, Any]]], None] | None = None
    """Raises a UserError where runs' figures do not compare, before there is a verdict; as `more`, of the records."""
    more: str | None = None
    """`module:name` of what makes further sections of the page of the ledger's records: `config` by dotted key, the
    config `made` of it and `metrics` of every run with its cell's learning rate."""
    operations: Callable[[Any], tuple[float, int]] | None = None
    """From a run's config, the floating-point operations of one training step, and the number of steps."""


def decides(hypothesis: Hypothesis, measure: Measure) -> bool:
    """Return whether the measure is one that decides the hypothesis, on whatever scale."""
    return measure.name in (*hypothesis.decides, *hypothesis.scales) or f"{measure.group}*" in hypothesis.decides
