"""The measures of heads against weights made by hand, and the weights against the model's own."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.text.attention.figures import Totals, totals
from bestguess.text.attention.gold import FACTS, Gold, gold_of
from bestguess.text.attention.measures import measure
from bestguess.text.attention.weights import Blocks, blocks_of
from bestguess.text.corpus import about_of
from bestguess.text.errands.grammar import ACCEPT
from bestguess.text.model import TextModel
from bestguess.text.pairs import make_pairs
from tests.compiled import whole
from tests.text.tiny import tiny

S, U = 7, 3
TURN = np.array([0, 0, 0, 1, 1, 2, 2])
SOURCE, TARGET = np.array([10, 11, 12, 10, 13, 14, 11]), np.array([13, 9, 11])
ALIGNED, FACT = np.array([4, -1, 1]), np.array([1, -1, 4])
GOLD = Gold(TURN, np.array([0, -1, 0]), ALIGNED, FACT)
EVEN = {"encoder": np.full((S, S), 1 / S), "decoder": np.tri(U) / np.arange(1, U + 1)[:, None]}


def blocks(encoder=None, decoder=None, cross=None) -> Blocks:
    """Weights of one layer and one head; what is not given is uniform."""
    parts = (EVEN["encoder"] if encoder is None else encoder, EVEN["decoder"] if decoder is None else decoder,
             np.full((U, S), 1 / S) if cross is None else cross)  # fmt: skip
    return Blocks(*(np.asarray(part, np.float32)[None, None] for part in parts))


def values(gold: Gold = GOLD, causal: bool = False, **parts):
    found = measure(blocks(**parts), SOURCE, TARGET, gold, causal, seed=0)
    return {key: float(one.total[0, 0]) / one.queries for key, one in found.items()}


def hot(*places: int) -> np.ndarray:
    return np.eye(S)[list(places)]


def test_uniform_attention_is_even_and_like_itself():
    found = values()
    for kind in ("encoder", "decoder", "cross"):
        assert found[kind, "mass"] == pytest.approx(1)
        assert found[kind, "evenness"] == pytest.approx(1)
        if (kind, "copy") in found:
            assert found[kind, "copy"] == pytest.approx(found[kind, "copy_uniform"], rel=1e-6)
    assert found["encoder", "entropy"] == pytest.approx(math.log(S))
    assert found["encoder", "turn_mass"] == pytest.approx((9 + 4 + 4) / S / S)
    assert found["encoder", "within_turn"] == pytest.approx(0, abs=1e-7)
    assert found["encoder", "same_slot"] == pytest.approx(1, rel=1e-6)
    assert found["cross", "turn_mass"] == pytest.approx(found["cross", "turn_uniform"]) == pytest.approx(3 / S)
    assert found["cross", "gold_turn_mass"] == pytest.approx((2 / S + 3 / S) / 2)
    assert found["cross", "gold_turn_uniform"] == pytest.approx((2 / S + 3 / S) / 2)


def test_a_head_that_points_at_what_states_the_value():
    found = values(cross=hot(4, 6, 1))
    assert found["cross", "entropy"] == pytest.approx(0, abs=1e-6)
    assert found["cross", "alignment"] == found["cross", "gold_token_mass"] == found["cross", "gold_turn_mass"] == 1
    assert found["cross", f"alignment {FACTS[1]}"] == found["cross", f"alignment {FACTS[4]}"] == 1
    assert ("cross", f"alignment {FACTS[2]}") not in found
    assert found["cross", "copy"] == 1  # tokens 13 and 11; 9 stands nowhere
    # Query u stands at S + u.
    assert found["cross", "distance"] == pytest.approx(np.mean([S - 4, S + 1 - 6, S + 2 - 1]))
    beside = values(cross=hot(3, 6, 2))  # the same turns, other tokens
    assert (beside["cross", "gold_turn_mass"], beside["cross", "gold_token_mass"]) == (1, 0)
    assert beside["cross", "alignment"] == 0


def test_weights_are_shares_of_what_lies_on_the_block():
    half = values(cross=0.25 * hot(4, 6, 1))
    assert half["cross", "mass"] == 0.25
    assert half["cross", "gold_token_mass"] == pytest.approx(1)


def test_a_head_that_reads_its_turn_is_told_from_one_that_reads_its_neighbours():
    own = (TURN[:, None] == TURN) / np.bincount(TURN)[TURN][:, None]
    assert values(encoder=own)["encoder", "turn_mass"] == pytest.approx(1)
    assert values(encoder=own)["encoder", "within_turn"] > 0.1
    near = abs(np.arange(S)[:, None] - np.arange(S)) <= 1
    equal = Gold(np.array([0, 0, 1, 1, 2, 2, 2]))
    far = values(encoder=near / near.sum(axis=1, keepdims=True))
    assert abs(far["encoder", "within_turn"]) < 0.06 < values(encoder=own)["encoder", "within_turn"]
    assert ("encoder", "same_slot") not in values(equal)


def test_a_causal_source_is_compared_with_causal_uniform_attention():
    even = np.tri(S) / np.arange(1, S + 1)[:, None]
    found = values(causal=True, encoder=even)
    assert found["encoder", "evenness"] == pytest.approx(1)
    assert found["encoder", "within_turn"] == pytest.approx(0, abs=1e-7)
    assert found["encoder", "turn_mass"] == pytest.approx(found["encoder", "turn_uniform"])


def test_turns_about_one_slot():
    """All weight of turns 0 and 2, which are about one slot, on each other."""
    mates = np.where(TURN == 0, (TURN == 2)[:, None] / 2, np.where(TURN == 2, (TURN == 0)[:, None] / 3, 1 / S)).T
    found = values(encoder=mates)
    assert found["encoder", "same_slot"] == pytest.approx(5 / (2 * 6 / S))


def test_errors_are_over_documents_and_fading_is_measured_by_step():
    found = Totals()
    for i, share in enumerate((0.2, 0.6)):
        weights = blocks(cross=np.full((U, S), share / S))
        found.add(weights, measure(weights, SOURCE, TARGET, Gold(), False, seed=i))
    assert found.mean("cross", "mass") == pytest.approx(0.4)
    assert found.error("cross", "mass") == pytest.approx(np.std([0.2, 0.6], ddof=1) / 2**0.5)
    assert found.mean("cross", "alignment") is None
    fading = found.fading()
    np.testing.assert_allclose(fading["source"], 0.4)
    ratio = 0.4 / fading["uniform"]  # uniform attention leaves the source, this does not
    assert fading["slope"] == pytest.approx(np.polyfit(range(U), ratio, 1)[0])


@pytest.fixture(scope="module")
def small():
    return about_of(tiny(task={"world": "small"}).task, 12, 5, 40)


def test_what_the_grammar_knows_fits_the_texts(small):
    pairs = small.test
    reader = small.known.dialogue_oracle.reader
    reading, stage = reader.read(pairs.source, pairs.source_length), reader.dialogues.stage
    for i, gold in enumerate(gold_of(small, pairs)):
        source, target = pairs.source[i], pairs.target[i]
        assert len(gold.turn) == pairs.source_length[i]
        assert len(gold.slot) == gold.turn[-1] + 1
        for u in np.flatnonzero(gold.aligned >= 0):
            if FACTS[gold.fact[u]] != "bringer":  # stated as I or you
                assert source[gold.aligned[u]] == target[u]
        assert set(gold.fact[gold.aligned >= 0]) >= {0, 1, 2, 3, 4}
        for t in np.flatnonzero(stage.act[reading.script.row[i, : len(gold.slot)]] == ACCEPT):
            assert gold.slot[t] == gold.slot[t - 1] >= 0


def test_lines_of_files_are_turns_where_targets_are_their_own(small):
    """Tokens 11 and 12 hold line breaks; whatever stands in the padding counts for nothing."""
    source = [[10, 11, 12, 13, 11, 14, 15], [11, 10, 12], [13, 14, 15]]
    pairs = make_pairs(source, [[3]] * 3)
    told = {11: "\n", 12: ".\n"}
    natural = dataclasses.replace(
        small, known=None, references=("a",) * 3, decode=lambda tokens: "".join(told.get(int(t), "x") for t in tokens)
    )
    found = gold_of(natural, pairs)
    assert found[0].turn.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert found[1].turn.tolist() == [0, 1, 1]
    assert found[2].turn is None  # one line
    assert all(one.slot is one.aligned is None for one in found)
    assert [one.turn for one in gold_of(dataclasses.replace(natural, references=()), pairs)] == [None] * 3  # raw text
    found = measure(blocks(encoder=np.eye(S)), SOURCE, TARGET, found[0], False, seed=0)
    assert ("encoder", "within_turn") in found
    assert ("cross", "gold_turn_mass") not in found


@pytest.mark.parametrize("architecture", ["encoder-decoder", "decoder-only", "prefix-lm"])
def test_blocks_are_the_model_s_weights_without_padding(small, architecture):
    config = tiny(model={"architecture": architecture}).model
    model = TextModel(config, small.vocab, key=jax.random.key(0))
    pairs = small.test[:3]
    every = list(blocks_of(model, pairs))
    assert len(every) == 3
    i = 2
    S, U = int(pairs.source_length[i]), int(pairs.target_length[i])
    own = whole(model.attention, jnp.asarray(pairs.source[i]), S, jnp.asarray(pairs.target[i]))
    found = every[i]
    assert (found.encoder.shape[2:], found.decoder.shape[2:], found.cross.shape[2:]) == ((S, S), (U, U), (U, S))
    if architecture == "encoder-decoder":
        for one in found:
            np.testing.assert_allclose(one.sum(axis=-1), 1, rtol=1e-5)
        np.testing.assert_allclose(found.cross, own["cross"][..., :U, :S], atol=1e-6)
        return
    begin = own["decoder"][..., S + 1 : S + 1 + U, 0]  # on [BOS]
    np.testing.assert_allclose(found.cross.sum(axis=-1) + found.decoder.sum(axis=-1) + begin, 1, rtol=1e-5)
    ahead = found.encoder[..., ~np.tri(S, dtype=bool)]
    assert (ahead > 0).any() == (architecture == "prefix-lm")
    assert totals(model, small, pairs).mean("encoder", "evenness").shape == (1, 2)
