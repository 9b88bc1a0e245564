"""Progress of a training and tables of results, on a terminal and in logs."""

from __future__ import annotations

import math
import re
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from bestguess.command import shown

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.progress import Progress
    from rich.table import Table


class TrainingProgress:
    """A progress bar with loss, normalised loss, speed and time left; a context manager.

    On a console that is no terminal it prints a plain line after about every tenth of the steps
    instead. The speed is in steps per second, times the runs of the batch where there are several.
    """

    def __init__(
        self,
        console: Console,
        total_steps: int,
        n_runs: int = 1,
        label: str = "training",
        *,
        start_step: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._total, self._runs, self._label = console, total_steps, n_runs, label
        self._clock = clock
        self._step = self._printed = start_step
        self._seconds_per_step: float | None = None
        self._when: float | None = None
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
            from rich.table import Column

            def whole() -> Column:  # where room is short, the bar yields, never a figure
                return Column(no_wrap=True)

            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                MofNCompleteColumn(table_column=whole()),
                TextColumn("{task.fields[figures]}", table_column=whole()),
                console=self._console,
                expand=True,
            )
            self._task = self._bar.add_task(self._label, total=self._total, completed=self._step, figures="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, step: int, loss: float, name: str = "", value: float = math.nan, more: str = "") -> None:
        """Show that `step` steps are done, the loss then, a validation figure by its name, and what more there is."""
        self._measure(step)
        # On 80 columns the bar needs the room that the longer words take.
        short = self._bar is not None and self._console.width < 100
        figures = "  ".join([*self._figures(loss, name, value, short), *([more] if more else [])])
        if self._bar is not None:
            self._bar.update(self._task, completed=step, figures=figures)
        elif step >= self._total or (step - self._printed) * 10 >= self._total:
            self._printed = step
            share = step / self._total if self._total else 1.0
            line = f"{self._label}  {step:,}/{self._total:,} ({share:.0%})  {figures}"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _measure(self, step: int) -> None:
        """Keep a running mean of the time of a step, without the first update: that one also compiles."""
        now, done = self._clock(), step - self._step
        if self._when is not None and done > 0:
            latest = (now - self._when) / done
            before = self._seconds_per_step
            self._seconds_per_step = latest if before is None else 0.7 * before + 0.3 * latest
        self._when, self._step = now, step

    def _figures(self, loss: float, name: str, value: float, short: bool) -> list[str]:
        figures = [f"loss {loss:.4f}"]
        if name:
            told = {"normalised_loss": "norm" if short else "normalised"}.get(name, name.replace("_", " "))
            digits = {"accuracy": f"{value:.1%}", "normalised_loss": over_one(value)}.get(name, f"{value:.4f}")
            figures.append(f"{told} {digits}")
        if self._seconds_per_step:
            rate = self._runs / self._seconds_per_step
            figures.append(f"{_short(rate)} {'run-steps/s' if self._runs > 1 else 'steps/s'}")
            figures.append(f"{_duration((self._total - self._step) * self._seconds_per_step)} left")
        return figures


class PartsProgress:
    """A progress bar for each part of a batch of runs that was split, one after the other; a context manager.

    resumed: the step that each run goes on from. It shows means over the part's runs that are finite.
    """

    def __init__(
        self, console: Console, total_steps: int, n_runs: int, label: str = "training", resumed: Sequence[int] = ()
    ) -> None:
        self._console, self._total, self._runs, self._label = console, total_steps, n_runs, label
        self._resumed = resumed
        self._part: range | None = None
        self._progress: TrainingProgress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.__exit__(kind, error, trace)
        self._progress = None

    def update(
        self,
        part: range,
        step: int,
        loss: Iterable[float],
        name: str = "",
        values: Iterable[float] = (),
        more: str = "",
    ) -> None:
        """Show what the runs of `part` have reached: the loss, and a validation figure by its name; one value each."""
        if part != self._part:
            self.__exit__(None, None, None)
            label = self._label if len(part) == self._runs else f"runs {part.start}–{part.stop - 1}"
            start = self._resumed[part.start] if self._resumed else 0
            self._progress = TrainingProgress(self._console, self._total, len(part), label, start_step=start)
            self._progress.__enter__()
            self._part = part
        assert self._progress is not None
        self._progress.update(step, _mean(loss), name, _mean(values), more)


def _mean(values: Iterable[float]) -> float:
    finite = [float(value) for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else math.nan


def results_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> Table:
    """Return a rich table: numbers to the right, words to the left, None as a dash.

    Where it is too wide it is set closer, and lines break between words; only where that is not enough, within them.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    texts = [[format_cell(cell) for cell in row] for row in rows]
    heads, numeric = [], []
    for place, column in enumerate(columns):
        cells = [row[place] for row in rows if row[place] != ""]  # an empty cell is neither a word nor a number
        numeric.append(bool(cells) and all(is_figure(cell) or cell is None for cell in cells))
        # A long name breaks over its figures rather than spreading them.
        widest = max([len(text[place]) for text in texts] + [len(word) for word in column.split()] + [1])
        heads.append("\n".join(textwrap.wrap(column, widest, break_long_words=False)))
    whole = [
        max(len(line) for text in (head, *(text[place] for text in texts)) for line in (text or " ").split("\n"))
        for place, head in enumerate(heads)
    ]
    words = [
        max(len(word) for text in (head, *(text[place] for text in texts)) for word in (text.split() or [""]))
        for place, head in enumerate(heads)
    ]
    least = [full if figures else word for full, word, figures in zip(whole, words, numeric)]

    class Fitted(Table):
        """A table that fits the console's width, under a title that folds at it too."""

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            if title:
                yield Text(shown(title), style="bold")
            between = len(columns) - 1
            room = options.max_width - 2 - between
            wide = sum(whole) + between > room
            unbroken = sum(least) <= room
            widths = list(least if unbroken else words)
            spare = room - sum(widths)
            self.padding = 0 if wide else (0, 1)
            for i, column in enumerate(self.columns):
                column.no_wrap = numeric[i] and unbroken
                column.width = None
                if wide and spare >= 0:  # what is left goes to the first columns that lack it
                    more = min(spare, whole[i] - widths[i])
                    spare -= more
                    column.width = widths[i] + more
            yield from super().__rich_console__(console, options)

    table = Fitted(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")
    for head, figures in zip(heads, numeric):
        table.add_column(Text(shown(head, keep="\n")), justify="right" if figures else "left", overflow="fold")
    for text in texts:
        table.add_row(*(Text(shown(cell, keep="\n")) for cell in text))
    return table


def over_one(loss: float, standard_error: float | None = None) -> str:
    """Return a normalised loss as text by its excess, to three digits: `1 + 5.55e-4 ± 5e-6`; from 2 on, as it is."""
    excess = loss - 1
    if not 0 < excess < 1:
        return f"{loss:.4g}" + ("" if standard_error is None else f" ± {standard_error:.1g}")
    parts = [f"{excess:.2e}"] + ([] if standard_error is None else [f"{standard_error:.0e}"])
    told = [f"{digits}e{int(power)}" for digits, power in (part.split("e") for part in parts)]
    return "1 + " + " ± ".join(told)


def two_digits(value: float) -> str:
    """Return a figure as text by two digits, without a zero before its exponent: `6.1e-7`, `0.060`, `57`."""
    return re.sub(r"e([+-])0(?=\d)", r"e\1", f"{value:#.2g}").removesuffix(".") if value else "0"


def skill_text(skill: float | None, digits: int = 3) -> str:
    """Return a skill as text, also where there is none: None, or NaN."""
    return "no headroom" if skill is None or math.isnan(skill) else f"{skill:.{digits}f}"


def with_error(value: float, standard_error: float | None = None, least: int = 4, most: int = 7) -> str:
    """Return `value ± standard_error`, with as many decimals (4 to 7) as the error needs to show a digit."""
    if standard_error is None or not standard_error > 0 or not math.isfinite(standard_error):
        return f"{value:.{least}f}"
    decimals = min(max(least, -math.floor(math.log10(standard_error))), most)
    return f"{value:.{decimals}f} ± {standard_error:.{decimals}f}"


def format_cell(cell: Any) -> str:
    """Return a cell as text: floats to five significant digits, thousands set apart, None as a dash."""
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        if not math.isfinite(cell):
            return "nan" if math.isnan(cell) else ("∞" if cell > 0 else "−∞")
        return f"{cell:,.5g}" if abs(cell) < 1e5 else f"{cell:,.0f}"
    return str(cell)


_WORDS = 2
"""Words that a figure may have beside it, as in `12 s alone`: with more it is a sentence."""


def is_figure(cell: Any) -> bool:
    """Return whether a cell of a table is a number, or text that begins as one: it goes to the right."""
    # A cell such as "1.0002 ± 0.0001" or "12 %" is a figure as well; "12 of 84 values were reached" is a sentence.
    if not isinstance(cell, str):
        return isinstance(cell, int | float)
    return cell[:1] in "0123456789+-−–." and cell != "" and len(re.findall(r"[^\W\d_]{2,}", cell)) <= _WORDS


def _short(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _duration(seconds: float) -> str:
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
