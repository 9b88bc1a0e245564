"""Which run of a folder a command takes."""

from __future__ import annotations

from bestguess.command import UserError
from bestguess.workflow.training import Training


def run_to_use(training: Training, number: int | None) -> int:
    """Return the run of a folder that was asked for, or the one that validation data select.

    Raises UserError where there is no such run, or where runs differ in α: then their scores do not compare.
    """
    runs = training.runs
    if number is None:
        if len({run.setting for run in runs}) > 1:
            raise UserError(
                f"--number: the folder's runs differ in α, and so do their scores; give one of 0..{len(runs) - 1}"
            )
        return training.shown()
    if not 0 <= number < len(runs):
        raise UserError(f"--number {number}: the folder has runs 0..{len(runs) - 1}")
    return number
