"""Workers that share a GPU take turns on it: what computes holds the turn, what compiles does not."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from bestguess.command import UserError
from bestguess.files import lock
from bestguess.sweep import commands, launch, train
from bestguess.sweep.commands import sweep
from bestguess.train.program import Program
from bestguess.train.turns import TURN, turn
from tests.sweep.conftest import flags, toy_yaml
from tests.sweep.test_worker import quiet


def held(folder) -> bool:
    """Whether somebody has the turn of this folder."""
    try:
        with lock(folder):
            return False
    except UserError:
        return True


def test_a_turn_waits_for_the_one_before(tmp_path, monkeypatch):
    monkeypatch.setenv(TURN, str(tmp_path / "gpu-0"))
    order: list[str] = []

    def second() -> None:
        with turn():
            order.append("second")

    with turn():
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        assert held(tmp_path / "gpu-0")
        order.append("first")
    waiting.join(30)
    assert order == ["first", "second"]
    assert not held(tmp_path / "gpu-0")


def test_a_run_trains_and_is_judged_in_its_turn_and_compiles_outside(tmp_path, marks, monkeypatch):
    place = tmp_path / "gpu-0"
    monkeypatch.setenv(TURN, str(place))
    seen: dict[str, list[bool]] = {"compile": [], "chunk": [], "judge": []}

    def noting(name, function):
        return lambda *given: [seen[name].append(held(place)), function(*given)][1]

    for name in ("compile", "chunk"):
        monkeypatch.setattr(Program, name, noting(name, getattr(Program, name)))
    monkeypatch.setattr(train, "_judge", noting("judge", train._judge))
    sweep(flags(toy_yaml(tmp_path)), quiet())
    assert seen["judge"] == [True]
    assert set(seen["chunk"]) == {True}
    assert seen["compile"][0] is False
    assert not held(place)


def test_workers_of_one_gpu_share_a_turn(tmp_path, marks, monkeypatch):
    started: list[dict[str, str]] = []

    class Worker(SimpleNamespace):
        def __init__(self, command, env, **_):
            super().__init__(wait=lambda: 0)
            started.append(env)

    monkeypatch.setattr(launch, "subprocess", SimpleNamespace(Popen=Worker, STDOUT=None))
    monkeypatch.setattr(launch, "visible_gpus", lambda: ["0", "1"])
    monkeypatch.setattr(commands, "_conclude", lambda *_: None)
    path = toy_yaml(tmp_path)
    for turns in (True, False):
        sweep(flags(path, jobs=4, turns=turns), quiet())
    *taking, a, b, c, d = started
    assert [one[TURN].rpartition("/")[2] for one in taking] == ["gpu-0", "gpu-1", "gpu-0", "gpu-1"]
    assert all(TURN not in one for one in (a, b, c, d))


def test_turns_need_several_workers_and_a_gpu(tmp_path, marks, monkeypatch):
    monkeypatch.setattr(launch, "visible_gpus", list)
    with pytest.raises(UserError, match="--turns: no GPU"):
        sweep(flags(toy_yaml(tmp_path), turns=True, jobs=2), quiet())
    with pytest.raises(UserError, match="--turns: a single worker"):
        sweep(flags(toy_yaml(tmp_path), turns=True), quiet())
