"""Explanations against plain loops, and the command that gives them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict

import numpy as np
import pytest

from bestguess.cli import main
from bestguess.command import UserError
from bestguess.integers.commands.terms import parse_residues
from bestguess.integers.oracle.exact import Oracle
from bestguess.integers.oracle.posterior import fits_in_part, guesses
from bestguess.integers.sequences.language import Family, Parameter, Sequence, explicit, last
from bestguess.integers.sequences.table import CLASSES, make_table
from tests.integers.oracle.by_table import recurrences
from tests.integers.sequences.test_table import SMALL

MIXTURE = (0.2, 0.5, 0.3)


def by_hand(families, length, overflow, terms):
    """{formula: posterior}, each choice of each family on its own."""
    weight = defaultdict(float)
    rows = {}
    for family in families:
        kept = []
        for row, *choice in zip(family.terms(length + 1).tolist(), *family.parameters().values()):
            if overflow == "wrap":
                row = [term % CLASSES for term in row]
            else:
                row = row[: next((i for i, term in enumerate(row) if not 0 <= term < CLASSES), len(row))]
            if len(row) >= 2:
                kept.append((row, family.describe(dict(zip(family.parameters(), map(int, choice))))[0]))
        rows[family.name] = kept
    for family in families:
        own = [one for one in families if one.phase == family.phase and rows[one.name]]
        for row, formula in rows[family.name]:
            if row[: len(terms)] == list(terms):
                share = family.weight / sum(one.weight for one in own) / len(rows[family.name])
                weight[formula] += MIXTURE[family.phase - 1] * share
    total = sum(weight.values())
    return {formula: w / total for formula, w in weight.items()}


@pytest.mark.parametrize("overflow", ["wrap", "end"])
@pytest.mark.parametrize("terms", [(), (3,), (3, 3), (0, 0, 0), (250, 252), (250, 251), (7, 35), (250,), (9, 9)])
def test_posteriors_are_those_of_plain_loops(overflow, terms):
    oracle = Oracle(make_table(4, overflow, families=SMALL), MIXTURE)
    found = recurrences(oracle, terms)
    expected = by_hand(SMALL, 4, overflow, terms)
    assert {one.formula: pytest.approx(one.probability) for one in found} == expected
    assert [one.probability for one in found] == sorted((one.probability for one in found), reverse=True)


def test_recurrences_and_the_oracle_agree_on_what_is_next():
    oracle = Oracle(make_table())
    for terms in ((1, 2), (2, 4, 8), (7,), (1, 1), (200, 100)):
        total = np.zeros(CLASSES)
        for one in recurrences(oracle, terms):
            total[one.next] += one.probability
        np.testing.assert_allclose(total, oracle.predict(terms), atol=1e-12)


def test_sequences_drawn_at_random_are_explained_by_what_drew_them():
    oracle = Oracle(make_table())
    table = oracle.table
    rng = np.random.default_rng(5)
    for source in rng.choice(len(table.source_family), 60):
        family = table.families[table.source_family[source]]
        choice = {name: int(v[table.source_choice[source]]) for name, v in family.parameters().items()}
        terms = (family.terms(8)[table.source_choice[source]] % CLASSES).tolist()
        assert family.describe(choice)[0] in {one.formula for one in recurrences(oracle, terms)}


def test_parameters_with_one_formula_are_one_recurrence():
    s, d = Parameter("s"), Parameter("d")
    twice = Family("twice", 1, 1.0, (("s", (3,)), ("d", (1, 2))), explicit(s), "a(n) = {s}", "always {s}")
    other = Family("steps", 1, 2.0, (("s", (3,)), ("d", (0,))), Sequence((s,), last + d), "{s}{d:±}", "")
    found = recurrences(Oracle(make_table(3, families=(twice, other)), (1.0, 0.0, 0.0)), (3, 3))
    assert [(one.formula, pytest.approx(one.probability)) for one in found] == [("3+ 0", 2 / 3), ("a(n) = 3", 1 / 3)]


def test_a_sequence_that_ends_has_nothing_next():
    up = Family("up", 1, 1.0, (("s", (100,)),), Sequence((Parameter("s"),), last * 2), "x", "y")
    oracle = Oracle(make_table(3, "end", families=(up,)), (1.0, 0.0, 0.0))
    assert [one.next for one in recurrences(oracle, (100, 200))] == [None]
    assert oracle.predict((100, 200)) is None


def test_guesses_are_sorted_and_leave_the_impossible_out():
    p = np.zeros(CLASSES)
    p[[7, 200, 3]] = 0.25, 0.5, 0.25
    assert [(one.value, one.probability) for one in guesses(p, 9)] == [(200, 0.5), (3, 0.25), (7, 0.25)]
    assert len(guesses(p, 2)) == 2


def test_the_parts_that_fit():
    oracle = Oracle(make_table())
    assert fits_in_part(oracle, (255, 1, 77)) == ((255, 1), (1, 77))
    assert fits_in_part(oracle, (2, 4, 8)) == ((2, 4, 8), (2, 4, 8))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no terms given"),
        (("2", "four"), "term 'four': not an integer"),
        (("2.5",), "term '2.5': not an integer"),
        (("",), "no terms given"),
        (("256",), "term 256: outside 0..255; sequences are shown modulo 256, so write 0"),
        (("-1",), "term −1: outside 0..255; sequences are shown modulo 256, so write 255"),
        (("1",) * 9, "9 terms: the context holds at most 8"),
    ],
)
def test_what_are_no_terms(words, said):
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        parse_residues(words, 8)


def test_terms_may_stand_with_commas():
    assert parse_residues(("2,", "4,", "8"), 8) == (2, 4, 8)
    assert parse_residues(("0", "255"), 2) == (0, 255)


# ------------------------------------------------------------------------------------------- the command


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["integers", "explain", *words])
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, err


def test_explain_says_why(capsys):
    code, out, err = run(capsys, "1", "1", "2", "3", "5", "8")
    assert (code, err) == (0, "")
    assert "a(n) = a(n−1) + a(n−2), a(1) = 1, a(2) = 1" in out
    assert "next: 13 (100 %)" in out
    code, out, _ = run(capsys, "1", "2", "--top", "2")
    assert "more, together" in out
    assert out.count("a(n) =") == 2


def test_explain_takes_any_integers_any_number_of_them(capsys):
    code, out, _ = run(capsys, "5, 3, 1, -1, …")
    assert code == 0
    assert "next: −3 (100 %)" in out
    code, out, _ = run(capsys, *map(str, range(990, 1001)))
    assert "the last 8 of 11 terms are used" in out
    assert "next: 1001 (100 %)" in out


def test_explain_as_json(capsys):
    code, out, err = run(capsys, "2", "4", "8", "--json")
    result = json.loads(out)
    assert code == 0
    assert set(result) == {"oracle", "recurrences"}
    assert result["oracle"][0]["value"] == 16
    assert result["recurrences"][0]["formula"] == "a(n) = 2·a(n−1), a(1) = 2"
    fields = {"formula", "words", "probability", "alike"}
    for name, keys in (("oracle", {"value", "probability"}), ("recurrences", fields)):
        assert all(set(one) == keys for one in result[name])
        assert sum(one["probability"] for one in result[name]) == pytest.approx(1.0)
    assert "fit" in err


def test_a_prefix_that_nothing_fits_is_said_to_be_so(capsys):
    code, out, err = run(capsys, "255", "1", "77")
    assert (code, err) == (0, "")
    assert out.startswith("no recurrence of the generator begins with 255, 1, 77; the beginning 255, 1 does")
    code, out, _ = run(capsys, "255", "1", "77", "--json")
    assert (code, json.loads(out)) == (0, {"oracle": [], "recurrences": []})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no terms given"),
        (("x",), "'x'"),
        (("2.5",), "'2.5'"),
        (("1", "--length", "1"), "--length 1: must be from 2 to 16"),
        (("1", "--top", "0"), "--top 0: must be 1 or more"),
    ],
)
def test_bad_input_is_one_line(capsys, words, said):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_longer_contexts_and_ended_sequences(capsys):
    code, out, _ = run(capsys, *map(str, range(3, 15)), "--length", "16", "--json")
    assert code == 0
    assert json.loads(out)["oracle"] == [{"value": 15, "probability": pytest.approx(1.0)}]
    code, out, _ = run(capsys, "127", "254", "--overflow", "end", "--length", "2", "--json")
    assert code == 0


def test_explaining_needs_no_jax():
    code = (
        "import sys\nfrom bestguess.cli import main\n"
        "try:\n    main(['integers', 'explain', '2', '4', '8', '16'])\n"
        "except SystemExit:\n    print({m.split('.')[0] for m in sys.modules} & {'jax', 'equinox', 'matplotlib'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stdout + done.stderr
