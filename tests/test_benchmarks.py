"""Every benchmark still runs: the whole script, in its smallest size, our own variants alone."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bestguess.text.model import parameters

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
TINY = ("--device", "cpu", "--tiny", "--rounds", "1", "--steps", "2")


def run(script: str, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), *argv]
    environment = os.environ | {"JAX_NUMPY_RANK_PROMOTION": "allow"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("script", ["filters", "integers", "rolls"])
def test_a_benchmark_times_our_own_runs(script, tmp_path):
    done = run(script, *TINY, "--variants", "bestguess", "--out", str(tmp_path / "out.json"))
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in done.stdout
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    told = found["training"] if "training" in found else next(iter(found["outputs"].values()))["training"]
    rates = {name: one["steps_per_second"] for name, one in told.items() if name.startswith("bestguess")}
    assert rates
    assert min(rates.values()) > 0


@pytest.mark.parametrize("script", ["filters", "integers", "rolls"])
def test_without_pytorch_one_line_says_how_to_get_it(script, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
    )
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), *TINY]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert "uv run --group bench python" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_search_on_shakespeare_tries_models_of_at_most_the_published_size(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    shakespeare, tune = importlib.import_module("shakespeare"), importlib.import_module("shakespeare_tune")
    for device, grid in tune.GRID.items():
        assert len(set(grid)) == len(grid)
        given = argparse.Namespace(device=device, corpus=tmp_path, what="losses", tiny=False, first_seed=0, steps=0)
        shapes = set()
        for change in grid:
            config = shakespeare.configuration(given, change)
            config.check()
            assert config.task.context <= 256
            shapes.add(dataclasses.replace(config.model, dropout=0.0, attention_dropout=0.0, token_noise=0.0))
        for shape in shapes:
            assert parameters(shape, 65 + 5, (1, 256), marked=False).total <= 10_750_000


def test_the_search_on_shakespeare_trains_again_what_the_first_half_chooses(tmp_path, monkeypatch, capsys):
    """Planted curves: `second` is best on all and on the second half, `first` on the first half alone."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    tune = importlib.import_module("shakespeare_tune")
    halves = {"first": (1.4, 1.7), "second": (1.45, 1.5), "gone": None}

    def one(search, job, end):
        change, seed = job
        if halves[change] is None:
            return None
        first, second = halves[change]
        curve = [
            {"step": step, "first": first + more, "second": second - more, "all": (first + second) / 2}
            for step, more in ((50, 0.1), (100, 0.01 * (seed % 1000)), (150, 0.2))
        ]
        chosen = tune.best_on_first({"curve": curve})
        figures = {"best": chosen["all"], "halved": chosen["second"], "last": curve[-1]["all"]}
        return {"change": change, "seed": seed, "parameters": 1, "curve": curve, **figures}

    monkeypatch.setattr(tune.Search, "one", one)
    out = tmp_path / "out.json"
    words = [word for change in halves for word in ("--change", change)]
    monkeypatch.setattr(sys, "argv", ["shakespeare_tune.py", "input.txt", "--device", "cpu", *words, "--out", str(out)])
    tune.main()
    found = json.loads(out.read_text(encoding="utf-8"))
    assert [one["change"] for one in found["tried"]] == ["first", "second"]
    assert found["best"] == "first"
    assert [one["seed"] for one in found["again"]] == [0, 1, 2]
    assert found["halved"] == pytest.approx(1.7 - 0.01)
    assert found["loss"] == pytest.approx(1.55)
    assert "first, mean of 3 seeds: best 1.5500, second half 1.6900" in capsys.readouterr().out


@pytest.mark.slow
def test_shakespeare_reports_a_training(tmp_path):
    text, out = tmp_path / "play.txt", tmp_path / "out.json"
    text.write_text("".join(f"scene {i}: enter {'the king' if i % 3 else 'a ghost'}.\n" for i in range(60)))
    words = ["losses", str(text), "--tiny", "--steps", "5", "--change", "steps=10 warmup_steps=2"]
    done = run("shakespeare", *words, "--out", str(out))
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(out.read_text(encoding="utf-8"))["variants"].values()
    (seed,) = found["seeds"]
    assert [one["step"] for one in seed["curve"]] == [5, 10]
    assert seed["best"] == min(one["all"] for one in seed["curve"])
    assert found["scored"] == len(text.read_text()) - int(len(text.read_text()) * 0.9) - 1
