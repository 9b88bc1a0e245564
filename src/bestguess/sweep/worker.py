"""A worker: takes one batch of runs of a sweep at a time, trains it, records each run, until there is none left."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from bestguess import __version__, files
from bestguess.command import Absent, Failure, UserError, interrupted_with, labelled, terminable
from bestguess.files import plain
from bestguess.sweep.bayes import propose
from bestguess.sweep.lease import Lease, acquire
from bestguess.sweep.ledger import Ledger
from bestguess.sweep.plan import Run, Unit, config_of
from bestguess.sweep.train import Outcome, explain, own_of, train_runs
from bestguess.train import distributed
from bestguess.train.fit import Stopped
from bestguess.workflow.evaluation import Evaluators
from bestguess.workflow.training import device

if TYPE_CHECKING:
    from rich.console import Console

ATTEMPT = "BESTGUESS_SWEEP_ATTEMPT"
"""Workers that were started together share this: a run that failed for one is not tried again by the others."""
DEATHS = 3
"""Workers of one attempt that may die over a unit before the others leave it alone."""


class Lost(Exception):
    """Another worker has taken our unit over."""


@dataclass
class Tally:
    """What one worker did."""

    done: int = 0
    failed: int = 0
    units: int = 0


def work(
    ledger: Ledger,
    console: Console,
    *,
    only: list[str] | None = None,
    max_failures: int = 3,
    track: tuple[str, ...] = (),
) -> Tally:
    """Train what is not done and nobody else is at, and return what was done.

    only: the names of the runs to train. max_failures: units in a row of which no run could be done, after
    which this worker stops (Failure): then it is the machine, or the sweep, that is broken. A signal stops it too, and
    so does what a run needs and is not here (UserError): it is no failure of the run.
    """
    attempt = os.environ.get(ATTEMPT) or secrets.token_hex(4)
    _share_programs()
    tally, in_a_row, evaluators = Tally(), 0, Evaluators()
    told = lambda: f"{ledger.status().done} of {ledger.planned} runs done; resume with `bestguess sweep {ledger.id}`"  # noqa: E731
    with interrupted_with(told), terminable():
        while True:
            taken = _take(ledger, attempt, only)
            if taken is None:
                if only is None and propose(ledger):
                    continue
                return tally
            unit, runs, lease = taken
            tally.units += 1
            before = tally.done
            with lease or contextlib.nullcontext():
                _note_deaths(ledger, runs, lease, attempt, console)
                for part in _split(ledger, runs):
                    try:
                        _train(ledger, unit, part, lease, attempt, track, console, tally, evaluators)
                    except Stopped as stopped:
                        name = signal.Signals(stopped.number).name
                        resume = f"resume with `bestguess sweep {ledger.id}`"
                        raise Stopped(f"stopped by {name}; {resume}", stopped.number) from stopped
                    except Lost:
                        console.print(f"unit {unit.unit}: another worker has taken it over")
                        break
            done_by_all = distributed.of_all(tally.done - before).sum()
            in_a_row = 0 if done_by_all else in_a_row + 1
            if in_a_row >= max_failures:
                raise Failure(
                    f"{in_a_row} failures in a row on this machine; see `bestguess sweep status {ledger.id}`, "
                    f"then resume with `bestguess sweep {ledger.id}`"
                )


def _share_programs() -> None:
    """Units of one shape are one program: whichever worker meets it first compiles it for all.

    Native programs run unchecked: they lie in the user's own cache, never in a ledger, which may be a stranger's.
    Where the user has no such folder, every worker compiles its own.
    """
    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        with contextlib.suppress(files.Unreadable):
            cache = files.make_folder(files.user_cache() / "compiled" / _processor())
            if cache.stat().st_uid == os.geteuid():
                jax.config.update("jax_compilation_cache_dir", str(cache.absolute()))


def _take(ledger: Ledger, attempt: str, only: list[str] | None) -> tuple[Unit, list[Run], Lease | None] | None:
    """Return a unit, its runs that are to be trained, and the lease on it; with several processes the first chooses."""
    units, planned = ledger.units(), ledger.runs()
    chosen, lease = -1, None
    if distributed.is_first():
        for i, unit in enumerate(units):
            if not (wanted := _open_runs(ledger, unit, attempt, only)):
                continue
            lease = acquire(ledger.claims, unit.unit, {"attempt": attempt, "runs": wanted})
            if lease is None:
                continue
            if _open_runs(ledger, unit, attempt, only):  # another may have finished it just before
                chosen = i
                break
            with lease:
                lease = None
    chosen = distributed.of_first(chosen)
    if chosen < 0:
        return None
    # Nothing is recorded before all have seen the same list.
    runs = [planned[run] for run in _open_runs(ledger, units[chosen], attempt, only)]
    distributed.wait("runs are chosen")
    return units[chosen], runs, lease


def _open_runs(ledger: Ledger, unit: Unit, attempt: str, only: list[str] | None) -> list[str]:
    """The runs of a unit that are not done, and have not failed in this attempt."""
    wanted = [run for run in unit.runs if (only is None or run in only) and ledger.record(run) is None]
    found = []
    for run in wanted:
        ours = [failure for failure in ledger.failures(run) if failure["attempt"] == attempt]
        died = [failure for failure in ours if failure["kind"] == "died"]
        if len(died) == len(ours) and len(died) < DEATHS:
            found.append(run)
    return found


def _note_deaths(ledger: Ledger, runs: list[Run], lease: Lease | None, attempt: str, console: Console) -> None:
    if lease is None or lease.after is None:
        return
    dead = lease.after
    reason = f"killed: process {dead['pid']} on {dead['host']} died while training it"
    console.print(f"{reason}; taking over {len(runs)} run{'s' * (len(runs) > 1)}")
    for run in runs:
        ledger.fail(run.run, reason, "died", dead.get("attempt", attempt))


def _split(ledger: Ledger, runs: list[Run]) -> list[list[Run]]:
    """Halve the runs for each time that they all failed together: one bad run, or too little memory, fails all."""
    together = min((sum(f["kind"] in ("error", "memory") for f in ledger.failures(run.run)) for run in runs), default=0)
    width = max(1, len(runs) >> together)
    return [runs[i : i + width] for i in range(0, len(runs), width)]


def _train(
    ledger: Ledger,
    unit: Unit,
    runs: list[Run],
    lease: Lease | None,
    attempt: str,
    track: tuple[str, ...],
    console: Console,
    tally: Tally,
    evaluators: Evaluators,
) -> None:
    names = [run.run for run in runs]
    # The same runs go on from their checkpoints; other runs make another batch.
    name = f"{unit.unit}-{hashlib.sha256(' '.join(names).encode()).hexdigest()[:8]}"
    place = "work", f"{name}.{distributed.of_first(lease.number if lease is not None else 0):04d}"
    folder = files.within(ledger.folder, *place)
    if distributed.is_first():
        _take_over(ledger, name, folder)
    distributed.wait("the folder is ours")
    left = {run.run: run for run in runs}

    def still_ours() -> None:
        if lease is not None and lease.lost:
            raise Lost

    try:
        families, configs = zip(*(config_of(run.config) for run in runs))
        label = f"{unit.unit}: {len(runs)} run{'s' * (len(runs) > 1)}"
        own = [{"sweep_run": run.run, **one} for run, one in zip(runs, own_of([run.config for run in runs]))]
        outcomes = train_runs(
            families[0],
            list(configs),
            own,
            folder,
            console,
            track=track,
            group=ledger.id,
            logs=files.within(ledger.folder, "tracked", name),
            label=label,
            still_ours=still_ours,
            evaluators=evaluators,
            made_by=files.hash_of([run.config for run in runs]),
        )
        for i, outcome in outcomes:
            still_ours()
            _record(ledger, runs[i], outcome, attempt, console, tally)
            left.pop(runs[i].run)
    except Lost:
        if distributed.is_first():
            files.remove_tree(ledger.folder, *place)  # what was written since: the folder itself is the other's by now
        raise
    except (Stopped, KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        if lease is not None and lease.lost:  # its folder is another's by now, so this is no fault of the runs
            if jax.process_count() > 1:
                raise
            files.remove_tree(ledger.folder, *place)
            raise Lost from error
        _fail(ledger, left, error, attempt, console, tally)
        if jax.process_count() > 1:
            raise  # the others wait for us in the middle of a step: only ending all of them is safe
        return
    distributed.wait("runs are recorded")
    if distributed.is_first():
        files.remove_tree(ledger.folder, *place)


def _fail(ledger: Ledger, left: dict[str, Run], error: Exception, attempt: str, console: Console, tally: Tally) -> None:
    """Record why the runs that are left have failed; UserError, and no record, where this machine lacks something."""
    if isinstance(error, Absent):  # no fault of the runs: another worker, or this one later, can train them
        resume = f"resume with `bestguess sweep {ledger.id}`"
        raise UserError(f"{label_of(left)}: {error} (nothing is recorded; {resume})") from error
    kind, reason = explain(error)
    for name in left:
        ledger.fail(name, reason, kind, attempt, traceback=traceback.format_exc()[-4000:])
    tally.failed += len(left)
    console.print(labelled(f"{label_of(left)}: {reason}", "", "red"), soft_wrap=True)


def _take_over(ledger: Ledger, name: str, folder: Path) -> None:
    """Make the folder of these runs ours, under our lease's number, with what earlier workers left in it.

    An earlier worker that still lives finds it gone: nothing that it writes by name reaches it any more.
    """
    for old in sorted((ledger.folder / "work").glob(f"{name}*"), reverse=True):
        if old != folder and not folder.exists():
            files.move_folder(old, folder)


def _record(ledger: Ledger, run: Run, outcome: Outcome, attempt: str, console: Console, tally: Tally) -> None:
    if outcome.fault is None:
        about = {"seconds": outcome.seconds, "device": device(), "version": __version__, "attempt": attempt}
        ledger.finish(run, plain(outcome.metrics), about)
        tally.done += 1
        return
    ledger.fail(run.run, outcome.fault, outcome.kind, attempt, metrics=plain(outcome.metrics))
    tally.failed += 1
    console.print(labelled(f"run {run.run}: {outcome.fault}", f"({told(run.config)})", "red"), soft_wrap=True)


def _processor() -> str:
    """This machine's kind of processor, hashed: programs for another's may use instructions that it lacks."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        about = [line for line in lines if line.startswith(("flags", "Features", "model name"))][:2]
        return hashlib.sha256(" ".join(about).encode()).hexdigest()[:8]
    return "any"


def label_of(runs: Any) -> str:
    """Return names of runs as text: `run 0003`, `runs 0003 to 0007`."""
    names = sorted(runs)
    return f"run {names[0]}" if len(names) == 1 else f"runs {names[0]} to {names[-1]}"


def told(config: dict[str, Any]) -> str:
    """Return a flat config as one line."""
    return ", ".join(f"{key} {value}" for key, value in config.items())
