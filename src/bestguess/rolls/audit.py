"""`bestguess rolls audit`: finds mistakes in how a sequence model was trained and tested."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from bestguess.command import Failure, UserError
from bestguess.report.bar import Bar
from bestguess.rolls import checks
from bestguess.rolls.checks import FAULT, NOT_CHECKED, Data, Finding
from bestguess.rolls.file import RollsFile
from bestguess.rolls.flags import AuditFlags
from bestguess.rolls.protocol import Protocol, read_protocol
from bestguess.rolls.repeats import Repeats, counts_of, find_repeats


def audit(flags: AuditFlags, console: Console) -> dict[str, Any]:
    """Print and return the findings about a protocol; Failure with them if there is a fault."""
    protocol, path = read_protocol(flags.protocol)
    with _opened(flags, protocol, path) as (file, why):
        findings = check(protocol, None if file is None else _data(file, console), why)
    faults = sum(one.verdict == FAULT for one in findings)
    said = sentence(findings)
    result = {"findings": [asdict(one) for one in findings], "faults": faults, "sentence": said}
    _show(console, findings)
    if faults:
        raise Failure(said, result)
    console.print(said, soft_wrap=True)
    return result


def check(protocol: Protocol, data: Data | None, why: str = "") -> list[Finding]:
    """Return the findings of all checks. data: of the file; None if there is none, and `why` says the reason."""
    return [
        checks.check_training_windows(protocol),
        checks.check_test_windows(protocol),
        checks.check_test_targets(protocol),
        checks.check_bins(protocol),
        checks.check_bin_edges(protocol, data, why),
        checks.check_training_rows(protocol),
        checks.check_repeats(protocol, data, why),
        checks.check_peeking(protocol),
        checks.check_best_of_many(protocol),
        checks.check_file(protocol, data, why),
    ]


def sentence(findings: list[Finding]) -> str:
    """Return the findings in one sentence."""
    faults = [one for one in findings if one.verdict == FAULT]
    if faults:
        number = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        return f"{number}: " + "; ".join(f"{one.check}: {one.says.split('. ')[0]}" for one in faults)
    left = sum(one.verdict == NOT_CHECKED for one in findings)
    made = len(findings) - left
    return f"no fault found in {made} check{'s' * (made != 1)}" + (f" ({left} not checked)" if left else "")


def _data(file: RollsFile, console: Console) -> Data:
    def search(training: np.ndarray, test: np.ndarray) -> Repeats | None:
        with Bar(console, int(training[-1, 1] - training[0, 0]), "comparing") as bar:
            return find_repeats(file, training, test, bar.update)

    return Data(file.n, lambda: file.summary().sha256, functools.partial(counts_of, file), search)


@contextlib.contextmanager
def _opened(flags: AuditFlags, protocol: Protocol, path: Path) -> Iterator[tuple[RollsFile | None, str]]:
    """The open file of values, or None and the reason."""
    if flags.u16_path is not None:
        with RollsFile(flags.u16_path, flag="--u16-path") as file:
            yield file, ""
        return
    if protocol.file is None:
        yield None, "file is not told"
        return
    data = path.parent / protocol.file
    if not os.path.exists(data):
        yield None, f"there is no file {data}"
        return
    try:
        opened = RollsFile(data, flag=f"PROTOCOL {path}: file")
    except UserError as error:
        raise UserError(f"{error}; or name another with --u16-path") from None
    with opened as file:
        yield file, ""


def _show(console: Console, findings: list[Finding]) -> None:
    table = Table("check", "verdict", "", box=None)
    for one in findings:
        table.add_row(one.check, one.verdict, one.says + (f" → {one.fix}" if one.fix else ""))
    console.print(table)
