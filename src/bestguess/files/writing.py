"""Files written whole or not at all, and files that only grow."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import numbers
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bestguess.command import UserError
from bestguess.files.folders import make_folder
from bestguess.files.places import AnyPath, boundary, checked, open_regular, sound


def write_bytes(path: AnyPath, data: bytes) -> Path:
    """Write `data` such that, whenever the machine stops, the file is the old one or the new; return its path.

    Its folder is made. A link of this name is replaced, not followed; a folder, pipe or device is refused.
    """
    path = sound(path)
    make_folder(path.parent)
    with boundary(path, "written"):
        refuse_other_kinds(path)
        with _beside(path, data) as part:
            os.replace(part, path)
        sync_folder(path.parent)
    return path


_BEGINS = {
    "safetensors": rb".{8}\{",
    "npz": rb"PK\x03\x04",
    "SVG": rb"\s*<svg",
    "HTML": rb"(?i)\s*<!doctype html",
    "PNG": rb"\x89PNG\r\n\x1a\n",
}
"""How a file of a kind begins; an empty one is of any kind."""


def check_writable(path: AnyPath, kind: str = "") -> None:
    """Raise UserError now, not after minutes of training, where `write_bytes` would fail. Makes the file's folder.

    kind: of what is to be written: `safetensors`, `npz`, `SVG`, `HTML` or `PNG`. A file of another kind is not ours
    and is not replaced.
    """
    path = sound(path)
    make_folder(path.parent)
    with boundary(path, "written"):
        refuse_other_kinds(path)
        with _beside(path, b""):
            pass
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as there:
            start = there.read(64)
            if kind and start and not re.match(_BEGINS[kind], start, re.DOTALL):
                raise UserError(f"{path}: exists, and is no {kind} file; name another, nothing is overwritten")


def refuse_other_kinds(path: Path) -> None:
    """Raise OSError unless a rename to `path` replaces a file, a link or nothing: /dev/null is not to become a file."""
    with contextlib.suppress(FileNotFoundError):
        mode = os.lstat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
            raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.ENXIO, "")


def write_new(path: AnyPath, data: bytes) -> bool:
    """Write a file that must not exist yet, whole or not at all; return whether it was us who made it.

    Of many processes, on one machine or on many that share a folder, one succeeds: link(2) is atomic on NFS too.
    """
    path = checked(path, also_itself=False)
    with boundary(path, "written"), _beside(path, data) as part:
        try:
            os.link(part, path)
        except FileExistsError:
            return False
    return True


@contextlib.contextmanager
def _beside(path: Path, data: bytes) -> Iterator[Path]:
    """A hidden file beside `path` that holds `data`, on the disk; it is gone afterwards, under this name at least."""
    part = path.parent / f".{path.name[:40]}.{secrets.token_hex(6)}.part"
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield part
    finally:
        with contextlib.suppress(OSError):
            os.unlink(part)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, such as a new name."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: AnyPath, text: str) -> Path:
    """Write `text` in UTF-8, whole or not at all; return the file's path."""
    return write_bytes(path, text.encode())


def write_json(path: AnyPath, value: Any) -> Path:
    """Write `value` as JSON, whole or not at all, and return the path; numbers that are not finite become null."""
    return write_bytes(path, json_bytes(plain(value)))


def json_bytes(value: Any) -> bytes:
    """Return a plain value as the JSON of our files; ValueError for a number that is not finite."""
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def write_yaml(path: AnyPath, value: Any) -> Path:
    """Write plain values as YAML, keys in their order, whole or not at all; return the path."""
    import yaml

    return write_text(path, yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


class Appender:
    """A file that only grows: what is written stands at its end at once, so `kill -9` costs at most one line."""

    def __init__(self, path: AnyPath) -> None:
        self.path = sound(path)
        make_folder(self.path.parent)
        with boundary(self.path, "written"):
            self._descriptor = open_regular(checked(self.path), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW)

    def write(self, text: str) -> None:
        """Add `text` in UTF-8; UserError where the disk does not take it."""
        data = text.encode()
        with boundary(self.path, "written"):
            while data:
                data = data[os.write(self._descriptor, data) :]

    def fileno(self) -> int:
        """The descriptor, for a process whose output goes here."""
        return self._descriptor

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


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
    if isinstance(value, numbers.Real) and not isinstance(value, int | float):  # a Fraction, say
        return int(value) if isinstance(value, numbers.Integral) else plain(float(value))
    return os.fspath(value) if isinstance(value, os.PathLike) else value
