"""The scratch room as a person meets it: the check, the zoo of bugs that it catches, the smallest demo."""

from __future__ import annotations

import json
import subprocess
import sys
import typing

import pytest

from bestguess.cli import main
from bestguess.scratch.bugs import BUGS, bug
from bestguess.scratch.check import run
from bestguess.scratch.flags import CheckFlags
from bestguess.scratch.gpt import GPT, GPTConfig
from bestguess.scratch.level1 import CONFIG


def command(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["scratch", *words, "--json"])
    out, err = capsys.readouterr()
    return stop.value.code or 0, json.loads(out) if out else None, err


@pytest.mark.parametrize("seed", [0, 1])
def test_every_gradient_equals_the_numerical_one(seed):
    report = run(seed)
    assert report.faults == []
    assert len(report.operations) >= 30
    assert max(report.operations.values()) < 1e-6
    assert min(gradient.cosine for gradient in report.parameters.values()) > 1 - 1e-9


@pytest.mark.parametrize("name", BUGS)
def test_the_check_catches_every_classic_bug(name):
    with bug(name):
        assert run().faults


def test_a_bug_is_gone_after_its_block():
    with bug("detached-attention"):
        pass
    assert run().faults == []


def test_the_flag_offers_every_bug():
    hint = typing.get_type_hints(CheckFlags)["bug"]
    assert set(typing.get_args(hint)) == {"none", *BUGS}


@pytest.mark.parametrize(
    ("config", "parameters"),
    [(CONFIG, 4_624), (GPTConfig(vocab=61, d_model=32, layers=2, heads=8, positions=128), 33_472)],
)
def test_the_models_have_the_sizes_that_they_are_named_for(config, parameters):
    assert sum(p.array.size for p in GPT(config, 0).parameters()) == parameters


def test_check_as_a_command(capsys):
    status, result, _ = command(capsys, "check")
    assert status == 0
    assert result["faults"] == []
    status, result, err = command(capsys, "check", "--bug", "inverted-mask")
    assert status == 1
    assert result["faults"]
    assert "faults" in err


def test_level1_reaches_the_ceiling(capsys):
    status, result, _ = command(capsys, "level1")
    assert status == 0
    assert (result["correct"], result["ceiling"]) == (10, 10)
    assert result["loss_floor"] == pytest.approx(0.069, abs=5e-4)
    assert result["loss"] == pytest.approx(result["loss_floor"], abs=2e-3)
    status, result, _ = command(capsys, "level1", "--strings", "distinct")
    assert (result["correct"], result["ceiling"]) == (12, 12)


@pytest.mark.usefixtures("few_snippets")
def test_copilot_trains_a_little_and_scores_both_sides(capsys, tmp_path):
    status, result, err = command(
        capsys, "copilot", "--steps", "3", "--save", str(tmp_path / "m.npz"), "--prompt", "def f(x):"
    )
    assert status == 0
    assert set(result["held_out"]) == {"parsed", "exact", "of"}
    assert result["held_out"]["of"] == 5
    assert (result["demos_correct"], result["steps"]) == (0, 3)
    assert result["seconds"] > 0
    assert "never trained on (held out)" in err
    status, again, _ = command(capsys, "copilot", "--weights", str(tmp_path / "m.npz"), "--steps", "0")
    assert again["held_out_loss"] == pytest.approx(result["held_out_loss"], rel=1e-6)
    assert again["before"]["held_out_loss"] == again["held_out_loss"]


def test_the_shipped_copilot_gets_better(capsys):
    status, result, err = command(capsys, "copilot", "--pretrained")
    assert (status, result["steps"]) == (0, 100)
    before = result["before"]
    assert result["held_out_loss"] < before["held_out_loss"]
    assert result["memorised"]["exact"] > before["memorised"]["exact"]
    assert result["demos_correct"] >= before["demos_correct"]
    assert "step 100/100" in err


def test_teach_is_made_of_the_demos(capsys):
    status, result, _err = command(capsys, "teach", "--strategy", "tiny")
    assert status == 0
    assert (result["tiny"]["correct"], result["tiny"]["ceiling"]) == (12, 12)
    assert "pretrained" not in result


def test_graph_writes_its_picture(capsys, tmp_path):
    out = tmp_path / "new" / "g.svg"
    status, result, _err = command(
        capsys, "graph", "--expression", "d = a*b; d*d", "--at", "a=2,b=3", "--out", str(out)
    )
    assert status == 0
    assert (result["nodes"], result["paths"], result["value"]) == (2, 3, 36)
    assert result["gradients"] == {"a": 36, "b": 24, "d": 12}
    assert out.read_text().startswith("<svg")
    for layer in ("linear", "attention"):
        assert command(capsys, "graph", "--layer", layer, "--out", str(out))[0] == 0


@pytest.mark.usefixtures("few_snippets")
def test_options_leave_their_result_with_its_origin(capsys, tmp_path):
    for option, extra, files in (
        ("A", ["--steps", "2", "--every", "1"], {"step-00001.npz", "step-00002.npz", "quality.png"}),
        ("B", ["--steps", "1"], set()),
        ("C", ["--draws", "1"], {"attention.png"}),
    ):
        out = tmp_path / option
        status, result, _err = command(capsys, "options", "--option", option, *extra, "--out", str(out))
        assert status == 0
        assert {path.name for path in out.iterdir()} == files | {"result.json"}
        kept = json.loads((out / "result.json").read_text())
        assert {"command", "date", "cpu", "cores", "versions"} <= set(kept)
        assert all(kept[key] == value for key, value in result.items())


