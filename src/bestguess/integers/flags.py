"""The flags of the commands that ask something of the integers family. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import tyro


@dataclass(frozen=True)
class ExplainFlags:
    """Say which recurrences a sequence may be the beginning of, how probable each is, and what comes next.

    No model has a part in it: the exact Bayes posterior over all recurrences of the generator.
    """

    terms: tyro.conf.Positional[tuple[str, ...]]
    """The terms so far, integers 0..255, such as 1 1 2 3 5 8."""
    top: int = 5
    """How many recurrences and how many next terms to show; --json gives all."""
    length: int = 8
    """The longest context (terms), from 2 to 16."""
    overflow: Literal["wrap", "end"] = "wrap"
    """How terms outside 0..255 are shown: modulo 256, or not at all (the sequence ends)."""
    json: bool = False
    """Print the result as one JSON object on standard output, and everything else on standard error."""
