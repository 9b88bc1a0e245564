"""Ctrl-C and SIGTERM at any stage of a command: the exit status, and what is said to be on disk."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from bestguess.cli import main
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


def test_the_newest_checkpoint_is_told(tmp_path):
    for step in (400, 1200):
        path = tmp_path / "checkpoints" / "part-0" / f"step-{step:08d}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "config.yaml").touch()
    assert on_disk(tmp_path) == f"{tmp_path} has checkpoints up to step 1200; resume with --resume {tmp_path}"
