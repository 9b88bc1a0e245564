"""What the trainer is given: every document once an epoch, sums over targets alone; padding has no effect."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess.config import runs
from bestguess.text.documents import Document, Documents, within
from bestguess.text.family import FAMILY
from bestguess.text.pairs import Pairs
from bestguess.text.problem import Drawn, Own, TextProblem
from bestguess.train.problem import Turn
from bestguess.train.step import batch_sums, loss_of
from bestguess.workflow.training import make_training
from tests.compiled import whole
from tests.text.tiny import tiny

VOCAB = 13
TASK = Own(np.asarray(0, np.int32))


def documents(n: int = 7, source: int = 5, target: int = 4, wider: int = 0) -> Pairs:
    """Return random pairs; `wider` adds padding to both widths."""
    rng = np.random.default_rng(n)
    lengths = rng.integers(1, source + 1, n).astype(np.int32), rng.integers(1, target + 1, n).astype(np.int32)
    rows = []
    for length, width in zip(lengths, (source, target)):
        own = rng.integers(5, VOCAB, (n, width)).astype(np.int32)
        own[np.arange(width)[None] >= length[:, None]] = 0
        rows.append(np.pad(own, ((0, 0), (0, wider))))
    return Pairs(rows[0], lengths[0], rows[1], lengths[1])


def problem_of(pairs: Pairs, **rooms) -> TextProblem:
    own = Documents.of(pairs, VOCAB)
    return TextProblem(own, own, tiny(**rooms), VOCAB)


def started(problem: TextProblem, seed: int):
    """Return an untrained model: made in one program, not in one for each operation."""
    return eqx.filter_jit(problem.init)(TASK, jax.random.key(seed))


DECODER = {"architecture": "decoder-only"}


def test_every_document_is_drawn_once_an_epoch_in_a_new_order():
    problem, task = problem_of(documents()), Own(np.asarray(3, np.int32))
    turn = lambda number: Turn(jax.random.key(0), jnp.asarray(0.0), number)  # noqa: E731
    rows = np.asarray(jax.vmap(lambda number: problem.draw(task, turn(number)).row)(jnp.arange(21))).reshape(3, 7)
    for epoch in rows:
        assert sorted(epoch.tolist()) == list(range(7))
    assert len({tuple(epoch) for epoch in rows.tolist()}) == 3


@pytest.mark.parametrize("rooms", [{}, {"model": DECODER}, {"model": DECODER, "objective": {"loss": "full"}}])
def test_padding_leaves_the_loss_as_it_is(rooms):
    """Summed over documents, and divided once by all targets."""
    narrow, wide = problem_of(documents(), **rooms), problem_of(documents(wider=3), **rooms)
    model = started(narrow, 1)
    drawn = Drawn(jnp.arange(7), None)

    def sums(problem):
        loss = eqx.filter_jit(jax.vmap(lambda one: problem.loss(model, TASK, one), (Drawn(0, None),)))
        losses, counts = loss(drawn)
        return np.asarray(losses, np.float64), np.asarray(counts)

    (a, count), (b, _) = sums(narrow), sums(wide)
    np.testing.assert_allclose(a.sum() / count.sum(), b.sum() / count.sum(), rtol=1e-6)
    np.testing.assert_allclose(a, b, rtol=1e-5)
    lengths = documents().target_length
    if rooms.get("objective"):
        lengths = lengths + documents().source_length + 1  # every token after BOS, SEP among them
    np.testing.assert_array_equal(count, lengths)


def test_accumulation_leaves_the_loss_as_it_is():
    problem = problem_of(documents(8))
    model = started(problem, 1)
    micro = lambda *shape: Drawn(jnp.arange(8).reshape(*shape), None)  # noqa: E731
    sums = eqx.filter_jit(lambda model, drawn: batch_sums(loss_of(problem), model, TASK, drawn))
    whole, parts = (sums(model, micro(*shape)) for shape in ((1, 8), (4, 2)))
    np.testing.assert_allclose(whole[1] / whole[2], parts[1] / parts[2], rtol=1e-6)
    for x, y in zip(jax.tree.leaves(whole[0]), jax.tree.leaves(parts[0])):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


def test_the_full_loss_is_that_of_every_token_and_the_target_s_part_is_the_target_loss():
    pairs = documents()
    full = problem_of(pairs, model=DECODER, objective={"loss": "full"})
    model = started(full, 2)
    one = Document(*(jnp.asarray(of[3]) for of in vars(pairs).values()))
    logits, target, predicted, scored = whole(model.sequence_logits, *one)
    own = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), np.asarray(target)[:, None], axis=1)[:, 0]
    found, count = whole(full.loss, model, TASK, Drawn(jnp.asarray(3), None))
    np.testing.assert_allclose(found, -own[np.asarray(predicted)].sum(), rtol=1e-5)
    of_target = problem_of(pairs, model=DECODER)
    alone, few = whole(of_target.loss, model, TASK, Drawn(jnp.asarray(3), None))
    np.testing.assert_allclose(alone, -own[np.asarray(scored)].sum(), rtol=1e-5)
    assert (int(count), int(few)) == (int(predicted.sum()), int(within(one).sum()))


def test_validation_by_hand():
    pairs = documents(5)
    problem = problem_of(pairs)
    model = started(problem, 3)
    found = whole(problem.validate, model, TASK, jax.random.split(jax.random.key(0), 2))
    nats, hits = 0.0, 0
    for i in range(5):
        one = Document(*(jnp.asarray(of[i]) for of in vars(pairs).values()))
        log_p = np.asarray(jax.nn.log_softmax(whole(model.logits, *one[:3])))
        for u in range(pairs.target_length[i]):
            nats -= log_p[u, pairs.target[i, u]]
            hits += int(log_p[u].argmax() == pairs.target[i, u])
    count = int(pairs.target_length.sum())
    assert float(found["score"]) == pytest.approx(nats / count, rel=1e-5)
    assert float(found["loss_per_document"]) == pytest.approx(nats / 5, rel=1e-5)
    assert float(found["bits_per_token"]) == pytest.approx(nats / count / math.log(2), rel=1e-5)
    assert float(found["top1"]) == pytest.approx(hits / count)


def test_runs_share_documents_and_differ_in_seed(tmp_path):
    config = tiny(train={"seeds": 2, "learning_rate": (0.01, 0.001)})
    training = make_training(FAMILY, tmp_path, runs(config))
    assert len({id(task) for task in training.tasks}) == 1
    assert training.members.task.seed.tolist() == training.members.seed.tolist()
    about = training.tasks[0].about
    assert len(about.training) == config.train.steps * config.train.batch_size
    assert training.problem.training.source.dtype == jnp.uint8


def test_a_config_names_what_is_off():
    with pytest.raises(Exception, match="--loss full"):
        tiny(objective={"loss": "full"})
