"""Verdicts on hypotheses: what an experiment declares, and the statistics that turn its runs into words.

A family declares an `Experiment`: factors (what the sweep varies), measures (what a run is judged by) and hypotheses.
A hypothesis is a **contrast**: one reducer for each factor, whose product weighs the cells. Each seed so gives one
effect, paired over all cells, and the verdict is from the mean of the effects and Student's t over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

Word: TypeAlias = Literal["supported", "refuted", "inconclusive"]
LEVEL = 0.95
"""Coverage of every interval."""
_NO_SPREAD = 1e-12
"""Effects whose standard deviation is below this share of their size are the same number, rounded."""


# ------------------------------------------------------------------------------------------ statistics


@dataclass(frozen=True)
class Estimate:
    """A mean effect over seeds with its interval (Student's t), and the p-value of "there is none" (two-sided)."""

    effect: float
    interval: tuple[float, float]
    p: float
    seeds: int

    def side(self) -> int:
        """Return on which side of 0 the interval lies: 1 above, −1 below, 0 on both."""
        return int(self.interval[0] > 0) - int(self.interval[1] < 0)


def estimate(effects: Float[np.ndarray, " seeds"], level: float = LEVEL) -> Estimate | None:
    """Return the mean of the effects with its interval; None where there is none: one seed, or no spread at all.

    Effects that are equal to the last digit are no certainty: their measure has met a bound (of what could be
    seen, such as the first validation), and Student's t has no interval for them.
    """
    effects = np.asarray(effects, float)
    n = len(effects)
    if n < 2:
        return None
    mean, spread = float(effects.mean()), float(effects.std(ddof=1))
    if not spread > _NO_SPREAD * float(np.abs(effects).max()):
        return None
    error = spread / math.sqrt(n)
    half = float(special.stdtrit(n - 1, 0.5 + level / 2)) * error
    p = 2 * float(special.stdtr(n - 1, -abs(mean) / error))
    return Estimate(mean, (mean - half, mean + half), p, n)


def holm(p: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for their number, in their order: Holm's step-down method.

    Holm, "A simple sequentially rejective multiple test procedure" (Scandinavian Journal of Statistics, 1979).
    """
    adjusted = [0.0] * len(p)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = highest
    return adjusted


# ------------------------------------------------------------------------------------------ declarations


@dataclass(frozen=True)
class Factor:
    """What a sweep varies: its dotted key, the name that readers know, and where its levels lie on an axis."""

    key: str
    name: str
    position: Callable[[Any], float] | None = None
    """Where a level stands, for slopes and for charts; None: levels have no order."""
    base: Any = None
    """Of levels without order, the one that a chart marks, since the others are changes to it; None: there is none."""


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
    """From a run's config and its figures; None where the run did not record it."""
    group: str
    """What it shares a chart with."""
    axis: str
    """The axis' label of the shown values."""
    show: Callable[[Any], Any]
    """From values to what a chart shows (an excess in %, sequences, skill)."""
    log: bool = False
    """Whether a chart shows it on a log axis."""
    position: float | None = None
    """Its place among those of its group, where they form a curve (a horizon)."""
    bounds: tuple[str, str] = ("at the lowest value seen", "at the highest value seen")
    """What a low and a high bound mean."""


class _Reducer:
    """How a factor's axis is weighed away."""

    fewest = 1
    """Levels below which there is nothing to reduce."""

    def keep(self, levels: Sequence[Any]) -> list[int]:
        """Return the places of the levels that count."""
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
class Slope(_Reducer):
    """The least-squares slope over the factor's positions."""

    fewest = 2

    def weights(self, factor: Factor, levels: Sequence[Any]) -> np.ndarray:
        """Return the weights of the slope, Σ (x − x̄) v / Σ (x − x̄)²."""
        assert factor.position is not None
        x = np.array([factor.position(level) for level in levels])
        return (x - x.mean()) / ((x - x.mean()) ** 2).sum()


@dataclass(frozen=True)
class At(_Reducer):
    """One level of the factor."""

    level: Any

    def keep(self, levels: Sequence[Any]) -> list[int]:
        """Return the level's place."""
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
        """Return the places of both."""
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
class Hypothesis:
    """A claim, the contrast that measures it, and on which side of 0 its effect should lie."""

    name: str
    claim: str
    contrast: Contrast
    per: str
    """What the effect is per, after the measure's unit; "" for a plain difference."""
    decides: tuple[str, ...]
    """The measures whose effects decide; the others are shown. `group*` stands for all of a group."""
    direction: Literal[1, -1] = 1
    turned_by: Contrast | None = None
    """A contrast that, where its mean effect is negative, turns the sign of this hypothesis' effects."""


@dataclass(frozen=True)
class Control:
    """A claim that nothing differs; where it is refuted no other verdict stands.

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
    operations: Callable[[Any], tuple[float, int]] | None = None
    """From a run's config, the floating-point operations of one training step, and the number of steps."""


# ------------------------------------------------------------------------------------------ from runs to effects


@dataclass(frozen=True, eq=False)
class Table:
    """One measure of a sweep: an axis for each factor, in order, then one for seeds."""

    factors: tuple[Factor, ...]
    levels: tuple[tuple[Any, ...], ...]
    seeds: tuple[int, ...]
    values: Float[np.ndarray, "*levels seeds"]
    """NaN: it does not apply there, or the run is missing."""
    done: Bool[np.ndarray, "*levels seeds"]
    low: Bool[np.ndarray, "*levels seeds"]
    high: Bool[np.ndarray, "*levels seeds"]


@dataclass(frozen=True, eq=False)
class Effects:
    """A contrast's effect for each seed."""

    values: Float[np.ndarray, " seeds"]
    seeds: tuple[int, ...]
    cells: int
    """How many runs stand behind them."""
    dropped: tuple[str, ...]
    """Levels left out for want of headroom, such as `λ 0.36`."""
    low: int
    high: int


def effects_of(table: Table, contrast: Contrast) -> Effects | None:
    """Return the contrast's effect for each seed that has all the runs it needs; None where nothing is left.

    A level of a slope or a mean at which the measure does not apply for some seed is left out for all, so that
    the effects of all seeds are of the same cells.
    """
    kept = [contrast[factor.key].keep(levels) for factor, levels in zip(table.factors, table.levels)]
    whole = [np.asarray(array[np.ix_(*kept)]) for array in (table.values, table.done, table.low, table.high)]
    levels = [[levels[i] for i in places] for places, levels in zip(kept, table.levels)]
    axes = tuple(range(len(table.factors)))
    full = np.asarray(whole[1].all(axis=axes))  # seeds without a missing run
    seeds = tuple(seed for seed, one in zip(table.seeds, full) if one)
    values, low, high = (array[..., full] for array in (whole[0], whole[2], whole[3]))
    if not seeds:
        return None
    dropped = []
    while np.isnan(values).any():
        # The level that lacks most goes first: at a horizon without headroom it is all of a λ.
        lacking = {
            (axis, i): float(np.isnan(values.take(i, axis)).mean())
            for axis in axes
            if contrast[table.factors[axis].key].may_drop
            for i in range(values.shape[axis])
        }
        if not lacking:
            return None
        axis, i = max(lacking, key=lambda place: (lacking[place], -place[0]))
        if values.shape[axis] <= contrast[table.factors[axis].key].fewest:
            return None
        dropped.append(f"{table.factors[axis].name} {levels[axis].pop(i)}")
        values, low, high = (np.delete(array, i, axis) for array in (values, low, high))
    total = values
    for factor, own in zip(table.factors, levels):
        total = np.tensordot(contrast[factor.key].weights(factor, own), total, axes=(0, 0))
    return Effects(total, seeds, values.size, tuple(dropped), int(low.sum()), int(high.sum()))


# ------------------------------------------------------------------------------------------ verdicts


@dataclass(frozen=True)
class Finding:
    """What one measure says about one hypothesis."""

    measure: str
    unit: str
    decides: bool
    verdict: Word | None
    """None: no verdict rests on this measure, and `notes` say why."""
    estimate: Estimate | None
    by_seed: Mapping[int, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    margin: float | None = None
    """Of a control: half the width of what counts as no difference."""
    p_adjusted: float | None = None
    """Of a control: after Holm's correction."""


@dataclass(frozen=True)
class Verdict:
    """What all deciding measures say together.

    A hypothesis of several measures has the verdict that all of them share, and is inconclusive where they differ.
    """

    hypothesis: str
    claim: str
    verdict: Word
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def main(self) -> Finding:
        """The finding that is shown first: the first deciding one with the hypothesis' own verdict."""
        deciding = [one for one in self.findings if one.decides]
        return next((one for one in deciding if one.verdict == self.verdict), deciding[0])


def judge(experiment: Experiment, tables: Mapping[str, Table]) -> list[Verdict]:
    """Return the verdict on every hypothesis, the control's last, from one table for each recorded measure."""
    measures = [measure for measure in experiment.measures if measure.name in tables]
    verdicts = [_hypothesis(one, measures, tables) for one in experiment.hypotheses]
    if experiment.control is None:
        return verdicts
    control = _control(experiment.control, experiment.hypotheses, measures, tables)
    if control.verdict == "refuted":
        told = f"{control.hypothesis}, the control, is refuted: the experiment is at fault, and this verdict falls"
        verdicts = [
            Verdict(one.hypothesis, one.claim, "inconclusive", one.findings, (*one.notes, told)) for one in verdicts
        ]
    return [*verdicts, control]


def decides(hypothesis: Hypothesis, measure: Measure) -> bool:
    """Return whether the measure is one that decides the hypothesis."""
    return measure.name in hypothesis.decides or f"{measure.group}*" in hypothesis.decides


def _hypothesis(one: Hypothesis, measures: list[Measure], tables: Mapping[str, Table]) -> Verdict:
    findings = []
    for measure in measures:
        unit = f"{measure.unit} {one.per}".strip()
        found = effects_of(tables[measure.name], one.contrast)
        if found is None:
            findings.append(_nothing(measure, unit, decides(one, measure)))
            continue
        notes = _notes(measure, found)
        sign = 1
        if one.turned_by is not None:
            turning = effects_of(tables[measure.name], one.turned_by)
            if turning is not None and turning.values.mean() < 0:
                sign = -1
                notes.append("the effect whose size is compared is negative, so the sign is turned")
        values = sign * found.values
        result = estimate(values)
        verdict: Word | None = None
        if result is not None:
            verdict = {1: "supported", -1: "refuted", 0: "inconclusive"}[result.side() * one.direction]  # type: ignore[assignment]
        notes += _why_none(found) if result is None else []
        by_seed = dict(zip(found.seeds, map(float, values)))
        findings.append(Finding(measure.name, unit, decides(one, measure), verdict, result, by_seed, tuple(notes)))
    words = {one.verdict for one in findings if one.decides and one.verdict is not None}
    notes = [] if words else ["no measure that decides it could be judged"]
    if len(words) > 1:
        told = ", ".join(
            f"{measure.label} {finding.verdict}"
            for measure, finding in zip(measures, findings)
            if finding.decides and finding.verdict is not None
        )
        notes.append(f"its measures differ: {told}")
    return Verdict(
        one.name, one.claim, words.pop() if len(words) == 1 else "inconclusive", tuple(findings), tuple(notes)
    )


def _control(
    one: Control, hypotheses: tuple[Hypothesis, ...], measures: list[Measure], tables: Mapping[str, Table]
) -> Verdict:
    (against,) = (hypothesis for hypothesis in hypotheses if hypothesis.name == one.against)
    rows: list[tuple[Measure, Effects | None, Estimate | None, float]] = []
    for measure in measures:
        found = effects_of(tables[measure.name], one.contrast)
        size = effects_of(tables[measure.name], against.contrast)
        margin = math.nan if size is None else one.margin * abs(float(size.values.mean()))
        rows.append((measure, found, None if found is None else estimate(found.values), margin))
    adjusted = iter(holm([result.p for _, _, result, _ in rows if result is not None]))
    findings = []
    for measure, found, result, margin in rows:
        if found is None or result is None:
            notes = [] if found is None else [*_notes(measure, found), *_why_none(found)]
            findings.append(_nothing(measure, measure.unit, True, notes))
            continue
        p = next(adjusted)
        verdict: Word = "inconclusive"
        if p < 1 - LEVEL:
            verdict = "refuted"
        elif result.side() == 0 and max(map(abs, result.interval)) <= margin:
            verdict = "supported"
        by_seed = dict(zip(found.seeds, map(float, found.values)))
        notes = _notes(measure, found)
        findings.append(Finding(measure.name, measure.unit, True, verdict, result, by_seed, tuple(notes), margin, p))
    words = {finding.verdict for finding in findings if finding.verdict is not None}
    verdict = "refuted" if "refuted" in words else "supported" if words == {"supported"} else "inconclusive"
    return Verdict(one.name, one.claim, verdict, tuple(findings))


def _nothing(measure: Measure, unit: str, decides: bool, notes: Sequence[str] = ("too little headroom",)) -> Finding:
    return Finding(measure.name, unit, decides, None, None, {}, tuple(notes) or ("too little headroom",))


def _notes(measure: Measure, found: Effects) -> list[str]:
    notes = [f"without {', '.join(found.dropped)}: too little headroom"] if found.dropped else []
    for count, meaning in zip((found.low, found.high), measure.bounds):
        if count:
            notes.append(f"{count} of {found.cells} values {meaning}")
    return notes


def _why_none(found: Effects) -> list[str]:
    if len(found.seeds) < 2:
        return ["one seed has no interval"]
    return ["no spread over seeds: its values stand at a bound, so there is no interval"]


def grade(experiment: Experiment, tables: Mapping[str, Table]) -> dict[str, Any] | None:
    """Return {easy, medium, hard: level} of the graded factor, or None where fewer than three levels have values.

    Easy is the level with the lowest mean of the first measure over seeds, hard that with the highest (a value at
    its bound counts as the bound), medium the one nearest to the middle of both. Ties go to the next measure.
    """
    grading = experiment.grading
    if grading is None or any(name not in tables for name in grading.measures):
        return None
    first = tables[grading.measures[0]]
    axis = [factor.key for factor in first.factors].index(grading.factor)
    means = []
    for name in grading.measures:
        values = np.moveaxis(tables[name].values, axis, 0)
        means.append(values.reshape(len(values), -1).mean(axis=1))
    scores = {
        level: tuple(float(mean[i]) for mean in means)
        for i, level in enumerate(first.levels[axis])
        if np.isfinite([mean[i] for mean in means]).all()
    }
    if len(scores) < 3:
        return None
    easy, hard = min(scores, key=scores.__getitem__), max(scores, key=scores.__getitem__)
    middle = (scores[easy][0] + scores[hard][0]) / 2
    between = [level for level in scores if level not in (easy, hard)]
    return {"easy": easy, "medium": min(between, key=lambda level: abs(scores[level][0] - middle)), "hard": hard}
