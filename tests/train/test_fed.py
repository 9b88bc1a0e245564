"""Data that the host reads, and what a run notes of its batches and keeps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bestguess.train import program as module
from bestguess.train.fit import fit
from bestguess.train.program import Program
from tests.train.noting import BATCH, ROWS, FedProblem, NotingProblem, kept_by_hand, row_of, rows_of, scaled
from tests.train.test_fit import Interrupt
from tests.train.toy import close, config, key_of, members, run_chunks, same

# ------------------------------------------------------------------------------------------ what the host feeds


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("steps_of_piece", [1, 2, 5])
def test_a_fed_training_is_the_drawn_one_to_the_bit(runs, accumulate, steps_of_piece, monkeypatch):
    """A chunk has 5 steps: pieces of 1, of 2, 2 and 1, and of all of them."""
    cfg = config(accumulate=accumulate, steps=10)
    some = members((0.03, 0.01)[:runs], (5, 6)[:runs])
    drawn = run_chunks(Program(NotingProblem(), cfg, some))
    monkeypatch.setattr(module, "PIECE", steps_of_piece * FedProblem.fed_bytes * BATCH * runs)
    program = Program(FedProblem(), cfg, some)
    assert program._pieces(5) == {1: [1] * 5, 2: [2, 2, 1], 5: [5]}[steps_of_piece]
    fed = run_chunks(program)
    same(fed[0], drawn[0])
    for ours, theirs in zip(fed[1], drawn[1]):
        same({k: v for k, v in ours.items() if k not in SUMMED}, {k: v for k, v in theirs.items() if k not in SUMMED})
        close(*([{k: told[k] for k in SUMMED} for told in (ours, theirs)]))


SUMMED = ("train_loss", "gradient_norm")
"""Means over a chunk: of pieces they are summed in another order."""


def test_a_fed_problem_is_given_its_own_numbers():
    """`feed` is asked for consecutive sequences of every run's seed, each once."""
    asked = []

    class Asking(FedProblem):
        def feed(self, seeds, first, count):
            asked.append((list(seeds), first, count))
            return super().feed(seeds, first, count)

    program = Program(Asking(), config(steps=10), members((0.03, 0.01), (5, 6)))
    run_chunks(program)
    chunks = [one for one in asked if one != ([5, 6], 0, BATCH)]  # beside the shapes, that are asked for ahead
    assert [first for _, first, _ in chunks] == [0, 5 * BATCH]
    assert all(seeds == [5, 6] and count == 5 * BATCH for seeds, _, count in chunks)


# ------------------------------------------------------------------------------------------ numbers and notes


@pytest.mark.parametrize("accumulate", [1, 2, 8])
def test_notes_are_sums_over_every_batch_by_hand(accumulate):
    cfg = config(accumulate=accumulate, steps=10)
    state, told = run_chunks(Program(NotingProblem(), cfg, members()))
    for run, seed in enumerate((5, 6, 7)):
        for chunk, steps in enumerate((5, 10)):
            numbers, rows, largest = kept_by_hand(seed, steps)
            assert told[chunk]["numbers"][run] == numbers
            np.testing.assert_allclose(told[chunk]["rows"][run], rows, rtol=1e-5)
        assert state.kept.numbers[run] == numbers
        np.testing.assert_allclose(state.kept.largest[run], largest, rtol=1e-6)
    assert state.kept.numbers.tolist() == [sum(range(10 * BATCH))] * 3


def test_interrupted_and_resumed_keeps_the_same_bits(tmp_path):
    cfg = config(checkpoint_every=0.0)
    whole = fit(NotingProblem(), cfg, members(), tmp_path / "whole")

    def stop(runs, step, metrics):
        if step == 15:
            raise Interrupt

    with pytest.raises(Interrupt):
        fit(NotingProblem(), cfg, members(), tmp_path / "cut", on_chunk=stop)
    resumed = fit(NotingProblem(), cfg, members(), tmp_path / "cut")
    assert resumed.run_steps == 3 * 10
    same((resumed.kept, resumed.model), (whole.kept, whole.model))
    assert whole.kept.numbers.tolist() == [sum(range(20 * BATCH))] * 3


def test_a_stopped_run_notes_no_more():
    """The step of its fault is not taken, so it is not noted either; the others go on."""
    poison = np.zeros((3, 2), np.uint32)
    poison[1] = key_of(6, step=3, sequence=2)
    state, _ = run_chunks(Program(NotingProblem(), config(steps=10), members(nan_loss_at=poison)))
    assert state.fault_step.tolist() == [-1, 3, -1]
    assert state.kept.numbers.tolist() == [sum(range(steps * BATCH)) for steps in (10, 3, 10)]


def test_eight_devices_keep_what_one_does(tmp_path):
    flags = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8"
    said = subprocess.run(
        [sys.executable, "-m", "tests.train.noting"],
        cwd=Path(__file__).parents[2], env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    eight, one = json.loads(said.stdout), scaled()
    assert (eight.pop("devices"), one.pop("devices")) == (8, 1)
    for name, kept in one.items():
        assert eight[name]["numbers"] == kept["numbers"]
        np.testing.assert_allclose(eight[name]["rows"], kept["rows"], rtol=1e-5)


def test_rows_are_those_of_their_numbers():
    np.testing.assert_array_equal(rows_of(5, 3, 4), [ROWS[row_of(5, n)] for n in range(3, 7)])
