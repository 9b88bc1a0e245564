"""What stands where an output is to go, and is not ours, is never written over. No case trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bestguess.cli import main
from tests.hostile.samples import RESULTS

FOLDERS = {
    ("experiment", "eigenvalue", "--from", str(RESULTS / "runs.csv"), "--out"): ("README.md",),
    ("sweep", "eigenvalue", "--no-train", "--folder", "./new", "--out"): ("runs.csv", "sweep.yaml", "verdicts.json"),
    ("scratch", "options", "--option", "C", "--draws", "1", "--out"): ("result.json",),
    ("scratch", "causes", "--steps", "1", "--seeds", "2", "--out"): ("result.json",),
}
FILES = (
    ("rolls", "train", "--source", "iid", "--n", "3000", "--ckpt"),
    ("rolls", "make", "--source", "iid", "--n", "100", "--out"),
    ("text", "sheet", "nowhere", "nowhere", "--out"),
    ("integers", "export", "nowhere", "--out"),
    ("scratch", "graph", "--out"),
    ("scratch", "copilot", "--save"),
    ("scratch", "stdlib", "--save"),
)


def refused(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> str:
    """Return the one line with which a command line is refused."""
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    told = capsys.readouterr().err
    assert (stop.value.code, told.count("\n")) == (2, 1), told
    return told


@pytest.mark.parametrize(("words", "name"), [(words, name) for words, names in FOLDERS.items() for name in names])
def test_a_folder_of_somebody_elses_is_left_as_it_is(words, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text('{"theirs": 1}')
    assert refused(capsys, (*words, ".")).startswith("bestguess: error: --out .: holds ")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, '{"theirs": 1}')]


@pytest.mark.parametrize("words", FILES, ids=lambda words: " ".join(words[:2]))
def test_a_file_of_another_kind_is_left_as_it_is(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"PK\x03\x05 a model of another program")
    told = refused(capsys, (*words, "theirs"))
    assert "theirs: exists, and " in told
    assert theirs.read_bytes() == b"PK\x03\x05 a model of another program"
    assert list(tmp_path.iterdir()) == [theirs]


def test_a_file_of_its_own_kind_is_written_over(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("graph.svg").write_text("")
    for _ in range(2):
        with pytest.raises(SystemExit) as stop:
            main(["scratch", "graph"])
        assert stop.value.code == 0, capsys.readouterr().err
    assert Path("graph.svg").read_text().startswith("<svg")


def test_a_note_beside_a_file_of_values_is_left_as_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("data.json").write_text(json.dumps({"theirs": 1}))
    told = refused(capsys, ("rolls", "make", "--source", "iid", "--n", "100", "--out", "data"))
    assert "--out data: data.json beside it is not ours" in told
    assert [path.name for path in tmp_path.iterdir()] == ["data.json"]


@pytest.mark.parametrize(
    ("words", "missing"), [("text generate", "RUN"), ("text sheet", "RUN_A"), ("text sheet run", "RUN_B")]
)
def test_a_folder_that_is_not_named_is_not_the_working_directory(words, missing, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert f"error: {missing} is missing" in refused(capsys, tuple(words.split()))
    assert ".: not the folder of a training" in refused(capsys, ("text", "generate", "."))


@pytest.mark.parametrize(
    "words",
    [
        ("filters", "train", "--preset", "small", "--out", ""),
        ("text", "train", "--resume="),
        ("rolls", "predict", "--u16-path", ""),
        ("experiment", "eigenvalue", "--from="),
        ("sweep", "eigenvalue", "--folder", ""),
    ],
)
def test_an_empty_path_is_not_the_working_directory(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flag = next(word.rstrip("=") for word in reversed(words) if word.startswith("--"))
    assert f"{flag} '': is empty" in refused(capsys, words)
    assert not list(tmp_path.iterdir())
