"""Verdicts: intervals that cover, effects against brute force, signs, pairing, bounds, the control."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from bestguess.experiment.declare import (
    At,
    Control,
    Difference,
    Experiment,
    Factor,
    Grading,
    Hypothesis,
    Mean,
    Measure,
    Proportion,
    Reading,
    Slope,
)
from bestguess.experiment.statistics import estimate_effect, estimate_proportion, grade, holm, verdicts_of
from bestguess.experiment.tables import MeasureTable, effects_of

X = Factor("x", "x", math.log2)
ARM = Factor("arm", "arm")
Z = Factor("z", "z", float)
XS, ARMS, ZS = (1, 2, 8), ("plain", "other"), (0.5, 1.0, 2.5, 3.0, 7.0)
SEEDS = (0, 1, 2, 3, 5, 7, 11)


def table(values, factors=(X, ARM, Z), levels=(XS, ARMS, ZS), done=None, low=None, high=None, **more) -> MeasureTable:
    values = np.asarray(values, float)
    none = np.zeros(values.shape, bool)
    return MeasureTable(
        factors,
        levels,
        SEEDS[: values.shape[-1]],
        values,
        ~none if done is None else done,
        none if low is None else low,
        none if high is None else high,
        **more,
    )


def random_table(seed=0, seeds=7) -> MeasureTable:
    return table(np.random.default_rng(seed).normal(size=(3, 2, 5, seeds)))


class TestEstimate:
    @given(
        st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=9).filter(lambda v: np.std(v) > 1e-6 * np.max(np.abs(v)))
    )
    def test_is_that_of_scipy(self, effects):
        found, theirs = estimate_effect(np.array(effects)), scipy.stats.ttest_1samp(effects, 0.0)
        assert found is not None
        interval = theirs.confidence_interval(0.95)
        assert found.effect == pytest.approx(np.mean(effects))
        assert found.interval == pytest.approx((interval.low, interval.high), rel=1e-9, abs=1e-9)
        assert found.p == pytest.approx(theirs.pvalue, abs=1e-12)
        assert found.seeds == len(effects)

    @pytest.mark.parametrize("seeds", [2, 3, 4, 7])
    def test_covers_the_truth_95_times_of_100(self, seeds):
        """With few seeds a normal interval would cover far less: 84 % at three, 71 % at two."""
        draws = np.random.default_rng(seeds).normal(0.7, 2.0, (6000, seeds))
        found = [estimate_effect(row) for row in draws]
        covered = np.mean([one.interval[0] <= 0.7 <= one.interval[1] for one in found if one])
        assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 6000)

    def test_one_seed_has_no_interval(self):
        assert estimate_effect(np.array([0.3])) is None
        assert estimate_effect(np.array([])) is None

    @pytest.mark.parametrize("value", [0.0, 0.1, -3e9])
    def test_effects_without_spread_have_no_interval(self, value):
        assert estimate_effect(np.array([value, value, value * (1 + 1e-15)])) is None

    def test_sides(self):
        assert [estimate_effect(np.array(v)).side() for v in ([1, 1.1, 0.9], [-1, -1.1, -0.9], [1, -1.1, 0.3])] == [
            1,
            -1,
            0,
        ]


class TestProportion:
    @settings(max_examples=60, deadline=None)
    @given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.001, 0.999))
    def test_is_that_of_scipy(self, ones, bound):
        k, n = ones
        found = estimate_proportion(np.arange(n) < k, Proportion(at_most=bound))
        theirs = scipy.stats.binomtest(k, n).proportion_ci(0.95, "exact")
        assert (found.effect, found.ones, found.seeds) == (k / n, k, n)
        assert found.interval == pytest.approx((theirs.low, theirs.high), abs=1e-9)
        near = min((0.0, bound), key=lambda one: abs(one - k / n))
        tails = [scipy.stats.binomtest(k, n, near, side).pvalue for side in ("less", "greater")]
        assert found.p == pytest.approx(min(1, 2 * min(tails)), rel=1e-6)

    def test_of_other_effects_than_0_and_1_is_an_error(self):
        with pytest.raises(ValueError, match="0 or 1"):
            estimate_proportion(np.array([0.0, 0.5]), Proportion())
        assert estimate_proportion(np.array([]), Proportion()) is None

    @pytest.mark.parametrize(
        ("ones", "seeds", "claim", "word"),
        [
            (0, 1000, Proportion(at_most=0.01), "supported"),
            (3, 1000, Proportion(at_most=0.01), "supported"),
            (4, 1000, Proportion(at_most=0.01), "inconclusive"),
            (17, 1000, Proportion(at_most=0.01), "inconclusive"),
            (18, 1000, Proportion(at_most=0.01), "refuted"),
            (6, 6, Proportion(at_least=0.5), "supported"),
            (5, 5, Proportion(at_least=0.5), "inconclusive"),
            (3, 6, Proportion(at_least=0.5), "inconclusive"),
            (0, 6, Proportion(at_least=0.5), "refuted"),
        ],
    )
    def test_decides_by_its_exact_interval(self, ones, seeds, claim, word):
        """Of measures that do not decide, the mean is shown with Student's t."""
        values = (np.arange(seeds) < ones).astype(float)[None]
        one = MeasureTable((ARM,), (("plain",),), tuple(range(seeds)), values, values >= 0, values < 0, values < 0)
        claimed = Hypothesis("H1", "…", {"arm": At("plain")}, "", ("loss",), proportion=claim)
        whole = Experiment("", "", (ARM,), (measure("loss"), measure("other")), (claimed,), ())
        (verdict,) = verdicts_of(whole, {"loss": one, "other": one})
        assert verdict.verdict == word
        assert verdict.main.estimate.effect == ones / seeds
        assert f"{ones} of {seeds}" in verdict.main.notes[0]
        assert (verdict.findings[1].estimate is None) == (ones in (0, seeds))


