"""Parameters and FLOPs of encoder-decoder and decoder-only transformers, counted on paper. Imports nothing heavy.

Counted are the matrices of the layers, at a feed-forward width of 4 d: attention has four of d², the feed-forward
block two of 4 d². Embeddings, the output matrix, biases and norms are left out, as they are alike in both. So of a
layer,

    encoder, decoder-only        4 d² + 8 d²           = 12 d²
    decoder with cross-attention 4 d² + 4 d² + 8 d²    = 16 d²

A product with a matrix takes 2 FLOPs for each of its entries and tokens. Of cross-attention, keys and values are made
of the source, queries and output of the target: each token of either passes 14 d² of an encoder and decoder layer's
28 d².
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal, NamedTuple

Pairing = Literal["parameters", "flops", "depth"]
"""What two models have in common: their matrices' parameters, their matrices' FLOPs, or the layers of a decoder."""


def encoder_decoder_parameters(layers: int, d_model: int) -> int:
    """Return the parameters of `layers` encoder layers and as many decoder layers: 28 L d²."""
    return (12 + 16) * layers * d_model**2


def decoder_only_parameters(layers: int, d_model: int) -> int:
    """Return the parameters of `layers` layers: 12 L d²."""
    return 12 * layers * d_model**2


class Flops(NamedTuple):
    """FLOPs of a forward pass over one document."""

    matrices: int
    attention: int
    """Of the products of queries and keys, and of weights and values, with masked pairs computed like the others."""

    @property
    def total(self) -> int:
        """Their sum."""
        return self.matrices + self.attention


def encoder_decoder_flops(layers: int, d_model: int, source: int, target: int) -> Flops:
    """Return the FLOPs of `layers` encoder and decoder layers over so many tokens: matrices 28 L d² (S + T)."""
    pairs = source**2 + target**2 + source * target
    return Flops(28 * layers * d_model**2 * (source + target), 4 * layers * d_model * pairs)


def decoder_only_flops(layers: int, d_model: int, tokens: int) -> Flops:
    """Return the FLOPs of `layers` layers over so many tokens: matrices 24 L d² (S + T)."""
    return Flops(24 * layers * d_model**2 * tokens, 4 * layers * d_model * tokens**2)


def output_flops(d_model: int, vocabulary: int, tokens: int) -> int:
    """Return the FLOPs of the logits of so many tokens: 2 d V T."""
    return 2 * d_model * vocabulary * tokens


class Paired(NamedTuple):
    """A decoder-only model that stands beside an encoder-decoder of the same width, and how alike they are."""

    layers: int
    parameters: float
    """Of its matrices, as a multiple of the encoder-decoder's."""
    flops: float
    """Of its matrices over the same tokens, as a multiple of the encoder-decoder's."""


def paired(layers: int, pairing: Pairing) -> Paired:
    """Return the decoder-only model for an encoder-decoder of `layers` layers each: 7L/3, 7L/6 or L layers.

    Where that is no whole number, the nearest, of two the larger: `parameters` and `flops` say how near it is.
    """
    exact = {"parameters": Fraction(7, 3), "flops": Fraction(7, 6), "depth": Fraction(1)}[pairing] * layers
    found = math.floor(exact + Fraction(1, 2))
    return Paired(found, 12 * found / (28 * layers), 24 * found / (28 * layers))
