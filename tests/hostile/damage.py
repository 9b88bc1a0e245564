"""Damage to a file: what disks, people and strangers do to it. Every function is given a random generator."""

from __future__ import annotations

import csv
import io
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**20, -(10**20), 0.5, -0.0, 1e300, float("nan"), float("inf")),
    *("", "x", "0", "../x", "/etc/passwd", "a\0b", "[/b]", "\x1b[31m", "\ud800", "9" * 5000, "é" * 300),
    *([], {}, [[]], [None], ["x"], {"x": 1}, [1, 2, 3], "2024-13-45", "!!int abc"),
)
"""What may stand in the place of any value of a JSON or YAML file."""


def truncated(path: Path, rng: random.Random) -> None:
    """Cut the file off."""
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data) + 1)])


def flipped(path: Path, rng: random.Random) -> None:
    """Flip a few bits."""
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 1, 8, 64))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def overwritten(path: Path, rng: random.Random) -> None:
    """Put zeros, or noise, over a part: a disk's lost block."""
    data = bytearray(path.read_bytes())
    start = rng.randrange(len(data) + 1)
    length = rng.choice((1, 16, 512, len(data)))
    data[start : start + length] = bytes(length) if rng.random() < 0.5 else rng.randbytes(length)
    path.write_bytes(data)


def grown(path: Path, rng: random.Random) -> None:
    """Add something at the end."""
    with open(path, "ab") as file:
        file.write(rng.choice((b"\n", b"\0" * 512, b"{", b"x", path.read_bytes()[:4096])))


def emptied(path: Path, rng: random.Random) -> None:
    """Leave an empty file."""
    path.write_bytes(b"")


def swapped(path: Path, rng: random.Random) -> None:
    """Put another file of the same folder in its place."""
    others = [one for one in sorted(path.parent.iterdir()) if one.is_file() and not one.is_symlink() and one != path]
    if others:
        path.write_bytes(rng.choice(others).read_bytes())


def absent(path: Path, rng: random.Random) -> None:
    """Remove it."""
    path.unlink()


def fifo(path: Path, rng: random.Random) -> None:
    """Put a pipe in its place, which nobody writes to."""
    path.unlink()
    os.mkfifo(path)


def folder(path: Path, rng: random.Random) -> None:
    """Put a folder in its place."""
    path.unlink()
    path.mkdir()
    (path / "x").write_text("x")


def link(path: Path, rng: random.Random) -> None:
    """Put a link in its place: to itself, to nothing, or to a file or folder outside."""
    outside = Path.cwd() / "outside"
    path.unlink()
    os.symlink(rng.choice((path.name, "nowhere", outside / "file", outside, "/dev/zero", "/dev/full")), path)


def restructured(path: Path, rng: random.Random) -> None:
    """Change one place of a JSON or YAML file's value; of JSON lines, of one line."""
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    if path.suffix not in (".yaml", ".yml"):
        try:
            values = [json.loads(line) for line in lines] if path.suffix == ".jsonl" else json.loads(text)
        except ValueError:  # damaged already, in another way
            return
    if path.suffix == ".jsonl" and lines:
        i = rng.randrange(len(lines))
        lines[i] = json.dumps(changed(values[i], rng)) + "\n"
        path.write_text("".join(lines))
    elif path.suffix in (".yaml", ".yml"):
        import yaml

        value = changed(yaml.safe_load(text), rng)
        told = json.dumps(value) if rng.random() < 0.5 else yaml.safe_dump(value, sort_keys=False)
        path.write_text(told.encode(errors="replace").decode())
    else:
        path.write_text(json.dumps(changed(values, rng)))


def changed(value: Any, rng: random.Random) -> Any:
    """Return a JSON value with one place in it replaced, removed, doubled, or put one deeper."""
    if isinstance(value, dict | list) and value and rng.random() < 0.85:
        if isinstance(value, list):
            i = rng.randrange(len(value))
            match rng.randrange(6):
                case 0:
                    return value[:i] + value[i + 1 :]
                case 1:
                    return [*value[:i], value[i], *value[i:]]
            return [*value[:i], changed(value[i], rng), *value[i + 1 :]]
        key = rng.choice(list(value))
        rest = {name: one for name, one in value.items() if name != key}
        match rng.randrange(8):
            case 0:
                return rest
            case 1:
                return rest | {rng.choice(("x", key + "x", "../x", "")): value[key]}
        return value | {key: changed(value[key], rng)}
    if rng.random() < 0.1:
        return [value] if rng.random() < 0.5 else {"x": value}
    return rng.choice(VALUES)


def retyped(path: Path, rng: random.Random) -> str:
    """Put another value into a few cells of a table, or take a column or a row away."""
    rows = list(csv.reader(io.StringIO(path.read_text())))
    way = rng.randrange(6)
    if way == 0:
        gone = rng.randrange(len(rows[0]))
        rows = [row[:gone] + row[gone + 1 :] for row in rows]
    elif way == 1:
        del rows[rng.randrange(len(rows))]
    elif way == 2:
        i = rng.randrange(len(rows))
        rows[i] = rows[i][: rng.randrange(len(rows[i]))]
    else:
        for _ in range(rng.choice((1, 1, 4))):
            i = rng.randrange(len(rows))
            rows[i][rng.randrange(len(rows[i]))] = str(rng.choice((*VALUES, *VALUES, rng.choice(rows[i]))))
    told = io.StringIO()
    csv.writer(told, lineterminator="\n").writerows(rows)
    path.write_text(told.getvalue().encode(errors="replace").decode())
    return "retyped"


TEXTS = (".json", ".jsonl", ".yaml", ".yml")
BYTES: tuple[Callable[[Path, random.Random], None], ...] = (truncated, flipped, flipped, overwritten, grown)
PLACES: tuple[Callable[[Path, random.Random], None], ...] = (emptied, swapped, absent, fifo, folder, link)


def damage(path: Path, rng: random.Random) -> str:
    """Damage a file in one way; return which."""
    if path.suffix in TEXTS and rng.random() < 0.6:
        way: Callable[[Path, random.Random], None] = restructured
    else:
        way = rng.choice((*BYTES, *PLACES))
    if not way(path, rng) and way is restructured and rng.random() < 0.2:
        rng.choice(BYTES)(path, rng)
    return way.__name__
