"""What people get wrong: every value and every file that is off gives exit status 2 and one line, and leaves nothing.

`text train` runs as on the command line; where an input is right, it ends where the training would begin.
"""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bestguess.cli import main
from bestguess.config import flag
from bestguess.text.config import TextObjectiveConfig, TextTaskConfig
from bestguess.text.generation import GenerationConfig
from bestguess.text.model_config import TextModelConfig
from bestguess.workflow import commands
from tests.text.tiny import FLAGS

SMALL = [
    *FLAGS,
    *("--steps", "2", "--warmup-steps", "1", "--validate-every", "2", "--validation-sequences", "2"),
    *("--batch-size", "2", "--schedule", "constant"),
]  # fmt: skip
NATURAL = ["--tokenizer", "characters", "--cut-at", "5", "--validation-fraction", "0.2", "--test-fraction", "0.2"]
TEXTS = [
    f"The {kind} thing is a thing of {kind} kind, said {name}."
    for kind in ("red", "blue", "new", "old", "big")
    for name in ("Anna", "Ben", "Clara", "Olga", "Mia", "Zed")
]
RECORDS = "\n".join(json.dumps({"text": text}) for text in TEXTS)
PAIRS = "\n".join(json.dumps({"dialogue": text, "summary": text[:9]}) for text in TEXTS)


class Reached(Exception):
    """The training would begin."""


@pytest.fixture
def train(tmp_path, capsys, monkeypatch):
    """A function from flags to exit status and standard error of `text train`."""

    def stop(*args: object, **options: object) -> None:
        raise Reached

    monkeypatch.setattr(commands, "fit_in_folder", stop)
    monkeypatch.setenv("BESTGUESS_MEMORY", "8e9")
    numbers = itertools.count()

    def run(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        out = tmp_path / f"run-{next(numbers)}"
        try:
            with pytest.raises(SystemExit) as ended:
                main(["text", "train", *SMALL, *map(str, words), "--out", str(out)])
        except Reached:
            return 0, ""
        assert not out.exists()
        return int(ended.value.code or 0), capsys.readouterr().err

    return run


def one_line(code: int, err: str, names: str) -> None:
    assert code == 2, err
    assert len(err.splitlines()) == 1, err
    assert err.startswith("bestguess: error: ")
    assert names in err


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "texts.txt"
    path.write_text("\n\n".join(TEXTS), encoding="utf-8")
    return path


HUGE = "99999999999999999999"
OF_TYPE = {
    "int": ("-1", "0", HUGE, "nan", "1.5", ""),
    "float": ("-1", "0", "1e300", "nan", "inf", "-inf", "x"),
    "bool": (),
    "Literal": ("", "nonsense", "\x1b[31m"),
    "str": ("", "nonsense.txt"),
}
RIGHT = {
    **dict.fromkeys(("dropout", "attention_dropout", "label_smoothing", "length_penalty", "corpus_seed"), ("0",)),
    "draw_seed": ("0",),
    "token_noise": ("0",),
    "packing": ("0",),
    "stride": ("0",),
    "start": ("",),
    "top_k": ("0", "2147483647"),
    "max_documents": ("0", "2147483647"),
    "split_seed": ("-1", "0"),
    "source_field": ("",),
    "target_field": ("",),
}
"""Values of those above that mean something: a number of tokens or documents above all that there are, any seed."""
GOES_WITH = {
    **dict.fromkeys(("temperature", "top_k", "top_p"), ("--strategy", "sample")),
    **dict.fromkeys(("beams", "length_penalty"), ("--strategy", "beam")),
    "cut_to": ("--cut", "random"),
}
OF_ERRANDS = {"task", "world", "training_documents", "corpus_seed", "corpus"}
CONFIGS = (TextTaskConfig, TextModelConfig, TextObjectiveConfig, GenerationConfig)


def kind_of(annotation: str) -> str:
    """Return the key of OF_TYPE for a field's annotation; a name of its own stands for a Literal."""
    first = annotation.split(" | ")[0]
    return first if first in OF_TYPE else "Literal"


def off_values() -> Iterator[Any]:
    for config in CONFIGS:
        for one in dataclasses.fields(config):
            for value in OF_TYPE[kind_of(str(one.type))]:
                if value not in RIGHT.get(one.name, ()):
                    yield pytest.param(config, one.name, value, id=f"{one.name}={value}")


@pytest.mark.parametrize(("config", "name", "value"), off_values())
def test_a_value_that_is_off(train, corpus, config, name, value):
    natural = config is TextTaskConfig and name not in OF_ERRANDS
    base = ["--corpus", corpus, *NATURAL] if natural else []
    one_line(*train(*base, *GOES_WITH.get(name, ()), flag(name), value), flag(name))


@pytest.mark.parametrize(("name", "values"), RIGHT.items())
def test_the_other_values_are_right(train, corpus, name, values):
    natural = name in {one.name for one in dataclasses.fields(TextTaskConfig)} - OF_ERRANDS
    base = ["--corpus", corpus, *NATURAL] if natural else []
    assert [train(*base, *GOES_WITH.get(name, ()), flag(name), value) for value in values] == [(0, "")] * len(values)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--d-model", "65536", "--layers", "3"], "weights and optimiser state of 1 run need"),
        (["--steps", "1000000000"], "--steps times --batch-size 2,000,000,000: at most 20,000,000 documents"),
        (["--test-documents", "1000000000"], "--test-documents 1,000,000,000"),
        (["--validation-sequences", "1000000000"], "--validation-sequences 1000000000: at most 16,777,216"),
    ],
)
def test_what_no_machine_could_hold(train, words, names):
    one_line(*train(*words), names)


