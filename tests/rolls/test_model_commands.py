"""`rolls train`, `evaluate` and `predict` from the command line: what they say, and what they refuse."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bestguess
from bestguess import cli
from bestguess.command import UserError
from bestguess.rolls import answers
from bestguess.rolls.evaluate import OraclePredictor, evaluate
from bestguess.rolls.sources import source_from
from bestguess.rolls.task import task_of
from tests.rolls.tiny import tiny, write

TINY = [
    *("--window", "8", "--layers", "1", "--d-model", "8", "--heads", "2", "--outputs", "2", "--steps", "12"),
    *("--batch-size", "8", "--validate-every", "6", "--warmup-steps", "1", "--validation-sequences", "8"),
    *("--learning-rate", "0.01", "--test-samples", "160"),
]
SOURCE = ["--source", "hmm alphabet=8", "--n", "3000"]


def run(capsys: Any, *argv: object) -> tuple[int, Any, str]:
    """Return the exit status, the JSON object (None if there is none), and standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.main([*map(str, argv), "--json"])
    out, err = capsys.readouterr()
    return stop.value.code or 0, json.loads(out) if out else None, err


def refused(capsys: Any, *argv: object) -> str:
    """Return the one line that a command is refused with."""
    status, out, err = run(capsys, *argv)
    assert (status, out) == (2, None), err
    assert err.count("\n") == 1, err
    return err


