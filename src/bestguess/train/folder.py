"""The folder that a training leaves behind: what is in it, and how a command reads it. Runs no code."""

from __future__ import annotations

import datetime
import os
import subprocess
from pathlib import Path
from typing import Any

from bestguess import __version__, files
from bestguess.command import Absent, UserError

CONFIG, CHECKPOINTS, FIGURES, PAGE, TRAINING = "config.yaml", "checkpoints", "figures", "report.html", "training.json"


def new_folder(family: str, out: Path | None) -> Path:
    """Return a new folder for a training: `out`, or one under runs/`family` named for the time.

    Raises UserError if `out` already holds a training, or what is left of one: nothing is overwritten.
    """
    if out is None:
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        out = Path("runs") / family / now
        for again in range(2, 1000):
            if not out.exists():
                break
            out = out.with_name(f"{now}-{again}")
    if (out / CONFIG).exists():
        raise UserError(
            f"--out {out}: already holds a training; resume with --resume {out} (of {family} train), or name another "
            "folder"
        )
    for left in (CHECKPOINTS, "metrics.jsonl"):
        if os.path.lexists(out / left):
            raise UserError(
                f"--out {out}: holds {left} of an earlier training but no {CONFIG}, so it cannot be resumed; remove "
                "the folder, or name another"
            )
    for theirs in (PAGE, TRAINING, "evaluation.json"):
        if (out / theirs).is_file() and not (out / theirs).is_symlink():
            raise UserError(f"--out {out}: holds a {theirs}, which would be overwritten; name another folder")
    try:
        files.make_folder(out)
    except UserError as error:
        raise UserError(f"--out {error}") from error
    files.own(out)
    return out


def write_config(folder: Path, family: str, config: dict[str, Any]) -> None:
    """Write config.yaml: every value of the config, the family, the package's version and git commit."""
    about = {"family": family, "version": __version__, "commit": _commit(), "created": _now()}
    files.write_yaml(folder / CONFIG, {"bestguess": about, **config})


def read_config(folder: Path, family: str) -> dict[str, Any]:
    """Return the config of a training's folder as plain values; UserError if it is none of this family."""
    path = folder / CONFIG
    if not os.path.isdir(folder):
        raise Absent(f"{folder}: no such folder")
    if not os.path.lexists(path):
        raise UserError(f"{folder}: not the folder of a training (it has no {CONFIG})")
    files.own(folder)
    try:
        config = files.read_yaml(path)
        found = config.pop("bestguess")["family"]
    except (files.Unreadable, AttributeError, KeyError, TypeError) as error:
        reason = error.reason if isinstance(error, files.Unreadable) else error
        raise UserError(
            f"{path}: damaged, or not written by bestguess ({reason}); put a copy back, or train anew"
        ) from error
    if found != family:
        raise UserError(f"{folder}: a training of the family {found}, not {family}; try bestguess {found}")
    return config


def on_disk(folder: Path) -> str:
    """Return what a training that was cut short has left in its folder, and how to go on, in one line."""
    steps = [int(path.stem.rpartition("-")[2]) for path in sorted((folder / CHECKPOINTS).glob("*/step-*.safetensors"))]
    if not (folder / CONFIG).exists():
        return "nothing was written"
    kept = f"checkpoints up to step {max(steps)}" if steps else "no checkpoint yet"
    return f"{folder} has {kept}; resume with --resume {folder}"


def read_timing(folder: Path) -> dict[str, Any] | None:
    """Return the seconds and the speed of the training in a folder, None where it noted none; UserError if damaged."""
    path = folder / TRAINING
    found = files.read_json(path)
    if found is None:
        return None
    numbers = ("seconds", "run_steps", "run_steps_per_second")
    whole = isinstance(found, dict) and isinstance(found.get("device"), str)
    peak = found.get("peak_bytes", 0) if whole else 0
    if not whole or not all(isinstance(one, int | float) for one in (*map(found.get, numbers), peak)):
        raise UserError(f"{path}: damaged, or not what a training wrote; remove it")
    return found


def hash_of_config(folder: Path) -> str:
    """Return the hash of the config that a training's folder holds, without the lines about its origin; "" of none."""
    path = folder / CONFIG
    if not os.path.lexists(path):
        return ""
    config = files.read_yaml(path)
    return files.hash_of({key: value for key, value in config.items() if key != "bestguess"})


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _commit() -> str | None:
    """The commit that this package's own checkout stands at, with + if it has changes; None outside a checkout."""
    here = Path(__file__).parent
    # Without its optional locks `git status` writes nothing: on a full disk it would leave the checkout locked.
    git = ["git", "--no-optional-locks", "-C", str(here)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        # A site-packages folder may lie inside some other project's checkout.
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, check=True)
        dirty = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if dirty else "")
