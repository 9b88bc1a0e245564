"""The figures of README and docs are those of the files that they name: each is formatted anew from its file."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from math import dist, hypot
from pathlib import Path
from statistics import mean, median
from typing import Any

import pytest

from bestguess.filters.normalisation import ARM

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks" / "results"
RESULTS = ROOT / "experiments" / "results"

GRAPH = "PyTorch compile, step in a CUDA graph"
REDUCED = "PyTorch compile, reduce-overhead"
COMPILED = "PyTorch compile"
RUNS = {1: "bestguess, 1 run", 4: "bestguess, 4 runs", 16: "bestguess, 16 runs", 256: "bestguess, 256 runs"}


@cache
def page(name: str) -> str:
    """Return a page's text with runs of white space as one space, so that a line's end is no difference."""
    return re.sub(r"\s+", " ", (ROOT / name).read_text(encoding="utf-8"))


@cache
def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@cache
def table(name: str) -> list[dict[str, str]]:
    """Return the rows of a result's runs.csv."""
    with (RESULTS / name / "runs.csv").open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def by(rows: list[dict[str, str]], key: str) -> dict[str, list[dict[str, str]]]:
    """Return the rows by their value of a column."""
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        found.setdefault(row[key], []).append(row)
    return found


def speed(file: str, variant: str) -> float:
    """Return the run-steps per second of a variant of a benchmark."""
    return read(BENCHMARKS / file)["training"][variant]["steps_per_second"]


def times(file: str, ours: str, rival: str) -> float:
    """Return how many times as many run-steps per second one variant makes as another: the median over the rounds."""
    training = read(BENCHMARKS / file)["training"]
    return median(one / other for one, other in zip(training[ours]["rates"], training[rival]["rates"], strict=True))


def spread(file: str, variant: str, key: str = "ratio") -> str:
    """Return a ratio with its range over the rounds."""
    one = read(BENCHMARKS / file)["training"][variant]
    low, high = one[f"{key}_range"]
    return f"{one[key]:.2f} ({low:.2f} to {high:.2f})"


def filters_gpu() -> Iterator[tuple[str, str]]:
    file = "filters_h100.json"
    rows = {"PyTorch eager": "PyTorch, eager", "PyTorch compile": "PyTorch, `torch.compile`"}
    rows |= {REDUCED: "PyTorch, `torch.compile` with CUDA graphs (`reduce-overhead`)"}
    rows |= {GRAPH: "PyTorch, the whole step captured by hand in one CUDA graph"}
    rows |= {RUNS[1]: RUNS[1], RUNS[16]: "bestguess, 16 runs together"}
    for variant, words in rows.items():
        tflops = read(BENCHMARKS / file)["training"][variant]["tflops"]
        yield "README.md", f"| {words} | {speed(file, variant):.0f} | {tflops:.0f} |"
    for runs, words in ((1, RUNS[1]), (16, "bestguess, 16 runs together")):
        ratios = [times(file, RUNS[runs], rival) for rival in (REDUCED, GRAPH)]
        yield "README.md", f"| {words} | {ratios[0]:.2f} | {ratios[1]:.2f} |"
    for rival, words in (
        (REDUCED, "PyTorch, compiled with CUDA graphs"),
        (GRAPH, "captured by hand in one CUDA graph"),
    ):
        one, many = (times(file, RUNS[runs], rival) for runs in (1, 16))
        yield "docs/filters.md", f"{words} | {speed(file, rival):.0f} | {one:.2f} | {many:.2f} |"


def filters_cpu() -> Iterator[tuple[str, str]]:
    for file in ("filters_cpu.json", "filters_cpu_8_cores.json"):
        yield "docs/filters.md", f"{file})) | {spread(file, RUNS[1])} | {spread(file, RUNS[4])} |"


def excess_of(run: dict) -> float:
    return run["normalised_loss"] - 1


