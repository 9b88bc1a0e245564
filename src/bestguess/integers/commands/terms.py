"""The terms of a sequence as people type them, and the counts that they ask for. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bestguess.command import UserError, check_range
from bestguess.integers.config import CLASSES
from bestguess.integers.words import number

MOST_DIGITS = 300
"""Of one term."""


def check_counts(flags: object, most: Mapping[str, int]) -> None:
    """Raise a UserError for a count among a command's flags that is below 1 or above its most."""
    for name, bound in most.items():
        check_range(f"--{name}", getattr(flags, name), 1, bound)


def parse_integers(words: Sequence[str]) -> tuple[int, ...]:
    """Return terms as typed, any integers: `1 2 3`, `1,2,3`, "1, 2, 3, …" in one string, [1, 2], with − or -.

    Raises UserError, in one line, where there are none or one is no integer.
    """
    text = " ".join(words).strip()
    if text[:1] in "[(" and text[-1:] in "])":
        text = text[1:-1]
    text = re.sub(r"[\s,;]*(\.\.\.|…)\s*$", "", text)
    pieces = [piece for piece in re.split(r"[\s,;]+", text) if piece]
    if not pieces:
        raise UserError("no terms given; name the beginning of a sequence, such as 2 4 8 16")
    return tuple(_integer(piece) for piece in pieces)


def parse_residues(words: Sequence[str], longest: int) -> tuple[int, ...]:
    """Return terms as a model of `longest` terms sees them; UserError if one is outside 0..255, or there are more."""
    terms = parse_integers(words)
    for term in terms:
        if not 0 <= term < CLASSES:
            raise UserError(
                f"term {number(term)}: outside 0..{CLASSES - 1}; sequences are shown modulo {CLASSES}, "
                f"so write {term % CLASSES} if you mean that"
            )
    if len(terms) > longest:
        raise UserError(
            f"{len(terms)} terms: the context holds at most {longest}; give the last {longest}, or the first"
        )
    return terms


def _integer(piece: str) -> int:
    digits = piece.replace("−", "-")
    if not re.fullmatch(r"[+-]?[0-9]+", digits):
        shown = piece if len(piece) <= 40 else piece[:40] + "…"
        raise UserError(f"term {shown!r}: not an integer; give whole numbers, such as 2 4 8 16 or 5,3,1,-1")
    if len(digits) > MOST_DIGITS:
        raise UserError(f"term {digits[:20]}…: {len(digits)} characters; at most {MOST_DIGITS}")
    return int(digits)
