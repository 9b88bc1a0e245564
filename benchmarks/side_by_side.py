"""What the benchmarks share: variants that take turns, what they ran on, what XLA made of a program.

A variant has `runs` (trained together), `turn` (steps of a turn), and `run(steps)`, which takes so many steps, waits
for the device and returns a loss. One that is compared with PyTorch also has `averaged(steps)`, which returns the mean
loss over the steps and its standard error, 0 where that is not known.

The rival is the fastest PyTorch variant that is sound: it learns as the others do. A variant is named as unsound, with
the reason, if its mean training loss over one more turn, after the timed rounds, is off by more than `MARGIN`, and by
more than 4 standard errors of the difference, from the median of the PyTorch variants with turns of as many steps (of
an even number, the lower of the two in the middle). A loss close to its floor from the start tells little; then only
`compare` speaks for a variant.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import glob
import gzip
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any


def save(args: argparse.Namespace, result: dict[str, Any]) -> None:
    """Write the figures so far, if a file was asked for."""
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def device_name() -> str:
    """Return what the chip is called."""
    import jax

    device = jax.devices()[0]
    if device.platform != "cpu":
        return device.device_kind
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions that speed depends on."""
    found = {"python": platform.python_version()}
    for package in (
        "jax",
        "jaxlib",
        "equinox",
        "optax",
        "torch",
        "triton",
        "nvidia-cudnn-cu12",
        "nvidia-cudnn-cu13",
    ):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        found["commit"] = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    return found


