"""What an experiment judges, beside the runs of its sweep: a benchmark to compare with, and levels' former names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bestguess import files
from bestguess.command import UserError, told_of
from bestguess.sweep.keys import is_number
from bestguess.sweep.source import Source


def read_benchmark(path: Path) -> tuple[str, float, float, str]:
    """Return of a benchmark's JSON the best PyTorch variant, its steps/s, the operations of a step, and the device."""
    with told_of("--benchmark"):
        found = files.read_json(path)
        if found is None:
            raise UserError(f"{path}: no such file")
    try:
        best = found["best_pytorch"]
        rate, work, device = found["training"][best]["steps_per_second"], found["operations_per_step"], found["device"]
        if not all(is_number(one) and one > 0 for one in (rate, work)):
            raise ValueError("rates and operations are positive numbers")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"--benchmark {path}: not the figures of benchmarks/filters.py ({error})") from error
    return best, rate, work, device


def renamed(source: Source, former: Mapping[str, Mapping[Any, Any]]) -> Source:
    """Return the source with levels of earlier sweeps under today's names, by the key of their parameter."""

    def today(config: Mapping[str, Any]) -> dict[str, Any]:
        return {key: former[key].get(value, value) if former.get(key) else value for key, value in config.items()}

    runs = [dataclasses.replace(run, config=today(run.config)) for run in source.runs]
    records = [record | {"config": today(record["config"])} for record in source.records]
    return dataclasses.replace(source, runs=runs, records=records)
