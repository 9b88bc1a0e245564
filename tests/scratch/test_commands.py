"""The scratch room as a person meets it: the check, the zoo of bugs that it catches, the smallest demo."""

from __future__ import annotations

import json
import subprocess
import sys
import typing

import pytest

from bestguess.cli import main
from bestguess.scratch.bugs import BUGS, bug
from bestguess.scratch.check import run
from bestguess.scratch.flags import CheckFlags
from bestguess.scratch.gpt import GPT, GPTConfig
from bestguess.scratch.level1 import CONFIG


def command(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["scratch", *words, "--json"])
    out, err = capsys.readouterr()
    return stop.value.code or 0, json.loads(out) if out else None, err


@pytest.mark.parametrize("seed", [0, 1])
def test_every_gradient_equals_the_numerical_one(seed):
    report = run(seed)
    assert report.faults == []
    assert len(report.operations) >= 30
    assert max(report.operations.values()) < 1e-6
    assert min(gradient.cosine for gradient in report.parameters.values()) > 1 - 1e-9


@pytest.mark.parametrize("name", BUGS)
def test_the_check_catches_every_classic_bug(name):
    with bug(name):
        assert run().faults


def test_a_bug_is_gone_after_its_block():
    with bug("detached-attention"):
        pass
    assert run().faults == []


def test_the_flag_offers_every_bug():
    hint = typing.get_type_hints(CheckFlags)["bug"]
    assert set(typing.get_args(hint)) == {"none", *BUGS}


@pytest.mark.parametrize(
    ("config", "parameters"),
    [(CONFIG, 4_624), (GPTConfig(vocab=61, d_model=32, layers=2, heads=8, positions=128), 33_472)],
)
def test_the_models_have_the_sizes_that_they_are_named_for(config, parameters):
    assert sum(p.array.size for p in GPT(config, 0).parameters()) == parameters


def test_check_as_a_command(capsys):
    status, result, _ = command(capsys, "check")
    assert status == 0
    assert result["faults"] == []
    status, result, err = command(capsys, "check", "--bug", "inverted-mask")
    assert status == 1
    assert result["faults"]
    assert "faults" in err


def test_level1_reaches_the_ceiling(capsys):
    status, result, _ = command(capsys, "level1")
    assert status == 0
    assert (result["correct"], result["ceiling"]) == (10, 10)
    assert result["loss_floor"] == pytest.approx(0.069, abs=5e-4)
    assert result["loss"] == pytest.approx(result["loss_floor"], abs=2e-3)
    status, result, _ = command(capsys, "level1", "--strings", "distinct")
    assert (result["correct"], result["ceiling"]) == (12, 12)


def test_scratch_needs_no_jax():
    code = "import sys; from bestguess.cli import main; main(['scratch', 'level1'])"
    watch = f"import atexit, sys; atexit.register(lambda: print('jax' in sys.modules)); {code}"
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
