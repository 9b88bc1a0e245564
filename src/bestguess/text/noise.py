"""Noise in the tokens that a model reads in training."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from bestguess.text.tokens import SPECIAL

NOISE = 0x6E6F6973
"""Folded into a key, so that what dropout draws from it is the same with noise and without."""


def noisy(token_T: Int[Array, "T"], rate: Float[Array, ""] | float, key: Key[Array, ""]) -> Int[Array, "T"]:
    """Return tokens of which a fraction `rate` is replaced by an earlier one of the sequence, all equally likely.

    So they are replaced about as often by each token as it comes, with nothing of what is still to be predicted.
    Special tokens are neither replaced nor put anywhere, and the first token stays. After Xie et al., "Data noising as
    smoothing in neural network language models" (ICLR 2017), whose unigram noise draws from the counts of a corpus.
    """
    which_key, from_key = jax.random.split(key)
    place_T = jnp.arange(len(token_T))
    earlier_T = jnp.floor(jax.random.uniform(from_key, token_T.shape) * place_T).astype(jnp.int32)
    other_T = token_T[jnp.minimum(earlier_T, jnp.maximum(place_T - 1, 0))]
    chosen_T = jax.random.bernoulli(which_key, rate, token_T.shape)
    plain_T = (token_T >= len(SPECIAL)) & (other_T >= len(SPECIAL))
    return jnp.where(chosen_T & plain_T, other_T, token_T)
