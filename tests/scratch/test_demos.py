"""What the demos learn and how they are scored: data, ceilings, tokenizers, verdicts, checkpoints, curves."""

from __future__ import annotations

import io
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bestguess.scratch.commands.live import LossPlot, curve
from bestguess.scratch.demos import causes, checkpoint, copilot, level1, options, stdlib
from bestguess.scratch.demos.data import (
    AMBIGUOUS,
    DEMOS,
    DISTINCT,
    LETTERS,
    PAD,
    PYTHON,
    SHIFTED,
    Vocabulary,
    best_constant,
    ceiling,
    gained,
    held_out,
    snippets,
    split,
)
from bestguess.scratch.demos.decoder import Decoder
from bestguess.scratch.demos.training import draws, evaluate, fit
from bestguess.scratch.engine.gpt import GPT
from bestguess.scratch.fast.gpt import FastGPT

# Data


def test_no_snippet_stands_on_both_sides():
    train, held = split()
    assert not {s.partition("\n")[0] for s in train} & {s.partition("\n")[0] for s in held}
    assert sorted(train + held) == sorted(snippets())
    assert 0.08 < len(held) / len(snippets()) < 0.17
    headers = [s.partition("\n")[0] for s in snippets()]
    assert len(set(headers)) == len(headers)  # one body each, so that "the body expected" means something
    assert set(DEMOS) <= set(headers)
    assert not any(held_out(s) for s in snippets() if s.partition("\n")[0] in DEMOS)


@pytest.mark.parametrize("snippet", snippets()[::23])
def test_every_snippet_is_python_and_survives_the_vocabulary(snippet):
    assert copilot.parses(snippet)
    assert PYTHON.decode([*PYTHON.encode(snippet), PYTHON.end, PAD]) == snippet


def test_rows_are_texts_moved_by_one_and_padded():
    vocabulary = Vocabulary("abc", end=True)
    inputs, targets = vocabulary.rows(["ab", "c"], 4)
    assert inputs.tolist() == [[2, 3, 0, 0], [4, 0, 0, 0]]
    assert targets.tolist() == [[3, 1, 0, 0], [1, 0, 0, 0]]
    with pytest.raises(ValueError, match="does not fit into rows of 1"):
        vocabulary.rows(["ab"], 1)
    with pytest.raises(ValueError, match="'xy'"):
        vocabulary.encode("axby")


@given(st.lists(st.text("ab", min_size=2, max_size=4), min_size=1, max_size=6))
def test_the_ceiling_is_what_the_best_table_reaches(strings):
    """By brute force: the best predictor knows the frequencies of what follows each prefix."""
    follows: dict[str, Counter[str]] = defaultdict(Counter)
    for s in strings:
        for i in range(1, len(s)):
            follows[s[:i]][s[i]] += 1
    nats = [-math.log(follows[s[:i]][s[i]] / follows[s[:i]].total()) for s in strings for i in range(1, len(s))]
    best = ceiling(strings)
    assert best.loss == pytest.approx(np.mean(nats))
    by_first = [[s for s in strings if s[0] == c] for c in "ab"]
    assert best.correct == sum(max(map(group.count, group)) for group in by_first if group)
    assert best.of == len(strings)


def test_the_ceilings_of_level1():
    assert (ceiling(AMBIGUOUS).correct, ceiling(DISTINCT).correct) == (10, 12)
    # Of 48 targets only the three after A are in doubt; two of them are told apart by the next one each.
    assert ceiling(AMBIGUOUS).loss == pytest.approx(3 * math.log(3) / 48)
    assert ceiling(DISTINCT).loss == 0


def test_the_scale_of_a_loss():
    assert best_constant(["xab", "xba"]) == pytest.approx(math.log(2))
    assert best_constant(["xaa", "xaa"]) == 0
    assert best_constant(AMBIGUOUS) > ceiling(AMBIGUOUS).loss
    assert [gained(loss, 1.0, 3.0) for loss in (3.0, 2.0, 1.0)] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("name", copilot.SETTINGS)
