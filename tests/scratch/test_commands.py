"""The scratch room as a person meets it: the check, the zoo of bugs that it catches, the smallest demo."""

from __future__ import annotations

import json
import subprocess
import sys
import typing

import pytest

from bestguess.cli import main
from bestguess.scratch.bugs import BUGS, bug
from bestguess.scratch.check import SMALLER, run, zoo
from bestguess.scratch.demos import copilot
from bestguess.scratch.flags import CheckFlags, CopilotFlags, Level1Flags


def command(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["scratch", *words, "--json"])
    out, err = capsys.readouterr()
    return stop.value.code or 0, json.loads(out) if out else None, err


@pytest.mark.parametrize("seed", [0, 1])
def test_every_gradient_equals_the_numerical_one(seed):
    report = run(seed)
    assert report.faults == []
    assert len(report.operations) >= 40
    assert {name.rpartition(" ")[2] for name in report.parameters} == {"(simple)", "(fast)"}
    assert max(report.operations.values()) < 1e-6
    assert min(gradient.cosine for gradient in report.parameters.values()) > 1 - 1e-9


EXPECTED = {
    "detached-attention": {"attention (simple)", "attention (fast)", "blocks.0.attention.qkv.weight (simple)"},
    "inverted-mask": {"no token reads a later one (simple)", "no token reads a later one (fast)"},
    "frozen-norm": {"norm.gain (simple)", "norm.bias (fast)", "layer norm (simple)"},
    "no-sort": {"backward visits each node once"},
    "depth-first": {"attention (simple)", "blocks.0.attention.qkv.weight (simple)", "token_embedding (fast)"},
    "overwrite": {"gradients of two losses add up", "GELU (simple)", "token_embedding (simple)"},
    "no-zero-grad": {"a step starts from no gradient"},
    "scored-padding": {"padding is not scored (simple)", "padding is not scored (fast)"},
}


def test_the_check_catches_every_bug_by_what_it_breaks():
    found = zoo()
    assert set(found) == set(BUGS) == set(EXPECTED)
    for name, faults in found.items():
        assert EXPECTED[name] <= set(faults), name
    for name in ("inverted-mask", "no-sort", "no-zero-grad", "scored-padding"):  # every gradient is right
        assert not [f for f in found[name] if "weight" in f or "gain" in f or f == "linear (simple)"]
    assert run().faults == []  # a bug is gone after its block


def test_the_zoo_does_not_count_what_is_wrong_anyway(monkeypatch):
    monkeypatch.setattr("bestguess.scratch.bugs.BUGS", {"no-zero-grad": ""})
    with bug("no-zero-grad"):
        assert zoo()["no-zero-grad"] == []


def test_an_unknown_bug_is_told():
    with pytest.raises(ValueError, match="no bug is called 'moth'"), bug("moth"):
        pass


@pytest.mark.parametrize("flags", [CheckFlags, Level1Flags, CopilotFlags])
def test_the_flag_offers_every_bug(flags):
    hint = typing.get_type_hints(flags)["bug"]
    assert set(typing.get_args(hint)) == {"none", *BUGS}


def test_check_as_a_command(capsys, monkeypatch):
    monkeypatch.setattr("bestguess.scratch.check.zoo", lambda seed: {name: ["a fault"] for name in BUGS})
    status, result, _ = command(capsys, "check")
    assert (status, result["bug"]) == (0, "none")
    assert result["faults"] == []
    assert [(b["bug"], b["caught"]) for b in result["bugs"]] == [(name, True) for name in BUGS]
    report = run(config=SMALLER)
    monkeypatch.setattr("bestguess.scratch.check.run", lambda seed: report)
    monkeypatch.setattr("bestguess.scratch.check.zoo", lambda seed: {name: [] for name in BUGS})
    status, result, err = command(capsys, "check")
    assert status == 1
    assert "the check misses detached-attention, " in err
    assert not any(b["caught"] for b in result["bugs"])
    with bug("inverted-mask"):
        report = run(config=SMALLER)
    status, result, err = command(capsys, "check", "--bug", "inverted-mask")
    assert (status, result["bug"]) == (1, "inverted-mask")
    assert result["faults"]
    assert "faults" in err


