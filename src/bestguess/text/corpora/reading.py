"""Documents of local files and folders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bestguess import files
from bestguess.command import UserError
from bestguess.text.corpora.documents import Documents, readable
from bestguess.text.corpora.fields import Fields
from bestguess.text.corpora.formats import READERS, TEXT, kind_of, read_records
from bestguess.text.corpora.options import WINDOWS, ReadingOptions
from bestguess.text.corpora.parts import part_of_name

_ABOUT = re.compile(r"(licen[cs]e|notice|readme|copying|citation|changelog|contributing|authors)\b", re.IGNORECASE)
"""Text files of a folder that are about the corpus, not of it."""
TEXT_LIMIT = 4 * 2**30
"""Most characters of one corpus that are held in memory."""


def read_documents(where: Path, options: ReadingOptions) -> dict[str, Documents]:
    """Return the documents of a file or folder by part: train, validation, test, or one part with an empty name.

    Parts are those that the files' names, or folders', tell; there are none unless a training file and another one
    are told apart. In a folder one format is read, the first that is there of READERS, else plain text. Raises
    UserError, in one line, for a corpus without documents.
    """
    found = files_of(where)
    alone = len(found) == 1
    if options.documents != "auto" and kind_of(found[0]) != "text":
        raise UserError(f"--documents {options.documents}: is for plain text, and {found[0]} has records; leave it out")
    by_part = _by_part(where, found, options)
    fields, read = Fields(options), dict[str, Documents]()
    for part, paths in by_part.items():
        records = _numbered(where, paths, options, alone)
        if options.documents == WINDOWS:
            read[part] = one_text(records)
            continue
        read[part] = gather(records, fields, options.max_documents)
    if not any(map(len, read.values())):
        raise UserError(f"{where}: no document in it{_why(read)}; give one with text")
    return read


def _why(read: dict[str, Documents]) -> str:
    skipped = {reason: count for one in read.values() for reason, count in one.skipped.items()}
    return f" ({', '.join(f'{count:,} {reason}' for reason, count in skipped.items())})" if skipped else ""


def files_of(where: Path) -> list[Path]:
    """Return the files that are read of a folder, in order, or the file itself."""
    if not where.is_dir():
        return [where]
    present = [path for path in files.files_in(where) if kind_of(path)]
    for kind in READERS:
        if of_kind := [path for path in present if kind_of(path) == kind and path.name != "dataset_infos.json"]:
            return of_kind
    texts = [path for path in present if kind_of(path) == "text" and not _ABOUT.match(path.name)]
    if not texts:
        raise UserError(f"{where}: no file of text, JSON, CSV or Parquet in this folder; give another")
    return texts


def _by_part(where: Path, paths: list[Path], options: ReadingOptions) -> dict[str, list[Path]]:
    if options.splits in ("auto", "given"):
        found: dict[str, list[Path]] = {}
        for path in paths:
            found.setdefault(part_of(path.relative_to(where)) if path != where else "", []).append(path)
        if "train" in found and len(found.keys() - {""}) > 1:
            if "" in found:
                other = found[""][0]
                raise UserError(f"{other}: belongs to no part, but other files do; remove it, or give --splits hash")
            return found
        if options.splits == "given":
            raise UserError(
                f"--splits given: {where} has no files named train and validation or test; give --splits hash"
            )
    return {"": paths}


def part_of(path: Path) -> str:
    """Return the part that a file's name tells, or that of the innermost folder that tells one; else an empty text.

    The name of a text file must be the part's, since it is often a title: `test.txt`, but not `test_plan.txt`.
    """
    told = part_of_name(path.name.split(".")[0], whole=kind_of(path) == "text")
    inner = (part_of_name(folder, whole=True) for folder in reversed(path.parts[:-1]))
    return told or next(filter(None, inner), "")


def _numbered(
    where: Path, paths: Iterable[Path], options: ReadingOptions, alone: bool
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (origin, the file in messages, record)."""
    for path in paths:
        origin = path.name if path == where else path.relative_to(where).as_posix()
        for record in read_records(path, options, alone):
            yield origin, str(path), record


def gather(records: Iterable[tuple[str, str, dict[str, Any]]], fields: Fields, most: int = 0) -> Documents:
    """Return the documents of one part.

    records: (origin, origin in messages, record). A record whose source, or target where there is one, is absent, null
    or empty is skipped and counted. most: documents after which reading stops; 0 for never.
    """
    sources: list[str] = []
    targets: list[str] = []
    origins: list[str] = []
    names: list[str] = []
    skipped: Counter[str] = Counter()
    held, number, last = 0, 0, ""
    for origin, where, record in records:
        number = number + 1 if origin == last else 1
        if origin != last:
            fields.check(where, record)
        last = origin
        source, target = fields.texts(f"{where}, record {number}", record)
        if not source:
            skipped["without a source" if fields.paired else "empty"] += 1
            continue
        if fields.paired and not target:
            skipped["without a target"] += 1
            continue
        held += len(source) + len(target)
        if held > TEXT_LIMIT:
            raise UserError(
                f"{where}: more than {TEXT_LIMIT:,} characters would be held in memory; "
                f"give --max-documents {len(sources)} or fewer"
            )
        sources.append(source)
        targets.append(target)
        origins.append(origin)
        names.append(_name(record, number))
        if len(sources) == most:
            break
    return Documents(sources, targets if fields.paired else None, origins, names, dict(skipped))


def one_text(records: Iterable[tuple[str, str, dict[str, Any]]]) -> Documents:
    """Return the texts of files as one document, an empty line between two files; nothing else is changed in them."""
    texts, origins, held = [], [], 0
    for origin, where, record in records:
        texts.append(readable(record[TEXT]))
        origins.append(origin)
        held += len(texts[-1])
        if held > TEXT_LIMIT:
            raise UserError(f"{where}: more than {TEXT_LIMIT:,} characters would be held in memory; give fewer files")
    return Documents(["\n".join(texts)], None, origins[:1], ["1"])


def _name(record: dict[str, Any], number: int) -> str:
    given = next((record[name] for name in ("id", "ID", "Id") if isinstance(record.get(name), str | int)), number)
    return str(given)
