"""The NumPy forward pass against the model proper, option by option; the file; the command that uses both."""

from __future__ import annotations

import json
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save

from bestguess.cli import main
from bestguess.command import UserError
from bestguess.integers.config import IntegerModelConfig, IntegersConfig, IntegerTaskConfig
from bestguess.integers.model.portable import SHIPPED, PortableModel, load_portable, save_portable
from bestguess.integers.model.transformer import IntegerModel
from bestguess.train.checkpoint import named_leaves

LENGTH = 7
DESIGNS = [
    {},
    {"positions": "rope"},
    {"embedding": "learned", "activation": "relu", "positions": "learned"},
    {"embedding": "fourier", "activation": "silu", "norm": "layer", "norm_place": "post"},
    {"embedding": "number-theoretic", "activation": "swiglu", "norm_place": "none", "positions": "rope", "bias": True},
    {"embedding": "tuple", "lift": False, "d_model": 2, "heads": 2, "positions": "none", "norm": "layer"},
    {"head": "regression", "d_ff": 11, "bias": True},
    {"head": "classification", "embedding": "binary"},
    {"head": "differences", "embedding": "tuple"},
]


def noisy(config: IntegersConfig) -> IntegerModel:
    """A model with every weight away from where it starts: gains, biases and the head too."""
    model = IntegerModel(config.model, config.task.length, key=jax.random.key(0))
    leaves, tree = jax.tree.flatten(model)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(tree, [leaf + 0.2 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys)])


def portable(config: IntegersConfig, model: IntegerModel) -> PortableModel:
    return PortableModel(config, {name: np.asarray(leaf) for name, leaf in named_leaves(model)})


@pytest.mark.parametrize("options", DESIGNS, ids=str)
def test_numpy_says_what_the_model_says(options):
    shape = {"layers": 3, "d_model": 20, "heads": 5} | options
    config = IntegersConfig(task=IntegerTaskConfig(length=LENGTH), model=IntegerModelConfig(**shape))
    model = noisy(config)
    proper = eqx.filter_jit(lambda terms: model(terms)[0])
    for terms in ([3], [0, 255, 17], [1, 2, 4, 8, 16, 32, 64]):
        # The model is causal: behind the terms may stand whatever fills its one compiled shape.
        filled = jnp.asarray(terms + [0] * (LENGTH - len(terms)))
        expected = np.asarray(proper(filled))[: len(terms)]
        found = portable(config, model).logits(terms)
        np.testing.assert_allclose(found, expected, atol=3e-5 * max(1.0, np.abs(expected).max()))
        p = portable(config, model).probabilities(terms)
        np.testing.assert_allclose(p, jax.nn.softmax(expected[-1]), atol=1e-5)
        assert np.ptp(expected[-1]) > 0.1


def test_a_file_gives_back_what_was_saved(tmp_path):
    config = IntegersConfig(
        task=IntegerTaskConfig(length=LENGTH), model=IntegerModelConfig(layers=1, d_model=8, heads=2)
    )
    model = portable(config, noisy(config))
    path = save_portable(tmp_path / "deep" / "m.safetensors", config, model.weights)
    again = load_portable(path)
    assert again.config == config
    np.testing.assert_array_equal(again.logits([1, 2, 3]), model.logits([1, 2, 3]))


def test_half_the_size_says_nearly_the_same(tmp_path):
    config = IntegersConfig(task=IntegerTaskConfig(length=LENGTH), model=IntegerModelConfig(layers=1, heads=2))
    model = portable(config, noisy(config))
    whole = save_portable(tmp_path / "whole.safetensors", config, model.weights)
    half = save_portable(tmp_path / "half.safetensors", config, model.weights, half=True)
    assert half.stat().st_size < 0.51 * whole.stat().st_size
    found, expected = load_portable(half).logits([1, 2, 3]), model.logits([1, 2, 3])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=3e-3 * np.abs(expected).max())
    large = model.weights | {"head/bias": np.full(256, 1e5, np.float32)}
    with pytest.raises(OverflowError, match="too large for float16"):
        save_portable(tmp_path / "large.safetensors", config, large, half=True)
    assert not (tmp_path / "large.safetensors").exists()


def test_what_is_no_model_is_told_in_one_line(tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(UserError, match="no such file"):
        load_portable(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(UserError, match="damaged, or not written by"):
        load_portable(path)
    path.write_bytes(save({"a": np.zeros(3, np.float32)}))
    with pytest.raises(UserError, match="damaged, or not written by"):
        load_portable(path)


# ------------------------------------------------------------------------------------------ predict


def run(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["integers", "predict", *words])
    out, err = capsys.readouterr()
    return stop.value.code or 0, out, err


def test_the_shipped_model_is_small_and_predicts(capsys):
    assert SHIPPED.stat().st_size < 8e6
    code, out, err = run(capsys, "2", "4", "8", "16")
    assert (code, err) == (0, "")
    assert "both expect 32" in out
    code, out, err = run(capsys, "3", "5", "7", "9", "--json")
    result = json.loads(out)
    assert {"next", "oracle", "sentence"} <= set(result)
    assert result["next"][0]["value"] == result["oracle"][0]["value"] == 11
    for guess in (*result["next"], *result["oracle"]):
        assert set(guess) == {"value", "probability", "residue"}
    assert result["next"][0]["probability"] > 0.5


def test_predict_says_where_both_differ_and_where_nothing_fits(capsys, tmp_path):
    config = IntegersConfig(model=IntegerModelConfig(layers=1, d_model=8, heads=2))
    path = str(save_portable(tmp_path / "m.safetensors", config, portable(config, noisy(config)).weights))
    code, out, _ = run(capsys, "2", "4", "8", "16", "--model", path)
    assert code == 0
    assert "they differ: the model expects" in out
    assert "the oracle 32" in out
    assert "regret here is" in out
    code, out, _ = run(capsys, "255", "1", "77", "--model", path)
    assert "no recurrence of the generator begins with 255, 1, 77" in out
    assert json.loads(run(capsys, "255", "1", "77", "--model", path, "--json")[1])["oracle"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [((), "no terms"), (("x",), "'x'"), (("1", "--top", "0"), "--top 0")],
)
def test_bad_input_is_one_line(capsys, words, said):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_predicting_needs_no_jax():
    code = (
        "import sys\nfrom bestguess.cli import main\n"
        "try:\n    main(['integers', 'predict', '2', '4', '8', '16'])\n"
        "except SystemExit:\n    print({m.split('.')[0] for m in sys.modules} & {'jax', 'equinox', 'matplotlib'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stdout + done.stderr
