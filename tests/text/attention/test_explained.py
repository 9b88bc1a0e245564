"""The words of the attention page: verdicts of weights against swaps, and a word for every column."""

from __future__ import annotations

import pytest

from bestguess.text.attention.explained import COLUMNS, alignment, glossary, lead, verdict
from bestguess.text.attention.figures import BEST
from bestguess.text.attention.measures import LABELS
from bestguess.text.attention.weights import ATTENTION, KINDS, PARTS
from tests.text.test_sheet import EVIL


@pytest.mark.parametrize(
    ("weight", "followed", "told"),
    [
        (0.99, 1.0, "the summary depends on it, and the weight shows it"),
        (0.6, 1.0, "the summary depends on it, and the weight shows it in part"),
        (0.02, 0.999, "the summary depends on it, but no head’s weight shows it"),
        (0.99, 0.5, "the summary does not reliably depend on it"),
        (0.0, None, "not measured"),
        (None, 1.0, "not measured"),
    ],
)
def test_a_verdict_is_of_swaps_first_and_then_of_weights(weight, followed, told):
    assert verdict(weight, followed) == told


def test_the_section_has_a_table_for_each_model_with_swaps_and_no_name_acts():
    swaps = {"followed": 1.0, "swaps": 7, "held": 0.5, "decoys": 2}
    figures = {
        "causal": dict.fromkeys(("place", "day", "item", "bringer"), swaps),
        "facts": {"place": {"gold_token_mass": 0.975}, "bringer": {"gold_token_mass": 0.01}},
    }
    found = alignment([("one", figures), (EVIL, figures), ("three", {"causal": None})])
    assert found.count("<table>") == 2
    assert EVIL not in found
    place = found[found.index("<td>place</td>") :]
    cells = place[: place.index("</tr>")].split("</td>")[1:6]
    assert cells == [f'<td class="number">{one}' for one in ("97.5 %", "100.0 %", "7", "50.0 %", "2")]
    assert found.count("no head’s weight shows it") == 2
    assert found.count("not measured") == 4
    assert alignment([("three", {"causal": None})]) == ""


def test_every_measure_and_block_has_a_word():
    assert set(COLUMNS) - {"fading"} <= set(LABELS)
    assert set(BEST) <= set(COLUMNS)
    assert len({label for label, _ in COLUMNS.values()}) == len(COLUMNS)
    assert tuple(ATTENTION) == tuple(PARTS) == KINDS
    assert glossary().count("<dt>") == len(COLUMNS)


def test_what_a_corpus_does_not_have_is_not_explained():
    assert "gold" in lead("errands", 3, known=True, dialogues=True)
    told = lead(EVIL, 3, known=False, dialogues=False)
    for missing in (EVIL, "gold", "#alignment", "regret"):
        assert missing not in told
