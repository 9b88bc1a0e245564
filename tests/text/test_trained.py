"""What a training adds to its record: costs against arithmetic, losses without the source, a frozen encoder."""

from __future__ import annotations

import dataclasses
import io
import json

import jax
import numpy as np
import pytest
from rich.console import Console

from bestguess.command import UserError
from bestguess.config import runs
from bestguess.report.trackers import Trackers
from bestguess.text import costs
from bestguess.text.ablations import with_another_source, without_source
from bestguess.text.config import TextConfig
from bestguess.text.costs import corpus_bytes, document_flops, state_bytes, utilisation
from bestguess.text.counting import decoder_only_flops, encoder_decoder_flops, output_flops
from bestguess.text.evaluate import ModelPredictor, evaluate, nats_of
from bestguess.text.family import FAMILY
from bestguess.text.generation import GenerationConfig
from bestguess.text.model import TextModel
from bestguess.text.pairs import Pairs
from bestguess.text.tokens import EOS
from bestguess.text.trained import _measured
from bestguess.text.written import Written
from bestguess.train.problem import Purpose, member_key
from bestguess.workflow.training import fit_runs, make_training
from tests.text.test_evaluate import about
from tests.text.test_problem import TASK, documents
from tests.text.tiny import tiny

ARCHITECTURES = ("encoder-decoder", "decoder-only", "prefix-lm")
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)

# ------------------------------------------------------------------------------------------ costs

D, S, U, V = 192, 32, 72, 184


def sized(architecture: str, layers: int, loss: str = "target", **more) -> TextConfig:
    base = TextConfig()
    model = dataclasses.replace(
        base.model, architecture=architecture, layers=layers, d_model=D, heads=6, d_ff=4 * D, **more
    )
    return dataclasses.replace(base, model=model, objective=dataclasses.replace(base.objective, loss=loss))


def test_xla_counts_what_the_formula_does():
    """Forwards and twice that backwards; norms and activations come on top, 1 to 2 % at this width."""
    pairs = {
        ("encoder-decoder", 1, "target"): encoder_decoder_flops(1, D, S, U).total + output_flops(D, V, U),
        ("decoder-only", 2, "full"): decoder_only_flops(2, D, S + U + 1).total + output_flops(D, V, S + U + 1),
        ("decoder-only", 1, "target"): decoder_only_flops(1, D, S + U + 1).total + output_flops(D, V, U),
    }
    for (architecture, layers, loss), formula in pairs.items():
        counted = document_flops(sized(architecture, layers, loss), V, S, U)
        assert 1 < counted / (3 * formula) < 1.02


def test_flops_are_counted_for_the_cpu(monkeypatch):
    """A GPU's plugin counts none before compilation."""
    counted_for, own = [], costs.batch_sums

    def recording(*arguments):
        counted_for.append(jax.config.jax_default_device)
        return own(*arguments)

    monkeypatch.setattr(costs, "batch_sums", recording)
    costs._document_flops.cache_clear()
    assert document_flops(sized("encoder-decoder", 1), V, S, U) > 0
    assert [device.platform for device in counted_for] == ["cpu"]


def test_flops_depend_on_the_model_and_the_loss_alone():
    plain = sized("encoder-decoder", 1)
    other = dataclasses.replace(plain, train=dataclasses.replace(plain.train, batch_size=7), generated=3)
    assert document_flops(other, V, S, U) == document_flops(plain, V, S, U)
    kernels = sized("decoder-only", 1, dtype="bfloat16", attention="cudnn")
    assert document_flops(kernels, V, S, U) > 0.9 * document_flops(sized("decoder-only", 1), V, S, U)
    frozen = dataclasses.replace(plain, objective=dataclasses.replace(plain.objective, freeze_encoder=True))
    assert document_flops(frozen, V, S, U) < document_flops(plain, V, S, U)


def test_utilisation_by_hand():
    pairs = Pairs(np.zeros((2, 9), int), np.array([4, 8]), np.zeros((2, 9), int), np.array([3, 5]))
    shares = {
        ("encoder-decoder", "target"): 4 / 10,
        ("decoder-only", "target"): 4 / 11,
        ("decoder-only", "full"): 1,
        ("prefix-lm", "target"): 4 / 11,
    }
    for (architecture, loss), share in shares.items():
        assert utilisation(sized(architecture, 1, loss), pairs).share == pytest.approx(share)


def test_bytes_by_hand():
    train = TextConfig().train
    assert state_bytes(train, 10) == 4 * 10 * 4  # weights, two means, the best weights
    assert state_bytes(dataclasses.replace(train, average=0.99), 10) == 4 * 10 * 5
    assert state_bytes(dataclasses.replace(train, optimizer="sgd"), 10) == 4 * 10 * 3
    pairs = documents(7, source=5, target=4)
    assert corpus_bytes(200, pairs) == 7 * (5 + 4 + 2 * 4)
    assert corpus_bytes(2000, pairs, pairs) == 2 * 7 * (2 * (5 + 4) + 2 * 4)


# ------------------------------------------------------------------------------------------ without the source


@pytest.mark.parametrize("count", [2, 3, 7, 8])
def test_no_document_keeps_its_source(count):
    pairs = documents(8)[np.arange(count)]
    pairs = Pairs(np.arange(count)[:, None], pairs.source_length, pairs.target, pairs.target_length)
    other = with_another_source(pairs)
    assert sorted(other.source[:, 0]) == list(range(count))
    assert (other.source != pairs.source).all()
    np.testing.assert_array_equal(other.source_length, pairs.source_length[other.source[:, 0]])
    np.testing.assert_array_equal(other.target, pairs.target)
    assert (without_source(pairs).source_length == 0).all()


