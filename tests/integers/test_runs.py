"""The commands end to end, at toy size: what they print, what they leave behind, how they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bestguess.cli import main
from bestguess.integers import workings
from bestguess.integers.oracle.exact import Oracle
from bestguess.integers.sequences import priors

TOY = [
    *("--layers", "1", "--d-model", "8", "--heads", "2", "--length", "5", "--phases", "1", "--curriculum", "gradual"),
    *("--prior", "narrow"),
    *("--batch-size", "4", "--steps", "6", "--warmup-steps", "1", "--validate-every", "3"),
    *("--validation-sequences", "4", "--learning-rate", "1e-3", "1e-2"),
]


def run(capsys, *words):
    """Return the exit status, the JSON object on standard output (the text, without --json), and standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["integers", *words])
    out, err = capsys.readouterr()
    return stop.value.code or 0, json.loads(out) if out and "--json" in words else out, err


@pytest.fixture(scope="module", autouse=True)
def few_rows():
    """Sums over all rows are exact with half of them, too: alternation has 16,256 of the 30,847 here."""
    kept = tuple(one for one in priors.FAMILIES if one.name != "alternation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(priors, "FAMILIES", kept)
        workings._task_of.cache_clear()
        yield
    workings._task_of.cache_clear()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder trained by the command line: two learning rates on the sequences of phase 1."""
    folder = tmp_path_factory.mktemp("runs") / "toy"
    with pytest.raises(SystemExit) as stop:
        main(["integers", "train", *TOY, "--out", str(folder), "--json"])
    assert not stop.value.code
    return folder


def test_training_evaluates_and_reports(trained):
    result = json.loads((trained / "evaluation.json").read_text())
    assert [one["learning_rate"] for one in result["runs"]] == [1e-3, 1e-2]
    assert result["self_test"] < 1e-6
    for one in result["runs"]:
        for part in ("all", "seen", "held_out"):
            by_position = one[part]["by_position"]
            assert set(map(len, by_position.values())) == {5}
            assert min(by_position["regret"]) > 0
            assert (np.array(by_position["accuracy"]) <= np.array(by_position["ceiling"]) + 1e-9).all()
            assert one[part]["full_context"]["loss"] == pytest.approx(
                by_position["regret"][-1] + by_position["floor"][-1]
            )
    page = (trained / "report.html").read_text(encoding="utf-8")
    for said in ("exact Bayes predictor", "held-out", "Curriculum", "a(n) = a(n−1) + a(n−2)"):
        assert said in page
    names = {path.stem for path in (trained / "figures").iterdir()}
    assert names == {"learning", "accuracy_by_position", "regret_by_position", "curriculum", "attention"}


def test_the_page_of_a_width_of_two_shows_what_its_norm_leaves(capsys, tmp_path):
    document = [
        "--design",
        "document",
        "--validation-sequences",
        "4",
        "--phases",
        "1",
        "--length",
        "3",
        "--prior",
        "narrow",
    ]
    short = ["--steps", "2", "--warmup-steps", "1", "--validate-every", "2"]
    assert run(capsys, "train", *document, *short, "--out", str(tmp_path / "two"))[0] == 0
    assert (tmp_path / "two" / "figures" / "norm.png").exists()
    assert "What the first norm leaves" in (tmp_path / "two" / "report.html").read_text(encoding="utf-8")


def test_evaluate_says_the_same_again(trained, capsys):
    before = json.loads((trained / "evaluation.json").read_text())
    code, result, err = run(capsys, "evaluate", str(trained), "--json")
    assert code == 0
    assert result["runs"] == before["runs"]
    assert "self-test" in err
    assert "held-out" in err


def test_a_broken_evaluation_is_not_reported(trained, capsys, monkeypatch):
    good = Oracle.logits
    monkeypatch.setattr(Oracle, "logits", lambda self, contexts: np.roll(good(self, contexts), 1, axis=1))
    before = (trained / "evaluation.json").read_text()
    code, out, err = run(capsys, "evaluate", str(trained), "--json")
    assert (code, out) == (1, "")
    assert "self-test" in err
    assert (trained / "evaluation.json").read_text() == before


def test_report_is_made_again(trained, capsys):
    (trained / "report.html").unlink()
    code, result, _ = run(capsys, "report", str(trained), "--json")
    assert code == 0
    assert "exact Bayes predictor" in Path(result["report"]).read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [[], ["--method", "naive"], ["--method", "parallel"], ["--temperature", "1.5"]])
def test_generate(trained, capsys, words):
    code, result, err = run(capsys, "generate", str(trained), "2", "4", "6", "8", "--steps", "4", *words, "--json")
    assert code == 0
    assert len(result["terms"]) == len(result["steps"]) == 4
    for term, step in zip(result["terms"], result["steps"]):
        assert step["term"] == term
        assert set(step) == {"term", "next", "oracle", "differ"}
        p = {one["value"]: one["probability"] for one in step["next"]}
        if not words or words[0] == "--method":
            assert p[term] == max(p.values())
        assert step["differ"] in (True, False, None)
        assert (step["differ"] is None) == (not step["oracle"])
    assert result["steps"][0]["oracle"][0] == {"value": 10, "probability": pytest.approx(1.0)}
    assert "both see the last 5 terms" in err
    assert "place" in err


def test_generate_agrees_between_methods_and_differs_by_run(trained, capsys):
    found = {}
    for words in (("naive", "0"), ("cached", "0"), ("parallel", "0"), ("naive", "1")):
        arguments = ["2", "4", "6", "--method", words[0], "--number", words[1], "--json"]
        found[words] = run(capsys, "generate", str(trained), *arguments)[1]["terms"]
    assert found["naive", "0"] == found["cached", "0"] == found["parallel", "0"]
    assert len(found["naive", "0"]) == 8


def test_generate_with_beams(trained, capsys):
    code, result, err = run(capsys, "generate", str(trained), "2", "4", "--steps", "3", "--beams", "4", "--json")
    assert code == 0
    scores = [one["log_probability"] for one in result["beams"]]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    assert result["terms"] == result["beams"][0]["terms"]
    assert "The 4 beams" in err


def test_generate_says_where_both_differ(trained, capsys):
    _, out, _ = run(capsys, "generate", str(trained), "2", "4", "6", "--steps", "1")
    assert "model and oracle differ on the best guess at place 4" in out
    _, out, _ = run(capsys, "generate", str(trained), "255", "1", "77", "--steps", "1")
    assert "nothing fits" in out


def test_export_gives_predict_its_model(trained, capsys, tmp_path):
    path = tmp_path / "m.safetensors"
    code, result, _ = run(capsys, "export", str(trained), "--out", str(path), "--number", "1", "--json")
    assert code == 0
    assert (result["number"], result["bytes"]) == (1, path.stat().st_size)
    half = run(capsys, "export", str(trained), "--out", str(tmp_path / "half"), "--half", "--json")[1]
    assert half["bytes"] < 0.6 * result["bytes"]
    _, predicted, _ = run(capsys, "predict", "2", "4", "6", "--model", str(path), "--json")
    _, generated, _ = run(capsys, "generate", str(trained), "2", "4", "6", "--steps", "1", "--number", "1", "--json")
    step = generated["steps"][0]
    assert all(one.pop("residue") == one["value"] for one in predicted["oracle"])
    assert predicted["oracle"] == step["oracle"]
    values = {one["value"]: one["probability"] for one in step["next"]}
    for one in predicted["next"]:
        assert one["probability"] == pytest.approx(values[one["value"]], rel=1e-3)


def test_a_student_has_a_folder_of_its_own(trained, capsys, tmp_path):
    folder, model = tmp_path / "student", str(tmp_path / "m.safetensors")
    short = ["--sequences", "60", "--steps", "4", "--batch-size", "4"]
    code, result, err = run(capsys, "distill", str(trained), "--out", str(folder), *short, "--json")
    assert code == 0
    assert "its teachers'" in err
    about = json.loads((folder / "lesson.json").read_text())
    before = json.loads((trained / "evaluation.json").read_text())
    assert about["runs"] == [0, 1]
    assert about["drawn"] == 60
    assert 0 < about["sequences"] < 60
    assert about["together"] == before["together"]
    assert about["first"] == int(np.argmin([one["validation_score"] for one in before["runs"]]))
    assert len(result["runs"]) == 1
    page = (folder / "report.html").read_text(encoding="utf-8")
    for said in ("taught by 2 together", "its 2 teachers together", "continued real beginnings"):
        assert said in page

    # The other commands take it, or say why not.
    assert run(capsys, "evaluate", str(folder), "--json")[1]["runs"] == result["runs"]
    assert run(capsys, "generate", str(folder), "2", "4", "--steps", "2")[0] == 0
    assert run(capsys, "export", str(folder), "--out", model)[0] == 0
    assert run(capsys, "predict", "2", "4", "--model", model)[0] == 0
    for words, said in (
        (("distill", str(folder)), "1 of its runs can teach, and it takes several"),
        (("train", "--resume", str(folder)), "run bestguess integers distill again"),
    ):
        code, out, err = run(capsys, *words)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert said in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generate", "{}", "2", "--steps", "2147483647"), "--steps 2147483647: must be from 1 to 10,000"),
        (("generate", "{}", "2", "--steps", "0"), "--steps 0: must be from 1 to 10,000"),
        (("generate", "{}", "2", "--beams", "0"), "--beams 0: must be from 1 to 1,000"),
        (("generate", "{}", "2", "--temperature", "-1"), "--temperature -1"),
        (("generate", "{}", "2", "--temperature", "nan"), "--temperature nan"),
        (("generate", "{}", "2", "--beams", "2", "--temperature", "1"), "drop --temperature"),
        (("generate", "{}", "2", "--beams", "2", "--method", "parallel"), "--method parallel"),
        (("generate", "{}", "2", "--number", "2"), "--number 2: the folder has runs 0..1"),
        (("generate", "{}"), "no terms given"),
        (("generate", "{}", "x"), "'x'"),
        (("generate", "{}", "256"), "256"),
        (("generate", "{}", *["1"] * 6), "6 terms: the context holds at most 5"),
        (("export", "{}", "--number", "7"), "--number 7"),
        (("distill", "{}", "--sequences", "0"), "--sequences 0: must be 1 or more"),
        (("distill", "{}", "--steps", "0"), "--steps 0: must be positive"),
        (("distill", "{}", "--out", "{}"), "already holds a training"),
        (("distill", "nowhere"), "nowhere: no such folder"),
        (("evaluate", "nowhere"), "nowhere: no such folder"),
        (("generate", "nowhere", "2"), "nowhere: no such folder"),
        (("report", "nowhere"), "nowhere: no such folder"),
    ],
)
def test_bad_input_is_one_line(trained, capsys, words, said):
    code, out, err = run(capsys, *(word.format(trained) for word in words))
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_folder_without_an_evaluation_says_how_to_make_one(trained, capsys):
    path = trained / "evaluation.json"
    kept = path.read_text()
    path.unlink()
    code, _, err = run(capsys, "report", str(trained))
    path.write_text(kept)
    assert code == 2
    assert "bestguess integers evaluate" in err