@settings(max_examples=20)  # theirs takes 70 ms
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm_is_that_of_statsmodels(p):
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


# ------------------------------------------------------------------------------------------ effects


def slope(x, y) -> float:
    return float(np.polyfit(x, y, 1)[0])


class TestEffects:
    def test_of_an_interaction_are_slopes_of_slopes(self):
        one = random_table()
        found = effects_of(one, {"x": Slope(), "arm": Mean(), "z": Slope()})
        log_x = np.log2(XS)
        for s in range(7):
            b = [[slope(log_x, one.values[:, a, k, s]) for k in range(5)] for a in range(2)]
            assert found.values[s] == pytest.approx(np.mean([slope(ZS, arm) for arm in b]))
        assert (found.seeds, found.cells, found.missing) == (SEEDS, 3 * 2 * 5 * 7, 0)

    def test_of_a_difference_are_one_arm_minus_the_other(self):
        one = random_table()
        found = effects_of(one, {"x": At(2), "arm": Difference("other", "plain"), "z": Mean()})
        assert found.values == pytest.approx((one.values[1, 1] - one.values[1, 0]).mean(axis=0))

    @settings(max_examples=30)
    @given(st.permutations(range(3)), st.permutations(range(5)), st.permutations(range(7)), st.integers(0, 99))
    def test_do_not_depend_on_any_order(self, xs, zs, seeds, draw):
        one = random_table(draw)
        contrast = {"x": Slope(), "arm": Difference("other", "plain"), "z": Slope()}
        other = MeasureTable(
            one.factors,
            (tuple(XS[i] for i in xs), ARMS[::-1], tuple(ZS[i] for i in zs)),
            tuple(SEEDS[i] for i in seeds),
            one.values[np.ix_(xs, (1, 0), zs, seeds)],
            one.done,
            one.low,
            one.high,
        )
        first, second = effects_of(one, contrast), effects_of(other, contrast)
        assert dict(zip(second.seeds, second.values)) == pytest.approx(dict(zip(first.seeds, first.values)))
        assert estimate_effect(second.values).interval == pytest.approx(estimate_effect(first.values).interval)

    @pytest.mark.parametrize("contrast", [
        {"x": Slope(), "arm": Mean(), "z": Mean()},
        {"x": Mean(), "arm": Difference("other", "plain"), "z": At(2.5)},
    ])  # fmt: skip
    def test_are_paired_what_all_cells_of_a_seed_share_drops_out(self, contrast):
        one = random_table()
        shifted = table(one.values + 100 * np.arange(7))
        assert effects_of(shifted, contrast).values == pytest.approx(effects_of(one, contrast).values, abs=1e-10)

    def test_of_values_that_are_all_the_same_are_0_whatever_they_weigh(self):
        """Levels that nobody reached: rounding is no spread."""
        weights = np.random.default_rng(0).uniform(0.1, 1, size=(3, 2, 5, 7))
        same = table(np.full((3, 2, 5, 7), math.log2(768_000)), weights=weights)
        found = effects_of(same, {"x": Slope(), "arm": Mean(), "z": Mean()})
        assert found.values.tolist() == [0.0] * 7
        assert estimate_effect(found.values) is None

    def test_of_a_seed_that_lacks_a_run_are_left_out(self):
        one = random_table()
        done = np.ones(one.values.shape, bool)
        done[0, 0, 3, 4] = False
        lacking = table(np.where(done, one.values, np.nan), done=done)
        contrast = {"x": Slope(), "arm": Mean(), "z": Mean()}
        found = effects_of(lacking, contrast)
        assert found.seeds == (0, 1, 2, 3, 7, 11)
        assert found.values == pytest.approx(np.delete(effects_of(one, contrast).values, 4))
        # A contrast that does not need the run keeps the seed.
        assert effects_of(lacking, contrast | {"x": At(2)}).seeds == SEEDS
        assert effects_of(table(one.values, done=np.zeros_like(done)), contrast) is None

    def test_a_level_without_a_value_is_left_out_for_its_seed_alone(self):
        one, contrast = random_table(), {"x": Slope(), "arm": Mean(), "z": Slope()}
        values = one.values.copy()
        values[:, :, 1, 2] = np.nan
        found, before = effects_of(table(values), contrast), effects_of(one, contrast)
        less = table(np.delete(one.values, 1, axis=2), levels=(XS, ARMS, (0.5, 2.5, 3.0, 7.0)))
        assert (found.missing, found.cells) == (3 * 2, 3 * 2 * (5 * 7 - 1))
        others = np.arange(7) != 2
        assert found.values[others] == pytest.approx(before.values[others])
        assert found.values[2] == pytest.approx(effects_of(less, contrast).values[2])

    def test_an_arm_without_a_value_takes_the_other_with_it(self):
        """Arms are compared within a level: otherwise a difference of levels would pass for one of arms."""
        one, contrast = random_table(), {"x": Mean(), "arm": Difference("other", "plain"), "z": At(0.5)}
        values = one.values.copy()
        values[1, 0, 0, 3] = np.nan
        left = [0, 2]
        expected = (one.values[left, 1, 0, 3] - one.values[left, 0, 0, 3]).mean()
        assert effects_of(table(values), contrast).values[3] == pytest.approx(expected)

    def test_weights_are_those_of_weighted_least_squares(self):
        """Slopes against NumPy's polyfit, means against its average, at weights of each seed's own."""
        one, rng = random_table(), np.random.default_rng(1)
        weights = rng.uniform(0.05, 1, one.values.shape)
        weighted = table(one.values, weights=weights)
        at = {"x": At(2), "arm": At("plain"), "z": Slope()}
        found, means = effects_of(weighted, at), effects_of(weighted, at | {"z": Mean()})
        for s in range(7):
            own, w = one.values[1, 0, :, s], weights[1, 0, :, s]
            assert found.values[s] == pytest.approx(np.polyfit(ZS, own, 1, w=np.sqrt(w))[0])
            assert means.values[s] == pytest.approx(np.average(own, weights=w))
        difference = at | {"arm": Difference("other", "plain"), "z": Mean()}
        for s, effect in enumerate(effects_of(weighted, difference).values):
            w = 1 / (1 / weights[1, 0, :, s] + 1 / weights[1, 1, :, s])
            assert effect == pytest.approx(np.average(one.values[1, 1, :, s] - one.values[1, 0, :, s], weights=w))
        same = table(one.values, weights=np.full(one.values.shape, 0.3))
        slopes = {"x": Slope(), "arm": Mean(), "z": Slope()}
        assert effects_of(same, slopes).values == pytest.approx(effects_of(one, slopes).values)

    def test_trainings_on_one_task_give_one_effect(self):
        one, contrast = random_table(), {"x": Slope(), "arm": Mean(), "z": Mean()}
        shared = dataclasses.replace(one, seeds=(4, 4, 5, 5, 5, 6, 7))
        found, alone = effects_of(shared, contrast), effects_of(one, contrast).values
        assert found.seeds == (4, 5, 6, 7)
        assert found.values == pytest.approx([alone[:2].mean(), alone[2:5].mean(), alone[5], alone[6]])

    def test_there_are_none_where_too_few_levels_are_left(self):
        values = random_table().values.copy()
        values[:, :, 1:] = np.nan
        assert effects_of(table(values), {"x": Mean(), "arm": Mean(), "z": Slope()}) is None
        assert effects_of(table(values), {"x": Mean(), "arm": Mean(), "z": Mean()}).missing == 3 * 2 * 4 * 7
        values[:, 0] = np.nan
        assert effects_of(table(values), {"x": At(2), "arm": Difference("other", "plain"), "z": At(0.5)}) is None

    def test_count_what_stands_at_a_bound_in_the_cells_that_count(self):
        high = np.zeros((3, 2, 5, 7), bool)
        high[0, 1, 0, :2] = high[2, 0, 0, 0] = True
        found = effects_of(table(random_table().values, high=high), {"x": At(1), "arm": Mean(), "z": Mean()})
        assert (found.high, found.low, found.cells) == (2, 0, 2 * 5 * 7)


