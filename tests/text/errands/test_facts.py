"""Summaries judged: every fact changed by hand is found, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from bestguess.text.errands.documents import FACTS, Scored, dialogues_of
from bestguess.text.errands.facts import ASKED, COPIED_FACTS, MISSING, RIGHT, WRONG, judge
from bestguess.text.errands.oracle import DialogueOracle
from bestguess.text.errands.worlds import SMALL
from bestguess.text.tokens import EOS, PAD

DIALOGUES = dialogues_of(SMALL)
ORACLE = DialogueOracle(DIALOGUES)


@pytest.fixture(scope="module")
def drawn() -> Scored:
    return DIALOGUES.draw_scored(11, 0, 499)


def test_true_summaries_are_right(drawn):
    found = judge(ORACLE, drawn.pairs, drawn.pairs.target)
    assert found.copied.all()
    assert found.grammatical.all()
    assert found.stops.all()
    assert found.label_true.all()
    assert (found.states[:, ASKED.index("chooser")] == np.where(drawn.facts.told, RIGHT, MISSING)).all()
    likeliest = drawn.facts.posterior.max(axis=1) - drawn.facts.posterior[np.arange(499), drawn.facts.topic] < 1e-9
    assert (found.whole == likeliest).all()
    assert not found.wrong[likeliest].any()
    rates = found.rates()
    assert rates["copied"] == rates["bringer"] == rates["chooser"] == rates["stops"] == 1
    assert rates["whole"] == rates["label_of_oracle"] == likeliest.mean()
    assert abs(rates["oracle_label"] - 0.84) < 0.06


SWAPS = {
    "names": ("{second}", DIALOGUES.names),
    "place": ("{place}", ORACLE.reader.tokens[0]),
    "day": ("{day}", ORACLE.reader.tokens[1]),
    "item": ("{item}", ORACLE.reader.tokens[2]),
    "bringer": ("{bringer}", DIALOGUES.names),
    "chooser": ("{chooser}", DIALOGUES.names),
}


@pytest.mark.parametrize("name", SWAPS)
def test_one_fact_changed_is_wrong_alone(name, drawn):
    blank, tokens = SWAPS[name]
    column = FACTS.index(blank)
    summaries, changed = drawn.pairs.target.copy(), np.zeros(drawn.pairs.target.shape, bool)
    template = ORACLE._read_all(drawn.pairs)[1]
    where = DIALOGUES.blanks(template, summaries.shape[1]) == column
    i, u = np.nonzero(where)
    summaries[i, u] = tokens[(summaries[i, u] - tokens[0] + 1) % len(tokens)]
    if name == "names":  # the other person's name, twice, is wrong too
        assert (summaries[i, u] != drawn.pairs.target[i, u]).all()
    changed[i, u] = True
    found = judge(ORACLE, drawn.pairs, summaries)
    states, other = found.states[i], judge(ORACLE, drawn.pairs, drawn.pairs.target)
    assert (states[:, ASKED.index(name)] == WRONG).all()
    rest = [k for k, asked in enumerate(ASKED) if asked != name]
    np.testing.assert_array_equal(states[:, rest], other.states[i][:, rest])
    assert (found.wrong[i] & changed[i]).any(axis=1).all()
    assert not found.whole[i].any()
    assert not found.grammatical[i].any()
    if name in COPIED_FACTS:
        assert found.rates()[name] == found.rates()["copied"] == 0
    spans = [span for span in found.spans(int(i[0])) if span[2] == name]
    assert [(int(u[0]), int(u[0]) + 1, name)] == spans or name == "names"


def words(text: str) -> np.ndarray:
    return np.array([[DIALOGUES.token[word] for word in text.split()]], np.int32)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("[EOS]", ASKED),
        (". . .", ASKED),
        ("anna and anna meet", ("place", "day", "item", "bringer", "chooser", "label")),
        ("at the park on friday for a picnic . brings the tent . [EOS]", ("names", "bringer", "chooser")),
        ("anna and ben meet . anna", ("place", "day", "item", "chooser", "label")),
    ],
)
def test_missing_facts_are_missing(text, missing, drawn):
    found = judge(ORACLE, drawn.pairs[:1], words(text))
    assert {name for k, name in enumerate(ASKED) if found.states[0, k] == MISSING} == set(missing)
    assert not found.whole[0]
    assert found.stops[0] == text.endswith("[EOS]")


def test_nothing_behind_the_end_counts(drawn):
    target = np.pad(drawn.pairs.target, ((0, 0), (0, 5)))
    noisy = target.copy()
    behind = np.arange(target.shape[1]) >= drawn.pairs.target_length[:, None]
    noisy[behind] = DIALOGUES.labels[0]
    one, two = judge(ORACLE, drawn.pairs, target), judge(ORACLE, drawn.pairs, noisy)
    for name in ("states", "wrong", "says", "grammatical", "label_true"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_a_summary_that_does_not_stop_is_not_whole(drawn):
    endless = np.where(drawn.pairs.target == EOS, PAD, drawn.pairs.target)
    found = judge(ORACLE, drawn.pairs, endless)
    assert not found.stops.any()
    assert not found.whole.any()
    assert found.copied.all()
