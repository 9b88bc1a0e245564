"""A search for what regularises tiny Shakespeare: many variants of the preset, one seed each, then the best on three.

    uv run python benchmarks/shakespeare_tune.py input.txt --device gpu --minutes 5 --out tune.json

Every variant is a training of `shakespeare.py losses`, in a process of its own; several run at once, on every GPU that
is there. The variant with the lowest loss on the first half of what is not trained on, at any validation of seed
1000, is trained again with seeds 0, 1, 2. Reported of these are the loss of the second half at the step that is best
on the first, which had no part in any choice, and the best loss of all, the published figure's kind, whose first half
chose the variant. Without --change the variants are GRID's.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SEED, SEEDS = 1000, (0, 1, 2)
"""The seed that chooses, and those that are reported."""
SHARE = 0.45
"""Of the minutes, after which no further variant is begun; those under way and the seeds after them take the rest."""
EVERY = 100
"""Steps between validations: the losses of an average over 500 steps are smooth."""

GRID = {
    "gpu": [
        "",
        "weight_decay=2",
        "weight_decay=0.5",
        "attention_dropout=0.3",
        "attention_dropout=0.1",
        "attention_dropout=0",
        "dropout=0.35",
        "dropout=0.15",
        "optimizer=adamw learning_rate=0.002",
        "optimizer=adamw learning_rate=0.001",
        "learning_rate=0.006",
        "learning_rate=0.0025",
        "steps=4500",
        "hold=0.6",
        "average=0.998",
        "token_noise=0.05",
        "batch_size=32 steps=5000",
        "d_model=288 heads=6 steps=4500",
        "positions=learned",
        "activation=relu",
    ],
    "cpu": [
        "",
        "dropout=0",
        "learning_rate=0.008",
        "learning_rate=0.002",
        "average=0.99",
        "hold=0.5",
        "weight_decay=0.5",
    ],
}
"""What is tried, in this order: what is likeliest comes first, for time may end the search before its end."""


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("corpus", type=Path, help="tiny Shakespeare, or any plain text")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--minutes", type=float, default=5.0, help="of the search and of what follows (default 5)")
    parser.add_argument("--at-once", type=int, default=2, help="trainings at once on a GPU, or on the CPU (default 2)")
    parser.add_argument("--change", action="append", default=[], metavar="'KEY=VALUE ...'", help="a variant")
    parser.add_argument("--tiny", action="store_true", help="toy sizes on any device, to try this script out")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for all figures")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as programs:  # what is compiled for the search is there for the seeds
        searched(args, Search(args, places(args.device) * args.at_once, programs))


def searched(args: argparse.Namespace, search: Search) -> None:
    """Try all variants, train the best again, print and write both."""
    started = time.monotonic()
    found = search.all([(change, SEED) for change in args.change or GRID[args.device]], 60 * args.minutes * SHARE)
    tried = sorted(found, key=lambda one: best_on_first(one)["first"])
    if not tried:
        sys.exit("no variant was trained: see what is printed above; give more --minutes")
    for one in tried:
        at = best_on_first(one)
        print(
            f"first half {at['first']:.4f}, second {at['second']:.4f}, all {at['all']:.4f}, step {at['step']:>5}, "
            f"{one['parameters']:,} parameters: {one['change'] or 'preset'}"
        )
    best = tried[0]["change"]
    again = search.all([(best, seed) for seed in SEEDS], None)
    result = {
        "command": "python benchmarks/shakespeare_tune.py " + " ".join(["input.txt", *sys.argv[2:]]),
        "seconds": time.monotonic() - started,
        "tried": tried,
        "best": best,
        "again": again,
        **{name: mean(again, name) for name in ("best", "halved", "last") if again and name != "best"},
        "loss": mean(again, "best") if again else None,
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    if len(again) < len(SEEDS):
        sys.exit(f"{best or 'preset'}: {len(again)} of {len(SEEDS)} seeds were trained")
    print(
        f"{best or 'preset'}, mean of {len(again)} seeds: best {result['loss']:.4f}, second half "
        f"{result['halved']:.4f}, last {result['last']:.4f} ({result['seconds']:.0f} s in all)"
    )


def places(device: str) -> list[str]:
    """Return the GPUs that may be used, or one place on the CPU."""
    if device == "cpu":
        return [""]
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return given.split(",")
    try:
        told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout
    except OSError:
        told = ""
    return [str(i) for i in range(sum(line.startswith("GPU ") for line in told.splitlines()))] or [""]


class Search:
    """Trainings of variants, several at once."""

    def __init__(self, args: argparse.Namespace, slots: list[str], programs: str) -> None:
        self.args, self.slots, self.programs = args, slots, programs
        self.free: queue.SimpleQueue[str] = queue.SimpleQueue()
        for slot in slots:
            self.free.put(slot)

    def all(self, jobs: list[tuple[str, int]], seconds: float | None) -> list[dict[str, Any]]:
        """Return what each job (change, seed) came to, in their order; none is begun after so many seconds."""
        end = None if seconds is None else time.monotonic() + seconds
        with concurrent.futures.ThreadPoolExecutor(len(self.slots)) as pool:
            done = list(pool.map(self.one, jobs, itertools.repeat(end)))
        return [one for one in done if one is not None]

    def one(self, job: tuple[str, int], end: float | None) -> dict[str, Any] | None:
        """Return what one job came to; None: too late, or it failed, which is printed."""
        change, seed = job
        slot = self.free.get()
        try:
            if end is not None and time.monotonic() > end:
                print(f"not begun, the time is over: {change or 'preset'}", flush=True)
                return None
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "out.json"
                words = [sys.executable, str(Path(__file__).with_name("shakespeare.py")), "losses"]
                words += [str(self.args.corpus), "--device", self.args.device, "--first-seed", str(seed)]
                words += ["--change", change, "--out", str(out)]
                words += ["--tiny"] if self.args.tiny else ["--steps", str(EVERY)]
                ended = subprocess.run(words, env=self.environment(slot), capture_output=True, text=True)
                if ended.returncode:
                    last = (ended.stderr.strip() or "it said nothing").splitlines()[-1]
                    print(f"failed: {change or 'preset'}: {last}", flush=True)
                    return None
                told = json.loads(out.read_text())
            [variant] = told["variants"].values()
            [run] = variant["seeds"]
            kept = {"change": change, "parameters": variant["parameters"], "device": told["device"], **run}
            print(f"seed {seed}: best {run['best']:.4f} at step {run['best_step']}: {change or 'preset'}", flush=True)
            return kept
        finally:
            self.free.put(slot)

    def environment(self, slot: str) -> dict[str, str]:
        """Return what a training on this place runs in."""
        more = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.8 / self.args.at_once:.2f}"}
        more["JAX_COMPILATION_CACHE_DIR"] = self.programs
        if slot:
            more["CUDA_VISIBLE_DEVICES"] = slot
        return {**os.environ, **more}


def best_on_first(one: dict[str, Any]) -> dict[str, Any]:
    """Return the validation of a training whose first half is best."""
    return min(one["curve"], key=lambda at: at["first"])


def mean(runs: list[dict[str, Any]], name: str) -> float:
    """Return the mean of a figure over runs."""
    return statistics.mean(one[name] for one in runs)


if __name__ == "__main__":
    main()
