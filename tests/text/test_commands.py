"""The text commands from the command line: what they print, write, and say of what is wrong."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from bestguess import cli
from bestguess.cli import main
from bestguess.text.family import FAMILY
from tests.text.tiny import FLAGS

STEPS = [
    *("--steps", "6", "--warmup-steps", "1", "--validate-every", "3", "--validation-sequences", "6"),
    *("--batch-size", "4",),
]  # fmt: skip


def run(capsys: Any, *words: object) -> tuple[int, Any, str]:
    """Return the exit status, the JSON object on standard output (None if empty), and standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return stop.value.code or 0, json.loads(out) if out.startswith("{") else None, err


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("text") / "run"
    with pytest.raises(SystemExit) as stop:
        main(["text", "train", *FLAGS, *STEPS, "--seeds", "2", "--out", str(folder)])
    assert not stop.value.code
    return folder


KEYS = {
    *("corpus", "regret_per_document", "floor_per_document", "bits_per_byte", "perplexity", "facts", "stops"),
    *("parameters", "tokens_per_second", "peak_bytes", "seconds", "report"),
}


def test_evaluate_has_the_promised_keys(trained, capsys):
    code, found, _ = run(capsys, "text", "evaluate", trained, "--json")
    assert code == 0
    assert found.keys() >= KEYS
    assert found["facts"].keys() >= {"copied", "label_of_oracle", "names", "place", "day", "item", "bringer"}
    assert found["peak_bytes"] > 0
    assert found["tokens_per_second"] > 0
    assert found["documents"] == 12
    counts = found["order_k_counts"]
    assert 0 < counts["regret_per_document"] < found["ceiling_per_document"] - found["floor_per_document"]
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert f"counts of order {counts['order']}</td>" in page
    assert f"{found['source']['shuffled']:+.3f} with another document&#x27;s source" in page
    code, fewer, _ = run(capsys, "text", "evaluate", trained, "--test-documents", "5", "--generated", "0", "--json")
    assert (code, fewer["documents"], fewer["facts"], fewer["stops"]) == (0, 5, None, None)


@pytest.mark.parametrize("more", [[], ["--strategy", "beam", "--beams", "3"], ["--strategy", "sample", "--top-k", "4"]])
def test_generate_writes_a_target_with_its_facts(trained, capsys, more):
    code, found, _ = run(capsys, "text", "generate", trained, "--index", "2", *more, "--json")
    assert code == 0
    assert found["log_probability"] <= 0
    assert {one["fact"] for one in found["facts"]} >= {"names", "place", "day", "item", "bringer", "label"}
    again = run(capsys, "text", "generate", trained, "--index", "2", *more, "--json")[1]
    assert again == found


def test_generate_reads_a_text_of_one_s_own(trained, capsys):
    _, evaluation, _ = run(capsys, "text", "evaluate", trained, "--json")
    source = evaluation["samples"][0]["source"]
    code, found, _ = run(capsys, "text", "generate", trained, "--text", source, "--json")
    assert code == 0
    assert found["text"] == evaluation["samples"][0]["generated"]
    code, found, _ = run(capsys, "text", "generate", trained, "--text", source.split(".")[0], "--json")
    assert (code, found["facts"]) == (0, None)
    assert "the dialogue" in found["unjudged"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--text", "a", "--index", "1"], "--index 1: cannot be combined with --text"),
        (["--index", "99"], "--index 99: the test part has documents 0 to 11"),
        (["--number", "3"], "--number 3: the folder has runs 0 to 1"),
        (["--text", ""], "--text: 0 tokens"),
        (["--text", "anna: would you bring the spaceship ?"], "--text: the vocabulary has no 'spaceship'"),
        (["--top-k", "4"], "--top-k 4: does nothing with --strategy greedy"),
    ],
)
def test_generate_says_what_is_wrong(trained, capsys, words, says):
    code, _, err = run(capsys, "text", "generate", trained, *words)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert says in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--corpus", "nowhere.txt"], "--corpus nowhere.txt: no such file"),
        (["--world", "smal"], "smal"),
        (["--cut", "random"], "--cut random"),
        (["--cut-at", "5"], "--cut-at 5: belongs to natural text"),
        (["--loss", "full"], "--loss full"),
        (["--batch-size", "64", "--training-documents", "10"], "--batch-size 64: "),
        (["--corpus", "docstrings", "--task", "story"], "--task story: belongs to --corpus errands"),
        (["--corpus", "docstrings", "--tokenizer", "words", "--vocab-size", "3"], "--vocab-size 3"),
        (["--test-documents", "1"], "--test-documents 1"),
        (["--generated", "-1"], "--generated -1"),
    ],
)
def test_train_says_what_is_wrong_before_it_makes_a_folder(tmp_path, capsys, words, says):
    code, _, err = run(
        capsys, "text", "train", *STEPS, "--schedule", "cosine", "--hold", "0", *words, "--out", tmp_path / "run"
    )
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert says in err
    assert not (tmp_path / "run").exists()


