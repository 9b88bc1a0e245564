"""The statistics that turn an experiment's runs into verdicts on its hypotheses.

Each seed gives one effect of a hypothesis' contrast, paired over all cells. The verdict is from the mean of the
effects and Student's t over seeds.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Float
from scipy import special

from bestguess.experiment.declare import (
    Contrast,
    Control,
    Experiment,
    Hypothesis,
    Measure,
    Proportion,
    decides,
)
from bestguess.experiment.tables import Effects, MeasureTable, effects_of, has_all_runs

Word: TypeAlias = Literal["supported", "refuted", "inconclusive", "depends on the scale"]
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
    scale: bool = False
    """Whether it is the primary measure on another scale."""
    p_adjusted: float | None = None
    """Of a control, and of measures that do not decide: after Holm's correction over them."""


@dataclass(frozen=True)
class Verdict:
    """What all deciding measures say together.

    A hypothesis of several measures has the verdict that all of them share, and is inconclusive where they differ; of
    one measure on several scales, it then depends on the scale.
    """

    hypothesis: str
    claim: str
    verdict: Word
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def main(self) -> Finding:
        """The finding that is shown first: the first of the primary measure with the hypothesis' own verdict."""
        return next((one for one in self.primary if one.verdict == self.verdict), self.primary[0])

    @property
    def primary(self) -> list[Finding]:
        """The findings that decide, on the first scale."""
        return [one for one in self.findings if one.decides and not one.scale]

    @property
    def scales(self) -> list[Finding]:
        """The findings of the primary measure on its other scales."""
        return [one for one in self.findings if one.scale]


def verdicts_of(experiment: Experiment, tables: Mapping[str, MeasureTable]) -> list[Verdict]:
    """Return the verdict on every hypothesis, the control's last, from one table for each recorded measure."""
    measures = [measure for measure in experiment.measures if measure.name in tables]
    verdicts = [_hypothesis(one, measures, tables) for one in experiment.hypotheses]
    if experiment.control is None:
        return verdicts
    control = _control(experiment.control, measures, tables)
    if control.verdict == "refuted":
        told = f"{control.hypothesis}, the control, is refuted: the experiment is at fault, and this verdict falls"
        verdicts = [
            Verdict(one.hypothesis, one.claim, "inconclusive", one.findings, (*one.notes, told)) for one in verdicts
        ]
    return [*verdicts, control]


def _hypothesis(one: Hypothesis, measures: list[Measure], tables: Mapping[str, MeasureTable]) -> Verdict:
    measures = [measure for measure in measures if one.shown is None or measure.name in one.shown]
    findings = _corrected([_finding(one, measure, tables[measure.name]) for measure in measures])
    primary = [finding for finding in findings if finding.decides and not finding.scale]
    words = {finding.verdict for finding in primary if finding.verdict is not None}
    word: Word = words.pop() if len(words) == 1 else "inconclusive"
    notes = [] if word != "inconclusive" or any(finding.verdict for finding in primary) else [_NOTHING]
    if words:
        notes.append(f"its measures differ: {_told(measures, primary)}")
    others = [finding for finding in findings if finding.scale]
    missing = [name for name in one.scales if name not in {finding.measure for finding in others if finding.verdict}]
    if missing and word != "inconclusive":
        notes.append(f"{word} by {primary[0].measure} alone: no run recorded {', '.join(missing)}")
        word = "inconclusive"
    elif any(finding.verdict not in (None, word) for finding in others):
        word = "depends on the scale"
        notes.append(_told(measures, [*primary, *others]))
    return Verdict(one.name, one.claim, word, tuple(findings), tuple(notes))


_NOTHING = "no measure that decides it could be judged"


def _told(measures: list[Measure], findings: Sequence[Finding]) -> str:
    labels = {measure.name: measure.label for measure in measures}
    return ", ".join(f"{labels[one.measure]} {one.verdict}" for one in findings if one.verdict is not None)


def _finding(one: Hypothesis, measure: Measure, table: MeasureTable) -> Finding:
    unit, own, scale = f"{measure.unit} {one.per}".strip(), decides(one, measure), measure.name in one.scales
    found = effects_of(table, one.contrast)
    if found is None:
        return _nothing(measure, unit, own, [_why_nothing(table, one.contrast)], scale=scale)
    notes = _notes(measure, found)
    sign = 1
    if one.turned_by is not None and not measure.covariate:
        turning = effects_of(table, one.turned_by)
        if turning is not None and turning.values.mean() < 0:
            sign = -1
            notes.append("the effect whose size is compared is negative, so the sign is turned")
    values = sign * found.values
    result, verdict = _judged(one, measure, values)
    notes += _why_none(found) if result is None else []
    if isinstance(result, ProportionEstimate):
        notes.append(f"{result.ones} of {result.seeds} seeds; exact interval (Clopper and Pearson)")
    if measure.covariate:
        verdict = None
        notes.append("a covariate: what else differs between the cells")
    by_seed = dict(zip(found.seeds, map(float, values)))
    return Finding(measure.name, unit, own, verdict, result, by_seed, tuple(notes), scale=scale)


