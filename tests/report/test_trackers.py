"""Metrics survive what can happen to them, and trackers keep to themselves."""

import json
import math
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestguess.command import UserError
from bestguess.report import trackers
from bestguess.report.trackers import (
    JsonLines,
    Tracker,
    Trackers,
    figures,
    open_trackers,
    read_metrics,
    run_name,
    wandb_mode,
)

RUNS = [{"learning_rate": 1e-3, "seed": 0}, {"learning_rate": 3e-3, "seed": 1}]


def run(code, *arguments, **environment):
    """Run Python code in a process of its own, with warnings as errors; return the finished process."""
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code, *map(str, arguments)]
    environment = {**os.environ, **environment}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, timeout=60
    )


def strict(line):
    """Return a line as strict JSON: NaN and Infinity, which Python would take, are refused."""

    def refuse(name):
        raise ValueError(name)

    return json.loads(line, parse_constant=refuse)


numbers = st.floats() | st.integers(-(10**9), 10**9)
names = st.text(min_size=1, max_size=8).filter(lambda name: name not in ("step", "run") and "." not in name)
rows = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 3), st.dictionaries(names, numbers, max_size=3)), max_size=12
)


@settings(max_examples=60, deadline=None)
@given(rows=rows, cut=st.integers(0, 10**6), resume=st.integers(0, 40))
def test_resuming_after_any_cut_keeps_exactly_the_whole_lines_up_to_the_step(tmp_path_factory, rows, cut, resume):
    path = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    rows = sorted(rows, key=lambda row: row[0])
    log = JsonLines(path)
    for row in rows:
        log.log(*row)
    log.finish()
    whole = path.read_bytes()
    cut = cut % (len(whole) + 1)
    path.write_bytes(whole[:cut])

    left, end = [], 0
    for line, (step, number, metrics) in zip(whole.splitlines(), rows, strict=True):
        strict(line)
        end += len(line)
        if end <= cut:  # the object is whole, be its line end there or not
            finite = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
            left.append({"step": step, "run": number, **finite})
        end += 1
    shown = [{k: math.nan if v is None else v for k, v in line.items()} for line in left]
    assert repr(read_metrics(path)) == repr(shown)

    log = JsonLines(path, resume)
    log.log(resume + 1, 0, {"loss": 0.5})
    log.finish()
    expected = [line for line in left if line["step"] <= resume] + [{"step": resume + 1, "run": 0, "loss": 0.5}]
    assert [strict(line) for line in path.read_text().splitlines()] == expected