def test_level1_reaches_the_ceiling(capsys):
    status, result, err = command(capsys, "level1")
    assert status == 0
    assert (result["correct"], result["ceiling"], result["bug"]) == (10, 10, "none")
    assert result["loss_floor"] == pytest.approx(0.069, abs=5e-4)
    assert result["loss"] == pytest.approx(result["loss_floor"], abs=2e-3)
    assert result["skill"] > 0.999
    assert err.startswith("Is a loss normal? In nats per character: 0.0687 is the best possible")
    status, result, _ = command(capsys, "level1", "--strings", "distinct")
    assert (result["correct"], result["ceiling"]) == (12, 12)


def test_level1_in_tinytorch_s_setting_stands_beside_its_figures(capsys):
    status, result, err = command(capsys, "level1", "--strings", "tinytorch")
    assert status == 0
    assert (result["correct"], result["steps"], result["parameters"]) == (12, 200, 4_624)
    assert "FGHI → GHIJ" in err
    for figure in ("3.8095", "1.5509", "59.3 %", "3 of 12"):
        assert figure in err


@pytest.mark.parametrize(
    ("name", "steps", "said"),
    [
        ("frozen-norm", 100, "% of the way from reading nothing"),
        ("overwrite", 150, "NOT normal: worse than a guess that reads nothing"),
        ("scored-padding", 100, "NOT normal: below the best possible"),
    ],
)
def test_level1_trains_with_a_bug(capsys, name, steps, said):
    """What the page says of a bug is what a run of it shows."""
    status, result, err = command(capsys, "level1", "--bug", name, "--steps", str(steps))
    assert (status, result["bug"], result["steps"]) == (0, name, steps)
    assert f"With a bug switched on, {name}: {BUGS[name]}" in " ".join(err.split())
    assert said in " ".join(err.split())


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
    assert (result["bug"], result["parameters"]) == ("none", 33_472)
    assert "Is a loss normal?" in err
    status, again, _ = command(capsys, "copilot", "--weights", str(tmp_path / "m.npz"), "--steps", "0")
    assert again["held_out_loss"] == pytest.approx(result["held_out_loss"], rel=1e-6)
    assert again["before"]["held_out_loss"] == again["held_out_loss"]


@pytest.mark.usefixtures("few_snippets")
def test_copilot_trains_with_a_bug(capsys):
    status, result, err = command(capsys, "copilot", "--steps", "2", "--bug", "frozen-norm")
    assert (status, result["bug"], result["steps"]) == (0, "frozen-norm", 2)
    assert "With a bug switched on, frozen-norm" in err


def test_copilot_in_tinytorch_s_setting_prints_both_parameter_counts(capsys, monkeypatch):
    train, held = copilot.TINYTORCH.split()
    few = train[:30] + [s for s in train if s.partition("\n")[0] in copilot.TINYTORCH.demos], held[:3]
    monkeypatch.setattr(copilot.Setting, "split", lambda self: few)
    status, result, err = command(capsys, "copilot", "--setting", "tinytorch", "--steps", "2")
    assert (status, result["parameters"], result["setting"]) == (0, 29_120, "tinytorch")
    for figure in ("33,472", "29,120", "4.614", "1 of 5"):
        assert figure in err


def test_one_completion_is_one_completion(capsys):
    status, result, err = command(capsys, "copilot", "--pretrained", "--prompt", "def mul(p, q):")
    assert (status, result["completion"], result["steps"]) == (0, "\n    return p * q\n", 0)
    assert err == "def mul(p, q):\n    return p * q\n\n"
    drawn = ["--temperature", "2", "--top-k", "1"]  # from the likeliest one only
    assert (
        command(capsys, "copilot", "--pretrained", "--prompt", "def mul(p, q):", *drawn)[1]["completion"]
        == (result["completion"])
    )
    drawn = ["--temperature", "2", "--top-p", "1"]
    assert (
        command(capsys, "copilot", "--pretrained", "--prompt", "def mul(p, q):", *drawn)[1]["completion"]
        != (result["completion"])
    )


