"""Text to tokens and back: nothing is lost that can be kept, and what is lost is counted."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bestguess.command import UserError
from bestguess.text.corpora.options import TOKENIZERS
from bestguess.text.tokenizers import FIRST, Characters, Encoded, Tokenizer, Words
from bestguess.text.tokens import BOS, EOS, PAD, SEP, SPECIAL, UNK

SAMPLES = [
    "It's the cat's pyjamas, isn't it? [SEP] [PAD] \x00",
    "Two\n\nparagraphs,  two spaces\tand a tab ",
    "مَرْحَبًا بِالعَالَم",
    "你好，世界。こんにちは",
    "नमस्ते दुनिया สวัสดี",
    "e\u0301te\u0301 is été; 👩‍👩‍👧 🇩🇪 ❤️ \u202e",
    "Ça coûte 3,50 €",
]
any_text = st.text() | st.sampled_from(SAMPLES) | st.text("ab' .\n\u0301é你😀", max_size=20)
few = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def fitted() -> dict[str, Tokenizer]:
    return {kind: Tokenizer.fit(kind, SAMPLES * 3, 300) for kind in TOKENIZERS}


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("text", SAMPLES)
def test_texts_that_it_was_fitted_on_come_back(fitted, kind, text):
    assert fitted[kind].decode(fitted[kind].encode(text)) == text


@few
@given(text=any_text)
def test_byte_pairs_lose_nothing_of_any_text(fitted, text):
    tokenizer = fitted["bpe"]
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert UNK not in tokenizer.encode(text)


@pytest.mark.parametrize("kind", ["characters", "words"])
@few
@given(text=any_text)
def test_what_is_not_in_the_vocabulary_is_one_mark_for_each_unknown_piece(fitted, kind, text):
    tokenizer = fitted[kind]
    pieces = tokenizer.split(text)
    assert "".join(pieces) == text
    known = set(tokenizer.pieces)
    assert tokenizer.decode(tokenizer.encode(text)) == "".join(p if p in known else "\ufffd" for p in pieces)
    assert (tokenizer.encode(text) == UNK).tolist() == [p not in known for p in pieces]


@pytest.mark.parametrize("kind", TOKENIZERS)
@few
@given(texts=st.lists(any_text, max_size=5))
def test_many_texts_are_each_of_them_and_bytes_add_up(fitted, kind, texts):
    tokenizer = fitted[kind]
    found = tokenizer.encode_all(texts)
    assert len(found) == len(texts)
    for i, text in enumerate(texts):
        assert found.text(i).tolist() == tokenizer.encode(text).tolist()
        assert found.n_bytes[found.start[i] : found.start[i + 1]].sum() == len(text.encode())
    assert found.length.tolist() == [len(tokenizer.encode(text)) for text in texts]
    assert found.tokens.dtype == np.int32
    assert found.tokens.max(initial=UNK) < tokenizer.vocab_size
    assert found.tokens.min(initial=UNK) >= UNK


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_no_text_is_a_special_token(fitted, kind):
    for name in SPECIAL:
        found = fitted[kind].encode(f"a{name} {name}")
        assert not set(found.tolist()) & {PAD, BOS, SEP, EOS}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_special_tokens_give_no_text_but_the_unknown_one(fitted, kind):
    a, b = (fitted[kind].encode(text).tolist() for text in ("It", "cat"))
    assert fitted[kind].decode([BOS, *a, SEP, UNK, *b, UNK, EOS, PAD, PAD]) == (
        fitted[kind].decode(a) + "\ufffd" + fitted[kind].decode(b) + "\ufffd"
    )
    assert fitted[kind].decode([]) == ""


def test_bytes_that_are_no_text_give_the_mark_and_no_error(fitted):
    tokens = fitted["bpe"].encode("\U0001f9ff")
    assert len(tokens) > 1
    assert "\ufffd" in fitted["bpe"].decode(tokens[:-1])


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_half_of_a_character_is_three_bytes(fitted, kind):
    found = fitted[kind].encode_all(["a\ud800"])
    assert found.n_bytes.sum() == 4


def test_the_fraction_of_unknown_bytes_is_told():
    tokenizer = Tokenizer.fit("words", ["one two"], 10)
    assert tokenizer.encode_all(["one three two"]).unknown == 6 / 13
    assert Encoded(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(1, np.int64)).unknown == 0


# ------------------------------------------------------------------------------------------------- what is cut where


def test_words_keep_their_marks_apostrophes_and_the_space_before_them():
    assert Words.split("Don't  stop, 'til\n now!") == ["Don't", " ", " stop", ",", " '", "til", "\n", " now", "!"]
    assert Words.split("مَرْحَبًا नमस्ते e\u0301te\u0301") == ["مَرْحَبًا", " नमस्ते", " e\u0301te\u0301"]
    assert Words.split("你好 tea") == ["你", "好", " tea"]
    assert Words.split("한국어 text_2") == ["한국어", " text_2"]


def test_vocabularies_hold_the_most_frequent_and_ties_are_broken_by_code_point():
    tokenizer = Tokenizer.fit("characters", ["zzbbca", "b"], FIRST + 3)
    assert tokenizer.to_dict()["pieces"] == ["b", "z", "a"]
    assert tokenizer.vocab_size == FIRST + 3
    assert tokenizer.encode("bzac").tolist() == [5, 6, 7, UNK]


def test_byte_pairs_join_what_is_frequent():
    tokenizer = Tokenizer.fit("bpe", ["the cat sat on the mat, the hat"] * 5, 275)
    assert tokenizer.vocab_size <= 275
    assert len(tokenizer.encode(" the")) == 1
    assert len(tokenizer.encode("xyz")) == 3


def test_byte_pairs_are_those_of_the_library_they_were_fitted_with():
    """Our vocabulary is rebuilt from the merges alone: the pieces must be the library's own."""
    import tokenizers

    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    theirs.train_from_iterator(
        SAMPLES, tokenizers.trainers.BpeTrainer(vocab_size=280, initial_alphabet=alphabet, show_progress=False)
    )
    ours = Tokenizer.fit("bpe", SAMPLES, 285)
    assert ours.vocab_size == FIRST + theirs.get_vocab_size() == 285
    for text in [*SAMPLES, "another text, 5 €"]:
        pieces = [len(piece) for piece in theirs.encode(text).tokens]
        found = ours.encode_all([text])
        assert found.n_bytes.tolist() == pieces