def test_runs_that_stand_at_different_steps_go_on_from_their_own(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = JsonLines(path)
    for number, last in ((0, 30), (1, 20), (2, 10)):  # the parts of a split ensemble train one after another
        for step in range(0, last + 1, 10):
            log.log(step, number, {})
    log.finish()
    with open_trackers(["tensorboard"], tmp_path, {}, [{}, {}, {}], resume_step=[30, 10, 0]) as log:
        log.log(20, 1, {"loss": 0.5})
    kept = [(line["run"], line["step"]) for line in read_metrics(path)]
    assert kept == [(0, 0), (0, 10), (0, 20), (0, 30), (1, 0), (1, 10), (2, 0), (1, 20)]
    # TensorBoard is told where each run's earlier curve ends.
    assert [started(tmp_path / "tensorboard" / str(number)) for number in range(3)] == [31, 11, 1]


def test_kill_9_loses_no_line_that_was_logged(tmp_path):
    code = (
        "import os, signal, sys; from bestguess.report.trackers import JsonLines\n"
        "log = JsonLines(sys.argv[1])\n"
        "for step in range(1000): log.log(step, 0, {'loss': 1.0})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert run(code, tmp_path / "m.jsonl").returncode == -signal.SIGKILL
    assert [line["step"] for line in read_metrics(tmp_path / "m.jsonl")] == list(range(1000))


def test_damage_before_the_last_line_is_an_error_that_names_the_line(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1, "run": 0}\n{"step": 2, "r\n{"step": 3, "run": 0}\n')
    with pytest.raises(UserError, match=r"m\.jsonl: line 2 is damaged .*; delete this line$"):
        read_metrics(path)
    with pytest.raises(UserError, match="line 2"):
        JsonLines(path, resume_step=3)
    assert path.read_text().count("\n") == 3  # the evidence stands


def test_zeros_that_a_power_cut_leaves_at_the_end_are_passed_over(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 1, "run": 0}\n' + b"\x00" * 100)
    assert read_metrics(path) == [{"step": 1, "run": 0}]


def test_metrics_of_an_earlier_run_are_never_mixed_or_lost(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1, "run": 0}\n')
    with pytest.raises(UserError, match="already holds metrics"):
        JsonLines(path)
    assert read_metrics(path) == [{"step": 1, "run": 0}]
    with pytest.raises(UserError, match="no such file"):
        read_metrics(tmp_path / "none.jsonl")


def test_numpy_scalars_are_plain_numbers_and_taken_names_are_refused(tmp_path):
    log = JsonLines(tmp_path / "m.jsonl")
    log.log(np.int64(3), 0, {"loss": np.float32(0.5), "sequences": np.int32(64), "x": np.array(-np.inf)})
    for taken in ("step", "task.lambda"):  # dotted keys are those of the config
        with pytest.raises(ValueError, match=f"'{taken}'"):
            log.log(1, 0, {taken: 2})
    log.finish()
    log.finish()
    assert (tmp_path / "m.jsonl").read_text() == '{"step": 3, "run": 0, "loss": 0.5, "sequences": 64, "x": null}\n'


def test_a_line_s_figures_are_all_but_its_config(tmp_path):
    own = [{"sweep_run": "0001", "model.widths": [2, 3], "train.learning_rate": 0.1}]
    with open_trackers((), tmp_path, {}, own) as log:
        log.log(1, 0, {"loss": 0.5})
    (line,) = read_metrics(tmp_path / "metrics.jsonl")
    assert line["model.widths"] == [2, 3]
    assert figures(line) == {"step": 1, "run": 0, "sweep_run": "0001", "loss": 0.5}


def test_importing_the_room_imports_nothing_heavy():
    code = (
        "import sys, bestguess.report.trackers, bestguess.report.progress, bestguess.report.page, "
        "bestguess.report.charts, bestguess.report.render\n"
        "heavy = {'wandb', 'tensorboardX', 'matplotlib', 'plotly', 'rich', 'jax', 'scipy', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = run(code)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_json_lines_alone_import_neither_wandb_nor_tensorboard(tmp_path):
    code = (
        "import sys; from bestguess.report.trackers import open_trackers\n"
        "with open_trackers([], sys.argv[1], {}, [{}]) as log: log.log(1, 0, {'loss': 1.0})\n"
        "print(sorted({'wandb', 'tensorboardX'} & set(sys.modules)))"
    )
    assert run(code, tmp_path).stdout == "[]\n"
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1, "run": 0, "loss": 1.0}]


@pytest.mark.parametrize(("name", "hint"), [("wadnb", "did you mean wandb"), ("mlflow", "known: jsonl, wandb")])
def test_an_unknown_tracker_is_named_with_the_nearest(tmp_path, name, hint):
    with pytest.raises(UserError, match=hint):
        open_trackers([name], tmp_path, {}, [{}])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "package"), [("wandb", "wandb"), ("tensorboard", "tensorboardX")])
def test_a_missing_package_is_named_with_the_mend(tmp_path, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        UserError, match=rf"package {package} is missing; .* `uv run --extra {name} bestguess`, or install {package}"
    ):
        open_trackers([name], tmp_path, {}, [{}])


