"""The flags that benchmarks share, and what they choose."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Sizes = Mapping[str, Mapping[str, int]]
"""What sizes are, by name: on a `gpu`, on a `cpu`, and `tiny`."""


def flags(about: str, steps: str, dtype: str = "", rounds: str = "rounds that are timed") -> argparse.ArgumentParser:
    """Return a parser with the flags of every benchmark of trainings.

    about: the script's docstring, whose first line is shown. steps: the help of --steps. dtype: that of --dtype, where
    there is one.
    """
    parser = argparse.ArgumentParser(
        description=about.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--device", choices=("gpu", "cpu"), default="cpu", help="gpu: one CUDA device, or none with --tiny"
    )
    if dtype:
        parser.add_argument("--dtype", choices=("bfloat16", "float32"), help=f"{dtype}bfloat16 on a gpu, else float32")
    parser.add_argument("--rounds", type=int, default=6, help=f"{rounds}, after one that is not")
    parser.add_argument("--steps", type=int, help=steps)
    parser.add_argument("--tiny", action="store_true", help="toy sizes on any device, to try this script out")
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    return parser


def choosing(parser: argparse.ArgumentParser) -> None:
    """Add the flag that `chosen` heeds."""
    parser.add_argument("--variants", default="", help="only variants whose name holds one of these, comma-separated")


def profiling(parser: argparse.ArgumentParser) -> None:
    """Add the flag of `side_by_side.profile`."""
    parser.add_argument(
        "--profile", metavar="DIR", help="report what XLA compiled, and its slowest kernels; trace in DIR"
    )


def sizing(parser: argparse.ArgumentParser, told: Mapping[str, str], sizes: Sizes) -> None:
    """Add a flag for each size; told: what each is."""
    for name, what in told.items():
        gpu, cpu = sizes["gpu"][name], sizes["cpu"][name]
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=f"{what}; {gpu} on a gpu, {cpu} on a cpu")


def parsed(parser: argparse.ArgumentParser, steps: tuple[int, int, int], sizes: Sizes | None = None) -> Any:
    """Return the command line's choices; steps: where none are given, with --tiny, on a gpu, on a cpu."""
    args = parser.parse_args()
    for name, value in (sizes or {}).get("tiny" if args.tiny else args.device, {}).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if "dtype" in args:
        args.dtype = args.dtype or ("bfloat16" if args.device == "gpu" else "float32")
    args.steps = args.steps or steps[0 if args.tiny else 1 if args.device == "gpu" else 2]
    return args


def chosen(made: Mapping[str, Callable[[], Any]], args: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """Return the variants that --variants names, or all, but for those that --without does."""
    words = lambda text: [part.strip() for part in text.split(",") if part.strip()]  # noqa: E731
    asked, left_out = words(args.variants), words(getattr(args, "without", ""))
    return {
        name: make
        for name, make in made.items()
        if (not asked or any(part in name for part in asked)) and not any(part in name for part in left_out)
    }


def use_tensor_cores(args: argparse.Namespace) -> None:
    """Let PyTorch multiply float32 matrices on a GPU as XLA does by default, in TF32."""
    if args.device == "gpu" and getattr(args, "dtype", "float32") == "float32":
        with contextlib.suppress(ImportError):
            import torch

            torch.set_float32_matmul_precision("high")