def filters_default() -> Iterator[tuple[str, str]]:
    folder = RESULTS / "filters_muon_h200"

    def told(names: str, value: Callable[[dict], float], level: float) -> str:
        runs = [run for name in names.split() for run in read(folder / name / "evaluation.json")["runs"]]
        found = [value(run) for run in runs if run["selected"] and run["lambda"] == level]
        return f"{sum(found) / len(found):.1e}".replace("e-0", "e-")

    for level in (0.5, 0.8, 0.9, 0.97, 0.99):
        cells = [told("default", excess_of, level), told("instance instance_more", excess_of, level)]
        cells += [told("default", lambda run, k=k: run["ar"][k], level) for k in ("32", "64")]
        cells.append(told("default", lambda run: run["ar_fitted"]["excess"]["64"], level))
        yield "README.md", f"| {level:g} | {' | '.join(cells)} |"
    training = read(folder / "default" / "training.json")
    yield "README.md", f"{training['seconds']:.0f} s of training on one H200"
    found: dict[tuple[str, float], list[float]] = {}
    for name in ("adamw", "muon", "muon_low"):
        for run in read(folder / "search" / f"{name}_evaluation.json")["runs"]:
            row = found.setdefault((name.partition("_")[0], run["learning_rate"]), [])
            row += [run["validation_loss"] - 1, excess_of(run)]
    for (optimizer, rate), values in found.items():
        name = {"adamw": "AdamW", "muon": "Muon"}[optimizer]
        cells = [f"{value:.2e}".replace("e-0", "e-") for value in values]
        yield "docs/filters.md", f"| {name} | {rate:g} | {' | '.join(cells)} |"


def instance_costs() -> Iterator[tuple[str, str]]:
    """What each run with reversible instance normalisation has, and what it costs at the default's own rate."""
    folder = RESULTS / "filters_muon_h200"
    runs = {
        name: [run for run in read(folder / name / "evaluation.json")["runs"] if run["selected"]]
        for name in ("default", "instance", "instance_more", "layers")
    }

    found = {(run["lambda"], run["seed"]): excess_of(run) for run in runs["instance"] + runs["instance_more"]}
    default = {(run["lambda"], run["seed"]): excess_of(run) for run in runs["layers"]}
    for run in runs["default"]:
        skill = "no headroom" if run["skill"] is None else f"{run['skill']:.4f}"
        cells = [
            f"{run['lambda']:g}",
            str(run["seed"]),
            short(excess_of(run)),
            skill,
            f"{run['equivalent_memory']:.1f}",
        ]
        yield "docs/filters.md", f"| {' | '.join([*cells, short(found[run['lambda'], run['seed']])])} |"
    assert {run["learning_rate"] for name in ("instance", "instance_more", "layers") for run in runs[name]} == {0.001}
    low, middle, high = (
        f"{100 * (sum(found[level, seed] for seed in (0, 1)) / sum(default[level, seed] for seed in (0, 1)) - 1):.0f} %"
        for level in (0.5, 0.9, 0.99)
    )
    yield "docs/filters.md", f"RevIN has {low}, {middle} and {high} more excess"
    yield "docs/filters.md", f"[{middle} higher at λ = 0.9 and {high} at 0.99]"
    yield "README.md", f"RevIN has {middle} more excess at λ = 0.9 and {high} more at 0.99"


def short(value: float, digits: int = 1) -> str:
    """Return a number as the docs on filters write it: 1.2e-3, 0.060, 0.70."""
    if abs(value) < 0.01:
        return f"{value:.{digits}e}".replace("e-0", "e-").replace("-", "−", value < 0)
    return f"{value:#.2g}"


def sums(run: dict) -> set[int]:
    """Return the lags that a model's heads reach together, where each may add the lag that it reads."""
    found = {0}
    for layer in range(1, 5):
        found |= {lag + more for lag in found for more in reads(run, layer)}
    return found


def reads(run: dict, layer: int) -> list[int]:
    """Return the lags that the heads of a layer read with a weight of at least 0.5."""
    return sorted(head["lag"] for head in run["heads"] if head["layer"] == layer and head["weight"] >= 0.5)


