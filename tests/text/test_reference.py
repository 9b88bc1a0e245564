"""The reference models: shapes, what is scored, and labels that are shifted twice."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bestguess.text import ReferenceDecoderOnly, ReferenceTransformer
from bestguess.text.sequences import shift
from bestguess.text.tokens import EOS, PAD, SEP

V, D, H, F, LAYERS = 11, 8, 2, 13, 1
MODELS = [ReferenceTransformer, ReferenceDecoderOnly]
every_model = pytest.mark.parametrize("kind", MODELS)


def make(kind, dropout: float = 0.0):
    """A model whose predictions are far from uniform."""
    model = kind(V, D, LAYERS, H, F, dropout, key=jax.random.key(0))
    leaves, shape = jax.tree.flatten(model)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(shape, [x + 0.3 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys)])


def row(source: list[int], target: list[int], size: int = 10) -> list[int]:
    made = [*source, SEP, *target]
    return made + [PAD] * (size - len(made))


IDS = jnp.asarray([row([5, 6, 7], [8, 9, EOS]), row([9, 5], [6, EOS])])
run = jax.jit(lambda model, ids, labels=None, key=None: model(ids, labels, key))


def nats(logits, target) -> np.ndarray:
    return -np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), np.asarray(target)[..., None], axis=-1)[..., 0]


@every_model
def test_logits_and_loss(kind):
    model = make(kind)
    found = jax.eval_shape(model, IDS[0])
    assert found["loss"] is None
    assert found["logits"].shape == (10, V)
    batch = run(model, IDS, IDS)
    assert batch["logits"].shape == (2, 10, V)
    # By hand: each token's −log p from the logits before it, summed over both sequences and divided once.
    total = count = 0.0
    for ids, logits in zip(np.asarray(IDS), batch["logits"]):
        separator = list(ids).index(SEP)
        for t in range(1, 10):
            if ids[t] != PAD and (kind is ReferenceDecoderOnly or t > separator):
                total, count = total + nats(logits[t - 1], ids[t]), count + 1
    assert count == (5 if kind is ReferenceTransformer else 6 + 4)
    np.testing.assert_allclose(batch["loss"], total / count, rtol=1e-5)


@every_model
def test_padding_is_never_scored_and_never_seen(kind):
    model = make(kind)
    short, long = jnp.asarray(row([5, 6, 7], [8, EOS], 6)), jnp.asarray(row([5, 6, 7], [8, EOS], 9))
    np.testing.assert_allclose(run(model, long, long)["loss"], run(model, short, short)["loss"], rtol=1e-6)
    np.testing.assert_allclose(
        run(model, long, long)["logits"][:6], run(model, short, short)["logits"], rtol=1e-5, atol=1e-6
    )
    assert np.isnan(run(model, long, jnp.full(9, PAD))["loss"])  # nothing is scored
    batch = run(model, jnp.stack([long, long.at[1].set(9)]))["logits"]
    np.testing.assert_allclose(batch[0], run(model, long, long)["logits"], atol=1e-6)


@every_model
def test_changing_a_token_changes_no_logit_that_predicts_it(kind):
    model = make(kind)
    before = np.asarray(run(model, IDS[0])["logits"])
    for t in range(4, 7):
        after = np.asarray(run(model, IDS[0].at[t].set(10))["logits"])
        np.testing.assert_allclose(after[:t], before[:t], atol=1e-6)
        assert np.abs(after[t:] - before[t:]).max(axis=-1).min() > 1e-5


def test_a_loss_of_nothing_is_no_number():
    """Without SEP all is source: a loss of 0 would look like a perfect model."""
    without = jnp.where(IDS == SEP, 5, IDS)
    assert np.isnan(run(make(ReferenceTransformer), without, without)["loss"])
    assert run(make(ReferenceDecoderOnly), without, without)["loss"] > 0


def test_a_transformer_predicts_nothing_in_its_source():
    logits = np.asarray(run(make(ReferenceTransformer), IDS[0])["logits"])
    assert not logits[:3].any()
    assert (np.abs(logits[3:]).max(axis=-1) > 0.01).all()


@every_model
def test_dropout_only_with_a_key(kind):
    plain, dropping = make(kind), make(kind, dropout=0.4)
    np.testing.assert_array_equal(run(dropping, IDS[0])["logits"], run(plain, IDS[0])["logits"])
    batch = run(dropping, jnp.stack([IDS[0], IDS[0]]), key=jax.random.key(0))["logits"]
    assert np.abs(batch[0] - batch[1]).max() > 0.01  # each sequence has its own
    assert np.abs(batch[0] - run(plain, IDS[0])["logits"]).max() > 0.01


# ------------------------------------------------------------------------------------- shifted twice


def test_labels_that_come_shifted_are_shifted_twice():
    """Data with `labels[t] = token[t + 1]` and a loss of `logits[:-1]` against `labels[1:]`: each is right alone.

    Together they score the token after the next one.
    """
    model, token = make(ReferenceDecoderOnly), jnp.asarray([5, 9, 6, 8, 7, 10, 5, 6])
    shifted = jnp.append(shift(token)[1], PAD)
    logits = run(model, token, token)["logits"]
    np.testing.assert_allclose(run(model, token, token)["loss"], nats(logits[:-1], token[1:]).mean(), rtol=1e-6)
    np.testing.assert_allclose(run(model, token, shifted)["loss"], nats(logits[:-2], token[2:]).mean(), rtol=1e-6)


def test_a_model_trained_on_labels_shifted_twice_leaves_out_every_other_token():
    cycle = jnp.tile(jnp.asarray([5, 6, 7, 8, 9]), 3)
    following = {5: 6, 6: 7, 7: 8, 8: 9, 9: 5}
    optimiser = optax.adam(0.02)

    @jax.jit
    def trained(labels):
        def step(carry, _):
            model, state = carry
            gradient = jax.grad(lambda model: model(cycle, labels)["loss"])(model)
            update, state = optimiser.update(gradient, state)
            return (optax.apply_updates(model, update), state), None

        model = ReferenceDecoderOnly(V, D, LAYERS, H, F, 0.0, key=jax.random.key(0))
        (model, _), _ = jax.lax.scan(step, (model, optimiser.init(model)), length=60)
        found = model(cycle, labels)
        return jnp.argmax(found["logits"], axis=-1), found["loss"]

    once, loss = trained(cycle)
    assert float(loss) < 0.1
    assert [int(guess) for guess in once] == [following[int(token)] for token in cycle]
    twice, loss = trained(jnp.append(shift(cycle)[1], PAD))
    assert float(loss) < 0.1  # the loss itself tells nothing
    assert [int(guess) for guess in twice] == [following[following[int(token)]] for token in cycle]


def test_the_package_loads_its_models_at_the_first_use():
    code = (
        "import sys, bestguess.text.config, bestguess.text; assert 'jax' not in sys.modules\n"
        "from bestguess.text import ReferenceTransformer; assert 'jax' in sys.modules\n"
        "import bestguess.text as text\ntry: text.Reference\nexcept AttributeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "module 'bestguess.text' has no attribute 'Reference'\n"), done.stderr
