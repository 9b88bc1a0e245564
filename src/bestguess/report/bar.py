"""Progress over many things: a bar on a terminal; in a log, one line per tenth, after the first five seconds."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_PATIENCE = 5.0
"""Seconds before the first line in a log."""


class Bar:
    """Progress over `total` things; a context manager."""

    def __init__(self, console: Console, total: int, label: str) -> None:
        self._console, self._total, self._label = console, max(total, 1), label
        self._start, self._told = time.monotonic(), 0
        self._bar: Progress | None = None

    def __enter__(self) -> Bar:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(self._label, total=self._total)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int) -> None:
        """Show that `done` of the total are done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
            return
        took = time.monotonic() - self._start
        if took > _PATIENCE and (done - self._told) * 10 >= self._total:
            self._told = done
            left = took * (self._total - done) / max(done, 1)
            self._console.print(f"{self._label}: {done / self._total:.0%}, about {left:.0f} s left")
