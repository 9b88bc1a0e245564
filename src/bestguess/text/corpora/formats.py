"""Records of files: JSON lines, JSON, CSV and TSV, Parquet and plain text, each of them packed by gzip or not.

A record is a mapping from field to value; it comes with where it stands, for messages. Plain text has one field.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from bestguess import files
from bestguess.command import Absent, UserError, with_extra
from bestguess.text.corpora.options import WINDOWS, ReadingOptions

Record: TypeAlias = dict[str, Any]
TEXT = "text"
"""The only field of plain text, and of JSON that is a list of texts."""
LIMIT = 2 * 2**30
"""Most bytes of a file that are read, unpacked; of a file that is parsed as a whole, `files.reading.JSON_LIMIT`."""
_SHORTEN = "; give --max-documents N to read the first N"
_ENCODING = "; give its encoding, such as --encoding cp1252"


def kind_of(path: Path) -> str:
    """Return the format that a file's name tells, a key of READERS, or an empty string."""
    name = path.name.lower().removesuffix(".gz")
    return _KINDS.get(Path(name).suffix, "")


def read_records(path: Path, options: ReadingOptions, alone: bool) -> Iterator[Record]:
    """Yield a file's records. Raises UserError, in one line, for a file that is none of these or damaged.

    alone: whether it is the only file of the corpus: then, by default, a plain text's documents are its paragraphs.
    """
    kind = kind_of(path)
    if not kind:
        raise UserError(f"{path}: not a format that is read{_remedy(path)}")
    if kind == "text":
        return _read_text(path, options, alone)
    return READERS[kind](path, options)


def _remedy(path: Path) -> str:
    if path.suffix.lower() in (".7z", ".zip", ".tar", ".tgz", ".rar", ".bz2", ".xz", ".zst"):
        return "; unpack it and give the folder"
    return f"; known are {', '.join(_KINDS)}, each also with .gz"


def _text_of(path: Path, options: ReadingOptions, at_once: bool = False) -> AbstractContextManager[TextIO]:
    """The file's text as a stream. at_once: whether it is to be parsed as a whole."""
    limit, fix = (LIMIT, _SHORTEN)
    if at_once:
        limit, fix = files.reading.JSON_LIMIT, "; write it as JSON lines, which are read one by one"
    return files.text_stream(path, options.encoding, limit, fix, _ENCODING)


def _read_text(path: Path, options: ReadingOptions, alone: bool) -> Iterator[Record]:
    what = options.documents if options.documents != "auto" else ("paragraphs" if alone else "file")
    with _text_of(path, options) as text:
        if what in ("file", WINDOWS):
            yield {TEXT: text.read()}
        elif what == "lines":
            for line in text:
                yield {TEXT: line}
        else:
            lines: list[str] = []
            for line in text:
                if line.strip():
                    lines.append(line)
                elif lines:
                    yield {TEXT: "".join(lines)}
                    lines = []
            yield {TEXT: "".join(lines)}


def _read_json_lines(path: Path, options: ReadingOptions) -> Iterator[Record]:
    with _text_of(path, options) as text:
        for number, line in enumerate(text, start=1):
            if line.strip():
                yield _record(_json(line, path, f"line {number}: "), path, f"line {number}")


def _read_json(path: Path, options: ReadingOptions) -> Iterator[Record]:
    """A list of objects (SAMSum's form) or of texts; an object at the start of the file begins JSON lines."""
    with _text_of(path, options, at_once=True) as text:
        data = text.read()
    if data.lstrip()[:1] != "[":
        yield from _read_json_lines(path, options)
        return
    for number, value in enumerate(_json(data, path, ""), start=1):
        yield _record(value, path, f"record {number}")


def _json(text: str, path: Path, where: str) -> Any:
    try:
        return files.parse_json(text, path)
    except files.Unreadable as error:
        raise files.Unreadable(path, f"{where}{error.reason}") from error


def _record(value: Any, path: Path, where: str) -> Record:
    if isinstance(value, str):
        return {TEXT: value}
    if not isinstance(value, dict):
        raise UserError(f"{path}: {where} is a {type(value).__name__}; give objects with fields, or texts")
    return value


def _read_table(path: Path, options: ReadingOptions) -> Iterator[Record]:
    """The first line names the fields; a comma, a semicolon or a tab divides them, whichever it has the most of."""
    csv.field_size_limit(LIMIT)
    with _text_of(path, options) as text:
        start = text.readline()
        divider = max(",;\t", key=start.count)
        rows = csv.reader(_again(start, text), delimiter=divider, strict=True)
        try:
            names = next(rows, [])
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise UserError(f"{path}: the field {twice[0]!r} occurs twice in its first line; rename one")
            for row in rows:
                if len(row) == len(names):
                    yield dict(zip(names, row))
                elif row:
                    what = f"line {rows.line_num}: {len(row)} fields, where the first line names {len(names)}"
                    raise files.Unreadable(path, what, "; put fields with a divider in them in quotation marks")
        except csv.Error as error:
            raise files.Unreadable(path, f"line {rows.line_num}: not CSV ({error})") from error


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _read_parquet(path: Path, options: ReadingOptions) -> Iterator[Record]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise Absent(f"{path}: reading Parquet needs pyarrow; {with_extra('text', 'pyarrow')}") from None
    with files.DataFile(path) as file:
        try:
            table = parquet.ParquetFile(_unpacked(path) if path.name.endswith(".gz") else _Seekable(file))
            seen = 0
            for batch in table.iter_batches(256):
                seen += batch.nbytes
                if seen > LIMIT:
                    raise files.Unreadable(path, f"holds more than {LIMIT:,} bytes", _SHORTEN)
                yield from batch.to_pylist()
        except (arrow.ArrowException, OSError, ValueError, TypeError, LookupError, MemoryError) as error:
            reason = " ".join(str(error).split())[:200]
            raise files.Unreadable(path, f"not a whole Parquet file ({reason})") from error


def _unpacked(path: Path) -> io.BytesIO:
    with files.stream(path, LIMIT, "; unpack it") as data:
        return io.BytesIO(data.read())


class _Seekable(io.RawIOBase):
    """An open file for a library that wants to read it itself."""

    def __init__(self, file: files.DataFile) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer)
        count = max(0, min(len(view), self._file.size - self._at))
        self._file.read_into(self._at, view[:count])
        self._at += count
        return count


_Reader: TypeAlias = Callable[[Path, ReadingOptions], Iterator[Record]]
READERS: dict[str, _Reader] = {
    "parquet": _read_parquet,
    "jsonl": _read_json_lines,
    "csv": _read_table,
    "json": _read_json,
}
"""By format, in the order in which a folder that holds several is searched; plain text comes last."""
_KINDS = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".rst": "text",
}
