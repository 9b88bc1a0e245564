"""The attention page in a browser: what it shades, what keys and clicks do, that no text acts on it."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import re

import jax
import numpy as np
import pytest

from bestguess.command import UserError
from bestguess.text.attention import page
from bestguess.text.attention.figures import attention_figures
from bestguess.text.attention.heatmaps import heatmaps
from bestguess.text.attention.page import Shown, embedded, pack, pieces, rendered, write_page
from bestguess.text.attention.weights import Blocks, block_names, blocks_of
from bestguess.text.corpus import about_of
from bestguess.text.generation import GenerationConfig
from bestguess.text.model import TextModel
from bestguess.text.task import About
from tests.text.test_sheet import EVIL
from tests.text.tiny import tiny


@pytest.fixture(scope="module")
def about() -> About:
    return about_of(tiny().task, 12, 5, 9)


@pytest.fixture(scope="module")
def models(about) -> list[Shown]:
    made = []
    for name, architecture in (("one", "encoder-decoder"), (EVIL, "decoder-only")):
        model = TextModel(tiny(model={"architecture": architecture}).model, about.vocab, key=jax.random.key(3))
        made.append(Shown(name, about, model, attention_figures(about, model, GenerationConfig(max_tokens=3), 4)))
    return made


def test_a_reader_sees_what_each_token_reads(browser, models, about, tmp_path):
    tab = browser.new_context(viewport={"width": 1300, "height": 900}).new_page()
    requests, said = [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    path = write_page(tmp_path / "page.html", models, [1, 4])
    tab.goto(path.as_uri())
    tab.wait_for_selector("body[data-ready]")

    def words(part: str, pane: int = 0):
        return tab.locator(f".pane >> nth={pane} >> .{part} .token")

    def shades(part: str, pane: int = 0) -> list[float]:
        return words(part, pane).evaluate_all("all => all.map(one => Number(one.style.getPropertyValue('--w')))")

    pairs, weights = about.test[np.array([1, 4])], [list(blocks_of(one.model, about.test[1:2])) for one in models]
    S, U = int(pairs.source_length[0]), int(pairs.target_length[0])
    assert (words("source").count(), words("target").count()) == (S, U)
    assert tab.locator(".target .token").last.inner_text() == "⟨end⟩"
    assert tab.locator(".pane >> nth=0 >> .arcs path").count() == 1  # it opens with a copied token

    # The mean over heads of what is read to predict a token: roots of weights, in both panes at once.
    words("target").nth(2).hover()
    tab.locator(".pane >> nth=0 >> [aria-label='Cross-attention: mean of all heads']").click()
    words("target").nth(2).hover()
    np.testing.assert_allclose(shades("source"), np.sqrt(weights[0][0].cross[0, :, 2].mean(axis=0)), atol=4e-3)
    assert max(shades("source", 1)) > 0
    own = np.sqrt(weights[0][0].decoder[0, :, 2].mean(axis=0))  # [SEP], then the tokens before
    np.testing.assert_allclose(shades("target")[:2], own[1:3], atol=4e-3)
    assert shades("target")[2:] == [0] * (U - 2)

    # A head by its thumbnail; a token by click and by key; the address keeps both.
    tab.locator(".pane >> nth=0 >> [aria-label='Encoder self-attention: layer 1, head 2']").click()
    words("source").nth(1).click()
    np.testing.assert_allclose(shades("source"), np.sqrt(weights[0][0].encoder[0, 1, 1]), atol=4e-3)
    tab.keyboard.press("ArrowRight")
    np.testing.assert_allclose(shades("source"), np.sqrt(weights[0][0].encoder[0, 1, 2]), atol=4e-3)
    assert "t=s2" in tab.url
    assert "h=1.2_" in tab.url
    before = shades("source")
    tab.reload()
    tab.wait_for_selector("body[data-ready]")
    assert shades("source") == before
    tab.keyboard.press("m")
    tab.keyboard.press("e")
    tab.keyboard.press("m")
    np.testing.assert_allclose(shades("source"), np.sqrt(weights[0][0].encoder[0, :, 2].mean(axis=0)), atol=4e-3)

    # Gold arcs: of the token, or of all copied ones.
    tab.keyboard.press("Escape")
    tab.mouse.move(0, 0)
    assert tab.locator(".arcs path").count() == 0
    tab.keyboard.press("g")
    aligned = [json.loads(tab.locator("#data").text_content())["documents"][i]["aligned"] for i in range(2)]
    assert tab.locator(".pane >> nth=0 >> .arcs path").count() == sum(one >= 0 for one in aligned[0]) > 4
    tab.keyboard.press("n")
    tab.locator("#place", has_text="test 4").wait_for()  # a function would be polled by eval, which the page forbids
    assert words("source").count() == pairs.source_length[1]

    # The table sorts, and a row chooses its head.
    evenness = tab.locator("#head th", has_text="normalised entropy")
    evenness.locator("button").click()
    assert evenness.get_attribute("aria-sort") == "descending"
    index = tab.locator("#head th").evaluate_all(
        "all => all.findIndex(one => one.textContent === 'normalised entropy')"
    )
    shown = [float(text) for text in tab.locator(f"#rows td:nth-child({index + 1})").all_inner_texts()]
    assert shown == sorted(shown, reverse=True)
    assert len(shown) == 2 * 3 * 2
    tab.locator("#rows tr").first.click()
    assert tab.locator("#rows tr").first.get_attribute("class") == "chosen"

    # One block alone, without the columns that do not apply to it; a best head by its button.
    tab.locator(".filter button", has_text="decoder self-attention / target → target").click()
    visible = tab.locator("#rows tr:visible")
    assert visible.count() == 2 * 2
    assert set(visible.locator("td:nth-child(2)").all_inner_texts()) == {"decoder self-attention", "target → target"}
    assert tab.locator("#head th", has_text="gold token").is_hidden()
    assert tab.locator("#head th", has_text="normalised entropy").is_visible()
    best = models[1].figures["best"]["gold_token_mass"]
    tab.locator("#best button", has_text="gold token").nth(1).click()
    head = f"Target → source: layer {best['layer']}, head {best['head']}"
    assert tab.locator(f".pane >> nth=1 >> [aria-label='{head}']").get_attribute("aria-pressed") == "true"
    assert tab.locator(".pane >> nth=1 >> .active h3").inner_text().startswith("Target → source")

    assert said == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    tab.set_viewport_size({"width": 380, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 380


def test_no_text_acts_on_the_page(browser, models, about, tmp_path):
    """Natural text whose every token is markup; nothing is known of it but its loss."""
    evil = dataclasses.replace(
        about, known=None, name=EVIL, decode=lambda tokens: "".join(f"{EVIL}{token}" for token in tokens)
    )
    heads = [{**head, "related": None} for head in models[1].figures["heads"]]
    one = models[1]._replace(about=evil, figures={**models[1].figures, "heads": heads})
    tab = browser.new_page()
    tab.goto(write_page(tmp_path / "page.html", [one], [0]).as_uri())
    tab.wait_for_selector("body[data-ready]")
    assert tab.title() == "Attention weights"
    assert tab.locator("img, main script").count() == 0
    token = int(about.test.source[0, 0])
    assert tab.locator(".source .token").first.text_content() == f"{EVIL}{token}"
    assert tab.locator(".pane h2").text_content() == EVIL
    assert EVIL in tab.locator(".lead").text_content()
    tab.locator(".target .token").first.hover()
    assert tab.locator(".told").text_content().startswith(f"“{EVIL}")
    assert tab.locator("#arcs").is_disabled()
    assert tab.locator("#head th", has_text="normalised entropy").is_visible()
    assert tab.locator("#head th", has_text="slot").is_hidden()  # applies to no head
    assert tab.title() == "Attention weights"


def test_the_page_names_nothing_outside_and_forbids_every_request(models):
    text = rendered(models[:1], [0])
    assert "default-src 'none'" in text
    assert not re.search(r"src=|url\(|@import|(?<!www\.w3\.org/2000/)https?://(?!www\.w3\.org/2000/svg)", text)


def test_weights_come_back_to_a_step_of_their_root():
    rng = np.random.default_rng(0)
    blocks = Blocks(*(rng.random(shape).astype(np.float32) for shape in ((2, 3, 5, 5), (2, 3, 7, 7), (2, 3, 7, 5))))
    found = np.frombuffer(gzip.decompress(base64.b64decode(pack(blocks))), np.uint8)
    every = np.concatenate([part.ravel() for part in blocks])
    np.testing.assert_allclose(found / 255, np.sqrt(every), atol=0.5 / 255 + 1e-6)


def test_json_ends_no_script():
    told = embedded({"a": EVIL, "b": 1 / 3, "c": [np.float64(2.0), None]})
    assert "<" not in told
    assert "\u2028" not in told
    assert json.loads(told) == {"a": EVIL, "b": 0.33333, "c": [2.0, None]}


def test_pieces_are_the_text(about):
    for part, n in ((about.test.source[0], about.test.source_length[0]), (about.test.target[0], None)):
        tokens = part[:n]
        tokens = tokens[tokens > 3]
        assert "".join(gap + text for gap, text in pieces(about, tokens)) == about.decode(tokens)
    spaced = dataclasses.replace(about, known=None, decode=lambda tokens: " ".join(map(str, tokens)))
    assert "".join(gap + text for gap, text in pieces(spaced, np.array([7, 8, 9]))) == "7 8 9"


def test_too_large_a_page_is_refused(models, monkeypatch):
    monkeypatch.setattr(page, "MOST_BYTES", 1 << 14)
    with pytest.raises(UserError, match=r"--shown 5: .* give \d or less"):
        rendered(models[:1], range(5))


def test_heat_maps_have_a_panel_for_each_head(about, models):
    (blocks,) = blocks_of(models[0].model, about.test[:1])
    found = heatmaps(about, about.test, 0, blocks, block_names(models[0].model))
    assert set(found) == {"encoder", "decoder", "cross"}
    assert [len(one.panels) for one in found.values()] == [2, 2, 2]
    assert found["cross"].title == "Cross-attention"
    (heat,) = found["cross"].panels[1].series
    np.testing.assert_array_equal(heat.z, blocks.cross[0, 1])
    named = {kind: one.panels[0].series[0].x_labels for kind, one in found.items()}
    assert about.test.source_length[0] > 28  # so many keys have their positions
    assert named["encoder"] is named["cross"] is None
    assert named["decoder"][0] == "[SEP]"
    assert found["decoder"].panels[0].series[0].y_labels[-1] == "[EOS]"
