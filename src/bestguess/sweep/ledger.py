"""The ledger: a sweep's folder, which proves what is done. Imports nothing heavy.

    runs/sweeps/ID/
      sweep.yaml   plan.json   rounds/0000.json      what was asked for, and the runs that it makes
      done/0007.json                                 one file a run, there only when its figures are
      failures/0007.NANOSECONDS-PID.json             one file a failure, never overwritten
      claims/UNIT.0001                               who works on what (see lease.py)
      tracked/UNIT-HASH/                             what W&B and TensorBoard keep of each run
      work/UNIT-HASH/   logs/                        what is under way, and can be dropped once all is done

Every file is written whole, flushed to the disk and renamed (or linked) into place; none is ever altered.
A run is done when its record is here, readable, and every figure of it finite.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bestguess import __version__, files
from bestguess.command import Failure, UserError, nearest
from bestguess.files import write_new
from bestguess.sweep.keys import MOST_RUNS, is_number
from bestguess.sweep.lease import claims
from bestguess.sweep.plan import Round, Run, Unit, meant

ROOT = Path("runs/sweeps")


@dataclass(frozen=True)
class Missing:
    """A run that is not done, and why."""

    run: str
    config: dict[str, Any] | None
    """None: a run of a bayes sweep that is not proposed yet."""
    reason: str


@dataclass(frozen=True)
class Status:
    """How far a sweep is."""

    planned: int
    done: int
    missing: tuple[Missing, ...]

    def told(self) -> str:
        """Return how many runs are done, and how many are missing for which kind of reason."""
        kinds = ("not begun", "not proposed yet", "stopped before it was done", "under way", "killed")
        counts: dict[str, int] = {}
        for one in self.missing:
            kind = next((kind for kind in kinds if one.reason.startswith(kind)), "failed")
            kind = "stopped" if kind.startswith("stopped") else kind
            counts[kind] = counts.get(kind, 0) + 1
        parts = [f"{count} {kind}" for kind, count in counts.items()]
        return "; ".join([f"{self.done} of {self.planned} runs done", *([", ".join(parts)] if parts else [])])

    @property
    def complete(self) -> bool:
        """Whether every planned run is done."""
        return not self.missing and self.done == self.planned

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        missing = [{"run": m.run, "config": m.config, "reason": m.reason} for m in self.missing]
        return {"planned": self.planned, "done": self.done, "missing": missing}


class Adopted(NamedTuple):
    """What came of taking over another sweep's runs: how many of them."""

    taken: int
    alike: int
    """Have a configuration of this sweep."""
    other_version: int
    """Have one, and are of another version of this package."""
    untold: int
    """Are taken over and tell no version."""