def gz(text: str) -> bytes:
    return gzip.compress(text.encode())


FILES = [
    ("empty.txt", "", "empty.txt: no document in it"),
    ("blank.txt", "\n\n  \n", "blank.txt: no document in it"),
    ("empty.json", "", "empty.json: no document in it"),
    ("empty.jsonl", "", "empty.jsonl: no document in it"),
    ("empty.csv", "", "empty.csv: no document in it"),
    ("names.csv", "text\n", "names.csv: no document in it"),
    ("empty.parquet", "", "empty.parquet: not a whole Parquet file"),
    ("none.parquet", "hello world, this is no parquet at all", "none.parquet: not a whole Parquet file"),
    ("fields.csv", "a,b\nx,y\n", "fields.csv: has the fields a, b; name the text with --source-field"),
    ("ragged.csv", "text,b\nx,y,z\n", "ragged.csv: line 2: 3 fields"),
    ("quote.csv", 'text\n"unclosed\n', "quote.csv: line 2: not CSV"),
    ("cut.json", '[{"text": "abc"', "cut.json: damaged"),
    ("number.json", "3", "number.json: line 1 is a int"),
    ("null.json", "null", "null.json: line 1 is a NoneType"),
    ("numbers.json", "[1, 2]", "numbers.json: record 1 is a int"),
    ("deep.json", "[" * 100_000, "deep.json: damaged"),
    ("cut.jsonl", '{"text": "abc"}\n{"text": \n', "cut.jsonl: line 2: damaged"),
    ("kind.jsonl", '{"text": 3}\n', "--source-field text: holds a int in"),
    ("cut.jsonl.gz", gz(RECORDS)[:100], "cut.jsonl.gz: not a whole gzip file"),
    ("none.jsonl.gz", "not gzip", "none.jsonl.gz: not a whole gzip file"),
    ("more.jsonl.gz", gz(RECORDS) + b"junk", "more.jsonl.gz: not a whole gzip file"),
    ("one.txt", "one single document of text", "one.txt: too few documents (1)"),
    ("short.txt", "\n\n".join(f"a{i}" for i in range(40)), "short.txt: no train document is left (40 too short"),
    ("same.txt", "\n\n".join(["the very same document here"] * 30), "same.txt: the validation part is empty"),
    ("bytes.txt", bytes(range(256)), "bytes.txt: not text in UTF-8"),
    ("packed.zip", "PK", "packed.zip: not a format that is read; unpack it"),
]


@pytest.mark.parametrize(("name", "content", "names"), FILES, ids=[name for name, *_ in FILES])
def test_a_file_that_is_off(train, tmp_path, name, content, names):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    one_line(*train("--corpus", tmp_path / name, *NATURAL), names)