def errors_by_lag(response: dict) -> list[tuple[float, float]]:
    """Return, by lag, the norm of the response's error and of the filter's coefficients, over that of all lags."""
    flat = [[[entry for row in lag for entry in row] for lag in response[key]] for key in ("model", "filter")]
    total = hypot(*(entry for lag in flat[1] for entry in lag))
    return [(dist(model, exact) / total, hypot(*exact) / total) for model, exact in zip(*flat, strict=True)]


def filters_inspected() -> Iterator[tuple[str, str]]:
    """What the full size has learnt, and the rates that it was trained at."""
    folder, docs = RESULTS / "filters_muon_h200" / "inspected", "docs/filters.md"
    evaluated, inspected = (read(folder / f"{name}.json")["runs"] for name in ("evaluation", "inspect"))
    chosen = [run for run, one in zip(inspected, evaluated, strict=True) if one["selected"]]
    assert [run["lambda"] for run in chosen] == [0.5, 0.9, 0.99]

    def percent(value: float) -> str:
        return f"{100 * value:.1f} %"

    def r2(kind: str, depth: int, digits: int = 3) -> Callable[[dict], str]:
        return lambda run: f"{run[kind][depth]:.{digits}f}".replace("-", "−")

    rows: dict[str, Callable[[dict], str]] = {
        "excess": lambda run: short(run["excess"]),
        "equivalent memory (steps)": lambda run: f"{run['equivalent_memory']:.1f}",
        "response error": lambda run: percent(run["response"]["relative_error"]),
        "nonlinear": lambda run: percent(run["response"]["nonlinearity"]),
        "change": lambda run: percent(run["response"]["change"]["model"]),
        "mean response": lambda run: short(run["response"]["linear_excess"]),
        "R² embedding": r2("probe_r2", 0),
        **{f"R² layer {depth}": r2("probe_r2", depth) for depth in range(1, 5)},
        "R² untrained": r2("probe_r2_untrained", -1),
        "R² shuffled": r2("probe_r2_shuffled", -1, 2),
        **{
            f"lags read in layer {layer}": lambda run, layer=layer: ", ".join(map(str, reads(run, layer))) or "none"
            for layer in range(1, 5)
        },
        "rise, all heads fixed": lambda run: short(run["all_heads"]["fixed"]["rise"]),
        "rise, all fixed by position": lambda run: short(run["all_heads"]["fixed_by_position"]["rise"]),
        "rise, all heads ablated": lambda run: short(run["all_heads"]["ablated"]["rise"]),
    }
    for name, cell in rows.items():
        yield docs, f"| {name} | {' | '.join(cell(run) for run in chosen)} |"

    def rise(head: dict, kind: str) -> float:
        return head[kind]["rise"]

    own = [run["all_heads"]["excess"] for run in chosen]
    needed = [
        [head for head in run["heads"] if rise(head, "ablated") > 10 * run["all_heads"]["excess"]] for run in inspected
    ]
    every = [head for heads in needed for head in heads]
    assert {head["layer"] for head in every} == {2, 3, 4}
    yield docs, f"In the nine runs together there are {len(every)} heads"
    yield docs, f"and {sum(head['weight'] >= 0.9 for head in every)} of them have a weight of at least 0.9 on one lag"
    most = max(rise(head, "fixed") / rise(head, "ablated") for head in every)
    yield (
        docs,
        f"Fixing the attention of any of the {len(every)} costs at most {percent(most)} of what ablating it costs",
    )
    counts = [len(heads) for run, heads in zip(inspected, needed, strict=True) if run in chosen]
    yield docs, "requires: {}, {} and {} of 16 in the runs of the table".format(*counts)
    yield docs, "The largest sum is {}, {} and {} steps".format(*(max(sums(run)) for run in chosen))
    late = [sum(part) / len(part) for part in (one["regret_by_step"][64:] for one in evaluated if one["selected"])]
    yield docs, "From the 65th prediction on, the excess is {}, {} and {}".format(*map(short, late))
    explained = [run["response"]["linear_excess"] / one for run, one in zip(chosen, late, strict=True)]
    yield docs, "explains {:.0f}, {:.0f} and {:.0f} % of it".format(*(100 * one for one in explained))
    first = [head for head in chosen[-1]["heads"] if head["layer"] == 1]
    fixed, ablated = (max(rise(head, kind) for head in first) for kind in ("fixed", "ablated"))
    assert max(head["weight"] for run in chosen for head in run["heads"] if head["layer"] == 1) < 0.09
    yield docs, f"by up to {short(fixed)}, {fixed / own[-1]:.0f} times the excess itself"
    yield docs, f"ablating one by at most {short(ablated)}"
    times = [1 + run["all_heads"]["fixed"]["rise"] / one for run, one in zip(chosen, own, strict=True)]
    yield (
        docs,
        "rises to {:.0f} times its value at λ = 0.5, {:.0f} times at 0.9 and {:.0f} times at 0.99".format(*times),
    )
    shares = [run["all_heads"]["fixed"]["rise"] / run["all_heads"]["ablated"]["rise"] for run in chosen]
    yield docs, "still only {:.1f}, {:.0f} and {:.1f} % of the rise".format(*(100 * share for share in shares))
    alone = [sum(rise(head, "fixed") for head in run["heads"] if head["layer"] > 1) for run in chosen]
    yield docs, "costs {}, {} and {} in sum".format(*map(short, alone))
    apart = [run["response"]["relative_error"] for run in chosen]
    yield "README.md", f"within {100 * min(apart):.1f} to {percent(max(apart))} of the filter's"
    by_lag = [errors_by_lag(run["response"]) for run in chosen]
    follows = [next((lag for lag, (error, own) in enumerate(one) if error > own), 32) - 1 for one in by_lag]
    assert follows[-1] == 31
    yield docs, "up to lag {} at λ = 0.5, up to lag {} at 0.9, and at all 32 lags of the JSON at 0.99".format(*follows)
    sizes = [error for one in by_lag[1:] for error, _ in one]
    yield docs, f"as large at every lag ({100 * min(sizes):.2f} to {100 * max(sizes):.1f} % of ‖H‖)"
    lower, better = [], []
    for level in (0.5, 0.9, 0.99):
        runs = [one for one in evaluated if one["lambda"] == level]
        cells = [short(value - 1, 2) for one in runs for value in (one["validation_loss"], one["normalised_loss"])]
        cells += [short(value, 2) for value in (runs[0]["ar"]["64"], runs[0]["ar_fitted"]["excess"]["64"])]
        yield docs, f"| {level:g} | {' | '.join(cells)} |"
        lower.append(100 * (runs[0]["validation_loss"] - 1) / (runs[1]["validation_loss"] - 1) - 100)
        better.append(100 - 100 * (runs[1]["normalised_loss"] - 1) / (runs[2]["normalised_loss"] - 1))
        if level == 0.5:
            exact, fitted = runs[0]["ar"]["64"], runs[0]["ar_fitted"]["excess"]["64"]
            best = runs[0]["normalised_loss"] - 1
            yield (
                docs,
                f"{best / exact:.0f} times the excess of the exact AR(64), and {best / fitted:.1f} times that of",
            )
    yield docs, f"where 0.0005 has {lower[1]:.0f} and {lower[2]:.0f} % more excess on validation data"
    yield docs, f"the lower rate has {-lower[0]:.0f} % less"
    yield (
        docs,
        f"{better[1]:.0f} and {better[2]:.0f} % less excess on test data at λ = 0.9 and 0.99, and {better[0]:.0f} %",
    )
    yield "README.md", f"the excess is {min(better):.0f} to {max(better):.0f} % lower"