def test_a_setting_writes_its_own_snippets(name):
    setting = copilot.SETTINGS[name]
    assert len(setting.vocabulary) == setting.config.vocab
    train, held = setting.split()
    assert len(train) > 70
    assert len(held) > 5
    setting.vocabulary.rows(train + held, setting.config.positions)  # everything fits
    assert set(setting.demos) <= {s.partition("\n")[0] for s in train}
    assert 0 < copilot.loss_floor(setting) < copilot.loss_constant(setting) < math.log(setting.config.vocab)


def test_parameter_counts_are_those_of_the_settings():
    """TinyTorch's summary states 33,472 for a vocabulary of 25 and a length of 64."""
    counts = {name: GPT(setting.config).count() for name, setting in copilot.SETTINGS.items()}
    assert counts == {"ours": 33_472, "tinytorch": 29_120}
    assert GPT(level1.CONFIG).count() == 4_624


def test_level1_says_the_next_character_of_each():
    """A model that copies is right for BBBB and CCCC alone; the summary's own example is FGHI → GHIJ."""

    class Copy(GPT):
        def __call__(self, index):
            logits = super().__call__(index)
            return type(logits)(np.eye(37)[index])

    said = dict(zip(SHIFTED, level1.shift(Copy(level1.CONFIG), SHIFTED), strict=True))
    assert {s for s in SHIFTED if said[s] == s} == {"BBBBB", "CCCCC", "DDDDD"}
    assert said["FGHIJ"] == "FFGHI"
    assert ceiling(SHIFTED).correct == 12
    assert ceiling(SHIFTED).loss == 0


# Training and scoring


def test_the_copilot_learns_and_its_loss_stays_above_the_floor():
    model = FastGPT(copilot.CONFIG, 0)
    before = copilot.held_out_loss(model)
    losses = copilot.train(model, 40, batch=8).losses
    assert len(losses) == 40
    assert copilot.held_out_loss(model) < before - 1
    assert evaluate(model, *PYTHON.rows(split()[0])) > copilot.loss_floor() > 0


def test_watch_ends_training():
    model = GPT(level1.CONFIG, 0)
    rows = LETTERS.rows(DISTINCT, 8)
    assert len(fit(model, lambda _: rows, 50, 1e-3, watch=lambda step, _: step == 3).losses) == 3


def test_padding_is_never_scored():
    """The same texts in wider rows, and other tokens where the padding is: the same loss."""
    model = FastGPT(copilot.CONFIG, 0)
    for p in model.parameters():
        p.data = p.data.astype(np.float64)
    texts = split()[0][:5]
    narrow, wide = PYTHON.rows(texts), PYTHON.rows(texts, 100)
    assert (wide[1] == PAD).mean() > 0.6
    loss = evaluate(model, *narrow)
    assert evaluate(model, *wide) == pytest.approx(loss, rel=1e-12)
    inputs = np.where(wide[1] == PAD, 7, wide[0])
    assert evaluate(model, inputs, wide[1]) == pytest.approx(loss, rel=1e-12)
    assert evaluate(model, *wide, None) != pytest.approx(loss, rel=1e-3)


def test_the_same_seed_draws_the_same_batches():
    for (a, b), (c, d) in zip(*(map(draws(PYTHON, snippets()[:9], 4, 3), range(5)) for _ in range(2))):
        assert (a == c).all()
        assert (b == d).all()
    one, other = draws(PYTHON, snippets(), 4, 3)(0), draws(PYTHON, snippets(), 4, 4)(0)
    assert one[0].shape != other[0].shape or (one[0] != other[0]).any()


def test_a_perfect_writer_scores_all_and_a_copier_few(monkeypatch):
    bodies = {s.partition("\n")[0]: "\n" + s.partition("\n")[2] for s in snippets()}
    monkeypatch.setattr(copilot, "complete", lambda model, header, setting: bodies[header])
    held = split()[1]
    assert copilot.score(None, held) == copilot.Score(len(held), len(held), len(held))
    assert all(right for _, right in copilot.demos(None).values())
    copied = copilot.copied()
    assert copied.parsed == copied.of == len(held)
    assert copied.exact < len(held) / 4
    monkeypatch.setattr(copilot, "complete", lambda model, header, setting: "\n    return (\n")
    assert copilot.score(None, held) == copilot.Score(0, 0, len(held))


def test_the_shipped_model_is_good_but_not_perfect():
    model, note = copilot.pretrained()
    assert model.count() == 33_472
    assert note.startswith("bestguess scratch copilot")
    score = copilot.score(model, split()[1], most=20)
    assert score.parsed > 10
    assert 5 < score.exact < 20


