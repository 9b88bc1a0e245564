"""Data sets of the Hub, by local files in the forms that they have there: nothing here needs a network."""

from __future__ import annotations

import json
import sys
import types
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from bestguess.command import UserError
from bestguess.text.corpora import hub
from bestguess.text.corpora.corpus import load_corpus
from bestguess.text.corpora.options import ReadingOptions
from tests.text.corpora.test_reading import as_parquet, read

SAMSUM = {
    part: [{"id": f"{part}{i}", "dialogue": f"A: {part} {i}?\r\nB: yes", "summary": f"B: yes {i}"} for i in range(n)]
    for part, n in (("train", 7), ("validation", 3), ("test", 2))
}
TEXTBOOKS = {
    part: [{"source": "s", "s": "x", "len": 3, "idx": i, "textbook": f"{part} {i}", "text": "raw"} for i in range(n)]
    for part, n in (("train", 331), ("test", 5))
}
Call = dict[str, Any]


@pytest.fixture
def calls(monkeypatch) -> list[Call]:
    """What the library was called with; it answers from what the test puts in its place."""
    monkeypatch.setattr(hub, "_reachable", lambda: True)
    return []


def answer(monkeypatch: pytest.MonkeyPatch, calls: list[Call], given: dict[str, Any] | Exception) -> None:
    def load_dataset(path: str, name: str | None = None, *, streaming: bool = False) -> dict[str, Any]:
        calls.append({"path": path, "name": name, "streaming": streaming})
        if isinstance(given, Exception):
            raise given
        return given

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))


def test_a_paired_data_set_with_all_parts(monkeypatch, calls):
    answer(monkeypatch, calls, SAMSUM)
    found = load_corpus("samsum")
    assert calls == [{"path": "knkarthick/samsum", "name": None, "streaming": False}]
    assert found.splits == "given"
    assert {part: len(documents) for part, documents in found.parts.items()} == {
        "train": 7, "validation": 3, "test": 2
    }  # fmt: skip
    train = found.parts["train"]
    assert train.source[1] == "A: train 1?\nB: yes"
    assert train.target is not None
    assert train.target[1] == "B: yes 1"
    assert train.where(1) == "train, record train1"


def test_raw_text_without_a_validation_part_has_one_taken_from_the_training_part(monkeypatch, calls):
    answer(monkeypatch, calls, TEXTBOOKS)
    found = load_corpus("nampdn-ai/tiny-textbooks")
    assert not found.paired
    assert list(found.parts["test"].source) == [f"test {i}" for i in range(5)]
    together = {*found.parts["train"].source, *found.parts["validation"].source}
    assert together == {f"train {i}" for i in range(331)}
    assert len(found.parts["train"]) + len(found.parts["validation"]) == 331


def test_a_configuration_and_a_bound_are_passed_on(monkeypatch, calls):
    answer(monkeypatch, calls, SAMSUM)
    found = load_corpus("some-one/set.name:third", ReadingOptions(max_documents=2))
    assert calls == [{"path": "some-one/set.name", "name": "third", "streaming": True}]
    assert [len(documents) for documents in found.parts.values()] == [2, 2, 2]


def test_a_data_set_of_one_part_is_split_by_hash(monkeypatch, calls):
    answer(monkeypatch, calls, {"train": TEXTBOOKS["train"]})
    assert load_corpus("a/b").splits == "hash"
    with pytest.raises(UserError, match="--splits given: a/b has the parts train alone; give --splits hash"):
        load_corpus("a/b", ReadingOptions(splits="given"))


def test_an_option_that_would_do_nothing_is_refused(calls):
    with pytest.raises(UserError, match="--documents lines: has no effect on a/b"):
        load_corpus("a/b", ReadingOptions(documents="lines"))


class DatasetNotFoundError(Exception):
    pass


