"""Leases: one holder at a time, whatever dies."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bestguess.sweep import lease as leases
from bestguess.sweep.lease import acquire, holder, me, read_claim, write_new
from tests.sweep.conftest import process


def claim(folder, unit="u", number=1, **changes):
    """Write a claim by hand."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{unit}.{number:04d}"
    path.write_text(json.dumps(me() | {"attempt": "a"} | changes))
    return path


def test_of_many_that_ask_at_once_one_gets_it(tmp_path):
    for round_ in range(20):
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda _: acquire(tmp_path, f"u{round_}", {}), range(8)))  # noqa: B023
        assert sum(lease is not None for lease in got) == 1


def test_a_released_unit_can_be_had_again_by_the_next(tmp_path):
    with acquire(tmp_path, "u", {}) as first:
        assert acquire(tmp_path, "u", {}) is None
        assert holder(tmp_path, "u")["alive"]
    assert holder(tmp_path, "u")["released"]
    second = acquire(tmp_path, "u", {})
    assert (first.path.name, second.path.name) == ("u.0001", "u.0002")
    assert second.after is None


def test_units_are_held_apart(tmp_path):
    assert acquire(tmp_path, "u-1", {}) is not None
    assert acquire(tmp_path, "u-10", {}) is not None
    assert holder(tmp_path, "u") is None


def test_a_dead_process_of_this_machine_is_seen_at_once(tmp_path):
    child = process("timeit", "-n1", "-r1", "pass")
    child.communicate()
    path = claim(tmp_path, pid=child.pid, born="12345")
    os.utime(path)
    taken = acquire(tmp_path, "u", {})
    assert taken is not None
    assert taken.after["pid"] == child.pid
    assert acquire(tmp_path, "u", {}) is None


def test_a_process_that_only_has_the_same_number_is_not_the_holder(tmp_path):
    claim(tmp_path, born="1")
    assert not holder(tmp_path, "u")["alive"]
    claim(tmp_path)
    assert holder(tmp_path, "u")["alive"]


@pytest.mark.parametrize(("silent", "alive"), [(0, True), (100, True), (130, False)])
def test_on_another_machine_silence_is_death(tmp_path, silent, alive):
    path = claim(tmp_path, machine="another", pid=1)
    then = time.time() - silent
    os.utime(path, (then, then))
    assert read_claim(path)["alive"] is alive
    assert (acquire(tmp_path, "u", {}) is None) is alive


def test_a_claim_cut_off_while_written_is_dead_after_a_while(tmp_path):
    path = claim(tmp_path)
    path.write_text('{"pid": 1')
    assert read_claim(path)["alive"]
    os.utime(path, (1e9, 1e9))
    assert not read_claim(path)["alive"]


def test_a_holder_touches_its_claim_and_learns_that_it_was_overtaken(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT", 0.01)
    with acquire(tmp_path, "u", {}) as lease:
        os.utime(lease.path, (1e9, 1e9))
        deadline = time.monotonic() + 60
        while lease.path.stat().st_mtime < 2e9 * 0.75:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert not lease.lost
        claim(tmp_path, number=2)
        while not lease.lost:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_write_new_writes_once_and_leaves_nothing_else(tmp_path):
    assert write_new(tmp_path / "x", b"one")
    assert not write_new(tmp_path / "x", b"two")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"one")]
