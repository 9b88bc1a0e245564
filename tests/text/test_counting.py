"""The formulae against XLA's own count of the products of such layers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from bestguess.text.counting import (
    decoder_only_flops,
    decoder_only_parameters,
    encoder_decoder_flops,
    encoder_decoder_parameters,
    output_flops,
    paired,
)

D, S, T, V = 8, 11, 7, 13


def attend(weights, queries, memory):
    """The products of attention with one head."""
    q, k, v, out = weights
    scores = (queries @ q) @ (memory @ k).T
    return scores @ (memory @ v) @ out


def feed_forward(weights, x):
    up, down = weights
    return x @ up @ down


def encoder_layer(weights, x):
    return feed_forward(weights[1], attend(weights[0], x, x))


def decoder_layer(weights, x, memory):
    return feed_forward(weights[2], attend(weights[1], attend(weights[0], x, x), memory))


ATTENTION, FEED_FORWARD = [jnp.zeros((D, D))] * 4, [jnp.zeros((D, 4 * D)), jnp.zeros((4 * D, D))]
ENCODER, DECODER = [ATTENTION, FEED_FORWARD], [ATTENTION, ATTENTION, FEED_FORWARD]


def encoder_decoder(weights, source, target):
    for layer in weights[0]:
        source = encoder_layer(layer, source)
    for layer in weights[1]:
        target = decoder_layer(layer, target, source)
    return target


def decoder_only(weights, x):
    for layer in weights:
        x = encoder_layer(layer, x)
    return x


def counted(function, *arguments) -> float:
    """Return XLA's count of FLOPs; a product of m × k and k × n matrices has 2 m k n."""
    return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]


def size(weights) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(weights))


@pytest.mark.parametrize("layers", [1, 2])
def test_an_encoder_decoder(layers):
    weights = [[ENCODER] * layers, [DECODER] * layers]
    assert encoder_decoder_parameters(layers, D) == size(weights)
    found = encoder_decoder_flops(layers, D, S, T)
    assert found.matrices == 28 * layers * D**2 * (S + T)
    assert found.total == counted(encoder_decoder, weights, jnp.zeros((S, D)), jnp.zeros((T, D)))


@pytest.mark.parametrize("layers", [1, 3])
def test_a_decoder_only(layers):
    weights = [ENCODER] * layers
    assert decoder_only_parameters(layers, D) == size(weights)
    assert decoder_only_flops(layers, D, S + T).total == counted(decoder_only, weights, jnp.zeros((S + T, D)))


def test_the_output():
    assert output_flops(D, V, T) == counted(jnp.matmul, jnp.zeros((T, D)), jnp.zeros((D, V)))


@pytest.mark.parametrize(
    ("layers", "pairing", "expected"),
    [
        (3, "parameters", 7), (6, "parameters", 14), (2, "parameters", 5), (1, "parameters", 2),
        (6, "flops", 7), (3, "flops", 4), (2, "flops", 2), (9, "flops", 11),
        (6, "depth", 6), (1, "depth", 1),
    ],
)  # fmt: skip
def test_the_layers_of_a_pair(layers, pairing, expected):
    assert paired(layers, pairing).layers == expected


@pytest.mark.parametrize("layers", [1, 2, 3, 6, 9])
@pytest.mark.parametrize("pairing", ["parameters", "flops", "depth"])
def test_a_pair_says_how_alike_it_is(layers, pairing):
    found = paired(layers, pairing)
    both = encoder_decoder_parameters(layers, 5), decoder_only_parameters(found.layers, 5)
    assert found.parameters == pytest.approx(both[1] / both[0])
    flops = encoder_decoder_flops(layers, 5, S, T).matrices, decoder_only_flops(found.layers, 5, S + T).matrices
    assert found.flops == pytest.approx(flops[1] / flops[0])
    if layers == 6:
        assert {"parameters": found.parameters, "flops": found.flops, "depth": 1}[pairing] == pytest.approx(1)


def test_at_equal_parameters_the_encoder_decoder_has_half_the_flops():
    assert paired(3, "parameters").flops == pytest.approx(2)
    assert paired(3, "depth").parameters == pytest.approx(3 / 7)
    assert paired(6, "depth").flops == pytest.approx(6 / 7)
