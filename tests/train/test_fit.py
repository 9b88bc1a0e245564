"""The host loop: whatever happens to it, what it ends with is what an undisturbed training ends with."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from bestguess.command import Failure, UserError
from bestguess.config import runs
from bestguess.train.checkpoint import checkpoints
from bestguess.train.fit import Fitted, fit, load_fitted, resumed_steps
from bestguess.train.memory import Memory, device_memory, program_memory
from bestguess.train.program import Program
from tests.train.toy import NO_KEY, ToyProblem, close, config, key_of, members, run_chunks, same
from tests.train.worker import SPREADS, TINY, spread, train

EVERY_SAVED = config(checkpoint_every=0.0)
LEARNT = ("model", "best", "best_score", "best_step", "fault_step", "stopped")


def learnt(fitted: Fitted) -> dict:
    """What must not depend on how the training was run: all but the clock."""
    return {name: getattr(fitted, name) for name in LEARNT}


class Interrupt(Exception):
    """What a test's own callback stops a training with."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Fitted:
    return fit(ToyProblem(), EVERY_SAVED, members(), tmp_path_factory.mktemp("fit"))


# ------------------------------------------------------------------------------------------ the loop


def test_fit_is_the_compiled_step_from_start_to_end(undisturbed):
    state, _ = run_chunks(Program(ToyProblem(), EVERY_SAVED, members()))
    same(learnt(undisturbed), {name: getattr(state, name) for name in LEARNT})
    assert undisturbed.run_steps == 3 * 20
    assert undisturbed.run_steps_per_second == 60 / undisturbed.seconds


def test_every_chunk_is_told_once_and_in_order(tmp_path, undisturbed):
    told = []
    # Steps that no whole number of chunks makes: 5, 5, 5, 2.
    cfg = config(steps=17)
    fit(ToyProblem(), cfg, members(), tmp_path, on_chunk=lambda *chunk: told.append(chunk))
    assert [(runs, step) for runs, step, _ in told] == [(range(3), step) for step in (5, 10, 15, 17)]
    assert all(metrics["score"].shape == (3,) for _, _, metrics in told)
    assert told[-1][2]["stopped"].tolist() == [False] * 3


def test_the_time_alone_decides_about_checkpoints(tmp_path, undisturbed):
    rarely = fit(ToyProblem(), config(checkpoint_every=1e9), members(), tmp_path)
    same(learnt(rarely), learnt(undisturbed))
    assert [p.name for p in checkpoints(tmp_path / "part-0")] == ["step-00000020.safetensors"]


def test_a_finished_training_trains_no_more(tmp_path, undisturbed):
    fit(ToyProblem(), EVERY_SAVED, members(), tmp_path)
    lines, told = [], []
    again = fit(
        ToyProblem(), EVERY_SAVED, members(), tmp_path, say=lines.append, on_chunk=lambda *chunk: told.append(chunk)
    )
    same(learnt(again), learnt(undisturbed))
    assert again.run_steps == 0
    assert math.isnan(again.run_steps_per_second)
    assert told == []
    assert "step 20: already trained" in lines


def test_a_stopped_run_takes_no_steps_and_has_ended_from_the_next_chunk_on(tmp_path):
    poison = np.stack([NO_KEY, key_of(6, step=7, sequence=0), NO_KEY])
    told = []
    keep = lambda runs, step, metrics: told.append((step, metrics["ended"].tolist(), metrics["stopped"].tolist()))  # noqa: E731
    fitted = fit(ToyProblem(), EVERY_SAVED, members(nan_loss_at=poison), tmp_path, on_chunk=keep)
    sick, well = [False, True, False], [False] * 3
    assert told == [(5, well, well), (10, well, sick), (15, sick, sick), (20, sick, sick)]
    assert fitted.run_steps == 20 + 7 + 20


