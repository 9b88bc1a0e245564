"""The model: tokens of values in; at every position, distributions over the next 1 … k values out.

Shapes in names: T positions, D model width, k output heads, V tokens, W bits of a value, B base of two digits,
R hidden.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from bestguess.nn.decoder import Decoder
from bestguess.nn.init import scaled_normal
from bestguess.nn.linear import linear
from bestguess.rolls.config import RollsModelConfig
from bestguess.rolls.tokens import Kind, Tokens

_HIDDEN = 64
"""Width of the layer that joins the first digit and the position, before the second digit."""


@dataclass(frozen=True)
class Shape:
    """What of the tokens determines the model's shape."""

    kind: Kind
    vocab: int
    """V."""
    bits: int
    base: int

    @classmethod
    def of(cls, tokens: Tokens) -> Shape:
        """Return the shape of these tokens."""
        return cls(tokens.kind, tokens.vocab, tokens.bits, tokens.base)

    @property
    def per_value(self) -> int:
        """Tokens that the decoder is given for a value."""
        return 2 if self.kind == "digits" else 1


class TableEmbedding(eqx.Module):
    """One learned vector for each token, and one for the mask."""

    table: Float[Array, "V+1 D"]

    def __init__(self, width: int, shape: Shape, *, key: Key[Array, ""]):
        self.table = jax.random.normal(key, (shape.vocab + 1, width))

    def __call__(self, token_T: Int[Array, "T"], masked_T: Bool[Array, "T"]) -> Float[Array, "T D"]:
        """Return the vectors of the tokens, the mask's where masked."""
        return self.table[jnp.where(masked_T, self.table.shape[0] - 1, token_T)]


class BitEmbedding(eqx.Module):
    """A value's bits as ±1, mapped linearly to the width of the model: what XOR is made of is visible."""

    lift: Float[Array, "W D"]
    mask: Float[Array, "D"]

    def __init__(self, width: int, shape: Shape, *, key: Key[Array, ""]):
        self.lift = scaled_normal(key, (shape.bits, width))
        self.mask = jnp.zeros(width)

    def __call__(self, token_T: Int[Array, "T"], masked_T: Bool[Array, "T"]) -> Float[Array, "T D"]:
        """Return the embedded bits, the mask's vector where masked."""
        x_TD = linear(signs(token_T, self.lift.shape[0]), self.lift)
        return jnp.where(masked_T[:, None], self.mask[None], x_TD)


