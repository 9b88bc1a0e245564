"""The model: normalise, cut into patches, predict the next patch from those so far, undo the normalisation.

Shapes in names: N patches (tokens), P steps to a patch, m observed dimensions, k = P·m.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from bestguess.filters.config import FilterModelConfig
from bestguess.nn.decoder import Decoder, DecoderCache
from bestguess.nn.init import scaled_normal


class Statistics(NamedTuple):
    """Sums over the steps of one sequence seen so far; enough for their mean and variance."""

    steps: Float[Array, "*N"]
    total: Float[Array, "*N m"]
    square: Float[Array, "*N m"]


class Normaliser(eqx.Module):
    """Reversible scaling of y that never looks ahead.

    `input` divides by the process's own standard deviation. `instance` then also takes each
    sequence's mean and deviation out, as in reversible instance normalisation (Kim et al., ICLR
    2022), but over the prefix: patch p goes in by the statistics of the patches before it, and the
    prediction of patch p + 1 comes out by those of patches 1..p. Over the whole window they would
    tell the model about its future.

    Patches of one sequence so go in by different statistics, which a model cannot undo unless it is told of them:
    where `told`, the mean and the logarithm of the deviation that a patch went in by are part of its token.
    """

    scale: Float[Array, "m"]
    mode: Literal["none", "input", "instance"] = eqx.field(static=True)
    prior: float = eqx.field(static=True, default=8.0)
    """Weight of the prior (mean 0, variance 1) in a sequence's statistics, in steps: they start sane."""
    told: bool = eqx.field(static=True, default=False)

    def start(self) -> Statistics:
        """Return the statistics of no step."""
        zero = jnp.zeros(self.scale.shape)
        return Statistics(jnp.zeros(()), zero, zero)

    def normalise(self, y_NPm: Float[Array, "N P m"], before: Statistics) -> tuple[Float[Array, "N P m"], Statistics]:
        """Return the patches, each scaled by what came before it, and the statistics after each patch."""
        y_NPm = y_NPm / self._scale
        N, P, _ = y_NPm.shape
        after = Statistics(
            before.steps + P * jnp.arange(1.0, N + 1),
            before.total[None] + jnp.cumsum(y_NPm.sum(axis=1), axis=0),
            before.square[None] + jnp.cumsum((y_NPm**2).sum(axis=1), axis=0),
        )
        prior = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest[:-1]]), before, after)
        mean, deviation = self._moments(prior)
        return (y_NPm - mean) / deviation, after

    def tokens(self, y_NPm: Float[Array, "N P m"], before: Statistics) -> tuple[Float[Array, "N k"], Statistics]:
        """Return what a core is given of each patch: its scaled values, then its statistics where they are told."""
        u_NPm, after = self.normalise(y_NPm, before)
        token_Nk = u_NPm.reshape(len(u_NPm), -1)
        if not self.told:
            return token_Nk, after
        prior = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest[:-1]]), before, after)
        mean, deviation = self._moments(prior)
        return jnp.concatenate([token_Nk, mean[:, 0], jnp.log(deviation[:, 0])], axis=1), after

    def restore(self, v_NPm: Float[Array, "N P m"], after: Statistics) -> Float[Array, "N P m"]:
        """Return predictions of the next patch in units of y."""
        mean, deviation = self._moments(after)
        return (mean + deviation * v_NPm) * self._scale

    @property
    def _scale(self) -> Float[Array, "1 1 m"]:
        # The scale belongs to the task, not to what is learnt: no gradient moves it.
        scale = jnp.ones_like(self.scale) if self.mode == "none" else jax.lax.stop_gradient(self.scale)
        return scale[None, None]

    def _moments(self, s: Statistics) -> tuple[Float[Array, "N 1 m"], Float[Array, "N 1 m"]]:
        if self.mode != "instance":
            return jnp.zeros_like(s.total)[:, None], jnp.ones_like(s.total)[:, None]
        count = s.steps[:, None]
        mean = s.total / (count + self.prior)
        spread = s.square - 2 * mean * s.total + count * mean**2
        deviation = jnp.sqrt((self.prior + spread) / (count + self.prior))
        return mean[:, None], deviation[:, None]


