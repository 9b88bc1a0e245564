"""What every command shares: its errors, its console, its `--json` flag. Imports nothing heavy."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


class UserError(Exception):
    """Bad input: one line that names the flag, file or key at fault and the mend. Exit status 2."""


class Failure(Exception):
    """A command that ran but whose result is a failure (a self-test, a check). Exit status 1.

    result: what --json prints all the same, where there is something to print.
    """

    def __init__(self, message: str, result: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.result = result


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` for the known word nearest to `word`, or an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def make_console(json: bool) -> Console:
    """Return the console that a command talks to: standard output, or standard error under `--json`."""
    from rich.console import Console

    # A pipe has no width of its own: 100 columns keep tables whole in logs.
    file = sys.stderr if json else sys.stdout
    return Console(file=file, width=None if file.isatty() else 100, highlight=False, soft_wrap=False)
