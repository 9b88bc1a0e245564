"""Sweeps of the toy family: made in a folder, trained in this process or another."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bestguess.sweep.config import SweepFlags
from tests.train.conftest import shared_programs  # noqa: F401

ROOT = Path(__file__).parents[2]


def toy_yaml(folder: Path, name: str = "toy.yaml", method: str = "grid", **parameters) -> Path:
    """Write a sweep of the toy family; a list makes `values`, anything else a `value`, a dict stands for itself."""
    given = {"family": "tests.sweep.toy_family", **{key.replace("__", "."): v for key, v in parameters.items()}}
    top = {"program": "bestguess.sweep.agent", "method": method}
    top |= {key: given.pop(key) for key in ("run_cap", "metric") if key in given}
    made = {
        key: {"values": value} if isinstance(value, list) else value if isinstance(value, dict) else {"value": value}
        for key, value in given.items()
    }
    path = folder / name
    path.write_text(yaml.safe_dump(top | {"parameters": made}, sort_keys=False))
    return path


def lay_traps(folder: Path) -> None:
    """Write modules that end the process which imports them, under names that every process of ours imports."""
    for name in ("yaml", "json", "bestguess", "jax", "ast"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name}.py of the working directory was imported')\n")


@pytest.fixture
def marks(tmp_path, monkeypatch) -> Path:
    """Where the toy's faults that happen once leave their marks; the working directory, too, is the test's own."""
    folder = tmp_path / "marks"
    folder.mkdir()
    monkeypatch.setenv("TOY_MARKS", str(folder))
    monkeypatch.delenv("BESTGUESS_SWEEP_ATTEMPT", raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


def flags(sweep: object, **more) -> SweepFlags:
    """Return the flags of `bestguess sweep`."""
    return SweepFlags(sweep=str(sweep), **more)


_STARTED: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """End what a test has started and, since it failed, not waited for; a sweep ends its own workers."""
    yield
    while _STARTED:
        one = _STARTED.pop()
        if one.poll() is None:
            one.terminate()
            try:
                one.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                one.kill()


def process(*words: object, start_new_session: bool = False, **environment: str) -> subprocess.Popen:
    """Start python -m WORDS in a process of its own, with the repository's root on its path.

    start_new_session: whether it leads a group of processes of its own, too.
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-m", *map(str, words)]
    started = subprocess.Popen(
        command,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=start_new_session,
    )
    _STARTED.append(started)
    return started