# ------------------------------------------------------------------------------------------ verdicts


def measure(name: str, group: str = "") -> Measure:
    return Measure(name, name, "ln", lambda config, figures: Reading(0.0), group or name, name, lambda value: value)


def experiment(*hypotheses: Hypothesis, measures=("loss",), **more) -> Experiment:
    return Experiment("t", "q", (X, ARM), tuple(map(measure, measures)), hypotheses, (), **more)


def planted(b_plain: float, b_other: float, noise=0.01, seeds=4, seed=0) -> MeasureTable:
    """A table whose slopes over log2 x are planted for both arms, with offsets of each seed's own."""
    rng = np.random.default_rng(seed)
    values = np.log2(XS)[:, None, None] * np.array([b_plain, b_other])[None, :, None]
    values = values + rng.normal(0, 50 * noise, seeds) + rng.normal(0, noise, (3, 2, seeds))
    return table(values, (X, ARM), (XS, ARMS))


GROWS = Hypothesis("H1", "It grows.", {"x": Slope(), "arm": Mean()}, "per octave", ("loss",))
MATTERS = {"x": Slope(), "arm": Mean()}
MORE = Hypothesis(
    "H2", "It matters more.", {"x": Slope(), "arm": Difference("other", "plain")}, "", ("loss",), turned_by=MATTERS
)


