"""What the filter experiments declare: their measures, and their contrasts against the words of the YAML heads."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from bestguess.experiment.declare import Slope, decides
from bestguess.filters.config import PRESETS
from bestguess.filters.experiment_page import bounded_memory
from bestguess.filters.experiments import EXPERIMENTS as ONE_SYSTEM
from bestguess.filters.experiments import operations
from bestguess.filters.family import FAMILY
from bestguess.filters.normalisation import NORMALISATION
from bestguess.report.story import Rows

ROOT = Path(__file__).parents[2]
EXPERIMENTS = {**ONE_SYSTEM, "normalisation": NORMALISATION}
CONFIG = FAMILY.single({"preset": "default", "train": {"steps": 3000, "validate_every": 25}})
FIGURES = {
    "normalised_loss": 1.002,
    "skill": 0.99,
    "headroom": 0.2,
    "sequences_to_skill_0.9": 6400.0,
    "sequences_to_skill_0.99": None,
    "rollout": {
        "2": {"normalised_loss": 1.003, "skill": 0.97, "headroom": 0.1},
        "4": {"normalised_loss": 1.002, "skill": None, "headroom": 0.005},
        "16": {"normalised_loss": 1.001, "skill": None, "headroom": 1e-6},
    },
}
every_experiment = pytest.mark.parametrize("name", EXPERIMENTS)


def read(measure: str, name: str = "structure", **figures):
    (one,) = (one for one in EXPERIMENTS[name].measures if one.name == measure)
    return one.read(CONFIG, FIGURES | figures)


def test_the_two_scales_of_one_error():
    assert read("excess").value == pytest.approx(math.log(0.002))
    assert read("gap").value == pytest.approx(math.log(1 - 0.99))
    assert read("headroom").value == pytest.approx(read("excess").value - read("gap").value)
    assert read("excess").weight == read("gap").weight == read("headroom").weight == pytest.approx(0.2 / 0.21)


def test_a_level_with_little_headroom_weighs_little_and_one_without_nothing():
    """Below 1 % no skill is printed; the shortfall is there all the same, and counts for less."""
    little = read("gap", skill=None, headroom=0.005)
    assert (little.value, little.weight) == (pytest.approx(math.log(0.4)), pytest.approx(1 / 3))
    for measure in ("excess", "gap", "headroom"):
        assert math.isnan(read(measure, headroom=5e-5).value)


def test_the_spectral_radius_is_that_of_the_record_or_of_the_system_drawn_again():
    assert read("spectral_radius", spectral_radius=0.8).value == 0.8
    assert read("spectral_radius").value == pytest.approx(0.9)  # λ, which is attained


def test_sequences_to_skill_stand_within_what_could_be_seen():
    reached = read("sequences_0.9")
    assert (reached.value, reached.bound) == (math.log2(6400), None)
    never = read("sequences_0.99")
    assert (never.value, never.bound) == (math.log2(3000 * 64), "high")
    at_once = read("sequences_0.9", **{"sequences_to_skill_0.9": 25 * 64.0})
    assert (at_once.value, at_once.bound) == (math.log2(1600), "low")
    assert math.isnan(read("sequences_0.9", skill=None).value)
    assert read("sequences_excess") is None  # of runs that did not record it
    by_excess = {"sequences_to_excess_0.001": 12800.0}
    assert read("sequences_excess", skill=None, **by_excess).value == math.log2(12800)


def test_rollouts_fall_short_of_skill_1():
    assert read("rollout_2").value == pytest.approx(math.log(0.03))
    assert (read("rollout_4").value, read("rollout_4").weight) == (pytest.approx(math.log(0.4)), pytest.approx(1 / 3))
    assert math.isnan(read("rollout_16").value)  # no headroom at all
    assert read("rollout_8") is None  # a horizon that was not asked for
    assert read("rollout_excess_2", "patching").value == pytest.approx(math.log(0.003))


def test_patch_sizes_are_compared_at_a_floor_that_all_share():
    """One step ahead each size has a floor of its own; the filter h steps ahead is the same for all."""
    own = {"excess", "gap", "sequences_0.9", "sequences_0.99", "sequences_excess", "headroom"}
    for name in ("patching", "observed"):
        for one in EXPERIMENTS[name].hypotheses:
            if isinstance(one.contrast["model.patch"], Slope):
                every = {measure.name for measure in EXPERIMENTS[name].measures}
                shown = every if one.shown is None else every & set(one.shown)
                assert not own & shown
                assert one.decides == ("rollout_excess_2",)
                assert "headroom_2" in shown


def test_the_headroom_at_the_horizon_is_a_covariate():
    """What the measure's two scales differ by, at the horizon where patch sizes are compared."""
    for name in ("patching", "observed"):
        (one,) = (one for one in EXPERIMENTS[name].measures if one.name == "headroom_2")
        assert one.covariate
        assert read("headroom_2", name).value == pytest.approx(math.log(0.1))
        assert read("headroom_2", name).weight == read("rollout_excess_2", name).weight == pytest.approx(0.1 / 0.11)
        apart = read("rollout_excess_2", name).value - read("rollout_2", name).value
        assert read("headroom_2", name).value == pytest.approx(apart)
    (of_one_size, of_patches) = EXPERIMENTS["observed"].hypotheses
    assert "headroom" in of_one_size.shown
    assert "headroom_2" not in of_one_size.shown
    assert "headroom" not in of_patches.shown


