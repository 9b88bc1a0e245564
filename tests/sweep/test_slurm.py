"""Sweeps on a real Slurm: arrays with faults, requeued tasks, and one ensemble over two processes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bestguess.sweep.ledger import Ledger
from tests.sweep import slurm
from tests.sweep.conftest import ROOT, toy_yaml

REASON = slurm.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))

BESTGUESS = str(Path(sys.executable).parent / "bestguess")


@pytest.fixture(scope="module")
def cluster():
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a short path: a socket's name has 107 characters
    try:
        with slurm.cluster(folder) as environment:
            yield environment
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def environment(cluster, tmp_path, marks):
    return cluster | {"PYTHONPATH": str(ROOT), "TOY_MARKS": str(marks), "BESTGUESS": BESTGUESS}


def start(environment, *words) -> str:
    done = subprocess.run(
        [str(ROOT / "start_sweep.sh"), *map(str, words)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def states(environment, said: str) -> dict[str, set[str]]:
    """Return the states that the tasks of the array, and the job that checks it, ended in."""
    array, check = re.search(r"in job (\d+), checked by job (\d+)", said).groups()
    return {
        name: set(re.findall(r"JobState=(\S+)", slurm.ask(environment, "scontrol", "show", "job", job)))
        for name, job in (("array", array), ("check", check))
    }


def only_ledger(tmp_path) -> Ledger:
    [folder] = (tmp_path / "runs" / "sweeps").iterdir()
    return Ledger(folder)


def test_an_array_with_an_exception_and_a_kill_is_continued_by_id_to_complete(environment, tmp_path):
    path = toy_yaml(tmp_path, fault=["", "raise-once", "kill-once"], train__first_seed=[0, 1])
    said = start(environment, path, "--jobs", 3, "--", "--time=10")
    slurm.until_idle(environment)
    ledger = only_ledger(tmp_path)
    assert len(ledger.units()) == 3
    found = states(environment, said)
    assert "FAILED" in found["array"]
    assert found["check"] == {"FAILED"}, "the last job fails while runs are missing"
    reasons = " ".join(missing.reason for missing in ledger.status().missing)
    assert "RuntimeError: injected" in reasons
    kinds = {failure["kind"] for run in ledger.runs() for failure in ledger.failures(run)}
    assert "scoring" in kinds
    kept = {path: path.read_bytes() for path in ledger.folder.glob("done/*")}
    for _ in range(3):  # a worker that is killed is killed once for each of two runs
        said = start(environment, ledger.id, "--jobs", 2)
        slurm.until_idle(environment)
        if ledger.status().complete:
            break
    assert ledger.status().complete
    assert states(environment, said)["check"] == {"COMPLETED"}
    assert all(path.read_bytes() == data for path, data in kept.items())
    kinds = {failure["kind"] for run in ledger.runs() for failure in ledger.failures(run)}
    assert kinds == {"scoring", "died"}


def test_a_requeued_task_goes_on_from_its_checkpoint(environment, tmp_path):
    path = toy_yaml(tmp_path, train__first_seed=[0, 1], train__steps=100_000_000, train__validate_every=1000)
    said = start(environment, path)
    array = re.search(r"in job (\d+)", said).group(1)
    ledger = only_ledger(tmp_path)
    log = ledger.folder / "logs" / f"{array}_0.log"
    metrics = lambda: list(ledger.folder.glob("work/*/metrics.jsonl"))  # noqa: E731
    try:
        slurm.until(lambda: metrics() and metrics()[0].stat().st_size > 0)
        assert not list(ledger.folder.glob("work/*/checkpoints/part-0/*")), "none is due in the first minute"
        slurm.ask(environment, "scontrol", "requeue", f"{array}_0")
        slurm.until(lambda: "stopped by SIGTERM" in log.read_text())
        [checkpoint] = ledger.folder.glob("work/*/checkpoints/part-0/*.safetensors")
        step = int(checkpoint.stem.removeprefix("step-"))

        def goes_on() -> bool:
            # Slurm holds a requeued job back for two minutes: let it go at once. Not while its first turn is still
            # completing, or Slurm forgets to queue it again.
            state = slurm.ask(environment, "squeue", "-h", "-j", f"{array}_0", "-o", "%T").strip()
            if state == "PENDING":
                slurm.ask(environment, "scontrol", "update", f"JobId={array}_0", "StartTime=now")
            return f"going on from step {step} of 100000000" in log.read_text()

        slurm.until(goes_on, 240)
    finally:
        slurm.ask(environment, "scancel", array)
        slurm.until_idle(environment)


def test_two_processes_train_one_ensemble(environment, tmp_path):
    path = toy_yaml(tmp_path, train__first_seed=[0, 1, 2], train__learning_rate=[0.01, 0.03])
    words = [BESTGUESS, "sweep", path, "--json", "--folder"]
    step = ["srun", "-N2", "-n2", "--kill-on-bad-exit=1", *words, tmp_path / "two", "--distributed"]
    results = [
        subprocess.run(list(map(str, one)), env=environment, capture_output=True, text=True, timeout=240)
        for one in (step, [*words, tmp_path / "one"])
    ]
    assert [done.returncode for done in results] == [0, 0], results[0].stderr
    two, one = (json.loads(done.stdout.splitlines()[-1]) for done in results)
    assert two["done"] == one["done"] == 6
    records = [Ledger(Path(each["folder"])).records() for each in (two, one)]
    assert {record["device"] for record in records[0]} == {"2 × cpu"}
    for spread, alone in zip(*records):
        assert spread["config"] == alone["config"]
        assert spread["metrics"]["validation_loss"] == pytest.approx(alone["metrics"]["validation_loss"], rel=1e-6)
