"""`integers predict` as one question: a sentence, both predictors, the recurrences, and what is outside."""

from __future__ import annotations

import json

import pytest

from bestguess.cli import main
from bestguess.command import UserError
from bestguess.integers.commands.predict import NEVER
from bestguess.integers.commands.terms import parse_integers


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["integers", "predict", *words])
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, err


def answer(capsys, *words):
    code, out, _ = run(capsys, *words, "--json")
    assert code == 0
    return json.loads(out)


@pytest.mark.parametrize(
    ("words", "terms"),
    [
        (("1,2,3,4",), (1, 2, 3, 4)),
        (("1, 2, 4, 8, …",), (1, 2, 4, 8)),
        (("[5, 3, 1, -1]",), (5, 3, 1, -1)),
        (("5", "3", "1", "−1"), (5, 3, 1, -1)),
        (("2,", "4,", "8", "..."), (2, 4, 8)),
        (("100000000000000000000",), (10**20,)),
        (("+7; 8",), (7, 8)),
    ],
)
def test_terms_as_people_type_them(words, terms):
    assert parse_integers(words) == terms


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no terms given"),
        (("…",), "no terms given"),
        (("2", "four"), "term 'four': not an integer"),
        (("2.5",), "term '2.5'"),
        (("1" * 301,), "301 characters"),
        (("0x10",), "term '0x10'"),
    ],
)
def test_what_are_no_terms(words, said):
    with pytest.raises(UserError, match=said):
        parse_integers(words)


def test_one_sentence_comes_first_then_both_then_why(capsys):
    code, out, err = run(capsys, "1", "4", "9", "16", "25")
    assert (code, err) == (0, "")
    assert out.startswith("36: steps begin at 3 and grow by 2, 100 %; squares\n")
    assert out.index("both expect 36") < out.index("3 recurrences fit")


def test_a_name_stands_with_the_answer_that_it_names(capsys):
    _, out, _ = run(capsys, "2", "4", "8", "16")
    sentence = out.splitlines()[0]
    assert sentence.startswith("32: each term is twice the one before, ")
    assert sentence.index("; powers of 2") < sentence.index("; or 30: ")
    assert answer(capsys, "1 8 27 64")["sentence"] == "125: the cubes, 100 %"


def test_negative_terms_go_on_as_typed_with_the_residue_beside(capsys):
    code, out, _ = run(capsys, "5", "3", "1", "-1")
    assert code == 0
    assert out.startswith("−3: each term is 2 less than the one before, 100 %\n")
    assert "−1 is 255" in out
    result = answer(capsys, "5 3 1 -1", "--steps", "3")
    assert (result["next"][0]["value"], result["next"][0]["residue"]) == (-3, 253)
    assert (result["oracle"][0]["value"], result["wrapped"]) == (-3, True)
    assert result["continuation"] == {"model": [-3, -5, -7], "rule": [-3, -5, -7]}


def test_the_last_eight_of_a_long_input_are_used_and_said_to_be(capsys):
    ten = [str(10 * i) for i in range(1, 11)]
    code, out, _ = run(capsys, *ten)
    assert code == 0
    assert "model and oracle see the last 8 of 10 terms" in out
    result = answer(capsys, *ten)
    assert result["window"] == [30, 40, 50, 60, 70, 80, 90, 100]
    assert (result["fits"], result["wrapped"], result["reason"]) == (True, False, None)
    assert result["sentence"].startswith("110: each term is 10 more")


def test_what_only_wraps_round_is_said_to(capsys):
    result = answer(capsys, "250, 252, 254, 0, 2")
    assert result["wrapped"]
    assert result["sentence"].startswith("4 modulo 256: each term is 2 more")


def test_what_nothing_fits_never_sounds_sure(capsys):
    result = answer(capsys, "1 1 2 4 9 21 51")
    assert not result["fits"]
    assert result["oracle"] == result["recurrences"] == []
    assert NEVER in result["sentence"]
    assert NEVER in result["reason"]
    assert result["outside_prior"][0] == {"rule": "Motzkin numbers", "next": 127}
    code, out, _ = run(capsys, "255", "1", "77")
    assert code == 0
    assert out.startswith("No rule was found that fits; the model guesses")
    assert "%" not in out.splitlines()[0]
    assert NEVER in out.splitlines()[0]


def test_recurrences_name_the_simplest_and_list_those_alike(capsys):
    result = answer(capsys, "2", "4", "6", "8")
    one, other = result["recurrences"]
    assert (one["formula"], one["probability"] > 0.99) == ("a(n) = a(n−1) + 2, a(1) = 2", True)
    assert len(one["alike"]) == 5
    assert other["formula"] == "a(n) = a(n−4), from 2, 4, 6, 8"
    assert result["next"][0].keys() == {"value", "probability", "residue"}


def test_a_second_guess_of_weight_is_in_the_sentence(capsys):
    sentence = answer(capsys, "1,2,3,4")["sentence"]
    assert sentence.startswith("5: each term is 1 more than the one before, 73.0 %; or 0: ")


@pytest.mark.parametrize(
    ("prior", "following"), [([], "next: 5 (73.0 %)"), (["--prior", "narrow"], "next: 6 (74.0 %), 5 (26.0 %)")]
)
def test_explain_weighs_by_the_prior_that_is_asked_for(capsys, prior, following):
    """By the narrow prior ⌈(3/2)ⁿ⌉ is likelier than 1, 2, 3, 4, 5: its rows are few."""
    with pytest.raises(SystemExit) as stop:
        main(["integers", "explain", "1", "2", "3", "4", *prior])
    assert not stop.value.code
    assert following in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"), [(("1", "--steps", "0"), "--steps 0"), (("1", "--steps", "101"), "--steps 101")]
)
def test_bad_input_is_one_line(capsys, words, said):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
