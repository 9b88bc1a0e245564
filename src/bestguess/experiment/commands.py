"""The command `experiment`: sweep, proof of completeness, analysis, page. JAX is imported only to train."""

from __future__ import annotations

import dataclasses
import os
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bestguess import files
from bestguess.command import Failure, UserError, labelled, nearest, told_of
from bestguess.experiment.config import ExperimentFlags, experiments, unknown
from bestguess.experiment.source import read_benchmark, renamed
from bestguess.report.progress import results_table
from bestguess.sweep.cells import ANEW
from bestguess.sweep.commands import adopt, open_ledger, sweep
from bestguess.sweep.config import SweepFlags
from bestguess.sweep.keys import family_of
from bestguess.sweep.ledger import ROOT, Ledger, require_complete
from bestguess.sweep.plan import UNTUNED, config_of
from bestguess.sweep.rates import read_search
from bestguess.sweep.shipped import find, shipped
from bestguess.sweep.source import RUNS, SWEEP, VERDICTS, of_ledger, of_table
from bestguess.sweep.spec import read_spec
from bestguess.train.folder import PAGE

if TYPE_CHECKING:
    from rich.console import Console

    from bestguess.experiment.declare import Experiment


def experiment(flags: ExperimentFlags, console: Console) -> dict[str, Any]:
    """Train what is not done of an experiment's sweep, judge its hypotheses, write the results; return the verdicts."""
    began = time.perf_counter()
    if flags.from_ is not None:
        return _again(flags, flags.from_, console, began)
    if flags.tune:
        flags = _tuned(flags, console)
    given = _sweep_flags(flags)
    dataclasses.replace(given, train=flags.train, estimate=flags.estimate).check()
    _check_files(flags.out, flags.benchmark)
    ledger = open_ledger(given)
    adopt(ledger, given, console)
    given = dataclasses.replace(given, reuse=())  # once is enough
    tested = _declared(ledger)
    if lacks := [one for one in ledger.about["lacks"] if tested.tuned or UNTUNED not in one]:
        raise UserError(f"{flags.experiment}: this sweep can give no verdict: {'; '.join(lacks)}")
    from bestguess.experiment.analysis import analyse, check

    runs = list(ledger.runs().values())
    check(tested, runs)
    if flags.estimate or flags.test is not None:
        return sweep(dataclasses.replace(given, estimate=flags.estimate, test=flags.test), console)
    if flags.train and not ledger.status().complete:
        try:
            sweep(given, console)
        except Failure as failure:
            console.print(labelled(str(failure), "", "yellow"), soft_wrap=True)
    status = ledger.status()
    try:
        told = require_complete(ledger, flags.allow_incomplete)
    except Failure as failure:
        result = {"complete": False, "verdicts": [], "report": None, "seconds": time.perf_counter() - began}
        raise Failure(str(failure), result | {"sweep": ledger.id, **status.to_dict()}) from None
    source = of_ledger(ledger)
    if not source.records:
        raise Failure(f"{ledger.id}: no run is done, so there is nothing to judge")
    family, _ = config_of(source.records[0]["config"])
    with told_of(ledger.folder / "done", ANEW):
        analysis = analyse(tested, source.runs, source.records, family.reported)
    from bestguess.experiment.results import summary, write

    found = summary(analysis, source, _command(flags, ledger), told, flags.benchmark)
    page = write(flags.out or ledger.folder / "results", analysis, source, found, told)
    _print(found, told, tested, console)
    console.print(f"page: {page}", soft_wrap=True)
    return found | {"report": str(page), "seconds": time.perf_counter() - began}


