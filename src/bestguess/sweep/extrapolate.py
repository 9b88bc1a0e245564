"""What is left of a sweep, from what its finished runs took. Imports nothing heavy."""

from __future__ import annotations

from typing import Any

import numpy as np

from bestguess.sweep.ledger import Ledger


def extrapolate(ledger: Ledger) -> dict[str, Any] | None:
    """Return the runs that are left and a worker's seconds that they will take; None where none is done, or all are.

    Each is counted as the mean of the finished runs of its shape. Runs of a test train in smaller batches than the
    whole sweep's, which takes longer for each, so it is rather too much. `unseen`: runs of shapes of which none is
    done; they are counted as the mean of all.
    """
    runs, seconds = ledger.runs(), {one["run"]: float(one["seconds"]) for one in ledger.records()}
    left = [run for run in runs.values() if run.run not in seconds]
    if not seconds or not left:
        return None
    of_shape: dict[str, list[float]] = {}
    for name, took in seconds.items():
        of_shape.setdefault(runs[name].shape, []).append(took)
    mean = float(np.mean(list(seconds.values())))
    total = sum(float(np.mean(of_shape[run.shape])) if run.shape in of_shape else mean for run in left)
    unborn = ledger.planned - len(runs)  # what bayes has not proposed yet
    unseen = sum(run.shape not in of_shape for run in left) + unborn
    return {"runs": len(left) + unborn, "seconds": total + unborn * mean, "unseen": unseen}


def in_words(found: dict[str, Any]) -> str:
    """Return an extrapolation as a line."""
    seconds, runs = found["seconds"], found["runs"]
    size = f"{seconds:,.0f} s" if seconds < 3600 else f"{seconds / 3600:,.1f} h"
    unseen = f"; {found['unseen']} of them have shapes of which no run is finished" if found["unseen"] else ""
    others = f"{runs:,} runs" if runs > 1 else "run"
    return f"the other {others} will take one worker about {size}, extrapolated from the finished runs{unseen}"
