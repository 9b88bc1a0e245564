"""A corpus in three parts: where each document goes, what is shared, what cannot be one."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from bestguess.command import UserError
from bestguess.text.corpora import docstrings
from bestguess.text.corpora.corpus import Corpus, load_corpus
from bestguess.text.corpora.documents import Documents
from bestguess.text.corpora.options import ReadingOptions
from bestguess.text.splits import PARTS
from tests.text.corpora.test_reading import as_lines

DATA = Path(os.environ.get("BESTGUESS_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))
"""Public data sets that lie beside a checkout, where there are any."""


def with_data(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (DATA / name).is_dir(), reason=f"{name} is not in BESTGUESS_TEST_DATA")


def documents(sources: list[str], targets: list[str] | None = None, origin: str = "f") -> Documents:
    n = len(sources)
    return Documents(sources, targets, [origin] * n, [str(i) for i in range(n)])


def corpus(**parts: Documents) -> Corpus:
    return Corpus("c", parts, "given", {})


def written(path: Path, texts: list[str]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_lines([{"text": text} for text in texts]))
    return str(path)


TEXTS = [f"document {i}\nof many" for i in range(419)]


def test_every_document_is_in_one_part_and_stays_there_when_others_are_added(tmp_path):
    few = load_corpus(written(tmp_path / "few.jsonl", TEXTS[:211]))
    many = load_corpus(written(tmp_path / "many.jsonl", TEXTS[::-1]))
    parts_of = [{text: part for part in PARTS for text in one.parts[part].source} for one in (few, many)]
    assert sorted(parts_of[0]) == sorted(TEXTS[:211])
    assert sorted(parts_of[1]) == sorted(TEXTS)
    assert all(parts_of[1][text] == part for text, part in parts_of[0].items())
    assert sum(len(many.parts[part]) for part in PARTS) == len(TEXTS)
    assert few.splits == "hash"


def test_duplicates_fall_in_the_same_part(tmp_path):
    found = load_corpus(written(tmp_path / "x.jsonl", [*TEXTS, *(text.upper() for text in TEXTS), *TEXTS[:50]]))
    assert [one.source["nearly"] for one in found.overlaps()] == [0, 0, 0]
    assert not found.repeated("test").any()


def test_files_stay_whole_if_they_are_what_is_split(tmp_path):
    for i in range(41):
        written(tmp_path / "d" / f"{i}.jsonl", TEXTS[i * 5 : i * 5 + 5])
    options = ReadingOptions(splits="file", validation_fraction=0.2, test_fraction=0.3)
    found = load_corpus(str(tmp_path / "d"), options)
    origins = [set(found.parts[part].origin) for part in PARTS]
    assert sum(map(len, origins)) == len(set.union(*origins)) == 41
    assert found.splits == "file"
    assert len(load_corpus(str(tmp_path / "d"), dataclasses.replace(options, splits="hash")).parts["test"]) % 5


def test_given_parts_are_kept_and_missing_ones_come_from_the_training_part(tmp_path):
    written(tmp_path / "train.jsonl", TEXTS[:300])
    written(tmp_path / "test.jsonl", TEXTS[295:])
    found = load_corpus(str(tmp_path))
    assert list(found.parts) == list(PARTS)
    assert list(found.parts["test"].source) == TEXTS[295:]
    assert sorted([*found.parts["train"].source, *found.parts["validation"].source]) == sorted(TEXTS[:300])
    assert 2 < len(found.parts["validation"]) < 40
    assert found.splits == "given"
    both = sum(one.source["verbatim"] for one in found.overlaps() if one.part == "test")
    assert both == 5
    written(tmp_path / "dev.jsonl", TEXTS[:2])
    assert list(load_corpus(str(tmp_path)).parts["train"].source) == TEXTS[:300]


def test_what_is_shared_is_counted_by_part_and_by_file_and_can_be_left_out():
    test = [documents(["a", "x", "A "], ["1", "2", "3"], "one"), documents(["v", "y"], ["1", "9"], "two")]
    both = Documents(
        *([*getattr(test[0], name), *getattr(test[1], name)] for name in ("source", "target", "origin", "name"))
    )
    found = corpus(
        train=documents(["a", "b", "c"], ["1", "2", "4"]), validation=documents(["v", "b  "], ["7", "4"]), test=both
    )  # fmt: skip
    shared = [(one.part, one.against, one.origin, one.documents, one.source, one.target) for one in found.overlaps()]
    assert shared == [
        ("validation", "train", "", 2, {"verbatim": 0, "nearly": 1}, {"verbatim": 1, "nearly": 1}),
        ("test", "train", "", 5, {"verbatim": 1, "nearly": 2}, {"verbatim": 3, "nearly": 3}),
        ("test", "train", "one", 3, {"verbatim": 1, "nearly": 2}, {"verbatim": 2, "nearly": 2}),
        ("test", "train", "two", 2, {"verbatim": 0, "nearly": 0}, {"verbatim": 1, "nearly": 1}),
        ("test", "validation", "", 5, {"verbatim": 1, "nearly": 1}, {"verbatim": 0, "nearly": 0}),
        ("test", "validation", "one", 3, {"verbatim": 0, "nearly": 0}, {"verbatim": 0, "nearly": 0}),
        ("test", "validation", "two", 2, {"verbatim": 1, "nearly": 1}, {"verbatim": 0, "nearly": 0}),
    ]
    assert found.repeated("test").tolist() == [True, False, True, False, False]


BASE = {"train": ["ab", "c"], "validation": ["d"], "test": ["e"]}


@pytest.mark.parametrize(
    "other",
    [
        {**BASE, "train": ["a", "bc"]},
        {**BASE, "train": ["abc"]},
        {**BASE, "train": ["c", "ab"]},
        {**BASE, "test": ["d"], "validation": ["e"]},
        {**BASE, "train": ["ab"], "validation": ["c", "d"]},
    ],
)
def test_the_hash_tells_every_change(other):
    made = [corpus(**{part: documents(texts) for part, texts in one.items()}) for one in (BASE, other)]
    assert made[0].sha256 != made[1].sha256
    pairs = corpus(**{part: documents(texts, ["" for _ in texts]) for part, texts in BASE.items()})
    assert pairs.sha256 != made[0].sha256


def test_the_hash_is_that_of_the_texts_wherever_they_lie(tmp_path):
    one, two = (load_corpus(written(tmp_path / name, TEXTS)) for name in ("a.jsonl", "b/c.jsonl"))
    assert one.sha256 == two.sha256
    # It stands in the folders of runs: another version must give the same.
    assert one.sha256 == "91f7da0bd5df75c46afb96be06d51e577dfe4885c37ed4fc8f47d2acef0d072d"


def test_its_description_is_plain_data(tmp_path):
    path = written(tmp_path / "x.jsonl", [*TEXTS, "", "größer 你", "Größer 你", "größer 你"])
    found = load_corpus(path).describe()
    assert json.loads(json.dumps(found)) == found
    assert found["skipped"] == {"empty": 1}
    assert sum(part["documents"] for part in found["parts"].values()) == len(TEXTS) + 3
    assert sum(part["bytes"] - part["characters"] for part in found["parts"].values()) == 12
    repeated = [part["repeated"] for part in found["parts"].values()]
    assert [sum(one[how] for one in repeated) for how in ("verbatim", "nearly")] == [1, 2]
    assert found["paired"] is False
    assert len(found["overlaps"]) == 3


def test_tokenizers_see_the_training_part_alone_and_targets_too():
    found = corpus(
        train=documents(["ab", "b"], ["c", "c"]), validation=documents(["xa"], ["c"]), test=documents(["ya"], ["cz"])
    )  # fmt: skip
    tokenizer = found.fit_tokenizer("characters", 100)
    assert set(tokenizer.to_dict()["pieces"]) == {"a", "b", "c"}
    parts = found.tokenized(tokenizer)
    assert tokenizer.decode(parts["train"].source.text(0)) == "ab"
    assert parts["test"].target is not None
    assert tokenizer.decode(parts["test"].target.text(0)) == "c\ufffd"
    assert parts["test"].source.unknown == 0.5
    raw = corpus(**{part: documents(["ab"]) for part in PARTS})
    assert raw.tokenized(tokenizer)["train"].target is None


@pytest.mark.parametrize(
    ("texts", "options", "says"),
    [
        (["a", "b"], {}, r"too few documents \(2\) for a training, a validation and a test part"),
        (["a", "b", ""], {}, r"too few documents \(2; left out: 1 empty\) for .*; give more"),
        (TEXTS[:5], {}, r"the \w+ part is empty \(train \d, validation \d, test \d\); give more documents"),
        (TEXTS[:50], {"splits": "file"}, r"part is empty .*; give more files, larger fractions"),
    ],
)
def test_what_makes_no_three_parts_is_one_line(tmp_path, texts, options, says):
    with pytest.raises(UserError, match=says):
        load_corpus(written(tmp_path / "x.jsonl", texts), ReadingOptions(**options))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"source_field": "x"}, "--source-field x: has no effect on docstrings; leave it out"),
        ({"target_field": "x"}, "--target-field x: has no effect on docstrings"),
        ({"documents": "lines"}, "--documents lines: has no effect on docstrings"),
        ({"encoding": "cp1252"}, "--encoding cp1252: has no effect on docstrings"),
        ({"splits": "given"}, "--splits given: docstrings has no parts of its own; give file or hash"),
    ],
)
def test_what_the_librarys_corpus_has_not_is_one_line(options, says):
    with pytest.raises(UserError, match=says):
        load_corpus("docstrings", ReadingOptions(**options))


def test_the_librarys_corpus_is_split_by_file(monkeypatch):
    found = [
        docstrings._Found(f"{i}.py", f"f{j}", "", f"This is text {j} of file {i}.") for i in range(83) for j in (1, 2)
    ]
    monkeypatch.setattr(docstrings, "_documented", lambda: found)
    by_file = load_corpus("docstrings")
    assert by_file.splits == "file"
    assert sum(len(set(by_file.parts[part].origin)) for part in PARTS) == 83
    assert load_corpus("docstrings", ReadingOptions(splits="hash")).splits == "hash"
    most = load_corpus("docstrings", ReadingOptions(max_documents=120))
    assert sum(len(most.parts[part]) for part in PARTS) == 120
    assert most.skipped == {"without prose": 0, "again": 0}


# ------------------------------------------------------------------------------------ public data sets, where they are


@with_data("mts_dialog")
def test_the_parts_of_mts_dialog_and_what_they_share():
    """As counted by hand: 1,201, 100, 200 and 200 pairs, two dialogues and 66 summaries verbatim in training."""
    found = load_corpus(str(DATA / "mts_dialog"))
    assert [len(found.parts[part]) for part in PARTS] == [1201, 100, 400]
    shared = {(one.part, one.origin[:9]): one for one in found.overlaps() if one.against == "train"}
    first, second = shared["test", "TestSet-1"], shared["test", "TestSet-2"]
    assert (first.documents, second.documents) == (200, 200)
    counted = [shared["validation", ""], first, second]
    assert [one.source["verbatim"] for one in counted] == [1, 1, 0]
    assert [one.target and one.target["verbatim"] for one in counted] == [15, 29, 22]
    assert shared["test", ""].source["nearly"] == 3


@with_data("proposals")
def test_proposals_are_raw_text():
    found = load_corpus(str(DATA / "proposals"), ReadingOptions(max_documents=401))
    assert not found.paired
    assert sum(len(found.parts[part]) for part in PARTS) == 401


@with_data("tinyshakespeare")
def test_tiny_shakespeare_is_one_file_of_speeches():
    found = load_corpus(str(DATA / "tinyshakespeare"))
    assert sum(len(found.parts[part]) for part in PARTS) == 7222
