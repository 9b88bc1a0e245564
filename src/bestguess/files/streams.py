"""Files read from start to end, unpacked on the way: what is read is bounded, not the file's size."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bestguess.files.places import AnyPath, Unreadable, boundary, checked, open_regular
from bestguess.files.reading import LINES_LIMIT, flat

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""Byte order marks, and the encodings that they stand for."""


class _Bounded(io.RawIOBase):
    """A stream of at most `limit` bytes, whose errors are Unreadable."""

    def __init__(self, path: Path, inside: IO[bytes], limit: int, fix: str) -> None:
        self._path, self._inside, self._limit, self._fix, self._seen = path, inside, limit, fix, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with boundary(self._path, "read"):
            try:
                data = self._inside.read(len(memoryview(buffer)))
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise Unreadable(self._path, f"not a whole gzip file ({flat(error)})") from error
        self._seen += len(data)
        if self._seen > self._limit:
            raise Unreadable(self._path, f"holds more than {self._limit:,} bytes", self._fix)
        memoryview(buffer)[: len(data)] = data
        return len(data)


@contextlib.contextmanager
def stream(path: AnyPath, limit: int = LINES_LIMIT, fix: str = "") -> Iterator[io.BufferedReader]:
    """Yield the bytes of a regular file as a stream, unpacked if its name ends in `.gz`.

    Unreadable where the packed bytes are damaged, and as soon as more than `limit` unpacked bytes are read.
    fix: what to do about a file that is too long.
    """
    path = checked(path)
    with boundary(path, "read"):
        descriptor = open_regular(path, os.O_RDONLY)
    with open(descriptor, "rb") as file:
        inside: IO[bytes] = gzip.GzipFile(fileobj=file) if path.name.endswith(".gz") else file  # type: ignore[assignment]
        yield io.BufferedReader(_Bounded(path, inside, limit, fix), 1 << 20)


@contextlib.contextmanager
def text_stream(
    path: AnyPath, encoding: str = "utf-8", limit: int = LINES_LIMIT, fix: str = "", encoding_fix: str = ""
) -> Iterator[io.TextIOWrapper]:
    """Yield a file's text as a stream, see `stream`; line ends stay what they are. Unreadable if it is not text.

    A byte order mark is left out, and says whether the file is UTF-8 or UTF-16 whatever `encoding` says.
    encoding_fix: what to do about a file in another encoding.
    """
    with stream(path, limit, fix) as data:
        start = data.peek(3)
        found = next((name for mark, name in _MARKS.items() if start.startswith(mark)), encoding)
        text = io.TextIOWrapper(data, encoding=found, newline="")
        try:
            yield text
        except UnicodeError as error:
            what = f"not text in {found.removesuffix('-sig').upper()} ({_reason(error)})"
            raise Unreadable(path, what, encoding_fix) from error


def _reason(error: UnicodeError) -> str:
    """What is wrong; no position, which would count from a piece's start."""
    if isinstance(error, UnicodeDecodeError):
        return f"the byte 0x{error.object[error.start]:02x}: {error.reason}"
    return flat(error)