def integers_gpu() -> Iterator[tuple[str, str]]:
    file = "integers_h100.json"
    ratio = read(BENCHMARKS / file)["training"][RUNS[1]]["ratio_to_best"]
    yield "README.md", f"bestguess, 1 run: {ratio:.2f} times PyTorch with the whole step captured by hand"
    yield "README.md", f"| {speed(file, RUNS[1]):,.0f} |"
    yield "README.md", f"| bestguess, 256 runs together | {speed(file, RUNS[256]):,.0f} |"
    for runs in (1, 16, 256):
        one = read(BENCHMARKS / file)["training"][RUNS[runs]]
        yield "docs/integers.md", f"| {RUNS[runs]} | {one['steps_per_second']:,.0f} | {one['ratio']:.0f}"
    yield (
        "docs/integers.md",
        f"| PyTorch, the whole compiled step captured by hand in one CUDA graph | {speed(file, GRAPH):,.0f}",
    )


def integers_default() -> Iterator[tuple[str, str]]:
    """The default's training, which is the bundled model, and the average of three more seeds."""
    folder = RESULTS / "integers_muon_h200"
    (alone,), together = (
        read(folder / "evaluation.json")["runs"],
        read(folder / "seeds" / "evaluation.json")["together"],
    )
    rows = (
        (folder, alone, "one model", "`bestguess integers train`: one model, the bundled one"),
        (folder / "seeds", together, "the average of three more (`--seeds 3`)", "the average of these three"),
    )
    for of, one, short, long in rows:
        end, seconds = one["held_out"]["full_context"], read(of / "training.json")["seconds"]
        figures = f"| {seconds:.0f} s | {100 * end['relative_accuracy']:.2f} % | {end['regret']:.3f}"
        yield "README.md", f"| {short} {figures} |"
        yield "docs/integers.md", f"| {long} {figures} nats |"
    parts = (("held_out", " of the oracle's accuracy", "held-out rows"), ("seen", "", "seen ones"))
    for part, of, name in parts:
        end = alone[part]["full_context"]
        yield "docs/integers.md", f"{100 * end['relative_accuracy']:.2f} %{of} and {end['regret']:.4f} nats on {name}"


