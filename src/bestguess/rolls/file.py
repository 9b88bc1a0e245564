"""A file of unsigned 16-bit values, little-endian, of any size: random reads in bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from bestguess import files
from bestguess.command import Absent, UserError

VALUES = 1 << 16
"""Number of different uint16 values."""
_BUFFER = 1 << 20
"""Values read at a time: 2 MiB."""


@dataclass(frozen=True, eq=False)
class Summary:
    """Result of one pass over a file, or over parts of it."""

    n: int
    """Values read."""
    counts: np.ndarray
    """Counts by value, int64 [65536]."""
    sha256: str
    """SHA-256 of the bytes read."""

    @property
    def distinct(self) -> int:
        """Number of different values in the file."""
        return int(np.count_nonzero(self.counts))

    @property
    def lowest(self) -> int:
        """Smallest value in the file."""
        return int(np.flatnonzero(self.counts)[0])

    @property
    def highest(self) -> int:
        """Largest value in the file."""
        return int(np.flatnonzero(self.counts)[-1])


class RollsFile:
    """An open file of uint16 values; a context manager. Raises UserError, in one line, for anything else.

    flag: the file's name in error messages, `FILE` or a flag.
    least: the fewest values that are of use.
    """

    def __init__(self, path: Path, *, flag: str = "FILE", least: int = 1) -> None:
        self.path, self._name = path, f"{flag} {path}"
        try:
            self._file = files.DataFile(path, self._name)
        except files.Unreadable as error:
            kind = Absent if isinstance(error, Absent) else UserError
            moved = "; if a run's file was moved, rolls evaluate RUN --u16-path PATH finds it"
            raise kind(f"{error}; give a file of uint16 values{moved if flag == '--u16-path' else ''}") from None
        try:
            self.n = self._checked_length(least)
        except BaseException:
            self.close()
            raise

    def _checked_length(self, least: int) -> int:
        size = self._file.size
        if size == 0:
            raise UserError(f"{self._name}: empty; give a file of uint16 values, 2 bytes each, little-endian")
        if size % 2:
            raise UserError(f"{self._name}: {size:,} bytes is an odd number; uint16 values take 2 bytes each")
        if size // 2 < least:
            raise UserError(f"{self._name}: {size // 2:,} values are too few; give {least:,} or more")
        return size // 2

    def __enter__(self) -> RollsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the values from `start` up to `stop`, uint16 [stop − start]."""
        out = np.empty(stop - start, "<u2")
        self.read_into(start, out)
        return out.astype(np.uint16, copy=False)

    def read_into(self, start: int, out: np.ndarray) -> None:
        """Fill `out`, little-endian uint16 [count], with the values from `start` on. UserError past the file's end."""
        if start < 0 or start + len(out) > self.n:
            raise ValueError(f"values {start} to {start + len(out)} are outside the file's {self.n}")
        self._file.read_into(2 * start, out.data)

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """Yield all values from `start` to `stop`, uint16 [≤ 2^20] each, in a buffer that the next one reuses."""
        stop = self.n if stop is None else stop
        buffer = np.empty(min(_BUFFER, max(stop - start, 1)), "<u2")
        for first in range(start, stop, len(buffer)):
            part = buffer[: min(len(buffer), stop - first)]
            self.read_into(first, part)
            yield part.astype(np.uint16, copy=False)

    def summary(self, parts: list[tuple[int, int]] | None = None) -> Summary:
        """Return the counts and the hash of the file, or of `parts` of it, as (start, stop)."""
        counts, digest, n = np.zeros(VALUES, np.int64), hashlib.sha256(), 0
        for start, stop in [(0, self.n)] if parts is None else parts:
            for values in self.chunks(start, stop):
                counts += np.bincount(values, minlength=VALUES)
                digest.update(values.astype("<u2", copy=False).data)
                n += len(values)
        self.check_untouched()
        return Summary(n, counts, digest.hexdigest())

    def check_untouched(self) -> None:
        """Raise UserError if the file was written to after it was opened."""
        self._file.check_unchanged()
