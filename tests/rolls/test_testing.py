"""`bestguess rolls test`, from the command line to its sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bestguess import cli
from bestguess.command import Failure, UserError, make_console
from bestguess.rolls import testing
from bestguess.rolls.evidence import order, pipeline
from bestguess.rolls.evidence.windows import shuffled
from bestguess.rolls.file import RollsFile
from bestguess.rolls.flags import FileTestFlags
from bestguess.rolls.sources import SOURCES, source_of
from tests.rolls.processes import ALARM, log_e


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rolls.u16"


def write(path, values):
    np.asarray(values).astype("<u2").tofile(path)


def test(path, **flags):
    return testing.run_test(FileTestFlags(path, **flags), make_console(json=True))


test.__test__ = False  # a helper


@pytest.fixture
def lag3() -> np.ndarray:
    draw = np.random.default_rng(2)
    values = draw.integers(0, 977, 1000)
    for t in np.flatnonzero(draw.random(1000) < 0.03):
        values[t] = values[t - 3]
    return values


def test_a_repeat_three_steps_later(path, lag3):
    write(path, lag3)
    found = test(path)
    assert found["evidence"]["order"]["verdict"] == "predictable"
    assert found["sentence"].startswith("predictable: at most 1 false alarm in ")
    assert "strongest bet: repeats at lag 3" in found["sentence"]
    assert found["values"] == 1000 - 32
    assert found["evidence"]["order"]["log10_e"] >= 2
    json.dumps(found, allow_nan=False)


def test_its_control_says_no_evidence(path, lag3):
    write(path, lag3)
    found = test(path, control=True)
    assert found["evidence"]["order"]["verdict"] == "no evidence"
    assert found["sentence"].startswith("control, each block's values shuffled: no evidence after 968 values")


@pytest.mark.parametrize("name", SOURCES)
def test_the_control_of_a_file_made_with_the_same_seed_has_no_evidence(name):
    source = source_of(name, 0, {})
    values = source.draw(source.start(), 1500)[0]
    control = shuffled(lambda start, stop: values[start:stop], 1500, seed=0)(0, 1500)
    assert sorted(control) == sorted(values)
    assert log_e(control).max() < ALARM


def test_a_constant_file(path):
    write(path, np.full(5000, 65535))
    found = test(path)["evidence"]
    assert found["order"]["log10_e"] == found["uniform"]["log10_e"] == found["drift"]["log10_e"] == 0
    assert found["order"]["smallest_effect"] is None


def test_an_alphabet_that_was_told_sharpens_the_second_question(path):
    write(path, np.random.default_rng(0).integers(0, 900, 3000))
    assert test(path)["evidence"]["uniform"]["verdict"] == "no evidence"
    found = test(path, alphabet=1000)
    assert found["evidence"]["uniform"]["verdict"] == "not uniform"
    assert "not equally likely" in found["sentence"]


def test_two_processes_give_the_same_as_one(path, monkeypatch):
    draw = np.random.default_rng(1)
    write(path, draw.integers(0, 50, 9000))
    one = test(path, processes=1)
    monkeypatch.setattr(pipeline, "_FEW", 100)
    two = test(path, processes=2)
    for found in (one, two):
        found.pop("seconds")
    assert one == two


def test_a_process_that_ends_by_itself_is_told(path, monkeypatch):
    monkeypatch.setattr(pipeline, "_FEW", 100)
    monkeypatch.setattr(pipeline, "_send_part", os._exit)  # with arguments that it does not take
    write(path, np.random.default_rng(1).integers(0, 50, 2000))
    with pytest.raises(Failure, match="status 1"):
        test(path)


def test_an_error_in_the_other_process_is_told_here(path, monkeypatch):
    monkeypatch.setattr(pipeline, "_FEW", 100)
    write(path, np.random.default_rng(1).integers(0, 50, 2000))
    with RollsFile(path) as file:
        plan = pipeline.whole(path.with_name("gone"), file.n, None)
        with pipeline._beside(plan, order.PARTS[0], file.summary().counts) as other, pytest.raises(UserError) as caught:
            other()
    assert "gone: cannot be read" in str(caught.value)


def test_a_part_of_a_longer_file(path, monkeypatch):
    monkeypatch.setattr(pipeline, "_seconds_per_block", lambda file, processes: 1.0)
    write(path, np.random.default_rng(1).integers(0, 50, 100_000))
    with RollsFile(path) as file:
        plan = pipeline.within(path, file, None, 64 * 3.5 / pipeline._SHARE, 1)
    assert [count for _, count in plan.runs] == [64, 64, 64]
    firsts = [first for first, _ in plan.runs]
    assert firsts == [0, 163, 326]
    assert plan.runs[-1][0] + 64 == (100_000 - 32) // 256
    found = test(path, seconds=64 * 3.5 / pipeline._SHARE)
    assert found["of"] == 100_000
    assert 64 * 3 * 256 <= found["values"] < 64 * 3 * 256 + 256
    assert found["sentence"].startswith("part of the file's 100,000 values: no evidence after ")
    assert found["sha256"] is None


def test_enough_time_is_the_whole_file(path):
    write(path, np.random.default_rng(1).integers(0, 50, 20_000))
    assert test(path, seconds=1e6)["sha256"] == test(path)["sha256"] is not None


def test_time_that_has_run_out_stops_at_the_same_block_in_all_parts(path):
    write(path, np.random.default_rng(1).integers(0, 50, 60_000))
    plan = pipeline.Plan(path, 60_000, [(0, 234)], None, time.time() - 1)
    with RollsFile(path) as file:
        marginal = pipeline.Marginal(file.summary().counts)
        answers = pipeline.answer(file, plan, marginal, None, 1, lambda done: None)
    assert 64 * 256 <= answers.values < 90 * 256


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"level": 0.0}, "--level 0.0"),
        ({"level": float("nan")}, "--level nan"),
        ({"level": 1.5}, "--level 1.5"),
        ({"seconds": 0.0}, "--seconds 0.0"),
        ({"seconds": float("inf")}, "--seconds inf"),
        ({"processes": 3}, "--processes 3"),
        ({"seed": -1}, "--seed -1"),
        ({"alphabet": 0}, "--alphabet 0"),
        ({"alphabet": 70_000}, "--alphabet 70000"),
        ({"alphabet": 50}, "give 60 or more"),
    ],
)
def test_a_flag_that_is_off_is_one_line(path, flags, said):
    write(path, np.arange(60))
    with pytest.raises(UserError, match=said) as caught:
        test(path, **flags)
    assert "\n" not in str(caught.value)


@given(content=st.binary(max_size=300))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_as_a_file(path, content):
    path.write_bytes(content)
    if len(content) % 2 or len(content) < 2 * 34:
        with pytest.raises(UserError) as caught:
            test(path)
        assert "\n" not in str(caught.value)
    else:
        found = test(path)
        assert len(content) // 2 - 33 <= found["values"] <= len(content) // 2 - 32
        assert found["evidence"]["order"]["log10_e"] >= 0
        json.dumps(found, allow_nan=False)


def test_the_command_prints_json_and_needs_no_jax(path, lag3):
    write(path, lag3)
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['jax', 'jaxlib', 'equinox', 'optax', 'jaxtyping']))\n"
        f"from bestguess.cli import main; main(['rolls', 'test', {str(path)!r}, '--json'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) >= {"values", "evidence", "sentence", "seconds"}
    assert set(found["evidence"]) == {"order", "uniform", "drift"}
    assert set(found["evidence"]["order"]["smallest_effect"]) >= {"kind", "size", "bits_per_value"}
    assert found["sentence"] in done.stderr.replace("\n", " ")


def test_a_file_that_is_none_is_exit_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["rolls", "test", str(tmp_path / "none")])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