def integers_cpu() -> Iterator[tuple[str, str]]:
    for file in ("integers_cpu_16_cores", "integers_cpu_8_cores", "integers_cpu_4_cores", "integers_cpu"):
        training = read(BENCHMARKS / f"{file}.json")["training"]
        best = max((one["steps_per_second"], name) for name, one in training.items() if name.startswith("PyTorch"))
        ours = speed(f"{file}.json", RUNS[1])
        yield "docs/integers.md", f"{file}.json)) | {best[0]:.0f} | {ours:,.0f} | {spread(f'{file}.json', RUNS[1])} |"


def shakespeare_race() -> Iterator[tuple[str, str]]:
    race = read(BENCHMARKS / "shakespeare_race_h200.json")["variants"]["preset"]
    training, reached = race["training"], race["reached"]
    ours, graph = training["bestguess"], training[GRAPH]
    ratios = [one / other for one, other in zip(ours["rates"], graph["rates"], strict=True)]
    assert graph["steps_per_second"] == max(one["steps_per_second"] for one in training.values() if one is not ours)
    yield (
        "docs/text.md",
        f"{ours['steps_per_second']:.1f} steps/s compared with {graph['steps_per_second']:.1f} of PyTorch with its "
        f"whole step in one CUDA graph, its fastest variant: {median(ratios):.2f} times as fast ({min(ratios):.2f} "
        f"to {max(ratios):.2f} in four rounds)",
    )
    reduced, flat, plain = (training[name]["steps_per_second"] for name in (REDUCED, f"{GRAPH}, flat", COMPILED))
    yield (
        "docs/text.md",
        f"reduce-overhead has {reduced:.1f}, flat parameters {flat:.1f}, plain `torch.compile` {plain:.1f}",
    )
    first, second = reached["bestguess"], reached[GRAPH]
    yield (
        "docs/text.md",
        f"after {first['seconds']:.2f} s ({first['steps']:,} steps) and PyTorch after {second['seconds']:.2f} s "
        f"({second['steps']:,} steps), both validated every 100 steps. That is "
        f"{second['seconds'] / first['seconds']:.2f} times as fast",
    )


def experiments() -> Iterator[tuple[str, str]]:
    """The number of runs that an experiment's own page tells is that of its rows."""
    for folder in sorted(RESULTS.iterdir()):
        if (folder / "runs.csv").exists() and (folder / "verdicts.json").exists():
            yield str((folder / "README.md").relative_to(ROOT)), f"{len(table(folder.name)):,} runs"


