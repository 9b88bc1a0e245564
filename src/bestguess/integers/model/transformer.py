"""The model: numbers in, a distribution over the 256 next numbers out, at every position.

Shapes in names: T terms, F features of a number, D model width, V values (256).
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from bestguess.integers.config import CLASSES, Embedding, Head, IntegerModelConfig
from bestguess.integers.model.embeddings import difference_waves, features
from bestguess.nn.decoder import Decoder, DecoderCache
from bestguess.nn.init import scaled_normal
from bestguess.nn.linear import linear


class NumberEmbedding(eqx.Module):
    """A number's fixed features, mapped linearly to the width of the model, or as they are."""

    lift: Float[Array, "F D"] | None
    kind: Embedding = eqx.field(static=True)
    last: int = eqx.field(static=True)
    """The last position of a context: what a position is divided by, of `pair`."""

    def __init__(self, config: IntegerModelConfig, context: int, *, key: Key[Array, ""]):
        config.check()
        count = features(config.embedding).shape[1]
        self.lift = scaled_normal(key, (count, config.d_model)) if config.lift else None
        self.kind, self.last = config.embedding, context - 1

    def __call__(self, term_T: Int[Array, "T"], start: Int[Array, ""] | int = 0) -> Float[Array, "T D"]:
        """Return the embedded terms, of which the first stands at `start`; padding (below 0) is the zero vector."""
        x_TF = jnp.asarray(features(self.kind))[term_T]
        if self.kind == "pair":
            x_TF = x_TF.at[:, 1].set((start + jnp.arange(len(term_T))) / self.last)
        x_TF = jnp.where(term_T[:, None] >= 0, x_TF, 0.0)
        return x_TF if self.lift is None else linear(x_TF, self.lift)


class ClassificationHead(eqx.Module):
    """256 logits; each free, or with a part that is a linear function of fixed features.

    A free logit learns of its number only where that number is a target. A part through features learns of
    all numbers at once, so that a guess between two numbers seen can be made. These are the embedding's own
    (`features`), or those of the number's difference to the last term modulo 256 (`differences`): what is learnt
    of a step of 3 serves wherever a step of 3 is made.
    """

    weight: Float[Array, "D V"]
    bias: Float[Array, "V"]
    shared: Float[Array, "D F"] | None
    through: Head = eqx.field(static=True)
    kind: Embedding = eqx.field(static=True)

    def __init__(self, config: IntegerModelConfig):
        # From nothing learnt, every number is as likely: training starts at log 256.
        self.weight = jnp.zeros((config.d_model, CLASSES))
        self.bias = jnp.zeros(CLASSES)
        self.through, self.kind = config.head, config.embedding
        through = self.through != "classification"
        self.shared = jnp.zeros((config.d_model, self._table().shape[1])) if through else None

    def __call__(self, x_TD: Float[Array, "T D"], term_T: Int[Array, "T"]) -> Float[Array, "T V"]:
        """Return the logits of the number after each term (float32)."""
        logits_TV = linear(x_TD, self.weight).astype(jnp.float32) + self.bias[None]
        if self.shared is None:
            return logits_TV
        shared_TF = linear(x_TD, self.shared)
        if self.through == "differences":
            shared_TF = _turn(shared_TF, jnp.asarray(self._table(), shared_TF.dtype)[term_T])
        return logits_TV + linear(shared_TF, jnp.asarray(self._table().T)).astype(jnp.float32)

    def _table(self) -> np.ndarray:
        return difference_waves() if self.through == "differences" else features(self.kind)


def _turn(amplitude_TF: Float[Array, "T F"], last_TF: Float[Array, "T F"]) -> Float[Array, "T F"]:
    """Return the amplitudes of a number's waves that give what these give of its difference to the last one's.

    a sin(v − x) + b cos(v − x) = (a cos x + b sin x) sin v + (b cos x − a sin x) cos v, wave by wave. So a table
    of 256 differences serves all terms, by one product, without 256 looked-up logits for each.
    """
    a, b = jnp.split(amplitude_TF, 2, axis=1)
    sin, cos = jnp.split(last_TF / math.sqrt(2), 2, axis=1)
    return jnp.concatenate([a * cos + b * sin, b * cos - a * sin], axis=1)


class RegressionHead(eqx.Module):
    """One number μ, and one deviation σ for all: a Gaussian over the 256 values.

    Its −log p is (y − μ)²/2σ² and a normalisation, so that maximum likelihood is least squares; and it is a
    distribution over values as the other head's, so that every loss, measure and decoder takes both.
    """

    weight: Float[Array, "D 1"]
    bias: Float[Array, "1"]
    log_deviation: Float[Array, "1"]

    def __init__(self, config: IntegerModelConfig):
        self.weight = jnp.zeros((config.d_model, 1))
        self.bias = jnp.zeros(1)
        self.log_deviation = jnp.full(1, math.log(_SPREAD))

    def __call__(self, x_TD: Float[Array, "T D"], term_T: Int[Array, "T"]) -> Float[Array, "T V"]:
        """Return −(k − μ)²/2σ² for every value k (float32)."""
        mean_T1 = _MIDDLE + _SPREAD * (linear(x_TD, self.weight).astype(jnp.float32) + self.bias[None])
        return -0.5 * ((jnp.arange(CLASSES)[None] - mean_T1) * jnp.exp(-self.log_deviation)[None]) ** 2


_MIDDLE = (CLASSES - 1) / 2
_SPREAD = math.sqrt((CLASSES**2 - 1) / 12)
"""Mean and standard deviation of a number drawn uniformly: where the regression starts."""


class IntegerModel(eqx.Module):
    """Embedding, decoder, head: from terms 1..t, the logits of term t + 1."""

    embedding: NumberEmbedding
    decoder: Decoder
    head: ClassificationHead | RegressionHead

    def __init__(self, config: IntegerModelConfig, context: int, *, key: Key[Array, ""]):
        embedding_key, decoder_key = jax.random.split(key)
        self.embedding = NumberEmbedding(config, context, key=embedding_key)
        self.decoder = Decoder(config, key=decoder_key, context=context)
        self.head = RegressionHead(config) if config.head == "regression" else ClassificationHead(config)

    def __call__(
        self, term_T: Int[Array, "T"], cache: DecoderCache | None = None, key: Key[Array, ""] | None = None
    ) -> tuple[Float[Array, "T V"], DecoderCache | None]:
        """Return the logits of the term after each (float32), and the cache that now holds these terms.

        key: for dropout; without one nothing is dropped.
        """
        start = 0 if cache is None else cache[0].length
        x_TD, cache = self.decoder(self.embedding(term_T, start), cache, key)
        return self.head(x_TD, term_T), cache

    def empty_cache(self, terms: int) -> DecoderCache:
        """Return a cache for that many terms that holds none."""
        return self.decoder.empty_cache(terms)