class TransformerCore(eqx.Module):
    """A decoder between two linear maps."""

    embed: Float[Array, "i D"]
    bias: Float[Array, "D"]
    decoder: Decoder
    head: Float[Array, "D k"]

    def __init__(self, config: FilterModelConfig, width: int, told: int = 0, *, key: Key[Array, ""]):
        embed_key, bias_key, decoder_key = jax.random.split(key, 3)
        self.embed = scaled_normal(embed_key, (width + told, config.d_model))
        # A constant part of every token: without it a query could not ask for "3 steps ago" whatever y is
        # (q·k would be odd in y), and the norm would hide how large y is.
        self.bias = jax.random.normal(bias_key, (config.d_model,))
        self.decoder = Decoder(config, key=decoder_key)
        # From nothing learnt, the best guess is the best constant: training starts at the ceiling.
        self.head = jnp.zeros((config.d_model, width))

    def __call__(
        self, token_Nk: Float[Array, "N i"], cache: DecoderCache | None = None
    ) -> tuple[Float[Array, "N k"], DecoderCache | None]:
        """Return, for each patch, the prediction of the one after it (float32)."""
        x_ND, cache = self.decoder(self.embedded(token_Nk), cache)
        return jnp.matmul(x_ND, self.head.astype(x_ND.dtype), preferred_element_type=jnp.float32), cache

    def embedded(self, token_Nk: Float[Array, "N i"]) -> Float[Array, "N D"]:
        """Return the tokens as the decoder reads them."""
        return token_Nk @ self.embed + self.bias[None]

    def attention_weights(self, token_Nk: Float[Array, "N i"]) -> Float[Array, "layers H N N"]:
        """Return every layer's and head's attention weights over the patches (rows: queries)."""
        return self.decoder.attention_weights(self.embedded(token_Nk))

    def empty_cache(self, tokens: int) -> DecoderCache:
        """Return a cache for that many tokens that holds none."""
        return self.decoder.empty_cache(tokens)


class Cache(NamedTuple):
    """What the forecaster remembers of a sequence."""

    statistics: Statistics
    core: Any


class Forecaster(eqx.Module):
    """Predicts every patch of one sequence from the patches before it."""

    normaliser: Normaliser
    core: Any
    patch: int = eqx.field(static=True)

    def __call__(
        self, y_Tm: Float[Array, "T m"], cache: Cache | None = None
    ) -> tuple[Float[Array, "T m"], Cache | None]:
        """Return the prediction of the steps T₀ + P + 1 .. T₀ + P + T (units of y), and the longer cache.

        Rows p·P..(p+1)·P of the result predict the patch that comes after rows p·P..(p+1)·P of `y_Tm`.
        T₀ steps are in the cache already; without one T₀ = 0.
        """
        T, m = y_Tm.shape
        y_NPm = y_Tm.reshape(-1, self.patch, m)
        before = self.normaliser.start() if cache is None else cache.statistics
        token_Nk, after = self.normaliser.tokens(y_NPm, before)
        out_Nk, core = self.core(token_Nk, None if cache is None else cache.core)
        predicted = self.normaliser.restore(out_Nk.reshape(y_NPm.shape), after).reshape(T, m)
        if cache is None:
            return predicted, None
        return predicted, Cache(jax.tree.map(lambda s: s[-1], after), core)

    def empty_cache(self, steps: int) -> Cache:
        """Return a cache for that many steps that holds none."""
        return Cache(self.normaliser.start(), self.core.empty_cache(-(-steps // self.patch)))


def make_forecaster(config: FilterModelConfig, scale: Float[Array, "m"], *, key: Key[Array, ""]) -> Forecaster:
    """Return an untrained forecaster for a process whose standard deviations are `scale` (units of y)."""
    normaliser = make_normaliser(config, scale)
    core = TransformerCore(config, config.patch * scale.shape[0], 2 * scale.shape[0] * normaliser.told, key=key)
    return Forecaster(normaliser, core, config.patch)


def make_normaliser(config: FilterModelConfig, scale: Float[Array, "m"]) -> Normaliser:
    """Return the normaliser of a config for a process whose standard deviations are `scale` (units of y)."""
    told = config.told_statistics and config.normalisation == "instance"
    return Normaliser(scale, config.normalisation, config.prior_steps, told)


def predict(forecaster: Forecaster, y_Tm: Float[Array, "T m"]) -> Float[Array, "S m"]:
    """Return the predictions of steps P+1..T, each from the patches before its own (units of y)."""
    predicted, _ = forecaster(y_Tm)
    return predicted[: -forecaster.patch]


def rollout(forecaster: Forecaster, context: Float[Array, "T m"], horizon: int) -> Float[Array, "horizon m"]:
    """Return predictions of the `horizon` steps after `context`, each fed back as if it had been observed.

    For the exact filter that is E[y_{T+h} | y_{1:T}]: an observation equal to its own prediction is no news.
    """
    P = forecaster.patch
    patches = -(-horizon // P)
    cache = forecaster.empty_cache(context.shape[0] + patches * P)
    first, cache = forecaster(context, cache)  # type: ignore[assignment]

    def feed(carry, _):
        guess, cache = carry
        following, cache = forecaster(guess, cache)
        return (following, cache), following

    guess = first[-P:]
    _, rest = jax.lax.scan(feed, (guess, cache), length=patches - 1)
    return jnp.concatenate([guess[None], rest]).reshape(-1, context.shape[1])[:horizon]