def signed(effect: float, interval: list[float], digits: int = 2) -> str:
    """Return an effect and its interval as docs/experiments.md writes them."""
    low, high = interval
    return f"{effect:+.{digits}f} ({low:.{digits}f} to {high:.{digits}f})".replace("-", "−")


def mean_excess(rows: list[dict[str, str]], column: str = "normalised_loss", digits: int = 1) -> str:
    return short(mean(float(row[column]) - 1 for row in rows), digits)


def mean_memory(rows: list[dict[str, str]]) -> str:
    return f"{mean(float(row['equivalent_memory']) for row in rows):.1f}"


def full_size() -> Iterator[tuple[str, str]]:
    """The verdicts of the experiments on filters at full size, and the tables of their cells."""
    docs = "docs/experiments.md"
    small = {("H3", "less_mixture"), ("H4", "by_ridge"), ("H4", "less_ridge")}
    judged = ("eigenvalue", "structure", "patching", "observed")
    for name in (*(f"{one}_12000_steps" for one in judged), "normalisation", "in_context"):
        found = read(RESULTS / name / "verdicts.json")
        assert found["complete"]
        yield docs, f"{found['runs']} runs"
        for one in found["verdicts"]:
            for scale in (one, *one["scales"]):
                close = (
                    name in ("patching_12000_steps", "observed_12000_steps")
                    or (one["hypothesis"], scale["measure"]) in small
                )
                yield docs, signed(scale["effect"], scale["interval"], 3 if close else 2)

    for level, rows in by(table("eigenvalue_12000_steps"), "task.lambda").items():
        yield docs, f"| {level} | {mean_excess(rows)} | {mean_memory(rows)} |"
    for level, rows in by(table("in_context"), "task.systems").items():
        means = {key: f"{mean(float(row[key]) for row in rows):.3f}" for key in rows[0] if key.endswith("over_told")}
        # The mixture of one system is its filter.
        own = ["", ""] if level == "1" else [means["trained.over_told"], means["trained.mixture_over_told"]]
        held = [means[f"held_out.{one}over_told"] for one in ("", "mixture_", "ridge_")]
        yield docs, f"| {' | '.join([f'{int(level):,}', mean_excess(rows), *own, *held])} |"

    for level, rows in by(table("observed_12000_steps"), "task.observed_dim").items():
        own = [row for row in rows if row["model.patch"] == "1"]
        yield docs, f"| {level} | {mean_excess(own)} | {mean_memory(own)} |"
    for change, rows in by(table("normalisation"), "change").items():
        arm = ARM.label(change).replace("input", "by the deviation of the process (`input`)")
        cells = [mean_excess(own, digits=2) for own in by(rows, "task.lambda").values()]
        yield docs, f"| {arm} | {' | '.join(cells)} |"
    for one in read(RESULTS / "normalisation" / "verdicts.json")["verdicts"]:
        yield docs, f"{signed(one['effect'], one['interval'])} | {math.exp(one['effect']):.1f} |"
    dense, _, real, _ = read(RESULTS / "structure_12000_steps" / "verdicts.json")["verdicts"]
    closer = [100 * (1 - math.exp(one["effect"])) for one in (real, *real["scales"])]
    yield docs, f"ends {closer[0]:.0f} % closer to its filter, and {closer[1]:.0f} % closer in units of the headroom"
    yield docs, f"A dense A costs {100 * (math.exp(dense['effect']) - 1):.0f} % more excess"