def test_one_document_has_no_other_s_source():
    with pytest.raises(ValueError, match="two or more"):
        with_another_source(documents(1))


@every_architecture
def test_a_model_reads_the_source_that_it_is_given(architecture):
    """Losses with the documents' own sources are those of `evaluate`; an empty source hides the tokens in it."""
    known = about()
    config = tiny(model={"architecture": architecture})
    model = TextModel(config.model, known.vocab, (known.source_width, known.target_width), key=jax.random.key(3))
    predictor = ModelPredictor(model)
    found, pairs = evaluate(known, predictor, 13), known.test[:13]
    np.testing.assert_array_equal(nats_of(known, predictor, pairs), found.nats)
    other = nats_of(known, predictor, with_another_source(pairs))
    assert np.abs(other - found.nats).max() > 1e-3
    empty = nats_of(known, predictor, without_source(pairs))
    assert np.isfinite(empty).all()
    np.testing.assert_allclose(nats_of(known, predictor, without_source(with_another_source(pairs))), empty, atol=1e-5)


# ------------------------------------------------------------------------------------------ a training's record


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """A training of a frozen encoder beside strong decay."""
    config = tiny(objective={"freeze_encoder": True}, train={"weight_decay": 0.5}, generated=0)
    made = make_training(FAMILY, tmp_path_factory.mktemp("frozen"), runs(config))
    return fit_runs(made, Console(file=io.StringIO()), Trackers([]))[0]


def test_the_record_of_a_run(training):
    works, config, task = training.works, training.runs[0].config, training.tasks[0]
    losses = works.evaluate(config, task, training.predictor(0), works.parts)
    curve = [{"sequences": 12, "loss": 3.0}, {"sequences": 24, "loss": 2.0}]
    found = works.trained_record(training, 0, curve, losses)
    assert json.loads(json.dumps(found)) == found  # as the ledger keeps it
    tokens = losses.losses.tokens
    assert sum(found["document_tokens"]) == tokens
    assert sum(found["document_nats"]) == pytest.approx(found["nats_per_token"] * tokens, abs=0.01)
    assert len(found["document_nats"]) == 13
    assert found["curve"] == {"documents": [12, 24], "nats_per_token": [3.0, 2.0]}
    assert found["parameters"] > found["parameters_without_vocabulary"] > 0
    assert found["peak_bytes"] - found["state_bytes"] == pytest.approx(found["working_bytes"])
    assert found["working_bytes"] > 0
    assert found["tokens_per_second"] * found["seconds_per_document"] == pytest.approx(found["processed_per_document"])
    ways = {"shuffled": with_another_source, "empty": without_source}
    for name, way in ways.items():
        nats = nats_of(task.about, training.predictor(0), way(losses.losses.pairs)).sum()
        assert found["source"][name] == pytest.approx(nats / tokens - losses.losses.loss, abs=1e-6)
    assert found["source"]["shuffled"] != found["source"]["empty"]
    pairs, log_p = task.about.test, task.about.log_constant  # the best constant by hand
    own = [log_p[token] for row, n in zip(pairs.target, pairs.target_length) for token in row[:n]]
    assert found["constant_nats_per_token"] == pytest.approx(-np.mean(own), rel=1e-5)


def test_a_process_that_trained_nothing_has_measured_nothing(training):
    learnt = dataclasses.replace(training.learnt, run_steps=0, seconds=0.0)
    again = dataclasses.replace(training, learnt=learnt)
    found = _measured(again, 0, 10, 5.0)
    assert set(found.values()) == {None}


def test_a_frozen_encoder_stays_as_it_is_drawn_while_all_else_learns(training):
    """Decay, too, leaves it alone; the embedding that both sides share is trained."""
    before = training.problem.init(TASK, member_key(np.asarray(0), Purpose.INIT))
    after = jax.tree.map(lambda leaf: leaf[0], training.learnt.model)
    for old, new in zip(jax.tree.leaves(before.encoder), jax.tree.leaves(after.encoder), strict=True):
        np.testing.assert_allclose(old, new, rtol=1e-6)  # compiled, not decayed: 3 % in these steps
    both = (jax.tree.leaves((one.decoder, one.embedding)) for one in (before, after))
    assert not any(np.array_equal(old, new) for old, new in zip(*both, strict=True))


@pytest.mark.parametrize("architecture", ["decoder-only", "prefix-lm"])
def test_a_model_without_an_encoder_freezes_none(architecture):
    with pytest.raises(UserError, match=f"--freeze-encoder: {architecture} has no encoder"):
        tiny(model={"architecture": architecture}, objective={"freeze_encoder": True})


def test_variety_of_what_is_generated_beside_the_corpus(training):
    about, eos = training.tasks[0].about, EOS
    tokens = np.array([[7, 8, 7, 8, 7, 8, eos], [9, eos, 0, 0, 0, 0, 0]], np.int32)
    target = np.array([[7, 8, 9, 10, 11, eos], [7, 8, 9, 10, 12, eos]], np.int32)
    pairs = Pairs(np.ones((2, 3), np.int32), np.full(2, 3), target, np.full(2, 6))
    told = Written(about, pairs, GenerationConfig(), tokens, np.array([7, 2]), np.ones(2, bool), np.zeros(2), None)
    found = told.shares()
    assert found["distinct_1"] == 3 / 7
    assert found["distinct_2"] == 2 / 5
    assert found["repeated_4"] == pytest.approx(1 / 3)  # 7878, 8787, 7878; the other text has no four tokens
    assert found["reference"] == {"distinct_1": 6 / 10, "distinct_2": 5 / 8, "repeated_4": 0.0}
