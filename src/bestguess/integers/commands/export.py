"""`integers export`: one run's model as one small file. Imports nothing heavy at first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from bestguess.command import UserError
from bestguess.integers.family import FAMILY

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class ExportFlags:
    """Export the best weights and the config of one run as a small file for `integers predict --model`."""

    run: tyro.conf.Positional[Path]
    """Folder written by `integers train`."""
    out: Path = Path("model.safetensors")
    """Output file."""
    number: int | None = None
    """Index of the run in the folder, from 0 (default: the run with the best validation score)."""
    half: bool = False
    """Store the weights in float16: half the size; logits change by about 1 part in 1000."""


def export(flags: ExportFlags, console: Console) -> dict[str, Any]:
    """Write one run's best weights as one file."""
    import numpy as np

    from bestguess.files import check_writable, plain
    from bestguess.integers.commands.select import run_to_use
    from bestguess.integers.model.portable import save_portable
    from bestguess.train.checkpoint import named_leaves
    from bestguess.workflow.training import load_training, read_training_config

    check_writable(flags.out, "safetensors")
    training = load_training(FAMILY, flags.run)
    number = run_to_use(training, flags.number)
    weights = {name: np.asarray(leaf) for name, leaf in named_leaves(training.model(number))}
    config = read_training_config(FAMILY, flags.run)
    try:
        path = save_portable(flags.out, config, weights, flags.half)
    except OverflowError as error:
        raise UserError(f"--half: {error}; leave it out") from error
    size = path.stat().st_size
    console.print(f"run {number}: {sum(w.size for w in weights.values()):,} parameters, {size:,} bytes: {path}")
    return plain({"model": path, "number": number, "bytes": size})