def patches() -> Iterator[tuple[str, str]]:
    """By how much patches multiply the excess at t+2 at full size: means over seeds of its logarithm."""
    docs = "docs/experiments.md"
    cells: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for row in table("patching_12000_steps"):
        cell = cells.setdefault((row["task.lambda"], row["task.structure"]), {})
        cell[row["model.patch"], row["train.first_seed"]] = math.log(float(row["rollout.2.normalised_loss"]) - 1)
    seeds = [str(seed) for seed in range(8)]

    def times(patch: str) -> list[float]:
        return [math.exp(mean(one[patch, seed] - one["1", seed] for seed in seeds)) for one in cells.values()]

    slopes = [mean((one["16", seed] - one["1", seed]) / 4 for seed in seeds) for one in cells.values()]
    for name in (docs, "docs/filters.md"):
        yield name, f"{min(times('16')):.1f} to {max(times('16')):.1f} in "
        yield name, f"by a factor of {min(times('4')):.1f} to {max(times('4')):.1f}"
    yield docs, f"of the slope itself ({min(slopes):.2f} to {max(slopes):.2f})"
    sizes = [row for row in table("patching_sizes") if row["task.structure"] == "diagonal"]
    for level, rows in by(sizes, "task.lambda").items():
        own = by(rows, "model.patch").values()
        ahead = [mean_excess(size, "rollout.2.normalised_loss") for size in own]
        memory = [mean_memory(size) for size in own]
        yield "docs/filters.md", f"| {level} | excess at t+2 | {' | '.join(ahead)} |"
        yield "docs/filters.md", f"| | equivalent memory | {' | '.join(memory)} |"


def layers_inspected() -> Iterator[tuple[str, str]]:
    """What it costs to change all heads of one layer at full size, and what the heads of layer 1 read."""
    docs, kinds = "docs/filters.md", ("fixed", "fixed_by_position", "query_fixed", "key_fixed", "ablated")
    runs = read(RESULTS / "filters_muon_h200" / "layers" / "inspect.json")["runs"]
    long = [run for run in runs if run["lambda"] >= 0.9]

    def rise(changed: dict, kind: str, run: dict) -> float:
        """Return the rise of the excess over the run's own."""
        return changed[kind]["rise"] / run["all_heads"]["excess"]

    def first(kind: str) -> list[float]:
        return sorted(rise(run["layers"][0], kind, run) for run in long)

    for run in runs:
        rises = {kind: [layer[kind]["rise"] for layer in run["layers"]] for kind in kinds}
        named = [f"{run['lambda']:g}", str(run["seed"])]
        cells = [short(run["all_heads"]["excess"]), *(short(rises[kind][0]) for kind in kinds)]
        yield docs, f"| {' | '.join([*named, *cells])} |"
        cells = [f"{short(min(rises[kind][1:]))} to {short(max(rises[kind][1:]))}" for kind in kinds]
        yield docs, f"| {' | '.join([*named, *cells])} |"
    later = {kind: sorted(rise(layer, kind, run) for run in runs for layer in run["layers"][1:]) for kind in kinds}
    most, next_most = (100 * share for share in later["fixed_by_position"][:-3:-1])
    yield (
        docs,
        f"at most {most:.0f} % of the excess, and at most {next_most:.0f} % in 17 of {len(later['fixed'])} cases",
    )
    yield docs, f"it is at most {later['fixed'][-1]:.1f} times the excess"
    either = sorted(first("fixed") + first("fixed_by_position"))
    yield docs, f"in either way, the rise is {either[0]:.0f} to {either[-1]:,.0f} times the excess"
    yield docs, f"it is only {first('ablated')[0]:.1f} to {first('ablated')[-1]:.0f} times the excess"

    keys = sorted(run["layers"][0]["key_fixed"]["rise"] / run["layers"][0]["fixed"]["rise"] for run in long)
    yield docs, f"the rise is {keys[0]:.2f} to {keys[-1]:.2f} times that with the attention fixed"
    queries = first("query_fixed")
    yield docs, f"with its queries fixed only {queries[0]:.2f} to {queries[-1]:.2f} times the excess"
    heads = [(head, run) for run in long for head in run["heads"]]
    sinks = [head for head, run in heads if head["layer"] == 1 and rise(head, "fixed", run) > 1]
    assert len(sinks) == 10
    by_token, by_lag = (sorted(100 * head["explained"][one] for head in sinks) for one in ("token", "lag"))
    yield docs, f"explains {by_token[0]:.0f} to {by_token[-1]:.0f} % of the variance"
    yield docs, f"and the lag {by_lag[0]:.0f} to {by_lag[-1]:.0f} %"
    norms = sorted(head["norm_correlation"] for head in sinks)
    yield docs, f"rank correlations with ‖y‖ of {norms[-1]:.2f} to {norms[0]:.2f})".replace("-", "−")
    needed = [head for head, run in heads if rise(head, "ablated", run) > 10]
    assert {head["layer"] for head in needed} == {2, 3, 4}
    yield docs, f"In the {len(needed)} heads of layers 2 to 4"
    yield docs, f"the lag explains at least {100 * min(head['explained']['lag'] for head in needed):.1f} %"