def test_a_token_that_two_merges_make_is_one_token():
    merges = [["a", "b"], ["b", "c"], ["ab", "c"], ["a", "bc"], ["d", "e"]]
    tokenizer = Tokenizer.from_dict({"kind": "bpe", "merges": merges})
    assert tokenizer.vocab_size == FIRST + 256 + 4
    assert tokenizer.encode_all(["abc", "de"]).n_bytes.tolist() == [3, 2]
    assert tokenizer.decode(tokenizer.encode("abcde")) == "abcde"


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_fitting_is_deterministic(kind):
    one, two = (Tokenizer.fit(kind, SAMPLES, 290).to_dict() for _ in range(2))
    assert one == two


# ------------------------------------------------------------------------------------------------------ as plain data


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_it_survives_json(fitted, kind):
    stored = json.loads(json.dumps(fitted[kind].to_dict()))
    again = Tokenizer.from_dict(stored)
    assert again.vocab_size == fitted[kind].vocab_size
    assert again.to_dict() == fitted[kind].to_dict()
    for text in [*SAMPLES, "something else 你"]:
        assert again.encode(text).tolist() == fitted[kind].encode(text).tolist()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inside: (
        st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from(["kind", "pieces", "merges"]), inside)
    ),
    max_leaves=8,
)


@few
@given(value=json_values | st.fixed_dictionaries({"kind": st.sampled_from(TOKENIZERS), "pieces": json_values}))
def test_any_json_is_a_tokenizer_or_one_line(value):
    found, said = None, "run/tokenizer.json: "
    try:
        found = Tokenizer.from_dict(value, "run/tokenizer.json")
    except UserError as error:
        said = str(error)
    assert said.startswith("run/tokenizer.json: ")
    assert said.isprintable()
    assert found is None or Tokenizer.from_dict(found.to_dict()).vocab_size == found.vocab_size


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"kind": "words", "pieces": [" two words"]}, "' two words' is not one of words"),
        ({"kind": "characters", "pieces": ["a", "bc"]}, "'bc' is not one of characters"),
        ({"kind": "characters", "pieces": ["a", ""]}, "'' is not one of characters"),
        ({"kind": "characters", "pieces": ["a", 3]}, "'3' is not one"),
        ({"kind": "characters", "pieces": ["a", "b", "a"]}, "stands twice"),
        ({"kind": "characters", "pieces": []}, "not a list of 1 to"),
        ({"kind": "bpe", "merges": [["a", "bc"]]}, "'a' and 'bc' are not both made before"),
        ({"kind": "bpe", "merges": [["a", "b"], ["a", "b"]]}, "stands twice"),
        ({"kind": "bpe", "merges": [["a", "b", "c"]]}, "is not two texts"),
        ({"kind": "bpe", "merges": [[["a"], "b"]]}, "is not two texts"),
        ({"kind": "sentencepiece"}, "not a tokenizer of ours"),
    ],
)
def test_a_damaged_one_is_told(value, says):
    with pytest.raises(UserError, match=says):
        Tokenizer.from_dict(value, "x")


@pytest.mark.parametrize(
    ("kind", "size", "says"),
    [
        ("byte", 300, "--tokenizer byte: must be one of characters, words, bpe"),
        ("word", 300, "did you mean words"),
        ("bpe", 260, "--vocab-size 260: must be 261 to"),
        ("words", 5, "--vocab-size 5: must be 6 to"),
        ("words", 10**9, "--vocab-size 1000000000: must be 6 to"),
    ],
)
def test_bad_values_are_one_line(kind, size, says):
    with pytest.raises(UserError, match=says):
        Tokenizer.fit(kind, ["text"], size)


@pytest.mark.parametrize("kind", ["characters", "words"])
def test_no_text_is_one_line(kind):
    with pytest.raises(UserError, match="no text to fit it on"):
        Tokenizer.fit(kind, ["", ""], 300)


def test_without_the_library_one_line_says_what_to_install(monkeypatch, fitted):
    stored = fitted["bpe"].to_dict()
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for call in (lambda: Tokenizer.fit("bpe", ["a"], 300), lambda: Tokenizer.from_dict(stored)):
        with pytest.raises(
            UserError, match=r"needs tokenizers; begin the command with `uv run --extra text bestguess`"
        ):
            call()
    assert isinstance(Tokenizer.fit("characters", ["a"], 300), Characters)
