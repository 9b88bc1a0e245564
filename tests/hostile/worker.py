"""Runs cases one after the other in this process, and prints one line of JSON before and after each.

    python -m tests.hostile.worker SAMPLES PLACE SEED FIRST LAST

Where a training, an evaluation or a worker of a sweep would begin, a case is over: the input was taken.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import gc
import json
import os
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bestguess.command import UserError, shown
from tests.hostile.cases import SAMPLES, Case, case

SECONDS = 25.0
"""Of this process's time that a case may take."""
PATIENCE = 300.0
"""Seconds after which a case that uses none of this process's time hangs: the process ends, and says where it was."""
BYTES = 3 << 30
"""Of memory that a case may take beyond what is taken."""
SMALL_DISK, DISK = 4096, 64 << 20
"""The largest file that may be written."""


DRAWN = [True]
"""Whether this case's pictures are drawn."""


class Reached(BaseException):
    """The work would begin."""


class Slow(BaseException):
    """A case takes too long."""


def stop(*_: Any, **__: Any) -> Any:
    raise Reached


def slow(*_: Any) -> None:
    raise Slow


def stub() -> None:
    """Put an end in the place of what takes long."""
    import bestguess.integers.commands.distill
    import bestguess.integers.commands.memory
    import bestguess.report.page
    import bestguess.scratch.demos.training
    import bestguess.sweep.estimate
    import bestguess.sweep.launch
    import bestguess.text.attention.command
    import bestguess.text.written
    import bestguess.workflow.evaluation
    import bestguess.workflow.report
    import bestguess.workflow.training
    from bestguess.scratch.demos import causes, copilot, level1, options, stdlib

    for module, name in (
        (bestguess.text.written, "write"),
        (bestguess.workflow.training, "fit"),
        (bestguess.workflow.evaluation.Evaluator, "__init__"),
        (bestguess.sweep.launch, "launch"),
        (bestguess.sweep.estimate, "estimate"),
        (bestguess.scratch.demos.training, "fit"),
        (bestguess.text.attention.command, "attention_figures"),
    ):
        setattr(module, name, stop)
    # Of ten reports, one is drawn.
    for module, name in (
        (bestguess.workflow.report, "save_figures"),
        (bestguess.report.page.Page, "chart"),
    ):
        draw = getattr(module, name)
        setattr(module, name, lambda *given, draw=draw: draw(*given) if DRAWN[0] else None)
    for module in (causes, copilot, level1, options, stdlib):
        for name in ("fit", "score", "demos"):
            if hasattr(module, name):
                setattr(module, name, stop)


def tree(folder: Path) -> list[tuple]:
    """Return what is in a folder, to be compared."""
    found: list[tuple] = []
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        found.append((str(path), about.st_mode, about.st_mtime_ns, path.read_bytes() if path.is_file() else b""))
    return found


def run(one: Case, box: Path) -> dict[str, Any]:
    """Return how a case ended: `status`, what was said, and `wrong`, what must not be ("" for nothing)."""
    from bestguess.cli import main
    from bestguess.files import places

    outside = box / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious")
    (outside / "folder").mkdir()
    (outside / "folder" / "step-00000001.safetensors").write_text("precious")
    before = tree(outside)
    kept = {key: os.environ.get(key) for key in one.environment}
    os.environ.update(one.environment)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_DISK if one.small_disk else DISK, resource.RLIM_INFINITY))
    ended: Any = "taken"
    wrong = ""
    signal.setitimer(signal.ITIMER_PROF, SECONDS, SECONDS)  # again, where a callback swallows it
    try:
        with (
            open(box / ".out", "w", errors="backslashreplace") as out,
            open(box / ".err", "w", errors="backslashreplace") as err,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            if one.direct is None:
                main(one.words)
            else:
                told(one.direct)
    except SystemExit as stopped:
        ended = stopped.code or 0
    except Reached:
        pass
    except Slow:
        wrong = "hang: " + traceback.format_exc()[-1500:]
    except BaseException:
        wrong = "traceback: " + traceback.format_exc()[-3000:]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for key, value in kept.items():
            os.environ.pop(key) if value is None else os.environ.__setitem__(key, value)
        places._owned.clear()
    said = [(box / name).read_text(errors="replace") for name in (".out", ".err")]
    return {
        "status": ended,
        "said": said[1][-600:],
        "wrong": wrong or judged(one, ended, *said, before == tree(outside)),
    }


def told(read: Callable[[], object]) -> None:
    """Call `read`, and tell of what is off as the command line does."""
    try:
        read()
    except UserError as error:
        print(f"bestguess: error: {error}", file=sys.stderr)
        sys.exit(2)


def raise_again(error: BaseException) -> None:
    """Raise what went wrong while a case was made: a fault of the campaign, told like any other."""
    raise error


def judged(one: Case, ended: Any, out: str, err: str, kept: bool) -> str:
    """Return what is wrong with how a case ended, or an empty text."""
    if not kept:
        return "written outside"
    if "Traceback (most recent call last)" in out + err:
        return "traceback on the console"
    if ended not in (0, 1, 2, "taken"):
        return f"exit status {ended!r}"
    lines = [line for line in err.splitlines() if line.startswith(("bestguess: error: ", "bestguess: failed: "))]
    if ended == 2:
        if len(lines) != 1 or not err.endswith(lines[-1] + "\n") or not lines[0].startswith("bestguess: error: "):
            return f"not one line: {err!r}"
        if not any(name and shown(name) in lines[0] for name in one.names):
            return "names nothing"
    if ended == 1 and not lines:
        return "exit status 1 without a word"
    told = out + err
    if (
        one.weights
        and "--resume" not in one.words
        and ended in (0, "taken")
        and not any(word in told for word in ("damaged", "does not match"))
    ):
        return "altered weights pass in silence"
    return ""


def work(samples: Path, place: Path, seed: int, numbers: range) -> None:
    """Run the cases with these numbers, each in a folder of its own in `place`."""
    stub()
    SAMPLES.append(samples)
    signal.signal(signal.SIGPROF, slow)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + BYTES + (2 << 30), resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    report = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.environ["HOME"] = str(place)
    os.environ["XDG_CACHE_HOME"] = str(place / "cache")
    for number in numbers:
        box = place / str(number)
        box.mkdir()
        os.chdir(box)
        DRAWN[0] = number % 10 == 0
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        try:
            one = case(seed, number, box)
        except Exception:
            one = Case([], "", (), kind="not made", direct=functools.partial(raise_again, sys.exc_info()[1]))
        about = {"number": number, "seed": seed, "words": one.words, "off": one.off, "kind": one.kind}
        print(json.dumps(about), file=report, flush=True)
        ended = run(one, box)
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps({"number": number} | ended), file=report, flush=True)
        os.chdir(place)
        shutil.rmtree(box, ignore_errors=True)
        if number % 50 == 0:
            gc.collect()


if __name__ == "__main__":
    folder, home, *given = sys.argv[1:]
    work(Path(folder), Path(home), int(given[0]), range(*map(int, given[1:])))
