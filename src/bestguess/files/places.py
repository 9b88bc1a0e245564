"""Where we may read and write, and what is said when the operating system refuses."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from bestguess.command import Absent, UserError

AnyPath: TypeAlias = str | os.PathLike[str]

_WORDS = {
    errno.ENOENT: "no such file or folder",
    errno.EACCES: "permission denied; change its rights, or choose another place",
    errno.EPERM: "not permitted; change its rights, or choose another place",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.ENOSPC: "the disk is full; free some space, or choose another place",
    errno.EDQUOT: "the disk quota is used up; free some space, or choose another place",
    errno.EFBIG: "too large for the file system; choose another place",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ELOOP: "it is a link, which is not followed here; put the file itself in its place",
    errno.ENOTDIR: "a part of its path is not a folder",
    errno.EISDIR: "it is a folder; move it away, or name a file",
    errno.EEXIST: "it exists, and is not a folder",
    errno.ENXIO: "not a regular file",
    errno.EMFILE: "too many open files; raise `ulimit -n`",
    errno.ENFILE: "the system has too many open files; close some programs",
    errno.EIO: "the disk reports an error; copy the data to another disk",
    errno.ESTALE: "the file server has lost it; try again",
}
_NOT_HERE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ESTALE)


class Unreadable(UserError):
    """A file that cannot be read, or whose contents are not what they should be. reason: why, without the path."""

    def __init__(self, path: AnyPath, reason: str, fix: str = "") -> None:
        super().__init__(f"{os.fspath(path)}: {reason}{fix}")
        self.reason = reason


class Unreached(Unreadable, Absent):
    """A file that is not there, or that this user may not read."""


def explain(error: OSError) -> str:
    """Return what an error of the operating system means, in words, and the fix where there is a common one."""
    return _WORDS.get(error.errno or 0) or error.strerror or str(error) or type(error).__name__


@contextlib.contextmanager
def boundary(path: AnyPath, doing: str) -> Iterator[None]:
    """Turn an error of the operating system into a UserError `PATH: cannot be DOING (why)`."""
    try:
        yield
    except OSError as error:
        kind = Unreached if doing == "read" and error.errno in _NOT_HERE else Unreadable
        raise kind(path, f"cannot be {doing} ({explain(error)})") from error


_owned: set[Path] = set()


def own(folder: AnyPath) -> None:
    """From now on go through no link inside `folder` (a run's, a sweep's) that leads out of it, to read or to write.

    The folder itself may be a link, and so may what it lies in: runs are often kept on another disk.
    """
    _owned.add(Path(os.path.abspath(sound(folder))))


_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\Z")


def is_name(value: object) -> bool:
    """Return whether `value` is a text that is safe as a file's name everywhere, such as a run's name in a ledger."""
    return isinstance(value, str) and _NAME.match(value) is not None


def within(folder: AnyPath, *names: str) -> Path:
    """Return the path of `names`, one inside the other, in `folder`.

    Raises UserError for a name that is a path of its own, and where a link leads out of the folder.
    """
    root = sound(folder)
    for name in names:
        if name in ("", ".", "..") or "/" in name or os.sep in name:
            raise UserError(f"{root}: {name!r} is not a plain name of a file in this folder")
    path = sound(root.joinpath(*names))
    _refuse_link_out(root, path)
    return path


def sound(path: AnyPath) -> Path:
    """Return the path, if the operating system can take its characters at all."""
    try:
        if b"\0" in os.fsencode(path):
            raise UserError(f"{os.fspath(path)}: a path cannot hold a zero byte")
    except UnicodeEncodeError:
        raise UserError(f"{os.fspath(path)}: this system's paths cannot hold such a character") from None
    return Path(path)


def _refuse_link_out(root: Path, path: Path) -> None:
    """Raise UserError if `path`, or a folder between `root` and it, is a link to a place outside `root`."""
    home = os.path.realpath(root)
    step = root
    for name in path.relative_to(root).parts:
        step = step / name
        if os.path.islink(step) and not Path(os.path.realpath(step)).is_relative_to(home):
            raise UserError(f"{step}: is a link that leads out of {root}; put a real file or folder in its place")


def checked(path: AnyPath, also_itself: bool = True) -> Path:
    """Return the path, each folder of ours that it lies in looked at; `also_itself`: its last name may be no link."""
    path = sound(path)
    absolute = Path(os.path.abspath(path))
    for root in _owned.intersection(absolute.parents):
        _refuse_link_out(root, absolute if also_itself else absolute.parent)
    return path


def open_regular(path: Path, flags: int) -> int:
    """Return a descriptor of a regular file. It opens without waiting, so a pipe without a reader cannot hang us."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.ENXIO, "")