class Ledger:
    """One sweep's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        files.own(folder)
        path = folder / "plan.json"
        about = None
        with contextlib.suppress(files.Unreadable):
            about = files.read_json(path)
        if not isinstance(about, dict):
            raise UserError(f"{folder}: not the folder of a sweep ({path.name} is missing or damaged)")
        _check_plan(about, path)
        self.about: dict[str, Any] = about

    @classmethod
    def create(cls, folder: Path, text: str, about: dict[str, Any], first: Round) -> Ledger:
        """Return the ledger of a new sweep, or the one that is there: of two that create it, one does."""
        files.own(folder)
        files.make_folder(folder / "rounds")
        write_new(folder / "sweep.yaml", text.encode())
        write_new(folder / "rounds" / "0000.json", files.json_bytes(first.to_dict()))
        write_new(folder / "plan.json", files.json_bytes(about))  # last: a folder with it is whole
        return cls(folder)

    @classmethod
    def find(cls, root: Path, name: str) -> Ledger:
        """Return the ledger of the sweep with ID `name` under `root`, or in the folder `name`."""
        for folder in (Path(name), root / name):
            if (folder / "plan.json").is_file():
                return cls(folder)
        known = sorted(path.parent.name for path in root.glob("*/plan.json"))
        whole = [one for one in known if one.rpartition("-")[0] == name]  # without its hash
        hint = f"; did you mean {' or '.join(whole[:3])}?" if whole else nearest(name, known)
        raise UserError(f"{name}: no sweep of this ID under {root}{hint}")

    @property
    def id(self) -> str:
        """The sweep's ID."""
        return self.folder.name

    @property
    def planned(self) -> int:
        """How many runs the sweep has, those not proposed yet among them."""
        return int(self.about["planned"])

    @property
    def claims(self) -> Path:
        """The folder of the workers' claims."""
        return self.folder / "claims"

    def rounds(self) -> list[Round]:
        """Return the rounds planned so far: at least the first; UserError where a file of theirs is damaged or gone."""
        paths = sorted(self.folder.glob("rounds/*.json"))
        if not paths:
            raise UserError(f"{self.folder / 'rounds'}: holds no round; the sweep's folder is not whole")
        return [Round.from_dict(files.read_json(path), str(path)) for path in paths]

    def add_round(self, number: int, round_: Round) -> bool:
        """Add a round and return True; False if another worker has added one of this number."""
        return write_new(self.folder / "rounds" / f"{number:04d}.json", files.json_bytes(round_.to_dict()))

    def runs(self) -> dict[str, Run]:
        """Return the runs planned so far, by name."""
        return {run.run: run for round_ in self.rounds() for run in round_.runs}

    def units(self) -> list[Unit]:
        """Return the units planned so far."""
        return [unit for round_ in self.rounds() for unit in round_.units]

    # ------------------------------------------------------------------------------------------ done

    def record(self, run: str) -> dict[str, Any] | None:
        """Return a run's record, or None unless it is whole and all its figures finite."""
        try:
            path = self._record(run)
            record = files.unsealed(files.read_json(path), path, "")
        except files.Unreadable:
            return None
        whole = isinstance(record, dict) and record.get("run") == run
        whole = whole and all(isinstance(record.get(key), dict) for key in ("config", "metrics"))
        whole = whole and is_number(record.get("seconds", 0)) and isinstance(record.get("device", ""), str)
        return record if whole and not not_finite(record["metrics"]) else None

    def records(self) -> list[dict[str, Any]]:
        """Return the records of all runs that are done, in the plan's order."""
        return [record for run in self.runs() if (record := self.record(run)) is not None]

    def finish(self, run: Run, metrics: dict[str, Any], about: dict[str, Any]) -> None:
        """Write a run's record. Raises ValueError where a figure is not finite: such a run is not done."""
        if bad := not_finite(metrics):
            raise ValueError(f"{', '.join(bad)}: not finite")
        record = {"run": run.run, "config": run.config, "metrics": metrics, **about}
        files.write_bytes(self._record(run.run), files.json_bytes(files.sealed(record)))

    def adopt(self, records: Iterable[dict[str, Any]], origin: str, *, unversioned: bool = False) -> Adopted:
        """Take over what another sweep, `origin`, has done of runs with the very same configuration.

        A sweep so grows by what is new, such as more seeds. A record says where it is from; one of another version
        of this package is left alone, and one that tells none, unless it may be `unversioned`.
        """
        text = lambda config: json.dumps(meant(config), sort_keys=True)  # noqa: E731
        done = {text(one["config"]): one for one in records}
        alike = other_version = untold = taken = 0
        for run in self.runs().values():
            found = done.get(text(run.config))
            if found is None:
                continue
            alike += 1
            version = found.get("version")
            if version != __version__ and not (unversioned and version is None):
                other_version += 1
                continue
            if self.record(run.run) is not None:
                continue
            own = {"run": run.run, "config": run.config}
            record = found | own | {"adopted": found.get("adopted", f"{origin}/{found['run']}")}
            files.write_bytes(self._record(run.run), files.json_bytes(files.sealed(record)))
            taken += 1
            untold += version is None
        return Adopted(taken, alike, other_version, untold)

    def _record(self, run: str) -> Path:
        return files.within(self.folder, "done", f"{run}.json")

    # -------------------------------------------------------------------------------------- failures

    def fail(self, run: str, reason: str, kind: str, attempt: str, **more: Any) -> None:
        """Add a failure of a run. kind: `error`, `memory`, `scoring`, `not finite` or `died`."""
        files.make_folder(self.folder / "failures")
        about = {"run": run, "reason": reason, "kind": kind, "attempt": attempt, "time": time.time(), **more}
        name = f"{run}.{time.time_ns():020d}-{os.getpid()}.json"
        write_new(files.within(self.folder, "failures", name), files.json_bytes(about))

    def failures(self, run: str) -> list[dict[str, Any]]:
        """Return a run's failures, oldest first; of one whose file is damaged, that it is.

        `status` reads them to explain what is missing, so damage must not stop it.
        """
        found = []
        for path in sorted(self.folder.glob(f"failures/{run}.*.json")):
            damaged = {"run": run, "reason": f"failed; {path} is damaged: remove it", "kind": "damaged", "attempt": ""}
            try:
                failure = files.read_json(path)
            except files.Unreadable:
                failure = None
            whole = isinstance(failure, dict) and all(
                isinstance(failure.get(key), str) for key in ("reason", "kind", "attempt")
            )
            found.append(failure if whole else damaged)
        return found

    # ---------------------------------------------------------------------------------------- status

    def status(self, only: Iterable[str] | None = None) -> Status:
        """Return how far the sweep is, or the part of it that the names `only` make."""
        runs = self.runs()
        names = list(runs) if only is None else list(only)
        held = {run: unit.unit for unit in self.units() for run in unit.runs}
        missing = [
            Missing(name, runs[name].config, self._why(name, held[name])) for name in names if self.record(name) is None
        ]
        planned = self.planned if only is None else len(names)
        unborn = [f"{i:04d}" for i in range(len(runs), planned)] if only is None else []
        missing += [Missing(name, None, "not proposed yet") for name in unborn]
        return Status(planned, planned - len(missing), tuple(missing))

    def _why(self, run: str, unit: str) -> str:
        # A worker may have taken the unit for some of its runs alone, as a test of the sweep does.
        taken = claims(self.claims, unit)
        ours = [i for i, claim in enumerate(taken) if run in claim.get("runs", [run])]
        claim = taken[ours[-1]] if ours else None
        where = f"process {claim['pid']} on {claim['host']}" if claim else ""
        if claim and claim["alive"] and ours[-1] == len(taken) - 1:
            return f"under way: {where}"
        if claim and not claim["alive"] and not claim["released"]:
            return f"killed: {where} died while training it"
        if failed := self.failures(run):
            return failed[-1]["reason"]
        if self._record(run).exists():
            return "its record is damaged"
        return "stopped before it was done" if claim else "not begun"