class Recorder(Tracker):
    def __init__(self, fails=False):
        self.seen, self.fails = [], fails

    def log(self, step, run, metrics):
        self.seen.append((step, run, metrics))

    def finish(self, summary=(), failed=False):
        self.seen.append(("finish", failed))
        if self.fails:
            raise OSError("disk full")


def test_one_tracker_that_cannot_close_keeps_none_from_closing():
    recorders = [Recorder(), Recorder(fails=True), Recorder()]
    with pytest.raises(OSError, match="disk full"), Trackers(recorders) as log:
        log.log(1, 0, {"loss": 2.0})
    assert [recorder.seen for recorder in recorders] == [[(1, 0, {"loss": 2.0}), ("finish", False)]] * 3


def test_an_exception_marks_the_run_as_failed():
    recorder = Recorder()
    with pytest.raises(KeyError), Trackers([recorder]):
        raise KeyError
    assert recorder.seen == [("finish", True)]


@pytest.mark.parametrize(
    ("environment", "netrc", "mode"),
    [
        ({}, None, "offline"),
        ({}, "machine api.wandb.ai login user password key\n", "online"),
        ({}, "machine example.org login user password key\n", "offline"),
        ({}, "machine broken nonsense\n", "offline"),
        ({"WANDB_BASE_URL": "https://wandb.lab:8080"}, "machine wandb.lab:8080 login user password key\n", "online"),
        ({"WANDB_API_KEY": "key"}, None, "online"),
        ({"WANDB_API_KEY": "key", "WANDB_MODE": "offline"}, None, "offline"),
        ({"WANDB_MODE": "disabled"}, "machine api.wandb.ai login user password key\n", "disabled"),
    ],
)
def test_wandb_is_online_only_where_a_key_is_at_hand(tmp_path, monkeypatch, environment, netrc, mode):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    if netrc is not None:
        (tmp_path / ".netrc").write_text(netrc)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wandb_mode() == mode


def test_a_mistyped_wandb_mode_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(UserError, match="did you mean offline"):
        open_trackers(["wandb"], tmp_path, {}, [{}])


WANDB = """
import sys
from bestguess.report.trackers import open_trackers
runs = [{"learning_rate": 1e-3, "seed": 0}, {"learning_rate": 3e-3, "seed": 1}]
with open_trackers(["wandb"], sys.argv[1], {"task": {"moduli": 0.9}}, runs) as log:
    for step in (10, 20):
        for run in (0, 1):
            log.log(step, run, {"loss": 0.12345 + run, "bad": float("nan")})
    log.finish([{"normalised_loss": 1.0625}, {"normalised_loss": 1.125}])
"""

WANDB_RESUMED = """
import sys
from bestguess.report.trackers import open_trackers
with open_trackers(["wandb"], sys.argv[1], {}, [{}, {}], resume_step=10) as log:
    log.log(20, 1, {"loss": 0.53125})
"""