def _corrected(findings: list[Finding]) -> list[Finding]:
    """Holm's correction over the measures that are shown and do not decide: each has its verdict after it alone."""
    asides = [i for i, one in enumerate(findings) if not one.decides and one.verdict is not None]
    adjusted = holm([one.estimate.p for i in asides if (one := findings[i]).estimate is not None])
    for i, p in zip(asides, adjusted):
        word: Word | None = findings[i].verdict if p < 1 - LEVEL else "inconclusive"
        findings[i] = dataclasses.replace(findings[i], p_adjusted=p, verdict=word)
    return findings


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


def _control(one: Control, measures: list[Measure], tables: Mapping[str, MeasureTable]) -> Verdict:
    rows = []
    for measure in measures:
        if not measure.covariate:
            found = effects_of(tables[measure.name], one.contrast)
            rows.append((measure, found, None if found is None else estimate_effect(found.values)))
    adjusted = iter(holm([result.p for _, _, result in rows if result is not None]))
    findings = []
    for measure, found, result in rows:
        margin = one.margins.get(measure.name)
        own = margin is not None
        if found is None or result is None:
            nothing = [_why_nothing(tables[measure.name], one.contrast)]
            notes = nothing if found is None else [*_notes(measure, found), *_why_none(found)]
            findings.append(_nothing(measure, measure.unit, own, notes))
            continue
        p = next(adjusted)
        verdict: Word = "inconclusive"
        if p < 1 - LEVEL:
            verdict = "refuted"
        elif margin is not None and max(map(abs, result.interval)) <= margin:
            verdict = "supported"
        by_seed = dict(zip(found.seeds, map(float, found.values)))
        notes = _notes(measure, found)
        findings.append(
            Finding(measure.name, measure.unit, own, verdict, result, by_seed, tuple(notes), margin, p_adjusted=p)
        )
    words = [finding.verdict for finding in findings if finding.decides]
    word: Word = "supported" if words and set(words) == {"supported"} else "inconclusive"
    if any(finding.verdict == "refuted" for finding in findings):
        word = "refuted"
    return Verdict(one.name, one.claim, word, tuple(findings))


def _nothing(measure: Measure, unit: str, decides: bool, notes: Sequence[str], scale: bool = False) -> Finding:
    return Finding(measure.name, unit, decides, None, None, {}, tuple(notes), scale=scale)


def _why_nothing(table: MeasureTable, contrast: Contrast) -> str:
    return "too little headroom" if has_all_runs(table, contrast) else "no seed has all the runs that it needs"


def _notes(measure: Measure, found: Effects) -> list[str]:
    whole = found.cells + found.missing
    notes = [f"{found.missing} of {whole} values have too little headroom to count"] if found.missing else []
    for count, meaning in zip((found.low, found.high), measure.bounds):
        if count:
            notes.append(f"{count} of {found.cells} values {meaning}")
    return notes


def _why_none(found: Effects) -> list[str]:
    if len(found.seeds) < 2:
        return ["one seed has no interval"]
    return ["no spread over seeds: its values stand at a bound, so there is no interval"]


def grade(experiment: Experiment, tables: Mapping[str, MeasureTable]) -> dict[str, Any] | None:
    """Return the graded factor's levels by the measure, and {easy, medium, hard: level}.

    None for fewer than three levels, and where no seed has all runs of one of them: what is missing may be the hardest.

    Easy is the level of the lowest mean over seeds, hard that of the highest, medium the one nearest to the middle of
    both. `ordered`: the paired differences between them have intervals above 0; otherwise the names mean nothing.
    """
    grading = experiment.grading
    if grading is None or grading.measure not in tables:
        return None
    table = tables[grading.measure]
    axis = [factor.key for factor in table.factors].index(grading.factor)
    values, done = np.moveaxis(table.values, axis, 0), np.moveaxis(table.done, axis, 0)
    if not all(np.any(np.all(level.reshape(-1, done.shape[-1]), axis=0)) for level in done):
        return None
    by_level = values.reshape(len(values), -1, values.shape[-1]).mean(axis=1)
    estimates = {
        level: (one, estimate_effect(one[np.isfinite(one)]))
        for level, one in zip(table.levels[axis], by_level)
        if np.isfinite(one).sum() > 1
    }
    if len(estimates) < 3:
        return None
    means = {level: float(np.nanmean(own)) for level, (own, _) in estimates.items()}
    easy, hard = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    between = [level for level in means if level not in (easy, hard)]
    medium = min(between, key=lambda level: abs(means[level] - (means[easy] + means[hard]) / 2))
    ordered = True
    for lower, upper in ((easy, medium), (medium, hard)):
        difference = estimates[upper][0] - estimates[lower][0]
        found = estimate_effect(difference[np.isfinite(difference)])
        ordered &= found is not None and found.side() > 0
    levels = [
        {"level": level, "mean": means[level], "interval": None if found is None else list(found.interval)}
        for level, (_, found) in estimates.items()
    ]
    return {
        "measure": grading.measure,
        "label": next(one.label for one in experiment.measures if one.name == grading.measure),
        "levels": levels,
        "ordered": ordered,
        "easy": easy,
        "medium": medium,
        "hard": hard,
    }
