"""Impossible shapes: one line each, that names the flag."""

from __future__ import annotations

import dataclasses

import jax
import pytest

from bestguess.command import UserError
from bestguess.nn.config import DecoderConfig, DesignConfig
from bestguess.nn.decoder import Decoder

nan = float("nan")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layers": 0}, "--layers 0: must be positive"),
        ({"layers": -3}, "--layers -3: must be positive"),
        ({"d_model": 0}, "--d-model 0: must be positive"),
        ({"heads": 0}, "--heads 0: must be positive"),
        ({"d_ff": 0}, "--d-ff 0: must be positive"),
        ({"rope_base": 0.0}, "--rope-base 0.0: at least 1 and finite"),
        ({"rope_base": nan}, "--rope-base nan: at least 1 and finite"),
        ({"rope_base": float("inf")}, "--rope-base inf: at least 1 and finite"),
        ({"layers": 257}, "--layers 257: at most 256"),
        ({"d_model": 10**20}, f"--d-model {10**20}: at most 65,536"),
        ({"d_ff": 10**20}, f"--d-ff {10**20}: at most 1,048,576"),
        ({"heads": 10**20}, f"--heads {10**20}: at most 65,536"),
        ({"d_model": 12, "heads": 5}, "--heads 5: does not divide --d-model 12; choose from [1, 2, 3, 6]"),
        ({"d_model": 4, "heads": 8}, "--heads 8: does not divide --d-model 4; choose from [1, 2]"),
        ({"d_model": 7, "heads": 2}, "--heads 2: does not divide --d-model 7; choose from an even --d-model"),
        (
            {"d_model": 15, "heads": 3},
            "--d-model 15 over --heads 3 gives head size 5, which is odd; "
            "RoPE rotates pairs of features, so it must be even",
        ),
        (
            {"attention": "cudnn"},
            "--attention cudnn: needs --dtype bfloat16 and a head size that is a multiple of 8",
        ),
        (
            {"attention": "cudnn", "dtype": "bfloat16", "d_model": 24, "heads": 2},
            "--attention cudnn: needs --dtype bfloat16 and a head size that is a multiple of 8",
        ),
    ],
)
def test_an_impossible_shape_is_named_in_one_line(values, message):
    config = DecoderConfig(**values)
    with pytest.raises(UserError) as error:
        config.check()
    assert str(error.value) == message
    with pytest.raises(UserError):  # and no decoder is made of it
        Decoder(config, key=jax.random.key(0))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"d_ff": 1},
        {"d_model": 2, "heads": 1},
        {"attention": "cudnn", "dtype": "bfloat16", "d_model": 16, "heads": 2},
    ],
)
def test_a_possible_shape_passes(values):
    DecoderConfig(**values).check()


def test_a_decoder_asks_its_user_for_no_more_than_it_did():
    """What `DesignConfig` makes flags of is fixed for other families: pre-norm, RMSNorm, RoPE, no biases."""
    added = {f.name for f in dataclasses.fields(DesignConfig)} - {f.name for f in dataclasses.fields(DecoderConfig)}
    assert added == {"norm", "norm_place", "positions", "bias", "dropout"}
    assert all(getattr(DecoderConfig(), name) == getattr(DesignConfig(), name) for name in added)


def test_heads_of_any_size_where_nothing_is_rotated():
    DesignConfig(d_model=2, heads=2, positions="learned").check()
    DesignConfig(d_model=15, heads=3, positions="none").check()
    with pytest.raises(UserError, match="head size 1, which is odd"):
        DesignConfig(d_model=2, heads=2).check()
    with pytest.raises(UserError, match=r"--heads 2: does not divide --d-model 7; choose from \[1, 7\]"):
        DesignConfig(d_model=7, heads=2, positions="none").check()


@pytest.mark.parametrize("rate", [-0.1, 1.0, nan])
def test_dropout_is_a_share(rate):
    with pytest.raises(UserError, match="--dropout"):
        DesignConfig(dropout=rate).check()
