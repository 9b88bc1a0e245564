"""The commands `sweep` and `sweep status`. JAX is imported only where runs are trained."""

from __future__ import annotations

import dataclasses
import datetime
import os
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

from bestguess import __version__
from bestguess.command import Failure, UserError, counted, labelled, told_of
from bestguess.files import make_folder, read_text, write_json
from bestguess.report.progress import over_one, results_table
from bestguess.sweep.cells import ANEW, best_of_cells
from bestguess.sweep.config import StatusFlags, SweepFlags
from bestguess.sweep.draw import combinations, grid
from bestguess.sweep.extrapolate import extrapolate, in_words
from bestguess.sweep.keys import RATE, family_of
from bestguess.sweep.ledger import Ledger, Status
from bestguess.sweep.plan import UNTUNED, Round, lacks, plan, plan_round, sample, sweep_id
from bestguess.sweep.shipped import find
from bestguess.sweep.source import (
    ABOUT,
    LISTS,
    RUNS,
    SWEEP,
    VERDICTS,
    Source,
    about_of,
    check_agreement,
    config_text,
    done_elsewhere,
    ids_of,
    of_ledger,
    records_of,
    write_table,
)
from bestguess.sweep.spec import Spec, read_spec
from bestguess.train.cores import use_cores

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

SHOWN = 20
"""Missing runs that are listed on the console; --json lists all."""


def sweep(flags: SweepFlags, console: Console) -> dict[str, Any]:
    """Plan a sweep or find it, and train what is not done; return how far it is and the best of every cell."""
    began = time.perf_counter()
    flags.check()
    if flags.distributed:
        from bestguess.train import distributed

        distributed.initialize()
        if not distributed.is_first():  # one voice is enough
            console.quiet = True
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    _check_out(flags.out)
    try:
        ledger = open_ledger(flags)
    except Settled:
        console.print(f"no best rate is at the edge of its grid; train with --rates {flags.widen}", soft_wrap=True)
        return {"sweep": None, "planned": 0, "done": 0, "missing": [], "seconds": time.perf_counter() - began}
    if not flags.plan:
        adopt(ledger, flags, console)
    about = {"sweep": ledger.id, "folder": str(ledger.folder)}
    console.print(f"sweep {ledger.id}", soft_wrap=True)
    _print_plan(ledger, console)
    if flags.plan:
        units = [list(unit.runs) for unit in ledger.units()]
        return about | {"planned": ledger.planned, "ensembles": units, **_told(ledger)}
    only = _only(ledger, flags.test)
    if (
        flags.estimate or (flags.jobs == 1 and flags.train)
    ) and not flags.distributed:  # of several workers, each uses its own share
        use_cores()
    if flags.estimate:
        return about | _estimate(ledger, only, flags.jobs, console)
    if not flags.train:
        pass
    elif flags.jobs > 1:
        from bestguess.sweep.launch import launch

        launch(ledger, flags.jobs, _worker_flags(flags), console, turns=flags.turns)
    else:
        from bestguess.sweep.worker import work

        tally = work(ledger, console, only=only, max_failures=flags.max_failures, track=flags.track)
        if flags.worker:
            taken = counted(tally.units, "batch", "batches")
            told = f"took {taken}: {counted(tally.done, 'run')} done, {tally.failed} failed"
            console.print(told)
            result = about | dataclasses.asdict(tally)
            if tally.failed:
                raise Failure(f"{told}; resume with `bestguess sweep {ledger.id}`", result)
            return result
    status = ledger.status(only)
    best = _best(ledger, console)
    result = about | status.to_dict() | {"best": best, "seconds": time.perf_counter() - began}
    result |= _extrapolated(ledger, flags.test, console)
    if flags.out is not None:
        result["table"] = str(_write_table(ledger, flags.out, best, console))
    _conclude(ledger, status, console, result)
    return result


def status(flags: StatusFlags, console: Console) -> dict[str, Any]:
    """Say how far a sweep is; Failure unless it is complete."""
    ledger = Ledger.find(flags.folder, flags.sweep)
    found = ledger.status(_only(ledger, flags.test))
    result = {"sweep": ledger.id, **found.to_dict(), **_told(ledger)}
    result |= _extrapolated(ledger, flags.test, console)
    _conclude(ledger, found, console, result)
    return result


