"""The statistics that turn an experiment's runs into verdicts on its hypotheses.

Each seed gives one effect of a hypothesis' contrast, paired over all cells. The verdict is from the mean of the
effects and Student's t over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from bestguess.experiment.declare import (
    Contrast,
    Control,
    Experiment,
    Factor,
    Hypothesis,
    Measure,
    Proportion,
    decides,
)

Word: TypeAlias = Literal["supported", "refuted", "inconclusive"]
LEVEL = 0.95
"""Coverage of every interval."""
_NO_SPREAD = 1e-12
"""Effects whose standard deviation is below this fraction of their size are the same number, rounded."""


@dataclass(frozen=True)
class EffectEstimate:
    """A mean effect over seeds with its interval (Student's t), and the p-value of "there is none" (two-sided)."""

    effect: float
    interval: tuple[float, float]
    p: float
    seeds: int

    def side(self, of: float = 0.0) -> int:
        """Return the side of 0, or of another value, that the interval lies on: 1 above, −1 below, 0 on both."""
        return int(self.interval[0] > of) - int(self.interval[1] < of)


def estimate_effect(effects: Float[np.ndarray, " seeds"], level: float = LEVEL) -> EffectEstimate | None:
    """Return the mean of the effects with its interval; None if there is none: one seed, or no spread at all.

    Effects that are equal to the last digit are no certainty. Their measure has met a bound of what could be seen,
    such as the first validation, and Student's t has no interval for them.
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
    return EffectEstimate(mean, (mean - half, mean + half), p, n)


def exact_effect(effects: Float[np.ndarray, " seeds"]) -> EffectEstimate | None:
    """Return the effect of what is counted: the same for all seeds, and sure; None where they differ, or are none."""
    effects = np.asarray(effects, float)
    if not len(effects) or np.ptp(effects) > _NO_SPREAD * float(np.abs(effects).max()):
        return None
    effect = float(effects[0])
    return EffectEstimate(effect, (effect, effect), 0.0 if effect else 1.0, len(effects))


@dataclass(frozen=True)
class ProportionEstimate(EffectEstimate):
    """The fraction of seeds whose effect is 1, with its exact interval.

    The p-value is that of the bound that lies nearer to the fraction, two-sided.
    """

    ones: int = 0


def estimate_proportion(
    effects: Float[np.ndarray, " seeds"], claim: Proportion, level: float = LEVEL
) -> ProportionEstimate | None:
    """Return the fraction of ones with its interval by Clopper and Pearson; None without seeds.

    "The use of confidence or fiducial limits illustrated in the case of the binomial" (Biometrika, 1934).
    """
    effects = np.asarray(effects, float)
    if not np.isin(effects, (0.0, 1.0)).all():
        raise ValueError("a proportion is one of effects that are 0 or 1")
    n, k = len(effects), int(effects.sum())
    if not n:
        return None
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else float(special.betaincinv(k, n - k + 1, tail))
    high = 1.0 if k == n else float(special.betaincinv(k + 1, n - k, 1 - tail))
    bound = min((claim.at_least, claim.at_most), key=lambda one: abs(one - k / n))
    at_most_k, at_least_k = special.bdtr(k, n, bound), 1.0 if k == 0 else special.bdtrc(k - 1, n, bound)
    return ProportionEstimate(k / n, (low, high), min(1.0, 2 * float(min(at_most_k, at_least_k))), n, k)


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


@dataclass(frozen=True, eq=False)
class MeasureTable:
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


def effects_of(table: MeasureTable, contrast: Contrast) -> Effects | None:
    """Return the contrast's effect for each seed that has all the runs it needs; None if nothing is left.

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


@dataclass(frozen=True)
class Finding:
    """What one measure says about one hypothesis."""

    measure: str
    unit: str
    decides: bool
    verdict: Word | None
    """None: no verdict rests on this measure, and `notes` say why."""
    estimate: EffectEstimate | None
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


def verdicts_of(experiment: Experiment, tables: Mapping[str, MeasureTable]) -> list[Verdict]:
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


def _hypothesis(one: Hypothesis, measures: list[Measure], tables: Mapping[str, MeasureTable]) -> Verdict:
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
        result, verdict = _judged(one, measure, values)
        notes += _why_none(found) if result is None else []
        if isinstance(result, ProportionEstimate):
            notes.append(f"{result.ones} of {result.seeds} seeds; exact interval (Clopper and Pearson)")
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


def _judged(
    one: Hypothesis, measure: Measure, values: Float[np.ndarray, " seeds"]
) -> tuple[EffectEstimate | None, Word | None]:
    if one.proportion is not None and decides(one, measure):
        share = estimate_proportion(values, one.proportion)
        if share is None:
            return None, None
        (low, high), claim = share.interval, one.proportion
        if claim.at_least <= low and high <= claim.at_most:
            return share, "supported"
        return share, "refuted" if high < claim.at_least or low > claim.at_most else "inconclusive"
    result = estimate_effect(values)
    if result is None and measure.exact:
        result = exact_effect(values)
    if result is None:
        return None, None
    if one.between is not None and decides(one, measure):
        (low, high), (least, most) = result.interval, one.between
        if least <= low and high <= most:
            return result, "supported"
        return result, "refuted" if high < least or low > most else "inconclusive"
    words: dict[int, Word] = {1: "supported", -1: "refuted", 0: "inconclusive"}
    return result, words[result.side(one.beyond) * one.direction]


def _control(
    one: Control, hypotheses: tuple[Hypothesis, ...], measures: list[Measure], tables: Mapping[str, MeasureTable]
) -> Verdict:
    (against,) = (hypothesis for hypothesis in hypotheses if hypothesis.name == one.against)
    rows: list[tuple[Measure, Effects | None, EffectEstimate | None, float]] = []
    for measure in measures:
        found = effects_of(tables[measure.name], one.contrast)
        size = effects_of(tables[measure.name], against.contrast)
        margin = math.nan if size is None else one.margin * abs(float(size.values.mean()))
        rows.append((measure, found, None if found is None else estimate_effect(found.values), margin))
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


def grade(experiment: Experiment, tables: Mapping[str, MeasureTable]) -> dict[str, Any] | None:
    """Return {easy, medium, hard: level} of the graded factor, or None if fewer than three levels have values.

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