def require_complete(ledger: Ledger, allow_incomplete: bool = False) -> str | None:
    """Return None for a complete sweep; for another what to say on its figures, or Failure unless it is allowed."""
    status = ledger.status()
    if status.complete:
        return None
    told = f"{status.done} of {status.planned} runs done"
    if not allow_incomplete:
        raise Failure(
            f"{ledger.id}: {told}, so there is no result yet; resume with `bestguess sweep {ledger.id}`, "
            "or pass --allow-incomplete"
        )
    return f"incomplete: {told}"


def not_finite(value: Any, name: str = "") -> list[str]:
    """Return the dotted names of the numbers in `value` that are not finite; None is no number."""
    if isinstance(value, dict):
        return [bad for key, one in value.items() for bad in not_finite(one, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list | tuple):
        return [bad for i, one in enumerate(value) for bad in not_finite(one, f"{name}[{i}]")]
    return [name] if isinstance(value, float) and not math.isfinite(value) else []


_NEEDED = {"planned": int, "method": str, "lacks": list}
_MORE = {"name": str, "changes": list, "seed": int, "ensemble": int, "notes": list}
"""The keys of plan.json that every command needs, and those that some do."""


def _check_plan(about: dict[str, Any], path: Path) -> None:
    for key, kind in (_NEEDED | _MORE).items():
        if key in about and (not isinstance(about[key], kind) or isinstance(about[key], bool)):
            raise UserError(f"{path}: {key}: expected a {kind.__name__}; the file is damaged or was edited")
        if key in _NEEDED and key not in about:
            raise UserError(f"{path}: {key}: this key is missing; the file is damaged or was edited")
    if not 0 <= about["planned"] <= MOST_RUNS:
        raise UserError(f"{path}: planned: {about['planned']} runs, and a sweep has at most {MOST_RUNS:,}")
