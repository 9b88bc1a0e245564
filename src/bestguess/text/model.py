"""The model: an embedding, an encoder or none, a decoder, and logits of the tokens that follow.

Shapes in names: S and U the padded lengths of source and target, T tokens of a packed sequence, D model width, V tokens
of the vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from bestguess.nn.attention import KVCache
from bestguess.nn.decoder import Decoder, DecoderCache, DecoderMemory
from bestguess.nn.encoder import Encoder
from bestguess.nn.init import scaled_normal
from bestguess.nn.linear import linear
from bestguess.nn.masked import prefix_mask
from bestguess.nn.normalisation import NoNorm
from bestguess.text.model_config import TextModelConfig
from bestguess.text.noise import NOISE, noisy
from bestguess.text.packing import PairRow, SequenceRow
from bestguess.text.sequences import behind, pack, shift
from bestguess.text.tokens import PAD, SEP


class SequenceLogits(NamedTuple):
    """What is predicted in a packed sequence, and where it counts."""

    logits: Float[Array, "T V"]
    """Of the token after each; the decoder's dtype."""
    target: Int[Array, "T"]
    predicted: Bool[Array, "T"]
    """Targets of the full loss: every token behind BOS; with a prefix mask those of the target alone, for the model \
has read the others."""
    scored: Bool[Array, "T"]
    """Tokens of the target, EOS among them."""


class TextCache(eqx.Module):
    """What a model has read: the source, and the first tokens of a target."""

    layers: DecoderCache
    """First the rows that were read before the target, the padding behind them included, then one for each token."""
    memory: DecoderMemory | None
    """What an encoder-decoder reads of its source."""
    before: Int[Array, ""]
    """Rows read before the target: [BOS] source [SEP], or [SEP] alone."""
    position: Int[Array, ""]
    """Position of the target's first token."""
    count: Int[Array, ""]
    """Tokens of the target that were read."""
    rows: int = eqx.field(static=True)
    """Row of the target's first token."""