# Options and causes


def test_option_b_is_no_matter_of_memory():
    result = options.b(3, 0, lambda step, loss: None)
    assert result["of"] == 500
    assert result["trained_on"] == 8**4 - 500
    assert result["parameters"] < 5_000


def test_option_c_is_surer_when_colder():
    model, _ = copilot.pretrained()
    found = options.c(model, (0.5, 1.0, 2.0), 2, 0)["temperatures"]
    bits = [t["bits_per_character"] for t in found]
    assert bits == sorted(bits)
    assert [t["of"] for t in found] == [10, 10, 10]
    assert found[0]["exact"] > found[2]["exact"]


@pytest.mark.usefixtures("few_snippets")
def test_option_a_keeps_a_checkpoint_for_every_score(tmp_path):
    points = options.a(5, 2, 0, tmp_path, lambda step, loss: None)["points"]
    assert [p["step"] for p in points] == [2, 4, 5]
    model, note = checkpoint.load(tmp_path / points[-1]["checkpoint"])
    assert evaluate(model, *PYTHON.rows(copilot.OURS.split()[0])) == pytest.approx(points[-1]["loss"], rel=1e-6)
    assert note == "option A, step 5, seed 0"


def test_pairs_are_shorter_and_say_the_same():
    train, held = split()
    pairs = causes.Pairs(PYTHON, train, 64)
    assert len(pairs) == len(PYTHON) + 64
    for text in (*train[::17], *held[::7]):
        tokens = pairs.encode(text)
        assert pairs.decode(tokens) == text
        header = pairs.encode(text.partition("\n")[0])
        assert tokens[: len(header)] == header  # so that a header can be a prompt
        assert len(tokens) < 0.85 * len(text)
        assert max(tokens) < len(pairs)
    assert causes.Pairs(PYTHON, ["aa", "aa", "ab"], 5).merges == {(35, 35): 61, (35, 36): 62}


def test_intervals_are_student_s():
    for n, t in enumerate(causes.T_975, start=1):
        assert t == pytest.approx(scipy.stats.t.ppf(0.975, n), abs=6e-4)
    a, b = [0.5, 0.9, 0.7], [0.1, 0.2, 0.15]
    found = causes.difference(a, b)
    expected = scipy.stats.ttest_rel(a, b).confidence_interval()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-3)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.01, 0.2, "a cause"),
        (-0.2, -0.01, "no cause: mending it does harm"),
        (-0.1, 0.04, "no cause"),
        (-0.1, 0.06, "undecided: more seeds are needed"),
    ],
)
def test_verdicts(low, high, said):
    assert causes.judge(causes.Difference((low + high) / 2, low, high)) == said


def test_each_cause_is_mended_in_the_right_direction():
    def run(x: float) -> causes.Run:
        return causes.Run(x, x, 0.1, 0.1)

    runs = [
        {
            "control": run(0.5 + e),
            "sampled": run(0.3 + e),
            "more steps": run(0.9 - e),
            "padding scored": run(0.4 + 2 * e),
            "pairs": run(0.5 + e * e),
        }
        for e in (0.0, 0.01, 0.02)
    ]
    found = {v.cause: v for v in causes.verdicts(runs, 250)}
    assert found["insufficient training"].verdict == "a cause"
    assert found["greedy decoding"].memorised.mean == pytest.approx(-0.2)
    assert found["padding confusion"].memorised.mean == pytest.approx(0.1 - 0.01)
    assert found["tokenizer issues"].verdict == "no cause"


# The second stage


def test_the_corpus_holds_whole_files_out(tmp_path):
    for i in range(60):
        (tmp_path / f"f{i}.py").write_text(f"x{i} = {i}\n\té")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "t.py").write_text("never_read\n")
    train, held = stdlib.corpus(tmp_path)
    assert all((f"x{i} " in train) != (f"x{i} " in held) for i in range(60))
    assert "never_read" not in train + held
    assert stdlib.CHARACTERS.decode(stdlib.tokens(train, stdlib.CHARACTERS)) == train
    assert stdlib.tokens(train, stdlib.CHARACTERS).tolist() == stdlib.CHARACTERS.encode(train)
    with pytest.raises(ValueError, match="too few Python files"):
        stdlib.corpus(tmp_path / "test")


