"""A loss curve drawn in the terminal while it is made."""

from __future__ import annotations

import math
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # a Braille cell: 2 columns of 4 dots


def curve(losses: list[float], width: int = 60, height: int = 8) -> list[str]:
    """Return `height` lines of `width` Braille characters: loss on a logarithmic scale, over steps."""
    finite = [x for x in losses if x > 0 and math.isfinite(x)]
    if not finite:
        return [" " * width] * height
    low, high = math.log(min(finite)), math.log(max(finite))
    span = high - low or 1.0
    cells = [[0] * width for _ in range(height)]
    columns, rows = 2 * width, 4 * height
    for column in range(columns):
        start = column * len(losses) // columns
        part = losses[start : max(start + 1, (column + 1) * len(losses) // columns)]
        part = [x for x in part if x > 0 and math.isfinite(x)]
        if part:
            value = math.log(sum(part) / len(part))
            row = min(rows - 1, max(0, round((high - value) / span * (rows - 1))))
            cells[row // 4][column // 2] |= _DOTS[column % 2][row % 4]
    return ["".join(chr(0x2800 + c) for c in line) for line in cells]


class LossPlot:
    """Draws the loss live on a terminal; elsewhere prints ten lines over the run. Use as a context."""

    def __init__(self, console: Console, title: str, steps: int):
        self.console, self.title, self.steps = console, title, steps
        self.losses: list[float] = []
        drawn = console.is_terminal
        self._live = Live(get_renderable=self._draw, console=console, refresh_per_second=8) if drawn else None

    def __enter__(self) -> LossPlot:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, step: int, loss: float) -> None:
        """Take note of a step's loss."""
        self.losses.append(loss)
        if self._live is None and (step == 1 or step % max(1, self.steps // 10) == 0):
            self.console.print(f"{self.title}: step {step:,}/{self.steps:,}  loss {loss:.4f}")

    def _draw(self) -> Text:
        if not self.losses:
            return Text(self.title)
        head = f"{self.title}: step {len(self.losses):,}/{self.steps:,}  loss {self.losses[-1]:.4f}"
        lines = curve(self.losses)
        lines[0] += f" {max(self.losses):.3g}"
        lines[-1] += f" {min(self.losses):.3g}"
        return Text("\n".join([head, *lines]))