@pytest.mark.parametrize(
    ("slopes", "direction", "word"),
    [
        ((0.3, 0.3), 1, "supported"),
        ((-0.3, -0.3), 1, "refuted"),
        ((-0.3, -0.3), -1, "supported"),
        ((0.3, 0.3), -1, "refuted"),
        ((0.0, 0.0), 1, "inconclusive"),
        ((0.0, 0.0), -1, "inconclusive"),
    ],
)
def test_a_planted_effect_is_found_on_its_side(slopes, direction, word):
    one = Hypothesis("H1", "It.", GROWS.contrast, "", ("loss",), direction=direction)
    (verdict,) = verdicts_of(experiment(one), {"loss": planted(*slopes)})
    assert verdict.verdict == word
    if word != "inconclusive":
        assert verdict.main.estimate.effect == pytest.approx(slopes[0], abs=0.02)


@pytest.mark.parametrize(
    ("slopes", "word", "effect", "turned"),
    [
        ((0.2, 0.5), "supported", 0.3, False),
        ((0.5, 0.2), "refuted", -0.3, False),
        ((-0.2, -0.5), "supported", 0.3, True),  # x helps, and helps the other arm more: it matters more there
        ((-0.5, -0.2), "refuted", -0.3, True),
    ],
)
def test_what_matters_is_the_size_so_a_helping_factor_turns_the_sign(slopes, word, effect, turned):
    (verdict,) = verdicts_of(experiment(MORE), {"loss": planted(*slopes)})
    assert verdict.verdict == word
    assert verdict.main.estimate.effect == pytest.approx(effect, abs=0.03)
    assert any("turned" in note for note in verdict.main.notes) == turned


