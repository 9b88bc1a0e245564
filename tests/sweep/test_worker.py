"""A worker: what it does with runs that fail, with workers that die, with others beside it."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from bestguess.command import Failure, UserError
from bestguess.files import Unreadable, move_folder, user_cache
from bestguess.report.trackers import METRICS_FILE, JsonLines, Trackers
from bestguess.sweep import lease as leases
from bestguess.sweep import train
from bestguess.sweep.commands import open_ledger, status, sweep
from bestguess.sweep.config import StatusFlags
from bestguess.sweep.lease import acquire, me
from bestguess.sweep.ledger import Ledger
from bestguess.sweep.worker import ATTEMPT, _take_over, work
from tests.sweep.conftest import ROOT, flags, lay_traps, process, toy_yaml

RATES = [0.01, 0.03]


def quiet() -> Console:
    return Console(quiet=True)


def ledger_of(tmp_path) -> Ledger:
    [folder] = (tmp_path / "runs" / "sweeps").iterdir()
    return Ledger(folder)


def first_metrics(tmp_path: Path, *workers: subprocess.Popen, units: int = 1) -> Path:
    """Return a file of metrics with something in it, once these workers, who must live, have written so many."""
    deadline = time.monotonic() + 120
    while True:
        folders = tmp_path.glob("runs/sweeps/*")
        found = [path for folder in folders for path in folder.glob("work/*/metrics.jsonl")]
        if len(written := [path for path in found if path.stat().st_size]) >= units:
            return written[0]
        assert all(one.poll() is None for one in workers)
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_sweep_is_trained_whole(tmp_path, marks, monkeypatch):
    curves: list[list[dict]] = []
    levels_of = train.levels_of
    monkeypatch.setattr(train, "levels_of", lambda family, curve: [curves.append(curve), levels_of(family, curve)][1])
    path = toy_yaml(tmp_path, train__learning_rate=RATES, train__first_seed=[0, 1], width=[1, 2])
    result = sweep(flags(path), quiet())
    assert (result["planned"], result["done"], result["missing"]) == (8, 8, [])
    ledger = ledger_of(tmp_path)
    assert [r["run"] for r in ledger.records()] == [f"{i:04d}" for i in range(8)]
    # Validation's best is that of the curve, and 20 steps hold four validations.
    assert len(ledger.records()) == len(curves) == 8
    for record, curve in zip(sorted(ledger.records(), key=lambda one: one["config"]["width"]), curves):
        assert [line["sequences"] for line in curve] == [40, 80, 120, 160]
        figures = record["metrics"]
        assert figures["validation_loss"] == min(line["score"] for line in curve)
        assert figures["best_step"] == min(curve, key=lambda line: line["score"])["step"]
        assert (figures["sequences_to_score_0"], figures["sequences_to_score_1e+06"]) == (40, None)
        assert 0 <= figures["self_test"] <= 1e-6
    assert [(b["config"]["width"], b["seeds"]) for b in result["best"]] == [(1, 2), (2, 2)]
    assert not list((ledger.folder / "work").iterdir()), "checkpoints of what is done are dropped"
    # Once more: nothing is left to do, and nothing is done.
    before = {path: path.read_bytes() for path in ledger.folder.glob("done/*")}
    assert sweep(flags(ledger.id), quiet())["done"] == 8
    assert {path: path.read_bytes() for path in ledger.folder.glob("done/*")} == before
    assert len(list(ledger.claims.glob("*.*"))) == len(ledger.units())


def test_an_ensemble_gives_every_run_what_it_gives_alone(tmp_path, marks):
    path = toy_yaml(tmp_path, train__learning_rate=RATES, train__first_seed=[0, 1])
    sweep(flags(path, folder=tmp_path / "together"), quiet())
    sweep(flags(path, folder=tmp_path / "alone", ensemble=1), quiet())
    both = []
    for name in ("together", "alone"):
        [folder] = (tmp_path / name).iterdir()
        both.append([(r["config"], r["metrics"]) for r in Ledger(folder).records()])
    assert len(both[0]) == len(both[1]) == 4
    for (config, figures), (config_alone, figures_alone) in zip(*both):
        assert config == config_alone
        assert figures["validation_loss"] == pytest.approx(figures_alone["validation_loss"], rel=1e-5)
    assert len({figures["loss"] for _, figures in both[0]}) == 4


@pytest.mark.parametrize(
    ("fault", "kind", "reason"),
    [
        ("raise", "scoring", "RuntimeError: injected"),
        ("prepare", "error", "ValueError: no such system"),
        ("nan", "not finite", "loss not finite at step 7"),
        ("figure", "not finite", "not finite: loss"),
        ("memory", "memory", "out of memory"),
    ],
)
def test_a_failed_run_is_named_with_its_reason(tmp_path, marks, fault, kind, reason):
    path = toy_yaml(tmp_path, fault=["", fault], train__first_seed=[0, 1])
    with pytest.raises(Failure, match=r"2 of 4 runs are not done") as failure:
        sweep(flags(path, ensemble=2), quiet())
    assert failure.value.result["done"] == 2
    missing = failure.value.result["missing"]
    assert [m["config"]["fault"] for m in missing] == [fault] * 2
    assert all(reason in m["reason"] for m in missing), missing
    assert {f["kind"] for m in missing for f in ledger_of(tmp_path).failures(m["run"])} == {kind}


def test_going_on_runs_again_what_failed_and_nothing_else(tmp_path, marks):
    path = toy_yaml(tmp_path, fault=["", "raise-once", "nan-once"], train__first_seed=[0, 1])
    with pytest.raises(Failure):
        sweep(flags(path), quiet())
    ledger = ledger_of(tmp_path)
    kept = {run["run"]: (ledger.folder / "done" / f"{run['run']}.json").read_bytes() for run in ledger.records()}
    assert list(kept) == ["0000", "0001"]
    result = sweep(flags(ledger.id), quiet())
    assert result["done"] == 6
    for run, data in kept.items():
        assert (ledger.folder / "done" / f"{run}.json").read_bytes() == data
    assert ledger.status().complete


def test_a_bad_run_in_an_ensemble_is_isolated_by_halving(tmp_path, marks):
    # `prepare` fails for all four at once; only the sick one must stay undone in the end.
    path = toy_yaml(tmp_path, fault=["", "prepare"], train__first_seed=[0, 1])
    left = []
    for _ in range(4):
        with pytest.raises(Failure) as failure:
            sweep(flags(path), quiet())
        left.append([m["run"] for m in failure.value.result["missing"]])
    assert left == [["0000", "0001", "0002", "0003"], ["0002", "0003"], ["0002", "0003"], ["0002", "0003"]]


def test_failures_in_a_row_stop_the_worker(tmp_path, marks):
    path = toy_yaml(tmp_path, fault="raise", train__first_seed=list(range(5)))
    with pytest.raises(Failure, match="2 failures in a row on this machine"):
        sweep(flags(path, ensemble=1, max_failures=2), quiet())
    reasons = [m.reason for m in ledger_of(tmp_path).status().missing]
    assert reasons == ["RuntimeError: injected"] * 2 + ["not begun"] * 3


def test_what_is_not_here_stops_the_worker_and_fails_no_run(tmp_path, marks, monkeypatch):
    """In a folder that lacks the inputs; a worker beside it, of the same attempt, trains all."""
    monkeypatch.setenv(ATTEMPT, "one")
    path = toy_yaml(tmp_path, fault=["absent-once", ""], train__first_seed=[0])
    with pytest.raises(UserError, match=r"run 0000: --start there: no such folder; train that model first \(.*resume"):
        sweep(flags(path, ensemble=1, max_failures=1), quiet())
    ledger = ledger_of(tmp_path)
    assert [m.reason for m in ledger.status().missing] == ["stopped before it was done", "not begun"]
    assert not (ledger.folder / "failures").exists()
    assert work(ledger, quiet()).done == 2


def test_a_success_between_failures_lets_the_worker_go_on(tmp_path, marks):
    path = toy_yaml(tmp_path, train__first_seed=[0, 1, 2], fault=["raise", ""])
    with pytest.raises(Failure, match="3 of 6 runs are not done"):
        sweep(flags(path, ensemble=1, max_failures=2), quiet())


def test_workers_of_one_attempt_do_not_repeat_a_failure(tmp_path, marks, monkeypatch):
    path = toy_yaml(tmp_path, fault=["raise-once", ""], train__first_seed=[0])
    monkeypatch.setenv(ATTEMPT, "one")
    with pytest.raises(Failure):
        sweep(flags(path, ensemble=1), quiet())
    ledger = ledger_of(tmp_path)
    assert work(ledger, quiet()).units == 0
    monkeypatch.setenv(ATTEMPT, "two")
    assert work(ledger, quiet()).done == 1
    assert ledger.status().complete


def test_what_another_holds_is_left_alone(tmp_path, marks):
    path = toy_yaml(tmp_path, train__first_seed=[0, 1])
    sweep(flags(path, plan=True), quiet())
    ledger = ledger_of(tmp_path)
    units = ledger.units()
    assert len(units) == 1
    with acquire(ledger.claims, units[0].unit, {"attempt": "theirs"}):
        assert work(ledger, quiet()).units == 0
        assert all(m.reason.startswith("under way: process") for m in ledger.status().missing)
    assert work(ledger, quiet()).done == 2


def test_test_trains_some_of_every_shape_and_they_count(tmp_path, marks):
    path = toy_yaml(tmp_path, width=[1, 2, 3], train__first_seed=[0, 1])
    result = sweep(flags(path, test=3), quiet())
    assert (result["planned"], result["done"]) == (3, 3)
    ledger = ledger_of(tmp_path)
    assert [r["config"]["width"] for r in ledger.records()] == [1, 2, 3]
    assert status(StatusFlags(ledger.id, test=3), quiet())["done"] == 3
    with pytest.raises(Failure, match="3 of 6 runs are not done"):
        status(StatusFlags(ledger.id), quiet())
    assert sweep(flags(ledger.id), quiet())["done"] == 6


def test_compiled_programs_lie_in_the_users_own_cache(tmp_path, marks, monkeypatch, request):
    """They are native code that nobody checks: a ledger, which may be a stranger's, has none that is read."""
    told: list[str] = []
    kept, update = (
        jax.config.jax_compilation_cache_dir,
        jax.config.update,
    )  # another test of this process may have set it
    update("jax_compilation_cache_dir", None)
    request.addfinalizer(lambda: update("jax_compilation_cache_dir", kept))
    monkeypatch.setattr(jax.config, "update", lambda name, value: told.append(f"{name} {value}"))
    ledger = open_ledger(flags(toy_yaml(tmp_path)))
    work(ledger, quiet(), only=[])
    base = Path(os.environ["XDG_CACHE_HOME"]) / "bestguess" / "compiled"
    assert [Path(line).parent for line in told] == [Path(f"jax_compilation_cache_dir {base}")]
    assert not [path for path in ledger.folder.rglob("*") if "compiled" in path.name]
    # Not in the cache of somebody else, nor where no folder can be made; the work goes on without a word.
    del told[:]
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    work(ledger, quiet(), only=[])
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    work(ledger, quiet(), only=[])
    assert told == []


