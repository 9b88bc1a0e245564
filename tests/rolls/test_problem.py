"""What the trainer is given of a file: each value once in an epoch, the same from memory or disk; the evidence."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from bestguess.cli import main
from bestguess.rolls.problem import Drawn, Noted, log_mean
from bestguess.rolls.sources import source_from
from bestguess.train.problem import Purpose, Turn, member_key
from bestguess.train.program import Program
from bestguess.workflow.training import slice_of
from tests.compiled import whole
from tests.rolls.tiny import made, own, tiny, write
from tests.rolls.worker import PIECES, curves, learnt, on_file


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """A file of a hidden Markov source, long enough for 125 windows of 8."""
    source = source_from("hmm alphabet=8", 0)
    return write(tmp_path_factory.mktemp("rolls") / "rolls.u16", source.draw(source.start(), 1140)[0])


def of_file(path: Path, *, feed: str = "resident", **more):
    return tiny(
        task={"u16_path": str(path), "feed": feed, "validation": 0.06, "test": 0.06} | more.pop("task", {}), **more
    )


def turns(training, first: int, count: int, fed=None) -> Drawn:
    """Return what is drawn of `count` turns of the first run."""
    problem, task = training.problem, own(training)
    numbers = jnp.arange(first, first + count)
    keys = jax.random.split(jax.random.key(0), count)

    def draw(number, key, fed):
        return problem.draw(task, Turn(key, jnp.asarray(0.0), number, fed))

    return jax.device_get(whole(jax.vmap(draw, in_axes=(0, 0, None if fed is None else 0)), numbers, keys, fed))


# ------------------------------------------------------------------------------------------ an epoch


def test_every_value_of_the_training_part_is_a_target_once_in_an_epoch(path):
    training = made(of_file(path))
    about, T = training.tasks[0].about, 8
    windows, stop = about.windows(about.split.training), about.split.training[1]
    assert training.problem.windows == windows
    assert windows % 4  # a batch straddles the end of the epoch
    epochs = [turns(training, windows * epoch, windows) for epoch in range(3)]
    assert stop - 1 - windows * T < T  # what is left over is no window
    shifts = set()
    for epoch, drawn in enumerate(epochs):
        *starts, last = sorted(drawn.start.tolist())
        moved = starts[0]
        assert 0 <= moved < (T if epoch else 1)
        assert starts == [moved + T * i for i in range(windows - 1)]
        assert last == min(moved + T * (windows - 1), stop - T - 1)  # the last window ends with the part
        np.testing.assert_array_equal(drawn.first_pass, epoch == 0)
        shifts.add(moved)
    assert len(shifts) > 1
    assert (epochs[0].start != epochs[1].start).any()
    straddling = turns(training, windows - 2, 4)
    np.testing.assert_array_equal(straddling.start, [*epochs[0].start[-2:], *epochs[1].start[:2]])
    np.testing.assert_array_equal(straddling.first_pass, [True, True, False, False])


def test_another_seed_has_another_order():
    starts = [turns(made(tiny(train={"first_seed": seed})), 0, 40).start.tolist() for seed in (0, 1)]
    assert starts[0] != starts[1]


@pytest.mark.parametrize("workers", [1, 3])
def test_the_host_reads_the_windows_that_the_device_draws(path, workers):
    resident, fed = made(of_file(path)), made(of_file(path, feed="host", task={"workers": workers}))
    assert resident.problem.fed_bytes == 0
    assert fed.problem.fed_bytes == 2 * 9
    assert fed.problem.data.values is None
    windows, values = fed.problem.windows, np.fromfile(path, "<u2")
    for first, count in ((0, 7), (windows - 3, 5), (3 * windows - 1, windows + 2)):
        read = fed.problem.feed([0, 5], first, count)
        assert (read.shape, read.dtype) == ((2, count, 9), np.uint16)
        start = turns(resident, first, count).start
        np.testing.assert_array_equal(read[0], values[start[:, None] + np.arange(9)])
        np.testing.assert_array_equal(resident.problem.starts(0, first, count), start)
        assert (read[0] != read[1]).any()
        drawn = turns(fed, first, count, jnp.asarray(read[0]))
        np.testing.assert_array_equal(drawn.window, read[0])
        np.testing.assert_array_equal(drawn.first_pass, turns(resident, first, count).first_pass)


def test_max_samples_shortens_the_epoch():
    training = made(tiny(task={"max_samples": 100}))
    assert training.problem.windows == 100 // 8
    assert turns(training, 0, 12).start.max() == 8 * 11


# ------------------------------------------------------------------------------------------ a training


@pytest.fixture(scope="module")
def resident(path, tmp_path_factory):
    config = on_file(path, "resident")
    return made(config), learnt(config, tmp_path_factory.mktemp("resident"))


def worker(*words: object, flags: str) -> str:
    """Return what a worker with these flags for XLA says."""
    said = subprocess.run(
        [sys.executable, "-m", "tests.rolls.worker", *map(str, words)],
        cwd=Path(__file__).parents[2], env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    return said.stdout


def test_a_fed_training_is_the_resident_one_to_the_bit(path, tmp_path):
    # With both of the flags that make the tests compile faster, XLA rounds these two programs differently.
    worker("feeds", tmp_path, path, flags="--xla_backend_optimization_level=0")
    found = {}
    for name in PIECES:
        with np.load(tmp_path / f"{name}.npz") as arrays:
            found[name] = [arrays[key] for key in arrays.files]
    for x, y in zip(found["host"], found["resident"], strict=True):
        np.testing.assert_array_equal(x, y)


def test_the_first_pass_notes_every_window_once_and_no_more(resident):
    training, fitted = resident
    windows = training.problem.windows
    assert 100 < windows < 40 * 4
    assert fitted.kept.windows.tolist() == [windows]
    assert fitted.kept.largest[0] >= 0


def test_the_evidence_is_what_the_weights_of_each_step_say(path, resident):
    """Step by step with the program's own weights, each batch scored before it is learnt from, summed in float64."""
    training, fitted = resident
    config = training.config
    program = Program(training.problem, dataclasses.replace(config, validate_every=1), training.members)
    problem, task = training.problem, own(training)

    @jax.jit
    def noted(model, start, keys):
        first = jnp.ones(len(keys), bool)
        drawn = Drawn(start, None, first, keys)
        axes = (Drawn(0, None, 0, 0),)
        return jax.vmap(lambda one: problem.loss(model, task, one)[2], in_axes=axes)(drawn)

    state = program.start()
    log_e, nats, largest = np.zeros((3, 5)), 0.0, 0.0
    for step in range(config.steps):
        numbers = np.arange(4 * step, 4 * step + 4)
        first = numbers < problem.windows
        keys = jax.random.split(jax.random.fold_in(member_key(jnp.asarray(0), Purpose.TRAIN), step), 4)
        start = jnp.asarray(problem.starts(0, 4 * step, 4), jnp.int32)
        found = jax.device_get(noted(slice_of(state.model, 0), start, keys))
        log_e += found.log_f[first].astype(float).sum(axis=0)
        nats += found.nats[first].astype(float).sum()
        largest = max(largest, math.log(np.exp(log_e).mean()))
        state, _ = program.chunk(state, step, 1)
    np.testing.assert_allclose(fitted.kept.log_e[0], log_e, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(fitted.kept.nats[0], nats, rtol=1e-5)
    np.testing.assert_allclose(fitted.kept.largest[0], largest, atol=1e-4)
    assert np.abs(log_e).min() > 1e-3  # every head and weight has bet
    said = jax.device_get(problem.kept_measures(slice_of(fitted.kept, 0)))
    values = problem.windows * 8
    assert float(said["first_pass_bits"]) == pytest.approx(nats / (values * math.log(2)), rel=1e-5)
    assert float(said["first_pass_values"]) == problem.windows * 7
    assert float(said["log10_e"]) == pytest.approx(math.log10(np.exp(log_e).mean()), abs=1e-4)
    assert float(said["log10_e_largest"]) == pytest.approx(largest / math.log(10), abs=1e-4)


def test_long_sums_of_float32_do_not_drift(resident):
    """30,000 steps, of which each adds a little to a large sum: plain float32 would lose it."""
    problem = resident[0].problem
    kept = problem.keep(own(resident[0]))
    kept = dataclasses.replace(kept, log_e=kept.log_e + 3e4)
    one = Noted(jnp.full_like(kept.log_e, 7e-4), jnp.asarray(1.0), jnp.asarray(1))
    kept = jax.jit(lambda kept: jax.lax.fori_loop(0, 30_000, lambda _, kept: problem.note(kept, [one]), kept))(kept)
    np.testing.assert_allclose(kept.log_e, 3e4 + 21, atol=0.01)


def test_the_mean_of_nothing_is_exactly_nothing():
    assert float(log_mean(jnp.zeros((4, 5)))) == 0
    assert float(log_mean(jnp.log(jnp.asarray([[1.0, 3.0], [5.0, 7.0]])))) == pytest.approx(math.log(4))


def test_validation_by_hand(path):
    """Bits, nats of a token and top-1 of the first head, where tokens are bins of several values."""
    config = of_file(path, task={"tokens": "adaptive", "vocab": 4}, model={"outputs": 3})
    training = made(config)
    about, problem = training.tasks[0].about, training.problem
    tokens = about.tokens
    assert tokens.vocab < tokens.values
    model = jax.tree.map(lambda leaf: leaf + 0.1, whole(problem.init, own(training), jax.random.key(0)))
    said = jax.device_get(whole(problem.validate, model, own(training), jax.random.split(jax.random.key(1), 4)))
    windows = about.spread(about.split.validation, 4).astype(int)
    assert len(windows) == 4
    assert about.split.validation[0] >= about.split.training[1] + 8
    loss, within, hits = 0.0, 0.0, 0
    for window in windows:
        logits = np.asarray(whole(model, tokens.of_value[window[:-1]])[:, 0], float)
        log_q = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        for t, value in enumerate(window[1:]):
            of_values = log_q[t, tokens.of_value] + tokens.log_within
            loss -= log_q[t, tokens.of_value[value]]
            within -= tokens.log_within[value]
            hits += int(of_values.argmax() == value)
    assert said["loss"] == pytest.approx(loss / 32, rel=1e-5)
    assert said["bits_per_value"] == pytest.approx((loss + within) / (32 * math.log(2)), rel=1e-5)
    assert said["score"] == said["bits_per_value"]
    assert said["top1"] == pytest.approx(hits / 32)


def test_noise_and_masks_change_inputs_and_no_target(path):
    config = of_file(path, objective={"noise": 0.5, "masking": 0.3})
    training = made(config)
    problem, task = training.problem, own(training)
    token = jnp.asarray(np.tile(np.arange(8), 60), jnp.int32)
    keys = jax.random.split(jax.random.key(0), 2)
    augmented = jax.jit(lambda key: problem._augmented(token, problem._data(task), key)[:2])
    (seen, masked), (again, masked_again), (other, other_masked) = map(augmented, (keys[0], keys[0], keys[1]))
    np.testing.assert_array_equal(seen, again)
    np.testing.assert_array_equal(masked, masked_again)
    assert (seen != other).any()
    assert (masked != other_masked).any()
    assert 0.2 < float(masked.mean()) < 0.4
    # Half are drawn anew, and of these some are drawn as they were.
    assert 0.3 < float((seen != token).mean()) < 0.5
    plain = made(of_file(path)).problem
    window = jnp.arange(9, dtype=jnp.uint16) % 8
    drawn = Drawn(jnp.asarray(0), window, jnp.asarray(True), keys[0])
    model = whole(problem.init, task, keys[1])  # untrained: it predicts the marginal, whatever its inputs are
    loss, of_plain = (float(whole(one.loss, model, task, drawn)[0]) for one in (problem, plain))
    assert loss == pytest.approx(of_plain, rel=1e-6)


# ------------------------------------------------------------------------------------------ processes


def test_one_and_eight_devices_have_the_same_loss_curve(tmp_path):
    flags = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8"
    eight, one = json.loads(worker("curves", tmp_path / "eight", flags=flags)), curves(tmp_path / "one")
    assert (eight.pop("devices"), one.pop("devices")) == (8, 1)
    assert {"loss", "train_loss", "log10_e", "first_pass_bits"} <= set(one)
    for name in one:
        np.testing.assert_allclose(eight[name], one[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn", "compiled_alone")
def test_killed_and_resumed_has_the_same_evidence(path, tmp_path, capsys):
    """kill -9 in the midst of the first pass, through the command line; what is resumed ends with the same bits."""
    words = [
        *("rolls", "train", "--u16-path", path, "--window", 8, "--validation", 0.06, "--test", 0.06),
        *("--layers", 1, "--d-model", 8, "--heads", 2, "--outputs", 2, "--steps", 60, "--batch-size", 2),
        *("--validate-every", 1, "--checkpoint-every", 0, "--validation-sequences", 4, "--warmup-steps", 1),
        *("--learning-rate", 0.03, "--test-samples", 64, "--patience", 0),
    ]

    # Only the process that is killed and the one that resumes share compiled programs: the whole training is compiled
    # anew, and in this process.
    cache = {
        "JAX_ENABLE_COMPILATION_CACHE": "true",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }

    def command(*more):
        argv = [sys.executable, "-m", "bestguess", *map(str, [*words[:2], *more, "--json"])]
        env = os.environ | cache
        return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    folder = tmp_path / "cut"
    cut = command(*words[2:], "--out", folder)
    try:
        while cut.poll() is None and not len(list(folder.rglob("step-*.safetensors"))):
            time.sleep(0.01)
    finally:
        cut.kill()
        cut.communicate()
    assert cut.returncode == -9
    out, err = command("--resume", folder).communicate()
    assert "going on from step" in err, err
    resumed = json.loads(out)
    with pytest.raises(SystemExit):
        main([*map(str, words), "--out", str(tmp_path / "whole"), "--json"])
    whole = json.loads(capsys.readouterr().out)
    assert resumed["evidence"] == whole["evidence"]
    assert resumed["log10_e_by_window"] == whole["log10_e_by_window"]
    assert resumed["bits_per_value"] == whole["bits_per_value"]
    assert whole["first_pass_values"] == 60 * 2 * 7
    newest = [sorted((one / "checkpoints").rglob("*.safetensors"))[-1] for one in (folder, tmp_path / "whole")]
    found, wanted = map(load_file, newest)
    assert {name.partition("/")[0] for name in found} >= {"model", "kept"}
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
