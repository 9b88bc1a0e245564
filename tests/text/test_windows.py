"""One long text: its parts, its windows, a model that reads no marks, and the commands."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.cli import main
from bestguess.command import UserError
from bestguess.text.corpora.corpus import load_corpus
from bestguess.text.corpora.options import ReadingOptions
from bestguess.text.corpus import about_of
from bestguess.text.documents import Documents
from bestguess.text.evaluate import ModelPredictor, evaluate
from bestguess.text.family import FAMILY
from bestguess.text.flags import train_flags
from bestguess.text.model import TextModel
from bestguess.text.pairs import Pairs
from bestguess.text.problem import Drawn, Own, TextProblem
from bestguess.text.task import task_of
from bestguess.text.windows import apart, prompts, scored
from bestguess.train.problem import Turn
from tests.compiled import whole
from tests.text.tiny import FLAGS, tiny

VOCAB, CONTEXT = 11, 6
TEXT = np.random.default_rng(0).integers(5, VOCAB, 41)
WINDOWS = ["--documents", "windows", "--architecture", "decoder-only", "--loss", "full", "--tokenizer", "characters"]


def joined(pairs: Pairs, row: int) -> list[int]:
    source, target = pairs.source[row, : pairs.source_length[row]], pairs.target[row, : pairs.target_length[row]]
    return [*source.tolist(), *target.tolist()]


# ------------------------------------------------------------------------------------------ windows


@pytest.mark.parametrize("stride", [1, 2, 3, 6])
@pytest.mark.parametrize("length", [2, 5, 13, 41])
def test_every_token_but_the_first_is_scored_once(stride, length):
    text, n_bytes = TEXT[:length], 1 + np.arange(length)
    found = scored(text, n_bytes, CONTEXT, stride)
    targets = [
        token for row in range(len(found)) for token in joined(found.pairs, row)[found.pairs.source_length[row] :]
    ]
    assert targets == text[1:].tolist()
    assert found.target_bytes.sum() == n_bytes[1:].sum()
    place = 1
    for row in range(len(found)):
        source, target = int(found.pairs.source_length[row]), int(found.pairs.target_length[row])
        assert joined(found.pairs, row) == text[place - source : place + target].tolist()
        assert source == min(place, CONTEXT - stride + 1)
        assert not found.pairs.source[row, source:].any()
        assert not found.pairs.target[row, target:].any()
        place += target


@pytest.mark.parametrize("stride", [2, 6])
def test_training_windows_stand_apart_and_are_whole(stride):
    found = apart(TEXT, CONTEXT, stride)
    assert len(found) == (len(TEXT) - 1) // CONTEXT
    for row in range(len(found)):
        assert joined(found, row) == TEXT[row * CONTEXT : (row + 1) * CONTEXT + 1].tolist()


def test_prompts_are_the_halves_of_the_text():
    found = prompts(scored(TEXT, np.ones(41, np.int32), CONTEXT, 2), CONTEXT)
    assert [joined(found, row) for row in range(6)] == TEXT[:36].reshape(6, 6).tolist()
    assert set(found.source_length.tolist()) == {3}
    short = prompts(scored(TEXT[:3], np.ones(3, np.int32), CONTEXT, 6), CONTEXT)
    assert joined(short, 0) == TEXT[:3].tolist()


# ------------------------------------------------------------------------------------------ the model


@pytest.fixture(scope="module", params=["rope", "learned"])
def model(request) -> TextModel:
    config = tiny(model={"architecture": "decoder-only", "positions": request.param, "layers": 2}).model
    return TextModel(config, VOCAB, (4, 3), marked=False, key=jax.random.key(1))


def test_a_model_without_marks_predicts_source_and_target_as_one_text(model):
    text = jnp.asarray(TEXT[:6])
    every_next = whole(model.next_logits, text)
    for source in (1, 3, 4):
        padded = jnp.zeros(4, jnp.int32).at[:source].set(text[:source])
        target = jnp.zeros(3, jnp.int32).at[: 6 - source].set(text[source : source + 3])
        count = min(3, 6 - source)
        ours = whole(model.logits, padded, jnp.asarray(source), target)
        np.testing.assert_allclose(ours[:count], every_next[source - 1 : source - 1 + count], atol=2e-5)
        every = whole(model.sequence_logits, padded, jnp.asarray(source), target, jnp.asarray(count))
        assert every.logits.shape == (6, VOCAB)
        assert every.predicted.tolist() == [i < source - 1 + count for i in range(6)]
        assert every.scored.tolist() == [source - 1 <= i < source - 1 + count for i in range(6)]
        np.testing.assert_array_equal(every.target[: source - 1 + count], text[1 : source + count])


def test_one_token_at_a_time_without_marks(model):
    source, target = jnp.asarray([*TEXT[:3], 0]), jnp.asarray(TEXT[3:6])
    expected = whole(model.logits, source, 3, target)
    logits, cache = whole(model.start, source, 3, 3)
    found = [logits]
    for token in target[:-1]:
        logits, cache = whole(model.step, token, cache)
        found.append(logits)
    np.testing.assert_allclose(jnp.stack(found), expected, atol=2e-5)


# ------------------------------------------------------------------------------------------ training


def problem_of(text: np.ndarray) -> TextProblem:
    config = tiny(
        task={"corpus": "a", "documents": "windows", "context": CONTEXT, "world": "small"},
        model={"architecture": "decoder-only"},
        objective={"loss": "full"},
    )
    shapes, held = Documents.of(apart(text, CONTEXT, CONTEXT)[:1], VOCAB), scored(text, text, CONTEXT, CONTEXT).pairs
    return TextProblem(shapes, Documents.of(held, VOCAB), config, VOCAB, text=jnp.asarray(text, jnp.uint8))


def test_windows_are_drawn_anywhere_and_every_token_is_learnt_from():
    problem, own = problem_of(TEXT[:10]), Own(jnp.asarray(0))
    turn = lambda key: Turn(key, jnp.asarray(0.0), jnp.asarray(0))  # noqa: E731
    draw = jax.vmap(lambda key: problem.draw(own, turn(key)).row)
    rows = whole(draw, jax.random.split(jax.random.key(0), 200))
    assert set(rows.tolist()) == {0, 1, 2, 3}  # the last window ends with the text
    model = whole(problem.init, own, jax.random.key(1))
    loss, count = whole(problem.loss, model, own, Drawn(jnp.asarray(3), None))
    log_p = jax.nn.log_softmax(whole(model.next_logits, TEXT[3:9]))
    assert float(count) == CONTEXT
    np.testing.assert_allclose(loss, -log_p[np.arange(6), TEXT[4:10]].sum(), rtol=1e-5)


def test_validation_is_the_loss_of_every_token_with_what_its_window_has_before_it():
    problem, own = problem_of(TEXT), Own(jnp.asarray(0))
    model = whole(problem.init, own, jax.random.key(1))
    nats = 0.0
    for first in range(0, 40, CONTEXT):
        inputs, targets = TEXT[first : first + CONTEXT], TEXT[first + 1 : first + CONTEXT + 1]
        log_p = jax.nn.log_softmax(whole(model.next_logits, inputs))
        nats -= float(log_p[np.arange(len(targets)), targets].sum())
    found = whole(problem.validate, model, own, jax.random.split(jax.random.key(0), 2))
    np.testing.assert_allclose(float(found["loss"]), nats / 40, rtol=1e-5)


# ------------------------------------------------------------------------------------------ corpus and commands


def test_parts_follow_each_other_and_nothing_is_stripped(tmp_path):
    text = "\n ".join(f"line {i}" for i in range(100)) + "\n"
    (tmp_path / "play.txt").write_text(text)
    for fractions in ((0.05, 0.05), (0.1, 0.0), (0.3, 0.2)):
        options = ReadingOptions(documents="windows", validation_fraction=fractions[0], test_fraction=fractions[1])
        corpus = load_corpus(str(tmp_path / "play.txt"), options)
        train, validation, test = (corpus.parts[part].source[0] for part in ("train", "validation", "test"))
        assert train == text[: int(len(text) * (0.5 if fractions[0] == 0.3 else 0.9))]
        if fractions[1]:
            assert train + validation + test == text
        else:
            assert train + validation == text
            assert test == validation
        assert corpus.splits == "position"


def test_given_parts_are_kept_and_files_are_one_text(tmp_path):
    for name, text in {"train": "abc" * 40 + "\n", "validation": "abd\n" * 5, "test": "bcd\n" * 6}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    corpus = load_corpus(str(tmp_path), ReadingOptions(documents="windows"))
    assert [corpus.parts[part].source[0] for part in ("train", "validation", "test")] == [
        "abc" * 40 + "\n", "abd\n" * 5, "bcd\n" * 6,
    ]  # fmt: skip
    (tmp_path / "test.txt").unlink()
    corpus = load_corpus(str(tmp_path), ReadingOptions(documents="windows", test_fraction=0.25))
    assert corpus.parts["train"].source[0] + corpus.parts["test"].source[0] == "abc" * 40 + "\n"
    assert len(corpus.parts["test"].source[0]) == 31
    both = tmp_path / "both"
    both.mkdir()
    for name in ("1", "2"):
        (both / f"{name}.txt").write_text(f"act {name}\n" * 9)
    corpus = load_corpus(str(both), ReadingOptions(documents="windows"))
    assert "".join(corpus.parts[part].source[0] for part in corpus.parts) == "act 1\n" * 9 + "\n" + "act 2\n" * 9


@pytest.fixture(scope="module")
def play(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("text") / "play.txt"
    path.write_text("".join(f"scene {i}: enter {'the king' if i % 3 else 'a ghost'}.\n" for i in range(40)))
    return path


@pytest.fixture(scope="module")
def trained(play) -> Path:
    steps = ["--steps", "4", "--warmup-steps", "1", "--validate-every", "2", "--validation-sequences", "99"]
    rest = ["--context", "8", "--stride", "4", "--batch-size", "3", "--optimizer", "muon", "--average", "0.9"]
    tiny = [word for word in FLAGS if word not in ("--world", "tiny")]
    with pytest.raises(SystemExit) as stop:
        main(
            ["text", "train", "--corpus", str(play), *WINDOWS, *tiny, *steps, *rest, "--out", str(play.parent / "run")]
        )
    assert not stop.value.code
    return play.parent / "run"


def run(capsys, *words: object):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return stop.value.code or 0, json.loads(out) if out.startswith("{") else None, err


def test_a_run_on_windows_is_evaluated_and_writes(trained, capsys):
    code, found, _ = run(capsys, "text", "evaluate", trained, "--json")
    assert code == 0
    assert found["regret_per_document"] is None
    assert found["documents"] == 12  # --test-documents, of windows
    assert found["tokens"] == 12 * 4
    code, one, _ = run(capsys, "text", "generate", trained, "--text", "scene", "--max-tokens", "99", "--json")
    assert code == 0
    assert len(one["text"]) == 4  # a window is 8, and the last token needs not be read
    page = (trained / "report.html").read_text(encoding="utf-8")
    assert "one text of" in page
    assert "A document is a window" in page
    assert "nats per token" in page
    assert "training windows" in page
    for of_documents in ("nats per document", "generated ends", "token of the target"):
        assert of_documents not in page
    constant = found["runs"][0]["constant_per_document"] / 4  # tokens of a window
    assert f'<td>best constant</td><td class="number">{constant:.4f}</td>' in page
    counts = found["order_k_counts"]
    row = f'<td>counts of order {counts["order"]}</td><td class="number">{counts["nats_per_document"] / 4:.4f}</td>'
    assert row in page
    assert run(capsys, "text", "attention", trained)[0] == 2


def test_a_corpus_that_was_moved_is_named_and_no_other_is_taken(trained, play, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    assert str(play) in config.read_text()
    moved = play.rename(tmp_path / "moved.txt")
    task_of.cache_clear()  # as in another process
    try:
        status, _, err = run(capsys, "text", "report", tmp_path / "run")
        assert status == 2
        assert f"--corpus {play}: no such file or folder; if a run's corpus was moved, text evaluate RUN" in err
        (tmp_path / "other.txt").write_text(moved.read_text() + "more of the same\n" * 9)
        status, _, err = run(capsys, "text", "evaluate", tmp_path / "run", "--corpus", tmp_path / "other.txt")
        assert status == 2
        assert "not the corpus of the training, or changed since (SHA-256" in err
        assert run(capsys, "text", "evaluate", tmp_path / "run", "--corpus", moved)[0] == 0
        assert run(capsys, "text", "report", tmp_path / "run")[0] == 0
    finally:
        moved.rename(play)


def test_a_corpus_of_this_machine_is_kept_by_its_whole_path(play, monkeypatch):
    monkeypatch.chdir(play.parent)
    flags = train_flags(FAMILY)
    for given, kept in (("play.txt", str(play)), ("errands", "errands"), ("none.txt", "none.txt")):
        task = dataclasses.replace(flags().task, corpus=given)
        assert flags(task=task).as_given().task.corpus == kept
    (play.parent / "docstrings").mkdir()  # a name of ours goes before a folder
    assert flags(task=dataclasses.replace(flags().task, corpus="docstrings")).as_given().task.corpus == "docstrings"


def test_evaluation_scores_all_of_a_part_by_the_model_alone(play):
    task = tiny(
        task={"corpus": str(play), "documents": "windows", "tokenizer": "characters", "context": 8, "world": "small"},
        model={"architecture": "decoder-only"},
        objective={"loss": "full"},
    )
    about = about_of(task.task, 0, 99, 99)
    problem = FAMILY.works.problem([task], [FAMILY.works.task(task)])
    model = whole(problem.init, Own(jnp.asarray(0)), jax.random.key(0))
    found = evaluate(about, ModelPredictor(model), 99)
    text = about.encode(play.read_text())
    test = text[int(len(text) * 0.95) :]
    assert found.tokens == len(test) - 1
    log_p = jax.nn.log_softmax(whole(model.next_logits, test[:8]))
    np.testing.assert_allclose(found.nats[0], -log_p[np.arange(8), test[1:9]], atol=1e-5)
    assert found.bits_per_byte(about.test_bytes) == pytest.approx(found.loss / np.log(2))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--stride", "3"], "--stride 3: must divide --context 256"),
        (["--architecture", "prefix-lm", "--loss", "target"], "give --architecture decoder-only --loss full"),
        (["--packing", "64"], "--packing 64"),
        (["--attention-documents", "3"], "--attention-documents 3"),
        (["--cut-at", "3"], "--cut-at 3"),
        (["--splits", "hash"], "--splits hash"),
        (["--context", "5000"], "--context 5000: the training part of"),
        (["--validation-fraction", "0.0001"], "the validation part has no text"),
        (["--validation-fraction", "0"], "--validation-fraction 0"),
        (["--corpus", "errands"], "--corpus errands: consists of documents"),
        (["--corpus", "docstrings"], "--documents windows: has no effect on docstrings"),
        (["--documents", "lines", "--stride", "8"], "--stride 8: is for --documents windows"),
        (["--documents", "lines", "--test-fraction", "0"], "--test-fraction 0"),
    ],
)
def test_what_is_wrong_is_one_line(play, tmp_path, capsys, flags, says):
    code, _, err = run(capsys, "text", "train", "--corpus", play, *WINDOWS, *flags, "--out", tmp_path / "run")
    assert code == 2
    assert says in " ".join(err.split())
    assert not (tmp_path / "run").exists()


def test_records_are_no_text(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n')
    with pytest.raises(UserError, match="--documents windows: is for plain text"):
        load_corpus(str(tmp_path / "a.jsonl"), ReadingOptions(documents="windows"))
