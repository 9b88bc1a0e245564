"""Every benchmark still runs: the whole script, in its smallest size, our own variants alone."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bestguess.text.model import parameters

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
LEARNT = {"compile": 1.42, "reduce-overhead": 1.40, "graph": 1.41, "flat": 2.09}
RATES = {"compile": 89.0, "reduce-overhead": 190.0, "graph": 191.0, "flat": 192.0}
TINY = ("--device", "cpu", "--tiny", "--rounds", "1", "--steps", "2")


SCRIPTS = "filters", "integers", "rolls"
IN_TURN = """\
import json, runpy, sys
left = []
for script, *argv in json.loads(sys.argv[1]):
    sys.argv = [script, *argv]
    try:
        runpy.run_path(script, run_name="__main__")
        left.append(None)
    except SystemExit as stop:
        left.append(stop.code)
print(json.dumps(left))
"""


def run(*commands: list[str], **environment: str) -> tuple[list[str | int | None], str]:
    """Return what each script, with its arguments, left to say as it exited, and all output: one process runs them."""
    paths = os.pathsep.join(filter(None, [environment.pop("PYTHONPATH", ""), str(BENCHMARKS)]))
    words = [[str(BENCHMARKS / f"{script}.py"), *argv] for script, *argv in commands]
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, json.dumps(words)],
        capture_output=True,
        text=True,
        env=os.environ | environment | {"JAX_NUMPY_RANK_PROMOTION": "allow", "PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


@pytest.mark.slow
def test_benchmarks_time_our_own_runs(tmp_path):
    outs = {script: tmp_path / f"{script}.json" for script in SCRIPTS}
    left, said = run(*([one, *TINY, "--variants", "bestguess", "--out", str(out)] for one, out in outs.items()))
    assert left == [None] * 3, said
    assert "FAILED" not in said
    for out in outs.values():
        found = json.loads(out.read_text(encoding="utf-8"))
        told = found["training"] if "training" in found else next(iter(found["outputs"].values()))["training"]
        rates = {name: one["steps_per_second"] for name, one in told.items() if name.startswith("bestguess")}
        assert rates
        assert min(rates.values()) > 0


def test_without_pytorch_one_line_says_how_to_get_it(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
    )
    left, said = run(*([script, *TINY] for script in SCRIPTS), PYTHONPATH=str(tmp_path))
    for line in left:
        assert isinstance(line, str), said  # Python prints it, and the exit status is 1
        assert "uv run --group bench python" in line
        assert "\n" not in line
    assert "Traceback" not in said


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


@pytest.fixture
def side_by_side(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("side_by_side")


def raced(losses: dict[str, float], ours: float = 1.45, turn: int = 100, error: float = 0.005) -> dict[str, dict]:
    """Return planted figures: what PyTorch's variants and ours learnt, at the rates above."""
    named = {f"PyTorch {name}": (RATES[name], loss) for name, loss in losses.items()} | {"bestguess": (227.0, ours)}
    return {
        name: {"rates": [rate], "turn": turn, "mean_loss": loss, "mean_loss_error": error}
        for name, (rate, loss) in named.items()
    }


def rival(side_by_side, figures: dict[str, dict]) -> str | None:
    return next((f["rival"] for f in side_by_side.compare_rates(figures, None).values() if "rival" in f), None)


def test_a_variant_that_does_not_learn_is_no_rival(side_by_side):
    figures = raced(LEARNT)
    assert rival(side_by_side, figures) == "PyTorch graph"
    assert figures["bestguess"]["ratio"] == pytest.approx(227 / 191)
    assert [name for name, f in figures.items() if "unsound" in f] == ["PyTorch flat"]
    assert figures["PyTorch flat"]["unsound"] == (
        "mean training loss 2.09 ± 0.005, PyTorch's median 1.41 ± 0.005, margin 10%"
    )
    assert rival(side_by_side, raced(LEARNT | {"flat": 1.42})) == "PyTorch flat"


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 0.5, 1.57])
def test_off_is_off_on_either_side(side_by_side, loss):
    """A loss too low is no better: a graph that repeats one batch learns that one."""
    assert rival(side_by_side, raced(LEARNT | {"flat": loss})) == "PyTorch graph"


@pytest.mark.parametrize(("error", "found"), [(0.05, "PyTorch graph"), (0.2, "PyTorch flat")])
def test_what_may_be_chance_excludes_no_variant(side_by_side, error, found):
    assert rival(side_by_side, raced(LEARNT, error=error)) == found