def _tuned(flags: ExperimentFlags, console: Console) -> ExperimentFlags:
    """Train the experiment's search and widen it until it is settled; return the flags with the rates that it found."""
    for name in ("rates", "preset", "estimate", "test", "train", "allow_incomplete"):
        if getattr(flags, name) != _IDLE[name]:
            word = f"no-{name}" if name == "train" else name.replace("_", "-")
            raise UserError(
                f"--{word}: --tune searches for the rates of the whole experiment first; drop one of the two"
            )
    path = find(flags.experiment)
    if path is None:
        raise UserError(f"--tune: the sweep {flags.experiment} is planned already; give its YAML")
    tuning = path.with_stem(f"{path.stem}_tuning")
    if not tuning.is_file():
        raise UserError(f"--tune: {path} has no search beside it, {tuning.name}; give --rates, or leave --tune out")
    _check_files(flags.out, flags.benchmark)
    more = {name: getattr(flags, name) for name in ("jobs", "turns", "ensemble", "reuse", "track", "folder")}
    names: list[str] = []
    while True:
        found = sweep(SweepFlags(str(tuning), widen=",".join(names) or None, **more), console)
        if found["sweep"] is None:
            return dataclasses.replace(flags, tune=False, rates=",".join(names))
        if len(names) == _WIDENINGS:
            raise Failure(_unsettled(flags.folder, ",".join(names)))
        names.append(found["sweep"])


def _unsettled(root: Path, names: str) -> str:
    """Say which cells' best rate stands at an edge after all grids, and by how much the rates of one differ."""
    search = read_search(root, names, "--tune")
    edges = search.edges()
    best, losses = search.tuned[edges[0]], search.losses(edges[0])
    return (
        f"--tune: after {_WIDENINGS} grids the best rate of {len(edges)} of {len(search.tuned)} cells still stands at "
        f"the edge, such as {best['learning_rate']:g} of {search.told(best['config'])}, whose {len(losses)} rates have "
        f"validation losses from {min(losses):.9g} to {max(losses):.9g}; if those are all alike, nothing was learnt at "
        f"any: give the search more steps; its sweeps: {names}"
    )


_WIDENINGS = 8
"""Grids that a search may take; eight of a factor of three are six thousandfold."""


def _check_files(folder: Path | None, benchmark: Path | None) -> None:
    """UserError, before anything is trained, where results cannot be written or would replace what is not ours."""
    if benchmark is not None:
        read_benchmark(benchmark)
    if folder is None:
        return
    with told_of("--out"):
        files.make_folder(folder)
    if (folder / VERDICTS).exists():
        return
    for name in (SWEEP, RUNS, "README.md", PAGE):
        if os.path.lexists(folder / name):
            raise UserError(f"--out {folder}: holds a {name} but no {VERDICTS} of an experiment; name another folder")


def _again(flags: ExperimentFlags, table: Path, console: Console, began: float) -> dict[str, Any]:
    """Judge the runs of a table that was committed: no ledger, no training; written only where --out says."""
    for name, idle in _IDLE.items():
        if getattr(flags, name) != idle:
            raise UserError(f"--{name.strip('_').replace('_', '-')}: --from judges runs that are done; drop it")
    _check_files(flags.out, flags.benchmark)
    table = table / RUNS if table.is_dir() else table
    source = of_table(table, flags.experiment)
    tested = _experiment(source.runs[0].config.get("family"), source.name)
    source = renamed(source, {one.key: one.former for one in tested.factors})
    from bestguess.experiment.analysis import analyse, check
    from bestguess.experiment.results import summary, write

    for record in source.records:
        with told_of(f"--from {table}: run {record['run'][:40]}"):
            config_of(record["config"])
    with told_of(f"--from {table}"):
        check(tested, source.runs)
    family, _ = config_of(source.runs[0].config)
    lacking = source.planned - len(source.records)
    told = f"incomplete: {len(source.records)} of {source.planned} runs done" if lacking else None
    with told_of(f"--from {table}"):
        analysis = analyse(tested, source.runs, source.records, family.reported)
    words = ["bestguess", "experiment", source.name, "--from", str(table)]
    found = summary(analysis, source, shlex.join(words), told, flags.benchmark)
    page = None if flags.out is None else write(flags.out, analysis, source, found, told)
    _print(found, told, tested, console)
    if page is not None:
        console.print(f"page: {page}", soft_wrap=True)
    return found | {"report": None if page is None else str(page), "seconds": time.perf_counter() - began}


_IDLE: dict[str, Any] = {
    "preset": "default",
    "set_": (),
    "train": True,
    "allow_incomplete": False,
    "jobs": 1,
    "turns": False,
    "ensemble": 16,
    "reuse": (),
    "rates": None,
    "tune": False,
    "track": (),
    "estimate": False,
    "test": None,
    "folder": ROOT,
}
"""The flags that say what to train: they have no say where nothing is trained."""