class DigitEmbedding(eqx.Module):
    """Two tokens for each value: its digits in base B, the high one first."""

    high: Float[Array, "B+1 D"]
    low: Float[Array, "B+1 D"]

    def __init__(self, width: int, shape: Shape, *, key: Key[Array, ""]):
        high, low = jax.random.split(key)
        self.high = jax.random.normal(high, (shape.base + 1, width))
        self.low = jax.random.normal(low, (shape.base + 1, width))

    def __call__(self, token_T: Int[Array, "T"], masked_T: Bool[Array, "T"]) -> Float[Array, "U D"]:
        """Return the vectors of both digits of each value, the mask's where masked."""
        base = self.high.shape[0] - 1
        high_TD = self.high[jnp.where(masked_T, base, token_T // base)]
        low_TD = self.low[jnp.where(masked_T, base, token_T % base)]
        return jnp.stack([high_TD, low_TD], axis=1).reshape(-1, high_TD.shape[1])


class TableHead(eqx.Module):
    """Free logits of every token for each of the k heads, as one product."""

    weight: Float[Array, "D kV"]

    def __init__(self, config: RollsModelConfig, shape: Shape, *, key: Key[Array, ""]):
        # From nothing learnt, every head predicts the marginal, which is the bias's.
        self.weight = jnp.zeros((config.d_model, config.outputs * shape.vocab))

    def __call__(self, x_TD: Float[Array, "T D"]) -> Float[Array, "T kV"]:
        """Return the logits over those of the marginal."""
        return linear(x_TD, self.weight)


class BitHead(eqx.Module):
    """Logits that are linear in the bits of a value: the bits of a value are independent, up to the marginal."""

    weight: Float[Array, "D kW"]
    vocab: int = eqx.field(static=True)
    bits: int = eqx.field(static=True)

    def __init__(self, config: RollsModelConfig, shape: Shape, *, key: Key[Array, ""]):
        self.weight = jnp.zeros((config.d_model, config.outputs * shape.bits))
        self.vocab, self.bits = shape.vocab, shape.bits

    def __call__(self, x_TD: Float[Array, "T D"]) -> Float[Array, "T kV"]:
        """Return the logits over those of the marginal."""
        of_bits = linear(x_TD, self.weight).reshape(-1, self.bits)
        table_WV = signs(jnp.arange(self.vocab), self.bits).T
        return linear(of_bits, table_WV).reshape(x_TD.shape[0], -1)


class DigitHead(eqx.Module):
    """The high digit's logits, and those of the low one given each high one, as a distribution over all values."""

    high: Float[Array, "D kB"]
    joint: Float[Array, "D kR"]
    digit: Float[Array, "B R"]
    low: Float[Array, "R B"]
    vocab: int = eqx.field(static=True)

    def __init__(self, config: RollsModelConfig, shape: Shape, *, key: Key[Array, ""]):
        joint, digit = jax.random.split(key)
        self.high = jnp.zeros((config.d_model, config.outputs * shape.base))
        self.joint = scaled_normal(joint, (config.d_model, config.outputs * _HIDDEN))
        self.digit = jax.random.normal(digit, (shape.base, _HIDDEN))
        self.low = jnp.zeros((_HIDDEN, shape.base))
        self.vocab = shape.vocab

    def __call__(self, x_TD: Float[Array, "T D"]) -> Float[Array, "T kV"]:
        """Return the logits over those of the marginal."""
        T, B = x_TD.shape[0], self.low.shape[1]
        high = jax.nn.log_softmax(linear(x_TD, self.high).reshape(T, -1, B))
        joint = linear(x_TD, self.joint).reshape(T, -1, 1, _HIDDEN) + self.digit.astype(x_TD.dtype)[None, None]
        hidden = jax.nn.gelu(joint).reshape(-1, _HIDDEN)
        low = jax.nn.log_softmax(linear(hidden, self.low).reshape(T, -1, B, B))
        both = (high[..., None] + low).reshape(T, -1, B * B)
        return both[..., : self.vocab].reshape(T, -1)


_EMBEDDINGS: dict[str, Any] = {"bits": BitEmbedding, "digits": DigitEmbedding}
_HEADS: dict[str, Any] = {"bits": BitHead, "digits": DigitHead}


class RollsModel(eqx.Module):
    """An embedding, a decoder, and k output heads over the training marginal."""

    embedding: TableEmbedding | BitEmbedding | DigitEmbedding
    decoder: Decoder
    head: TableHead | BitHead | DigitHead
    bias: Float[Array, "k V"]
    per_value: int = eqx.field(static=True)

    def __init__(
        self,
        config: RollsModelConfig,
        shape: Shape,
        window: int,
        log_p0: Float[Array | np.ndarray, "V"],
        *,
        key: Key[Array, ""],
    ):
        """Return an untrained model, which predicts the marginal exp(log_p0) whatever it is given."""
        embedding_key, decoder_key, head_key = jax.random.split(key, 3)
        self.embedding = _EMBEDDINGS.get(shape.kind, TableEmbedding)(config.d_model, shape, key=embedding_key)
        self.decoder = Decoder(config, key=decoder_key, context=window * shape.per_value)
        self.head = _HEADS.get(shape.kind, TableHead)(config, shape, key=head_key)
        # Less the largest: logits are rounded to bfloat16, and those of a uniform marginal are then 0 exactly.
        base = jnp.asarray(log_p0, jnp.float32)
        self.bias = jnp.tile((base - jnp.max(base))[None], (config.outputs, 1))
        self.per_value = shape.per_value

    def __call__(
        self,
        token_T: Int[Array, "T"],
        masked_T: Bool[Array, "T"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "T k V"]:
        """Return the logits of the next 1 … k tokens after each, in the decoder's dtype. key: for dropout."""
        masked_T = jnp.zeros(token_T.shape, bool) if masked_T is None else masked_T
        x_TD, _ = self.decoder(self.embedding(token_T, masked_T), key=key)
        x_TD = x_TD[self.per_value - 1 :: self.per_value]
        logits = self.head(x_TD) + self.bias.reshape(1, -1).astype(x_TD.dtype)
        return logits.reshape(x_TD.shape[0], *self.bias.shape)


def signs(value_T: Int[Array, "T"], bits: int) -> Float[Array, "T W"]:
    """Return the bits of integers as ±1, the lowest first."""
    return 2.0 * ((value_T[:, None] >> jnp.arange(bits)[None]) & 1) - 1


def weights(config: RollsModelConfig, shape: Shape, window: int) -> int:
    """Return the number of weights of a model, embeddings, norms and all output heads included."""
    init = lambda: RollsModel(config, shape, window, jnp.zeros(shape.vocab), key=jax.random.key(0))  # noqa: E731
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(init)))
