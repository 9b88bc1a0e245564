"""The blind sheet in a browser, what it saves, and what is counted of it."""

from __future__ import annotations

import base64
import dataclasses
import json
import random
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from bestguess.command import UserError
from bestguess.text.corpus import about_of
from bestguess.text.generation import GenerationConfig
from bestguess.text.model import TextModel
from bestguess.text.sheet import Item, Sheet, Side, common, compare, name_of, rendered, swapped, write_sheet
from bestguess.text.votes import Count, counted, read_votes
from tests.text.tiny import tiny

THREE = GenerationConfig(max_tokens=3)
EVIL = '</p></script><script>document.title="pwned"</script><img src=x onerror=document.title="pwned">&amp;\u2028'


def sheet_of(count: int = 5, seed: int = 0) -> Sheet:
    """Return a sheet whose texts name the run that wrote them."""
    items = [Item(10 * i, f"source {i}", f"first {i}", f"second {i}", swapped(seed, 10 * i)) for i in range(count)]
    return Sheet(("runs/one", "runs/two"), tuple(items), 2, seed)


def votes_of(sheet: Sheet, preferred: list[int | str | None], **changes) -> dict:
    """Return what the page saves if these runs are preferred; `same`: no difference; None: no vote."""
    votes = []
    for one, run in zip(sheet.items, preferred, strict=True):
        vote = run if run in (None, "same") else "AB"[int(run != one.swapped)]
        votes.append({"document": one.document, "vote": vote, "comment": ""})
    key = sheet.key()
    return {"version": 1, "sheet": name_of(key), "key": key, "rater": "", "votes": votes} | changes


def saved(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_people_vote_by_key_and_by_button_and_what_they_save_is_counted(browser, tmp_path):
    sheet = sheet_of()
    page = browser.new_context(viewport={"width": 900, "height": 900}).new_page()
    requests, said = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(write_sheet(tmp_path / "sheet.html", sheet, "Which?").as_uri())

    def shown() -> list[str]:
        return page.locator("article:visible .text").all_inner_texts()

    def prefer(run: int) -> None:
        texts = shown()
        page.keyboard.press("12"[texts.index(next(text for text in texts if text.startswith(run_name[run]))) - 1])

    run_name = ("first", "second")
    assert shown()[0] == "source 0"
    prefer(0)
    assert page.locator("[aria-pressed=true]").count() == 1
    page.keyboard.press("ArrowRight")
    assert shown()[0] == "source 1"
    assert page.locator("[aria-pressed=true]").count() == 0
    prefer(0)
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="No difference").click()
    page.fill("#comment", "12 ←0")  # keys that mean nothing while one writes
    page.keyboard.press("1")
    page.get_by_role("button", name="Next").click()
    assert page.input_value("#comment") == ""
    prefer(1)
    prefer(1)  # takes it back
    page.get_by_role("button", name="Document 5").click()
    prefer(1)
    assert page.locator("#place").inner_text() == "4 of 5 voted"
    page.fill("#rater", EVIL)
    with page.expect_download() as download:
        page.locator("#save").click()
    assert download.value.suggested_filename == "votes.json"
    download.value.save_as(tmp_path / "votes.json")
    assert said == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []

    found = counted([read_votes(tmp_path / "votes.json")])
    assert found["runs"] == ["runs/one", "runs/two"]
    assert (found["wins"], found["no_difference"], found["documents"], found["identical"]) == ([2, 1], 1, 5, 2)
    (rater,) = found["raters"]
    assert (rater["rater"], rater["unvoted"]) == (EVIL.strip(), 1)
    assert rater["comments"] == [{"document": 20, "comment": "12 ←01"}]