@every_experiment
def test_every_claim_names_one_primary_measure_and_its_other_scale(name):
    measures = {measure.name for measure in EXPERIMENTS[name].measures}
    for one in EXPERIMENTS[name].hypotheses:
        assert len(one.decides) == len(one.scales) == 1
        assert {*one.decides, *one.scales} <= measures


def test_measures_are_shown_as_readers_know_them():
    shown = {one.name: one.show for one in EXPERIMENTS["structure"].measures}
    assert shown["excess"](math.log(0.002)) == pytest.approx(0.2)
    assert shown["sequences_0.9"](math.log2(6400)) == pytest.approx(6400)
    assert shown["rollout_2"](math.log(0.03)) == pytest.approx(0.97)
    assert shown["gap"](math.log(0.03)) == pytest.approx(3)


@every_experiment
def test_every_hypothesis_of_the_head_is_declared_with_its_side(name):
    head = (ROOT / "experiments" / f"{name}.yaml").read_text().split("program:")[0]
    tested = EXPERIMENTS[name]
    names = [one.name for one in tested.hypotheses] + ([tested.control.name] if tested.control else [])
    assert [line[4:6] for line in head.splitlines() if line.startswith("#   H")] == names
    for one in tested.hypotheses:
        assert set(one.contrast) == {factor.key for factor in tested.factors}
        assert any(decides(one, measure) for measure in tested.measures)
    below = "supported if the interval lies below 0" in " ".join(head.replace("#", " ").split())
    if name != "structure":  # "on the hypothesis' side"
        assert {one.direction for one in tested.hypotheses} == {-1 if below else 1}


@every_experiment
def test_the_small_preset_is_a_whole_experiment(name):
    from bestguess.experiment.analysis import check
    from bestguess.sweep.plan import lacks, plan
    from bestguess.sweep.spec import read_spec

    tested = FAMILY.declared_experiments()[name]
    spec = read_spec(ROOT / "experiments" / f"{name}.yaml", tested.small)
    planned = plan(spec, ensemble=16)
    check(tested, planned.runs)
    assert lacks(spec, planned) == []
    assert len(planned.runs) <= 48
    config = FAMILY.single({"preset": "small"})
    assert config.task.latent_dim == 8


def test_beside_bounded_memory_arms_stand_in_the_order_of_the_sweep():
    arms = ("dense", "rotated", "diagonal")
    made = {arm: FAMILY.single({"preset": "small", "task": {"structure": arm, "lambda": 0.9}}) for arm in arms}
    metrics = {"normalised_loss": 1.01, "equivalent_memory": 3.0}
    records = [{"config": {"task.structure": arm}, "made": made[arm], "metrics": metrics} for arm in arms]
    (section,) = bounded_memory(records)
    (table,) = (part for part in section.parts if isinstance(part, Rows))
    assert [row[:3] for row in table.rows] == [[arm, "1 + 1.00e-2", "3.0"] for arm in arms]


def test_operations_are_those_that_the_benchmark_counts():
    found = json.loads((ROOT / "benchmarks" / "results" / "filters_h100.json").read_text())
    assert operations(PRESETS["default",]) == (found["operations_per_step"], 12_000)
    patched = FAMILY.single({"preset": "default", "model": {"patch": 4}})
    assert operations(patched)[0] < found["operations_per_step"] / 3.9