def test_the_shipped_copilot_gets_better(capsys, monkeypatch):
    monkeypatch.setattr(copilot, "thinned", lambda snippets, most: snippets[:: len(snippets) // 20])
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


def test_the_hybrid_shows_a_falling_loss_good_examples_and_the_architecture(capsys, monkeypatch):
    status, result, err = command(capsys, "teach", "--strategy", "hybrid")
    assert status == 0
    assert result["tiny"]["correct"] == 12
    assert len(result["examples"]) >= 8
    for header, body in result["examples"].items():
        assert copilot.parses(header + body)
    assert "Not written now, but by bestguess scratch copilot" in " ".join(err.split())
    assert sum(stage["parameters"] for stage in result["architecture"]) == 33_472
    assert result["architecture"][0]["stage"] == "tokens"


def test_graph_writes_its_picture(capsys, tmp_path):
    out = tmp_path / "new" / "g.svg"
    status, result, _err = command(
        capsys, "graph", "--expression", "d = a*b; d*d", "--at", "a=2,b=3", "--out", str(out)
    )
    assert status == 0
    assert (result["nodes"], result["paths"], result["value"]) == (2, 3, 36)
    assert result["gradients"] == {"a": 36, "b": 24, "d": 12}
    assert out.read_text().startswith("<svg")
    status, result, _err = command(capsys, "graph", "--walk", "--out", str(out))
    assert (status, "<set" in out.read_text()) == (0, True)
    for layer in ("linear", "gpt"):
        assert command(capsys, "graph", "--layer", layer, "--out", str(out))[0] == 0


@pytest.mark.usefixtures("few_snippets")
def test_options_leave_their_result_with_its_origin(capsys, tmp_path):
    for option, extra, files in (
        ("A", ["--steps", "2", "--every", "1"], {"step-00001.npz", "step-00002.npz", "quality.png"}),
        ("B", ["--steps", "1"], set()),
        ("C", ["--draws", "1", "--top-k", "3", "--top-p", "0.9"], {"attention.png"}),
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
    monkeypatch.setattr("bestguess.scratch.demos.causes.SCORED", 4)
    status, result, _err = command(capsys, "causes", "--seeds", "2", "--steps", "2", "--out", str(tmp_path))
    assert status == 0
    assert [v["cause"] for v in result["verdicts"]] == [
        "insufficient training",
        "greedy decoding",
        "padding confusion",
        "tokenizer issues",
    ]
    assert len(result["runs"]) == 2
    assert {"memorised", "held_out", "verdict", "mended", "faulty"} <= set(result["verdicts"][0])
    assert (tmp_path / "result.json").exists()


def test_stdlib_sets_baselines_beside_the_model(capsys, tmp_path, monkeypatch):
    from bestguess.scratch.demos import stdlib

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


def test_stdlib_trains_on_a_reader_s_own_text(capsys, tmp_path):
    (tmp_path / "mine.txt").write_text("Zwölf Boxkämpfer jagen Viktor.\n" * 60)
    status, result, err = command(
        capsys, "stdlib", "--corpus", str(tmp_path / "mine.txt"), "--steps", "2", "--temperature", "0"
    )
    assert status == 0
    assert result["train_characters"] + result["held_out_characters"] == 31 * 60
    assert set(result["completion"]) <= set("Zwölf Boxkämpfer jagen Viktor.\n")
    assert err.index("Is a loss normal?") < err.index("parameters")


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
        (
            ["copilot", "--pretrained", "--setting", "tinytorch"],
            "--setting tinytorch: the bundled checkpoint is of ours",
        ),
        (["copilot", "--top-k", "3"], "--temperature, --top-k and --top-p say how --prompt is completed; give one"),
        (["copilot", "--prompt", "a", "--top-k", "0"], "--top-k 0: must be at least 1"),
        (["copilot", "--prompt", "a", "--top-p", "0"], "--top-p 0.0: must be above 0"),
        (["copilot", "--prompt", "a", "--temperature", "-1"], "--temperature -1.0: must be 0"),
        (["copilot", "--bug", "moth"], "--bug"),
        (["level1", "--steps", "0"], "--steps 0: must be at least 1"),
        (["stdlib", "--corpus", "none.txt"], "none.txt"),
        (["stdlib", "--corpus", "pyproject.toml"], "--corpus pyproject.toml: 9 characters; at least 1,300"),
        (["options", "--option", "A", "--top-k", "7"], "--top-k: has no effect on option A"),
        (["options", "--option", "C", "--top-p", "2"], "--top-p 2.0"),
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
