"""Where the numbers of a training go: JSON lines (always), Weights & Biases, TensorBoard.

wandb and tensorboardX are imported when a tracker is opened, not before.
"""

from __future__ import annotations

import abc
import contextlib
import json
import logging
import math
import numbers
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bestguess import files
from bestguess.command import Absent, UserError, nearest, with_extra

METRICS_FILE = "metrics.jsonl"
WANDB_MODES = ("online", "offline", "disabled", "shared")


class Tracker(abc.ABC):
    """Somewhere that keeps the metrics of every run of a batch."""

    @abc.abstractmethod
    def log(self, step: int, run: int, metrics: Mapping[str, Any]) -> None:
        """Keep the metrics (name to scalar) of run `run` of the batch after `step` steps."""

    @abc.abstractmethod
    def finish(self, summary: Sequence[Mapping[str, Any]] = (), failed: bool = False) -> None:
        """Keep the final figures, one mapping per run, and close. A second call does nothing."""


class Trackers(Tracker):
    """Several trackers as one; a context manager that closes them, marked failed after an exception."""

    def __init__(self, trackers: Iterable[Tracker]) -> None:
        self.trackers = tuple(trackers)

    def log(self, step: int, run: int, metrics: Mapping[str, Any]) -> None:
        for tracker in self.trackers:
            tracker.log(step, run, metrics)

    def finish(self, summary: Sequence[Mapping[str, Any]] = (), failed: bool = False) -> None:
        # One tracker that cannot close must not keep the others from closing.
        with contextlib.ExitStack() as stack:
            for tracker in reversed(self.trackers):
                stack.callback(tracker.finish, summary, failed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(failed=kind is not None)


class JsonLines(Tracker):
    """A file with one JSON object per line: `{"step": 100, "run": 0, "seed": 0, "loss": 1.25, ...}`.

    What is a run's own stands in each of its lines; its learning rate as `peak_learning_rate`, for `learning_rate` is
    that of the step. A sweep names it by dotted keys of the config, and no figure has a dot in its name: see `figures`.

    Every line is flushed, so `kill -9` costs at most the line being written. A number that is not
    finite is written as null: the file stays valid JSON for every reader (pandas shows NaN), and
    `read_metrics` returns NaN. On resuming, lines after the resumed step, and a last line cut in half, go.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        resume_step: int | Sequence[int] | None = None,
        runs: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.path = Path(path)
        self._own = [files.plain(_described(run)) for run in runs]
        if resume_step is not None:
            _rewind(self.path, resume_step)
        self._file = files.Appender(self.path)
        if resume_step is None and os.fstat(self._file.fileno()).st_size:
            self._file.close()
            raise UserError(f"{self.path} already holds metrics; resume that run, or choose another folder")

    def log(self, step: int, run: int, metrics: Mapping[str, Any]) -> None:
        line = {"step": int(step), "run": int(run), **(self._own[run] if self._own else {})}
        if clash := (line.keys() & metrics.keys()) | set(filter(is_dotted, metrics)):
            raise ValueError(f"a metric may not be called {sorted(clash)[0]!r}")
        line |= {name: files.plain(value) for name, value in metrics.items()}
        # One write per line: two processes never share this file, but a signal may come between writes.
        self._file.write(json.dumps(line, allow_nan=False) + "\n")

    def finish(self, summary: Sequence[Mapping[str, Any]] = (), failed: bool = False) -> None:
        self._file.close()


class TensorBoard(Tracker):
    """TensorBoard event files, one folder per run, under `folder`."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        config: Mapping[str, Any],
        runs: Sequence[Mapping[str, Any]],
        resume_step: int | Sequence[int] | None = None,
    ) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise _missing("tensorboard", "tensorboardX") from error
        # It would warn of every NaN that a diverged run logs; NaN is what we mean to show.
        logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)
        # TensorBoard hides what an earlier attempt wrote from `purge_step` on.
        steps = [_step_of(resume_step, number) for number in range(len(runs))]
        files.make_folder(folder)
        self._writers = [
            SummaryWriter(
                str(files.within(folder, run_name(number, run))),
                purge_step=None if steps[number] is None else steps[number] + 1,  # type: ignore[operator]
            )
            for number, run in enumerate(runs)
        ]
        self._last = [step or 0 for step in steps]
        for writer, run in zip(self._writers, runs):
            text = json.dumps({**config, **run}, indent=2, default=str)
            writer.add_text("config", "\n".join("    " + line for line in text.splitlines()))

    def log(self, step: int, run: int, metrics: Mapping[str, Any]) -> None:
        self._last[run] = step
        for name, value in metrics.items():
            self._writers[run].add_scalar(name, float(value), step)

    def finish(self, summary: Sequence[Mapping[str, Any]] = (), failed: bool = False) -> None:
        writers, self._writers = self._writers, []
        for number, writer in enumerate(writers):
            for name, value in (summary[number] if number < len(summary) else {}).items():
                if _is_number(value):
                    writer.add_scalar(f"final/{name}", float(value), self._last[number])
            writer.close()


