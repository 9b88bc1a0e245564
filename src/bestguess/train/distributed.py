"""Several processes, on one host or many, as one trainer: every process runs the same host loop on all devices.

With one process each function here returns its argument's own answer and talks to nobody.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from bestguess.command import UserError


def initialize() -> None:
    """Join the processes of a Slurm step (`srun`), or those of BESTGUESS_COORDINATOR, into one JAX.

    The address of process 0 is always given explicitly: where a node's name does not resolve, JAX would
    wait for it in vain. BESTGUESS_COORDINATOR=HOST:PORT sets it by hand.
    """
    try:
        count, rank = int(os.environ["SLURM_STEP_NUM_TASKS"]), int(os.environ["SLURM_PROCID"])
    except (KeyError, ValueError):
        raise UserError("--distributed: not under srun; start it as `srun --ntasks=N bestguess sweep …`") from None
    local = os.environ.get("SLURM_LOCALID", "0")
    options: dict[str, Any] = {}
    if "CUDA_VISIBLE_DEVICES" in os.environ and len(os.environ["CUDA_VISIBLE_DEVICES"].split(",")) > 1:
        options["local_device_ids"] = [int(local)]  # one process a GPU, as srun starts them
    jax.distributed.initialize(coordinator_address(), num_processes=count, process_id=rank, **options)


def coordinator_address() -> str:
    """Return HOST:PORT of process 0 of this Slurm step, a host that resolves here or a number."""
    if given := os.environ.get("BESTGUESS_COORDINATOR"):
        return given
    # The ports above 2^15 and below the ephemeral ones of most systems, apart for every step of every job.
    job, step = (int(os.environ.get(name, "0") or 0) for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    port = 20_000 + (job * 13 + step) % 12_000
    node = _first_node(os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_JOB_NODELIST", ""))
    for host in (node, _node_address(node), os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "")):
        if host and _resolves(host):
            return f"{host}:{port}"
    raise UserError(
        f"--distributed: the first node, {node or '(no name)'}, has no address; set BESTGUESS_COORDINATOR=HOST:PORT"
    )


def _first_node(nodes: str) -> str:
    """The first name of Slurm's compressed list, such as gpu[03-05,9],cpu1."""
    match = re.match(r"([^,\[]+)(?:\[([^\],-]+)[^\]]*\]([^,]*))?", nodes)
    return "".join(part or "" for part in match.groups()) if match else ""


def _node_address(node: str) -> str:
    """What Slurm itself reaches the node by; it may differ from its name."""
    try:
        told = subprocess.run(["scontrol", "show", "node", node], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"NodeAddr=(\S+)", told)
    return match.group(1) if match else ""


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True


def is_first() -> bool:
    """Return whether this process writes the files: the first, or the only one."""
    return jax.process_index() == 0


def fetch(tree: Any) -> Any:
    """Return a tree of arrays, spread over the devices of all processes, whole and on this host."""
    return jax.device_get(tree) if jax.process_count() == 1 else multihost_utils.process_allgather(tree, tiled=True)


def of_all(value: float | int) -> np.ndarray:
    """Return every process's `value`, in the order of the processes; all must call it."""
    if jax.process_count() == 1:
        return np.asarray([value])
    return np.asarray(multihost_utils.process_allgather(np.asarray(value, np.float32)))


def of_first(value: int) -> int:
    """Return the first process's `value` to all; all must call it."""
    return value if jax.process_count() == 1 else int(multihost_utils.broadcast_one_to_all(np.asarray(value, np.int32)))


def wait(name: str) -> None:
    """Return when all processes are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