@pytest.fixture(scope="module")
def where(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("commands")


@pytest.fixture(scope="module")
def path(where) -> Path:
    source = source_from("hmm alphabet=8", 0)
    return write(where / "rolls.u16", source.draw(source.start(), 3000)[0])


@pytest.fixture(scope="module")
def results(where, path) -> dict[str, Any]:
    """What two trainings said: of a source, and of a file."""
    said = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, values in (("source", SOURCE), ("file", ["--u16-path", str(path)])):
            out: list[str] = []
            patch.setattr("builtins.print", lambda *words, out=out, **more: out.append(" ".join(map(str, words))))
            argv = ["rolls", "train", *values, *TINY, "--out", where / name, "--ckpt", where / f"{name}.pt", "--json"]
            with pytest.raises(SystemExit) as stop:
                cli.main([str(word) for word in argv])
            assert not stop.value.code
            said[name] = json.loads(out[-1])
    return said


EVALUATED = {
    *("values", "bits_per_value", "bits_per_token", "floor_bits", "top1", "top3", "top5", "perplexity", "heads"),
    *("evidence", "above_ceiling", "sentence", "report"),
}


def check_evaluated(found: dict[str, Any]) -> None:
    assert set(found) >= EVALUATED
    assert [set(head) >= {"bits_per_value", "top1"} for head in found["heads"]] == [True, True]
    order = found["evidence"]["order"]
    assert {"log10_e", "verdict", "smallest_effect", "first_pass_log10_e"} <= set(order)
    assert order["verdict"] in ("no evidence", "predictable")
    assert {"kind", "size", "bits_per_value"} <= set(order["smallest_effect"])
    assert set(found["evidence"]) == {"order", "uniform", "drift"}
    assert found["perplexity"] == pytest.approx(2 ** found["bits_per_value"])
    assert 0 <= found["top1"] <= found["top3"] <= found["top5"] <= 1


# ------------------------------------------------------------------------------------------ what they say


def test_train_says_what_was_promised(results):
    for found in results.values():
        check_evaluated(found)
        assert {"ckpt", "seconds", "values_per_second"} <= set(found)
        assert found["values"] == 136  # 142 values after the gap: 17 windows
        assert Path(found["report"]).exists()
    known, unknown = results["source"], results["file"]
    assert known["floor_bits"] < known["bits_per_value"] + 3 * known["standard_error"]
    assert known["above_ceiling"] is False
    assert (unknown["floor_bits"], unknown["above_ceiling"]) == (None, None)


@pytest.mark.parametrize("name", ["source", "file"])
def test_a_finished_folder_says_what_it_said_without_its_task_being_made(results, where, name, capsys, monkeypatch):
    monkeypatch.setattr("bestguess.rolls.commands.train_config", None)
    status, found, err = run(capsys, "rolls", "train", "--resume", where / name)
    assert (status, "already trained and evaluated" in err) == (0, True)
    assert set(found) == set(results[name])
    of_the_process = {"seconds", "ckpt"}  # of a finished folder, the weights in it
    for key in set(found) - of_the_process:
        assert found[key] == results[name][key], key
    assert found["ckpt"] == str(where / name / "best.safetensors")


def test_without_its_weights_a_finished_folder_gets_them_again(where, tmp_path, capsys):
    shutil.copytree(where / "file", tmp_path / "copy")
    (tmp_path / "copy" / "best.safetensors").unlink()
    assert run(capsys, "rolls", "train", "--resume", tmp_path / "copy")[0] == 0
    assert (tmp_path / "copy" / "best.safetensors").is_file()


def test_a_predictor_of_a_file_predicts_every_value_that_occurs_and_no_other(path):
    subject = bestguess.open_task("rolls", u16_path=str(path), window=8)
    classes = 1 + int(np.fromfile(path, "<u2").max())
    bestguess.judge(subject, lambda windows: np.zeros((*windows.shape, classes), np.float32))
    for wrong in (classes - 1, classes + 1):
        with pytest.raises(UserError, match=rf"every element of each, \[n, T, {classes}\]$"):
            bestguess.judge(subject, lambda windows: np.zeros((*windows.shape, wrong), np.float32))  # noqa: B023


@pytest.mark.parametrize("name", ["source", "file"])
def test_a_folder_and_its_ckpt_evaluate_to_the_same_figures(results, where, name, tmp_path, capsys):
    status, of_folder, _ = run(capsys, "rolls", "evaluate", where / name)
    assert status == 0
    status, of_ckpt, err = run(capsys, "rolls", "evaluate", "--ckpt", where / f"{name}.pt", "--out", tmp_path / "page")
    assert status == 0, err
    check_evaluated(of_ckpt)
    for key in EVALUATED - {"report"}:
        assert of_ckpt[key] == of_folder[key] == results[name][key], key
    assert Path(of_ckpt["report"]).parent == tmp_path / "page"


def test_predict_says_what_was_promised(results, where, path, capsys):
    values = np.fromfile(path, "<u2")
    status, found, err = run(capsys, "rolls", "predict", where / "file", "--idx", 2990, "--topk", 3)
    assert status == 0, err
    assert found["context"] == values[2982:2990].tolist()
    assert found["actual"] == values[2990:2992].tolist()
    assert (found["oracle"], found["in_training"]) == (None, False)
    for head in found["heads"]:
        p = [one["probability"] for one in head]
        assert len(p) == 3
        assert p == sorted(p, reverse=True)
    status, again, _ = run(capsys, "rolls", "predict", "--ckpt", where / "file.pt", "--idx", 2990, "--topk", 3)
    assert again == found
    status, found, err = run(capsys, "rolls", "predict", where / "source", "--topk", 100)
    assert status == 0
    assert (found["index"], found["actual"]) == (3000, [])
    for row in (*found["heads"], found["oracle"]):
        assert sum(one["probability"] for one in row) == pytest.approx(1, abs=1e-5)
    status, found, err = run(capsys, "rolls", "predict", where / "source", "--idx", 100)
    assert found["in_training"] is True
    assert "lies in the training part" in err


def test_an_audit_of_a_trained_folder_finds_no_fault(results, where, capsys):
    for name in results:
        status, found, err = run(capsys, "rolls", "audit", where / name)
        assert status == 0, err
        assert found["faults"] == 0
        assert all(one["verdict"] != "not checked" for one in found["findings"])


def test_a_control_has_no_evidence_of_order(results, where, tmp_path, capsys):
    status, found, err = run(capsys, "rolls", "evaluate", where / "source", "--control", "--out", tmp_path / "control")
    assert status == 0, err
    assert found["evidence"]["order"]["verdict"] == "no evidence"
    assert found["evidence"]["order"]["first_pass_log10_e"] == 0
    assert found["floor_bits"] is None


@pytest.mark.parametrize("kind", ["shuffled", "constant"])
def test_shuffled_and_constant_files_have_no_evidence(kind, path, tmp_path, capsys):
    values = np.fromfile(path, "<u2")
    values = np.full(3000, 7) if kind == "constant" else np.random.default_rng(0).permutation(values)
    file = write(tmp_path / "null.u16", values)
    status, found, err = run(capsys, "rolls", "train", "--u16-path", file, *TINY, "--out", tmp_path / "run")
    assert status == 0, err
    order = found["evidence"]["order"]
    assert order["verdict"] == "no evidence"
    assert found["sentence"].startswith("no evidence after ")
    if kind == "constant":
        assert order["log10_e"] == order["first_pass_log10_e"] == order["test_log10_e"] == 0
        assert found["bits_per_value"] == pytest.approx(0, abs=0.01)


# ------------------------------------------------------------------------------------------ above the ceiling


class Cheat:
    """The source's own predictions, with a little of the value that comes: it has seen it."""

    def __init__(self, about, share: float):
        self.oracle, self.share = OraclePredictor(about), share

    def __call__(self, windows):
        import jax.numpy as jnp

        from bestguess.task import Categorical

        p = jnp.exp(self.oracle(windows).logits)
        seen = jnp.eye(p.shape[-1])[jnp.asarray(windows[:, 1:], int)]
        return Categorical(jnp.log((1 - self.share) * p + self.share * seen))


def test_a_predictor_that_has_seen_the_values_is_above_the_ceiling():
    about = task_of(tiny(task={"n": 6000, "test": 0.2, "test_samples": 1000})).about
    honest = answers.above_ceiling(about, evaluate(about, OraclePredictor(about), 125))
    assert honest is not None
    assert 0 <= honest < math.log(answers.ABOVE)
    odds = answers.above_ceiling(about, evaluate(about, Cheat(about, 0.2), 125))
    assert odds is not None
    assert odds > math.log(answers.ABOVE)


# ------------------------------------------------------------------------------------------ what they refuse


def changed(ckpt: Path, to: Path, change) -> Path:
    data = bytearray(ckpt.read_bytes())
    to.write_bytes(bytes(change(data)))
    return to


def flipped(data: bytearray, place: int) -> bytearray:
    data[place] ^= 1
    return data


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-10],
        lambda data: data[:100],
        lambda data: b"",
        lambda data: b"PK\x03\x04" + bytes(1000),
        lambda data: flipped(data, len(data) - 3),
        lambda data: flipped(data, len(data) // 2),
        lambda data: data.replace(b'\\"n\\": 3000', b'\\"n\\": 3001'),
    ],
    ids=["cut", "short", "empty", "foreign", "a changed byte", "another changed byte", "a changed config"],
)
def test_a_damaged_or_foreign_ckpt_is_one_line(results, where, change, tmp_path, capsys):
    bad = changed(where / "source.pt", tmp_path / "bad.pt", change)
    assert bad.read_bytes() != (where / "source.pt").read_bytes()
    for word in ("evaluate", "predict"):
        assert f"--ckpt {bad}: " in refused(capsys, "rolls", word, "--ckpt", bad)


