"""Files too large to hold in memory: read at any position, or grown in place."""

from __future__ import annotations

import abc
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, final

from bestguess.command import UserError
from bestguess.files.places import AnyPath, Unreadable, boundary, checked, open_regular, sound
from bestguess.files.writing import refuse_other_kinds, sync_folder

_PIECE = 1 << 21
"""Bytes hashed at a time."""


class Digest(Protocol):
    """A hash of `hashlib`."""

    def update(self, data: memoryview, /) -> None:
        """Take in more bytes."""


class _Opened(abc.ABC):
    """An open file that is read at any position; a context manager.

    Reads go through `pread` into the caller's buffers. A memory map would count every page it touched as resident:
    400 MB of a file read through one took 381 MiB, through `pread` none.
    """

    called: str
    """The file in error messages."""
    _descriptor: int

    @property
    def size(self) -> int:
        """Bytes in the file now."""
        return os.fstat(self._descriptor).st_size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill a contiguous buffer with the bytes from `offset` on; Unreadable if the file ends before."""
        left = buffer.cast("B") if buffer.nbytes else buffer
        with boundary(self.called, "read"):
            while left.nbytes:
                got = os.preadv(self._descriptor, [left], offset)
                if got == 0:
                    raise Unreadable(self.called, "became shorter while it was read", "; run the command again")
                left, offset = left[got:], offset + got

    def feed(self, digest: Digest, size: int) -> None:
        """Update a digest with the file's first `size` bytes."""
        buffer = memoryview(bytearray(min(size, _PIECE)))
        for offset in range(0, size, _PIECE):
            part = buffer[: min(_PIECE, size - offset)]
            self.read_into(offset, part)
            digest.update(part)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@final
class DataFile(_Opened):
    """A regular file opened for reading; Unreadable if there is none.

    called: the file in error messages, by default its path.
    """

    def __init__(self, path: AnyPath, called: str = "") -> None:
        self.called, self._descriptor = called or os.fspath(path), -1
        path = checked(path)
        with boundary(self.called, "read"):
            self._descriptor = open_regular(path, os.O_RDONLY)
        self._before = self._state()

    def _state(self) -> tuple[int, int]:
        now = os.fstat(self._descriptor)
        return now.st_size, now.st_mtime_ns

    def check_unchanged(self) -> None:
        """Raise Unreadable if the file was written to after it was opened."""
        if self._state() != self._before:
            raise Unreadable(self.called, "was written to while it was read", "; run the command again")


@final
class GrowingFile(_Opened):
    """`NAME.part` beside the file `target`: opened or created, locked for this process, grown, then renamed.

    What is on the disk after `sync` survives a kill and a power cut; a later GrowingFile of the same target opens it
    again. No link is followed. Raises UserError if another process holds the lock.

    called: the target in error messages, by default its path.
    """

    def __init__(self, target: AnyPath, called: str = "") -> None:
        self.called, self._descriptor = called or os.fspath(target), -1
        self.target = sound(target)
        self.path = self.part_of(self.target)
        with boundary(self.called, "opened"):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            self._descriptor = open_regular(checked(self.path, also_itself=False), flags)
        try:
            self._lock()
            self._end = self.size
        except BaseException:
            self.close()
            raise

    @staticmethod
    def part_of(target: Path) -> Path:
        """Return the path of the unfinished file of `target`."""
        return target.parent / (target.name + ".part")

    def _lock(self) -> None:
        with boundary(self.called, "locked"):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The process that held the lock may have renamed the file between our open and our lock.
                ours = os.path.samestat(os.fstat(self._descriptor), os.lstat(self.path))
            except (BlockingIOError, FileNotFoundError):
                ours = False
        if not ours:
            raise UserError(f"{self.called}: another process is making it; wait for it")

    def cut(self, size: int) -> None:
        """Drop all bytes after the first `size`."""
        with boundary(self.called, "written"):
            os.ftruncate(self._descriptor, size)
        self._end = size

    def append(self, data: memoryview) -> None:
        """Write a contiguous buffer to the file's end; UserError if the disk is full."""
        left = data.cast("B") if data.nbytes else data
        with boundary(self.called, "written"):
            while left.nbytes:
                wrote = os.pwrite(self._descriptor, left, self._end)
                left, self._end = left[wrote:], self._end + wrote

    def sync(self) -> None:
        """Flush the file to the disk."""
        with boundary(self.called, "written"):
            os.fsync(self._descriptor)

    def finish(self) -> None:
        """Flush the file and rename it to the target. A link of that name is replaced, not followed."""
        self.sync()
        with boundary(self.called, "written"):
            refuse_other_kinds(self.target)
            os.replace(self.path, self.target)
            sync_folder(self.target.parent)