class TextModel(eqx.Module):
    """A transformer that predicts a target token by token, given a source. Methods are for one document."""

    embedding: Float[Array, "V D"]
    head: Float[Array, "D V"] | None
    """None: the embedding, transposed."""
    encoder: Encoder | None
    decoder: Decoder
    prefix: bool = eqx.field(static=True)
    marked: bool = eqx.field(static=True)
    """Whether [BOS] stands before a source, and [SEP] behind it."""
    token_noise: float = eqx.field(static=True)

    def __init__(
        self,
        config: TextModelConfig,
        vocab: int,
        context: tuple[int, int] | None = None,
        marked: bool = True,
        *,
        key: Key[Array, ""],
    ):
        """Return an untrained model. With norms, its predictions are nearly uniform.

        context: most tokens of a source and of a target, which learned positions must know. marked: whether they are
        told apart; of windows of one text, which a model without an encoder reads, they are not.
        """
        config.check()
        embedding_key, head_key, encoder_key, decoder_key = jax.random.split(key, 4)
        self.embedding = jax.random.normal(embedding_key, (vocab, config.d_model)) * config.d_model**-0.5
        self.head = None if config.tied else scaled_normal(head_key, (config.d_model, vocab))
        two = config.architecture == "encoder-decoder"
        source, target = (None, None) if context is None else context
        both = None if source is None or target is None else source + target + (1 if marked and not two else 0)
        self.encoder = Encoder(config, key=encoder_key, context=source) if two else None
        self.decoder = Decoder(config, key=decoder_key, context=both, cross=two)
        if config.norm_place != "none":
            # Logits then start with a standard deviation of 1/√D, and that of the token just read, whose own row of
            # the embedding is in the features, at 1 at most; the gain soon grows. A smaller embedding would start as
            # evenly, but optimisers change every weight by as much: it learned far more slowly, as did smaller logits.
            quieter = lambda gain: gain * config.d_model**-0.5  # noqa: E731
            self.decoder = eqx.tree_at(_last_gain, self.decoder, replace_fn=quieter)
        self.prefix = config.architecture == "prefix-lm"
        self.marked = marked
        self.token_noise = config.token_noise

    def logits(
        self,
        source_S: Int[Array, "S"],
        source_length: Int[Array, ""] | int,
        target_U: Int[Array, "U"],
        *,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "U V"]:
        """Return the logits of each token of the target, given the source and the target before it (decoder's dtype).

        What stands behind the ends changes no logit before them. key: for dropout.
        """
        if self.encoder is None:
            before = self._before(source_length)
            x_TD = self._read(self._packed_inputs(source_S, source_length, target_U), before, key)
            return self._project(jax.lax.dynamic_slice_in_dim(x_TD, before - 1, len(target_U)))
        encoder_key, decoder_key = (None, None) if key is None else jax.random.split(key)
        memory = self._memory(source_S, source_length, encoder_key)
        x_UD, _ = self.decoder(
            self._embed(_target_inputs(target_U), decoder_key),
            key=decoder_key,
            mask_TS=self._mask(len(target_U), 0),
            start=source_length,
            memory=memory,
        )
        return self._project(x_UD)

    def next_logits(
        self, token_T: Int[Array, "T"], prefix: Int[Array, ""] | int = 0, *, key: Key[Array, ""] | None = None
    ) -> Float[Array, "T V"]:
        """Return the logits of the token after each of a sequence, by a model without an encoder (decoder's dtype).

        prefix: tokens that a prefix model reads both ways. Raises ValueError for an encoder-decoder.
        """
        if self.encoder is not None:
            raise ValueError("an encoder-decoder predicts a target given a source: call logits")
        return self._project(self._read(token_T, prefix, key))

    def sequence_logits(
        self,
        source_S: Int[Array, "S"],
        source_length: Int[Array, ""] | int,
        target_U: Int[Array, "U"],
        target_length: Int[Array, ""] | int,
        *,
        key: Key[Array, ""] | None = None,
    ) -> SequenceLogits:
        """Return the logits of every token behind the first of a packed document, and where they count.

        They are S + U + 1 in all, or S + U − 1 where nothing marks the document. Raises ValueError for an
        encoder-decoder.
        """
        before = self._before(source_length)
        inputs_T, targets_T = shift(pack(source_S, source_length, target_U, target_length, self.marked))
        logits_TV = self.next_logits(inputs_T, before, key=key)
        scored_T = behind(len(inputs_T), before, target_length)
        predicted_T = jnp.arange(len(inputs_T)) < before - 1 + target_length
        return SequenceLogits(logits_TV, targets_T, scored_T if self.prefix else predicted_T, scored_T)

    def row_logits(self, row: SequenceRow | PairRow, *, key: Key[Array, ""] | None = None) -> Float[Array, "T V"]:
        """Return the logits of every target of a row of several documents, which do not see each other.

        A `PairRow` is for an encoder-decoder, a `SequenceRow` for others; ValueError where it is not.
        """
        same = lambda ours, theirs: ours[:, None] == theirs[None]  # noqa: E731
        if isinstance(row, SequenceRow):
            if self.encoder is not None:
                raise ValueError("an encoder-decoder reads sources and targets in rows of their own: give a PairRow")
            reads_TT = prefix_mask(len(row.token), 0) | (row.prefix[None] if self.prefix else False)
            mask_TT = same(row.document, row.document) & reads_TT
            x_TD = self._embed(row.token, key)
            return self._project(self.decoder(x_TD, key=key, mask_TS=mask_TT, start=row.position)[0])
        if self.encoder is None:
            raise ValueError("a model without an encoder reads a document as one sequence: give a SequenceRow")
        encoder_key, decoder_key = (None, None) if key is None else jax.random.split(key)
        mask_SS = same(row.source_document, row.source_document)
        y_SD = self.encoder(self._embed(row.source, encoder_key), mask_SS, encoder_key, start=row.source_position)
        memory = self.decoder.memory(y_SD, same(row.document, row.source_document), row.source_position)
        mask_UU = same(row.document, row.document) & prefix_mask(len(row.token), 0)
        x_UD = self._embed(row.token, decoder_key)
        x_UD, _ = self.decoder(x_UD, key=decoder_key, mask_TS=mask_UU, start=row.position, memory=memory)
        return self._project(x_UD)

    def attention(
        self, source_S: Int[Array, "S"], source_length: Int[Array, ""] | int, target_U: Int[Array, "U"]
    ) -> dict[str, Float[Array, "layers H queries keys"]]:
        """Return every layer's and head's attention weights (each row sums to 1).

        encoder (S × S), decoder (U × U, queries [SEP] and the target without its end) and cross (U × S) of an
        encoder-decoder; of another model decoder alone, of the S + U + 1 tokens of `[BOS] source [SEP] target`.
        """
        if self.encoder is None:
            inputs_T = self._packed_inputs(source_S, source_length, target_U)
            mask_TT = self._mask(len(inputs_T), self._before(source_length))
            return {"decoder": self.decoder.weights(self._embed(inputs_T), mask_TS=mask_TT)[0]}
        mask_S, x_SD = jnp.arange(len(source_S)) < source_length, self._embed(source_S)
        x_UD = self._embed(_target_inputs(target_U))
        memory = self._memory(source_S, source_length, None)
        own, cross = self.decoder.weights(x_UD, start=source_length, memory=memory)
        assert cross is not None
        return {"encoder": self.encoder.attention_weights(x_SD, mask_S), "decoder": own, "cross": cross}

    def start(
        self, source_S: Int[Array, "S"], source_length: Int[Array, ""] | int, size: int
    ) -> tuple[Float[Array, "V"], TextCache]:
        """Return the logits of the target's first token, and a cache with room for a target of `size` tokens.

        The last of them is predicted but not read: size − 1 steps may follow.
        """
        length, none = jnp.asarray(source_length, jnp.int32), jnp.zeros((), jnp.int32)
        if self.encoder is None:
            inputs_T = pack(source_S, length, jnp.full(1, PAD, source_S.dtype), 0, self.marked)[:-1]
            rows, before = len(inputs_T), self._before(length)
            empty = self.decoder.empty_cache(rows + size - 1)
            mask_TS = prefix_mask(rows + size - 1, before if self.prefix else 0)[:rows]
            x_TD, layers = self.decoder(self._embed(inputs_T), empty, mask_TS=mask_TS, start=0)
            x_1D = jax.lax.dynamic_slice_in_dim(x_TD, before - 1, 1)
            assert layers is not None
            cache = TextCache(layers, None, before, before, none, rows)
        else:
            memory = self._memory(source_S, length, None)
            sep_1D = self._embed(jnp.full(1, SEP))
            x_1D, layers = self.decoder(sep_1D, self.decoder.empty_cache(size), start=length, memory=memory)
            assert layers is not None
            cache = TextCache(layers, memory, none + 1, length + 1, none, 1)
        return self._project(x_1D)[0], cache

    def step(self, token: Int[Array, ""], cache: TextCache) -> tuple[Float[Array, "V"], TextCache]:
        """Return the logits of the token behind this one of a target, and the cache that now holds it."""
        last = cache.rows + cache.count
        row_R = jnp.arange(cache.layers[0].key.shape[0])
        mask_R = (row_R < cache.before) | ((row_R >= cache.rows) & (row_R <= last))
        layers = tuple(KVCache(layer.key, layer.value, last) for layer in cache.layers)
        x_1D, read = self.decoder(
            self._embed(token[None]),
            layers,
            mask_TS=mask_R[None],
            start=cache.position + cache.count,
            memory=cache.memory,
        )
        assert read is not None
        cache = dataclasses.replace(cache, layers=read, count=cache.count + 1)
        return self._project(x_1D)[0], cache

    def start_batch(
        self, source_BS: Int[Array, "B S"], source_length_B: Int[Array, "B"], size: int
    ) -> tuple[Float[Array, "B V"], TextCache]:
        """Return what `start` does, for B documents: every array of the cache has a leading axis of them."""
        return jax.vmap(lambda source, length: self.start(source, length, size))(source_BS, source_length_B)

    def step_batch(self, token_B: Int[Array, "B"], cache: TextCache) -> tuple[Float[Array, "B V"], TextCache]:
        """Return what `step` does, for B documents of whose targets equally many tokens were read.

        They are written to the same row of each cache, which is one copy; `vmap` of `step` would scatter them.
        """
        count = cache.count[0]
        return jax.vmap(lambda token, one: self.step(token, dataclasses.replace(one, count=count)))(token_B, cache)

    def _before(self, source_length):
        """Return how many tokens stand before the target in one sequence."""
        return source_length + 2 if self.marked else source_length

    def _packed_inputs(self, source_S, source_length, target_U) -> Int[Array, "T"]:
        """Return what a model without an encoder is given; no prediction depends on where the target ends."""
        return shift(pack(source_S, source_length, target_U, len(target_U), self.marked))[0]

    def _embed(self, token_T: Int[Array, "T"], key: Key[Array, ""] | None = None) -> Float[Array, "T D"]:
        if key is not None and self.token_noise:
            token_T = noisy(token_T, self.token_noise, jax.random.fold_in(key, NOISE))
        return self.embedding[token_T] * self.embedding.shape[1] ** 0.5  # features of size 1

    def _project(self, x_TD: Float[Array, "T D"]) -> Float[Array, "T V"]:
        return linear(x_TD, self.embedding.T if self.head is None else self.head)

    def _memory(self, source_S, source_length, key) -> DecoderMemory:
        """Return what the decoder's layers read of a source."""
        assert self.encoder is not None
        mask_S = jnp.arange(len(source_S)) < source_length
        return self.decoder.memory(self.encoder(self._embed(source_S, key), mask_S, key), mask_S)

    def _read(self, token_T, prefix, key) -> Float[Array, "T D"]:
        """Return the decoded tokens of a sequence."""
        return self.decoder(self._embed(token_T, key), key=key, mask_TS=self._mask(len(token_T), prefix))[0]

    def _mask(self, tokens: int, prefix) -> Bool[Array, "T T"] | None:
        """Return which tokens the decoder's tokens may read, or None for a causal decoder on a device with kernels.

        On a CPU, attention under a mask takes half the time of JAX's own under its causal one.
        """
        if self.prefix:
            return prefix_mask(tokens, prefix)
        return prefix_mask(tokens, 0) if jax.default_backend() == "cpu" else None


def _last_gain(decoder: Decoder) -> Any:
    """Return the gain of the norm that the head reads from, or whatever `tree_at` has put in its place."""
    norm = decoder.blocks[-1].feed_forward_norm if isinstance(decoder.norm, NoNorm) else decoder.norm
    assert not isinstance(norm, NoNorm)
    return norm.gain


def _target_inputs(target_U) -> Int[Array, "U"]:
    """Return what the decoder of an encoder-decoder is given."""
    return shift(jnp.concatenate([jnp.full(1, SEP, target_U.dtype), target_U]))[0]


class Parameters(NamedTuple):
    """Numbers of parameters."""

    total: int
    without_vocabulary: int
    """All but the token embedding and the output projection."""


def parameters(
    config: TextModelConfig, vocab: int, context: tuple[int, int] | None = None, marked: bool = True
) -> Parameters:
    """Return how many parameters a model has; nothing is allocated."""
    model = jax.eval_shape(lambda: TextModel(config, vocab, context, marked, key=jax.random.key(0)))
    total = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(model))
    of_vocabulary = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves((model.embedding, model.head)))
    return Parameters(total, total - of_vocabulary)
