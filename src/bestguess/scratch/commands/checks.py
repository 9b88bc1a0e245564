"""What commands refuse before they begin: flags out of range, prompts, files that cannot be written."""

from __future__ import annotations

import math
from pathlib import Path

from bestguess import files
from bestguess.command import UserError
from bestguess.scratch.commands.record import RESULT
from bestguess.scratch.demos import data


def prompt_tokens(prompt: str, vocabulary: data.Vocabulary, positions: int) -> list[int]:
    """Return the prompt's tokens; UserError if the model does not know them or has no room for them."""
    try:
        tokens = vocabulary.encode(prompt)
    except ValueError as error:
        raise UserError(f"--prompt: {error}; the model knows {vocabulary.characters!r}") from None
    if not 0 < len(tokens) < positions:
        raise UserError(f"--prompt: {len(tokens)} characters; give 1 to {positions - 1}")
    return tokens


def positive(flag: str, value: int) -> None:
    """UserError unless the flag's value is at least 1."""
    if value < 1:
        raise UserError(f"{flag} {value}: must be at least 1")


def not_negative(flag: str, value: int) -> None:
    """UserError unless the flag's value is 0 or more."""
    if value < 0:
        raise UserError(f"{flag} {value}: must be 0 or more")


def writable(flag: str, path: Path, kind: str) -> None:
    """UserError now, not after minutes of training, if a file of a kind cannot be written, or would replace another."""
    if path.is_dir():
        raise UserError(f"{flag} {path}: is a folder; name a file")
    try:
        files.check_writable(path, kind)
    except UserError as error:
        raise UserError(f"{flag} {error}") from None


def folder_made(flag: str, path: Path) -> None:
    """Make a folder, with its parents; UserError if it cannot be made, or if its result.json is none of ours."""
    try:
        files.make_folder(path)
        found = files.read_json(path / RESULT)
    except UserError as error:
        raise UserError(f"{flag} {error}") from None
    if found is not None and not (isinstance(found, dict) and "versions" in found):
        raise UserError(f"{flag} {path}: holds a {RESULT} that is not ours; name another folder")


def ways_to_draw(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """UserError unless a completion can be drawn like this."""
    if not 0 <= temperature < math.inf:
        raise UserError(f"--temperature {temperature}: must be 0 (the likeliest character) or more, and finite")
    if top_k is not None:
        positive("--top-k", top_k)
    if top_p is not None and not 0 < top_p <= 1:
        raise UserError(f"--top-p {top_p}: must be above 0 and at most 1")