def test_a_hypothesis_of_several_measures_has_the_verdict_that_all_share():
    one = Hypothesis("H1", "It.", GROWS.contrast, "", ("near", "far"))
    asked = experiment(one, measures=("near", "far", "aside"))
    up, down, none = planted(0.3, 0.3), planted(-0.3, -0.3), planted(0.0, 0.0)
    nan = table(np.full((3, 2, 4), np.nan), (X, ARM), (XS, ARMS))

    def word(near, far) -> tuple[str, tuple[str, ...]]:
        (verdict,) = verdicts_of(asked, {"near": near, "far": far, "aside": down})
        assert [finding.decides for finding in verdict.findings] == [True, True, False]
        return verdict.verdict, verdict.notes

    assert word(up, up) == ("supported", ())
    assert word(down, down) == ("refuted", ())
    assert word(up, down) == ("inconclusive", ("its measures differ: near supported, far refuted",))
    assert word(up, none)[0] == word(none, down)[0] == "inconclusive"
    assert word(up, nan) == ("supported", ())  # no verdict rests on a measure without headroom
    assert word(nan, nan)[0] == "inconclusive"
    assert "could be judged" in word(nan, nan)[1][0]


def test_one_seed_and_no_spread_give_no_verdict_and_say_why():
    for values, why in ((planted(0.3, 0.3, seeds=1), "one seed"), (planted(0.3, 0.3, noise=0.0), "no spread")):
        (verdict,) = verdicts_of(experiment(GROWS), {"loss": values})
        assert (verdict.verdict, verdict.main.verdict, verdict.main.estimate) == ("inconclusive", None, None)
        assert any(why in note for note in verdict.main.notes)


@pytest.mark.parametrize(
    ("slope", "noise", "word"),
    [
        (0.5, 0.01, "supported"),
        (0.2, 0.01, "refuted"),
        (0.8, 0.01, "refuted"),
        (-0.5, 0.01, "refuted"),
        (0.4, 0.01, "inconclusive"),
        (0.5, 0.3, "inconclusive"),
    ],
)
def test_a_claim_of_two_bounds(slope, noise, word):
    """Supported if the whole interval lies between them, refuted if all of it lies outside."""
    one = Hypothesis("H1", "From 0.4 to 0.6.", GROWS.contrast, "", ("loss",), between=(0.4, 0.6))
    (verdict,) = verdicts_of(experiment(one, measures=("loss", "aside")), {
        "loss": planted(slope, slope, noise=noise, seed=3), "aside": planted(0.5, 0.5)
    })  # fmt: skip
    assert verdict.verdict == word
    assert verdict.findings[1].verdict == "supported"  # what does not decide is told by its side of 0


def test_what_is_counted_needs_no_spread():
    values = planted(0.3, 0.3, noise=0.0)
    asked = experiment(GROWS)
    asked = dataclasses.replace(asked, measures=(dataclasses.replace(measure("loss"), exact=True),))
    (verdict,) = verdicts_of(asked, {"loss": values})
    assert verdict.verdict == "supported"
    assert verdict.main.estimate.interval == pytest.approx((0.3, 0.3))
    (verdict,) = verdicts_of(asked, {"loss": planted(0.3, 0.3, noise=0.3)})
    assert verdict.main.estimate.interval[0] < verdict.main.estimate.interval[1]  # where seeds differ they are a sample
    (verdict,) = verdicts_of(asked, {"loss": planted(0.0, 0.0, noise=0.0)})
    assert (verdict.verdict, verdict.main.estimate.p) == ("inconclusive", 1.0)


