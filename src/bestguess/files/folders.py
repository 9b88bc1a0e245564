"""Folders: made, locked, removed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from bestguess.command import UserError
from bestguess.files.places import AnyPath, Unreadable, boundary, checked, open_regular, own, within


def make_folder(path: AnyPath) -> Path:
    """Make a folder, and those that it lies in, unless it is there; return its path."""
    path = checked(path)
    with boundary(path, "made"):
        path.mkdir(parents=True, exist_ok=True)
    return path


def user_cache() -> Path:
    """Return the folder in which this user's programs keep what can be made anew; it need not be there.

    Unreadable where this user has no home, as in some containers.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):
        return Path(given) / "bestguess"
    try:
        return Path.home() / ".cache" / "bestguess"
    except RuntimeError as error:
        raise Unreadable("~", "this user has no home folder; set HOME or XDG_CACHE_HOME") from error


@contextlib.contextmanager
def lock(folder: AnyPath, *, wait: bool = False) -> Iterator[None]:
    """Hold the folder for this process alone; UserError if another process trains there. Empties no file.

    wait: until the other process is done, instead. A process that dies holds nothing.
    """
    folder = make_folder(folder)
    own(folder)
    path = checked(folder / ".lock")
    with boundary(path, "locked"):
        descriptor = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    try:
        with boundary(path, "locked"):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise UserError(f"{folder}: another process is training here; wait for it, or stop it") from None
        yield
    finally:
        os.close(descriptor)


def remove(path: AnyPath) -> None:
    """Remove a file if it is there; of a link, the link alone."""
    path = checked(path, also_itself=False)
    with boundary(path, "removed"):
        path.unlink(missing_ok=True)


def remove_tree(folder: AnyPath, *names: str) -> None:
    """Remove what `within` finds under these names, as far as that is possible; of a link, the link alone."""
    path = within(folder, *names)
    if os.path.islink(path):
        remove(path)
    else:
        shutil.rmtree(path, ignore_errors=True)


def move_folder(old: AnyPath, new: AnyPath) -> bool:
    """Rename a folder, at once; return whether it was us who did: another process may have been faster."""
    old, new = checked(old, also_itself=False), checked(new, also_itself=False)
    with boundary(new, "made"):
        try:
            os.rename(old, new)
        except FileNotFoundError:
            return False
    return True


def files_in(folder: AnyPath, without: Collection[str] = ()) -> list[Path]:
    """Return the files below a folder by path, without hidden ones; a link to a folder is not followed.

    without: names of folders that are not looked into.
    """
    found: list[Path] = []
    with boundary(folder, "read"):
        for root, folders, names in os.walk(checked(folder), onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".") and name not in without]
            found += [Path(root, name) for name in names if not name.startswith(".")]
    return sorted(found, key=lambda path: path.parts)


def _raise(error: OSError) -> None:
    raise error


def touch(path: AnyPath, times: tuple[float, float] | None = None) -> None:
    """Set a file's times, by default to now; of a link, the link's own. OSError where that fails: a lease goes on."""
    os.utime(checked(path, also_itself=False), times, follow_symlinks=False)