def test_no_text_acts_on_the_page(browser, tmp_path):
    sheet = Sheet((EVIL, EVIL), (Item(3, EVIL, EVIL, "مرحبا 😀\nline", False),), 0, 0)
    page = browser.new_page()
    page.goto(write_sheet(tmp_path / "sheet.html", sheet, EVIL).as_uri())
    assert page.title() == "Which text is better?"
    assert page.locator("img, article script").count() == 0
    assert page.locator(".text").all_text_contents() == [EVIL, EVIL, "مرحبا 😀\nline"]
    assert page.locator("#question").text_content() == EVIL
    page.set_viewport_size({"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_a_page_names_no_run_and_forbids_every_request():
    page = rendered(sheet_of(), "Which?")
    assert "runs/one" not in page
    assert "swapped" not in page
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|src=|url\(", page)


def test_which_run_is_a_follows_from_seed_and_document_and_differs():
    order = np.array([[swapped(seed, i) for i in range(400)] for seed in range(2)])
    assert (np.abs(order.mean(axis=1) - 0.5) < 0.1).all()
    assert 0.4 < (order[0] == order[1]).mean() < 0.6
    sheet = sheet_of(40)
    for one in sheet.items:
        text = rendered(Sheet(sheet.runs, (one,), 0, 0), "?")
        assert (text.index(one.first) < text.index(one.second)) != one.swapped


@pytest.fixture(scope="module")
def sides():
    about = about_of(tiny().task, 12, 4, 9)
    models = [TextModel(tiny().model, about.vocab, key=jax.random.key(seed)) for seed in range(2)]
    return Side("a", about, models[0]), Side("b", about, models[1])


def test_two_runs_are_compared_on_documents_drawn_by_the_seed(sides):
    sheet = compare(sides, THREE, 6, 1)
    assert len(sheet.items) + sheet.identical == 6
    chosen = [one.document for one in sheet.items]
    assert len(set(chosen)) == len(chosen)
    assert compare(sides, THREE, 6, 1) == sheet
    assert [one.document for one in compare(sides, THREE, 6, 2).items] != chosen
    about = sides[0].about
    for one in sheet.items:
        assert one.source == about.decode(about.test.source[one.document, : about.test.source_length[one.document]])
        assert one.first != one.second
    turned = compare((sides[1], sides[0]), THREE, 6, 1)
    assert [(one.second, one.first) for one in turned.items] == [(one.first, one.second) for one in sheet.items]


def test_runs_that_cannot_be_compared_are_refused(sides):
    a, b = sides
    with pytest.raises(UserError, match="--documents 10: the runs have 9 test documents in common"):
        compare(sides, THREE, 10, 0)
    with pytest.raises(UserError, match="--documents 6: both runs write the same"):
        compare((a, a._replace(name="c")), THREE, 6, 0)
    renamed = b._replace(about=dataclasses.replace(b.about, name="another"))
    with pytest.raises(UserError, match="b: was trained on another, and a on errands"):
        common((a, renamed))
    moved = b._replace(about=dataclasses.replace(b.about, test=b.about.test[np.arange(9)[::-1]]))
    with pytest.raises(UserError, match="b: its test document 0 is not that of a"):
        common((a, moved))
    fewer = b._replace(about=dataclasses.replace(b.about, test=b.about.test[:4]))
    assert common((a, fewer)) == 4


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [  # Clopper and Pearson: 0 of n ends at 1 − 0.025^(1/n); 8 of 10 is in many tables
        (0, 10, 0.0, 1 - 0.025**0.1),
        (10, 0, 0.025**0.1, 1.0),
        (8, 2, 0.4439, 0.9748),
    ],
)
def test_the_interval_is_exact(first, second, low, high):
    assert Count(first, second).interval == pytest.approx((low, high), abs=1e-4)
    assert Count(0, 0).interval is None


def test_of_several_raters_the_majority_counts(tmp_path):
    sheet = sheet_of(5)
    given = [[0, 0, "same", 1, None], [0, 1, 1, 1, 1], [0, 1, "same", 0, None]]
    files = [saved(tmp_path / f"{i}.json", votes_of(sheet, one)) for i, one in enumerate(given)]
    found = counted([read_votes(path) for path in files])
    assert (found["wins"], found["no_difference"]) == ([1, 4], 0)
    assert found["share"] == 0.2
    assert found["agreement"] == 1 / 4
    assert [one["wins"] for one in found["raters"]] == [[2, 1], [1, 4], [2, 1]]
    even = counted([read_votes(path) for path in files[:2]])
    assert (even["wins"], even["no_difference"]) == ([1, 3], 1)


def test_a_taste_for_one_side_is_told(tmp_path):
    sheet = sheet_of(6)
    value = votes_of(sheet, [None] * 6)
    for one in value["votes"]:
        one["vote"] = "A"
    found = counted([read_votes(saved(tmp_path / "votes.json", value))])
    assert found["raters"][0]["chose_a"]["share"] == 1
    assert found["wins"][1] == sum(one.swapped for one in sheet.items)


GOOD = votes_of(sheet_of(), [0, 1, "same", 0, 0])
OFF = base64.b64encode(b'{"version": 1}').decode()


@pytest.mark.parametrize(
    "value",
    [
        *(None, [], 3, {}, {"version": 1}, GOOD | {"votes": None}, GOOD | {"votes": GOOD["votes"][1:]}),
        *(GOOD | {"votes": [*GOOD["votes"], GOOD["votes"][0]]}, GOOD | {"key": "AAAA"}, GOOD | {"sheet": "x"}),
        GOOD | {"key": OFF, "sheet": name_of(OFF)},
        GOOD | {"votes": [GOOD["votes"][0] | {"vote": "C"}, *GOOD["votes"][1:]]},
        GOOD | {"votes": [{"document": [], "vote": "A", "comment": ""}, *GOOD["votes"][1:]]},
    ],
)
def test_a_file_that_holds_no_votes_is_told_in_one_line(tmp_path, value):
    path = saved(tmp_path / "votes.json", value)
    with pytest.raises(UserError, match=re.escape(f"{path}: not the votes of a sheet")):
        read_votes(path)


def test_damaged_bytes_are_told_in_one_line(tmp_path):
    path, data = tmp_path / "votes.json", json.dumps(GOOD).encode()
    dice = random.Random(0)
    said = []
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path.write_bytes(damaged[: dice.randint(1, len(damaged))])
        try:
            read_votes(path)
        except UserError as error:
            said.append(str(error))
    assert len(said) > 100
    assert all(line.startswith(str(path)) and "\n" not in line for line in said)


def test_votes_of_two_sheets_or_none_are_refused(tmp_path):
    one = saved(tmp_path / "1.json", GOOD)
    other = saved(tmp_path / "2.json", votes_of(sheet_of(5, seed=1), [0, 1, 0, 0, 0]))
    none = saved(tmp_path / "3.json", votes_of(sheet_of(), [None] * 5))
    newer = saved(tmp_path / "4.json", GOOD | {"version": 2})
    with pytest.raises(UserError, match=re.escape(f"{other}: of the sheet")):
        counted([read_votes(one), read_votes(other)])
    with pytest.raises(UserError, match=re.escape(f"{none}: has no votes yet")):
        counted([read_votes(none)])
    with pytest.raises(UserError, match="of version 2"):
        read_votes(newer)