class WandB(Tracker):
    """Weights & Biases: one run of its own for each run of the batch, in one group; files in `folder`/wandb.

    Online if WANDB_MODE says so, or if it says nothing and a key is at hand (WANDB_API_KEY or netrc);
    offline otherwise. It never prompts. The batch's step is the metric `step`, the x axis of all others.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        config: Mapping[str, Any],
        runs: Sequence[Mapping[str, Any]],
        resume_step: int | Sequence[int] | None = None,
        *,
        project: str = "bestguess",
        group: str | None = None,
    ) -> None:
        try:
            import wandb
        except ImportError as error:
            raise _missing("wandb", "wandb") from error
        folder = Path(folder).resolve()
        files.make_folder(folder / "wandb")
        _unset_empty()
        mode = wandb_mode()
        if mode not in WANDB_MODES:
            raise UserError(f"WANDB_MODE: no mode {mode!r}{nearest(mode, WANDB_MODES)}")
        ids = _run_ids(folder / "wandb" / "run_ids.json", len(runs), resume_step is not None)
        settings = wandb.Settings(
            silent=True, console="off", x_disable_stats=True, x_disable_meta=True, disable_git=True,
            disable_code=True, disable_job_creation=True,
        )  # fmt: skip
        self._runs: list[Any] = []
        try:
            for number, run in enumerate(runs):
                step = _step_of(resume_step, number)
                begun = wandb.init(
                    project=os.environ.get("WANDB_PROJECT", project),
                    group=os.environ.get("WANDB_RUN_GROUP", group or folder.name),
                    name=run_name(number, run),
                    **_moment(ids[number], mode, step),
                    dir=str(folder),
                    config={**config, **run},
                    mode=mode,  # type: ignore[arg-type]
                    reinit="create_new",
                    settings=settings,
                )
                self._runs.append(begun)
                begun.define_metric("step", hidden=True)
                begun.define_metric("*", step_metric="step")
                if step is not None and mode != "online":
                    self._replay(folder / METRICS_FILE, number, run)
        except wandb.Error as error:
            self.finish(failed=True)
            raise UserError(
                f"--track wandb: {' '.join(str(error).split())}; "
                f"with WANDB_MODE=offline the metrics stay in {folder / 'wandb'}"
            ) from error

    def log(self, step: int, run: int, metrics: Mapping[str, Any]) -> None:
        # W&B's own step is ours, so that a run can be rewound to it.
        values = {name: float(value) for name, value in metrics.items()}
        self._runs[run].log({**values, "step": int(step)}, step=int(step))

    def _replay(self, path: Path, number: int, run: Mapping[str, Any]) -> None:
        """Log again what metrics.jsonl has of a run: no server holds it, and what was written offline has gone on."""
        described = _described(run)
        for line in read_metrics(path):
            if line["run"] == number:
                self.log(
                    line["step"],
                    number,
                    {name: value for name, value in line.items() if name not in {"step", "run", *described}},
                )

    def finish(self, summary: Sequence[Mapping[str, Any]] = (), failed: bool = False) -> None:
        runs, self._runs = self._runs, []
        for number, run in enumerate(runs):
            if number < len(summary):
                run.summary.update({name: files.plain(value) for name, value in summary[number].items()})
            run.finish(exit_code=int(failed))


TRACKERS = ("jsonl", "wandb", "tensorboard")


def open_trackers(
    names: Iterable[str],
    folder: str | os.PathLike[str],
    config: Mapping[str, Any],
    runs: Sequence[Mapping[str, Any]],
    resume_step: int | Sequence[int] | None = None,
    *,
    group: str | None = None,
    logs: str | os.PathLike[str] | None = None,
) -> Trackers:
    """Return the named trackers as one, open, with JSON lines always among them.

    names: of `jsonl`, `wandb`, `tensorboard`. folder: the run's folder; all that is written stays in it.
    config: what all runs share. runs: for each run what is its own, such as its learning rate and seed.
    resume_step: the step that training goes on from, one for all runs or one for each; None for a fresh
    start. group: W&B's group of the runs, instead of the folder's name. logs: where W&B and TensorBoard write, where
    the folder is dropped once its runs are done. Raises UserError for an unknown name, for a package that is not
    installed, and for metrics that a fresh start would mix with.
    """
    wanted = dict.fromkeys(names)
    for name in wanted:
        if name not in TRACKERS:
            raise UserError(f"--track: no tracker {name!r}{nearest(name, TRACKERS)} (known: {', '.join(TRACKERS)})")
    folder = Path(folder)
    kept = folder if logs is None else Path(logs)
    opened: list[Tracker] = [JsonLines(folder / METRICS_FILE, resume_step, runs)]
    try:
        if "tensorboard" in wanted:
            opened.append(TensorBoard(kept / "tensorboard", config, runs, resume_step))
        if "wandb" in wanted:
            opened.append(WandB(kept, config, runs, resume_step, group=group))
    except BaseException:
        Trackers(opened).finish(failed=True)
        raise
    return Trackers(opened)


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the lines of a JSON-lines file as dicts, null as NaN; a last line cut in half is left out.

    Raises UserError for a missing file, and for a broken line elsewhere: that is damage, not a cut.
    """
    path = Path(path)
    return [{name: math.nan if value is None else value for name, value in line.items()} for line in _lines(path)]