def scaling() -> Iterator[tuple[str, str]]:
    """The rows of text_scaling's shapes on the files, and what its page has as verdicts there."""
    runs = [row for row in table("text_scaling") if "mts_dialog" in row["change"]]
    shapes = by(sorted(runs, key=lambda run: int(run["train.first_seed"])), "parameters")
    for parameters, found in ((int(count), own) for count, own in shapes.items()):
        layers, width = re.findall(r"model\.layers=(\d+) model\.d_model=(\d+)", found[0]["change"])[0]
        loss = [float(run["nats_per_token"]) for run in found]
        told = f"{mean(loss):.3f} ({', '.join(f'{one:.3f}' for one in loss)})"
        steps = sorted({int(run["best_step"]) for run in found})
        best = " to ".join(f"{one:,}" for one in dict.fromkeys((steps[0], steps[-1])))
        rouge = mean(float(run["rouge.rougeL"]) for run in found)
        rise = [abs(round(float(run["source.shuffled"]), 2)) for run in found]
        shape = f"{layers} + {layers} × {width} | {parameters / 1e6:.2f} M | {float(found[0]['train.learning_rate']):g}"
        rises = f"{min(rise):.2f} to {max(rise):.2f}"
        yield "docs/experiments.md", f"| {shape} | {told} | {best} | {rouge:.3f} | {rises} |"
    verdicts = {one["hypothesis"]: one for one in read(RESULTS / "text_scaling" / "verdicts.json")["verdicts"]}
    low, high = verdicts["H2b"]["interval"]
    rises = f"*rises* by {verdicts['H2b']['effect']:.3f} [{low:.3f}, {high:.3f}] nats per token"
    yield "docs/experiments.md", rises
    yield "docs/text.md", rises
    low, high = (
        math.exp(mean(float(run["nats_per_token"]) for run in shapes[one])) for one in ("1057280", "133106688")
    )
    yield "docs/text.md", f"perplexity {low:.1f} at 1.06 million, {high:.1f} at 133 million"


def excess() -> Iterator[tuple[str, str]]:
    """The excess of the four experiments on filters, at the best rate of each cell."""
    names = ("eigenvalue", "structure", "patching", "observed")
    cells = [
        one["normalised_loss"] - 1 for name in names for one in read(RESULTS / name / "verdicts.json")["learning_rates"]
    ]
    runs = []
    for name in names:
        runs += [float(row["normalised_loss"]) - 1 for row in table(name) if row["selected"] == "yes"]
    yield "docs/experiments.md", f"{100 * min(cells):.4f} % to {100 * max(cells):.3f} % of the filter's error"
    yield "docs/experiments.md", f"single runs to {100 * max(runs):.3f} %"


CLAIMS = [
    filters_gpu,
    filters_cpu,
    filters_default,
    instance_costs,
    filters_inspected,
    integers_gpu,
    integers_default,
    integers_cpu,
    shakespeare_race,
    experiments,
    full_size,
    patches,
    layers_inspected,
    scaling,
    excess,
]


@pytest.mark.parametrize("claims", CLAIMS, ids=lambda claims: claims.__name__)
def test_a_page_s_figures_are_those_of_its_file(claims):
    told = list(claims())
    assert told
    assert [(name, text) for name, text in told if re.sub(r"\s+", " ", text) not in page(name)] == []
