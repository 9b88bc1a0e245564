"""Rows of several documents: what stands in them, and that loss and gradients are those of the documents alone."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.command import UserError
from bestguess.config import runs
from bestguess.family import load_family
from bestguess.text.documents import Documents
from bestguess.text.packing import documents_per_row, packed, pair_row, sequence_row
from bestguess.text.problem import Drawn, Own, TextProblem
from bestguess.text.sequences import pack, shift
from bestguess.text.tokens import PAD, SEP
from bestguess.train.step import batch_sums, loss_of
from bestguess.workflow.training import make_training
from tests.compiled import whole
from tests.text.test_problem import VOCAB, documents
from tests.text.tiny import tiny

TASK = Own(np.asarray(0, np.int32))
PAIRS = documents(11, 5, 4)
TOKENS = 23


def config_of(architecture: str, loss: str = "target", positions: str = "rope", **model):
    return tiny(
        model={"architecture": architecture, "positions": positions, **model},
        objective={"packing": TOKENS, "loss": loss},
    )


def problems(config) -> tuple[TextProblem, TextProblem]:
    """Return the same problem with every document alone, and with rows."""
    alone = dataclasses.replace(config, objective=dataclasses.replace(config.objective, packing=0))
    own, (rows, widths) = Documents.of(PAIRS, VOCAB), packed(config, PAIRS)
    return TextProblem(own, own, alone, VOCAB), TextProblem(own, own, config, VOCAB, rows, widths)


@pytest.mark.parametrize(
    ("architecture", "loss", "positions"),
    [
        ("decoder-only", "full", "rope"),
        ("decoder-only", "target", "learned"),
        ("prefix-lm", "target", "rope"),
        ("prefix-lm", "target", "sinusoidal"),
        ("encoder-decoder", "target", "rope"),
        ("encoder-decoder", "target", "learned"),
    ],
)
def test_packing_leaves_loss_and_gradient_as_they_are(architecture, loss, positions):
    alone, rows = problems(config_of(architecture, loss, positions))
    assert documents_per_row(rows.config, PAIRS) > 2
    model = alone.init(TASK, jax.random.key(1))
    model = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape), model)

    def sums(problem, count):
        found = jax.jit(lambda: batch_sums(loss_of(problem), model, TASK, Drawn(jnp.arange(count)[None], None)))()
        return jax.tree.leaves(found[0]), float(found[1]), int(found[2])

    (gradient, nats, count), (other, packed_nats, packed_count) = sums(alone, 11), sums(rows, len(rows.rows))
    assert packed_count == count
    np.testing.assert_allclose(packed_nats / count, nats / count, rtol=1e-6)
    scale = np.sqrt(sum(float((g**2).sum()) for g in gradient))
    for g, h in zip(gradient, other):
        np.testing.assert_allclose(h / scale, g / scale, rtol=0, atol=1e-6)


def test_every_document_stands_in_one_row_and_no_row_is_too_long():
    for architecture in ("decoder-only", "encoder-decoder"):
        rows, widths = packed(config_of(architecture), PAIRS)
        there = rows >= 0
        assert sorted(rows[there].tolist()) == list(range(11))
        assert sum(widths) == TOKENS
        lengths = [PAIRS.source_length, PAIRS.target_length]
        used = [np.where(there, of[rows], 0).sum(axis=1) for of in lengths]
        if len(widths) == 1:
            assert (used[0] + used[1] + there.sum(axis=1) <= TOKENS).all()
        else:
            assert (used[0] <= widths[0]).all()
            assert (used[1] <= widths[1]).all()
        np.testing.assert_array_equal(np.sort(~there, axis=1), ~there)  # what is missing is missing at the end


def test_a_row_is_its_documents_one_behind_the_other():
    row, own = np.array([4, 0, 7, -1]), Documents.of(PAIRS, VOCAB)
    expected: list[list[int]] = [[], [], [], []]
    for k, i in enumerate(row[:3]):
        S, U = int(PAIRS.source_length[i]), int(PAIRS.target_length[i])
        inputs, targets = shift(whole(pack, *map(jnp.asarray, (PAIRS.source[i], S, PAIRS.target[i], U))))
        n = S + U + 1
        for of, values in zip(expected, (inputs[:n], targets[:n], range(n), [k] * n)):
            of.extend(int(one) for one in values)
    found, n = whole(sequence_row, own, jnp.asarray(row), 40), len(expected[0])
    for name, values in zip(("token", "target", "position", "document"), expected):
        assert getattr(found, name)[:n].tolist() == values
    assert set(found.token[n:].tolist()) == {PAD}
    assert set(found.document[n:].tolist()) == {4}
    assert int(found.predicted.sum()) == n
    assert found.target[np.asarray(found.scored)].tolist() == [
        int(token) for i in row[:3] for token in PAIRS.target[i, : PAIRS.target_length[i]]
    ]
    two = whole(pair_row, own, jnp.asarray(row), (20, 17))
    assert two.source[: sum(PAIRS.source_length[row[:3]])].tolist() == [
        int(token) for i in row[:3] for token in PAIRS.source[i, : PAIRS.source_length[i]]
    ]
    starts = np.cumsum([0, *PAIRS.target_length[row[:2]]])
    assert [int(two.token[start]) for start in starts] == [SEP] * 3
    assert [int(two.position[start]) for start in starts] == PAIRS.source_length[row[:3]].tolist()
    assert int(two.scored.sum()) == PAIRS.target_length[row[:3]].sum()


@pytest.mark.parametrize("architecture", ["decoder-only", "encoder-decoder"])
def test_a_row_that_is_too_short_is_refused_with_the_fewest_tokens(architecture):
    def packs(tokens: int):
        config = tiny(model={"architecture": architecture}, objective={"packing": tokens})
        return packed(config, PAIRS)

    with pytest.raises(UserError, match="--packing 3: the longest document does not fit") as refused:
        packs(3)
    least = int(str(refused.value).split("give ")[1].split()[0])
    packs(least)
    with pytest.raises(UserError, match="--packing"):
        packs(least - 1)


def test_a_generated_corpus_has_a_document_for_every_place(tmp_path):
    """Each is drawn once, as without packing."""
    config = config_of("decoder-only")
    config = dataclasses.replace(config, objective=dataclasses.replace(config.objective, packing=200))
    training = make_training(load_family("text"), tmp_path, runs(config))
    problem = training.problem
    assert len(problem.rows) >= config.train.steps * config.train.batch_size
    assert len(problem.training.source) > 1.5 * len(problem.rows)
