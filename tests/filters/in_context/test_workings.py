"""Runs on unknown systems: figures, the self-test, what is refused, and the commands end to end at toy size."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bestguess import judge, open_task
from bestguess.cli import main
from bestguess.command import Failure, UserError
from bestguess.config import run_of_single, shape_key
from bestguess.filters.family import FAMILY
from bestguess.filters.in_context.evaluate import grouped
from bestguess.filters.in_context.workings import InContextWorkings
from bestguess.task import Gaussian
from bestguess.workflow.evaluation import Evaluator
from bestguess.workflow.training import make_training

TOY = {
    "task": {"latent_dim": 3, "observed_dim": 2, "length": 8, "systems": 3, "held_out": 4},
    "model": {"layers": 1, "d_model": 4, "heads": 2},
    "train": {"validation_sequences": 8},
    "test_sequences": 64,
}


def config(**rooms):
    values = {key: dict(room) if isinstance(room, dict) else room for key, room in TOY.items()}
    for room, keys in rooms.items():
        values[room] = values.get(room, {}) | keys
    return FAMILY.single(values)


CONFIG = config()
WORKS = FAMILY.works.of(CONFIG)


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    """Making it is the self-test."""
    return Evaluator(WORKS, CONFIG, WORKS.task(CONFIG))


def test_the_kind_of_task_decides_on_the_workings():
    assert isinstance(WORKS, InContextWorkings)
    assert WORKS.parts == ("evaluation",)
    one = config(task={"systems": None}, rollout={"context": 4, "horizons": [2]})
    assert FAMILY.works.of(one) is FAMILY.works
    assert len({shape_key(each) for each in (CONFIG, one, config(task={"systems": 4}))}) == 3
    assert shape_key(config(task={"lambda": 0.5})) == shape_key(CONFIG)


def test_the_oracle_has_a_regret_of_0_and_is_the_mixture_on_held_out_systems(evaluator):
    assert evaluator.missed < 1e-9
    found = evaluator(WORKS.oracle(CONFIG, evaluator.task))
    one_step, held_out = evaluator.measured(found)
    assert abs(one_step.regret) < 1e-9 * one_step.floor
    assert held_out.regret < 1e-9 * held_out.unit
    for own in (found.trained, found.held_out):
        assert abs(own.over_mixture().mean) < 1e-4
        assert own.over_told().mean == pytest.approx(own.mixture_over_told().mean, rel=1e-4)
        assert own.over_told().mean > 0


def test_a_loss_over_anothers_is_their_paired_difference(evaluator):
    """Without the noise of the future: over many sequences, the plain difference of the losses comes to the same."""
    task = jax.tree.map(jnp.asarray, evaluator.task)
    keys = jax.random.split(jax.random.key(5), 1000)
    known = jax.jit(jax.vmap(task.known_held_out))(jnp.arange(1000) % 4, keys)
    loss = lambda guess: np.sum((np.asarray(known.y) - np.asarray(guess)) ** 2, axis=2)[:, task.predicted].mean(1)  # noqa: E731
    plain = (loss(0.5 * known.told) - loss(known.mixture)) / float(task.held_out.floor_by_step[task.predicted].mean())

    from bestguess.filters.in_context.evaluate import on_held_out

    half = lambda y: Gaussian(0.5 * jax.vmap(task.held_out.told)(jnp.arange(len(y)) % 4, y))  # noqa: E731
    found = on_held_out(task, half, jax.random.key(6), 256).over_mixture()
    error = plain.std(ddof=1) / len(plain) ** 0.5
    assert abs(found.mean - plain.mean()) < 5 * (error + found.standard_error)
    assert abs(found.mean) > 5 * error


def test_the_constant_has_the_headroom_over_the_told_filters(evaluator):
    found = evaluator(WORKS.constant(CONFIG, evaluator.task))
    for own in (found.trained, found.held_out):
        estimate = own.over_told()
        assert abs(estimate.mean - own.headroom) < 6 * estimate.standard_error
    one = found.score
    assert abs(one.regret.mean - (one.ceiling - one.floor)) < 5 * one.regret.standard_error


def test_an_oracle_of_other_systems_is_refused():
    class Wrong(InContextWorkings):
        def oracle(self, config_, task):
            return super().oracle(config_, WORKS.task(config(train={"first_seed": 9})))

    with pytest.raises(Failure, match="the oracle misses a regret of 0"):
        Evaluator(Wrong(FAMILY), CONFIG, WORKS.task(CONFIG))


def test_standard_errors_are_over_systems():
    values = np.array([1.0, 5.0, 3.0, 1.0, 5.0, 3.0])
    assert grouped(values, 3).standard_error == pytest.approx(np.std([1, 5, 3], ddof=1) / 3**0.5)
    assert grouped(values, 6).standard_error == pytest.approx(np.std(values, ddof=1) / 6**0.5)


def test_systems_that_do_not_fit_are_refused_before_they_are_made(monkeypatch):
    large = config(task={"systems": 65536, "latent_dim": 8192, "length": 4096})
    with pytest.raises(UserError, match=r"--systems 65536: needs at least .* give less"):
        make_training(FAMILY, Path(), [run_of_single(large)])
    with pytest.raises(UserError, match=r"--held-out 65536: needs at least"):
        make_training(FAMILY, Path(), [run_of_single(config(task={"held_out": 65536, "latent_dim": 8192}))])
    training = make_training(FAMILY, Path(), [run_of_single(CONFIG)])
    monkeypatch.setenv("BESTGUESS_MEMORY", "1000")
    with pytest.raises(UserError, match=r"--systems 3: the evaluation needs"):
        WORKS.memory(CONFIG, training.tasks[0], training.problem)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({"systems": 0}, "--systems 0: must be 1 or more"),
        ({"held_out": 1}, "--held-out 1: must be 2 or more"),
        ({"systems": 70000}, "systems 70000: at most 65,536"),
    ],
)
def test_impossible_counts_are_refused(task, told):
    with pytest.raises(UserError) as error:
        config(task=task)
    assert told in str(error.value)


def test_anybodys_predictor_is_judged_against_the_mixture():
    subject = open_task("filters", latent_dim=3, length=8, systems=3, held_out=4, test_sequences=64)
    assert subject.sequences(5).shape == (5, 8, 2)
    judgement = judge(subject, np.zeros_like)
    assert judgement.sequences == 64
    one = judgement.measured
    assert abs(judgement.regret - (one.ceiling - one.floor)) < 5 * judgement.standard_error


def run(capsys, *words):
    """Return the exit status, the JSON object on standard output (None if empty), and standard error."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, words)))
    out, err = capsys.readouterr()
    return stop.value.code or 0, json.loads(out) if out else None, err


