"""The data set on disk: what is written is what was drawn, with its floors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from bestguess.command import UserError
from bestguess.text.errands.corpus import Errands
from bestguess.text.errands.documents import KINDS
from bestguess.text.errands.publish import SPLITS, write_errands
from bestguess.text.pairs import make_pairs


def nothing(done: int) -> None:
    assert done > 0


def lines_of(folder: Path) -> dict[str, list[dict]]:
    return {
        split: [json.loads(one) for one in (folder / f"{split}.jsonl").read_text().splitlines()] for split in SPLITS
    }


@pytest.mark.parametrize("task", ["dialogue", "story"])
def test_lines_hold_the_documents_and_their_floors(tmp_path, task):
    done: list[int] = []
    result = write_errands(tmp_path / "out", "small", task, 211, 5, done.append)
    assert done == [211]
    lines, errands = lines_of(tmp_path / "out"), Errands("small", task)
    assert {split: len(rows) for split, rows in lines.items()} == result["splits"]
    rows = sorted((row for split in lines.values() for row in split), key=lambda row: row["id"])
    assert [row["id"] for row in rows] == list(range(211))
    assert len({tuple(row) for row in rows}) == 1  # the same columns, in one order
    pairs = make_pairs([row["source_tokens"] for row in rows], [row["target_tokens"] for row in rows])
    drawn = errands.draw(5, 0, 211)
    np.testing.assert_array_equal(drawn.source[:, : pairs.source.shape[1]], pairs.source)
    np.testing.assert_array_equal(drawn.target[:, : pairs.target.shape[1]], pairs.target)
    scored = errands.score(pairs)
    for i, row in enumerate(rows):
        u = len(row["target_tokens"])
        np.testing.assert_allclose(row["target_log_p"], scored.floors.target[i, :u], atol=1e-6)
        np.testing.assert_allclose(row["target_entropy"], scored.floors.entropy[i, :u], atol=1e-6)
        assert row["target_kinds"] == [KINDS[kind] for kind in scored.kinds[i, :u]]
        assert errands.encode(row["source"]) == row["source_tokens"]
        assert errands.encode(row["target"]) == row["target_tokens"][:-1]
        if task == "dialogue":
            assert row["aligned"] == scored.aligned[i, :u].tolist()
            assert row["place"] in row["target"]
            assert abs(sum(row["label_p"]) - 1) < 1e-5
    assert abs(result["floor_per_document"] - scored.floors.entropy.sum(axis=1).mean()) < 1e-9
    assert f"{result['floor_per_document']:.4f}" in (tmp_path / "out" / "README.md").read_text()


def test_the_checksums_hold_and_are_those_of_the_seed(tmp_path):
    one = write_errands(tmp_path / "a", "tiny", "dialogue", 300, 1, nothing)
    two = write_errands(tmp_path / "b", "tiny", "dialogue", 300, 1, nothing)
    other = write_errands(tmp_path / "c", "tiny", "dialogue", 300, 2, nothing)
    assert one["sha256"] == two["sha256"] != other["sha256"]
    sums = (tmp_path / "a" / "SHA256SUMS").read_bytes()
    assert hashlib.sha256(sums).hexdigest() == one["sha256"]
    named = dict(reversed(line.split("  ")) for line in sums.decode().splitlines())
    assert named == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "a").iterdir()
        if path.name != "SHA256SUMS"
    }


def test_equal_documents_are_in_one_split_and_counted(tmp_path):
    write_errands(tmp_path / "a", "tiny", "story", 2_500, 1, nothing)
    lines = lines_of(tmp_path / "a")
    texts = {split: [(row["source"], row["target"]) for row in rows] for split, rows in lines.items()}
    assert not set(texts["train"]) & set(texts["test"])
    assert not set(texts["train"]) & set(texts["validation"])
    every = [text for rows in texts.values() for text in rows]
    repeated = len(every) - len(set(every))
    assert repeated > 100
    assert f"{repeated:,} are equal to an earlier one" in (tmp_path / "a" / "README.md").read_text()


def test_a_folder_that_holds_files_is_refused(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(UserError, match=f"--out {tmp_path}: holds files already"):
        write_errands(tmp_path, "tiny", "dialogue", 100, 0, nothing)
    with pytest.raises(UserError, match="is a file"):
        write_errands(tmp_path / "x", "tiny", "dialogue", 100, 0, nothing)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(("documents", "seed", "line"), [(99, 0, "--documents 99"), (100, -1, "--seed -1")])
def test_bad_numbers_are_refused_before_a_folder_is_made(tmp_path, documents, seed, line):
    with pytest.raises(UserError, match=line):
        write_errands(tmp_path / "out", "tiny", "dialogue", documents, seed, nothing)
    assert not (tmp_path / "out").exists()


def test_a_run_that_fails_leaves_no_file(tmp_path):
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_errands(tmp_path / "out", "tiny", "dialogue", 100, 0, stop)
    assert list((tmp_path / "out").iterdir()) == []
