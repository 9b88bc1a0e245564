"""Every benchmark still runs: the whole script, in its smallest size, our own variants alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