def test_what_had_ended_before_a_resume_has_ended_after_it(tmp_path):
    poison = np.stack([NO_KEY, key_of(6, step=7, sequence=0), NO_KEY])

    def stop(runs, step, metrics):
        if step == 15:
            raise Interrupt

    with pytest.raises(Interrupt):
        fit(ToyProblem(), EVERY_SAVED, members(nan_loss_at=poison), tmp_path, on_chunk=stop)
    told = []
    keep = lambda runs, step, metrics: told.append((step, metrics["ended"].tolist()))  # noqa: E731
    fitted = fit(ToyProblem(), EVERY_SAVED, members(nan_loss_at=poison), tmp_path, on_chunk=keep)
    assert told == [(15, [False, True, False]), (20, [False, True, False])]
    assert fitted.run_steps == 10 + 10


def test_stops_when_every_run_has_stopped(tmp_path):
    poison = np.stack([key_of(seed, step=3, sequence=seed) for seed in (5, 6, 7)])
    told = []
    fitted = fit(
        ToyProblem(),
        dataclasses.replace(EVERY_SAVED, steps=500),
        members(nan_loss_at=poison),
        tmp_path,
        on_chunk=lambda runs, step, metrics: told.append(step),
    )
    assert fitted.fault_step.tolist() == [3, 3, 3]
    assert len(told) <= 2
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(fitted.model))


# ------------------------------------------------------------------------------------------- resuming


def interrupted(folder: Path, at: int, cfg=EVERY_SAVED, **more) -> None:
    """Train until the chunk that ends at step `at` is told, then stop without a word of farewell."""

    def stop(runs, step, metrics):
        if step == at:
            raise Interrupt

    with pytest.raises(Interrupt):
        fit(ToyProblem(), cfg, members(), folder, on_chunk=stop, **more)


@pytest.mark.parametrize("at", [5, 15])
def test_resumed_is_bit_identical(tmp_path, undisturbed, at):
    interrupted(tmp_path, at)
    saved = checkpoints(tmp_path / "part-0")
    assert bool(saved) == (at > 5)
    steps = resumed_steps(ToyProblem(), EVERY_SAVED, members(), tmp_path)
    assert steps == [at - 5] * 3
    lines, resumed = [], []
    fitted = fit(
        ToyProblem(), EVERY_SAVED, members(), tmp_path,
        say=lines.append, on_resume=lambda runs, step: resumed.append((runs, step)),
    )  # fmt: skip
    same(learnt(fitted), learnt(undisturbed))
    if saved:
        assert resumed == [(range(3), at - 5)]
        assert f"going on from step {at - 5} of 20" in lines
        assert fitted.run_steps == 3 * (20 - at + 5)


def test_resumed_with_patience_and_a_fault_is_bit_identical(tmp_path):
    """What a run's stopping depends on is in its checkpoint too."""
    cfg = dataclasses.replace(EVERY_SAVED, patience=2, min_delta=0.2, steps=60)
    poison = np.stack([NO_KEY, key_of(6, step=7, sequence=4), NO_KEY])
    all_runs = members(nan_loss_at=poison)
    whole = fit(ToyProblem(), cfg, all_runs, tmp_path / "whole")
    assert whole.stopped.tolist()[1]
    assert whole.fault_step.tolist() == [-1, 7, -1]
    assert whole.stopped.sum() >= 2  # patience ended another

    def stop(runs, step, metrics):
        if step >= 15:
            raise Interrupt

    with pytest.raises(Interrupt):
        fit(ToyProblem(), cfg, all_runs, tmp_path / "cut", on_chunk=stop)
    same(learnt(fit(ToyProblem(), cfg, all_runs, tmp_path / "cut")), learnt(whole))


def test_resumes_from_the_checkpoint_before_a_damaged_one_and_says_so(tmp_path, undisturbed):
    interrupted(tmp_path, 20)
    newest = checkpoints(tmp_path / "part-0")[-1]
    assert newest.name == "step-00000015.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    lines = []
    fitted = fit(ToyProblem(), EVERY_SAVED, members(), tmp_path, say=lines.append)
    same(learnt(fitted), learnt(undisturbed))
    assert any(line.startswith("passed over a damaged checkpoint") and str(newest) in line for line in lines)
    assert "going on from step 10 of 20" in lines