def _sweep_flags(flags: ExperimentFlags) -> SweepFlags:
    if flags.experiment in shipped() and flags.experiment not in experiments():
        raise UserError(
            f"{flags.experiment}: a search without hypotheses, no experiment; train it with `bestguess sweep "
            f"{flags.experiment}`"
        )
    path = find(flags.experiment)
    changes = flags.set_
    if path is None:
        if not any(
            (place / "plan.json").is_file() for place in (Path(flags.experiment), flags.folder / flags.experiment)
        ):
            raise unknown(flags.experiment)
        if flags.preset != "default":
            raise UserError(f"--preset {flags.preset}: the sweep {flags.experiment} is planned already; give its YAML")
    elif flags.preset == "small":
        spec = read_spec(path)
        family = spec.parameters.get("family")
        tested = _experiment(family.arguments.get("value") if family else None, spec.name)
        changes = (*tested.small, *changes)
    where = str(path or flags.experiment)
    return SweepFlags(
        where,
        set_=changes,
        jobs=flags.jobs,
        turns=flags.turns,
        ensemble=flags.ensemble,
        reuse=flags.reuse,
        rates=flags.rates,
        track=flags.track,
        folder=flags.folder,
    )


def _declared(ledger: Ledger) -> Experiment:
    families = {run.config.get("family") for run in ledger.runs().values()}
    if len(families) > 1:
        raise UserError(f"{ledger.id}: has runs of several families, so no experiment is declared for it")
    return _experiment(families.pop(), ledger.about["name"])


def _experiment(family: Any, name: str) -> Experiment:
    """Return what the family declares for a sweep of this name."""
    found: Mapping[str, Experiment] = family_of({"family": family}).declared_experiments()
    if name not in found:
        raise UserError(
            f"name: {name}: the family {family} declares no experiment of this name{nearest(name, found)}; "
            f"`bestguess sweep` trains a sweep without hypotheses"
        )
    return found[name]


def _command(flags: ExperimentFlags, ledger: Ledger) -> str:
    """The command that gives this result, without what is about this machine alone."""
    path = find(flags.experiment)
    if path is None:
        name, changes = ledger.about["name"], ledger.about["changes"]
    else:
        name, changes = path.stem, flags.set_
    if name not in shipped():
        name = ledger.id if path is None else path.name
    words = ["bestguess", "experiment", name]
    words += ["--preset", flags.preset] if flags.preset != "default" else []
    words += ["--set", *changes] if changes else []
    words += ["--rates", ledger.about["rates"]] if "rates" in ledger.about else []
    words += ["--allow-incomplete"] if flags.allow_incomplete else []
    return shlex.join(words)


def _print(found: dict[str, Any], told: str | None, tested: Experiment, console: Console) -> None:
    labels = {measure.name: measure.label for measure in tested.measures}
    table = [
        [
            one["hypothesis"],
            one["claim"],
            one["verdict"],
            "\n".join(f"{labels[two['measure']]}: {_effect(two)}" for two in (one, *one["scales"])),
            one["unit"],
        ]
        for one in found["verdicts"]
    ]
    title = "Verdicts" if told is None else f"Verdicts ({told})"
    columns = ["", "hypothesis", "verdict", "effect with its 95 % interval, on each scale", "unit"]
    console.print(results_table(columns, table, title))
    for one in found["verdicts"]:
        for note in one["notes"]:
            console.print(labelled(f"{one['hypothesis']}:", note, "yellow"), soft_wrap=True)
    if found["grading"] and not found["grades"]:
        console.print(
            f"no easy, medium and hard: the levels are in no order by {found['grading']['label']}", soft_wrap=True
        )
    if found["grades"]:
        console.print("; ".join(f"{name}: {level}" for name, level in found["grades"].items()))
    if found["edges"]:
        console.print(found["edges"], soft_wrap=True)
    console.print(
        f"{found['runs']:,} runs, {found['worker_seconds_per_run']:.1f} s of a worker's time each on "
        f"{', '.join(found['devices'])}"
    )


def _effect(one: dict[str, Any]) -> str:
    """An effect with its interval as text, with minus signs."""
    if one["effect"] is None:
        return "–"
    effect, low, high = (f"{value:.3g}".replace("-", "−", value < 0) for value in (one["effect"], *one["interval"]))
    return f"{effect} ({low} … {high})"
