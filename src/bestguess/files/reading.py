"""Bytes, text, YAML and JSON, read within bounds."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bestguess.files.places import AnyPath, Unreadable, boundary, checked, open_regular

MB = 2**20
YAML_LIMIT, JSON_LIMIT, LINES_LIMIT = MB, 256 * MB, 4096 * MB
"""The largest files that are read, in bytes."""


def read_bytes(path: AnyPath, limit: int = JSON_LIMIT) -> bytes:
    """Return what a regular file of at most `limit` bytes holds."""
    path = checked(path)
    with boundary(path, "read"), open(open_regular(path, os.O_RDONLY), "rb") as file:
        return file.read(size_of(path, file.fileno(), limit))


def size_of(path: Path, descriptor: int, limit: int) -> int:
    """Return the bytes of an open file; Unreadable where they are more than `limit`."""
    size = os.fstat(descriptor).st_size
    if size > limit:
        raise Unreadable(path, f"has {size:,} bytes, and at most {limit:,} are read")
    return size


def read_text(path: AnyPath, limit: int = JSON_LIMIT) -> str:
    """Return a file's text, which is UTF-8."""
    data = read_bytes(path, limit)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(path, f"not text in UTF-8 ({error})") from error


def read_yaml(path: AnyPath) -> Any:
    """Return the value of a YAML file: mappings, lists, texts, numbers, true and null."""
    return parse_yaml(read_text(path, YAML_LIMIT), os.fspath(path))


def parse_yaml(text: str, where: str) -> Any:
    """Return the value of a YAML text, see `read_yaml`; `where` names it in errors.

    A key that stands twice, aliases that multiply, deep nesting, dates, sets and tags of Python's are all refused.
    """
    from bestguess.files.yaml_loader import load

    try:
        if len(text) > YAML_LIMIT:
            raise ValueError(f"has {len(text):,} characters, and at most {YAML_LIMIT:,} are read")
        return load(text)
    except Exception as error:  # PyYAML raises whatever Python does on what it cannot construct
        raise Unreadable(where, f"not YAML ({flat(error)})") from error


def flat(error: Exception) -> str:
    """Return what an error says, in one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def read_json(path: AnyPath) -> Any:
    """Return the value of a JSON file, or None where there is none; Unreadable where it is damaged."""
    path = checked(path)
    if not os.path.lexists(path):
        return None
    return parse_json(read_bytes(path), path)


def parse_json(text: bytes | str, path: AnyPath) -> Any:
    """Return the value of a JSON text that stands in `path`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        fix = "; delete it and run the command again that writes it"
        raise Unreadable(path, f"damaged ({flat(error)})", fix) from error


def read_json_lines(path: AnyPath, sound: Callable[[Any], bool] = lambda value: True) -> list[Any]:
    """Return the values of a file of JSON lines; a last line that a kill cut in half is left out.

    sound: whether a value is one that belongs there. A broken line elsewhere is damage, and Unreadable.
    """
    path = checked(path)
    found: list[Any] = []
    rows = read_bytes(path, LINES_LIMIT).split(b"\n")
    for number, row in enumerate(rows, start=1):
        if not row.strip(b"\x00 \r"):  # after a power cut, some file systems leave zeros at the end
            continue
        try:
            value = json.loads(row)
            if not sound(value):
                raise ValueError("not a line of this file")
        except (ValueError, RecursionError) as error:
            # What is not followed by a line end is the line that a kill cut short.
            if number == len(rows):
                break
            raise Unreadable(path, f"line {number} is damaged ({flat(error)})", "; delete this line") from error
        found.append(value)
    return found
