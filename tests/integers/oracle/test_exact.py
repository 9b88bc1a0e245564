"""The oracle against a dictionary that plain loops fill, and the path that a model takes through it."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bestguess.command import Failure
from bestguess.integers.config import IntegersConfig
from bestguess.integers.evaluate import family_scores, judge, mean_scores
from bestguess.integers.family import FAMILY
from bestguess.integers.oracle.exact import Oracle
from bestguess.integers.sequences.curriculum import FINAL
from bestguess.integers.sequences.recurrences import FAMILIES
from bestguess.integers.sequences.table import PARTS, make_table
from bestguess.integers.task import IntegerTask
from bestguess.workflow.evaluation import Evaluator
from tests.integers.sequences.test_table import SMALL, by_hand

LENGTH = 5
MIXTURE = (0.2, 0.5, 0.3)
overflows = pytest.mark.parametrize("overflow", ["wrap", "end"])


def small(overflow="wrap", **options):
    return Oracle(make_table(LENGTH, overflow, families=SMALL, **options), MIXTURE)


def self_test(oracle):
    """By how much the oracle misses a regret of 0 and its own accuracy, through the path that a model takes."""
    return Evaluator(FAMILY.works, IntegersConfig(), IntegerTask(oracle)).missed


def joint(overflow, kept=lambda terms: True):
    """{terms: P(terms)}, over rows that `kept` keeps."""
    prior = by_hand(SMALL, LENGTH, overflow)
    weight = {terms: sum(m * p for m, p in zip(MIXTURE, prior[terms])) for terms in prior if kept(terms)}
    total = sum(weight.values())
    return {terms: w / total for terms, w in weight.items()}


def posterior(rows, prefix):
    """{next: p*(next | prefix)}."""
    weight = defaultdict(float)
    for terms, w in rows.items():
        if len(terms) > len(prefix) and terms[: len(prefix)] == prefix:
            weight[terms[len(prefix)]] += w
    total = sum(weight.values())
    return {value: w / total for value, w in weight.items()} if total else {}


def scores_by_hand(overflow, guess, kept=lambda terms: True):
    """Regret, floor, accuracy, ceiling and distance after 1..LENGTH terms; guess(prefix) → probabilities [256]."""
    rows, own = joint(overflow), joint(overflow, kept)
    out = np.zeros((5, LENGTH))
    for j in range(1, LENGTH + 1):
        total = 0.0
        for terms, w in own.items():
            if len(terms) <= j:
                continue
            total += w
            best, p = posterior(rows, terms[:j]), guess(terms[:j])
            choice = int(np.argmax(p))
            out[0, j - 1] += w * sum(q * (math.log(q) - math.log(p[value])) for value, q in best.items())
            out[1, j - 1] -= w * sum(q * math.log(q) for q in best.values())
            out[2, j - 1] += w * best.get(choice, 0.0)
            out[3, j - 1] += w * max(best.values())
            out[4, j - 1] += w * sum(q * abs(value - choice) for value, q in best.items())
        out[:, j - 1] /= total
    return out


@overflows
@given(st.lists(st.sampled_from([0, 1, 3, 7, 11, 35, 100, 250, 252, 255]), max_size=LENGTH + 1))
def test_predictions_are_those_of_plain_loops(overflow, prefix):
    expected = posterior(joint(overflow), tuple(prefix))
    found = small(overflow).predict(prefix)
    if not expected:
        assert found is None
    else:
        np.testing.assert_allclose([found[value] for value in expected], list(expected.values()), rtol=1e-12)
        np.testing.assert_allclose(found.sum(), 1.0)


@overflows
def test_every_prefix_of_the_table(overflow):
    oracle, rows = small(overflow), joint(overflow)
    for terms in rows:
        for j in range(len(terms)):
            found = oracle.predict(terms[:j])
            assert {v: pytest.approx(p) for v, p in enumerate(found) if p > 0} == posterior(rows, terms[:j])


def test_what_the_mixture_rules_out_is_no_possibility():
    oracle = Oracle(make_table(LENGTH, families=SMALL), (1.0, 0.0, 0.0))
    assert oracle.predict((100,)) is None  # only phase 3 starts with 100
    assert oracle.predict((3, 5))[7] == pytest.approx(1.0)
    assert all(level.weight["all"].min() > 0 for level in oracle.levels)


@overflows
def test_scores_of_a_made_up_model_are_those_of_plain_loops(overflow):
    """A model whose every guess depends on the whole prefix, measured over all, seen and held-out rows."""
    oracle = small(overflow, held_out_fraction=0.4)
    table = oracle.table

    def logits_after(prefix):
        return np.random.default_rng([len(prefix), *map(int, prefix)]).normal(size=256).astype(np.float32)

    def model(contexts):
        assert contexts.dtype == np.uint8
        return np.stack([[logits_after(row[: j + 1]) for j in range(LENGTH)] for row in contexts])

    def best(prefix):
        after = posterior(rows, prefix)
        return [after.get(value, 0.0) for value in range(256)]

    def whole(own, of):
        right = lambda terms: all(int(np.argmax(of(terms[:j]))) == terms[j] for j in range(1, len(terms)))  # noqa: E731
        return sum(w for terms, w in own.items() if right(terms))

    def guess(prefix):
        logits = logits_after(prefix).astype(np.float64)
        return np.exp(logits) / np.exp(logits).sum()

    held = {tuple(row[:n].tolist()) for row, n, h in zip(table.rows, table.lengths, table.held_out) if h}
    verdict, rows = judge(IntegerTask(oracle), model), joint(overflow)
    parts = {
        "all": lambda terms: True,
        "seen": lambda terms: terms not in held,
        "held-out": lambda terms: terms in held,
    }
    assert held
    for part, kept in parts.items():
        found = mean_scores(oracle, verdict, part)
        expected = scores_by_hand(overflow, guess, kept)
        for name, values in zip(("regret", "floor", "accuracy", "ceiling", "distance"), expected):
            # The regret is taken on the device, in float32; all else in float64.
            near = {"rtol": 1e-6, "atol": 1e-6} if name == "regret" else {"rtol": 1e-9, "atol": 1e-12}
            np.testing.assert_allclose(getattr(found, name), values, **near, err_msg=f"{part} {name}")
        np.testing.assert_allclose(found.loss, expected[0] + expected[1], rtol=1e-6)
        np.testing.assert_allclose(found.relative_accuracy, expected[2] / expected[3])
        own = joint(overflow, kept)
        np.testing.assert_allclose([found.whole, found.whole_ceiling], [whole(own, guess), whole(own, best)])


@overflows
def test_the_two_ways_to_a_prediction_agree(overflow):
    oracle = Oracle(make_table(6, overflow))
    table = oracle.table
    picked = np.random.default_rng(0).integers(0, len(table.rows), 150)
    logits = oracle.logits(table.rows[picked, :6])
    for row, n, out in zip(table.rows[picked], table.lengths[picked], logits):
        for j in range(1, min(n - 1, 6) + 1):
            np.testing.assert_allclose(
                np.exp(out[j - 1], dtype=np.float64), oracle.predict(row[:j].tolist()), rtol=1e-5
            )


def test_unknown_prefixes_get_uniform_logits_and_stay_unknown():
    logits = small().logits(np.array([[3, 99, 7, 3, 3], [3, 5, 7, 9, 11]], np.uint8))
    assert np.isinf(logits[0, 0]).any()
    assert not logits[0, 1:].any()
    assert np.isinf(logits[1]).any(axis=1).all()


@overflows
def test_the_self_test_passes_and_sees_a_path_that_is_off_by_one(overflow, monkeypatch):
    oracle = small(overflow, held_out_fraction=0.4)
    assert self_test(oracle) < 1e-9
    good = Oracle.logits
    monkeypatch.setattr(Oracle, "logits", lambda self, contexts: np.roll(good(self, contexts), 1, axis=1))
    with pytest.raises(Failure, match="self-test"):
        self_test(oracle)


def test_the_self_test_sees_a_small_lack_of_accuracy(monkeypatch):
    oracle = small()
    good = Oracle.logits
    monkeypatch.setattr(Oracle, "logits", lambda self, contexts: np.maximum(good(self, contexts), -7.0))
    with pytest.raises(Failure, match="no result is reported"):
        self_test(oracle)


@pytest.mark.slow
@overflows
def test_the_whole_table(overflow):
    oracle = Oracle(make_table(overflow=overflow))
    assert self_test(oracle) < 1e-6
    uniform = judge(IntegerTask(oracle), lambda contexts: np.zeros((len(contexts), 8, 256), np.float32))
    for part in PARTS:
        scores = mean_scores(oracle, uniform, part)
        np.testing.assert_allclose(scores.loss, math.log(256), rtol=1e-6)
        assert scores.floor[0] > 3
        assert scores.ceiling[-1] > 0.999
        assert scores.floor[-1] < 1e-3


def test_the_figures_of_sequences_drawn_at_random():
    """Sampled log loss and accuracy of the oracle lie within 5 of their standard errors of the exact sums."""
    oracle = Oracle(make_table(families=FAMILIES[:4]), (1.0, 0.0, 0.0))
    table = oracle.table
    exact = mean_scores(oracle, judge(IntegerTask(oracle), oracle.logits), "all")
    drawn = table.rows[np.random.default_rng(3).choice(len(table.rows), 4_000, p=oracle.weights)]
    logits = oracle.logits(drawn[:, :8]).astype(np.float64)
    target = drawn[:, 1:].astype(int)
    loss = -np.take_along_axis(logits, target[..., None], axis=2)[..., 0]
    hit = (logits.argmax(axis=2) == target).astype(float)
    for sample, expected in ((loss, exact.floor), (hit, exact.ceiling)):
        # What no draw shows (one in 4,000) may still have a share of the sum.
        error = sample.std(axis=0) / len(sample) ** 0.5 + 2e-4
        assert (np.abs(sample.mean(axis=0) - expected) < 5 * error).all()


def test_the_default_mixture_is_the_curriculum_s_last():
    oracle = Oracle(make_table(LENGTH, families=SMALL))
    np.testing.assert_allclose(oracle.mixture, FINAL)


@overflows
def test_scores_by_family_are_those_of_plain_loops(overflow):
    """Each choice of each family on its own, weighed by its prior."""
    oracle = small(overflow, held_out_fraction=0.5)
    table = oracle.table
    made_up = lambda c: np.random.default_rng(c[:, 0].sum()).normal(size=(len(c), LENGTH, 256))  # noqa: E731
    verdict = judge(IntegerTask(oracle), made_up)
    level = oracle.levels[-1]
    at = {tuple(table.rows[row, :LENGTH].tolist()): i for i, row in enumerate(level.row)}
    held = {tuple(row[:n].tolist()) for row, n, h in zip(table.rows, table.lengths, table.held_out) if h}
    shares = by_hand_sources(overflow)
    expected, total = {}, 0.0
    for name, sources in shares.items():
        own = [(w, terms) for w, terms in sources if terms in held and len(terms) == LENGTH + 1]
        weight = sum(w for w, _ in own)
        total += weight
        if weight:
            mean = lambda of: sum(w * of[-1][at[terms[:LENGTH]]] for w, terms in own) / weight  # noqa: B023, E731
            expected[name] = (weight, mean(verdict.accuracy), mean(verdict.regret))
    found = family_scores(oracle, verdict, "held-out")
    assert {one.family for one in found} == set(expected)
    assert len(found) > 1
    for one in found:
        weight, accuracy, regret = expected[one.family]
        np.testing.assert_allclose([one.share, one.accuracy, one.regret], [weight / total, accuracy, regret])
    # Together they are the whole.
    scores = mean_scores(oracle, verdict, "held-out")
    np.testing.assert_allclose(sum(one.share * one.regret for one in found), scores.regret[-1])


def by_hand_sources(overflow):
    """{family: [(P(choice), terms shown)]} under the mixture."""
    rows = defaultdict(list)
    for family in SMALL:
        for terms in family.terms(LENGTH + 1).tolist():
            if overflow == "wrap":
                terms = [term % 256 for term in terms]
            else:
                terms = terms[: next((i for i, term in enumerate(terms) if not 0 <= term < 256), len(terms))]
            if len(terms) >= 2:
                rows[family.name].append(tuple(terms))
    out = {}
    for family in SMALL:
        own = [one for one in SMALL if one.phase == family.phase and rows[one.name]]
        for terms in rows[family.name]:
            share = family.weight / sum(one.weight for one in own) / len(rows[family.name])
            out.setdefault(family.name, []).append((MIXTURE[family.phase - 1] * share, terms))
    return out


def test_a_part_without_rows_has_no_figures():
    oracle = small(held_out_fraction=0.0)
    scores = mean_scores(oracle, judge(IntegerTask(oracle), oracle.logits), "held-out")
    assert np.isnan(scores.accuracy).all()
    assert self_test(oracle) < 1e-9
