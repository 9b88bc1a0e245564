"""A transformer whose every token reads all others."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from bestguess.nn.config import DecoderConfig
from bestguess.nn.decoder import Decoder
from bestguess.nn.masked import Keys, Start


class Encoder(eqx.Module):
    """The blocks of a decoder without its causal mask: what is masked instead is padding."""

    stack: Decoder

    def __init__(self, config: DecoderConfig, *, key: Key[Array, ""], context: int | None = None):
        """Return an untrained encoder; `context` is the tokens that it can see at most, for learned positions."""
        self.stack = Decoder(config, key=key, context=context)

    def __call__(
        self,
        x_SD: Float[Array, "S D"],
        mask: Keys,
        key: Key[Array, ""] | None = None,
        *,
        start: Start = 0,
    ) -> Float[Array, "S D"]:
        """Return the encoded tokens (dtype of the config); each reads those in its mask. key: for dropout."""
        return self.stack(x_SD, key=key, mask_TS=jnp.atleast_2d(mask), start=start)[0]

    def attention_weights(self, x_SD: Float[Array, "S D"], mask_S: Bool[Array, "S"]) -> Float[Array, "layers H S S"]:
        """Return every layer's and head's attention weights (rows: queries; each row sums to 1)."""
        return self.stack.weights(x_SD, mask_TS=mask_S[None])[0]