def test_a_text_of_one_s_own_has_its_own_characters_and_its_last_tenth_held_out():
    text = "añ€😀\n" * 400
    mine = stdlib.of(text)
    assert mine.vocabulary.characters == "\nañ€😀"
    assert mine.vocabulary.decode([*mine.train.tolist(), *mine.held_out.tolist()]) == text
    assert len(mine.held_out) == 200
    with pytest.raises(ValueError, match="at least 1,300 are needed"):
        stdlib.of("abc" * 400)
    with pytest.raises(ValueError, match="1,300 different characters"):
        stdlib.of("".join(map(chr, range(100, 1400))) * 9)


def test_baselines_of_text_with_known_entropy():
    rng = np.random.default_rng(0)
    a, b = rng.integers(1, 5, 200_000), rng.integers(1, 5, 100_000)
    found = stdlib.baselines(a.astype(np.uint8), b.astype(np.uint8))
    for name in ("character frequencies", "given 1 character", "given 2 characters"):
        assert found[name] == pytest.approx(2, abs=0.01)
    pattern = np.tile(np.arange(1, 8, dtype=np.uint8), 1000)
    found = stdlib.baselines(pattern, pattern)
    assert found["character frequencies"] == pytest.approx(math.log2(7), abs=0.02)
    assert found["given 1 character"] < 0.2


# Checkpoints and curves


def test_a_checkpoint_gives_back_the_same_model(tmp_path):
    model = FastGPT(level1.CONFIG, 3)
    checkpoint.save(tmp_path / "sub" / "m.npz", model, "a note")
    again, note = checkpoint.load(tmp_path / "sub" / "m.npz")
    assert (again.config, note) == (model.config, "a note")
    index = np.array([[1, 2, 3]])
    np.testing.assert_array_equal(again(index).data, model(index).data)


def test_a_checkpoint_of_a_decoder_gives_back_a_decoder(tmp_path):
    checkpoint.save(tmp_path / "m.npz", Decoder(stdlib.CONFIG, 3))
    again, _ = checkpoint.load(tmp_path / "m.npz")
    assert isinstance(again, Decoder)
    assert again.config == stdlib.CONFIG


def test_what_is_no_checkpoint_is_told(tmp_path):
    path = tmp_path / "x.npz"
    good = FastGPT(level1.CONFIG).state_dict()
    for write in (
        lambda: path.write_bytes(b"PK\3\4 nonsense"),
        lambda: path.write_bytes(b""),
        lambda: path.write_text("text"),
        lambda: np.savez(path, a=np.ones(3)),
        lambda: np.savez(path, **good, note=np.array(""), **{"config.json": np.array("{}")}),
        lambda: np.savez(path, a=np.array([{}], dtype=object), **{"config.json": np.array("{}")}),
    ):
        write()
        with pytest.raises(ValueError, match="not a checkpoint of a scratch GPT"):
            checkpoint.load(path)
    with pytest.raises(FileNotFoundError):
        checkpoint.load(tmp_path / "none.npz")


def test_a_curve_falls_from_the_upper_left_to_the_lower_right():
    lines = curve(list(np.exp(-np.linspace(0, 3, 500))), width=20, height=5)
    assert [len(line) for line in lines] == [20] * 5
    filled = [[i for i, c in enumerate(line) if c != "\u2800"] for line in lines]
    assert filled[0][0] == 0
    assert filled[-1][-1] == 19
    middles = [np.mean(f) for f in filled]
    assert middles == sorted(middles)


@pytest.mark.parametrize("losses", [[], [math.nan], [0.0], [1.0], [1.0, math.inf, 2.0]])
def test_a_curve_of_anything_has_its_size(losses):
    assert [len(line) for line in curve(losses, 10, 3)] == [10] * 3


def test_the_loss_is_drawn_on_a_terminal_and_printed_elsewhere():
    for terminal in (True, False):
        out = io.StringIO()
        with LossPlot(Console(file=out, force_terminal=terminal, width=100), "loss", 20) as plot:
            for step in range(1, 21):
                plot(step, 1 / step)
        said = out.getvalue()
        assert ("⠉" in said) == terminal
        assert "20/20" in said