def test_the_cache_is_where_the_system_says(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, found in (
        ("", tmp_path / ".cache"),
        ("elsewhere", tmp_path / ".cache"),
        ("/far/away", Path("/far/away")),
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert user_cache() == found / "bestguess"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert user_cache() == tmp_path / ".cache" / "bestguess"
    monkeypatch.setattr(Path, "home", _no_home)
    with pytest.raises(Unreadable, match="set HOME or XDG_CACHE_HOME"):
        user_cache()


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


# ---------------------------------------------------------------------------------- other processes


@pytest.fixture
def killed(tmp_path, marks):
    """A sweep over which a worker was killed with signal 9, after it had recorded some runs."""
    path = toy_yaml(tmp_path, fault=["", "kill-once"], train__first_seed=[0, 1])
    worker = process("bestguess.cli", "sweep", path, "--ensemble", 4)
    _, told = worker.communicate(timeout=120)
    assert worker.returncode == -signal.SIGKILL, told
    return ledger_of(tmp_path)


def test_a_killed_worker_is_named_and_its_runs_are_taken_over(killed):
    found = killed.status()
    assert found.done == 2
    assert all("died while training it" in m.reason for m in found.missing)
    # The second sick run kills its worker too, if it is not alone with its mark; so mark it.
    (killed.folder.parents[2] / "marks" / "kill-once-1-0.001").touch()
    assert work(killed, quiet()).done == 2
    assert killed.status().complete
    assert {f["kind"] for f in killed.failures("0002")} == {"died"}


def test_two_workers_share_a_sweep_without_doing_anything_twice(tmp_path, marks):
    path = toy_yaml(tmp_path, train__first_seed=list(range(6)))
    workers = [process("bestguess.cli", "sweep", path, "--worker", "--json", "--ensemble", 1) for _ in range(2)]
    tallies = []
    for worker in workers:
        said, told = worker.communicate(timeout=180)
        assert worker.returncode == 0, told
        tallies.append(json.loads(said))
    ledger = ledger_of(tmp_path)
    assert ledger.status().complete
    assert sum(tally["done"] for tally in tallies) == 6
    assert len(list(ledger.claims.glob("*.*"))) == 6, "each unit was claimed once"


def test_sigterm_checkpoints_and_the_next_goes_on_from_there(tmp_path, marks):
    # So many steps that it cannot be done before the signal comes.
    path = toy_yaml(tmp_path, train__first_seed=[0, 1], train__steps=50_000_000, train__validate_every=500)
    worker = process("bestguess.cli", "sweep", path)
    metrics = first_metrics(tmp_path, worker)
    worker.send_signal(signal.SIGTERM)
    _, told = worker.communicate(timeout=120)
    assert worker.returncode == 128 + signal.SIGTERM
    ledger = ledger_of(tmp_path)
    assert f"stopped by SIGTERM; resume with `bestguess sweep {ledger.id}`" in told
    assert [m.reason for m in ledger.status().missing] == ["stopped before it was done"] * 2
    assert len(list(ledger.folder.glob("work/*/checkpoints/part-0/*.safetensors"))) == 1
    assert np.isfinite(json.loads(metrics.read_text().splitlines()[-1])["score"])


def test_a_signal_to_a_whole_group_checkpoints_every_worker(tmp_path, marks):
    """As a terminal sends it on Ctrl-C."""
    path = toy_yaml(tmp_path, train__first_seed=[0, 1], train__steps=500_000_000, train__validate_every=20_000)
    # A chunk lasts long enough for all signals to come within it.
    command = process("bestguess.cli", "sweep", path, "--jobs", 2, "--ensemble", 1, start_new_session=True)
    first_metrics(tmp_path, command, units=2)
    os.killpg(command.pid, signal.SIGINT)
    _, told = command.communicate(timeout=120)
    assert command.returncode == 128 + signal.SIGINT, told
    ledger = ledger_of(tmp_path)
    assert [m.reason for m in ledger.status().missing] == ["stopped before it was done"] * 2
    assert len(list(ledger.folder.glob("work/*/checkpoints/part-0/*.safetensors"))) == 2


def test_jobs_starts_workers_and_tells_of_those_that_die(tmp_path, marks, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    lay_traps(tmp_path)  # the working directory
    path = toy_yaml(tmp_path, fault=["", "kill-once"], train__first_seed=[0, 1])
    with io.StringIO() as said:
        with pytest.raises(Failure) as failure:
            sweep(flags(path, jobs=2, ensemble=1), Console(file=said, width=300))
        assert "was killed by signal 9" in said.getvalue()
    ledger = ledger_of(tmp_path)
    assert len(list((ledger.folder / "logs").iterdir())) == 2
    left = failure.value.result["missing"]
    assert 1 <= len(left) <= 2, "each of two workers may die over one run, and take over from the other"
    assert all("died while training it" in m["reason"] for m in left)


def test_a_signal_to_one_of_two_processes_stops_both_with_one_checkpoint(tmp_path, marks):
    path = toy_yaml(tmp_path, train__first_seed=[0, 1], train__steps=100_000_000, train__validate_every=100)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{one.getsockname()[1]}"
    both = [
        process(
            "bestguess.cli", "sweep", path, "--distributed",
            BESTGUESS_COORDINATOR=address, SLURM_STEP_NUM_TASKS="2", SLURM_PROCID=str(rank),
        )
        for rank in range(2)
    ]  # fmt: skip
    first_metrics(tmp_path, *both)
    both[1].send_signal(signal.SIGTERM)
    told = [one.communicate(timeout=120) for one in both]
    assert [one.returncode for one in both] == [143, 143], told
    assert all("stopped by SIGTERM" in err for _, err in told)
    assert len(list(ledger_of(tmp_path).folder.glob("work/*/checkpoints/part-0/*.safetensors"))) == 1


@pytest.mark.parametrize("broken", [False, True])
def test_a_worker_that_slept_through_its_lease_writes_and_records_nothing_more(tmp_path, marks, monkeypatch, broken):
    """Another has taken the unit, and its folder, over: what this one tries to write is no fault of the runs."""
    ledger = open_ledger(flags(toy_yaml(tmp_path, train__first_seed=[0, 1])))
    [unit] = ledger.units()
    fit_runs = train.fit_runs

    def sleeping(training, *given, **named):
        [ours] = (ledger.folder / "work").iterdir()
        assert ours.name.endswith(".0001")
        claim = me() | {"machine": "another", "runs": list(unit.runs)}
        (ledger.claims / f"{unit.unit}.0002").write_text(json.dumps(claim))
        theirs = ours.with_name(ours.name.replace(".0001", ".0002"))
        assert move_folder(ours, theirs)
        (theirs / ".step.part").write_text("under way")
        if broken:
            raise FileNotFoundError("its folder is gone")
        return fit_runs(training, *given, **named)

    monkeypatch.setattr(train, "fit_runs", sleeping)
    monkeypatch.setattr(leases, "GLANCE", 0.0)
    tally = work(ledger, quiet())
    assert (tally.done, tally.failed, tally.units) == (0, 0, 1)
    assert not (ledger.folder / "failures").exists()
    assert not (ledger.folder / "done").exists()
    [left] = (ledger.folder / "work").iterdir()
    assert left.name.endswith(".0002")
    assert (left / ".step.part").read_text() == "under way"
    assert all(m.reason.startswith("under way") for m in ledger.status().missing)


def test_what_an_earlier_worker_left_is_taken_over_whole(tmp_path, marks):
    ledger = open_ledger(flags(toy_yaml(tmp_path, train__first_seed=[0, 1])))
    for name in ("0000-000-abcdabcd", "0000-000-abcdabcd.0003"):
        (ledger.folder / "work" / name).mkdir(parents=True)
    (ledger.folder / "work" / "0000-000-abcdabcd.0003" / "newest").touch()
    folder = ledger.folder / "work" / "0000-000-abcdabcd.0004"
    _take_over(ledger, "0000-000-abcdabcd", folder)
    assert [path.name for path in folder.iterdir()] == ["newest"]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["0000-000-abcdabcd", folder.name]


def test_work_of_another_config_is_not_gone_on_with(tmp_path, marks, monkeypatch):
    """Checkpoints in work/ have the names of their runs; what these were trained with, only the hash says."""

    def interrupted(*_):
        raise KeyboardInterrupt

    ledger = open_ledger(flags(toy_yaml(tmp_path, train__first_seed=[0, 1])))
    with monkeypatch.context() as patch:
        patch.setattr(train, "figures_of", interrupted)
        with pytest.raises(KeyboardInterrupt):
            work(ledger, quiet())
    [planned] = (ledger.folder / "rounds").iterdir()
    sound = planned.read_text()
    altered = json.loads(sound)
    altered["runs"][0]["config"]["train.learning_rate"] = 0.5
    planned.write_text(json.dumps(altered))
    assert work(Ledger(ledger.folder), quiet()).done == 0
    assert all("trained with another config" in m.reason for m in Ledger(ledger.folder).status().missing)
    planned.write_text(sound)
    assert work(Ledger(ledger.folder), quiet()).done == 2


def test_what_trackers_keep_outlives_the_work_in_the_group_of_the_sweep(tmp_path, marks, monkeypatch):
    """Checkpoints are dropped once the runs are done; W&B's offline runs wait there to be synced."""
    opened = []

    def open_trackers(names, folder, config, runs, resumed, **more):
        opened.append((names, runs, more["group"], more["logs"]))
        return Trackers([JsonLines(folder / METRICS_FILE, resumed, runs)])

    monkeypatch.setattr(train, "open_trackers", open_trackers)
    path = toy_yaml(tmp_path, train__learning_rate=RATES, train__first_seed=[0, 1])
    sweep(flags(path, track=("wandb",)), quiet())
    ledger = ledger_of(tmp_path)
    [(names, runs, group, logs)] = opened
    assert (names, group, logs.parent.resolve()) == (("wandb",), ledger.id, ledger.folder / "tracked")
    assert [run["sweep_run"] for run in runs] == ["0000", "0001", "0002", "0003"]
