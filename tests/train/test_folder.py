"""The folder of a training: nothing is overwritten, nothing that is off is read as if it were sound."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from bestguess import __version__
from bestguess.command import UserError
from bestguess.files import plain, read_json, write_json
from bestguess.train import folder as folders
from bestguess.train.folder import CONFIG, new_folder, read_config, write_config


def test_config_round_trip(tmp_path):
    config = {"task": {"lambda": [0.5, 0.9]}, "train": {"clip_norm": float("inf"), "learning_rate": [1e-4]}}
    write_config(tmp_path, "filters", config)
    assert read_config(tmp_path, "filters") == config
    about = yaml.safe_load((tmp_path / CONFIG).read_text())["bestguess"]
    assert set(about) == {"family", "version", "commit", "created"}
    assert (about["family"], about["version"]) == ("filters", __version__)


def test_a_training_is_never_overwritten(tmp_path):
    folder = new_folder("filters", tmp_path / "a" / "b")
    assert folder.is_dir()
    write_config(folder, "filters", {})
    with pytest.raises(UserError, match=f"--out {folder}: already holds a training; resume with --resume {folder}"):
        new_folder("filters", folder)


@pytest.mark.parametrize("left", ["checkpoints/part-0/step-00000005.safetensors", "metrics.jsonl"])
def test_what_is_left_of_a_training_without_its_config_is_not_gone_on_with(tmp_path, left):
    (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / left).write_bytes(b"")
    kept = sorted(tmp_path.rglob("*"))
    match = f"--out {tmp_path}: holds {left.split('/')[0]} of an earlier training but no config.yaml"
    with pytest.raises(UserError, match=match):
        new_folder("filters", tmp_path)
    assert sorted(tmp_path.rglob("*")) == kept


@pytest.mark.parametrize("theirs", ["report.html", "evaluation.json", "training.json"])
def test_a_file_that_no_training_wrote_is_not_written_over(tmp_path, theirs):
    (tmp_path / theirs).write_text("theirs")
    with pytest.raises(UserError, match=f"--out {tmp_path}: holds a {theirs}, which would be overwritten"):
        new_folder("filters", tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(theirs, "theirs")]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--out .*/file/x: cannot be made \(a part of its path is not a folder\)"):
        new_folder("filters", tmp_path / "file" / "x")


def test_folders_of_one_second_differ(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [new_folder("filters", None) for _ in range(4)]
    assert len(set(folders)) == 4
    assert all(folder.parent == Path("runs/filters") and folder.is_dir() for folder in folders)


@pytest.mark.parametrize(
    "text",
    ["", "[1, 2]", "bestguess: 3", "bestguess: {}", "task: {}", "{", "\x00", "!!python/name:os.getcwd"],
)
def test_a_damaged_config_is_one_line_and_runs_no_code(tmp_path, text):
    (tmp_path / CONFIG).write_text(text)
    with pytest.raises(UserError, match="damaged, or not written by bestguess") as error:
        read_config(tmp_path, "filters")
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("; put a copy back, or train anew")


def test_another_folder_or_family_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        read_config(tmp_path / "no", "filters")
    with pytest.raises(UserError, match=r"not the folder of a training \(it has no config.yaml\)"):
        read_config(tmp_path, "filters")
    write_config(tmp_path, "integers", {})
    with pytest.raises(UserError, match="a training of the family integers, not filters; try bestguess integers"):
        read_config(tmp_path, "filters")


def test_json_has_no_number_that_json_does_not_know(tmp_path):
    value = {
        1: float("nan"), "inf": [float("inf"), -float("inf"), 0.5], "np": np.float32(0.25), "array": np.eye(2),
        "jax": jnp.arange(3), "path": tmp_path, "none": None, "true": True, "nans": np.asarray([np.nan, 1.0]),
    }  # fmt: skip
    write_json(tmp_path / "x.json", value)
    expected = {
        "1": None, "inf": [None, None, 0.5], "np": 0.25, "array": [[1, 0], [0, 1]],
        "jax": [0, 1, 2], "path": str(tmp_path), "none": None, "true": True, "nans": [None, 1.0],
    }  # fmt: skip
    assert read_json(tmp_path / "x.json") == expected == json.loads(json.dumps(plain(value), allow_nan=False))


def test_json_that_is_missing_or_damaged(tmp_path):
    path = tmp_path / "x.json"
    assert read_json(path) is None
    path.write_text('{"a": ')
    with pytest.raises(UserError, match=r"x\.json: damaged .*delete it") as error:
        read_json(path)
    assert "\n" not in str(error.value)


def test_the_commit_is_read_without_a_write_to_the_checkout(tmp_path, monkeypatch):
    """`git status` refreshes the index, under a lock that it leaves behind where the disk is full."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    subprocess.run(["git", "init", "-q", str(checkout)], check=True)
    module = checkout / "module.py"
    module.write_text("")
    own = ["git", "-C", str(checkout), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*own, "add", "."], check=True)
    subprocess.run([*own, "commit", "-qm", "x"], check=True)
    os.utime(module, (1, 1))  # so that the index has something to refresh
    before = (checkout / ".git" / "index").read_bytes()
    monkeypatch.setattr(folders, "__file__", str(module))
    commit = folders._commit()
    assert commit is not None
    assert len(commit) == 40
    assert (checkout / ".git" / "index").read_bytes() == before
