"""Is this loss normal? The first thing that every demo says: the best possible, the best that reads nothing, and it."""

from __future__ import annotations

from rich.console import Console

from bestguess.scratch.demos.data import gained


def show_scale(console: Console, floor: float, constant: float) -> None:
    """Say before training between what the loss should come to lie."""
    console.print(
        f"Is a loss normal? In nats per character: {floor:.4f} is the best possible, by counting; {constant:.4f} is "
        "the best guess that reads nothing. A new model is above both, as it is sure of what it has no reason for."
    )


def show_place(console: Console, loss: float, floor: float, constant: float) -> float:
    """Say after training where the loss lies, and return the fraction of what can be gained over reading nothing."""
    part = gained(loss, floor, constant)
    if loss > constant:
        said = "NOT normal: worse than a guess that reads nothing"
    elif loss < floor * (1 - 1e-3) - 1e-6:
        said = "NOT normal: below the best possible, so it sees what it should predict, or counts something else"
    else:
        said = f"{100 * part:.1f} % of the way from reading nothing to the best possible"
    console.print(f"Loss {loss:.4f} nats per character ({floor:.4f} at best, {constant:.4f} reading nothing): {said}.")
    return part


def show_beside(console: Console, rows: list[tuple[str, str, str]]) -> None:
    """Print TinyTorch's published figures beside ours, line by line."""
    from rich.table import Table

    table = Table("figure", "TinyTorch's summary", "here", box=None)
    for row in rows:
        table.add_row(*row)
    console.print(table)