def test_where_every_checkpoint_is_damaged_there_is_one_clear_line(tmp_path):
    interrupted(tmp_path, 20)
    for path in checkpoints(tmp_path / "part-0"):
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="every checkpoint is damaged") as error:
        fit(ToyProblem(), EVERY_SAVED, members(), tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_checkpoints_and_ends_and_the_rest_is_bit_identical(tmp_path, undisturbed, number):
    assert threading.current_thread() is threading.main_thread()  # else the signal would end this worker
    before = signal.getsignal(number)
    rarely = dataclasses.replace(EVERY_SAVED, checkpoint_every=1e9)
    sent = []

    def stop(runs, step, metrics):
        if not sent:
            sent.append(step)
            os.kill(os.getpid(), number)

    folder = tmp_path / "run" / "checkpoints"
    told = f"stopped by {signal.Signals(number).name} at step .*--resume {tmp_path / 'run'}$"
    with pytest.raises(Failure, match=told) as stopped:
        fit(ToyProblem(), rarely, members(), folder, on_chunk=stop)
    assert stopped.value.status == 128 + number
    assert signal.getsignal(number) is before
    (saved,) = checkpoints(folder / "part-0")
    assert 0 < int(saved.stem.removeprefix("step-")) < 20
    same(learnt(fit(ToyProblem(), rarely, members(), folder)), learnt(undisturbed))


@pytest.mark.slow
@pytest.mark.parametrize("average", [0.0, 0.95])
def test_killed_at_random_moments_then_resumed_is_bit_identical(tmp_path, average, compiled_alone):
    """kill -9, again and again, at moments that no one chose, until the training is done."""
    whole = train(tmp_path / "whole", average)
    draw = random.Random()
    kills, folder = 0, tmp_path / "killed"
    # Only the killed processes share compiled programs, so the others prove that compiling anew changes no bit.
    cache = {
        "JAX_ENABLE_COMPILATION_CACHE": "true",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    for target in (20, 60, 90):
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.train.worker", "train", folder, str(average)],
            cwd=Path(__file__).parents[2], env=os.environ | cache, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        with contextlib.closing(worker.stdout):
            for line in worker.stdout:
                if line.strip() == "done" or int(line) >= target:
                    break
            time.sleep(draw.uniform(0, 0.03))  # a few chunks, a few checkpoints long
            worker.kill()
            worker.wait()
        kills += worker.returncode == -signal.SIGKILL
    assert kills == 3
    resumed = []
    fitted = train(folder, average, on_resume=lambda runs, step: resumed.append(step))
    assert 60 < resumed[0] <= 120
    same(learnt(fitted), learnt(whole))
    assert whole.best_score.shape == (len(runs(TINY)),)
    assert (whole.best_step > 0).all()


# ------------------------------------------------------------------------------------------ splitting


@pytest.fixture(scope="module")
def needed() -> dict[int, int]:
    """Bytes that 1, 2 and 3 toys need."""
    pick = lambda n: jax.tree.map(lambda leaf: leaf[:n], members())  # noqa: E731
    return {n: program_memory(Program(ToyProblem(), EVERY_SAVED, pick(n)).compile(5)) for n in (1, 2, 3)}


def test_a_batch_of_runs_too_large_is_split_and_says_so(tmp_path, undisturbed, needed, monkeypatch):
    assert needed[1] < needed[2] < needed[3]
    monkeypatch.setenv("BESTGUESS_MEMORY", str(needed[2]))
    lines, told = [], []
    fitted = fit(
        ToyProblem(), EVERY_SAVED, members(), tmp_path, say=lines.append,
        on_chunk=lambda runs, step, metrics: told.append((runs, step, len(metrics["score"]))),
    )  # fmt: skip
    close(learnt(fitted), learnt(undisturbed))
    assert fitted.run_steps == undisturbed.run_steps
    assert "that is more than there is: splitting 3 runs into parts of 2" in lines
    assert "part 1 of 2: runs 0 to 1" in lines
    assert "part 2 of 2: runs 2 to 2" in lines
    assert told == [(range(2), s, 2) for s in (5, 10, 15, 20)] + [(range(2, 3), s, 1) for s in (5, 10, 15, 20)]
    state = load_fitted(ToyProblem(), EVERY_SAVED, members(), tmp_path)
    same(learnt(fitted), {name: getattr(state, name) for name in LEARNT})


@pytest.mark.parametrize(("cut_run", "cut_step"), [(0, 15), (2, 10)])
def test_a_split_batch_of_runs_resumes_bit_identical_with_the_split_it_began_with(
    tmp_path, needed, monkeypatch, cut_run, cut_step
):
    monkeypatch.setenv("BESTGUESS_MEMORY", str(needed[2]))
    whole = fit(ToyProblem(), EVERY_SAVED, members(), tmp_path / "whole")

    def stop(runs, step, metrics):
        if (runs.start, step) == (cut_run, cut_step):
            raise Interrupt

    with pytest.raises(Interrupt):
        fit(ToyProblem(), EVERY_SAVED, members(), tmp_path / "cut", on_chunk=stop)
    reached = {0: [cut_step - 5, cut_step - 5, 0], 2: [20, 20, cut_step - 5]}[cut_run]
    assert resumed_steps(ToyProblem(), EVERY_SAVED, members(), tmp_path / "cut") == reached
    if cut_run == 0:
        with pytest.raises(UserError, match="runs 2 to 2 hold no checkpoint yet"):
            load_fitted(ToyProblem(), EVERY_SAVED, members(), tmp_path / "cut")
    monkeypatch.delenv("BESTGUESS_MEMORY")  # a larger machine: the parts stay what they were
    lines = []
    same(learnt(fit(ToyProblem(), EVERY_SAVED, members(), tmp_path / "cut", say=lines.append)), learnt(whole))
    assert "part 2 of 2: runs 2 to 2" in lines
    assert not any("splitting" in line for line in lines)


def test_one_run_that_does_not_fit_is_one_clear_line(tmp_path, needed, monkeypatch):
    monkeypatch.setenv("BESTGUESS_MEMORY", str(needed[1] - 1))
    with pytest.raises(UserError, match=r"^--batch-size 8: 1 run need.*lower --batch-size or raise --accumulate$"):
        fit(ToyProblem(), EVERY_SAVED, members(), tmp_path)


def test_memory():
    assert Memory(10, 10).fits
    assert not Memory(11, 10).fits
    assert str(Memory(1_500_000_000, 8_000_000_000)) == "1.50 GB of 8.00 GB"
    assert 2**20 < device_memory() < 2**50


def test_nothing_trained_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint"):
        load_fitted(ToyProblem(), EVERY_SAVED, members(), tmp_path)


# ------------------------------------------------------------------------------------------- sharding


def test_eight_devices_equal_one(tmp_path):
    """One run's batch over all devices; runs over devices and their batches over the rest."""
    environment = os.environ | {"XLA_FLAGS": os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8"}
    (tmp_path / "eight").mkdir()
    said = subprocess.run(
        [sys.executable, "-m", "tests.train.worker", "spread", tmp_path / "eight"],
        cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    meshes = {
        "8 8": {"run": 8, "batch": 1},
        "1 8": {"run": 1, "batch": 8},
        "2 8": {"run": 2, "batch": 4},
        "3 2": {"run": 1, "batch": 2},
        "6 4": {"run": 2, "batch": 4},
        "5 3": {"run": 1, "batch": 1},
    }
    assert said.stdout.strip() == f"8 {meshes}"
    for name, fitted in spread(tmp_path / "one", jax.devices()[:1]).items():
        with np.load(tmp_path / "eight" / f"{name}.npz") as found:
            leaves = [found[key] for key in found.files]
        close(leaves, jax.tree.leaves((fitted.model, fitted.best_score, fitted.best_step)))
        assert len(fitted.best_score) == len(SPREADS[name]["seeds"])
