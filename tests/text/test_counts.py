"""Counts of order k: against Kneser–Ney by dictionaries, the order chosen on validation, what they see."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest

from bestguess.text.counts import Counting, beside, best_counts
from bestguess.text.evaluate import Constant, evaluate
from bestguess.text.pairs import Pairs, make_pairs
from bestguess.text.task import About, constant_of
from bestguess.text.tokens import EOS

V = 11


def drawn(seed: int, count: int) -> Pairs:
    """Documents whose tokens mostly follow from the two before them."""
    rng = np.random.default_rng(seed)

    def text(length):
        found = [5, 6]
        while len(found) < length:
            follows = 5 + (3 * found[-1] + found[-2]) % 6
            found.append(follows if rng.random() < 0.8 else int(rng.integers(5, V)))
        return found

    texts = [text(int(rng.integers(5, 17))) for _ in range(count)]
    cuts = [int(rng.integers(0, 4)) for _ in texts]
    return make_pairs(
        [one[:cut] for one, cut in zip(texts, cuts)], [[*one[cut:], EOS] for one, cut in zip(texts, cuts)]
    )


def about(training: Pairs, continued: bool = True, **other) -> About:
    validation, test = drawn(1, 23), drawn(2, 19)
    return About(
        "counted", training, validation, test, V, str, lambda text: np.array([0]), np.full(len(test), 7),
        constant_of(training, V), continued=continued, **other,
    )  # fmt: skip


def by_hand(sequences, history, token, order):
    """Kneser–Ney with dictionaries, straight from the equation; None stands before a sequence."""
    grams: list[Counter] = [Counter() for _ in range(order + 2)]
    for one in sequences:
        padded = [None] * order + list(one)
        for i in range(order, len(padded)):
            for k in range(order + 1):
                grams[k][tuple(padded[i - k : i + 1])] += 1
    padded = [None] * order + list(history)

    def p(k):
        if k < 0:
            return 1 / V
        seen = grams[k]
        if k < order:
            ahead = Counter(gram[1:] for gram in grams[k + 1])
            # Only a context that begins a sequence keeps its counts: one None in it stands before the first token.
            seen = Counter({g: n if None in g else ahead[g] for g, n in seen.items()})
        values = list(seen.values())
        ones, twos = values.count(1), values.count(2)
        discount = ones / (ones + 2 * twos) if ones else 0.5
        context = tuple(padded[len(padded) - k :])
        behind = {gram[-1]: n for gram, n in seen.items() if gram[:-1] == context}
        if not behind:
            return p(k - 1)
        total = sum(behind.values())
        own = (behind[token] - discount) / total if token in behind else 0.0
        return own + discount * len(behind) / total * p(k - 1)

    return p(order)


def sequences_of(pairs: Pairs, continued: bool):
    return [
        [*(source[:n].tolist() if continued else []), *target[:m].tolist()]
        for source, n, target, m in zip(pairs.source, pairs.source_length, pairs.target, pairs.target_length)
    ]


@pytest.mark.parametrize(("continued", "order"), list(itertools.product((True, False), (0, 1, 2, 4))))
def test_they_are_kneser_ney_s(continued, order):
    own = about(drawn(0, 37), continued)
    counting = Counting(own)
    counts = [counting.next() for _ in range(order + 1)][-1]
    pairs = own.test[:5]
    nats, every = counts.nats(pairs), np.asarray(counts(pairs).logits)
    np.testing.assert_allclose(np.exp(every).sum(axis=-1), 1, rtol=1e-5)
    training = sequences_of(own.training, continued)
    for i, one in enumerate(sequences_of(pairs, continued)):
        before = len(one) - int(pairs.target_length[i])
        for j, token in enumerate(one[before:]):
            expected = by_hand(training, one[: before + j], token, order)
            assert np.exp(-nats[i, j]) == pytest.approx(expected, rel=1e-9)
            assert np.exp(every[i, j, token]) == pytest.approx(expected, rel=1e-5)
        assert (nats[i, len(one) - before :] == 0).all()


def test_the_order_is_the_one_that_predicts_validation_documents_best():
    own = about(drawn(0, 997))
    best = best_counts(own)
    assert best.order == 2  # as the documents are drawn
    counting = Counting(own)
    losses = [counting.next().nats(own.validation).sum() for _ in range(5)]
    assert int(np.argmin(losses)) == 2
    swapped = dataclasses.replace(own, test=own.validation)
    assert best_counts(swapped).order == 2


def test_they_beat_the_best_constant_and_are_told_in_the_same_units():
    own = about(drawn(0, 997))
    losses = evaluate(own, Constant(own.log_constant), 19)
    told = beside(own, losses)
    assert told["nats_per_document"] < 0.8 * losses.nats.sum() / 19
    assert told["nats_per_document"] * 19 == pytest.approx(np.log(told["perplexity"]) * losses.tokens)
    assert told["bits_per_byte"] == pytest.approx(told["nats_per_document"] / 7 / np.log(2))
    assert told["regret_per_document"] is None


def test_windows_are_counted_in_one_text_and_begin_anywhere():
    text = np.concatenate([np.asarray(one) for one in sequences_of(drawn(0, 99), True)])
    own = about(drawn(3, 5), window=8, text=text)
    counting = Counting(own)
    counts = [counting.next() for _ in range(3)][-1]
    assert counts.tokens == len(text)
    t = [int(one) for one in text[:10]]
    one, longer = (make_pairs([source], [t[2:5]]) for source in (t[:2], [t[9], *t[:2]]))
    np.testing.assert_array_equal(counts.nats(one), counts.nats(longer))
    # The text's own beginning is no reason to expect its second token where a window begins.
    first = make_pairs([t[:1]], [t[1:3]])
    assert counts.nats(first)[0, 0] > dataclasses.replace(counts, marked=True).nats(first)[0, 0] + 0.01
