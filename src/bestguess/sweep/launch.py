"""Several workers on this machine, each a process of its own: its share of the GPUs, or of the cores and the memory."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bestguess import files
from bestguess.command import Terminated, UserError
from bestguess.sweep.ledger import Ledger
from bestguess.train.cores import devices_of
from bestguess.train.machine import free_memory, usable_cores
from bestguess.train.turns import TURN

if TYPE_CHECKING:
    from rich.console import Console


def launch(ledger: Ledger, jobs: int, flags: list[str], console: Console, *, turns: bool = False) -> list[int]:
    """Run `jobs` workers on a sweep until nothing is left to take; return their exit statuses.

    Their output goes to the ledger's logs/. SIGTERM, Ctrl-C and the end of a terminal reach them, and they checkpoint.

    turns: whether those that share a GPU take turns on it.
    """
    logs = files.make_folder(ledger.folder / "logs")
    attempt = os.environ.get("BESTGUESS_SWEEP_ATTEMPT") or secrets.token_hex(4)
    gpus = visible_gpus()
    if turns and not gpus:
        raise UserError("--turns: no GPU to take turns on; workers on a CPU have cores of their own: drop --turns")
    command = [sys.executable, "-P", "-m", "bestguess.cli", "sweep", str(ledger.folder), "--worker", *flags]
    workers, outputs = [], []
    for i in range(jobs):
        log = logs / f"{attempt}-{i}.log"
        outputs.append(output := files.Appender(log))
        environment = os.environ | share(i, jobs, gpus) | {"BESTGUESS_SWEEP_ATTEMPT": attempt}
        if turns and gpus:
            place = files.within(ledger.folder, "turns", f"gpu-{environment['CUDA_VISIBLE_DEVICES']}")
            environment[TURN] = str(place.absolute())
        # Each in a group of its own: a signal to ours reaches them once, through us. A second would stop them at once.
        workers.append(
            subprocess.Popen(
                command, env=environment, stdout=output.fileno(), stderr=subprocess.STDOUT, start_new_session=True
            )
        )
    console.print(f"{jobs} workers; their logs: {logs}/{attempt}-*.log", soft_wrap=True)

    caught: list[int] = []

    def forward(number: int, frame: object) -> None:
        caught.append(number)
        for worker in workers:
            worker.send_signal(signal.SIGTERM)

    ends = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    before = {number: signal.signal(number, forward) for number in ends if signal.getsignal(number) != signal.SIG_IGN}
    try:
        statuses = [worker.wait() for worker in workers]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for output in outputs:
            output.close()
    for i, status in enumerate(statuses):
        if status:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            console.print(f"worker {i} {how}: {_last_line(logs / f'{attempt}-{i}.log')}", soft_wrap=True)
    if caught:
        told = f"{ledger.status().done} of {ledger.planned} runs done; resume with `bestguess sweep {ledger.id}`"
        raise KeyboardInterrupt(told) if caught[0] == signal.SIGINT else Terminated(told)
    return statuses


def share(worker: int, jobs: int, gpus: list[str]) -> dict[str, str]:
    """Return the environment that gives worker `worker` of `jobs` its share of this machine."""
    if gpus:
        # More workers than GPUs: each GPU's memory is shared, for JAX would take three quarters of it at once.
        on_one = -(-jobs // len(gpus))
        mine = gpus[worker % len(gpus)] if jobs >= len(gpus) else ",".join(gpus[worker::jobs])
        fraction = {} if on_one == 1 else {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / on_one:.2f}"}
        return {"CUDA_VISIBLE_DEVICES": mine} | fraction
    cores = max(1, usable_cores() // jobs)
    part = {"PJRT_NPROC": str(cores)}
    if "BESTGUESS_MEMORY" in os.environ:
        return part
    return part | {"BESTGUESS_MEMORY": str(free_memory() // jobs // devices_of(cores))}  # its devices share a worker's


def visible_gpus() -> list[str]:
    """Return the numbers of this machine's GPUs that this process may use."""
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [one for one in given.split(",") if one]
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        return []
    try:
        told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(i) for i, line in enumerate(told.stdout.splitlines()) if line.startswith("GPU ")]


def _last_line(log: Path) -> str:
    lines = [line for line in files.read_bytes(log).decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