def figures(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line's figures: all but what it says of the run's config, by the dotted keys of a sweep."""
    return {name: value for name, value in line.items() if not is_dotted(name)}


def is_dotted(name: str) -> bool:
    """Return whether a line's key is one of the config, such as `train.batch_size`; its value may be a list."""
    return "." in name


def run_name(number: int, run: Mapping[str, Any]) -> str:
    """Return a run's name, fit for a folder: its number and what is its own, `0-learning_rate=0.001`."""
    parts = [str(number)] + [f"{key}={value}" for key, value in run.items()]
    kept = "-".join(parts)[:120]
    return "".join(letter if letter.isalnum() or letter in "._=+-" else "_" for letter in kept)


def wandb_mode() -> str:
    """Return W&B's mode: WANDB_MODE if set, else `online` where a key is at hand, else `offline`."""
    import netrc
    from urllib.parse import urlsplit

    if mode := os.environ.get("WANDB_MODE"):
        return mode
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    hosts = [urlsplit(url).netloc for url in _servers()]
    files = [os.environ["NETRC"]] if "NETRC" in os.environ else [Path.home() / ".netrc", Path.home() / "_netrc"]
    for file in files:
        # A netrc that is missing, unreadable or broken holds no key for us.
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            known = netrc.netrc(str(file))
            if any(known.authenticators(host) for host in hosts):
                return "online"
    return "offline"


def _unset_empty() -> None:
    """Unset W&B's variables that are empty: wandb takes "" for a value, and fails on most in words of its own."""
    for name in [name for name, value in os.environ.items() if name.startswith("WANDB_") and not value.strip()]:
        del os.environ[name]


def _servers() -> list[str]:
    """The server that wandb would talk to, by its own environment and settings files, and its other name if any."""
    import wandb

    url = os.environ.get("WANDB_BASE_URL") or wandb.setup(settings=wandb.Settings(silent=True)).settings.base_url
    found = [url]
    with contextlib.suppress(ImportError):  # of newer versions: a host whose key may stand under its former name
        from wandb.sdk.lib.urls import forge_upstream_url

        found.append(forge_upstream_url(url))
    return found


def _moment(run: str, mode: str, step: int | None) -> dict[str, Any]:
    """The arguments of wandb.init that continue a run at a step: online, what came after it is taken back."""
    if mode != "online" or step is None:
        return {"id": run}
    return {"id": run, "resume": "allow"} if step == 0 else {"resume_from": f"{run}?_step={step}"}


def _described(run: Mapping[str, Any]) -> dict[str, Any]:
    """What is a run's own as its lines say it: their `learning_rate` is the step's."""
    return {f"peak_{name}" if name == "learning_rate" else name: value for name, value in run.items()}


def _run_ids(path: Path, count: int, resumed: bool) -> list[str]:
    """Return a W&B id for each run: the stored ones on resuming, else new ones, which are stored."""
    import secrets

    if resumed:
        with contextlib.suppress(files.Unreadable):  # of an older version, cut by a kill: begin new ones
            ids = files.read_json(path)
            if isinstance(ids, list) and len(ids) == count:
                return [str(one) for one in ids]
    ids = [secrets.token_hex(4) for _ in range(count)]
    files.write_text(path, json.dumps(ids))
    return ids


def _step_of(resume_step: int | Sequence[int] | None, run: int) -> int | None:
    """Return the step that one run goes on from: parts of a batch of runs may stand at different steps."""
    if resume_step is None or isinstance(resume_step, int):
        return resume_step
    return resume_step[run]


def _rewind(path: Path, resume_step: int | Sequence[int]) -> None:
    """Keep each run's whole lines up to its step, at once: a kill leaves the old file or the new one."""
    if os.path.lexists(path):
        kept = [line for line in _lines(path) if line["step"] <= (_step_of(resume_step, line["run"]) or 0)]
        files.write_text(path, "".join(json.dumps(line) + "\n" for line in kept))


def _lines(path: Path) -> list[dict[str, Any]]:
    return files.read_json_lines(path, _is_metrics)


def _is_metrics(line: Any) -> bool:
    return isinstance(line, dict) and all(isinstance(line.get(key), int) for key in ("step", "run"))


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) or getattr(value, "ndim", None) == 0


def _missing(extra: str, package: str) -> Absent:
    return Absent(f"--track {extra}: the package {package} is missing; {with_extra(extra, package)}")
