"""Ctrl-C and SIGTERM at any stage of a command: the exit status, and what is said to be on disk."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time

import pytest

from bestguess.cli import main
from bestguess.command import Terminated, terminable
from bestguess.train.folder import on_disk
from bestguess.workflow import commands

STAGES = ("fit_in_folder", "write_config")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("stage", STAGES)
def test_a_signal_says_what_is_on_disk(tmp_path, monkeypatch, capsys, request, stage, number, status):
    assert threading.current_thread() is threading.main_thread()  # else the signal would end this worker
    before = signal.getsignal(signal.SIGTERM)
    # A shell's background jobs ignore Ctrl-C, and so does what they start.
    interrupted = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, interrupted))

    def stop(*given: object, **named: object) -> None:
        os.kill(os.getpid(), number)

    monkeypatch.setattr(commands, stage, stop)
    folder = tmp_path / "run"
    words = ["filters", "train", "--preset", "small", "--latent-dim", "4", "--length", "64", "--out", str(folder)]
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == status
    said = capsys.readouterr().err.splitlines()[-1]
    how = "interrupted" if number == signal.SIGINT else "terminated"
    if stage == "write_config":
        assert said == f"bestguess: {how}: nothing was written"
    else:
        assert said == f"bestguess: {how}: {folder} has no checkpoint yet; resume with --resume {folder}"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_in_a_destructor_is_not_lost(request, number, kind):
    """Python drops what a destructor raises: the command would go on, after a traceback."""
    assert threading.current_thread() is threading.main_thread()
    interrupted = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, interrupted))

    class Dying:
        def __del__(self) -> None:
            signal.raise_signal(number)

    def work() -> None:
        Dying()
        time.sleep(30)

    before = sys.unraisablehook
    with pytest.raises(kind), terminable():
        work()
    assert sys.unraisablehook is before


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_during_an_import_waits_for_its_end(request, tmp_path, monkeypatch, number, kind):
    """Half an import of JAX aborts the process."""
    interrupted = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, interrupted))
    code = f"import signal, time\nsignal.raise_signal({int(number)})\ntime.sleep(0.1)\n"
    (tmp_path / f"slow_{number}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    whole = []

    def work() -> None:
        whole.append(importlib.import_module(f"slow_{number}"))
        time.sleep(30)

    with pytest.raises(kind), terminable():
        work()
    assert len(whole) == 1


def test_the_newest_checkpoint_is_told(tmp_path):
    for step in (400, 1200):
        path = tmp_path / "checkpoints" / "part-0" / f"step-{step:08d}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "config.yaml").touch()
    assert on_disk(tmp_path) == f"{tmp_path} has checkpoints up to step 1200; resume with --resume {tmp_path}"