def test_wandb_works_offline_without_an_account_silently_one_run_per_member(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    empty = dict.fromkeys(("WANDB_MODE", "WANDB_PROJECT", "WANDB_API_KEY", "WANDB_BASE_URL"), "")  # means unset
    for code in (WANDB, WANDB_RESUMED):
        done = run(code, tmp_path / "run", HOME=str(home), NETRC=str(home / "none"), **empty)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    ids = json.loads((tmp_path / "run" / "wandb" / "run_ids.json").read_text())
    assert len(set(ids)) == 2
    for number, one in enumerate(ids):
        parts = sorted((tmp_path / "run" / "wandb").glob(f"offline-run-*-{one}/run-{one}.wandb"))
        assert len(parts) == 2  # before and after resuming, under the same id
        first, second = (part.read_bytes() for part in parts)
        assert f"{0.12345 + number}".encode() in first
        assert b"1.0625" in first if number == 0 else b"1.125" in first
        assert run_name(number, RUNS[number]).encode() in first
        assert (b"0.53125" in second) == (number == 1)
        # What metrics.jsonl holds of the run stands in the second part, too, and what was taken back does not.
        assert f"{0.12345 + number}".encode() in second
        steps = logged_steps(parts[1])
        assert steps == ([10, 20] if number == 1 else [10])
    assert [line["loss"] for line in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [0.12345, 1.12345, 0.53125]


def logged_steps(path):
    """Return W&B's own step of every line of history in an offline run's file."""
    from wandb.proto import wandb_internal_pb2

    data, at, steps, whole = path.read_bytes(), 7, [], b""
    while at + 7 <= len(data):  # LevelDB's log: blocks of 32 KiB, records of a checksum, a length, a kind
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            if record.WhichOneof("record_type") == "history":
                steps.append(record.history.step.num)
    return steps


def test_wandb_is_rewound_online_to_the_step_that_metrics_are(tmp_path):
    assert trackers._moment("abc", "online", None) == {"id": "abc"}
    assert trackers._moment("abc", "online", 400) == {"resume_from": "abc?_step=400"}
    assert trackers._moment("abc", "online", 0) == {"id": "abc", "resume": "allow"}
    assert trackers._moment("abc", "offline", 400) == {"id": "abc"}


def test_lines_describe_the_run_that_they_are_of(tmp_path):
    with open_trackers([], tmp_path, {}, RUNS) as log:
        log.log(1, 1, {"loss": 0.5, "learning_rate": 1e-4})
    line = strict((tmp_path / "metrics.jsonl").read_text())
    own = {"peak_learning_rate": 3e-3, "seed": 1}
    assert line == {"step": 1, "run": 1, **own, "loss": 0.5, "learning_rate": 1e-4}
    with pytest.raises(ValueError, match="'seed'"), open_trackers([], tmp_path / "two", {}, RUNS) as log:
        log.log(1, 1, {"seed": 2})


def events(folder):
    """Yield the events of a folder's TensorBoard files, read record by record."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.glob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            yield Event.FromString(data[at + 12 : at + 12 + length])
            at += 12 + length + 4


def scalars(folder):
    """Return {(tag, step): value} of a folder's TensorBoard files."""
    return {
        (value.tag, event.step): value.simple_value
        for event in events(folder)
        for value in event.summary.value
        if value.WhichOneof("value") == "simple_value"
    }


def started(folder):
    """Return the step from which a writer that resumes has TensorBoard hide what came before."""
    (step,) = [event.step for event in events(folder) if event.session_log.status == event.session_log.START]
    return step


def test_tensorboard_files_hold_every_scalar_of_every_run(tmp_path):
    with open_trackers(["tensorboard"], tmp_path, {"d_model": 64}, RUNS) as log:
        for step in (1, 2):
            for number in (0, 1):
                log.log(step, number, {"loss": 0.25 * step + number})
        log.log(3, 1, {"loss": float("nan")})
        log.finish([{"skill": 0.5, "note": "words"}, {"skill": 0.75}])
    folders = [tmp_path / "tensorboard" / run_name(number, one) for number, one in enumerate(RUNS)]
    first, second = map(scalars, folders)
    assert first == {("loss", 1): 0.25, ("loss", 2): 0.5, ("final/skill", 2): 0.5}
    assert math.isnan(second.pop(("loss", 3)))
    assert second == {("loss", 1): 1.25, ("loss", 2): 1.5, ("final/skill", 3): 0.75}


def test_a_run_s_name_is_fit_for_a_folder():
    assert run_name(0, RUNS[0]) == "0-learning_rate=0.001-seed=0"
    assert "/" not in run_name(1, {"file": "../../etc/passwd"})
    assert len(run_name(2, {"long": "x" * 500})) == 120


def test_trackers_open_as_they_are_listed(tmp_path):
    assert trackers.TRACKERS == ("jsonl", "wandb", "tensorboard")
    with open_trackers(["jsonl", "jsonl"], tmp_path, {}, [{}]) as log:
        assert [type(one) for one in log.trackers] == [JsonLines]
