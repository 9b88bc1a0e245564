"""The folder that a training leaves behind: what is in it, and how a command reads it. Runs no code."""

from __future__ import annotations

import datetime
import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from bestguess import __version__
from bestguess.command import UserError
from bestguess.train.checkpoint import write_atomically

CONFIG, CHECKPOINTS, FIGURES, PAGE = "config.yaml", "checkpoints", "figures", "report.html"


def new_folder(family: str, out: Path | None) -> Path:
    """Return a new folder for a training: `out`, or one under runs/`family` named for the time.

    Raises UserError if `out` already holds a training: nothing is overwritten.
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
            f"--out {out}: already holds a training; go on with --resume {out} (of {family} train), or name another "
            "folder"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be made ({error.strerror})") from error
    return out


def write_config(folder: Path, family: str, config: dict[str, Any]) -> None:
    """Write config.yaml: every value of the config, the family, the package's version and git commit."""
    about = {"family": family, "version": __version__, "commit": _commit(), "created": _now()}
    text = yaml.safe_dump({"bestguess": about, **config}, sort_keys=False, allow_unicode=True)
    write_atomically(folder / CONFIG, text.encode())


def read_config(folder: Path, family: str) -> dict[str, Any]:
    """Return the config of a training's folder as plain values; UserError if it is none of this family."""
    path = folder / CONFIG
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if not path.is_file():
        raise UserError(f"{folder}: not the folder of a training (it has no {CONFIG})")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = config.pop("bestguess")["family"]
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged, or not written by bestguess ({' '.join(str(error).split())})") from error
    if found != family:
        raise UserError(f"{folder}: a training of the family {found}, not {family}; try bestguess {found}")
    return config


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, whole or not at all; numbers that are not finite become null."""
    write_atomically(path, (json.dumps(plain(value), indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any | None:
    """Return the value of a JSON file, or None where there is none; UserError where it is damaged."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); delete it and run the command again that writes it") from error


def plain(value: Any) -> Any:
    """Return a JSON-able copy of `value`: NumPy's and JAX's numbers as Python's, non-finite ones as None."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, os.PathLike) else value


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _commit() -> str | None:
    """The commit that this package's own checkout stands at, with + if it has changes; None outside a checkout."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        # A site-packages folder may lie inside some other project's checkout.
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, check=True)
        dirty = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if dirty else "")