@pytest.mark.usefixtures("few_snippets")
def test_causes_give_four_verdicts(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("bestguess.scratch.causes.SCORED", 4)
    status, result, _err = command(capsys, "causes", "--seeds", "2", "--steps", "2", "--out", str(tmp_path))
    assert status == 0
    assert [v["cause"] for v in result["verdicts"]] == ["too few steps", "greedy decoding", "padding", "tokenizer"]
    assert len(result["runs"]) == 2
    assert {"memorised", "held_out", "verdict", "mended", "faulty"} <= set(result["verdicts"][0])
    assert (tmp_path / "result.json").exists()


def test_stdlib_sets_baselines_beside_the_model(capsys, tmp_path, monkeypatch):
    from bestguess.scratch import stdlib

    for i in range(60):
        (tmp_path / f"f{i}.py").write_text("def f(x):\n    return x + 1\n" * 20)
    whole = stdlib.corpus(tmp_path)
    monkeypatch.setattr(stdlib, "corpus", lambda: whole)
    status, result, err = command(
        capsys, "stdlib", "--steps", "2", "--prompt", "def f", "--save", str(tmp_path / "m.npz")
    )
    assert status == 0
    assert result["bits_per_character"] > result["baselines"]["given 2 characters"]
    assert result["parameters"] == 160_320
    assert len(result["completion"]) <= 124
    assert "baselines, not a ceiling" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", "--seed", "-1"], "--seed -1: must be 0 or more"),
        (["check", "--bug", "detached"], "--bug"),
        (["level1", "--seed", "-1"], "--seed -1"),
        (["graph", "--expression", "__import__('os')"], "--expression: \"__import__('os')\" is not among"),
        (["graph", "--at", "a"], "--at: 'a' is not name=number"),
        (["graph", "--at", "a=1,a=2"], "--at: 'a' is given twice"),
        (["graph", "--at", "a=inf"], "--at: 'a=inf' is not name=number"),
        (["graph", "--at", "a=1"], "variable 'b' has no value"),
        (["graph", "--layer", "norm"], "--layer"),
        (["graph", "--out", "."], "--out .: is a folder"),
        (["graph", "--out", "/proc/none/g.svg"], "--out /proc/none: cannot be made"),
        (["graph", "--out", "/proc/g.svg"], "--out /proc/g.svg: cannot be written"),
        (["copilot", "--steps", "-1"], "--steps -1: must be 0 or more"),
        (["copilot", "--steps", "0"], "--steps 0: completes with a checkpoint as it is"),
        (["copilot", "--pretrained", "--weights", "x.npz"], "--weights: --pretrained names a checkpoint already"),
        (["copilot", "--weights", "none.npz"], "--weights none.npz: no such file"),
        (["copilot", "--weights", "pyproject.toml"], "--weights pyproject.toml: not a checkpoint"),
        (["copilot", "--prompt", "Ü"], "--prompt: not in the vocabulary: 'Ü'"),
        (["copilot", "--prompt", ""], "--prompt: 0 characters; give 1 to 127"),
        (["copilot", "--save", "."], "--save .: is a folder"),
        (["stdlib", "--steps", "0"], "--steps 0: must be at least 1"),
        (["stdlib", "--prompt", "a" * 128], "--prompt: 128 characters; give 1 to 127"),
        (["options", "--option", "D"], "--option"),
        (["options", "--every", "0"], "--every 0: must be at least 1"),
        (["options", "--option", "C", "--temperatures", "0"], "--temperatures 0.0: each must be above 0"),
        (["options", "--option", "C", "--steps", "5"], "--steps: option C trains nothing"),
        (["options", "--option", "C", "--draws", "0"], "--draws 0"),
        (["options", "--option", "B", "--every", "7"], "--every: has no effect on option B"),
        (["options", "--option", "A", "--draws", "7"], "--draws: has no effect on option A"),
        (["causes", "--seeds", "1"], "--seeds 1: must be 2 to 20"),
        (["causes", "--seeds", "21"], "--seeds 21: must be 2 to 20"),
        (["teach", "--strategy", "none"], "--strategy"),
        (["teach", "--seed", "-1"], "--seed -1"),
    ],
)
def test_what_is_off_is_told_in_one_line(capsys, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]")
    status, result, err = command(capsys, *words)
    assert (status, result) == (2, None)
    assert said in err
    assert err.startswith("bestguess: error: ")
    assert err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"pyproject.toml", "runs"}


@pytest.mark.parametrize("words", ["level1", "graph --out {}/g.svg", "copilot --pretrained --steps 0", "check"])
def test_scratch_needs_no_jax(words, tmp_path):
    """Nor anything else of the package's dependencies but NumPy, rich and tyro."""
    argv = ["scratch", *words.format(tmp_path).split()]
    code = f"import sys; from bestguess.cli import main; main({argv})"
    heavy = ("jax", "jaxlib", "equinox", "optax", "scipy", "matplotlib", "plotly", "yaml", "safetensors")
    watch = f"import atexit, sys; atexit.register(lambda: print([m for m in {heavy} if m in sys.modules])); {code}"
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
