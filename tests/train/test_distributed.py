"""Several processes as one trainer. On a real Slurm: tests/sweep/test_slurm.py."""

from __future__ import annotations

import pytest

from bestguess.command import UserError
from bestguess.train import distributed
from bestguess.train.mesh import make_mesh


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("n1", "n1"),
        ("n1,n2", "n1"),
        ("gpu[03-05,9],cpu1", "gpu03"),
        ("gpu[7,9]-ib", "gpu7-ib"),
        ("rack-1-node[001-128]", "rack-1-node001"),
        ("", ""),
    ],
)
def test_the_first_node_of_slurms_lists(nodes, first):
    assert distributed._first_node(nodes) == first


def test_the_coordinator_is_the_first_address_that_resolves(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NODELIST", "no-such-node[1-2]")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1")
    monkeypatch.delenv("BESTGUESS_COORDINATOR", raising=False)
    monkeypatch.setattr(distributed, "_node_address", lambda node: "")
    monkeypatch.setattr(distributed, "_resolves", lambda host: host[0].isdigit())
    assert distributed.coordinator_address() == "127.0.0.1:21001"
    monkeypatch.setattr(distributed, "_node_address", lambda node: {"no-such-node1": "10.1.2.3"}[node])
    assert distributed.coordinator_address() == "10.1.2.3:21001"
    monkeypatch.setenv("SLURM_STEP_ID", "1")
    assert distributed.coordinator_address() == "10.1.2.3:21002", "a port of its own for every step"
    monkeypatch.setattr(distributed, "_resolves", lambda host: False)
    with pytest.raises(UserError, match="no-such-node1, has no address; set BESTGUESS_COORDINATOR"):
        distributed.coordinator_address()
    monkeypatch.setenv("BESTGUESS_COORDINATOR", "a:1")
    assert distributed.coordinator_address() == "a:1"


def test_outside_srun_it_is_one_clear_line(monkeypatch):
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    with pytest.raises(UserError, match="--distributed: not under srun"):
        distributed.initialize()


def test_alone_nobody_is_asked():
    assert distributed.is_first()
    assert distributed.of_all(3).tolist() == [3]
    assert distributed.of_first(7) == 7
    distributed.wait("for nobody")


def test_a_process_without_a_device_is_refused():
    class Device:
        def __init__(self, process: int):
            self.process_index = process

    with pytest.raises(UserError, match="3 runs with batches of 5 spread over 1 of 2 devices"):
        make_mesh(3, 5, [Device(0), Device(1)])
