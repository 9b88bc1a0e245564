"""LayerNorm over two features is a sign; over three it is not."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from bestguess.integers.config import document
from bestguess.integers.model.collapse import around_the_first_norm, chart
from bestguess.integers.model.transformer import IntegerModel
from bestguess.report.render import save_png

CONTEXTS = np.random.default_rng(0).integers(0, 256, (40, 8))


def model(**changes) -> IntegerModel:
    config = dataclasses.replace(document().model, **changes)
    made = IntegerModel(config, 8, key=jax.random.key(3))
    # As training would leave them: gains and biases of its own.
    return jax.tree.map(lambda leaf: leaf + 0.1 if leaf.ndim == 1 else leaf, made)


def test_two_features_become_two_points():
    before, after = around_the_first_norm(model(), CONTEXTS)
    assert before.shape == after.shape == (320, 2)
    assert len(np.unique(np.round(before, 2), axis=0)) > 250
    # All but those that are nearly equal, where epsilon shows: of two uniform numbers, 19 %.
    clear = np.abs(before[:, 0] - before[:, 1]) > 0.1
    assert clear.mean() > 0.8
    sign = np.sign(before[clear, 0] - before[clear, 1])
    np.testing.assert_allclose(after[clear], 1.1 * sign[:, None] * np.array([[1, -1]]) + 0.1, atol=0.01)


def test_more_features_do_not():
    _, after = around_the_first_norm(model(d_model=4, lift=True), CONTEXTS)
    assert len(np.unique(np.round(after, 2), axis=0)) > 250


def test_the_picture(tmp_path):
    picture = chart({"untrained": model()}, CONTEXTS)
    assert len(picture.panels) == 2
    save_png(picture, tmp_path / "collapse.png")
    with pytest.raises(ValueError, match="pre-norm"):
        around_the_first_norm(model(norm_place="pre"), CONTEXTS)