def test_what_is_no_number_is_unsound_whatever_its_error(side_by_side):
    assert rival(side_by_side, raced(LEARNT | {"flat": math.nan}, error=9.0)) == "PyTorch graph"
    assert rival(side_by_side, raced(dict.fromkeys(LEARNT, math.nan))) is None


def test_of_two_variants_the_lower_loss_is_believed(side_by_side):
    assert rival(side_by_side, raced({"compile": 1.42, "flat": 2.09})) == "PyTorch compile"
    assert rival(side_by_side, raced({"compile": 2.09, "flat": 1.42})) == "PyTorch flat"
    assert rival(side_by_side, raced({"flat": 2.09})) == "PyTorch flat"


def test_losses_are_compared_after_as_many_steps_only(side_by_side):
    early = {"PyTorch eager": {"rates": [9.0], "turn": 25, "mean_loss": 3.0, "mean_loss_error": 0.01}}
    figures = early | raced({"compile": 1.42, "graph": 1.41})
    assert rival(side_by_side, figures) == "PyTorch graph"
    assert not any("unsound" in f for f in figures.values())


def test_ours_is_named_too_where_it_does_not_learn(side_by_side, capsys):
    figures = raced(LEARNT, ours=1.9)
    assert rival(side_by_side, figures) == "PyTorch graph"
    side_by_side.print_unsound(figures)
    flat, ours = capsys.readouterr().out.splitlines()
    assert flat.startswith("PyTorch flat: unsound, so not the rival: mean training loss 2.09")
    assert ours.startswith("bestguess: unsound: mean training loss 1.9")


def test_figures_without_a_mean_loss_or_with_a_reason_of_their_own(side_by_side):
    older = {name: {"rates": f["rates"]} for name, f in raced(LEARNT).items()}
    assert rival(side_by_side, older) == "PyTorch flat"
    figures = raced(LEARNT | {"flat": 1.42})
    figures["PyTorch flat"]["unsound"] = "its gradient is off"
    assert rival(side_by_side, figures) == "PyTorch graph"
    assert figures["PyTorch flat"]["unsound"] == "its gradient is off"
    alone = raced({"flat": 1.42})
    alone["PyTorch flat"]["unsound"] = "its gradient is off"
    assert rival(side_by_side, alone) is None


def test_one_more_turn_than_those_timed_tells_what_was_learnt(side_by_side):
    class Variant:
        runs, turn = 1, 3

        def __init__(self):
            self.taken = 0

        def run(self, steps):
            self.taken += steps
            return 7.0

        def averaged(self, steps):
            return self.run(steps) - self.taken, 0.5

    def gone():
        variant = Variant()
        variant.averaged = lambda steps: 1 / 0
        return variant

    figures: dict[str, dict] = {}
    live = side_by_side.take_turns({"PyTorch": Variant, "ours": Variant, "gone": gone}, 2, figures, lambda: None)
    assert list(live) == ["PyTorch", "ours"]
    assert [len(figures[name]["rates"]) for name in live] == [2, 2]
    assert [figures[name]["mean_loss"] for name in live] == [7.0 - 12] * 2
    assert figures["ours"]["mean_loss_error"] == 0.5
    assert figures["gone"]["error"].startswith("ZeroDivisionError")
    alone: dict[str, dict] = {}
    side_by_side.take_turns({"ours": gone}, 1, alone, lambda: None)
    assert "mean_loss" not in alone["ours"]
    assert "error" not in alone["ours"]


@pytest.mark.slow
def test_shakespeare_reports_a_training(tmp_path):
    text, out = tmp_path / "play.txt", tmp_path / "out.json"
    text.write_text("".join(f"scene {i}: enter {'the king' if i % 3 else 'a ghost'}.\n" for i in range(60)))
    words = ["losses", str(text), "--tiny", "--steps", "5", "--change", "steps=10 warmup_steps=2"]
    left, said = run(["shakespeare", *words, "--out", str(out)])
    assert left == [None], said
    (found,) = json.loads(out.read_text(encoding="utf-8"))["variants"].values()
    (seed,) = found["seeds"]
    assert [one["step"] for one in seed["curve"]] == [5, 10]
    assert seed["best"] == min(one["all"] for one in seed["curve"])
    assert found["scored"] == len(text.read_text()) - int(len(text.read_text()) * 0.9) - 1