def begin(args: argparse.Namespace, words: Sequence[str] | None = None) -> dict[str, Any]:
    """Say what this runs on, and return it, as all figures begin; end where --device is a GPU that JAX does not see.

    words: of the command line, where it is not to be told as it was given.
    """
    import jax

    if args.device == "gpu" and jax.default_backend() != "gpu" and not args.tiny:
        sys.exit("--device gpu: JAX sees no GPU here (--tiny tries the script out without one)")
    script = f"benchmarks/{Path(sys.argv[0]).name}"
    result = {
        "command": shlex.join(["python", script, *(sys.argv[1:] if words is None else words)]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": device_name(),
        "cores": len(os.sched_getaffinity(0)),
        "versions": versions(),
    }
    print(f"{result['device']}; {result['cores']} cores; {result['versions']}", flush=True)
    return result


def recipe(train: Any) -> dict[str, Any]:
    """Return how a training goes, as `torch_filters.Recipe` has it."""
    return {
        "batch": train.batch_size,
        "steps": train.steps,
        "warmup": train.warmup_steps,
        "final_share": train.final_learning_rate,
        "peak": train.learning_rate[0],
        "betas": (train.beta1, train.beta2),
        "weight_decay": train.weight_decay,
        "clip_norm": train.clip_norm,
    }


MARGIN = 0.1
"""The largest difference of a sound variant's training loss, as a fraction of the median."""


class Stepped:
    """A variant of ours: `program`, the `state` that it is in, and the `step` that comes next."""

    program: Any
    state: Any
    step: int

    def run(self, steps: int) -> float:
        """Take `steps` steps, wait for the device, return the mean loss of the first run over them."""
        import jax

        self.state, metrics = self.program.chunk(self.state, self.step, steps)
        self.step += steps
        jax.block_until_ready((self.state, metrics))
        return float(metrics["train_loss"][0])

    def averaged(self, steps: int) -> tuple[float, float]:
        """Take `steps` steps, return the mean loss of the first run over them; its standard error is not known."""
        return self.run(steps), 0.0


def error_line(error: BaseException) -> str:
    """Return what went wrong, in one line."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}"[:300]


def need_torch(variants: Iterable[str]) -> None:
    """End with one line unless there are variants, and PyTorch if one of them needs it."""
    if not (names := list(variants)):
        sys.exit("--variants: no variant has such a name; leave the flag out to see them all")
    if any(name.startswith("PyTorch") for name in names) and importlib.util.find_spec("torch") is None:
        sys.exit(
            f"PyTorch is missing: run `uv run --group bench python {sys.argv[0]} …`, or time ours alone with "
            "--variants bestguess"
        )


def agree(worst: dict[str, float], result: dict[str, Any], limit: float = 1e-4) -> None:
    """Note the largest relative errors between the two models in float32; end unless all are below the limit.

    Rates of models that differ would compare nothing.
    """
    result["equality"] = {"max_relative_error": worst, "dtype": "float32", "limit": limit}
    told = ", ".join(f"{name} {error:.1e}" for name, error in worst.items())
    print(f"same weights, same data, float32; largest relative errors: {told}", flush=True)
    if not max(worst.values()) < limit:
        sys.exit(f"the models differ by more than {limit:g}: nothing was timed")


def one_device() -> list:
    """Return the one device that is measured."""
    import jax

    return jax.devices()[:1]


def own_devices(args: argparse.Namespace) -> list | None:
    """Return the devices that our own runs take: one GPU, or on a CPU all that its cores have been made (None)."""
    return one_device() if args.device == "gpu" else None


def our_training(family: str, config: Any):
    """Return the problem and the members of a config's runs, as the family's `train` builds them."""
    from bestguess.config import runs
    from bestguess.family import load_family
    from bestguess.workflow.training import make_training

    return make_training(load_family(family), Path(), runs(config))


def torch_device(args: argparse.Namespace) -> str:
    """Return PyTorch's name of the device."""
    import torch

    if args.device == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if args.tiny:
        return "cpu"
    raise RuntimeError("PyTorch sees no CUDA device")


def take_turns(
    makers: dict[str, Callable[[], Any]], rounds: int, figures: dict[str, Any], keep: Callable[[], None]
) -> dict[str, Any]:
    """Make every variant, let them take turns, return those that are well; `figures` has rates or an error of each.

    The first round is not timed. Where PyTorch takes part, nor is one more turn of each at the end, whose mean loss
    `compare_rates` judges by. keep: called after every step of the way, to write what there is so far.
    """
    live: dict[str, Any] = {}
    for name, make in makers.items():
        started = time.perf_counter()
        try:
            live[name] = make()
            figures[name] = {"runs": live[name].runs, "setup_seconds": time.perf_counter() - started, "rates": []}
            print(f"{name}: ready after {figures[name]['setup_seconds']:.1f} s", flush=True)
        except Exception as error:
            figures[name] = {"error": error_line(error)}
            print(f"{name}: FAILED: {error_line(error)}", flush=True)
        keep()
    for round_ in range(-1, rounds):
        for name in list(live):
            try:
                started = time.perf_counter()
                loss = live[name].run(live[name].turn)
                seconds = time.perf_counter() - started
            except Exception as error:
                figures[name]["error"] = error_line(error)
                del live[name]
                print(f"{name}: FAILED: {error_line(error)}", flush=True)
                continue
            figures[name]["last_loss"] = loss
            if round_ >= 0:
                figures[name]["rates"].append(live[name].runs * live[name].turn / seconds)
        keep()
    for name in list(live) if any(name.startswith("PyTorch") for name in live) else ():
        try:
            loss, error = live[name].averaged(live[name].turn)
            figures[name] |= {"turn": live[name].turn, "mean_loss": loss, "mean_loss_error": error}
        except Exception as failure:
            figures[name]["error"] = error_line(failure)
            del live[name]
            print(f"{name}: FAILED: {error_line(failure)}", flush=True)
    keep()
    return live


def unsound(figures: dict[str, Any]) -> dict[str, str]:
    """Return why a variant of these figures is unsound, of those that are; see the module's docstring."""
    # What is not a number is beyond every loss.
    learnt = {
        name: (f["mean_loss"] if math.isfinite(f["mean_loss"]) else math.inf, f["mean_loss_error"])
        for name, f in figures.items()
        if "mean_loss" in f
    }
    found = {}
    for name, (loss, error) in learnt.items():
        peers = [
            of
            for peer, of in learnt.items()
            if peer.startswith("PyTorch") and figures[peer]["turn"] == figures[name]["turn"]
        ]
        if not peers:
            continue
        median, its_error = sorted(peers)[(len(peers) - 1) // 2]
        off = abs(loss - median)
        # The difference of two infinities is no number, and so no smaller than anything.
        if not off <= MARGIN * abs(median) and not (math.isfinite(off) and off <= 4 * math.hypot(error, its_error)):
            found[name] = (
                f"mean training loss {loss:.4g} ± {error:.2g}, PyTorch's median {median:.4g} ± {its_error:.2g}, "
                f"margin {MARGIN:.0%}"
            )
    return found


def compare_rates(figures: dict[str, Any], rival: str | None) -> dict[str, Any]:
    """Return the figures of the variants that were timed, with medians, and ratios within each round to `rival`.

    rival: a name, or None for the sound PyTorch variant whose median is highest. Its name is under "rival" of each, and
    what makes a variant unsound under its "unsound": what `unsound` says, unless the figures say something already.
    """
    timed = {name: f for name, f in figures.items() if "error" not in f and f["rates"]}
    for f in timed.values():
        f["steps_per_second"] = statistics.median(f["rates"])
    for name, reason in unsound(timed).items():
        timed[name].setdefault("unsound", reason)
    rivals = [name for name, f in timed.items() if name.startswith("PyTorch") and "unsound" not in f]
    if rival is None:
        rival = max(rivals, key=lambda name: timed[name]["steps_per_second"], default=None)
    if rival in timed:
        for f in timed.values():
            ratios = [a / b for a, b in zip(f["rates"], timed[rival]["rates"], strict=True)]
            f["rival"], f["ratio"], f["ratio_range"] = rival, statistics.median(ratios), [min(ratios), max(ratios)]
    return timed


def print_table(rows: list[tuple]) -> None:
    """Print rows of text under their heads, the first column to the left."""
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            str(c).ljust(w) if i == 0 else str(c).rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    print(flush=True)


def print_unsound(figures: dict[str, Any]) -> None:
    """Print which variants are unsound, and why."""
    for name, f in figures.items():
        if "unsound" in f:
            print(f"{name}: unsound{', so not the rival' * name.startswith('PyTorch')}: {f['unsound']}", flush=True)


def memory_of(compiled) -> dict[str, int]:
    """Return XLA's own account of a program's memory (bytes)."""
    analysis = compiled.memory_analysis()
    names = [name for name in dir(analysis) if name.endswith("_in_bytes") and not name.startswith("_")]
    return {name: int(getattr(analysis, name)) for name in names}


def profile(make: Callable[[], Any], folder: str) -> dict[str, Any]:
    """Return XLA's analyses of a variant's compiled turn, and the kernels that took longest in one; print them.

    make: returns the variant, which also has `compiled`. The trace stays in `folder`.
    """
    found: dict[str, Any] = {}
    try:
        import jax

        variant = make()
        found["memory"] = memory_of(variant.compiled)
        cost = variant.compiled.cost_analysis() or {}
        cost = cost[0] if isinstance(cost, list) else cost
        found["cost"] = {k: v for k, v in cost.items() if k in ("flops", "transcendentals", "bytes accessed")}
        print(f"XLA's account of a chunk of {variant.turn} steps of {variant.runs} runs (a loop's body counts once):")
        for name, value in found["cost"].items():
            print(f"  {name}: {value:.4g}")
        for name, size in found["memory"].items():
            print(f"  {name.removesuffix('_in_bytes')}: {size / 2**20:.1f} MiB")
        variant.run(variant.turn)
        before = set(traces(folder))
        started = time.perf_counter()
        with jax.profiler.trace(folder):
            variant.run(variant.turn)
        print(f"traced a chunk ({time.perf_counter() - started:.1f} s with the trace's own work)", flush=True)
        events = read_events([path for path in traces(folder) if path not in before])
    except Exception as error:
        found["error"] = error_line(error)
        print(f"profile: FAILED: {error_line(error)}", flush=True)
        return found
    if not events:
        found["error"] = "no kernels in the trace"
        print("profile: no kernels in the trace")
        return found
    totals: dict[str, list[float]] = collections.defaultdict(lambda: [0.0, 0])
    operation: dict[str, str] = {}
    for name, _, duration, told in events:
        totals[name][0] += duration
        totals[name][1] += 1
        operation.setdefault(name, told)
    busy = sum(total for total, _ in totals.values())
    span = max(start + duration for _, start, duration, _ in events) - min(start for _, start, _, _ in events)
    run_steps = variant.turn * variant.runs
    found |= {"busy_seconds": busy, "span_seconds": span, "kernels": len(events), "run_steps": run_steps}
    print(
        f"kernels: {len(events):,}, {1e3 * busy:.1f} ms of work within {1e3 * span:.1f} ms "
        f"({busy / span:.1%}); {1e6 * busy / run_steps:.1f} µs of work a run-step"
    )
    top = sorted(totals.items(), key=lambda item: -item[1][0])[:25]
    found["top"] = [
        {
            "kernel": name,
            "seconds": total,
            "calls": calls,
            "share": total / busy,
            "operation": operation[name],
        }
        for name, (total, calls) in top
    ]
    rows: list[tuple] = [("kernel", "ms", "share", "calls", "µs each", "for example")]
    for name, (total, calls) in top:
        share, each = f"{total / busy:.1%}", f"{1e6 * total / calls:.1f}"
        rows.append((name[:70], f"{1e3 * total:.2f}", share, calls, each, operation[name][-60:]))
    print_table(rows)
    return found


def traces(folder: str) -> list[str]:
    """Return the trace files under a folder, those of the richer format first."""
    return [
        path
        for ending in ("*.xplane.pb", "*.trace.json.gz")
        for path in sorted(glob.glob(f"{folder}/**/{ending}", recursive=True))
    ]


Event = tuple[str, float, float, str]
"""A kernel's name, start and duration (seconds), and the operation that it belongs to, where the trace tells."""


def read_events(paths: list[str]) -> list[Event]:
    """Return the kernels of the first trace that can be read and holds any."""
    for path in paths:
        try:
            events = _of_xplane(path) if path.endswith(".xplane.pb") else _of_chrome(path)
        except Exception as error:
            print(f"{Path(path).name}: cannot be read: {error_line(error)}")
            continue
        if events:
            return events
    return []


def _of_xplane(path: str) -> list[Event]:
    """Return the events on the streams of a GPU, or on XLA's threads where there is none."""
    import jax

    planes = list(jax.profiler.ProfileData.from_file(path).planes)
    on_gpu = [plane for plane in planes if plane.name.startswith("/device:GPU")]
    events = []
    for plane in on_gpu or planes:
        for line in plane.lines:
            if not line.name.startswith("Stream" if on_gpu else "tf_XLA"):
                continue
            for event in line.events:
                stats = dict(event.stats)
                told = str(stats.get("tf_op") or stats.get("name") or stats.get("hlo_op") or "")
                if on_gpu or ("hlo_op" in stats and not _holds_others(event.name)):
                    events.append((event.name, event.start_ns / 1e9, event.duration_ns / 1e9, told))
    return events


def _of_chrome(path: str) -> list[Event]:
    """Return the same from a trace in Chrome's format."""
    with gzip.open(path, "rt") as file:
        entries = json.load(file)["traceEvents"]
    meta = [e for e in entries if e.get("ph") == "M"]
    process = {e["pid"]: e["args"].get("name", "") for e in meta if e.get("name") == "process_name"}
    thread = {(e["pid"], e["tid"]): e["args"].get("name", "") for e in meta if e.get("name") == "thread_name"}
    on_gpu = {pid for pid, name in process.items() if "GPU" in name}
    events = []
    for e in entries:
        if e.get("ph") != "X":
            continue
        track, told = thread.get((e["pid"], e["tid"]), ""), e.get("args", {})
        if on_gpu:
            counts = e["pid"] in on_gpu and track.startswith("Stream")
        else:
            counts = "hlo_op" in told and not _holds_others(e["name"])
        if counts:
            operation = str(told.get("tf_op") or told.get("hlo_op") or "")
            events.append((e["name"], e["ts"] / 1e6, e.get("dur", 0) / 1e6, operation))
    return events


def _holds_others(name: str) -> bool:
    """Return whether an operation's time is that of operations which are in the trace themselves."""
    return name.startswith(("while", "call", "conditional"))