def test_a_checkpoint_of_the_trainer_is_not_a_ckpt(results, where, capsys):
    inner = next((where / "source" / "checkpoints").rglob("*.safetensors"))
    assert "not written by rolls train --ckpt" in refused(capsys, "rolls", "evaluate", "--ckpt", inner)
    assert "none.pt" in refused(capsys, "rolls", "evaluate", "--ckpt", where / "none.pt")


def test_a_file_that_has_changed_is_refused(results, where, path, tmp_path, capsys):
    values = np.fromfile(path, "<u2")
    values[-1] += 1
    other = write(tmp_path / "other.u16", values)
    for argv in (["--ckpt", where / "file.pt"], [where / "file"]):
        for word in ("evaluate", "predict"):
            said = refused(capsys, "rolls", word, *argv, "--u16-path", other)
            assert "not the file of the training, or changed since" in said
    moved = shutil.copy(path, tmp_path / "moved.u16")
    status, _, err = run(capsys, "rolls", "predict", where / "file", "--u16-path", moved)
    assert status == 0, err
    assert "drop the flag" in refused(capsys, "rolls", "predict", where / "source", "--u16-path", path)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"abc", "odd"), (b"", "empty"), (bytes(200), "fewer than a window of 8"), (None, "")],
    ids=["odd", "empty", "short", "none"],
)
def test_a_file_that_cannot_be_trained_on_is_one_line(content, said, tmp_path, capsys):
    file = tmp_path / "bad.u16"
    if content is not None:
        file.write_bytes(content)
    line = refused(capsys, "rolls", "train", "--u16-path", file, *TINY, "--out", tmp_path / "run")
    assert "bad.u16" in line
    assert said in line
    assert not (tmp_path / "run").exists()


def test_a_folder_is_no_file_of_values(tmp_path, capsys):
    assert str(tmp_path) in refused(capsys, "rolls", "train", "--u16-path", tmp_path, *TINY)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--idx", "7"], "--idx 7: must be from 8"),
        (["--idx", "3001"], "--idx 3001: must be from 8"),
        (["--idx", "-1"], "--idx -1: must be from 8"),
        (["--topk", "0"], "--topk 0: must be 1 or more"),
    ],
)
def test_impossible_places_are_one_line(results, where, argv, said, capsys):
    assert said in refused(capsys, "rolls", "predict", where / "file", *argv)


def test_which_training_is_to_be_said_once(results, where, capsys):
    assert "one of them" in refused(capsys, "rolls", "evaluate")
    assert "one of them" in refused(capsys, "rolls", "predict", where / "file", "--ckpt", where / "file.pt")


def test_a_side_file_that_is_about_other_values_is_refused(path, tmp_path, capsys):
    from hashlib import sha256

    file = write(tmp_path / "x.u16", np.fromfile(path, "<u2"))
    side = {
        "sha256": sha256(file.read_bytes()).hexdigest(), "source": "iid", "seed": 0,
        "parameters": {"alphabet": 2, "law": "uniform", "exponent": 1.0, "concentration": 1.0},
    }  # fmt: skip
    (tmp_path / "x.u16.json").write_text(json.dumps(side))
    said = refused(capsys, "rolls", "train", "--u16-path", file, *TINY, "--out", tmp_path / "run")
    assert "names a source of values below 2" in said