FLAGS = [
    *("--systems", "3", "--held-out", "4", "--latent-dim", "3", "--length", "8", "--layers", "1", "--d-model", "8"),
    *("--heads", "2", "--batch-size", "4", "--steps", "4", "--warmup-steps", "1", "--validate-every", "2"),
    *("--validation-sequences", "4", "--test-sequences", "8"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of two runs."""
    folder = tmp_path_factory.mktemp("runs") / "toy"
    with pytest.raises(SystemExit) as stop:
        main(["filters", "train", *FLAGS, "--learning-rate", "1e-3", "1e-2", "--out", str(folder), "--json"])
    assert not stop.value.code
    return folder


def test_training_leaves_figures_and_a_page(trained, capsys):
    found = json.loads((trained / "evaluation.json").read_text())
    assert (found["systems"], found["held_out"], found["test_sequences"]) == (3, 4, 8)
    assert not (trained / "rollouts.json").exists()
    for one in found["runs"]:
        assert set(one["trained"]) == set(one["held_out"]) == {
            *("headroom", "over_told", "over_mixture", "mixture_over_told"),
        }  # fmt: skip
        assert set(one["ar"]) == {"1", "2", "4"}
        assert set(one["by_step"]["held_out"]) == {"model", "mixture", "ridge"}
        assert len(one["by_step"]["trained"]["model"]) == 7
        assert one["own_system"][0] == pytest.approx(1 / 3)
    names = {path.stem for path in (trained / "figures").iterdir()}
    assert names == {"learning", "in_context", "own_system", "sequences"}
    page = (trained / "report.html").read_text()
    assert "held-out systems" in page
    status, again, err = run(capsys, "filters", "evaluate", trained, "--json")
    assert status == 0
    assert again["runs"] == found["runs"]
    assert "self-test" in err
    assert run(capsys, "filters", "report", trained, "--json")[0] == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("rollout",), "there are no rollouts"),
        (("inspect",), "inspect a run on one system"),
        (("evaluate", "--length", "16"), "without --length and --lambda"),
    ],
)
def test_what_needs_one_system_is_refused(trained, capsys, words, told):
    status, _, err = run(capsys, "filters", words[0], trained, *words[1:], "--json")
    assert status == 2
    assert told in err
    assert "of 3 unknown systems" in err