class TestControl:
    CONTROL = Control("H0", "No difference.", {"x": Mean(), "arm": Difference("other", "plain")}, {"a": 1.0, "b": 1.0})
    AGAINST = Hypothesis("H1", "It grows.", {"x": Difference(8, 1), "arm": Mean()}, "", ("a",))

    def judged(self, shifts: dict[str, float], margin=1.0, effect=4.0, noise=0.1, seeds=5):
        control = dataclasses.replace(self.CONTROL, margins={"a": margin})
        asked = experiment(self.AGAINST, measures=tuple(shifts), control=control)
        rng = np.random.default_rng(3)
        tables = {}
        for name, shift in shifts.items():
            residual = rng.normal(size=(1, 2, seeds))
            residual -= residual.mean(axis=-1, keepdims=True)  # the mean difference is the shift, exactly
            values = np.log2(XS)[:, None, None] / 3 * effect + np.array([0.0, shift])[:, None] + noise * residual
            wiggle = noise * np.array([1.0, -1.0, 0.0])[:, None, None] * rng.normal(size=seeds)
            tables[name] = table(values + wiggle, (X, ARM), (XS, ARMS))
        return verdicts_of(asked, tables)

    def test_holds_where_the_interval_lies_within_the_margin_that_was_stated(self):
        first, control = self.judged({"a": 0.0, "b": 0.01})
        assert (first.verdict, control.verdict) == ("supported", "supported")
        assert [finding.margin for finding in control.findings] == [1.0, None]
        assert [finding.decides for finding in control.findings] == [True, False]

    def test_is_undecided_where_the_interval_is_wider_than_that(self):
        _, control = self.judged({"a": 0.0, "b": 0.0}, margin=0.05)
        assert control.verdict == "inconclusive"

    def test_is_refuted_by_a_measure_without_a_margin_too(self):
        assert self.judged({"a": 0.0, "b": 0.9})[1].verdict == "refuted"

    def test_refuted_takes_every_other_verdict_with_it(self):
        first, control = self.judged({"a": 0.9, "b": 0.0})
        assert (first.verdict, control.verdict) == ("inconclusive", "refuted")
        assert "H0, the control, is refuted" in first.notes[0]
        assert first.findings[0].verdict == "supported"  # what it would have been stays on record

    def test_is_corrected_for_the_number_of_its_measures(self):
        """A difference that one measure alone would refute with is not enough among nine."""
        (_, alone), (_, among) = (
            self.judged({"a": 0.37} | {f"m{i}": 0.0 for i in range(n)}, margin=0.3) for n in (0, 8)
        )
        finding = alone.findings[0]
        assert finding.estimate.p < 0.05 < 9 * finding.estimate.p
        assert (alone.verdict, among.verdict) == ("refuted", "inconclusive")
        assert among.findings[0].p_adjusted == pytest.approx(9 * among.findings[0].estimate.p)


def test_grades():
    asked = experiment(GROWS, measures=("speed", "loss"), grading=Grading("z", "speed"))
    speed, loss = asked.measures
    asked = dataclasses.replace(asked, measures=(dataclasses.replace(speed, label="log2 of the sequences"), loss))
    offsets, noise = np.array([-5.0, 0.0, 5.0]), np.random.default_rng(0).normal(0, 0.01, (3, 2, 5, 3))

    def of(levels) -> dict | None:
        values = np.array(levels, float)[None, None, :, None] + offsets + noise
        return grade(asked, {"speed": table(values)})

    found = of([4, 1, 2.4, 9, 5.2])
    assert (found["easy"], found["medium"], found["hard"], found["ordered"]) == (1.0, 7.0, 3.0, True)
    assert [one["level"] for one in found["levels"]] == list(ZS)
    assert (found["measure"], found["label"]) == ("speed", "log2 of the sequences")
    assert found["levels"][1]["mean"] == pytest.approx(1, abs=0.05)
    # Equal but for noise: there are names, and no order.
    assert of([2, 2, 2, 2, 2])["ordered"] is False
    nan = float("nan")
    found = of([nan, 1, 2, 9, nan])
    assert (found["easy"], found["medium"], found["hard"], len(found["levels"])) == (1.0, 2.5, 3.0, 3)
    assert of([nan, 1, 2, nan, nan]) is None
    assert grade(asked, {}) is None