class DataFilesNotFoundError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            RuntimeError("Dataset scripts are no longer supported, but found samsum.py"),
            "--corpus Samsung/samsum: has a program in place of data files, which `datasets` no longer runs; give a "
            "copy in Parquet or JSON, such as knkarthick/samsum, or a local folder",
        ),
        (DataFilesNotFoundError("No data files"), "has a program in place of data files"),
        (DatasetNotFoundError("Dataset 'x' doesn't exist on the Hub"), "no such data set on the Hugging Face Hub"),
        (
            DatasetNotFoundError("Dataset 'x' is a gated dataset on the Hub."),
            "agree at https://huggingface.co/datasets/Samsung/samsum and log in with `hf auth login`",
        ),
        (ConnectionError("Couldn't reach"), "the Hugging Face Hub cannot be reached; check the network"),
        (ValueError("BuilderConfig 'x' not found. Available: ['a', 'b']"), "; give --corpus Samsung/samsum:CONFIG"),
        (OSError("odd\n thing"), "cannot be read from the Hugging Face Hub (OSError: odd thing)"),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_what_the_library_says_is_one_line(monkeypatch, calls, error, says, late):
    class Stream:
        def __iter__(self):
            raise error

    answer(monkeypatch, calls, {"train": Stream()} if late else error)
    with pytest.raises(UserError) as said:
        load_corpus("Samsung/samsum")
    assert says in str(said.value)
    assert str(said.value).isprintable()


def test_without_the_library_one_line_says_what_to_install(monkeypatch, calls):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        UserError, match=r"--corpus a/b: no such file .* `uv run --extra text-hub bestguess`, or install datasets"
    ):
        load_corpus("a/b")


@pytest.mark.parametrize(
    ("raised", "reachable"),
    [
        (urllib.error.URLError(OSError(-2, "Name or service not known")), False),
        (TimeoutError(), False),
        (urllib.error.URLError(hub.ssl.SSLError()), True),
        (urllib.error.HTTPError("u", 503, "busy", hub.urllib.request.Request("http://x").headers, None), True),
    ],
)
def test_the_hub_is_out_of_reach_if_nothing_answers(monkeypatch, raised, reachable):
    def fails(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(hub.urllib.request, "urlopen", fails)
    assert hub._reachable() == reachable


def test_without_a_network_the_library_is_told_so_before_it_is_imported(monkeypatch, calls):
    monkeypatch.setattr(hub, "_reachable", lambda: False)
    monkeypatch.delitem(sys.modules, "datasets", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    seen = []

    class Finder:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name == "datasets":
                seen.append(hub.os.environ["HF_HUB_OFFLINE"])
                raise ImportError

    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    with pytest.raises(UserError, match="text-hub"):
        load_corpus("a/b")
    assert seen == ["1"]


@pytest.mark.parametrize("name", ["none/at/all", "./none", "none.jsonl", "a b", "/none", "~/x", "none.csv.gz"])
def test_what_is_no_name_of_a_data_set_is_a_missing_file(name):
    with pytest.raises(UserError, match="no such file or folder"):
        load_corpus(name)


@pytest.fixture
def on_disk(tmp_path) -> Path:
    """Data sets in the two forms in which the Hub has them."""
    for part, rows in SAMSUM.items():
        (tmp_path / "json").mkdir(exist_ok=True)
        (tmp_path / "json" / f"{part}.json").write_text(json.dumps(rows))
    for part, rows in TEXTBOOKS.items():
        (tmp_path / "parquet" / "data").mkdir(parents=True, exist_ok=True)
        (tmp_path / "parquet" / "data" / f"{part}-00000-of-00001.parquet").write_bytes(as_parquet(rows))
    return tmp_path


@pytest.mark.parametrize(("form", "most"), [("json", 0), ("parquet", 0), ("json", 4), ("parquet", 307)])
def test_the_library_itself_gives_what_its_files_do(monkeypatch, on_disk, form, most):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()

    def load(path: str, name: str | None = None, *, streaming: bool = False) -> Any:
        return load_dataset(str(on_disk / form), name, streaming=streaming, cache_dir=str(on_disk / "cache"))

    load_dataset = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", load)
    options = ReadingOptions(max_documents=most)
    ours, theirs = load_corpus(str(on_disk / form), options), load_corpus(f"some/{form}", options)
    assert ours.sha256 == theirs.sha256
    assert len(ours.parts["train"]) > 2


def test_local_files_of_the_original_form_are_read(on_disk):
    assert read(on_disk / "json" / "train.json").target == [f"B: yes {i}" for i in range(7)]
