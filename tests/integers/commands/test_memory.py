"""The formula by hand, and XLA's figure beside it."""

from __future__ import annotations

import json

import pytest

from bestguess.cli import main
from bestguess.integers.commands.memory import formula
from bestguess.integers.config import IntegerModelConfig, IntegersConfig, IntegerTaskConfig
from bestguess.train.config import TrainConfig


def test_the_formula_by_hand():
    config = IntegersConfig(
        task=IntegerTaskConfig(length=7),
        model=IntegerModelConfig(layers=3, d_model=10, heads=5, d_ff=11),
        train=TrainConfig(batch_size=26, accumulate=2),
    )
    found = formula(config, parameters=1000)
    each = 3 * (8 * 10 + 2 * 11 + 2 * 5 * 7) + 10 + 512
    assert found == (4000, 4000, 8000, 4 * 13 * 7 * each)
    assert found.total == 16_000 + 4 * 13 * 7 * each


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["integers", "memory", *words])
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, err


TOY = ("--layers", "1", "--d-model", "8", "--heads", "2", "--length", "3", "--validate-every", "2", "--phases", "1")
TOY += ("--embedding", "binary", "--prior", "narrow")


def test_the_command_counts_what_there_is(capsys):
    code, out, err = run(capsys, *TOY, "--learning-rate", "1e-3", "1e-2", "--json")
    result = json.loads(out)
    assert code == 0
    # Lift 8·8, positions 3·8, qkv 8·24, out 8·8, up and down 2·8·32, three norms of 8, the head 8·256 + 256 and 8·256.
    parameters = 64 + 24 + 192 + 64 + 512 + 24 + 2048 + 256 + 2048
    assert (result["parameters"], result["runs"]) == (parameters, 2)
    assert result["formula"]["parameters"] == 2 * 4 * parameters
    parts = ("parameters", "gradients", "moments", "activations")
    assert result["formula"]["total"] == sum(result["formula"][part] for part in parts)
    # State and best weights are there at least: 4 copies of every parameter, for two runs, and the table.
    assert result["measured"] > 2 * 16 * parameters + result["table"]
    assert result["fits"]
    assert "fits into 8.00 GB" in err


def test_a_bad_value_is_one_line(capsys):
    code, out, err = run(capsys, "--heads", "3")
    assert (code, out) == (2, "")
    assert "--heads 3" in err
