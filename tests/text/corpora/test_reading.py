"""Documents of files in every form: read whole, or one line says why not."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bestguess.command import UserError
from bestguess.text.corpora import formats, reading
from bestguess.text.corpora.documents import Documents, cleaned, join
from bestguess.text.corpora.options import ReadingOptions
from bestguess.text.corpora.parts import part_of_name

ROWS = [
    {"id": "a1", "dialogue": 'A: hi, "you"\nB: ¡hola!', "summary": "They; greet, each other."},
    {"id": "a2", "dialogue": "مَرْحَبًا\n\n你好 👩‍👩‍👧", "summary": "e\u0301té"},
    {"id": "a3", "dialogue": "C:\tlast", "summary": "x"},
]
any_input = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(where: Path, **options: object) -> Documents:
    """The documents of a corpus that tells no parts."""
    (documents,) = reading.read_documents(where, ReadingOptions(**options)).values()
    return documents


def as_csv(rows: list[dict[str, str]], divider: str = ",") -> bytes:
    file = io.StringIO(newline="")
    table = csv.DictWriter(file, list(rows[0]), delimiter=divider)
    table.writeheader()
    table.writerows(rows)
    return file.getvalue().encode()


def as_parquet(rows: list[dict[str, str]]) -> bytes:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    file = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(rows), file, row_group_size=2)
    return file.getvalue()


def as_lines(rows: list[dict[str, str]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


FORMS: dict[str, Callable[[list[dict[str, str]]], bytes]] = {
    "data.jsonl": as_lines,
    "data.ndjson": lambda rows: as_lines(rows).replace(b"\n", b"\r\n"),
    "data.json": lambda rows: json.dumps(rows, indent=1).encode(),
    "lines.json": as_lines,
    "data.csv": as_csv,
    "data.tsv": lambda rows: as_csv(rows, "\t"),
    "semicolons.csv": lambda rows: as_csv(rows, ";"),
    "data.parquet": as_parquet,
}


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_documents(tmp_path, name, mark, packed):
    mark = mark if "parquet" not in name else b""
    found = read(write(tmp_path / (name + packed), mark + FORMS[name](ROWS)))
    assert found.source == [row["dialogue"] for row in ROWS]
    assert found.target == [row["summary"] for row in ROWS]
    assert found.name == ["a1", "a2", "a3"]
    assert found.origin == [name + packed] * 3
    assert found.skipped == {}


plain = st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]), max_size=20)


@pytest.mark.parametrize("name", FORMS)
@any_input
@given(rows=st.lists(st.tuples(plain, plain), min_size=1, max_size=5))
def test_any_text_comes_back_as_it_is_kept(tmp_path, name, rows):
    made = [{"dialogue": f"x{a}", "summary": f"{b}y"} for a, b in rows]
    found = read(write(tmp_path / name, FORMS[name](made)))
    assert found.source == [cleaned(row["dialogue"]) for row in made]
    assert found.target == [cleaned(row["summary"]) for row in made]


def test_texts_are_kept_but_for_newlines_outer_space_and_halves_of_characters():
    assert cleaned(" a\r\nb\rc \n\n d\u00a0e\u0301\ud83d\n\t") == "a\nb\nc \n\n d\u00a0e\u0301\ufffd"


# ------------------------------------------------------------------------------------------------------ plain text


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ("auto", ["one\ntwo", "three", "four"]),
        ("paragraphs", ["one\ntwo", "three", "four"]),
        ("lines", ["one", "two", "three", "four"]),
        ("file", ["one\ntwo\n\n \nthree\n\n\nfour"]),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_what_a_document_of_a_text_file_is(tmp_path, documents, expected, newline):
    text = "\none\ntwo\n\n \nthree\n\n\nfour\n".replace("\n", newline)
    assert read(write(tmp_path / "x.txt", text.encode()), documents=documents).source == expected


def test_each_file_of_a_folder_is_a_document_and_files_about_it_are_none(tmp_path):
    for name in (
        "b/2.txt",
        "a.md",
        "LICENSE.txt",
        "README.md",
        "picture.png",
        ".hidden.txt",
        ".git/x.txt",
        "b/1.txt.gz",
    ):
        write(tmp_path / name, f"text\n\nof {name}".encode())
    found = read(tmp_path)
    assert found.origin == ["a.md", "b/1.txt.gz", "b/2.txt"]
    assert found.source == [f"text\n\nof {name}" for name in found.origin]
    assert found.target is None


def test_records_have_no_paragraphs(tmp_path):
    with pytest.raises(
        UserError, match=r"--documents lines: is for plain text, and .*x\.csv has records; leave it out"
    ):
        read(write(tmp_path / "x.csv", as_csv(ROWS)), documents="lines")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_byte_order_mark_tells_the_encoding(tmp_path, encoding):
    assert read(write(tmp_path / "x.txt", "größer\n\n你".encode(encoding))).source == ["größer", "你"]


def test_another_encoding_is_told_and_can_be_given(tmp_path):
    path = write(tmp_path / "x.txt", "größer".encode("cp1252"))
    with pytest.raises(UserError, match=r"x\.txt: not text in UTF-8 \(the byte 0xf6: .*\); give its encoding") as error:
        read(path)
    assert str(error.value).isprintable()
    assert read(path, encoding="cp1252").source == ["größer"]


# ----------------------------------------------------------------------------------------------------------- fields


def lines_of(tmp_path: Path, *rows: object) -> Path:
    return write(tmp_path / "data.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows))


@pytest.mark.parametrize(
    ("record", "options", "expected"),
    [
        ({"dialogue": "d", "summary": "s"}, {}, ("d", "s")),
        ({"ID": 3, "section_header": "h", "section_text": "s", "dialogue": "d"}, {}, ("d", "s")),
        ({"Dialogue": "d", "Section_text": "s"}, {}, ("d", "s")),
        ({"source": "s", "s": "x", "len": 1, "textbook": "t", "text": "u"}, {}, ("t", None)),
        ({"text": "t", "summary": "s"}, {}, ("t", None)),
        ({"text": "t", "summary": "s"}, {"target_field": "summary"}, ("t", "s")),
        ({"n": 1, "only": "o"}, {}, ("o", None)),
        ({"dialogue": "d", "summary": "s"}, {"target_field": "none"}, ("d", None)),
        ({"dialogue": "d", "summary": "s"}, {"source_field": "summary"}, ("s", None)),
        ({"dialogue": "d", "summary": "s"}, {"source_field": "dialogue"}, ("d", "s")),
        ({"a": "x", "b": "y"}, {"source_field": "b", "target_field": "a"}, ("y", "x")),
        ({"a": "x", "b": "y"}, {"target_field": "a"}, ("y", "x")),
        ({"turns": ["A: a", "B: b"]}, {"source_field": "turns"}, ("A: a\nB: b", None)),
    ],
)
def test_which_fields_are_read(tmp_path, record, options, expected):
    found = read(lines_of(tmp_path, record), **options)
    assert (found.source[0], found.target and found.target[0]) == expected


@pytest.mark.parametrize(
    ("record", "options", "says"),
    [
        (
            {"dialog": "d", "note": "n"},
            {"source_field": "dialogue"},
            r"--source-field dialogue: .*data\.jsonl has no such field, but .* dialog, note; did you mean dialog\?",
        ),
        ({"text": "d"}, {"target_field": "sum"}, r"--target-field sum: .* has no such field, but the fields text$"),
        ({"a": "d", "b": "e"}, {}, r"data\.jsonl: has the fields a, b; name the text with --source-field"),
        ({"a": "d", "b": "e", "c": ""}, {"target_field": "c"}, r"has the fields a, b, c; name the source"),
        ({"text": 3}, {}, r"--source-field text: holds a int in .*data\.jsonl, record 1; name a field of text"),
        ({"text": ["a", 3]}, {}, r"--source-field text: holds a list in"),
        ({}, {}, r"has no fields; name the text"),
        ({f"f{i}": "" for i in range(50)}, {}, r"f19 and 30 more; name the text"),
    ],
)
def test_a_missing_field_is_one_line(tmp_path, record, options, says):
    with pytest.raises(UserError, match=says):
        read(lines_of(tmp_path, record), **options)


def test_every_file_of_a_folder_must_have_the_fields(tmp_path):
    write(tmp_path / "a.jsonl", b'{"text": "t"}')
    write(tmp_path / "b.jsonl", b'{"texts": "t"}')
    with pytest.raises(UserError, match=r"--source-field text: .*b\.jsonl has no such field, .*; did you mean texts"):
        read(tmp_path)


def test_empty_documents_are_skipped_and_counted(tmp_path):
    rows = [("a", "b"), ("", "b"), (" \n", "b"), ("a", None), (None, "b"), ("a", ""), ("c", "d")]
    path = lines_of(tmp_path, *({"dialogue": a, "summary": b} for a, b in rows))
    found = read(path)
    assert (found.source, found.target) == (["a", "c"], ["b", "d"])
    assert found.skipped == {"without a source": 3, "without a target": 2}
    assert found.name == ["1", "7"]
    raw = read(path, target_field="none")
    assert raw.source == ["a", "a", "a", "c"]
    assert raw.skipped == {"empty": 3}


def test_reading_stops_after_as_many_documents_as_are_wanted(tmp_path):
    data = as_lines(ROWS) + b"damaged"
    assert read(write(tmp_path / "x.jsonl", data), max_documents=2).name == ["a1", "a2"]


# ------------------------------------------------------------------------------------------------- what is damaged


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("x.jsonl", b'{"text": "a"}\n{"text": \n', r"line 2: damaged"),
        ("x.jsonl", b'{"text": "a"}\n[1]\n', r"line 2 is a list; give objects with fields"),
        ("x.json", b'[{"text": "a"}, 3]', r"record 2 is a int"),
        ("x.json", b'[{"text": "a"}', r"x\.json: damaged"),
        ("x.json", b"[" * 100_000, r"x\.json: damaged"),
        ("x.csv", b'text,id\n"a,1\n', r"line 2: not CSV \(unexpected end of data\)"),
        ("x.csv", b"text,id\na,1,2\n", r"line 2: 3 fields, where the first line names 2; put fields"),
        ("x.csv", b"text,text\na,b\n", r"the field 'text' occurs twice"),
        ("x.parquet", b"PAR1 no", r"not a whole Parquet file"),
        ("x.txt", b"", r"no document in it"),
        ("x.csv", b"", r"no document in it"),
        ("x.jsonl", b'{"text": ""}', r"no document in it \(1 empty\); give one with text"),
        ("x.7z", b"7z", r"not a format that is read; unpack it and give the folder"),
        ("x.doc", b"", r"not a format that is read; known are \.parquet, \.jsonl"),
    ],
)
def test_what_is_damaged_is_one_line_that_names_the_file(tmp_path, name, data, says):
    with pytest.raises(UserError, match=says) as error:
        read(write(tmp_path / name, data), source_field="text" if "csv" in name else "")
    assert str(tmp_path / name) in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", FORMS)
@any_input
@given(place=st.floats(0, 0.9999), byte=st.integers(0, 255), cut=st.booleans(), packed=st.booleans())
def test_a_file_with_one_byte_altered_is_read_or_one_line(tmp_path, name, place, byte, cut, packed):
    data = bytearray(gzip.compress(FORMS[name](ROWS)) if packed else FORMS[name](ROWS))
    at = int(place * len(data))
    data[at] = byte
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(data[:at] if cut else data)
    said = ""
    try:
        read(path)
    except UserError as error:
        said = str(error)
    assert said.isprintable()


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("name", ["data.jsonl", "data.json", "data.csv", "data.parquet", "data.txt"])
def test_more_than_is_held_is_refused_before_it_is_read(tmp_path, monkeypatch, name, packed):
    monkeypatch.setattr(formats, "LIMIT", 3000)
    monkeypatch.setattr("bestguess.files.reading.JSON_LIMIT", 3000)
    rows = [{"text": f"{i} " * 50} for i in range(900)]
    data = FORMS[name](rows) if name in FORMS else b"text\n" * 1000
    with pytest.raises(UserError, match=r"holds more than 3,000 bytes; (give --max-documents|write it as|unpack)"):
        read(write(tmp_path / (name + packed), data))


def test_records_without_an_id_are_numbered_by_file(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        write(tmp_path / name, b'{"text": "t"}\n\n{"text": ""}\n{"text": "u", "id": "x"}\n{"text": "v"}\n')
    found = read(tmp_path)
    assert found.name == ["1", "x", "4", "1", "x", "4"]
    assert found.where(3) == "b.jsonl, record 1"


def test_texts_that_memory_is_not_for_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "TEXT_LIMIT", 7)
    path = lines_of(tmp_path, {"text": "abc"}, {"text": "abcd"}, {"text": "e"})
    with pytest.raises(UserError, match=r"more than 7 characters .*; give --max-documents 2 or fewer"):
        read(path)
    assert read(path, max_documents=2).source == ["abc", "abcd"]


def test_a_pipe_and_a_missing_file_are_one_line(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    for name, says in (("pipe.jsonl", "not a regular file"), ("none.jsonl", "no such file or folder")):
        with pytest.raises(UserError, match=says):
            read(tmp_path / name)


def test_a_folder_without_a_corpus_is_one_line(tmp_path):
    write(tmp_path / "LICENSE.txt", b"text")
    with pytest.raises(UserError, match="no file of text, JSON, CSV or Parquet in this folder"):
        read(tmp_path)


def test_without_pyarrow_one_line_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "x.parquet", as_parquet(ROWS))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        UserError, match=r"reading Parquet needs pyarrow; begin the command with `uv run --extra text bestguess`"
    ):
        read(path)


# ------------------------------------------------------------------------------------------------------------ parts


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("TrainingSet", "train"),
        ("ValidationSet", "validation"),
        ("TestSet-1-MEDIQA-Chat-2023", "test"),
        ("train-00000-of-00001", "train"),
        ("val", "validation"),
        ("dev_v2", "validation"),
        ("test", "test"),
        ("train_test", ""),
        ("contest", ""),
        ("latest", ""),
        ("devices", ""),
        ("", ""),
    ],
)
def test_what_part_a_name_tells(name, part):
    assert part_of_name(name) == part


def test_parts_of_files_and_of_folders(tmp_path):
    for name in ("train.json", "val.json", "test.json"):
        write(tmp_path / "files" / name, json.dumps(ROWS).encode())
    write(tmp_path / "files" / "licence.txt", b"train")
    for name in ("train/test_plan.txt", "train/dev.txt", "test/b.txt", "test/c/d.txt"):
        write(tmp_path / "folders" / name, name.encode())
    assert reading.read_documents(tmp_path / "files", ReadingOptions()).keys() == {"train", "validation", "test"}
    found = reading.read_documents(tmp_path / "folders", ReadingOptions())
    assert {part: documents.origin for part, documents in found.items()} == {
        "train": ["train/test_plan.txt"],
        "validation": ["train/dev.txt"],
        "test": ["test/b.txt", "test/c/d.txt"],
    }


@pytest.mark.parametrize("names", [["train.jsonl", "more.jsonl"], ["a.jsonl", "test.jsonl"], ["train.jsonl"]])
def test_without_a_training_part_and_another_there_are_none(tmp_path, names):
    for name in names:
        write(tmp_path / name, as_lines(ROWS))
    assert len(read(tmp_path)) == 3 * len(names)
    with pytest.raises(UserError, match=r"--splits given: .* has no files named train and validation or test"):
        read(tmp_path, splits="given")


def test_a_file_of_no_part_among_others_is_refused_unless_all_are_split_by_hash(tmp_path):
    for name in ("train.jsonl", "test.jsonl", "unlabelled.jsonl"):
        write(tmp_path / name, as_lines(ROWS))
    with pytest.raises(UserError, match=r"unlabelled\.jsonl: belongs to no part, but other files do"):
        read(tmp_path)
    assert len(read(tmp_path, splits="hash")) == 9


def test_of_several_formats_one_is_read(tmp_path):
    write(tmp_path / "a.parquet", as_parquet(ROWS[:1]))
    write(tmp_path / "b.jsonl", as_lines(ROWS))
    write(tmp_path / "dataset_infos.json", b"{}")
    assert read(tmp_path).origin == ["a.parquet"]


def test_lists_of_documents_are_joined_and_raw_texts_do_not_join_pairs():
    raw = Documents(["a"], None, ["f"], ["1"], {"empty": 2})
    pairs = Documents(["b"], ["c"], ["g"], ["2"], {"empty": 1, "without a target": 3})
    assert join([raw, raw]).skipped == {"empty": 4}
    assert join([pairs, pairs]).target == ["c", "c"]
    assert join([pairs, pairs]).where(1) == "g, record 2"
    with pytest.raises(ValueError, match="do not make one list"):
        join([raw, pairs])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"documents": "line"},
            "--documents line: must be one of auto, file, paragraphs, lines, windows; did you mean lines",
        ),
        ({"splits": "random"}, "--splits random: must be one of auto, given, hash, file"),
        ({"encoding": "utf-9"}, "--encoding utf-9: unknown"),
        ({"max_documents": -1}, "--max-documents -1: must be 0"),
        ({"validation_fraction": 0.0}, r"--validation-fraction 0\.0: must lie between 0 and 1"),
        ({"test_fraction": float("nan")}, "--test-fraction nan: must lie"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "nothing is left to train on"),
    ],
)
def test_bad_options_are_one_line(options, says):
    with pytest.raises(UserError, match=says):
        ReadingOptions(**options)