OK, PAIRED = ("ok.txt", "\n\n".join(TEXTS)), ("pairs.jsonl", PAIRS)


@pytest.mark.parametrize(
    ("file", "words", "names"),
    [
        (OK, ["--too-long", "refuse", "--context", "20"], "--too-long refuse: ok.txt, record"),
        (OK, ["--context", "5"], "no train document is left"),
        (OK, ["--source-field", "story"], "--source-field story: "),
        (OK, ["--splits", "given"], "--splits given: "),
        (OK, ["--tokenizer", "bpe", "--vocab-size", "9"], "--vocab-size 9: must be 261"),
        (OK, ["--encoding", "utf-16"], "not text in UTF-16"),
        (OK, ["--encoding", "base64"], "--encoding base64: unknown"),
        (OK, ["--encoding", "undefined"], "--encoding undefined: unknown"),
        (OK, ["--encoding", "a\0b"], "--encoding a\\x00b: unknown"),
        (PAIRED, ["--too-long", "refuse", "--max-source", "5"], "its source has"),
        (PAIRED, ["--too-long", "refuse", "--max-target", "5"], "its target has"),
        (PAIRED, ["--too-long", "split", "--max-target", "5"], "--too-long split: "),
        (PAIRED, ["--target-field", "title"], "--source-field"),
        (PAIRED, ["--source-field", "summary", "--target-field", "summary"], "--target-field summary: is the source"),
    ],
)
def test_a_flag_that_does_not_suit_the_file(train, tmp_path, file, words, names):
    (tmp_path / file[0]).write_text(file[1], encoding="utf-8")
    one_line(*train("--corpus", tmp_path / file[0], *NATURAL, *words), names)


def test_a_folder_that_is_off(train, tmp_path):
    (tmp_path / "empty").mkdir()
    one_line(*train("--corpus", tmp_path / "empty"), "empty: no file of text")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "pictures" / "README.md").write_text("about the pictures")
    one_line(*train("--corpus", tmp_path / "pictures"), "pictures: no file of text")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "train.txt").write_text("\n\n".join(TEXTS))
    (tmp_path / "parts" / "test.txt").write_text("")
    one_line(*train("--corpus", tmp_path / "parts"), "parts: too few documents (1; left out: 1 empty) for a training")


def test_a_place_that_is_no_file(train, tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    one_line(*train("--corpus", tmp_path / "pipe.txt"), "pipe.txt: cannot be read (not a regular file)")
    os.symlink("loop.txt", tmp_path / "loop.txt")
    one_line(*train("--corpus", tmp_path / "loop.txt"), "loop.txt: no such file")
    one_line(*train("--corpus", "a\0b"), "--corpus a\\x00b: no such file")
    one_line(*train("--corpus", "/dev/zero"), "/dev/zero: not a format that is read")


@pytest.mark.parametrize("tokenizer", ["characters", "words", "bpe"])
@pytest.mark.parametrize(
    "text", ["مرحبا بالعالم هذا نص", "你好 世界这是一个短文本", "😀👩‍👩‍👧‍👦🇩🇪 fun", "e\u0301a\u0300 \ud800 z"]
)
def test_every_script_is_text(train, tmp_path, text, tokenizer):
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"{text} {i} {text}"}) for i in range(40)), encoding="utf-8")
    flags = [*NATURAL, "--cut-at", "2", "--tokenizer", tokenizer, "--vocab-size", "300"]
    assert train("--corpus", path, *flags) == (0, "")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--documents", "-1"], "--documents -1: "),
        (["--documents", "99"], "--documents 99: a split could be empty"),
        (["--documents", HUGE], f"--documents {HUGE}: at most"),
        (["--seed", "-1"], "--seed -1: "),
        (["--seed", HUGE], f"--seed {HUGE}: "),
        (["--task", "x"], "--task"),
    ],
)
def test_make_with_a_value_that_is_off(tmp_path, capsys, words, names):
    with pytest.raises(SystemExit) as ended:
        main(["text", "make", "errands", "--world", "tiny", "--out", str(tmp_path / "made"), *words])
    one_line(int(ended.value.code or 0), capsys.readouterr().err, names)
    assert not (tmp_path / "made").exists()