def test_an_epoch_is_a_pass_over_the_training_part(tmp_path):
    def steps(*argv: object) -> int:
        words = ["--batch-size", "4", "--warmup-steps", "1", *map(str, argv)]
        return cli.parse("text train", words)[0].config().train.steps

    path = tmp_path / "lines.txt"
    path.write_text("\n\n".join(f"The {i} things of {name}." for i in range(10) for name in ("Anna", "Ben", "Clara")))
    own = ["--corpus", path, "--tokenizer", "characters", "--validation-fraction", "0.2", "--test-fraction", "0.2"]
    config = cli.parse("text train", [*map(str, own), "--cut-at", "9", "--batch-size", "4"])[0].config()
    have = FAMILY.works.training_sequences(config)
    assert 10 < have < 26
    assert steps(*own, "--cut-at", 9, "--epochs", 1) == -(-have // 4)
    assert steps(*own, "--cut-at", 9, "--epochs", 2.5) == -(-5 * have // 8)
    windows = ["--preset", "characters", "--documents", "windows", "--context", 32, "--validation-sequences", 5]
    assert 2 <= steps(*own, *windows, "--epochs", 1) <= 5  # 400 of 700 characters, 128 of them a step
    assert steps("--training-documents", 41, "--epochs", 2) == 21
    assert steps("--epochs", 2) == 2 * 95  # generated anew: validations


def test_natural_text_trains_and_says_what_was_left_out(tmp_path, capsys):
    texts = [f"The {word} thing is a thing of {word} kind, said {name}." for word in ("red", "blue", "new", "old")
             for name in ("Anna", "Ben", "Clara", "Olga", "Mia")]  # fmt: skip
    path = tmp_path / "texts.txt"
    path.write_text("\n\n".join([*texts, "Short."]), encoding="utf-8")
    code, found, err = run(
        capsys, "text", "train", "--corpus", path, "--tokenizer", "characters", "--cut-at", "9", *STEPS, "--schedule",
        "cosine", "--hold", "0", "--layers", "1", "--d-model", "8", "--heads", "2", "--validation-fraction", "0.2",
        "--test-fraction", "0.2", "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    assert code == 0, err
    assert found["regret_per_document"] is None
    assert found["facts"] is None
    assert found["bits_per_byte"] > 0
    assert found["order_k_counts"]["regret_per_document"] is None
    assert found["order_k_counts"]["nats_per_document"] < found["runs"][0]["constant_per_document"]
    assert "the floor is not known" in (tmp_path / "run" / "report.html").read_text()


def test_make_writes_a_corpus(tmp_path, capsys):
    code, found, err = run(
        capsys, "text", "make", "errands", "--out", tmp_path / "made", "--world", "tiny", "--documents", "150", "--json"
    )
    assert code == 0, err
    assert found.keys() >= {"path", "documents", "floor_per_document", "sha256"}
    lines = [json.loads(line) for line in (tmp_path / "made" / "train.jsonl").read_text().splitlines()]
    assert lines
    code, _, err = run(capsys, "text", "make", "errands", "--out", tmp_path / "made", "--world", "tiny")
    assert (code, "holds files already" in err) == (2, True)


def test_a_sheet_of_two_runs_and_the_votes_on_it(trained, tmp_path, capsys):
    out, votes = tmp_path / "sheet.html", tmp_path / "votes.json"
    numbers = ("--number-a", "1", "--number-b", "0")
    code, found, err = run(
        capsys, "text", "sheet", trained, trained, *numbers, "--out", out, "--documents", "12", "--json"
    )
    assert code == 0, err
    assert found["documents"] + found["identical"] == 12
    page = out.read_text(encoding="utf-8")
    sheet, key = (re.search(rf'data-{name}="([^"]+)"', page)[1] for name in ("sheet", "key"))
    assert sheet == found["sheet"]
    given = [{"document": int(i), "vote": "same", "comment": ""} for i in re.findall(r'data-document="(\d+)"', page)]
    told = {"version": 1, "sheet": sheet, "key": key, "rater": "", "votes": given}
    votes.write_text(json.dumps(told), encoding="utf-8")
    code, counted, _ = run(capsys, "text", "votes", votes, "--json")
    assert (code, counted["no_difference"], counted["interval"]) == (0, found["documents"], None)
    assert counted["runs"] == [f"{trained}, run 1", f"{trained}, run 0"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--documents", "0"], "--documents 0: must be 1 or more"),
        (["--number-b", "2"], "--number-b 2: the folder has runs 0 to 1"),
        (["--documents", "13"], "--documents 13: the runs have 12 test documents in common"),
        (["--seed", "-1"], "--seed -1: must be 0 or more"),
        (["--question", " "], "--question: is empty"),
        (["--beams", "3"], "--beams 3: does nothing with --strategy greedy"),
        (["--documents", "5"], "--documents 5: both runs write the same text"),
    ],
)
def test_sheet_says_what_is_wrong(trained, tmp_path, capsys, words, says):
    code, _, err = run(capsys, "text", "sheet", trained, trained, *words, "--out", tmp_path / "sheet.html")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert says in err
    assert not (tmp_path / "sheet.html").exists()


def test_attention_writes_a_page_and_heat_maps_and_gives_every_head(trained, capsys, tmp_path):
    out = tmp_path / "page.html"
    words = (
        "text",
        "attention",
        trained,
        trained,
        "--number",
        "0",
        "--number2",
        "1",
        "--documents",
        "4",
        "--shown",
        "2",
    )
    code, found, told = run(capsys, *words, "--out", out, "--json")
    assert code == 0
    assert found["page"] == str(out)
    assert [Path(one).exists() for one in found["heatmaps"]] == 6 * [True]
    assert [(one["kind"], one["layer"], one["head"]) for one in found["heads"]] == [
        (kind, 1, head) for kind in ("encoder", "decoder", "cross") for head in (1, 2)
    ]
    for one in found["heads"]:
        assert one["entropy"] > 0
        assert (one["turn_mass"] is None) == (one["kind"] == "decoder")
        assert one["errors"]["entropy"] > 0
    assert found["heads"] != found["second"]["heads"]
    assert found["documents"] == 4
    assert set(found["causal"]) == {"place", "day", "item", "bringer"}
    assert set(found["source"]) == {"shuffled", "empty"}
    assert found["source"] != found["second"]["source"]
    assert f"{found['source']['shuffled']:+.3f} with another document's source" in " ".join(told.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--documents", "1"], "--documents 1: from 2"),
        (["--documents", "13"], "--documents 13: from 2, for a standard error, to 12"),
        (["--index", "12"], "--index 12: the test part has documents 0 to 11"),
        (["--shown", "0"], "--shown 0: must be 1 or more"),
        (["--number2", "1"], "--number2 1: selects a run of a second folder"),
        (["--number", "2"], "--number 2: the folder has runs 0 to 1"),
    ],
)
def test_bad_flags_of_attention_are_told_before_anything_is_measured(trained, capsys, words, says):
    code, _, err = run(capsys, "text", "attention", trained, *words)
    assert code == 2
    assert says in err
    assert "Traceback" not in err
    assert not (trained / "attention.html").exists()


@pytest.mark.parametrize("name", ["page.html", "x" * 246 + ".html"])
def test_attention_checks_all_that_it_writes_before_it_writes_any(trained, capsys, tmp_path, name):
    theirs = tmp_path / f"{Path(name).stem}_cross.png"
    with contextlib.suppress(OSError):  # of the long name, which is too long with what is added to it
        theirs.write_text("of somebody else")
    before = sorted(tmp_path.iterdir())
    code, _, err = run(capsys, "text", "attention", trained, "--documents", "4", "--out", tmp_path / name)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert ("is no PNG file" if before else "the name is too long") in err
    assert sorted(tmp_path.iterdir()) == before
    code, found, _ = run(
        capsys, *("text", "attention", trained, "--no-heatmaps", "--documents", "4", "--out", tmp_path / name, "--json")
    )
    assert (code, found["heatmaps"]) == (0, [])


def test_attention_of_no_run_makes_no_folder(tmp_path, capsys):
    assert run(capsys, "text", "attention", tmp_path / "none")[0] == 2
    assert not (tmp_path / "none").exists()
