"""What commands refuse before they begin: flags out of range, prompts, files that cannot be written."""

from __future__ import annotations

import math
from pathlib import Path

from bestguess import files
from bestguess.command import UserError
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


def writable(flag: str, path: Path) -> None:
    """UserError now, not after minutes of training, if a file cannot be written."""
    if path.is_dir():
        raise UserError(f"{flag} {path}: is a folder; name a file")
    try:
        files.check_writable(path)
    except UserError as error:
        raise UserError(f"{flag} {error}") from None


def folder_made(flag: str, path: Path) -> None:
    """Make a folder, with its parents; UserError if it cannot be made."""
    try:
        files.make_folder(path)
    except UserError as error:
        raise UserError(f"{flag} {error}") from None


def ways_to_draw(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """UserError unless a completion can be drawn like this."""
    if not 0 <= temperature < math.inf:
        raise UserError(f"--temperature {temperature}: must be 0 (the likeliest character) or more, and finite")
    if top_k is not None:
        positive("--top-k", top_k)
    if top_p is not None and not 0 < top_p <= 1:
        raise UserError(f"--top-p {top_p}: must be above 0 and at most 1")