# ------------------------------------------------------------------------------------------ scales, asides, covariates


@pytest.mark.parametrize(
    ("primary", "other", "word"),
    [
        (0.3, 0.3, "supported"),
        (-0.3, -0.3, "refuted"),
        (0.3, -0.3, "depends on the scale"),
        (0.3, 0.0, "depends on the scale"),
        (0.0, -0.3, "depends on the scale"),
        (0.0, 0.0, "inconclusive"),
    ],
)
def test_a_claim_holds_on_every_scale_or_depends_on_it(primary, other, word):
    one = dataclasses.replace(GROWS, scales=("share",))
    asked = experiment(one, measures=("loss", "share", "aside"))
    (verdict,) = verdicts_of(asked, {
        "loss": planted(primary, primary), "share": planted(other, other), "aside": planted(0.3, 0.3)
    })  # fmt: skip
    assert verdict.verdict == word
    assert verdict.main.measure == "loss"
    assert [finding.measure for finding in verdict.scales] == ["share"]
    assert verdict.scales[0].estimate.effect == pytest.approx(other, abs=0.02)


def test_a_scale_that_no_run_recorded_leaves_a_claim_open():
    one = dataclasses.replace(GROWS, scales=("share",))
    (verdict,) = verdicts_of(experiment(one, measures=("loss", "share")), {"loss": planted(0.3, 0.3)})
    assert verdict.verdict == "inconclusive"
    assert "no run recorded share" in verdict.notes[0]


def test_measures_that_do_not_decide_carry_holm_s_correction():
    """A difference that one such measure alone would show is not enough among many."""
    tables = {"loss": planted(0.3, 0.3), **{f"m{i}": planted(0.0, 0.0, seed=i) for i in range(9)}}
    weak = np.array([0.0, 0.1, 0.2, 0.3])
    effect = np.log2(XS)[:, None, None] * (0.3 + weak - weak.mean())[None, None, :] * np.ones((1, 2, 1))
    tables["m0"] = table(effect, (X, ARM), (XS, ARMS))
    few = verdicts_of(experiment(GROWS, measures=("loss", "m0")), tables)[0].findings[1]
    many = verdicts_of(experiment(GROWS, measures=tuple(tables)), tables)[0].findings[1]
    assert few.estimate.p < 0.05 < 9 * few.estimate.p
    assert (few.verdict, few.p_adjusted) == ("supported", pytest.approx(few.estimate.p))
    assert (many.verdict, many.p_adjusted) == ("inconclusive", pytest.approx(9 * few.estimate.p))


def test_a_covariate_has_an_effect_and_no_verdict():
    asked = experiment(GROWS, measures=("loss", "headroom"), control=TestControl.CONTROL)
    covariate = dataclasses.replace(asked.measures[1], covariate=True)
    asked = dataclasses.replace(asked, measures=(asked.measures[0], covariate))
    verdict, control = verdicts_of(asked, {"loss": planted(0.3, 0.3), "headroom": planted(0.7, 0.7)})
    assert verdict.findings[1].estimate.effect == pytest.approx(0.7, abs=0.02)
    assert verdict.findings[1].verdict is None
    assert [finding.measure for finding in control.findings] == ["loss"]


def test_only_what_compares_over_its_cells_is_shown():
    one = dataclasses.replace(GROWS, shown=("loss",))
    (verdict,) = verdicts_of(experiment(one, measures=("loss", "m")), {"loss": planted(1, 1), "m": planted(1, 1)})
    assert [finding.measure for finding in verdict.findings] == ["loss"]
