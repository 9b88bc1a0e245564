"""What LayerNorm leaves of two features: a sign, times a gain. The original design has width 2."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from bestguess.integers.model.transformer import IntegerModel
from bestguess.nn.normalisation import LayerNorm
from bestguess.report.charts import Chart, Grid, Points


def around_the_first_norm(model: IntegerModel, contexts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the stream before and after the first post-norm, at every position of contexts [n, T]: each [n·T, D].

    With two features, (a, b) less its mean is ±(a − b)/2 · (1, −1), and over its deviation ±(1, −1): two points,
    whatever went in. What tells 256 numbers apart at 8 positions is one bit behind it.
    """
    block = model.decoder.blocks[0]
    if block.norm_place != "post" or not isinstance(block.attention_norm, LayerNorm):
        raise ValueError(f"only post-norm with LayerNorm: this is {block.norm_place}-norm")

    def of_one(term_T):
        x_TD = model.decoder.enter(model.embedding(term_T))
        before_TD = x_TD + block.attention(block.attention_input(x_TD))[0]
        return before_TD, block.attention_norm(before_TD)

    before, after = jax.jit(jax.vmap(of_one))(jnp.asarray(contexts, jnp.int32))
    width = before.shape[-1]
    return np.asarray(before).reshape(-1, width), np.asarray(after).reshape(-1, width)


def chart(models: dict[str, IntegerModel], contexts: np.ndarray) -> Grid:
    """Return a picture of the stream's first two features before and after the first norm, a row for each model."""
    panels = []
    for name, model in models.items():
        for where, points in zip(("before", "after"), around_the_first_norm(model, contexts)):
            told = f"{len(np.unique(np.round(points, 2), axis=0)):,} places"
            if where == "after":
                norm = model.decoder.blocks[0].attention_norm
                assert isinstance(norm, LayerNorm)
                bare = (points - np.asarray(norm.bias)) / np.asarray(norm.gain)
                told = f"{np.mean(np.abs(np.abs(bare) - 1).max(axis=1) < 0.01):.0%} in two places"
            panels.append(
                Chart(
                    f"{name}, {where}: {told}",
                    "feature 1",
                    "feature 2",
                    [Points(points[:, 0], points[:, 1], role="data" if where == "before" else "model")],
                )
            )
    return Grid(
        f"The stream around the first LayerNorm, {contexts.size:,} tokens",
        panels,
        "Over two features LayerNorm keeps a sign alone: all numbers at all positions become one of two points.",
        columns=2,
        share_x=False,
        share_y=False,
    )