class Settled(Exception):
    """No cell of a search is left that --widen would train."""


def open_ledger(flags: SweepFlags) -> Ledger:
    """Return the ledger of the sweep that the flags name, planned now if it is new; UserError if it is off.

    Settled where the flags widen a search of which no best rate stands at an edge.
    """
    path = find(flags.sweep)
    if path is None:
        for name, default in (("set_", ()), ("seed", 0), ("runs", None), ("rates", None), ("widen", None)):
            if getattr(flags, name) != default:
                raise UserError(f"--{name.rstrip('_')}: the sweep {flags.sweep} is planned already; give its YAML")
        return Ledger.find(flags.folder, flags.sweep)
    spec = read_spec(path, flags.set_, flags.runs)
    _others(flags)  # before the ledger is made
    searches = None if flags.rates is None else ids_of(flags.folder, flags.rates, "--rates")
    widened = None if flags.widen is None else ids_of(flags.folder, flags.widen, "--widen")
    folder = flags.folder / sweep_id(spec, flags.seed, searches, widened)
    if (folder / "plan.json").exists():
        return Ledger(folder)
    wider = None if flags.widen is None else _wider(spec, path, flags.folder, flags.widen)
    try:
        first = _first_round(spec, flags, wider)
    except UserError as error:
        changed = f" with --set {textwrap.shorten(' '.join(flags.set_), 100, placeholder=' …')}" if flags.set_ else ""
        raise UserError(f"{path}{changed}: {error}") from error
    about = {
        "name": spec.name,
        "method": spec.method,
        "planned": _planned(spec, first),
        "changes": flags.set_,
        "seed": flags.seed,
        "ensemble": flags.ensemble,
        "lacks": [one for one in lacks(spec, first) if flags.rates is flags.widen is None or UNTUNED not in one],
        "notes": [*spec.notes, *_fewer(spec, first)],
        **{name: value for name in ("rates", "widen") if (value := getattr(flags, name)) is not None},
        "version": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    return Ledger.create(folder, read_text(path), about, first)


def _planned(spec: Spec, first: Round) -> int:
    """How many runs the sweep has: no more than there are different ones."""
    if spec.method != "bayes":
        return len(first.runs)
    return min(one for one in (spec.run_cap, combinations(spec)) if one is not None)


def _fewer(spec: Spec, first: Round) -> list[str]:
    """What is said of a sweep that has fewer runs than were asked for."""
    planned = _planned(spec, first)
    if spec.method == "grid" or spec.run_cap is None or planned >= spec.run_cap:
        return []
    return [f"run_cap {spec.run_cap}: the parameters make {planned} different runs, and none is trained twice"]


def adopt(ledger: Ledger, flags: SweepFlags, console: Console) -> None:
    """Take over the runs that the sweeps and tables of --reuse have done; say how many."""
    for name, other in zip(flags.reuse, _others(flags)):
        with told_of("--reuse"):
            found = ledger.adopt(records_of(other), other.id, unversioned=other.path is not None)
        if found.taken:
            console.print(f"{found.taken} runs are taken over from {name}", soft_wrap=True)
        if not found.alike:
            console.print(f"no run of {name} has a configuration of this sweep", soft_wrap=True)
        if found.other_version:
            count = found.other_version
            told = f"{count} runs of {name} are not taken over: another version than {__version__} trained them"
            console.print(told, soft_wrap=True)
        if found.untold:
            told = f"{found.untold} of them record no version of bestguess, which may be another than {__version__}"
            console.print(told, soft_wrap=True)


def _others(flags: SweepFlags) -> list[Source]:
    """What --reuse names; UserError if it is off, or its tables contradict each other."""
    found = [done_elsewhere(flags.folder, name, "--reuse") for name in flags.reuse]
    check_agreement(found, "--reuse")
    return found


def _check_out(folder: Path | None) -> None:
    """UserError, before anything is trained, where a table cannot be written or would replace what is not one."""
    if folder is None:
        return
    with told_of("--out"):
        make_folder(folder)
    own = (folder / ABOUT).exists()
    for name in (VERDICTS,) if own else (VERDICTS, RUNS, SWEEP, LISTS):
        if os.path.lexists(folder / name):
            raise UserError(f"--out {folder}: holds a {name} that this command did not write; name another folder")


def _write_table(ledger: Ledger, folder: Path, best: list[dict[str, Any]], console: Console) -> Path:
    """Write the table of what is done of a sweep, and return its path."""
    source = of_ledger(ledger)
    if not source.records:
        raise Failure(f"{ledger.id}: no run is done, so there is no table to write")
    rates = {config_text(one["config"]): one["learning_rate"] for one in best}
    cells = {run.run: run.cell for run in source.runs}
    chosen = [one["run"] for one in source.records if rates[cells[one["run"]]] == one["config"].get(RATE)]
    write_table(folder, source, (), chosen)
    write_json(folder / ABOUT, about_of(source))
    lacking = source.planned - len(source.records)
    told = f" (incomplete: {len(source.records)} of {source.planned} runs done)" if lacking else ""
    console.print(f"table: {folder / RUNS}{told}", soft_wrap=True)
    return folder / RUNS


def _wider(spec: Spec, path: Path, root: Path, name: str) -> list[dict[str, Any]]:
    """The runs with which --widen widens a search; UserError where it is no search of this YAML, Settled for none."""
    from bestguess.sweep.rates import beyond, read_search

    if spec.method != "grid":
        raise UserError(f"--widen: a {spec.method} sweep has no grid; give a search that has one")
    search, first = read_search(root, name, "--widen"), grid(spec)[0]
    if other := [key for key in first if key not in search.configs[0]]:
        raise UserError(f"--widen {name}: is no search of {path}: it has no {other[0]}")
    if not (runs := beyond(search)):
        raise Settled
    return runs


def _first_round(spec: Spec, flags: SweepFlags, wider: list[dict[str, Any]] | None) -> Round:
    if wider is not None:
        return plan_round(wider, ensemble=flags.ensemble, jobs=flags.jobs)
    if flags.rates is not None:
        if spec.method != "grid":
            raise UserError(f"--rates: a {spec.method} sweep draws its rates; give a grid")
        from bestguess.sweep.rates import at_rates

        proposals = grid(spec)
        declared = family_of(proposals[0]).declared_experiments().get(spec.name)
        runs = at_rates(proposals, flags.folder, flags.rates, None if declared is None else declared.searched)
        return plan_round(runs, ensemble=flags.ensemble, jobs=flags.jobs)
    if spec.method != "bayes":
        return plan(spec, ensemble=flags.ensemble, jobs=flags.jobs, seed=flags.seed)
    from bestguess.sweep.bayes import check_metric, suggest

    families = spec.parameters["family"].arguments if "family" in spec.parameters else {}
    for name in [families["value"]] if "value" in families else families.get("values", ()):
        check_metric(spec, family_of({"family": name}))
    count = min(flags.ensemble, spec.run_cap or 0)
    return plan_round(suggest(spec, [], count, flags.seed), ensemble=flags.ensemble, jobs=flags.jobs)


def _only(ledger: Ledger, test: int | None) -> list[str] | None:
    return None if test is None else sample(ledger.rounds()[0], test)


def _extrapolated(ledger: Ledger, test: int | None, console: Console) -> dict[str, Any]:
    """Say what the whole sweep will take, after a test of it."""
    if test is None:
        return {}
    found = extrapolate(ledger)
    if found is not None:
        console.print(in_words(found), soft_wrap=True)
    return {"extrapolation": found}


def _worker_flags(flags: SweepFlags) -> list[str]:
    """The flags that a worker of our own is started with."""
    given = ["--max-failures", str(flags.max_failures)]
    given += ["--test", str(flags.test)] if flags.test is not None else []
    return given + (["--track", *flags.track] if flags.track else [])


def _print_plan(ledger: Ledger, console: Console) -> None:
    units = ledger.units()
    runs = ledger.runs()
    shapes = len({run.shape for run in runs.values()})
    drawn = "" if len(runs) == ledger.planned else f" ({len(runs)} proposed so far)"
    console.print(
        f"{counted(ledger.planned, 'run')}{drawn} in {counted(len(units), 'batch', 'batches')} of "
        f"{counted(shapes, 'shape')}; "
        f"ledger: {ledger.folder}",
        soft_wrap=True,
    )
    for lack in ledger.about["lacks"]:
        console.print(labelled("lacks:", lack, "yellow"), soft_wrap=True)
    for note in ledger.about.get("notes", ()):
        console.print(labelled("note:", note, "yellow"), soft_wrap=True)


def _told(ledger: Ledger) -> dict[str, Any]:
    """What was said of the plan."""
    return {"lacks": ledger.about["lacks"], "notes": ledger.about.get("notes", [])}


def _estimate(ledger: Ledger, only: list[str] | None, jobs: int, console: Console) -> dict[str, Any]:
    from bestguess.sweep.estimate import estimate, spread
    from bestguess.train.memory import gigabytes
    from bestguess.workflow.training import device

    todo = [missing.run for missing in ledger.status(only).missing]
    found = estimate(ledger, todo, console)
    rows = [
        [one.shape, one.runs, one.units, gigabytes(one.memory), f"{sum(one.seconds_per_unit):,.0f} s"] for one in found
    ]
    seconds = [second for one in found for second in one.seconds_per_unit]
    # What bayes has not proposed yet costs what the first proposals cost.
    unborn = len(todo) / max(1, sum(one.runs for one in found))
    workers = {n: spread(seconds, n) * unborn for n in sorted({1, 2, 4, 8, jobs})}
    console.print(results_table(["shape", "runs", "batches", "memory", "time"], rows, f"On {device()}"))
    console.print("; ".join(f"{n} such machine{'s' * (n > 1)}: {time_:,.0f} s" for n, time_ in workers.items()))
    return {
        "runs": len(todo),
        "device": device(),
        "memory": max((one.memory for one in found), default=0),
        "seconds": workers[1],
        "seconds_by_workers": {str(n): time_ for n, time_ in workers.items()},
        "shapes": [dataclasses.asdict(one) for one in found],
    }


def _best(ledger: Ledger, console: Console) -> list[dict[str, Any]]:
    """Print and return the best learning rate of every cell, and what it scores."""
    records = ledger.records()
    if not records:
        return []
    reported = family_of(records[0]["config"]).reported
    with told_of(ledger.folder / "done", ANEW):
        best = best_of_cells(records, reported)
    keys = [k for k in best[0]["config"] if len({str(one["config"].get(k)) for one in best}) > 1]
    rows = []
    for one in best:
        error = one["standard_error_over_seeds"]
        figure = f"{one[reported]:.4f}" + ("" if error is None else f" ± {error:.4f}")
        if reported == "normalised_loss":
            figure = over_one(one[reported], error)
        rate = one["learning_rate"]
        rate = "default" if rate is None else f"{rate:g}" + (" (edge)" if one["edge"] else "")
        rows.append([*(str(one["config"].get(k)) for k in keys), rate, figure, one["seeds"]])
    if len(rows) <= 60:
        title = "Best learning rate by validation loss, score on test data (mean ± s.e. over seeds)"
        console.print(results_table([*keys, "learning rate", reported, "seeds"], rows, title))
    return best


def _conclude(ledger: Ledger, found: Status, console: Console, result: dict[str, Any]) -> None:
    console.print(found.told())
    if found.complete:
        return
    runs = ledger.runs()
    shared = {
        key for key in next(iter(runs.values())).config if len({str(run.config.get(key)) for run in runs.values()}) == 1
    }
    for missing in found.missing[:SHOWN]:
        config = missing.config or {}
        own = ", ".join(f"{key} {value}" for key, value in config.items() if key not in shared)
        console.print(f"  {missing.run}  {missing.reason}  ({own})", soft_wrap=True)
    if len(found.missing) > SHOWN:
        console.print(f"  … and {len(found.missing) - SHOWN} more (--json lists all)")
    raise Failure(
        f"{ledger.id}: {len(found.missing)} of {found.planned} runs are not done; "
        f"resume with `bestguess sweep {ledger.id}`",
        result,
    )
